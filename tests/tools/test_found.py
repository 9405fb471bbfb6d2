"""What a search engine and a chat are told of a page. What stands in the built pages: tests/site/test_found.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from docutils.core import publish_doctree
from PIL import Image

from tools.found import address, card, description, first_page, shortened
from tools.plain import SITE

LONG = "A network that has met many tasks learns the next from a handful of examples."


@pytest.mark.parametrize(
    "before",
    [
        "Too short to say anything.",
        f".. note::\n\n   In a box: {LONG}",
        f"- In a list: {LONG}",
        f"   In a quotation: {LONG}",
        f"With :math:`\\theta` in it: {LONG}",
        f"term\n   Of a glossary: {LONG}",
    ],
)
def test_a_description_is_the_first_plain_paragraph(before: str) -> None:
    page = publish_doctree(f"Title\n=====\n\n{before}\n\n{LONG}\n\nAnd another one: {LONG}")
    assert description(page) == LONG


def test_a_page_without_such_a_paragraph_or_without_text_has_no_description() -> None:
    assert description(publish_doctree("Title\n=====\n\nShort.")) == description(None) == ""


def test_a_description_ends_before_a_formula() -> None:
    page = publish_doctree(f"Title\n=====\n\n{LONG} It has *weights* :math:`\\theta`. And more.")
    assert description(page) == LONG


def test_a_description_ends_with_a_sentence_or_with_a_word() -> None:
    assert shortened("x" * 200) == "x" * 200
    assert shortened("See 1.5 of it. " + "Then more, " * 30) == "See 1.5 of it."
    cut = shortened("meta-learning, " * 20)
    assert cut.endswith("meta-learning…") and len(cut) <= 200


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('href="../_static/a.css?v=1"', 'href="_static/a.css?v=1"'),
        ('src="x.png"', 'src="book/x.png"'),
        ('href="metric/siamese.html#Traps"', 'href="book/metric/siamese.html#Traps"'),
        *[
            (same, same)
            for same in (
                'href="#here"',
                'href="https://a.b/c"',
                'src="data:x"',
                'href="/"',
                'href="mailto:a"',
            )
        ],
        ('<html data-content_root="../">', '<html data-content_root="./">'),
    ],
)
def test_the_first_page_leads_to_the_same_places_from_one_level_up(before: str, after: str) -> None:
    assert first_page(before, "book") == after


def test_the_first_page_has_the_address_of_the_site() -> None:
    assert address("book/intro", "book/intro") == SITE
    assert address("book/lab", "book/intro") == f"{SITE}book/lab.html"


@pytest.mark.parametrize("title", ["MAML", "Meta-learning against transfer learning " * 3])
def test_a_card_has_the_size_that_networks_ask_for_and_holds_its_title(
    tmp_path: Path, title: str
) -> None:
    card("Learning to Learn", title.strip(), tmp_path / "a" / "card.png")
    with Image.open(tmp_path / "a" / "card.png") as picture:
        assert picture.size == (1200, 630)
        grey = picture.convert("L")
    ink = grey.point(lambda v: 255 * (v < 100))
    assert ink.crop((80, 130, 1200, 440)).getbbox() is not None, "a title"
    assert ink.crop((1130, 0, 1200, 630)).getbbox() is None, "beyond the margin"
    assert ink.crop((80, 425, 1200, 450)).getbbox() is None, "between title and tiles"
