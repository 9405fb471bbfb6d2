"""How a figure is written down: `results/METHOD_SETTING.json`, with all that is needed to make it again."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from machine import hardware

from mlbook import Result
from mlbook.data.files import atomic

HERE = Path(__file__).parent


def percent(result: Result) -> dict[str, float]:
    """Accuracy and half its 95 % interval, and the number of episodes behind them."""
    return {
        "accuracy": round(100 * result.mean, 3),
        "interval": round(100 * result.interval, 3),
        "episodes": result.n,
    }


def record(method: str, setting: str | None, result: Result, **facts: object) -> None:
    """Write one figure with all that is needed to make it again."""
    entry = {
        "method": method,
        "setting": setting,
        **percent(result),
        **facts,
        "hardware": hardware(),
        "torch": torch.__version__,
        "command": f"make results METHOD={method}",
    }
    name = method if setting is None else f"{method}_{setting}"
    with atomic(HERE / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(entry, indent=2, ensure_ascii=False) + "\n")
    print(f"{name}: {result}")
