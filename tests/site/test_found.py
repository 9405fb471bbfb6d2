"""What search engines, chats and lost readers find: heads of pages, the list of them, the first page's address."""

from __future__ import annotations

import re
from collections import Counter
from xml.etree import ElementTree

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from tests.site.conftest import CONFIG, HTML, Visit, pages
from tools.plain import SITE

NAME = CONFIG["title"]


def head(page: str) -> dict[str, str]:
    """What the head of a page says, by name."""
    text = (HTML / f"{page}.html").read_text(encoding="utf-8").partition("</head>")[0]
    tags = re.findall(r'<meta (?:name|property)="([^"]+)" content="([^"]*)"', text)
    found = Counter(name for name, _ in tags)
    assert all(n == 1 for name, n in found.items() if name != "viewport"), found
    (title,) = re.findall(r"<title>(.*?)</title>", text)
    (canonical,) = re.findall(r'<link rel="canonical" href="([^"]*)"', text)
    return {**dict(tags), "title": title, "canonical": canonical}


@pytest.mark.parametrize("page", pages())
def test_a_page_says_what_it_is_where_it_is_and_how_it_looks(page: str) -> None:
    said = head(page)
    where = SITE if page == "book/intro" else f"{SITE}{page}.html"
    assert said["canonical"] == said["og:url"] == where
    assert 60 <= len(said["description"]) <= 250, said["description"]
    assert said["og:description"] == said["description"]
    assert said["title"].casefold().count(NAME.casefold()) == 1, "the book's name once"
    picture = said["og:image"]
    assert picture.startswith(SITE)
    with Image.open(HTML / picture.removeprefix(SITE)) as card:
        assert card.size == (int(said["og:image:width"]), int(said["og:image:height"]))
    assert said["og:title"] in said["og:image:alt"]


def test_no_two_pages_say_the_same() -> None:
    for what in ("title", "description", "og:title", "og:image", "canonical"):
        values = Counter(head(page)[what] for page in pages())
        assert max(values.values()) == 1, f"{what}: {values.most_common(1)}"


def test_a_page_that_is_no_text_is_not_to_be_listed() -> None:
    for page in ("search", "genindex"):
        assert head(page)["robots"] == "noindex"
    assert all("robots" not in head(page) for page in pages())


def test_the_list_of_pages_is_whole() -> None:
    assert f"Sitemap: {SITE}sitemap.xml" in (HTML / "robots.txt").read_text()
    tree = ElementTree.parse(HTML / "sitemap.xml")
    listed = [entry.text for entry in tree.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")]
    assert sorted(map(str, listed)) == sorted(head(page)["canonical"] for page in pages())


@pytest.mark.parametrize("view", ["light", "phone"])
def test_the_sites_own_address_is_the_first_page_and_alive(
    visits: dict[str, Visit], view: str
) -> None:
    visit = visits[view]
    page = visit.open("index.html")
    assert page.url.endswith("/index.html"), "sent on"
    expect(page.locator("#try")).to_contain_text("says")
    page.get_by_role("link", name="Start reading").click()
    page.wait_for_url("**/book/problem/index.html")
    assert not visit.problems, visit.problems


def test_links_of_the_first_page_lead_somewhere_from_both_of_its_addresses() -> None:
    for page in ("index", "book/intro"):
        text = (HTML / f"{page}.html").read_text(encoding="utf-8")
        for target in re.findall(r'\b(?:href|src|action)="([^"#?]+)', text):
            if not re.match(r"[a-z]+:", target):
                assert ((HTML / page).parent / target).resolve().exists(), f"{page}: {target}"


def test_an_address_that_leads_nowhere_is_told_so_and_led_back(browser: Browser) -> None:
    """The page stands alone, since it is shown at addresses of any depth."""
    text = (HTML / "404.html").read_text(encoding="utf-8")
    assert not re.search(r"<(?:script|img|link)\b|url\(", text)
    page = browser.new_page(color_scheme="dark")
    page.set_content(text)
    links = [a.get_attribute("href") for a in page.get_by_role("link").all()]
    assert links == [SITE, f"{SITE}search.html"]
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)"
    page.close()
