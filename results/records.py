"""How a figure is written down: `mlbook/results/METHOD_SETTING.json`, with all that is needed to make it again."""

from __future__ import annotations

import json

import torch
from machine import hardware

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
