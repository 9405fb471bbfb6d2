"""What every method is held against: small random tasks, finite differences, one task at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn


def task(
    t: int = 2,
    ways: int = 3,
    shots: int = 2,
    queries: int = 4,
    x: tuple[int, ...] = (5,),
    seed: int = 0,
) -> tuple[Tensor, ...]:
    """T random tasks in float64, `queries` in all for each, examples of shape x, labels shuffled."""
    generator = torch.Generator().manual_seed(seed)
    sx = torch.randn(t, ways * shots, *x, dtype=torch.float64, generator=generator)
    qx = torch.randn(t, queries, *x, dtype=torch.float64, generator=generator)
    sy = torch.stack(
        [
            torch.arange(ways).repeat(shots)[torch.randperm(ways * shots, generator=generator)]
            for _ in range(t)
        ]
    )
    return sx, sy, qx, torch.randint(ways, (t, queries), generator=generator)


def gradients_agree(
    model: nn.Module,
    *batch: Tensor,
    coordinates: int = 6,
    value: Callable[[], float] | None = None,
) -> dict[str, Tensor]:
    """Hold the gradient of `model.loss(*batch)` against central differences; return it by parameter.

    Some coordinates of every parameter are moved, spread over its whole length. In float64. The
    differences are those of the loss itself or of `value()`, the same number found in another way.
    """
    parameters = {k: p for k, p in model.named_parameters() if p.requires_grad}
    loss = model.loss(*batch)  # type: ignore[operator]
    gradient = dict(
        zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True)
    )
    for name, p in parameters.items():
        flat, slope = p.detach().clone().reshape(-1), gradient[name].reshape(-1)
        for i in range(0, len(flat), max(1, len(flat) // coordinates)):
            values = []
            for step in (1e-6, -1e-6):
                moved = flat.clone()
                moved[i] += step
                with torch.no_grad():
                    p.copy_(moved.view(p.shape))
                    values.append(value() if value else model.loss(*batch).item())  # type: ignore[operator]
                    p.copy_(flat.view(p.shape))
            difference = (values[0] - values[1]) / 2e-6
            assert slope[i].item() == pytest.approx(difference, abs=1e-6), name
    return gradient


def tasks_are_independent(
    model: nn.Module, sx: Tensor, sy: Tensor, qx: Tensor, train: bool = False
) -> None:
    """Several tasks at once are answered like the same tasks one by one, to 1e-12 in float64; in `eval()` or not."""
    model.train(train)
    with torch.no_grad():
        together = model.adapt(sx, sy)(qx)  # type: ignore[operator]
        one_by_one = [
            model.adapt(sx[t, None], sy[t, None])(qx[t, None])  # type: ignore[operator]
            for t in range(len(sx))
        ]
    torch.testing.assert_close(together, torch.cat(one_by_one), atol=1e-12, rtol=0)


def support_is_a_set(model: nn.Module, sx: Tensor, sy: Tensor, qx: Tensor) -> None:
    """The support's order does not matter, to 1e-12 in float64; the queries' order is that of the scores."""
    scores = model.adapt(sx, sy)(qx)  # type: ignore[operator]
    for seed in range(5):
        torch.manual_seed(seed)
        s, q = torch.randperm(sx.shape[1]), torch.randperm(qx.shape[1])
        for again, expected in (
            (model.adapt(sx[:, s], sy[:, s])(qx), scores),  # type: ignore[operator]
            (model.adapt(sx, sy)(qx[:, q]), scores[:, q]),  # type: ignore[operator]
        ):
            torch.testing.assert_close(again, expected, atol=1e-12, rtol=0)


def queries_are_blind(model: nn.Module, sx: Tensor, sy: Tensor, qx: Tensor) -> None:
    """Another first query changes its own scores and no other's, to 1e-12 in float64."""
    learner = model.adapt(sx, sy)  # type: ignore[operator]
    before, other = learner(qx), qx.clone()
    other[:, 0] += 1
    after = learner(other)
    assert (after[:, 0] - before[:, 0]).abs().min() > 1e-6
    torch.testing.assert_close(after[:, 1:], before[:, 1:], atol=1e-12, rtol=0)


