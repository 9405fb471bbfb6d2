"""The live widgets without a browser: what they compute, say and store. How they answer is in tests/jupyter."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib
import nbformat
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mlbook import Dataset, fit
from mlbook.lab import explore, watch
from mlbook.lab import watching as inside
from mlbook.lab.watching import followed, thinned
from mlbook.metric import PrototypicalNetwork, RelationNetwork, SiameseNetwork
from mlbook.nets import MLP, Conv4
from mlbook.optimization import MAML
from tests.test_fit import modes
from tools import notebooks

matplotlib.use("agg")
ROOT = Path(__file__).resolve().parent.parent


def test_importing_the_package_imports_no_widget_and_what_is_missing_is_said() -> None:
    code = """
import sys
import mlbook, mlbook.lab
assert not {"anywidget", "ipywidgets", "matplotlib", "IPython"} & sys.modules.keys()
sys.modules["anywidget"] = None
from mlbook.lab import watch, explore
try:
    from mlbook.lab import Lab
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert 'pip install "mlbook[lab]"' in done.stdout


# --- explore ---------------------------------------------------------------------------------


def line(slope: float, power: float) -> Any:
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(3, 2))
    x = torch.linspace(0, 1, 20)
    ax.plot(x, slope * x**power + 0.1 * torch.rand(20))
    return figure


def data_of(html: str) -> dict[str, Any]:
    return dict(json.loads(html.partition("const data = ")[2].partition(";\n/* figure")[0]))


def bundle_of(shown: Any) -> dict[str, Any]:
    bundle = shown._repr_mimebundle_()
    return dict(bundle[0] if isinstance(bundle, tuple) else bundle)


def test_explore_stores_the_pictures_of_a_grid_the_same_every_time() -> None:
    before = torch.get_rng_state()
    one = explore(line, "A line.", slope=(1, 3), power=[0.5, 1, 2])
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    html = bundle_of(one)["text/html"]
    assert html == bundle_of(explore(line, "A line.", slope=(1, 3), power=[0.5, 1, 2]))["text/html"]
    data = data_of(html)
    assert data["names"] == ["slope", "power"]
    assert data["values"] == [["1", "2", "3"], ["0.5", "1", "2"]]
    assert len(set(data["frames"])) == 9
    # the last name goes fastest
    assert data["frames"][3 * 1 + 2] == explore(line, "", slope=[2], power=[2]).frames[0]
    assert "A line." in html.partition("<script>")[0]


def test_of_a_tuple_seven_values_are_stored_or_all_whole_numbers() -> None:
    shown = explore(line, "", slope=(0.0, 3.0), power=(1, 3))
    assert shown.grid == {"slope": [0, 0.5, 1, 1.5, 2, 2.5, 3], "power": [1, 2, 3]}
    assert explore(line, "", slope=(0, 60), power=[1]).grid["slope"] == [0, 10, 20, 30, 40, 50, 60]


def test_explore_refuses_what_cannot_be_shown() -> None:
    with pytest.raises(ValueError, match=r"slope 7 x power 6 are 42 pictures, .* at most 40"):
        explore(line, "", slope=(0.0, 1.0), power=[1, 2, 3, 4, 5, 6])
    with pytest.raises(ValueError, match="needs a range for each slider"):
        explore(line, "")
    for bad in (3, "word", [], (3, 1), (1, 2, 3), ("a", "b")):
        with pytest.raises(ValueError, match=r"slope="):
            explore(line, "", slope=bad, power=[1])
    with pytest.raises(ValueError, match=r"<lambda>\(x=1\) returns a NoneType: it must return"):
        explore(lambda x: None, "", x=[1])


def test_without_widgets_explore_shows_its_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    shown = bundle_of(explore(line, "A line.", slope=[1, 2], power=[1]))
    assert shown.keys() == {"text/html", "text/plain"}
    assert shown["text/plain"] == "explore(slope, power): 2 pictures"


