"""What Prototypical Networks' accuracy depends on: short training runs that differ in one thing each.

    python results/prototypical_sweep.py        # or: make results METHOD=prototypical_sweep

Every run sees the same number of pictures in the same number of steps; only the ways of its training episodes, or its
distance, differ. Each writes `results/prototypical_sweep_NAME.json` when it is done and is skipped from then
on, so a sweep that was stopped goes on with the first run it had not finished. About a quarter of an hour on
one core in all.
"""

from __future__ import annotations

import json
import math
import platform
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from mlbook import Dataset, evaluate, fit, load
from mlbook.data.files import atomic
from mlbook.metric import PrototypicalNetwork
from mlbook.nets import Conv4

HERE = Path(__file__).parent
STEPS, RATE, PICTURES = 200, 2e-3, 180
SEEDS = (0, 1)
# name, ways of a training episode, distance, its scale
RUNS = [
    ("ways05", 5, "squared", 1.0),
    ("ways10", 10, "squared", 1.0),
    ("ways30", 30, "squared", 1.0),
    ("euclidean", 30, "euclidean", 1.0),
    ("cosine01", 30, "cosine", 1.0),
    ("cosine10", 30, "cosine", 10.0),
]
# setting, ways, shots, queries, episodes
SETTINGS = [("5w1s", 5, 1, 5, 600), ("20w1s", 20, 1, 2, 600)]


def hardware() -> str:
    """What the numbers were made on."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU ({platform.machine()}), {torch.get_num_threads()} threads"


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


def embedded(model: PrototypicalNetwork, data: Dataset) -> tuple[PrototypicalNetwork, Dataset]:
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
    same = PrototypicalNetwork(Lookup(z), model.distance, model.scale)
    return same, Dataset(pictures, data.classes, data.groups, data.name)


def run(name: str, ways: int, distance: str, scale: float, seed: int) -> None:
    """Train once, evaluate on test classes, write one JSON; do nothing if that file is there already."""
    path = HERE / f"prototypical_sweep_{name}_seed{seed}.json"
    if path.exists():
        return
    started = time.perf_counter()
    train, _, test = load("omniglot").split("characters", seed=0)
    torch.manual_seed(seed)
    model = PrototypicalNetwork(Conv4(), distance=distance, scale=scale)
    tasks = PICTURES // (ways * 6)  # 1 shot and 5 queries a class
    history = fit(
        model,
        train.episodes(ways=ways, shots=1, queries=5, tasks=tasks, seed=seed),
        steps=STEPS,
        optimizer=torch.optim.Adam(model.parameters(), lr=RATE),
        schedule=lambda k: 0.5 * (1 + math.cos(math.pi * k / STEPS)),
    )
    accuracy = {}
    quick, numbers = embedded(model, test)
    for setting, n_ways, shots, queries, n in SETTINGS:
        result = evaluate(quick, numbers.episodes(n_ways, shots, queries, seed=1), n)
        accuracy[setting] = {
            "accuracy": round(100 * result.mean, 3),
            "interval": round(100 * result.interval, 3),
            "episodes": result.n,
        }
        print(f"{name} seed {seed}, {setting}: {result}", flush=True)
    entry = {
        "method": "prototypical_sweep",
        "run": name,
        "train_ways": ways,
        "tasks": tasks,
        "distance": distance,
        "scale": scale,
        "seed": seed,
        "results": accuracy,
        "protocol": "Omniglot 'characters' split, seed 0; 28x28; classes turned by multiples of 90 degrees in training "
        f"only; Conv4-64; 1-shot episodes with 5 queries a class, {PICTURES} pictures a step; Adam, cosine schedule; "
        "running batch-norm statistics at meta-test (inductive)",
        "steps": STEPS,
        "rate": RATE,
        "seconds": round(history.seconds, 1),
        "seconds_in_all": round(time.perf_counter() - started, 1),
        "hardware": hardware(),
        "torch": torch.__version__,
        "command": "make results METHOD=prototypical_sweep",
    }
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(entry, indent=2, ensure_ascii=False) + "\n")


def prototypical_sweep() -> None:
    """All runs of the sweep that have no result yet."""
    for seed in SEEDS:
        for name, ways, distance, scale in RUNS:
            run(name, ways, distance, scale, seed)


if __name__ == "__main__":
    prototypical_sweep()
