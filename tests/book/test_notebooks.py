"""What a stored notebook has to be before a reader sees it. (Whether it runs is nbval's business.)"""

from __future__ import annotations

import base64
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from PIL import Image

from tools.folding import only_imports, only_shows
from tools.notebooks import (
    CHECKS,
    METADATA,
    elsewhere,
    is_progress,
    merge_streams,
    of_the_book,
    only_checks,
)
from tools.repository import address, colab_cell, version

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
PATHS = of_the_book()
CHAPTERS = [p for p in PATHS if p.parent != BOOK]  # book/*.ipynb are reference pages

each = pytest.mark.parametrize("path", PATHS, ids=lambda p: str(p.relative_to(BOOK)))
each_of_a_chapter = pytest.mark.parametrize(
    "path", CHAPTERS, ids=lambda p: str(p.relative_to(BOOK))
)


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code(path: Path) -> list[Any]:
    return [c for c in read(path).cells if c.cell_type == "code"]


def tags(cell: Any) -> list[str]:
    return list(cell.metadata.get("tags", []))


def stored_text(output: Any) -> str:
    """All that an output says in words."""
    if output.output_type == "stream":
        return str(output.text)
    return "\n".join(str(v) for k, v in output.get("data", {}).items() if k.startswith("text/"))


def alt_text(cell: Any) -> str:
    return str(cell.metadata.get("mystnb", {}).get("image", {}).get("alt", ""))