def test_with_a_kernel_a_slider_has_every_value_and_the_function_is_asked() -> None:
    pytest.importorskip("anywidget")
    shown = explore(line, "", slope=(0.0, 3.0), power=(1, 5))
    bundle = bundle_of(shown)
    assert "application/vnd.jupyter.widget-view+json" in bundle
    widget = shown._widget
    assert [len(words) for words in widget.data["values"]] == [101, 5]
    widget.asked = [50, 1]
    assert widget.answer["asked"] == [50, 1]
    assert widget.answer["picture"] == explore(line, "", slope=[1.5], power=[2]).frames[0]
    fails = explore(lambda x: line(1, 1) if x == 1 else 1 / 0, "", x=[1])
    bundle_of(fails)
    fails.ranges = {"x": [1]}
    shown.function = lambda **_: 1 / 0
    widget.asked = [3, 1]
    assert widget.answer["error"] == "ZeroDivisionError: division by zero"


SKETCH = """
import torch
from matplotlib.figure import Figure
from mlbook.lab import explore

def line(slope):
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([0, 1], [0, slope])
    return figure
"""


@pytest.mark.slow
def test_a_notebook_keeps_no_widget_and_is_compared_but_for_its_pictures(tmp_path: Path) -> None:
    """Stored twice the same; nbval takes another picture, and no other value."""
    pytest.importorskip("anywidget")
    path = tmp_path / "a.ipynb"
    cells = [
        nbformat.v4.new_code_cell(s) for s in (SKETCH, 'explore(line, "A line.", slope=[1, 2])')
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    notebooks.run(path)
    stored = path.read_text()
    notebooks.run(path)
    assert path.read_text() == stored
    assert "widget-view" not in stored and '"widgets"' not in stored

    def passes(change: Callable[[str], str]) -> bool:
        path.write_text(change(stored))
        # with this repository's conftest.py, which nbval asks what to compare
        configured = [
            "-c",
            str(ROOT / "pyproject.toml"),
            "-p",
            "conftest",
            "-p",
            "no:cacheprovider",
        ]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "--nbval", *configured, str(path)],
            capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.returncode == 0

    assert stored.count("iVBORw0KGgoAAAA") == 2
    assert passes(lambda text: text.replace("iVBORw0KGgoAAAA", "iVBORw0KGgoBBBB"))
    assert not passes(lambda text: text.replace('[[\\"1\\",\\"2\\"]]', '[[\\"1\\",\\"3\\"]]'))


# --- watch -----------------------------------------------------------------------------------


def test_the_plane_is_that_of_the_principal_axes() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(40, 6, dtype=torch.float64, generator=generator) * torch.tensor([5, 3, 1, 1, 0.5, 0.1])  # fmt: skip
    xy = followed(z, None)
    covariance = np.cov(z.numpy().T)
    values, vectors = np.linalg.eigh(covariance)
    expected = (z - z.mean(0)).numpy() @ vectors[:, [-1, -2]]
    expected /= np.linalg.norm(expected, axis=1).max()
    for k in range(2):
        assert np.allclose(xy[:, k], expected[:, k]) or np.allclose(xy[:, k], -expected[:, k])
        assert xy[xy[:, k].abs().argmax(), k] > 0
    assert values[-1] > values[-2]


def test_one_picture_follows_from_the_last_whatever_the_axes_do() -> None:
    """Two axes that are as long as each other, in an embedding that is turned, mirrored and barely changed."""
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(30, 2, dtype=torch.float64, generator=generator)
    before = followed(torch.nn.functional.pad(z, (0, 3)), None)
    for _ in range(20):
        turn, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=generator))
        moved = z + 1e-3 * torch.randn(30, 2, dtype=torch.float64, generator=generator)
        after = followed(torch.nn.functional.pad(moved, (0, 3)) @ turn, before)
        assert (after - before).abs().max() < 0.01
        before = after


def test_one_example_or_one_dimension_has_a_plane_too() -> None:
    assert followed(torch.ones(3, 4, dtype=torch.float64), None).tolist() == [[0, 0]] * 3
    assert followed(torch.tensor([[0.0], [2.0]], dtype=torch.float64), None)[:, 1].tolist() == [0, 0]  # fmt: skip


def test_curves_are_thinned_to_means() -> None:
    assert thinned([]) == []
    assert thinned([3.0, 1.0]) == [[1, 3.0], [2, 1.0]]
    points = thinned([float(k % 2) for k in range(1001)])
    assert len(points) <= 200
    assert points[0] == [6, 0.5] and points[-1][0] == 1001


def test_outside_a_notebook_watch_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = pictures().episodes(3, 1, 1)
    monkeypatch.setattr(watch, "look", lambda *_: pytest.fail("it looked"))
    fit(network(), tasks, 3, progress=False, callback=watch(tasks[9]))


