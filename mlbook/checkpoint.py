"""Saving a run of `fit` and going on with it: one file, exact to the bit, and never another run's."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn

from mlbook.data.files import alone, read_tensors, remove_leftovers, write_tensors

File = tuple[dict[str, Tensor], dict[str, Any]]  # its tensors and its facts

# of an optimizer's settings: how it computes, not what; its parameters are compared by name
NOT_COMPARED = ("params", "foreach", "fused", "capturable")


@contextmanager
def opened(checkpoint: str | os.PathLike[str]) -> Iterator[Path]:
    """The path of a checkpoint in a folder that can be written, locked.

    The lock is a file beside it, and ends with this process however that ends. What killed processes
    left behind is removed.

    Raises:
        ValueError: If `checkpoint` is no file, its folder cannot be written, or another run has it.
    """
    with ExitStack() as stack:
        try:
            path = Path(checkpoint).expanduser()
            if path.exists() and not path.is_file():
                raise OSError(f"it is {'a folder' if path.is_dir() else 'no ordinary file'}")
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(path)
            with tempfile.TemporaryFile(dir=path.parent) as trial:
                trial.write(bytes(1 << 16))  # a full disk lets files be made, but not filled
            stack.enter_context(alone(path.with_name(f".{path.name}.lock"), wait=False))
        except BlockingIOError as error:
            raise ValueError(
                f"{path} is in use by another run ({error}): wait for its end, or name another file"
            ) from error
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"checkpoint={str(checkpoint)!r} cannot be written: {error}; name a file in a folder of yours, "
                "'runs/proto.safetensors' say"
            ) from error
        yield path


class Checkpoint:
    """What is saved of a run, and what must be the same when it is resumed.

    Args:
        path: The file.
        model: Whose state is saved.
        optimizer: Whose state is saved.
        device: Where the run is; that device's random state is saved with the CPU's.
        tasks: What the run is trained on. If it has a `fingerprint`, that is compared.
        seed: Compared.

    Raises:
        ValueError: If the model's state holds what cannot be written, such as objects.
    """

    def __init__(
        self,
        path: Path,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        tasks: Any,
        seed: int,
    ) -> None:
        self.path, self.model, self.optimizer, self.device = path, model, optimizer, device
        self.run = _identity(model, optimizer, tasks, seed)
        self.born = {name: _kind(value) for name, value in self._state().items()}
        self.check()

    def check(self) -> None:
        """Raise `ValueError` if there is something in the model's or the optimizer's state that cannot be written."""
        for part in (self._state(), self.optimizer.state_dict()):
            flatten(part, "state", {})

    def save(self, step: int, history: dict[str, Any], rates: list[Any]) -> None:
        """Write all that a run needs to go on after so many steps.

        Args:
            step: Steps done.
            history: The fields of a `History`.
            rates: The learning rate of each of the optimizer's groups, or nothing, to go on with those
                that the optimizer comes with.

        Raises:
            OSError: If the file cannot be written; the one from before is kept.
        """
        tensors: dict[str, Tensor] = {}
        metrics = {k: torch.tensor(v, dtype=torch.float64) for k, v in history["metrics"].items()}
        facts = {
            "step": step,
            "run": self.run,
            "born": self.born,
            "model": flatten(self._state(), "model", tensors),
            "optimizer": flatten(self.optimizer.state_dict()["state"], "optimizer", tensors),
            "rates": flatten(rates, "rates", tensors),
            "random": flatten(random_state(self.device), "random", tensors),
            "history": flatten(history | {"metrics": metrics}, "history", tensors),
        }
        try:
            write_tensors(self.path, tensors, facts)
        except OSError as error:
            kept = f" {self.path} from before is kept." if self.path.exists() else ""
            raise OSError(
                error.errno, f"the checkpoint of step {step} could not be written: {error}.{kept}"
            ) from error

    def restore(self, file: File, steps: int) -> tuple[int, dict[str, Any]]:
        """Put what was saved back into model, optimizer and torch's generators.

        Args:
            file: What `load` gave.
            steps: That the run shall have in the end.

        Returns:
            The steps done and the history.

        Raises:
            ValueError: If it belongs to another run, by name, or does not hold what it must. Nothing
                is changed then.
        """
        tensors, facts = file
        try:
            step, born, unused = facts["step"], dict(facts["born"]), dict(tensors)
            model, optimizer, random, history = (
                unflatten(facts[name], name, unused)
                for name in ("model", "optimizer", "random", "history")
            )
            rates = list(unflatten(facts.get("rates", {"list": []}), "rates", unused))
            if unused:
                raise ValueError(f"{', '.join(unused)} stand nowhere")
            history["metrics"] = {k: v.tolist() for k, v in history["metrics"].items()}
            if type(step) is not int or step < 1 or len(history["metrics"]["loss"]) != step:
                raise ValueError(f"step is {step!r}")
            history["validation"] = [(int(k), float(m), float(i)) for k, m, i in history["validation"]]  # fmt: skip
            history["seconds"] = float(history["seconds"])
            state = {int(i): dict(entries) for i, entries in optimizer.items()}
            kinds = {name: _kind(value) for name, value in model.items()}
            run = dict(facts["run"])
            if not state.keys() <= set(range(sum(map(len, run["parameters"])))):
                raise ValueError("there is state of parameters that the optimizer did not have")
            torch.Generator().set_state(random["cpu"])
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{self.path} is damaged: it lacks what a run needs ({type(error).__name__}: {error}); "
                "move it away or delete it, and run again"
            ) from error
        self._refuse_another_model(born, kinds)
        self._refuse_another_run(run)
        if step > steps:
            raise ValueError(
                f"steps={steps}, and {self.path} has {step} already; ask for more, or name another file"
            )
        _restore_model(self.model, model)
        _restore_optimizer(self.optimizer, state)
        for group, rate in zip(self.optimizer.param_groups, rates, strict=False):
            if rate is not None:
                group["lr"] = rate
        set_random_state(random, self.device)
        self.born = born
        return step, history

    def _state(self) -> dict[str, Any]:
        return {_plain_name(name): value for name, value in self.model.state_dict().items()}

    def _refuse_another_model(self, born: dict[str, Any], saved: dict[str, Any]) -> None:
        """Each part must be as it was when the run began or when it was saved; more may have been made in training."""
        here = {name: _kind(value) for name, value in self._state().items()}
        for name in {**born, **here}:
            if here.get(name) not in (born.get(name), saved.get(name)) or name not in saved:
                raise ValueError(
                    f"{self.path} belongs to another model, with {name}: {saved.get(name)}, and {here.get(name)} "
                    "in this one; delete it or name another file"
                )

    def _refuse_another_run(self, saved: dict[str, Any]) -> None:
        for name in {**self.run, **saved}:
            there, here = (json.dumps(run.get(name)) for run in (saved, self.run))
            if there != here:
                there, here = (shorten(text, 100) for text in (there, here))
                raise ValueError(
                    f"{self.path} belongs to a run with {name}={there}, not {name}={here}; "
                    "go on as it began, or name another file"
                )


def _plain_name(name: str) -> str:
    return name.replace("_orig_mod.", "")  # what `torch.compile` adds


def _kind(value: Any) -> Any:
    """Type and shape of a tensor; None of anything else."""
    return [str(value.dtype), list(value.shape)] if isinstance(value, Tensor) else None


def _identity(
    model: nn.Module, optimizer: torch.optim.Optimizer, tasks: Any, seed: int
) -> dict[str, Any]:
    """What must be the same when a run is resumed, by name, in plain values."""
    names = {id(p): _plain_name(name) for name, p in model.named_parameters()}
    groups = optimizer.param_groups
    run: dict[str, Any] = {
        "seed": seed,
        "tasks": getattr(tasks, "fingerprint", None),
        "optimizer": type(optimizer).__name__,
        "parameters": [[names[id(p)] for p in group["params"]] for group in groups],
    }
    for i, group in enumerate(groups):
        for name, value in group.items():
            if name not in NOT_COMPARED:
                run[name if i == 0 else f"{name} of group {i}"] = value

    def plain(value: Any) -> Any:
        return value.tolist() if hasattr(value, "tolist") else type(value).__name__

    return dict(json.loads(json.dumps(run, default=plain)))


def flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Plain JSON in the place of a tree of dicts, lists, tuples, numbers, texts and tensors; `unflatten` undoes it.

    Args:
        value: The tree.
        name: What its tensors are called, with the keys that lead to them.
        tensors: Where they are put.

    Raises:
        ValueError: If there is something else in the tree.
    """
    if isinstance(value, Tensor):
        if value.layout is not torch.strided:
            raise ValueError(f"{name} is {value.layout}: a checkpoint holds dense tensors only")
        while name in tensors:
            name += "'"
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, dict):
        return {
            "dict": [[flatten(k, name, tensors), flatten(v, f"{name}.{k}", tensors)]
                     for k, v in value.items()]
        }  # fmt: skip
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [flatten(v, f"{name}.{i}", tensors) for i, v in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(
        f"{name} is a {type(value).__name__}: a checkpoint holds tensors, numbers and text, and dicts and lists "
        "of them, since nothing is unpickled; turn it into these, or leave checkpoint= out"
    )


def unflatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """The tree that `flatten` made plain; each tensor is taken out of `tensors`.

    Raises:
        KeyError, TypeError, ValueError: If it is not one, or tensors stand in other places than they
            are called by.
    """
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        if content.rstrip("'") != name:
            raise ValueError(f"{content} stands at {name}")
        return tensors.pop(content)
    if kind == "dict":
        pairs = [(unflatten(k, name, tensors), v) for k, v in content]
        return {k: unflatten(v, f"{name}.{k}", tensors) for k, v in pairs}
    items = (unflatten(v, f"{name}.{i}", tensors) for i, v in enumerate(content))
    return {"list": list, "tuple": tuple}[kind](items)


@torch.no_grad()
def _restore_model(model: nn.Module, saved: dict[str, Any]) -> None:
    state = model.state_dict()
    names = {_plain_name(name): name for name in state}
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    for plain, value in saved.items():
        name = names.get(plain, plain)
        here = state.get(name)
        if not isinstance(value, Tensor):
            state[name] = value  # a module's extra state
        elif _kind(here) != _kind(value):  # a buffer that was made, or has grown, in training
            owner, _, leaf = name.rpartition(".")
            model.get_submodule(owner).register_buffer(leaf, value.to(device))
            state[name] = value
        elif (
            isinstance(here, Tensor) and 0 in here.stride()
        ):  # numbers of an expanded tensor share their memory
            once = tuple(slice(None if step else 1) for step in here.stride())
            here[once].copy_(value[once])
            del state[name]
        else:
            state[name] = value
    model.load_state_dict(state, strict=False)  # the names have been compared


def _restore_optimizer(optimizer: torch.optim.Optimizer, saved: dict[int, dict[str, Any]]) -> None:
    """As it was, in the memory order of the parameters, and with the settings that the optimizer has now."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for i, entries in saved.items():
        for name, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameters[i].shape:
                like = torch.empty_like(parameters[i], dtype=value.dtype, device="cpu")
                entries[name] = like.copy_(value)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": saved, "param_groups": groups})
    for i, entries in saved.items():  # torch gives them the type of their parameter
        now = optimizer.state[parameters[i]]
        for name, value in entries.items():
            if isinstance(value, Tensor) and now[name].dtype != value.dtype:
                now[name] = value.to(now[name].device)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's default generators: the CPU's, and that of `device`."""
    states = {"cpu": torch.get_rng_state()}
    if (own := _generator_module(device)) is not None:
        states[device.type] = own.get_rng_state(*_which(device))
    return states


def set_random_state(states: dict[str, Tensor], device: torch.device) -> None:
    """Give torch's default generators the states that `random_state` gave; those of other devices are left alone."""
    torch.set_rng_state(states["cpu"])
    own = _generator_module(device)
    if own is not None and device.type in states:
        own.set_rng_state(states[device.type], *_which(device))


def _generator_module(device: torch.device) -> Any:
    module = None if device.type == "cpu" else getattr(torch, device.type, None)
    return module if hasattr(module, "get_rng_state") else None


def _which(device: torch.device) -> tuple[torch.device, ...]:
    return () if device.type == "mps" else (device,)  # of which there is one


def load(path: Path) -> File | None:
    """What a checkpoint holds; None if there is none yet."""
    return read_tensors(path) if path.exists() else None
