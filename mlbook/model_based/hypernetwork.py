"""A network that emits the weights of a classifier. Gordon et al., ICLR 2019, arXiv:1805.09921."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class HyperNetwork(nn.Module):
    r"""Read the support set, emit the weights of a classifier for the task.

    With an embedding f, layer-normalised, and the support examples S_k of class k = 1..N::

        r_k          = 1/|S_k| sum_{x in S_k} φ( f(x) )    what class k looks like
        r            = 1/N sum_k r_k                       what the whole task looks like
        w_k, b_k     = ρ( r_k, r )                         the weights of class k, emitted
        p(y = k | x) = softmax_k( w_k . f(x) + b_k )       the task's own linear classifier
        J            = mean over queries of -log p(y | x)  what training minimises

    φ and ρ are the same for every class and task. Nothing in them says what a good classifier is:
    no distance, no gradient, no attention. ρ is a hypernetwork, one whose output is the weights of
    another (Ha, Dai & Le, ICLR 2017, arXiv:1609.09106). φ, a mean and ρ are a Deep Set (Zaheer et al.,
    NeurIPS 2017, arXiv:1703.06114, theorem 2, for a sum): the order of the support set changes nothing, and
    exchanging two labels exchanges two rows of weights. N and the shots are free, each time.

    Gordon et al. emit each class's row of a linear classifier as well, but a distribution over it,
    and from the class alone. Here r describes a class beside its rivals. Prototypical networks are an
    answer that ρ could come to, `w_k = 2 c_k` and `b_k = -|c_k|²`, if it found that to be best.

    Args:
        embed: f, any network from `[B, *x]` to `[B, D]`.
        dim: D, 1 or more.
        hidden: Numbers in r_k, and units in the hidden layer of ρ; 1 or more.
    """

    def __init__(self, embed: nn.Module, dim: int = 64, hidden: int = 128) -> None:
        super().__init__()
        if min(dim, hidden) < 1:
            raise ValueError(f"dim={dim}, hidden={hidden}: must be 1 or more")
        self.embed, self.norm = embed, nn.LayerNorm(dim)
        self.phi = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU())
        self.rho = nn.Sequential(
            nn.Linear(2 * hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, dim + 1, bias=False),  # softmax sees nothing that all classes share
        )
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        """Learn T tasks, each from its own support set: emit its classifier, once.

        Args:
            support_x: `[T, S, *x]`.
            support_y: `[T, S]`, labels 0..N-1, every class present in every task.

        Returns:
            The learner, from `query_x [T, Q, *x]` to logits `[T, Q, N]`, whose softmax is p(y | x).

        Raises:
            ValueError: If a class has no support example.
        """
        n = ways(support_x, support_y)
        w, b = self.weights(self.f(support_x), support_y, n)
        return lambda query_x: self.f(query_x, w) @ w.mT + b

    def loss(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:  # fmt: skip
        """J, a scalar, for queries with labels `query_y [T, Q]`, one or more."""
        n, s = ways(support_x, support_y, query_y), support_x.shape[1]
        # one pass for both: faster, and in train() mode batch norm treats them alike
        z = self.f(torch.cat([support_x, query_x], 1))
        w, b = self.weights(z[:, :s], support_y, n)
        absent = (support_y[..., None] != torch.arange(n, device=z.device)).all(1, keepdim=True)
        logits = (z[:, s:] @ w.mT + b).masked_fill(absent, -torch.inf)
        self.metrics["accuracy"] = (logits.detach().argmax(-1) == query_y).float().mean()
        return F.cross_entropy(logits.flatten(0, 1), query_y.flatten().long())

    def f(self, x: Tensor, learned: Tensor | None = None) -> Tensor:
        """Normalised embeddings `[T, B, D]` of examples `[T, B, *x]`; of queries beside weights `[T, N, D]`."""
        if learned is not None and len(x) != len(learned):
            raise ValueError(f"queries of {len(x)} tasks for a learner of {len(learned)}")
        if learned is not None and not x.shape[1]:
            return learned[:, :0]
        z, dim = self.embed(x.flatten(0, 1)), self.norm.normalized_shape[0]
        if not isinstance(z, Tensor) or z[0].numel() != dim:
            got = f"dim={z[0].numel()}" if isinstance(z, Tensor) else type(z).__name__
            raise ValueError(f"embed returns {got}, not [B, dim], which is here dim={dim}")
        normalised: Tensor = self.norm(z.reshape(*x.shape[:2], -1))
        return normalised

    def weights(self, z: Tensor, y: Tensor, n: int | None = None) -> tuple[Tensor, Tensor]:
        """The classifiers w `[T, N, D]` and b `[T, 1, N]`, from embeddings z `[T, S, D]` with labels y `[T, S]`."""
        k = torch.arange(n or ways(z, y), device=y.device)
        member = (y[..., None] == k).to(z.dtype)  # [T, S, N]
        size = member.sum(1)[..., None]  # [T, N, 1], |S_k|; 0 in a loss, for numbers above N
        r_k = member.mT @ self.phi(z) / size.clamp_min(1)  # [T, N, hidden]
        r = r_k.sum(1, keepdim=True) / size.clamp_max(1).sum(1, keepdim=True)
        emitted = self.rho(torch.cat([r_k, r.expand_as(r_k)], -1))  # [T, N, D + 1]
        return emitted[..., :-1], emitted[..., None, :, -1]


def ways(x: Tensor, y: Tensor, *query_y: Tensor) -> int:
    """N, of support sets `[T, S, *x]` with labels `[T, S]` 0..N-1, each in every task; or in a loss on a GPU S."""
    if x.shape[:2] != y.shape or not all(t.numel() for t in (y, *query_y)):
        got = [[*t.shape] for t in (x, y, *query_y)]
        raise ValueError(f"shapes {got}: none may be empty; a single task is x[None], y[None]")
    if query_y and not y.is_cpu:
        return y.shape[1]  # at least N, which a GPU says only to those who wait for it
    n: int = max(map(max, rows := y.tolist())) + 1
    for task, row in enumerate(rows):
        if wrong := {*row} ^ {*range(min(n, len(row) + 1))}:
            what = f"class {min(wrong)} of task {task} has no support example in {sorted({*row})}"
            raise ValueError(f"{what}: label each task's classes 0..N-1")
    return n
