from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from oracles import (
    Point,
    gradients_agree,
    half_squared,
    numbers,
    points,
    queries_are_blind,
    task,
    tasks_are_independent,
)
from torch import Tensor, nn

from mlbook.lstm_meta_learner import MetaLSTM
from mlbook.lstm_meta_learner.meta_lstm import prep
from mlbook.nets import Conv4


def gradient_descent(model: MetaLSTM, rate: float) -> MetaLSTM:
    """Gates that are shut to all they are told: f = 1, i = rate."""
    for gate, b in ((model.i, math.log(rate / (1 - rate))), (model.f, math.inf)):
        nn.init.zeros_(gate.weight)
        nn.init.constant_(gate.bias, b)
    return model


def classifier(hidden: int = 0, steps: int = 3, batch: int | None = None) -> MetaLSTM:
    """A small network with batch norm in float64, whose gates heed what they are told."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))
    model = MetaLSTM(net, steps, batch, hidden).double()
    for gate in (model.i, model.f):
        nn.init.normal_(gate.weight)
        nn.init.normal_(gate.bias)
    return model


both = pytest.mark.parametrize("hidden", [0, 4])


def test_size_and_sign_are_those_of_the_paper() -> None:
    e = math.e
    x = torch.tensor([1, e**-5, 0, -(e**-11), -(e**3)], dtype=torch.float64)
    expected = [[0, 1], [-0.5, 1], [-1, 0], [-1, -(e**-1)], [0.3, -1]]
    np.testing.assert_allclose(numbers(prep(x)), expected, atol=1e-15)
    edge = torch.tensor([e**-10 * (1 - 1e-9), e**-10 * (1 + 1e-9)], dtype=torch.float64)
    np.testing.assert_allclose(*numbers(prep(edge)), atol=1e-8)


@both
@pytest.mark.parametrize("rate", [0.5, 0.1, 0.73])
@pytest.mark.parametrize("batch", [None, 2, 4])
def test_shut_gates_are_gradient_descent(rate: float, batch: int | None, hidden: int) -> None:
    sx, sy, *_ = task(t=2)

    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()

    model = gradient_descent(MetaLSTM(network(), 5, batch, hidden).double(), rate)
    with torch.no_grad():
        theta = model.inner_loop(sx, sy, 5)
    for t in range(len(sx)):
        net = network()
        sgd = torch.optim.SGD(net.parameters(), rate)
        for step in range(5):
            n = batch or len(sy[t])
            rows = [(step * n + j) % len(sy[t]) for j in range(n)]
            sgd.zero_grad()
            nn.functional.cross_entropy(net(sx[t, rows]), sy[t, rows]).backward()
            sgd.step()
        expected = torch.cat([p.flatten() for p in net.parameters()])
        torch.testing.assert_close(theta[t], expected, atol=1e-12, rtol=0)


@both
def test_half_a_step_is_gradient_descent_to_the_bit(hidden: int) -> None:
    model, (sx, a, *_) = gradient_descent(quadratic(hidden), 0.5), coordinates()
    theta = model.inner_loop(sx, a, 4)
    for t in range(len(a)):
        point = torch.nn.Parameter(numbers_of(model).clone())
        sgd = torch.optim.SGD([point], 0.5)
        for _ in range(4):
            sgd.zero_grad()
            half_squared(point[None], a[t]).backward()
            sgd.step()
        torch.testing.assert_close(theta[t], point, atol=0, rtol=0)


def sigmoid(x: np.ndarray | float) -> np.ndarray | float:
    return 1 / (1 + np.exp(-x))


def by_hand(model: MetaLSTM, a: np.ndarray, steps: int) -> np.ndarray:
    """θ after the steps on ½|θ - a|², in NumPy, one coordinate at a time."""
    theta = numbers(model.net.theta).copy()  # type: ignore[arg-type]
    first = model.first and {k: numbers(p) for k, p in model.first.named_parameters()}
    gates = [(numbers(g.weight)[0], numbers(g.bias)[0]) for g in (model.i, model.f)]
    before = np.zeros((2, len(theta)))
    units = model.first.hidden_size if model.first else 0
    h, c = np.zeros((2, len(theta), units))

    def two(x: float) -> list[float]:
        return (
            [math.log(abs(x)) / 10, np.sign(x)] if abs(x) >= math.e**-10 else [-1, math.e**10 * x]
        )

    for _ in range(steps):
        g, L = theta - a, 0.5 * ((theta - a) ** 2).sum()
        for j in range(len(theta)):
            z = np.array(two(g[j]) + two(L))
            if first:
                w = first["weight_ih"] @ z + first["bias_ih"] + first["weight_hh"] @ h[j]
                i, f, n, o = np.split(w + first["bias_hh"], 4)
                c[j] = sigmoid(f) * c[j] + sigmoid(i) * np.tanh(n)
                z = h[j] = sigmoid(o) * np.tanh(c[j])
            for k, (w, b) in enumerate(gates):
                before[k, j] = sigmoid(w @ np.concatenate([z, [theta[j], before[k, j]]]) + b)
        theta = before[1] * theta - before[0] * g
    return theta


def quadratic(hidden: int = 0, steps: int = 4, d: int = 3) -> MetaLSTM:
    """The learner is a point, its task a quadratic."""
    torch.manual_seed(1)
    model = MetaLSTM(
        Point(*torch.randn(d).tolist()), steps, hidden=hidden, loss=half_squared
    ).double()
    for gate in (model.i, model.f):
        nn.init.normal_(gate.weight)
    return model


def coordinates(d: int = 3) -> tuple[Tensor, ...]:
    """Two tasks for it, each with one target a set."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 2, 1, d, dtype=torch.float64, generator=generator)
    return torch.zeros_like(a), a, torch.zeros_like(b), b


