"""Sphinx extension: in a table a figure stays on one line with its interval and unit: 83.1 ± 0.4 %, (0.94 to 1.62).

A narrow screen breaks lines at spaces, and a cell made by code has plain ones.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

# a figure and its interval, an interval alone, one by its ends in parentheses, a figure and its unit
FIGURE = re.compile(
    r"(?<=\d) ± (?=\d)|(?<=±) (?=\d)|(?<=\d) to (?=[+\-−]?[\d.]+\))"
    r"|(?<=\d) (?=(?:%|points?|ms|s|MB|kB)(?:\W|$))"
)


def together(text: str) -> str:
    """The text with no-break spaces inside its figures.

    >>> together("83.1 ± 0.4 %, of 600 tasks").replace(chr(0xA0), "_")
    '83.1_±_0.4_%, of 600 tasks'
    """
    return FIGURE.sub(lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text)


def _keep_together(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for entry in doctree.findall(nodes.entry):
        for text in list(entry.findall(nodes.Text)):
            of_code = isinstance(text.parent, (nodes.literal, nodes.math, nodes.FixedTextElement))
            if not of_code and together(text) != text:
                text.parent.replace(text, nodes.Text(together(text)))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the hook."""
    app.connect("doctree-resolved", _keep_together)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
