"""Notebooks are written in Markdown that every program shows; here the site's build makes MyST of it.

Colab, JupyterLab, Notebook, VS Code and GitHub know no directives and no roles, so the notebooks of the
book hold none. While Sphinx reads a notebook, its Markdown cells are rewritten (`to_myst`):

    in the notebook                                             on the site
    <!-- trap --> above a quotation whose first line is bold    a box of that class
    <details><summary>Title</summary> ... </details>            a folded box
    [Finn et al. (2017)](https://arxiv.org/abs/1703.03400)      a citation, if the address is in references.bib
    <!-- references --> ... <!-- /references -->                the bibliography of the page
    $$ ... \\tag{3} $$                                           a numbered equation
    [(3)](#The-mathematics)                                     a link to equation 3 of the notebook
    ![description][name], then a line in *italics*              the drawing book/assets/figures/name.svg and its caption
    <!-- compare --> above a table, a line in *italics* below   a table of that class with a caption
    [regret](.../book/glossary.html#term-regret)                a term of the glossary
    [its page](.../book/metric/index.html)                      a link within the site
    [Traps](#Traps), [there](matching.ipynb#Traps)              links to sections, named as Jupyter names them

What does not fit is an error of the build: an unknown class, a citation of nothing, a tag that is not
there or out of order, a link to a page or a section that does not exist.
"""

from __future__ import annotations

import json
import posixpath
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from myst_parser.mdit_to_docutils.base import default_slugify
from sphinx.util.nodes import _make_id

from tools.references import ADDRESS, cited

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent
DRAWINGS = ROOT / "book" / "assets" / "figures"
SITE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"][
    "Book"
]

BOXES = {"goals", "trap", "exercise", "paper", "note", "tip", "important", "warning", "seealso"}
TABLES = {"compare"}
BIBLIOGRAPHY = "```{bibliography}\n:filter: docname in docnames\n:style: unsrt\n```"

COMMENT = re.compile(r"<!-- (/?[a-z]+) -->")
FENCE = re.compile(r"(`{3,}|~{3,})(.*)")
HEADING = re.compile(r"(#{1,6})\s+(.+?)\s*#*")
PICTURE = re.compile(r"!\[(.+)\]\[([a-z0-9_]+)\]")
DEFINITION = re.compile(r"\[([a-z0-9_]+)\]: (data:image/jpeg;base64,\S+)")
CAPTION = re.compile(r"\*(?!\*)(.+)(?<!\*)\*")
SUMMARY = re.compile(r"<details><summary>(.+)</summary>")
TAG = re.compile(r"\s*\\tag\{(\d+)\}")
NUMBER = re.compile(r"((?:[Ee]quation )?)\(?(\d+)\)?")

LINK = r"(?<!!)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]*(?:\([^()\s]*\)[^()\s]*)*)\)"
PIECES = re.compile(
    r"(?P<code>(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`))"
    r"|(?P<display>\$\$.+?\$\$)"
    r"|(?P<math>(?<![\\$])\$(?=[^\s$])[^$\n]*?(?<=[^\s\\])\$)"
    rf"|\((?P<beside>\[[^\[\]]+, \d{{4}}\]\({ADDRESS}\)(?:; \[[^\[\]]+, \d{{4}}\]\({ADDRESS}\))*)\)"
    rf"|(?P<link>{LINK})",
    re.DOTALL,
)
BESIDE = re.compile(rf"\[([^\[\]]+)\]\(({ADDRESS})\)")


def anchor(heading: str) -> str:
    """How JupyterLab, Notebook and GitHub name a heading: its text, with hyphens for spaces."""
    return words(heading).replace(" ", "-")


def words(heading: str) -> str:
    """The text of a heading without marks for emphasis, code and links."""
    text = re.sub(LINK, r"\1", heading)
    return re.sub(r"[*`]|(?<!\w)_|_(?!\w)", "", text)


def outside_of_code(text: str) -> list[tuple[bool, str]]:
    """The lines of a text, each with whether it stands outside of fenced code."""
    lines: list[tuple[bool, str]] = []
    fence = ""
    for line in text.split("\n"):
        found = FENCE.fullmatch(line.lstrip())
        if fence:
            lines.append((False, line))
            if found and found[1].startswith(fence) and not found[2].strip():
                fence = ""
        elif found:
            fence = found[1]
            lines.append((False, line))
        else:
            lines.append((True, line))
    return lines


