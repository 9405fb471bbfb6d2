"""Groceries and emoji: what stands behind book/practice/pictures.ipynb.

    python results/run.py pictures          # or: make results METHOD=pictures

The coarse classes are divided three times into some to train on, some to choose by and some to test. In each
division every method is asked the same tasks, support from `groceries:train` or the catalogue and queries from
`groceries:test`, and what is trained is trained from three seeds. Emoji are divided five times by their concepts, and
asked across styles. Resumable: a division that is written is not measured again. A quarter of an hour on one core.
"""

from __future__ import annotations

import copy
import time
from typing import Any

import torch
import torch.nn.functional as F
from records import nested, percent, write
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from mlbook import Dataset, Episodes, Result, evaluate, fit, load
from mlbook.backbones import backbone, embed_dataset
from mlbook.baselines import RidgeAttributes
from mlbook.data.emoji import STYLES
from mlbook.metric import PrototypicalNetwork
from mlbook.nets import Conv4
from mlbook.results import FOLDER

PARTS = ("train", "test", "catalogue")
DIVISIONS, SIZES = (2, 3, 5), (22, 7, 14)  # seeds of the split; coarse classes
SETTINGS = {"5w1s": (5, 1, 300), "5w5s": (5, 5, 300), "20w5s": (20, 5, 100)}
SEEDS = (0, 1, 2)
STEPS, SIDE = 60, 40  # of the map; pixels of what Conv4 sees
PROTOCOL = (
    "split('alphabets', seed=division, sizes=(22, 7, 14)); support from groceries:train, or from the catalogue, and 10 "
    "queries a class from groceries:test; features of EfficientNet-Lite0 at 224 pixels; heads: cosine to class means, "
    "logistic regression with C=10 on features of length 1; whitened: the covariance within training classes plus "
    "0.3 of its mean eigenvalue; meta-trained: 60 steps of 20 ways, 1 shot, 10 queries from the training classes, "
    "Adam 3e-4 from the identity and 1e-4 from the whitening, chosen on the validation classes of the three divisions "
    "(from the whitening 3e-5 is as good there, 3e-4 is worse, and dropout of 0.3 on the features costs up to four "
    "points at one shot); Conv4: 40 pixels, 250 steps of 20 ways, 1 shot, 5 queries, Adam 1e-3"
)


class Logistic(nn.Module):
    """Logistic regression on features of length 1, anew in every task."""

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Any:
        fitted = [
            LogisticRegression(C=10).fit(F.normalize(x, dim=-1).numpy(), y.numpy())
            for x, y in zip(support_x, support_y, strict=True)
        ]
        return lambda query_x: torch.stack(
            [
                torch.from_numpy(clf.decision_function(F.normalize(x, dim=-1).numpy()))
                for clf, x in zip(fitted, query_x, strict=True)
            ]
        )


class Adapter(nn.Module):
    """A linear map behind frozen features: the whitening of the differences within classes, or the identity."""

    def __init__(self, x: Tensor, y: Tensor, whiten: bool = True) -> None:
        super().__init__()
        x = F.normalize(x, dim=-1)
        mean = torch.stack([x[y == k].mean(0) for k in range(int(y.max()) + 1)])
        rest = x - mean[y]
        values, vectors = torch.linalg.eigh(rest.mT @ rest / len(rest))
        scale = (values + 0.3 * values.mean()).rsqrt()
        whitening = (vectors * scale) @ vectors.mT / scale.square().mean().sqrt()
        self.map = nn.Parameter(whitening if whiten else torch.eye(x.shape[1]))
        self.register_buffer("centre", mean.mean(0))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = (F.normalize(x, dim=-1) - self.centre) @ self.map
        return out


def examples(*parts: Dataset) -> tuple[Tensor, Tensor]:
    """All features `[n, D]` of the parts and the number of each one's class."""
    x, y = [], []
    for part in parts:
        for k, n in enumerate(part.per_class):
            x.append(part.images[k, :n])
            y += [k] * n
    return torch.cat(x), torch.tensor(y)


@torch.no_grad()
def embedded(embed: nn.Module, parts: list[Dataset]) -> list[Dataset]:
    """The parts with every example embedded once: a task of 100 asks for each of them again and again."""
    embed.eval()
    done = []
    for part in parts:
        other = copy.copy(part)
        pictures = part.images.dtype == torch.uint8
        rows = [embed(of.float() / 255 if pictures else of) for of in part.images]
        other.images, other._digest, other.rotate = torch.stack(rows), None, False
        done.append(other)
    return done


