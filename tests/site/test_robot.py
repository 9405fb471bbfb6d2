"""The figure of the robot on a slope: its carts and drivers are those of the package, whatever the hand does."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, Page, expect
from torch import Tensor

from mlbook import load_pretrained, plots
from mlbook.data.slopes import DT, step
from mlbook.lstm_meta_learner import RecurrentPolicy
from tests.site.conftest import on_its_own

SECONDS = 2.0
GAINS = {"LQR": [-0.3, -0.5, -4.0, -1.0], "LQR with integral": [-0.4, -0.6, -4.5, -1.1, -0.1]}


def packed(model: torch.nn.Module) -> str:
    raw = b"".join(v.half().numpy().tobytes() for v in model.state_dict().values())
    return base64.b64encode(raw).decode()


def data() -> dict[str, Any]:
    models = {"lstm": load_pretrained("robot"), "plain": load_pretrained("robot_no_memory")}
    return {
        "index": [[k, [*v.shape]] for k, v in models["lstm"].state_dict().items()],
        "weights": {k: packed(m) for k, m in models.items()},
        "linear": GAINS,
        "seconds": SECONDS,
    }


@pytest.fixture(params=[1280, 390])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Opened for a reader who wants no motion: what plays is at its end at once."""
    html = plots.figure("robot", alt="a robot", data=data()).data
    with on_its_own(browser, html, request.param, reduced_motion="reduce") as page:
        yield page


def states(page: Page) -> list[list[float]]:
    found = page.locator("svg[data-state]").all()
    return [[float(v) for v in str(s.get_attribute("data-state")).split()] for s in found]


def policy(name: str) -> RecurrentPolicy:
    model = load_pretrained(name).double()
    assert isinstance(model, RecurrentPolicy)
    return model


@torch.no_grad()
def drive(
    model: RecurrentPolicy | list[float], task: Tensor, s: Tensor, steps: int, memory: Any = None
) -> tuple[Tensor, Any]:
    """The state after so many steps, and the driver's memory: its own and the last action."""
    h, u = memory or (None, torch.zeros(1, dtype=torch.float64))
    for _ in range(steps):
        if isinstance(model, RecurrentPolicy):
            u, h = model.act(s, u, h)
        else:
            K, h = torch.tensor(model, dtype=torch.float64), 0.0 if h is None else h
            u = -(s @ K[:4]) - (K[4] * h if len(K) > 4 else 0.0)
            h = h + DT * s[:, 0] if u.abs() < 1 else h
        s = step(s, u.clamp(-1, 1), task)
    return s, (h, u)


def begin(slope: float) -> tuple[Tensor, Tensor]:
    task = torch.tensor([[slope, 0.5, 10.0]], dtype=torch.float64)
    task[:, 0] = task[:, 0].deg2rad()
    s = torch.tensor([[0.6, 0.0, task[0, 0] + 0.05, 0.0]], dtype=torch.float64)
    return task, s


def test_it_is_small() -> None:
    assert len(str(data())) < 60_000


def test_carts_and_drivers_are_those_of_the_package(page: Page) -> None:
    page.get_by_role("button", name="Play").click()
    steps = round(SECONDS / DT)
    for name, model in (
        ("no memory", policy("robot_no_memory")),
        ("LQR", GAINS["LQR"]),
        ("LQR with integral", GAINS["LQR with integral"]),
    ):
        page.get_by_role("button", name=name, exact=True).click()
        page.get_by_role("button", name="Play").click()
        for found, driver in zip(states(page), (policy("robot"), model), strict=True):
            task, s = begin(6)
            right, _ = drive(driver, task, s, steps)
            assert found == pytest.approx(right[0].tolist(), abs=2e-4), name


def test_a_push_and_another_slope_are_met_under_way(page: Page) -> None:
    page.get_by_role("button", name="Play").click()
    page.locator("input[data-set=slope]").fill("-4")
    page.get_by_role("button", name="Push →").click()
    page.get_by_role("button", name="Play").click()
    task, s = begin(6)
    s, memory = drive(policy("robot"), task, s, 100)
    task[:, 0] = torch.tensor(-4.0).double().deg2rad()
    s[:, 1] += 1
    s, _ = drive(policy("robot"), task, s, 50, memory)  # half as long again
    assert states(page)[0] == pytest.approx(s[0].tolist(), abs=2e-3)
    expect(page.locator(".f-said")).to_contain_text("After 3.0 s the LSTM")
    page.get_by_role("button", name="Start again").click()
    expect(page.locator(".f-said")).to_contain_text("After 0.0 s the LSTM is 0.60 m")


def test_it_moves_while_it_is_seen(browser: Browser) -> None:
    page = browser.new_page()
    page.set_content(f"<body>{plots.figure('robot', alt='a robot', data=data()).data}")
    before = states(page)
    page.get_by_role("button", name="Play").press("Enter")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(page.locator(".f-said")).not_to_contain_text("After 0.0 s")
    page.get_by_role("button", name="Pause").click()
    assert states(page) != before
    page.close()
