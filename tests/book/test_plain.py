"""Every notebook reads as a finished page where nobody knows MyST: Colab, JupyterLab, VS Code, GitHub.

Their Markdown is read here by a CommonMark parser with tables and dollar mathematics, which is what they have
in common; nothing of the markup may be left in what it gives.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin
from PIL import Image

from tools import drawings, plain, references
from tools.notebooks import BOOK, of_the_book

ROOT = BOOK.parent
PATHS = of_the_book()
each = pytest.mark.parametrize("path", PATHS, ids=lambda p: str(p.relative_to(BOOK)))

READER = MarkdownIt("commonmark", {"html": True}).enable("table").use(dollarmath_plugin)

# What stands in text when markup was not understood. Inline code and mathematics are not text.
RAW = {
    "a directive": r":::|^`{3,}|\{[a-z-]+\}$",
    "a role": r"\{[a-z:]+\}(?=`|$)",
    "a label": r"^\([\w-]+\)=|^ ?\([a-z]+-[a-z-]+\)$",
    "a substitution": r"\{\{|\}\}",
    "a link or a picture": r"!?\]\(|\]\[|^\[[\w-]+\]: ",
    "mathematics": r"\$|\\(?:begin|end|frac|tag|mathbb|theta)\b",
    "emphasis": r"\*\*|(?<![\w*])\*(?=\w)",
    "a table": r"^\s*\|.*\|\s*$",
    "a quotation": r"^> ",
    "HTML": r"</?[a-z]+[ >]|<!--|-->|&(?:[a-z]+|#\d+);",
}
# Elements of Markdown cells. JupyterLab, Colab and GitHub keep them; with attributes some strip them.
ELEMENTS = {"details", "summary", "br", "sub", "sup", "kbd"}
# MathJax and KaTeX both know these. Add another if both do, and no macro of the site's own configuration.
KNOWN = r"""
    alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi rho sigma tau
    upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell nabla partial infty
    prime circ cdot cdots dots ldots vdots ddots times pm mp div ast star odot oplus otimes wedge vee cap cup
    setminus in notin ni subset subseteq emptyset forall exists neg le leq ge geq ne neq equiv approx sim simeq
    propto ll gg mid parallel perp to mapsto gets leftarrow rightarrow leftrightarrow Leftarrow Rightarrow
    longrightarrow longleftrightarrow Longrightarrow Longleftrightarrow xrightarrow longmapsto top bot langle rangle
    lVert rVert lvert rvert lfloor rfloor lceil rceil lbrace rbrace Vert vert | { } sum prod int max min sup inf lim
    arg exp log ln sin cos tan tanh det dim Pr quad qquad , ; : ! frac tfrac dfrac sqrt binom text textbf textit
    mathrm mathbf mathbb mathcal mathscr mathsf mathit boldsymbol operatorname operatorname* hat widehat tilde
    widetilde bar overline underline vec dot overrightarrow overleftarrow overbrace underbrace overset underset
    stackrel substack left right middle big Big bigg Bigg bigl bigr Bigl Bigr begin end tag phantom hphantom
    vphantom not color displaystyle textstyle scriptstyle limits nolimits \ & % # _ $ smash hspace nonumber
    """
COMMANDS = {*KNOWN.split(), " "}
ENVIRONMENTS = {"aligned", "align", "cases", "matrix", "pmatrix", "bmatrix", "array", "gathered", "split"}  # fmt: skip


def parsed(text: str) -> list[Token]:
    return list(READER.parse(text))


def leaves(tokens: list[Token]) -> Iterator[tuple[Token, int]]:
    """Every token without children, with the number of quotations around it."""
    depth = 0
    for token in tokens:
        depth += {"blockquote_open": 1, "blockquote_close": -1}.get(token.type, 0)
        for leaf in token.children or [token]:
            yield leaf, depth


def raw_text(tokens: list[Token]) -> list[str]:
    found = []
    for token in tokens:
        # a run of text and code spans as one: a role is text that ends before code
        runs = [""]
        for leaf in token.children or []:
            if leaf.type == "text":
                runs[-1] += leaf.content
            else:
                runs.append("")
        for run in runs:
            for what, pattern in RAW.items():
                if mark := re.search(pattern, run, re.MULTILINE):
                    found.append(
                        f"{what} is left as text: {run[max(0, mark.start() - 30) :][:90]!r}"
                    )
    return found


def raw_code_and_mathematics(tokens: list[Token]) -> list[str]:
    found = []
    for leaf, depth in leaves(tokens):
        if leaf.type == "fence" and leaf.info.startswith("{"):
            found.append(f"a directive: {leaf.info}")
        if not leaf.type.startswith("math"):
            continue
        formula = re.sub(r"\\(?:text|mathrm|textit)\{[^{}]*\}", " ", leaf.content)
        commands = re.findall(r"\\(operatorname\*|[a-zA-Z]+|.)", formula, re.DOTALL)
        if unknown := set(commands) - COMMANDS - {"\n"}:
            found.append(f"commands that not all know, {sorted(unknown)}: {leaf.content[:60]!r}")
        if unknown := set(re.findall(r"\\begin\{([^}]*)\}", formula)) - ENVIRONMENTS:
            found.append(f"environments that not all know: {sorted(unknown)}")
        if formula.count("{") - formula.count(r"\{") != formula.count("}") - formula.count(r"\}"):
            found.append(f"braces that do not match: {leaf.content!r}")
        if leaf.type == "math_block_label":
            found.append(f"a label beside a formula: ({leaf.info})")
        lines = leaf.map[1] - leaf.map[0] if leaf.map else 1 + leaf.content.count("\n")
        if depth and lines > 1:
            found.append(f"JupyterLab reads a > of the quotation as mathematics: {leaf.content!r}")
        if r"\tag" in leaf.content and leaf.type == "math_inline":
            found.append(f"a tag in a line: {leaf.content!r}")
    return found


def raw_pictures(tokens: list[Token]) -> list[str]:
    found = []
    for leaf, _ in leaves(tokens):
        if leaf.type == "image":
            source = str(leaf.attrs["src"])
            data = re.fullmatch(r"data:image/(png|jpeg|gif|webp);base64,(.+)", source, re.DOTALL)
            if not data:
                found.append(f"a picture that is not there: {source[:80]}")
                continue
            image = Image.open(io.BytesIO(base64.b64decode(data[2])))
            if image.mode in ("RGBA", "LA") or "transparency" in image.info:
                found.append("a picture without paper under its ink")
            if len(leaf.content) < 30:
                found.append(
                    f"a picture without a sentence that says what is to be seen: {leaf.content!r}"
                )
    return found


def headings(notebook: dict[str, Any]) -> set[str]:
    """The anchors of a notebook in JupyterLab: the text of each heading, its spaces as hyphens."""
    anchors = set()
    for cell in notebook["cells"]:
        tokens = parsed("".join(cell["source"])) if cell["cell_type"] == "markdown" else []
        for before, token in itertools.pairwise(tokens):
            if before.type == "heading_open":
                parts = (
                    c.content for c in token.children or [] if c.type in ("text", "code_inline")
                )
                anchors.add("".join(parts).replace(" ", "-"))
    return anchors


def dead_links(tokens: list[Token], path: Path, notebook: dict[str, Any]) -> list[str]:
    found = []
    for leaf, _ in leaves(tokens):
        if leaf.type != "link_open":
            continue
        target = str(leaf.attrs["href"])
        if re.match("https?://", target):
            continue
        file, _, name = target.partition("#")
        if file and (not file.endswith(".ipynb") or not (path.parent / file).is_file()):
            found.append(f"a link to what no notebook can open: {target}")
            continue
        other = json.loads((path.parent / file).read_text("utf-8")) if file else notebook
        if name and name not in headings(other):
            found.append(f"a link to a heading that is not there: {target}")
    return found


def raw_html(tokens: list[Token]) -> list[str]:
    found, opened = [], 0
    for leaf, _ in leaves(tokens):
        if leaf.type not in ("html_block", "html_inline"):
            continue
        source = re.sub(r"<!-- /?[a-z]+ -->", "", leaf.content)
        if "<!--" in source:
            found.append(f"a comment of no known form: {source!r}")
        for closing, name, attributes in re.findall(r"<(/?)([a-zA-Z][\w-]*)([^>]*)>", source):
            if name not in ELEMENTS or attributes.strip():
                found.append(f"HTML that is stripped somewhere: <{name}{attributes}>")
            if name == "details":
                opened += -1 if closing else 1
        if "<details>" in source and not re.search("</summary>\n*$", source):
            found.append(f"Markdown right below <summary> is not read as such: {source!r}")
    if opened:
        found.append("<details> that is not closed in its cell")
    return found


def broken_boxes(tokens: list[Token]) -> list[str]:
    """A box is its class as a comment, and below it a quotation that begins with a bold title."""
    found = []
    for i, token in enumerate(tokens):
        mark = re.match(r"<!-- ([a-z]+) -->", token.content) if token.type == "html_block" else None
        if mark and mark[1] in plain.BOXES:
            after = tokens[i + 1 : i + 4]
            title = (after[2].children or []) if len(after) == 3 else []
            kinds = [c.type for c in title if c.type != "text" or c.content]
            if not after or after[0].type != "blockquote_open":
                found.append(f"no quotation below <!-- {mark[1]} -->")
            elif kinds[:1] != ["strong_open"] or kinds[-1] != "strong_close":
                found.append(f"no bold line on top of the quotation below <!-- {mark[1]} -->")
        if mark and mark[1] in plain.TABLES and tokens[i + 1].type != "table_open":
            found.append(f"no table below <!-- {mark[1]} -->")
    return found


def problems(text: str, path: Path, notebook: dict[str, Any]) -> list[str]:
    tokens = parsed(text)
    return [
        *raw_text(tokens),
        *raw_code_and_mathematics(tokens),
        *raw_pictures(tokens),
        *dead_links(tokens, path, notebook),
        *raw_html(tokens),
        *broken_boxes(tokens),
    ]


def outputs(cell: dict[str, Any], kind: str) -> list[str]:
    return ["".join(o["data"][kind]) for o in cell.get("outputs", []) if kind in o.get("data", {})]


@each
def test_markdown_cells_are_plain(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    found = {}
    for i, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "markdown":
            if here := problems("".join(cell["source"]), path, notebook):
                found[i] = here
            assert "attachments" not in cell, "Colab does not show attachments"
    assert not found, "\n".join(f"cell {i}: {p}" for i, here in found.items() for p in here)


@each
def test_markdown_that_code_makes_is_plain(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        for text in outputs(cell, "text/markdown"):
            assert problems(text, path, notebook) == [], "".join(cell["source"])


@each
def test_html_that_code_makes_is_plain_and_needs_nothing_from_elsewhere(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        for page in outputs(cell, "text/html"):
            shown = re.sub(r"(?s)<(script|style)\b.*?</\1>", "", page)
            assert not re.search(r":::|\{[a-z:]+\}`|\{\{|\$\$|\\\\[a-z]+\{", shown), shown[:300]
            for target in re.findall(
                r"""<(?:img|link|iframe|a)\b[^>]*?(?:src|href)=["']([^"']+)""", shown
            ):
                assert re.match("data:image/|https?:|#", target), target


