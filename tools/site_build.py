"""Sphinx extension of the book's own site.

What it adds to Jupyter Book:

- MathJax, copied at build time from the wheel `sphinx-mathjax-offline` into the site, so that nothing is
  fetched from elsewhere and pages work from disk;
- the accuracy on the first page, read from the run that gave it;
- round brackets for citations;
- the colours of code, light and dark, in the book's palette, and no markup where a word has none of them;
- one visible "Open in Colab" button in place of a menu with a single entry;
- one script with all interactive figures, in place of the copy that each stored output carries;
- what the lab loads: weights, a worker, and sets of characters, as scripts;
- an error for every picture without alternative text;
- MyST in place of the plain Markdown of the notebooks (`tools/plain.py`);
- figures in tables that stay on one line (`tools/tables.py`);
- what lets a page be found and shared (`tools/found.py`).
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments.formatters import HtmlFormatter
from pygments.style import Style
from pygments.token import (
    Comment,
    Error,
    Generic,
    Keyword,
    Name,
    Number,
    Operator,
    Punctuation,
    String,
    Token,
)
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinxcontrib.bibtex.plugin import register_plugin
from sphinxcontrib.bibtex.style.referencing import BracketStyle
from sphinxcontrib.bibtex.style.referencing.author_year import AuthorYearReferenceStyle

logger = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parent.parent
FIRST = ROOT / "mlbook" / "results" / "first.json"

# Before the first paint: "auto" becomes what the reader's system has, so that no page flashes.
EARLY = """(d => { if (d.theme !== "light" && d.theme !== "dark")
  d.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
})(document.documentElement.dataset);"""


def _round() -> BracketStyle:
    return BracketStyle(left="(", right=")")


@dataclass
class RoundReferenceStyle(AuthorYearReferenceStyle):
    """Snell et al. (2017) rather than Snell et al. [2017]."""

    bracket_parenthetical: BracketStyle = field(default_factory=_round)
    bracket_textual: BracketStyle = field(default_factory=_round)
    bracket_author: BracketStyle = field(default_factory=_round)
    bracket_label: BracketStyle = field(default_factory=_round)
    bracket_year: BracketStyle = field(default_factory=_round)


def _first_result(app: Sphinx, config: Config) -> None:
    """The number above the fold of the first page, from the run of the six lines beside it."""
    if not FIRST.exists():
        raise ExtensionError(f"{FIRST.relative_to(ROOT)} is missing: make results METHOD=first")
    run = json.loads(FIRST.read_text(encoding="utf8"))
    values = {"result_headline": f"{run['accuracy']:.1f} ± {run['interval']:.1f} %"}
    if "caption" in run:
        values["result_caption"] = run["caption"]
    config.myst_substitutions = {**config.myst_substitutions, **values}


def _style(**c: str) -> type[Style]:
    """A Pygments style from nine colours; contrast at least 4.5:1 on the code background."""
    styles = {
        Token: c["ink"],
        Comment: f"italic {c['comment']}",
        Keyword: c["keyword"],
        Keyword.Constant: c["number"],
        Operator: c["ink"],
        Operator.Word: c["keyword"],
        Punctuation: c["ink"],
        Name: c["ink"],
        Name.Builtin: c["name"],
        Name.Builtin.Pseudo: c["ink"],
        Name.Class: f"bold {c['name']}",
        Name.Decorator: c["name"],
        Name.Exception: c["name"],
        Name.Function: f"bold {c['name']}",
        Name.Function.Magic: c["name"],
        String: c["string"],
        String.Doc: f"italic {c['comment']}",
        String.Interpol: c["number"],
        Number: c["number"],
        Generic.Heading: "bold",
        Generic.Emph: "italic",
        Generic.Strong: "bold",
        Generic.Deleted: c["error"],
        Generic.Inserted: c["string"],
        Generic.Error: c["error"],
        Generic.Output: c["soft"],
        Generic.Prompt: c["comment"],
        Generic.Traceback: c["error"],
        Error: c["error"],
    }
    return type(
        "BookStyle",
        (Style,),
        {"styles": styles, "background_color": c["paper"], "highlight_color": c["mark"]},
    )


LIGHT = _style(
    paper="#f7f4ee",
    mark="#efe6d2",
    ink="#1f2933",
    soft="#4d5965",
    comment="#67625a",
    keyword="#a34700",
    name="#00598c",
    string="#00694c",
    number="#8f3b76",
    error="#a8201a",
)
DARK = _style(
    paper="#1b2026",
    mark="#3a3524",
    ink="#e4e1da",
    soft="#b6bcc2",
    comment="#9c988f",
    keyword="#f0a35e",
    name="#7cc0ec",
    string="#6fcfae",
    number="#e3a3cb",
    error="#ff9c8f",
)


def _write_code_colours(app: Sphinx) -> None:
    """Replace the theme's pygments.css."""
    rules: list[str] = []
    for theme, style in (("light", LIGHT), ("dark", DARK)):
        formatter = HtmlFormatter(style=style)
        prefix = f'html[data-theme="{theme}"] .highlight'
        rules += formatter.get_background_style_defs(prefix)
        rules += formatter.get_token_style_defs(prefix)
    target = Path(app.outdir) / "_static" / "pygments.css"
    target.write_text("\n".join(rules) + "\n", encoding="utf8")