@dataclass
class Page:
    """What links may lead to within a notebook: its headings and the numbered equations under them."""

    slugs: dict[str, str] = field(default_factory=dict)  # Jupyter's anchor: the site's
    sections: list[set[str]] = field(default_factory=list)  # of equations 1, 2, ...: headings above
    numbers: list[int] = field(default_factory=list)  # of the equations, in order


def page(notebook: dict[str, Any]) -> Page:
    """Read the headings and equations of a notebook."""
    found = Page()
    above: list[tuple[int, str]] = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "markdown":
            continue
        for outside, line in outside_of_code("".join(cell["source"])):
            if not outside:
                continue
            if heading := HEADING.fullmatch(line):
                level, name = len(heading[1]), anchor(heading[2])
                slug = first = default_slugify(re.sub(r"\$[^$]*\$", "", words(heading[2])))
                count = 1
                while slug in found.slugs.values():
                    slug, count = f"{first}-{count}", count + 1
                found.slugs.setdefault(name, slug)
                above = [*(a for a in above if a[0] < level), (level, name)]
            for tag in TAG.finditer(line):
                found.numbers.append(int(tag[1]))
                found.sections.append({name for level, name in above})
    return found


@cache
def page_of(path: Path) -> Page:
    return page(json.loads(path.read_text(encoding="utf-8")))


@cache
def glossary() -> dict[str, str]:
    """The terms of the glossary by their anchors on its page."""
    text = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8")
    block = re.search(r"(?ms)^```\{glossary\}\n(.*?)^```$", text)
    lines = block[1].splitlines() if block else []
    terms = [line for line in lines if line and not line.startswith((" ", ":"))]
    return {_make_id(f"term-{term}"): term for term in terms}


