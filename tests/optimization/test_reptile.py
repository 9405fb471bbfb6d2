from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from oracles import Convolutions, Point, half_squared, points, task
from torch import Tensor, nn

from mlbook import Episode, evaluate, fit
from mlbook.optimization import MAML, Reptile


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def displacement(model: Reptile, *batch: Tensor) -> dict[str, Tensor]:
    """What `loss` gives for a gradient, by parameter of the network."""
    model.zero_grad()
    model.loss(*batch).backward()  # type: ignore[no-untyped-call]
    return {k: p.grad.clone() for k, p in model.net.named_parameters() if p.grad is not None}


State = list[dict[str, Tensor]]


def trained(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    optimizer: type[torch.optim.Optimizer],
    steps: int,
    size: int,
    state: State | None = None,
    **options: object,
) -> tuple[nn.Module, torch.optim.Optimizer, float]:
    """A copy of the network, trained on one task by torch's own optimizer, and the loss of its last step."""
    net = copy.deepcopy(net)
    u = optimizer(net.parameters(), **options)
    for p, s in zip(net.parameters(), state or [], strict=False):
        u.state[p] = {k: v.clone() for k, v in s.items()}
    order = torch.arange(steps * size) % len(x)
    loss = torch.zeros(())
    for i in order.view(steps, size):
        u.zero_grad()
        loss = F.cross_entropy(net(x[i]), y[i])
        loss.backward()  # type: ignore[no-untyped-call]
        u.step()
    return net, u, loss.item()


