from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats

from mlbook.results import stored

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "mlbook" / "results").glob("*.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_a_result_says_how_it_was_made(file: Path) -> None:
    entry = json.loads(file.read_text())
    assert file.stem.startswith(entry["method"])
    assert {"hardware", "torch", "command", "steps"} <= set(entry)
    assert entry["command"] == f"make results METHOD={entry['method']}"


def test_results_are_where_an_installed_package_has_them_too() -> None:
    assert list((ROOT / "results").glob("*.json")) == [], "results go to mlbook/results"


def test_stored_runs_are_read_by_name_and_by_pattern() -> None:
    (run,) = stored("prototypical_5w1s")
    assert run == json.loads((FILES[0].parent / "prototypical_5w1s.json").read_text())
    names = [f"{r['method']}_{r['setting']}" for r in stored("matching_*w*s")]
    assert names == ["matching_20w1s", "matching_20w5s", "matching_5w1s", "matching_5w5s"]
    assert len(stored("matching_?w1s")) == 1
    assert len(stored("*")) == len(FILES)


@pytest.mark.parametrize("name", ["", "prototypical", "prototypical_5w1s.json", "../results/first"])
def test_a_name_that_no_run_has_is_said_with_the_remedy(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"named {name!r}: give a name such as")):
        stored(name)


def test_the_lines_of_the_readme_gave_what_they_say() -> None:
    run = json.loads((ROOT / "mlbook" / "results" / "first.json").read_text())
    said = f"# {run['accuracy']:.1f} ± {run['interval']:.1f} % over {run['episodes']} episodes"
    assert said in (ROOT / "README.md").read_text().splitlines()


def test_the_first_page_the_readme_and_the_package_show_the_same_lines_as_were_run() -> None:
    source = (ROOT / "results" / "run.py").read_text()
    readme = (ROOT / "README.md").read_text()
    shown = re.search(r"```python\n(from mlbook import.*?)\n# ", readme, re.S)
    assert shown is not None
    lines = [line for line in shown[1].splitlines() if line]
    intro = (ROOT / "book" / "intro.md").read_text()
    package = (ROOT / "mlbook" / "__init__.py").read_text()
    for line in lines:
        assert line in intro
        assert line in package
    for part in (
        '.split("characters", seed=0)',
        "PrototypicalNetwork(Conv4())",
        "fit(model, train.episodes(ways=20, shots=1, queries=5), steps=2000)",
        "evaluate(model, test.episodes(ways=5, shots=1, queries=15))",
    ):
        assert part in source
        assert part in readme


@pytest.fixture
def nested(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "results"))
    return importlib.import_module("records").nested


def test_an_interval_over_divisions_is_students(nested: Any) -> None:
    torch.manual_seed(0)
    between = torch.tensor([0.5, 0.62, 0.7, 0.55])
    values = (between[:, None, None] + 0.01 * torch.randn(4, 3, 200)).double()
    found, means = nested(values), values.mean((1, 2)).numpy()
    low, high = stats.t.interval(0.95, 3, means.mean(), stats.sem(means))
    assert found["accuracy"] == pytest.approx(100 * means.mean(), abs=1e-3)
    assert found["interval"] == pytest.approx(50 * (high - low), abs=1e-2)
    assert (found["divisions"], found["trainings"], found["episodes"]) == (4, 3, 200)


@pytest.mark.parametrize(("spread", "most"), [(0.5, 0.965), (0.05, 1.0), (0.0, 1.0)])
def test_it_covers_what_it_should(nested: Any, spread: float, most: float) -> None:
    """Of 1,000 experiments with three levels of chance 95 % have the truth in their interval, or more.

    More where divisions differ little: the variance between them is not believed to be smaller than that inside.
    """
    torch.manual_seed(0)
    covered = 0
    for _ in range(1_000):
        task = 0.2 * torch.randn(3, 1, 50)  # is hard for all trainings alike
        values = spread * torch.randn(3, 1, 1) + 0.02 * torch.randn(3, 3, 1) + task
        found = nested(values + 0.05 * torch.randn(3, 3, 50))
        covered += abs(found["accuracy"]) <= found["interval"]
    assert 0.94 <= covered / 1_000 <= most