class Rewriter:
    """Turns the Markdown of one notebook into MyST and notes what does not fit."""

    def __init__(self, docname: str, notebook: dict[str, Any]) -> None:
        self.docname, self.page = docname, page(notebook)
        self.label = docname.removeprefix("book/").replace("/", "-")
        self.problems: list[str] = []
        if self.page.numbers != list(range(1, len(self.page.numbers) + 1)):
            self.problems.append(
                f"the tags of its equations are {self.page.numbers}, not 1, 2, ..."
            )

    # --- blocks ---

    def text(self, source: str) -> str:
        """The MyST of a cell, or of what stands in a box."""
        lines = outside_of_code(source)
        out: list[str] = []
        prose: list[str] = []

        def flush() -> None:
            if prose:
                out.append(self.inline("\n".join(prose)))
                prose.clear()

        def take(while_: Callable[[str], bool]) -> list[str]:
            nonlocal i
            begun = i
            while i < len(lines) and while_(lines[i][1]):
                i += 1
            return [line for _, line in lines[begun:i]]

        i = 0
        while i < len(lines):
            outside, line = lines[i]
            i += 1
            if not outside:
                flush()
                if re.match(r"\s*(?:`{3,}|~{3,})\{", line):
                    self.problems.append(f"{line}: a directive is for the site only")
                out.append(line)
            elif line.startswith("<!--"):
                flush()
                name = COMMENT.fullmatch(line)
                if name and name[1] in BOXES:
                    quoted = take(lambda s: s.startswith(">"))
                    out.append(self.box(name[1], [re.sub("^> ?", "", s) for s in quoted]))
                    if i < len(lines) and lines[i][1].strip():
                        self.problems.append(
                            f"an empty line is missing below the box: {lines[i][1]}"
                        )
                elif name and name[1] in TABLES:
                    rows = take(lambda s: s.startswith("|"))
                    out.append(self.table(name[1], rows, self.caption(take)))
                elif name and name[1] == "references":
                    take(lambda s: s != "<!-- /references -->")
                    if i == len(lines):
                        self.problems.append("<!-- references --> has no <!-- /references -->")
                    i += 1
                    out.append(BIBLIOGRAPHY)
                else:
                    known = ", ".join(sorted({*BOXES, *TABLES, "references"}))
                    self.problems.append(f"{line}: not one of {known}")
            elif line.startswith("<details"):
                flush()
                title = SUMMARY.fullmatch(line)
                inside = take(lambda s: s != "</details>")
                if title is None or i == len(lines):
                    self.problems.append(
                        f"{line}: folded text is <details><summary>Title</summary>, its text "
                        "between empty lines, and </details>, each on a line"
                    )
                    continue
                i += 1
                body = self.text("\n".join(inside).strip("\n"))
                out.append(f"::::{{dropdown}} {self.inline(title[1])}\n{body}\n::::")
            elif picture := PICTURE.fullmatch(line):
                flush()
                out.append(self.drawing(picture[1], picture[2], self.caption(take)))
            elif not DEFINITION.fullmatch(line):
                if re.search("<!--|</?details", re.sub("`[^`]*`", "", line)):
                    self.problems.append(f"{line}: it stands at the beginning of a line of its own")
                if re.search(
                    r"^\s*:{3,}|\{[a-z]+(?::[a-z]+)?\}`|\$\$ ?\([a-z][\w-]*\)$|\{\{", line
                ):
                    self.problems.append(
                        f"{line}: directives, roles and labels are for the site only"
                    )
                prose.append(line)
        flush()
        return "\n".join(out)

    def caption(self, take: Callable[[Callable[[str], bool]], list[str]]) -> str:
        """The paragraph in italics that comes next, if there is one; else the lines stay."""
        lines: list[str] = []

        def mine(line: str) -> bool:
            if not lines and not line.strip():
                return True
            lines.append(line)
            return len(lines) == 1 and CAPTION.fullmatch(line) is not None

        take(mine)
        found = CAPTION.fullmatch(lines[0]) if lines else None
        return self.inline(found[1]) if found else ""

    def box(self, kind: str, lines: list[str]) -> str:
        title = re.fullmatch(r"\*\*(.+)\*\*", lines[0]) if lines else None
        if title is None or (len(lines) > 1 and lines[1].strip()):
            self.problems.append(
                f"<!-- {kind} --> stands right above a quotation: > **Title**, then a line with > alone"
            )
            return ""
        body = self.text("\n".join(lines[2:]))
        marks = ":" * max([3, *(len(m) + 1 for m in re.findall(r"(?m)^:{3,}", body))])
        return f"{marks}{{admonition}} {self.inline(title[1])}\n:class: {kind}\n{body}\n{marks}"

    def table(self, kind: str, rows: list[str], caption: str) -> str:
        if not rows or not caption:
            self.problems.append(f"<!-- {kind} --> stands above a table, a line in *italics* below")
        lines = []
        for row in (rows[:1] + rows[2:]) if caption else []:
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))]
            cells[0] = re.sub(r"^\*\*(.+)\*\*$", r"\1", cells[0])
            lines += [
                f"{'  ' if k else '* '}- {self.inline(cell)}".rstrip()
                for k, cell in enumerate(cells)
            ]
        options = f":header-rows: 1\n:stub-columns: 1\n:class: {kind}"
        return "\n".join([f"```{{list-table}} {caption}", options, "", *lines, "```", ""])

    def drawing(self, alt: str, name: str, caption: str) -> str:
        path = DRAWINGS / f"{name}.svg"
        if not path.exists():
            self.problems.append(f"there is no drawing book/assets/figures/{name}.svg")
            return ""
        width = ElementTree.parse(path).getroot().get("width")
        if not width or not caption:
            self.problems.append(f"the drawing {name} has no {'caption' if width else 'width'}")
        up = posixpath.relpath("book/assets/figures", posixpath.dirname(self.docname))
        options = {"alt": alt, "width": f"{width}px", "name": f"drawing-{name.replace('_', '-')}"}
        block = "".join(f":{key}: {value}\n" for key, value in options.items())
        return f"```{{figure}} {up}/{name}.svg\n{block}\n{caption}\n```\n"

    # --- what stands in a line ---

    def inline(self, text: str) -> str:
        return PIECES.sub(self.piece, text)

    def piece(self, found: re.Match[str]) -> str:
        try:
            if found["display"] and (tag := TAG.search(found[0])):
                return f"{TAG.sub('', found[0])} ({self.label}-{tag[1]})"
            if found["beside"]:
                works = [cited(*pair).key for pair in BESIDE.findall(found["beside"])]
                return f"{{cite:p}}`{','.join(works)}`"
            if found["link"]:
                return self.link(found[0])
        except ValueError as error:
            self.problems.append(str(error))
        return found[0]

    def link(self, whole: str) -> str:
        parts = re.fullmatch(LINK, whole)
        assert parts
        text, target = parts[1], parts[2]
        if target.startswith(SITE):
            return self.on_the_site(text, target)
        if re.match("https?:", target):
            if re.search(r", \d{4}$", text):
                cited(text, target)
                raise ValueError(f"{whole}: beside a sentence a citation has brackets of its own")
            if re.search(r" \(\d{4}\)$", text):
                return f"{{cite:t}}`{cited(text, target).key}`"
            return whole
        path, _, name = target.partition("#")
        if not path and (number := NUMBER.fullmatch(text)):
            return number[1] + self.equation(int(number[2]), name, whole)
        if path and not re.fullmatch(r"[\w./-]+\.ipynb", path):
            raise ValueError(
                f"{whole}: outside of the site only notebooks and full addresses lead on"
            )
        if not name:
            return f"[{self.inline(text)}]({self.there(path, whole)})"
        there = self.page if not path else page_of(ROOT / self.target(path, whole))
        if name not in there.slugs:
            raise ValueError(f"{whole}: no heading there is named {name}")
        return f"[{self.inline(text)}]({path}#{there.slugs[name]})"

    def equation(self, number: int, section: str, whole: str) -> str:
        if number > len(self.page.numbers):
            raise ValueError(f"{whole}: no equation of this notebook has \\tag{{{number}}}")
        if section not in self.page.sections[number - 1]:
            raise ValueError(
                f"{whole}: equation ({number}) stands under "
                f"{' or '.join(sorted(self.page.sections[number - 1]))}"
            )
        return f"{{eq}}`{self.label}-{number}`"

    def equation_of(self, path: str, label: str, whole: str) -> str:
        """A link to a numbered equation of a page that is no notebook."""
        there = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).is_file() else ""
        labels = re.findall(r"(?m)\$\$ \(([\w-]+)\)$", there)
        number = labels.index(label) + 1 if label in labels else 0
        said = NUMBER.fullmatch(whole[1 : whole.index("](")])
        if not number or said is None or int(said[2]) != number:
            raise ValueError(
                f"{whole}: {path} has {f'({number})' if number else 'none'} of that name"
            )
        return f"{said[1]}{{eq}}`{label}`"

    def target(self, path: str, whole: str) -> str:
        """A relative path as one from the root of the repository."""
        there = posixpath.normpath(posixpath.join(posixpath.dirname(self.docname), path))
        if not (ROOT / there).is_file():
            raise ValueError(f"{whole}: there is no {there}")
        return there

    def there(self, path: str, whole: str) -> str:
        self.target(path, whole)
        return path

    def on_the_site(self, text: str, target: str) -> str:
        """A link to the public address of the site, made local."""
        path, _, name = target.removeprefix(SITE).partition("#")
        if path == "book/glossary.html" and name:
            if name not in glossary():
                raise ValueError(f"[{text}]({target}): the glossary has no such term")
            return f"{{term}}`{text} <{glossary()[name]}>`"
        stem = path.removesuffix(".html") or "book/intro"
        if equation := re.fullmatch("equation-(.+)", name):
            return self.equation_of(f"{stem}.md", equation[1], f"[{text}]({target})")
        for end in (".md", ".ipynb"):
            if (ROOT / (stem + end)).is_file():
                up = posixpath.relpath(stem + end, posixpath.dirname(self.docname))
                return f"[{self.inline(text)}]({up}{f'#{name}' if name else ''})"
        raise ValueError(f"[{text}]({target}): the site has no page {path}")


def to_myst(notebook: dict[str, Any], docname: str) -> list[str]:
    """Rewrite the Markdown cells of a notebook in place and return what does not fit."""
    rewriter = Rewriter(docname, notebook)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = rewriter.text("".join(cell["source"])).splitlines(keepends=True)
            cell.pop("attachments", None)
    return rewriter.problems


def _source_read(app: Sphinx, docname: str, source: list[str]) -> None:
    from sphinx.errors import ExtensionError

    path = Path(app.env.doc2path(docname))
    if path.suffix != ".ipynb":
        return
    notebook = json.loads(source[0])
    problems = to_myst(notebook, docname)
    if problems:
        name = path.relative_to(ROOT)
        raise ExtensionError("\n".join([f"{name} is not plain:", *(f"  {p}" for p in problems)]))
    source[0] = json.dumps(notebook)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", _source_read)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
