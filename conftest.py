"""What all tests share: how nbval compares, and which examples hypothesis draws."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")

# before scipy is imported: without it scikit-learn leaves out one of its checks of estimators
os.environ.setdefault("SCIPY_ARRAY_API", "1")

WIDGET = "application/vnd.jupyter.widget-view+json"


def pytest_configure(config: pytest.Config) -> None:
    """No progress bars in notebooks that nbval runs: they are not stored, so they would be a difference."""
    if config.option.nbval or config.option.nbval_lax:
        os.environ["TQDM_DISABLE"] = "1"


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Leave out of nbval's comparison what is not the same twice, and nothing else.

    The bytes of a picture depend on the fonts and on matplotlib's version: nbval itself leaves PNG out, and
    of the pictures that `explore` stores this does, with the name of the figure, a digest of them. The number
    of a live widget is random. On stderr others warn of what moves with their versions; tests/book checks that
    nothing of it is stored. All other outputs (text, tables, HTML) are compared, and an exception fails
    whatever the output.
    """
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr", WIDGET)
    if hasattr(collector, "sanitize_patterns"):
        collector.sanitize_patterns |= {
            r'"iVBORw0KGgo[\w+/=]*"': "PNG",
            r"figure-[0-9a-f]{8}": "FIGURE",
        }
