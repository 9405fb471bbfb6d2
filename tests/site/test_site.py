"""What holds for the site as a whole: links, search, skip link, print, reading from disk."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from PIL import Image
from playwright.sync_api import Browser, expect

from mlbook import bundle
from tests.site.conftest import HTML, Visit, notebook, pages

OWN = ("mlbook.css", "pygments.css")


@functools.cache
def soup(file: Path) -> BeautifulSoup:
    return BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")


@functools.cache
def anchors(file: Path) -> set[str]:
    return {str(tag["id"]) for tag in soup(file).find_all(id=True)}


def internal_links(file: Path) -> Iterator[str]:
    for tag, attribute in (("a", "href"), ("img", "src"), ("script", "src"), ("link", "href")):
        for element in soup(file).find_all(tag, attrs={attribute: True}):
            target = str(element[attribute])
            if not urlsplit(target).scheme and not target.startswith("//"):
                yield target


@pytest.mark.parametrize("name", pages())
def test_internal_links_and_anchors_resolve(name: str, address: str) -> None:
    file = HTML / f"{name}.html"
    broken = []
    for link in internal_links(file):
        path, anchor = unquote(urlsplit(link).path), unquote(urlsplit(link).fragment)
        target = (file.parent / path).resolve() if path else file
        if not target.exists() or (
            anchor and target.suffix == ".html" and anchor not in anchors(target)
        ):
            broken.append(link)
    assert not broken


def test_a_page_without_its_pictures_and_data_is_light(address: str) -> None:
    """Words, formulas, code and menus: 250 kB at most. Drawings, pictures, scripts and their data are not counted."""
    weights = {}
    for name in pages():
        page = BeautifulSoup((HTML / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
        for part in page.find_all(["svg", "script", "img", "canvas"]):
            part.decompose()
        weights[name] = len(str(page).encode()) / 1000
    assert {name: kB for name, kB in weights.items() if kB > 250} == {}


@pytest.mark.parametrize("name", pages())
def test_page_asks_for_nothing_from_elsewhere(name: str, address: str) -> None:
    """Not even what the browser would only fetch later: no script, style, font or frame off the site."""
    tags = {"script": "src", "img": "src", "iframe": "src", "source": "src", "audio": "src"}
    remote = [
        str(element[attribute])
        for tag, attribute in tags.items()
        for element in soup(HTML / f"{name}.html").find_all(tag, attrs={attribute: True})
        if urlsplit(str(element[attribute])).scheme in ("http", "https")
    ]
    for link in soup(HTML / f"{name}.html").find_all("link", href=True):
        if "canonical" not in (link.get("rel") or []) and str(link["href"]).startswith("http"):
            remote.append(str(link["href"]))
    assert not remote


def test_own_styles_fetch_nothing(address: str) -> None:
    for name in OWN:
        text = (HTML / "_static" / name).read_text(encoding="utf-8")
        assert "@import" not in text
        assert not re.search(r"url\(", text)


@pytest.mark.parametrize("view", ["light", "dark", "phone"])
def test_the_page_is_the_paper_of_what_notebooks_draw(visits: dict[str, Visit], view: str) -> None:
    """The white that a notebook has under its charts is not seen here, and the chart keeps its proportions."""
    page = visits[view].open("book/problem/how_many_tasks.html")
    pictures = page.locator("div.cell_output img[src$='.png']")
    assert pictures.count() >= 2
    for i in range(pictures.count()):
        pictures.nth(i).scroll_into_view_if_needed()
        width, height, ratio = pictures.nth(i).evaluate(
            "e => [e.clientWidth, e.clientHeight, e.naturalWidth / e.naturalHeight]"
        )
        assert width / height == pytest.approx(ratio, rel=0.02)
        with Image.open(BytesIO(pictures.nth(i).screenshot())) as shot:
            seen = shot.convert("RGB")
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        corners = [(x, y) for x in (2, seen.width - 3) for y in (2, seen.height - 3)]
        for corner in corners:
            there = seen.getpixel(corner)
            expected = [int(v) for v in re.findall(r"\d+", paper)[:3]]
            assert isinstance(there, tuple)
            assert max(abs(a - b) for a, b in zip(there, expected, strict=True)) <= 2, corner
        colors = seen.getcolors(2**24) or []
        strongest = max(abs(sum(c) - sum(expected)) for _, c in colors if isinstance(c, tuple))
        assert strongest > 300, "words stand out from the page"


def test_search_finds_prototype(visits: dict[str, Visit]) -> None:
    visit = visits["light"]
    page = visit.open("book/intro.html")
    page.keyboard.press("Control+k")
    field = page.locator("#pst-search-dialog input[type=search]")
    expect(field).to_be_focused()
    field.fill("prototype")
    field.press("Enter")
    results = page.locator("#search-results ul.search li a")
    expect(results.first).to_be_visible()
    page.wait_for_load_state("networkidle")  # the excerpts below the titles
    assert any("prototyp" in link.lower() for link in results.all_inner_texts())
    visit.shot("search-light")
    assert not visit.problems


def test_search_on_a_phone(visits: dict[str, Visit]) -> None:
    page = visits["phone"].open("search.html?q=prototype")
    expect(page.locator("#search-results ul.search li a").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert not visits["phone"].problems


def test_skip_link_comes_first_and_leads_to_the_text(visits: dict[str, Visit]) -> None:
    page = visits["light"].open("book/problem/index.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#main-content"
    # it slides in: look when it has arrived
    page.locator(".skip-link").evaluate("e => Promise.all(e.getAnimations().map(a => a.finished))")
    box = page.locator(".skip-link").bounding_box()
    assert box is not None and box["y"] >= 0 and box["height"] > 20
    page.keyboard.press("Enter")
    assert page.url.endswith("#main-content")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#main-content') !== null")


def test_focus_is_visible(visits: dict[str, Visit]) -> None:
    page = visits["dark"].open("book/intro.html")
    for _ in range(12):
        page.keyboard.press("Tab")
        outline = page.evaluate(
            """() => { const s = getComputedStyle(document.activeElement);
                       return [s.outlineStyle, parseFloat(s.outlineWidth)]; }"""
        )
        assert outline[0] != "none" and outline[1] >= 2, page.evaluate(
            "document.activeElement.outerHTML.slice(0, 200)"
        )


def test_copy_button_copies_the_code(browser: Browser, address: str) -> None:
    visit = Visit(browser, address, "light")
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    page = visit.open("book/intro.html")
    block = page.locator("article div.highlight").first
    block.hover()
    block.locator("button.copybtn").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.strip() == block.locator("pre").inner_text().strip()
    assert not visit.problems
    visit.context.close()


def test_contents_open_on_a_phone(visits: dict[str, Visit]) -> None:
    page = visits["phone"].open("book/intro.html")
    page.locator("main button.primary-toggle").click()
    link = page.locator("nav.bd-links a", has_text="Glossary").first
    expect(link).to_be_visible()
    page.wait_for_timeout(400)
    visits["phone"].shot("contents-phone")
    link.click()
    page.wait_for_url("**/glossary.html")
    assert not visits["phone"].problems


def test_pages_work_from_disk(browser: Browser, address: str) -> None:
    """`make book` prints a path: opened as a file, the mathematics stands as well."""
    visit = Visit(browser, address, "light")
    for name in ("book/intro", "book/metric/prototypical"):
        page = visit.open((HTML / f"{name}.html").as_uri())
        assert page.locator("article mjx-container svg").count() > 0
        assert page.locator("article .math:not(:has(mjx-container))").count() == 0
    page.goto((HTML / "search.html").as_uri() + "?q=prototype")
    expect(page.locator("#search-results ul.search li a").first).to_be_visible()
    visit.context.close()


def test_print_is_light_and_bare(browser: Browser, address: str) -> None:
    visit = Visit(browser, address, "dark")
    page = visit.open("book/metric/prototypical.html")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator(".bd-sidebar-primary").is_visible()
    filters = page.eval_on_selector_all(
        "article img", "images => [...new Set(images.map(i => getComputedStyle(i).filter))]"
    )
    assert filters in ([], ["none"])
    visit.context.close()


def test_nothing_moves_for_those_who_asked(browser: Browser, address: str) -> None:
    visit = Visit(browser, address, "light")
    visit.page.emulate_media(reduced_motion="reduce")
    page = visit.open("book/intro.html")
    slow = page.evaluate(
        """[...document.querySelectorAll("article *, nav *")].filter(e => {
             const s = getComputedStyle(e);
             return parseFloat(s.transitionDuration) > 0.01 || parseFloat(s.animationDuration) > 0.01;
           }).length"""
    )
    assert slow == 0
    visit.context.close()


@pytest.mark.parametrize("name", [page for page in pages() if notebook(page)])
def test_page_without_its_pictures_and_data_is_light(name: str, address: str) -> None:
    """What a reader waits for before there is something to read; the code of figures comes once, in a file."""
    text = (HTML / f"{name}.html").read_text(encoding="utf-8")
    text = re.sub(r"(?s)<svg\b.*?</svg>", "", text)
    text = re.sub(r'"data:image/[^"]*"', "", text)
    text = re.sub(r"(?m)const data = .*;$", "", text)
    assert len(text.encode()) <= 250_000
    assert "__modules" not in text, "a figure's code stands in the page"


def test_figures_come_in_one_file_for_the_pages_that_have_some(address: str) -> None:
    script = HTML / "_static" / "mlbook-figures.js"
    assert script.read_text(encoding="utf-8") == bundle.site(), "of the code of today"
    for name in pages():
        tags = soup(HTML / f"{name}.html").find_all("script", src=re.compile(r"mlbook-figures\.js"))
        figures = soup(HTML / f"{name}.html").find_all(class_="mlbook-figure")
        assert len(tags) == bool(figures)


def test_a_link_leads_to_a_figure_as_it_was(browser: Browser, address: str) -> None:
    visit = Visit(browser, address, "light")
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    page = visit.open("book/problem/objective.html")
    figure = page.locator(".mlbook-figure", has=page.get_by_role("slider", name="spread τ"))
    figure.get_by_role("slider", name="readings K").fill("11")
    figure.get_by_role("button", name="Copy link").click()
    expect(figure.get_by_role("button", name="Copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == page.url and link.endswith("&k=11")
    there = visit.context.new_page()
    there.goto(link)
    expect(there.get_by_role("slider", name="readings K")).to_have_value("11")
    expect(there.locator(".mlbook-figure", has_text="11 readings each")).to_be_in_viewport()
    there.goto(link.replace("k=11", "k=what&tau=2"))
    expect(there.get_by_role("slider", name="readings K")).to_have_value("3")
    expect(there.get_by_role("slider", name="spread τ")).to_have_value("2")
    assert not visit.problems
    visit.context.close()
