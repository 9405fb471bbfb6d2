"""A user's mistakes, told by their names before anything is moved and before time is spent on training."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlbook.episodes import Episode
from mlbook.evaluate import batch_of, outputs_for


def usable(device: torch.device | str | None) -> torch.device:
    """The device, a GPU if none is named and there is one."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f"device={device!r} cannot be used here: {error}; leave it out to train where it can"
        ) from error


def refuse_source(name: str, tasks: Any, batches: int) -> None:
    """A source is asked for `tasks[k]`, of which there must be enough; loaders and generators do not know that."""
    if isinstance(tasks, Sized) and hasattr(tasks, "__getitem__") and len(tasks) < batches:
        raise ValueError(
            f"{name} holds {len(tasks)} batches and {batches} are needed: ask for fewer, or give a source that "
            "repeats them, with __getitem__(k)"
        )
    if not hasattr(tasks, "__getitem__"):
        try:
            batch_of(tasks, 0)
        except ValueError as error:  # it says what to do
            raise ValueError(str(error).replace("tasks", name)) from None


def refuse_validation(tasks: Any, n: int) -> None:
    """The first of the episodes that the model is to be evaluated on must be one, and there must be enough."""
    if tasks is None:
        return
    refuse_source("validate", tasks, 1)
    with torch.random.fork_rng(devices=[]):
        try:
            episode = Episode(*batch_of(tasks, 0)).check()
        except (TypeError, ValueError, FloatingPointError) as error:
            raise ValueError(f"validate[0] is no episode to evaluate on: {error}") from error
    if episode.query_x.shape[1] == 0:
        raise ValueError("validate has queries=0: there is nothing to score; ask for queries=15, say")  # fmt: skip
    refuse_source("validate", tasks, -(-n // len(episode.query_x)))


def refuse_model(model: Any) -> None:
    """There must be a loss and something to be learned."""
    name = type(model).__name__
    if not isinstance(model, nn.Module) or not hasattr(model, "loss"):
        raise ValueError(
            f"{name} has no loss(*batch) to minimise: give a method of this book, or an nn.Module with one"
        )
    parameters = list(model.named_parameters())
    for p_name, p in parameters:
        if nn.parameter.is_lazy(p):
            raise ValueError(f"{p_name} has no shape yet: run the network once on a batch before")
    if not any(p.requires_grad for _, p in parameters):
        raise ValueError(
            f"none of the {len(parameters)} parameters of {name} asks for a gradient, so nothing can be learned: "
            "unfreeze those that shall learn with .requires_grad_()"
        )


def refuse_optimizer(model: nn.Module, optimizer: Any) -> None:
    """It must go by gradients, and be over parameters of this model."""
    if optimizer is None:
        return
    name = type(optimizer).__name__
    if not hasattr(optimizer, "param_groups"):
        raise ValueError(
            f"optimizer={optimizer!r} is none: give torch.optim.Adam(model.parameters(), lr=1e-3), say"
        )
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ValueError(
            f"optimizer is {name}, whose step asks for the loss again and again; take one that goes by the gradient "
            "alone, Adam or SGD say"
        )
    own = {id(p) for p in model.parameters()}
    for p in (p for group in optimizer.param_groups for p in group["params"]):
        if id(p) not in own:
            raise ValueError(
                f"optimizer holds a parameter {list(p.shape)} that is not of this model: make it over "
                "model.parameters(), after the model has got all its parts"
            )
    if not any(p.requires_grad for group in optimizer.param_groups for p in group["params"]):
        raise ValueError(
            "none of the optimizer's parameters asks for a gradient, so nothing can be learned: unfreeze those that "
            "shall learn with .requires_grad_()"
        )


def refuse_elsewhere(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """An optimizer that has kept numbers on one device cannot go on with parameters on another."""
    own = {id(p) for p in model.parameters()}
    for p in (p for group in optimizer.param_groups for p in group["params"]):
        kept = optimizer.state.get(p, {}).values()
        if id(p) not in own or any(
            isinstance(t, Tensor) and t.dim() > 0 and t.device != p.device for t in kept
        ):
            raise ValueError(
                f"the optimizer was made while the model was on another device than {next(model.parameters()).device}: "
                "move the model there first, with model.to, and make the optimizer then"
            )


def refuse_schedule(schedule: Any, optimizer: torch.optim.Optimizer | None) -> None:
    """It must be a function, and have a rate to act on."""
    if schedule is None:
        return
    if not callable(schedule) or isinstance(schedule, torch.optim.lr_scheduler.LRScheduler):
        raise ValueError(
            f"schedule is {type(schedule).__name__}: give a function of the step that returns a factor on the rate, "
            "such as schedule=lambda k: 0.5 ** (k // 1000), in the place of a scheduler of torch"
        )
    if optimizer is not None and not any("lr" in group for group in optimizer.param_groups):
        raise ValueError(
            f"{type(optimizer).__name__} has no rate lr for the schedule to multiply: leave schedule out"
        )


def refuse_default_loss(model: nn.Module, batch: Sequence[Tensor]) -> None:
    """Cross-entropy takes floats for class probabilities; of a target that is one number it is 0 for ever."""
    name = next((n for n in ("inner_loss", "task_loss") if hasattr(model, n)), None)
    y = batch[-1]
    if name is None or getattr(model, name) is not F.cross_entropy or not y.is_floating_point():
        return
    method = type(model).__name__
    raise ValueError(
        f"the targets are floats {list(y.shape)} and {method}'s loss is cross_entropy, which is for labels: build it "
        f"with {method}(..., loss=F.mse_loss); if they are class probabilities, with a function of your own, "
        "loss=lambda scores, y: F.cross_entropy(scores, y)"
    )


@contextmanager
def told_of(step: int) -> Iterator[None]:
    """Say which batch it is that is malformed."""
    try:
        yield
    except (ValueError, FloatingPointError) as error:
        raise type(error)(f"batch {step}: {error}") from error


@contextmanager
def explained(part: Sequence[Tensor], new: bool) -> Iterator[None]:
    """Say in words what torch says by an index, or only warns of: too few outputs, and shapes that only broadcast."""
    y = part[1]
    if not (new and y.is_floating_point()):  # other shapes than before may broadcast
        with outputs_for(y):
            yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Using a target size")
        try:
            yield
        except UserWarning as warning:
            if not str(warning).startswith("Using a target size"):
                raise
            raise ValueError(
                f"predictions and targets differ in shape: {str(warning).split('. ')[0]}. Give the targets the shape "
                "of the predictions, support_y[..., None] and query_y[..., None] say"
            ) from warning
