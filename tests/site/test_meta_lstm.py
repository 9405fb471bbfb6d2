"""The gates that the figure of `meta_lstm` computes from fourteen numbers, against the package's."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, Page
from torch import Tensor

from mlbook import plots
from mlbook.lstm_meta_learner import MetaLSTM
from mlbook.lstm_meta_learner.meta_lstm import prep

STEPS, EACH, NAMES = 4, 21, ["first", "second", "third"]


class Run:
    """Gradients, weights and losses of every size, and a rule that heeds them."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        model = MetaLSTM(torch.nn.Linear(1, 1), hidden=0).double()
        for gate, bias in ((model.i, -1.0), (model.f, 3.0)):
            torch.nn.init.normal_(gate.weight, std=2)
            torch.nn.init.constant_(gate.bias, bias)
        self.gates = {"i": model.i, "f": model.f}
        shape = (STEPS, len(NAMES) * EACH)
        self.g = torch.randn(shape, dtype=torch.float64) * 10 ** (8 * torch.rand(shape) - 7)
        self.theta = torch.randn(shape, dtype=torch.float64)
        self.L = torch.tensor([9.0, 0.3, 1e-3, 1e-7], dtype=torch.float64)
        split = [slice(k * EACH, (k + 1) * EACH) for k in range(len(NAMES))]
        self.data = {
            "rule": {
                k: [*w.weight[0].tolist(), float(w.bias.detach())] for k, w in self.gates.items()
            },
            "L": self.L.tolist(),
            "layers": {
                name: {"g": self.g[:, s].tolist(), "theta": self.theta[:, s].tolist()}
                for name, s in zip(NAMES, split, strict=True)
            },
            "sgd": 0.1,
            "adam": 0.01,
        }

    def inputs(self, t: int, factor: float) -> Tensor:
        loss = prep(factor * self.L[t]).expand(self.g.shape[1], 2)
        return torch.cat([prep(factor * self.g[t]), loss, self.theta[t, :, None]], -1)

    @torch.no_grad()
    def walk(self, factor: float = 1, deaf: tuple[int, ...] = ()) -> dict[str, Tensor]:
        """Both gates, `[STEPS, n]`; what they are deaf to stays at its average in the first step."""
        none = torch.zeros(self.g.shape[1], dtype=torch.float64)
        first = torch.cat([self.inputs(0, 1), none[:, None]], -1).mean(0)
        gates = {}
        for key, gate in self.gates.items():
            last, values = none, []
            for t in range(STEPS):
                z = torch.cat([self.inputs(t, factor), last[:, None]], -1)
                z[:, deaf] = first[list(deaf)]
                last = gate(z).sigmoid()[:, 0]
                values.append(last)
            gates[key] = torch.stack(values)
        return gates


def check(page: Page, gates: dict[str, Tensor], t: int) -> None:
    said = page.locator(".ml-bars").get_attribute("aria-label") or ""
    found = torch.tensor([[float(v) for v in pair] for pair in
                          re.findall(r"rate ([\d.]+), forgotten ([\d.]+)", said)])  # fmt: skip
    i, f = (gates[key][t].view(len(NAMES), EACH).median(1).values for key in ("i", "f"))
    torch.testing.assert_close(found, torch.stack([i, 1 - f], 1).float(), atol=1e-4, rtol=0)


@pytest.fixture
def run() -> Run:
    return Run()


@pytest.fixture
def page(browser: Browser, run: Run) -> Any:
    page = browser.new_page(viewport={"width": 800, "height": 900})
    page.set_content(f"<body>{plots.figure('meta_lstm', alt='gates', data=run.data).data}")
    yield page
    page.close()


def turn(page: Page, label: str, value: float) -> None:
    page.get_by_role("slider", name=label).evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", value
    )


def test_the_gates_are_those_of_the_package(page: Page, run: Run) -> None:
    gates = run.walk()
    for t in range(STEPS):
        turn(page, "step", t + 1)
        check(page, gates, t)
    assert page.locator(".ml-chart circle").count() == len(NAMES) * EACH
    step = page.get_by_role("slider", name="step")
    step.press("ArrowLeft")
    assert step.input_value() == str(STEPS - 1)
    check(page, gates, STEPS - 2)


@pytest.mark.parametrize("power", [-1.5, 1.0])
def test_another_unit_of_the_loss(page: Page, run: Run, power: float) -> None:
    turn(page, "loss times", power)
    gates, plain = run.walk(10**power), run.walk()
    for t in range(STEPS):
        turn(page, "step", t + 1)
        check(page, gates, t)
    turn(page, "step", 1)
    ratio = (10**power * gates["i"][0] / plain["i"][0]).median().item()
    match = re.search(r"median step is ([\d.e+-]+) times", page.locator(".f-said").inner_text())
    assert match and abs(float(match[1]) / ratio - 1) < 0.06
    page.get_by_role("button", name="Reset").click()
    check(page, plain, 0)


@pytest.mark.parametrize(
    ("name", "deaf"),
    [("gradient", (0, 1)), ("loss", (2, 3)), ("weight", (4,)), ("last gate", (5,))],
)
def test_what_a_gate_does_not_see_stays_as_it_was_on_average(
    page: Page, run: Run, name: str, deaf: tuple[int, ...]
) -> None:
    plain = run.walk()
    button = page.get_by_role("button", name=name)
    button.click()
    gates = run.walk(deaf=deaf)
    for t in range(STEPS):
        turn(page, "step", t + 1)
        check(page, gates, t)
    button.click()
    check(page, plain, STEPS - 1)
