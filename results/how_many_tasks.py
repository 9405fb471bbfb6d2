"""How many training classes a meta-learner needs: the sweep behind book/problem/how_many_tasks.ipynb.

    python results/run.py how_many_tasks        # or: make results METHOD=how_many_tasks

Resumable: each run, one setting and one seed, is written as soon as it is measured, and not made again.
Some fifteen minutes on one core.
"""

from __future__ import annotations

import json
import platform

import torch
from torch import Tensor, nn

from mlbook import Dataset, Result, evaluate, fit, load
from mlbook.data.files import atomic
from mlbook.metric import PrototypicalNetwork
from mlbook.nets import Conv4
from mlbook.results import FOLDER

STEPS = 300
SEEDS = (0, 1)
SEEN = 14  # drawings of each class that training may use; the other 6 are kept for the test
CLASSES = (10, 30, 100, 300, 1100)
BUDGET = ((60, 20), (120, 10), (300, 4), (600, 2))  # classes x drawings: 1,200 pictures


class Lookup(nn.Module):
    """An embedding that was computed before: turns the two bytes of a picture's number into its vector."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table)

    def forward(self, x: Tensor) -> Tensor:
        """From numbers `[B, 1, 1, 2]` to vectors `[B, D]`."""
        high, low = (255 * x).round().long().flatten(1).unbind(1)
        table: Tensor = self.table  # type: ignore[assignment]
        return table[256 * high + low]


def embedded(embed: nn.Module, data: Dataset) -> tuple[Dataset, Lookup]:
    """The same classes with a number in place of each picture, and the network that looks its vector up.

    With batch norm's running statistics a picture's vector depends on nothing but the picture, so one pass over all
    pictures serves any number of episodes; these are the same ones as with the pictures themselves.
    """
    number = torch.arange(data.images.shape[0] * data.images.shape[1]).view(
        *data.images.shape[:2], 1, 1
    )
    numbers = torch.stack([number // 256, number % 256], -1).to(torch.uint8)
    device = next(embed.parameters()).device
    was_training = embed.training
    embed.eval()
    with torch.no_grad():
        parts = data.images.flatten(0, 1).split(500)
        table = torch.cat([embed(part.to(device).float() / 255).cpu() for part in parts])
    embed.train(was_training)
    return Dataset(numbers, data.classes, data.groups, data.name), Lookup(table)


def drawings(data: Dataset, which: slice) -> Dataset:
    """The same classes with only some of their pictures."""
    return Dataset(data.images[:, which], data.classes, data.groups, data.name)


def measure(embed: nn.Module, data: Dataset, seed: int = 1) -> Result:
    """5-way 1-shot accuracy with 5 queries a class, over 600 episodes of these pictures."""
    numbers, lookup = embedded(embed, data)
    return evaluate(
        PrototypicalNetwork(lookup), numbers.episodes(ways=5, shots=1, queries=5, seed=seed)
    )


def entry(result: Result) -> dict[str, float]:
    """Accuracy and half its 95 % interval, in percent."""
    return {"accuracy": round(100 * result.mean, 3), "interval": round(100 * result.interval, 3)}


def store(setting: str, facts: dict[str, object], seed: int, run: dict[str, object]) -> None:
    """Add one run to `how_many_tasks_SETTING.json`."""
    path = FOLDER / f"how_many_tasks_{setting}.json"
    runs = json.loads(path.read_text())["runs"] if path.exists() else []
    runs = sorted([*runs, {"seed": seed, **run}], key=lambda r: r["seed"])
    whole = {"method": "how_many_tasks", "setting": setting, **facts, "runs": runs}
    whole |= {"hardware": f"CPU ({platform.machine()})", "torch": torch.__version__}
    if torch.cuda.is_available():
        whole["hardware"] = torch.cuda.get_device_name()
    whole["command"] = "make results METHOD=how_many_tasks"
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
    print(setting, f"seed {seed}", json.dumps(run))


def done(setting: str, seed: int) -> bool:
    """Whether this run has been measured."""
    path = FOLDER / f"how_many_tasks_{setting}.json"
    return path.exists() and any(
        run["seed"] == seed for run in json.loads(path.read_text())["runs"]
    )


def by_classes(train: Dataset, test: Dataset, classes: int, seed: int) -> None:
    """Train on so many classes; measure pictures seen, new pictures of these classes, and new classes."""
    setting = f"classes_{classes:04d}"
    if done(setting, seed):
        return
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    some = train.subset(order[:classes])
    torch.manual_seed(seed)
    model = PrototypicalNetwork(Conv4())
    tasks = drawings(some, slice(SEEN)).episodes(
        ways=10, shots=1, queries=5, rotations=False, seed=seed
    )
    history = fit(model, tasks, steps=STEPS, seed=seed)
    # no more of them than there are test classes
    asked = some.subset(range(min(classes, len(test))))
    seen = measure(model.embed, drawings(asked, slice(SEEN)))
    same = measure(model.embed, drawings(asked, slice(SEEN, None)))
    new = measure(model.embed, drawings(test, slice(SEEN, None)))
    facts: dict[str, object] = {
        "classes": classes,
        "pictures_per_class": SEEN,
        "steps": STEPS,
        "episodes": new.n,
    }
    facts["protocol"] = (
        "Omniglot 'characters' split, seed 0, no rotations; Prototypical Networks, Conv4-64, Adam 1e-3; "
        "training on drawings 1-14 of the first classes of a random order (by seed), 10-way 1-shot, "
        "5 queries; test 5-way 1-shot, 5 queries: training classes with "
        "drawings 1-14 and 15-20, the 423 test classes with drawings 15-20"
    )
    run = {"seen_pictures": entry(seen), "new_pictures": entry(same), "new_classes": entry(new)}
    store(setting, facts, seed, {**run, "seconds": round(history.seconds)})


def by_budget(train: Dataset, test: Dataset, classes: int, samples: int, seed: int) -> None:
    """Train on classes x samples = 1,200 pictures; measure new classes."""
    setting = f"budget_{classes:04d}x{samples:02d}"
    if done(setting, seed):
        return
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    some = drawings(train.subset(order[:classes]), slice(samples))
    torch.manual_seed(seed)
    model = PrototypicalNetwork(Conv4())
    history = fit(
        model,
        some.episodes(ways=30, shots=1, queries=1, rotations=False, seed=seed),
        steps=STEPS,
        seed=seed,
    )
    new = measure(model.embed, drawings(test, slice(SEEN, None)))
    facts: dict[str, object] = {
        "classes": classes,
        "pictures_per_class": samples,
        "steps": STEPS,
        "episodes": new.n,
    }
    facts["protocol"] = (
        "Omniglot 'characters' split, seed 0, no rotations; Prototypical Networks, Conv4-64, Adam 1e-3; "
        "30-way 1-shot, 1 query; test 5-way 1-shot, 5 queries, on the 423 test classes with drawings 15-20"
    )
    store(setting, facts, seed, {"new_classes": entry(new), "seconds": round(history.seconds)})


def how_many_tasks() -> None:
    """All settings, seed by seed."""
    train, _, test = load("omniglot").split("characters", seed=0)
    for seed in SEEDS:
        for classes in CLASSES:
            by_classes(train, test, classes, seed)
        for classes, samples in BUDGET:
            by_budget(train, test, classes, samples, seed)


if __name__ == "__main__":
    how_many_tasks()
