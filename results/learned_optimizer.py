"""A learned optimizer on quadratics and on small classifiers, beside four others with their rates tuned.

    python results/run.py learned_optimizer         # or: make results METHOD=learned_optimizer

A quarter of an hour on one core; resumable.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from records import write
from schedules import half_cosine
from torch import Tensor, nn

from mlbook import Result, fit, load
from mlbook.data.files import write_tensors
from mlbook.data.problems import Classifiers, Objective, Quadratics, classifier, quadratic
from mlbook.lstm_meta_learner import LearnedOptimizer
from mlbook.pretrained import MODELS

HERE = Path(__file__).parent
STEPS, TEST = 100, 256
OTHERS: dict[str, Callable[[list[Tensor], float], torch.optim.Optimizer]] = {
    "sgd": lambda p, rate: torch.optim.SGD(p, rate),
    "momentum": lambda p, rate: torch.optim.SGD(p, rate, momentum=0.9),
    "rmsprop": lambda p, rate: torch.optim.RMSprop(p, rate),
    "adam": lambda p, rate: torch.optim.Adam(p, rate),
}
RATES = [10 ** (k / 8) for k in range(-28, 13)]  # 0.0003 to 32


class Stage(NamedTuple):
    """So many steps on `tasks` quadratics each, Adam at `rate`, by half a cosine to 0."""

    steps: int
    tasks: int
    rate: float


def geometric(f: Tensor) -> Tensor:
    """The mean of logarithms: a factor counts the same wherever it is gained."""
    return f.log().mean()


def descend(name: str, rate: float, f: Objective, problem: tuple[Tensor, ...]) -> Tensor:
    """All f `[STEPS + 1, B]` of one of the four optimizers, from the same θ_0; problems do not touch each other."""
    theta = problem[0].clone().requires_grad_()
    optimizer, seen = OTHERS[name]([theta], rate), []
    for _ in range(STEPS):
        loss = f(theta, *problem[1:])
        seen.append(loss.detach())
        (theta.grad,) = torch.autograd.grad(loss.sum(), theta)
        optimizer.step()
    return torch.stack([*seen, f(theta, *problem[1:]).detach()])


def tuned(name: str, f: Objective, problem: tuple[Tensor, ...]) -> tuple[float, list[list[float]]]:
    """The rate with the lowest geometric mean after the last step, and that mean for each rate."""
    sweep = []
    for rate in RATES:
        value = geometric(descend(name, rate, f, problem)[-1]).exp().item()
        sweep.append([rate, value if math.isfinite(value) else math.inf])
    finite = [[round(rate, 5), round(value, 6)] for rate, value in sweep if value < math.inf]
    return min(sweep, key=lambda pair: pair[1])[0], finite


def learn(stages: list[Stage]) -> tuple[LearnedOptimizer, float]:
    """Meta-train on quadratics; the model and the seconds that it took."""
    torch.manual_seed(0)
    model, seconds = MODELS["learned_optimizer"](), 0.0
    assert isinstance(model, LearnedOptimizer)
    model.mean, model.steps, model.second_order, model.clip = geometric, STEPS, True, 1.0
    for i, stage in enumerate(stages):
        optimizer = torch.optim.Adam(model.parameters(), stage.rate)
        optimizer.register_step_pre_hook(clip)
        history = fit(
            model,
            Quadratics(tasks=stage.tasks, seed=i),
            steps=stage.steps,
            optimizer=optimizer,
            schedule=lambda k, n=stage.steps: half_cosine(k / n),
            checkpoint=HERE / "runs" / f"learned_optimizer_{i}.safetensors",
            checkpoint_every=20,
        )
        seconds += history.seconds
    return model, seconds


def clip(optimizer: torch.optim.Optimizer, *_: object) -> None:
    """Before each step: the gradient's norm is at most 5."""
    nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 5.0)


def run(model: LearnedOptimizer, f: Objective, unit: float, problem: tuple[Tensor, ...]) -> Tensor:
    """All f `[STEPS + 1, B]` if the rule is given unit · f to minimise."""
    model.f = lambda *at: unit * f(*at)
    return model.minimise(*problem, steps=STEPS)[0] / unit


