"""Renew the code of interactive figures in stored outputs, without running anything.

    python tools/figures.py            # all notebooks of the book
    python tools/figures.py --check    # only say which are old

A stored output carries a figure's code, so that it works alone; when a module under mlbook/figures/ changes, the
outputs are old. Data and words stay as the cell gave them.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import sys
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mlbook import plots  # noqa: E402
from tools import notebooks  # noqa: E402

STORED = re.compile(
    r'<div class="mlbook-figure" id="[\w-]+" role="group" aria-label="([^"]*)">.*?</div>\n'
    r"<script>\(\(\) => \{ const id = .*?; const data = (.*);\n/\* figure (\w+) \*/\n"
)


def renewed(output: str) -> str | None:
    """A stored figure with today's code; None if it is something else."""
    if not (found := STORED.match(output)):
        return None
    words, data, name = found.groups()
    return str(plots.figure(name, html.unescape(words), json.loads(data)).data)


def renew(notebook: Any) -> list[str]:
    """Renew all figures of a notebook in place; the names of those that were old."""
    old = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            text = output.get("data", {}).get("text/html", "")
            new = renewed(text)
            if new is not None and new != text:
                output["data"]["text/html"] = new
                old.append(re.findall(r"/\* figure (\w+) \*/", new)[0])
    return old


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="store nothing; fail where one is old")
    check = parser.parse_args().check
    stale = 0
    for path in notebooks.of_the_book():
        notebook = nbformat.read(path, as_version=4)
        if old := renew(notebook):
            stale += len(old)
            print(f"{path.relative_to(ROOT)}: {', '.join(old)} {'old' if check else 'renewed'}")
            if not check:
                notebooks.write(notebook, path)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
