"""A fitted classifier as one file for other programs: ONNX, or a program of `torch.export`."""

from __future__ import annotations

import copy
import inspect
import io
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from mlbook import __version__
from mlbook.backbones import Backbone, Pictures, Sentences
from mlbook.classifier import Resized, _like, _plain
from mlbook.data.files import atomic, printable

if TYPE_CHECKING:
    from mlbook.classifier import FewShotClassifier

OUTPUTS = ["probabilities", "known", "answer"]
OPSET = 18  # of ONNX: the first with a Resize that smooths where it makes smaller


class Deployed(nn.Module):
    """All that a fitted classifier does to bytes, word pieces or numbers, as one network that learns no more.

    `FewShotClassifier.export` writes it, and other exporters may begin with it::

        whole = Deployed(clf)
        probabilities, known, answer = whole(whole.example)

    Its networks are copies, on the CPU and in `eval()`. A network that asks each query in the company of the support
    set (MAML, Reptile, ANIL and Meta-SGD do) takes one example at a time.

    Args:
        clf: A classifier after `fit`.
        example: As for `FewShotClassifier.export`.

    Attributes:
        example: An input to trace it with, of two examples or the one.
        sizes: The dimensions of the input that may have any size, by what they count: `{0: "batch"}`.
        facts: Labels, temperature, threshold, by, input (what goes in) and mlbook (its version).

    Shape:
        - input: as `facts["input"]` says
        - output: probabilities `[B, N]`, in the order of the labels; known `[B]`, as `FewShotClassifier.known_score`;
          answer `[B]`, the place of a label, or -1 for none of them

    Raises:
        ValueError: If the answers depend on each other, nothing says of what shape the inputs are, or a label is no
            string, number, bool or a tuple of them.
    """

    def __init__(self, clf: FewShotClassifier, example: Any = None) -> None:
        super().__init__()
        clf = copy.copy(clf)
        clf.model, clf.embed = (
            None if net is None else copy.deepcopy(net).cpu().eval()
            for net in (clf.model, clf.embed)
        )
        alone = "transductive" in inspect.signature(clf._method().adapt).parameters
        if alone and (clf.adapt or {}).get("transductive"):
            raise ValueError(
                "adapt={'transductive': True} makes an answer depend on what else is asked; leave it out to export"
            )
        self.model, self.embed, self.looks = clf.model, clf.embed, clf._looks(learned=False)
        prepare = clf._prepare()
        owner: Any = getattr(prepare, "__self__", None)
        backbones = isinstance(owner, Backbone) and prepare == owner.preprocess
        self.preparation: Any = owner.preparation if backbones else prepare
        self.support, y = clf._support.cpu(), torch.from_numpy(clf._y)
        self.learner = clf._learned(self.support, y)
        self.asked = clf._adapted(self.support, y)  # the classifier's own way, to compare with
        found = clf.calibration_
        self.temperature, self.by = clf.temperature_, found.by if found else "score"
        self.threshold = found.threshold if found else -math.inf
        self.input, self.two, self.sizes, what = self._input(clf, example)
        self.n = len(clf.classes_)
        if alone:
            del self.sizes[0]
        if self.input == "inputs" and 1 in self.sizes:
            try:
                self(self.two[:, 1:])
            except Exception:  # a network's own code raises whatever it likes
                del self.sizes[1]
        self.example = self.two[:1] if alone else self.two
        shape = ", ".join(str(self.sizes.get(i, n)) for i, n in enumerate(self.example.shape))
        self.facts = {
            "labels": [_plain(label) for label in clf.classes_.tolist()],
            "temperature": self.temperature,
            "threshold": self.threshold if self.threshold > -math.inf else None,
            "by": self.by,
            "input": f"{str(self.example.dtype).removeprefix('torch.')} [{shape}]: {what}",
            "mlbook": __version__,
        }

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities, how known each example is, and the answers."""
        return self.answers(self.learner(self.features(x)[None])[0, :, : self.n])

    def features(self, x: Tensor) -> Tensor:
        """What the model adapts to, of inputs x."""
        prepare = self.preparation
        if isinstance(prepare, Pictures):
            x = self.fitted(x / 255)
        if isinstance(prepare, Resized):
            x = x / 255
            if (
                prepare.ink
            ):  # of an even number of pixels the lower median counts, as `Tensor.median` has it
                bright = (x <= 0.5).flatten(1).sum(1) <= (x[0].numel() - 1) // 2
                x = torch.where(bright[:, None, None, None], 1 - x, x)
        if self.embed is not None:
            x = self.looks(self.embed, _like(x, _floats(self.embed)))
            x = x.flatten(1) if self.model is None else x
        return _like(x, self.support if self.model is None else _floats(self.model))

    def fitted(self, x: Tensor) -> Tensor:
        """What `Pictures` makes of pictures `[B, 3, H, W]` in [0, 1], whatever their size."""
        wanted, sides = self.preparation, x.shape[-2:]
        scale = wanted.size / wanted.crop / torch.sym_min(*sides)  # type: ignore[no-untyped-call]
        new = [torch.sym_max(wanted.size, round(n * scale)) for n in sides]  # type: ignore[no-untyped-call]
        x = F.interpolate(x, new, mode=wanted.mode, antialias=True, align_corners=False)
        top, left = ((side - wanted.size) // 2 for side in new)
        x = x.clamp(0, 1)[..., top : top + wanted.size, left : left + wanted.size]
        mean, std = (x.new_tensor(values)[:, None, None] for values in (wanted.mean, wanted.std))
        return (x - mean) / std

    def answers(self, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The three outputs, from scores `[B, N]`."""
        scores = scores.float().detach()
        p, answer = (scores / self.temperature).softmax(1), scores.argmax(1)
        known = (p if self.by == "probability" else scores).amax(1)
        if self.threshold > -math.inf:
            answer = torch.where(known < self.threshold, -1, answer)
        return p, known, answer

    def _input(self, clf: Any, example: Any) -> tuple[str, Tensor, dict[int, str], str]:
        """The input's name, two examples, which of its dimensions are of any size, and what it is."""
        prepare, draw = self.preparation, torch.Generator().manual_seed(0)
        if hasattr(clf, "n_features_in_"):
            x = torch.randn(2, clf.n_features_in_, generator=draw)
            return "vectors", x, {0: "batch"}, "one in a row"
        if isinstance(prepare, Pictures | Resized):
            size, colours = prepare.size, getattr(prepare, "channels", 3) == 3
            shape = [2, 3 if colours else 1, size, size]
            what = f"{'red, green and blue' if colours else 'grey'}, upright, on white where transparent, "
            sizes = {0: "batch"}
            if isinstance(prepare, Pictures):
                shape[2:] = size + 60, size + 107
                sizes |= {2: "height", 3: "width"}
                what += "as large as they come"
            else:
                what += f"stretched to {size} x {size} pixels (in Pillow by Resampling.LANCZOS)"
            x = torch.randint(256, shape, dtype=torch.uint8, generator=draw)
            return "pictures", x, sizes, what
        if isinstance(prepare, Sentences):
            x = torch.randint(1, 1000, (2, 9), generator=draw)
            x[1, 6:] = 0
            what = (
                f"word pieces as `tokenizer` numbers them, {prepare.longest} at most, 0 to fill up"
            )
            return "pieces", x, {0: "batch", 1: "length"}, what
        if example is not None:
            x = next(copy.copy(clf)._batches(example, False))
        elif clf.embed is None:
            x = self.support
        else:
            raise ValueError(
                "nothing says of what shape the inputs are; show one: export(path, example=[one])"
            )
        x = torch.cat([x, x])[:2].cpu()
        sizes = {0: "batch"}
        if not x.is_floating_point() and x.dim() == 2 and x.shape[1] > 3:
            sizes[1] = "length"  # whole numbers, of word pieces say, unless they are always as many
        return (
            "inputs",
            x,
            sizes,
            "what preprocess gives" if prepare else "as they are learned from",
        )


