"""Learning to Compare: Relation Network for Few-Shot Learning. Sung et al., CVPR 2018, arXiv:1711.06025."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RelationModule(nn.Module):
    """g of the paper: a small CNN that scores how related two feature maps are (section 3.4).

    Two blocks of 3x3 convolution, batch norm, 2x2 max-pooling and ReLU, then two linear layers and
    a sigmoid. Its input is the concatenation of two maps along their channels. A convolution adds
    up its channels, so the first one of N x Q pairs is a sum of N + Q: `conv([s, q]) = conv_s(s) +
    conv_q(q)`. That is the same function and saves most of the work.

    Args:
        channels: C, of the feature maps and of both blocks.
        size: h = w, of the feature maps: 7 for pictures of 28x28 after two poolings.
        hidden: Units between the linear layers.
    """

    def __init__(self, channels: int = 64, size: int = 7, hidden: int = 8) -> None:
        super().__init__()
        self.conv_s = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_q = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        # about the scale at which one convolution of twice the channels would start
        nn.init.kaiming_uniform_(self.conv_s.weight, a=3)
        nn.init.kaiming_uniform_(self.conv_q.weight, a=3)
        self.rest = nn.Sequential(
            *(nn.BatchNorm2d(channels), nn.MaxPool2d(2), nn.ReLU()),
            nn.Conv2d(channels, channels, 3, padding=1),
            *(nn.BatchNorm2d(channels), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(channels * (size // 4) ** 2, hidden), nn.ReLU()),
            *(nn.Linear(hidden, 1), nn.Sigmoid()),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, s: Tensor, q: Tensor) -> Tensor:
        """Scores in [0, 1] `[T, Q, N]` of maps `s [T, N, C, h, w]` with maps `q [T, Q, C, h, w]`."""
        (t, n), m = s.shape[:2], q.shape[1]
        # channels last, in which convolutions are faster on a CPU
        a = self.conv_s(s.flatten(0, 1)).permute(0, 2, 3, 1).unflatten(0, (t, 1, n))
        b = self.conv_q(q.flatten(0, 1)).permute(0, 2, 3, 1).unflatten(0, (t, m, 1))
        scores: Tensor = self.rest((a + b).flatten(0, 2).permute(0, 3, 1, 2))
        return scores.view(t, m, n)


class RelationNetwork(nn.Module):
    r"""Learn the comparison itself: a network looks at a query's and a class's feature maps together.

    With an embedding f into feature maps and the support examples S_k of class k::

        r_k = g( C( sum_{x in S_k} f(x), f(x_q) ) )      relation score in [0, 1]        (equation 1)
        J   = mean over all pairs of (r_k - 1[y_q = k])^2          the loss              (equation 2)
        y   = argmax_k r_k                                         the answer

    C concatenates channels; the maps of several shots are *summed*. The paper's loss is a sum over
    pairs, of which the mean is a multiple.

    Args:
        embed: f, any network from `[B, *x]` to feature maps `[B, C, h, w]`, such as
            `Conv4(pools=2, flatten=False)`.
        relation: C and g, from maps `[T, N, C, h, w]` and `[T, Q, C, h, w]` to `[T, Q, N]`, such as
            `RelationModule()`.
    """

    def __init__(self, embed: nn.Module, relation: nn.Module) -> None:
        super().__init__()
        self.embed, self.relation = embed, relation
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        """Learn T tasks, each from its own support set: embed it and sum by class, once.

        Args:
            support_x: `[T, S, *x]`.
            support_y: `[T, S]`, labels 0..N-1.

        Returns:
            The learner, from `query_x [T, Q, *x]` to relation scores r `[T, Q, N]` in [0, 1]. They
            do not sum to one.

        Raises:
            ValueError: If a class has no support example.
        """
        s = self.sums(self.f(support_x), support_y)
        return lambda query_x: self.relation(s, self.f(query_x))

    def loss(
        self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor
    ) -> Tensor:
        """J, a scalar, over all pairs of a query with label `query_y [T, Q]` and a class."""
        # one pass for support and query: faster, and in train() mode they share batch-norm
        # statistics
        maps = self.f(torch.cat([support_x, query_x], 1))
        s = self.sums(maps[:, : support_x.shape[1]], support_y)
        r = self.relation(s, maps[:, support_x.shape[1] :])
        self.metrics["accuracy"] = (r.detach().argmax(-1) == query_y).float().mean()
        return F.mse_loss(r, F.one_hot(query_y, r.shape[-1]).to(r.dtype))

    def f(self, x: Tensor) -> Tensor:
        """The feature maps `[T, B, C, h, w]` of T tasks of B examples `[T, B, *x]`."""
        maps: Tensor = self.embed(x.flatten(0, 1))
        return maps.view(*x.shape[:2], *maps.shape[1:])

    def sums(self, maps: Tensor, y: Tensor) -> Tensor:
        """The sum by class `[T, N, C, h, w]` of maps `[T, S, C, h, w]` with labels y `[T, S]`."""
        member = F.one_hot(y).to(maps.dtype)  # [T, S, N]
        if not member.sum(1).all():  # the sum of nothing would quietly be a class of empty maps
            task, k = (member.sum(1) == 0).nonzero()[0].tolist()
            raise ValueError(
                f"class {k} of task {task} has no support example; label each task's classes 0..N-1"
            )
        return torch.einsum("tschw,tsn->tnchw", maps, member)
