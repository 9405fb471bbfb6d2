"""What the harness itself promises: themes, trust, cells that run."""

from __future__ import annotations

from typing import Any

import nbformat
import pytest
from playwright.sync_api import expect

from tests.jupyter.conftest import Lab

SAID = '<p>said</p><img alt="" src="x" onerror="window.ran = true">'


def made() -> nbformat.NotebookNode:
    """A text, a cell that was run elsewhere and left markup with a script, and one that was not run."""
    output: Any = nbformat.v4.new_output("display_data", data={"text/html": SAID})
    return nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# A title"),
            nbformat.v4.new_code_cell("1", execution_count=1, outputs=[output]),
            nbformat.v4.new_code_cell("import mlbook\nprint(6 * 7, mlbook.__file__)"),
        ],
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
        },
    )


@pytest.mark.parametrize(("theme", "trusted"), [("light", True), ("dark", False)])
def test_a_notebook_opens_in_both_themes_trusted_or_not(
    lab: Lab, theme: str, trusted: bool
) -> None:
    with lab.open(made(), theme, trusted) as seen:
        expect(seen.cell(0).locator("h1")).to_contain_text("A title")
        expect(seen.output(1)).to_contain_text("said")
        paper = seen.page.evaluate(
            "getComputedStyle(document.querySelector('.jp-Notebook')).backgroundColor"
        )
        assert (paper == "rgb(255, 255, 255)") == (theme == "light")
        # what a script in an output may do is how the two differ
        assert bool(seen.page.evaluate("window.ran")) == trusted


def test_a_cell_runs_with_the_package_of_this_checkout(lab: Lab) -> None:
    with lab.open(made()) as seen:
        expect(seen.run(2)).to_contain_text("42")
        expect(seen.output(2)).to_contain_text("/mlbook/__init__.py")
        assert not seen.problems
