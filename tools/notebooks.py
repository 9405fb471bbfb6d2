"""Run notebooks from top to bottom and store their outputs in place.

    python tools/notebooks.py                                   # all of the book
    python tools/notebooks.py book/metric/prototypical.ipynb    # some
    python tools/notebooks.py --check                           # only run them, store nothing
    python tools/notebooks.py --check --alone                   # the same as where there is no checkout
    python tools/notebooks.py --tidy                            # run nothing, only store anew what is stored

The kernel is this interpreter. A notebook that fails is left as it was. What changes from run to run
without meaning (time stamps, progress bars) is not stored.

`--alone` is how a notebook runs in Colab: in an empty folder, with the installed package. It fails where a
cell stays empty or a figure is missing that the stored notebook has.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # a script sees its folder only

from tools import folding  # noqa: E402

BOOK = ROOT / "book"
TIMEOUT = 600  # seconds a cell, as in `make test`
WIDGET = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {
        "codemirror_mode": {"name": "ipython", "version": 3},
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
    },
}


def of_the_book() -> list[Path]:
    """Every notebook of the book, in the order of their names."""
    return sorted(p for p in BOOK.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)


def last_states(text: str) -> str:
    """What a terminal shows in the end: of a line rewritten after carriage returns, its last state.

    >>> last_states("10%\\r50%\\r100%\\ndone\\n")
    '100%\\ndone\\n'
    """
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines)


def merge_streams(outputs: list[Any]) -> list[Any]:
    """One stdout and one stderr where several pieces came, at the place of the first of them.

    Pieces of two streams arrive interleaved at random; merged, the stored notebook is the same
    after every run. A picture between two prints keeps them apart.
    """
    merged: list[Any] = []
    open_streams: dict[str, Any] = {}
    for output in outputs:
        if output["output_type"] != "stream":
            open_streams = {}
            merged.append(output)
        elif output["name"] in open_streams:
            open_streams[output["name"]]["text"] += output["text"]
        else:
            open_streams[output["name"]] = output
            merged.append(output)
    for output in merged:
        if output["output_type"] == "stream":
            output["text"] = last_states(output["text"])
    return merged


BAR = re.compile(r"\d+%\||\[\d+:\d+(:\d+)?[<,]")  # of tqdm: with a total, and without one


def is_progress(output: Any) -> bool:
    """Whether an output is the widget of a progress bar; its words stand in `text/plain`."""
    data = output.get("data", {})
    return "application/vnd.jupyter.widget-view+json" in data and bool(
        BAR.search(data.get("text/plain", ""))
    )


def without_progress(outputs: list[Any]) -> list[Any]:
    """The outputs without progress bars: no widgets of them, no lines of them on stderr."""
    kept = [output for output in outputs if not is_progress(output)]
    for output in kept:
        if output.get("name") == "stderr":
            lines = output["text"].splitlines(keepends=True)
            output["text"] = "".join(line for line in lines if not BAR.search(line))
    return [o for o in kept if o.get("name") != "stderr" or o["text"].strip()]


def describe(cell: Any) -> None:
    """Give the pictures of a cell the alternative text of its metadata, where notebooks look for it."""
    alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt")
    for output in cell.outputs:
        for kind in output.get("data", {}):
            if alt and kind.startswith("image/"):
                output.metadata.setdefault(kind, {})["alt"] = alt


CHECKS = "What must hold here"


def only_checks(source: str, elsewhere: str = "") -> bool:
    """Whether a cell asserts and does nothing else that counts: what it names on the way, no other cell uses.

    >>> only_checks("for r in runs:\\n    assert r.mean > 0.5"), only_checks("print(r)\\nassert r")
    (True, False)
    >>> only_checks("gain = a - b\\nassert gain > 0"), only_checks("gain = a - b\\nassert gain > 0", "print(gain)")
    (True, False)
    """
    used = {*re.findall(r"\w+", elsewhere)}

    def checks(statement: ast.stmt) -> bool:
        if isinstance(statement, ast.Assign):
            names = [
                n.id for t in statement.targets for n in ast.walk(t) if isinstance(n, ast.Name)
            ]
            plain = all(isinstance(t, ast.Name | ast.Tuple) for t in statement.targets)
            return plain and not used & {*names}
        return isinstance(statement, ast.Assert) or (
            isinstance(statement, ast.For) and all(map(checks, statement.body))
        )

    body = folding.statements(source)
    asserts = any(isinstance(node, ast.Assert) for s in body for node in ast.walk(s))
    return asserts and all(map(checks, body))


def elsewhere(notebook: Any, cell: Any) -> str:
    """The source of all other cells of code."""
    others = (c for c in notebook.cells if c.cell_type == "code" and c is not cell)
    return "\n".join(c.source for c in others)


def inside(cell: Any) -> str:
    """What a folded cell holds, in the words that stand on it."""
    tags = cell.metadata.get("tags", [])
    if "colab" in tags:
        return "Set-up, in Colab only"
    if "hide-cell" in tags:
        return "Solution"
    if folding.only_imports(cell.source):
        return "Imports"
    if below := folding.shown(cell):
        return {
            "figure": "How the figure is made",
            "chart": "How the chart is drawn",
            "table": "How the table is made",
        }[below]
    if cell.outputs:
        return "How this is computed"
    return CHECKS if "assert " in cell.source else "What the next cells need"


def fold(notebook: Any, i: int) -> None:
    """Fold cell i if it only checks, shows or imports, on the site and in JupyterLab, and say of each what it holds."""
    cell = notebook.cells[i]
    tags = cell.metadata.get("tags", [])
    aside = (
        only_checks(cell.source, elsewhere(notebook, cell))
        or folding.only_imports(cell.source)
        or folding.only_shows(notebook.cells, i)
    )
    if aside and "hide-cell" not in tags:
        cell.metadata["tags"] = tags = [*[tag for tag in tags if tag != "hide-input"], "hide-input"]
        cell.metadata.setdefault("jupyter", {})["source_hidden"] = True
    if {"hide-input", "hide-cell"} & {*tags}:
        cell.metadata.setdefault("mystnb", {}).setdefault("code_prompt_show", inside(cell))


def tidy(notebook: Any) -> None:
    """Keep what the reader sees and drop what only says when and where it ran."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for i, cell in enumerate(notebook.cells):
        for volatile in (
            "execution",
            "collapsed",
            "scrolled",
            "ExecuteTime",
            "jp-MarkdownHeadingCollapsed",
        ):
            cell.metadata.pop(volatile, None)
        if cell.cell_type == "code":
            cell.outputs = without_progress(merge_streams(cell.outputs))
            for (
                output
            ) in cell.outputs:  # a widget ends with its kernel; what stands in for it stays
                output.get("data", {}).pop(WIDGET, None)
            describe(cell)
            fold(notebook, i)


