"""What all tests share: how nbval compares, and which examples hypothesis draws."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Leave out of nbval's comparison what is not the same twice, and nothing else.

    stderr holds progress bars, with times in them; tests/book checks that it holds nothing else. The
    bytes of an SVG depend on the fonts and on matplotlib's version. All other outputs (text, tables,
    HTML) are compared, and an exception fails whatever the output.
    """
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr", "image/svg+xml")
