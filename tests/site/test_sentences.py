"""The figure of one's own sentences, with the data that its page has stored: its answers and its controls."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from playwright.sync_api import Browser, Page, expect

from tests.site.conftest import on_its_own, stored_figure


def stored() -> tuple[str, Any]:
    return stored_figure("practice/sentences", "sentences")


@pytest.fixture(params=[900, 360])
def shown(request: pytest.FixtureRequest, browser: Browser) -> Iterator[tuple[Page, Any]]:
    html, data = stored()
    with on_its_own(browser, html, request.param) as page:
        yield page, data


def test_it_is_small_and_says_what_it_shows() -> None:
    html, data = stored()
    assert len(json.dumps(data)) < 150_000
    assert re.search(r'aria-label="[^"]{100,}"', html)
    assert len(data["classes"]) == 8 and len(data["texts"]) == 9


def test_it_answers_as_torch_does_whatever_is_moved(shown: tuple[Page, Any]) -> None:
    page, data = shown
    flat = [(k, text) for k, row in enumerate(data["texts"]) for text in row]
    raw = np.frombuffer(base64.b64decode(data["z"]), dtype=np.int8).copy()
    z = F.normalize(torch.from_numpy(raw).double().view(len(flat), data["dim"]), dim=-1)
    used = [i for i, (k, text) in enumerate(flat) if k < 8 and text in data["texts"][k][:3]]
    numbers, said = page.locator(".sn-bars .f-number"), page.locator(".f-said")

    def cosines(i: int) -> torch.Tensor:
        of = torch.tensor([k for k, _ in flat])[used]
        return torch.stack([F.normalize(z[used][of == k].mean(0), dim=0) @ z[i] for k in range(8)])

    def agrees(i: int, threshold: float) -> None:
        s = cosines(i)
        assert [float(v.replace("−", "-")) for v in numbers.all_inner_texts()] == pytest.approx(
            s.tolist(), abs=6e-3
        )
        name = "None of these" if s.max() < threshold else data["classes"][int(s.argmax())]
        expect(said.first).to_contain_text(name.replace("_", " "))

    select = page.get_by_label("the sentence that is asked")
    for i in (4, 12, len(flat) - 1):
        select.select_option(str(i))
        agrees(i, 0.4)
    page.get_by_role("button", name="the sentence before").click()
    agrees(len(flat) - 2, 0.4)
    page.locator("input[data-set=threshold]").fill("0.05")
    agrees(len(flat) - 2, 0.05)

    page.locator("input[data-set=threshold]").fill("0.4")
    rest = [i for i in range(len(flat)) if i not in used]
    answers = [(flat[i][0], int(s.argmax()) if (s := cosines(i)).max() >= 0.4 else -1) for i in rest]  # fmt: skip
    right = sum(k == a for k, a in answers if k < 8)
    away, caught = (sum(a < 0 for k, a in answers if (k < 8) is known) for known in (True, False))
    expect(said.last).to_have_text(
        f"Of the 40 other sentences of these intents {right} are answered rightly and {away} turned away; "
        f"of 16 strangers {caught} are caught."
    )
    # the examples of the second class, by the keyboard: its first one out, its last one in
    page.get_by_role("button", name="timer", exact=True).click()
    rows = page.locator(".sn-list button")
    expect(rows).to_have_count(8)
    for k in (0, 7):
        rows.nth(k).focus()
        page.keyboard.press("Enter")
        i = 8 + k
        used = [j for j in used if j != i] if i in used else [*used, i]
        expect(rows.nth(k)).to_have_attribute("aria-pressed", str(i in used).lower())
        expect(rows.nth(k)).to_be_focused()
    select.select_option("9")
    agrees(9, 0.4)
    page.get_by_role("button", name="Reset").click()
    expect(rows).to_have_text(data["texts"][0], use_inner_text=False)


def test_a_class_without_an_example_is_no_answer(shown: tuple[Page, Any]) -> None:
    page, _ = shown
    for k in range(3):
        page.locator(".sn-list button").nth(k).click()
    expect(page.locator(".sn-bars .f-number").first).to_have_text("no example")
    page.locator("input[data-set=threshold]").fill("0")
    expect(page.locator(".f-said").first).not_to_contain_text("None of these")
