from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

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
