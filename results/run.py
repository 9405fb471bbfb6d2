"""Train what takes longer than a notebook should, measure it, and keep the figures and the weights.

    python results/run.py prototypical          # or: make results METHOD=prototypical

Resumable: stopped at any moment, the same command goes on from the last checkpoint in `results/runs/`.
Every setting writes one `mlbook/results/METHOD_SETTING.json`; the weights go to `mlbook/pretrained/`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from bandits import bandits
from comparison import PROTOCOL, asked, comparison, train
from how_many_tasks import how_many_tasks
from learned_optimizer import learned_optimizer, learned_optimizer_again
from mann import mann
from meta_lstm import meta_lstm, meta_lstm_ablations, meta_lstm_layer
from model_based_cost import model_based_cost
from optimization_cost import optimization_cost
from optimization_omniglot import optimization_omniglot
from patients import patients
from pictures import pictures
from prototypical_sweep import prototypical_sweep
from recall import recall
from records import percent, record
from schedules import half_cosine, linear
from sentences import sentences
from slopes import slopes
from tables import tables
from torch import nn
from transfer import transfer

from mlbook import evaluate, fit, load
from mlbook.data.files import write_tensors
from mlbook.metric import PrototypicalNetwork
from mlbook.nets import Conv4
from mlbook.optimization import Reptile
from mlbook.pretrained import MODELS

HERE = Path(__file__).parent
WEIGHTS = HERE.parent / "mlbook" / "pretrained"


class Stage(NamedTuple):
    """A stretch of training on Omniglot: `tasks` tasks a step, Adam at `rate`, by half a cosine to 0 if `falls`."""

    ways: int
    shots: int
    queries: int
    tasks: int
    steps: int
    rate: float
    falls: bool = True


def train_and_ship(
    name: str,
    model: nn.Module,
    stages: list[Stage],
    paper: dict[str, float | None],
    start: str = "",
    net: str = "Conv4-64",
    validate: tuple[int, int] = (20, 5),
    test: dict[str, Any] | None = None,
    asks: int | None = None,
) -> None:
    """Train stage by stage, measure the settings of which the paper's accuracy (%) is given, keep the weights.

    Validation has so many ways and queries a class. Gradient-based methods are measured as `test` says, which
    `adapt` is given. Their batch norm takes its statistics from the queries of a task (transductive); beside that
    figure stand the one with as many queries a class as the paper `asks`, None for K of them, and the one where each
    query passes alone with the support set (inductive).
    """
    train, val, test_set = load("omniglot").split("characters", seed=0)
    method, seconds, validation = name.removesuffix("_5_shot"), 0.0, []
    reptile = isinstance(model, Reptile)
    for i, (ways, shots, queries, tasks, steps, rate, falls) in enumerate(stages):
        fall = linear if reptile else half_cosine
        history = fit(
            model,
            train.episodes(ways, shots, queries, tasks, seed=i),
            steps=steps,
            optimizer=(torch.optim.SGD if reptile else torch.optim.Adam)(
                model.parameters(), lr=rate
            ),
            schedule=(lambda k, n=steps, fall=fall: fall(k / n)) if falls else None,
            validate=val.episodes(validate[0], min(shots, 5), validate[1], rotations=True),
            validate_every=1500,
            validate_tasks=100,
            checkpoint=HERE / "runs" / f"{name}_{i}.safetensors",
            checkpoint_every=250,
        )
        seconds, validation = seconds + history.seconds, [*validation, history.validation]
    # Adam's squared gradients, which Reptile keeps, are too small for half precision
    halves = {
        k: v.half() if v.is_floating_point() and not k.startswith("v_") else v
        for k, v in model.state_dict().items()
    }
    model.load_state_dict(halves)  # what is measured is what is shipped
    statistics = (
        "running batch-norm statistics at meta-test (inductive)"
        if test is None
        else f"{test['steps']} inner steps at meta-test, all queries of a task in one batch (transductive); "
        "inductive: each query alone with the support set"
    )
    outer = "SGD" if reptile else "Adam"
    protocol = (
        "Omniglot 'characters' split, seed 0 (1100/100/423 characters); 28x28; classes turned by "
        f"multiples of 90 degrees in training and at meta-test; {net}; {start}"
        + "; then ".join(
            f"{s.steps:,} steps of {s.tasks} {s.ways}-way {s.shots}-shot tasks with {s.queries} queries "
            f"a class, {outer} at {s.rate:g}"
            + (f", {'linearly' if reptile else 'half-cosine'} to 0" if s.falls else "")
            for s in stages
        )
        + f"; {statistics}"
    )
    for setting, published in paper.items():
        ways, shots = (int(n) for n in setting.removesuffix("s").split("w"))
        queries = 15 if ways == 5 else 5
        tasks = test_set.episodes(ways, shots, queries, rotations=True, seed=1)
        training = {"seed": 0, "stages": [s._asdict() for s in stages], "validation": validation}
        training |= {"steps": sum(s.steps for s in stages), "seconds": round(seconds)}
        task = {"ways": ways, "shots": shots, "queries": queries, "weights": name}
        if test is not None:
            task["test"] = test
            for kind, asked, how in (
                ("as the paper", asks or shots, {}),
                ("inductive", 5, {"transductive": False}),
            ):
                few = test_set.episodes(ways, shots, asked, rotations=True, seed=1)
                other = evaluate(model, few, n=600, **test, **how)
                task[kind] = {**percent(other), "queries": asked}
        result = evaluate(model, tasks, n=1000, **(test or {}))
        record(method, setting, result, paper=published, protocol=protocol, **task, **training)
    write_tensors(WEIGHTS / f"{name}.safetensors", halves, {"method": method, "protocol": protocol})


def fresh(name: str) -> nn.Module:
    """The model of that name with seeded weights, the same every time."""
    torch.manual_seed(0)
    return MODELS[name]()


def siamese() -> None:
    """Siamese networks; beside them the figures of Vinyals et al. (2016), table 1, for a Siamese network."""
    paper = {"5w1s": 96.7, "5w5s": 98.4, "20w1s": 88.0, "20w5s": 96.5}
    train_and_ship("siamese", fresh("siamese"), [Stage(60, 1, 3, 1, 2000, 1e-2)], paper)


def matching() -> None:
    """Matching Networks without full context embeddings; the paper's figures are those of its table 1."""
    paper = {"5w1s": 98.1, "5w5s": 98.9, "20w1s": 93.8, "20w5s": 98.5}
    train_and_ship("matching", fresh("matching"), [Stage(60, 1, 5, 1, 2000, 4e-3)], paper)