def write(notebook: Any, path: Path) -> None:
    """Write beside the file and rename, so that no moment leaves half a notebook."""
    nbformat.validate(notebook)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as f:
            f.write(nbformat.writes(notebook).rstrip("\n") + "\n")
        temporary.chmod(path.stat().st_mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def execute(notebook: Any, folder: Path) -> None:
    """Run all cells in a new kernel whose working directory is this folder, without progress bars."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3", resources=resources)
    client.execute(env={**os.environ, "TQDM_DISABLE": "1"})


def run(path: Path, before: str = "", store: bool = True) -> float:
    """Run one notebook, `before` ahead of its first cell, and return the seconds it took."""
    notebook = nbformat.read(path, as_version=4)
    if before:
        notebook.cells.insert(0, nbformat.v4.new_code_cell(before))
    begun = time.monotonic()
    execute(notebook, path.parent)
    if store:
        tidy(notebook)
        write(notebook, path)
    return time.monotonic() - begun


class NotAloneError(Exception):
    """What a notebook lacks, or what it found, when it ran without a checkout."""


def shown(cell: Any) -> Counter[str]:
    """How many figures a cell shows, and whether it says anything; progress bars do not count."""
    kinds: Counter[str] = Counter()
    for output in cell.outputs:
        data = output.get("data", {})
        figure = any(kind.startswith("image/") for kind in data)
        figure = figure or any(tag in data.get("text/html", "") for tag in ("<script", "<svg"))
        if figure:
            kinds["figure"] += 1
        elif output.get("name") != "stderr":
            kinds["text"] = 1
    return kinds


def missing(stored: list[Any], now: list[Any]) -> list[str]:
    """What the stored cells show and those that were run now do not, in words."""
    return [
        f"cell {old.execution_count} shows {dict(shown(new)) or 'nothing'}, stored: {dict(shown(old))}"
        for old, new in zip(stored, now, strict=True)
        if shown(old) - shown(new)
    ]


def run_alone(path: Path, before: str = "") -> float:
    """Run a copy of a notebook in an empty folder, against the package that is installed.

    Raises:
        NotAloneError: If `mlbook` is that of the checkout, or if a cell shows less than is stored.
    """
    notebook = nbformat.read(path, as_version=4)
    stored = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    where = nbformat.v4.new_code_cell("import mlbook\n\nprint(mlbook.__file__)")
    extra = [nbformat.v4.new_code_cell(before)] if before else []
    notebook.cells = [*extra, *notebook.cells, where]
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as empty:
        execute(notebook, Path(empty))
    package = Path(where.outputs[0].text.strip())
    if package.resolve().is_relative_to(ROOT / "mlbook"):
        raise NotAloneError(f"{path}: ran with {package}, that of the checkout: install the wheel")
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if lacks := missing(stored, cells[len(extra) : -1]):
        raise NotAloneError(f"{path}: " + "; ".join(lacks))
    return time.monotonic() - begun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="all of the book if none is named")
    parser.add_argument("--check", action="store_true", help="run them and store nothing")
    parser.add_argument("--alone", action="store_true", help="with --check: as without a checkout")
    parser.add_argument("--tidy", action="store_true", help="run nothing, only tidy what is stored")
    parser.add_argument("--before", default="", help="with --check: code to run ahead of each")
    arguments = parser.parse_args()
    if arguments.before and not arguments.check:
        parser.error("--before goes with --check: what runs ahead of a notebook is not part of it")
    if arguments.alone and not arguments.check:
        parser.error("--alone goes with --check: what is stored is run from the checkout")
    if arguments.tidy:
        for path in arguments.notebooks or of_the_book():
            notebook = nbformat.read(path, as_version=4)
            tidy(notebook)
            write(notebook, path)
        return 0
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # this environment's kernel before the user's
    failed = []
    for path in arguments.notebooks or of_the_book():
        print(f"{path}: running", flush=True)
        try:
            if arguments.alone:
                seconds = run_alone(path.resolve(), arguments.before)
            else:
                seconds = run(path.resolve(), arguments.before, store=not arguments.check)
        except (CellExecutionError, CellTimeoutError, DeadKernelError, NotAloneError) as error:
            print(error, file=sys.stderr)
            failed.append(path)
        else:
            verb = "ran" if arguments.check else "stored after"
            print(f"{path}: {verb} {seconds:.0f} s", flush=True)
    if failed:
        print(f"error: failed, and left as stored: {', '.join(map(str, failed))}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
