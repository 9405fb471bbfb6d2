"""How rates fall in training."""

from __future__ import annotations

import math


def half_cosine(done: float) -> float:
    """From 1 to 0 as the share of the steps that are done goes from 0 to 1."""
    return 0.5 * (1 + math.cos(math.pi * done))


def linear(done: float) -> float:
    """The same along a line."""
    return 1 - done
