"""The sinusoid regression tasks of Finn et al. (2017), section 5.1."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from mlbook.episodes import Episode, generator_of, send, whole


class Sinusoids:
    """Tasks y = A sin(x - phi), drawn on the fly; `sinusoids(...)[k]` is batch number k, always the same.

    A is uniform in [0.1, 5], phi in [0, pi] and x in [-5, 5]. Made by `sinusoids`, which documents
    the arguments.
    """

    def __init__(
        self, shots: int, queries: int, tasks: int, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        self.shots, self.queries = whole("shots", shots, 1), whole("queries", queries, 0)
        self.tasks, self.seed, self.device = whole("tasks", tasks, 1), whole("seed", seed), device

    @property
    def fingerprint(self) -> str:
        """What the tasks depend on, in words; two sources of one fingerprint give the same."""
        return f"Sinusoids(shots={self.shots}, queries={self.queries}, tasks={self.tasks}, seed={self.seed})"

    def to(self, device: torch.device | str) -> Sinusoids:
        """The same tasks on `device`."""
        return Sinusoids(self.shots, self.queries, self.tasks, self.seed, device)

    def __iter__(self) -> Iterator[Episode]:
        k = 0
        while True:
            yield self[k]
            k += 1

    def _draw(self, k: int) -> tuple[torch.Generator, Tensor, Tensor]:
        generator = generator_of(self.seed, k)
        amplitude = 0.1 + 4.9 * torch.rand(self.tasks, 1, 1, generator=generator)
        phase = math.pi * torch.rand(self.tasks, 1, 1, generator=generator)
        return generator, amplitude, phase

    def parameters_of(self, k: int) -> tuple[Tensor, Tensor]:
        """Amplitudes and phases (radians) of batch k, `[T]` each."""
        _, amplitude, phase = self._draw(k)
        return amplitude.flatten(), phase.flatten()

    def __getitem__(self, k: int) -> Episode:
        generator, amplitude, phase = self._draw(k)
        x = 10 * torch.rand(self.tasks, self.shots + self.queries, 1, generator=generator) - 5
        y = amplitude * torch.sin(x - phase)
        x, y = send(x, self.device), send(y, self.device)
        return Episode(
            x[:, : self.shots], y[:, : self.shots], x[:, self.shots :], y[:, self.shots :]
        )


def sinusoids(shots: int = 10, queries: int = 10, tasks: int = 1, seed: int = 0) -> Sinusoids:
    """An endless, reproducible source of sinusoid regression tasks.

    Args:
        shots: K, support points `(x, y)` of a task.
        queries: Query points of a task; may be 0.
        tasks: T, tasks in a batch.
        seed: Any whole number; batch k of a seed is always the same, on every device.

    Returns:
        A source of episodes with `support_x [T, K, 1]`, `support_y [T, K, 1]`, `query_x` and
        `query_y [T, queries, 1]`.

    Raises:
        ValueError: If a number is out of range.

    Source: Finn et al. (2017), section 5.1.
    """
    return Sinusoids(shots, queries, tasks, seed)