def export(clf: FewShotClassifier, path: str | Path, example: Any = None) -> None:
    """Write a fitted classifier as `FewShotClassifier.export` says."""
    path = Path(path)
    if path.suffix not in (".onnx", ".pt2"):
        raise ValueError(f"{printable(path)}: name it .onnx, or .pt2 for torch.export")
    with _quiet(), torch.no_grad():
        whole = Deployed(clf, example)
        made = (_onnx if path.suffix == ".onnx" else _pt2)(whole)
    with atomic(path) as part:
        part.write_bytes(made)


def _program(whole: Deployed) -> ExportedProgram:
    sizes = {i: Dim(name) for i, name in whole.sizes.items()}
    try:
        made = torch.export.export(whole, (whole.example,), dynamic_shapes=(sizes,), strict=False)
    except Exception as error:  # a network's own code raises whatever it likes
        raise ValueError(
            f"{_names(whole)}: torch.export cannot follow what is computed ({_line(error)}). Decide by operations on "
            "tensors, torch.where say, not by their values or the size of the batch"
        ) from error
    for name, constant in made.constants.items():  # what was learned may come with its history
        made.constants[name] = constant.detach()
    return made


def _pt2(whole: Deployed) -> bytes:
    made, file = _program(whole), io.BytesIO()
    _compare(whole, made.module())
    for node in made.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names folders of this machine
    for p in made.parameters():
        p.requires_grad_(False)  # not before: the LSTM meta-learner knows by it what it learns
    torch.export.save(made, file, extra_files=_texts(whole))
    return file.getvalue()


