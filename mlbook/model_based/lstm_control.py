"""An LSTM as its own memory, the control of Santoro et al., ICML 2016, arXiv:1605.06065, section 4."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LSTMControl(nn.Module):
    r"""What `MANN` is measured against: the same sequences and the same controller, and nowhere to write.

    At step t a picture x_t comes in beside the label of the one *before*, y_{t-1}, and is to be named;
    y_0 = 0::

        h_t    = LSTM( f(x_t), y_{t-1}; h_{t-1}, c_{t-1} )
        P(y_t) = softmax( U h_t )

    Whatever it knows of a task is in h and c, which start at 0.

    Args:
        embed, dim: f, any network from `[B, *x]` to `[B, dim]`; `nn.Flatten()` in the paper.
        ways: Classes in a task, at most; the scores' N.
        hidden: Units of the LSTM.

    Raises:
        ValueError: If one of these is out of range.
    """

    def __init__(self, embed: nn.Module, dim: int, ways: int = 5, hidden: int = 200) -> None:
        super().__init__()
        if min(dim, hidden) < 1 or ways < 2:
            raise ValueError(f"dim={dim}, hidden={hidden}, ways={ways}: from 1, from 1, from 2")
        self.embed, self.ways = embed, ways
        self.lstm, self.output = nn.LSTM(dim + ways, hidden), nn.Linear(hidden, ways)
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        """Learn T tasks: read support sets `[T, S, *x]`, labels `[T, S]` in 0..N-1, in the order given.

        The learner, from `query_x [T, Q, *x]` to scores `[T, Q, N]`, gives each query one more step,
        beside the support's last label, on a copy of the state. A class may still be to come.

        Raises:
            ValueError: If there is a label outside 0..N-1, or no tasks dimension.
        """
        if support_x.shape[:2] != support_y.shape or not support_y.numel():
            got = [*support_x.shape], [*support_y.shape]
            raise ValueError(f"support {got}: may not be empty; a single task is x[None], y[None]")
        if wrong := {*support_y.flatten().tolist()} - {*range(self.ways)}:
            raise ValueError(
                f"label {max(wrong)}: not in 0..N-1 with ways={self.ways}; set ways={max(wrong) + 1}, or relabel"
            )
        y = F.one_hot(support_y.long(), self.ways)
        _, state = self.unroll(support_x, F.pad(y, (0, 0, 1, -1)))

        def learner(query_x: Tensor) -> Tensor:
            t, q = query_x.shape[:2]
            if t != len(y):
                raise ValueError(f"queries of {t} tasks for a learner of {len(y)}")
            if not q:
                return state[0].new_zeros(t, 0, self.ways)
            h, c = (s.repeat_interleave(q, 1) for s in state)
            last = y[:, -1:].repeat_interleave(q, 0)
            return self.unroll(query_x.flatten(0, 1)[:, None], last, (h, c))[0].view(t, q, -1)

        return learner

    def loss(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:  # fmt: skip
        """Cross-entropy, a scalar, of every step of support and query shuffled into one sequence."""
        x, y = torch.cat([support_x, query_x], 1), torch.cat([support_y, query_y], 1).long()
        order = torch.rand(y.shape, device=y.device).argsort(1)
        x, y = x[torch.arange(len(y), device=y.device)[:, None], order], y.gather(1, order)
        scores = self.sequence(x, y)
        self.metrics["accuracy"] = (scores.detach().argmax(-1) == y).float().mean()
        return F.cross_entropy(scores.flatten(0, 1), y.flatten())

    def sequence(self, x: Tensor, y: Tensor) -> Tensor:
        """Scores `[T, L, N]` of each picture of x `[T, L, *x]` from it and all before it, and their y `[T, L]`."""
        return self.unroll(x, F.pad(F.one_hot(y.long(), self.ways), (0, 0, 1, -1)))[0]

    def unroll(
        self, x: Tensor, y: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Scores `[T, L, N]` of x `[T, L, *x]` beside labels y `[T, L, N]`, and the state after them."""
        z, dim = self.embed(x.flatten(0, 1)), self.lstm.input_size - self.ways
        if not isinstance(z, Tensor) or z[0].numel() != dim:
            got = f"dim={z[0].numel()}" if isinstance(z, Tensor) else type(z).__name__
            raise ValueError(f"embed returns {got}, not [B, dim], which is here dim={dim}")
        z = z.reshape(*x.shape[:2], -1)
        h, state = self.lstm(torch.cat([z, y.to(z.dtype)], -1).transpose(0, 1).contiguous(), state)
        return self.output(h).transpose(0, 1), state
