"""A notebook as its reader sees it: a real JupyterLab with real kernels, in a real browser, with no network.

    def test_something(lab: Lab) -> None:
        with lab.open(notebook, theme="dark", trusted=False) as seen:
            expect(seen.output(3)).to_contain_text("...")
            seen.run(3)

`notebook` is a path, or an `nbformat` notebook that a test made. A copy is opened, in a folder of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import nbformat
import pytest
from nbformat.sign import NotebookNotary
from playwright.sync_api import Browser, Locator, Page, expect

from tools import browser as chromium

ROOT = Path(__file__).resolve().parents[2]
SHOTS = ROOT / "_build" / "screenshots"
NONE = "JupyterLab is not installed (the extra `jupyter`): what it shows is NOT TESTED"
PATIENCE = 180  # seconds that a busy machine is given for any one thing

SETTINGS = {
    "apputils-extension/themes": {"adaptive-theme": True},  # light or dark as the browser asks
    "apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell stands in the page
    "docmanager-extension/plugin": {"autosave": False},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test here waits for several things, so it gets several times as long as any one of them."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(5 * PATIENCE))


class Seen:
    """An open notebook: its cells, what stands under them, and all that went wrong in the page."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(f"page error: {error}"))
        page.on("request", self._request)
        self.dialogs: list[str] = []  # what JupyterLab asked, and was answered with its default
        page.add_locator_handler(page.locator("dialog.jp-Dialog"), self._dialog)

    def _request(self, request: Any) -> None:
        own = (self.address, self.address.replace("http", "ws", 1), "data:", "blob:")
        if not request.url.startswith(own):
            self.problems.append(f"request off this machine: {request.url}")

    def _dialog(self, dialog: Locator) -> None:
        self.dialogs.append(dialog.first.inner_text())
        dialog.first.locator(".jp-mod-accept").click()

    def cell(self, i: int) -> Locator:
        """Cell i of the notebook, from 0, markdown cells counted."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(i)

    def output(self, i: int) -> Locator:
        """All that stands under cell i."""
        return self.cell(i).locator(".jp-OutputArea").first

    def run(self, i: int) -> Locator:
        """Run cell i and wait until it is done; what stands under it then."""
        prompt = self.cell(i).locator(".jp-InputPrompt")
        before = prompt.inner_text()
        until = time.monotonic() + PATIENCE
        while (
            True
        ):  # before the kernel is there, JupyterLab forgets that it was asked to run something
            self.cell(i).locator(".cm-content").click()
            self.page.keyboard.press("Control+Enter")
            try:
                expect(prompt).not_to_have_text(before or "[ ]:", timeout=5000)
                break
            except AssertionError:
                if time.monotonic() > until:
                    raise
        expect(prompt).not_to_have_text("[*]:", timeout=1000 * PATIENCE)
        return self.output(i)

    def shot(self, name: str, of: Locator | None = None) -> Path:
        """Keep a picture for people to look at: of the window, or of one part of the page."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        path = SHOTS / f"{name}.png"
        (of or self.page).screenshot(path=path, animations="disabled")
        return path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.page.context.close()


