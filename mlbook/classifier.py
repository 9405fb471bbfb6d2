"""From a few labelled examples of one's own to a classifier in use: an estimator of scikit-learn."""

from __future__ import annotations

import copy
import hashlib
import inspect
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mlbook.data.files import read_tensors, write_tensors
from mlbook.episodes import Dataset, Episode, Episodes, by_class
from mlbook.evaluate import Tasks, batch_of, modes_kept, outputs_for
from mlbook.metric import PrototypicalNetwork
from mlbook.pretrained import MODELS
from mlbook.progress import progress_bar

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.metrics import roc_auc_score
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
except ImportError as error:
    raise ImportError(
        'mlbook.classifier needs scikit-learn 1.6 or newer: pip install "mlbook[practice]"'
    ) from error

BATCH = 64  # examples that go through a network at once


@dataclass(frozen=True)
class Resized:
    """How pictures are made ready for a network: `Resized(84)(["a.jpg", photo])` is a tensor `[2, 3, 84, 84]`.

    A picture is taken as a person sees it, upright and on white where it is transparent, and stretched to a
    square. It may be a path, a picture of Pillow, or an array `[H, W]` or `[H, W, C]` of bytes, bools, 16 bits or of
    floats in [0, 1]. A tensor `[channels, size, size]` counts as ready: floats stay as they are, bytes become [0, 1].

    Args:
        size: Pixels along a side.
        channels: 1 (grey) or 3 (red, green, blue).
        ink: The network has learned strokes that are bright on dark, as Omniglot's are: a picture whose paper is
            bright (its median above one half) is turned into its negative.

    Raises:
        ValueError: If an argument is out of range, or a picture cannot be read; it is named.
    """

    size: int
    channels: int = 3
    ink: bool = False

    def __post_init__(self) -> None:
        if not (hasattr(self.size, "__index__") and 1 <= self.size <= 4096):
            raise ValueError(f"size={self.size!r}: give a whole number of pixels from 1 to 4096")
        if self.channels not in (1, 3):
            raise ValueError(f"channels={self.channels!r}: give 1 (grey) or 3 (colours)")

    def __call__(self, pictures: Sequence[Any]) -> Tensor:
        """Floats `[B, channels, size, size]` in [0, 1]."""
        return torch.stack([self._one(picture) for picture in pictures])

    def _one(self, picture: Any) -> Tensor:
        from mlbook.data.pictures import read_picture  # waits for Pillow

        shape = (self.channels, self.size, self.size)
        if isinstance(picture, Tensor):
            if picture.shape != shape:
                raise ValueError(
                    f"a tensor {list(picture.shape)} where the network takes {list(shape)}; pictures of any size are "
                    "arrays [H, W] or [H, W, C], paths, or pictures of Pillow"
                )
            return picture / 255 if picture.dtype == torch.uint8 else picture.float()
        x = torch.from_numpy(read_picture(picture, self.size, self.channels).copy())
        x = x.permute(2, 0, 1).float() / 255
        return 1 - x if self.ink and x.median() > 0.5 else x


@dataclass(frozen=True)
class Calibration:
    """What `FewShotClassifier.calibrate` found on held-out classes, measured on other episodes than those it chose by.

    Attributes:
        temperature: What scores are divided by.
        error_before: Expected calibration error without it, in [0, 1].
        error: And with it.
        accuracy: On queries of known classes, strangers left aside.
        by: What a stranger is told by, `"score"` or `"probability"`: the largest of those that an example gets.
        auroc: The chance that by this a known example stands above a stranger; 0.5 is guessing.
        threshold: Below it the answer is None; minus infinity if nothing is to be turned away.
        turned_away: Share of known examples below the threshold.
        caught: Share of strangers below it.
    """

    temperature: float
    error_before: float
    error: float
    accuracy: float
    by: str
    auroc: float
    threshold: float
    turned_away: float
    caught: float

    def __str__(self) -> str:
        return (
            f"temperature {self.temperature:.3g}, calibration error {self.error_before:.1%} -> {self.error:.1%}; "
            f"strangers by {self.by}, AUROC {self.auroc:.1%}: {self.caught:.0%} of them caught "
            f"with {self.turned_away:.0%} of the known turned away"
        )


def expected_calibration_error(probabilities: Any, y: Any, bins: int = 15) -> float:
    """How far confidence is from accuracy, on average over examples, in [0, 1].

    Answers are sorted by their probability into bins of equal width; in each, the mean probability is compared with
    the share of right answers (Guo et al., 2017, equation 3).

    Args:
        probabilities: `[n, N]`, rows that sum to 1.
        y: `[n]`, labels 0..N-1.
        bins: 1 or more.

    Raises:
        ValueError: If shapes do not agree or there are no examples.
    """
    p, y = torch.as_tensor(probabilities, dtype=torch.float64), torch.as_tensor(y)
    if p.dim() != 2 or y.shape != p.shape[:1] or len(p) == 0:
        raise ValueError(
            f"probabilities {list(p.shape)} for labels {list(y.shape)}: give [n, N] and [n], n from 1"
        )
    confidence, answer = p.max(1)
    # in bin b the confidence is above b / bins and at most (b + 1) / bins
    b = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = torch.zeros(bins, dtype=torch.float64).index_add(
        0, b, confidence - (answer == y).double()
    )
    return float(gap.abs().sum() / len(p))


