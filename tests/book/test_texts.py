"""The texts of the book: citations, glossary, drawings and links, checked without building the site."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tools.plain import to_myst

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
BIB = (BOOK / "references.bib").read_text(encoding="utf-8")
SVG = "{http://www.w3.org/2000/svg}"


def markdown(page: Path) -> str:
    """The MyST of a page: all of an .md file, of a notebook what the build makes of its Markdown cells."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    notebook = json.loads(text)
    assert to_myst(notebook, page.relative_to(ROOT).with_suffix("").as_posix()) == []
    cells = notebook["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def prose(page: Path) -> str:
    """The page without its code blocks; directives and what stands in them stay."""
    kept: list[str] = []
    fences: list[str] = []  # the directives that are open
    code = ""  # the fence of the code block that is open
    for line in markdown(page).splitlines():
        fence = re.match(r"\s*(`{3,})(.*)$", line)
        ticks, info = (fence[1], fence[2].strip()) if fence else ("", "")
        if code:
            if ticks.startswith(code) and not info:
                code = ""
            continue
        if ticks and not info and fences:
            fences.pop()
        elif ticks and not info.startswith("{"):
            code = ticks
            continue
        elif ticks:
            fences.append(ticks)
        kept.append(line)
    return "\n".join(kept) + "\n"


def terms(text: str) -> list[str]:
    """The terms of the glossary, in the order of the page."""
    block = re.search(r"(?ms)^```\{glossary\}\n(.*?)^```$", text)
    assert block, "glossary.md has no glossary directive"
    return [line for line in block[1].splitlines() if line and not line.startswith((" ", ":"))]


PAGES = sorted(
    p
    for p in [*BOOK.rglob("*.md"), *BOOK.rglob("*.ipynb")]
    if not {".ipynb_checkpoints", "_build"} & set(p.parts)
)
NAMES = [str(p.relative_to(BOOK)) for p in PAGES]
KEYS = re.findall(r"(?m)^@\w+\{([^,\s]+),", BIB)
each_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


def test_bibliography_keys_are_unique_and_entries_complete() -> None:
    assert len(KEYS) == len(set(KEYS)), "a key stands twice in references.bib"
    entries = re.split(r"(?m)^(?=@\w+\{)", BIB)[1:]
    assert len(entries) == len(KEYS)
    for key, entry in zip(KEYS, entries, strict=True):
        fields = set(re.findall(r"(?m)^\s*(\w+)\s*=", entry))
        assert {"title", "year"} <= fields, key
        assert {"author", "editor"} & fields, key
        places = {"journal", "booktitle", "school", "publisher", "note", "howpublished"}
        assert places & fields, f"{key} does not say where it appeared"
        assert entry.count("{") == entry.count("}"), key
        year = re.search(r"year\s*=\s*\{(\d{4})\}", entry)
        assert year, f"{key}: the year is four digits in braces"
        named = re.search(r"\d{4}", key)
        assert named and abs(int(named[0]) - int(year[1])) <= 1, (key, year[1])


@each_page
def test_every_citation_is_in_the_bibliography(page: Path) -> None:
    text = prose(page)
    cited = [k.strip() for c in re.findall(r"\{cite:\w+\}`([^`]+)`", text) for k in c.split(",")]
    assert set(cited) <= set(KEYS), f"not in references.bib: {sorted(set(cited) - set(KEYS))}"
    if cited:
        assert "```{bibliography}" in text, f"{page.name} cites and prints no list of references"


def test_glossary_is_sorted_and_says_each_thing_once() -> None:
    listed = terms((BOOK / "glossary.md").read_text(encoding="utf-8"))
    assert len(listed) == len({t.lower() for t in listed})
    assert listed == sorted(listed, key=str.lower)


@each_page
def test_every_term_used_is_in_the_glossary(page: Path) -> None:
    known = {t.lower() for t in terms((BOOK / "glossary.md").read_text(encoding="utf-8"))}
    for role in re.findall(r"\{term\}`([^`]+)`", prose(page)):
        target = re.sub(r"^.*<([^>]+)>$", r"\1", role).lower()
        assert target in known, f"{page.name}: {role!r} is not in the glossary"


@each_page
def test_relative_links_lead_to_files(page: Path) -> None:
    # inline code and mathematics hold no links
    text = re.sub(r"`[^`\n]*`|\$[^$\n]*\$", "", prose(page))
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    targets += re.findall(r"(?m)^(?:```|:::+)\{(?:figure|image)\} (\S+)", text)
    for target in targets:
        file = target.split("#")[0]
        if not file or re.match(r"[a-z]+:", file):
            continue
        assert (page.parent / file).exists(), f"{page.name} links to {target}, which is not there"
    for target in re.findall(r"(?m)^:link: (\S+)\n:link-type: doc", text):
        found = [(page.parent / f"{target}{end}").exists() for end in (".md", ".ipynb")]
        assert any(found), f"{page.name} has a card for {target}, which is not there"


@each_page
def test_every_figure_has_alternative_text(page: Path) -> None:
    blocks = re.findall(r"(?ms)^(`{3,}|:{3,})\{(?:figure|image)\}(.*?)^\1$", prose(page))
    for _, block in blocks:
        alt = re.search(r"(?m)^:alt: (.+)$", block)
        assert alt and len(alt[1]) > 20, f"{page.name}: a figure without a sentence for :alt:"


@pytest.mark.parametrize(
    "drawing", sorted((BOOK / "assets" / "figures").glob("*.svg")), ids=lambda p: p.name
)
def test_drawings_are_self_contained_and_described(drawing: Path) -> None:
    root = ElementTree.parse(drawing).getroot()
    assert root.tag == SVG + "svg" and "viewBox" in root.attrib
    for name in ("title", "desc"):
        element = root.find(SVG + name)
        assert element is not None and element.text, f"{drawing.name} has no <{name}>"
    source = drawing.read_text(encoding="utf-8")
    assert not re.search(r"<(script|image|foreignObject|style)\b", source)
    outside = source.replace("http://www.w3.org/", "")
    assert "http" not in outside, f"{drawing.name} refers to something outside itself"
    width = float(root.attrib["viewBox"].split()[2])
    shown = min(1.0, 350 / width)  # on a phone of 390 pixels, less the margins
    sizes = [float(s) for s in re.findall(r'font-size="([\d.]+)"', source)]
    assert not sizes or min(sizes) * shown >= 10, f"{drawing.name}: text too small for a phone"


def test_intro_answers_ten_questions_each_with_a_link() -> None:
    text = (BOOK / "intro.md").read_text(encoding="utf-8")
    section = re.search(r"(?ms)^## Ten questions.*?(?=^## )", text)
    assert section
    answers = re.split(r"(?m)^\*\*\d+\. .+\?\*\*$", section[0])[1:]
    assert len(answers) == 10
    for answer in answers:
        paragraph = answer.strip().split("\n\n")[0].split("\n::::")[0]
        assert "](" in paragraph, f"no link in: {paragraph}"
        ends = re.findall(r"[.?!](?=\s|$)", paragraph)
        assert len(ends) == 2, f"{len(ends)} sentences, not two: {paragraph}"


def test_intro_does_not_carry_a_number_of_its_own() -> None:
    """The result above the fold is generated from a run; the text holds only the placeholder."""
    text = (BOOK / "intro.md").read_text(encoding="utf-8")
    assert text.count("{{ result_headline }}") == 1
    assert not re.search(r"\d\d\.\d\s*(±|%)", text)
