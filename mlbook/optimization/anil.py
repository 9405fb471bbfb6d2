"""Rapid Learning or Feature Reuse? Raghu, Raghu, Bengio & Vinyals, ICLR 2020, arXiv:1909.09157."""

from collections.abc import Callable
from contextlib import suppress

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap


class ANIL(nn.Module):
    r"""Almost no inner loop: MAML in which only the last layer adapts, the body below stays.

    With a body f_θ, a head h_w, and tasks of a support set S_i and a query set Q_i::

        w_i     = w - α ∇_w L(h_w ∘ f_θ, S_i)                the inner loop, `steps` times    (section 4)
        J(θ, w) = mean over i of L(h_{w_i} ∘ f_θ, Q_i)       what the outer loop minimises

    The support set is embedded once, and second derivatives are the head's alone: most of what MAML costs is saved.

    Args:
        body: f, from `[B, *x]` to `[B, D]`, that keeps no state. Batch norm must use the batch at hand.
        head: h, from `[B, D]` to `[B, N]`, that keeps none either; usually one linear layer.
        inner_lr: α, 0 or more, for a loss that is a mean over examples.
        steps: Of the inner loop in training; 1 or more.
        loss: L, from scores and labels (predictions and targets) to the mean over examples.
    """

    def __init__(self, body: nn.Module, head: nn.Module, inner_lr: float = 0.4, steps: int = 1,
        loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    ) -> None:  # fmt: skip
        super().__init__()
        if not (hasattr(steps, "__index__") and steps >= 1 and 0 <= inner_lr < float("inf")):
            raise ValueError(f"{steps=}, {inner_lr=}: give 1 step or more, and a rate of 0 or more")
        for k, m in (*body.named_modules(), *head.named_modules()):
            if getattr(m, "running_mean", None) is not None:  # it would mix the tasks
                raise ValueError(f"{k} keeps running statistics: build it with track_running_stats=False")  # fmt: skip
        self.body, self.head, self.inner_loss = body, head, loss
        self.inner_lr, self.steps = inner_lr, steps
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def adapt(self, support_x: Tensor, support_y: Tensor, steps: int | None = None, transductive: bool = True
    ) -> Callable[[Tensor], Tensor]:  # fmt: skip
        """Take the inner loop's steps on T tasks; the learner goes from `query_x [T, Q, *x]` to scores `[T, Q, N]`.

        Args:
            support_x: `[T, S, *x]`.
            support_y: `[T, S]`, labels 0..N-1, or targets `[T, S, *y]`.
            steps: 0 or more; None is as many as in training. One that diverges is a `FloatingPointError`.
            transductive: Batch norm sees all queries of a call, so that it matters how many come along. If not, each is
                answered in the company of the support set alone, as a single query always is.
        """
        w = self.inner_loop(self.f(support_x), support_y, self.steps if steps is None else steps)
        company = support_x.clone()  # whatever the caller does with his
        return lambda query_x: self.ask(w, company, query_x, transductive)

    @torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)  # it has second derivatives
    def loss(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:  # fmt: skip
        """J, a scalar, for queries with labels `query_y [T, Q]` or targets `[T, Q, *y]`."""
        w = self.inner_loop(self.f(support_x), support_y, self.steps, train=True)
        scores = self.ask(w, support_x, query_x)
        if not query_y.is_floating_point():
            self.metrics["accuracy"] = (scores.argmax(-1) == query_y).float().mean()
        return self.each(self.inner_loss, scores, query_y).mean()

    @torch.enable_grad()  # also where `evaluate` has turned gradients off
    def inner_loop(self, z: Tensor, y: Tensor, steps: int, train: bool = False) -> dict[str, Tensor]:  # fmt: skip
        """Adapt to embedded support sets z `[T, S, D]`, y: all w_i, by name `[T, *p]`; to `train`, with a graph."""
        w = {k: p.expand(len(z), *p.shape) for k, p in self.head.named_parameters() if p.requires_grad}  # fmt: skip
        if not (w and hasattr(steps, "__index__") and steps >= 0):
            raise ValueError(f"{steps=}, {len(w)} parameters of the head not frozen: give 0 or more, 1")  # fmt: skip
        if self.inner_loss is F.cross_entropy and y.is_floating_point():
            raise ValueError("the targets are numbers, not labels: give loss=F.mse_loss")
        for s in range(1, steps + 1):
            scores = self.h(w, z)
            if s == 1 and not y.is_floating_point():  # w has learned nothing of these tasks
                self.metrics["accuracy before"] = (scores.argmax(-1) == y).float().mean()
            loss = self.each(self.inner_loss, scores, y).sum()  # over tasks: each has its own w_i
            p = list(w.values())
            g = torch.autograd.grad(loss, p, create_graph=train, materialize_grads=True)
            w = {k: p - self.inner_lr * g for k, p, g in zip(w, p, g, strict=True)}
            look = z.is_cpu or (s == steps and not train)  # training does not wait for a GPU
            if look and not torch.stack([p.detach().sum() for p in w.values()]).isfinite().all():
                raise FloatingPointError(f"inner step {s} diverged: lower inner_lr={self.inner_lr}")
        return w

    def h(self, w: dict[str, Tensor], z: Tensor) -> Tensor:
        """The scores `[T, B, N]` of embeddings z `[T, B, D]`, those of task i under w_i."""
        return self.each(lambda z, *p: call(self.head, dict(zip(w, p, strict=True)), z), z, *w.values())  # fmt: skip

    def ask(self, w: dict[str, Tensor], company: Tensor, x: Tensor, together: bool = True) -> Tensor:  # fmt: skip
        """The scores of queries x, all `together` or each with its task's support set for company."""
        if len(x) != len(company):
            raise ValueError(f"{len(x)} tasks are asked, but {len(company)} were learned")
        if together and x.shape[1] > 1:
            return self.h(w, self.f(x))
        each = (self.h(w, self.f(torch.cat([company, x_j], 1))) for x_j in torch.split(x, 1, 1))
        return torch.cat([scores[:, company.shape[1] :] for scores in each], 1)

    def f(self, x: Tensor) -> Tensor:
        """The embeddings `[T, B, D]` of x `[T, B, *x]`, task by task: batch norm keeps them apart."""
        return torch.stack([call(self.body, {}, x_i) for x_i in x])

    def each(self, g: Callable[..., Tensor], *tasks: Tensor) -> Tensor:
        """What g makes of every task's share of the tensors, stacked: `[T, ...]`."""
        if not any(isinstance(m, nn.MultiheadAttention) for m in self.head.modules()):
            with suppress(RuntimeError):  # what vmap cannot batch goes task by task
                return vmap(g, randomness="different")(*tasks)
        return torch.stack([g(*task) for task in zip(*tasks, strict=True)])


def call(net: nn.Module, p: dict[str, Tensor], x: Tensor) -> Tensor:
    """Net(x) under the parameters p, if it leaves the buffers alone."""
    b = {k: b.clone() for k, b in net.named_buffers()}
    y = functional_call(net, b | p, x)
    if not isinstance(y, Tensor) or any(b[k]._version for k in b):
        raise ValueError(f"{type(y).__name__}: return one tensor, and write into no buffer")
    return y