def fitted_temperature(scores: Tensor, y: Tensor) -> float:
    """The temperature T at which softmax(scores / T) gives labels y the highest likelihood.

    Args:
        scores: `[n, N]`, in double precision.
        y: `[n]`, labels 0..N-1.

    The likelihood has one maximum, since its logarithm is concave in 1 / T; bisection finds where the derivative
    passes zero. One example in n + 2 is taken to be anything, as Platt did, so that answers which are all right do not
    ask for a temperature of 0.
    """
    n = len(scores)
    target = scores.gather(1, y[:, None])[:, 0] * (n + 1) / (n + 2) + scores.mean(1) / (n + 2)
    low, high = -12.0, 12.0  # logarithms of 1 / T
    for _ in range(60):
        middle = (low + high) / 2
        expected = ((scores * math.exp(middle)).softmax(1) * scores).sum(1)
        low, high = (middle, high) if (target - expected).mean() > 0 else (low, middle)
    return math.exp(-low)


OMNIGLOT = Resized(28, 1, ink=True)  # what the weights of `load_pretrained` were trained on


class FewShotClassifier(ClassifierMixin, BaseEstimator):
    """A classifier from a few examples a class, to which classes are added and from which they are taken at any time.

    ::

        clf = FewShotClassifier(load_pretrained("prototypical"))
        clf.fit(["alpha/1.png", photo, array], ["alpha", "alpha", "beta"])
        clf.predict(["new.png"])

    Examples go through `embed`, and what comes out is what `model` adapts to. Without a `model` a class is the mean
    of its examples, its prototype, and the nearest one answers. Without an `embed` examples go to the model as they
    are. Vectors, a matrix `[n, d]`, need neither; rows of a table are vectors, for `PriorFittedNetwork`
    too, which takes NaN for a missing value. No weight of either network is changed.

    Args:
        model: Any method of the book with `adapt`. Those whose network has a fixed number of outputs (MAML, Reptile,
            ANIL, Meta-SGD, the LSTM meta-learner, MANN, Meta Networks) tell at most so many classes apart, and
            Meta Networks exactly so many.
        embed: Any network from `[B, *x]` to `[B, D]`. If it has a `preprocess(inputs)`, that prepares its inputs.
        preprocess: What makes a tensor of a list of inputs, `Resized(84)` for instance. None: that of `embed`, or for
            weights of `load_pretrained` what they were trained on, `Resized(28, 1, ink=True)`.
        distance: Of an example from a prototype, where there is no `model`: `"cosine"` or `"squared"`. None takes the
            cosine behind an `embed`, since the length of a pretrained network's embedding says more about contrast
            and sharpness than about the class, and squared distance for plain vectors, whose length may matter.
        adapt: What is passed on to `model.adapt`, `{"steps": 10}` for instance. `transductive=False` is added
            for methods that have it, so that an answer does not depend on what else is asked in the same call.
        augment: Six looks at a picture in place of one, `views`, behind `embed`: their mean embedding stands for it.
            `"support"` does so for pictures that are learned, `"all"` also for those that are asked, which then take
            six times as long; None for neither. It helps photographs. On 19 classes of groceries, learned from the
            photographs of one set and asked with those of the other, 5 ways, through `efficientnet_lite0`
            (`benchmarks/augment.py`): one shot 83.3 %, with `"support"` 2.0 ± 0.3 points more and with `"all"`
            4.2 ± 0.3; five shots 93.8 %, 0.5 ± 0.2 and 2.2 ± 0.2 more. Mirror images, which gave 0.2, are not among
            the six. Not for characters or signs, whose parts may mean something else.

    Attributes:
        classes_: The labels, sorted; labels that cannot be compared are sorted by type and by how they print.
        n_features_in_: d, where examples are vectors.
        temperature_: What scores are divided by before softmax; 1 before `calibrate`.
        calibration_: What `calibrate` found; None before.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        embed: nn.Module | None = None,
        *,
        preprocess: Callable[[Sequence[Any]], Tensor] | None = None,
        distance: str | None = None,
        adapt: dict[str, Any] | None = None,
        augment: str | None = None,
    ) -> None:
        self.model = model
        self.embed = embed
        self.preprocess = preprocess
        self.distance = distance
        self.adapt = adapt
        self.augment = augment

    def fit(self, X: Any, y: Any) -> FewShotClassifier:
        """Learn the classes from examples X with labels y, uneven numbers of them.

        Args:
            X: A list of paths, pictures of Pillow, arrays, tensors or sentences (whatever `preprocess` takes), or
                all of them in one array or tensor `[n, ...]`, or vectors `[n, d]`.
            y: n labels: words, numbers, or anything hashable but None.

        Raises:
            ValueError: If examples or labels cannot be used, or the model tells fewer classes apart.
        """
        if y is None:
            raise ValueError(
                "requires y to be passed, but the target y is None: one label an example"
            )
        self._learn(self._embedded(X, reset=True, learned=True), y)
        self.temperature_ = 1.0
        self.calibration_: Calibration | None = None
        return self

    def add(self, label: Hashable, X: Any) -> FewShotClassifier:
        """Learn one more class, or more examples of one that is there, as if they had been in `fit`."""
        check_is_fitted(self)
        if label is None or not isinstance(label, Hashable):
            raise ValueError(
                f"label {label!r}: give a word, a number or anything hashable but None"
            )
        x = self._embedded(X, learned=True)
        if x.shape[1:] != self._support.shape[1:]:
            got, learned = list(x.shape[1:]), list(self._support.shape[1:])
            raise ValueError(
                f"examples of shape {got} for a classifier that learned from {learned}"
            )
        labels = [*self._labels(), *[label] * len(x)]
        self._learn(torch.cat([self._support, x]), labels)
        return self

    def remove(self, label: Hashable) -> FewShotClassifier:
        """Forget a class and its examples, as if they had never been there."""
        check_is_fitted(self)
        labels = self._labels()
        keep = [i for i, known in enumerate(labels) if known != label]
        if len(keep) == len(labels) or not keep:
            known = ", ".join(map(repr, self.classes_.tolist()))
            reason = "is the only class" if not keep else "is no class"
            raise ValueError(f"{label!r} {reason} of this classifier; it knows {known}")
        self._learn(self._support[keep], [labels[i] for i in keep])
        return self

    def predict_proba(self, X: Any) -> NDArray[np.floating[Any]]:
        """Probabilities `[n, classes]`, in the order of `classes_`: the softmax of the scores over the temperature."""
        return (self._asked(X) / self.temperature_).softmax(-1).numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """The label of each example, `[n]`; after `calibrate(unknown=...)` it may be None, for none of the classes."""
        return self._answers(self._asked(X))

    def _answers(self, scores: Tensor) -> NDArray[Any]:
        answers: NDArray[Any] = self.classes_[scores.argmax(1).numpy()]
        found = self.calibration_
        if found is not None and found.threshold > -math.inf:
            answers = answers.astype(object)
            answers[(self._known(scores, found.by) < found.threshold).numpy()] = None
        return answers

    def known_score(self, X: Any) -> NDArray[np.floating[Any]]:
        """How much each example is like one of the classes, `[n]`: what `calibrate` compares with its threshold.

        The largest score, for prototypes minus the distance to the nearest, unless `calibrate` found that the
        largest probability tells strangers better.
        """
        scores = self._asked(X)
        return self._known(scores, self.calibration_.by if self.calibration_ else "score").numpy()

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of right answers; a label None says that the example is of no class."""
        labels = y if isinstance(y, list) else [*np.asarray(y).tolist()]
        right = [a == label for a, label in zip(self.predict(X).tolist(), labels, strict=True)]
        return float(np.average(right, weights=sample_weight))

    def leave_one_out(self, X: Any, y: Any) -> list[bool]:
        """For each example, in order, whether it is answered rightly when all the others have been learned.

        Examples are embedded once. One that is alone in its class is not asked. What the classifier has learned stays.
        """
        one = copy.copy(self)
        x = one._embedded(X, reset=True)
        learned = one._embedded(X, learned=True) if self.augment == "support" else x
        index = torch.from_numpy(_sorted(y)[1])
        if len(index) != len(x):
            raise ValueError(
                f"{len(x)} examples and {len(index)} labels: give one label an example"
            )
        counts = index.bincount()
        asked = [i for i in range(len(x)) if counts[index[i]] > 1]
        right = []
        for i in progress_bar(asked, "leaving one out", unit=" examples", disable=len(asked) < 300):
            keep = torch.arange(len(x)) != i
            scores = self._adapted(learned[keep.to(x.device)], index[keep])(x[i : i + 1])
            right.append(bool(scores.argmax(1).item() == index[i]))
        return right

    def dataset(self, X: Any, y: Any, name: str = "examples") -> Dataset:
        """Examples as the model takes them, by class, embedded once: for `calibrate`, `evaluate` and `fit`.

        Every class keeps all of its examples, in their order. What the classifier has learned stays. With
        `augment="support"` pictures are looked at once, since here nobody knows which of them will be learned.

        Args:
            X: Examples, as `fit` takes them.
            y: A label for each.
            name: What the set is called.

        Returns:
            Floats `[classes, samples, *x]`; the classes' names are the labels as text.

        Raises:
            ValueError: If examples or labels cannot be used.
        """
        x = copy.copy(self)._embedded(X, reset=True).cpu()
        classes, index = _sorted(y)
        if len(index) != len(x):
            raise ValueError(
                f"{len(x)} examples and {len(index)} labels: give one label an example"
            )
        order = torch.from_numpy(np.argsort(index, kind="stable"))
        examples, counts = by_class(x[order], np.bincount(index).tolist())
        names = [str(label) for label in classes.tolist()]
        return Dataset(examples, names, names, name, counts=counts)

    def calibrate(
        self,
        data: Dataset | Tasks[Episode],
        unknown: float | None = None,
        episodes: int = 200,
        seed: int = 0,
    ) -> Calibration:
        """Learn from classes that are not the user's what a score is worth, and when none of the classes is meant.

        Tasks are drawn from held-out classes; in each, half of the classes (rounded up) are known and the others
        strangers, whose support is left out. In every second episode the temperature is fitted to the known queries;
        of the largest score and the largest probability, the one by which known queries stand further above strangers
        (AUROC) is taken; and the threshold is the value below which a share `unknown` of known queries lies. The
        other episodes measure. It holds as far as the user's classes are to each other as the held-out ones are.

        Args:
            data: Classes that neither network was trained on: a `Dataset`, from which tasks are drawn with as many
                known classes as were learned, as far as there are, and their median number of examples. Or episodes.
                Examples are what the model takes (those of `dataset`, or embeddings of `embed_dataset`), or what
                `embed` takes.
            unknown: The share of examples of one's own classes that may be answered by None, above 0 and below 1.
                None: always answer.
            episodes: How many, 4 or more.
            seed: Which, of a `Dataset`.

        Raises:
            ValueError: If an argument is out of range, or the tasks have fewer than 2 classes or no queries.
        """
        check_is_fitted(self)
        if unknown is not None and not 0 < unknown < 1:
            raise ValueError(
                f"unknown={unknown}: give the share that may be turned away, 0.05 say, or None"
            )
        if not (hasattr(episodes, "__index__") and episodes >= 4):
            raise ValueError(
                f"episodes={episodes!r}: give 4 or more, half to choose by and half to measure"
            )
        tasks = self._held_out(data, seed) if isinstance(data, Dataset) else data
        asked = [[*self._stranger_task(tasks, k)] for k in range(episodes)]
        fit, test = ([torch.cat(part) for part in zip(*asked[i::2], strict=True)] for i in (0, 1))
        temperature = fitted_temperature(fit[0], fit[1])

        def scales(scores: Tensor) -> dict[str, Tensor]:
            return {by: self._known(scores, by, temperature) for by in ("score", "probability")}

        def auroc(part: list[Tensor], by: str) -> float:
            known, strangers = scales(part[0])[by], scales(part[2])[by]
            y = np.repeat([1, 0], [len(known), len(strangers)])
            return float(roc_auc_score(y, torch.cat([known, strangers]).numpy()))

        by = max(("score", "probability"), key=lambda by: auroc(fit, by))
        known = scales(fit[0])[by]
        threshold = -math.inf if unknown is None else float(known.quantile(unknown))
        p = (test[0] / temperature).softmax(1)
        found = Calibration(
            temperature,
            expected_calibration_error(test[0].softmax(1), test[1]),
            expected_calibration_error(p, test[1]),
            float((p.argmax(1) == test[1]).double().mean()),
            by,
            auroc(test, by),
            threshold,
            *(float((scales(test[i])[by] < threshold).double().mean()) for i in (0, 2)),
        )
        self.temperature_, self.calibration_ = temperature, found
        return found

    def _held_out(self, data: Dataset, seed: int) -> Episodes:
        """Tasks like the one that was learned, with as many strangers beside it."""
        if data.counts is not None and any(enough := [n > 1 for n in data.counts]):
            data = data.subset(enough)  # of a lone example one cannot both learn and ask
        known = max(1, min(len(self.classes_), len(data) // 2))
        samples, counts = min(data.per_class), np.bincount(self._y)
        shots = max(1, min(int(np.median(counts)), samples - 1))
        return data.episodes(2 * known, shots, max(1, min(5, samples - shots)), seed=seed)

    def _stranger_task(self, tasks: Tasks[Episode], k: int) -> Iterator[Tensor]:
        """Scores of the known queries, their labels, and scores of strangers, of the first task of batch k."""
        episode = Episode(*batch_of(tasks, k)).check()
        sx, sy, qx, qy = (t[0] for t in episode)
        ways = int(sy.max()) + 1
        if ways < 2 or len(qy) == 0:
            raise ValueError(
                f"tasks of {ways} classes and {len(qy)} queries: give 2 or more, half for strangers, and queries"
            )
        n = ways - ways // 2
        if sx.shape[1:] != self._support.shape[1:]:
            sx, qx = self._embedded(sx, learned=True), self._embedded(qx)
        learner = self._adapted(sx[sy < n], sy[sy < n])
        scores = learner(qx).double().cpu()
        yield scores[qy < n]
        yield qy[qy < n].cpu()
        yield scores[qy >= n]

    def _known(self, scores: Tensor, by: str, temperature: float | None = None) -> Tensor:
        if by == "probability":
            scores = (scores / (temperature or self.temperature_)).softmax(1)
        return scores.amax(1)

    # --- files ---------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the classifier as one safetensors file: what it has learned, its classes and how inputs are prepared.

        With weights of `load_pretrained` the file is whole; a backbone of the book is fetched by its name. Of your own
        networks the file holds a digest alone, and they are given again to `load`. It holds the examples as the model
        takes them: embeddings, or, where a model without `embed` adapts to pictures, these at the network's size.

        Raises:
            ValueError: If a label is no string, number, bool or a tuple of them.
        """
        check_is_fitted(self)
        tensors = {"support": self._support, "y": torch.from_numpy(self._y)}
        name = _pretrained(self.model)
        if name is not None and self.model is not None:
            tensors |= {f"model.{k}": t for k, t in self.model.state_dict().items()}
        facts = {
            "classifier": 1,
            "classes": [_plain(label) for label in self.classes_.tolist()],
            "dtype": self.classes_.dtype.str,
            "model": {"pretrained": name} if name else _weights(self.model),
            "embed": _weights(self.embed),
            "preprocess": asdict(self.preprocess) if isinstance(self.preprocess, Resized) else None,
            "given": self.preprocess is not None and not isinstance(self.preprocess, Resized),
            "distance": self.distance,
            "adapt": self.adapt,
            "augment": self.augment,
            "vectors": getattr(self, "n_features_in_", None),
            "temperature": self.temperature_,
            "calibration": asdict(self.calibration_) if self.calibration_ else None,
        }
        write_tensors(Path(path), tensors, facts)

    def export(self, path: str | Path, example: Any = None) -> None:
        """Write the classifier for programs without mlbook: `"cats.onnx"`, or `"cats.pt2"` for `torch.export`.

        The file holds preparation, embedding and what was learned; it cannot learn. Of each input it gives
        `probabilities [B, N]`, `known [B]`, as `known_score`, and `answer [B]`, the place of a label or -1 for none of
        them. What goes in, B of them at a time, is one of::

            pictures  uint8 [B, 3, H, W]        behind a backbone: bytes of any height and width, resized inside
            pictures  uint8 [B, C, size, size]  for Resized(size, C): stretched to that size before, see below
            pieces    int64 [B, L]              sentences, as the tokenizer numbers them
            vectors   float32 [B, d]
            inputs    [B, ...]                  for a preprocess of your own: what it gives

        Pictures are upright, and white where they are transparent. Methods that ask a query in the company of the
        support set (MAML, Reptile, ANIL and Meta-SGD) take B = 1. As JSON the metadata hold `labels`, `temperature`,
        `threshold` (null: always answer), `by`, `input` (the line above, filled in) and for sentences `tokenizer`.

        Without torch::

            run = onnxruntime.InferenceSession("cats.onnx")
            labels = json.loads(run.get_modelmeta().custom_metadata_map["labels"])
            picture = ImageOps.exif_transpose(Image.open("new.jpg")).convert("RGB")
            pixels = np.asarray(picture).transpose(2, 0, 1)[None]
            probabilities, known, answer = run.run(None, {"pictures": pixels})

        For `Resized(28, 1)`, which is that of `load_pretrained`, the third and fourth line are::

            picture = Image.open("new.png")
            picture.draft(None, (56, 56))  # of a JPEG no more than twice the size is decoded
            picture = ImageOps.exif_transpose(picture).convert("L").resize((28, 28), Image.Resampling.LANCZOS)
            pixels = np.asarray(picture)[None, None]

        Args:
            path: The file; it is compared with the classifier on a few random inputs before it is written.
            example: One or more inputs as `fit` takes them, where nothing else says of what shape they are: for an
                `embed` with a `preprocess` of your own, or none.

        Raises:
            ImportError: If a package for ONNX is missing: `pip install "mlbook[export]"`.
            ValueError: If the file is called neither `.onnx` nor `.pt2`, or the classifier cannot be exported; says
                what to change.
        """
        from mlbook.export import export  # takes a while

        check_is_fitted(self)
        export(self, path, example)

    @classmethod
    def load(
        cls,
        path: str | Path,
        model: nn.Module | None = None,
        embed: nn.Module | None = None,
        preprocess: Callable[[Sequence[Any]], Tensor] | None = None,
    ) -> FewShotClassifier:
        """Read what `save` wrote; it answers as the classifier that was saved, to the bit.

        Args:
            path: The file.
            model: Your own model, where it was one; not for weights of `load_pretrained`.
            embed: The same for the embedding.
            preprocess: The same, where it was a function of your own.

        Raises:
            ValueError: If the file is damaged or of another kind, a network or function is missing or is
                not needed, or its weights are others than those that were saved.
        """
        tensors, facts = read_tensors(Path(path))
        if facts.get("classifier") != 1:
            raise ValueError(f"{path} is no classifier that this version of mlbook has saved")
        saved = facts["model"] or {}
        if "pretrained" in saved:
            if model is not None:
                raise ValueError(
                    f"{path} brings its model, {saved['pretrained']!r}: leave model= out"
                )
            model = MODELS[saved["pretrained"]]()
            weights = {
                k.removeprefix("model."): t for k, t in tensors.items() if k.startswith("model.")
            }
            model.load_state_dict(weights)
            model.eval().pretrained = saved["pretrained"]
        else:
            _compare(path, "model", facts["model"], model)
        if embed is None and "backbone" in (facts["embed"] or {}):
            from mlbook.backbones import backbone  # waits for Pillow

            embed = backbone(facts["embed"]["backbone"])
        _compare(path, "embed", facts["embed"], embed)
        if facts["given"] != (preprocess is not None):
            what = "give it again" if facts["given"] else "the file brings its own, so leave it out"
            raise ValueError(f"{path}, preprocess={preprocess!r}: {what}")
        if facts["preprocess"]:
            preprocess = Resized(**facts["preprocess"])
        clf = cls(
            model,
            embed,
            preprocess=preprocess,
            distance=facts["distance"],
            adapt=facts["adapt"],
            augment=facts.get("augment"),
        )
        if facts["vectors"] is not None:
            clf.n_features_in_ = facts["vectors"]
        classes = np.empty(len(facts["classes"]), object)
        for i, label in enumerate(facts["classes"]):
            classes[i] = _label(label)
        clf.classes_ = classes if facts["dtype"] == "|O" else classes.astype(facts["dtype"])
        clf._support, clf._y = tensors["support"].to(_device(model or embed)), tensors["y"].numpy()
        clf.temperature_, found = facts["temperature"], facts["calibration"]
        clf.calibration_ = Calibration(**found) if found else None
        return clf

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        state.pop("_learner", None)  # a closure, made again when it is asked
        return state

    # --- from inputs to scores -----------------------------------------------------------------

    def _batches(self, X: Any, reset: bool) -> Iterator[Tensor]:
        """X as tensors `[B, *x]`, batch after batch, ready for `embed` or for the model."""
        items = _items(X)
        if items is None:
            X = X.detach().cpu().numpy() if isinstance(X, Tensor) else X
            finite = "allow-nan" if self._takes_missing() else True
            X = validate_data(
                self, X, dtype=[np.float64, np.float32], reset=reset, ensure_all_finite=finite
            )
            yield from torch.split(
                torch.tensor(np.ascontiguousarray(X)), BATCH
            )  # of its own memory
            return
        if hasattr(self, "n_features_in_"):
            if not reset:
                n = self.n_features_in_
                raise ValueError(f"this classifier has learned from vectors of {n} numbers")
            del self.n_features_in_
        prepare = self._prepare()
        if prepare is None and not all(isinstance(item, Tensor) for item in items):
            raise ValueError(
                f"a {type(items[0]).__name__} is to be made ready for the network, and nothing says how: give "
                "preprocess=Resized(size, channels), or tensors that are"
            )
        starts = range(0, len(items), BATCH)
        for i in progress_bar(starts, "examples", unit=" batches", disable=len(items) < 300):
            some = items[i : i + BATCH]
            if prepare is not None:
                yield prepare(some)
            elif len(shapes := {tuple(item.shape) for item in some}) > 1:
                raise ValueError(f"tensors of different shapes {sorted(shapes)} are no batch")
            else:
                x = torch.stack([*some])
                yield x / 255 if x.dtype == torch.uint8 else x

    def _takes_missing(self) -> bool:
        """NaN in a vector is then a missing value, and no mistake."""
        return self.embed is None and getattr(self.model, "missing", False) is True

    def _prepare(self) -> Callable[[Sequence[Any]], Tensor] | None:
        if self.preprocess is not None:
            return self.preprocess
        if self.embed is not None:
            return getattr(self.embed, "preprocess", None)
        return OMNIGLOT if _pretrained(self.model) else None

    def _embedded(self, X: Any, reset: bool = False, learned: bool = False) -> Tensor:
        """What the model adapts to, or is asked, `[n, *x]`: X made ready, and behind `embed` if there is one."""
        looks = self._looks(learned)
        for name, net in (("model", self.model), ("embed", self.embed)):
            if net is not None and not isinstance(net, nn.Module):
                raise ValueError(
                    f"{name}={net!r}: give an nn.Module, load_pretrained('prototypical')"
                )
        missing = torch.tensor(self._takes_missing())
        done, n = [], 0
        for x in self._batches(X, reset):
            wrong = ~(x.isfinite() | (x.isnan() & missing))
            if wrong.any():
                bad = n + int(wrong.nonzero()[0, 0])
                raise ValueError(f"example {bad} holds NaN or infinity; mend it or leave it out")
            z = x
            if self.embed is not None:
                with _asleep(self.embed) as like:
                    z = looks(self.embed, _like(x, like))
                if not isinstance(z, Tensor) or z.shape[:1] != x.shape[:1]:
                    kind = type(self.embed).__name__
                    raise ValueError(
                        f"embed, a {kind}, must return one tensor [B, D] for inputs [B, *x]"
                    )
                z = z.flatten(1) if self.model is None else z
            done.append(z)
            n += len(x)
        return torch.cat(done)

    def _looks(self, learned: bool) -> Callable[[nn.Module, Tensor], Any]:
        """How a batch goes through `embed`: once, or as the mean over its views."""
        if self.augment not in (None, "support", "all"):
            raise ValueError(f"augment={self.augment!r}: give 'support', 'all' or None")
        if self.augment is not None and self.embed is None:
            raise ValueError(
                f"augment={self.augment!r} takes the mean of what embed makes of a picture and its parts: give "
                "embed=, backbone('efficientnet_lite0') say, or augment=None"
            )
        if self.augment is None or (self.augment == "support" and not learned):
            return lambda net, x: net(x)

        def mean(net: nn.Module, x: Tensor) -> Any:
            if x.dim() != 4 or not x.is_floating_point():
                raise ValueError(
                    f"augment={self.augment!r} shows parts of pictures, [B, C, H, W], and these are {list(x.shape)} of "
                    f"{x.dtype}: augment=None"
                )
            outs = [net(view) for view in views(x)]
            return torch.stack(outs).mean(0) if isinstance(outs[0], Tensor) else outs[0]

        return mean

    def _method(self) -> Any:
        if self.model is not None:
            if not hasattr(self.model, "adapt"):
                raise ValueError(
                    f"{type(self.model).__name__} has no adapt(support_x, support_y): it is no method that learns "
                    "classes from examples; a network that embeds them is given as embed="
                )
            return self.model
        distance = self.distance or ("squared" if self.embed is None else "cosine")
        if distance not in ("squared", "cosine"):
            raise ValueError(f"distance={self.distance!r}: give 'cosine' or 'squared', or None")
        return PrototypicalNetwork(nn.Flatten(), distance, 10.0 if distance == "cosine" else 1.0)

    def _learn(self, x: Tensor, y: Any) -> None:
        """Take examples x `[S, *x]` with labels y for the support set; nothing is changed if the model cannot."""
        classes, index = _sorted(y)
        if len(index) != len(x):
            raise ValueError(
                f"inconsistent numbers of samples: {len(x)} examples and {len(index)} labels"
            )
        order = np.argsort(
            index, kind="stable"
        )  # by class, so that adding a class is as if it had been there
        x, index = x[torch.from_numpy(order).to(x.device)], index[order]
        learner = self._adapted(x, torch.from_numpy(index))
        self.classes_, self._support, self._y, self._learner = classes, x, index, learner

    def _learned(self, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
        """The model's learner, from queries `[1, B, *x]` to scores `[1, B, N]`, or of more outputs than classes."""
        model, n = self._method(), int(y.max()) + 1
        options = dict(self.adapt or {})
        if "transductive" in inspect.signature(model.adapt).parameters:
            options.setdefault("transductive", False)
        name = type(model).__name__
        few = (
            f"{n} classes do not fit this {name}, whose number of outputs is fixed; methods of any number are "
            "PrototypicalNetwork, MatchingNetwork, SiameseNetwork, RelationNetwork and HyperNetwork"
        )
        if isinstance(outputs := getattr(model, "ways", n), int) and outputs < n:
            raise ValueError(f"{few} ({outputs} outputs)")
        with _asleep(model) as like:
            x = _like(x, like) if self.model is not None else x
            try:
                with outputs_for(y[None]):
                    learner: Callable[[Tensor], Tensor]
                    learner = model.adapt(x[None], y[None].to(x.device), **options)
                    got = learner(x[None, :1]).shape[-1]
            except ValueError as error:
                if "ways" not in str(error):
                    raise
                raise ValueError(f"{few} ({error})") from error
            if got < n:
                raise ValueError(f"{few} ({got} outputs)")
        return learner

    def _adapted(self, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
        """What the model makes of a support set: from queries `[B, *x]` to scores `[B, N]`."""
        model, n, learner = self._method(), int(y.max()) + 1, self._learned(x, y)

        def ask(query: Tensor) -> Tensor:
            with _asleep(model) as like:
                query = _like(query, like) if self.model is not None else query
                # a network of more outputs than classes is asked for these alone
                scores = torch.cat(
                    [learner(part[None])[0, :, :n] for part in torch.split(query, BATCH)]
                )
            if not scores.isfinite().any(1).all() or scores.isnan().any():
                raise FloatingPointError(
                    f"{type(model).__name__} gives scores that are not finite: try smaller steps in adapt, or inputs "
                    "in [0, 1]"
                )
            return scores

        return ask

    def _asked(self, X: Any) -> Tensor:
        """The model's scores `[n, classes]`, whose largest is the answer; in double precision, on the CPU."""
        check_is_fitted(self)
        x = self._embedded(X)
        if not hasattr(self, "_learner"):  # loaded, copied or unpickled
            self._learner = self._adapted(self._support, torch.from_numpy(self._y))
        if x.shape[1:] != self._support.shape[1:]:
            got, learned = list(x.shape[1:]), list(self._support.shape[1:])
            raise ValueError(
                f"examples of shape {got} for a classifier that learned from {learned}"
            )
        return self._learner(x).double().cpu()

    def _labels(self) -> list[Any]:
        """The label of each example of the support set."""
        classes = self.classes_.tolist()
        return [classes[i] for i in self._y]


def views(x: Tensor) -> list[Tensor]:
    """Six looks at each picture of a batch: the whole, its middle and its four corners, parts of 80 % of a side.

    Args:
        x: Floats `[B, C, H, W]`.

    Returns:
        Six tensors of that shape, parts resized to the size of the whole.
    """
    h, w = x.shape[-2:]
    high, wide = max(1, round(0.8 * h)), max(1, round(0.8 * w))
    top, left = h - high, w - wide
    places = [(round(top / 2), round(left / 2)), (0, 0), (0, left), (top, 0), (top, left)]
    parts = [x[..., t : t + high, u : u + wide] for t, u in places]
    return [x] + [
        F.interpolate(part, (h, w), mode="bicubic", antialias=True, align_corners=False)
        for part in parts
    ]


# --- helpers -----------------------------------------------------------------------------------


def _like(x: Tensor, like: Tensor) -> Tensor:
    """X where a network is, and in its precision; whole numbers, of word pieces say, stay whole."""
    return x.to(like) if x.is_floating_point() else x.to(like.device)


def _items(X: Any) -> Sequence[Any] | None:
    """X as a list of pictures, sentences or tensors; None if it is a matrix of numbers, or should be one."""
    if isinstance(X, Tensor | np.ndarray) and X.ndim >= 3:
        return [*X]
    if isinstance(X, str | Path):
        raise ValueError(f"X is {X!r}: give a list, [{X!r}]")
    if not isinstance(X, list | tuple | np.ndarray) or len(X) == 0 or getattr(X, "ndim", 1) != 1:
        return None
    one = X[0]
    lone = isinstance(one, str | Path) or hasattr(one, "getexif")  # a picture of Pillow
    return [*X] if lone or (isinstance(one, Tensor | np.ndarray) and one.ndim >= 2) else None


def _sorted(y: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The classes among labels y, sorted, and the index of each label among them."""
    kinds = {type(label) for label in y} if isinstance(y, list | tuple) else set()
    if isinstance(y, np.ndarray) and y.dtype == object and y.ndim == 1:
        kinds = {type(label) for label in y.tolist()}
    numbers = all(issubclass(kind, int | float | np.number | np.bool_) for kind in kinds)
    words = all(issubclass(kind, str) for kind in kinds)
    listed = any(issubclass(kind, list | np.ndarray) for kind in kinds)
    if numbers or words or listed:
        if isinstance(y, Tensor):
            y = y.detach().cpu().numpy()
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        classes, index = np.unique(y, return_inverse=True)
        return classes, index.astype(np.int64)
    for label in y:
        if not isinstance(label, Hashable) or label is None or label != label:
            raise ValueError(
                f"label {label!r}: give a word, a number or anything hashable but None"
            )
    by_name = sorted(set(y), key=lambda label: (type(label).__qualname__, repr(label)))
    place = {label: i for i, label in enumerate(by_name)}
    classes = np.empty(len(by_name), object)
    for i, label in enumerate(by_name):
        classes[i] = label  # one by one: NumPy would make columns of tuples
    return classes, np.array([place[label] for label in y], np.int64)


def _pretrained(model: nn.Module | None) -> str | None:
    """By which name `load_pretrained` gave this model, if it did."""
    name = getattr(model, "pretrained", None)
    return name if isinstance(name, str) and name in MODELS else None


def _plain(label: Any) -> Any:
    """A label as JSON has it."""
    if isinstance(label, tuple):
        return {"tuple": [_plain(part) for part in label]}
    if not isinstance(label, str | bool | int | float):
        raise ValueError(f"label {label!r} cannot be saved: use words, numbers or tuples of them")
    return label


def _label(plain: Any) -> Any:
    """The label that `_plain` made plain."""
    return tuple(map(_label, plain["tuple"])) if isinstance(plain, dict) else plain


def _device(net: nn.Module | None) -> torch.device:
    first = next(net.parameters(), None) if net is not None else None
    return torch.device("cpu") if first is None else first.device


@contextmanager
def _asleep(net: nn.Module) -> Iterator[Tensor]:
    """In `eval()` mode and without gradients; gives a tensor of the network's device and type."""
    floats = [p for p in net.parameters() if p.is_floating_point()]
    with modes_kept(net), torch.no_grad():
        net.eval()
        yield floats[0] if floats else torch.empty(0)


def _weights(net: nn.Module | None) -> dict[str, str] | None:
    """The kind of a network and a digest of its weights."""
    if net is None:
        return None
    digest = hashlib.sha256()
    for name, t in net.state_dict().items():
        digest.update(f"{name} {t.dtype} {list(t.shape)}".encode())
        digest.update(t.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    facts = {"kind": type(net).__name__, "sha256": digest.hexdigest()}
    own: Any = getattr(net, "name", None)
    of_ours = type(net).__module__ == "mlbook.backbones" and isinstance(own, str)
    return facts | {"backbone": own} if of_ours else facts


def _compare(path: Any, name: str, saved: dict[str, str] | None, net: nn.Module | None) -> None:
    given = _weights(net)
    if saved is None and given is not None:
        raise ValueError(f"{path} was saved without {name}=: leave it out")
    if saved is not None and given is None:
        raise ValueError(
            f"{path} was saved with a {saved['kind']} of your own: load(path, {name}=it)"
        )
    if saved is not None and given is not None and saved["sha256"] != given["sha256"]:
        raise ValueError(
            f"{path}: this {given['kind']} has other weights than the {saved['kind']} that was saved as {name}"
        )
