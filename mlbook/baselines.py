"""What every meta-learner has to beat: raw pixels, and a network trained in the ordinary way."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NearestNeighbour(nn.Module):
    """Answer with the label of the nearest support example, by Euclidean distance between raw pixels.

    Nothing is learned, so there is nothing to train. Scores are minus the distance to the nearest
    example of each class.
    """

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        """Remember the support set `[T, S, *x]` and its labels `[T, S]`; the learner returns scores `[T, Q, N]`."""
        ways = int(support_y.max()) + 1
        other = F.one_hot(support_y, ways)[:, None] == 0  # [T, 1, S, N]

        def learner(query_x: Tensor) -> Tensor:
            distance = torch.cdist(query_x.flatten(2), support_x.flatten(2))  # [T, Q, S]
            return -distance[..., None].masked_fill(other, torch.inf).amin(2)

        return learner


class PretrainedCentroids(nn.Module):
    """Train one network to tell all training classes apart, then answer new tasks by the nearest class mean.

    Training needs no episodes: `fit(model, Batches(train), steps)` with `mlbook.episodes.Batches`,
    and `classes=Batches(train).classes`. On a new task only the embedding is kept, normalised to
    unit length, and a query goes to the class whose mean is most similar.

    Args:
        embed: A network from `[B, *x]` to `[B, D]`.
        dim: D.
        classes: Training classes.

    Source: the baseline of Chen et al. (2019), section 3.1, with the nearest-centroid head of Tian
    et al. (2020).
    """

    def __init__(self, embed: nn.Module, dim: int, classes: int) -> None:
        super().__init__()
        self.embed = embed
        self.head = nn.Linear(dim, classes)
        self.metrics: dict[str, Tensor] = {}

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy over all training classes, for pictures `[B, *x]` with labels `[B]` in 0..classes-1."""
        logits = self.head(self.embed(x))
        self.metrics["accuracy"] = (logits.detach().argmax(-1) == y).float().mean()
        return F.cross_entropy(logits, y)

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        """Average the embedded support set by class; the learner returns cosine similarities `[T, Q, N]`.

        Raises:
            ValueError: If a class has no support example.
        """
        member = F.one_hot(support_y).float()  # [T, S, N]
        if not member.sum(1).all():
            raise ValueError("a class has no support example; label each task's classes 0..N-1")
        c = F.normalize(member.mT @ self.features(support_x), dim=-1)
        return lambda query_x: self.features(query_x) @ c.mT

    def features(self, x: Tensor) -> Tensor:
        """Unit-length embeddings `[T, B, D]` of `[T, B, *x]`."""
        z: Tensor = self.embed(x.flatten(0, 1))
        return F.normalize(z.view(*x.shape[:2], -1), dim=-1)
