"""The one training loop: progress, history, validation, exact resume, and several processes if wanted."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from mlbook.data.files import read_tensors, write_tensors
from mlbook.episodes import Episode
from mlbook.evaluate import Tasks, evaluate, outputs_for


@dataclass
class History:
    """What happened in training, step by step.

    Attributes:
        metrics: For each name a list with one value a step: always `"loss"`; `"accuracy"` and
            others where the method reports them.
        validation: `(step, mean, half the 95 % interval)` of every validation.
        seconds: Time spent in training, resumed stages added up, validation included.
    """

    metrics: dict[str, list[float]] = field(default_factory=dict)
    validation: list[tuple[int, float, float]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def loss(self) -> list[float]:
        """The loss of every step."""
        return self.metrics.get("loss", [])

    @property
    def accuracy(self) -> list[float]:
        """The accuracy on the queries of every step, if the method reports it."""
        return self.metrics.get("accuracy", [])

    def plot(self) -> Any:
        """Draw loss and accuracy over the steps; returns the matplotlib figure."""
        from mlbook import plots

        return plots.history(self)


def fit(
    model: nn.Module,
    tasks: Tasks[Sequence[Tensor]],
    steps: int,
    optimizer: torch.optim.Optimizer | None = None,
    schedule: Callable[[int], float] | None = None,
    seed: int = 0,
    validate: Tasks[Episode] | None = None,
    validate_every: int = 500,
    validate_tasks: int = 200,
    tasks_per_backward: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 500,
    fabric: Any = None,
    device: torch.device | str | None = None,
    progress: bool = True,
) -> History:
    """Meta-train: minimise `model.loss(*batch)` over `steps` batches of tasks.

    Step k uses `tasks[k]`, so the same seeds give the same numbers, and a run that is killed at any
    moment and started again with the same arguments ends with the same weights to the bit.

    Args:
        model: A meta-learner; `model.loss(*batch)` is a scalar. What it puts into `model.metrics`
            is recorded too.
        tasks: A source of batches, such as `train.episodes(ways=20, shots=1, queries=5)`.
        steps: Optimizer steps in all, those of a resumed checkpoint included.
        optimizer: Over `model.parameters()`; Adam with rate 1e-3 if none is given.
        schedule: Maps a step 0..steps-1 to a factor on the optimizer's learning rates.
        seed: Of torch's default generators during training (dropout, say); their state outside is
            left as it was.
        validate: Episodes of validation classes, evaluated every `validate_every` steps and at the
            end.
        validate_every: Steps between validations.
        validate_tasks: Tasks in each validation.
        tasks_per_backward: Back-propagate so many tasks of a batch at a time, in less memory: the
            same gradient where each task has batch statistics of its own (MAML, ANIL, Meta-SGD);
            embedding methods normalise by the slice, and Reptile's Adam goes from slice to slice.
        checkpoint: A file, `"runs/proto.safetensors"` say: written every `checkpoint_every` steps
            and at the end, resumed from if it exists.
        checkpoint_every: Steps between checkpoints.
        fabric: A launched `lightning.fabric.Fabric`: each process takes its share of the tasks of
            every batch.
        device: Where to train; a GPU if there is one. With `fabric`, its device.
        progress: Show a progress bar, on standard error.

    Returns:
        The history of losses, accuracies and validations.

    Raises:
        ValueError: If a number is out of range, the first batch is malformed, or the checkpoint is
            of another run.
        FloatingPointError: If the loss of a step is NaN or infinite. The last checkpoint is kept.
    """
    for name, value in (
        ("steps", steps),
        ("validate_every", validate_every),
        ("checkpoint_every", checkpoint_every),
    ):
        if value < 1:
            raise ValueError(f"{name}={value}: must be at least 1")
    if tasks_per_backward is not None and tasks_per_backward < 1:
        raise ValueError(
            f"tasks_per_backward={tasks_per_backward}: must be at least 1, or None for all tasks at once"
        )

    if fabric is not None:
        device = fabric.device
    elif device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(device)
    model.to(device)
    if hasattr(tasks, "to"):
        tasks = tasks.to(device)
    if optimizer is None:
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    rates = [group["lr"] for group in optimizer.param_groups]
    rank, world = (0, 1) if fabric is None else (fabric.global_rank, fabric.world_size)
    trained, stepper = model, optimizer
    if fabric is not None:
        trained, stepper = fabric.setup(model, optimizer)
        trained.mark_forward_method("loss")  # or DistributedDataParallel would be bypassed

    def backward(batch: Sequence[Tensor]) -> dict[str, Tensor]:
        """Add up the gradient of the mean loss over the tasks of a batch; return that loss and the method's metrics."""
        count = len(batch[0])
        size = tasks_per_backward or count
        numbers: dict[str, Tensor] = {}
        for begin in range(0, count, size):
            part = [t[begin : begin + size] for t in batch]
            share = len(part[0]) / count
            quiet = (
                fabric is not None and begin + size < count
            )  # processes exchange gradients once a step
            with fabric.no_backward_sync(trained) if quiet else nullcontext():
                with outputs_for(part[1]) if hasattr(model, "adapt") else nullcontext():
                    loss = trained.loss(*part)  # type: ignore[operator]
                fabric.backward(loss * share) if fabric is not None else (loss * share).backward()
            for name, value in {"loss": loss, **getattr(model, "metrics", {})}.items():
                numbers[name] = (
                    numbers.get(name, torch.zeros((), device=device)) + value.detach() * share
                )
        return numbers if fabric is None else fabric.all_reduce(numbers)  # the mean over processes

    path = Path(checkpoint) if checkpoint is not None else None
    history, first = History(), 0
    unread: list[dict[str, Tensor]] = []

    def read(step: int) -> None:
        """Move the numbers of the latest steps into the history; stop if a loss among them is not finite."""
        for back, numbers in enumerate(unread, start=1 - len(unread)):
            if not math.isfinite(numbers["loss"]):
                kept = (
                    f" The checkpoint {path} from before is kept."
                    if path is not None and path.exists()
                    else ""
                )
                raise FloatingPointError(
                    f"the loss of step {step + back} is {float(numbers['loss'])}.{kept} "
                    "Try a smaller learning rate, or clip the gradients."
                )
            for name, value in numbers.items():
                history.metrics.setdefault(name, []).append(float(value))
        unread.clear()

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        if path is not None and path.exists():
            first = _restore(path, model, optimizer, history, seed)
        started = time.perf_counter() - history.seconds
        model.train()
        with tqdm(
            total=steps,
            initial=min(first, steps),
            disable=not progress or rank > 0,
            mininterval=0.5,
        ) as bar:
            for step in range(first, steps):
                batch = tasks[step]
                if step == first and isinstance(batch, Episode):
                    batch.check()
                if len(batch[0]) % world:
                    raise ValueError(
                        f"{len(batch[0])} tasks in a batch cannot be shared evenly by {world} processes"
                    )
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * (schedule(step) if schedule is not None else 1.0)

                stepper.zero_grad()
                unread.append(backward([t[rank::world].to(device) for t in batch]))
                validating = validate is not None and (
                    (step + 1) % validate_every == 0 or step + 1 == steps
                )
                saving = path is not None and (
                    (step + 1) % checkpoint_every == 0 or step + 1 == steps
                )
                # a GPU must finish its work before it can be asked for a number, so it is asked
                # seldom
                if (
                    device.type == "cpu"
                    or validating
                    or saving
                    or step + 1 == steps
                    or len(unread) == 25
                ):
                    read(step)
                stepper.step()

                if validating and validate is not None:
                    result = evaluate(model, validate, validate_tasks)
                    history.validation.append((step + 1, result.mean, result.interval))
                history.seconds = time.perf_counter() - started
                if saving and path is not None and rank == 0:
                    _save(path, model, optimizer, history, step + 1, seed)
                bar.set_postfix_str(_summary(history, batch, bar), refresh=False)
                bar.update()
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
    return history


