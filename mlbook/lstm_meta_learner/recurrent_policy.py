"""A recurrent policy that finds out what it drives. Heess et al., 2015; Duan et al. and Wang et al., 2016."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Cell = tuple[Tensor, Tensor] | None


class RecurrentPolicy(nn.Module):
    r"""A controller whose state learns the body that it drives; the weights are the same for all bodies.

    At step t it sees the body's state and its own last action, and moves (u_0 = 0)::

        h_t     = LSTM( s_t, u_{t-1}; h_{t-1} ),    h_0 = 0
        u_t     = tanh( W h_t )
        s_{t+1} = f(s_t, u_t; z)                     z: what this body is like, never shown
        J       = mean over t and bodies of c(s_{t+1}, u_t; z)

    with W with a bias. The gradient of J is taken through f and through the LSTM, over the whole episode.
    A memory of what has been seen and done is what RL² has (Duan et al., 2016, arXiv:1611.02779; Wang et al.,
    2016, arXiv:1611.05763), for control that of Heess et al. (2015, arXiv:1512.04455). They learn from
    samples of f by policy gradients or a critic; here f is known in training and is differentiated itself.

    Args:
        step: f, from states `[T, states]`, actions `[T]` and z to the next states.
        cost: c, from states `[steps, T, states]`, actions `[steps, T]` and z, to `[steps, T]`.
        states: Numbers in s.
        steps: Of an episode in training.
        hidden: Units.
        memory: What the network has of the past: `"all"`, its last `"action"` (h = 0 at each step), or `"nothing"`
            (and u_{t-1} = 0, too). Its weights are as many.

    Raises:
        ValueError: If `memory` is none of these.
    """

    def __init__(
        self, step: Callable[..., Tensor], cost: Callable[..., Tensor], states: int = 4, steps: int = 250,
        hidden: int = 32, memory: str = "all",
    ) -> None:  # fmt: skip
        super().__init__()
        if memory not in ("all", "action", "nothing"):
            raise ValueError(f"memory={memory!r}: choose 'all', 'action' or 'nothing'")
        self.step, self.cost, self.steps, self.memory = step, cost, steps, memory
        self.cell, self.W = nn.LSTMCell(states + 1, hidden), nn.Linear(hidden, 1)
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def act(self, s: Tensor, u: Tensor, h: Any = None) -> tuple[Tensor, Any]:
        """Actions `[T]` and h, from states `[T, states]`, the last actions `[T]` and the last h."""
        if self.memory != "all":
            h = None
        if self.memory == "nothing":
            u = torch.zeros_like(u)
        h = self.cell(torch.cat([s, u[:, None]], -1), h)
        return self.W(h[0])[:, 0].tanh(), h

    def rollout(self, z: Tensor, s: Tensor, steps: int | None = None) -> dict[str, Tensor]:
        """Drive T bodies from states `[T, states]`: `state [steps, T, states]`, `action`, `cost` and `hidden`."""
        u, h, driven = torch.zeros_like(s[:, 0]), None, []
        for _ in range(steps or self.steps):
            u, h = self.act(s, u, h)
            s = self.step(s, u, z)
            driven.append((s, u, h[0]))
        state, action, hidden = (torch.stack(x) for x in zip(*driven, strict=True))
        return {"state": state, "action": action, "hidden": hidden, "cost": self.cost(state, action, z)}  # fmt: skip

    def loss(self, z: Tensor, s: Tensor) -> Tensor:
        """J, a scalar, of one episode with each of T bodies."""
        c = self.rollout(z, s)["cost"]
        self.metrics["at the end"] = c[-1].detach().mean()
        return c.mean()
