"""The LSTM meta-learner on Omniglot: shipped weights, the same start under SGD and Adam, and what each part brings.

    python results/run.py meta_lstm              # or: make results METHOD=meta_lstm
    python results/run.py meta_lstm_ablations
    python results/run.py meta_lstm_layer

The first takes about two hours on one core, the second a quarter of an hour, and so does the
third, which has the paper's first layer; all resumable.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from records import percent, record
from schedules import half_cosine
from torch import Tensor, nn

from mlbook import Result, evaluate, fit, load
from mlbook.data.files import write_tensors
from mlbook.lstm_meta_learner import MetaLSTM
from mlbook.lstm_meta_learner.meta_lstm import prep
from mlbook.nets import Conv4
from mlbook.pretrained import MODELS

HERE = Path(__file__).parent
WEIGHTS = HERE.parent / "mlbook" / "pretrained"
BIAS = -1.0  # of the input gate before training: i = 0.27; the paper's -4.5 takes longer to leave
RATE, GATES = 3e-3, 3e-2  # Adam's, for θ_0 and for the gates
ABLATION = 300  # steps
HIDDEN = (0, 20)  # units of the first layer: none, as shipped, and as many as in the authors' code
LAYER, SCREEN = 200, 30  # steps of training, and of those that choose the rate of gates and layer
GATE_RATES = (1e-2, 3e-3)
FILTERS, ASKED = (
    16,
    300,
)  # of the network; test tasks. With the layer a step takes seven times as long
RATES = {
    "sgd": [0.05, 0.07, 0.085, 0.1, 0.12, 0.14, 0.2, 0.4],
    "adam": [0.003, 0.005, 0.007, 0.01, 0.014, 0.02, 0.03],
}
COUNTS = (1, 3, 5, 10, 20)  # of steps that SGD and Adam may take
VALIDATION = 60  # tasks, for each pair of a rate and a count
STATISTICS = (
    "batch norm by the statistics of the task's support set, under the adapted weights (inductive)"
)
TEST = {1: 1000, 5: 600}  # tasks for SGD and Adam, by shots: with 25 pictures a step takes longer


class Stage(NamedTuple):
    """A stretch of training at 5 ways: 4 tasks a step with 5 queries a class, rates by half a cosine."""

    shots: int
    steps: int
    rate: float
    cosine: int


def train(
    name: str,
    model: MetaLSTM,
    stage: Stage,
    data: Any,
    val: Any = None,
    seed: int = 0,
    times: float = GATES / RATE,
) -> Any:
    """One stage; θ_0 learns at its rate and the gates at so many times that, if they learn at all."""
    gates = [p for k, p in model.named_parameters() if not k.startswith("net.") and p.requires_grad]
    groups = [{"params": model.net.parameters(), "lr": stage.rate}]
    groups += [{"params": gates, "lr": times * stage.rate}] if gates else []
    return fit(
        model,
        data.episodes(5, stage.shots, 5, tasks=4, seed=seed),
        steps=stage.steps,
        optimizer=torch.optim.Adam(groups),
        schedule=lambda k: half_cosine(k / stage.cosine),
        validate=val and val.episodes(5, stage.shots, 15, rotations=True),
        validate_every=1500,
        validate_tasks=100,
        checkpoint=HERE / "runs" / f"{name}.safetensors",
        checkpoint_every=min(250, stage.steps // 4),
    )


def descend(model: MetaLSTM, optimizer: str, rate: float) -> MetaLSTM:
    """The same learner from the same θ_0, its steps taken by SGD (the gates held at 1 and `rate`) or Adam."""
    fixed = copy.deepcopy(model)
    hold(fixed.f, 40.0)
    hold(fixed.i, math.log(rate / (1 - rate)))
    if optimizer == "adam":
        fixed.inner_loop = lambda x, y, steps: adam(fixed, rate, x, y, steps)  # type: ignore[method-assign]
    return fixed


def hold(gate: nn.Linear, bias: float) -> None:
    """A gate that is blind to its inputs, and is not trained."""
    with torch.no_grad():
        gate.weight.zero_()
        gate.bias.fill_(bias)
    gate.requires_grad_(False)


def adam(model: MetaLSTM, rate: float, x: Tensor, y: Tensor, steps: int) -> Tensor:
    """`MetaLSTM.inner_loop` with Adam in place of the gates; coordinates are independent, so tasks are too."""
    start = torch.cat([p.flatten() for p in model.net.parameters()])
    theta = start.detach().repeat(len(x), 1).requires_grad_()
    optimizer = torch.optim.Adam([theta], rate)
    for _ in range(steps):
        with torch.enable_grad():
            scores = model.scores(theta, x, model.no_stats(len(x)))
            losses = torch.func.vmap(model.inner_loss)(scores, y)
            (theta.grad,) = torch.autograd.grad(losses.sum(), theta)
        optimizer.step()
    return theta.detach()


def best(model: MetaLSTM, optimizer: str, rates: list[float], tasks: Any) -> dict[str, Any]:
    """The rate and the number of steps at which the optimizer does best on validation tasks."""
    tried: list[tuple[float, float, int]] = []
    for rate in rates:
        for steps in COUNTS:
            result = evaluate(descend(model, optimizer, rate), tasks, n=VALIDATION, steps=steps)
            tried.append((result.mean, rate, steps))
    accuracy, rate, steps = max(tried)
    accuracies = {f"{r:g} x {k}": round(100 * a, 2) for a, r, k in tried}
    return {
        "rate": rate,
        "steps": steps,
        "validation": round(100 * accuracy, 2),
        "tasks": VALIDATION,
        "tried": accuracies,
    }


def same_start(model: MetaLSTM, tasks: Any, tune: Any, ours: Result, n: int) -> dict[str, Any]:
    """SGD and Adam from the model's θ_0, each tuned on validation tasks; on the first n test tasks of `ours`."""
    others: dict[str, Any] = {}
    for optimizer, rates in RATES.items():
        chosen = best(model, optimizer, rates, tune)
        fixed = descend(model, optimizer, chosen["rate"])
        result = evaluate(fixed, tasks, n=n, steps=chosen["steps"])
        paired = Result(ours.values[:n] - result.values)
        others[optimizer] = (
            chosen
            | percent(result)
            | {
                "gain": round(100 * paired.mean, 3),
                "gain_interval": round(100 * paired.interval, 3),
            }
        )
    return others


