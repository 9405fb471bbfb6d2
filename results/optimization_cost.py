"""What a meta-step of the optimization-based methods costs, in time and memory, against the steps of the inner loop.

    python results/run.py optimization_cost        # or: make results METHOD=optimization_cost

Every method gets the same tasks and the same network, on one CPU thread, and so does a Prototypical Network, for
comparison. Every measurement has a process of its own, because peak memory is that of a process. Weights
are untrained and pictures random: a step costs the same with any. About four minutes.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mlbook.data.files import atomic
from mlbook.metric import PrototypicalNetwork
from mlbook.nets import Conv4
from mlbook.optimization import ANIL, MAML, Reptile
from mlbook.results import FOLDER

STEPS = (1, 2, 5, 10)
TASKS, WAYS, SHOTS, QUERIES, HIDDEN = 4, 5, 1, 15, 32
PICTURES = WAYS * (SHOTS + QUERIES)  # of one task
ROUNDS = 9


def body() -> nn.Module:
    """The network of the page on MAML and Omniglot."""
    return Conv4(hidden=HIDDEN, track_running_stats=False)


def net() -> nn.Module:
    return nn.Sequential(body(), nn.Linear(HIDDEN, WAYS))


METHODS: dict[str, Callable[[int], nn.Module]] = {
    "maml": lambda steps: MAML(net(), steps=steps),
    "first_order_maml": lambda steps: MAML(net(), steps=steps, first_order=True),
    "anil": lambda steps: ANIL(body(), nn.Linear(HIDDEN, WAYS), steps=steps),
    # its mini-batches share out the task's pictures: each is seen once, as by the others
    "reptile": lambda steps: Reptile(net(), steps=steps, batch=PICTURES // steps),
    "prototypical": lambda steps: PrototypicalNetwork(body()),  # has no inner loop
}


def tasks(count: int, queries: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random pictures and labels, `count` tasks of them."""
    support_y = torch.arange(WAYS).repeat(count, SHOTS)
    query_y = torch.arange(WAYS).repeat(count, queries)
    support_x = torch.rand(*support_y.shape, 1, 28, 28)
    return support_x, support_y, torch.rand(*query_y.shape, 1, 28, 28), query_y


def peak() -> float:
    """The most memory that this process has had so far, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def measure(what: str, method: str, steps: int) -> float:
    """Of one meta-step, loss and gradient: the fewest seconds of the processor, or the memory in MB.

    The memory is what it takes beyond a very small meta-step.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = METHODS[method](steps)
    model.loss(*tasks(1, 1)).backward()  # type: ignore[operator]  # libraries are loaded by now
    before, batch, seconds = peak(), tasks(TASKS, QUERIES), []  # the first is a warm-up
    for _ in range(1 + ROUNDS if what == "seconds" else 1):
        model.zero_grad()
        started = time.process_time()
        model.loss(*batch).backward()  # type: ignore[operator]
        seconds.append(time.process_time() - started)
    return min(seconds[1:]) if what == "seconds" else peak() - before


def in_its_own_process(what: str, method: str, steps: int) -> float:
    """The same, in a process that ends with it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if what == "megabytes":  # glibc gives all memory back at once, so the peak is what is in use
        environment = {k: v for k, v in environment.items() if not k.startswith("MALLOC_")}
        environment["MALLOC_MMAP_THRESHOLD_"] = "8192"
    command = [sys.executable, __file__, what, method, str(steps)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return float(done.stdout)


def optimization_cost() -> None:
    """Measure everything and write one JSON."""
    cost: dict[str, dict[str, list[float]]] = {}
    for method in METHODS:
        for what, digits in (("seconds", 4), ("megabytes", 1)):
            steps = STEPS if method != "prototypical" else (0,)
            measured = [round(in_its_own_process(what, method, k), digits) for k in steps]
            cost.setdefault(method, {})[what] = measured
    entry = {
        "method": "optimization_cost",
        "steps": STEPS,
        "cost": cost,
        "protocol": f"one meta-step, loss and gradient, of {TASKS} tasks of {WAYS} ways, {SHOTS} shot and {QUERIES} "
        f"queries a class, 28x28; Conv4-{HIDDEN}; one value for each number of inner steps (one in all "
        "for prototypical, which has none); Reptile shares the pictures of a task out over its steps; every cell in "
        f"a process of its own; time is that of the processor, the fastest of {ROUNDS} meta-steps; memory is the "
        "peak of the process less that after one very small meta-step",
        "hardware": f"CPU ({platform.machine()}), 1 thread",
        "torch": torch.__version__,
        "command": "make results METHOD=optimization_cost",
    }
    with atomic(FOLDER / "optimization_cost.json") as temporary:
        temporary.write_text(json.dumps(entry, indent=2) + "\n")
    for method, measured in cost.items():
        print(f"{method:18}", *measured.items())


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(measure(sys.argv[1], sys.argv[2], int(sys.argv[3])))
    else:
        optimization_cost()
