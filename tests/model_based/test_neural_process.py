from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from oracles import gradients_agree, numbers, tasks_are_independent
from torch import Tensor, nn

from mlbook import evaluate, fit
from mlbook.data import sinusoids
from mlbook.model_based import NeuralProcess

both = pytest.mark.parametrize("attention", [False, True])


def network(attention: bool, seed: int = 0) -> NeuralProcess:
    """From two numbers to one, in float64, with biases that are not all but zero."""
    torch.manual_seed(seed)
    model = NeuralProcess(2, 1, dim=6, attention=attention, heads=3).double()
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.8)
            nn.init.normal_(module.bias, std=0.5)
    return model


def batch(t: int = 2, s: int = 4, q: int = 5, seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(t, s + q, 2, dtype=torch.float64, generator=generator)
    y = torch.randn(t, s + q, 1, dtype=torch.float64, generator=generator)
    return x[:, :s], y[:, :s], x[:, s:], y[:, s:]


def perceptron(net: nn.Module | None, x: np.ndarray) -> np.ndarray:
    layers = [m for m in net.modules() if isinstance(m, nn.Linear)]  # type: ignore[union-attr]
    for i, m in enumerate(layers):
        x = numbers(m.weight) @ (x if i == 0 else np.maximum(x, 0)) + numbers(m.bias)
    return x


def by_hand(
    model: NeuralProcess, sx: Tensor, sy: Tensor, qx: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation in NumPy, point by point and head by head."""
    means, deviations = np.empty((2, *qx.shape[:2], 1))
    for t, j in np.ndindex(*qx.shape[:2]):
        x, y, target = numbers(sx[t]), numbers(sy[t]), numbers(qx[t, j])
        r_i = [perceptron(model.h, np.concatenate([a, b])) for a, b in zip(x, y, strict=True)]
        r = np.mean(r_i, 0)
        if model.a is not None:
            q, keys = perceptron(model.a, target), [perceptron(model.a, a) for a in x]
            for head in range(3):
                part = slice(2 * head, 2 * head + 2)
                w = np.exp([q[part] @ k[part] / math.sqrt(2) for k in keys])
                r[part] = sum(a * b[part] for a, b in zip(w / w.sum(), r_i, strict=True))
        mean, s = perceptron(model.g, np.concatenate([target, r]))
        means[t, j], deviations[t, j] = mean, 0.1 + 0.9 * np.log1p(np.exp(s))
    return means, deviations


@both
def test_mean_and_deviation_are_those_of_the_definition(attention: bool) -> None:
    model, (sx, sy, qx, _) = network(attention), batch()
    mean, std = by_hand(model, sx, sy, qx)
    assert mean.std() > 0.1 and std.std() > 0.1
    got = model.predict(sx, sy, qx)
    np.testing.assert_allclose(numbers(got[0]), mean, atol=1e-12)
    np.testing.assert_allclose(numbers(got[1]), std, atol=1e-12)
    torch.testing.assert_close(model.adapt(sx, sy)(qx), got[0], atol=0, rtol=0)


@both
def test_the_loss_is_the_likelihood_of_all_points_given_the_first_few(attention: bool) -> None:
    model, (sx, sy, qx, qy) = network(attention), batch()
    x, y = torch.cat([sx, qx], 1), numbers(torch.cat([sy, qy], 1))
    expected = {}
    for n in range(1, 5):
        mean, std = by_hand(model, sx[:, :n], sy[:, :n], x)
        density = np.exp(-(((y - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))
        expected[round(-np.log(density).mean(), 9)] = np.square(y - mean).mean()
    assert len(expected) == 4
    torch.manual_seed(0)
    found = set()
    for _ in range(60):
        found.add(round(model.loss(sx, sy, qx, qy).item(), 9))
        error = model.metrics["squared error"].item()
        assert any(error == pytest.approx(e, abs=1e-12) for e in expected.values())
    assert found == set(expected), "every number of observations comes up"


@both
def test_the_gradient(attention: bool) -> None:
    model = network(attention)

    def value() -> float:
        torch.manual_seed(3)
        return float(model.loss(*batch()).item())

    torch.manual_seed(3)
    assert int(torch.randint(1, 5, ())) > 1, "one observation would leave nothing to attend to"
    torch.manual_seed(3)
    gradients = gradients_agree(model, *batch(), value=value)
    assert all(g.abs().max() > 1e-6 for g in gradients.values())


@both
def test_tasks_at_once_equal_tasks_one_by_one(attention: bool) -> None:
    tasks_are_independent(network(attention), *batch(t=3)[:3])


@both
def test_the_order_of_the_support_does_not_matter_and_that_of_the_queries_is_kept(
    attention: bool,
) -> None:
    model, (sx, sy, qx, _) = network(attention), batch()
    before = model.predict(sx, sy, qx)
    for seed in range(5):
        torch.manual_seed(seed)
        s, q = torch.randperm(4), torch.randperm(5)
        for a, b, c in zip(
            before,
            model.predict(sx[:, s], sy[:, s], qx),
            model.predict(sx, sy, qx[:, q]),
            strict=True,
        ):
            torch.testing.assert_close(b, a, atol=1e-12, rtol=0)
            torch.testing.assert_close(c, a[:, q], atol=1e-12, rtol=0)
    twice = model.adapt(sx.repeat(1, 2, 1), sy.repeat(1, 2, 1))(qx)
    torch.testing.assert_close(twice, before[0], atol=1e-12, rtol=0)
    turned = model.adapt(sx, sy.roll(1, 1))(qx)
    assert (turned - before[0]).abs().max() > 1e-3, "which y stands at which x does matter"


@both
def test_targets_are_blind_to_each_other(attention: bool) -> None:
    model, (sx, sy, qx, _) = network(attention), batch()
    before = model.predict(sx, sy, qx)
    qx = qx.clone()
    qx[:, 0] += 1
    for a, b in zip(before, model.predict(sx, sy, qx), strict=True):
        assert (a[:, 0] - b[:, 0]).abs().min() > 1e-6
        torch.testing.assert_close(a[:, 1:], b[:, 1:], atol=1e-12, rtol=0)


def test_attention_is_the_mean_where_there_is_nothing_to_choose() -> None:
    """Of one observation, or of several at one place; and it is another answer elsewhere."""
    attentive, plain = network(True), NeuralProcess(2, 1, dim=6).double()
    plain.load_state_dict({k: v for k, v in attentive.state_dict().items() if k[0] != "a"})
    sx, sy, qx, _ = batch()
    for x, y in [(sx[:, :1], sy[:, :1]), (sx[:, :1].expand_as(sx), sy)]:
        a, b = attentive.predict(x, y, qx), plain.predict(x, y, qx)
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
    assert (attentive.adapt(sx, sy)(qx) - plain.adapt(sx, sy)(qx)).abs().min() > 1e-6


@both
def test_the_deviation_stays_above_a_tenth(attention: bool) -> None:
    model, (sx, sy, qx, _) = network(attention), batch()
    with torch.no_grad():
        model.g[-1].bias[1] = -200.0
    assert model.predict(sx, sy, qx)[1].min().item() == pytest.approx(0.1, abs=1e-12)


def test_the_observations_are_encoded_once() -> None:
    model, (sx, sy, qx, _) = network(True), batch()
    calls: list[int] = []
    model.h.register_forward_hook(lambda *_: calls.append(1))
    learner = model.adapt(sx, sy)
    learner(qx)
    learner(qx)
    assert len(calls) == 1


@both
def test_it_learns_sinusoids_and_what_it_does_not_know_of_them(attention: bool) -> None:
    torch.manual_seed(0)
    model = NeuralProcess(dim=32, attention=attention, heads=4)
    adam = torch.optim.Adam(model.parameters(), 3e-3)
    history = fit(model, sinusoids(10, 10, 32), 500, adam, progress=False, device="cpu")
    assert set(history.metrics) == {"loss", "squared error"}
    few, many = (sinusoids(k, 50, 50, seed=1) for k in (1, 10))
    result = evaluate(model, many, 100)
    assert result.unit == "squared error"
    assert result.mean < 2, "the mean curve of all tasks has an error of 3"
    sx, sy, qx, qy = many[0]
    with torch.no_grad():
        mean, std = model.predict(sx, sy, qx)
        assert mean.shape == std.shape == qy.shape
        within = ((qy - mean).abs() < 2 * std).float().mean().item()
        assert 0.85 < within < 1, "two standard deviations hold about 95 % of the points"
        if attention:  # one r for all takes longer to notice how many points it is a mean of
            assert model.predict(*few[0][:3])[1].mean() > 1.2 * std.mean()


def test_no_observation_is_an_error() -> None:
    sx, sy, qx, _ = batch()
    for attention in (False, True):
        with pytest.raises(ValueError, match=r"\[2, 0, 2\] has no observation"):
            network(attention).adapt(sx[:, :0], sy[:, :0])(qx)


@both
def test_shapes_and_tasks_are_named(attention: bool) -> None:
    model, (sx, sy, qx, _) = network(attention), batch()
    for x, y in ((sx[0], sy[0]), (sx, sy[..., 0]), (sx, sy[:, :2])):
        with pytest.raises(ValueError, match=r"a single task is x\[None\], y\[None\]"):
            model.adapt(x, y)
    with pytest.raises(ValueError, match="x_dim=1, y_dim=1: here x_dim=2, y_dim=1"):
        model.adapt(sx[..., :1], sy)
    learner = model.adapt(sx, sy)
    for t in (1, 3):
        with pytest.raises(ValueError, match=f"queries of {t} tasks for a learner of 2"):
            learner(qx[:1].repeat(t, 1, 1))
    assert learner(qx[:, :0]).shape == (2, 0, 1)


@both
def test_what_was_learned_stays_when_the_observations_are_written_over(attention: bool) -> None:
    model, (sx, sy, qx, _) = network(attention), batch()
    x, y = sx.clone(), sy.clone()
    learner = model.adapt(x, y)
    before = learner(qx)
    x += 1
    y += 1
    assert torch.equal(learner(qx), before)
