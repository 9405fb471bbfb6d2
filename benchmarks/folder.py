"""Pictures a second of a folder that is read for the first time, beside a plain loop of Pillow over the same files.

python benchmarks/folder.py [pictures]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from mlbook import load

CLASSES = 20


def photographs(folder: Path, count: int) -> None:
    """Write JPEGs of 500 x 375 pixels at quality 85: smooth colours, shapes with edges, some noise."""
    rng = np.random.default_rng(0)
    for i in range(count):
        smooth = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        pixels = np.asarray(smooth.resize((500, 375), Image.Resampling.BICUBIC)).astype(np.int16)
        for x, y in rng.integers(0, 300, (12, 2)):
            pixels[y : y + 60, x : x + 90] = rng.integers(0, 256, 3)
        pixels += rng.normal(0, 6, pixels.shape).astype(np.int16)
        path = folder / f"class{i % CLASSES:02d}" / f"{i:05d}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=85)


def loop(folder: Path) -> float:
    """Seconds of the loop that one would write: open, convert, resize."""
    started = time.perf_counter()
    for path in sorted(folder.glob("*/*.jpg")):
        with Image.open(path) as picture:
            np.asarray(picture.convert("RGB").resize((28, 28), Image.Resampling.LANCZOS))
    return time.perf_counter() - started


def timed(folder: Path) -> float:
    """Seconds of `load`."""
    started = time.perf_counter()
    load(f"folder:{folder}").images.sum()
    return time.perf_counter() - started


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with tempfile.TemporaryDirectory() as place:
        os.environ["MLBOOK_CACHE"] = f"{place}/cache"
        folder = Path(place, "pictures")
        folder.mkdir()
        photographs(folder, count)
        size = sum(path.stat().st_size for path in folder.glob("*/*.jpg")) / count / 1000
        first, plain = [], []
        for _ in range(3):  # the best of three: other programs run on the machine as well
            for cached in Path(place).glob("cache/*"):
                cached.unlink()
            plain.append(loop(folder))
            first.append(timed(folder))
        again = min(timed(folder) for _ in range(3))
    print(
        f"{count:,} JPEGs of 500 x 375 ({size:.0f} kB each), {os.cpu_count()} cores: a loop of Pillow "
        f"{count / min(plain):,.0f} a second, read first {count / min(first):,.0f} a second "
        f"({min(plain) / min(first):.1f} times), from the cache in {again:.3f} s"
    )
