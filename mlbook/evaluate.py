"""The one way in which this book measures a meta-learner."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from mlbook.episodes import Episode

Batch_co = TypeVar("Batch_co", covariant=True)


class Tasks(Protocol[Batch_co]):
    """A source of tasks: `tasks[k]` is batch number k, the same every time it is asked for."""

    def __getitem__(self, k: int, /) -> Batch_co: ...


@dataclass(frozen=True, eq=False)
class Result:
    """A mean over episodes with its 95 % interval; prints as `98.4 ± 0.3 % over 600 episodes`.

    Two results on the same episodes may be subtracted: the difference is paired, episode by
    episode, and its interval is much narrower than that of either, because a hard task is hard for
    both.

    Attributes:
        values: `[n]`, one value an episode: its accuracy in [0, 1], or its mean squared error.
        unit: `"%"` for accuracies, `"points"` for a difference of accuracies, else the name of the
            metric.
    """

    values: Tensor
    unit: str = "%"

    @property
    def n(self) -> int:
        """Episodes."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """The mean over episodes, a fraction if it is an accuracy."""
        return float(self.values.mean())

    @property
    def interval(self) -> float:
        """Half the width of the 95 % interval, 1.96 s / sqrt(n), with s the standard deviation over episodes."""
        return float(1.96 * self.values.std() / self.n**0.5)

    def __sub__(self, other: Result) -> Result:
        if self.n != other.n:
            raise ValueError(
                f"{self.n} and {other.n} episodes: a paired difference needs both on the same episodes"
            )
        return Result(self.values - other.values, "points" if self.unit == "%" else self.unit)

    def __str__(self) -> str:
        if self.unit in ("%", "points"):
            sign = "+" if self.unit == "points" else ""
            return f"{100 * self.mean:{sign}.1f} ± {100 * self.interval:.1f} {self.unit} over {self.n:,} episodes"
        return f"{self.mean:.3g} ± {self.interval:.2g} {self.unit} over {self.n:,} episodes"

    __repr__ = __str__


def accuracy(scores: Tensor, y: Tensor) -> Tensor:
    """Share of queries answered rightly in each task: scores `[T, Q, N]` and labels `[T, Q]` to `[T]`."""
    return (scores.argmax(-1) == y).double().mean(1)


def squared_error(prediction: Tensor, y: Tensor) -> Tensor:
    """Mean squared error of each task: predictions and targets `[T, Q, *y]` to `[T]`."""
    return (prediction.double() - y.double()).square().flatten(1).mean(1)


@contextmanager
def outputs_for(y: Tensor) -> Iterator[None]:
    """Say in words that labels y are more than a network has outputs; torch says it by an index."""
    try:
        yield
    except (IndexError, RuntimeError) as error:
        if not re.search("out of bounds|smaller than num_classes", str(error)):
            raise
        ways = int(y.max()) + 1
        raise ValueError(
            f"tasks of {ways} ways: the network has fewer outputs. Ask for fewer ways=, or build it for {ways}"
        ) from error


def evaluate(
    model: nn.Module, tasks: Tasks[Episode], n: int = 600, metric: Any = None, **adapt: Any
) -> Result:
    """Adapt to each of n tasks and score the learner on the queries, in `eval()` mode and without gradients.

    The tasks are the first n of the source, so that two methods given the same source meet the same
    tasks.

    Args:
        model: A meta-learner: `model.adapt(support_x, support_y)` returns a function of `query_x`.
        tasks: A source of episodes, such as `test.episodes(ways=5, shots=1, queries=15)`.
        n: Tasks to evaluate on. Fewer than 600 give an interval too wide to rank methods by.
        metric: A function of the scores `[T, Q, N]` and `query_y` that gives one value a task
            `[T]`. Without it: accuracy where labels are integers, squared error where they are
            floats.
        **adapt: Passed on to `model.adapt`, such as `steps=10`.

    Returns:
        The values, their mean and its 95 % interval.

    Raises:
        ValueError: If n < 2, an episode has no queries or is malformed, or has more ways than the
            model has outputs.
    """
    if n < 2:
        raise ValueError(f"n={n}: an interval needs at least two episodes")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    if hasattr(tasks, "to"):
        tasks = tasks.to(device)
    was_training = model.training
    model.eval()
    values: list[Tensor] = []
    unit, k, done = "%", 0, 0
    try:
        with torch.no_grad():  # not inference_mode: some learners take gradients inside adapt
            while done < n:
                episode = Episode(*(t.to(device) for t in tasks[k])).check()
                if episode.query_x.shape[1] == 0:
                    raise ValueError(
                        "queries=0: there is nothing to score; ask for queries=15, say"
                    )
                with outputs_for(episode.support_y):
                    learner = model.adapt(  # type: ignore[operator]
                        episode.support_x, episode.support_y, **adapt
                    )
                    scores = learner(episode.query_x)
                score = metric
                if score is None and episode.query_y.is_floating_point():
                    score, unit = squared_error, "squared error"
                elif score is None:
                    score = accuracy
                else:
                    unit = getattr(metric, "__name__", "metric")
                values.append(score(scores, episode.query_y).cpu())
                done, k = done + len(episode.query_x), k + 1
    finally:
        model.train(was_training)
    return Result(torch.cat(values)[:n].double(), unit)
