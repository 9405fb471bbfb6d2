"""A learned optimizer on quadratics and on small classifiers, beside eight others that are tuned.

    python results/run.py learned_optimizer         # or: make results METHOD=learned_optimizer
    python results/run.py learned_optimizer_again   # measures the shipped rule, without training it

A quarter of an hour on one core, resumable; the second ten minutes.
"""

from __future__ import annotations

import itertools
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
from mlbook.pretrained import MODELS, load_pretrained
from mlbook.results import stored

HERE = Path(__file__).parent
STEPS, TEST = 100, 256
RATES = [10 ** (k / 8) for k in range(-28, 13)]  # 0.0003 to 32
MOMENTA = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)


class Other(NamedTuple):
    """An optimizer of parameters, rate and momentum β; the β to try; whether the rate falls to 0 by half a cosine."""

    make: Callable[[list[Tensor], float, float], torch.optim.Optimizer]
    momenta: tuple[float, ...] = (0.9,)
    falls: bool = False


def _momentum(p: list[Tensor], rate: float, beta: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(p, rate, momentum=beta)


def _adam(p: list[Tensor], rate: float, beta: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(p, rate, betas=(beta, 0.999))


OTHERS = {
    "sgd": Other(_momentum, (0.0,)),
    "momentum": Other(_momentum),
    "rmsprop": Other(lambda p, rate, _: torch.optim.RMSprop(p, rate), (0.0,)),
    "adam": Other(_adam),
    "momentum_beta": Other(_momentum, (*MOMENTA, 0.995, 0.999)),
    "adam_beta": Other(_adam, MOMENTA),
    # like the learned rule, these two know that the run has 100 steps
    "momentum_cosine": Other(_momentum, MOMENTA, falls=True),
    "adam_cosine": Other(_adam, MOMENTA, falls=True),
}
Setting = tuple[float, float]  # rate and β


class Stage(NamedTuple):
    """So many steps on `tasks` quadratics each, Adam at `rate`, by half a cosine to 0."""

    steps: int
    tasks: int
    rate: float


def geometric(f: Tensor) -> Tensor:
    """The mean of logarithms: a factor counts the same wherever it is gained."""
    return f.log().mean()


def descend(name: str, setting: Setting, f: Objective, problem: tuple[Tensor, ...]) -> Tensor:
    """All f `[STEPS + 1, B]` of one of the others, from the same θ_0; problems do not touch each other."""
    theta, (rate, beta) = problem[0].clone().requires_grad_(), setting
    optimizer, seen = OTHERS[name].make([theta], rate, beta), []
    for k in range(STEPS):
        if OTHERS[name].falls:
            optimizer.param_groups[0]["lr"] = rate * half_cosine(k / STEPS)
        loss = f(theta, *problem[1:])
        seen.append(loss.detach())
        (theta.grad,) = torch.autograd.grad(loss.sum(), theta)
        optimizer.step()
    return torch.stack([*seen, f(theta, *problem[1:]).detach()])


def tuned(
    name: str, f: Objective, problem: tuple[Tensor, ...]
) -> tuple[Setting, list[list[float]]]:
    """Rate and β with the lowest geometric mean after the last step; that mean for each rate, at each rate's best β."""
    best: dict[float, tuple[float, float]] = {}
    momenta = OTHERS[name].momenta
    rates = RATES if len(momenta) == 1 else RATES[::2]
    for rate, beta in itertools.product(rates, momenta):
        value = geometric(descend(name, (rate, beta), f, problem)[-1]).exp().item()
        if math.isfinite(value):
            best[rate] = min(best.get(rate, (math.inf, 0.0)), (value, beta))
    rate = min(best, key=lambda r: best[r])
    beta = best[rate][1]
    assert rates[0] < rate < rates[-1], f"{name}: the best rate is at the end of the range"
    assert len(momenta) == 1 or beta < momenta[-1], f"{name}: so is the best β, {beta}"
    sweep = [[round(r, 5), round(value, 8), b] for r, (value, b) in best.items()]
    return (rate, beta), sweep if len(momenta) > 1 else [row[:2] for row in sweep]


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


def choose(
    model: LearnedOptimizer, f: Objective, units: list[float], validation: tuple[Tensor, ...]
) -> tuple[float, dict[str, Setting], dict[str, dict[str, Any]]]:
    """On validation problems: the unit of the rule, rate and β of the others, and what was tried."""
    tried = [[c, geometric(run(model, f, c, validation)[-1]).exp().item()] for c in units]
    unit, value = min(tried, key=lambda pair: pair[1])
    told: dict[str, dict[str, Any]] = {
        "learned": {"unit": unit, "validation": value, "sweep": tried}
    }
    settings = {}
    for name, other in OTHERS.items():
        settings[name], sweep = tuned(name, f, validation)
        rate, beta = settings[name]
        told[name] = {"rate": round(rate, 5)}
        told[name] |= {"momentum": beta} if len(other.momenta) > 1 else {}
        told[name] |= {"sweep": sweep}
        print(f"{name}: {rate:.3g}, {beta:g}", flush=True)
    return unit, settings, told


def compare(
    setting: str,
    model: LearnedOptimizer,
    f: Objective,
    chosen: tuple[float, dict[str, Setting], dict[str, dict[str, Any]]],
    test: tuple[Tensor, ...],
    **facts: object,
) -> None:
    """All on the same test problems, as they were `chosen`: both means of the loss, and how often the rule is lower."""
    unit, settings, told = chosen
    curves = {"learned": run(model, f, unit, test)}
    curves |= {name: descend(name, settings[name], f, test) for name in OTHERS}
    learned = curves["learned"][-1]
    optimizers = {}
    for name, values in curves.items():
        end = values[-1].nan_to_num(math.inf)
        log, gain, plain = Result(end.log()), Result((end / learned).log()), Result(end)
        optimizers[name] = {
            **told[name],
            "geometric_mean": math.exp(log.mean),
            "times": math.exp(log.interval),  # the 95 % interval: divided and multiplied by it
            "mean": plain.mean,
            "mean_interval": plain.interval,
            "over_learned": math.exp(gain.mean),
            "over_learned_times": math.exp(gain.interval),
            "higher_than_learned": int((end > learned).sum()),  # on so many of the problems
            "curve": [float(f"{geometric(v).exp().item():.4g}") for v in values],
        }
        print(
            f"{setting}, {name}: {math.exp(log.mean):.4g}, {math.exp(gain.mean):.3g} times that learned; mean "
            f"{plain.mean:.4g} ± {plain.interval:.2g}",
            flush=True,
        )
    entry = {"problems": len(learned), "seed": 0, "validation": told["learned"]["validation"]}
    write("learned_optimizer", setting, **entry, **facts, optimizers=optimizers)


STAGES = [Stage(500, 64, 1e-2), Stage(300, 64, 3e-3)]


def learned_optimizer() -> None:
    """Trained on 10-dimensional quadratics; measured on others, and on networks of 20 hidden units on glyphs."""
    model, seconds = learn(STAGES)
    weights = HERE.parent / "mlbook" / "pretrained" / "learned_optimizer.safetensors"
    about = {"method": "learned_optimizer", "protocol": trained(model)}
    write_tensors(weights, dict(model.state_dict()), about)
    measure(model, round(seconds))


def learned_optimizer_again() -> None:
    """The shipped rule, as it was trained before."""
    model = load_pretrained("learned_optimizer")
    assert isinstance(model, LearnedOptimizer)
    measure(model, stored("learned_optimizer_quadratics")[0]["seconds"])


def trained(model: LearnedOptimizer) -> str:
    """How."""
    return (
        f"rule of two LSTM layers of 20, moves scaled by {model.scale:g}, trained on 10-d quadratics: "
        + "; then ".join(
            f"{s.steps:,} steps of {s.tasks} problems, Adam at {s.rate:g}, half-cosine to 0"
            for s in STAGES
        )
        + f"; runs of {STEPS} unrolled by 20, with second derivatives, gradient's norm at most 5; mean "
        "logarithm of f, summed over the run"
    )


def measure(model: LearnedOptimizer, seconds: int) -> None:
    """On quadratics, on networks of 20 sigmoid units, and with these settings on networks of rectified linear units."""
    tuning = (
        f"{trained(model)}; rates of the others, for the last four together with β of momentum or β_1 of Adam, by the "
        f"last of these on validation problems; cosine: rate falling by half a cosine to 0 over these {STEPS} steps"
    )
    facts = {
        "steps": sum(s.steps for s in STAGES),
        "stages": [s._asdict() for s in STAGES],
        "seconds": seconds,
    }
    chosen = choose(model, quadratic, [1.0], Quadratics(tasks=256, seed=1000)[0])
    protocol = f"|Wθ - y|² in 10 dimensions, W, y and θ_0 standard normal; {tuning}"
    test = Quadratics(tasks=TEST, seed=1001)[0]
    compare("quadratics", model, quadratic, chosen, test, protocol=protocol, **facts)

    _, val, test_set = load("glyphs").split("characters", seed=0)
    f, units = classifier(), [1.0, 10.0, 100.0, 1e3, 1e4, 1e5]
    chosen = choose(model, f, units, Classifiers(val, tasks=16, seed=1000)[0])
    test = Classifiers(test_set, tasks=64, seed=1001)[0]
    protocol = (
        "networks 49-20-10 with {} on 10 pictures of each of 10 glyphs ('characters' split, seed 0), full batches; "
        "the rule minimises the loss times a unit that validation chose{}; " + tuning
    )
    sigmoid = protocol.format("sigmoid", "")
    compare("classifier", model, f, chosen, test, protocol=sigmoid, **facts)
    other = classifier(activation=torch.relu)
    relu = protocol.format("rectified linear units", ", as all rates, on networks with sigmoid")
    compare("relu", model, other, chosen, test, protocol=relu, **facts)
