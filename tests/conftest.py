"""What tests in several folders use: the browser, for the built site and for JupyterLab."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tools import browser as chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The installed Chromium, found by tools/browser.py."""
    path = chromium.installed()
    if path is None:
        if chromium.in_ci():
            pytest.fail(chromium.NONE, pytrace=False)
        pytest.skip(chromium.NONE)
    from playwright.sync_api import sync_playwright  # most tests need none of it

    with sync_playwright() as playwright:
        # Every other host is unknown to this browser. (Playwright's own routing would do it too, but
        # it switches the cache off, and each page would fetch its mathematics anew.)
        blocked = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", blocked], timeout=120_000
        )
        yield browser
        browser.close()
