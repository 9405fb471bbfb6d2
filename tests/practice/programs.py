"""The program that a page opens with, as a stranger runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def program(page: str) -> tuple[str, str]:
    """The source of the cell tagged `ten-minutes`, of 12 to 25 lines, and what the page says that it prints."""
    notebook = (ROOT / "book" / "practice" / f"{page}.ipynb").read_text(encoding="utf-8")
    tagged = [
        c for c in json.loads(notebook)["cells"] if "ten-minutes" in c["metadata"].get("tags", [])
    ]
    (cell,) = tagged
    source = "".join(cell["source"])
    assert 12 <= len([line for line in source.splitlines() if line.strip()]) <= 25
    return source, "".join(cell["outputs"][0]["text"])


def figures(page: str, folder: Path) -> tuple[list[float], list[float]]:
    """The figures before a ± that the program prints in an empty folder, with an empty cache and no data but the
    package's; and those that the page has."""
    source, stored = program(page)
    env = {k: v for k, v in os.environ.items() if not k.startswith("MLBOOK")}
    env |= {"PYTHONPATH": str(ROOT), "MLBOOK_CACHE": str(folder / "cache")}
    run = subprocess.run(
        [sys.executable, "-c", source], cwd=folder, env=env, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    mine, theirs = (
        [float(v) for v in re.findall(r"-?[\d.]+(?= ±)", t)] for t in (run.stdout, stored)
    )
    return mine, theirs