def logits_are(model: nn.Module, expected: np.ndarray, *batch: Tensor) -> None:
    """Scores, loss (cross-entropy) and accuracy are those of logits `[T, Q, N]` found in another way, to 1e-12."""
    sx, sy, qx, qy = batch
    np.testing.assert_allclose(numbers(model.adapt(sx, sy)(qx)), expected, atol=1e-12)  # type: ignore[operator]
    p = np.exp(expected) / np.exp(expected).sum(-1, keepdims=True)
    j = [-np.log(p[t, q, qy[t, q]]) for t, q in np.ndindex(*qy.shape)]
    assert model.loss(*batch).item() == pytest.approx(np.mean(j), abs=1e-12)  # type: ignore[operator]
    right = (expected.argmax(-1) == qy.numpy()).mean()
    assert model.metrics["accuracy"].item() == pytest.approx(right)  # type: ignore[index, operator, union-attr]


def numbers(tensor: Tensor | nn.Module) -> np.ndarray:
    """A tensor's values, for NumPy."""
    assert isinstance(tensor, Tensor)
    return tensor.detach().numpy()


def affine(layer: nn.Module, x: np.ndarray) -> np.ndarray:
    """What a linear layer makes of one vector."""
    y = numbers(layer.weight) @ x
    return y if layer.bias is None else y + numbers(layer.bias)


Loss = Callable[[Tensor, Tensor], Tensor]


class Point(nn.Module):
    """A network that answers its parameter, whatever it is asked: with `half_squared` every task is a quadratic."""

    def __init__(self, *theta: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.theta.expand(len(x), -1)


def half_squared(scores: Tensor, y: Tensor) -> Tensor:
    """Half the squared distance, the mean over examples: of a `Point`, with gradient θ - mean y."""
    return (scores - y).square().sum(-1).mean() / 2


def points(t: int = 3, examples: int = 4, d: int = 2) -> tuple[Tensor, ...]:
    """T tasks for a `Point`: support and query with targets `[T, examples, d]`, and the means of each `[T, d]`."""
    generator = torch.Generator().manual_seed(0)
    sy, qy = torch.randn(2, t, examples, d, dtype=torch.float64, generator=generator)
    return torch.zeros_like(sy), sy, torch.zeros_like(qy), qy, sy.mean(1), qy.mean(1)


def descend(
    net: nn.Module, x: Tensor, y: Tensor, loss: Loss, steps: int, rates: dict[str, Tensor | float]
) -> nn.Module:
    """A copy of the network after gradient descent on one task: a plain loop, with the rates by parameter."""
    net = copy.deepcopy(net)
    for _ in range(steps):
        net.zero_grad()
        with torch.enable_grad():
            loss(net(x), y).backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for name, p in net.named_parameters():
                if p.grad is not None:
                    p -= rates[name] * p.grad
    net.zero_grad()
    return net


def meta_loss(
    net: nn.Module,
    batch: tuple[Tensor, ...],
    loss: Loss,
    steps: int,
    rates: dict[str, Tensor | float] | float,
) -> float:
    """The mean loss on the queries after descent on the support set, task by task and without any method's code."""
    if not isinstance(rates, dict):
        rates = dict.fromkeys(dict(net.named_parameters()), rates)
    total = 0.0
    for sx, sy, qx, qy in zip(*batch, strict=True):
        total += loss(descend(net, sx, sy, loss, steps, rates)(qx), qy).item()
    return total / len(batch[0])


class Convolutions(nn.Sequential):
    """Pictures `[B, 1, 8, 8]` to scores `[B, ways]`, with batch norm that uses the batch at hand."""

    def __init__(self, ways: int = 3) -> None:
        super().__init__(
            nn.Conv2d(1, 4, 3, 2, 1),
            nn.BatchNorm2d(4, track_running_stats=False),
            nn.Tanh(),
            nn.Conv2d(4, 6, 3, 2, 1),
            nn.BatchNorm2d(6, track_running_stats=False),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(24, ways),
        )
