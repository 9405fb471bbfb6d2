"""Find a Chromium for the site tests, or install Debian's.

    python tools/browser.py            # prints which one, or that the tests will be skipped

Where none can be had the tests are skipped, with a line that says so; with CI set that is an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
)
MACOS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
NONE = (
    "No Chromium found and none could be installed: the site tests are SKIPPED. "
    "Install chromium or google-chrome to run them."
)


def works(path: str) -> bool:
    """Whether the file really starts a browser (Ubuntu's `chromium` may be a stub without its snap)."""
    try:
        run = subprocess.run([path, "--version"], capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return run.returncode == 0


def installed() -> str | None:
    """The path of an installed Chromium, Chrome, or of the one that playwright keeps."""
    candidates = [shutil.which(name) for name in NAMES] + [p for p in MACOS if Path(p).exists()]
    for path in candidates:
        if path and works(path):
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if path and Path(path).exists() and works(path) else None


def install() -> bool:
    """Install Debian's Chromium, as root or through a sudo that asks for no password."""
    if not shutil.which("apt-get"):
        return False
    sudo: list[str] = []
    if os.geteuid() != 0:
        if not shutil.which("sudo") or subprocess.run(["sudo", "-n", "true"]).returncode != 0:
            return False
        sudo = ["sudo", "-n"]
    print("Installing Debian's chromium for the site tests", file=sys.stderr, flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "chromium"]):
        command = [*sudo, "apt-get", *arguments]
        try:
            run = subprocess.run(command, env=environment, stdout=sys.stderr, timeout=900)
        except subprocess.TimeoutExpired:
            return False
        if run.returncode != 0:
            return False
    return True


def in_ci() -> bool:
    """Whether a missing browser is an error."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def main() -> int:
    path = installed() or (installed() if install() else None)
    if path:
        print(f"Browser: {path}")
        return 0
    print(f"error: {NONE}" if in_ci() else NONE, file=sys.stderr if in_ci() else sys.stdout)
    return 1 if in_ci() else 0


if __name__ == "__main__":
    sys.exit(main())
