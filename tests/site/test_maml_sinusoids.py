"""The gradient descent that the figure of `maml_sinusoids` does by hand, against torch's."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from playwright.sync_api import Browser

from mlbook import plots
from mlbook.nets import MLP

POINTS = [-3.4, 0.3, 2.6]  # of the figure's example "3 points", on 3.4 sin(x - 0.9)


def losses(net: MLP) -> list[float]:
    """On the points, after 0 to 10 steps of rate 0.01."""
    x = torch.tensor(POINTS, dtype=torch.float64)[:, None]
    y, found = 3.4 * torch.sin(x - 0.9), []
    sgd = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(11):
        sgd.zero_grad()
        loss = F.mse_loss(net(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        found.append(loss.item())
        sgd.step()
    return found


def test_the_figure_descends_as_torch_does(browser: Browser) -> None:
    nets, data = [], {"sizes": [1, 40, 40, 1], "rate": 0.01}
    for seed, name in enumerate(("maml", "pretrained")):
        torch.manual_seed(seed)
        net = MLP(1, 40, 40, 1).double()
        with torch.no_grad():
            for p in net.parameters():
                p.copy_((1.5 * p).round(decimals=4))
        data[name] = [v for p in net.parameters() for v in p.flatten().tolist()]
        nets.append(net)
    page = browser.new_page()
    page.set_content(f"<body>{plots.figure('maml_sinusoids', alt='two curves', data=data).data}")
    page.get_by_role("button", name="3 points").click()
    said = page.locator(".ms-chart svg").get_attribute("aria-label") or ""
    for net, part in zip(nets, said.split(";"), strict=True):
        shown = [float(v) for v in part.split(":")[1].split(",")]
        assert len(shown) == 11
        for a, b in zip(shown, losses(net), strict=True):
            assert math.isclose(a, b, rel_tol=1e-3), (a, b)
    page.close()


def test_points_are_dragged_added_and_removed(browser: Browser) -> None:
    weights = [0.01] * 1761
    data = {"sizes": [1, 40, 40, 1], "rate": 0.01, "maml": weights, "pretrained": weights}
    page = browser.new_page(viewport={"width": 800, "height": 700})
    page.set_content(f"<body>{plots.figure('maml_sinusoids', alt='two curves', data=data).data}")
    points = page.locator(".f-handle:visible")
    first = points.first
    assert points.count() == 10
    box, before = first.bounding_box(), first.get_attribute("aria-label")
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y + 40, steps=3)
    page.mouse.up()
    assert first.get_attribute("aria-label") != before
    assert points.count() == 10, "a drag is not a click beside the points"
    first.press("Delete")
    assert points.count() == 9
    plane = page.locator(".f-framed svg").bounding_box()
    assert plane is not None
    page.mouse.click(plane["x"] + plane["width"] / 2, plane["y"] + plane["height"] - 30)
    assert points.count() == 10
    page.get_by_role("button", name="free").click()
    label = points.first.get_attribute("aria-label")
    points.first.press("ArrowUp")
    assert points.first.get_attribute("aria-label") != label, "free points move up and down"
    page.close()
