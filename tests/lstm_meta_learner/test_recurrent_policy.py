"""The recurrent policy: its cell step by step, what its memory is, its gradient, and that it learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mlbook import fit
from mlbook.data.slopes import Slopes, cost, step
from mlbook.lstm_meta_learner import RecurrentPolicy


def made(memory: str = "all", **options: int) -> RecurrentPolicy:
    torch.manual_seed(0)
    return RecurrentPolicy(step, cost, memory=memory, **options)


def test_a_rollout_is_the_formulas_in_order() -> None:
    model = made(steps=4, hidden=5).double()
    task, s = (x.double() for x in Slopes(3)[0])
    driven = model.rollout(task, s)
    cell = model.cell
    h, c, u = (*torch.zeros(2, 3, 5).double(), torch.zeros(3).double())
    for t in range(4):
        seen = torch.cat([s, u[:, None]], -1)
        gates = seen @ cell.weight_ih.T + cell.bias_ih + h @ cell.weight_hh.T + cell.bias_hh
        i, f, new, o = gates.chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * new.tanh()
        h = o.sigmoid() * c.tanh()
        u = (h @ model.W.weight.T + model.W.bias)[:, 0].tanh()
        s = step(s, u, task)
        torch.testing.assert_close(driven["state"][t], s)
        torch.testing.assert_close(driven["action"][t], u)
        torch.testing.assert_close(driven["cost"][t], cost(s, u, task))
        torch.testing.assert_close(driven["hidden"][t], h)
    torch.testing.assert_close(model.loss(task, Slopes(3)[0][1].double()), driven["cost"].mean())


def test_the_gradient_goes_through_the_body() -> None:
    model = made(steps=6, hidden=3).double()
    task, s = (x.double() for x in Slopes(2)[0])
    names, values = zip(*model.named_parameters(), strict=True)

    def J(*values: Tensor) -> Tensor:
        weights = {f"model.{n}": v for n, v in zip(names, values, strict=True)}
        return torch.func.functional_call(_Loss(model), weights, (task, s))

    assert torch.autograd.gradcheck(J, values, atol=1e-6)


class _Loss(torch.nn.Module):
    def __init__(self, model: RecurrentPolicy) -> None:
        super().__init__()
        self.model = model

    def forward(self, task: Tensor, s: Tensor) -> Tensor:
        return self.model.loss(task, s)


def test_what_it_has_of_the_past() -> None:
    """With all, an action depends on what was before; with the last action, on that alone; with nothing, on neither."""
    s, u = Slopes(3)[0][1], torch.full((3,), 0.4)
    counts = set()
    for memory, by_action, by_state in (
        ("all", True, True),
        ("action", True, False),
        ("nothing", False, False),
    ):
        model = made(memory)
        fresh, h = model.act(s, torch.zeros(3))
        assert torch.equal(model.act(s, u)[0], fresh) is not by_action
        assert torch.equal(model.act(s, torch.zeros(3), h)[0], fresh) is not by_state
        counts.add(sum(p.numel() for p in model.parameters()))
    assert len(counts) == 1
    with pytest.raises(ValueError, match="memory='some': choose 'all', 'action' or 'nothing'"):
        made("some")


def test_it_does_not_see_what_a_body_is_like() -> None:
    model, (task, s) = made(steps=1), Slopes(3)[0]
    other = task.flip(0)
    assert torch.equal(model.rollout(task, s)["action"], model.rollout(other, s)["action"])
    later = [model.rollout(z, s, 3)["action"][-1] for z in (task, other)]
    assert not torch.equal(*later), "but what it sees later depends on it"


def test_it_learns_to_balance() -> None:
    model, source = made(steps=40, hidden=16), Slopes(32)
    test = Slopes(200, seed=9)[0]
    with torch.no_grad():
        before = model.loss(*test)
    fit(model, source, steps=30, optimizer=torch.optim.Adam(model.parameters(), 2e-2))
    with torch.no_grad():
        after = model.loss(*test)
        still = cost(*still_for(test, 40)).mean()
    assert after < 0.75 * before and after < 0.75 * still


def still_for(test: tuple[Tensor, Tensor], steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """What a motor that never moves makes of it."""
    task, s = test
    states, u = [], torch.zeros(len(s))
    for _ in range(steps):
        s = step(s, u, task)
        states.append(s)
    return torch.stack(states), u, task
