"""Learning to Compare: Relation Network for Few-Shot Learning. Sung et al., CVPR 2018, arXiv:1711.06025."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RelationModule(nn.Module):
    """g of the paper: a small CNN that scores how related two feature maps are (section 3.4).

    Two blocks of 3x3 convolution, batch norm, 2x2 max-pooling and ReLU, then two linear layers and a sigmoid.
    Its input is the concatenation of two maps along their channels. A convolution adds up its channels, so the
    first one of N x Q pairs is a sum of N + Q, the same function for less work: `conv([s, q]) = conv_s(s) + conv_q(q)`.

    Args:
        channels, hidden: C, of the feature maps and of both blocks; units between the linear layers.
        size: h = w or (h, w) of the feature maps, from 4: 7 for pictures of 28x28 after two poolings.
    """

    def __init__(self, channels: int = 64, size: int | tuple[int, int] = 7, hidden: int = 8) -> None:  # fmt: skip
        super().__init__()
        h, w = (size, size) if isinstance(size, int) else size
        if min(channels, hidden, h // 4, w // 4) < 1:
            raise ValueError(f"channels={channels}, size={size}, hidden={hidden}: from 1, 4, 1")
        self.size = h // 4, w // 4  # after two poolings
        self.conv_s = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_q = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        for conv in (self.conv_s, self.conv_q):  # about as one of twice the channels would start
            nn.init.kaiming_uniform_(conv.weight, a=3)
        self.rest = nn.Sequential(
            *(nn.BatchNorm2d(channels), nn.MaxPool2d(2), nn.ReLU()),
            nn.Conv2d(channels, channels, 3, padding=1),
            *(nn.BatchNorm2d(channels), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(channels * (h // 4) * (w // 4), hidden), nn.ReLU()),
            *(nn.Linear(hidden, 1), nn.Sigmoid()),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, s: Tensor, q: Tensor) -> Tensor:
        """Scores in [0, 1] `[T, Q, N]` of maps `s [T, N, C, h, w]` with maps `q [T, Q, C, h, w]`."""
        (t, n, _, h, w), m = s.shape, q.shape[1]
        if (h // 4, w // 4) != self.size:
            raise ValueError(f"maps of {h}x{w}: set size={h if h == w else (h, w)}")
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

    C concatenates channels; the maps of several shots are *summed*. The paper's J is the sum over pairs.

    Args:
        embed: f, from `[B, *x]` to maps `[B, C, h, w]`, such as `Conv4(pools=2, flatten=False)`.
        relation: C and g, from maps `[T, N, C, h, w]`, `[T, Q, C, h, w]` to `[T, Q, N]`: `RelationModule()`.
    """

    def __init__(self, embed: nn.Module, relation: nn.Module) -> None:
        super().__init__()
        self.embed, self.relation = embed, relation
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        """Learn T tasks: embed support sets `[T, S, *x]`, labels `[T, S]` in 0..N-1, all in every task, once.

        The learner goes from `query_x [T, Q, *x]` to relation scores r `[T, Q, N]` in [0, 1], which do not
        sum to one.
        """
        n = ways(support_x, support_y)
        s = self.sums(self.f(support_x), support_y, n)
        none = s.new_zeros(len(s), 0, n)
        return lambda q: self.relation(s, self.f(q, len(s))) if q.shape[1] else none

    def loss(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:  # fmt: skip
        """J, a scalar, over all pairs of a query with label `query_y [T, Q]` and a class."""
        # N decides how many pairs there are: here a GPU is waited for, once
        n, s = ways(support_x, support_y, query_y), support_x.shape[1]
        maps = self.f(torch.cat([support_x, query_x], 1))  # one pass: one batch for batch norm
        r = self.relation(self.sums(maps[:, :s], support_y, n), maps[:, s:])
        self.metrics["accuracy"] = (r.detach().argmax(-1) == query_y).float().mean()
        return F.mse_loss(r, F.one_hot(query_y.long(), n).to(r.dtype))

    def f(self, x: Tensor, tasks: int | None = None) -> Tensor:
        """The feature maps `[T, B, C, h, w]` of T tasks of B examples `[T, B, *x]`."""
        if tasks not in (None, len(x)):
            raise ValueError(f"queries of {len(x)} tasks for a learner of {tasks}")
        maps = self.embed(x.flatten(0, 1))
        if not isinstance(maps, Tensor) or maps.dim() != 4:
            got = getattr(maps, "shape", type(maps))
            raise ValueError(f"embed returns {got} and not maps [B, C, h, w]; Conv4: flatten=False")
        return maps.reshape(*x.shape[:2], *maps.shape[1:])

    def sums(self, maps: Tensor, y: Tensor, n: int | None = None) -> Tensor:
        """The sum by class `[T, N, C, h, w]` of maps `[T, S, C, h, w]` with labels y `[T, S]`."""
        member = y[..., None] == torch.arange(n or ways(maps, y), device=y.device)  # [T, S, N]
        return torch.einsum("tschw,tsn->tnchw", maps, member.to(maps.dtype))


def ways(x: Tensor, y: Tensor, *query_y: Tensor) -> int:
    """N, of support sets `[T, S, *x]` with labels `[T, S]` 0..N-1, each in every task."""
    if x.shape[:2] != y.shape or not all(t.numel() for t in (y, *query_y)):
        got = [[*t.shape] for t in (x, y, *query_y)]
        raise ValueError(f"shapes {got}: none may be empty; a single task is x[None], y[None]")
    n: int = max(map(max, rows := y.tolist())) + 1
    for task, row in enumerate(rows):
        if wrong := {*row} ^ {*range(min(n, len(row) + 1))}:
            what = f"class {min(wrong)} of task {task} has no support example in {sorted({*row})}"
            raise ValueError(f"{what}: label each task's classes 0..N-1")
    return n
