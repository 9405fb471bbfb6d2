"""What the model-based methods cost: a meta-step, learning one task, and the numbers in which the task is kept.

    python results/run.py model_based_cost        # or: make results METHOD=model_based_cost

Every method sees the same pictures through the same network, on one CPU thread, and so do a Prototypical Network
and MAML, for comparison. Weights are untrained and pictures random: a step costs the same with any. Half a minute.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from optimization_cost import HIDDEN, QUERIES, TASKS, WAYS
from torch import Tensor, nn

from mlbook.data.files import atomic
from mlbook.metric import PrototypicalNetwork
from mlbook.model_based import MANN, HyperNetwork, InContextTransformer, LSTMControl, MetaNetwork
from mlbook.nets import Conv4
from mlbook.optimization import MAML
from mlbook.results import FOLDER

SHOTS = (1, 5, 20)
STEPS = 10  # of MAML at meta-test
ROUNDS = 9


def body(**options: Any) -> nn.Module:
    return Conv4(hidden=HIDDEN, **options)


METHODS: dict[str, Callable[[], nn.Module]] = {
    "lstm_control": lambda: LSTMControl(body(), HIDDEN, WAYS),
    "mann": lambda: MANN(body(), HIDDEN, WAYS),
    "meta_network": lambda: MetaNetwork(body(), HIDDEN, WAYS),
    "hypernetwork": lambda: HyperNetwork(body(), HIDDEN),
    "in_context": lambda: InContextTransformer(body(), HIDDEN, WAYS),
    "prototypical": lambda: PrototypicalNetwork(body()),
    "maml": lambda: MAML(
        nn.Sequential(body(track_running_stats=False), nn.Linear(HIDDEN, WAYS)), steps=1
    ),
}


def pictures(tasks: int, shots: int) -> tuple[Tensor, Tensor]:
    """Random pictures `[T, N K, 1, 28, 28]` and their labels."""
    y = torch.arange(WAYS).repeat(tasks, shots)
    return torch.rand(*y.shape, 1, 28, 28), y


def kept(model: Any, x: Tensor, y: Tensor) -> int:
    """How many numbers stand for one task when its support set x, y has been read."""
    if isinstance(model, PrototypicalNetwork):
        state = [model.embed(x[0])[:WAYS]]  # one mean a class
    elif isinstance(model, MAML):
        state = [*model.net.parameters()]
    elif isinstance(model, MetaNetwork):
        state = [s for s in model.learn(model.features(x), y) if s is not None]
    elif isinstance(model, HyperNetwork):
        state = [*model.weights(model.f(x), y)]
    elif isinstance(model, InContextTransformer):
        state = model.read(model.f(x), y)
    else:
        state = [*model.unroll(x, torch.zeros(*y.shape, WAYS))[1]]
    return sum(s.numel() for s in state)


def work(model: Any, how: dict[str, int]) -> list[Callable[[], object]]:
    """What is timed: a meta-step in train() mode, and adapting to one task in eval() mode, for each of the shots."""
    episode = *pictures(TASKS, 1), *pictures(TASKS, QUERIES)
    supports = [pictures(1, shots) for shots in SHOTS]

    def step() -> None:
        model.train().loss(*episode).backward()

    def adapt(x: Tensor, y: Tensor) -> None:
        with torch.no_grad():
            model.eval().adapt(x, y, **how)

    return [step, *(partial(adapt, *support) for support in supports)]


def model_based_cost() -> None:
    """Measure everything and write one JSON."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    models: dict[str, Any] = {method: make() for method, make in METHODS.items()}
    works = {m: work(model, {"steps": STEPS} if m == "maml" else {}) for m, model in models.items()}
    times: dict[tuple[str, int], list[float]] = {}
    for _ in range(
        1 + ROUNDS
    ):  # method after method, so that a slow moment of the machine meets all
        for method, todo in works.items():
            for i, what in enumerate(todo):
                started = time.process_time()
                what()
                times.setdefault((method, i), []).append(time.process_time() - started)
    cost = {}
    for method, model in models.items():
        # the first round is a warm-up
        step, *adapt = [round(1000 * min(times[method, i][1:]), 1) for i in range(1 + len(SHOTS))]
        with torch.no_grad():
            numbers = [kept(model.eval(), *pictures(1, shots)) for shots in SHOTS]
        cost[method] = {"step": step, "adapt": adapt, "kept": numbers}
    entry = {
        "method": "model_based_cost",
        "steps": STEPS,
        "shots": SHOTS,
        "cost": cost,
        "protocol": f"pictures of 28x28, {WAYS} ways, all through Conv4-{HIDDEN}; step: milliseconds of one meta-step, "
        f"loss and gradient, of {TASKS} 1-shot tasks with {QUERIES} queries a class (MAML: one inner step); adapt: "
        f"milliseconds of adapting to one task of 1, 5 or 20 shots (MAML: {STEPS} steps); kept: numbers that stand "
        f"for the task afterwards; time is that of the processor, the fastest of {ROUNDS} rounds",
        "hardware": f"CPU ({platform.machine()}), 1 thread",
        "torch": torch.__version__,
        "command": "make results METHOD=model_based_cost",
    }
    with atomic(FOLDER / "model_based_cost.json") as temporary:
        temporary.write_text(json.dumps(entry, indent=2) + "\n")
    for method, measured in cost.items():
        print(f"{method:14}", *measured.items())


if __name__ == "__main__":
    model_based_cost()
