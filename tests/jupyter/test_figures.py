"""Interactive figures in a real JupyterLab: stored outputs that are trusted or not, in both themes."""

from __future__ import annotations

from typing import Any

import nbformat
import pytest
from playwright.sync_api import expect

from mlbook import plots
from tests.jupyter.conftest import Lab

ALT = "Eight tasks with their readings, and the loss of shrinking their means."
CELL = f'from mlbook import plots\n\nplots.figure("shrinkage", alt="{ALT}")'


def made() -> nbformat.NotebookNode:
    """A figure that was stored in an earlier session, when its cell was the seventh to run."""
    stored = plots.figure("shrinkage", alt=ALT).data
    output: Any = nbformat.v4.new_output(
        "execute_result", data={"text/html": stored, "text/plain": ""}, execution_count=7
    )
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(CELL, execution_count=7, outputs=[output])],
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
        },
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_stored_figure_is_alive_in_a_trusted_notebook(lab: Lab, theme: str) -> None:
    with lab.open(made(), theme, trusted=True) as seen:
        out = seen.output(0)
        slider = out.get_by_role("slider", name="readings K")
        slider.press("ArrowRight")  # which in JupyterLab goes to the next heading
        expect(out).to_contain_text("eight tasks, 4 readings each")
        expect(out).not_to_contain_text("trust the notebook")
        dark = out.locator(".mlbook-figure").evaluate("e => e.hasAttribute('data-dark')")
        assert dark == (theme == "dark")
        expect(out.get_by_role("button", name="Copy link")).to_have_count(0)
        assert not seen.problems


def test_an_untrusted_notebook_says_how_to_bring_it_to_life(lab: Lab) -> None:
    with lab.open(made(), trusted=False) as seen:
        out = seen.output(0)
        expect(out).to_contain_text(ALT)
        expect(out).to_contain_text("run its cell or trust the notebook")
        expect(out.get_by_role("slider")).to_have_count(0)
        assert not seen.problems
