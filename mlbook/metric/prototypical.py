"""Prototypical Networks for Few-shot Learning. Snell, Swersky & Zemel, NeurIPS 2017, arXiv:1703.05175."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PrototypicalNetwork(nn.Module):
    r"""Represent a class by the mean of its embedded support examples; answer with the nearest mean.

    With an embedding f and the support examples S_k of class k::

        c_k          = 1/|S_k| sum_{x in S_k} f(x)           the prototype           (equation 1)
        p(y = k | x) = softmax_k( -d(f(x), c_k) )            the classifier          (equation 2)
        J            = mean over queries of -log p(y | x)    what training minimises (algorithm 1)

    d is the *squared* Euclidean distance, a Bregman divergence: for these the mean is the best single
    representative of a class (section 2.3), and with this one the classifier is linear in f(x) (section 2.4).

    Args:
        embed: f, any network from `[B, *x]` to `[B, D]`.
        distance: `"squared"`, the paper's; for comparison `"euclidean"`, its square root, or
            `"cosine"`, one minus the cosine similarity.
        scale: Factor on the distance. 1 is the paper's; the cosine distance, in [0, 2], wants about 10.

    Raises:
        ValueError: If `distance` is none of the three, or `scale` not above 0.
    """

    def __init__(self, embed: nn.Module, distance: str = "squared", scale: float = 1.0) -> None:
        super().__init__()
        if distance not in ("squared", "euclidean", "cosine"):
            raise ValueError(f"distance={distance!r}: use 'squared', 'euclidean' or 'cosine'")
        if not 0 < scale < torch.inf:
            raise ValueError(f"scale={scale}: must be above 0, or the nearest would not win")
        self.embed, self.distance, self.scale = embed, distance, scale
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        """Learn T tasks, each from its own support set: embed it and average by class, once.

        Args:
            support_x: `[T, S, *x]`.
            support_y: `[T, S]`, labels 0..N-1, every class present in every task.

        Returns:
            The learner, from `query_x [T, Q, *x]` to logits `[T, Q, N]`, whose softmax is p(y | x).

        Raises:
            ValueError: If a class has no support example.
        """
        n = ways(support_x, support_y)
        c = self.prototypes(self.f(support_x), support_y, n)
        return lambda query_x: -self.d(self.f(query_x, c), c)

    def loss(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:  # fmt: skip
        """J of algorithm 1, a scalar, for queries with labels `query_y [T, Q]`, one or more."""
        n, s = ways(support_x, support_y, query_y), support_x.shape[1]
        # one pass for both: faster, and in train() mode they share batch-norm statistics
        z = self.f(torch.cat([support_x, query_x], 1))
        logits = -self.d(z[:, s:], self.prototypes(z[:, :s], support_y, n))
        absent = (support_y[..., None] != torch.arange(n, device=z.device)).all(1, keepdim=True)
        logits = logits.masked_fill(absent, -torch.inf)
        self.metrics["accuracy"] = (logits.detach().argmax(-1) == query_y).float().mean()
        return F.cross_entropy(logits.flatten(0, 1), query_y.flatten().long())

    def f(self, x: Tensor, learned: Tensor | None = None) -> Tensor:
        """Embeddings `[T, B, D]` of examples `[T, B, *x]`; of queries beside what was learned, `[T, N, D]`."""
        if learned is not None and len(x) != len(learned):
            raise ValueError(f"queries of {len(x)} tasks for a learner of {len(learned)}")
        if learned is not None and not x.shape[1]:
            return learned[:, :0]
        z = self.embed(x.flatten(0, 1))
        if not isinstance(z, Tensor):
            raise ValueError(
                f"embed returns a {type(z).__name__} and should return one tensor [B, D]"
            )
        return z.reshape(*x.shape[:2], -1)

    def prototypes(self, z: Tensor, y: Tensor, n: int | None = None) -> Tensor:
        """Prototypes c `[T, N, D]`, the mean by class of embeddings z `[T, S, D]` with labels y `[T, S]`."""
        k = torch.arange(n or ways(z, y), device=y.device)
        member = (y[..., None] == k).to(z.dtype)  # [T, S, N]
        return member.mT @ z / member.sum(1)[..., None].clamp_min(1)

    def d(self, z: Tensor, c: Tensor) -> Tensor:
        """Distances `[T, Q, N]` from embeddings z `[T, Q, D]` to prototypes c `[T, N, D]`."""
        if self.distance == "cosine":
            return self.scale * (1 - F.normalize(z, dim=-1) @ F.normalize(c, dim=-1).mT)
        # |z - c|^2 = |z|^2 - 2 z.c + |c|^2, a product of matrices instead of all T x Q x N x D differences.
        # Far from 0 these terms would cancel and leave rounding errors: there c_0 becomes the origin.
        o = c[:, :1].detach()
        near = (z.detach() - o).square().sum(-1).mean(1) > o.square().sum(-1)[:, 0] / 100
        z, c = (x - o.masked_fill(near[:, None, None], 0) for x in (z, c))
        squared = z.square().sum(-1)[..., None] - 2 * z @ c.mT + c.square().sum(-1)[:, None]
        unsquared = self.distance == "euclidean"
        return self.scale * (squared.clamp_min(1e-12).sqrt() if unsquared else squared.clamp_min(0))


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
