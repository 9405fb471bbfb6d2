"""Problems for an optimizer to learn on, many at once: quadratics, and small networks to be trained."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mlbook.episodes import Dataset, generator_of

Objective = Callable[..., Tensor]  # from θ `[B, P]` and what describes B problems to `[B]`


class Quadratics:
    """An endless, reproducible source: `quadratics[k]` is θ_0 `[B, P]`, W `[B, P, P]`, y `[B, P]`, all standard normal.

    Args:
        dimension: P; 1 or more.
        tasks: B.
        seed: Batch k of a seed is always the same.

    Source: Andrychowicz et al. (2016), section 3.1.

    Raises:
        ValueError: If a number is below 1.
    """

    def __init__(self, dimension: int = 10, tasks: int = 64, seed: int = 0) -> None:
        _at_least_1(dimension=dimension, tasks=tasks)
        self.dimension, self.tasks, self.seed = dimension, tasks, seed

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Starting points, matrices and right-hand sides of batch k."""
        g, (B, P) = generator_of(self.seed, k), (self.tasks, self.dimension)
        theta, y = torch.randn(2, B, P, generator=g)
        return theta, torch.randn(B, P, P, generator=g), y


def quadratic(theta: Tensor, W: Tensor, y: Tensor) -> Tensor:
    """‖Wθ - y‖² `[B]` of θ `[B, P]`, W `[B, P, P]`, y `[B, P]`."""
    return ((W @ theta[..., None])[..., 0] - y).square().sum(-1)


class Classifiers:
    """Small networks, each to be trained on its own few pictures: θ_0 `[B, P]`, x `[B, N, I]`, y `[B, N]`.

    A problem has as many classes as the network has outputs, drawn from `data`, and so many pictures of
    each, averaged over squares until they have as many pixels as it has inputs.

    Args:
        data: With square pictures.
        sizes: Units of each layer, inputs first and classes last.
        pictures: Of each class.
        tasks: B.
        seed: Batch k of a seed is always the same.

    Raises:
        ValueError: If a number is below 1, or `data` cannot give what `sizes` and `pictures` ask for.
    """

    def __init__(
        self,
        data: Dataset,
        sizes: Sequence[int] = (49, 20, 10),
        pictures: int = 10,
        tasks: int = 4,
        seed: int = 0,
    ) -> None:
        _at_least_1(pictures=pictures, tasks=tasks)
        classes, samples, _, side, _ = data.images.shape
        self.sizes, self.pictures, self.tasks, self.seed = sizes, pictures, tasks, seed
        pixels = math.isqrt(sizes[0])
        if pixels**2 != sizes[0] or side % pixels:
            raise ValueError(
                f"sizes={tuple(sizes)}: inputs must be n² with n a divisor of {side}, the pictures' side"
            )
        if sizes[-1] > classes or pictures > samples:
            raise ValueError(
                f"{sizes[-1]} classes of {pictures} pictures: the data have {classes} of {samples}"
            )
        x = F.avg_pool2d(data.images.flatten(0, 1).float() / 255, side // pixels)
        self.x = x.mean(1).reshape(classes, samples, sizes[0])

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Starting points (weights of variance 1 / inputs, biases 0), pictures and labels of batch k."""
        g, (C, S, _), (B, n, N) = (
            generator_of(self.seed, k),
            self.x.shape,
            (self.tasks, self.pictures, self.sizes[-1]),
        )
        classes = torch.stack([torch.randperm(C, generator=g)[:N] for _ in range(B)])
        which = torch.rand(B, N, S, generator=g).argsort(2)[..., :n]
        x = self.x[classes[..., None], which].flatten(1, 2)
        y = torch.arange(N).repeat_interleave(n).expand(B, -1)
        return start(self.sizes, B, g), x, y


def start(sizes: Sequence[int], tasks: int, generator: torch.Generator) -> Tensor:
    """θ_0 `[B, P]` of `classifier(sizes)`: weights of variance 1 / inputs, biases 0."""
    parts = []
    for i, o in itertools.pairwise(sizes):
        parts += [torch.randn(tasks, i * o, generator=generator) / math.sqrt(i)]
        parts += [torch.zeros(tasks, o)]
    return torch.cat(parts, 1)


def classifier(
    sizes: Sequence[int] = (49, 20, 10), activation: Callable[[Tensor], Tensor] = torch.sigmoid
) -> Objective:
    """The objective of `Classifiers`: mean cross-entropy `[B]` of networks with these layers and weights θ `[B, P]`."""

    def f(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        at = 0
        for i, o in itertools.pairwise(sizes):
            W = theta[:, at : at + i * o].view(-1, i, o)
            b = theta[:, None, at + i * o : at + (i + 1) * o]
            x, at = (x if at == 0 else activation(x)) @ W + b, at + (i + 1) * o
        return F.cross_entropy(x.transpose(1, 2), y, reduction="none").mean(-1)

    return f


def _at_least_1(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name}={value}: must be at least 1")
