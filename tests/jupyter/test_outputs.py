"""What the notebooks' outputs are in JupyterLab, for a stranger who has not run them and for a reader who has."""

from __future__ import annotations

from typing import Any

import nbformat
import pytest
from playwright.sync_api import expect

from tests.jupyter.conftest import Lab
from tools.notebooks import METADATA, of_the_book

FALLBACK = "trust the notebook"


@pytest.fixture(scope="module")
def drawn() -> nbformat.NotebookNode:
    """Every cell of the book that draws, in one notebook."""
    cells = [
        nbformat.v4.new_code_cell(outputs=cell.outputs, execution_count=cell.execution_count)
        for path in of_the_book()
        for cell in nbformat.read(path, as_version=4).cells
        if any(is_picture(o) or is_figure(o) for o in cell.get("outputs", []))
    ]
    return nbformat.v4.new_notebook(cells=cells, metadata=METADATA)


def is_picture(output: Any) -> bool:
    return "image/png" in output.get("data", {})


def is_figure(output: Any) -> bool:
    return "mlbook-figure" in output.get("data", {}).get("text/html", "")


def count(notebook: nbformat.NotebookNode, kind: Any) -> int:
    return sum(kind(output) for cell in notebook.cells for output in cell.outputs)


PICTURES = """images => images.map(i => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const pen = canvas.getContext("2d");
  pen.drawImage(i, 0, 0, 1, 1, 0, 0, 1, 1);
  return [i.naturalWidth > 200, i.clientWidth > 100, [...pen.getImageData(0, 0, 1, 1).data]];
})"""


def test_a_stranger_sees_every_chart_and_of_every_interactive_figure_what_it_shows(
    lab: Lab, drawn: nbformat.NotebookNode
) -> None:
    """As cloned, before anything is run: JupyterLab runs no script and shows no SVG. In the dark, on paper."""
    with lab.open(drawn, "dark", trusted=False) as seen:
        pictures = seen.page.locator(".jp-OutputArea-output img")
        assert pictures.count() == count(drawn, is_picture) > 100
        assert pictures.evaluate_all(PICTURES) == [[True, True, [255] * 4]] * pictures.count()
        expect(seen.page.get_by_text("<Figure size")).to_have_count(0)
        figures = seen.page.locator(".jp-OutputArea-output", has_text=FALLBACK)
        assert figures.count() == count(drawn, is_figure) > 15
        for words in figures.all_inner_texts():
            assert len(words) > 100, "what it would show, in a sentence"
        box = figures.first.bounding_box()
        assert box and box["height"] > 30, "not an empty box"
        seen.shot("untrusted-dark", figures.first)
        assert not seen.problems


def test_in_a_trusted_notebook_every_interactive_figure_is_alive(
    lab: Lab, drawn: nbformat.NotebookNode
) -> None:
    alive = [c for c in drawn.cells if any(is_figure(o) for o in c.outputs)]
    notebook = nbformat.v4.new_notebook(cells=alive, metadata=METADATA)
    with lab.open(notebook, "dark") as seen:
        expect(seen.page.locator(".mlbook-figure")).to_have_count(len(alive))
        expect(seen.page.get_by_text(FALLBACK)).to_have_count(0)
        controls = seen.page.locator(".mlbook-figure").evaluate_all(
            "figures => figures.map(f => f.querySelectorAll('button, input, select, [tabindex]').length)"
        )
        assert min(controls) > 0
        marked = seen.page.locator(".mlbook-figure li").evaluate_all(
            "items => items.filter(i => getComputedStyle(i).listStyleType !== 'none').map(i => i.innerText)"
        )
        assert not marked, "JupyterLab numbers what a figure lists, between its pictures"
        assert not seen.problems


TRAIN = """import torch
from mlbook import fit, plots
from mlbook.metric import PrototypicalNetwork
import matplotlib.pyplot as plt
plots.use_style()
x, y = torch.rand(1, 4, 6), torch.arange(4)[None]
history = fit(PrototypicalNetwork(torch.nn.Linear(6, 3)), [(x, y, x, y)] * 30, steps=30, device="cpu")
figure, ax = plt.subplots()
ax.plot(history.metrics["loss"]);"""


def test_progress_is_a_widget_and_a_chart_is_on_paper(lab: Lab) -> None:
    """Of a reader's own run: nothing on red, a bar that is full in the end, a chart to read in the dark."""
    cells = [nbformat.v4.new_code_cell(TRAIN)]
    with lab.open(nbformat.v4.new_notebook(cells=cells, metadata=METADATA), "dark") as seen:
        output = seen.run(0)
        bar = output.locator(".jupyter-widgets.widget-hbox")
        expect(bar).to_contain_text("30/30")
        expect(bar).to_contain_text("loss")
        expect(output.locator("[data-mime-type='application/vnd.jupyter.stderr']")).to_have_count(0)
        picture = output.locator("img")
        expect(picture).to_have_count(1)
        picture.evaluate("i => i.decode()")
        assert picture.evaluate_all(PICTURES) == [[True, True, [255] * 4]]
        seen.shot("run-dark")
        assert not seen.problems
