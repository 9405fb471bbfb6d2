"""Train what takes longer than a notebook should, measure it, and keep the figures and the weights.

    python results/run.py prototypical          # or: make results METHOD=prototypical

Resumable: stopped at any moment, the same command goes on from the last checkpoint in `results/runs/`.
Every setting writes one `results/METHOD_SETTING.json`; the weights go to `mlbook/pretrained/`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import torch
from how_many_tasks import how_many_tasks
from machine import hardware
from prototypical_sweep import prototypical_sweep

from mlbook import Result, evaluate, fit, load
from mlbook.data.files import atomic, write_tensors
from mlbook.metric import PrototypicalNetwork
from mlbook.nets import Conv4

HERE = Path(__file__).parent
WEIGHTS = HERE.parent / "mlbook" / "pretrained"
# name, ways, shots, and the accuracy (%) of Snell et al. (2017), table 1
PROTOTYPICAL = [
    ("5w1s", 5, 1, 98.8),
    ("5w5s", 5, 5, 99.7),
    ("20w1s", 20, 1, 96.0),
    ("20w5s", 20, 5, 98.9),
]


def record(method: str, setting: str | None, result: Result, **facts: object) -> None:
    """Write one figure with all that is needed to make it again."""
    entry = {
        "method": method,
        "setting": setting,
        "accuracy": round(100 * result.mean, 3),
        "interval": round(100 * result.interval, 3),
        "episodes": result.n,
        **facts,
        "hardware": hardware(),
        "torch": torch.__version__,
        "command": f"make results METHOD={method}",
    }
    name = method if setting is None else f"{method}_{setting}"
    with atomic(HERE / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(entry, indent=2, ensure_ascii=False) + "\n")
    print(f"{name}: {result}")


def prototypical(steps: int = 5500, rate: float = 2e-3) -> None:
    """Prototypical Networks on Omniglot, 60 ways and 1 shot in training, as in the paper."""
    train, val, test = load("omniglot").split("characters", seed=0)
    torch.manual_seed(0)
    model = PrototypicalNetwork(Conv4())
    history = fit(
        model,
        train.episodes(ways=60, shots=1, queries=5),
        steps=steps,
        optimizer=torch.optim.Adam(model.parameters(), lr=rate),
        schedule=lambda k: 0.5 * (1 + math.cos(math.pi * k / steps)),
        validate=val.episodes(ways=20, shots=1, queries=5, rotations=True),
        validate_every=500,
        validate_tasks=200,
        checkpoint=HERE / "runs" / "prototypical.safetensors",
        checkpoint_every=250,
    )
    halves = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.load_state_dict(halves)  # what is measured is what is shipped
    protocol = (
        "Omniglot 'characters' split, seed 0 (1100/100/423 characters); 28x28; classes turned by multiples of "
        "90 degrees in training and at meta-test; Conv4-64; 60-way 1-shot episodes with 5 queries; Adam, "
        "cosine schedule; running batch-norm statistics at meta-test (inductive)"
    )
    for setting, ways, shots, paper in PROTOTYPICAL:
        queries = 15 if ways == 5 else 5
        result = evaluate(
            model, test.episodes(ways, shots, queries, rotations=True, seed=1), n=1000
        )
        training = {"seed": 0, "steps": steps, "rate": rate, "seconds": round(history.seconds)}
        training["validation"] = history.validation
        task = {"ways": ways, "shots": shots, "queries": queries}
        record("prototypical", setting, result, paper=paper, protocol=protocol, **task, **training)
    write_tensors(
        WEIGHTS / "prototypical.safetensors",
        halves,
        {"method": "prototypical", "protocol": protocol},
    )


def first() -> None:
    """The lines on the book's first page, run as they stand there."""
    train, _, test = load("omniglot").split("characters", seed=0)
    torch.manual_seed(0)
    model = PrototypicalNetwork(Conv4())
    history = fit(model, train.episodes(ways=20, shots=1, queries=5), steps=2000)
    result = evaluate(model, test.episodes(ways=5, shots=1, queries=15))
    record("first", None, result, steps=2000, seed=0, seconds=round(history.seconds))


METHODS: dict[str, Callable[[], None]] = {
    "first": first,
    "prototypical": prototypical,
    "prototypical_sweep": prototypical_sweep,
    "how_many_tasks": how_many_tasks,
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
