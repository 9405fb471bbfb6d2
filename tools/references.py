"""How a work is cited in a notebook, and the lists of references at the notebooks' ends.

    python tools/references.py                                  # write the lists of all notebooks
    python tools/references.py book/metric/prototypical.ipynb   # of some
    python tools/references.py --check                          # say which are old, write nothing
    python tools/references.py --cite finn2017maml              # print the two forms to paste

In a notebook a citation is a link to the work: `[Finn et al. (2017)](address)` within a sentence,
`([Finn et al., 2017](address))` beside one. The list stands between `<!-- references -->` and
`<!-- /references -->`. Authors, year and address come from `book/references.bib`; one that is not in
there is an error.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pybtex.database import Entry, Person, parse_file
from pybtex.richtext import Text

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script sees its folder only

from tools.notebooks import BOOK, of_the_book

BIBLIOGRAPHY = BOOK / "references.bib"
PLACES = ("journal", "booktitle", "school", "publisher", "howpublished", "note")

ADDRESS = r"https?://[^()\s]*(?:\([^()\s]*\)[^()\s]*)*"
CITATION = re.compile(rf"(?<!!)\[([^\[\]]+(?:, \d{{4}}| \(\d{{4}}\)))\]\(({ADDRESS})\)")
LIST = re.compile(r"(?ms)^<!-- references -->\n(.*?)^<!-- /references -->$")


@dataclass(frozen=True)
class Work:
    """One entry of the bibliography: "Finn et al.", 2017, where to read it, its line in a list."""

    key: str
    authors: str
    year: str
    address: str
    line: str

    @property
    def in_a_sentence(self) -> str:
        return f"[{self.authors} ({self.year})]({self.address})"

    @property
    def beside_a_sentence(self) -> str:
        return f"[{self.authors}, {self.year}]({self.address})"


def _plain(latex: str) -> str:
    return str(Text.from_latex(latex)).replace("--", "–")


def _family(person: Person) -> str:
    return _plain(" ".join([*person.prelast_names, *person.last_names]))


def _full(person: Person) -> str:
    given = _plain(" ".join([*person.first_names, *person.middle_names]))
    return " ".join(part for part in (given, _family(person)) if part)


def _together(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def address(entry: Entry) -> str:
    """Where to read a work: its `url`, or else its DOI."""
    if url := entry.fields.get("url"):
        return str(url)
    return f"https://doi.org/{entry.fields['doi']}" if "doi" in entry.fields else ""


def _work(key: str, entry: Entry) -> Work:
    persons = entry.persons.get("author") or entry.persons["editor"]
    others = "others" in [_family(p) for p in persons]
    families = [_family(p) for p in persons]
    short = f"{families[0]} et al." if len(families) > 2 or others else _together(families)
    names = [_full(p) for p in persons if _family(p) != "others"]
    full = f"{', '.join(names[:6])} et al." if others or len(names) > 7 else _together(names)
    year, where = entry.fields["year"], address(entry)
    title = _plain(entry.fields["title"]).rstrip(".")
    place = next((_plain(entry.fields[f]) for f in PLACES if f in entry.fields), "")
    if "journal" in entry.fields and "volume" in entry.fields:
        place += f" {entry.fields['volume']}"
    linked = f"[{title}]({where})" if where else title
    dot = ["" if text.endswith((".", "?", "!")) else "." for text in (full, title)]
    line = f"- {full}{dot[0]} {linked}{dot[1]} *{place}*, {year}."
    return Work(key, short, year, where, line)


@cache
def works() -> dict[str, Work]:
    """Every work of the bibliography by its key."""
    entries = parse_file(str(BIBLIOGRAPHY), bib_format="bibtex").entries
    return {key: _work(key, entry) for key, entry in entries.items()}


@cache
def by_address() -> dict[str, Work]:
    """The works that can be cited by a link."""
    found: dict[str, Work] = {}
    for work in works().values():
        if work.address in found:
            raise ValueError(f"{work.key} and {found[work.address].key} have one address")
        if work.address:
            found[work.address] = work
    return found


def cited(text: str, where: str) -> Work:
    """The work that a link in the form of a citation means.

    Raises:
        ValueError: If no entry has the address, or if it has other authors or another year.
    """
    work = by_address().get(where)
    if work is None:
        raise ValueError(
            f"[{text}]({where}) looks like a citation and no entry of references.bib has this address"
        )
    if text not in (f"{work.authors}, {work.year}", f"{work.authors} ({work.year})"):
        raise ValueError(
            f"[{text}]({where}) should read {work.in_a_sentence} or ({work.beside_a_sentence})"
        )
    return work


def without_list(text: str) -> str:
    return LIST.sub("", text)


def reference_list(text: str) -> str:
    """The list of what a text cites, by author and year."""
    found = {cited(*pair) for pair in CITATION.findall(without_list(text))}
    ordered = sorted(found, key=lambda w: (w.authors.lower(), w.year, w.key))
    return "".join(f"{work.line}\n" for work in ordered)


def markdown(notebook: dict[str, Any]) -> str:
    cells = [c for c in notebook["cells"] if c["cell_type"] == "markdown"]
    return "\n\n".join("".join(c["source"]) for c in cells)


def renew(notebook: dict[str, Any]) -> None:
    """Write the list between its markers, in place.

    Raises:
        ValueError: If a notebook cites and has no place for the list, or none to fill it with.
    """
    text = markdown(notebook)
    items = reference_list(text)
    if bool(items) != (len(LIST.findall(text)) == 1):
        raise ValueError("a notebook that cites has one pair of <!-- references --> markers")
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown" and (old := LIST.search(source)):
            begin, end = old.span()
            block = f"<!-- references -->\n\n{items}\n<!-- /references -->"
            cell["source"] = (source[:begin] + block + source[end:]).splitlines(keepends=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: every notebook of book/")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a list is old")
    parser.add_argument("--cite", metavar="KEY", help="print how this work is cited")
    arguments = parser.parse_args()
    if arguments.cite:
        work = works()[arguments.cite]
        print(f"{work.in_a_sentence}\n({work.beside_a_sentence})")
        return 0
    old = 0
    for path in arguments.notebooks or of_the_book():
        before = path.read_text(encoding="utf-8")
        notebook = json.loads(before)
        try:
            renew(notebook)
        except ValueError as error:
            sys.exit(f"error: {path}: {error}")
        after = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        if after != before:
            old += 1
            print(f"{path}: {'its list of references is old' if arguments.check else 'renewed'}")
            if not arguments.check:
                path.write_text(after, encoding="utf-8")
    return 1 if arguments.check and old else 0


if __name__ == "__main__":
    sys.exit(main())
