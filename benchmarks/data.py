"""Seconds and megabytes of the data sets: made for the first time, and loaded from the cache, on one core.

python benchmarks/data.py [omniglot] [glyphs]
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time

import torch

from mlbook import load


def timed(name: str) -> tuple[float, float]:
    """Seconds to load a set, and its megabytes in memory."""
    started = time.perf_counter()
    data = load(name)
    data.images.sum()  # touch every byte: the file is mapped, and read when it is used
    return time.perf_counter() - started, data.images.numel() / 1e6


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or ["omniglot", "glyphs"]:
        with tempfile.TemporaryDirectory() as cache:
            os.environ["MLBOOK_CACHE"] = cache
            made, size = timed(name)
            cached = statistics.median(timed(name)[0] for _ in range(5))
        print(f"{name}: made in {made:.2f} s, from the cache in {cached:.3f} s, {size:.1f} MB")
