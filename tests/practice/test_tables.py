"""The page on tables: its first program, alone, and figures that are those of the shipped weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mlbook import load_pretrained
from mlbook.data.tables import REAL, real, tables
from mlbook.results import stored
from tests.practice.programs import figures


def test_the_first_program_runs_alone(tmp_path: Path) -> None:
    """In an empty folder; what it prints is in the page."""
    mine, theirs = figures("tables", tmp_path)
    assert len(mine) == 6 and mine == pytest.approx(theirs, abs=0.3)


@pytest.mark.parametrize("name", ["iris", "wine", "breast cancer"])
def test_the_recorded_accuracies_are_those_of_the_shipped_weights(name: str) -> None:
    """On the first five splits of 20 rows."""
    recorded = stored("tables_network")[0]["sizes"]["20"][name]["accuracy"][:5]
    model, (x, y, *_) = load_pretrained("prior_fitted"), real(name)
    for seed, accuracy in enumerate(recorded):
        order = np.random.default_rng(seed).permutation(len(y))
        first = [int(order[y.numpy()[order] == c][0]) for c in y.unique().tolist()]
        order = np.array(first + [i for i in order if i not in first])
        a, b = order[:20], order[20:320]
        with torch.no_grad():
            answer = model.adapt(x[a][None], y[a][None])(x[b][None])[0].argmax(-1)  # type: ignore[operator]
        assert 100 * (answer == y[b]).float().mean() == pytest.approx(accuracy, abs=0.5)


def test_what_was_measured_is_of_tables_that_were_named() -> None:
    for rows in (10, 20, 50):
        (run,) = stored(f"tables_rivals_{rows}")
        assert set(run["tables"]) <= set(REAL)
        ours = stored("tables_network")[0]["sizes"][str(rows)]
        for name, rivals in run["tables"].items():
            assert len(rivals) == 7 and len(ours[name]["accuracy"]) == 20
            assert all(len(r["accuracy"]) == 20 for r in rivals.values())


def test_it_knows_more_of_invented_tables_than_the_largest_class() -> None:
    model = load_pretrained("prior_fitted")
    right, largest = [], []
    source = tables((30, 60), 32, tasks=16, seed=99)
    for k in range(12):
        sx, sy, qx, qy = source[k]
        with torch.no_grad():
            right.append((model.adapt(sx, sy)(qx).argmax(-1) == qy).float().mean())  # type: ignore[operator]
        counts = torch.stack([row.bincount(minlength=5) for row in sy])
        largest.append((counts.argmax(1)[:, None] == qy).float().mean())
    gain = torch.stack(right) - torch.stack(largest)
    assert gain.mean() > 0.1