@both
def test_steps_are_those_of_the_formulas(hidden: int) -> None:
    model, (sx, a, qx, b) = quadratic(hidden), coordinates()
    theta = model.adapt(sx, a)(qx)[:, 0]
    expected = np.array([by_hand(model, numbers(one)[0], 4) for one in a])
    np.testing.assert_allclose(numbers(theta), expected, atol=1e-12)
    J = 0.5 * ((expected - numbers(b)[:, 0]) ** 2).sum(-1).mean()
    assert model.loss(sx, a, qx, b).item() == pytest.approx(J, abs=1e-12)


@both
def test_coordinates_share_the_gates_and_keep_their_own_state(hidden: int) -> None:
    model, (sx, a, qx, _) = quadratic(hidden), coordinates()
    order = torch.tensor([2, 0, 1])
    expected = model.adapt(sx, a)(qx)[..., order]
    assert (expected - model.adapt(sx, a)(qx)).abs().min() > 1e-6
    with torch.no_grad():
        model.net.theta.copy_(model.net.theta[order])  # type: ignore[operator, union-attr, index]
    torch.testing.assert_close(model.adapt(sx, a[..., order])(qx), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_no_gradient_passes_through_the_learners_gradient(steps: int) -> None:
    sx, sy, qx, qy, a, b = points()
    model = gradient_descent(quadratic(steps=steps, d=2), 0.1)
    theta = a + 0.9**steps * (numbers_of(model) - a)
    (g,) = torch.autograd.grad(model.loss(sx, sy, qx, qy), model.net.theta)  # type: ignore[arg-type]
    torch.testing.assert_close(g, (theta - b).mean(0), atol=1e-12, rtol=0)  # MAML's has .9^steps


def numbers_of(model: MetaLSTM) -> Tensor:
    theta = model.net.theta
    assert isinstance(theta, Tensor)
    return theta.detach()


@both
def test_gradients_are_those_of_finite_differences(hidden: int) -> None:
    def linear(scores: Tensor, y: Tensor) -> Tensor:
        return (scores * y).sum(-1).mean()  # its gradient does not depend on θ

    model, batch = quadratic(hidden), coordinates()
    model.inner_loss = linear
    with torch.no_grad():  # and the gates do not hear of L, which does
        (model.first.weight_ih if model.first is not None else model.i.weight)[:, 2:4] = 0
        model.f.weight[:, 2:4] *= bool(hidden)
    seen = gradients_agree(model, *batch)
    assert min(g.abs().max() for g in seen.values()) > 1e-6


@both
def test_several_tasks_are_answered_like_one(hidden: int) -> None:
    sx, sy, qx, _ = task(t=3)
    for train in (False, True):
        tasks_are_independent(classifier(hidden), sx, sy, qx, train)


@both
def test_queries_know_nothing_of_each_other(hidden: int) -> None:
    sx, sy, qx, _ = task()
    queries_are_blind(classifier(hidden).eval(), sx, sy, qx)


@pytest.mark.parametrize("steps", [0, 4])
def test_queries_are_normalised_by_the_support_set_at_the_end(steps: int) -> None:
    sx, sy, qx, _ = task()
    model = gradient_descent(classifier(steps=4), 0.3)
    scores = model.adapt(sx, sy, steps=steps)(qx)
    for t in range(len(sx)):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3)).double()
        sgd = torch.optim.SGD(net.parameters(), 0.3)
        for _ in range(steps):
            sgd.zero_grad()
            nn.functional.cross_entropy(net(sx[t]), sy[t]).backward()
            sgd.step()
        z = net[0](sx[t])
        mean, var = z.mean(0), z.var(0)
        z = (net[0](qx[t]) - mean) / (var + net[1].eps).sqrt() * net[1].weight + net[1].bias
        torch.testing.assert_close(scores[t], net[3](net[2](z)), atol=1e-12, rtol=0)


