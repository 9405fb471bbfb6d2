"""Rapid Learning or Feature Reuse? Raghu, Raghu, Bengio & Vinyals, ICLR 2020, arXiv:1909.09157."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap


class ANIL(nn.Module):
    r"""Almost no inner loop: MAML in which only the last layer adapts, the body below stays.

    With a body f_θ, a head h_w, and tasks of a support set S_i and a query set Q_i::

        w_i     = w - α ∇_w L(h_w ∘ f_θ, S_i)                the inner loop, `steps` times    (section 4)
        J(θ, w) = mean over i of L(h_{w_i} ∘ f_θ, Q_i)       what the outer loop minimises

    The support set is embedded once, and the second derivatives are those of the head alone: hence
    most of what MAML costs is saved.

    Args:
        body: f, from `[B, *x]` to `[B, D]`. Batch norm must use the batch at hand.
        head: h, from `[B, D]` to `[B, N]`; usually one linear layer.
        inner_lr: α, for a loss that is a mean over examples.
        steps: Of the inner loop in training; 1 or more.
        loss: L, from scores and labels (predictions and targets) to the mean over examples.

    Raises:
        ValueError: If `steps` is below 1, or `body` keeps running statistics.
    """

    def __init__(
        self,
        body: nn.Module,
        head: nn.Module,
        inner_lr: float = 0.4,
        steps: int = 1,
        loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    ) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps={steps}: the inner loop needs at least 1")
        for name, module in body.named_modules():
            if getattr(module, "running_mean", None) is not None:  # it would mix the tasks
                raise ValueError(f"{name} keeps running statistics: set track_running_stats=False")
        self.body, self.head, self.inner_lr, self.steps = body, head, inner_lr, steps
        self.inner_loss = loss
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def adapt(
        self,
        support_x: Tensor,
        support_y: Tensor,
        steps: int | None = None,
        transductive: bool = True,
    ) -> Callable[[Tensor], Tensor]:
        """Take the steps of the inner loop on T tasks, each from w.

        Args:
            support_x: `[T, S, *x]`.
            support_y: `[T, S]`, labels 0..N-1, or targets `[T, S, *y]`.
            steps: 0 or more; None is as many as in training.
            transductive: Batch norm sees all queries of a task together; if not, each query alone
                with the support set.

        Returns:
            The learner, from `query_x [T, Q, *x]` to scores `[T, Q, N]`.

        Raises:
            FloatingPointError: If a step leads to parameters that are not finite.
        """
        z, steps = self.f(support_x), self.steps if steps is None else steps
        w = self.inner_loop(z, support_y, steps)

        def alone(query_x: Tensor) -> Tensor:
            each = (torch.cat([support_x, x[:, None]], 1) for x in query_x.unbind(1))
            return self.h(w, torch.stack([self.f(x)[:, -1] for x in each], 1))

        return (lambda query_x: self.h(w, self.f(query_x))) if transductive else alone

    def loss(
        self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor
    ) -> Tensor:
        """J, a scalar, for queries with labels `query_y [T, Q]` or targets `[T, Q, *y]`."""
        w = self.inner_loop(self.f(support_x), support_y, self.steps, create_graph=True)
        scores = self.h(w, self.f(query_x))
        if not query_y.is_floating_point():
            self.metrics["accuracy"] = (scores.argmax(-1) == query_y).float().mean()
        return vmap(self.inner_loss)(scores, query_y).mean()

    @torch.enable_grad()  # also where `evaluate` has turned gradients off
    def inner_loop(
        self, z: Tensor, y: Tensor, steps: int, create_graph: bool = False
    ) -> dict[str, Tensor]:
        """Adapt to embedded support sets z `[T, S, D]`, y: all w_i, by name `[T, *p]`."""
        learned = {k: p for k, p in self.head.named_parameters() if p.requires_grad}
        w = {k: p.expand(len(z), *p.shape) for k, p in learned.items()}
        for s in range(1, steps + 1):
            scores = self.h(w, z)
            if s == 1 and not y.is_floating_point():  # w has learned nothing of these tasks
                self.metrics["accuracy before"] = (scores.argmax(-1) == y).float().mean()
            loss = vmap(self.inner_loss)(scores, y).sum()  # over tasks: each has its own w_i
            p = list(w.values())
            g = torch.autograd.grad(loss, p, create_graph=create_graph, materialize_grads=True)
            w = {k: p - self.inner_lr * g for k, p, g in zip(w, p, g, strict=True)}
            if not torch.stack([p.detach().sum() for p in w.values()]).isfinite().all():
                raise FloatingPointError(f"inner step {s} diverged: lower inner_lr={self.inner_lr}")
        return w

    def h(self, w: dict[str, Tensor], z: Tensor) -> Tensor:
        """The scores `[T, B, N]` of embeddings z `[T, B, D]`, those of task i under w_i."""
        return vmap(functional_call, (None, 0, 0), randomness="different")(self.head, w, z)  # type: ignore[no-any-return]

    def f(self, x: Tensor) -> Tensor:
        """The embeddings `[T, B, D]` of x `[T, B, *x]`, task by task: batch norm keeps them apart."""
        return torch.stack([self.body(x_i) for x_i in x])
