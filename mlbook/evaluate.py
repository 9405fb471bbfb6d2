"""The one way in which this book measures a meta-learner."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mlbook.episodes import Episode, whole

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
    """Share of queries answered rightly in each task: scores `[T, Q, N]` and labels `[T, Q]` to `[T]`.

    Raises:
        ValueError: If the shapes are not these.
    """
    if scores.dim() != 3 or scores.shape[:2] != y.shape or scores.shape[2] == 0:
        raise ValueError(
            f"scores {list(scores.shape)} for labels {list(y.shape)}: a learner returns [tasks, queries, classes] "
            "for labels [tasks, queries]"
        )
    return (scores.argmax(-1) == y).double().mean(1)


def squared_error(prediction: Tensor, y: Tensor) -> Tensor:
    """Mean squared error of each task: predictions and targets `[T, Q, *y]` to `[T]`.

    Dimensions of 1 after the first two may be there in the one and not in the other.

    Raises:
        ValueError: If the shapes differ in more than that; they are never broadcast.
    """
    shapes = [[*t.shape[:2], *(d for d in t.shape[2:] if d != 1)] for t in (prediction, y)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"predictions {list(prediction.shape)} for targets {list(y.shape)}: a learner returns one prediction for "
            "each target, in the same shape"
        )
    return (prediction.reshape(y.shape).double() - y.double()).square().flatten(1).mean(1)


@contextmanager
def outputs_for(y: Tensor) -> Iterator[None]:
    """Say in words that labels y are more than a network has outputs; torch says it by an index."""
    try:
        yield
    except (IndexError, RuntimeError) as error:
        found = re.search(r"(\d+) is out of bounds(?:.* with size (\d+))?", str(error))
        if y.is_floating_point() or not (found or "smaller than num_classes" in str(error)):
            raise
        ways = int(y.max()) + 1
        # an index beyond the labels, or a size that is large enough for them, is about something else
        if found and (int(found[1]) >= ways or (found[2] and int(found[2]) >= ways)):
            raise
        raise ValueError(
            f"tasks of {ways} ways: the network has fewer outputs. Ask for fewer ways=, or build it for {ways}"
        ) from error


def batch_of(tasks: Tasks[Batch_co], k: int) -> Batch_co:
    """`tasks[k]`, and what to do where there is no such thing.

    Raises:
        ValueError: If `tasks` cannot be asked for batch k: a `DataLoader`, a generator, a list that
            is too short.
    """
    if not hasattr(tasks, "__getitem__"):
        kind = type(tasks).__name__
        if hasattr(tasks, "__iter__"):
            raise ValueError(
                f"tasks is a {kind}, which gives its batches once and in order; a source gives tasks[k] whenever it is "
                f"asked, always the same. Give list(tasks), or list(itertools.islice(tasks, 100)) of an endless one"
            )
        raise ValueError(
            f"tasks is a {kind} and has no tasks[k]; give a source such as data.episodes(ways=5, shots=1, queries=15) "
            "or a list of episodes"
        )
    try:
        return tasks[k]
    except IndexError as error:
        if not isinstance(tasks, Sized):
            raise
        raise ValueError(
            f"batch {k} is asked for, but there are {len(tasks)}, numbered from 0: give more of them, or ask for less"
        ) from error


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Each part of the model is afterwards in `train()` or `eval()` as it was before, on every way out."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def evaluate(
    model: nn.Module, tasks: Tasks[Episode], n: int = 600, metric: Any = None, **adapt: Any
) -> Result:
    """Adapt to each of n tasks and score the learner on the queries, in `eval()` mode and without gradients.

    The tasks are the first n of the source, so that two methods given the same source meet the same
    tasks. They are moved to the model's device, and floats to its precision. Afterwards each module of
    the model is in the mode in which it was.

    Args:
        model: A meta-learner: `model.adapt(support_x, support_y)` returns a function of `query_x`.
        tasks: A source of episodes, such as `test.episodes(ways=5, shots=1, queries=15)`, or a list of
            them.
        n: Tasks to evaluate on. Fewer than 600 give an interval too wide to rank methods by.
        metric: A function of the scores `[T, Q, N]` and `query_y` that gives one value a task
            `[T]`. Without it: accuracy where labels are integers, squared error where they are
            floats.
        **adapt: Passed on to `model.adapt`, such as `steps=10`.

    Returns:
        The values, their mean and its 95 % interval.

    Raises:
        ValueError: If n < 2, there are fewer tasks, an episode has no queries or is malformed, has more
            ways than the model has outputs, or the learner or the metric returns another shape.
        FloatingPointError: If a weight, a number in the data, a score or a value of the metric is NaN or
            infinite. A score may be minus infinity, the logarithm of no chance at all, but not all
            scores of a query.
    """
    n = whole("n", n)
    if n < 2:
        raise ValueError(f"n={n}: an interval needs at least two episodes")
    if not isinstance(model, nn.Module) or not hasattr(model, "adapt"):
        raise ValueError(
            f"{type(model).__name__} is not a meta-learner, an nn.Module with adapt(support_x, support_y); "
            "PrototypicalNetwork(net) makes one of a network"
        )
    if metric is not None and not callable(metric):
        raise ValueError(f"metric={metric!r}: must be a function of scores and query_y")
    device, dtype = _place(model)
    if hasattr(tasks, "to"):
        tasks = tasks.to(device)
    values: list[Tensor] = []
    unit, k, done = "%", 0, 0
    # not inference_mode: some learners take gradients inside adapt
    with modes_kept(model), torch.no_grad():
        model.eval()
        while done < n:
            try:
                batch = batch_of(tasks, k)
            except ValueError as error:
                if isinstance(error.__cause__, IndexError):  # the list ends here
                    raise ValueError(
                        f"n={n} tasks are asked for, and tasks holds {done}, in {k} batches; "
                        + (f"ask for n={done}, or give more" if done > 1 else "give more")
                    ) from error
                raise
            sx, sy, qx, query_y = _episode(batch, k, device)
            if dtype is not None:
                sx, qx, sy = (t.to(dtype) if t.is_floating_point() else t for t in (sx, qx, sy))
            with outputs_for(sy):
                learner = model.adapt(sx, sy, **adapt)  # type: ignore[operator]
                scores = learner(qx)
            _check_scores(scores, sy, model, k)
            if metric is not None:
                value, unit = metric(scores, query_y), getattr(metric, "__name__", "metric")
            elif query_y.is_floating_point():
                value, unit = squared_error(scores, query_y), "squared error"
            else:
                value = accuracy(scores, query_y)
            values.append(_check_values(value, len(query_y), unit, k))
            done, k = done + len(query_y), k + 1
    return Result(torch.cat(values)[:n].double(), unit)


def _place(model: nn.Module) -> tuple[torch.device, torch.dtype | None]:
    """The one device of a model's tensors and the one type of its floats, None if they are of several or none.

    Raises:
        ValueError: If it is on several devices.
        FloatingPointError: If one of its tensors holds NaN.
    """
    weights = [*model.named_parameters(), *model.named_buffers()]
    devices = {t.device: name for name, t in weights}
    if len(devices) > 1:
        where = ", ".join(f"{name} on {device}" for device, name in devices.items())
        raise ValueError(
            f"the model is on several devices ({where}): move it with model.to(device)"
        )
    floats = [
        (name, t) for name, t in weights if t.is_floating_point() and not is_lazy(t)
    ]  # a lazy weight has no numbers yet
    if floats:  # one question to the device for all
        for (name, _), bad in zip(
            floats, torch.stack([t.isnan().any() for _, t in floats]).tolist(), strict=True
        ):
            if bad:
                raise FloatingPointError(
                    f"{name} of the model holds NaN: a training diverged. Load weights from before, or train anew "
                    "with a smaller learning rate"
                )
    dtypes = {p.dtype for p in model.parameters() if p.is_floating_point()}
    return next(iter(devices), torch.device("cpu")), dtypes.pop() if len(dtypes) == 1 else None


def _episode(batch: Any, k: int, device: torch.device) -> Episode:
    """The batch as a checked episode with queries, on the device."""
    try:
        if not isinstance(batch, tuple | list) or len(batch) != 4:
            size = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
            raise ValueError(
                f"a {type(batch).__name__}{size} is not an episode, (support_x, support_y, query_x, query_y)"
            )
        episode = Episode(*(t.to(device) if isinstance(t, Tensor) else t for t in batch)).check()
        if episode.query_x.shape[1] == 0:
            raise ValueError("queries=0: there is nothing to score; ask for queries=15, say")
    except (ValueError, FloatingPointError) as error:
        error.add_note(f"This is batch {k} of the tasks.")
        raise
    return episode


def _check_scores(scores: Any, support_y: Tensor, model: nn.Module, k: int) -> None:
    """Refuse scores that argmax would make a plausible answer of.

    Raises:
        ValueError: If there are fewer of them than classes.
        FloatingPointError: If one is NaN or infinite, or all of a query are minus infinity.
    """
    if not isinstance(scores, Tensor):
        return  # a metric of one's own may take anything
    bad = scores.isnan() | (scores == torch.inf)
    if support_y.is_floating_point():
        bad = bad | (scores == -torch.inf)
    elif scores.dim() == 3 and scores.shape[2]:
        bad = bad | (scores.amax(-1, keepdim=True) == -torch.inf)
        ways = int(support_y.max()) + 1
        if scores.shape[2] < ways:
            raise ValueError(
                f"tasks of {ways} ways: the network has fewer outputs, {scores.shape[2]}. Ask for fewer ways=, or "
                f"build it for {ways}"
            )
    if bad.any():
        where = bad.nonzero()[0].tolist()
        weights = (
            name
            for name, t in model.named_parameters()
            if not is_lazy(t) and not t.isfinite().all()
        )
        cause = next((f"{name} of the model is not finite, either" for name in weights), None)
        raise FloatingPointError(
            f"{type(model).__name__} returns {scores[tuple(where)].item()} at {where} of [tasks, queries, ...], "
            f"batch {k}: {cause or 'try smaller steps in adapt, inputs in [0, 1], or more precision, model.float()'}"
        )


def _check_values(value: Any, tasks: int, name: str, k: int) -> Tensor:
    """What a metric returned, on the CPU.

    Raises:
        ValueError: If it is not one value a task.
        FloatingPointError: If one is not finite.
    """
    if not isinstance(value, Tensor) or value.shape != (tasks,):
        got = f"{list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ValueError(
            f"metric {name!r} returns {got} for {tasks} tasks; it must return a tensor [{tasks}], one value a task: "
            "take the mean over the queries alone, values.flatten(1).mean(1)"
        )
    values: Tensor = value.cpu()
    for task, number in enumerate(values.tolist()):
        if not math.isfinite(number):
            raise FloatingPointError(f"{name} is {number} in task {task} of batch {k}")
    return values
