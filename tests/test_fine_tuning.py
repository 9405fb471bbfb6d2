"""Transfer by fine-tuning, with networks of one's own; its own arithmetic is held in test_baselines."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from mlbook.baselines import FineTuning


def data() -> tuple[Tensor, ...]:
    torch.manual_seed(0)
    sx, qx = torch.randn(2, 2, 6, 4)
    return sx, torch.randn(2, 6, 3), qx


class Keeping(nn.Module):
    """Keeps its last features, as for a look inside: they are no leaf of the graph, and cannot be copied."""

    def __init__(self, keep: bool) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.last, self.keep = nn.Linear(4, 5), nn.Linear(5, 3), keep

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(x).tanh()
        if self.keep:
            self.features = z
        return self.last(z)  # type: ignore[no-any-return]


def test_a_network_that_keeps_its_last_features_is_adapted_like_one_that_does_not() -> None:
    sx, sy, qx = data()
    answers = []
    for keep in (True, False):
        model = FineTuning(Keeping(keep), loss=nn.functional.mse_loss, steps=5)
        model.loss(sx[0], sy[0]).backward()
        learner = model.adapt(sx, sy)
        answers.append(learner(qx))
        before = copy.deepcopy(model.state_dict())
        learner(qx)
        assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    torch.testing.assert_close(*answers, atol=0, rtol=0)


def test_frozen_parameters_stay_and_a_network_that_is_all_frozen_is_named() -> None:
    sx, sy, qx = data()
    net = Keeping(False)
    net.first.requires_grad_(False)
    make = lambda p: torch.optim.SGD(p, 0.1)  # noqa: E731
    model = FineTuning(net, loss=nn.functional.mse_loss, steps=4, optimizer=make)
    got = model.adapt(sx, sy)(qx)
    for t in range(2):
        other = copy.deepcopy(net)
        sgd = torch.optim.SGD(other.last.parameters(), 0.1)
        for _ in range(4):
            sgd.zero_grad()
            nn.functional.mse_loss(other(sx[t]), sy[t]).backward()
            sgd.step()
        torch.testing.assert_close(got[t], other(qx[t]))
    net.requires_grad_(False)
    with pytest.raises(ValueError, match="frozen"):
        model.adapt(sx, sy)
    model = FineTuning(
        Keeping(False).requires_grad_(False), 3, 4
    )  # a new layer is always there to learn
    assert model.adapt(sx, torch.arange(6).repeat(2, 1) % 2)(qx).shape == (2, 6, 2)


def test_mistakes_are_named() -> None:
    sx, sy, qx = data()
    model = FineTuning(Keeping(False))  # the loss of labels
    for call in (lambda: model.loss(sx[0], sy[0]), lambda: model.adapt(sx, sy)):
        with pytest.raises(ValueError, match=r"loss=F\.mse_loss"):
            call()
    model = FineTuning(Keeping(False), loss=nn.functional.mse_loss, steps=1)
    for steps in (-1, 1.5, math.nan):
        with pytest.raises(ValueError, match=f"steps={steps}"):
            model.adapt(sx, sy, steps=steps)
        with pytest.raises(ValueError, match=f"steps={steps}"):
            FineTuning(Keeping(False), steps=steps)
    learner = model.adapt(sx, sy)
    assert learner(qx[:, :0]).shape == (2, 0, 3)
    for other in (qx[:1], torch.cat([qx, qx])):
        with pytest.raises(ValueError, match="tasks are asked, but 2 were learned"):
            learner(other)
