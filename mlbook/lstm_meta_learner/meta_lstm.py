"""An LSTM as the learning algorithm. Ravi & Larochelle, ICLR 2017, openreview.net/forum?id=rJY0-Kcll."""

import math
from collections.abc import Callable
from contextlib import suppress

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _BatchNorm


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

    After t = 1..T the queries are asked: J = L(f_{θ_T}, Q) trains the gates, the LSTM and θ_0 = c_0. ∇_t and L_t count
    as inputs: no second derivatives (section 3.3). The gates start near f = 1 and i = .01, which is gradient descent.

    Batch norm uses the batch at hand in training. At meta-test it does so for the support set; the queries are
    normalised by the statistics of that task's support set under θ_T, so that no query knows of another (section 3.4
    has a running average; where steps are bold, θ leaves it behind), whatever `track_running_stats` says. As ever in
    torch, a variance that is kept is the unbiased one. All else, dropout too, goes by the network's mode.

    Args:
        net: f, a network from `[B, *x]` to `[B, N]` that keeps no state; its parameters that are not frozen are θ_0.
        steps: T, of the inner loop in training; 1 or more.
        batch: Support examples a step, 1 or more, taken in turn; None for all of them.
        hidden: Units of the first layer, 20 in the authors' code; 0 leaves it out: x_t = [prep(∇_t), prep(L_t)].
        loss: L, from scores and labels (predictions and targets) to the mean over examples.
    """

    def __init__(
        self, net: nn.Module, steps: int = 5, batch: int | None = None, hidden: int = 20,
        loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    ) -> None:  # fmt: skip
        super().__init__()
        if not all(hasattr(n, "__index__") and n >= 1 for n in (steps, 1 if batch is None else batch)):  # fmt: skip
            raise ValueError(f"{steps=}, {batch=}: the inner loop needs whole numbers, at least 1")
        self.net, self.steps, self.batch, self.inner_loss = net, steps, batch, loss
        self.first = nn.LSTMCell(4, hidden) if hidden else None
        self.i, self.f = (nn.Linear((hidden or 4) + 2, 1) for _ in range(2))
        for gate, low in ((self.i, -5), (self.f, 4)):
            nn.init.uniform_(gate.weight, -0.01, 0.01)
            nn.init.uniform_(gate.bias, low, low + 1)
        for p in self.first.parameters() if self.first is not None else ():
            nn.init.uniform_(p, -0.01, 0.01)
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def adapt(
        self, support_x: Tensor, support_y: Tensor, steps: int | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Take the inner loop's steps on T tasks; the learner goes from `query_x [T, Q, *x]` to scores `[T, Q, N]`.

        Args:
            support_x: `[T, S, *x]`; T counts tasks, as everywhere in the package.
            support_y: `[T, S]`, labels 0..N-1, or targets `[T, S, *y]`.
            steps: 0 or more; None is as many as in training.
        """
        theta = self.inner_loop(support_x, support_y, self.steps if steps is None else steps)
        if not theta.is_cpu and not theta.sum().isfinite():  # a GPU is asked once, at the end
            raise FloatingPointError("a step diverged: lower the rate of the outer loop")
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
        theta_0 = [p.flatten() for p in self.net.parameters() if p.requires_grad]
        if not (theta_0 and hasattr(steps, "__index__") and steps >= 0):
            raise ValueError(f"{steps=}, {len(theta_0)} parameters not frozen: give 0 or more, 1")
        if self.inner_loss is F.cross_entropy and y.is_floating_point():
            raise ValueError("the targets are numbers, not labels: give loss=F.mse_loss")
        theta = torch.cat(theta_0).expand(len(x), -1)
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
            if theta.is_cpu and not theta.detach().sum().isfinite():
                raise FloatingPointError(f"inner step {t + 1} diverged: lower the rate of the outer loop")  # fmt: skip
        return theta

    def no_stats(self, tasks: int) -> dict[str, Tensor]:
        """Room for the statistics of every batch norm in every task."""
        like, named = next(self.net.parameters()), self.net.named_modules()
        norms = {f"{k}.".lstrip("."): m for k, m in named if isinstance(m, _BatchNorm)}
        mean = {f"{k}running_mean": like.new_zeros(tasks, m.num_features) for k, m in norms.items()}
        var = {k.replace("running_mean", "running_var"): torch.zeros_like(m) for k, m in mean.items()}  # fmt: skip
        return mean | var | {f"{k}num_batches_tracked": like.new_zeros(tasks) for k in norms}

    def scores(self, theta: Tensor, x: Tensor, stats: dict[str, Tensor], train: bool = True) -> Tensor:  # fmt: skip
        """Scores `[T, B, N]` of x `[T, B, *x]`, those of task i under θ_i; stats are filled, or used if not `train`."""
        if len(x) != len(theta):
            raise ValueError(f"{len(x)} tasks are asked, but {len(theta)} were learned")
        shapes = {k: p.shape for k, p in self.net.named_parameters() if p.requires_grad}
        others = {k: b.clone() for k, b in self.net.named_buffers() if k not in stats}

        def f(theta: Tensor, x: Tensor, *own: Tensor) -> Tensor:
            parts = torch.split(theta, [s.numel() for s in shapes.values()])
            p = {k: v.view(s) for (k, s), v in zip(shapes.items(), parts, strict=True)}
            y = functional_call(self.net, others | p | dict(zip(stats, own, strict=True)), x)
            if not isinstance(y, Tensor) or any(others[k]._version for k in others):
                raise ValueError(f"{type(y).__name__}: return one tensor, and write into no buffer")
            return y

        norms = [m for m in self.net.modules() if isinstance(m, _BatchNorm)]
        was = [(m.training, m.momentum, m.track_running_stats) for m in norms]
        slow = x.is_cpu and any(p.dim() > 2 for p in self.net.parameters())  # convolutions
        slow |= any(isinstance(m, nn.MultiheadAttention) for m in self.net.modules())  # no gradient
        try:
            for m in norms:  # what they keep is of the latest batch
                m.training, m.momentum, m.track_running_stats = train, 1.0, True
            if not slow:
                with suppress(RuntimeError):  # what vmap cannot batch goes task by task
                    return vmap(f, randomness="different")(theta, x, *stats.values())
            return torch.stack([f(*task) for task in zip(theta, x, *stats.values(), strict=True)])
        finally:
            for m, before in zip(norms, was, strict=True):
                m.training, m.momentum, m.track_running_stats = before


def prep(x: Tensor) -> Tensor:
    """Size and sign of x as two numbers `[..., 2]`, of comparable scale for x of any (section 3.2; p = 10)."""
    p = 10
    large = x.abs() >= math.exp(-p)
    size = torch.where(large, x.abs().clamp(min=math.exp(-p)).log() / p, -1)
    return torch.stack([size, torch.where(large, x.sign(), math.exp(p) * x)], -1)
