"""The page on a robot on a slope: what is stored is what the shipped weights do, and its first program runs alone."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mlbook import load_pretrained
from mlbook.data.slopes import FALLEN, MuJoCoCart, Slopes, step
from mlbook.lstm_meta_learner import RecurrentPolicy
from mlbook.results import stored
from tests.practice.programs import figures, program

ROOT = Path(__file__).resolve().parents[2]


@torch.no_grad()
def ends(name: str, task: Tensor, start: Tensor, mujoco: bool) -> Tensor:
    """How far each cart is from its mark in the last of six seconds, or 2 m if it fell."""
    model = load_pretrained(name)
    assert isinstance(model, RecurrentPolicy)
    s, u, h = start, torch.zeros(len(start)), None
    carts = [MuJoCoCart(*x) for x in zip(task, start, strict=True)] if mujoco else []
    off, fell = [], torch.zeros(len(start), dtype=torch.bool)
    for _ in range(300):
        u, h = model.act(s, u, h)
        if mujoco:
            s = torch.stack([c.step(a) for c, a in zip(carts, u.tolist(), strict=True)]).float()
        else:
            s = step(s, u, task)
        fell |= (s[:, 2] - task[:, 0]).abs() > FALLEN
        off.append(s[:, 0].abs())
    return torch.stack(off[-50:]).mean(0).clamp(max=2).where(~fell, 2.0)


def test_the_stored_distances_are_those_of_the_shipped_weights_in_mujoco() -> None:
    """Ten of the 120 carts, whose seeds' means are stored; the first seed's weights are shipped."""
    pytest.importorskip("mujoco")
    task, start = (x[:10] for x in Slopes(120, seed=1001)[0])
    for name, setting in (("robot", "lstm"), ("robot_no_memory", "no_memory")):
        (said,) = stored(f"slopes_inside_{setting}")
        assert said["degrees"][:10] == pytest.approx(task[:, 0].rad2deg().tolist(), abs=1e-3)
        found = ends(name, task, start, mujoco=True)
        mean = sum(said["distances"][:10]) / 10
        assert found.mean().item() == pytest.approx(mean, abs=0.02 + 0.1 * mean)


def test_memory_is_worth_more_than_two_thirds_of_the_distance() -> None:
    """On other carts than the stored ones, in torch: at most a third is left, and at most 1 % fall."""
    task, start = Slopes(300, seed=77)[0]
    ours, without = (ends(name, task, start, mujoco=False) for name in ("robot", "robot_no_memory"))
    assert 3 * ours.mean() < without.mean()
    assert (ours == 2).float().mean() <= 0.01
    for place in ("inside", "steeper"):
        lstm, plain = (stored(f"slopes_{place}_{n}")[0] for n in ("lstm", "no_memory"))
        assert 3 * lstm["distance"]["mean"] < plain["distance"]["mean"]
        assert lstm["fell"]["mean"] <= 0.01


def test_policies_trained_side_by_side_are_those_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The stack of `results/slopes.py` acts as each policy alone, and gives its weights back."""
    monkeypatch.syspath_prepend(str(ROOT / "results"))
    slopes = importlib.import_module("slopes")
    policies = [slopes.policy(kind, seed) for kind in slopes.KINDS for seed in (0, 1)]
    n = len(policies)
    stack = slopes.Stack(policies)
    generator = torch.Generator().manual_seed(0)
    z, u, h = torch.rand(n, 3, 3, generator=generator), torch.zeros(n, 3), None
    alone: list[tuple[Tensor, Any]] = [(torch.zeros(3), None)] * n
    for _ in range(4):
        s = 0.3 * torch.randn(n, 3, 4, generator=generator)
        u, h = stack.act(torch.cat([s, z], -1), u, h)
        for k, p in enumerate(policies):
            x = torch.cat([s[k], z[k]], -1) if p.cell.input_size > 5 else s[k]
            alone[k] = p.act(x, *alone[k])
            torch.testing.assert_close(u[k], alone[k][0])
    before = [{k: v.clone() for k, v in p.state_dict().items()} for p in policies]
    for was, p in zip(before, stack.apart(), strict=True):
        torch.testing.assert_close(p.cell.weight_ih, was["cell.weight_ih"])
        torch.testing.assert_close(p.cell.bias_ih, was["cell.bias_ih"] + was["cell.bias_hh"])


def test_the_first_program_runs_alone(tmp_path: Path) -> None:
    """In an empty folder; what it prints is in the page."""
    assert "mlbook" not in program("robot")[0]
    mine, theirs = figures("robot", tmp_path)
    assert len(mine) == 2 and mine == pytest.approx(theirs, abs=0.05)
    assert 2 * mine[0] < mine[1]
