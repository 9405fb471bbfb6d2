from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "results").glob("*.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_a_result_says_how_it_was_made(file: Path) -> None:
    entry = json.loads(file.read_text())
    assert file.stem.startswith(entry["method"])
    assert {"hardware", "torch", "command", "steps"} <= set(entry)
    assert entry["command"] == f"make results METHOD={entry['method']}"


def test_the_lines_of_the_readme_gave_what_they_say() -> None:
    run = json.loads((ROOT / "results" / "first.json").read_text())
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
