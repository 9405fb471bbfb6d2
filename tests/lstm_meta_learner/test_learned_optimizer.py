from __future__ import annotations

import gc
import math

import numpy as np
import pytest
import torch
from oracles import gradients_agree, numbers
from torch import Tensor, nn

from mlbook.lstm_meta_learner import LearnedOptimizer

Problem = tuple[Tensor, Tensor, Tensor]


def quadratic(theta: Tensor, W: Tensor, y: Tensor) -> Tensor:
    """|Wθ - y|²."""
    return (torch.einsum("bij,bj->bi", W, theta) - y).square().sum(-1)


def problems(b: int = 3, p: int = 4, seed: int = 0) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    shapes = (b, p), (b, p, p), (b, p)
    theta, W, y = (torch.randn(*s, dtype=torch.float64, generator=generator) for s in shapes)
    return theta, W, y


def rule(steps: int = 6, unroll: int = 20, scale: float = 0.1) -> LearnedOptimizer:
    torch.manual_seed(0)
    return LearnedOptimizer(quadratic, hidden=5, steps=steps, unroll=unroll, scale=scale).double()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def by_hand(model: LearnedOptimizer, theta: Tensor, W: Tensor, y: Tensor, steps: int) -> np.ndarray:
    """f(θ_0..θ_steps) of one problem, in NumPy, one coordinate at a time."""
    m, x = {k: numbers(p) for k, p in model.m.named_parameters()}, numbers(theta).copy()
    h, c = np.zeros((2, 2, len(x), model.m.hidden_size))
    A, b, f = numbers(W), numbers(y), []
    for _ in range(steps):
        f.append(((A @ x - b) ** 2).sum())
        gradient = 2 * A.T @ (A @ x - b)
        for j, g in enumerate(gradient):
            z = (
                np.array([math.log(abs(g)) / 10, np.sign(g)]) if abs(g) >= math.e**-10
                else np.array([-1, math.e**10 * g])
            )  # fmt: skip
            for k in (0, 1):
                gates = m[f"weight_ih_l{k}"] @ z + m[f"bias_ih_l{k}"]
                gates = gates + m[f"weight_hh_l{k}"] @ h[k, j] + m[f"bias_hh_l{k}"]
                i, keep, new, out = np.split(gates, 4)
                c[k, j] = sigmoid(keep) * c[k, j] + sigmoid(i) * np.tanh(new)
                z = h[k, j] = sigmoid(out) * np.tanh(c[k, j])
            x[j] += model.scale * (numbers(model.g.weight)[0] @ z + numbers(model.g.bias)[0])
    return np.array([*f, ((A @ x - b) ** 2).sum()])


def test_the_trajectory_is_that_of_the_definition() -> None:
    model, problem = rule(), problems()
    expected = np.stack([by_hand(model, *(t[i] for t in problem), 6) for i in range(3)], 1)
    seen, theta = model.minimise(*problem, steps=6)
    np.testing.assert_allclose(numbers(seen), expected, rtol=1e-12)
    torch.testing.assert_close(quadratic(theta, *problem[1:]), seen[-1], atol=0, rtol=0)
    assert model.loss(*problem).item() == pytest.approx(expected[1:].mean(1).sum(), rel=1e-12)
    assert model.metrics["final"].item() == pytest.approx(expected[-1].mean(), rel=1e-12)


def test_permuting_coordinates_permutes_the_steps() -> None:
    model, (theta, W, y) = rule(), problems()
    order = torch.tensor([2, 0, 3, 1])
    _, end = model.minimise(theta, W, y, steps=6)
    _, permuted = model.minimise(theta[:, order], W[..., order], y, steps=6)
    torch.testing.assert_close(permuted, end[:, order], atol=1e-12, rtol=0)
    assert (permuted - end).abs().min() > 1e-6


def test_problems_do_not_touch_each_other() -> None:
    model, problem = rule(), problems()
    together, _ = model.minimise(*problem, steps=6)
    alone = [model.minimise(*(t[i, None] for t in problem), steps=6)[0] for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone, 1), rtol=1e-12, atol=0)


def test_gradients_are_those_of_finite_differences_where_the_gradient_does_not_move() -> None:
    def linear(theta: Tensor, W: Tensor, y: Tensor) -> Tensor:
        return (theta * y).sum(-1)  # ∇ does not depend on θ, so that it is an input is exact

    model = rule()
    model.f = linear
    assert min(g.abs().max() for g in gradients_agree(model, *problems()).values()) > 1e-9


def test_with_second_derivatives_gradients_are_those_of_finite_differences_everywhere() -> None:
    """Where ∇ does move, too: |Wθ - y|². Without them they are not."""
    model = rule(steps=4, unroll=4)
    model.second_order = True
    assert min(g.abs().max() for g in gradients_agree(model, *problems()).values()) > 1e-9
    model.second_order = False
    with pytest.raises(AssertionError):
        gradients_agree(model, *problems())


