"""Twelve people, one dose, one to three samples of blood: what stands behind book/practice/patients.ipynb.

    python results/run.py patients          # or: make results METHOD=patients

Nothing here was chosen on the twelve: the prior, the hours, the noise and the horizon come from literature on
other people (`mlbook/data/patients.py`), the settings of every method from simulated patients. Every seed of
the networks is a file of its own, the rivals without training have one, and one that has its file is left out.
Half an hour on one core.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from records import write
from scipy.optimize import least_squares, minimize
from torch import Tensor, nn

from mlbook import fit
from mlbook.data import patients as P
from mlbook.episodes import Episode, generator_of
from mlbook.model_based import NeuralProcess
from mlbook.optimization import MAML
from mlbook.results import FOLDER

SEEDS = 3
STEPS, TASKS = 4000, 64
GATE_STEPS = 2500  # of the network that learns the stomach with a gate
SPREAD = (2.0, 12.0, 0.5)  # hours whose nearest samples are given, in this order
DRAWS = 200_000
PROTOCOL = (
    "Theoph's twelve people, ten samples each after the dose; given are the samples nearest to 2, then 12, then 0.5 "
    "hours, or the first, second and third; asked are the seven that are none of the three; error in mg/L per person "
    "(root mean square over the seven) and its mean over the twelve, log-likelihood a sample (density in mg/L), "
    "coverage of the central 90 % interval over all 84; intervals from 10,000 bootstrap samples of the twelve people. "
    f"Neural processes: {STEPS:,} steps of {TASKS} simulated patients, up to 6 samples given, 16 asked, Adam at 1e-3 "
    f"falling to 0 by half a cosine. Full Bayes: importance sampling from the prior, {DRAWS:,} draws. MAP: Nelder-Mead "
    "from the prior's median; its band is that of the assay alone. Least squares: each person alone, logarithms of "
    "CL, V and ka within a factor of 20 of the prior's median, from there. Gaussian process: residuals from the "
    "prior's mean curve in log(1 + t), RBF and white noise fitted by marginal likelihood to 300 simulated patients. "
    "Other eleven: the prior's mean and covariance of log CL, V, ka replaced by those of the MAP estimates of the "
    "other eleven people from all their samples, then full Bayes (a two-stage mixed model). MAML: 1-64-64-1, tanh, 5 "
    "steps, rate chosen on simulated patients."
)
Answer = Callable[[Tensor, Tensor, Tensor], dict[str, Tensor]]


def half_cosine(k: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * k / STEPS))


class Stomachs:
    """Simulated patients with a gate: 40,000 of them, met again and again with other samples, which is quicker."""

    def __init__(self, seed: int, n: int = 40_000) -> None:
        self.seed, g = seed, generator_of(seed, 0)
        self.paths = paths(n, g)

    def __getitem__(self, k: int) -> Episode:
        g = generator_of(self.seed, k + 1)
        who = torch.randint(len(self.paths), (TASKS, 1), generator=g)
        hours = torch.expm1(torch.rand(TASKS, 22, generator=g) * math.log1p(P.HOURS))
        at = (hours / P.STEP).round().long()
        c = self.paths[who, at]
        x = P.to_x(at * P.STEP)
        y = P.to_y(c + P.deviation(c) * torch.randn(c.shape, generator=g))
        return Episode(x[:, :6], y[:, :6], x[:, 6:], y[:, 6:])


def paths(n: int, generator: torch.Generator) -> Tensor:
    """The concentrations of n simulated people with a gate, every `P.STEP` hours."""
    grid = torch.arange(0, P.HOURS + P.STEP / 2, P.STEP)
    return P.gated(grid.expand(n, -1), P.draw(n, generator), generator)


def process(seed: int, attention: bool = True, tasks: Any = None, steps: int = STEPS) -> NeuralProcess:  # fmt: skip
    """A neural process, trained on simulated patients."""
    torch.manual_seed(seed)
    model = NeuralProcess(dim=64, attention=attention)
    tasks = tasks or P.patients(shots=6, queries=16, tasks=TASKS, seed=seed)
    fit(
        model,
        tasks,
        steps=steps,
        schedule=lambda k: half_cosine(k * STEPS // steps),
        seed=seed,
        progress=False,
    )
    return model


# ---- answers: from samples (hours [S], measured [S]) after 5 mg/kg to a distribution at hours [Q]


def normal(mean: Tensor, sd: Tensor) -> dict[str, Tensor]:
    z = 1.6449
    return {"mean": mean, "low": mean - z * sd, "high": mean + z * sd, "sd": sd}


def by_process(model: NeuralProcess) -> Answer:
    @torch.no_grad()
    def answer(hours: Tensor, measured: Tensor, asked: Tensor) -> dict[str, Tensor]:
        mean, sd = model.predict(P.to_x(hours)[None], P.to_y(measured)[None], P.to_x(asked)[None])
        return normal(P.from_y(mean)[0], P.from_y(sd)[0])

    return answer


def mixture(c: Tensor, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """What is measured if the curve is one of c `[N, Q]` with these weights: mean, interval, and density."""
    which = torch.multinomial(weight, 20_000, replacement=True, generator=generator)
    drawn = c[which] + P.deviation(c[which]) * torch.randn(c[which].shape, generator=generator)
    low, high = torch.quantile(drawn, torch.tensor([0.05, 0.95]), dim=0)
    return {"mean": weight @ c, "low": low, "high": high, "c": c, "weight": weight}


def weighted(at: Callable[[Tensor], Tensor], keep: list[float] | None = None) -> Answer:
    """Simulated people, whose concentrations are `at(hours)`, `[N, S]`, weighted by the likelihood of the samples."""

    def answer(hours: Tensor, measured: Tensor, asked: Tensor) -> dict[str, Tensor]:
        c = at(hours)
        sd = P.deviation(c)
        log = -(0.5 * ((measured - c) / sd).square() + sd.log()).sum(1)
        weight = (log - log.max()).exp()
        weight /= weight.sum()
        if keep is not None:
            keep.append(float(1 / weight.square().sum()))
        return mixture(at(asked), weight, generator_of(0, 9))

    return answer


def by_bayes(parameters: Tensor, keep: list[float] | None = None) -> Answer:
    """The posterior by importance sampling: draws from the prior `[N, 3]`."""
    return weighted(lambda hours: P.concentration(hours, parameters), keep)


LOG = np.log([m for m, _ in P.PRIOR.values()])
SD = np.array([s for _, s in P.PRIOR.values()])


def curve(hours: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """`P.concentration` in NumPy, for optimisers that ask for one curve at a time; 5 mg/kg."""
    CL, V, ka = np.exp(logs)
    ke = CL / V
    ka = ka if abs(ka - ke) > 1e-6 else ke + 1e-6
    c: np.ndarray = P.DOSE * ka / (V * (ka - ke)) * (np.exp(-ke * hours) - np.exp(-ka * hours))
    return c


def map_logs(hours: Tensor, measured: Tensor) -> np.ndarray:
    """The most probable log CL, V, ka given the samples."""
    t, y = hours.numpy().astype(float), measured.numpy().astype(float)

    def minus_log(z: np.ndarray) -> float:
        c = curve(t, LOG + SD * z)
        sd = np.hypot(0.2, 0.143 * c)
        return float((0.5 * ((y - c) / sd) ** 2 + np.log(sd)).sum() + 0.5 * (z**2).sum())

    exactly = {"xatol": 1e-4, "fatol": 1e-6, "maxiter": 2000}
    best: np.ndarray = minimize(minus_log, np.zeros(3), method="Nelder-Mead", options=exactly).x
    return LOG + SD * best


def plugged_in(logs: Callable[[Tensor, Tensor], np.ndarray]) -> Answer:
    """One curve, and the assay's error around it."""

    def answer(hours: Tensor, measured: Tensor, asked: Tensor) -> dict[str, Tensor]:
        c = torch.from_numpy(curve(asked.numpy().astype(float), logs(hours, measured))).float()
        return normal(c, P.deviation(c))

    return answer


