"""The figure of a patient whose blood is drawn, with the data that its page has stored: its curves and its controls."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Page, expect
from scipy.optimize import minimize

from mlbook.data import patients as P
from mlbook.model_based import NeuralProcess
from tests.site.conftest import on_its_own, stored_figure

X = torch.linspace(0, math.log1p(26), 101)[::20]  # where the figure says its curves


def stored() -> tuple[str, Any]:
    return stored_figure("practice/patients", "patients")


@pytest.fixture(params=[900, 360])
def shown(request: pytest.FixtureRequest, browser: Browser) -> Iterator[tuple[Page, Any]]:
    html, data = stored()
    with on_its_own(browser, html, request.param) as page:
        yield page, data


def test_it_is_small_and_says_what_it_shows() -> None:
    html, data = stored()
    assert len(json.dumps(data)) < 80_000
    assert re.search(r'aria-label="[^"]{100,}"', html)
    assert len(data["people"]) == 6 and all(len(p["hours"]) == 10 for p in data["people"])


def network(data: Any) -> NeuralProcess:
    model = NeuralProcess(dim=data["dim"], attention=True, heads=data["heads"])
    raw = np.frombuffer(base64.b64decode(data["weights"]), dtype=np.float16)
    flat, at = torch.from_numpy(raw.astype(np.float32)), 0
    assert model.a is not None
    with torch.no_grad():
        for part in (model.h, model.a, model.g):
            for p in part.parameters():
                p.copy_(flat[at : at + p.numel()].view_as(p))
                at += p.numel()
    assert at == len(flat)
    return model


def most_probable(hours: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    middle, spread = (torch.tensor(v, dtype=torch.float64) for v in zip(*P.PRIOR.values(), strict=True))  # fmt: skip

    def of(z: np.ndarray) -> torch.Tensor:
        return middle * torch.exp(spread * torch.from_numpy(z))

    def f(z: np.ndarray) -> float:
        c = P.concentration(hours.double(), of(z))
        sd = P.deviation(c)
        return float((0.5 * ((y - c) / sd).square() + sd.log()).sum() + 0.5 * (z**2).sum())

    exactly = {"xatol": 1e-5, "fatol": 1e-9, "maxiter": 5000}
    return of(minimize(f, np.zeros(3), method="Nelder-Mead", options=exactly).x)


def curves(page: Page) -> dict[str, list[float]]:
    text = page.locator(".f-plot svg").first.get_attribute("data-curves") or ""
    parts = (part.split(": ") for part in text.split("; "))
    return {name: [float(v) for v in values.split(", ")] for name, values in parts}


@torch.no_grad()
def agrees(page: Page, data: Any, who: int, drawn: list[int]) -> None:
    person, model = data["people"][who], network(data)
    hours, measured = (torch.tensor(person[k]) for k in ("hours", "measured"))
    scale, rest = person["dose"] / P.DOSE, [i for i in range(10) if i not in drawn]
    y = measured / scale
    x = torch.cat([X, torch.log1p(hours[rest])])[None, :, None]
    found = model.predict(P.to_x(hours[drawn])[None], P.to_y(y[drawn])[None], x)
    mean, sd = (scale * P.from_y(v)[0] for v in found)
    best = most_probable(hours[drawn], y[drawn])
    c = scale * P.concentration(torch.expm1(x[0, :, 0]).double(), best)
    said = curves(page)
    assert said["mean"] == pytest.approx(mean[: len(X)].tolist(), abs=2e-3)
    assert said["sigma"] == pytest.approx(sd[: len(X)].tolist(), abs=2e-3)
    assert said["map"] == pytest.approx(c[: len(X)].tolist(), abs=2e-2)
    truth, numbers = measured[rest], page.locator(".pa-table .f-number").all_inner_texts()
    error, off = ((m[len(X) :] - truth).square().mean().sqrt() for m in (mean, c))
    assert float(numbers[0]) == pytest.approx(float(error), abs=6e-3)
    assert float(numbers[2]) == pytest.approx(float(off), abs=3e-2)
    inside = int(((truth - mean[len(X) :]).abs() <= 1.6449 * sd[len(X) :]).sum())
    assert numbers[1] == f"{inside} of {len(rest)}"


def tube(page: Page, k: int) -> Any:
    return page.locator(".pa-tubes button").nth(k)


def near(hours: list[float], hour: float) -> int:
    return int(np.argmin(np.abs(np.array(hours) - hour)))


def test_both_curves_are_those_of_torch_whatever_is_drawn(shown: tuple[Page, Any]) -> None:
    page, data = shown
    first = data["people"][0]["hours"]
    two, twelve = near(first, 2), near(first, 12)
    agrees(page, data, 0, [two])
    tube(page, twelve).click()
    expect(tube(page, twelve)).to_have_attribute("aria-pressed", "true")
    agrees(page, data, 0, [two, twelve])
    tube(page, two).focus()
    page.keyboard.press("Enter")
    expect(tube(page, two)).to_have_attribute("aria-pressed", "false")
    agrees(page, data, 0, [twelve])
    page.get_by_role("button", name="4", exact=True).click()
    agrees(page, data, 3, [twelve])
    page.get_by_role("button", name="the first three").click()
    agrees(page, data, 3, [0, 1, 2])
    expect(page.locator(".f-said")).to_contain_text("can hardly be known")
    page.get_by_role("button", name="at 2, 12, ½ h").click()
    page.get_by_role("button", name="MAP’s band").click()
    hours = data["people"][3]["hours"]
    agrees(page, data, 3, [near(hours, 2), near(hours, 12), near(hours, 0.5)])


def test_a_sample_is_drawn_by_a_click_on_its_ring(shown: tuple[Page, Any]) -> None:
    page, _ = shown
    ring = page.locator(".f-plot circle").first  # of those that are not drawn
    before = page.locator(".pa-tubes [aria-pressed=true]").count()
    box = ring.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator(".pa-tubes [aria-pressed=true]")).to_have_count(before + 1)


def test_with_nothing_drawn_and_with_everything(shown: tuple[Page, Any]) -> None:
    page, _ = shown
    page.locator(".pa-tubes [aria-pressed=true]").click()
    expect(page.locator(".f-said")).to_contain_text("Nothing is drawn")
    middle = P.concentration(torch.expm1(X), torch.tensor([m for m, _ in P.PRIOR.values()]))
    scale = stored()[1]["people"][0]["dose"] / P.DOSE
    assert curves(page) == {"map": pytest.approx((scale * middle).tolist(), abs=1e-3)}
    for k in range(10):
        tube(page, k).click()
    expect(page.locator(".f-said")).to_contain_text("none is left")


def test_simulated_patients_come_from_the_prior(shown: tuple[Page, Any]) -> None:
    page, _ = shown
    page.get_by_role("button", name="simulated", exact=True).click()
    expect(page.locator(".pa-tubes button").nth(3)).to_have_text("2.0")
    said = set()
    for _ in range(4):
        said.add(json.dumps(curves(page)))
        expect(page.locator(".f-said")).to_contain_text("This simulated patient, 1 sample")
        page.get_by_role("button", name="another simulated patient").click()
    assert len(said) == 4
