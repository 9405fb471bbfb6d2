"""Model-Agnostic Meta-Learning. Finn, Abbeel & Levine, ICML 2017, arXiv:1703.03400."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap


class MAML(nn.Module):
    r"""Learn an initial point from which a few steps of gradient descent solve a new task.

    With a network f_θ and tasks T_i, each of a support set S_i and a query set Q_i::

        θ_i  = θ - α ∇_θ L(f_θ, S_i)             the inner loop, `steps` times      (section 2.2)
        J(θ) = mean over i of L(f_{θ_i}, Q_i)    what the outer loop minimises      (algorithm 2)

    ∇J passes through the inner gradient and so contains second derivatives of L. First-order MAML
    takes the inner gradient for a constant: what is left is the gradient at θ_i (section 5.2).

    Args:
        net: f, any network from `[B, *x]` to `[B, N]`. Batch norm must use the batch at hand.
        inner_lr: α. The authors' code sums L over classes: their 0.4 is 2.0 here, at 5 ways.
        steps: Of the inner loop in training; 1 or more.
        first_order: Leave out the second derivatives.
        loss: L, from scores and labels (predictions and targets) to the mean over examples.
        vectorize: Run f on all tasks at once, with `vmap`, or task by task; both give the same.
            None: at once, except convolutions on a CPU, where that is slower.

    Raises:
        ValueError: If `steps` is below 1, or `net` keeps running statistics.
    """

    def __init__(
        self, net: nn.Module, inner_lr: float = 0.4, steps: int = 1, first_order: bool = False,
        loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy, vectorize: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps={steps}: the inner loop needs at least 1")
        for name, module in net.named_modules():
            if getattr(module, "running_mean", None) is not None:  # it would mix the tasks
                raise ValueError(f"{name} keeps running statistics: set track_running_stats=False")
        self.net, self.inner_lr, self.steps, self.first_order = net, inner_lr, steps, first_order
        self.inner_loss, self.vectorize = loss, vectorize
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def adapt(
        self, support_x: Tensor, support_y: Tensor, steps: int | None = None, transductive: bool = True
    ) -> Callable[[Tensor], Tensor]:  # fmt: skip
        """Take the steps of the inner loop on T tasks, each from θ.

        Args:
            support_x: `[T, S, *x]`.
            support_y: `[T, S]`, labels 0..N-1, or targets `[T, S, *y]`.
            steps: 0 or more; None is as many as in training.
            transductive: Batch norm sees all queries of a task together, as in the paper; if not,
                each query alone with the support set.

        Returns:
            The learner, from `query_x [T, Q, *x]` to scores `[T, Q, N]`.

        Raises:
            FloatingPointError: If a step leads to parameters that are not finite.
        """
        theta = self.inner_loop(support_x, support_y, self.steps if steps is None else steps)

        def alone(query_x: Tensor) -> Tensor:
            each = (torch.cat([support_x, x[:, None]], 1) for x in query_x.unbind(1))
            return torch.stack([self.f(theta, x)[:, -1] for x in each], 1)

        return (lambda query_x: self.f(theta, query_x)) if transductive else alone

    def loss(
        self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor
    ) -> Tensor:
        """J, a scalar, for queries with labels `query_y [T, Q]` or targets `[T, Q, *y]`."""
        theta = self.inner_loop(support_x, support_y, self.steps, not self.first_order)
        scores = self.f(theta, query_x)
        if not query_y.is_floating_point():
            self.metrics["accuracy"] = (scores.argmax(-1) == query_y).float().mean()
        return self.each(self.inner_loss, scores, query_y).mean()

    @torch.enable_grad()  # also where `evaluate` has turned gradients off
    def inner_loop(
        self, x: Tensor, y: Tensor, steps: int, create_graph: bool = False
    ) -> dict[str, Tensor]:
        """Adapt to support sets x `[T, S, *x]`, y: all θ_i, by name `[T, *p]`."""
        learned = {k: p for k, p in self.net.named_parameters() if p.requires_grad}
        theta = {k: p.expand(len(x), *p.shape) for k, p in learned.items()}
        for s in range(1, steps + 1):
            scores = self.f(theta, x)
            if s == 1 and not y.is_floating_point():  # θ has learned nothing of these tasks
                self.metrics["accuracy before"] = (scores.argmax(-1) == y).float().mean()
            loss = self.each(self.inner_loss, scores, y).sum()  # over tasks: each has its own θ_i
            p = list(theta.values())
            g = torch.autograd.grad(loss, p, create_graph=create_graph, materialize_grads=True)
            theta = {k: p.add(g, alpha=-self.inner_lr) for k, p, g in zip(theta, p, g, strict=True)}
            if not torch.stack([p.detach().sum() for p in theta.values()]).isfinite().all():
                raise FloatingPointError(f"inner step {s} diverged: lower inner_lr={self.inner_lr}")
        return theta

    def f(self, theta: dict[str, Tensor], x: Tensor) -> Tensor:
        """The scores `[T, B, N]` of x `[T, B, *x]`, those of task i under θ_i."""
        return self.each(
            lambda x, *p: functional_call(self.net, dict(zip(theta, p, strict=True)), x), x, *theta.values()
        )  # fmt: skip

    def each(self, g: Callable[..., Tensor], *tasks: Tensor) -> Tensor:
        """What g makes of every task's share of the tensors, stacked: `[T, ...]`."""
        kernels = any(p.dim() > 2 for p in self.net.parameters())  # a convolution's, frozen or not
        if self.vectorize or (self.vectorize is None and not (kernels and tasks[0].is_cpu)):
            return vmap(g, randomness="different")(*tasks)
        if len(tasks[0]) == 1:  # a view of it costs nothing, forward or back
            return g(*(x.squeeze(0) for x in tasks)).unsqueeze(0)
        return torch.stack([g(*task) for task in zip(*tasks, strict=True)])
