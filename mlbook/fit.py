"""The one training loop: progress, history, validation, exact resume, and several processes if wanted."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from mlbook.checkpoint import Checkpoint, load, opened, random_state, set_random_state
from mlbook.episodes import Episode, send, whole
from mlbook.evaluate import Tasks, batch_of, evaluate, modes_kept
from mlbook.mistakes import (
    explained,
    refuse_default_loss,
    refuse_elsewhere,
    refuse_model,
    refuse_optimizer,
    refuse_schedule,
    refuse_source,
    refuse_validation,
    told_of,
    usable,
)
from mlbook.progress import progress_bar


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


Callback = Callable[[int, History, Any], bool | None]  # of step, history and model; True stops


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
    callback: Callback | None = None,
) -> History:
    """Meta-train: minimise `model.loss(*batch)` over `steps` batches of tasks.

    Step k uses `tasks[k]`. On the CPU of the same kind of machine, with the same number of threads, the
    same seeds give the same numbers, and a run that is killed at any moment and started again with
    the same arguments ends with the same weights, to the bit. Elsewhere sums are rounded in another
    order, and training amplifies that.

    The model is left in `eval()`, ready to answer. A part of it that comes in `eval()`, such as a
    frozen backbone with batch norm, stays so in training, also when `fit` is called again; a model
    that comes in `eval()` altogether is trained altogether. After an error, or Ctrl-C, modes are as
    they were found; rates and random state are put back on every way out.

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
            and at the end, resumed from if it exists. What must be the same then is compared: the
            model's parts, the optimizer with its settings, `seed`, and `tasks` by their
            `fingerprint`. A schedule, `tasks_per_backward` and the number of processes are not.
        checkpoint_every: Steps between checkpoints.
        fabric: A launched `lightning.fabric.Fabric`: each process takes its share of the tasks of
            every batch.
        device: Where to train; a GPU if there is one. With `fabric`, its device.
        progress: Show a progress bar, on standard error.
        callback: `callback(step, history, model)` is called when the numbers of the first `step` steps
            are in the history: on a CPU after every step, on a GPU every 25 (which spares it the
            waiting), and at each validation and checkpoint. Returning `True` ends the training there,
            as if it were the last step. It may look, evaluate, and set the optimizer's rates where
            there is no `schedule`; modes and random state are put back after it. A resumed run calls
            it first for the step of its checkpoint, so that a run that was stopped stays stopped. Of
            several processes the first one calls it, for all.

    Returns:
        The history of losses, accuracies and validations.

    Raises:
        ValueError: If an argument cannot be used, nothing can be learned, a batch is malformed, or the
            checkpoint is damaged, of another run, or in use by one. On a GPU a batch is found to be
            malformed up to 25 steps later.
        FloatingPointError: If the loss of a step, or a batch, is NaN or infinite. The last checkpoint
            is kept.
        OSError: If a checkpoint cannot be written any more. The last one is kept.

    Example:
        Stop when three validations in a row have brought nothing better::

            def patience(step, history, model):
                means = [mean for _, mean, _ in history.validation]
                return len(means) > 3 and max(means[-3:]) <= max(means[:-3])

            fit(model, tasks, steps=20_000, validate=episodes, validate_every=200, callback=patience)
    """
    steps = whole("steps", steps, least=1)
    seed = whole("seed", seed)
    if not -(2**63) <= seed < 2**64:
        raise ValueError(f"seed={seed}: torch takes one of 64 bits at most")
    validate_every = whole("validate_every", validate_every, least=1)
    validate_tasks = whole("validate_tasks", validate_tasks, least=2)
    checkpoint_every = whole("checkpoint_every", checkpoint_every, least=1)
    if tasks_per_backward is not None:
        tasks_per_backward = whole("tasks_per_backward", tasks_per_backward, least=1)
    refuse_source("tasks", tasks, steps)
    refuse_validation(validate, validate_tasks)
    refuse_model(model)
    refuse_optimizer(model, optimizer)
    refuse_schedule(schedule, optimizer)
    if callback is not None and not callable(callback):
        raise ValueError(
            f"callback={callback!r}: must be a function of step, history and model that returns True to stop"
        )
    run = _Run(model, tasks, optimizer, schedule, tasks_per_backward, fabric, device, callback)

    with ExitStack() as on_the_way_out:
        enter = on_the_way_out.enter_context
        path = None
        if checkpoint is not None:
            path = run.once(lambda: enter(opened(checkpoint)))
        enter(_seeded(seed, run.device))
        enter(_rates_kept(run.optimizer, run.rates))
        enter(_training(model))
        enter(torch.enable_grad())

        history, first, saved = run.history, 0, None
        if path is not None:
            saved = Checkpoint(path, model, run.optimizer, run.device, tasks, seed)
            if (file := run.once(lambda: load(path))) is not None:
                first, record = saved.restore(file, steps)
                vars(history).update(record)
        stopped = first > 0 and run.stopped_by(first)
        started = time.perf_counter() - history.seconds
        quiet = not progress or run.rank > 0
        bar = enter(progress_bar(total=steps, initial=first, disable=quiet, mininterval=0.5))
        for step in range(first, first if stopped else steps):
            if step == first:
                run.look(step)
            batch = run.draw(step)
            run.set_rates(step)
            run.backward(batch)
            last = step + 1 == steps
            validating = validate is not None and ((step + 1) % validate_every == 0 or last)
            saving = saved is not None and ((step + 1) % checkpoint_every == 0 or last)
            # a GPU must finish its work before it can be asked for a number, so it is asked seldom
            if run.device.type == "cpu" or validating or saving or last or len(run.unread) == 25:
                run.read(step, path)
            run.stepper.step()
            if step == first and saved is not None:
                saved.check()  # the optimizer keeps more from now on

            if validating and validate is not None:
                result = evaluate(model, validate, validate_tasks)
                history.validation.append((step + 1, result.mean, result.interval))
            history.seconds = time.perf_counter() - started
            if saving and saved is not None:
                run.save(saved, step + 1)
            bar.set_postfix_str(_summary(history, batch, bar), refresh=False)
            bar.update()
            if not run.unread and run.stopped_by(step + 1):
                if saved is not None and not saving:
                    run.save(saved, step + 1)
                break
    return history


class _Run:
    """A model on its device with its tasks, and one step of its training in three parts: draw, backward, read."""

    def __init__(
        self,
        model: nn.Module,
        tasks: Any,
        optimizer: torch.optim.Optimizer | None,
        schedule: Callable[[int], float] | None,
        tasks_per_backward: int | None,
        fabric: Any,
        device: torch.device | str | None,
        callback: Callback | None,
    ) -> None:
        self.device = usable(fabric.device if fabric is not None else device)
        model.to(self.device)
        self.model: Any = model
        self.source, self.schedule = tasks, schedule
        self.tasks: Tasks[Any] = tasks.to(self.device) if hasattr(tasks, "to") else tasks
        self.optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=1e-3)
        refuse_elsewhere(model, self.optimizer)
        self.rates = [group.get("lr") for group in self.optimizer.param_groups]
        self.tasks_per_backward, self.fabric = tasks_per_backward, fabric
        self.rank, self.world = 0, 1
        self.trained: Any = model
        self.stepper: Any = self.optimizer
        if fabric is not None:
            self.rank, self.world = fabric.global_rank, fabric.world_size
            self.trained, self.stepper = fabric.setup(model, self.optimizer)
            self.trained.mark_forward_method("loss")  # or DistributedDataParallel would be bypassed
        self.history = History()
        self.callback = callback
        self.asks = self.once(lambda: callback is not None)
        self.unread: list[dict[str, Tensor]] = []  # of each step since numbers were last read
        self.shapes: set[tuple[torch.Size, ...]] = set()  # of the batches so far

    def once(self, do: Callable[[], Any]) -> Any:
        """What `do` gives in the first process, or its error, for all: so that none waits for one that has stopped."""
        if self.fabric is None:
            return do()
        result, error = None, None
        if self.rank == 0:
            try:
                result = do()
            except Exception as caught:
                error = caught
        told = error
        if not isinstance(error, OSError | ValueError | None):  # others may not survive the way
            told = RuntimeError(f"in the first process: {error!r}")
        result, told = self.fabric.broadcast((result, told))
        if told is not None:
            raise error or told
        return result

    def draw(self, step: int) -> Sequence[Tensor]:
        """Batch number `step`, checked: on a CPU at once, elsewhere by flags that are read with the losses."""
        batch: Any = batch_of(self.tasks, step)
        faults: dict[str, Tensor] = {}
        if isinstance(batch, Episode):
            with told_of(step):
                if self.device.type == "cpu":
                    batch = batch.check()
                else:
                    faults = {FAULTY: batch.faults().any()}
                    batch = batch.check_shapes()
        if isinstance(batch, Tensor) or not all(isinstance(t, Tensor) for t in batch):
            raise ValueError(
                f"tasks[{step}] is a {type(batch).__name__} of other things than tensors; "
                "a batch is a tuple of tensors that begin with the tasks, an Episode say"
            )
        if len(batch[0]) % self.world:
            raise ValueError(
                f"{len(batch[0])} tasks in a batch cannot be shared evenly by {self.world} processes"
            )
        self.unread.append(faults)
        return batch  # type: ignore[no-any-return]

    def look(self, step: int) -> None:
        """Check the first batch before a GPU sees it, since labels out of range would stop that for good."""
        if self.device.type == "cpu":
            return
        with torch.random.fork_rng(devices=[]):  # a source may draw from torch's own generator
            batch = batch_of(self.source, step)
            if isinstance(batch, Episode):
                with told_of(step):
                    batch.check()

    def set_rates(self, step: int) -> None:
        """Multiply the rates by the schedule's factor."""
        if self.schedule is None:
            return
        factor = self.schedule(step)
        try:
            factor = float(factor)
        except (TypeError, ValueError, RuntimeError):
            factor = math.nan
        if not 0 <= factor < math.inf:
            raise ValueError(
                f"schedule({step}) is {self.schedule(step)!r}: it must give a number of 0 or more, a factor on the rate"
            )
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            if rate is not None:
                group["lr"] = rate * factor

    def backward(self, batch: Sequence[Tensor]) -> None:
        """Add up the gradient of the mean loss over the tasks of a batch; keep that loss and the method's metrics."""
        first = not self.shapes
        if first:
            refuse_default_loss(self.model, batch)
        self.stepper.zero_grad()
        batch = [send(t[self.rank :: self.world], self.device) for t in batch]
        count = len(batch[0])
        size = self.tasks_per_backward or count
        numbers: dict[str, Tensor] = {}
        for begin in range(0, count, size):
            part = [t[begin : begin + size] for t in batch]
            share = len(part[0]) / count
            # processes exchange gradients once a step
            quiet = self.fabric is not None and begin + size < count
            with self.fabric.no_backward_sync(self.trained) if quiet else nullcontext():
                loss = self.loss(part)
                if self.fabric is None:
                    (loss * share).backward()  # type: ignore[no-untyped-call]
                else:
                    self.fabric.backward(loss * share)
            for name, value in {**getattr(self.model, "metrics", {}), "loss": loss}.items():
                value = torch.as_tensor(value).detach()
                if value.numel() != 1:
                    raise ValueError(f"metrics[{name!r}] is {list(value.shape)}: give one number")
                so_far = numbers.get(name, torch.zeros((), device=self.device))
                numbers[name] = so_far + value.reshape(()) * share
        if first:
            self.learns()
        if self.fabric is not None:
            numbers = self.fabric.all_reduce(numbers)  # the mean over processes
        self.unread[-1].update(numbers)

    def loss(self, part: Sequence[Tensor]) -> Tensor:
        """The loss of some tasks, with what is wrong about it in words."""
        shapes = tuple(t.shape for t in part)
        new = shapes not in self.shapes
        self.shapes.add(shapes)
        with explained(part, new) if hasattr(self.model, "adapt") else nullcontext():
            loss = self.trained.loss(*part)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            what = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise ValueError(f"model.loss gives {what}: it must be one number, a mean over tasks")
        if not loss.requires_grad:
            raise ValueError(
                "the loss does not depend on any parameter that asks for a gradient: look for .detach(), .item() or "
                "no_grad in model.loss, and unfreeze what shall learn with .requires_grad_()"
            )
        return loss

    def learns(self) -> None:
        """Refuse a first gradient that is missing altogether; on a CPU warn if it is 0."""
        gradients = [p.grad for group in self.optimizer.param_groups for p in group["params"]]
        found = [g for g in gradients if g is not None]
        if not found:
            raise ValueError(
                "the loss does not depend on any of the optimizer's parameters: none of them got a gradient; "
                "give the optimizer model.parameters(), and unfreeze what shall learn with .requires_grad_()"
            )
        if self.device.type == "cpu" and not any(g.any() for g in found):
            warnings.warn(
                "the gradient of the first step is 0 in every parameter, so nothing is learned from it: "
                "is the loss right, and does it depend on the model's parameters?",
                stacklevel=3,
            )

    def stopped_by(self, step: int) -> bool:
        """Ask the callback after so many steps; the rates that it sets reach all processes, and nothing else stays."""
        if not self.asks:
            return False
        groups = self.optimizer.param_groups

        def ask() -> tuple[bool, list[Any]]:
            before = [group.get("lr") for group in groups]
            with _undisturbed(self.model, self.device):
                stop: Any = self.callback(step, self.history, self.model)  # type: ignore[misc]
            if stop is not None and str(getattr(stop, "dtype", type(stop))) not in TRUTHS:
                raise ValueError(
                    f"callback returned {stop!r} after step {step}: return True to stop, and False or nothing to go on"
                )
            rates = [group.get("lr") for group in groups]
            if self.schedule and any(a is not b for a, b in zip(before, rates, strict=True)):
                raise ValueError(
                    f"callback set a rate after step {step}, and the schedule sets it anew before the next one: "
                    "leave one of them out"
                )
            return bool(stop), rates

        stop, rates = self.once(ask)
        for group, rate in zip(groups, rates, strict=True):
            if rate is not None:
                group["lr"] = rate
        return bool(stop)

    def save(self, file: Checkpoint, step: int) -> None:
        """Write what the run needs to go on: its rates too, unless a schedule gives them."""
        rates = [] if self.schedule else [g.get("lr") for g in self.optimizer.param_groups]
        self.once(partial(file.save, step, vars(self.history), rates))

    def read(self, step: int, path: Path | None) -> None:
        """Move the numbers of the latest steps into the history; stop if a batch or a loss among them is not right."""
        exact = torch.float32 if self.device.type == "mps" else torch.float64
        unread, self.unread = self.unread, []
        # all at once: each question to a GPU is a wait
        flat = iter(
            torch.stack([v.to(self.device, exact) for n in unread for v in n.values()]).tolist()
        )
        for k, names in enumerate(unread, start=step + 1 - len(unread)):
            numbers = {name: next(flat) for name in names}
            if numbers.pop(FAULTY, False):
                with told_of(k):
                    self.tasks[k].check()
                raise ValueError(
                    f"batch {k} was faulty and is not when drawn again: tasks[{k}] must be the same every time"
                )
            if not math.isfinite(numbers["loss"]):
                kept = f" The checkpoint {path} from before is kept." if path and path.exists() else ""  # fmt: skip
                raise FloatingPointError(
                    f"the loss of step {k} is {numbers['loss']}.{kept} Try a smaller learning rate, or clip the "
                    f"gradients of an optimizer of your own before each step:\n{CLIPPED}"
                )
            for name, value in numbers.items():
                self.history.metrics.setdefault(name, []).append(value)


