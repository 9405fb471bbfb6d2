"""Every page of the built site: whole, readable, alive, and from this machine alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import ElementHandle, Page

from tests.site.conftest import CONFIG, HTML, ROOT, Visit, notebook, pages

CHECKS = (Path(__file__).parent / "checks.js").read_text(encoding="utf-8")
# What an interactive figure shows: its markup, the state of its controls, the pixels of its canvases.
STATE = """root => root.innerHTML
  + [...root.querySelectorAll("input, select, output")].map(e => e.value).join()
  + [...root.querySelectorAll("canvas")].map(c => c.toDataURL()).join()"""
FOCUSABLE = "button, input, select, [tabindex='0']"


def colab(page: str) -> str:
    """The address at which Colab opens a page's notebook."""
    repository = CONFIG["repository"]
    name = re.sub(r"^https://github\.com/|\.git$|/$", "", repository["url"])
    start = CONFIG["launch_buttons"]["colab_url"]
    return f"{start}/github/{name}/blob/{repository['branch']}/{page}.ipynb"


def check_colab(page: Page, name: str) -> list[str]:
    links = [a.get_attribute("href") for a in page.query_selector_all("main a.btn[href*='colab']")]
    wanted = [colab(name)] if notebook(name) else []
    return [] if links == wanted else [f"Colab buttons {links}, expected {wanted}"]


def check_copy_buttons(page: Page) -> list[str]:
    blocks = page.locator("article div.highlight:has(pre)")
    without = page.locator("article .cell_input div.highlight:has(pre):not(:has(button.copybtn))")
    if blocks.count() and without.count():
        return [f"{without.count()} code cells without a copy button"]
    return []


def check_figure(page: Page, root: ElementHandle) -> list[str]:
    """Keyboard first: the first control that can take focus must answer to an arrow key."""
    label = root.get_attribute("aria-label") or root.get_attribute("aria-labelledby")
    where = f"interactive figure {label or root.get_attribute('id')}"
    problems = [] if label else [f"{where} has no name for those who do not see it"]
    control = root.query_selector(FOCUSABLE)
    if control is None:
        return [*problems, f"{where} has nothing to focus"]
    root.scroll_into_view_if_needed()
    for key in ("ArrowRight", "ArrowLeft", "Enter"):
        before = root.evaluate(STATE)
        control.focus()
        page.keyboard.press(key)
        page.wait_for_timeout(60)
        if root.evaluate(STATE) != before:
            return problems
        control = root.query_selector(FOCUSABLE) or control  # a figure may redraw itself
    return [*problems, f"{where} does not answer to the keyboard"]


def check_dark_switch(page: Page) -> list[str]:
    """The button goes round light, dark and the system's choice; both looks must come up."""
    looks = set()
    for _ in range(3):
        page.locator("main button.theme-switch-button").first.click()
        looks.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    page.evaluate("localStorage.clear()")
    return [] if len(looks) == 2 else [f"the dark mode button shows only {looks}"]


@pytest.mark.parametrize("name", pages())
def test_page(name: str, visits: dict[str, Visit]) -> None:
    problems: list[str] = []
    for view, visit in visits.items():
        page = visit.open(f"{name}.html")
        found = page.evaluate(CHECKS)
        visit.shot(f"{name.replace('/', '-')}-{view}")
        if view == "light":
            found += check_colab(page, name)
            found += check_copy_buttons(page)
            for root in page.query_selector_all(".mlbook-figure"):
                found += check_figure(page, root)
            found += check_dark_switch(page)
        elif page.evaluate("document.documentElement.dataset.theme") != view.replace(
            "phone", "light"
        ):
            found.append("the page does not follow the system's colour scheme")
        problems += [f"{view}: {problem}" for problem in [*visit.problems, *found]]
    assert not problems, "\n" + "\n".join(problems)


def test_every_page_is_built_and_every_notebook_is_a_page() -> None:
    missing = [page for page in pages() if not (HTML / f"{page}.html").exists()]
    assert not missing
    notebooks = {
        path.relative_to(ROOT).with_suffix("").as_posix()
        for path in (ROOT / "book").rglob("*.ipynb")
        if ".ipynb_checkpoints" not in path.parts
    }
    assert notebooks <= set(pages())
