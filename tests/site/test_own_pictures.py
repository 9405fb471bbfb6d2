"""The figure of the page on one's own pictures: its answers against torch, and that they are in the reader's hands."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from playwright.sync_api import Browser, Page
from torch import Tensor

from mlbook import plots
from mlbook.metric import PrototypicalNetwork

NAMES, STYLES, DIM, SHARP = ["apple", "pear", "owl", "lion"], ["one", "two", "three", "four"], 6, 10


def features() -> Tensor:
    """Of the four classes in four styles each, as bytes of -127..127."""
    torch.manual_seed(3)
    centre = torch.randn(4, 1, DIM)
    z = centre + 0.7 * torch.randn(4, 4, DIM)
    return (z / z.abs().max() * 127).round()


def data() -> dict[str, Any]:
    png = io.BytesIO()
    Image.new("RGB", (4 * 8, 4 * 8), (200, 90, 40)).save(png, "png")
    return {
        "names": NAMES, "styles": STYLES, "dim": DIM, "scale": 0.01, "sharp": SHARP, "threshold": 0.2, "known": 2,
        "sheet": "data:image/png;base64," + base64.b64encode(png.getvalue()).decode(),
        "z": base64.b64encode(features().to(torch.int8).numpy().tobytes()).decode(),
    }  # fmt: skip


@pytest.fixture
def page(browser: Browser) -> Page:
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.set_content(
        f"<body>{plots.figure('own_pictures', alt='a grid of pictures', data=data()).data}"
    )
    return page


def wanted(shown: list[int]) -> tuple[list[int], Tensor, Tensor]:
    """Which classes are known, the probabilities of every picture among them, and its largest cosine."""
    z = F.normalize(features().flatten(0, 1), dim=-1)
    known = sorted({i // 4 for i in shown})
    y = torch.tensor([known.index(i // 4) for i in shown])
    learner = PrototypicalNetwork(torch.nn.Identity(), "cosine", SHARP).adapt(
        z[shown][None], y[None]
    )
    scores = learner(z[None])[0]
    return known, scores.softmax(-1), 1 + scores.amax(-1) / SHARP


def check(page: Page, shown: list[int], threshold: float) -> None:
    known, p, cosine = wanted(shown)
    tiles = page.locator(".op-tile")
    tally = {"right": 0, "wrong": 0, "none": 0}
    caught = strangers = 0
    for i in range(16):
        label = tiles.nth(i).get_attribute("aria-label")
        none = bool(cosine[i] < threshold)
        answer = NAMES[known[int(p[i].argmax())]]
        says = "shown" if i in shown else "none of these" if none else f"answered {answer}"
        assert label == f"{NAMES[i // 4]}, {STYLES[i % 4]}: {says}"
        if i in shown:
            continue
        if i // 4 in known:
            tally["none" if none else "right" if answer == NAMES[i // 4] else "wrong"] += 1
        else:
            strangers, caught = strangers + 1, caught + none
    said = page.locator(".f-said").inner_text()
    numbers = [int(n) for n in re.findall(r"\d+", said)]
    assert numbers == [
        len(known),
        len(shown),
        sum(tally.values()),
        *tally.values(),
        strangers,
        caught,
    ]


def test_it_answers_as_class_means_do(page: Page) -> None:
    check(page, [0, 4], 0.2)
    for i in (1, 9, 14):
        page.locator(".op-tile").nth(i).click()
    check(page, [0, 4, 1, 9, 14], 0.2)
    page.get_by_role("button", name="Three of each").click()
    check(page, [0, 1, 2, 4, 5, 6], 0.2)
    slider = page.locator("input[type=range]")
    slider.fill("0.93")
    check(page, [0, 1, 2, 4, 5, 6], 0.93)


def test_bars_are_the_probabilities_of_the_picture_that_is_asked(page: Page) -> None:
    page.get_by_role("button", name="ask about it").click()
    page.locator(".op-tile").nth(6).click()
    known, p, cosine = wanted([0, 4])
    rows = page.locator(".op-bars .f-number").all_inner_texts()
    assert rows == [f"{100 * v:.0f} %" for v in sorted(p[6].tolist(), reverse=True)]
    head = page.locator(".op-bars b").inner_text()
    assert f"pear, three: nearest is {NAMES[known[int(p[6].argmax())]]}" in head
    assert f"cosine {cosine[6]:.2f}" in head


def test_keys_move_between_pictures_and_press_them(page: Page) -> None:
    page.locator(".op-tile").nth(0).focus()
    for key in ("ArrowRight", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    check(page, [0, 4, 5], 0.2)
    page.keyboard.press("Enter")
    check(page, [0, 4], 0.2)


def test_nothing_known_is_said_and_a_phone_shows_all(page: Page) -> None:
    for i in (0, 4):
        page.locator(".op-tile").nth(i).click()
    assert page.locator(".f-said").inner_text().startswith("0 kinds known from 0 pictures.")
    assert "nothing is known" in page.locator(".op-bars").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