@pytest.mark.parametrize("second_order", [False, True])
def test_a_bound_that_nothing_reaches_changes_nothing_and_a_small_one_bounds(
    second_order: bool,
) -> None:
    problem, model = problems(), rule(steps=4, unroll=2)
    model.second_order = second_order

    def slope(clip: float) -> Tensor:
        model.clip = clip
        return torch.cat(
            [g.flatten() for g in torch.autograd.grad(model.loss(*problem), [*model.parameters()])]
        )

    free = slope(math.inf)
    torch.testing.assert_close(slope(1e6), free, rtol=0, atol=0)
    assert 0 < slope(1e-6).norm() < 1e-3 * free.norm()


def test_the_graph_is_cut_every_unroll_steps() -> None:
    problem = problems()
    model = rule(steps=6, unroll=2)
    model.loss(*problem).backward()
    cut = torch.cat([p.grad.flatten() for p in model.parameters()])  # type: ignore[union-attr]
    parameters, expected, state, theta = (
        list(model.parameters()),
        torch.zeros_like(cut),
        None,
        problem[0],
    )
    for _ in range(3):  # each piece from numbers alone
        theta, J = theta.detach(), theta.new_zeros(())
        state = state and (state[0].detach(), state[1].detach())
        for _ in range(2):
            _, gradient = model.look(theta, *problem[1:])
            move, state = model.update(gradient, state)
            theta = theta + move
            J = J + quadratic(theta, *problem[1:]).mean()
        expected += torch.cat([g.flatten() for g in torch.autograd.grad(J, parameters)])
    torch.testing.assert_close(cut, expected, rtol=1e-10, atol=1e-12)
    whole = rule(steps=6, unroll=6)
    whole.loss(*problem).backward()
    other = torch.cat([p.grad.flatten() for p in whole.parameters()])  # type: ignore[union-attr]
    assert (other - cut).norm() > 1e-3 * cut.norm()


def test_the_drop_in_optimizer_takes_the_same_steps() -> None:
    model, (theta, W, y) = rule(), problems()
    expected, end = model.minimise(theta[:1], W[:1], y[:1], steps=6)
    halves = [nn.Parameter(theta[0, :1].clone()), nn.Parameter(theta[0, 1:].clone()[:, None])]
    unused = nn.Parameter(torch.ones(2))
    optimizer = model.optimizer([*halves, unused])
    for t in range(6):

        def closure() -> Tensor:
            for p in halves:
                p.grad = None
            f = quadratic(torch.cat([p.flatten() for p in halves])[None], W[:1], y[:1]).sum()
            f.backward()
            return f

        assert optimizer.step(closure).item() == pytest.approx(expected[t, 0].item(), rel=1e-12)
        if t == 2:  # saved and put back half-way
            kept = optimizer.state_dict()
            optimizer = model.optimizer([*halves, unused])
            optimizer.load_state_dict(kept)
    torch.testing.assert_close(
        torch.cat([p.detach().flatten() for p in halves]), end[0], rtol=1e-12, atol=0
    )
    assert unused.tolist() == [1, 1]


def test_nothing_piles_up_over_many_unrolls() -> None:
    model, problem = rule(steps=4, unroll=2), problems(b=1, p=2)
    counts = []
    for k in range(500):
        model.loss(*problem).backward()
        if k % 100 == 99:
            gc.collect()
            counts.append(sum(issubclass(type(o), Tensor) for o in gc.get_objects()))
    assert len(set(counts)) == 1


def test_training_makes_it_better_than_no_step() -> None:
    model = rule(steps=20).float()
    adam = torch.optim.Adam(model.parameters(), 1e-2)
    for k in range(30):
        adam.zero_grad()
        model.loss(*(t.float() for t in problems(16, 4, seed=k))).backward()
        adam.step()
    seen, _ = model.minimise(*(t.float() for t in problems(64, 4, seed=999)), steps=20)
    assert (seen[-1] / seen[0]).log().mean() < math.log(0.5)


def test_the_mean_over_problems_may_be_another() -> None:
    problem = problems()
    seen, _ = rule().minimise(*problem, steps=6)
    torch.manual_seed(0)
    model = LearnedOptimizer(
        quadratic, hidden=5, steps=6, scale=0.1, mean=lambda f: f.log().mean()
    ).double()
    J = model.loss(*problem)
    assert J.item() == pytest.approx(seen[1:].log().mean(1).sum().item(), rel=1e-12)
    assert model.metrics["final"].item() == pytest.approx(seen[-1].log().mean().item(), rel=1e-12)
    J.backward()
    logs = [p.grad for p in model.parameters()]
    other = rule()
    other.loss(*problem).backward()
    assert not torch.allclose(logs[0], other.m.weight_ih_l0.grad)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"unroll": 0}])
def test_no_steps_are_an_error(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        LearnedOptimizer(quadratic, **wrong)