def means(embed: nn.Module) -> PrototypicalNetwork:
    return PrototypicalNetwork(embed, "cosine", 10.0)


def zero_shot(train: list[Dataset], test: list[Dataset]) -> Result:
    """From descriptions alone: features to the embedded description by ridge regression; on all test classes."""
    net = backbone("minilm")
    words = []
    for part in (train[0], test[0]):
        said = zip(part.classes, part.descriptions or [], strict=True)
        words.append(net(net.preprocess([f"{c.replace('-', ' ')}. {d}" for c, d in said])))
    x, y = examples(train[0], train[1])
    x = F.normalize(x, dim=-1)
    model = RidgeAttributes(1e-4).solve(x, words[0][y])
    learner = model.adapt(words[1][None])
    episodes, right = test[1].episodes(len(test[1]), 1, 9, seed=1), []
    for k in range(200):
        _, _, qx, qy = episodes[k]
        answer = learner(F.normalize(qx, dim=-1)).argmax(-1)
        right.append((episodes.classes_of(k)[0][qy[0]] == answer[0]).double().mean())
    return Result(torch.stack(right))


def division(seed: int, features: list[Dataset], pixels: list[Dataset]) -> dict[str, Any]:
    """Every method's accuracies in one division, and the paired differences from the two heads."""

    def split(sets: list[Dataset]) -> list[list[Dataset]]:
        return [
            list(of) for of in zip(*(s.split("alphabets", seed, SIZES) for s in sets), strict=True)
        ]

    train, _, test = split(features)
    train_pixels, _, test_pixels = split(pixels)

    def tasks(data: list[Dataset], ways: int, shots: int, support: int = 0) -> Episodes:
        return data[support].episodes(ways, shots, 10, queries_from=data[1], seed=1)

    x, y = examples(train[0], train[1])
    models: dict[str, tuple[nn.Module, list[Dataset]]] = {
        "pixels": (means(nn.Flatten()), test_pixels),
        "frozen": (means(nn.Identity()), test),
        "logistic": (Logistic(), test),
        "whitened": (means(Adapter(x, y)), test),
    }
    seconds = {}
    for name, whiten, rate in (("identity", False, 3e-4), ("whitening", True, 1e-4)):
        for k in SEEDS:
            torch.manual_seed(k)
            model = means(Adapter(x, y, whiten))
            source = train[0].episodes(20, 1, 10, queries_from=train[1], seed=100 + k)
            begun = time.monotonic()
            fit(
                model,
                source,
                STEPS,
                torch.optim.Adam(model.parameters(), rate),
                seed=k,
                progress=False,
            )
            seconds[f"{name} {k}"] = round(time.monotonic() - begun, 1)
            models[f"{name} {k}"] = model, test
    if seed == DIVISIONS[0]:
        torch.manual_seed(0)
        model = PrototypicalNetwork(Conv4(3))
        source = train_pixels[0].episodes(20, 1, 5, queries_from=train_pixels[1], seed=100)
        begun = time.monotonic()
        fit(model, source, 250, progress=False)
        seconds["conv4"] = round(time.monotonic() - begun, 1)
        models["conv4"] = model, test_pixels
    ways = len(test[0])
    settings = SETTINGS | {"catalogue": (ways, 1, 100)}
    found: dict[str, Any] = {}
    raw: dict[str, dict[str, Result]] = {}
    for name, (model, data) in models.items():
        if isinstance(model, PrototypicalNetwork):
            data = embedded(model.embed, data)
            model.embed = nn.Identity()
        for setting, (n, shots, episodes) in settings.items():
            support = 2 * (setting == "catalogue")
            result = evaluate(model, tasks(data, min(n, ways), shots, support), episodes)
            raw.setdefault(setting, {})[name] = result
            found.setdefault(name, {})[setting] = percent(result)
        print(seed, name, *(f"{s} {r['accuracy']:.1f}" for s, r in found[name].items()), flush=True)
    found["zero-shot"] = {"catalogue": percent(zero_shot(train, test))}
    print(seed, "zero-shot", found["zero-shot"], flush=True)
    for name in ("whitened", "identity", "whitening"):
        for head in ("frozen", "logistic"):
            for setting, results in raw.items():
                runs = [r.values for m, r in results.items() if m.split()[0] == name]
                mine = Result(torch.stack(runs).mean(0))
                found.setdefault(f"{name} - {head}", {})[setting] = percent(mine - results[head])
    return {"ways": ways, "results": found, "seconds": seconds}