def least(hours: Tensor, measured: Tensor) -> np.ndarray:
    t, y = hours.numpy().astype(float), measured.numpy().astype(float)
    far = math.log(20)
    found = least_squares(lambda v: curve(t, v) - y, LOG, bounds=(LOG - far, LOG + far))
    best: np.ndarray = found.x
    return best


def by_mean(parameters: Tensor) -> Answer:
    """The prior itself: nothing is looked at."""

    def answer(hours: Tensor, measured: Tensor, asked: Tensor) -> dict[str, Tensor]:
        c = P.concentration(asked, parameters)
        return mixture(c, torch.full((len(c),), 1 / len(c)), generator_of(0, 9))

    return answer


def by_gaussian_process(parameters: Tensor) -> Answer:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    g = generator_of(0, 8)
    some = P.draw(300, g)
    hours = torch.expm1(torch.linspace(0.1, math.log1p(P.HOURS), 14))
    c = P.concentration(hours, some)
    y = c + P.deviation(c) * torch.randn(c.shape, generator=g)
    few = parameters[:20_000]
    middle = lambda t: P.concentration(t, few).mean(0)  # noqa: E731
    kernel = ConstantKernel(4.0) * RBF(1.0) + WhiteKernel(0.5)
    tuned = GaussianProcessRegressor(kernel, n_restarts_optimizer=2, random_state=0)
    tuned.fit(P.to_x(hours).numpy(), (y - middle(hours)).T.numpy())

    def answer(hours: Tensor, measured: Tensor, asked: Tensor) -> dict[str, Tensor]:
        model = GaussianProcessRegressor(tuned.kernel_, optimizer=None)
        model.fit(P.to_x(hours).numpy(), (measured - middle(hours)).numpy())
        mean, sd = model.predict(P.to_x(asked).numpy(), return_std=True)
        sd = torch.from_numpy(sd).float()  # the white noise is in it
        return normal(middle(asked) + torch.from_numpy(mean).float(), sd)

    return answer


