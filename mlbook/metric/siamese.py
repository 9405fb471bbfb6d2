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

    Departures: the paper has no b; without one p falls with the distance from 1/2 at most, if alpha <= 0.
    It has one shot; the mean over K shots is the chance that one of them, drawn blindly, is alike.

    Args:
        embed: f, any network from `[B, *x]` to `[B, D]`.
        dim: D, 1 or more.
    """

    def __init__(self, embed: nn.Module, dim: int = 64) -> None:
        super().__init__()
        if dim < 1:
            raise ValueError(f"dim={dim}: must be 1 or more")
        self.embed = embed
        self.alpha = nn.Linear(dim, 1)
        # to begin with, p falls with the distance, through 1/2 where components are 0.5 apart, as after ReLU
        nn.init.constant_(self.alpha.weight, -0.1)
        nn.init.constant_(self.alpha.bias, 0.05 * dim)
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        """Learn T tasks, each from its own support set: embed it, once.

        `support_x [T, S, *x]` has labels `support_y [T, S]` in 0..N-1, every class in every task. The
        learner goes from `query_x [T, Q, *x]` to scores `[T, Q, N]`, the log-odds of a class's mean p: their
        *sigmoid* is that mean. They are no logits of a distribution over the classes.

        Raises:
            ValueError: If a class has no support example.
        """
        k = torch.arange(ways(support_x, support_y), device=support_y.device)
        member = support_y[..., None] == k  # [T, S, N]
        h = self.f(support_x).clone()  # also where f gives its input, which may be written over
        return lambda query_x: self.scores(self.logits(self.f(query_x, h), h), member)

    def loss(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:  # fmt: skip
        """J, a scalar, over all pairs of a query with label `query_y [T, Q]` and a support example."""
        n, s = ways(support_x, support_y, query_y), support_x.shape[1]
        same = query_y[..., None] == support_y[:, None]  # [T, Q, S]
        if same.is_cpu and same.all() == same.any():  # elsewhere the loss is NaN
            raise ValueError("all pairs are of one kind: there must be same and different ones")
        # one pass for both: faster, and in train() mode they share batch-norm statistics
        h = self.f(torch.cat([support_x, query_x], 1))
        logits = self.logits(h[:, s:], h[:, :s])
        with torch.no_grad():
            member = support_y[..., None] == torch.arange(n, device=h.device)
            scores = self.scores(logits, member).nan_to_num(
                -torch.inf
            )  # NaN: class without support
            self.metrics["accuracy"] = (scores.argmax(-1) == query_y).float().mean()
        # -log p is softplus(-logit), and -log(1 - p) is softplus(logit)
        j = F.softplus(torch.where(same, -logits, logits))
        return ((j * same).sum() / same.sum() + (j * ~same).sum() / (~same).sum()) / 2

    def f(self, x: Tensor, learned: Tensor | None = None) -> Tensor:
        """Embeddings `[T, B, D]` of examples `[T, B, *x]`; of queries beside those learned, `[T, S, D]`."""
        if learned is not None and len(x) != len(learned):
            raise ValueError(f"queries of {len(x)} tasks for a learner of {len(learned)}")
        if learned is not None and not x.shape[1]:
            return learned[:, :0]
        h, dim = self.embed(x.flatten(0, 1)), self.alpha.in_features
        if not isinstance(h, Tensor) or h[0].numel() != dim:
            got = f"dim={h[0].numel()}" if isinstance(h, Tensor) else type(h).__name__
            raise ValueError(f"embed returns {got}, not [B, dim], which is here dim={dim}")
        return h.reshape(*x.shape[:2], -1)

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