def prototypical() -> None:
    """Prototypical Networks, 60 ways and 1 shot in training as in the paper, whose figures are those of its table 1."""
    paper = {"5w1s": 98.8, "5w5s": 99.7, "20w1s": 96.0, "20w5s": 98.9}
    train_and_ship("prototypical", fresh("prototypical"), [Stage(60, 1, 5, 1, 5500, 2e-3)], paper)


def relation() -> None:
    """Relation Networks, one for 1 shot and, trained further, one for 5: summed maps are another input.

    The paper's figures are those of its table 1. Training begins with 5 ways, which leaves the
    plateau at 1/N soon.
    """
    model = fresh("relation")
    stages = [Stage(5, 1, 3, 4, 300, 3e-3, falls=False), Stage(20, 1, 3, 1, 9000, 2e-3)]
    train_and_ship("relation", model, stages, {"5w1s": 99.6, "20w1s": 97.6})
    more = [Stage(20, 5, 2, 1, 1200, 1e-3)]
    start = "from the weights for 1 shot on, "
    train_and_ship("relation_5_shot", model, more, {"5w5s": 99.8, "20w5s": 99.1}, start)


GRADIENT = {"net": "Conv4-32 with a linear layer", "validate": (5, 15)}


def maml() -> None:
    """MAML, one network for 1 shot and, trained further, one for 5; the paper's figures are those of its table 1."""
    model, test = fresh("maml"), {"steps": 10}
    stages = [Stage(5, 1, 5, 4, 24000, 3e-3), Stage(5, 1, 5, 4, 20000, 2e-3)]
    train_and_ship("maml", model, stages, {"5w1s": 98.7}, test=test, **GRADIENT)
    more, start = [Stage(5, 5, 5, 4, 4000, 1e-3)], "from the weights for 1 shot on, "
    train_and_ship("maml_5_shot", model, more, {"5w5s": 99.9}, start, test=test, **GRADIENT)


def first_order_maml() -> None:
    """First-order MAML, one network for both; the figures are those of Nichol et al. (2018), table 2."""
    stages, paper = [Stage(5, 1, 5, 4, 15000, 2e-3)], {"5w1s": 98.3, "5w5s": 99.2}
    model, test = fresh("first_order_maml"), {"steps": 10}
    train_and_ship("first_order_maml", model, stages, paper, test=test, asks=1, **GRADIENT)


