"""The built site, served from this machine alone, in a real browser.

Every request to anywhere else is blocked and written down. `make book` builds what is tested here.
"""

from __future__ import annotations

import functools
import http.server
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect
from torch import Tensor

from tools import figures

ROOT = Path(__file__).resolve().parent.parent.parent
HTML = ROOT / "_build" / "html"
SHOTS = ROOT / "_build" / "screenshots"
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))

expect.set_options(timeout=30_000)  # a busy machine is not an error

VIEWS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "color_scheme": "light",
        "is_mobile": True,
        "has_touch": True,
    },
}


def stored_figures(notebook: Path) -> Iterator[re.Match[str]]:
    """Every interactive figure that a notebook stores: its alternative text, data and name are groups 1, 2 and 3."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        for output in cell.get("outputs", []):
            if found := figures.STORED.match(output.get("data", {}).get("text/html", "")):
                yield found


def stored_figure(page: str, name: str) -> tuple[str, Any]:
    """HTML and data of a figure, such as `"practice/patients", "patients"`."""
    for found in stored_figures(ROOT / "book" / f"{page}.ipynb"):
        if found[3] == name:
            return found.string, json.loads(found[2])
    raise AssertionError(f"no figure {name} in {page}")


@contextmanager
def on_its_own(browser: Browser, html: str, width: int, **view: Any) -> Iterator[Page]:
    """A page with this and nothing else; in the end no script has failed, and it does not scroll sideways."""
    page, problems = browser.new_page(viewport={"width": width, "height": 900}, **view), list[str]()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.set_content(f"<!doctype html><meta name=viewport content='width=device-width'>{html}")
    yield page
    assert not problems
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def pages() -> list[str]:
    """The pages of _toc.yml, as paths without suffix."""

    def walk(entries: list[dict[str, Any]]) -> Iterator[str]:
        for entry in entries:
            yield entry["file"]
            yield from walk(entry.get("sections", []))

    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return [toc["root"], *(page for part in toc["parts"] for page in walk(part["chapters"]))]


def notebook(page: str) -> Path | None:
    """The notebook that a page is made from, if it is."""
    path = ROOT / f"{page}.ipynb"
    return path if path.exists() else None


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Where the site is served."""
    if not (HTML / "index.html").exists():
        pytest.fail("there is no site to test in _build/html: run `make book` first", pytrace=False)
    handler = functools.partial(_Quiet, directory=str(HTML))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


class Visit:
    """One way of looking at the site, and all that went wrong while looking."""

    def __init__(self, browser: Browser, address: str, view: str) -> None:
        self.address = address
        self.problems: list[str] = []
        self.context: BrowserContext = browser.new_context(**VIEWS[view])
        self.context.set_default_timeout(60_000)
        self.page: Page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.problems.append(f"page error: {error}"))
        self.page.on("console", self._console)
        self.page.on("request", self._request)
        self.page.on("response", self._response)

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.address, "file:", "data:", "blob:")):
            self.problems.append(f"request off the site: {request.url}")

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.problems.append(f"console error: {message.text} ({message.location.get('url')})")

    def _response(self, response: Any) -> None:
        if response.status >= 400:
            self.problems.append(f"{response.status} for {response.url}")

    def shot(self, name: str) -> None:
        """Keep a picture for people to look at; of a very long page, its beginning."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        size = self.page.viewport_size or {"width": 0}
        height = min(self.page.evaluate("document.documentElement.scrollHeight"), 9000)
        self.page.screenshot(
            path=SHOTS / f"{name}.jpg",
            type="jpeg",
            quality=80,
            full_page=True,
            clip={"x": 0, "y": 0, "width": size["width"], "height": height},
            animations="disabled",
        )

    def open(self, path: str) -> Page:
        """Load a page and wait until fonts, pictures and mathematics stand."""
        self.problems.clear()
        url = path if path.startswith("file:") else f"{self.address}/{path}"
        self.page.goto(url, wait_until="load")
        self.page.evaluate(
            """async () => {
                 if (window.MathJax?.startup?.promise) await MathJax.startup.promise;
                 await document.fonts.ready;
               }"""
        )
        return self.page


@pytest.fixture(scope="session")
def visits(browser: Browser, address: str) -> Iterator[dict[str, Visit]]:
    """The three views of every page: desktop in light and dark, and a phone."""
    visits = {view: Visit(browser, address, view) for view in VIEWS}
    yield visits
    for visit in visits.values():
        visit.context.close()


@pytest.fixture(scope="module")
def run(browser: Browser) -> Iterator[Callable[..., Any]]:
    """`run("vectors", "m.dot(a, b)", a=[1], b=[2])`: an expression over a module of figures/nets."""
    origin = "http://figures.test"

    def serve(route: Route) -> None:
        path = route.request.url.removeprefix(origin + "/")
        if not path:
            return route.fulfill(content_type="text/html", body="<!doctype html>")
        body = (ROOT / "mlbook" / "figures" / path).read_text(encoding="utf-8")
        return route.fulfill(content_type="text/javascript", body=body)

    page = browser.new_page()
    page.route(f"{origin}/**", serve)
    page.goto(f"{origin}/")

    def run(module: str, expression: str, **given: Any) -> Any:
        plain = {k: v.tolist() if isinstance(v, Tensor) else v for k, v in given.items()}
        code = """async ([url, names, values, code]) => {
            const f = new Function("m", ...names, `return (${code})`), result = f(await import(url), ...values);
            return JSON.stringify(result, (_, v) => (ArrayBuffer.isView(v) ? Array.from(v) : v));
        }"""
        url = f"{origin}/nets/{module}.js"
        answer = page.evaluate(code, [url, list(plain), list(plain.values()), expression])
        return json.loads(answer)

    yield run
    page.close()
