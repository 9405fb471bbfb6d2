from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from oracles import Point, gradients_agree, half_squared, meta_loss, points, task
from torch import Tensor, nn

from mlbook import Episode, fit
from mlbook.optimization import MAML, MetaSGD


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def gradient(model: nn.Module, *batch: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    model.loss(*batch).backward()  # type: ignore[operator]
    return {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("vectorize", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_closed_forms_on_quadratics(steps: int, vectorize: bool) -> None:
    """θ_S = a + (1-α)^S (θ-a), by coordinate; ∂J/∂θ = (1-α)^S (θ_S-b), ∂J/∂α = -S (1-α)^(S-1) (θ-a) (θ_S-b)."""
    sx, sy, qx, qy, a, b = points()
    theta = torch.tensor([1.5, -0.7], dtype=torch.float64)
    alpha = torch.tensor([0.3, -0.2], dtype=torch.float64)  # one may lead uphill
    model = MetaSGD(Point(*theta.tolist()), 0.3, steps, half_squared, vectorize)
    with torch.no_grad():
        model.alpha[0].copy_(alpha)
    after = a + (1 - alpha) ** steps * (theta - a)
    got = gradient(model, sx, sy, qx, qy)
    by_theta = (1 - alpha) ** steps * (after - b)
    by_alpha = -steps * (1 - alpha) ** (steps - 1) * (theta - a) * (after - b)
    torch.testing.assert_close(got["net.theta"], by_theta.mean(0), atol=1e-10, rtol=0)
    torch.testing.assert_close(got["alpha.0"], by_alpha.mean(0), atol=1e-10, rtol=0)
    scores = model.adapt(sx, sy)(qx)
    torch.testing.assert_close(scores, after[:, None].expand(-1, 4, -1), atol=1e-10, rtol=0)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("vectorize", [True, False])
def test_the_gradient_by_finite_differences_of_a_plain_loop(steps: int, vectorize: bool) -> None:
    net, batch = network(), task()
    model = MetaSGD(net, 0.4, steps, vectorize=vectorize).double()
    with torch.no_grad():
        for alpha in model.alpha:
            alpha.copy_(torch.rand(alpha.shape) - 0.1)

    def value() -> float:
        names = [k for k, _ in net.named_parameters()]
        rates = dict(zip(names, (p.detach() for p in model.alpha), strict=True))
        return meta_loss(net, batch, F.cross_entropy, steps, rates)

    found = gradients_agree(model, *batch, coordinates=8, value=value)
    assert all(found[k].any() for k in found if k.startswith("alpha"))


@pytest.mark.parametrize("steps", [1, 4])
def test_with_one_rate_for_all_it_is_maml(steps: int) -> None:
    net, batch = network(), task()
    model, maml = (
        MetaSGD(net, 0.25, steps),
        MAML(net, 0.25, steps),
    )  # 0.25 is the same in any precision
    assert model.loss(*batch).item() == pytest.approx(maml.loss(*batch).item(), abs=1e-13)
    a, b = gradient(model, *batch), gradient(maml, *batch)
    assert set(b) < set(a)
    for k in b:
        torch.testing.assert_close(a[k], b[k], atol=1e-13, rtol=0)
    for transductive in (True, False):
        x, y = (m.adapt(*batch[:2], transductive=transductive)(batch[2]) for m in (model, maml))
        torch.testing.assert_close(x, y, atol=1e-13, rtol=0)
    # the slope along the one rate is the sum over coordinates
    rates = sum(g.sum().item() for k, g in a.items() if k.startswith("alpha"))
    ends = [MAML(net, 0.25 + d, steps).loss(*batch).item() for d in (1e-6, -1e-6)]
    assert rates == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)


def test_each_coordinate_learns_its_own_rate() -> None:
    """Tasks that differ in one coordinate alone: its rate grows towards 1, the step that solves them."""
    generator = torch.Generator().manual_seed(0)

    class Tasks:
        def __getitem__(self, k: int) -> Episode:
            truth = torch.zeros(8, 1, 2)
            truth[:, :, 0] = torch.randn(8, 1, generator=generator)
            noise = 0.5 * torch.randn(2, 8, 5, 2, generator=generator)
            sy, qy = truth + noise[0], truth + noise[1]
            return Episode(torch.zeros_like(sy), sy, torch.zeros_like(qy), qy)

    model = MetaSGD(Point(0.0, 0.0), 0.3, loss=half_squared).float()
    adam = torch.optim.Adam(model.parameters(), 0.02)
    fit(model, Tasks(), 300, adam, progress=False, device="cpu")
    # the best linear estimate of the truth shrinks the mean of five by 1 / (1 + 0.25 / 5), or to 0
    assert model.alpha[0].tolist() == pytest.approx([1 / 1.05, 0.0], abs=0.15)


def test_the_rates_follow_the_network() -> None:
    net = network()
    net[0].bias.requires_grad_(False)
    model = MetaSGD(net, 0.1)
    assert [a.shape for a in model.alpha] == [p.shape for p in net.parameters() if p.requires_grad]
    assert all((a == 0.1).all() and a.requires_grad for a in model.alpha)
    assert {k.split(".")[0] for k in model.state_dict()} == {"net", "alpha"}
    gradient(model.double(), *task())
    assert net[0].bias.grad is None
