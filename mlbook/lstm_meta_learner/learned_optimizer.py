"""A learned optimizer. Andrychowicz et al., NeurIPS 2016, arXiv:1606.04474."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

State = tuple[Tensor, Tensor]


class LearnedOptimizer(nn.Module):
    r"""Replace the update rule of an optimizer by an LSTM, and train it on whole trajectories.

    To minimise f(θ), with ∇_t = ∇f(θ_t), an LSTM m of weights φ proposes each step (section 2)::

        [ g_t, h_{t+1} ] = m( prep(∇_t), h_t, φ )         one m for all coordinates, each with its own h
        θ_{t+1}          = θ_t + s g_t
        J(φ)             = Σ_{t=1..T} mean f(θ_t)         mean over problems             (equation 3)

    ∇_t counts as an input: J is not differentiated through it, so no second derivatives are needed. That
    leaves out that a step changes the gradients after it, which `second_order` keeps. The unrolled graph
    is cut every `unroll` steps: h and θ go on as numbers. m sees one coordinate at a time, so it has some
    thousand weights and fits problems of any size; what it cannot see is the other coordinates, nor θ, f
    or t.

    Args:
        f: The objective, from θ `[B, P]` and what else describes the B problems to `[B]`.
        hidden: Units in each of the two layers.
        steps: T, of an unroll in training; a multiple of `unroll`, or fewer.
        unroll: Steps through which J is differentiated at a time.
        scale: s.
        mean: From f of the B problems `[B]` to one number. The mean is the paper's; that of logarithms
            counts factors, so that problems on which f stays large do not drown the others.
        clip: Bound, times 1/B, on each number of the gradient that flows back into a step or its h: over
            many steps those of a few problems explode and drown the rest.
        second_order: Differentiate J through ∇_t, too.

    Raises:
        ValueError: If `steps` or `unroll` is not a whole number from 1 on, `scale` not finite, or `clip` not above 0.
    """

    def __init__(
        self, f: Callable[..., Tensor], hidden: int = 20, steps: int = 100, unroll: int = 20,
        scale: float = 0.01, mean: Callable[[Tensor], Tensor] = torch.mean, clip: float = math.inf,
        second_order: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if not all(n >= 1 and n % 1 == 0 for n in (steps, unroll)):
            raise ValueError(f"{steps=}, {unroll=}: give whole numbers, at least 1 of each")
        if not (math.isfinite(scale) and clip > 0):
            raise ValueError(
                f"{scale=}, {clip=}: give a finite scale, and a clip above 0 (inf: none)"
            )
        self.f, self.mean, self.steps, self.unroll, self.scale = f, mean, steps, unroll, scale
        self.clip, self.second_order = clip, second_order
        self.m = nn.LSTM(2, hidden, num_layers=2)
        self.g = nn.Linear(hidden, 1)
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def loss(self, theta: Tensor, *problem: Tensor) -> Tensor:
        """J, a scalar, of starting points θ_0 `[B, P]` and their problems. `metrics` tells the last mean."""
        J, state, c = theta.new_zeros(()), None, self.clip / len(theta)
        for t in range(self.steps):
            f, gradient = self.look(theta, *problem)
            J = J + self.mean(f) * (t > 0)  # f(θ_0) is nobody's merit
            if t % self.unroll == 0:  # cut here: f(θ_t) still belongs to the piece before
                theta, gradient = theta.detach(), gradient.detach()
                state = state and (state[0].detach(), state[1].detach())
            move, state = self.update(gradient, state)
            for x in (move, *state) if move.requires_grad else ():
                x.register_hook(lambda g: g.clamp(-c, c))  # type: ignore[no-untyped-call]
            theta = theta + move
        final = self.mean(self.f(theta, *problem))
        self.metrics["final"] = final.detach()
        return J + final

    def minimise(self, theta: Tensor, *problem: Tensor, steps: int = 100) -> tuple[Tensor, Tensor]:
        """From θ_0 `[B, P]`: all f(θ_t) `[steps + 1, B]`, t = 0 first, and θ `[B, P]` at the end."""
        if not (steps >= 0 and steps % 1 == 0):
            raise ValueError(f"{steps=}: give a whole number, 0 or more")
        seen, state = [], None
        with torch.no_grad():
            for _ in range(steps):
                f, gradient = self.look(theta, *problem)
                seen.append(f)
                move, state = self.update(gradient, state)
                theta = theta + move
            return torch.stack([*seen, self.f(theta, *problem)]), theta

    def look(self, theta: Tensor, *problem: Tensor) -> tuple[Tensor, Tensor]:
        """f(θ_t) `[B]` and its gradient `[B, P]`, as numbers if not `second_order`."""
        keep = torch.is_grad_enabled()
        more = keep and self.second_order
        with torch.enable_grad():
            at = theta if theta.requires_grad else theta.detach().requires_grad_()
            f = self.f(at, *problem)
            return f, torch.autograd.grad(f.sum(), at, retain_graph=keep, create_graph=more)[0]

    def update(self, gradient: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The step s g_t, in the shape of the gradient, and h_{t+1}: two of `[2, coordinates, hidden]`."""
        h, state = self.m(prep(gradient.reshape(1, -1)), state)
        return self.scale * self.g(h).view_as(gradient), state

    def optimizer(self, params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """What was learned, as an optimizer for any loop: `zero_grad`, `backward`, `step`.

        Its `lr` is a factor on every step, 1 as the rule was trained; schedulers work on it as on any other.
        """
        return Learned(params, self)


class Learned(torch.optim.Optimizer):
    """The trained rule as a `torch.optim.Optimizer`; every coordinate keeps its h in `state`."""

    def __init__(self, params: Iterable[nn.Parameter], rule: LearnedOptimizer) -> None:
        super().__init__(params, {"lr": 1.0})  # a factor on what was learned, for schedulers
        self.rule = rule

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step along the gradients that `backward` has left; returns the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                before = self.state[p]
                state = (before["h"], before["c"]) if before else None
                move, (h, c) = self.rule.update(p.grad, state)
                p.add_(move, alpha=group["lr"])
                self.state[p] = {"h": h, "c": c}
        return loss


def prep(x: Tensor) -> Tensor:
    """Size and sign of x as two numbers `[..., 2]`, of comparable scale for any x (appendix A, p = 10)."""
    p = 10
    large = x.abs() >= math.exp(-p)
    size = torch.where(large, x.abs().clamp(min=math.exp(-p)).log() / p, -1)
    return torch.stack([size, torch.where(large, x.sign(), math.exp(p) * x)], -1)
