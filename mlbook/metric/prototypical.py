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

    d is the *squared* Euclidean distance, a Bregman divergence: for these the mean is the best
    single representative of a class (section 2.3), and with this one the classifier is linear in
    f(x) (section 2.4).

    Args:
        embed: f, any network from `[B, *x]` to `[B, D]`.
        distance: `"squared"`, the paper's; for comparison `"euclidean"`, its square root, or
            `"cosine"`, one minus the cosine similarity.
        scale: Factor on the distance. 1 is the paper's; the cosine distance, confined to [0, 2],
            wants about 10.

    Raises:
        ValueError: If `distance` is none of the three.
    """

    def __init__(self, embed: nn.Module, distance: str = "squared", scale: float = 1.0) -> None:
        super().__init__()
        if distance not in ("squared", "euclidean", "cosine"):
            raise ValueError(f"distance={distance!r}: use 'squared', 'euclidean' or 'cosine'")
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
        c = self.prototypes(self.f(support_x), support_y)
        return lambda query_x: -self.d(self.f(query_x), c)

    def loss(
        self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor
    ) -> Tensor:
        """J of algorithm 1, a scalar, for queries with labels `query_y [T, Q]`."""
        # one pass for support and query: faster, and in train() mode they share batch-norm
        # statistics
        z = self.f(torch.cat([support_x, query_x], 1))
        c = self.prototypes(z[:, : support_x.shape[1]], support_y)
        logits = -self.d(z[:, support_x.shape[1] :], c)
        self.metrics["accuracy"] = (logits.detach().argmax(-1) == query_y).float().mean()
        return F.cross_entropy(logits.flatten(0, 1), query_y.flatten())

    def f(self, x: Tensor) -> Tensor:
        """The embeddings `[T, B, D]` of T tasks of B examples `[T, B, *x]`."""
        z: Tensor = self.embed(x.flatten(0, 1))
        return z.view(*x.shape[:2], -1)

    def prototypes(self, z: Tensor, y: Tensor) -> Tensor:
        """Prototypes c `[T, N, D]`, the mean by class of embeddings z `[T, S, D]` with labels y `[T, S]`."""
        member = F.one_hot(y).to(z.dtype)  # [T, S, N]
        size = member.sum(1)[..., None]  # [T, N, 1], |S_k|
        if not size.all():
            task, k, _ = (size == 0).nonzero()[0].tolist()
            raise ValueError(
                f"class {k} of task {task} has no support example; label each task's classes 0..N-1"
            )
        return member.mT @ z / size

    def d(self, z: Tensor, c: Tensor) -> Tensor:
        """Distances `[T, Q, N]` from embeddings z `[T, Q, D]` to prototypes c `[T, N, D]`."""
        if self.distance == "cosine":
            return self.scale * (1 - F.normalize(z, dim=-1) @ F.normalize(c, dim=-1).mT)
        # |z - c|^2 = |z|^2 - 2 z.c + |c|^2: a product of matrices instead of all T x Q x N x D
        # differences
        squared = z.square().sum(-1)[..., None] - 2 * z @ c.mT + c.square().sum(-1)[:, None]
        return self.scale * (
            squared if self.distance == "squared" else squared.clamp_min(1e-12).sqrt()
        )
