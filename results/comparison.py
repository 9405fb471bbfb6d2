"""All methods of the chapter and their baselines on the same tasks: what stands behind book/metric/comparison.ipynb.

    python results/run.py comparison                    # or: make results METHOD=comparison
    python results/comparison.py siamese omniglot       # one training, and what it is measured on

Every method is trained from scratch twice, on handwriting (Omniglot) and on print (glyphs), with the same budget, and
asked the same 600 tasks of each setting on the test classes of both. Each training writes one
`mlbook/results/comparison_MODEL_DOMAIN.json` with the number of right answers of every task, so that differences can be
paired, and is skipped from then on; one that was stopped goes on from its checkpoint. About 40 minutes on one core.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from machine import hardware
from prototypical_sweep import embedded
from schedules import half_cosine
from torch import Tensor, nn

from mlbook import Dataset, Episode, Episodes, Result, evaluate, fit, load
from mlbook.baselines import BaselinePlusPlus, NearestNeighbour, PretrainedCentroids
from mlbook.data.files import atomic
from mlbook.episodes import Batches
from mlbook.metric import (
    MatchingNetwork,
    PrototypicalNetwork,
    RelationModule,
    RelationNetwork,
    SiameseNetwork,
)
from mlbook.nets import Conv4
from mlbook.results import FOLDER

HERE = Path(__file__).parent
DOMAINS = ("omniglot", "glyphs")
# name, ways, shots, queries a class
SETTINGS = [("5w1s", 5, 1, 15), ("5w5s", 5, 5, 15), ("20w1s", 20, 1, 5)]
EPISODES = 600


class RelationMean(RelationNetwork):
    """The same network with the mean of a class's maps in place of their sum: the same function at one shot."""

    def sums(self, maps: Tensor, y: Tensor, n: int | None = None) -> Tensor:
        """The mean by class `[T, N, C, h, w]` of maps `[T, S, C, h, w]` with labels y `[T, S]`."""
        size = nn.functional.one_hot(y).sum(1)[..., None, None, None]
        return super().sums(maps, y, n) / size


class Recipe(NamedTuple):
    """How one model is made and trained: that of its notebook, chosen on validation classes of Omniglot."""

    build: Callable[[int], nn.Module]  # from the number of training classes
    rate: float = 0.0
    ways: int = (
        40  # of the training episodes, with 1 shot; 0 means ordinary batches of as many pictures
    )
    queries: int = 2
    tasks: int = 1
    steps: int = 800  # 0 means that there is nothing to train


RECIPES = {
    "siamese": Recipe(lambda n: SiameseNetwork(Conv4()), 1e-2),
    "matching": Recipe(lambda n: MatchingNetwork(Conv4()), 5e-3),
    "matching_fce": Recipe(lambda n: MatchingNetwork(Conv4(), full_context=True), 5e-3),
    "prototypical": Recipe(lambda n: PrototypicalNetwork(Conv4(), scale=0.05), 5e-3),
    "relation": Recipe(
        lambda n: RelationNetwork(Conv4(pools=2, flatten=False), RelationModule()),
        *(3e-3, 5, 3, 4, 700),
    ),
    "pretrained": Recipe(lambda n: PretrainedCentroids(Conv4(), 64, n), 5e-3, ways=0),
    "baseline_plus_plus": Recipe(lambda n: BaselinePlusPlus(Conv4(), 64, n), 5e-3, ways=0),
    "pixels": Recipe(lambda n: NearestNeighbour(), steps=0),
}
PROTOCOL = (
    "'characters' split of each set, seed 0; 28x28, upright in training and test; Conv4-64; Adam, half a cosine to 0; "
    "800 steps of 120 pictures (40-way 1-shot episodes with 2 queries a class, or ordinary batches), Relation 700 "
    "steps of 80 (4 tasks of 5 ways, 1 shot, 3 queries); recipes chosen on Omniglot's validation classes; running "
    "batch-norm statistics at meta-test (inductive); 600 test episodes of seed 1, 15 queries a class at 5 ways, 5 at 20"
)


class Stacked:
    """The tasks of a source of single tasks, several to an episode: the same tasks in fewer calls."""

    def __init__(self, tasks: Episodes, size: int) -> None:
        self.tasks, self.size = tasks, size

    def __getitem__(self, k: int) -> Episode:
        parts = [self.tasks[i] for i in range(k * self.size, (k + 1) * self.size)]
        return Episode(*(torch.cat(t) for t in zip(*parts, strict=True)))


