"""On First-Order Meta-Learning Algorithms. Nichol, Achiam & Schulman, 2018, arXiv:1803.02999."""

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor, autograd, nn
from torch.func import functional_call, vmap


class Reptile(nn.Module):
    r"""Train on a task, then move the initial point a little towards where that ended.

    With U^k, k steps of an ordinary optimizer on mini-batches of a task's examples::

        φ_i = U^k(φ)                            the inner loop
        φ  <- φ + ε mean over i of (φ_i - φ)    the outer loop; over one task, the serial version

    `loss` is a surrogate: its gradient is mean(φ - φ_i), so that `torch.optim.SGD` of rate ε takes the step above.

    Args:
        net: f_φ, any network from `[B, *x]` to `[B, N]` that keeps no state. Batch norm must use the batch at hand.
        inner_lr: Of U, 0 or more.
        steps: k in training; 1 or more.
        batch: Examples, the queries too, in a mini-batch: in turn, where the authors shuffle; episodes come shuffled.
        inner_optimizer: U, `"adam"` with β_1 = 0, as in the paper, its v going on from task to task, or `"sgd"`.
        loss: L, from scores and labels (predictions and targets) to the mean over examples.
        vectorize: Tasks all at once, where `vmap` can, or one by one. None: the latter for convolutions on a CPU.
    """

    def __init__(
        self, net: nn.Module, inner_lr: float = 1e-3, steps: int = 5, batch: int = 10, inner_optimizer: str = "adam",
        loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy, vectorize: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        right = all(hasattr(n, "__index__") and n >= 1 for n in (steps, batch)) and inner_lr >= 0
        if not right or not inner_lr < torch.inf or inner_optimizer not in ("adam", "sgd"):
            raise ValueError(f"{steps=}, {batch=}, {inner_lr=}, {inner_optimizer=}: 1 or more, adam/sgd")  # fmt: skip
        if any(getattr(m, "running_mean", None) is not None for m in net.modules()):
            raise ValueError("net keeps running statistics: build it with track_running_stats=False")  # fmt: skip
        self.net, self.inner_lr, self.steps, self.batch = net, inner_lr, steps, batch
        self.adam, self.inner_loss, self.vectorize = inner_optimizer == "adam", loss, vectorize
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss
        self.register_buffer("t", torch.zeros(()))  # Adam's steps so far; then its v, by parameter
        self.v = {k: f"v_{k}".replace(".", "_") for k, _ in net.named_parameters()}
        for k, p in net.named_parameters():
            while self.v[k] in self._buffers:  # of a name that differs in its dots alone
                self.v[k] += "_"
            self.register_buffer(self.v[k], torch.zeros_like(p))

    def adapt(
        self, support_x: Tensor, support_y: Tensor, steps: int | None = None, transductive: bool = True
    ) -> Callable[[Tensor], Tensor]:  # fmt: skip
        """Train on T support sets `[T, S, *x]`, `[T, S]` or `[T, S, *y]`; the learner returns scores `[T, Q, N]`.

        The paper takes 50 steps; 0 are none. If `transductive`, batch norm sees all queries of a call, and it matters
        how many come along; if not, each is answered in the company of the support set alone, as one query always is.
        """
        phi, *_ = self.inner_loop(support_x, support_y, self.steps if steps is None else steps)
        company = support_x.clone()  # whatever the caller does with his
        return lambda x: self.f(phi, x, None if transductive and x.shape[1] > 1 else company)

    def loss(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:  # fmt: skip
        """The surrogate: its value is L on the last mini-batch, its gradient mean(φ - φ_i)."""
        x, y = torch.cat([support_x, query_x], 1), torch.cat([support_y, query_y], 1)
        phi, v, last = self.inner_loop(x, y, self.steps, train=True)
        if self.training and self.adam:
            self.get_buffer("t").add_(self.steps)
            for k in v:
                self.get_buffer(self.v[k]).copy_(v[k].mean(0))
        for p, p_i in ((self.net.get_parameter(k), phi[k]) for k in phi):
            last = last + ((p - p.detach()) * (p.detach() - p_i.mean(0))).sum()  # 0, with a slope
        return last

    @torch.enable_grad()  # also where `evaluate` has turned gradients off
    def inner_loop(self, x: Tensor, y: Tensor, steps: int, train: bool = False
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:  # fmt: skip
        """U^steps on x, y: all φ_i and Adam's v, by name `[T, *p]`, and L on the last mini-batch."""
        before = [b._version for b in self.net.buffers()]
        learned = {k: p.detach() for k, p in self.net.named_parameters() if p.requires_grad}
        labels = self.inner_loss is not nn.functional.cross_entropy or not y.is_floating_point()
        if not (labels and learned and hasattr(steps, "__index__") and steps >= 0):
            raise ValueError(f"{steps=}: 0 or more? {len(learned)} parameters not frozen: 1 on? Targets {y.dtype}: "
                             "if these are numbers, no labels, give loss=F.mse_loss")  # fmt: skip
        phi = {k: p.expand(len(x), *p.shape) for k, p in learned.items()}
        v, loss, t = {k: self.get_buffer(self.v[k]) for k in phi}, x.new_zeros(()), self.get_buffer("t")  # fmt: skip
        t, size = t if t.device.type == "mps" else t.double(), min(self.batch, x.shape[1])
        for s in range(1, steps + 1):
            i = torch.arange((s - 1) * size, s * size, device=x.device) % x.shape[1]
            scores = self.f({k: p.requires_grad_() for k, p in phi.items()}, x[:, i])
            loss = vmap(self.inner_loss)(scores, y[:, i]).sum()  # over tasks: each has its own φ_i
            u = dict(zip(phi, autograd.grad(loss, [*phi.values()], materialize_grads=True), strict=True))  # fmt: skip
            if self.adam:
                v = {k: 0.999 * v[k] + 0.001 * u[k].square() for k in v}
                u = {k: u[k] / ((v[k] / (1 - 0.999 ** (t + s))).sqrt() + 1e-8) for k in v}
            phi = {k: (p - self.inner_lr * u[k]).detach() for k, p in phi.items()}
            look = x.is_cpu or (s == steps and not train)  # training does not wait for a GPU
            if look and not torch.stack([p.sum() for p in phi.values()]).isfinite().all():
                raise FloatingPointError(f"inner step {s} diverged: lower inner_lr={self.inner_lr}")
            if not y.is_floating_point():  # before the step: on new examples, in the first round
                name = "accuracy before" if s == 1 else "accuracy"
                self.metrics[name] = (scores.argmax(-1) == y[:, i]).float().mean()
        if [b._version for b in self.net.buffers()] != before:
            raise ValueError("the network writes into its buffers: it must not, or tasks would mix")
        return phi, v, loss.detach() / len(x)

    def f(self, phi: dict[str, Tensor], x: Tensor, company: Tensor | None = None) -> Tensor:
        """The scores `[T, B, N]` of x `[T, B, *x]`, those of task i under φ_i; each alone in the company given."""
        if company is not None and len(company) == len(x):  # or else `vmap` or `zip` name the fault
            each = (self.f(phi, torch.cat([company, x_j], 1)) for x_j in torch.split(x, 1, 1))
            return torch.cat([scores[:, company.shape[1] :] for scores in each], 1)
        b = dict(self.net.named_buffers())
        g = lambda x, *p: functional_call(self.net, b | dict(zip(phi, p, strict=True)), x)  # noqa: E731
        slow = x.is_cpu and any(p.dim() > 2 for p in self.net.parameters())  # convolutions
        alone = any(isinstance(m, nn.MultiheadAttention) for m in self.net.modules())  # no gradient
        if not alone and (self.vectorize or (self.vectorize is None and not slow)):
            with suppress(RuntimeError):  # what vmap cannot batch goes one by one
                return vmap(g, randomness="different")(x, *phi.values())  # type: ignore[no-any-return]
        return torch.stack([g(*task) for task in zip(x, *phi.values(), strict=True)])  # type: ignore[no-untyped-call]
