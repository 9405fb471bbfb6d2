"""Run notebooks from top to bottom and store their outputs in place.

    python tools/notebooks.py                                   # all of the book
    python tools/notebooks.py book/metric/prototypical.ipynb    # some
    python tools/notebooks.py --check                           # only run them, store nothing

The kernel is this interpreter. A notebook that fails is left as it was. What changes from run to run
without meaning (time stamps, intermediate states of progress bars) is not stored.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
TIMEOUT = 600  # seconds a cell, as in `make test`
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


def tidy(notebook: Any) -> None:
    """Keep what the reader sees and drop what only says when and where it ran."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        for volatile in (
            "execution",
            "collapsed",
            "scrolled",
            "ExecuteTime",
            "jp-MarkdownHeadingCollapsed",
        ):
            cell.metadata.pop(volatile, None)
        if cell.cell_type == "code":
            cell.outputs = merge_streams(cell.outputs)


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


def run(path: Path, before: str = "", store: bool = True) -> float:
    """Run one notebook, `before` ahead of its first cell, and return the seconds it took."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    if before:
        notebook.cells.insert(0, nbformat.v4.new_code_cell(before))
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    begun = time.monotonic()
    client.execute()
    if store:
        tidy(notebook)
        write(notebook, path)
    return time.monotonic() - begun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="all of the book if none is named")
    parser.add_argument("--check", action="store_true", help="run them and store nothing")
    parser.add_argument("--before", default="", help="with --check: code to run ahead of each")
    arguments = parser.parse_args()
    if arguments.before and not arguments.check:
        parser.error("--before goes with --check: what runs ahead of a notebook is not part of it")
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # this environment's kernel before the user's
    failed = []
    for path in arguments.notebooks or of_the_book():
        print(f"{path}: running", flush=True)
        try:
            seconds = run(path.resolve(), arguments.before, store=not arguments.check)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
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
