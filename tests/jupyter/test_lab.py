"""The live widgets with a real kernel: what is drawn reaches Python, and what Python says is shown."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Locator, expect

from tests.jupyter.conftest import Lab, Seen

KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
MODELS = """
import torch
from mlbook import load, load_pretrained
from mlbook.lab import Lab
from mlbook.metric import PrototypicalNetwork

class Broken(PrototypicalNetwork):
    def adapt(self, x, y):
        raise RuntimeError("I would rather not")

glyphs = load("glyphs")
models = {name: load_pretrained(name) for name in ("prototypical", "maml")}
models["mine"] = Broken(torch.nn.Identity())
"""


def notebook(*cells: str) -> nbformat.NotebookNode:
    made = [nbformat.v4.new_code_cell(cell.strip()) for cell in cells]
    return nbformat.v4.new_notebook(cells=made, metadata=KERNEL)


def drawn(seen: Seen, canvas: Locator, *points: tuple[float, float]) -> None:
    """A stroke by mouse through these points, in parts of the pad."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    seen.page.mouse.move(*places[0])
    seen.page.mouse.down()
    for place in places[1:]:
        seen.page.mouse.move(*place, steps=4)
    seen.page.mouse.up()


@pytest.mark.parametrize("app", ["doc", "notebooks"])
def test_what_is_drawn_reaches_python_and_comes_back(lab: Lab, app: str) -> None:
    if app == "notebooks" and find_spec("notebook") is None:
        pytest.skip("Notebook 7 is not installed")
    cells = notebook(
        MODELS,
        "lab = Lab(models, glyphs)\nlab",
        "lab.query = torch.zeros(28, 28)\nbefore = dict(lab.answers)",
        "x = lab.query\n"
        "said = models['prototypical'].adapt(*lab.support)(x).softmax(-1)[0, 0]\n"
        "print(list(x.shape), 5 < x.sum() < 60, x[0, 0, 0, 14, 5:23].min() > 0.9, x[0, 0, 0, :9].max() == 0)\n"
        "print(torch.allclose(said, lab.answers['prototypical'], atol=1e-5), list(lab.answers['maml'].shape))\n"
        "print(f\"{lab.answers['prototypical'].max():.2f} {lab.answers['prototypical'].argmax()}\", lab.messages)",
        "print(list(lab.support[0].shape), lab.support[1].tolist())",
        "lab.support = torch.rand(1, 3, 1, 28, 28), torch.tensor([[0, 0, 1]])",
    )
    with lab.open(cells, app=app) as seen:
        seen.run(0)
        shown = seen.run(1)
        rows = shown.locator(".lb-answers tbody tr")
        expect(rows).to_have_count(3)
        expect(rows.nth(2)).to_contain_text("I would rather not")
        seen.run(2)
        drawn(seen, shown.locator("canvas.f-pad"), (0.15, 0.52), (0.85, 0.52))
        expect(shown.locator("canvas.f-pad")).to_be_visible()
        seen.page.wait_for_timeout(1000)
        said = seen.run(3)
        expect(said).to_contain_text("[1, 1, 1, 28, 28] tensor(True) tensor(True) tensor(True)")
        expect(said).to_contain_text("True [6, 5]")
        expect(said).to_contain_text("{'mine': 'I would rather not'}")
        share, best = said.inner_text().split("\n")[2].split(" ")[:2]
        expect(rows.nth(0).locator("td").nth(int(best))).to_have_text(share)
        expect(rows.nth(1).locator("th")).to_have_text("maml, 5 steps")
        shown.locator("input[data-set=steps]").fill("0")
        expect(rows.nth(1).locator("th")).to_have_text("maml, 0 steps")
        # a second example of class B, by the keyboard, and a class taken away
        shown.get_by_role("button", name="draw an example of class B").click()
        pad = shown.locator("canvas.f-pad")
        pad.focus()
        for key in ["Space", *["Shift+ArrowDown"] * 2, "Space"]:
            seen.page.keyboard.press(key)
        shown.get_by_role("button", name="Add to B").click()
        shown.get_by_role("button", name="take example 1 of class E out").click()
        seen.page.wait_for_timeout(1000)
        expect(seen.run(4)).to_contain_text("[1, 5, 1, 28, 28] [[0, 1, 1, 2, 3]]")
        expect(rows.nth(0).locator("td")).to_have_count(4)
        seen.run(5)
        expect(shown.locator(".lb-class")).to_have_count(2)
        expect(rows.nth(0).locator("td")).to_have_count(2)
        seen.shot(f"lab-{app}", shown)
        own = (
            "schema",
            "filebrowser:open-path",
        )  # Notebook 7 misses parts of JupyterLab's settings
        assert not [p for p in seen.problems if app == "doc" or not any(word in p for word in own)]


