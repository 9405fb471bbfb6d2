"""Simulated patients against the differential equation and the published numbers; the real ones as they are stored."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from mlbook.data import patients as P
from mlbook.episodes import generator_of


def test_the_closed_form_solves_the_differential_equation() -> None:
    parameters = P.draw(5, generator_of(0, 0)).double()
    parameters[0, 2] = parameters[0, 0] / parameters[0, 1]  # ka = ke: the quotient has no value
    hours = torch.linspace(0, 32, 33, dtype=torch.float64)
    mine = P.concentration(hours, parameters)
    for (CL, V, ka), c in zip(parameters.tolist(), mine, strict=True):

        def slope(_: float, z: np.ndarray, CL: float = CL, V: float = V, ka: float = ka) -> list[float]:  # fmt: skip
            return [-ka * z[0], ka * z[0] / V - CL / V * z[1]]

        solved = solve_ivp(slope, (0, 32), [5.0, 0.0], t_eval=hours.numpy(), rtol=1e-9, atol=1e-10)
        assert c.numpy() == pytest.approx(solved.y[1], abs=1e-6)


def test_all_that_is_swallowed_is_cleared() -> None:
    """The area under the curve times the clearance is the dose; twice the dose is twice the curve."""
    parameters = P.draw(20, generator_of(1, 0)).double()
    hours = torch.linspace(0, 600, 200_001, dtype=torch.float64)
    c = P.concentration(hours, parameters)
    assert torch.trapezoid(c, hours) * parameters[:, 0] == pytest.approx(np.full(20, 5.0), rel=1e-4)
    assert torch.allclose(P.concentration(hours, parameters, 10.0), 2 * c)


def test_people_are_as_the_literature_has_them() -> None:
    logs = P.draw(200_000, generator_of(2, 0)).log()
    assert logs.mean(0).exp().tolist() == pytest.approx([0.053, 0.484, 1.11], rel=0.01)
    assert logs.std(0).tolist() == pytest.approx([0.385, 0.17, 0.53], rel=0.01)
    off = torch.corrcoef(logs.T) - torch.eye(3)
    assert off.abs().max() < 0.01
    # the half-life of the middle patient, and the range of ka in six people
    assert math.log(2) * 0.484 / 0.053 == pytest.approx(6.3, abs=0.05)
    ka = logs[:199_998, 2].view(-1, 6)
    assert (ka.amax(1) - ka.amin(1)).mean() == pytest.approx(math.log(2.17 / 0.57), abs=0.02)


def test_times_and_errors_are_drawn_as_said() -> None:
    source = P.patients(shots=4, queries=16, tasks=2_000, seed=3)
    sx, sy, qx, qy = source[0]
    assert sx.shape == sy.shape == (2_000, 4, 1) and qx.shape == qy.shape == (2_000, 16, 1)
    x = torch.cat([sx, qx], 1)[..., 0]
    assert x.min() >= 0 and x.max() <= math.log(33)
    assert x.mean() == pytest.approx(math.log(33) / 2, abs=0.02)
    c = P.concentration(torch.expm1(x), source.parameters_of(0))
    error = P.from_y(torch.cat([sy, qy], 1)) - c
    few, much = error[c < 0.3], error[c > 8] / c[c > 8]
    assert few.std() == pytest.approx(0.2, rel=0.05) and much.std() == pytest.approx(
        0.145, rel=0.05
    )
    assert (error / P.deviation(c)).square().mean() == pytest.approx(1, abs=0.02)


def test_a_batch_is_always_the_same_and_differs_from_every_other() -> None:
    for gate in (False, True):
        source = P.patients(tasks=3, seed=5, gate=gate)
        again = P.patients(tasks=3, seed=5, gate=gate)
        assert all(torch.equal(a, b) for a, b in zip(source[7], again[7], strict=True))
        assert not torch.equal(source[7].support_y, source[8].support_y)
        assert not torch.equal(source[7].support_y, P.patients(tasks=3, seed=6, gate=gate)[7].support_y)  # fmt: skip
        assert source.to("meta")[7].support_x.device.type == "meta"
        assert next(iter(source)).query_x.equal(source[0].query_x)
    assert f"gate={True}" in source.fingerprint and source.fingerprint == again.fingerprint


def test_units_go_there_and_back() -> None:
    c, dose = torch.tensor([[0.0, 3.0, 9.5]]), 4.02
    assert torch.allclose(P.from_y(P.to_y(c, dose), dose), c)
    parameters, hours = P.draw(2, generator_of(0, 1)), torch.tensor([1.0, 8.0])
    twice = P.concentration(hours, parameters, dose)
    assert torch.allclose(P.to_y(twice, dose), P.to_y(P.concentration(hours, parameters)))


def test_a_gate_that_never_shuts_is_the_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = P.draw(50, generator_of(4, 0))
    hours = torch.expm1(torch.rand(50, 9, generator=generator_of(4, 1)) * math.log(33))
    gated = P.gated(hours, parameters, generator_of(4, 2))
    # nothing is lost on the way: less in the blood at first, and more at last
    c = P.concentration(hours, parameters)
    assert (gated[hours < 1] <= c[hours < 1] + 0.02).all()
    assert (gated[hours > 24] >= c[hours > 24] - 0.02).all()
    monkeypatch.setattr(torch, "cumsum", None)  # the path below is made of ones
    monkeypatch.setattr(torch.Tensor, "cumsum", lambda self, _: torch.ones(self.shape))
    open_ = P.gated(hours, parameters, generator_of(4, 2))
    assert (open_ - c).abs().max() < 0.03  # straight lines between states 3 minutes apart


def test_the_stomach_waits_as_long_as_was_measured() -> None:
    """The time at which absorption begins: mean 0.54 h, and of six people the longest about 1.32 h."""
    n = 6_000
    parameters = torch.tensor([[0.053, 0.484, 1.11]]).expand(n, 3)
    hours = torch.arange(0, 8, P.STEP).expand(n, -1)
    begun = P.gated(hours, parameters, generator_of(5, 0)) > 0
    wait = hours.gather(1, begun.int().argmax(1, keepdim=True))[:, 0] - P.STEP
    assert wait.mean() == pytest.approx(0.54, abs=0.04)
    assert wait.view(-1, 6).amax(1).mean() == pytest.approx(1.32, abs=0.08)


def test_the_twelve_people() -> None:
    people = P.people()
    assert len(people) == 12 and all(len(p.hours) == len(p.measured) == 10 for p in people)
    assert all(p.hours.min() > 0 and 3 < p.dose < 6 for p in people)
    assert people[0].measured.max() == 10.5 and people[0].dose == pytest.approx(4.02)


@pytest.mark.parametrize(("key", "value"), [("shots", 0), ("queries", -1), ("tasks", 0), ("seed", 0.5)])  # fmt: skip
def test_a_number_out_of_range_is_named(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=key):
        P.patients(**{key: value})  # type: ignore[arg-type]
