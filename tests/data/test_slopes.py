"""The carts of `mlbook.data.slopes`: their physics against Lagrange's equations, against energy and against MuJoCo."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from torch import Tensor

from mlbook.data import slopes
from mlbook.data.slopes import (
    CART,
    DT,
    HALF,
    HINGE,
    ROLLING,
    G,
    MuJoCoCart,
    Slopes,
    acceleration,
    cost,
    energy,
    step,
)


def batch(tasks: int = 5, seed: int = 1) -> tuple[Tensor, Tensor]:
    task, start = Slopes(tasks, seed=seed)[0]
    return task.double(), start.double()


def test_batches_are_the_same_every_time_and_fill_their_ranges() -> None:
    source = Slopes(4000, slope=(-5, 10), mass=(0.2, 0.4), strength=(7, 8), seed=3)
    task, start = source[2]
    again = source[2]
    assert torch.equal(task, again[0]) and torch.equal(start, again[1])
    assert not torch.equal(task, source[3][0])
    degrees = task[:, 0].rad2deg()
    for x, low, high in ((degrees, -5, 10), (task[:, 1], 0.2, 0.4), (task[:, 2], 7, 8)):
        assert low <= x.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < x.max() <= high + 1e-5
        assert (x.mean() - (low + high) / 2).abs() < 4 * (high - low) / (12 * 4000) ** 0.5
    lean = start[:, 2] - task[:, 0]
    assert 0.149 < lean.abs().max() <= 0.15 + 1e-6 and 0.99 < start[:, 0].abs().max() <= 1
    assert source.fingerprint == Slopes(4000, (-5, 10), (0.2, 0.4), (7, 8), 3).fingerprint


def lagrange(state: Tensor, force: Tensor, task: Tensor) -> Tensor:
    """Both accelerations of one cart by automatic differentiation: of where things are, in the frame of the ground."""

    def L(q: Tensor, q_dot: Tensor) -> Tensor:
        slope, m = task[0], task[1]
        along = torch.stack([slope.cos(), slope.sin()])

        def pole(q: Tensor, at: Tensor) -> Tensor:  # a point of it, so far from the hinge
            lean = slope - q[1]  # of the pole, from the vertical, against the clock
            return q[0] * along + at * torch.stack([-lean.sin(), lean.cos()])

        ends = torch.tensor([0.5 - 0.5 / 3**0.5, 0.5 + 0.5 / 3**0.5], dtype=q.dtype) * 2 * HALF
        value = CART * (q_dot[0] ** 2 / 2 - G * q[0] * slope.sin())
        for at in ends:  # Gauss-Legendre with two points is exact for a rod
            place, speed = torch.func.jvp(lambda q, at=at: pole(q, at), (q,), (q_dot,))
            value = value + m / 2 * (speed @ speed / 2 - G * place[1])
        return value

    q, q_dot = state[::2], state[1::2]
    M = torch.func.hessian(L, 1)(q, q_dot)
    across = torch.func.jacrev(torch.func.grad(L, 1), 0)(q, q_dot) @ q_dot
    outside = torch.stack([force - ROLLING * q_dot[0], -HINGE * q_dot[1]])
    return torch.linalg.solve(M, torch.func.grad(L)(q, q_dot) - across + outside)


def test_accelerations_are_those_of_lagrange() -> None:
    generator = torch.Generator().manual_seed(0)
    state = 3 * torch.randn(6, 4, generator=generator, dtype=torch.float64)
    force = 5 * torch.randn(6, generator=generator, dtype=torch.float64)
    task, _ = batch(6)
    found = torch.stack(acceleration(state, force, task), -1)
    right = torch.stack([lagrange(*x) for x in zip(state, force, task, strict=True)])
    torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-9)


def test_a_slope_is_gravity_turned() -> None:
    """On the flat, a pull to the side does the same as a slope: what a cart feels is the direction of gravity alone."""
    mujoco = pytest.importorskip("mujoco")
    task, start = batch(3)
    for z, s in zip(task, start, strict=True):
        tilted, flat = (MuJoCoCart(z * torch.tensor(w), s) for w in ((1.0, 1, 1), (0.0, 1, 1)))
        flat.model.opt.gravity[:] = [-G * math.sin(z[0]), 0, -G * math.cos(z[0])]
        for _ in range(40):
            a, b = tilted.step(0.3), flat.step(0.3)
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert mujoco.__version__


@pytest.mark.parametrize("substeps", [1, 4])
def test_it_moves_as_mujoco_does(substeps: int) -> None:
    """With the same integrator to rounding, pushed about at random; the state, slope and strength can be set."""
    pytest.importorskip("mujoco")
    task, state = batch()
    carts = [MuJoCoCart(z, s, DT / substeps, "Euler") for z, s in zip(task, state, strict=True)]
    generator = torch.Generator().manual_seed(0)
    for t in range(60):
        if t == 30:  # another slope, a weaker motor and a blow
            task = task * torch.tensor([-0.7, 1.0, 0.8], dtype=torch.float64)
            state = state + torch.tensor([0, 0.5, 0, -0.3], dtype=torch.float64)
            for cart, z, s in zip(carts, task, state, strict=True):
                cart.task, cart.state = z, s
        u = 2.6 * torch.rand(5, generator=generator, dtype=torch.float64) - 1.3  # beyond its limits
        state = step(state, u, task, substeps=substeps)
        moved = torch.stack([c.step(float(a)) for c, a in zip(carts, u, strict=True)])
        torch.testing.assert_close(state, moved, rtol=1e-8, atol=1e-9)


def test_smaller_steps_come_closer_to_mujocos_runge_kutta() -> None:
    pytest.importorskip("mujoco")
    task, start = batch()
    u = torch.linspace(-0.5, 0.5, 25, dtype=torch.float64)
    carts = [MuJoCoCart(z, s) for z, s in zip(task, start, strict=True)]
    for a in u:
        moved = torch.stack([c.step(float(a)) for c in carts])
    errors = []
    for substeps in (1, 10, 100):
        state = start
        for a in u:
            state = step(state, a.expand(5), task, substeps=substeps)
        errors.append((state - moved).abs().max().item())
    assert errors[1] < 0.13 * errors[0] and errors[2] < 0.13 * errors[1]  # of first order
    assert errors[0] < 0.1


def test_without_friction_and_motor_energy_stays() -> None:
    task, state = batch()
    before, h, worst = energy(state, task), 4e-3, 0.0
    start = state

    def slope_of(s: Tensor) -> Tensor:
        a, b = acceleration(s, torch.zeros(5, dtype=s.dtype), task, friction=0.0)
        return torch.stack([s[:, 1], a, s[:, 3], b], -1)

    for _ in range(500):  # two seconds by Runge and Kutta: the pole falls and swings
        k_1 = slope_of(state)
        k_2 = slope_of(state + h / 2 * k_1)
        k_3 = slope_of(state + h / 2 * k_2)
        state = state + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + slope_of(state + h * k_3))
        worst = max(worst, (energy(state, task) - before).abs().max().item())
    assert (state - start)[:, 2].abs().max() > 1
    assert worst < 1e-6
    with_friction = start
    for _ in range(100):
        with_friction = step(with_friction, torch.zeros(5), task, substeps=20)
    assert (energy(with_friction, task) < before).all()


def test_gradients_are_finite_differences() -> None:
    task, state = batch(2)
    actions = torch.tensor([[0.3, -0.2], [0.5, 0.1], [-0.4, 0.6]], dtype=torch.float64)

    def after(state: Tensor, actions: Tensor, task: Tensor) -> Tensor:
        total = torch.zeros(2, dtype=torch.float64)
        for u in actions:
            state = step(state, u, task, substeps=2)
            total = total + cost(state, u, task)
        return total

    inputs = tuple(x.clone().requires_grad_() for x in (state, actions, task))
    assert torch.autograd.gradcheck(after, inputs, eps=1e-6, atol=1e-7)


def test_what_balances_stays() -> None:
    """Upright by the plumb line, with the force that holds cart and pole on the slope, nothing moves."""
    task, _ = batch()
    state = torch.zeros(5, 4, dtype=torch.float64)
    state[:, 2] = task[:, 0]
    u = (CART + task[:, 1]) * G * task[:, 0].sin() / task[:, 2]
    torch.testing.assert_close(step(state, u, task), state, atol=1e-14, rtol=0)
    assert (cost(state, torch.zeros(5), task) < 1e-12).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"slope": (10.0, -10.0)}, r"slope=\(10.0, -10.0\): give the smaller number first, both b"),
        ({"slope": (0.0, 50.0)}, "between -45 and 45"),
        ({"mass": (0.0, 1.0)}, "mass=.*above 0"),
        ({"strength": (-1.0, 1.0)}, "strength=.*above 0"),
        ({"tasks": 0}, "must be at least"),
    ],
)
def test_what_makes_no_carts_is_said(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Slopes(**wrong)  # type: ignore[arg-type]


def test_time_steps_have_to_fit() -> None:
    pytest.importorskip("mujoco")
    task, start = batch(1)
    with pytest.raises(ValueError, match=r"timestep=0\.003: 0\.02 s must be a whole number"):
        MuJoCoCart(task[0], start[0], timestep=0.003)


def test_without_mujoco_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco", None)
    task, start = batch(1)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "mlbook\[applications\]"'):
        MuJoCoCart(task[0], start[0])
    assert "mujoco" not in vars(slopes)