def test_watch_records_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside, "_in_notebook", lambda: True)
    monkeypatch.setattr(inside, "_show", lambda _: SimpleNamespace())
    monkeypatch.setattr(inside, "EVERY", 0.0)
    tasks = pictures().episodes(3, 2, 1)
    watched, plain, live = network(), network(), watch(tasks[9])
    live._last = 0.0
    one = fit(watched, tasks, 70, progress=False, callback=live)
    two = fit(plain, tasks, 70, progress=False)
    assert one.loss == two.loss
    assert live._widget.now["step"] == 70
    steps = [frame["step"] for frame in live.frames]
    assert steps == sorted(steps) and 30 <= len(steps) <= inside.KEPT
    assert (steps[0], steps[-1]) == (1, 70)
    html = bundle_of(live)["text/html"]
    data = data_of(html)
    assert data["supports"] == 6 and sorted(data["labels"][:6]) == [0, 0, 1, 1, 2, 2]
    assert [len(frame["points"]) for frame in data["now"]["frames"]] == [9] * len(steps)
    assert data["now"]["curves"]["loss"][-1] == [70, round(one.loss[-1], 5)]


def test_watch_takes_any_embedding_and_refuses_what_has_no_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = MAML(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))
    tasks = pictures().episodes(3, 1, 1)
    live = watch(tasks[0], embed=lambda x: model.net[0](x))
    live.look(1, SimpleNamespace(metrics={"loss": [1.0]}), model)
    assert len(live.frames) == 1
    without = watch(tasks[0])
    without.look(1, SimpleNamespace(metrics={"loss": [1.0]}), model)
    assert without.frames == [] and without.curves == {"loss": [[1, 1.0]]}
    x = torch.zeros(1, 2, 1)
    with pytest.raises(ValueError, match="numbers for answers"):
        watch((x, x, x, x))  # type: ignore[arg-type]


# --- Lab -------------------------------------------------------------------------------------


def pictures(classes: int = 12, side: int = 8) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (classes, 6, 1, side, side), generator=generator)
    names = [str(k) for k in range(classes)]
    return Dataset(images.to(torch.uint8), names, names, "noise")


def network() -> PrototypicalNetwork:
    torch.manual_seed(0)
    return PrototypicalNetwork(Conv4(hidden=4, pools=1))


def lab(models: Any, **settings: Any) -> Any:
    pytest.importorskip("anywidget")
    from mlbook.lab import Lab

    return Lab(models, pictures(), **settings)


def encoded(x: Tensor) -> str:
    return base64.b64encode(bytes((255 * x).round().byte().flatten().tolist())).decode()


def test_python_sees_what_adapt_takes_and_every_models_answer() -> None:
    torch.manual_seed(0)
    maml = MAML(nn.Sequential(nn.Flatten(), nn.Linear(64, 5)))
    model = network().train()
    drawing = lab({"a": model, "b": maml}, shots=2, steps=3)
    x, y = drawing.support
    assert x.shape == (1, 10, 1, 8, 8) and y.shape == (1, 10) and drawing.query.shape == (1, 1, 1, 8, 8)  # fmt: skip
    with torch.no_grad():
        expected = model.eval().adapt(x, y)(drawing.query).softmax(-1)[0, 0]
        stepped = [maml.adapt(x, y, steps=k)(drawing.query).softmax(-1)[0, 0] for k in range(4)]
    assert torch.allclose(drawing.answers["a"], expected)
    assert torch.allclose(drawing.answers["b"], torch.stack(stepped))
    model.train()
    found = modes(model)
    drawing.query = pictures().images[3, 1]
    assert modes(model) == found
    assert torch.equal(drawing.query, pictures().images[3, 1][None, None].float() / 255)


def test_what_the_browser_draws_comes_as_one_change_and_what_python_sets_goes_back() -> None:
    drawing = lab(network(), ways=3)
    seen: list[str] = []
    drawing.observe(lambda change: seen.append(change.name), ["support", "query", "answers"])
    x, y = drawing.support
    task = dict(drawing.task)
    drawing.task = {**task, "labels": [0, 1, 0], "query": encoded(x[:, :1])}
    assert drawing.support[1].tolist() == [[0, 1, 0]]
    assert sorted(seen) == ["answers", "query", "support"]
    assert torch.equal(drawing.query, x[:, :1])
    seen.clear()
    drawing.support = x, y
    assert drawing.task["labels"] == y[0].tolist() and drawing.task["support"] == task["support"]
    assert sorted(seen) == ["answers", "support"]
    drawing.query = None
    assert drawing.task["query"] == "" and drawing.answers == {} and drawing.rows == []


