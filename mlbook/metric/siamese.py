"""Siamese Neural Networks for One-shot Image Recognition. Koch, Zemel & Salakhutdinov, ICML workshop 2015."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SiameseNetwork(nn.Module):
    r"""Learn to tell whether two examples are of the same class; answer with the most alike support example.

    With twin embeddings h_1 = f(x_1) and h_2 = f(x_2), one network applied twice (section 3.1)::

        p(x_1, x_2) = sigmoid( sum_j alpha_j |h_1j - h_2j| + b )        how likely they are the same
        J           = mean of -log p over same pairs, and of -log(1 - p) over different ones
        y           = argmax_k  mean over x_i in S_k of p(x, x_i)       the answer       (section 4.3)

    The weights alpha are learned with the embedding. Half the pairs match: here every query meets
    every support example of its episode, and each kind of pair has half the weight in J, which is
    the expected loss of pairs drawn half and half.

    Args:
        embed: f, any network from `[B, *x]` to `[B, D]`.
        dim: D.
    """

    def __init__(self, embed: nn.Module, dim: int = 64) -> None:
        super().__init__()
        self.embed = embed
        self.alpha = nn.Linear(dim, 1)
        # to begin with, p falls with the distance, through 1/2 where components are 0.5 apart, as
        # those of two examples are after batch norm and ReLU
        nn.init.constant_(self.alpha.weight, -0.1)
        nn.init.constant_(self.alpha.bias, 0.05 * dim)
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        """Learn T tasks, each from its own support set: embed it, once.

        Args:
            support_x: `[T, S, *x]`.
            support_y: `[T, S]`, labels 0..N-1, every class present in every task.

        Returns:
            The learner, from `query_x [T, Q, *x]` to scores `[T, Q, N]`, the log-odds of a class's
            mean p: their *sigmoid* is that mean. They are no logits of a distribution over the
            classes; each mean stands for itself.

        Raises:
            ValueError: If a class has no support example.
        """
        member = F.one_hot(support_y)  # [T, S, N]
        missing = (member.sum(1) == 0).nonzero()
        if len(missing):
            task, k = missing[0].tolist()
            raise ValueError(
                f"class {k} of task {task} has no support example; label each task's classes 0..N-1"
            )
        h = self.f(support_x)
        return lambda query_x: self.scores(self.logits(self.f(query_x), h), member)

    def loss(
        self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor
    ) -> Tensor:
        """J, a scalar, over all pairs of a query with label `query_y [T, Q]` and a support example."""
        # one pass for support and query: faster, and in train() mode they share batch-norm
        # statistics
        h = self.f(torch.cat([support_x, query_x], 1))
        logits = self.logits(h[:, support_x.shape[1] :], h[:, : support_x.shape[1]])
        same = query_y[..., None] == support_y[:, None]  # [T, Q, S]
        with torch.no_grad():
            scores = self.scores(logits, F.one_hot(support_y))
            self.metrics["accuracy"] = (scores.argmax(-1) == query_y).float().mean()
        # -log p is softplus(-logit), and -log(1 - p) is softplus(logit)
        return (F.softplus(-logits[same]).mean() + F.softplus(logits[~same]).mean()) / 2

    def f(self, x: Tensor) -> Tensor:
        """The embeddings `[T, B, D]` of T tasks of B examples `[T, B, *x]`."""
        h: Tensor = self.embed(x.flatten(0, 1))
        return h.view(*x.shape[:2], -1)

    def logits(self, h_1: Tensor, h_2: Tensor) -> Tensor:
        """The logits of p for all pairs, `[T, Q, S]`, from embeddings `[T, Q, D]` and `[T, S, D]`."""
        logits: Tensor = self.alpha((h_1[:, :, None] - h_2[:, None]).abs())
        return logits[..., 0]

    def scores(self, logits: Tensor, member: Tensor) -> Tensor:
        """Log-odds of the mean p by class `[T, Q, N]`, for membership `[T, S, N]` (zeros and ones).

        Log-odds order the classes as the mean p does, and two means very near 0 or 1 do not round
        to the same number: a tie would go to the lower label. At one shot they are the logits.
        """
        own = member.log()[:, None]  # 0, and -inf for examples of other classes
        same = (F.logsigmoid(logits)[..., None] + own).logsumexp(2)  # log of the sum of p
        different = (F.logsigmoid(-logits)[..., None] + own).logsumexp(2)  # and of 1 - p
        return same - different
