from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from oracles import Convolutions, gradients_agree, half_squared, meta_loss, points, task
from torch import Tensor, nn

from mlbook.optimization import ANIL, MAML, MetaSGD


def parts(seed: int = 0) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Linear(5, 6), nn.Tanh()).double()
    return body, nn.Linear(6, 3).double()


def gradient(model: nn.Module, *batch: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    model.loss(*batch).backward()  # type: ignore[operator]
    return {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}


class Shift(nn.Module):
    """A head that adds its weights."""

    def __init__(self, *w: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w, dtype=torch.float64))

    def forward(self, z: Tensor) -> Tensor:
        return z + self.w


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.s = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.s * x


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_closed_form_on_quadratics(steps: int) -> None:
    """Scores s x + w: w_S = a + (1-α)^S (w - a), with a the mean of y - s x on the support set, b on the queries.

    Then ∂J/∂w = (1-α)^S (w_S - b), and ∂J/∂s adds how a depends on s to how the scores do.
    """
    _, sy, _, qy, *_ = points()
    generator = torch.Generator().manual_seed(1)
    sx, qx = torch.randn(2, *sy.shape, dtype=torch.float64, generator=generator)
    body, head, alpha, s = Scale(), Shift(1.0, -2.0), 0.3, 0.5
    model = ANIL(body, head, alpha, steps, half_squared)
    got = gradient(model, sx, sy, qx, qy)
    a, b, kept = (sy - s * sx).mean(1), (qy - s * qx).mean(1), (1 - alpha) ** steps
    after = a + kept * (head.w.detach() - a)
    torch.testing.assert_close(got["head.w"], (kept * (after - b)).mean(0), atol=1e-10, rtol=0)
    error = s * qx + after[:, None] - qy  # `[T, Q, d]`
    slope = qx - (1 - kept) * sx.mean(1, keepdim=True)  # of the scores with respect to s
    expected = (error * slope).sum(-1).mean()
    torch.testing.assert_close(got["body.s"], expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_gradient_by_finite_differences_of_a_plain_loop(steps: int) -> None:
    body, head = parts()
    net, batch = nn.Sequential(body, head), task()
    rates: dict[str, Tensor | float] = {k: 0.4 * (k[0] == "1") for k, _ in net.named_parameters()}
    gradients_agree(
        ANIL(body, head, 0.4, steps),
        *batch,
        coordinates=8,
        value=lambda: meta_loss(net, batch, F.cross_entropy, steps, rates),
    )


def test_the_body_does_not_adapt() -> None:
    sx, sy, qx, _ = task()
    body, head = parts()
    kept = {k: v.clone() for k, v in nn.Sequential(body, head).state_dict().items()}
    model = ANIL(body, head)
    with torch.no_grad():
        few, many = model.adapt(sx, sy, steps=1)(qx), model.adapt(sx, sy, steps=20)(qx)
        assert (few - many).abs().max() > 0.1
        # all scores are linear in the body's embedding, which is that of before
        for scores in (few, many):
            z = torch.cat([body(qx), torch.ones(2, 4, 1).double()], -1)
            w = torch.linalg.lstsq(z, scores).solution
            torch.testing.assert_close(z @ w, scores, atol=1e-10, rtol=0)
    after = nn.Sequential(body, head).state_dict()
    assert all(torch.equal(kept[k], v) for k, v in after.items())


@pytest.mark.parametrize("steps", [1, 3])
def test_it_is_maml_with_rates_of_zero_in_the_body(steps: int) -> None:
    batch = task(t=3, x=(1, 8, 8))
    torch.manual_seed(0)
    net = Convolutions().double()
    anil = ANIL(nn.Sequential(*list(net)[:-1]), net[-1], 0.4, steps)
    rates = MetaSGD(net, 0.4, steps).double()
    for (name, _), alpha in zip(net.named_parameters(), rates.alpha, strict=True):
        nn.init.constant_(alpha, 0.4 * name.startswith("7."))
    assert anil.loss(*batch).item() == pytest.approx(rates.loss(*batch).item(), abs=1e-12)
    a, b = gradient(anil, *batch), gradient(rates, *batch)
    for k, g in a.items():
        other = b[f"net.7.{k[5:]}" if k.startswith("head.") else f"net.{k[5:]}"]
        torch.testing.assert_close(g, other, atol=1e-12, rtol=0)
    # a network that is all head is MAML itself
    head, maml = ANIL(nn.Identity(), net, 0.4, steps), MAML(net, 0.4, steps)
    torch.testing.assert_close(
        list(gradient(head, *batch).values()),
        list(gradient(maml, *batch).values()),
        atol=1e-11,
        rtol=0,
    )


def test_the_support_set_is_embedded_once() -> None:
    calls = []

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return x

    sx, sy, qx, _ = task(t=2)
    learner = ANIL(Counting(), nn.Linear(5, 3).double(), steps=5).adapt(sx, sy)
    learner(qx)
    assert calls == [6, 6, 4, 4]


def test_parts_of_the_head_may_be_frozen_or_without_use() -> None:
    body, head = parts()
    head.bias.requires_grad_(False)
    head.register_parameter("unused", nn.Parameter(torch.ones(2).double()))
    net, batch = nn.Sequential(body, head), task()
    rates: dict[str, Tensor | float] = {
        k: 0.4 * (k.startswith("1.")) for k, _ in net.named_parameters()
    }
    model = ANIL(body, head, 0.4, 3)
    plain = meta_loss(net, batch, F.cross_entropy, 3, rates)
    assert model.loss(*batch).item() == pytest.approx(plain, abs=1e-12)
    assert "head.bias" not in gradient(model, *batch)
