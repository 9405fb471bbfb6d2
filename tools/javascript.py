"""Check the JavaScript of the figures with TypeScript's compiler and for copies, where npm can install the two.

    python tools/javascript.py

The package needs no node, and nothing here is shipped; the versions stand in package-lock.json. Where there is no npm,
or no registry, one line says that these checks are left out; tests/test_figures.py guards the form of the modules and
looks for copies everywhere.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INSTALLED = ROOT / "node_modules" / ".package-lock.json"


def install() -> str | None:
    """Install what package-lock.json names, once; what stands in the way of it, if anything does."""
    npm = shutil.which("npm")
    if npm is None:
        return "there is no npm"
    lock = ROOT / "package-lock.json"
    if INSTALLED.exists() and INSTALLED.stat().st_mtime >= lock.stat().st_mtime:
        return None
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    try:
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        return "npm could not install in five minutes"
    if run.returncode:
        return f"npm could not install: {(run.stderr or run.stdout).strip().splitlines()[-1:]}"
    return None


def main() -> int:
    if missing := install():
        print(f"JavaScript: types and copies are NOT checked: {missing}")
        return 0
    for script in ("types", "copies"):
        run = subprocess.run(
            ["npm", "run", "--silent", script], cwd=ROOT, capture_output=True, text=True
        )
        if run.returncode:
            print(run.stdout + run.stderr, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