TRUTHS = ("<class 'bool'>", "bool", "torch.bool")  # Python's, numpy's and torch's
FAULTY = ""  # stands for the flags of a batch among the numbers of a step
CLIPPED = """
def clip(*_):
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)

optimizer.register_step_pre_hook(clip)
"""


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


# What `fit` changes, it puts back on every way out


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's default generators begin at `seed`, and go on afterwards from where they were."""
    before = random_state(device)
    try:
        torch.default_generator.manual_seed(seed)
        if len(before) > 1:
            own: Any = getattr(torch, device.type)
            with own.device(device) if hasattr(own, "device") else nullcontext():
                own.manual_seed(seed)
        yield
    finally:
        set_random_state(before, device)


@contextmanager
def _undisturbed(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Modes and torch's random state are afterwards what they were."""
    random = random_state(device)
    try:
        with modes_kept(model):
            yield
    finally:
        set_random_state(random, device)


@contextmanager
def _rates_kept(optimizer: torch.optim.Optimizer, rates: Sequence[Any]) -> Iterator[None]:
    before = [rate.clone() if isinstance(rate, Tensor) else rate for rate in rates]
    try:
        yield
    finally:
        for group, rate, found in zip(optimizer.param_groups, rates, before, strict=True):
            if rate is not None:
                group["lr"] = rate.copy_(found) if isinstance(rate, Tensor) else rate


_AT_REST: WeakSet[nn.Module] = WeakSet()  # modules that stayed in eval() during their latest `fit`


@contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    """Training mode, in which what was in `eval()` stays there; `eval()` afterwards, or after an error as before.

    A model that comes in `eval()` altogether, as an earlier `fit` or `load_pretrained` leaves it,
    trains altogether, without the parts that stayed in `eval()` then.
    """
    found = {module: module.training for module in model.modules()}
    resting = [module for module, training in found.items() if not training]
    if len(resting) == len(found):
        resting = [module for module in found if module in _AT_REST]
    model.train()
    for module in resting:
        module.training = module is model
    _AT_REST.difference_update(found)
    _AT_REST.update(module for module in resting if module is not model)
    try:
        yield
    except BaseException:
        for module, training in found.items():
            module.training = training
        raise
    model.eval()