def meta_lstm() -> None:
    """One network for 1 shot and, trained further, one for 5; no paper has a figure on Omniglot."""
    data, val, test = load("omniglot").split("characters", seed=0)
    torch.manual_seed(0)
    model, seconds = MODELS["meta_lstm"](), 0.0
    assert isinstance(model, MetaLSTM)
    nn.init.constant_(model.i.bias, BIAS)
    stages = {
        "meta_lstm": [Stage(1, 6000, RATE, 10_000), Stage(1, 800, RATE / 3, 800)],
        "meta_lstm_5_shot": [Stage(5, 800, RATE / 3, 800)],
    }
    for name, parts in stages.items():
        validation: list[Any] = []
        for i, stage in enumerate(parts):
            history = train(f"{name}_{i}", model, stage, data, val, seed=i)
            seconds, validation = seconds + history.seconds, [*validation, history.validation]
        shots = parts[0].shots
        halves = {
            k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()
        }
        model.load_state_dict(halves)  # what is measured is what is shipped
        protocol = (
            "Omniglot 'characters' split, seed 0 (1100/100/423 characters); 28x28; classes turned by multiples of "
            f"90 degrees in training and at meta-test; Conv4-32 with a linear layer; no first layer of the "
            f"meta-learner (hidden=0); input gate's bias {BIAS:g} at first; "
            + ("" if shots == 1 else "from the weights for 1 shot on, ")
            + "; then ".join(
                f"{s.steps:,} steps of 4 5-way {s.shots}-shot tasks with 5 queries a class, Adam at {s.rate:g} for "
                f"θ_0 and at {s.rate * GATES / RATE:g} for the gates, half-cosine to 0 at step {s.cosine:,}"
                for s in parts
            )
            + f"; {model.steps} inner steps; {STATISTICS}"
        )
        tasks = test.episodes(5, shots, 15, rotations=True, seed=1)
        tune = val.episodes(5, shots, 15, rotations=True, seed=2)
        ours = evaluate(model, tasks, n=1000)
        record(
            "meta_lstm",
            f"5w{shots}s",
            ours,
            paper=None,
            protocol=protocol,
            ways=5,
            shots=shots,
            queries=15,
            weights=name,
            stages=[s._asdict() for s in parts],
            steps=sum(s.steps for s in parts),
            seed=0,
            seconds=round(seconds),
            validation=validation,
            same_start=same_start(model, tasks, tune, ours, TEST[shots]),
        )
        about = {"method": "meta_lstm", "protocol": protocol}
        write_tensors(WEIGHTS / f"{name}.safetensors", halves, about)


def raw(x: Tensor) -> Tensor:
    """In place of the pre-processing: x as it is."""
    return torch.stack([x, torch.zeros_like(x)], -1)


def no_forget_gate(model: MetaLSTM) -> None:
    """f = 1."""
    hold(model.f, 40.0)


def start_only(model: MetaLSTM) -> None:
    """f = 1 and i = σ(BIAS): gradient descent from a learned start, which is first-order MAML."""
    hold(model.f, 40.0)
    hold(model.i, BIAS)