def reptile() -> None:
    """Reptile, one network for both; the paper's figures (inductive) are those of its table 2."""
    stages, paper = [Stage(5, 10, 0, 5, 6500, 1.0)], {"5w1s": 95.39, "5w5s": 98.90}
    model, test = fresh("reptile"), {"steps": 20}
    train_and_ship("reptile", model, stages, paper, test=test, asks=1, **GRADIENT)


def meta_network() -> None:
    """Meta Networks, at 5 ways and 1 shot only; the paper's figure is that of its table 2."""
    stages = [Stage(5, 1, 5, 4, 30000, 2e-3)]
    model = fresh("meta_network")
    train_and_ship("meta_network", model, stages, {"5w1s": 98.95}, net="Conv4-32", validate=(5, 15))


def hypernetwork() -> None:
    """The black-box approach; no paper has a figure for it on these tasks."""
    paper = {"5w1s": None, "5w5s": None}
    train_and_ship("hypernetwork", fresh("hypernetwork"), [Stage(20, 1, 5, 1, 4000, 2e-3)], paper)


def in_context() -> None:
    """The transformer from scratch; no paper has a figure for it on these tasks."""
    paper = {"5w1s": None, "5w5s": None}
    stages = [Stage(5, 1, 5, 8, 300, 1e-3, falls=False), Stage(20, 1, 5, 1, 3000, 2e-3)]
    train_and_ship("in_context", fresh("in_context"), stages, paper)


def first() -> None:
    """The lines on the book's first page, run as they stand there."""
    train, _, test = load("omniglot").split("characters", seed=0)
    torch.manual_seed(0)
    model = PrototypicalNetwork(Conv4())
    history = fit(model, train.episodes(ways=20, shots=1, queries=5), steps=2000)
    result = evaluate(model, test.episodes(ways=5, shots=1, queries=15))
    record("first", None, result, steps=2000, seed=0, seconds=round(history.seconds))


def centroids() -> None:
    """Ordinary pre-training and class means: the run behind its line in the comparison, with its weights kept."""
    train_set, _, test = load("omniglot").split("characters", seed=0)
    model, seconds = train("pretrained", train_set, "omniglot")
    halves = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.load_state_dict(halves)  # what is measured is what is shipped
    facts = {"ways": 5, "shots": 1, "queries": 15, "rotations": False, "weights": "centroids"}
    training = {"seed": 0, "steps": 800, "seconds": round(seconds)}
    result = asked(model, test, "5w1s", 600)
    record("centroids", "5w1s", result, paper=None, protocol=PROTOCOL, **facts, **training)
    write_tensors(
        WEIGHTS / "centroids.safetensors", halves, {"method": "centroids", "protocol": PROTOCOL}
    )


METHODS: dict[str, Callable[[], None]] = {
    "bandits": bandits,
    "centroids": centroids,
    "comparison": comparison,
    "first": first,
    "first_order_maml": first_order_maml,
    "hypernetwork": hypernetwork,
    "in_context": in_context,
    "learned_optimizer": learned_optimizer,
    "learned_optimizer_again": learned_optimizer_again,
    "maml": maml,
    "mann": mann,
    "matching": matching,
    "meta_lstm": meta_lstm,
    "meta_lstm_ablations": meta_lstm_ablations,
    "meta_lstm_layer": meta_lstm_layer,
    "meta_network": meta_network,
    "model_based_cost": model_based_cost,
    "optimization_cost": optimization_cost,
    "optimization_omniglot": optimization_omniglot,
    "prototypical": prototypical,
    "prototypical_sweep": prototypical_sweep,
    "recall": recall,
    "relation": relation,
    "reptile": reptile,
    "siamese": siamese,
    "how_many_tasks": how_many_tasks,
    "patients": patients,
    "pictures": pictures,
    "sentences": sentences,
    "slopes": slopes,
    "tables": tables,
    "transfer": transfer,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "methods", nargs="*", help=f"any of {', '.join(METHODS)}; all if none is named"
    )
    for name in parser.parse_args().methods or METHODS:
        if name not in METHODS:
            parser.error(f"unknown method {name!r}: choose from {', '.join(METHODS)}")
        METHODS[name]()