@each
def test_is_valid_and_named_in_the_table_of_contents(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.metadata == METADATA, "not stored by `make notebooks`"
    name = path.relative_to(ROOT).with_suffix("").as_posix()
    contents = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    listed = re.findall(r"(?:file|root): *(\S+)", contents)
    root = yaml.safe_load(contents).get("defaults", {}).get("root", "")
    assert name in {f"{root}{entry}".removesuffix(".ipynb") for entry in listed}
    assert path.stat().st_size < 3_000_000, "too large to load fast"


@each
def test_is_one_run_from_the_top(path: Path) -> None:
    counts = [c.execution_count for c in code(path)]
    assert counts == list(range(1, len(counts) + 1))
    assert all(c.source.strip() for c in code(path)), "an empty code cell"


@each
def test_stores_no_error_and_no_warning(path: Path) -> None:
    for cell in code(path):
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            if output.output_type == "stream" and output.name == "stderr":
                pytest.fail(f"a warning, or a progress bar: {output.text}")
            assert not is_progress(output), cell.source


@each
def test_stores_nothing_of_the_machine_that_ran_it(path: Path) -> None:
    for cell in code(path):
        for output in cell.outputs:
            text = stored_text(output)
            assert not re.search(r"\bat 0x[0-9a-f]{6,}", text), (
                f"an address in memory: {text[:200]}"
            )
            found = re.search(r"(?<![\w.:/])/(?:home|root|tmp|work|Users|content)/", text)
            assert not found, f"a path of the machine: {text[:200]}"
            assert "Omniglot could not be had" not in text, "stored from a run without Omniglot"


@each
def test_every_picture_is_described(path: Path) -> None:
    for cell in code(path):
        for output in cell.outputs:
            data = output.get("data", {})
            if any(kind.startswith("image/") for kind in data):
                alt = alt_text(cell)
                assert all(
                    output.metadata[kind]["alt"] == alt
                    for kind in data
                    if kind.startswith("image/")
                ), "run: make notebooks"
                assert alt.endswith((".", "!", "?")) and len(alt) > 30, (
                    f"cell {cell.execution_count} draws: say what is to be seen, in a sentence, in "
                    f'"mystnb": {{"image": {{"alt": ...}}}}; it says {alt!r}'
                )
            if "<script" in data.get("text/html", ""):
                assert re.search(r'aria-label="[^"]{30,}"', data["text/html"]), (
                    f"cell {cell.execution_count}: plots.figure(..., alt=...) wants a sentence"
                )


@each
def test_every_picture_shows_everywhere_and_on_every_paper(path: Path) -> None:
    """As PNG, which needs no trust, on white, at twice the size that it is shown at."""
    for cell in code(path):
        for output in cell.outputs:
            data = output.get("data", {})
            if kinds := [kind for kind in data if kind.startswith("image/")]:
                assert kinds == ["image/png"], "JupyterLab, VS Code and GitHub hold others back"
                size = output.metadata["image/png"]
                with Image.open(BytesIO(base64.b64decode(data["image/png"]))) as picture:
                    assert [picture.width // 2, picture.height // 2] == [
                        size["width"],
                        size["height"],
                    ]
                    assert picture.mode == "P" and "transparency" not in picture.info
                    corners = [
                        (x, y) for x in (0, picture.width - 1) for y in (0, picture.height - 1)
                    ]
                    paper = {picture.convert("RGB").getpixel(corner) for corner in corners}
                assert paper == {(255, 255, 255)}, f"cell {cell.execution_count}: plots.use_style()"


@each
def test_opens_in_colab_with_the_address_and_the_tag_of_the_configuration(path: Path) -> None:
    first = code(path)[0]
    assert first.source == colab_cell(address(), version(), path), "run: make repository"
    assert tags(first) == ["hide-input", "colab"]
    assert not first.outputs, "quiet outside Colab"
    mentions = sum("google.colab" in c.source for c in code(path))
    assert mentions == 1


@each
def test_what_depends_on_the_machine_is_followed_by_an_assertion(path: Path) -> None:
    cells = code(path)
    for i, cell in enumerate(cells):
        if "nbval-ignore-output" in tags(cell):
            near = cells[i : i + 4]
            assert any(re.search(r"(?m)^\s*assert\b", c.source) for c in near), (
                f"nothing asserts what cell {cell.execution_count} gave: {cell.source}"
            )


@each
def test_what_only_checks_is_folded(path: Path) -> None:
    """On the site and in JupyterLab."""
    notebook = read(path)
    for cell in (c for c in notebook.cells if c.cell_type == "code"):
        if only_checks(cell.source, elsewhere(notebook, cell)) and "hide-cell" not in tags(cell):
            assert "hide-input" in tags(cell), "run: python tools/notebooks.py --tidy"
            assert cell.metadata["mystnb"]["code_prompt_show"] == CHECKS
            assert cell.metadata["jupyter"]["source_hidden"]


@each
def test_what_only_shows_or_imports_is_folded(path: Path) -> None:
    """Code that draws what is there already: the reader came for the picture."""
    cells = read(path).cells
    for i, cell in enumerate(cells):
        if cell.cell_type != "code" or "hide-cell" in tags(cell):
            continue
        if only_imports(cell.source) or only_shows(cells, i):
            assert "hide-input" in tags(cell), "run: python tools/notebooks.py --tidy"
            assert cell.metadata["jupyter"]["source_hidden"]


DRAWS = "figure, ax = plt.subplots()\nax.plot(y)\nax.set(title='y')\nplt.show()"


@pytest.mark.parametrize(
    ("source", "later", "shows"),
    [
        (DRAWS, "", True),
        (DRAWS, "figure.savefig('y.png')", False),  # which needs what it names
        (DRAWS, "figure = 1\nprint(figure)", True),
        (DRAWS, "for ax in axes:\n    ax.plot(x)", True),
        (DRAWS + "\nfit(model, tasks, 10)", "", False),
        (DRAWS + "\nmodel.loss(x)", "", False),
        ("def smooth(y):\n    return y\n" + DRAWS, "", False),
        (
            "a = f(y)\nb = g(a)\nc = h(b)\nd = k(c)\ny = d\n" + DRAWS,
            "",
            False,
        ),  # mostly something else
        ("plt.plot(y)", "", False),  # shorter than the words on a fold
        ("%matplotlib inline\n" + DRAWS, "", False),
    ],
)
def test_a_cell_that_only_shows_is_known_from_one_that_does_more(
    source: str, later: str, shows: bool
) -> None:
    picture = nbformat.v4.new_output("display_data", data={"image/png": ""})
    cells = [nbformat.v4.new_code_cell(s) for s in (source, later)]
    assert not only_shows(cells, 0), "nothing stands under it"
    cells[0].outputs = [picture]
    assert only_shows(cells, 0) is shows


@each
def test_what_is_folded_says_what_it_holds(path: Path) -> None:
    for cell in code(path):
        if {"hide-input", "hide-cell"} & {*tags(cell)}:
            words = cell.metadata.get("mystnb", {}).get("code_prompt_show", "")
            assert words, "run: python tools/notebooks.py --tidy"
            assert (words == "Solution") == ("hide-cell" in tags(cell))


@pytest.mark.parametrize(
    ("source", "checks"),
    [
        ("assert a\nassert b, 'why'", True),
        ("for r in runs:\n    # a comment\n    assert r > 0.5", True),
        ("assert a\nprint(a)", False),
        ("x = 1\nassert x", True),
        ("y = 1\nassert y", False),
        ("x.y = 1\nassert x", False),
        ("x, z = 1, 2\nassert x", True),
        ("import math\nassert math.pi > 3", False),
        ("for r in runs:\n    r.plot()", False),
        ("%matplotlib inline\nassert a", False),
        ("# nothing yet", False),
    ],
)
def test_a_cell_that_only_checks_is_known_from_one_that_does_more(
    source: str, checks: bool
) -> None:
    assert only_checks(source, "print(y)") is checks


@each
def test_uses_nothing_that_is_dead_on_the_site_or_under_nbval(path: Path) -> None:
    for cell in code(path):
        found = re.search(
            r"\binteract(?:ive)?\(|clear_output|display_id|update_display", cell.source
        )
        assert not found, cell.source
        assert "raises-exception" not in tags(cell), "catch the exception and print it"
        wrong = [t for t in tags(cell) if t.startswith("nbval-") and t != "nbval-ignore-output"]
        assert not wrong, f"{wrong} would switch the check off"
        assert not cell.source.lstrip().upper().startswith("# NBVAL"), "tags, not comments"


@each
def test_needs_no_checkout_and_no_page_of_the_repository(path: Path) -> None:
    """In Colab there is the package and nothing else; what was measured comes with it."""
    for cell in code(path):
        found = re.search(
            r"\.parents\b|\burlopen\b|/raw/|githubusercontent|\bresults/", cell.source
        )
        assert not found, f"mlbook.results.stored reads what is stored: {cell.source}"


@each
def test_opens_with_a_title(path: Path) -> None:
    first = read(path).cells[0]
    assert first.cell_type == "markdown" and first.source.startswith("# ")


@each_of_a_chapter
def test_a_chapter_has_three_exercises_with_solutions(path: Path) -> None:
    cells = read(path).cells
    texts = [c.source for c in cells if c.cell_type == "markdown"]
    exercises = re.findall(r"(?im)^(?:> \*\*|#{2,4} |\*\*)Exercise\b", "\n".join(texts))
    solutions = [c for c in cells if "hide-cell" in tags(c)]
    solutions += re.findall(r"(?im)^<details><summary>.*\bSolution\b", "\n".join(texts))
    assert len(exercises) >= 3
    assert len(solutions) >= len(exercises), "an exercise without a hidden solution"


@each
def test_outputs_are_stored_merged(path: Path) -> None:
    for cell in code(path):
        stored = [dict(o) for o in cell.outputs]
        assert [dict(o) for o in merge_streams(cell.outputs)] == stored, "run: make notebooks"
