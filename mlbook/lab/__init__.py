"""What is alive while a kernel runs: training as it happens, a function by its sliders, labs to draw and to type in.

    from mlbook.lab import Lab, ask, explore, watch

The widgets come with `pip install "mlbook[lab]"` and are imported on first use, not with the package.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

HOMES = {"Lab": "drawing", "ask": "asking", "explore": "exploring", "watch": "watching"}
__all__ = ["Lab", "ask", "explore", "watch"]


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'mlbook.lab' has no attribute {name!r}")
    try:
        return getattr(import_module(f"mlbook.lab.{HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f'{name} of mlbook.lab needs {error.name}, which is not installed: pip install "mlbook[lab]"'
        ) from error