def test_weights_come_back_from_plain_tensors() -> None:
    model, again = classifier(4), classifier(4)
    again.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, strict=True)
    sx, sy, qx, qy = task()
    model.loss(sx, sy, qx, qy)
    assert model.net[1].num_batches_tracked == 0
    torch.testing.assert_close(again.adapt(sx, sy)(qx), model.adapt(sx, sy)(qx), atol=0, rtol=0)


def test_adapting_is_the_same_without_gradients_and_leaves_no_trace() -> None:
    sx, sy, qx, _ = task()
    model = classifier(4)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    expected = model.adapt(sx, sy)(qx)
    with torch.no_grad():
        torch.testing.assert_close(model.adapt(sx, sy)(qx), expected, atol=0, rtol=0)
    for k, v in model.state_dict().items():
        torch.testing.assert_close(v, before[k], atol=0, rtol=0)


def test_it_starts_as_slow_gradient_descent() -> None:
    model = MetaLSTM(nn.Linear(5, 3))
    assert -5 <= model.i.bias.item() <= -4 and 4 <= model.f.bias.item() <= 5


@pytest.mark.parametrize("hidden", [0, 3])
def test_pictures_go_task_by_task(hidden: int) -> None:
    torch.manual_seed(0)
    model = MetaLSTM(nn.Sequential(Conv4(hidden=4), nn.Linear(4, 3)), 2, hidden=hidden).double()
    sx, sy, qx, qy = task(x=(1, 28, 28))
    tasks_are_independent(model, sx, sy, qx)
    assert model.loss(sx, sy, qx, qy).isfinite()


def test_a_step_that_diverges_is_named() -> None:
    model, (sx, a, *_) = quadratic(), coordinates()
    with pytest.raises(FloatingPointError, match="inner step 1 diverged"):
        model.adapt(sx, a * math.inf)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch": 0}])
def test_nothing_to_step_on_is_an_error(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        MetaLSTM(nn.Linear(5, 3), **wrong)
