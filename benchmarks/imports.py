"""How long `import mlbook` takes, as a ratio to `import torch`: fresh processes, by turns, medians.

python benchmarks/imports.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys

TIMED = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def seconds(module: str) -> float:
    """Of one import in a process of its own."""
    command = [sys.executable, "-c", TIMED.format(module)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    for warm_up in ("torch", "mlbook"):
        seconds(warm_up)
    pairs = [(seconds("torch"), seconds("mlbook")) for _ in range(9)]
    torch_s, mlbook_s = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(m / t for t, m in pairs)
    print(f"import torch {torch_s:.3f} s, import mlbook {mlbook_s:.3f} s: {ratio:.3f} x")