class Lab:
    """A running server, and the browser that looks at it."""

    def __init__(self, folder: Path, environment: dict[str, str], browser: Browser) -> None:
        self.notebooks = folder / "notebooks"
        self.notebooks.mkdir()
        self.browser = browser
        for name, value in SETTINGS.items():
            path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(value))
        self.environment = environment | {
            "HOME": str(folder),
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_PREFER_ENV_PATH": "1",
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "PYTHONPATH": str(ROOT),
        }
        self.log = folder / "log.txt"
        command = [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
            f"--ServerApp.root_dir={self.notebooks}",
            "--ServerApp.ip=127.0.0.1",
            "--ServerApp.port=0",  # one that is free
            "--IdentityProvider.token=secret",
            f"--MappingKernelManager.kernel_info_timeout={PATIENCE}",
            "--LabApp.news_url=None",
            "--LabApp.extension_manager=readonly",
        ]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=self.environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self.address = self._wait(folder / "runtime")

    def _wait(self, runtime: Path) -> str:
        """The address, as soon as somebody answers there."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self.process.poll() is None:
            for file in runtime.glob("jpserver-*.json"):
                try:
                    address = f"http://127.0.0.1:{json.loads(file.read_text())['port']}"
                    self._ask(address + "/api/status")
                except (ValueError, URLError, ConnectionError, TimeoutError):
                    continue  # not yet
                return address
            time.sleep(0.2)
        said = self.log.read_text()
        self.stop()
        raise RuntimeError(f"JupyterLab did not start:\n{said}")

    @staticmethod
    def _ask(url: str, method: str = "GET") -> bytes:
        request = Request(url, method=method, headers={"Authorization": "token secret"})
        with urlopen(request, timeout=PATIENCE) as answer:
            return bytes(answer.read())

    def open(
        self,
        notebook: Path | nbformat.NotebookNode,
        theme: str = "light",
        trusted: bool = True,
        app: str = "doc",
        **view: Any,
    ) -> Seen:
        """Show a notebook.

        Args:
            notebook: A file, or a notebook made by a test; it is copied.
            theme: `light` or `dark`.
            trusted: As after running it, or else as on the day it was cloned.
            app: `doc`, JupyterLab with one document; `lab`, all of it; `notebooks`, Notebook 7.
            view: More for Playwright's `new_context`: `viewport`, `device_scale_factor`.
        """
        name = "made" if isinstance(notebook, nbformat.NotebookNode) else notebook.stem
        if isinstance(notebook, Path):
            notebook = nbformat.read(notebook, as_version=4)
        path = self.notebooks / f"{len(list(self.notebooks.iterdir()))}-{name}.ipynb"
        nbformat.write(notebook, path)
        if trusted:
            notary = NotebookNotary(data_dir=self.environment["JUPYTER_DATA_DIR"])
            notary.sign(nbformat.read(path, as_version=4))
            notary.store.close()
        view = {"viewport": {"width": 1280, "height": 900}, **view}
        context = self.browser.new_context(color_scheme=theme, **view)  # type: ignore[arg-type]
        context.set_default_timeout(1000 * PATIENCE)
        seen = Seen(context.new_page(), self.address)
        below = "" if app == "notebooks" else "tree/"
        seen.page.goto(f"{self.address}/{app}/{below}{path.name}?token=secret&reset")
        cells = seen.page.locator(".jp-Notebook .jp-Cell")
        expect(cells).to_have_count(len(notebook.cells), timeout=1000 * PATIENCE)
        expect(seen.page.locator("body")).to_have_attribute(
            "data-jp-theme-light", "true" if theme == "light" else "false", timeout=1000 * PATIENCE
        )
        seen.page.evaluate(
            """async () => {
                 await Promise.all([...document.images].map(i => i.decode().catch(() => {})));
                 await document.fonts.ready;
               }"""
        )
        return seen

    def end_kernels(self) -> None:
        """Whatever still runs is ended, so that the next test has the machine for itself.

        A page that was closed may still be starting its kernel, which the server then cannot end: it answers
        500, or 404 once that kernel has died. So this asks until none is left.
        """
        until = time.monotonic() + PATIENCE
        while True:
            try:
                kernels = json.loads(self._ask(self.address + "/api/kernels"))
                for kernel in kernels:
                    self._ask(f"{self.address}/api/kernels/{kernel['id']}", "DELETE")
            except HTTPError:
                if time.monotonic() > until:
                    raise
            else:
                if not kernels:
                    return
            time.sleep(0.2)

    def stop(self) -> None:
        """End the server with all its kernels."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="session")
def running(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Lab]:
    """One JupyterLab for all tests."""
    if find_spec("jupyterlab") is None:
        if chromium.in_ci():
            pytest.fail(NONE, pytrace=False)
        pytest.skip(NONE)
    browser = request.getfixturevalue("browser")
    lab = Lab(tmp_path_factory.mktemp("jupyter"), dict(os.environ), browser)
    yield lab
    lab.stop()


@pytest.fixture
def lab(running: Lab) -> Iterator[Lab]:
    """The running JupyterLab, with no kernel of an earlier test."""
    yield running
    running.end_kernels()
