"""What stays on one line in the cells of a table. In the built pages: tests/site/checks.js."""

from __future__ import annotations

import pytest
from docutils import nodes
from docutils.core import publish_doctree

from tools import tables


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("+1.0 ± 0.3", "+1.0_±_0.3"),
        ("+3.5, +6.6, +5.9 (± 0.8)", "+3.5, +6.6, +5.9 (±_0.8)"),
        ("98.4 ± 0.3 % over 600 tasks", "98.4_±_0.3_% over 600 tasks"),
        ("−0.2 ± 0.1 points, 12 ms", "−0.2_±_0.1_points, 12_ms"),
        ("-0.03 (-0.14 to +0.07)", "-0.03 (-0.14_to_+0.07)"),
        ("1.51 (1.13 to 1.96), from 2 to 5 shots", "1.51 (1.13_to_1.96), from 2 to 5 shots"),
        ("5 ways, 1 shot", "5 ways, 1 shot"),
        ("3 sentences, 2 points of view", "3 sentences, 2_points of view"),
        ("± is not a figure", "± is not a figure"),
    ],
)
def test_a_figure_its_interval_and_its_unit(text: str, kept: str) -> None:
    assert tables.together(text) == kept.replace("_", "\N{NO-BREAK SPACE}")


def test_in_cells_alone_and_never_in_code() -> None:
    page = publish_doctree(
        "1.0 ± 0.3\n\n======  ===============\n2.0 ± 0.1  ``3.0 ± 0.1``\n======  ===============\n".replace(
            "======  ", "=========  "
        )
    )
    tables._keep_together(None, page, "page")  # type: ignore[arg-type]
    said = [text.astext() for text in page.findall(nodes.Text)]
    assert said == ["1.0 ± 0.3", "2.0\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}0.1", "3.0 ± 0.1"]
