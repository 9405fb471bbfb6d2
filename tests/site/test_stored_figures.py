"""Figures with the data that their pages have stored: what they say, against torch, and every way to move them."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from playwright.sync_api import Browser, Page
from torch import Tensor

from mlbook import plots
from tests.site.conftest import ROOT, stored_figures

Open = Callable[..., tuple[Page, Any]]


@pytest.fixture
def stored(browser: Browser) -> Iterator[Open]:
    """`stored("metric/relation", "relation")`: a page with that figure, and its data."""
    pages: list[Page] = []

    def stored(notebook: str, name: str, **view: Any) -> tuple[Page, Any]:
        for found in stored_figures(ROOT / "book" / f"{notebook}.ipynb"):
            if found[3] == name:
                data = json.loads(found[2])
                page = browser.new_page(**{"viewport": {"width": 900, "height": 900}, **view})
                pages.append(page)
                picture = plots.figure(name, alt=html.unescape(found[1]), data=data).data
                page.set_content(f"<!doctype html><body>{picture}")
                return page, data
        raise AssertionError(f"no figure {name} in {notebook}")

    yield stored
    for page in pages:
        page.close()


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def drag(page: Page, point: Any, x: float, y: float) -> None:
    box = point.locator("circle").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + x, box["y"] + box["height"] / 2 + y, steps=4)
    page.mouse.up()


# ---- the losses of two tasks

BOWLS = {"equal bowls": [(-1.6, 1.0), (1.6, 1.0)], "steep and flat": [(-1.8, 2.2), (1.6, 0.35)]}


def table(page: Page) -> list[float]:
    """θ, loss and loss after the steps: of joint pre-training, then of MAML."""
    return [float(v.replace("−", "-")) for v in page.locator(".tr-table td").all_inner_texts()]


@pytest.mark.parametrize("name", BOWLS)
@pytest.mark.parametrize("steps", [1, 3])
def test_two_bowls_have_their_minima_where_algebra_says(
    stored: Open, name: str, steps: int
) -> None:
    page, _ = stored("optimization/transfer", "transfer")
    press(page, name)
    for _ in range(steps - 1):
        press(page, "one step more")
    m, h = torch.tensor(BOWLS[name], dtype=torch.float64).T
    left = h * (1 - 0.4 * h) ** (2 * steps)  # the curvature of a bowl's loss after the steps

    def row(weights: Tensor) -> list[float]:
        theta = (weights * m).sum() / weights.sum()
        means = [(w / 2 * (theta - m) ** 2).mean() for w in (h, left)]
        return [float(theta), *map(float, means)]

    assert table(page) == pytest.approx(row(h) + row(left), abs=6e-3)


def test_bowls_are_moved_by_hand_and_by_keys(stored: Open) -> None:
    page, _ = stored("optimization/transfer", "transfer")
    points = page.locator(".f-handle:visible")
    assert points.count() == 8
    press(page, "equal bowls")
    assert points.count() == 4
    width, bottom = points.nth(0), points.nth(1)
    bottom.press("ArrowRight")
    bottom.press("Shift+ArrowUp")
    assert bottom.get_attribute("aria-label") == "bottom of the bowl of task A, at -1.50, loss 0.20"
    width.press("ArrowUp")
    assert width.get_attribute("aria-label") == "width of the bowl of task A, curvature 0.88"
    assert table(page)[0] == pytest.approx((1.6 - 0.88 * 1.5) / 1.88, abs=0.01)
    drag(page, bottom, 40, 0)
    assert -1.4 < float((bottom.get_attribute("aria-label") or "").split()[8][:-1]) < -0.9
    before = table(page)
    drag(page, width, -30, 0)
    assert table(page) != before
    press(page, "equal bowls")
    assert table(page)[0] == 0


# ---- Reptile in a plane


def parabola(p: list[float], x: Tensor) -> Tensor:
    return p[0] + p[1] * x + p[2] * x**2


def distances(curves: list[list[float]], z: Tensor) -> list[float]:
    x = torch.linspace(-8, 8, 160_001, dtype=torch.float64)
    return [float(((x - z[0]) ** 2 + (parabola(p, x) - z[1]) ** 2).min().sqrt()) for p in curves]


def test_reptile_takes_the_steps_of_the_formula(stored: Open) -> None:
    page, data = stored("optimization/reptile", "reptile")
    curves = next(iter(data["scenes"].values()))
    z = torch.tensor(data["start"], dtype=torch.float64)
    for step in range(4):
        if step == 3:
            press(page, "both at once")
        press(page, "Step")
        ends = []
        for task in [step % 2] if step < 3 else [0, 1]:
            phi = z.clone()
            for _ in range(30):
                phi.requires_grad_()
                error = phi[1] - parabola(curves[task], phi[0])
                (g,) = torch.autograd.grad(data["steep"][task] * error**2 / 2, phi)
                phi = (phi - data["rate"] * g).detach()
            ends.append(phi)
        z = z + 0.5 * (torch.stack(ends).mean(0) - z)
        one, two, mean, _ = (float(v) for v in page.locator(".rt-values output").all_inner_texts())
        d = distances(curves, z)
        assert [one, two] == pytest.approx(d, abs=2e-3)
        assert mean == pytest.approx((d[0] ** 2 + d[1] ** 2) / 4, abs=2e-3)


def test_reptile_is_moved_played_and_paused(stored: Open) -> None:
    page, _ = stored("optimization/reptile", "reptile")
    phi, said = page.locator(".f-handle"), page.locator(".f-said")
    words = phi.get_attribute("aria-label")
    phi.press("Shift+ArrowUp")
    assert phi.get_attribute("aria-label") != words
    phi.press("Enter")
    assert said.inner_text().startswith("Step 1: trained on task 1, 30 inner steps")
    drag(page, phi, 60, -80)
    assert said.inner_text().startswith("Drag φ"), "moved by hand, it starts again"
    press(page, "crossing")
    assert page.locator(".rt-values output").last.inner_text() == "0.000"
    press(page, "Play")
    page.wait_for_function("document.querySelector('.f-said').textContent.startsWith('Step 3')")
    press(page, "Pause")
    now = said.inner_text()
    page.wait_for_timeout(700)
    assert said.inner_text() == now
    press(page, "Restart")
    assert said.inner_text().startswith("Drag φ")


def test_reptile_is_at_its_end_at_once_for_those_who_want_no_motion(stored: Open) -> None:
    page, _ = stored("optimization/reptile", "reptile", reduced_motion="reduce")
    press(page, "ε falls to 0 in 60 steps")
    press(page, "Play")
    assert page.locator(".f-said").inner_text().startswith("Step 60:")


# ---- a Relation Network that is drawn into


def relation_scores(data: Any, x: Tensor) -> list[float]:
    """The network of the figure, by torch, for one picture [28, 28]."""
    w = {}
    for name, layer in data["layers"].items():
        q = np.frombuffer(base64.b64decode(layer["weight"]), dtype=np.int8).copy()
        scale = torch.tensor(layer["scale"])
        weight = torch.from_numpy(q).float().view(len(scale), -1) * scale[:, None]
        bias = torch.tensor(layer["bias"]) if "bias" in layer else None
        w[name] = (weight.view(layer["shape"]), bias)

    def conv(name: str, x: Tensor) -> Tensor:
        return F.conv2d(x, *w[name], padding=1)

    def embed(x: Tensor) -> Tensor:
        for name in ("f1", "f2"):
            x = F.max_pool2d(conv(name, x), 2).relu()
        return conv("f4", conv("f3", x).relu()).relu()

    pictures = [
        torch.frombuffer(bytearray(base64.b64decode(s)), dtype=torch.uint8).view(1, 28, 28) / 255
        for s in data["support"]
    ]
    halves = conv("s", embed(torch.stack(pictures))) + conv("q", embed(x[None, None]))
    second = F.max_pool2d(conv("g2", F.max_pool2d(halves, 2).relu()), 2).relu()
    hidden = F.linear(second.flatten(1), *w["hidden"]).relu()
    return list(F.linear(hidden, *w["out"]).sigmoid()[:, 0].tolist())


def test_the_relation_network_scores_as_torch_does(stored: Open) -> None:
    page, data = stored("metric/relation", "relation")
    numbers = page.locator(".rl-class .f-number")

    def shown() -> list[float]:
        return [float(v) for v in numbers.all_inner_texts()]

    for k, text in enumerate(data["query"]):
        press(page, f"query {k + 1}")
        bits = bytearray(base64.b64decode(text))
        x = torch.frombuffer(bits, dtype=torch.uint8).view(28, 28) / 255
        assert shown() == pytest.approx(relation_scores(data, x), abs=2e-3)
    press(page, "right")
    moved = F.pad(x, (1, -1))
    assert shown() == pytest.approx(relation_scores(data, moved), abs=2e-3)
    page.get_by_role("button", name="up", exact=True).press("ArrowDown")
    assert shown() == pytest.approx(relation_scores(data, F.pad(moved, (0, 0, 1, -1))), abs=2e-3)
    press(page, "Undo")
    press(page, "Undo")
    assert shown() == pytest.approx(relation_scores(data, x), abs=2e-3)
    press(page, "Clear")
    empty = shown()
    assert empty == pytest.approx(relation_scores(data, torch.zeros(28, 28)), abs=2e-3)


@pytest.mark.parametrize("by", ["mouse", "keys", "touch"])
def test_the_relation_network_answers_to_a_drawing(stored: Open, by: str) -> None:
    page, _ = stored("metric/relation", "relation", has_touch=True)
    press(page, "Clear")
    pad, row = page.locator(".f-pad"), page.locator(".rl-class")
    empty = row.locator(".f-number").all_inner_texts()
    box = pad.bounding_box()
    assert box is not None
    x, y = box["x"] + 60, box["y"] + 60
    if by == "keys":
        pad.press("Space")
        for _ in range(8):
            pad.press("ArrowDown")
    elif by == "touch":
        page.touchscreen.tap(x, y)
    else:
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 90, y + 90, steps=8)
        page.mouse.up()
    assert row.locator(".f-number").all_inner_texts() != empty
    assert page.locator(".f-tile[aria-pressed=true]").count() == 0, "it is no query of the test set"
    pad.press("Backspace")
    assert row.locator(".f-number").all_inner_texts() == empty
    row.nth(4).click()
    assert page.locator(".rl-inside b").inner_text() == "4"
    press(page, "query 1")
    best = re.findall(r"class (\d)", page.locator(".f-said").inner_text())
    assert best == [page.locator(".rl-inside b").inner_text()], "another query, another look"
