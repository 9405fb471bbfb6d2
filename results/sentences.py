"""Sentences of intents never trained on: what stands behind book/practice/sentences.ipynb.

    python results/run.py sentences          # or: make results METHOD=sentences

On six divisions of CLINC150's intents, three at random and three by domain, the same tasks are asked of word counts,
word vectors, a sentence encoder that stays as it is, and an adapter that is meta-trained above it on the training
intents. Every division is a file of its own, and one that has its file is left out. Half an hour on one core at most.
Two learners that begin without any word, an LSTM that reads and an LSTM that learns, are trained three times on each
of the three random divisions; ten minutes more.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from records import nested, percent, write
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from torch import Tensor, nn

from mlbook import Dataset, Result, evaluate, fit, load
from mlbook.backbones import Backbone, backbone, embed_dataset
from mlbook.lstm_meta_learner import MetaLSTM
from mlbook.metric import PrototypicalNetwork
from mlbook.results import FOLDER

SEEDS = 3
SIZES = {
    "random": ("characters", (85, 15, 50)),
    "domain": ("alphabets", (6, 1, 3)),
}  # intents, or domains of 15 intents
QUERIES = 5
SLOW = {5: 200, 50: 40}  # tasks of the methods that fit a regression to each, by ways
STEPS = 300
PROTOCOL = (
    "CLINC150, all 150 sentences of an intent; at random 85 / 15 / 50 intents, by domain 6 / 1 / 3 domains of 15 "
    "intents (then 45 ways in place of 50); 5 queries a class, tasks of seed 1, the same for all; the regressions on "
    "the first of these tasks; word counts: TF-IDF of words with sublinear counts and a logistic regression with C = "
    "10, both fitted to the support set alone; word vectors: the mean of MiniLM's input embeddings over the pieces of "
    "a sentence, without its two marks; adapter: x - m + A (x - m), A from 0 and m from the mean sentence, prototypes "
    "by cosine times 20, 300 steps of one task of all training intents, 1 shot and 2 queries, AdamW 1e-3 falling "
    "linearly, decay 10 on A, chosen on 35 of the other intents of the random divisions; AUROC of the largest cosine, "
    "queries of 100 tasks of 50 ways 5 shots against the 1,200 sentences of no intent, in each task"
)


class Regression(nn.Module):
    """A logistic regression on the support set of each task."""

    def __init__(self, make: Callable[[], Any], prepare: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.make, self.prepare = make, prepare

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        labels = [f"{y:03}" for y in support_y[0].tolist()]  # words, so that they are sorted
        model = self.make().fit(self.prepare(support_x), labels)
        return lambda x: torch.from_numpy(model.predict_log_proba(self.prepare(x)))[None]


class Adapter(nn.Module):
    """x - m + A (x - m): a linear map that begins as the identity, around the mean sentence."""

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.m = nn.Parameter(mean.clone())
        self.A = nn.Parameter(torch.zeros(len(mean), len(mean)))

    def forward(self, x: Tensor) -> Tensor:
        z = x - self.m
        return z + z @ self.A.T


def prototypes(embed: nn.Module | None = None, scale: float = 20.0) -> PrototypicalNetwork:
    return PrototypicalNetwork(nn.Identity() if embed is None else embed, "cosine", scale)


def adapted(train: Dataset, seed: int) -> PrototypicalNetwork:
    """The adapter, meta-trained."""
    adapter = Adapter(train.images.mean((0, 1)))
    model = prototypes(adapter)
    fit(
        model,
        train.episodes(len(train), 1, 2, seed=seed),
        steps=STEPS,
        optimizer=torch.optim.AdamW(
            [{"params": [adapter.A]}, {"params": [adapter.m], "weight_decay": 0.0}],
            lr=1e-3,
            weight_decay=10.0,
        ),
        schedule=lambda k: 1 - k / STEPS,
        seed=seed,
    )
    return model


def centred(train: Dataset) -> PrototypicalNetwork:
    """No training: the mean sentence of the training intents is taken off, and that is all."""
    return prototypes(Adapter(train.images.mean((0, 1))))


def whitened(train: Dataset, ridge: float = 10.0) -> PrototypicalNetwork:
    """The mean taken off, and directions divided by how much sentences of one intent differ in them."""
    x = train.images.double()
    d = (x - x.mean(1, keepdim=True)).flatten(0, 1)
    S = d.mT @ d / (len(d) - len(x))
    e, V = torch.linalg.eigh(S + ridge * S.trace() / len(S) * torch.eye(len(S), dtype=S.dtype))
    W = V @ torch.diag(e**-0.5) @ V.mT
    adapter = Adapter(train.images.mean((0, 1)))
    adapter.A.data = (W / W.diagonal().mean()).float() - torch.eye(len(S))
    return prototypes(adapter)


@torch.no_grad()
def auroc(model: PrototypicalNetwork, test: Dataset, strangers: Tensor, tasks: int = 100) -> float:
    """The mean over tasks of the chance that a known query has a larger best score than a stranger."""
    source, values = test.episodes(min(50, len(test)), 5, QUERIES, seed=1), []
    for k in range(tasks):
        sx, sy, qx, _ = source[k]
        learner = model.adapt(sx, sy)
        known, strange = (learner(x).amax(-1)[0] for x in (qx, strangers[None]))
        y = [1] * len(known) + [0] * len(strange)
        values.append(roc_auc_score(y, torch.cat([known, strange]).numpy()))
    return float(sum(values) / tasks)


@cache
def data() -> tuple[Dataset, Dataset, Dataset, Dataset]:
    """Sentences as they are, embedded, as means of word vectors; and the strangers, embedded."""
    net = backbone("minilm")
    plain = load("clinc150")
    strangers = embed_dataset(load("clinc150:unknown"), net)
    words = Dataset(averaged(net, plain), plain.classes, plain.groups, "word vectors")
    return plain, embed_dataset(plain, net), words, strangers


@torch.no_grad()
def averaged(net: Backbone, plain: Dataset) -> Tensor:
    """Means of input embeddings over the pieces of each sentence, `[classes, samples, 384]`."""
    assert plain.texts is not None
    rows = []
    for texts in plain.texts:
        pieces = net.preprocess(texts)
        there = (pieces > 0) & (pieces != 101) & (pieces != 102)  # neither filling nor a mark
        z = net.net.pieces(pieces) * there[..., None]
        rows.append(z.sum(1) / there.sum(1)[:, None])
    return torch.stack(rows)


def division(kind: str, seed: int) -> dict[str, Any]:
    """All methods on one division."""
    by, sizes = SIZES[kind]
    plain, features, words, strangers = data()
    train, _, test = features.split(by, seed=seed, sizes=sizes)
    test_plain, test_words = (d.split(by, seed=seed, sizes=sizes)[2] for d in (plain, words))
    linear = lambda: LogisticRegression(C=10, max_iter=100)  # noqa: E731
    count = lambda: make_pipeline(TfidfVectorizer(sublinear_tf=True), linear())  # noqa: E731
    frozen, adapter = prototypes(), adapted(train, seed)
    models: dict[str, tuple[nn.Module, Dataset]] = {
        "word counts + regression": (Regression(count, test_plain.texts_of), test_plain),
        "word vectors, prototypes": (prototypes(), test_words),
        "encoder + regression": (Regression(linear, lambda x: x[0].numpy()), test),
        "encoder, prototypes": (frozen, test),
        "encoder, mean taken off": (centred(train), test),
        "encoder, whitened": (whitened(train), test),
        "encoder + adapter": (adapter, test),
    }
    found: dict[str, Any] = {name: {} for name in models}
    for ways, shots in [(5, 1), (5, 5), (50, 1), (50, 5)]:
        n_ways = min(ways, len(test))

        def ask(name: str, ways: int = ways, n_ways: int = n_ways, shots: int = shots) -> Result:
            model, where = models[name]
            n = SLOW[ways] if isinstance(model, Regression) else 600
            return evaluate(model, where.episodes(n_ways, shots, QUERIES, seed=1), n=n)

        reference = ask("encoder, prototypes")
        for name in models:
            result = ask(name)
            gain = result - Result(reference.values[: result.n], reference.unit)
            found[name][f"{ways}w{shots}s"] = {
                **percent(result),
                "above_prototypes": {k: v for k, v in percent(gain).items() if k != "episodes"},
            }
            print(f"{kind} {seed} {ways}w{shots}s {name}: {result}, {gain}", flush=True)
    for name in ("encoder, prototypes", "encoder, mean taken off", "encoder + adapter"):
        score = auroc(models[name][0], test, strangers.images[0])  # type: ignore[arg-type]
        found[name]["auroc"] = round(100 * score, 2)
    return found


# --- from nothing --------------------------------------------------------------------------------

SCRATCH = (
    "three random divisions, 85 / 15 / 50 intents, three trainings in each; 5 ways 1 shot, 5 queries a class, 600 "
    "tasks of seed 1, the same for all; words that occur more than once in the training intents, 16 of a sentence; "
    "LSTM that reads: word vectors and states of 64, dropout 0.3 on the vectors, mean of the states, prototypes by "
    "cosine times 10, 300 steps of 40 ways 1 shot 2 queries, Adam 5e-3 falling linearly; LSTM meta-learner: above what "
    "that LSTM reads, held fixed, a linear layer that it trains in 5 steps, itself in 150 steps of 4 tasks, Adam 3e-3 "
    "falling linearly; interval: Student's t over the means of the three divisions, 2 degrees of freedom, each over "
    "its trainings and tasks, the variance between divisions never taken below what trainings and tasks inside them "
    "explain"
)


class Reader(nn.Module):
    """Word vectors, an LSTM over them, and the mean of its states: `[B, L]` to `[B, 64]`."""

    def __init__(self, words: int, dim: int = 64) -> None:
        super().__init__()
        self.words, self.drop = nn.Embedding(words, dim, padding_idx=0), nn.Dropout(0.3)
        self.lstm = nn.LSTM(dim, dim, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        there = (x > 0)[..., None]
        states, _ = self.lstm(self.drop(self.words(x.long())))
        out: Tensor = (states * there).sum(1) / there.sum(1).clamp_min(1)
        return out


def numbered(train: Dataset, *parts: Dataset, longest: int = 16) -> tuple[int, list[Dataset]]:
    """How many words the training intents have, and the parts with each sentence as the numbers of its words."""

    def words_in(text: str) -> list[str]:
        return re.findall(r"[a-z0-9']+", text.lower())

    counts = Counter(w for row in train.texts or [] for text in row for w in words_in(text))
    vocabulary = {w: i + 2 for i, w in enumerate(w for w, n in counts.most_common() if n > 1)}
    done = []
    for part in parts:
        rows = [
            [[vocabulary.get(w, 1) for w in words_in(t)][:longest] for t in row]
            for row in part.texts or []
        ]
        x = torch.tensor([[row + [0] * (longest - len(row)) for row in some] for some in rows])
        done.append(Dataset(x.float(), part.classes, part.groups, "words", texts=part.texts))
    return len(vocabulary) + 2, done


def from_nothing(train: Dataset, test: Dataset, seed: int) -> dict[str, Tensor]:
    """Both learners, trained once: accuracies of 600 tasks."""
    size, (train_words, test_words) = numbered(train, train, test)
    torch.manual_seed(seed)
    reader = PrototypicalNetwork(Reader(size), "cosine", 10.0)
    adam = torch.optim.Adam(reader.parameters(), lr=5e-3)
    source = train_words.episodes(40, 1, 2, seed=seed)
    fit(reader, source, 300, adam, schedule=lambda k: 1 - k / 300, seed=seed, progress=False)

    @torch.no_grad()
    def read(data: Dataset) -> Dataset:
        reader.eval()
        z = F.normalize(reader.embed(data.images.flatten(0, 1)), dim=-1) * 8
        return Dataset(z.unflatten(0, data.images.shape[:2]), data.classes, data.groups, "read")

    rule = MetaLSTM(nn.Linear(64, 5), steps=5)
    adam = torch.optim.Adam(rule.parameters(), lr=3e-3)
    source = read(train_words).episodes(5, 1, 5, tasks=4, seed=seed)
    fit(rule, source, 150, adam, schedule=lambda k: 1 - k / 150, seed=seed, progress=False)
    found = (reader, test_words), (rule, read(test_words))
    names = ("prototypes of an LSTM", "LSTM meta-learner")
    return {
        name: evaluate(model, part.episodes(5, 1, QUERIES, seed=1)).values
        for name, (model, part) in zip(names, found, strict=True)
    }


def scratch() -> None:
    """An LSTM that reads and one that learns, on three divisions, three times each."""
    if (FOLDER / "sentences_scratch.json").exists():
        return
    plain, features, _, _ = data()
    rows: dict[str, list[Tensor]] = {}
    for d in range(SEEDS):
        split: dict[str, Any] = {"seed": d, "sizes": SIZES["random"][1]}
        train, _, test = plain.split("characters", **split)
        runs = [from_nothing(train, test, seed) for seed in range(SEEDS)]
        found = {name: torch.stack([run[name] for run in runs]) for name in runs[0]}
        count = lambda: make_pipeline(  # noqa: E731
            TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10, max_iter=100)
        )
        embedded = features.split("characters", **split)[2]
        for name, model, where in (
            ("word counts + regression", Regression(count, test.texts_of), test),
            ("encoder, prototypes", prototypes(), embedded),
        ):
            found[name] = evaluate(model, where.episodes(5, 1, QUERIES, seed=1)).values[None]
        for name, values in found.items():
            rows.setdefault(name, []).append(values)
            print(d, name, [round(100 * v, 1) for v in values.mean(1).tolist()], flush=True)
    values = {name: torch.stack(row) for name, row in rows.items()}
    results = {name: nested(v) for name, v in values.items()}
    for name in ("prototypes of an LSTM", "LSTM meta-learner"):
        ahead = values[name] - values["word counts + regression"]
        results[f"{name} - word counts + regression"] = nested(ahead)
    write("sentences", "scratch", steps=300, protocol=SCRATCH, results=results)


def sentences() -> None:
    """Every division that has no file yet."""
    scratch()
    for kind in SIZES:
        for seed in range(SEEDS):
            setting = f"{kind}_seed{seed}"
            if not (FOLDER / f"sentences_{setting}.json").exists():
                facts = {"seed": seed, "steps": STEPS, "division": kind, "protocol": PROTOCOL}
                write("sentences", setting, **facts, methods=division(kind, seed))