SKETCH = """
import torch
from mlbook import fit, load, plots
from mlbook.lab import explore, watch
import matplotlib.pyplot as plt

def line(slope, power):
    figure, ax = plt.subplots(figsize=(4, 2))
    x = torch.linspace(0, 1, 50)
    ax.plot(x, slope * x**power)
    called.append((slope, power))
    return figure

called = []
"""


def test_a_slider_calls_the_function(lab: Lab) -> None:
    cell = 'explore(line, "a line", slope=(1.0, 3.0), power=[1, 2])'
    cells = notebook(SKETCH, cell, "print(called[-1], len(called))")
    with lab.open(cells) as seen:
        seen.run(0)
        shown = seen.run(1)
        sliders, picture = shown.locator("input[type=range]"), shown.locator("img.ex-picture")
        expect(sliders).to_have_count(2)
        before = picture.get_attribute("src")
        sliders.first.focus()
        seen.page.keyboard.press("ArrowRight")
        expect(picture).not_to_have_attribute("src", before or "")
        expect(picture).to_have_attribute("alt", "a line Here with slope = 1.02, power = 1.")
        expect(seen.run(2)).to_contain_text("(1.02, 1) 15")  # 14 stored, and the one asked for
        assert not seen.problems


TRAINING = """
from mlbook.metric import PrototypicalNetwork
from mlbook.nets import Conv4
torch.manual_seed(0)
tasks = load("glyphs").split("characters", seed=0)[0].episodes(5, 2, 2)
model = PrototypicalNetwork(Conv4(hidden=8))
live = watch(tasks[1000])
history = fit(model, tasks, steps=60, callback=live)
"""


def test_training_is_seen_while_it_happens(lab: Lab) -> None:
    with lab.open(notebook(SKETCH, TRAINING, "live", "print(f'{history.loss[-1]:.3f}')")) as seen:
        seen.run(0)
        shown = seen.run(1)
        expect(shown).to_contain_text(
            "60 steps."
        )  # the last step is there, however short the training
        plots = shown.locator(".f-plot")
        expect(plots).to_have_count(3)
        expect(plots.nth(2).locator("circle")).to_have_count(20)
        seen.shot("watch", shown)
        recorded = seen.run(2)
        expect(recorded).to_contain_text("60 steps.")
        expect(recorded.locator(".f-plot").nth(2).locator("circle")).to_have_count(20)
        assert not seen.problems


def test_where_it_may_not_run_it_says_how_to_bring_it_to_life(lab: Lab) -> None:
    from mlbook import load, load_pretrained
    from mlbook.lab import Lab as DrawingLab

    bundle: Any = DrawingLab(load_pretrained("prototypical"), load("glyphs"))._repr_mimebundle_()[0]
    kept = {kind: text for kind, text in bundle.items() if "widget-view" not in kind}
    made = notebook("lab")
    made.cells[0].outputs = [nbformat.v4.new_output("execute_result", data=kept, execution_count=1)]
    made.cells[0].execution_count = 1
    with lab.open(made, trusted=False) as seen:
        expect(seen.output(0)).to_contain_text("run its cell or trust the notebook")
    with lab.open(made, "dark", trusted=True) as seen:
        rows = seen.output(0).locator(".lb-answers tbody tr")
        expect(rows).to_have_count(1)
        tiles = seen.output(0).locator(".lb-tiles button")
        best = []
        for i in range(5):
            tiles.nth(i).click()
            expect(tiles.nth(i)).to_have_attribute("aria-pressed", "true")
            best.append(rows.first.locator(".lb-best").count())
        assert best == [1] * 5
        seen.shot("lab-still-dark", seen.output(0))
        assert not seen.problems
