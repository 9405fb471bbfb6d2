"""What the figures of `hypernetworks` compute by hand, against torch: weights, a neural process, MAML's steps."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from playwright.sync_api import Browser, Page
from torch import nn

from mlbook import plots
from mlbook.model_based import HyperNetwork, NeuralProcess
from mlbook.nets import MLP
from mlbook.optimization import MAML

SUPPORT = [[[-1.0, 0.5], [-0.4, 1.1]], [[1.2, 0.3], [0.6, -0.2]], [[0.1, -1.4], [-0.7, -0.9]]]
POINTS = [-3.4, 0.3, 2.6]  # of the figure's example "3 points", on 3.4 sin(x - 0.9)


def rounded(model: nn.Module, digits: int = 3) -> None:
    """As the page has the weights: in few digits."""
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.round(decimals=digits))


def numbers(*parts: nn.Module | None) -> list[float]:
    weights = (p for part in parts if part is not None for p in part.parameters())
    return [v for p in weights for v in p.flatten().tolist()]


def shown(text: str | None) -> list[list[float]]:
    """The numbers of `name: 1, 2; name: 3, 4`."""
    return [[float(v) for v in part.split(":")[1].split(",")] for part in (text or "").split(";")]


def near(found: Iterable[float], wanted: Iterable[float], tolerance: float) -> bool:
    pairs = list(zip(found, wanted, strict=True))
    return all(math.isclose(a, b, abs_tol=tolerance, rel_tol=1e-3) for a, b in pairs)


def hypernetwork(browser: Browser) -> tuple[Page, HyperNetwork]:
    torch.manual_seed(0)
    model = HyperNetwork(MLP(2, 12, 6), dim=6, hidden=10).double()
    nn.init.normal_(model.norm.weight, 1.0, 0.3)  # as after training
    nn.init.normal_(model.norm.bias, 0.0, 0.3)
    rounded(model)
    data: dict[str, Any] = {"dim": 6, "units": 12, "hidden": 10}
    data |= {name: numbers(getattr(model, name)) for name in ("embed", "norm", "phi", "rho")}
    data["presets"] = {"first": SUPPORT, "second": [points[:1] for points in SUPPORT]}
    page = browser.new_page(viewport={"width": 900, "height": 700})
    page.set_content(f"<body>{plots.figure('hypernetwork', alt='a plane', data=data).data}")
    return page, model


def emitted(model: HyperNetwork, support: list[list[list[float]]]) -> list[list[float]]:
    x = torch.tensor(support, dtype=torch.float64).flatten(0, 1)[None]
    y = torch.arange(3).repeat_interleave(len(support[0]))[None]
    w, b = model.weights(model.f(x), y)
    return torch.cat([w[0], b[0].T], 1).tolist()


def test_the_plane_emits_the_weights_that_torch_emits(browser: Browser) -> None:
    page, model = hypernetwork(browser)
    chart = page.locator(".hn-weights svg")
    for button, support in (("first", SUPPORT), ("second", [points[:1] for points in SUPPORT])):
        page.get_by_role("button", name=button).click()
        label = (chart.get_attribute("aria-label") or "").split(". ", 1)[1]
        for row, wanted in zip(shown(label), emitted(model, support), strict=True):
            assert near(row, wanted, 2e-3)
    page.close()


def test_exchanged_labels_exchange_rows_and_points_can_be_dragged(browser: Browser) -> None:
    page, _ = hypernetwork(browser)
    chart = page.locator(".hn-weights svg")
    before = shown((chart.get_attribute("aria-label") or "").split(". ", 1)[1])
    page.get_by_role("button", name="Exchange A and B").click()
    after = shown((chart.get_attribute("aria-label") or "").split(". ", 1)[1])
    assert after == [before[1], before[0], before[2]]

    point = page.locator(".f-handle:visible").first
    box, label = point.bounding_box(), point.get_attribute("aria-label")
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y + 50, steps=3)
    page.mouse.up()
    assert point.get_attribute("aria-label") != label
    assert shown((chart.get_attribute("aria-label") or "").split(". ", 1)[1]) != after
    page.get_by_role("button", name="one shot more").click()
    assert page.locator(".f-handle:visible").count() == 9
    page.close()


def test_the_neural_process_and_maml_predict_as_torch_does(browser: Browser) -> None:
    torch.manual_seed(0)
    process = NeuralProcess(dim=16, attention=True, heads=4).double()
    maml = MAML(MLP(1, 40, 40, 1), inner_lr=0.01, loss=F.mse_loss).double()
    rounded(process)
    rounded(maml, 4)
    data = {"dim": 16, "heads": 4, "sizes": [1, 40, 40, 1], "rate": 0.01, "steps": 5}
    data |= {name: numbers(getattr(process, name)) for name in ("h", "a", "g")}
    page = browser.new_page(viewport={"width": 900, "height": 700})
    picture = plots.figure("neural_process", alt="curves", data=data | {"maml": numbers(maml.net)})
    page.set_content(f"<body>{picture.data}")
    page.get_by_role("button", name="3 points").click()

    x = torch.tensor(POINTS, dtype=torch.float64)[None, :, None]
    y = 3.4 * torch.sin(x - 0.9)
    at = torch.linspace(-5, 5, 5, dtype=torch.float64)[None, :, None]
    with torch.no_grad():
        mean, std = process.predict(x, y, at)
    wanted = [mean, std, maml.adapt(x, y, steps=5)(at).detach()]
    drawn = shown(page.locator(".f-framed svg").get_attribute("data-curves"))
    for row, line in zip(drawn, wanted, strict=True):
        assert near(row, line.flatten().tolist(), 2e-4)

    points = page.locator(".f-handle:visible")
    assert points.count() == 3
    points.first.press("Delete")
    assert points.count() == 2
    page.get_by_role("button", name="add a point").click()
    assert points.count() == 3
    page.get_by_role("button", name="free").click()
    label = points.first.get_attribute("aria-label")
    points.first.press("ArrowUp")
    assert points.first.get_attribute("aria-label") != label
    page.close()
