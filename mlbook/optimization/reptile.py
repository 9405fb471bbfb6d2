"""On First-Order Meta-Learning Algorithms. Nichol, Achiam & Schulman, 2018, arXiv:1803.02999."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap


class Reptile(nn.Module):
    r"""Train on a task, then move the initial point a little towards where that ended.

    With U^k, k steps of an ordinary optimizer on mini-batches of a task's examples::

        φ_i = U^k(φ)                            the inner loop
        φ  <- φ + ε mean over i of (φ_i - φ)    the outer loop; over one task, the serial version

    That follows no gradient of a loss: `loss` is a surrogate with the gradient mean(φ - φ_i), which
    `torch.optim.SGD` of rate ε turns into the step above. Reptile trains on the queries too.

    Args:
        net: f_φ, any network from `[B, *x]` to `[B, N]`. Batch norm must use the batch at hand.
        inner_lr: Of U.
        steps: k in training; 1 or more.
        batch: Examples in a mini-batch, taken in turn.
        inner_optimizer: U, `"adam"` with β_1 = 0, as in the paper, or `"sgd"`. Adam's mean square v
            of the gradients goes on from task to task in training; `adapt` finds and leaves it so.
        loss: L, from scores and labels (predictions and targets) to the mean over examples.
        vectorize: Tasks all at once, by `vmap`, or one by one. None: the latter for convolutions on a CPU.

    Raises:
        ValueError: If `steps` or `inner_optimizer` is none of these, or statistics are kept running.
        FloatingPointError: When a step of U leads to parameters that are not finite.
    """

    def __init__(
        self, net: nn.Module, inner_lr: float = 1e-3, steps: int = 5, batch: int = 10, inner_optimizer: str = "adam",
        loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy, vectorize: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if steps < 1 or inner_optimizer not in ("adam", "sgd"):
            raise ValueError(f"{steps=}, {inner_optimizer=}: use 1 or more, and 'adam' or 'sgd'")
        if any(k.endswith("running_mean") for k, _ in net.named_buffers()):
            raise ValueError("the network keeps running statistics: set track_running_stats=False")
        self.net, self.inner_lr, self.steps, self.batch = net, inner_lr, steps, batch
        self.adam, self.inner_loss, self.vectorize = inner_optimizer == "adam", loss, vectorize
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss
        self.register_buffer("t", torch.zeros(()))  # Adam's steps so far; then its v, by parameter
        self.v = {k: f"v_{k}".replace(".", "_") for k, _ in net.named_parameters()}
        for k, p in net.named_parameters():
            self.register_buffer(self.v[k], torch.zeros_like(p))

    def adapt(
        self, support_x: Tensor, support_y: Tensor, steps: int | None = None, transductive: bool = True
    ) -> Callable[[Tensor], Tensor]:  # fmt: skip
        """Train on the support sets of T tasks, each from φ; the learner returns scores `[T, Q, N]`.

        Args:
            support_x: `[T, S, *x]`.
            support_y: `[T, S]`, labels 0..N-1, or targets `[T, S, *y]`.
            steps: 0 or more; None is as many as in training, the paper takes 50.
            transductive: Batch norm sees a task's queries together; if not, each with the support set.
        """
        phi, *_ = self.inner_loop(support_x, support_y, self.steps if steps is None else steps)

        def alone(query_x: Tensor) -> Tensor:
            each = (torch.cat([support_x, x[:, None]], 1) for x in query_x.unbind(1))
            return torch.stack([self.f(phi, x)[:, -1] for x in each], 1)

        return (lambda query_x: self.f(phi, query_x)) if transductive else alone

    def loss(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:  # fmt: skip
        """The surrogate: its value is L on the last mini-batch, its gradient mean(φ - φ_i)."""
        x, y = torch.cat([support_x, query_x], 1), torch.cat([support_y, query_y], 1)
        phi, v, last = self.inner_loop(x, y, self.steps)
        if self.training and self.adam:
            self.get_buffer("t").add_(self.steps)
            for k in v:
                self.get_buffer(self.v[k]).copy_(v[k].mean(0))
        for p, p_i in ((self.net.get_parameter(k), phi[k]) for k in phi):
            last = last + ((p - p.detach()) * (p.detach() - p_i.mean(0))).sum()  # 0, with a slope
        return last

    @torch.enable_grad()  # also where `evaluate` has turned gradients off
    def inner_loop(
        self, x: Tensor, y: Tensor, steps: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """U^steps on x, y: all φ_i and Adam's v, by name `[T, *p]`, and L on the last mini-batch."""
        learned = {k: p.detach() for k, p in self.net.named_parameters() if p.requires_grad}
        phi = {k: p.expand(len(x), *p.shape) for k, p in learned.items()}
        v, loss = {k: self.get_buffer(self.v[k]) for k in phi}, x.new_zeros(())
        t, size = float(self.get_buffer("t")), min(self.batch, x.shape[1])
        for s in range(1, steps + 1):
            i = torch.arange((s - 1) * size, s * size, device=x.device) % x.shape[1]
            scores = self.f({k: p.requires_grad_() for k, p in phi.items()}, x[:, i])
            loss = vmap(self.inner_loss)(scores, y[:, i]).sum()  # over tasks: each has its own φ_i
            g = torch.autograd.grad(loss, list(phi.values()), materialize_grads=True)
            u = dict(zip(phi, g, strict=True))
            if self.adam:
                v = {k: 0.999 * v[k] + 0.001 * u[k].square() for k in v}
                u = {k: u[k] / ((v[k] / (1 - 0.999 ** (t + s))).sqrt() + 1e-8) for k in v}
            phi = {k: (p - self.inner_lr * u[k]).detach() for k, p in phi.items()}
            if not torch.stack([p.sum() for p in phi.values()]).isfinite().all():
                raise FloatingPointError(f"inner step {s} diverged: lower inner_lr={self.inner_lr}")
            if not y.is_floating_point():  # before the step: on new examples, in the first round
                name = "accuracy before" if s == 1 else "accuracy"
                self.metrics[name] = (scores.argmax(-1) == y[:, i]).float().mean()
        return phi, v, loss.detach() / len(x)

    def f(self, phi: dict[str, Tensor], x: Tensor) -> Tensor:
        """The scores `[T, B, N]` of x `[T, B, *x]`, those of task i under φ_i."""
        kernels = any(p.dim() > 2 for p in self.net.parameters())  # a convolution's, frozen or not
        if self.vectorize or (self.vectorize is None and not (kernels and x.is_cpu)):
            return vmap(functional_call, (None, 0, 0), randomness="different")(self.net, phi, x)  # type: ignore[no-any-return]
        p = {k: p.unbind() for k, p in phi.items()}
        each = [functional_call(self.net, {k: p[k][i] for k in p}, x_i) for i, x_i in enumerate(x)]
        return torch.stack(each)