def train(name: str, data: Dataset, domain: str) -> tuple[nn.Module, float]:
    """The model, trained on these classes or taken from its checkpoint, and the seconds that took."""
    recipe = RECIPES[name]
    tasks: Batches | Episodes
    batches = Batches(data, 120, rotations=False)
    torch.manual_seed(0)
    model = recipe.build(batches.classes)
    if recipe.steps == 0:
        return model, 0.0
    tasks = batches
    if recipe.ways:
        tasks = data.episodes(recipe.ways, 1, recipe.queries, recipe.tasks, rotations=False)
    history = fit(
        model,
        tasks,
        steps=recipe.steps,
        optimizer=torch.optim.Adam(model.parameters(), lr=recipe.rate),
        schedule=lambda k: half_cosine(k / recipe.steps),
        checkpoint=HERE / "runs" / f"comparison_{name}_{domain}.safetensors",
        checkpoint_every=50,
    )
    return model.eval(), history.seconds


def asked(model: nn.Module, data: Dataset, setting: str, n: int = EPISODES, **adapt: Any) -> Result:
    """The result of one setting, with every picture embedded once.

    In `eval()` mode an embedding depends on its picture alone, so tasks and answers are those of the pictures
    themselves; on the first task that is checked.
    """
    _, ways, shots, queries = next(s for s in SETTINGS if s[0] == setting)
    protocol = {"ways": ways, "shots": shots, "queries": queries, "rotations": False, "seed": 1}
    if not hasattr(model, "embed"):
        return evaluate(model, data.episodes(**protocol), n)
    quick, numbers = table(model, data)
    tasks = numbers.episodes(**protocol)
    scores = []
    for net, source in ((model, data.episodes(**protocol)), (quick, tasks)):
        sx, sy, qx, _ = source[0]
        with torch.no_grad():
            scores.append(net.adapt(sx, sy, **adapt)(qx))  # type: ignore[operator]
    torch.testing.assert_close(*scores, rtol=1e-3, atol=1e-3)
    return evaluate(quick, Stacked(tasks, 6), n, **adapt)


TABLES: dict[tuple[nn.Module, Dataset], tuple[nn.Module, Dataset]] = {}


def table(model: nn.Module, data: Dataset) -> tuple[nn.Module, Dataset]:
    """`embedded`, once for a network and a data set, whatever class its embedding is in."""
    key = model.embed, data
    if key not in TABLES:
        TABLES[key] = embedded(model, data)  # type: ignore[arg-type, assignment]
    quick, numbers = TABLES[key]
    same = type(model).__new__(type(model))
    same.__dict__ = {**model.__dict__, "_modules": {**model._modules, "embed": quick.embed}}
    return same, numbers


def entry(result: Result, queries: int) -> dict[str, Any]:
    """Accuracy and half its 95 % interval in percent, and the right answers of every task, in order."""
    right = (result.values * queries).round().long().tolist()
    return {
        "accuracy": round(100 * result.mean, 3),
        "interval": round(100 * result.interval, 3),
        "right": " ".join(map(str, right)),
    }


def measure(name: str, domain: str) -> None:
    """Train one model on one domain, ask it the tasks of both, write one JSON; do nothing if that file is there."""
    path = FOLDER / f"comparison_{name}_{domain}.json"
    if path.exists():
        return
    TABLES.clear()
    recipe = RECIPES[name]
    train_set, val, _ = load(domain).split("characters", seed=0)
    model, seconds = train(name, train_set, domain)
    results, variants = {}, {}
    for target in DOMAINS:
        test = load(target).split("characters", seed=0)[2]
        for setting, ways, _, queries in SETTINGS:
            key, asks = f"{target}_{setting}", ways * queries
            results[key] = entry(asked(model, test, setting), asks)
            print(name, domain, key, results[key]["accuracy"], results[key]["interval"], flush=True)
            if name == "relation" and setting == "5w5s":
                mean = RelationMean(model.embed, model.relation).eval()  # type: ignore[arg-type]
                variants[f"{key}_mean"] = entry(asked(mean, test, setting), asks)
            if name == "baseline_plus_plus":
                variants[f"{key}_steps0"] = entry(asked(model, test, setting, steps=0), asks)
    whole = {
        "method": "comparison",
        "model": name,
        "trained_on": domain if recipe.steps else None,
        "seed": 0,
        "steps": recipe.steps,
        "pictures": recipe.steps * (recipe.tasks * recipe.ways * (1 + recipe.queries) or 120),
        "rate": recipe.rate,
        "seconds": round(seconds, 1),
        "parameters": sum(p.numel() for p in model.parameters()),
        "validation": round(100 * asked(model, val, "5w1s", 300).mean, 2),
        "episodes": EPISODES,
        "queries": {setting: ways * queries for setting, ways, _, queries in SETTINGS},
        "results": results,
        "variants": variants,
        "protocol": PROTOCOL,
        "hardware": hardware(),
        "torch": torch.__version__,
        "command": "make results METHOD=comparison",
    }
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n")


def comparison() -> None:
    """All that have no result yet; what needs no training is measured once."""
    for domain in DOMAINS:
        for name, recipe in RECIPES.items():
            if recipe.steps or domain == DOMAINS[0]:
                measure(name, domain)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(*sys.argv[1:])
    else:
        comparison()
