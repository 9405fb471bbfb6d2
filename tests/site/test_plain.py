"""What the build makes of the plain Markdown of notebooks, in the pages that it wrote."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest
from bs4 import BeautifulSoup, Tag

from tests.site.conftest import HTML, ROOT
from tools import drawings, plain, references
from tools.notebooks import of_the_book

PATHS = of_the_book()
each = pytest.mark.parametrize("path", PATHS, ids=lambda p: str(p.relative_to(ROOT / "book")))


@cache
def article(path: Path) -> Tag:
    """The page of a notebook, without its code and outputs."""
    page = (HTML / path.relative_to(ROOT)).with_suffix(".html")
    found = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").find("article")
    assert isinstance(found, Tag)
    for cell in found.select(".cell"):
        cell.decompose()
    return found


def source(path: Path) -> str:
    return references.markdown(json.loads(path.read_text(encoding="utf-8")))


@each
def test_equations_have_the_numbers_of_the_notebook_and_links_lead_to_them(path: Path) -> None:
    page, text = article(path), source(path)
    numbers = [e.get_text().strip("()#¶") for e in page.select(".math .eqno")]
    assert numbers == plain.TAG.findall(text)
    assert "\\tag" not in page.get_text()
    linked = re.findall(r"\[\(?(?:equation )?\(?(\d+)\)\]\(#", text)
    links = page.select('a[href^="#equation-"]:not(.headerlink)')
    assert [link.get_text().strip("()") for link in links] == linked
    for link in links:
        there = page.find(id=str(link["href"])[1:])
        assert isinstance(there, Tag)
        number = there.select_one(".eqno")
        assert number and number.get_text().strip("#¶") == link.get_text()


@each
def test_boxes_are_boxes_and_drawings_are_figures(path: Path) -> None:
    page, text = article(path), source(path)
    written = re.findall(r"(?m)^<!-- (\w+) -->\n> ", text)
    boxes = [set(b.get("class") or []) & plain.BOXES for b in page.select("div.admonition")]
    assert boxes == [{kind} for kind in written]
    notebook = json.loads(path.read_text(encoding="utf-8"))
    figures = [f for f in page.select("figure") if f.select_one("img[src$='.svg']")]
    shown = [Path(str(f.select("img")[0]["src"])).stem for f in figures]
    assert shown == drawings.shown(notebook)
    for figure, name in zip(figures, shown, strict=True):
        width, _ = drawings.size(name)
        assert f"width: {width:.0f}px" in str(figure.select("img")[0].get("style"))
        assert figure.select_one("figcaption .caption-number")
    assert "base64" not in page.get_text()


@each
def test_every_citation_leads_to_its_entry_on_the_page(path: Path) -> None:
    page, text = article(path), references.without_list(source(path))
    works = {references.cited(*pair).key for pair in references.CITATION.findall(text)}
    entries = page.select("div.citation[role], div.citation, dl.citation > dt")
    assert len({e.get("id") for e in entries}) == len(works)
    links = page.select('a[href^="#id"].reference.internal')
    assert {str(a["href"])[1:] for a in links} == {str(e.get("id")) for e in entries}
