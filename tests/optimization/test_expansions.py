"""What the three gradients have in common (Nichol et al., 2018): two mini-batches of a task, expanded in the rate.

    E[g_MAML]    =   AvgGrad - 2α AvgGradInner + O(α²)
    E[g_FOMAML]  =   AvgGrad -  α AvgGradInner + O(α²)
    E[g_Reptile] = 2 AvgGrad -  α AvgGradInner + O(α²)

AvgGrad is the mean gradient of a mini-batch, AvgGradInner that of H_2 g_1, the mean over tasks and over
which of the two comes first.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from mlbook.optimization import MAML, Reptile

MULTIPLES = {"maml": (1, 2), "first_order": (1, 1), "reptile": (2, 1)}


def error(scores: Tensor, y: Tensor) -> Tensor:
    return (scores - y).square().mean() / 2


def tasks(t: int = 6, examples: int = 5) -> tuple[Tensor, ...]:
    """Two mini-batches of each task, once in either order: the mean over these tasks is the expectation."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, t, examples, 3, dtype=torch.float64, generator=generator)
    y = torch.randn(2, t, examples, 1, dtype=torch.float64, generator=generator)
    (x1, x2), (y1, y2) = x, y
    return torch.cat([x1, x2]), torch.cat([y1, y2]), torch.cat([x2, x1]), torch.cat([y2, y1])


def derivatives(net: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient `[P]` and Hessian `[P, P]` of the error on one mini-batch."""
    named = dict(net.named_parameters())
    flat = torch.cat([p.detach().flatten() for p in named.values()])

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([p.numel() for p in named.values()])
        values = {k: v.view_as(p) for (k, p), v in zip(named.items(), parts, strict=True)}
        return error(functional_call(net, values, (x,)), y)

    return torch.func.grad(loss)(flat), torch.func.jacrev(torch.func.grad(loss))(flat)


def averages(net: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """AvgGrad, AvgGradInner, and the mean of H_1 H_2 g_1."""
    x1, y1, x2, y2 = tasks()
    grad, inner, square = [], [], []
    for batch in zip(x1, y1, x2, y2, strict=True):
        (g1, h1), (_, h2) = derivatives(net, *batch[:2]), derivatives(net, *batch[2:])
        grad.append(g1)
        inner.append(h2 @ g1)
        square.append(h1 @ h2 @ g1)
    return torch.stack(grad).mean(0), torch.stack(inner).mean(0), torch.stack(square).mean(0)


def measured(net: nn.Module, method: str, alpha: float) -> Tensor:
    """The gradient of the method itself, `[P]`; Reptile's in units of the rate."""
    x1, y1, x2, y2 = tasks()
    if method == "reptile":
        model: nn.Module = Reptile(net, alpha, 2, x1.shape[1], "sgd", loss=error)
    else:
        model = MAML(net, alpha, first_order=method == "first_order", loss=error)
    net.zero_grad()
    model.loss(x1, y1, x2, y2).backward()  # type: ignore[operator]
    flat = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
    return flat / alpha if method == "reptile" else flat


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 1).double()


@pytest.mark.parametrize("method", MULTIPLES)
def test_on_quadratics_the_expansion_ends_after_the_second_order(method: str) -> None:
    net, alpha = linear(), 0.05
    grad, inner, square = averages(net)
    of_grad, of_inner = MULTIPLES[method]
    expected = of_grad * grad - alpha * of_inner * inner
    if method == "maml":
        rest = measured(net, method, alpha) - expected
        torch.testing.assert_close(rest, alpha**2 * square, atol=1e-12, rtol=0)
    else:  # where the Hessian is constant, nothing is left out
        torch.testing.assert_close(measured(net, method, alpha), expected, atol=1e-12, rtol=0)
    for other, (a, b) in MULTIPLES.items():
        if other != method:
            gap = measured(net, method, alpha) - (a * grad - alpha * b * inner)
            assert gap.norm() > 10 * alpha**2 * square.norm(), "the expansions are not told apart"


@pytest.mark.parametrize("method", MULTIPLES)
def test_beyond_quadratics_the_error_falls_with_the_square_of_the_rate(method: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    grad, inner, _ = averages(net)
    a, b = MULTIPLES[method]
    errors = [
        (measured(net, method, alpha) - (a * grad - alpha * b * inner)).norm().item()
        for alpha in (4e-3, 2e-3, 1e-3)
    ]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.03)
    # without the second term it falls in proportion to the rate
    rough = [(measured(net, method, alpha) - a * grad).norm().item() for alpha in (2e-3, 1e-3)]
    assert rough[0] / rough[1] == pytest.approx(2, rel=0.05)
