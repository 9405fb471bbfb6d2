"""On First-Order Meta-Learning Algorithms. Nichol, Achiam & Schulman, 2018, arXiv:1803.02999."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap


class Reptile(nn.Module):
    r"""Train on a task, then move the initial point a little towards where that ended.

    With U^k, k steps of an ordinary optimizer on mini-batches of a task's examples::

        φ_i = U^k(φ)                               the inner loop
        φ  <- φ + ε mean over i of (φ_i - φ)       the outer loop     (algorithms 1, serial, and 2)

    The serial version has one task at a time. The outer loop follows no gradient of a loss, so
    `loss` is a surrogate with the gradient mean(φ - φ_i): `torch.optim.SGD` of rate ε makes it the
    step above. Reptile trains on all that it is given, queries too.

    Args:
        net: f_φ, any network from `[B, *x]` to `[B, N]`. Batch norm must use the batch at hand.
        inner_lr: Of U.
        steps: k in training; 1 or more.
        batch: Examples in a mini-batch, taken in turn.
        inner_optimizer: U, `"adam"` with β_1 = 0, the paper's on Omniglot, or `"sgd"`. Adam's mean
            of squared gradients v goes on from task to task in training; `adapt` finds it as
            training left it, and leaves it so.
        loss: L, from scores and labels (predictions and targets) to the mean over examples.
        vectorize: Run f on all tasks at once, with `vmap`, or task by task; both give the same.
            None: at once, except convolutions on a CPU, where that is slower.

    Raises:
        ValueError: If `steps` is below 1, or `inner_optimizer` is neither.
    """

    def __init__(
        self, net: nn.Module, inner_lr: float = 1e-3, steps: int = 5, batch: int = 10,
        inner_optimizer: str = "adam", loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
        vectorize: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if steps < 1 or inner_optimizer not in ("adam", "sgd"):
            raise ValueError(f"{steps=}, {inner_optimizer=}: use 1 or more, and 'adam' or 'sgd'")
        self.net, self.inner_lr, self.steps, self.batch = net, inner_lr, steps, batch
        self.adam, self.inner_loss, self.vectorize = inner_optimizer == "adam", loss, vectorize
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss
        self.t: Tensor
        self.register_buffer("t", torch.zeros(()))  # Adam's steps so far
        self.v = {k: f"v_{k}".replace(".", "_") for k, _ in net.named_parameters()}
        for k, p in net.named_parameters():
            self.register_buffer(self.v[k], torch.zeros_like(p))

    def adapt(
        self, support_x: Tensor, support_y: Tensor, steps: int | None = None, transductive: bool = True
    ) -> Callable[[Tensor], Tensor]:  # fmt: skip
        """Train on the support sets of T tasks, each from φ.

        Args:
            support_x: `[T, S, *x]`.
            support_y: `[T, S]`, labels 0..N-1, or targets `[T, S, *y]`.
            steps: 0 or more; None is as many as in training, the paper takes 50.
            transductive: Batch norm sees all queries of a task together; if not, each query alone
                with the support set. The paper reports both.

        Returns:
            The learner, from `query_x [T, Q, *x]` to scores `[T, Q, N]`.

        Raises:
            FloatingPointError: If a loss is not finite.
        """
        phi, _ = self.inner_loop(support_x, support_y, self.steps if steps is None else steps)

        def alone(query_x: Tensor) -> Tensor:
            each = (torch.cat([support_x, x[:, None]], 1) for x in query_x.unbind(1))
            return torch.stack([self.f(phi, x)[:, -1] for x in each], 1)

        return (lambda query_x: self.f(phi, query_x)) if transductive else alone

    def loss(
        self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor
    ) -> Tensor:
        """The surrogate: its value is L on the last mini-batch, its gradient mean(φ - φ_i)."""
        x, y = torch.cat([support_x, query_x], 1), torch.cat([support_y, query_y], 1)
        phi, v = self.inner_loop(x, y, self.steps)
        if self.training:
            self.t += self.steps
            for k, average in v.items():
                self.get_buffer(self.v[k]).copy_(average.mean(0))
        parameters = self.net.named_parameters()
        pull = [(p * (p.detach() - phi[k].mean(0))).sum() for k, p in parameters]
        surrogate = torch.stack(pull).sum()
        return surrogate + (self.metrics.pop("last") - surrogate).detach()

    def inner_loop(
        self, x: Tensor, y: Tensor, steps: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """U^steps on examples x, y: all φ_i, by name `[T, *p]`, and Adam's v."""
        phi = {k: p.detach().expand(len(x), *p.shape) for k, p in self.net.named_parameters()}
        v = {k: self.get_buffer(name).expand_as(phi[k]) for k, name in self.v.items()}
        size = min(self.batch, x.shape[1])
        for s in range(steps):
            i = torch.arange(s * size, (s + 1) * size, device=x.device) % x.shape[1]
            with torch.enable_grad():  # also where `evaluate` has turned gradients off
                phi = {k: p.requires_grad_() for k, p in phi.items()}
                scores = self.f(phi, x[:, i])
                # the sum over tasks, which do not know of each other
                loss = vmap(self.inner_loss)(scores, y[:, i]).sum()
                gradient = torch.autograd.grad(loss, list(phi.values()), materialize_grads=True)
            if not loss.isfinite():
                raise FloatingPointError(
                    f"the loss is {loss} after {s} inner steps: lower inner_lr={self.inner_lr}"
                )
            if not y.is_floating_point():  # before its step a mini-batch is new, in the first round
                self.metrics["accuracy" if s else "accuracy before"] = (
                    (scores.argmax(-1) == y[:, i]).float().mean()
                )
            self.metrics["last"] = loss.detach() / len(x)
            g = dict(zip(phi, gradient, strict=True))
            if self.adam:
                v = {k: 0.999 * v[k] + 0.001 * g[k].square() for k in phi}
                size_v = 1 - 0.999 ** (self.t + s + 1)
                g = {k: g[k] / ((v[k] / size_v).sqrt() + 1e-8) for k in phi}
            phi = {k: (p - self.inner_lr * g[k]).detach() for k, p in phi.items()}
        return phi, v

    def f(self, phi: dict[str, Tensor], x: Tensor) -> Tensor:
        """The scores `[T, B, N]` of x `[T, B, *x]`, those of task i under φ_i."""

        def call(phi: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(self.net, phi, (x,))  # type: ignore[no-any-return]

        convolves = any(isinstance(m, nn.modules.conv._ConvNd) for m in self.net.modules())
        if not (convolves and x.device.type == "cpu") if self.vectorize is None else self.vectorize:
            return vmap(call, randomness="different")(phi, x)
        each = zip(*(p.unbind() for p in phi.values()), strict=True)
        return torch.stack(list(map(call, (dict(zip(phi, p, strict=True)) for p in each), x)))
