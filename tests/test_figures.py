"""The interactive figures: the strict form of their modules, how these are put together, what notebooks have stored."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from mlbook import bundle, plots
from tools import figures, notebooks

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "mlbook" / "figures"
FILES = sorted(FOLDER.rglob("*.js"))
each = pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(FOLDER).as_posix())


@each
def test_a_module_is_in_the_strict_form(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = ["" if line.startswith("//") else line for line in text.splitlines()]
    long = [n for n, line in enumerate(text.splitlines(), 1) if len(line) > 130]
    assert not long, "lines of more than 130 characters"
    assert "__" not in text, "names with two underscores are those of the bundle"
    assert "</script" not in text.lower() and "<!--" not in text, "would end the script around it"
    imports = [line for line in lines if re.match(r"\s*import\b|.*\} from \"", line)]
    assert all(
        re.fullmatch(r'import \{ \w+(, \w+)* \} from "\.{1,2}/[\w./]+\.js";', i) for i in imports
    )
    first = next(n for n, line in enumerate(lines) if line and not line.startswith("import"))
    assert not any(line.startswith("import") for line in lines[first:]), "imports stand at the top"
    exports = [line for line in lines if line.lstrip().startswith("export ")]
    pattern = r"export (async function|const|function|class) \w+.*|export default \{.*"
    assert all(re.fullmatch(pattern, line) for line in exports)
    defaults = sum(line.startswith("export default ") for line in exports)
    assert defaults == (path.parent == FOLDER), (
        "a figure has one default export, other modules none"
    )
    used = re.sub(r"(?m)^import .*$", "", text)
    for line in imports:
        for name in re.findall(r"\w+", line.split("{")[1].split("}")[0]):
            assert re.search(rf"(?<![\w])(?<!\w\.){name}\b", used), (
                f"{name} is imported and not used"
            )


EIGHTEEN = [  # without what came with the kit
    "episode_sampler",
    "hypernetwork",
    "learned_optimizer",
    "maml_sinusoids",
    "maml_steps",
    "mann",
    "matching",
    "meta_lstm",
    "meta_network",
    "neural_process",
    "prototypes",
    "recurrent_bandit",
    "relation",
    "reptile",
    "shrinkage",
    "siamese",
    "transfer",
    "zero_shot",
]


def test_figures_hold_what_is_particular_to_them() -> None:
    """The eighteen were 3,910 lines, and longer ones, when each had its own buttons, planes and colours."""
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert sum(lines[FOLDER / f"{name}.js"] for name in EIGHTEEN) <= 1_900
    assert sum(n for path, n in lines.items() if path.parent.name == "kit") <= 1_000


def test_no_six_lines_stand_twice() -> None:
    """Six lines in a row that say something, apart from how they are indented."""
    seen: dict[tuple[str, ...], str] = {}
    for path in FILES:
        numbered = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        lines = [(n, line.strip()) for n, line in numbered if re.search(r"\w", line)]
        lines = [(n, line) for n, line in lines if not line.startswith(("import ", "//"))]
        for i in range(len(lines) - 5):
            here = f"{path.relative_to(FOLDER)}:{lines[i][0]}"
            block = tuple(line for _, line in lines[i : i + 6])
            assert block not in seen, f"{here} says what {seen.get(block)} says"
            seen[block] = here


def test_modules_are_put_together_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "a.js").write_text("const own = 1;\nexport const one = own;\n")
    (tmp_path / "kit" / "b.js").write_text(
        'import { one } from "./a.js";\nconst own = 2;\nexport const two = one + own;\n'
    )
    (tmp_path / "sum.js").write_text(
        'import { one } from "./kit/a.js";\nimport { two } from "./kit/b.js";\n'
        "const own = 3;\nexport default { render: () => one + two + own };\n"
    )
    monkeypatch.setattr(bundle, "FOLDER", tmp_path)
    text = bundle.bundle("sum")
    assert text == bundle.bundle("sum")
    places = [text.index(f"__modules['{name}'] = ") for name in ("kit/a.js", "kit/b.js", "sum.js")]
    assert places == sorted(places) and text.count("one = own") == 1
    assert bundle.esm("sum") == f"export default {text};\n"
    with pytest.raises(ValueError, match="there is no figure 'sums'; there are sum"):
        bundle.bundle("sums")
    for wrong in ('import one from "./kit/a.js";', 'import { one } from "./kit/c.js";'):
        (tmp_path / "wrong.js").write_text(f"// a figure\n{wrong}\nexport default {{}};\n")
        bundle._modules.cache_clear()
        with pytest.raises(ValueError, match=r"wrong\.js:2: .*imports have the form"):
            bundle.bundle("wrong")
    (tmp_path / "kit" / "a.js").write_text(
        'import { two } from "./b.js";\nexport const one = two;\n'
    )
    bundle._modules.cache_clear()
    with pytest.raises(
        ValueError, match=r"in a circle: sum\.js > kit/a\.js > kit/b\.js > kit/a\.js"
    ):
        bundle.bundle("sum")
    bundle._modules.cache_clear()


@pytest.mark.parametrize("path", notebooks.of_the_book(), ids=lambda p: p.stem)
def test_stored_figures_have_the_code_of_today(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert figures.renew(notebook) == [], "run: python tools/figures.py"
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            page = output.get("data", {}).get("text/html", "")
            assert ("mlbook-figure" in page) == bool(figures.STORED.match(page)), "of another form"


def test_renewing_changes_the_code_and_nothing_else() -> None:
    alt = 'Points & <lines> that "move".'
    now = plots.figure("shrinkage", alt=alt, data={"x": "</script><!--", "y": [1e-9, 2.5]}).data
    old = re.sub(r"(?s)(/\* figure shrinkage \*/\n).*(\n/\* end of figure \*/)", r"\1old();\2", now)
    assert old != now
    assert figures.renewed(old) == now
    assert figures.renewed("<p>a table</p>") is None


def test_the_palette_is_that_of_the_site() -> None:
    """In light the page's own colours of words; those of lines are a shade darker in figures, on purpose."""
    css = (ROOT / "book" / "assets" / "mlbook.css").read_text(encoding="utf-8")
    theme = (FOLDER / "kit" / "theme.js").read_text(encoding="utf-8")
    for name, selector in (
        ("LIGHT", 'html:not([data-theme="dark"]) {'),
        ("DARK", 'html[data-theme="dark"] {'),
    ):
        site = dict(re.findall(r"--([\w-]+): (#\w{6});", css.split(selector)[1].split("}")[0]))
        kit = re.findall(
            r'"?([\w-]+)"?: "(#\w{6})"', theme.split(f"const {name} = {{")[1].split("}")[0]
        )
        assert len(kit) > 15
        darker = {"blue", "orange", "green", "pink", "grey"} if name == "LIGHT" else set()
        own = {"amber-text", "sky-text", "grey-text"}
        assert all(site[key] == value for key, value in kit if key not in darker | own)
