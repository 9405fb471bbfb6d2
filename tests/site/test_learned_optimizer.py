"""The four optimizers that the figure of `learned_optimizer` runs by hand, against torch's."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser
from torch import Tensor

from mlbook import plots
from mlbook.lstm_meta_learner import LearnedOptimizer

STEEP, LONG, TURN, STEPS = 6.0, 8.0, 35.0, 30
START, RATES = [-2.2, 1.4], {"sgd": 0.1, "momentum": 0.02, "adam": 0.3}


def bowl(theta: Tensor) -> Tensor:
    """`[B, 2]` to `[B]`: steep along one direction, turned, and `LONG` times flatter across."""
    a = math.radians(TURN)
    p = theta[:, 0] * math.cos(a) + theta[:, 1] * math.sin(a)
    q = theta[:, 1] * math.cos(a) - theta[:, 0] * math.sin(a)
    return STEEP / 2 * (p.square() + q.square() / LONG)


def rule() -> LearnedOptimizer:
    torch.manual_seed(0)
    model = LearnedOptimizer(bowl, hidden=3, scale=0.3).double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_((2 * p).round(decimals=4))
    return model


def data(model: LearnedOptimizer) -> dict[str, Any]:
    m = model.m
    layers = [
        {
            "x": getattr(m, f"weight_ih_l{k}").tolist(),
            "h": getattr(m, f"weight_hh_l{k}").tolist(),
            "b": (getattr(m, f"bias_ih_l{k}") + getattr(m, f"bias_hh_l{k}")).tolist(),
        }
        for k in (0, 1)
    ]
    last = {"g": model.g.weight[0].tolist(), "b": model.g.bias.item()}
    place = {"steep": STEEP, "long": LONG, "turn": TURN, "start": START}
    return {"scale": 0.3, "p": 10, "steps": STEPS, "rates": RATES, "layers": layers} | place | last


def torchs(name: str, steps: int) -> float:
    theta = torch.tensor([START], dtype=torch.float64, requires_grad=True)
    optimizer: torch.optim.Optimizer = {
        "SGD": lambda: torch.optim.SGD([theta], RATES["sgd"]),
        "momentum": lambda: torch.optim.SGD([theta], RATES["momentum"], momentum=0.9),
        "Adam": lambda: torch.optim.Adam([theta], RATES["adam"]),
        "learned rule": lambda: rule().optimizer([theta]),
    }[name]()  # type: ignore[no-untyped-call]
    for _ in range(steps):
        optimizer.zero_grad()
        bowl(theta).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return bowl(theta).item()


@pytest.mark.parametrize("steps", [1, 12, STEPS])
def test_the_figure_takes_the_steps_that_torch_takes(browser: Browser, steps: int) -> None:
    page = browser.new_page()
    page.set_content(
        f"<body>{plots.figure('learned_optimizer', alt='four paths', data=data(rule())).data}"
    )
    page.locator("[data-set=t]").fill(str(steps))
    said = page.locator(".lo-chart svg").get_attribute("aria-label") or ""
    head, values = said.split(": ", 1)
    assert head == f"Loss after {steps} steps"
    shown = dict(part.rsplit(" ", 1) for part in values.split("; "))
    assert set(shown) == {"SGD", "momentum", "Adam", "learned rule"}
    for name, value in shown.items():
        assert math.isclose(float(value), torchs(name, steps), rel_tol=6e-3), (name, value)
    page.close()


def test_controls_change_what_they_name(browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 800, "height": 800})
    page.set_content(
        f"<body>{plots.figure('learned_optimizer', alt='four paths', data=data(rule())).data}"
    )
    said = page.locator(".f-note")

    def losses() -> list[str]:
        label = page.locator(".lo-chart svg").get_attribute("aria-label") or ""
        return [part.rsplit(" ", 1)[1] for part in label.split(": ", 1)[1].split("; ")]

    before = losses()
    page.locator(".f-handle").press("ArrowLeft")
    assert all(a != b for a, b in zip(before, losses(), strict=True)), "another start for all"
    page.get_by_role("button", name="Reset").click()
    assert losses() == before
    page.locator("[data-set=sgd]").press("ArrowLeft")
    after = losses()
    assert after[0] != before[0] and after[1:] == before[1:], "a rate is that of one"
    page.get_by_role("button", name="Best rates here").click()
    tuned = losses()
    assert all(float(a) <= float(b) for a, b in zip(tuned, before, strict=True))
    assert tuned[3] == before[3], "the learned rule has no rate"
    page.get_by_role("button", name="Reset").click()
    page.locator("[data-set=factor]").press("ArrowRight")
    assert losses()[0] != before[0]
    page.locator("[data-set=t]").fill("0")
    assert "Drag the start" in (said.text_content() or "")
    page.close()
