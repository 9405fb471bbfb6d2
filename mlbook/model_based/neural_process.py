"""Conditional Neural Processes. Garnelo et al., ICML 2018, arXiv:1807.01613."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers of these sizes, with ReLU between them."""
    layers = [m for i, o in pairwise(sizes) for m in (nn.Linear(i, o), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class NeuralProcess(nn.Module):
    r"""Turn a handful of points into a distribution over functions, in one forward pass.

    With observations O = (x_i, y_i) and a target x of the same task::

        r_i  = h(x_i, y_i)                    each point on its own                  (equation 1)
        r    = 1/n sum_i r_i                  all there is to know of the task       (equation 2)
        μ, σ = g(x, r)                        y ~ Normal(μ, σ²), target by target    (equation 3)
        J    = -E_N mean over targets of log Normal(y; μ, σ²) given O_N              (equation 4)

    O_N is the first N observations, N drawn anew for every batch: one network learns to answer
    after one point as after many, and σ to say how much is still open. The observations are among
    the targets. With attention (Kim et al., ICLR 2019, arXiv:1901.05761, section 3) every target has
    an r of its own, in which the points that matter to it weigh more, one softmax for each head,
    which has a slice of a and r_i and no projection of its own::

        r(x) = sum_i softmax_i( a(x) . a(x_i) / sqrt(d) ) r_i

    so that the curve comes closer to its points than one r for all targets lets it. σ is kept above
    0.1, as in the code of both papers' authors. This is the deterministic half of Kim et al.'s
    model; their latent variable is left out.

    Args:
        x_dim: Numbers in x.
        y_dim: Numbers in y.
        dim: Units of every layer, and numbers in r.
        attention: Attend to the observations instead of averaging over them.
        heads: Of the attention; a divisor of `dim`, whose share d = `dim / heads` each gets.

    Raises:
        ValueError: If one of these is out of range.
    """

    def __init__(
        self,
        x_dim: int = 1,
        y_dim: int = 1,
        dim: int = 128,
        attention: bool = False,
        heads: int = 8,
    ) -> None:
        super().__init__()
        if min(x_dim, y_dim, dim, heads) < 1 or (attention and dim % heads):
            got = f"x_dim={x_dim}, y_dim={y_dim}, dim={dim}, heads={heads}"
            raise ValueError(f"{got}: must be 1 or more, and heads a divisor of dim")
        self.x_dim, self.y_dim = x_dim, y_dim
        self.h = mlp(x_dim + y_dim, dim, dim, dim)
        self.g = mlp(x_dim + dim, dim, dim, 2 * y_dim)
        self.a = mlp(x_dim, dim, dim) if attention else None
        self.heads = heads
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        """Learn T tasks, each from its own observations: encode them, once.

        Args:
            support_x: `[T, S, x_dim]`, one observation or more.
            support_y: `[T, S, y_dim]`.

        Returns:
            The learner, from `query_x [T, Q, x_dim]` to means `[T, Q, y_dim]`.

        Raises:
            ValueError: If there is no observation.
        """
        r, x = self.encode(support_x, support_y), support_x.clone()  # which may be written over
        return lambda query_x: self.decode(query_x, x, r)[0]

    def predict(
        self, support_x: Tensor, support_y: Tensor, query_x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the learner returns, μ `[T, Q, y_dim]`, and σ beside it, of the same shape."""
        return self.decode(query_x, support_x, self.encode(support_x, support_y))

    def loss(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:  # fmt: skip
        """J, a scalar, for targets `query_y [T, Q, y_dim]`; observations come in random order."""
        n = int(torch.randint(1, support_x.shape[1] + 1, ()))
        targets = torch.cat([support_x, query_x], 1)
        mean, std = self.predict(support_x[:, :n], support_y[:, :n], targets)
        error = torch.cat([support_y, query_y], 1) - mean
        self.metrics["squared error"] = error.detach().square().mean()
        return (0.5 * (error / std).square() + std.log() + 0.5 * math.log(2 * math.pi)).mean()

    def encode(self, x: Tensor, y: Tensor) -> Tensor:
        """Each observation's r_i `[T, S, dim]`, from x `[T, S, x_dim]` and y `[T, S, y_dim]`."""
        if not x.shape[1]:  # whose mean would be NaN
            raise ValueError(f"support_x {list(x.shape)} has no observation: give at least one")
        if x.shape[:2] != y.shape[:2] or (x.dim(), y.dim()) != (3, 3):
            raise ValueError(
                f"support_x {[*x.shape]}, support_y {[*y.shape]}, not [T, S, x_dim], [T, S, y_dim]; "
                "a single task is x[None], y[None]"
            )
        if (x.shape[2], y.shape[2]) != (self.x_dim, self.y_dim):
            got = f"x_dim={x.shape[2]}, y_dim={y.shape[2]}"
            raise ValueError(f"observations of {got}: here x_dim={self.x_dim}, y_dim={self.y_dim}")
        r: Tensor = self.h(torch.cat([x, y], -1))
        return r

    def decode(self, x: Tensor, support_x: Tensor, r_i: Tensor) -> tuple[Tensor, Tensor]:
        """μ and σ at x `[T, Q, x_dim]`, given r_i `[T, S, dim]` of observations at `support_x`."""
        if len(x) != len(r_i):
            raise ValueError(f"queries of {len(x)} tasks for a learner of {len(r_i)}")
        if self.a is None:
            r = r_i.mean(1, keepdim=True).expand(-1, x.shape[1], -1)
        else:
            q, k, v = (
                z.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [T, heads, points, d]
                for z in (self.a(x), self.a(support_x), r_i)
            )
            r = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        mean, s = self.g(torch.cat([x, r], -1)).chunk(2, -1)
        return mean, 0.1 + 0.9 * F.softplus(s)
