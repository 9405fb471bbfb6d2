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
        scale: Factor on the distance, above 0. 1 is the paper's.
    """

    def __init__(self, embed: nn.Module, describe: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        if not 0 < scale < torch.inf:
            raise ValueError(f"scale={scale}: must be above 0, or the nearest would not win")
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
        if descriptions.dim() < 3 or (
            labels is not None and labels.shape != descriptions.shape[:2]
        ):
            got = [*descriptions.shape], labels if labels is None else [*labels.shape]
            raise ValueError(f"descriptions, labels {got}: a single task is v[None], y[None]")
        if labels is not None:
            check(labels)
        c = self.prototypes(descriptions, labels)
        return lambda query_x: -self.d(self.f(query_x, c), c)

    def loss(
        self, descriptions: Tensor, labels: Tensor, query_x: Tensor, query_y: Tensor
    ) -> Tensor:
        """J, a scalar, for pictures `query_x [T, Q, *x]` with labels `query_y [T, Q]`, one or more."""
        if not query_y.numel():
            raise ValueError("no queries: the loss is a mean over them")
        if labels.is_cpu:  # a GPU would have to be waited for
            check(labels)
        logits = -self.d(self.f(query_x), self.prototypes(descriptions, labels))
        self.metrics["accuracy"] = (logits.detach().argmax(-1) == query_y).float().mean()
        return F.cross_entropy(logits.flatten(0, 1), query_y.flatten().long())

    def f(self, x: Tensor, learned: Tensor | None = None) -> Tensor:
        """Embeddings `[T, B, D]` of pictures `[T, B, *x]`, of any length; of queries beside prototypes `[T, N, D]`."""
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

    def prototypes(self, descriptions: Tensor, labels: Tensor | None = None) -> Tensor:
        """Prototypes c `[T, N, D]` of unit length, class n in row n."""
        if labels is not None:
            order = labels.argsort(-1)
            descriptions = descriptions.gather(1, order[..., None].expand_as(descriptions))
        c = self.describe(descriptions.flatten(0, 1))
        if not isinstance(c, Tensor):
            raise ValueError(f"describe returns a {type(c).__name__}, not one tensor [B, D]")
        return F.normalize(c.reshape(*descriptions.shape[:2], -1), dim=-1)

    def d(self, z: Tensor, c: Tensor) -> Tensor:
        """Squared Euclidean distances `[T, Q, N]` from embeddings z `[T, Q, D]` to prototypes c `[T, N, D]`."""
        # the terms below would cancel where all lie together, far from 0: there c_0 becomes the origin
        o = c[:, :1].detach()
        near = (z.detach() - o).square().sum(-1).mean(1) > o.square().sum(-1)[:, 0] / 100
        z, c = (x - o.masked_fill(near[:, None, None], 0) for x in (z, c))
        squared = z.square().sum(-1)[..., None] - 2 * z @ c.mT + c.square().sum(-1)[:, None]
        return self.scale * squared.clamp_min(0)


def check(labels: Tensor) -> None:
    """Raise ValueError unless the labels `[T, N]` of every task are 0..N-1, each once."""
    for row in labels.tolist():
        if sorted(row) != [*range(len(row))]:
            raise ValueError(
                f"labels {row}: a class has one description, so each task needs "
                f"every label of 0..{len(row) - 1} once"
            )
