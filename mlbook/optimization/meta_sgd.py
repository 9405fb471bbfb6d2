"""Meta-SGD: Learning to Learn Quickly for Few-Shot Learning. Li, Zhou, Chen & Li, 2017, arXiv:1707.09835."""

from collections.abc import Callable
from contextlib import suppress

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap


class MetaSGD(nn.Module):
    r"""Learn with the initial point how far, and which way, each of its coordinates steps.

    With a network f_θ and tasks of a support set S_i and a query set Q_i::

        θ_i     = θ - α ∘ ∇_θ L(f_θ, S_i)           the inner loop, `steps` times
        J(θ, α) = mean over i of L(f_{θ_i}, Q_i)    what the outer loop minimises

    MAML with a rate for every coordinate of θ, learned with it: the simplest hyper-parameter to meta-learn. A rate may
    become negative. Frozen parameters have none, and stay as they are.

    Args:
        net: f, any network from `[B, *x]` to `[B, N]` that keeps no state. Batch norm must use the batch at hand.
        inner_lr: Where every rate in α starts. The paper draws that at random, one chance more in a run.
        steps: Of the inner loop in training; 1 as in the paper, or more.
        loss: L, from scores and labels (predictions and targets) to the mean over examples.
        vectorize: Tasks all at once, where `vmap` can, or one by one. None: the latter for convolutions on a CPU.
    """

    def __init__(self, net: nn.Module, inner_lr: float = 0.05, steps: int = 1,
        loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy, vectorize: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if not (hasattr(steps, "__index__") and steps >= 1 and abs(inner_lr) < float("inf")):
            raise ValueError(f"{steps=}, {inner_lr=}: give 1 step or more, and a finite rate")
        for k, m in net.named_modules():
            if getattr(m, "running_mean", None) is not None:  # it would mix the tasks
                raise ValueError(f"{k} keeps running statistics: torch.func.replace_all_batch_norm_modules_(net)"
                                 " takes them away, or build it with track_running_stats=False")  # fmt: skip
        self.net, self.steps, self.inner_loss, self.vectorize = net, steps, loss, vectorize
        learned = (p for p in net.parameters() if p.requires_grad)
        self.alpha = nn.ParameterList(torch.full_like(p, inner_lr) for p in learned)
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def adapt(self, support_x: Tensor, support_y: Tensor, steps: int | None = None, transductive: bool = True
    ) -> Callable[[Tensor], Tensor]:  # fmt: skip
        """Take the inner loop's steps on T tasks; the learner goes from `query_x [T, Q, *x]` to scores `[T, Q, N]`.

        Args:
            support_x: `[T, S, *x]`.
            support_y: `[T, S]`, labels 0..N-1, or targets `[T, S, *y]`.
            steps: 0 or more; None is as many as in training. One that diverges is a `FloatingPointError`.
            transductive: Batch norm sees all queries of a call, as in MAML, so that it matters how many come along.
                If not, each is answered in the company of the support set alone, as a single query always is.
        """
        theta = self.inner_loop(support_x, support_y, self.steps if steps is None else steps)
        company = support_x.clone()  # whatever the caller does with his
        return lambda query_x: self.ask(theta, company, query_x, transductive)

    def ask(self, theta: dict[str, Tensor], company: Tensor, x: Tensor, together: bool = True) -> Tensor:  # fmt: skip
        """The scores of queries x, all `together` or each with its task's support set for company."""
        if len(x) != len(company):
            raise ValueError(f"{len(x)} tasks are asked, but {len(company)} were learned")
        if together and x.shape[1] > 1:
            return self.f(theta, x)
        each = (self.f(theta, torch.cat([company, x_j], 1)) for x_j in torch.split(x, 1, 1))
        return torch.cat([scores[:, company.shape[1] :] for scores in each], 1)

    @torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)  # it has second derivatives
    def loss(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:  # fmt: skip
        """J, a scalar, for queries with labels `query_y [T, Q]` or targets `[T, Q, *y]`."""
        theta = self.inner_loop(support_x, support_y, self.steps, train=True)
        scores = self.ask(theta, support_x, query_x)
        if not query_y.is_floating_point():
            self.metrics["accuracy"] = (scores.argmax(-1) == query_y).float().mean()
        return self.each(self.inner_loss, scores, query_y).mean()

    @torch.enable_grad()  # also where `evaluate` has turned gradients off
    def inner_loop(self, x: Tensor, y: Tensor, steps: int, train: bool = False) -> dict[str, Tensor]:  # fmt: skip
        """Adapt to support sets x `[T, S, *x]`, y: all θ_i, by name `[T, *p]`; to `train`, with the graph of J."""
        theta = {k: p.expand(len(x), *p.shape) for k, p in self.net.named_parameters() if p.requires_grad}  # fmt: skip
        if not (len(theta) == len(self.alpha) > 0 and hasattr(steps, "__index__") and steps >= 0):
            raise ValueError(f"{steps=}: give 0 or more; {len(theta)} not frozen, {len(self.alpha)} rates")  # fmt: skip
        if self.inner_loss is F.cross_entropy and y.is_floating_point():
            raise ValueError("the targets are numbers, not labels: give loss=F.mse_loss")
        for s in range(1, steps + 1):
            scores = self.f(theta, x)
            if s == 1 and not y.is_floating_point():  # θ has learned nothing of these tasks
                self.metrics["accuracy before"] = (scores.argmax(-1) == y).float().mean()
            loss = self.each(self.inner_loss, scores, y).sum()  # over tasks: each has its own θ_i
            p = list(theta.values())
            g = torch.autograd.grad(loss, p, create_graph=train, materialize_grads=True)
            theta = {k: p - α * g for k, p, α, g in zip(theta, p, self.alpha, g, strict=True)}
            look = x.is_cpu or (s == steps and not train)  # training does not wait for a GPU
            if look and not torch.stack([p.detach().sum() for p in theta.values()]).isfinite().all():  # fmt: skip
                raise FloatingPointError(f"inner step {s} diverged: the rates α are too high")
        return theta

    def f(self, theta: dict[str, Tensor], x: Tensor) -> Tensor:
        """The scores `[T, B, N]` of x `[T, B, *x]`, those of task i under θ_i."""
        b = {k: b.clone() for k, b in self.net.named_buffers()}

        def g(x: Tensor, *p: Tensor) -> Tensor:
            y = functional_call(self.net, b | dict(zip(theta, p, strict=True)), x)
            if not isinstance(y, Tensor) or any(b[k]._version for k in b):
                raise ValueError(f"{type(y).__name__}: return one tensor, and write into no buffer")
            return y

        return self.each(g, x, *theta.values())

    def each(self, g: Callable[..., Tensor], *tasks: Tensor) -> Tensor:
        """What g makes of every task's share of the tensors, stacked: `[T, ...]`."""
        slow = tasks[0].is_cpu and any(p.dim() > 2 for p in self.net.parameters())  # convolutions
        alone = any(isinstance(m, nn.MultiheadAttention) for m in self.net.modules())  # no gradient
        if not alone and (self.vectorize or (self.vectorize is None and not slow)):
            with suppress(RuntimeError):  # what vmap cannot batch goes task by task
                return vmap(g, randomness="different")(*tasks)
        return torch.stack([g(*task) for task in zip(*tasks, strict=True)])
