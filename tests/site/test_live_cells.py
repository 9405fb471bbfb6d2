"""The live cells of the notebooks where no kernel runs: what they have recorded, and every way to turn it over."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.site.conftest import ROOT, Visit, on_its_own, stored_figures
from tools.notebooks import of_the_book

CHAPTERS = ("metric", "model_based", "optimization", "lstm_meta_learner")
NO_METHOD = ("comparison", "transfer")  # pages that compare methods


def live() -> Iterator[tuple[str, str, str, Any]]:
    """Page, figure, HTML and data of every live cell."""
    for path in of_the_book():
        for found in stored_figures(path):
            if found[3] in ("drawing", "explore"):
                page = path.relative_to(ROOT).with_suffix("").as_posix()
                yield page, found[3], found.string, json.loads(found[2])


LIVE = {page: rest for page, *rest in live()}


def test_every_method_has_one() -> None:
    methods = {
        path.relative_to(ROOT).with_suffix("").as_posix()
        for path in of_the_book()
        if path.parent.name in CHAPTERS and path.stem not in NO_METHOD
    }
    assert LIVE.keys() == methods
    assert len([*live()]) == len(LIVE)


@pytest.fixture(params=LIVE)
def shown(request: pytest.FixtureRequest, browser: Browser) -> Iterator[tuple[Page, str, Any]]:
    """A page that holds the stored output and nothing else, as wide as a phone's."""
    name, html, data = LIVE[request.param]
    with on_its_own(browser, html, 360) as page:
        yield page, name, data


def test_what_is_recorded_can_be_turned_over(shown: tuple[Page, str, Any]) -> None:
    page, name, data = shown
    figure = page.locator(".mlbook-figure")
    if name == "explore":
        sliders, picture = figure.locator("input[type=range]"), figure.locator("img")
        ranges = [range(len(values)) for values in data["values"]]
        for frame, at in zip(data["frames"], itertools.product(*ranges), strict=True):
            for slider, k in enumerate(at):
                sliders.nth(slider).fill(str(k))
            assert picture.get_attribute("src") == f"data:image/png;base64,{frame}"
            words = [data["values"][i][k] for i, k in enumerate(at)]
            said = ", ".join(f"{n} = {w}" for n, w in zip(data["names"], words, strict=True))
            assert (picture.get_attribute("alt") or "").endswith(f"Here with {said}.")
        assert picture.evaluate("i => i.decode().then(() => i.naturalWidth)") > 500
        # drawn at some 700 pixels, its labels of 13 pixels can be read on a phone, and keys move it
        box = picture.bounding_box()
        assert box is not None and box["width"] >= 600
        frame = figure.locator(".ex-frame")
        frame.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("document.querySelector('.ex-frame').scrollLeft > 0")
        page.set_viewport_size({"width": 900, "height": 900})
        expect(frame).not_to_have_attribute("tabindex", "0")
        assert frame.evaluate("e => e.scrollWidth <= e.clientWidth")
        page.set_viewport_size({"width": 360, "height": 900})
        return
    rows = figure.locator(".lb-answers tbody tr")
    for query, recorded in enumerate(data["recorded"]):
        figure.get_by_role("button", name=f"picture {query + 1}", exact=True).click()
        for i, row in enumerate(recorded):
            assert not row["message"]
            for steps in {0, len(row["shares"]) - 1}:
                if len(row["shares"]) > 1:
                    figure.locator("input[data-set=steps]").fill(str(steps))
                cells = rows.nth(i).locator("td").all_inner_texts()
                assert cells == [f"{p:.2f}" for p in row["shares"][steps]] or all(
                    abs(float(cell) - p) < 0.0051
                    for cell, p in zip(cells, row["shares"][steps], strict=True)
                )
                best = max(range(len(cells)), key=row["shares"][steps].__getitem__)
                expect(rows.nth(i).locator("td").nth(best)).to_have_class(re.compile("lb-best"))


def test_on_the_site_it_is_alive_and_says_where_to_draw(visits: dict[str, Visit]) -> None:
    visit = visits["phone"]
    page = visit.open("book/optimization/maml_omniglot.html")
    figure = page.locator(".mlbook-figure:has(.lb-answers)")
    figure.get_by_role("button", name="picture 2", exact=True).click()
    best = figure.locator(".lb-best").first
    assert best.evaluate("e => getComputedStyle(e).backgroundColor") != "rgba(0, 0, 0, 0)"
    figure.get_by_role("link", name="the lab").click()
    page.wait_for_url("**/book/lab.html")
    assert not visit.problems