def _onnx(whole: Deployed) -> bytes:
    try:
        import onnxruntime
        from onnxscript import opset18 as op
    except ImportError as error:
        raise ImportError(f'{error}; a file .onnx needs pip install "mlbook[export]"') from error
    size = sum(t.numel() * t.element_size() for t in chain(whole.parameters(), whole.buffers()))
    if size > 1.9e9:
        raise ValueError(
            f"{_names(whole)}: an ONNX file holds 2 GB, not {size / 1e9:.1f}; a file .pt2 does"
        )

    def distances(a: Any, b: Any, p: float, _: Any = None) -> Any:
        if p != 2:
            raise ValueError(f"torch.cdist with p={p}")
        between = op.Sub(op.Unsqueeze(a, [-2]), op.Unsqueeze(b, [-3]))
        return op.Sqrt(op.ReduceSumSquare(between, [-1], keepdims=0))

    translations: dict[
        Any, Callable[..., Any]
    ] = {  # those that onnxscript lacks, or has with less precision
        torch.ops.aten._cdist_forward.default: distances,
        round: lambda x, _=None: op.Cast(op.Round(x), to=7),
        # Sigmoid in onnxruntime is the same for all that is below -18
        torch.ops.aten.sigmoid.default: lambda x: op.Reciprocal(op.Add(1.0, op.Exp(op.Neg(x)))),
        torch.ops.aten.log_sigmoid.default: lambda x: op.Neg(op.Softplus(op.Neg(x))),
    }
    program, sizes = _program(whole), {i: Dim(name) for i, name in whole.sizes.items()}
    try:
        made: Any = torch.onnx.export(
            program, dynamo=True, opset_version=OPSET, input_names=[whole.input], output_names=OUTPUTS, verbose=False,
            dynamic_shapes=(sizes,), custom_translation_table=translations,
        )  # fmt: skip
        model = made.model
        for node in model.graph.all_nodes():
            node.metadata_props.clear()  # they name folders of this machine
        model.metadata_props.update(_texts(whole))
        model.producer_name, model.producer_version = "mlbook", __version__
        model.doc_string = f"{whole.input}: {whole.facts['input']}"
        raw: bytes = made.model_proto.SerializeToString()
        session = onnxruntime.InferenceSession(raw, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ValueError(
            f"{_names(whole)}: ONNX cannot say all of it ({_line(error)}); a file .pt2 may"
        ) from error
    _compare(whole, lambda x: map(torch.tensor, session.run(OUTPUTS, {whole.input: x.numpy()})))
    return raw


def _texts(whole: Deployed) -> dict[str, str]:
    """What a file holds beside the network, each as JSON."""
    texts = {name: json.dumps(fact, ensure_ascii=False) for name, fact in whole.facts.items()}
    if isinstance(whole.preparation, Sentences):
        texts["tokenizer"] = whole.preparation.tokenizer.to_str()
    return texts


def _compare(whole: Deployed, run: Callable[[Tensor], Any]) -> None:
    """Ask what was made for one example and for three, of other sizes than it was traced with."""
    for n in (3, 1) if 0 in whole.sizes else (1,):
        x = whole.two.flip(0).repeat(2, *[1] * (whole.two.dim() - 1))[:n]
        for i in whole.sizes.keys() - {0}:
            x = x.narrow(i, 0, x.shape[i] - 2)
        right = whole.answers(whole.asked(whole.features(x)))
        for name, a, b in zip(OUTPUTS[:2], run(x), right[:2], strict=False):
            if not torch.allclose(a, b, 1e-3, 1e-3):
                raise ValueError(
                    f"{_names(whole)}: {name} of the export are up to {(a - b).abs().max():.2g} beside its own, so "
                    "nothing is written; does it decide by the size of the batch, or draw random numbers in eval()?"
                )


def _names(whole: Deployed) -> str:
    nets = [type(net).__name__ for net in (whole.model, whole.embed) if net is not None]
    return " behind ".join(nets) or "prototypes"


def _line(error: Exception) -> str:
    """What an error says, in one line; exporters wrap it up."""
    while error.__cause__ is not None:
        error = error.__cause__  # type: ignore[assignment]
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _floats(net: nn.Module) -> Tensor:
    """A tensor of the network's precision."""
    return next((p for p in net.parameters() if p.is_floating_point()), torch.empty(0))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters tell their own developers."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