def test_a_model_that_fails_says_so_in_its_row_and_the_others_answer() -> None:
    torch.manual_seed(0)
    narrow = MAML(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))
    drawing = lab({"narrow": narrow, "a": network()}, ways=4)
    assert drawing.answers.keys() == {"a"}
    assert "tasks of 4 ways: the network has fewer outputs" in drawing.messages["narrow"]
    assert [bool(row["message"]) for row in drawing.rows] == [True, False]
    drawing.deal = {"ways": 3, "shots": 2, "n": 1}
    assert drawing.messages == {} and drawing.answers["narrow"].shape == (6, 3)


class Scores(nn.Module):
    """Returns what it was given, whatever is asked."""

    def __init__(self, scores: Tensor) -> None:
        nn.Module.__init__(self)
        self.scores = scores

    def adapt(self, x: Tensor, y: Tensor) -> Any:
        return lambda q: self.scores.expand(1, q.shape[1], -1)


def test_scores_that_are_no_logits_are_made_to_sum_to_one() -> None:
    given = torch.tensor([0.2, 0.6])

    class Relation(Scores, RelationNetwork):
        """Its scores are in [0, 1]."""

    class Siamese(Scores, SiameseNetwork):
        """Its scores are the log-odds of p."""

    p = torch.tensor([0.1, 0.4])
    drawing = lab({"softmax": Scores(given), "r": Relation(given), "s": Siamese(p.logit())}, ways=2)
    assert torch.allclose(drawing.answers["softmax"], given.softmax(-1))
    assert torch.allclose(drawing.answers["r"], torch.tensor([0.25, 0.75]))
    assert torch.allclose(drawing.answers["s"], torch.tensor([0.2, 0.8]))


def test_without_a_kernel_there_are_recorded_answers() -> None:
    drawing = lab({"a": network()}, ways=3)
    bundle = bundle_of(drawing)
    assert bundle["text/plain"] == "Lab(a)"
    data = data_of(bundle["text/html"])
    assert len(data["recorded"]) == 3 and data["task"]["labels"] == drawing.support[1][0].tolist()
    again = lab({"a": network()}, ways=3)
    assert bundle_of(again)["text/html"] == bundle["text/html"]
    queries = torch.tensor(list(base64.b64decode(data["more"]))) / 255
    for rows, x in zip(data["recorded"], queries.reshape(3, 1, 8, 8), strict=True):
        drawing.query = x
        assert rows[0]["shares"][0] == pytest.approx(drawing.answers["a"].tolist(), abs=1e-4)


def test_mistakes_are_named() -> None:
    drawing = lab(network(), ways=3)
    x, y = drawing.support
    for bad, said in [
        (3, r"support is \(x \[1, S, 1, H, W\], y \[1, S\]\)"),
        ((x, y[:, :2]), r"give \[1, 2, 1, 8, 8\]"),
        ((x, y.float()), "whole numbers"),
        ((x, torch.zeros_like(y)), "ways=1: the lab takes 2 to 10"),
        ((x, torch.tensor([[0, 2, 2]])), "class 1 of task 0 has no support example"),
        ((x * 300, y), r"floats in \[0, 1\] or bytes"),
    ]:
        with pytest.raises(ValueError, match=said):
            drawing.support = bad
    assert torch.equal(drawing.support[0], x)
    with pytest.raises(ValueError, match="no picture of 8 x 8: one has 64 pixels"):
        drawing.query = torch.zeros(28, 28)
    with pytest.raises(ValueError, match="models is empty"):
        lab({})
    with pytest.raises(ValueError, match="'a' is a MLP and no meta-learner"):
        lab({"a": MLP(1, 2)})
    with pytest.raises(ValueError, match="ways=11"):
        lab(network(), ways=11)
    from mlbook.lab import Lab

    colour = Dataset(torch.zeros(3, 2, 3, 8, 8, dtype=torch.uint8), list("abc"), list("abc"), "c")
    with pytest.raises(ValueError, match="square pictures of one channel"):
        Lab(network(), colour)
