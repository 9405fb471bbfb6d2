"""How a figure is written down: `mlbook/results/METHOD_SETTING.json`, with all that is needed to make it again."""

from __future__ import annotations

import json

import torch
from machine import hardware
from torch import Tensor

from mlbook import Result
from mlbook.data.files import atomic
from mlbook.results import FOLDER


def percent(result: Result) -> dict[str, float]:
    """Accuracy and half its 95 % interval, and the number of episodes behind them."""
    return {
        "accuracy": round(100 * result.mean, 3),
        "interval": round(100 * result.interval, 3),
        "episodes": result.n,
    }


# the 97.5 % quantile of Student's t by its degrees of freedom
STUDENT = {
    1: 12.706,
    2: 4.303,
    3: 3.182,
    4: 2.776,
    5: 2.571,
    6: 2.447,
    7: 2.365,
    8: 2.306,
    9: 2.262,
}


def nested(values: Tensor) -> dict[str, float]:
    """A mean with half its 95 % interval over divisions of the classes, with trainings and episodes inside them.

    Each division gives one mean, over its trainings and its episodes. The interval is that of a mean of D such means,
    by Student's t with D - 1 degrees of freedom, for it is other classes that the figure is to hold for. The variance
    between divisions is never taken below what trainings and episodes inside them explain (as in Röver, Knapp & Friede,
    2015): three means that agree by chance must not look like certainty.

    Args:
        values: `[D, K, E]`: divisions, at least 2; trainings in each; episodes, the same for all trainings.
    """
    D, K, E = values.shape
    values = values.double()
    between = values.mean((1, 2)).var()
    within = values.mean(1).var(1).mean() / E  # of tasks, which trainings have in common
    if K > 1:
        within = within + values.mean(2).var(1).mean() / K
    interval = STUDENT[D - 1] * (torch.maximum(between, within) / D).sqrt()
    return {
        "accuracy": round(100 * float(values.mean()), 3),
        "interval": round(100 * float(interval), 3),
        "divisions": D,
        "trainings": K,
        "episodes": E,
    }


def record(method: str, setting: str | None, result: Result, **facts: object) -> None:
    """Write one accuracy with all that is needed to make it again."""
    name = write(method, setting, **percent(result), **facts)
    print(f"{name}: {result}")


def write(method: str, setting: str | None, **facts: object) -> str:
    """Write the facts of one run, whatever was measured, with machine and command; the name of the file."""
    entry = {
        "method": method,
        "setting": setting,
        **facts,
        "hardware": hardware(),
        "torch": torch.__version__,
        "command": f"make results METHOD={method}",
    }
    name = method if setting is None else f"{method}_{setting}"
    with atomic(FOLDER / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(entry, indent=2, ensure_ascii=False) + "\n")
    return name
