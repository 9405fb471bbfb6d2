"""What every method is held against: small random tasks, finite differences, one task at a time."""

from __future__ import annotations

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


def gradients_agree(model: nn.Module, *batch: Tensor, coordinates: int = 6) -> dict[str, Tensor]:
    """Hold the gradient of `model.loss(*batch)` against central differences; return it by parameter.

    Some coordinates of every parameter are moved, spread over its whole length. In float64.
    """
    parameters = dict(model.named_parameters())
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
                    values.append(model.loss(*batch).item())  # type: ignore[operator]
                    p.copy_(flat.view(p.shape))
            difference = (values[0] - values[1]) / 2e-6
            assert slope[i].item() == pytest.approx(difference, abs=1e-6), name
    return gradient


def tasks_are_independent(model: nn.Module, sx: Tensor, sy: Tensor, qx: Tensor) -> None:
    """In `eval()` several tasks at once are answered like the same tasks one by one, to 1e-12 in float64."""
    model.eval()
    with torch.no_grad():
        together = model.adapt(sx, sy)(qx)  # type: ignore[operator]
        one_by_one = [
            model.adapt(sx[t, None], sy[t, None])(qx[t, None])  # type: ignore[operator]
            for t in range(len(sx))
        ]
    torch.testing.assert_close(together, torch.cat(one_by_one), atol=1e-12, rtol=0)
