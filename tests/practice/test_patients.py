"""The page on patients: its first program, alone; what was measured for it; and its rivals against known answers."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from mlbook.data import patients as P
from mlbook.episodes import generator_of
from mlbook.results import stored
from tests.practice.programs import figures

ROOT = Path(__file__).resolve().parents[2]
ATTENTION = "neural process, attention"


@pytest.fixture(scope="module")
def rivals() -> Iterator[ModuleType]:
    """The script `results/patients.py`, which is no part of the package."""
    folder = str(ROOT / "results")
    sys.path.insert(0, folder)
    try:
        spec = importlib.util.spec_from_file_location("patients_script", f"{folder}/patients.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(folder)


HOURS, MEASURED, ASKED = (torch.tensor(v) for v in ([2.1, 11.0], [7.0, 3.5], [0.5, 4.0, 9.0, 24.0]))


def on_a_grid() -> tuple[torch.Tensor, torch.Tensor]:
    """The posterior by summing over a grid of parameters: weights `[n]`, and the grid `[n, 3]`."""
    z = torch.linspace(-5, 5, 61, dtype=torch.float64)
    grid = torch.cartesian_prod(z, z, z)
    middle, spread = torch.tensor([*P.PRIOR.values()], dtype=torch.float64).T
    parameters = middle * torch.exp(spread * grid)
    c = P.concentration(HOURS.double(), parameters)
    sd = P.deviation(c)
    log = -(0.5 * ((MEASURED - c) / sd).square() + sd.log()).sum(1) - 0.5 * grid.square().sum(1)
    return log.softmax(0), parameters


def test_the_weighted_prior_is_the_posterior(rivals: ModuleType) -> None:
    weight, parameters = on_a_grid()
    exact = weight @ P.concentration(ASKED.double(), parameters)
    found = rivals.by_bayes(P.draw(200_000, generator_of(0, 7)))(HOURS, MEASURED, ASKED)
    assert found["mean"].tolist() == pytest.approx(exact.tolist(), abs=0.06)
    y = torch.tensor([2.0, 6.0, 4.0, 1.0], dtype=torch.float64)
    c = P.concentration(ASKED.double(), parameters)
    sd = P.deviation(c)
    density = weight @ (torch.exp(-0.5 * ((y - c) / sd).square()) / (sd * (2 * np.pi) ** 0.5))
    assert rivals.log_density(found, y.float()).tolist() == pytest.approx(density.log().tolist(), abs=0.05)  # fmt: skip


def test_no_point_of_a_grid_is_more_probable_than_map(rivals: ModuleType) -> None:
    weight, parameters = on_a_grid()
    logs = rivals.map_logs(HOURS, MEASURED)
    assert logs.tolist() == pytest.approx(parameters[weight.argmax()].log().tolist(), abs=0.1)
    mine = rivals.curve(ASKED.double().numpy(), logs)
    theirs = P.concentration(ASKED.double(), torch.from_numpy(np.exp(logs)))
    assert mine == pytest.approx(theirs.numpy(), rel=1e-6)


def test_least_squares_passes_through_three_samples_of_a_patient(rivals: ModuleType) -> None:
    parameters = P.draw(1, generator_of(0, 3)).double()[0]
    hours = torch.tensor([0.5, 2.0, 12.0], dtype=torch.float64)
    logs = rivals.least(hours, P.concentration(hours, parameters))
    assert logs.tolist() == pytest.approx(parameters.log().tolist(), abs=1e-3)


def test_the_hours_that_are_given_were_chosen_beforehand(rivals: ModuleType) -> None:
    for person in P.people():
        chosen = rivals.schedules(person)
        two, twelve, half = person.hours[chosen["spread"]].tolist()
        assert abs(two - 2) < 0.6 and abs(twelve - 12) < 0.6 and 0.2 < half < 0.7
        assert person.hours[chosen["first"]].max() < 1.3 and len({*chosen["spread"]}) == 3


def mean(of: list[dict[str, dict[str, list[float]]]], setting: str, number: str) -> float:
    return float(np.mean([run[setting][number] for run in of]))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_what_was_measured_comes_to_the_optimum(n: int) -> None:
    """Within 0.1 mg/L of MAP and full Bayes, 85 to 95 % in the band, ahead of the mean curve."""
    others = stored("patients_rivals")[0]["methods"]
    runs = [run["methods"][ATTENTION] for run in stored("patients_networks_seed?")]
    assert len(runs) >= 3
    setting = f"spread {n}"
    assert all(len(run[setting]["rmse"]) == 12 for run in runs)
    error = mean(runs, setting, "rmse")
    for name in ("MAP", "full Bayes"):
        assert error - mean([others[name]], setting, "rmse") < 0.1
    assert error < mean([others["population's mean"]], setting, "rmse") - 0.1
    assert 0.85 <= mean(runs, setting, "covered") <= 0.95


def test_the_first_program_runs_alone(tmp_path: Path) -> None:
    mine, theirs = figures("patients", tmp_path)
    assert len(mine) == 3 and mine == pytest.approx(theirs, abs=0.05)
    assert mine[2] < mine[1] < mine[0] < 1.4
