"""What strangers bring to the LSTM's chapter: buffers, frozen parts, dropout, recurrent nets, schedulers."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
import torch.nn.functional as F
from oracles import Point, half_squared, queries_are_blind, task, tasks_are_independent
from torch import Tensor, nn

from mlbook import Episode, fit
from mlbook.data.bandits import Bandits, BanditTables
from mlbook.lstm_meta_learner import LearnedOptimizer, MetaLSTM, RecurrentAgent, RecurrentLearner
from mlbook.nets import Conv4


def network(*more: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), *more, nn.Tanh(), nn.Linear(6, 3)).double()


def descent(net: nn.Module, rate: float = 0.3, steps: int = 3) -> MetaLSTM:
    """Gates shut to all they are told, f = 1 and i = rate: gradient descent."""
    model = MetaLSTM(net, steps, hidden=0).double()
    for gate, b in ((model.i, math.log(rate / (1 - rate))), (model.f, math.inf)):
        nn.init.zeros_(gate.weight)
        nn.init.constant_(gate.bias, b)
    return model


class Normaliser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.linspace(-1, 1, 6))
        self.register_buffer("std", torch.linspace(0.5, 2, 6))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std  # type: ignore[no-any-return]


def test_buffers_that_are_no_statistics_stay_as_they_are() -> None:
    net, (sx, sy, qx, _) = network(Normaliser()), task()
    scores = MetaLSTM(net).double().adapt(sx, sy, steps=0)(qx)
    torch.testing.assert_close(scores, net(qx), atol=1e-12, rtol=0)


def test_frozen_and_tied_parameters_move_as_torchs_own_optimizer_moves_them() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.last = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)
            self.b.weight = self.a.weight
            self.a.bias.requires_grad_(False)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.b(self.a(x).tanh()).tanh())  # type: ignore[no-any-return]

    def make() -> nn.Module:
        torch.manual_seed(0)
        return Tied().double()

    sx, sy, qx, _ = task()
    scores = descent(make()).adapt(sx, sy)(qx)
    for t in range(2):
        net = make()
        sgd = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.3)
        for _ in range(3):
            sgd.zero_grad()
            F.cross_entropy(net(sx[t]), sy[t]).backward()
            sgd.step()
        torch.testing.assert_close(scores[t], net(qx[t]), atol=1e-12, rtol=0)
    net = make().requires_grad_(False)
    with pytest.raises(ValueError, match="0 parameters not frozen"):
        MetaLSTM(net).double().adapt(sx, sy)


def test_dropout_goes_by_the_networks_mode_in_adaptation_and_for_queries() -> None:
    (sx, sy, qx, _), net = task(), network(nn.Dropout(0.5), nn.BatchNorm1d(6))
    plain = network(nn.Identity(), nn.BatchNorm1d(6))
    model, other = descent(net), descent(plain)
    scores = model.eval().adapt(sx, sy)(qx)
    torch.testing.assert_close(scores, model.adapt(sx, sy)(qx), atol=0, rtol=0)
    torch.testing.assert_close(scores, other.eval().adapt(sx, sy)(qx), atol=1e-12, rtol=0)
    drops = [model.train().adapt(sx, sy)(qx) for _ in range(2)]
    assert not torch.allclose(*drops)


@pytest.mark.parametrize("train", [True, False])
def test_the_network_is_left_as_it_was_found_and_on_errors_too(train: bool) -> None:
    net = network(nn.BatchNorm1d(6, momentum=0.2), nn.Dropout(0.1))
    net[2].eval()
    model = MetaLSTM(net, 2).double().train(train)
    modes = {m: m.training for m in net.modules()}
    kept = {k: v.clone() for k, v in net.state_dict().items()}
    sx, sy, qx, qy = task()
    model.adapt(sx, sy)(qx)
    model.loss(sx, sy, qx, qy)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model.adapt(sx[..., :3], sy)
    assert {m: m.training for m in net.modules()} == modes
    assert net[1].momentum == 0.2 and net[1].track_running_stats
    assert all(torch.equal(kept[k], v) for k, v in net.state_dict().items())


@pytest.mark.parametrize("picture", [False, True])
def test_no_query_knows_of_another_whatever_the_flag_says(picture: bool) -> None:
    sx, sy, qx, _ = task(x=(1, 28, 28) if picture else (5,))
    answers = []
    for flag in (True, False):
        torch.manual_seed(0)
        if picture:
            body = Conv4(hidden=4, track_running_stats=flag)
            net: nn.Module = nn.Sequential(body, nn.Linear(4, 3)).double()
        else:
            net = network(nn.BatchNorm1d(6, track_running_stats=flag))
        model = descent(net, steps=1).eval()
        queries_are_blind(model, sx, sy, qx)
        tasks_are_independent(model, sx, sy, qx)
        answers.append(model.adapt(sx, sy)(qx))
    torch.testing.assert_close(*answers, atol=1e-8, rtol=0)


class Recurrent(nn.Module):
    def __init__(self, cell: type[nn.RNNBase]) -> None:
        super().__init__()
        self.cell, self.out = cell(5, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cell(x)[0][:, -1])  # type: ignore[no-any-return]


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(5, 8), nn.Linear(8, 3)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(self.into(x)).mean(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("kind", ["lstm", "gru", "attention"])
def test_recurrent_and_attending_networks_equal_a_plain_loop(kind: str, train: bool) -> None:
    def make() -> nn.Module:
        torch.manual_seed(0)
        kinds = {"lstm": lambda: Recurrent(nn.LSTM), "gru": lambda: Recurrent(nn.GRU)}
        return kinds.get(kind, Attending)().double().train(train)

    sx, sy, qx, qy = task(x=(4, 5))
    model = descent(make()).train(train)
    model.loss(sx, sy, qx, qy).backward()
    assert all(p.grad is not None for p in model.net.parameters())
    scores = model.adapt(sx, sy)(qx)
    for t in range(2):
        net = make()
        sgd = torch.optim.SGD(net.parameters(), 0.3)
        for _ in range(3):
            sgd.zero_grad()
            F.cross_entropy(net(sx[t]), sy[t]).backward()
            sgd.step()
        torch.testing.assert_close(scores[t], net(qx[t]), atol=1e-10, rtol=0)


def test_mistakes_are_named() -> None:
    sx, sy, qx, _ = task()
    model = MetaLSTM(network()).double()
    y = torch.randn(2, 6, 2, dtype=torch.float64)
    for call in (lambda: model.adapt(sx, y), lambda: model.loss(sx, y, qx, y[:, :4])):
        with pytest.raises(ValueError, match=r"loss=F\.mse_loss"):
            call()
    for steps in (-1, 1.5, math.nan):
        with pytest.raises(ValueError, match=f"steps={steps}"):
            model.adapt(sx, sy, steps=steps)
        with pytest.raises(ValueError, match=f"steps={steps}"):
            MetaLSTM(network(), steps=steps)
        with pytest.raises(ValueError, match=f"batch={steps}"):
            MetaLSTM(network(), batch=steps)
        with pytest.raises(ValueError, match=f"steps={steps}"):
            LearnedOptimizer(lambda x: x.sum(-1)).minimise(torch.ones(1, 2), steps=steps)
        for name in ("steps", "unroll"):
            with pytest.raises(ValueError, match=f"{name}={steps}"):
                LearnedOptimizer(lambda x: x.sum(-1), **{name: steps})
    for wrong in ({"scale": math.nan}, {"clip": math.nan}, {"clip": 0.0}):
        with pytest.raises(ValueError, match=r"nan|clip=0"):
            LearnedOptimizer(lambda x: x.sum(-1), **wrong)
    learner = model.adapt(sx, sy)
    assert learner(qx[:, :0]).shape == (2, 0, 3)
    for other in (qx[:1], torch.cat([qx, qx])):
        with pytest.raises(ValueError, match="tasks are asked, but 2 were learned"):
            learner(other)

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.seen += 1
            return x

    with pytest.raises(ValueError, match="buffer"):
        MetaLSTM(network(Counting())).double().adapt(sx, sy)


def test_a_recurrent_learner_names_mistakes_and_keeps_its_answers() -> None:
    torch.manual_seed(0)
    model = RecurrentLearner(2, 1, hidden=4)
    x, y = torch.randn(3, 5, 2), torch.randn(3, 5, 1)
    learner = model.adapt(x, y)
    before = learner(x)
    assert learner(x[:, :0]).shape == (3, 0, 1)
    with pytest.raises(ValueError, match="1 tasks are asked, but 3 were learned"):
        learner(x[:1])
    y.zero_()
    torch.testing.assert_close(learner(x), before, atol=0, rtol=0)
    for loss, targets in ((F.cross_entropy, y), (F.mse_loss, torch.zeros(3, 5, dtype=torch.long))):
        other = RecurrentLearner(2, 1, loss=loss)
        with pytest.raises(ValueError, match=r"F\.cross_entropy for labels and F\.mse_loss"):
            other.loss(x, targets, x, targets)


def test_the_learned_optimizer_works_under_fit_and_torchs_schedulers() -> None:
    """Its rate is a factor on the step: halved, it goes half as far."""
    torch.manual_seed(0)
    rule = LearnedOptimizer(lambda x: x.square().sum(-1), hidden=4)
    ends = []
    for factor in (1.0, 0.5):
        p = nn.Parameter(torch.ones(3))
        optimizer = rule.optimizer([p])
        assert optimizer.param_groups[0]["lr"] == 1.0
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _, factor=factor: factor)
        p.square().sum().backward()
        optimizer.step()
        ends.append(1 - p.detach())
    torch.testing.assert_close(ends[1], ends[0] / 2)
    assert ends[0].abs().max() > 0

    class Tasks:
        def __getitem__(self, k: int) -> Episode:
            return Episode(*(t.float() if t.is_floating_point() else t for t in task(seed=k)))

    model = MetaLSTM(network().float(), 1)
    optimizer = rule.optimizer(model.parameters())
    before = [p.detach().clone() for p in model.parameters()]
    fit(model, Tasks(), 3, optimizer, schedule=lambda k: 1 / (k + 1), progress=False, device="cpu")
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert optimizer.param_groups[0]["lr"] == 1.0


def test_the_critic_learns_towards_what_was_earned() -> None:
    """The gradient of v's weights, by hand: 2 β_V mean of (V - target) h, the target a number."""
    torch.manual_seed(0)
    model = RecurrentAgent(BanditTables, 1, 2, 6, hidden=4).double()
    p, pays = (t.double() for t in Bandits(pulls=6, tasks=3)[0])
    torch.manual_seed(3)
    model.loss(p, pays).backward()
    torch.manual_seed(3)
    with torch.no_grad():
        played = model.rollout(BanditTables(p, pays), 6)
    V, r, h = played["value"], played["reward"], played["state"]
    A = torch.zeros_like(V)
    for t in range(6):
        for k in range(t, 6):
            after = V[k + 1] if k < 5 else torch.zeros(3, dtype=torch.float64)
            A[t] += (0.99 * 0.3) ** (k - t) * (r[k] + 0.99 * after - V[k])
    slope = 0.5 * 2 * (-A) / A.numel()  # V - (V + A) = -A
    expected = (slope[..., None] * h).sum((0, 1))
    assert model.v.weight.grad is not None and model.v.bias.grad is not None
    assert model.v.weight.grad.abs().min() > 1e-6
    torch.testing.assert_close(model.v.weight.grad[0], expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(model.v.bias.grad[0], slope.sum(), atol=1e-12, rtol=0)


def defaults(make: object) -> dict[str, object]:
    return {
        k: p.default
        for k, p in inspect.signature(make).parameters.items()  # type: ignore[arg-type]
        if p.default is not inspect.Parameter.empty
    }


def test_defaults_are_the_papers_or_a_documented_departure() -> None:
    # Ravi & Larochelle (2017): 5 steps on the whole support set in 5-way 1-shot; 20 units in the authors' code
    expected = {"steps": 5, "batch": None, "hidden": 20, "loss": F.cross_entropy}
    assert defaults(MetaLSTM) == expected
    # Andrychowicz et al. (2016), section 3: two layers of 20, unrolls of 20 in 100 steps; outputs times 0.01
    assert defaults(LearnedOptimizer) == {
        "hidden": 20, "steps": 100, "unroll": 20, "scale": 0.01, "mean": torch.mean, "clip": math.inf,
        "second_order": False,
    }  # fmt: skip
    assert LearnedOptimizer(half_squared).m.num_layers == 2
    assert defaults(LearnedOptimizer.minimise) == {"steps": 100}
    # Hochreiter et al. (2001): an LSTM; the width is ours
    assert defaults(RecurrentLearner) == {"hidden": 64, "cell": nn.LSTM, "loss": F.mse_loss}
    # Wang et al. (2016): 48 units; Duan et al. (2016): .99 and .3; the weights of value and entropy are ours
    assert defaults(RecurrentAgent) == {
        "steps": 100, "hidden": 48, "gamma": 0.99, "lam": 0.3, "value": 0.5, "entropy": 0.01
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_the_gates_and_the_first_layer_start_where_the_paper_says(seed: int) -> None:
    """All from U(-.01, .01) but b_I ~ U(-5, -4), b_F ~ U(4, 5): bounds are kept, and spread over."""
    torch.manual_seed(seed)
    model = MetaLSTM(Point(0.0), hidden=20)
    assert model.first is not None
    assert -5 <= model.i.bias.item() <= -4 and 4 <= model.f.bias.item() <= 5
    for p in (*model.first.parameters(), model.i.weight, model.f.weight):
        assert p.abs().max() <= 0.01
        assert p.std().item() == pytest.approx(0.01 / 3**0.5, rel=0.4)
        assert p.mean().abs() < 0.005