def _copy_mathjax(app: Sphinx) -> None:
    """Put the one file that pages load, named by ``mathjax_path``, beside the other assets."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise ExtensionError(
            "The site's mathematics needs the package sphinx-mathjax-offline: "
            "pip install -c constraints.txt sphinx-mathjax-offline"
        )
    source = Path(spec.origin).parent / "static" / app.config.mathjax_path
    target = Path(app.outdir) / "_static" / app.config.mathjax_path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _finish(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        _write_code_colours(app)
        _copy_mathjax(app)
        _write_figures(app)
        (Path(app.outdir) / ".nojekyll").touch()  # folders that start with _ are served by Pages


# Names, operators, punctuation and blanks have the colour of the text: without their spans a page is a third lighter.
PLAIN = re.compile(r'<span class="(?:n|o|p|w)">([^<]*)</span>')
FIGURE = re.compile(r"(?s)/\* figure (\w+) \*/\n.*?\n/\* end of figure \*/")
FIGURES = "mlbook-figures.js"


def _lighten(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Stored figures work alone; on a page their code comes from one file, and their data stays."""
    call = r'(window.mlbookFigures ??= []).push(["\1", id, data]);'
    context["body"] = PLAIN.sub(r"\1", FIGURE.sub(call, context.get("body") or ""))
    if "window.mlbookFigures" in context["body"]:
        app.add_js_file(FIGURES, loading_method="defer")


def _write_figures(app: Sphinx) -> None:
    from mlbook import bundle
    from tools import lab

    target = Path(app.outdir) / "_static" / FIGURES
    target.write_text(bundle.site(), encoding="utf8")
    lab.write(Path(app.outdir) / "_static" / "lab")


def _buttons(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Take the Colab link out of its menu and give it words."""
    buttons = context.get("header_buttons", [])
    for i, button in enumerate(buttons):
        if button.get("label") == "launch-buttons" and len(button["buttons"]) == 1:
            buttons[i] = {
                **button["buttons"][0],
                "text": "Open in Colab",
                "tooltip": "Run this notebook in Google Colab",
                "label": "colab",
                "icon": None,
            }
    buttons.sort(key=lambda b: b.get("label") != "colab")


def _require_alternative_text(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for image in doctree.findall(nodes.image):
        if not image.get("alt", "").strip():
            logger.warning(
                "picture without alternative text: %s",
                image.get("uri"),
                location=image if image.line else docname,
                type="mlbook",
                subtype="alt",
            )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the hooks; the repository's own package goes first on the path for autodoc."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    register_plugin(
        "sphinxcontrib.bibtex.style.referencing", "author_year_round", RoundReferenceStyle
    )
    app.setup_extension("tools.plain")
    app.setup_extension("tools.found")
    app.setup_extension("tools.tables")
    app.add_js_file(None, body=EARLY, priority=1)
    app.connect("config-inited", _first_result, priority=100)
    app.connect("html-page-context", _buttons, priority=900)
    app.connect("html-page-context", _lighten)
    app.connect("doctree-resolved", _require_alternative_text)
    app.connect("build-finished", _finish, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