def test_the_tags_of_equations_count_from_one() -> None:
    for path in PATHS:
        numbers = plain.page(json.loads(path.read_text(encoding="utf-8"))).numbers
        assert numbers == list(range(1, len(numbers) + 1)), path


@each
def test_sections_have_the_names_that_jupyter_gives_them(path: Path) -> None:
    """What the build knows of headings is what a Markdown parser makes of them."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    named = {name for name in plain.page(notebook).slugs if "$" not in name}
    assert named <= headings(notebook)
    assert len(named) > 3


# --- the build makes MyST of it ---------------------------------------------------------------------


@each
def test_the_build_finds_nothing_that_does_not_fit(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert plain.to_myst(notebook, path.relative_to(ROOT).with_suffix("").as_posix()) == []


def myst(*cells: str) -> tuple[str, list[str]]:
    notebook = {"cells": [{"cell_type": "markdown", "source": [cell]} for cell in cells]}
    found = plain.to_myst(notebook, "book/metric/matching")
    return "\n\n".join("".join(c["source"]) for c in notebook["cells"]), found


FINN = "https://arxiv.org/abs/1703.03400"
SNELL = "https://arxiv.org/abs/1703.05175"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (
            "<!-- trap -->\n> **Twice `softmax`**\n>\n> One, and\n>\n> - $x$.\n\nOn.",
            ":::{admonition} Twice `softmax`\n:class: trap\nOne, and\n\n- $x$.\n:::\n\nOn.",
        ),
        (
            "<details><summary>Proof</summary>\n\nSee $x$.\n\n</details>",
            "::::{dropdown} Proof\nSee $x$.\n::::",
        ),
        (f"As in [Finn et al. (2017)]({FINN}).", "As in {cite:t}`finn2017maml`."),
        (f"So it is ([Finn et al., 2017]({FINN})).", "So it is {cite:p}`finn2017maml`."),
        (
            f"It is ([Finn et al., 2017]({FINN}); [Snell et al., 2017]({SNELL})).",
            "It is {cite:p}`finn2017maml,snell2017prototypical`.",
        ),
        (f"[their paper]({FINN})", f"[their paper]({FINN})"),
        (
            "<!-- references -->\n\n- Finn.\n\n<!-- /references -->",
            "```{bibliography}\n:filter: docname in docnames\n:style: unsrt\n```",
        ),
        (
            "# A *b*\n\n$$x \\tag{1}$$\n\n$$\ny \\tag{2}\n$$\n\nBy [(2)](#A-b) and [equation 1](#A-b).",
            "# A *b*\n\n$$x$$ (metric-matching-1)\n\n$$\ny\n$$ (metric-matching-2)\n\n"
            "By {eq}`metric-matching-2` and equation {eq}`metric-matching-1`.",
        ),
        (
            "## What now, then\n\n[there](#What-now,-then)",
            "## What now, then\n\n[there](#what-now-then)",
        ),
        (f"[loss]({plain.SITE}book/glossary.html#term-regret)", "{term}`loss <regret>`"),
        (
            f"[(8)]({plain.SITE}book/lstm_meta_learner/index.html#equation-lstm-prep)",
            "{eq}`lstm-prep`",
        ),
        (f"[view]({plain.SITE}book/metric/index.html#a-b)", "[view](index.md#a-b)"),
        (
            f"[MAML]({plain.SITE}book/optimization/maml_sinusoids.html)",
            "[MAML](../optimization/maml_sinusoids.ipynb)",
        ),
        (
            "```python\n<!-- trap -->\n[a](b.md)\n```\n`[a](b.md)`",
            "```python\n<!-- trap -->\n[a](b.md)\n```\n`[a](b.md)`",
        ),
        (
            "Before.\n\n![Four pictures.][matching]\n\n*Of $x$ and (2).*\n\nAfter.\n\n"
            "[matching]: data:image/jpeg;base64,AAAA",
            "Before.\n\n```{figure} ../assets/figures/matching.svg\n:alt: Four pictures.\n:width: 430px\n"
            ":name: drawing-matching\n\nOf $x$ and (2).\n```\n\n\nAfter.\n",
        ),
        (
            "<!-- compare -->\n| | a |\n|---|---|\n| **b** | $c$ |\n\n*Two of a kind.*",
            "```{list-table} Two of a kind.\n:header-rows: 1\n:stub-columns: 1\n:class: compare\n\n"
            "* -\n  - a\n* - b\n  - $c$\n```\n",
        ),
    ],
)
def test_conventions(written: str, read: str) -> None:
    assert myst(written) == (read, [])


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("<!-- tarp -->\n> **Title**\n>\n> Text", "not one of compare, exercise"),
        ("<!-- trap -->\n> Title\n>\n> Text", "a quotation"),
        ("<!-- trap -->\n\n> **Title**\n>\n> Text", "right above a quotation"),
        ("<!-- trap -->\n> **Title**\n>\n> Text\ngoes on", "an empty line is missing"),
        ("- <!-- trap -->\n  > **Title**\n  >\n  > Text", "at the beginning of a line"),
        (
            "Text. <details><summary>Proof</summary>\n\nno\n\n</details>",
            "at the beginning of a line",
        ),
        ("<details><summary>Proof</summary>\n\nno end", "folded text is"),
        (":::{admonition} Title\nText\n:::", "for the site only"),
        ("```{figure} a.svg\n```", "for the site only"),
        ("As in {eq}`a-b`.", "for the site only"),
        ("$$x$$ (a-b)", "for the site only"),
        ("{{ result }}", "for the site only"),
        ("<!-- references -->\n\n- Finn.", "has no <!-- /references -->"),
        ("[Finn et al. (2017)](https://arxiv.org/abs/0000.00000)", "no entry of references.bib"),
        (f"([Finn et al., 2018]({FINN}))", "should read [Finn et al. (2017)]"),
        (f"[Finn (2017)]({FINN})", "should read [Finn et al. (2017)]"),
        (f"see [Finn et al., 2017]({FINN}) there", "brackets of its own"),
        ("# A\n\n$$x \\tag{2}$$", "the tags of its equations are [2]"),
        ("# A\n\n$$x \\tag{1}$$\n\n[(2)](#A)", "no equation of this notebook has \\tag{2}"),
        ("# A\n\n## B\n\n$$x \\tag{1}$$\n\n## C\n\n[(1)](#C)", "equation (1) stands under A or B"),
        ("# A\n\n[there](#B)", "no heading there is named B"),
        ("[there](#a)\n\n# A", "no heading there is named a"),
        ("[x](prototypical.ipynb#nowhere)", "no heading there is named nowhere"),
        ("[x](nowhere.ipynb)", "there is no book/metric/nowhere.ipynb"),
        ("[x](index.md)", "only notebooks and full addresses"),
        (f"[x]({plain.SITE}book/nowhere.html)", "the site has no page book/nowhere.html"),
        (f"[(7)]({plain.SITE}book/lstm_meta_learner/index.html#equation-lstm-prep)", "has (8)"),
        (f"[(1)]({plain.SITE}book/lstm_meta_learner/index.html#equation-none)", "has none"),
        (f"[x]({plain.SITE}book/glossary.html#term-nothing)", "the glossary has no such term"),
        (
            "![A picture.][nowhere]\n\n*Caption.*",
            "there is no drawing book/assets/figures/nowhere.svg",
        ),
        ("![A picture.][matching]\n\nText.", "the drawing matching has no caption"),
        ("![A picture.][intro_map]\n\n*Caption.*", "the drawing intro_map has no width"),
    ],
)
def test_what_does_not_fit_is_said(written: str, said: str) -> None:
    assert any(said in problem for problem in myst(written)[1]), myst(written)


@pytest.mark.parametrize(
    "written",
    [
        ":::{admonition} Title\n:class: trap\nText\n:::",
        "```{figure} a.svg\n:alt: a\n```",
        "As {cite:t}`finn2017maml` say",
        "by {eq}`a-b`",
        "the {term}`regret`",
        "(here)=\n# A",
        "$$x$$ (a-b)",
        "{{ result }}",
        r"$\R^2$ and $\E x$",
        r"$$\argmin_x x$$",
        r"$$\begin{mine}x\end{mine}$$",
        "> $$\n> x\n> $$",
        "![a sentence about the picture, long enough](../assets/a.svg)",
        "![a sentence about the picture, long enough](attachment:a.png)",
        "![a sentence about the picture, long enough][a]",
        "[a](index.md)",
        "[a](nowhere.ipynb)",
        "[a](#Nowhere)",
        "[a](prototypical.ipynb#Nowhere)",
        '<div class="box">a</div>',
        '<span style="color: red">a</span>',
        "<details><summary>Proof</summary>\nText **bold**\n</details>",
        "<details><summary>Proof</summary>\n\nText",
        "<!-- trap -->\nNo quotation",
        "<!-- trap -->\n> No title",
        "a **bold",
        "| a | b |",
        "costs 5 $ a piece",
    ],
)
def test_what_would_stay_raw_is_found(written: str) -> None:
    assert problems(written, BOOK / "metric" / "matching.ipynb", {"cells": []})


# --- what is written by tools -------------------------------------------------------------------------


@each
def test_the_lists_of_references_are_those_of_the_bibliography(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    before = references.markdown(notebook)
    references.renew(notebook)
    assert references.markdown(notebook) == before, "run: make texts"


def test_a_list_that_is_old_is_renewed_and_one_that_is_missing_is_an_error() -> None:
    cells = [
        "By [Finn et al. (2017)](" + FINN + ").",
        "<!-- references -->\n- Old.\n<!-- /references -->",
    ]
    notebook = {"cells": [{"cell_type": "markdown", "source": [c]} for c in cells]}
    references.renew(notebook)
    after = "".join(notebook["cells"][1]["source"])
    assert "Chelsea Finn" in after and "Old" not in after
    before = json.dumps(notebook)
    references.renew(notebook)
    assert json.dumps(notebook) == before
    notebook["cells"].pop()
    with pytest.raises(ValueError, match="markers"):
        references.renew(notebook)
    notebook["cells"][0]["source"] = ["<!-- references -->\n<!-- /references -->"]
    with pytest.raises(ValueError, match="markers"):
        references.renew(notebook)


def test_every_cited_work_has_an_address_of_its_own() -> None:
    assert len(references.by_address()) > 100
    cited = re.findall(
        r"\{cite:\w+\}`([^`]+)`", "".join(p.read_text("utf-8") for p in BOOK.rglob("*.md"))
    )
    keys = {key.strip() for group in cited for key in group.split(",")}
    without = {key for key in keys if not references.works()[key].address}
    assert without <= {"maudsley1979"}, "a thesis of 1979 is nowhere to be read"


def test_a_list_names_authors_title_place_and_year() -> None:
    text = f"As [Finn et al. (2017)]({FINN}), [Finn et al. (2017)]({FINN}).\n<!-- references -->\n<!-- /references -->"
    assert references.reference_list(text) == (
        "- Chelsea Finn, Pieter Abbeel and Sergey Levine. [Model-agnostic meta-learning for fast adaptation of "
        f"deep networks]({FINN}). *Proceedings of the 34th International Conference on Machine Learning*, 2017.\n"
    )


@each
def test_drawings_are_those_of_the_assets(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert not drawings.old(notebook), "run: make texts"
    for cell in notebook["cells"]:
        for name, data in drawings.DEFINITION.findall("".join(cell["source"])):
            image = drawings.opened(data)
            width, height = (round(s) + 2 * drawings.MARGIN for s in drawings.size(name))
            assert image.size == (width * drawings.DENSITY, height * drawings.DENSITY), name
            facts = image.getexif()
            assert facts[282] == facts[283] == 72 * drawings.DENSITY, (
                "or browsers show it too large"
            )
            assert facts.get_ifd(0x8769)[0xA002] == width
            red, green, blue = image.convert("RGB").getpixel((2, 2))
            assert min(red, green, blue) > 240, "paper lies under the ink, for dark themes"


def test_a_drawing_that_changed_is_old() -> None:
    path = next(p for p in PATHS if drawings.shown(json.loads(p.read_text("utf-8"))))
    notebook = json.loads(path.read_text("utf-8"))
    (name, *_) = drawings.shown(notebook)
    cell = next(c for c in notebook["cells"] if f"[{name}]:" in "".join(c["source"]))
    source = "".join(cell["source"])
    image = drawings.opened(dict(drawings.DEFINITION.findall(source))[name])
    out = io.BytesIO()
    image.save(out, "JPEG", comment=b"another digest")
    data = base64.b64encode(out.getvalue()).decode()
    cell["source"] = [re.sub(r"base64,\S+", f"base64,{data}", source)]
    assert drawings.old(notebook) == {name}
    cell["source"] = [drawings.DEFINITION.sub("", source)]
    assert name in drawings.old(notebook)
