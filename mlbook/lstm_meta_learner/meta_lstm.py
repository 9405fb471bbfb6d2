"""An LSTM as the learning algorithm. Ravi & Larochelle, ICLR 2017, openreview.net/forum?id=rJY0-Kcll."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

Stats = dict[str, Tensor]


class MetaLSTM(nn.Module):
    r"""Let the cell state of an LSTM be a network's parameters: its update is then a step of learning.

    Side by side, the cell state of an LSTM and a step of gradient descent (section 3.1)::

        c_t = f_t ∘ c_{t-1} + i_t ∘ c~_t
        θ_t =   1 · θ_{t-1} + α   · (-∇_t)

    So take c = θ and c~_t = -∇_t, the gradient of the loss L_t on a mini-batch of the support set at
    θ_{t-1}, and learn the gates. For every coordinate of θ, with the same weights for all of them (section 3.2)::

        x_t = LSTM( prep(∇_t), prep(L_t) )                 a layer of ordinary units     (section 5.1)
        i_t = σ( W_I [x_t, θ_{t-1}, i_{t-1}] + b_I )       how far to step               (section 3.1)
        f_t = σ( W_F [x_t, θ_{t-1}, f_{t-1}] + b_F )       how much of θ to keep
        θ_t = f_t ∘ θ_{t-1} - i_t ∘ ∇_t

    After t = 1..T the queries are asked: J = L(f_{θ_T}, Q) trains the gates, the LSTM and θ_0 = c_0.
    ∇_t and L_t count as inputs: no second derivatives (section 3.3). The gates start near f = 1 and
    i = .01, which is gradient descent.

    Batch norm uses the batch at hand in training. At meta-test it does so for the support set; the
    queries are normalised by the statistics of that task's support set, taken under θ_T, so that no
    query knows of another (section 3.4 has a running average; where steps are bold, θ leaves it behind).

    Args:
        net: f, any network from `[B, *x]` to `[B, N]`; its parameters are θ_0.
        steps: T, of the inner loop in training; 1 or more.
        batch: Support examples a step, taken in turn; None for all of them.
        hidden: Units of the first layer, 20 in the authors' code; 0 leaves it out: x_t = [prep(∇_t), prep(L_t)].
        loss: L, from scores and labels (predictions and targets) to the mean over examples.

    Raises:
        ValueError: If `steps` is below 1, or `batch` is.
    """

    def __init__(
        self, net: nn.Module, steps: int = 5, batch: int | None = None, hidden: int = 20,
        loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    ) -> None:  # fmt: skip
        super().__init__()
        if steps < 1 or (batch is not None and batch < 1):
            raise ValueError(
                f"steps={steps}, batch={batch}: the inner loop needs at least 1 of each"
            )
        self.net, self.steps, self.batch, self.inner_loss = net, steps, batch, loss
        self.first = nn.LSTMCell(4, hidden) if hidden else None
        self.i, self.f = (nn.Linear((hidden or 4) + 2, 1) for _ in range(2))
        for gate, low in ((self.i, -5), (self.f, 4)):
            nn.init.uniform_(gate.weight, -0.01, 0.01)
            nn.init.uniform_(gate.bias, low, low + 1)
        for p in self.first.parameters() if self.first is not None else ():
            nn.init.uniform_(p, -0.01, 0.01)
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = 1.0  # running statistics are those of the latest batch
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def adapt(
        self, support_x: Tensor, support_y: Tensor, steps: int | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Take the steps of the inner loop on T tasks (as everywhere in the package, T counts tasks), each from θ_0.

        Args:
            support_x: `[T, S, *x]`.
            support_y: `[T, S]`, labels 0..N-1, or targets `[T, S, *y]`.
            steps: 0 or more; None is as many as in training.

        Returns:
            The learner, from `query_x [T, Q, *x]` to scores `[T, Q, N]`.
        """
        theta = self.inner_loop(support_x, support_y, self.steps if steps is None else steps)
        stats = self.no_stats(len(theta))
        self.scores(theta, support_x, stats)  # fills them
        return lambda query_x: self.scores(theta, query_x, stats, train=False)

    def loss(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:  # fmt: skip
        """J, a scalar, for queries with labels `query_y [T, Q]` or targets `[T, Q, *y]`."""
        theta = self.inner_loop(support_x, support_y, self.steps)
        scores = self.scores(theta, query_x, self.no_stats(len(theta)))
        if not query_y.is_floating_point():
            self.metrics["accuracy"] = (scores.argmax(-1) == query_y).float().mean()
        return vmap(self.inner_loss)(scores, query_y).mean()

    def inner_loop(self, x: Tensor, y: Tensor, steps: int) -> Tensor:
        """All θ_T `[T, P]`, adapted to support sets x `[T, S, *x]`, y."""
        theta = torch.cat([p.flatten() for p in self.net.parameters()]).expand(len(x), -1)
        i, f, state, size = 0 * theta, 0 * theta, None, self.batch or x.shape[1]
        for t in range(steps):
            rows = torch.arange(t * size, (t + 1) * size, device=x.device) % x.shape[1]
            with torch.enable_grad():  # also where `evaluate` has turned gradients off
                at = theta.detach().requires_grad_()
                scores = self.scores(at, x[:, rows], self.no_stats(len(x)))
                L = vmap(self.inner_loss)(scores, y[:, rows])
                (g,) = torch.autograd.grad(L.sum(), at)  # over tasks: each has its own θ
            z = torch.cat([prep(g), prep(L.detach())[:, None].expand(*g.shape, 2)], -1)
            if self.first is not None:
                state = self.first(z.flatten(0, 1), state)
                z = state[0].unflatten(0, g.shape)
            i = self.i(torch.cat([z, theta[..., None], i[..., None]], -1)).sigmoid()[..., 0]
            f = self.f(torch.cat([z, theta[..., None], f[..., None]], -1)).sigmoid()[..., 0]
            theta = f * theta - i * g
            if not theta.detach().sum().isfinite():
                raise FloatingPointError(
                    f"inner step {t + 1} diverged: lower the rate of the outer loop"
                )
        return theta

    def no_stats(self, tasks: int) -> Stats:
        """Room for the statistics of every batch norm."""
        return {k: b.new_zeros(tasks, *b.shape) for k, b in self.net.named_buffers()}

    def scores(self, theta: Tensor, x: Tensor, stats: Stats, train: bool = True) -> Tensor:
        """Scores `[T, B, N]` of x `[T, B, *x]`, those of task i under θ_i; stats are filled, or used if not `train`."""
        self.net.train(train)
        shapes = {k: p.shape for k, p in self.net.named_parameters()}

        def f(theta: Tensor, x: Tensor, *stats: Tensor) -> Tensor:
            parts = torch.split(theta, [s.numel() for s in shapes.values()])
            p = {k: v.view(s) for (k, s), v in zip(shapes.items(), parts, strict=True)}
            y: Tensor = functional_call(self.net, p | dict(zip(names, stats, strict=True)), x)
            return y

        names, tasks = list(stats), (theta, x, *stats.values())
        if x.is_cpu and any(
            len(s) > 2 for s in shapes.values()
        ):  # there vmap is slow on convolutions
            return torch.stack([f(*task) for task in zip(*tasks, strict=True)])
        return vmap(f, randomness="different")(*tasks)


def prep(x: Tensor) -> Tensor:
    """Size and sign of x as two numbers `[..., 2]`, of comparable scale for x of any (section 3.2; p = 10)."""
    p = 10
    large = x.abs() >= math.exp(-p)
    size = torch.where(large, x.abs().clamp(min=math.exp(-p)).log() / p, -1)
    return torch.stack([size, torch.where(large, x.sign(), math.exp(p) * x)], -1)