def maml_model(seed: int, rate: float, steps: int = 1000) -> MAML:
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1)
    )  # fmt: skip
    model = MAML(net, inner_lr=rate, steps=5, loss=F.mse_loss)
    fall = lambda k: half_cosine(k * STEPS // steps)  # noqa: E731
    fit(model, Shots(seed), steps=steps, schedule=fall, seed=seed, progress=False)
    return model


class Shots:
    """Simulated patients with 1, 2 or 3 samples, in turn."""

    def __init__(self, seed: int) -> None:
        self.sources = [P.patients(s, 16, 32, seed) for s in (1, 2, 3)]

    def __getitem__(self, k: int) -> Any:
        return self.sources[k % 3][k]


def by_maml(model: MAML, sd: Tensor) -> Answer:
    """Its error on simulated patients after 1, 2, 3 samples stands for σ, the same everywhere: it has none."""

    def answer(hours: Tensor, measured: Tensor, asked: Tensor) -> dict[str, Tensor]:
        y = model.adapt(P.to_x(hours)[None], P.to_y(measured)[None])(P.to_x(asked)[None])
        mean = P.from_y(y.detach())[0]
        return normal(mean, sd[len(hours) - 1].expand_as(mean))

    return answer


def simulated_error(model: MAML) -> Tensor:
    """Root mean square in mg/L on 512 simulated patients, after 1, 2 and 3 samples."""
    found = []
    for s in (1, 2, 3):
        sx, sy, qx, qy = P.patients(s, 16, 512, seed=77)[0]
        error = model.adapt(sx, sy)(qx).detach() - qy
        found.append(P.UNIT * error.square().mean().sqrt())
    return torch.stack(found)


# ---- the test


def schedules(person: P.Person) -> dict[str, list[int]]:
    """Which three samples are given, in order."""
    spread: list[int] = []
    for hour in SPREAD:
        order = (person.hours - hour).abs().argsort().tolist()
        spread.append(next(i for i in order if i not in spread))
    return {"spread": spread, "first": [0, 1, 2]}


def log_density(found: dict[str, Tensor], y: Tensor) -> Tensor:
    if "c" in found:
        sd = P.deviation(found["c"])
        each = -0.5 * ((y - found["c"]) / sd).square() - sd.log() - 0.5 * math.log(2 * math.pi)
        return torch.logsumexp(each + found["weight"][:, None].log(), 0)
    z = (y - found["mean"]) / found["sd"]
    return -0.5 * z.square() - found["sd"].log() - 0.5 * math.log(2 * math.pi)


def judged(a: dict[str, Tensor], y: Tensor, scale: float = 1.0) -> list[float]:
    """Error in mg/L, log-likelihood a sample, share in the interval. y `[Q]` is divided by `scale`, as the dose."""
    error = float(((a["mean"] - y) * scale).square().mean().sqrt())
    inside = float(((y >= a["low"]) & (y <= a["high"])).float().mean())
    return [error, float(log_density(a, y).mean()) - math.log(scale), inside]


def measure(make: Callable[[int], Answer], people: list[P.Person]) -> dict[str, Any]:
    """Per person: error in mg/L, log-likelihood a sample, share inside the 90 % interval; milliseconds an answer."""
    found: dict[str, Any] = {}
    spent: list[float] = []
    for kind in ("spread", "first"):
        for n in (1, 2, 3):
            rows = []
            for i, person in enumerate(people):
                scale = person.dose / P.DOSE
                given = schedules(person)[kind]
                rest = [j for j in range(len(person.hours)) if j not in given]
                answer, of = make(i), given[:n]
                start = time.perf_counter()
                a = answer(person.hours[of], person.measured[of] / scale, person.hours[rest])
                spent.append(1000 * (time.perf_counter() - start))
                rows.append(judged(a, person.measured[rest] / scale, scale))
            found[f"{kind} {n}"] = {
                name: [round(row[k], 4) for row in rows]
                for k, name in enumerate(("rmse", "log_likelihood", "covered"))
            }
    found["ms"] = round(float(np.median(spent)), 3)
    return found


def report(name: str, found: dict[str, Any]) -> None:
    for kind in ("spread", "first"):
        cells = []
        for n in (1, 2, 3):
            error, log, inside = (float(np.mean(v)) for v in found[f"{kind} {n}"].values())
            cells.append(f"{error:.2f} {log:6.2f} {100 * inside:3.0f}%")
        text = "  ".join(cells)
        print(f"{name:28} {kind:7} {text}   {found['ms']:.2f} ms", flush=True)


def of_eleven(people: list[P.Person]) -> Callable[[int], Answer]:
    """For each person a prior that comes from the other eleven, all of whose samples are known."""
    logs = np.stack([map_logs(p.hours, p.measured * P.DOSE / p.dose) for p in people])

    def make(i: int) -> Answer:
        others = torch.from_numpy(np.delete(logs, i, 0))
        spread = torch.linalg.cholesky(others.T.cov())
        z = torch.randn(DRAWS, 3, generator=generator_of(0, 7), dtype=torch.float64)
        return by_bayes((others.mean(0) + z @ spread.T).exp().float())

    return make


# ---- a stomach that opens and shuts: no likelihood, but patients can be simulated


def by_paths(path: Tensor) -> Answer:
    """Bayes without a likelihood of its own: simulated people with all that their stomachs did, weighted."""
    return weighted(lambda hours: path[:, (hours / P.STEP).round().long()])


def measure_simulated(answer: Answer, gate: bool, n: int = 300) -> dict[str, Any]:
    """On n simulated patients of whom three samples at random hours are known."""
    sx, sy, qx, qy = P.patients(3, 16, n, seed=55, gate=gate)[0]
    rows, spent = [], []
    for i in range(n):
        start = time.perf_counter()
        a = answer(torch.expm1(sx[i, :, 0]), P.from_y(sy[i]), torch.expm1(qx[i, :, 0]))
        spent.append(1000 * (time.perf_counter() - start))
        rows.append(judged(a, P.from_y(qy[i])))
    of = np.array(rows)
    return {
        **{
            name: [
                round(float(of[:, k].mean()), 4),
                round(float(1.96 * of[:, k].std() / n**0.5), 4),
            ]
            for k, name in enumerate(("rmse", "log_likelihood", "covered"))
        },
        "ms": round(float(np.median(spent)), 3),
    }


def gate(people: list[P.Person], parameters: Tensor) -> None:
    """Trained and asked where the stomach has a gate."""
    methods: dict[str, Answer] = {
        "network, with gate": by_process(process(0, tasks=Stomachs(0), steps=GATE_STEPS)),
        "Bayes, without": by_bayes(parameters[:50_000]),
        "Bayes, 20,000 simulated stomachs": by_paths(paths(20_000, generator_of(0, 6))),
    }
    simulated = {}
    for name, answer in methods.items():
        simulated[name] = measure_simulated(answer, gate=True)
        print(name, simulated[name], flush=True)
    real = measure(lambda _: methods["network, with gate"], people)
    report("network, with gate", real)
    where = (
        "One training; 300 simulated patients with a gate, 3 samples at random hours, 16 asked; "
    )
    facts = {"steps": GATE_STEPS, "protocol": where + "mean and half its 95 % interval"}
    write("patients", "gate", **facts, simulated=simulated, methods={"network, with gate": real})


def patients() -> None:
    """Every file that is not there yet."""
    people = P.people()
    facts = {"steps": STEPS, "protocol": PROTOCOL}
    parameters = P.draw(DRAWS, generator_of(0, 7))
    if not (FOLDER / "patients_rivals.json").exists():
        sizes: list[float] = []
        rivals: dict[str, Callable[[int], Answer]] = {
            "population's mean": lambda _: by_mean(parameters),
            "least squares": lambda _: plugged_in(least),
            "MAP": lambda _: plugged_in(map_logs),
            "full Bayes": lambda _: by_bayes(parameters, sizes),
            "Bayes, other eleven": of_eleven(people),
        }
        gp = by_gaussian_process(parameters)
        rivals["Gaussian process"] = lambda _: gp
        found = {}
        for name, make in rivals.items():
            found[name] = measure(make, people)
            report(name, found[name])
        size = {"least": round(min(sizes)), "median": round(float(np.median(sizes)))}
        more = {"draws": DRAWS, "effective_sample_size": size}
        write("patients", "rivals", **facts, **more, methods=found)
    for seed in range(SEEDS):
        setting = f"networks_seed{seed}"
        if (FOLDER / f"patients_{setting}.json").exists():
            continue
        found = {}
        for name, attention in (("neural process, attention", True), ("neural process, mean", False)):  # fmt: skip
            if seed and not attention:  # one run
                continue
            answer = by_process(process(seed, attention))
            found[name] = measure(lambda _, a=answer: a, people)  # type: ignore[misc]
            report(name, found[name])
        write("patients", setting, **facts, seed=seed, methods=found)
    if not (FOLDER / "patients_gate.json").exists():
        gate(people, parameters)
    if not (FOLDER / "patients_maml.json").exists():
        rates = {
            rate: float(simulated_error(maml_model(100, rate, 300)).mean())
            for rate in (0.01, 0.03, 0.1)
        }
        best = min(rates, key=lambda rate: rates[rate])
        model = maml_model(0, best)
        answer = by_maml(model, simulated_error(model))
        found = {"MAML 0": measure(lambda _: answer, people)}
        report("MAML 0", found["MAML 0"])
        write("patients", "maml", **facts | {"steps": 1000}, rates=rates, rate=best, methods=found)
