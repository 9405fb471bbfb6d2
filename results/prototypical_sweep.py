"""What Prototypical Networks' accuracy depends on: short training runs that differ in one thing each.

    python results/run.py prototypical_sweep        # or: make results METHOD=prototypical_sweep

Those that compare ways or distances see the same number of pictures in the same number of steps. The last
pair compares episodes with ordinary training of the same network: `pretrained` tells all training classes apart, in as
many pictures as `episodes`. Each run writes `mlbook/results/prototypical_sweep_NAME.json` when it is done and is
skipped from then on, so a sweep that was stopped goes on with the first run it had not finished. About twenty
minutes on one core.
"""

from __future__ import annotations

import copy
import json
from typing import NamedTuple

import torch
from machine import hardware
from schedules import half_cosine
from torch import Tensor, nn

from mlbook import Dataset, Episodes, History, evaluate, fit, load
from mlbook.baselines import PretrainedCentroids
from mlbook.data.files import atomic
from mlbook.episodes import Batches
from mlbook.metric import PrototypicalNetwork
from mlbook.nets import Conv4
from mlbook.results import FOLDER

Model = PrototypicalNetwork | PretrainedCentroids
RATE = 2e-3
SEEDS = (0, 1)


class Run(NamedTuple):
    """One training: what it is called and how it differs from the others."""

    name: str
    ways: int
    tasks: int  # in a step; of 1 shot and 5 queries a class
    steps: int = 200
    distance: str = "squared"
    scale: float = 1.0


RUNS = [
    Run("ways05", 5, 6),
    Run("ways10", 10, 3),
    Run("ways30", 30, 1),
    Run("tenth", 30, 1, scale=0.1),
    Run("euclidean", 30, 1, distance="euclidean"),
    Run("cosine01", 30, 1, distance="cosine"),
    Run("cosine10", 30, 1, distance="cosine", scale=10.0),
    Run("episodes", 20, 1, steps=650),
    Run("pretrained", 0, 0, steps=610),  # no ways: batches of 128 pictures
]
# setting, ways, shots, queries, episodes
SETTINGS = [("5w1s", 5, 1, 5, 600), ("20w1s", 20, 1, 2, 600)]


class Lookup(nn.Module):
    """An embedding computed beforehand.

    A picture is only its own number, in two bytes `[B, 2, 1, 1]`, and its embedding that row of z.
    """

    def __init__(self, z: Tensor) -> None:
        super().__init__()
        self.z = z

    def forward(self, x: Tensor) -> Tensor:
        high, low = (255 * x).round().long().flatten(1).T
        return self.z[256 * high + low]


def embedded(model: Model, data: Dataset) -> tuple[Model, Dataset]:
    """The same model and classes with every picture embedded once.

    In `eval()` mode an embedding depends on its picture alone, so episodes, scores and accuracies are those of the
    pictures themselves, at a fraction of the time.
    """
    model.eval()
    classes, samples = data.images.shape[:2]
    with torch.no_grad():
        z = torch.cat(
            [model.embed(part.float() / 255) for part in data.images.flatten(0, 1).split(500)]
        )
    number = torch.arange(classes * samples).view(classes, samples, 1, 1, 1)
    pictures = torch.cat([number // 256, number % 256], 2).to(torch.uint8)
    same = copy.copy(model)
    same._modules = {**model._modules, "embed": Lookup(z)}
    return same, Dataset(pictures, data.classes, data.groups, data.name)


def train(run: Run, seed: int, data: Dataset) -> tuple[Model, History]:
    """The model of one run, and how its training went."""
    torch.manual_seed(seed)
    tasks: Batches | Episodes
    if run.ways:
        model: Model = PrototypicalNetwork(Conv4(), run.distance, run.scale)
        tasks = data.episodes(run.ways, 1, 5, run.tasks, seed=seed)
    else:
        tasks = Batches(data, 128, seed=seed)
        model = PretrainedCentroids(Conv4(), 64, tasks.classes)
    return model, fit(
        model,
        tasks,
        steps=run.steps,
        optimizer=torch.optim.Adam(model.parameters(), lr=RATE),
        schedule=lambda k: half_cosine(k / run.steps),
    )


def measure(run: Run, seed: int) -> None:
    """Train once, evaluate on test classes, write one JSON; do nothing if that file is there."""
    path = FOLDER / f"prototypical_sweep_{run.name}_seed{seed}.json"
    if path.exists():
        return
    train_set, _, test = load("omniglot").split("characters", seed=0)
    model, history = train(run, seed, train_set)
    accuracy = {}
    quick, numbers = embedded(model, test)
    for setting, n_ways, shots, queries, n in SETTINGS:
        result = evaluate(quick, numbers.episodes(n_ways, shots, queries, seed=1), n)
        accuracy[setting] = {
            "accuracy": round(100 * result.mean, 3),
            "interval": round(100 * result.interval, 3),
            "episodes": result.n,
        }
        print(f"{run.name} seed {seed}, {setting}: {result}", flush=True)
    entry = {
        "method": "prototypical_sweep",
        "run": run.name,
        "train_ways": run.ways,
        "tasks": run.tasks,
        "distance": run.distance,
        "scale": run.scale,
        "seed": seed,
        "results": accuracy,
        "protocol": "Omniglot 'characters' split, seed 0; 28x28; classes turned by multiples of 90 degrees in training "
        "only; Conv4-64; Adam, cosine schedule; 1-shot episodes with 5 queries a class, or batches of 128 pictures "
        "(pretrained); running batch-norm statistics at meta-test (inductive)",
        "steps": run.steps,
        "rate": RATE,
        "seconds": round(history.seconds, 1),
        "hardware": hardware(),
        "torch": torch.__version__,
        "command": "make results METHOD=prototypical_sweep",
    }
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(entry, indent=2, ensure_ascii=False) + "\n")


def prototypical_sweep() -> None:
    """All runs of the sweep that have no result yet."""
    for seed in SEEDS:
        for run in RUNS:
            measure(run, seed)


if __name__ == "__main__":
    prototypical_sweep()