def compare(
    setting: str,
    model: LearnedOptimizer,
    f: Objective,
    units: list[float],
    validation: tuple[Tensor, ...],
    test: tuple[Tensor, ...],
    **facts: object,
) -> None:
    """Tune the four others, and the unit of the rule, on validation problems; measure all on the same test problems."""
    tried = [[unit, geometric(run(model, f, unit, validation)[-1]).exp().item()] for unit in units]
    unit, check = min(tried, key=lambda pair: pair[1])
    curves, sweeps = (
        {"learned": run(model, f, unit, test)},
        {"learned": {"unit": unit, "sweep": tried}},
    )
    for other in OTHERS:
        rate, sweep = tuned(other, f, validation)
        sweeps[other] = {"rate": round(rate, 5), "sweep": sweep}
        curves[other] = descend(other, rate, f, test)
    learned = curves["learned"][-1]
    entry: dict[str, Any] = {
        "problems": len(learned),
        "seed": 0,
        "validation": check,
        **facts,
        "optimizers": {},
    }
    for other, values in curves.items():
        log = Result(values[-1].log())
        gain = Result((values[-1] / learned).log())
        entry["optimizers"][other] = {
            **sweeps[other],
            "geometric_mean": math.exp(log.mean),
            "times": math.exp(log.interval),  # the 95 % interval: divided and multiplied by it
            "mean": values[-1].mean().item(),
            "over_learned": math.exp(gain.mean),
            "over_learned_times": math.exp(gain.interval),
            "curve": [float(f"{geometric(v).exp().item():.4g}") for v in values],
        }
        print(
            f"{setting}, {other}: {math.exp(log.mean):.4g}, {math.exp(gain.mean):.3g} times that learned",
            flush=True,
        )
    write("learned_optimizer", setting, **entry)


def learned_optimizer() -> None:
    """Trained on 10-dimensional quadratics; measured on others, and on networks of 20 hidden units on glyphs."""
    stages = [Stage(500, 64, 1e-2), Stage(300, 64, 3e-3)]
    model, seconds = learn(stages)
    trained = (
        f"rule of two LSTM layers of 20, moves scaled by {model.scale:g}, trained on 10-d quadratics: "
        + "; then ".join(
            f"{s.steps:,} steps of {s.tasks} problems, Adam at {s.rate:g}, half-cosine to 0"
            for s in stages
        )
        + f"; runs of {STEPS} unrolled by {model.unroll}, with second derivatives, gradient's norm at most 5; mean "
        "logarithm of f, summed over the run; rates of the others by the last of these on validation problems"
    )
    facts = {
        "steps": sum(s.steps for s in stages),
        "stages": [s._asdict() for s in stages],
        "seconds": round(seconds),
    }
    compare(
        "quadratics",
        model,
        quadratic,
        [1.0],
        Quadratics(tasks=256, seed=1000)[0],
        Quadratics(tasks=TEST, seed=1001)[0],
        protocol=f"|Wθ - y|² in 10 dimensions, W, y and θ_0 standard normal; {trained}",
        **facts,
    )
    weights = HERE.parent / "mlbook" / "pretrained" / "learned_optimizer.safetensors"
    about = {"method": "learned_optimizer", "protocol": trained}
    write_tensors(weights, dict(model.state_dict()), about)
    _, val, test = load("glyphs").split("characters", seed=0)
    compare(
        "classifier",
        model,
        classifier(),
        [1.0, 10.0, 100.0, 1e3, 1e4, 1e5],
        Classifiers(val, tasks=16, seed=1000)[0],
        Classifiers(test, tasks=64, seed=1001)[0],
        protocol="networks 49-20-10 with sigmoid on 10 pictures of each of 10 glyphs ('characters' split, seed 0), "
        f"full batches; the rule minimises the loss times a unit that validation chose; {trained}",
        **facts,
    )