@pytest.mark.parametrize("vectorize", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_closed_form_on_quadratics(steps: int, vectorize: bool) -> None:
    """θ - θ_S = (1 - (1-α)^S) (θ - a), with a the mean of support and queries; `adapt` sees the support alone."""
    sx, sy, qx, qy, a, b = points()
    theta, alpha = torch.tensor([1.5, -0.7], dtype=torch.float64), 0.3
    net, far = Point(*theta.tolist()), 1 - (1 - alpha) ** steps
    model = Reptile(net, alpha, steps, 99, "sgd", half_squared, vectorize)
    got = displacement(model, sx, sy, qx, qy)["theta"]
    torch.testing.assert_close(got, far * (theta - (a + b) / 2).mean(0), atol=1e-10, rtol=0)
    alone = displacement(model, sx, sy, qx[:, :0], qy[:, :0])["theta"]  # no queries
    torch.testing.assert_close(alone, far * (theta - a).mean(0), atol=1e-10, rtol=0)
    for first_order in (True, False):  # neither order of MAML
        other = MAML(net, alpha, steps, first_order, half_squared)
        net.zero_grad()
        other.loss(sx, sy, qx, qy).backward()  # type: ignore[no-untyped-call]
        assert net.theta.grad is not None
        assert (net.theta.grad - got).abs().min() > 1e-2
    answer = model.adapt(sx, sy)(qx)
    expected = theta - far * (theta - a)
    torch.testing.assert_close(answer, expected[:, None].expand(-1, 4, -1), atol=1e-10, rtol=0)


@pytest.mark.parametrize("vectorize", [True, False])
@pytest.mark.parametrize(("steps", "size"), [(1, 4), (3, 4), (5, 3), (4, 99)])
def test_sgd_displacement_by_torchs_own_optimizer(steps: int, size: int, vectorize: bool) -> None:
    net, batch = network(), task(t=3)
    model = Reptile(net, 0.2, steps, size, "sgd", vectorize=vectorize)
    x, y = torch.cat([batch[0], batch[2]], 1), torch.cat([batch[1], batch[3]], 1)
    ends = [
        trained(net, *t, torch.optim.SGD, steps, min(size, 10), lr=0.2)
        for t in zip(x, y, strict=True)
    ]
    got = displacement(model, *batch)
    for k, p in net.named_parameters():
        mean = sum(end[0].get_parameter(k).detach() for end in ends) / 3
        torch.testing.assert_close(got[k], p.detach() - mean, atol=1e-12, rtol=0)
    assert model.loss(*batch).item() == pytest.approx(sum(e[2] for e in ends) / 3, abs=1e-12)
    # a step of rate ε goes ε of the way to where training ended, on average over the tasks
    before = {k: p.detach().clone() for k, p in net.named_parameters()}
    displacement(model, *batch)
    torch.optim.SGD(net.parameters(), lr=0.25).step()
    for k, p in net.named_parameters():
        mean = sum(end[0].get_parameter(k).detach() for end in ends) / 3
        torch.testing.assert_close(p.detach(), 0.75 * before[k] + 0.25 * mean, atol=1e-12, rtol=0)


def test_adam_displacement_and_state_by_torchs_own_optimizer() -> None:
    """Three meta-steps: the state goes from one to the next, each task has a copy, their mean goes on."""
    net, names = network(), [k for k, _ in network().named_parameters()]
    model = Reptile(net, 0.01, 4, 3).double()
    state: State | None = None
    for round_ in range(3):
        batch = task(t=3, seed=round_)
        x, y = torch.cat([batch[0], batch[2]], 1), torch.cat([batch[1], batch[3]], 1)
        ends = [
            trained(net, *t, torch.optim.Adam, 4, 3, state, lr=0.01, betas=(0.0, 0.999))
            for t in zip(x, y, strict=True)
        ]
        got = displacement(model, *batch)
        state = []
        for k, p in net.named_parameters():
            mean = sum(end[0].get_parameter(k).detach() for end in ends) / 3
            torch.testing.assert_close(got[k], p.detach() - mean, atol=1e-12, rtol=0)
            of_all = [end[1].state[end[0].get_parameter(k)] for end in ends]
            v = sum(s["exp_avg_sq"] for s in of_all) / 3
            torch.testing.assert_close(model.get_buffer(model.v[k]), v, atol=1e-14, rtol=1e-12)
            state.append({**of_all[0], "exp_avg_sq": v})
        assert model.get_buffer("t").item() == 4 * (round_ + 1) == state[0]["step"].item()
        torch.optim.SGD(net.parameters(), lr=0.5).step()
        # a new task starts from that state too, and leaves it there
        for train in (True, False):
            model.train(train)
            kept = copy.deepcopy(model.state_dict())
            answers = model.adapt(*batch[:2], steps=7)(batch[2])
            for i, (sx, sy) in enumerate(zip(*batch[:2], strict=True)):
                alone, *_ = trained(
                    net, sx, sy, torch.optim.Adam, 7, 3, state, lr=0.01, betas=(0.0, 0.999)
                )
                torch.testing.assert_close(answers[i], alone(batch[2][i]), atol=1e-11, rtol=0)
            if not train:
                model.loss(*batch)  # as `fit` never does, but a reader may
                evaluate(model, [Episode(*batch)] * 2, 6, steps=3)
            assert all(torch.equal(kept[k], v) for k, v in model.state_dict().items())
        model.train()
    assert len(names) == len(model.v)


def test_one_task_at_a_time_is_the_serial_order_of_the_optimizers_state() -> None:
    """With `tasks_per_backward=1` Adam's state goes through the tasks one after another; the parameters wait."""
    net, batch = network(), task(t=3)
    model = Reptile(net, 0.01, 4, 3).double()
    x, y = torch.cat([batch[0], batch[2]], 1), torch.cat([batch[1], batch[3]], 1)
    before = {k: p.detach().clone() for k, p in net.named_parameters()}
    ends, state = [], None
    for t in zip(x, y, strict=True):
        end, u, _ = trained(net, *t, torch.optim.Adam, 4, 3, state, lr=0.01, betas=(0.0, 0.999))
        state = [u.state[p] for p in end.parameters()]
        ends.append(end)
    sgd = torch.optim.SGD(model.parameters(), 1.0)
    fit(model, [Episode(*batch)], 1, sgd, tasks_per_backward=1, progress=False, device="cpu")
    for k, p in net.named_parameters():
        mean = sum(end.get_parameter(k).detach() for end in ends) / 3
        torch.testing.assert_close(p.detach(), mean, atol=1e-12, rtol=0)
        assert not torch.equal(p, before[k])
    assert model.get_buffer("t").item() == 12


def test_a_convolutional_network_with_adam_moves_alike_in_a_loop_and_at_once() -> None:
    """But for the biases before batch norm: their gradient is 0, and Adam makes steps out of its rounding."""
    batch, moves = task(t=2, x=(1, 8, 8)), []
    for vectorize in (False, True):
        torch.manual_seed(0)
        model = Reptile(Convolutions().double(), 0.01, 3, 5, vectorize=vectorize).double()
        moves.append(displacement(model, *batch))
    for k in moves[0]:
        if k not in ("0.bias", "3.bias"):
            torch.testing.assert_close(moves[0][k], moves[1][k], atol=1e-9, rtol=0)


def test_the_mini_batches_take_the_examples_in_turn() -> None:
    seen: list[list[float]] = []

    class Reading(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(2))

        def forward(self, x: Tensor) -> Tensor:
            seen.append(x[:, 0].tolist())
            return x * self.w

    x, y = torch.arange(7.0).view(1, 7, 1).expand(-1, -1, 2), torch.zeros(1, 7, dtype=torch.long)
    model = Reptile(Reading(), steps=4, batch=3, vectorize=False)
    model.loss(x[:, :5], y[:, :5], x[:, 5:], y[:, 5:])
    assert seen == [[0, 1, 2], [3, 4, 5], [6, 0, 1], [2, 3, 4]]
    seen.clear()
    model.adapt(x[:, :2], y[:, :2], steps=2)  # fewer than a mini-batch: all of them
    assert seen == [[0, 1], [0, 1]]


def test_accuracy_before_and_after_is_that_of_new_mini_batches() -> None:
    sx, sy, qx, qy = task(t=2, queries=6)
    net = network()
    model = Reptile(net, 0.2, 2, 6, "sgd")
    model.loss(sx, sy, qx, qy)
    before = (net(sx).argmax(-1) == sy).double().mean().item()
    ends = [trained(net, *t, torch.optim.SGD, 1, 6, lr=0.2)[0] for t in zip(sx, sy, strict=True)]
    after = [
        (f(x).argmax(-1) == y).double().mean().item() for f, x, y in zip(ends, qx, qy, strict=True)
    ]
    assert model.metrics["accuracy before"].item() == pytest.approx(before)
    assert model.metrics["accuracy"].item() == pytest.approx(sum(after) / 2)


def test_a_checkpoint_holds_the_optimizers_state(tmp_path) -> None:  # type: ignore[no-untyped-def]
    tasks = [Episode(*task(seed=s)) for s in range(6)]
    ends = []
    for stops in ([6], [3, 6]):
        net = network()
        model = Reptile(net, 0.01, 3, 4).double()
        for stop in stops:
            file = tmp_path / f"{len(stops)}.safetensors"
            if stop == 6 and len(stops) > 1:  # a new process knows nothing
                model = Reptile(network(seed=1), 0.01, 3, 4).double()
            sgd = torch.optim.SGD(model.parameters(), 0.5)
            fit(model, tasks, stop, sgd, checkpoint=file, progress=False, device="cpu")
        ends.append(model.state_dict())
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][k], ends[1][k]) for k in ends[0])
    assert any(k.startswith("v_") and v.any() for k, v in ends[0].items())
