"""Problems for an optimizer to learn on, many at once: quadratics, and small networks to be trained."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mlbook.episodes import Dataset, generator_of, send, whole

Objective = Callable[..., Tensor]  # from θ `[B, P]` and what describes B problems to `[B]`


class Quadratics:
    """An endless, reproducible source: `quadratics[k]` is θ_0 `[B, P]`, W `[B, P, P]`, y `[B, P]`, all standard normal.

    Args:
        dimension: P; 1 or more.
        tasks: B.
        seed: Any whole number; batch k of a seed is always the same, on every device.

    Source: Andrychowicz et al. (2016), section 3.1.

    Raises:
        ValueError: If a number is below 1, or not whole.
    """

    def __init__(self, dimension: int = 10, tasks: int = 64, seed: int = 0) -> None:
        self.dimension, self.tasks = whole("dimension", dimension, 1), whole("tasks", tasks, 1)
        self.seed = whole("seed", seed)
        self.device: torch.device | str = "cpu"

    @property
    def fingerprint(self) -> str:
        """What the problems depend on, in words; two sources of one fingerprint give the same."""
        return f"Quadratics(dimension={self.dimension}, tasks={self.tasks}, seed={self.seed})"

    def to(self, device: torch.device | str) -> Quadratics:
        """The same problems on `device`."""
        there = copy.copy(self)
        there.device = device
        return there

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Starting points, matrices and right-hand sides of batch k."""
        g, (B, P) = generator_of(self.seed, k), (self.tasks, self.dimension)
        theta, y = torch.randn(2, B, P, generator=g)
        W = torch.randn(B, P, P, generator=g)
        return send(theta, self.device), send(W, self.device), send(y, self.device)


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
        seed: Any whole number; batch k of a seed is always the same, on every device.

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
        self.sizes = tuple(whole("sizes", n, 1) for n in sizes)
        self.pictures, self.tasks = whole("pictures", pictures, 1), whole("tasks", tasks, 1)
        self.data, self.seed = data, whole("seed", seed)
        if len(self.sizes) < 2:
            raise ValueError(
                f"sizes={self.sizes}: give the units of each layer, inputs and classes at least"
            )
        shape = list(data.images.shape)
        if data.images.dtype != torch.uint8 or shape[-1] != shape[-2]:
            raise ValueError(
                f"square pictures of bytes are needed; these are {data.images.dtype} {shape}"
            )
        classes, samples, _, side, _ = shape
        inputs, outputs = self.sizes[0], self.sizes[-1]
        pixels = math.isqrt(inputs)
        if pixels**2 != inputs or side % pixels:
            raise ValueError(
                f"sizes={self.sizes}: inputs must be n² with n a divisor of {side}, the pictures' side"
            )
        least = min(data.per_class)
        if outputs > classes or pictures > least:
            raise ValueError(
                f"{outputs} classes of {pictures} pictures: the data have {classes} of {least}"
            )
        # on the CPU, for on another device sums may differ in the last digit
        x = F.avg_pool2d(data.images.cpu().flatten(0, 1).float() / 255, side // pixels)
        self.x = x.mean(1).reshape(classes, samples, inputs).to(data.images.device)

    @property
    def fingerprint(self) -> str:
        """What the problems depend on, in words; two sources of one fingerprint give the same."""
        return (
            f"Classifiers(sizes={self.sizes}, pictures={self.pictures}, tasks={self.tasks}, seed={self.seed}, "
            f"data={self.data.fingerprint})"
        )

    def to(self, device: torch.device | str) -> Classifiers:
        """The same problems on `device`."""
        there = copy.copy(self)
        there.x = self.x.to(device)
        return there

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Starting points (weights of variance 1 / inputs, biases 0), pictures and labels of batch k."""
        g, (C, S, _), (B, n, N) = (
            generator_of(self.seed, k),
            self.x.shape,
            (self.tasks, self.pictures, self.sizes[-1]),
        )
        classes = torch.stack([torch.randperm(C, generator=g)[:N] for _ in range(B)])
        which = self.data.by_chance(torch.rand(B, N, S, generator=g), classes)[..., :n]
        device = self.x.device
        x = self.x[send(classes, device)[..., None], send(which, device)].flatten(1, 2)
        y = torch.arange(N).repeat_interleave(n).expand(B, -1)
        return send(start(self.sizes, B, g), device), x, send(y, device)


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