def _summary(history: History, batch: Sequence[Tensor], bar: Any) -> str:
    """What the progress bar says: the mean of the last 20 steps, and tasks a second."""
    shown = [
        f"{name} {sum(values[-20:]) / len(values[-20:]):.3f}"
        for name, values in history.metrics.items()
    ]
    if history.validation:
        shown.append(f"validation {history.validation[-1][1]:.3f}")
    rate = bar.format_dict["rate"]
    return ", ".join([*shown, f"{len(batch[0]) * rate:.1f} episodes/s"] if rate else shown)


def _save(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    history: History,
    step: int,
    seed: int,
) -> None:
    """Write all that a run needs to go on: one safetensors file, its plain values as JSON in the header."""
    state = optimizer.state_dict()
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors["random.cpu"] = torch.get_rng_state()
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    if device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(device)
    plain: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                plain.setdefault(str(index), {})[name] = value
    for name, values in history.metrics.items():
        tensors[f"history.{name}"] = torch.tensor(values, dtype=torch.float64)
    facts = {"step": step, "seed": seed, "optimizer": plain, "groups": state["param_groups"]}
    facts |= {"validation": history.validation, "seconds": history.seconds}
    write_tensors(path, tensors, facts)


def _restore(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, history: History, seed: int
) -> int:
    """Put a checkpoint back into model, optimizer, history and torch's generators; return the steps done."""
    tensors, facts = read_tensors(path)
    if facts.get("seed") != seed:
        raise ValueError(
            f"{path} belongs to a run with seed={facts.get('seed')}, not seed={seed}; use that seed or another file"
        )
    weights = {
        name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")
    }
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"{path} belongs to another model; delete it or name another file. {error}"
        ) from error
    state: dict[int, dict[str, Any]] = {
        int(i): dict(entries) for i, entries in facts["optimizer"].items()
    }
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            like = parameters[int(index)]
            # in the memory order of its parameter, as it was before
            same = (
                torch.empty_like(like, dtype=value.dtype).copy_(value)
                if value.shape == like.shape
                else value
            )
            state.setdefault(int(index), {})[name] = same
    rates = [group["lr"] for group in optimizer.param_groups]
    optimizer.load_state_dict({"state": state, "param_groups": facts["groups"]})
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and parameters[0].is_cuda:
        torch.cuda.set_rng_state(tensors["random.cuda"], parameters[0].device)
    for key, value in tensors.items():
        if key.startswith("history."):
            history.metrics[key.removeprefix("history.")] = value.tolist()
    history.validation = [(int(s), m, i) for s, m, i in facts["validation"]]
    history.seconds = facts["seconds"]
    return int(facts["step"])
