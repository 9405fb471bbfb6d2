"""Recurrent networks that learn. Hochreiter et al., ICANN 2001; Duan et al., 2016, and Wang et al., 2016 (RL²)."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RecurrentLearner(nn.Module):
    r"""Let the hidden state learn: the weights are the algorithm, the state is what it has learned.

    At step t an input comes in beside the target of the one *before*, y_{t-1}, and the next target is to
    be told; y_0 = 0 (Hochreiter et al., section 2)::

        h_t = LSTM( x_t, y_{t-1}; h_{t-1} )
        p_t = U h_t                      U, like W and v below, with a bias
        J   = mean over t of L(p_t, y_t)

    Across tasks the weights change, by gradient descent on J; within a task only h does (with the LSTM's c), from 0.

    Args:
        inputs, outputs: Numbers in x; numbers in y, or classes.
        hidden: Units.
        cell: `nn.LSTM`, `nn.GRU` or `nn.RNN`.
        loss: L, from predictions `[B, outputs]` to the mean over them; targets as it wants them.
    """

    def __init__(
        self, inputs: int, outputs: int, hidden: int = 64, cell: type[nn.RNNBase] = nn.LSTM,
        loss: Callable[[Tensor, Tensor], Tensor] = F.mse_loss,
    ) -> None:  # fmt: skip
        super().__init__()
        self.outputs, self.each_loss = outputs, loss
        self.cell = cell(inputs + outputs, hidden)  # type: ignore[call-arg, arg-type]
        self.U = nn.Linear(hidden, outputs)
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        """Learn T tasks: read support sets `[T, S, inputs]`, targets `[T, S, outputs]` or labels `[T, S]`, in order.

        The learner, from `query_x [T, Q, inputs]` to predictions `[T, Q, outputs]`, gives each query one
        more step, beside the support's last target, on a copy of the state.
        """
        y = self.told(support_y)
        _, state = self.read(support_x, F.pad(y, (0, 0, 1, -1)))
        last = y[:, -1:].clone()  # whatever the caller does with his

        def learner(query_x: Tensor) -> Tensor:
            t, q = query_x.shape[:2]
            if t != len(last):
                raise ValueError(f"{t} tasks are asked, but {len(last)} were learned")
            if q == 0:
                return query_x.new_zeros(t, 0, self.outputs)
            many = tuple(s.repeat_interleave(q, 1) for s in state)
            x = query_x.flatten(0, 1)[:, None]
            return self.read(x, last.repeat_interleave(q, 0), many)[0].view(t, q, -1)

        return learner

    def loss(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:  # fmt: skip
        """J, a scalar, over support and query read as one sequence, in the order given."""
        x, y = torch.cat([support_x, query_x], 1), torch.cat([support_y, query_y], 1)
        if self.each_loss is (F.cross_entropy if y.is_floating_point() else F.mse_loss):
            raise ValueError("give loss=F.cross_entropy for labels and F.mse_loss for numbers")
        p = self.sequence(x, y)
        if not y.is_floating_point():
            self.metrics["accuracy"] = (p.detach().argmax(-1) == y).float().mean()
        return self.each_loss(p.flatten(0, 1), y.flatten(0, 1))

    def sequence(self, x: Tensor, y: Tensor) -> Tensor:
        """Predictions `[T, L, outputs]` at each step of x `[T, L, inputs]` from it, and all before it with their y."""
        return self.read(x, F.pad(self.told(y), (0, 0, 1, -1)))[0]

    def told(self, y: Tensor) -> Tensor:
        """Targets as the cell reads them, `[T, L, outputs]`: labels become one-hot."""
        return y if y.is_floating_point() else F.one_hot(y, self.outputs).to(self.U.weight.dtype)

    def read(self, x: Tensor, y: Tensor, state: Any = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Predictions `[T, L, outputs]` of x `[T, L, inputs]` beside y `[T, L, outputs]`, and the state after them."""
        if state is not None:
            state = state if len(state) > 1 else state[0]
        h, state = self.cell(torch.cat([x, y], -1).transpose(0, 1), state)
        return self.U(h).transpose(0, 1), state if isinstance(state, tuple) else (state,)


class RecurrentAgent(nn.Module):
    r"""The same for reinforcement learning: a policy that learns a new task by playing it.

    At step t the network reads the observation and what came of its last action (RL²)::

        h_t          = LSTM( s_t, a_{t-1}, r_{t-1}, d_{t-1}; h_{t-1} )
        π(a | h_t)   = softmax( W h_t ),    V_t = v·h_t
        δ_t          = r_t + γ V_{t+1} - V_t,    A_t = Σ_{k≥t} (γλ)^{k-t} δ_k,    numbers
        J            = -mean over t of log π(a_t) A_t  + β_V mean (A_t + [V_t] - V_t)²  - β_H mean H(π_t)

    with a bracket for what counts as a number, and V = 0 after the last step. A is the generalised
    advantage of Schulman et al. (2016); Duan et al. (arXiv:1611.02779) use a GRU, whose state is h alone,
    and TRPO, Wang et al. (arXiv:1611.05763) an LSTM, as here, with the advantage actor-critic and t as a
    further input; β_V and β_H are our choice. The state, h with c, is carried across
    the episodes of a task, d telling where one ends, and starts at 0 in a new task. `reset` is called
    once: what has several episodes begins the next one by itself.

    Args:
        make: From what describes T tasks (the rest of a batch) to the environment of all of them, with
            Gymnasium's `reset` and `step` on tensors `[T, ...]`.
        observations, actions: Numbers in s; how many actions there are.
        steps: Of a rollout in training.
        hidden: Units.
        gamma, lam, value, entropy: γ, λ, β_V, β_H.
    """

    def __init__(
        self, make: Callable[..., Any], observations: int, actions: int, steps: int = 100,
        hidden: int = 48, gamma: float = 0.99, lam: float = 0.3, value: float = 0.5, entropy: float = 0.01,
    ) -> None:  # fmt: skip
        super().__init__()
        self.make, self.actions, self.steps = make, actions, steps
        self.gamma, self.lam, self.value, self.entropy = gamma, lam, value, entropy
        self.cell = nn.LSTMCell(observations + actions + 2, hidden)
        self.W, self.v = nn.Linear(hidden, actions), nn.Linear(hidden, 1)
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def loss(self, *tasks: Tensor) -> Tensor:
        """J, a scalar, of one rollout in each of T tasks."""
        played = self.rollout(self.make(*tasks), self.steps)
        V = played["value"]
        delta = played["reward"] + self.gamma * F.pad(V, (0, 0, 0, 1))[1:] - V
        A, after = torch.zeros_like(V), torch.zeros_like(V[0])
        for t in range(self.steps - 1, -1, -1):
            A[t] = after = delta[t].detach() + self.gamma * self.lam * after
        log_p = played["logits"].log_softmax(-1)
        chosen = log_p.gather(-1, played["action"][..., None])[..., 0]
        self.metrics["reward"] = played["reward"].mean()
        H = -(log_p.exp() * log_p).sum(-1).mean()
        error = (V - (V + A).detach()).square().mean()  # A is a number already: no gradient
        return self.value * error - (chosen * A).mean() - self.entropy * H

    def rollout(self, env: Any, steps: int) -> dict[str, Tensor]:
        """Play: `action`, `reward`, `value` `[steps, T]`, `logits [steps, T, actions]`, `state [steps, T, hidden]`."""
        s, _ = env.reset()
        last, state, played = s.new_zeros(len(s), self.actions + 2), None, []
        for _ in range(steps):
            a, logits, state = self.act(torch.cat([s, last], -1), state)
            s, r, terminated, truncated, _ = env.step(a)
            d = (terminated | truncated).to(s.dtype)
            last = torch.cat([F.one_hot(a, self.actions).to(s.dtype), r[:, None], d[:, None]], -1)
            played.append((a, r, self.v(state[0])[:, 0], logits, state[0]))
        names = "action", "reward", "value", "logits", "state"
        return {k: torch.stack(x) for k, x in zip(names, zip(*played, strict=True), strict=True)}

    def act(self, seen: Tensor, state: Any) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Actions `[T]` by π (the likeliest in `eval()`), logits `[T, actions]` and h; from (s, a, r, d) `[T, ...]`."""
        state = self.cell(seen, state)
        logits = p = self.W(state[0])
        if self.training:  # a draw as torch.multinomial makes it, without its wait for a GPU
            p = logits.softmax(-1) / torch.empty_like(logits).exponential_()
        return p.argmax(-1), logits, state
