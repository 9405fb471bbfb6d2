"""The memory that the figure of `mann` computes from recorded keys and gates, against the package's."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from playwright.sync_api import Browser, Page
from torch import Tensor, nn

from mlbook import plots
from mlbook.model_based import MANN

WAYS, SLOTS, READS, WIDTH, HIDDEN = 3, 7, 2, 5, 8
LABELS = [
    2,
    0,
    0,
    1,
    2,
    1,
    0,
    2,
    1,
    1,
    2,
    0,
]  # of a sequence that fills the seven slots more than once


class Recorded:
    """A sequence through a small random network, step by step: what the figure is given, and what it should show."""

    def __init__(self, scale: float) -> None:
        torch.manual_seed(0)
        model = MANN(nn.Identity(), 6, WAYS, HIDDEN, SLOTS, WIDTH, READS, scale=scale).double()
        with torch.no_grad():
            for p in model.parameters():
                p *= 3.0 if p.dim() else 1.0  # larger weights, so that much happens
            x, y = torch.randn(1, len(LABELS), 6, dtype=torch.float64), torch.tensor([LABELS])
            before = F.pad(F.one_hot(y, WAYS), (0, 0, 1, -1))
            U, state = model.output.weight[:, HIDDEN:], None
            self.k: list[Any] = []
            self.a: list[Any] = []
            self.base: list[Any] = []
            self.read, self.p = [], []
            self.usage = [1e-4 * torch.arange(SLOTS)]  # before the first step
            for t in range(len(LABELS)):
                scores, state = model.unroll(x[:, t : t + 1], before[:, t : t + 1], state)
                out, _, _, w_r, w_u = state
                heads = model.heads(out[:, :HIDDEN]).view(READS, WIDTH + 1)
                self.k.append(heads[:, :-1].tanh().tolist())
                self.a.append(heads[:, -1].sigmoid().tolist())
                self.base.append((scores[0, 0] - U @ out[0, HIDDEN:]).tolist())
                self.read.append(w_r[0].mean(0))
                self.usage.append(w_u[0, 0])
                self.p.append(scores[0, 0].softmax(0))
        pixels = (len(LABELS) * 28 * 28) // 4
        self.data = {
            "size": 28, "pictures": base64.b64encode(bytes(pixels)).decode(), "y": LABELS,
            "ways": WAYS, "slots": SLOTS, "gamma": model.gamma, "scale": scale,
            "k": self.k, "a": self.a, "base": self.base, "U": U.tolist(),
        }  # fmt: skip


def shown(page: Page, what: str) -> Tensor:
    """The numbers that the rows of the memory name so."""
    labels = [row.get_attribute("aria-label") or "" for row in page.locator(".mn-row").all()]
    found = [re.search(rf"{what} (-?[\d.]+\d)", label) for label in labels]
    return torch.tensor([float(match[1]) for match in found if match])


def opened(browser: Browser, data: Any) -> Page:
    page = browser.new_page(viewport={"width": 800, "height": 900})
    page.set_content(f"<body>{plots.figure('mann', alt='a memory', data=data).data}")
    return page


@pytest.mark.parametrize("scale", [6.0, 1.0])
def test_the_figure_writes_and_reads_as_the_package_does(browser: Browser, scale: float) -> None:
    recorded = Recorded(scale)
    page = opened(browser, recorded.data)
    for t in range(len(LABELS)):
        page.get_by_role("slider").fill(str(t + 1))
        for what, expected in [("usage", recorded.usage[t]), ("read", recorded.read[t])]:
            found = shown(page, what)
            torch.testing.assert_close(
                found, expected.float(), atol=6e-4, rtol=0, msg=f"{what} {t}"
            )
        p = torch.tensor([float(text) for text in page.locator(".mn-p").all_inner_texts()])
        torch.testing.assert_close(p, recorded.p[t].float(), atol=6e-3, rtol=0)
        said = page.locator(".f-said").inner_text()
        nth = LABELS[: t + 1].count(LABELS[t])
        assert said.startswith(
            f"The {['1st', '2nd', '3rd', '4th'][nth - 1]} picture of class {LABELS[t]}"
        )
        assert f"the answer is {int(recorded.p[t].argmax())}" in said
    page.close()


def test_another_sharpness_is_another_reading(browser: Browser) -> None:
    """Up to the first step, which writes one content into two slots, keys do not depend on it."""
    page = opened(browser, Recorded(6.0).data)
    page.get_by_role("slider").fill("1")
    sharp = shown(page, "read")
    page.get_by_role("button", name="s = 1, the paper").click()
    blurred = shown(page, "read")
    torch.testing.assert_close(blurred, Recorded(1.0).read[0].float(), atol=6e-4, rtol=0)
    assert blurred.max() < sharp.max()
    assert "recorded run" in page.locator(".f-said").inner_text()
    page.get_by_role("button", name="learned").click()
    torch.testing.assert_close(shown(page, "read"), sharp)
    page.close()


def test_steps_are_taken_by_buttons_pictures_and_keys(browser: Browser) -> None:
    page = opened(browser, Recorded(6.0).data)
    slider = page.get_by_role("slider")
    slider.fill("1")
    page.get_by_role("button", name="Back").click()
    assert slider.input_value() == "1", "there is nothing before the first step"
    page.get_by_role("button", name="Next").click()
    assert slider.input_value() == "2"
    slider.press("ArrowRight")
    assert slider.input_value() == "3"
    page.get_by_role("button", name="step 12, a picture of class 0").click()
    page.get_by_role("button", name="Next").click()
    assert slider.input_value() == "12", "nor after the last"
    assert page.locator("output").inner_text() == "12 of 12"
    page.close()
