"""Emoji: what four sets draw, in the package itself; styles and concepts kept apart."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import torch
import torch.nn as nn

from mlbook import Dataset, evaluate, load
from mlbook.data import emoji
from mlbook.metric import PrototypicalNetwork


@cache
def drawn() -> Dataset:
    return load("emoji")


def test_there_are_a_thousand_concepts_in_four_styles_and_nine_groups() -> None:
    data = drawn()
    assert data.images.shape[1:] == (4, 3, 48, 48) and 900 < len(data) < 1100
    assert len({*data.classes}) == len(data) and len({*data.groups}) == 9
    assert {"green apple", "volcano", "robot"} < {*data.classes}
    assert data.groups[data.classes.index("volcano")] == "Travel & Places"
    assert (data.images == 255).all(2).flatten(1).any(1).all(), "every picture has some paper"
    assert data.images.flatten(2).float().std(2).min() > 2, "a white square at least"
    apple, tomato = (data.images[data.classes.index(c)].float() for c in ("green apple", "tomato"))
    assert (apple[:, 1].mean((1, 2)) > apple[:, 0].mean((1, 2))).all(), "a green apple is green"
    assert (tomato[:, 0].mean((1, 2)) > tomato[:, 1].mean((1, 2))).all(), "a tomato is red"


def test_no_two_concepts_look_alike_in_a_style_and_no_two_styles_in_a_concept() -> None:
    images = drawn().images
    for s in range(4):
        assert len(images[:, s].flatten(1).unique(dim=0)) == len(images)
        for other in range(s):
            differ = (images[:, s].float() - images[:, other].float()).abs().mean((1, 2, 3))
            assert differ.median() > 10, (s, other)


def test_the_file_is_small_and_its_sources_are_named_in_the_package() -> None:
    assert emoji.FILE.stat().st_size <= 3_000_000
    notice = Path(emoji.FILE).with_name("EMOJI.md").read_text()
    for style in emoji.STYLES:
        assert f"| `{style}` | " in notice
    assert "ShareAlike" not in notice and "BY-SA" not in notice
    assert "Apache License" in Path(emoji.FILE).with_name("LICENSE-Apache-2.0.txt").read_text()


def test_concepts_are_divided_and_styles_are_not_mixed() -> None:
    parts = drawn().split("characters", seed=1)
    names = [{*part.classes} for part in parts]
    assert not (names[0] & names[1] or names[0] & names[2] or names[1] & names[2])
    test = parts[2]
    source = test.samples([3]).episodes(5, 1, 3, queries_from=test.samples([0, 1, 2]))
    aligned = test.episodes(5, 1, 3, aligned=True)
    for k in range(20):
        for episodes in (source, aligned):
            episode, rows = episodes[k].check(), test.images[episodes.classes_of(k)[0]] / 255
            styles: list[set[int]] = [set(), set()]
            for found, x, y in zip(styles, episode[::2], episode[1::2], strict=True):
                for picture, label in zip(x[0], y[0].tolist(), strict=True):
                    found |= {s for s in range(4) if torch.equal(rows[label, s], picture)}
            assert len(styles[0]) == 1 and len(styles[1]) == 3 and not styles[0] & styles[1]
            assert episodes is aligned or styles[0] == {3}


def test_across_styles_pixels_say_a_good_deal_and_not_all() -> None:
    """A first try by pixels had 64.6 % in 5 ways and 1 shot."""
    source = drawn().split("characters")[2].episodes(5, 1, 3, aligned=True)
    result = evaluate(PrototypicalNetwork(nn.Flatten()), source, n=200)
    assert 0.5 < result.mean < 0.8


def test_it_needs_neither_a_cache_nor_pillow(tmp_path: Path) -> None:
    code = "import sys; sys.modules['PIL'] = None; from mlbook import load; print(load('emoji'))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "MLBOOK_CACHE": str(tmp_path / "no")},
        capture_output=True,
        text=True,
    )
    assert "in 9 groups, 4 samples each, pictures 3x48x48" in run.stdout, run.stderr
    assert not list(tmp_path.iterdir())