EMOJI_DIVISIONS = (0, 1, 2, 3, 4)  # seeds of the split of concepts
EMOJI_PROTOCOL = (
    "split('characters', seed=division), five divisions; 5 ways 1 shot, 600 tasks of seed 1; features of "
    "EfficientNet-Lite0 from pictures of 48 pixels; all four styles: support of one style, 3 queries a class of the "
    "three others, training on all four; a style held out: maps made and trained on the three others alone, support of "
    "one of these, drawn for each task, one query a class of the style held out; meta-trained: 60 steps of 40 ways, 1 "
    "shot, Adam 1e-4 from the whitening, as on groceries, three trainings in each division; interval: Student's t over "
    "the means of the five divisions, each over its trainings and tasks, the variance between divisions never taken "
    "below what trainings and tasks inside them explain"
)


def across(train: Dataset, test: Dataset, pixels: Dataset, out: int | None) -> dict[str, Tensor]:
    """Accuracies `[trainings, tasks]` by method, across styles in one division; `out` is a style never trained on."""
    rest = [s for s in range(4) if s != out]
    known = train.samples(rest)
    queries = 3 if out is None else 2

    def ask(data: Dataset) -> Episodes:
        if out is None:
            return data.episodes(5, 1, 3, aligned=True, seed=1)
        return data.samples(rest).episodes(
            5, 1, 1, queries_from=data.samples([out]), aligned=True, seed=1
        )

    x, y = examples(known)
    found = {
        "pixels": [evaluate(PrototypicalNetwork(nn.Flatten()), ask(pixels)).values],
        "frozen": [evaluate(means(nn.Identity()), ask(test)).values],
        "whitened": [evaluate(means(Adapter(x, y)), ask(test)).values],
        "whitening": [],
    }
    for k in SEEDS:
        torch.manual_seed(k)
        model = means(Adapter(x, y))
        source = known.episodes(40, 1, queries, aligned=True, seed=100 + k)
        optimizer = torch.optim.Adam(model.parameters(), 1e-4)
        fit(model, source, STEPS, optimizer, seed=k, progress=False)
        found["whitening"].append(evaluate(model, ask(test)).values)
    return {name: torch.stack(runs) for name, runs in found.items()}


def emoji() -> None:
    """Across styles, in all divisions."""
    data = load("emoji")
    features = embed_dataset(data, backbone("efficientnet_lite0"))
    for name, out in (("styles", None), *((s, k) for k, s in enumerate(STYLES))):
        setting = f"emoji_{name}"
        if (FOLDER / f"pictures_{setting}.json").exists():
            continue
        raw = []
        for d in EMOJI_DIVISIONS:
            train, _, test = features.split("characters", seed=d)
            raw.append(across(train, test, data.split("characters", seed=d)[2], out))
            print(name, d, {m: round(100 * v.mean().item(), 1) for m, v in raw[-1].items()})
        values = {m: torch.stack([of[m] for of in raw]) for m in raw[0]}
        found = {m: nested(v) for m, v in values.items()}
        for m, head in (("whitened", "frozen"), ("whitening", "frozen"), ("whitening", "whitened")):
            found[f"{m} - {head}"] = nested(values[m] - values[head])
        held_out = None if out is None else name
        facts = {"protocol": EMOJI_PROTOCOL, "divisions": EMOJI_DIVISIONS, "steps": STEPS}
        write("pictures", setting, **facts, held_out=held_out, results=found)


def pictures() -> None:
    """Measure what is not there yet."""
    emoji()
    missing = [d for d in DIVISIONS if not (FOLDER / f"pictures_groceries_{d}.json").exists()]
    if not missing:
        return
    net, features, pixels = backbone("efficientnet_lite0"), [], []
    for part in PARTS:
        data = load(f"groceries:{part}", size=224)
        features.append(embed_dataset(data, net))
        small = torch.empty(*data.images.shape[:3], SIDE, SIDE, dtype=torch.uint8)
        for k, of_class in enumerate(data.images):
            small[k] = F.interpolate(of_class.float(), SIDE, mode="area").round().byte()
        data.images, data._digest = small, None
        pixels.append(data)
    for d in missing:
        measured = division(d, features, pixels)
        facts = {"protocol": PROTOCOL, "division": d, "steps": STEPS}
        write("pictures", f"groceries_{d}", **facts, **measured)
