"""The texts of notebooks as JupyterLab and nbconvert show them, which GitHub shows notebooks with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import expect

from tests.jupyter.conftest import NONE, Lab
from tools import browser as chromium
from tools import drawings
from tools.notebooks import BOOK

# a drawing, a table that compares, boxes, sixteen numbered equations and links to them
PAGE = BOOK / "metric" / "siamese.ipynb"
RAW = r":::|\{[a-z:]+\}`|\$\$|\\tag|\]\[|\]\(|data:image|<!--|<details"
DEAD = """() => [...document.querySelectorAll('.jp-MarkdownOutput a[href^="#"]:not(.jp-InternalAnchorLink)')]
  .map(link => decodeURIComponent(link.hash.slice(1)))
  .filter(name => !document.querySelector(`[data-jupyter-id="${CSS.escape(name)}"]`))"""
FOLDED = "<details><summary>A proof</summary>\n\n- It is **so**, $x$.\n\n</details>"


def texts() -> nbformat.NotebookNode:
    """The Markdown of the page without its code, and one folded text more."""
    notebook: Any = nbformat.read(PAGE, as_version=4)
    notebook.cells = [c for c in notebook.cells if c.cell_type == "markdown"]
    notebook.cells.append(nbformat.v4.new_markdown_cell(FOLDED))
    return notebook


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_page_reads_as_one_in_jupyterlab(lab: Lab, theme: str) -> None:
    notebook = texts()
    marks = "".join(c.source for c in notebook.cells)
    with lab.open(notebook, theme) as seen:
        page = seen.page
        expect(page.locator("mjx-container").first).to_be_visible()
        expect(page.locator(".jp-MarkdownOutput", has_text=re.compile(r"\$[^$]+\$"))).to_have_count(
            0
        )
        shown = "\n".join(page.locator(".jp-MarkdownOutput").all_inner_texts())
        assert not re.search(RAW, shown)
        assert page.locator("mjx-merror, [data-mjx-error]").count() == 0, (
            "a macro that is not known"
        )

        boxes = page.locator(".jp-MarkdownOutput blockquote > p:first-child > strong:only-child")
        expect(boxes).to_have_count(len(re.findall(r"(?m)^> \*\*.+\*\*$", marks)))
        expect(page.locator(".jp-MarkdownOutput table")).to_have_count(1)

        drawing = page.locator(".jp-MarkdownOutput img")
        (name,) = drawings.shown(json.loads(PAGE.read_text("utf-8")))
        width, _ = drawings.size(name)
        assert drawing.evaluate("i => i.clientWidth") == round(width) + 2 * drawings.MARGIN

        folded = page.locator("details")
        expect(folded.locator("li strong")).to_be_hidden()
        folded.locator("summary").click()
        expect(folded.locator("li strong")).to_be_visible()

        assert page.evaluate(DEAD) == [], "every link within leads to a heading"
        link = page.locator('a[href="#The-mathematics"]:not(.jp-InternalAnchorLink)').last
        heading = page.locator(".jp-MarkdownOutput h2", has_text="The mathematics")
        link.scroll_into_view_if_needed()
        expect(heading).not_to_be_in_viewport()
        link.click()
        expect(heading).to_be_in_viewport()
        assert not seen.problems
        seen.shot(f"plain-{theme}")


def test_a_page_reads_as_one_on_github(tmp_path: Path) -> None:
    if find_spec("nbconvert") is None:
        if chromium.in_ci():
            pytest.fail(NONE, pytrace=False)
        pytest.skip(NONE)
    nbformat.write(texts(), tmp_path / "page.ipynb")
    command = [
        sys.executable,
        "-m",
        "nbconvert",
        "--to",
        "html",
        "--template",
        "basic",
        "page.ipynb",
    ]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    (source,) = re.findall(r'<img\b[^>]*\bsrc="([^"]{30})', html)
    assert source.startswith("data:image/jpeg;base64,/9j/"), "nbconvert lets it through"
    assert "#harmful-link" not in html
    words = re.sub(r"(?s)<(?:script|style)\b.*?</(?:script|style)>|<!--.*?-->|<[^>]+>", "", html)
    assert not re.search(RAW.replace(r"\$\$|\\tag|", ""), words)  # mathematics is MathJax's, later
    for anchor in set(re.findall(r'<a href="#([^"]+)"', html)):
        assert f'id="{anchor}"' in html, anchor