def papers_bias(model: MetaLSTM) -> None:
    """The input gate's bias as it was drawn, between -5 and -4."""
    torch.manual_seed(1)
    nn.init.uniform_(model.i.bias, -5, -4)


ABLATIONS: dict[str, Callable[[MetaLSTM], None]] = {
    "whole": lambda model: None,
    "no_forget_gate": no_forget_gate,
    "no_preprocessing": lambda model: None,
    "start_only": start_only,
    "papers_bias": papers_bias,
}


def meta_lstm_ablations() -> None:
    """5 ways, 1 shot, few steps of training, one part changed at a time, on the same validation and test tasks."""
    data, _, test = load("omniglot").split("characters", seed=0)
    tasks = test.episodes(5, 1, 15, rotations=True, seed=1)
    whole: Result | None = None
    for name, change in ABLATIONS.items():
        torch.manual_seed(0)
        model = MODELS["meta_lstm"]()
        assert isinstance(model, MetaLSTM)
        nn.init.constant_(model.i.bias, BIAS)
        change(model)
        seen = raw if name == "no_preprocessing" else prep
        with patch("mlbook.lstm_meta_learner.meta_lstm.prep", seen):
            stage = Stage(1, ABLATION, RATE, ABLATION)
            history = train(f"meta_lstm_{name}", model, stage, data)
            result = evaluate(model, tasks, n=600)
        whole = whole or result
        paired = Result(result.values - whole.values)
        record(
            "meta_lstm_ablations",
            name,
            result,
            protocol=f"{ABLATION} steps of 4 5-way 1-shot tasks with 5 queries a class, Adam at {RATE:g} for θ_0 "
            f"and at {GATES:g} for the gates, half-cosine to 0; {STATISTICS}",
            steps=ABLATION,
            seed=0,
            seconds=round(history.seconds),
            against_whole={
                "gain": round(100 * paired.mean, 3),
                "interval": round(100 * paired.interval, 3),
            },
        )


def with_layer(hidden: int, rate: float, steps: int, data: Any) -> tuple[MetaLSTM, float]:
    """A model with so many units in the first layer, trained from seed 0, and the seconds that it took."""
    torch.manual_seed(0)
    model = MetaLSTM(nn.Sequential(Conv4(hidden=32), nn.Linear(32, 5)), hidden=hidden)
    nn.init.constant_(model.i.bias, BIAS)
    name, stage = f"meta_lstm_layer_{hidden}_{rate:g}_{steps}", Stage(1, steps, RATE, steps)
    return model, train(name, model, stage, data, times=rate / RATE).seconds


def meta_lstm_layer() -> None:
    """Without and with the paper's first layer: 5 ways, 1 shot, few steps, the same tasks for both."""
    data, val, test = load("omniglot").split("characters", seed=0)
    tune = val.episodes(5, 1, 15, rotations=True, seed=2)
    tasks = test.episodes(5, 1, 15, rotations=True, seed=1)
    without: Result | None = None
    for hidden in HIDDEN:
        tried = {}
        for rate in GATE_RATES:
            model, _ = with_layer(hidden, rate, SCREEN, data)
            tried[rate] = round(100 * evaluate(model, tune, n=VALIDATION).mean, 2)
            print(f"hidden={hidden}, {SCREEN} steps at {rate:g}: {tried[rate]} %", flush=True)
        chosen = max(tried, key=lambda rate: tried[rate])
        model, seconds = with_layer(hidden, chosen, LAYER, data)
        result = evaluate(model, tasks, n=ASKED)
        without = without or result
        paired = Result(result.values - without.values)
        record(
            "meta_lstm_layer",
            f"hidden{hidden:02}",
            result,
            protocol=f"Conv4-32 with a linear layer; {LAYER} steps of 4 5-way 1-shot tasks with 5 queries a "
            f"class, Adam at {RATE:g} for θ_0 and at {chosen:g} for gates and first layer, the best of "
            f"{', '.join(f'{r:g}' for r in GATE_RATES)} on {VALIDATION} validation tasks after {SCREEN} steps, "
            f"half-cosine to 0; input gate's bias {BIAS:g} at first; {model.steps} inner steps; {STATISTICS}",
            hidden=hidden,
            numbers=sum(p.numel() for k, p in model.named_parameters() if not k.startswith("net.")),
            rate=chosen,
            tried={f"{rate:g}": accuracy for rate, accuracy in tried.items()},
            steps=LAYER,
            seed=0,
            seconds=round(seconds),
            against_without={
                "gain": round(100 * paired.mean, 3),
                "interval": round(100 * paired.interval, 3),
            },
        )
