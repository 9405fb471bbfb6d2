"""Zero-shot Prototypical Networks. Snell, Swersky & Zemel, NeurIPS 2017, arXiv:1703.05175, sections 2.7 and 3.3."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ZeroShotPrototypicalNetwork(nn.Module):
    r"""Represent a class by its embedded description instead of pictures; answer with the nearest one.

    With an embedding f of pictures, an embedding g of descriptions and the description v_k of
    class k::

        c_k          = g(v_k) / |g(v_k)|                     the prototype, of unit length
        p(y = k | x) = softmax_k( -|f(x) - c_k|^2 )          the classifier
        J            = mean over queries of -log p(y | x)    what training minimises

    Descriptions and pictures come from two worlds, so the prototypes are given the same length; the
    embedded pictures are *not*. As all prototypes have length 1, the logits are 2 f(x).c_k up to a
    constant of the query: the direction of f(x) says which class, its length how surely.

    Args:
        embed: f, any network from `[B, *x]` to `[B, D]`.
        describe: g, any network from `[B, A]` to `[B, D]`, A numbers a description.
        scale: Factor on the distance. 1 is the paper's.
    """

    def __init__(self, embed: nn.Module, describe: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.embed, self.describe, self.scale = embed, describe, scale
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def adapt(
        self, descriptions: Tensor, labels: Tensor | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Learn T tasks from words alone: embed each class's description, once.

        Args:
            descriptions: `[T, N, A]`, one a class.
            labels: `[T, N]`, each of 0..N-1 once: the class that each description is of. Without
                it row n describes class n.

        Returns:
            The learner, from `query_x [T, Q, *x]` to logits `[T, Q, N]`, whose softmax is p(y | x).

        Raises:
            ValueError: If the labels of a task are not 0..N-1, each once.
        """
        c = self.prototypes(descriptions, labels)
        return lambda query_x: -self.d(self.f(query_x), c)

    def loss(
        self, descriptions: Tensor, labels: Tensor, query_x: Tensor, query_y: Tensor
    ) -> Tensor:
        """J, a scalar, for pictures `query_x [T, Q, *x]` with labels `query_y [T, Q]`."""
        logits = self.adapt(descriptions, labels)(query_x)
        self.metrics["accuracy"] = (logits.detach().argmax(-1) == query_y).float().mean()
        return F.cross_entropy(logits.flatten(0, 1), query_y.flatten())

    def f(self, x: Tensor) -> Tensor:
        """The embeddings `[T, B, D]` of T tasks of B pictures `[T, B, *x]`, of any length."""
        z: Tensor = self.embed(x.flatten(0, 1))
        return z.view(*x.shape[:2], -1)

    def prototypes(self, descriptions: Tensor, labels: Tensor | None = None) -> Tensor:
        """Prototypes c `[T, N, D]` of unit length, class n in row n."""
        if labels is not None:
            order = labels.argsort(-1)
            if not labels.gather(-1, order).eq(torch.arange(labels.shape[1]).to(labels)).all():
                raise ValueError(
                    f"labels={labels.tolist()}: a class has one description, so each task needs "
                    f"every label of 0..{labels.shape[1] - 1} once"
                )
            descriptions = descriptions.gather(1, order[..., None].expand_as(descriptions))
        c: Tensor = self.describe(descriptions.flatten(0, 1))
        return F.normalize(c, dim=-1).view(*descriptions.shape[:2], -1)

    def d(self, z: Tensor, c: Tensor) -> Tensor:
        """Squared Euclidean distances `[T, Q, N]` from embeddings z `[T, Q, D]` to prototypes c `[T, N, D]`."""
        squared = z.square().sum(-1)[..., None] - 2 * z @ c.mT + c.square().sum(-1)[:, None]
        return self.scale * squared
