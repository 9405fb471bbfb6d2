"""Support and queries from two sets or two styles, uneven classes, uneven support sets."""

from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mlbook import Dataset
from mlbook.episodes import Batches
from mlbook.metric import PrototypicalNetwork

NAMES = [f"class {i}" for i in range(9)]


def numbered(samples: int = 6, place: int = 0, counts: list[int] | None = None) -> Dataset:
    """Every example says which class and which sample it is, and of which set; padding says -1."""
    c, s = torch.meshgrid(torch.arange(9), torch.arange(samples), indexing="ij")
    x = torch.stack([c, s, torch.full_like(c, place)], -1).float()
    if counts is not None:
        x[s >= torch.tensor(counts)[:, None]] = -1.0
    return Dataset(x, NAMES, ["g"] * 9, f"set {place}", counts=counts)


def examples(x: Tensor) -> list[tuple[int, ...]]:
    return [tuple(one) for one in x.long().tolist()]


def test_episodes_of_before_have_the_numbers_of_before() -> None:
    """To the bit: what 0.1.0 drew from these pictures, with and without turning them."""
    pictures = torch.arange(12 * 7 * 36).mul(37).remainder(251).to(torch.uint8)
    data = Dataset(pictures.view(12, 7, 1, 6, 6), list("abcdefghijkl"), ["g"] * 12, "x")
    digest = hashlib.sha256()
    for ways, shots, queries, tasks, turn in (
        (5, 1, 3, 1, False), (3, 2, 0, 4, False), (5, 4, 3, 2, True), (2, 1, 1, 1, True),
    ):  # fmt: skip
        source = data.episodes(ways, shots, queries, tasks, turn, seed=3)
        digest.update(source.fingerprint.encode())
        for k in range(10):
            for part in source[k]:
                digest.update(part.contiguous().numpy().tobytes())
    assert digest.hexdigest() == "74beaea41e40a0773fe0c70e75b70510ff249896acbf646ba774dad1a3440c0d"


@given(k=st.integers(0, 10**6), tasks=st.integers(1, 3), ways=st.integers(2, 9))
def test_every_class_has_some_number_of_shots(k: int, tasks: int, ways: int) -> None:
    data = numbered(12)
    source = data.episodes(ways, (1, 8), 4, tasks=tasks, seed=2)
    sx, sy, qx, qy = source[k].check()
    drawn = source.classes_of(k)
    numbers = torch.bincount(sy[0], minlength=ways)
    assert numbers.min() >= 1 and numbers.max() <= 8
    for t in range(tasks):
        assert torch.equal(torch.bincount(sy[t], minlength=ways), numbers)
        assert torch.bincount(qy[t], minlength=ways).tolist() == [4] * ways
        assert torch.equal(sx[t, :, 0].long(), drawn[t, sy[t]])
        assert torch.equal(qx[t, :, 0].long(), drawn[t, qy[t]])
        seen = examples(sx[t]) + examples(qx[t])
        assert len(set(seen)) == len(seen)


def test_all_numbers_of_shots_come_about_equally_often_and_a_learner_takes_them() -> None:
    source = numbered(12).episodes(5, (1, 4), 2, seed=1)
    counts = torch.cat([torch.bincount(source[k].support_y[0]) for k in range(400)])
    often = torch.bincount(counts, minlength=5)
    assert often[0] == 0 and (often[1:] - 500).abs().max() < 100  # 5 standard deviations
    sx, sy, qx, _ = source[0]
    model = PrototypicalNetwork(torch.nn.Identity())
    assert model.adapt(sx, sy)(qx).shape == (1, 10, 5)
    assert source.fingerprint != numbered(12).episodes(5, 4, 2, seed=1).fingerprint
    same = numbered(12).episodes(5, (3, 3), 2, seed=1)[4]
    for a, b in zip(same, numbered(12).episodes(5, 3, 2, seed=1)[4], strict=True):
        assert torch.equal(a, b)


@given(k=st.integers(0, 10**6), turned=st.booleans())
def test_support_is_of_one_set_and_queries_of_the_other(k: int, turned: bool) -> None:
    one, other = numbered(3, 0), numbered(9, 1)
    source = one.episodes(4, 3, 9, tasks=2, seed=5, queries_from=other)
    sx, sy, qx, qy = source[k].check()
    drawn = source.classes_of(k)
    assert sx[..., 2].eq(0).all() and qx[..., 2].eq(1).all()
    for t in range(2):
        assert torch.equal(sx[t, :, 0].long(), drawn[t, sy[t]])
        assert torch.equal(qx[t, :, 0].long(), drawn[t, qy[t]])
        for x in (sx[t], qx[t]):
            assert len(set(examples(x))) == len(x)
    assert all(torch.equal(a, b) for a, b in zip(source[k], source.to("cpu")[k], strict=True))
    prints = {
        one.episodes(4, 3, 0, seed=5, queries_from=with_).fingerprint
        for with_ in (None, other, numbered(9, 2))
    }
    assert len(prints) == 3


@given(k=st.integers(0, 10**6))
def test_aligned_classes_share_no_style_between_support_and_queries(k: int) -> None:
    source = numbered(4).episodes(5, 1, 3, tasks=3, aligned=True)
    sx, _, qx, _ = source[k].check()
    for t in range(3):
        assert len(set(sx[t, :, 1].tolist())) == 1
        assert not set(sx[t, :, 1].tolist()) & set(qx[t, :, 1].tolist())
    assert "aligned=True" in source.fingerprint and "aligned" in source.to("cpu").fingerprint


@given(k=st.integers(0, 10**6))
def test_what_a_class_does_not_have_is_never_drawn(k: int) -> None:
    counts = [3, 4, 5, 6, 7, 3, 3, 8, 9]
    data = numbered(9, counts=counts)
    for part in (data, data.subset([8, 0, 3])):
        sx, _, qx, _ = part.episodes(3, 1, 2, tasks=2, seed=1)[k]
        x, labels = Batches(part, 50, seed=1)[k]
        for all_ in (sx.flatten(0, 1), qx.flatten(0, 1), x):
            assert all_.min() >= 0 and all(s < counts[c] for c, s, _ in examples(all_))
        assert all(NAMES[int(c)] == part.classes[y] for (c, *_), y in zip(x, labels, strict=True))


def test_of_an_uneven_class_every_example_comes_equally_often() -> None:
    data = numbered(9, counts=[3, 4, 5, 6, 7, 3, 3, 8, 9]).subset([0, 4])
    source = data.episodes(2, 1, 1, seed=4)
    seen = [e for k in range(2100) for e in examples(source[k].support_x[0]) if e[0] == 4]
    often = torch.bincount(torch.tensor([s for _, s, _ in seen]), minlength=9)
    assert (often[:7] - 300).abs().max() < 85 and often[7:].sum() == 0  # 5 standard deviations


def test_samples_of_one_index_and_what_goes_along() -> None:
    data = numbered(4)
    part = data.samples([3, 1])
    assert torch.equal(part.images, data.images[:, [3, 1]]) and part.classes == data.classes
    assert part.fingerprint != data.fingerprint != data.samples([1, 3]).fingerprint
    texts = [["a", "b"], ["c", "d"]]
    words = Dataset(None, "xy", "gg", "words", texts=texts, descriptions=["X", "Y"])
    assert words.samples([1]).texts_of(torch.tensor([1.0])) == ["d"]
    assert words.subset([1]).descriptions == ["Y"] and words.samples([0]).descriptions == ["X", "Y"]
    with pytest.raises(ValueError, match="a sample's index means something only where"):
        numbered(9, counts=[9] * 8 + [2]).samples([0])
    for wrong in ([], [4], [1, 1], [-1], [1.5]):
        with pytest.raises(ValueError, match="samples="):
            data.samples(wrong)  # type: ignore[arg-type]


def test_mistakes_are_named() -> None:
    one, other = numbered(3), numbered(9, 1)
    uneven = numbered(9, counts=[9] * 8 + [2])
    whole = Dataset(torch.zeros(9, 3, 5), NAMES, ["g"] * 9, "of five")
    for make, says in (
        (lambda: one.episodes(2, (2, 1), 1), r"shots=\(2, 1\): the fewest come first, \(1, 2\)"),
        (lambda: one.episodes(2, (0, 1), 1), "shots=0: must be at least 1"),
        (lambda: one.episodes(2, (1, 2, 3), 1), r"shots=\(1, 2, 3\): give a number, or two"),  # type: ignore[arg-type]
        (lambda: one.episodes(2, (1, 3), 1), r"shots=\(1, 3\) \+ queries=1 = 4 pictures a class"),
        (lambda: one.episodes(2, 4, 1, queries_from=other), "shots=4 a class, but set 0 has 3"),
        (lambda: one.episodes(2, 1, 10, queries_from=other), "queries=10 a class, but set 1 has 9"),
        (lambda: one.episodes(2, 1, 3, queries_from=uneven), "queries=3 a class, but set 0 has 2"),
        (lambda: uneven.episodes(2, 1, 2), "= 3 pictures a class, but set 0 has 2"),
        (lambda: one.episodes(2, 1, 1, queries_from=other.subset([1, 0])), "has other classes than"),
        (lambda: one.episodes(2, 1, 1, queries_from=whole), r"has torch.float32 \[5\] and the supp"),
        (lambda: uneven.episodes(2, 1, 1, aligned=True), "unequally many samples: aligned=False"),
        (lambda: numbered(6, counts=[7] * 9), "counts say 7 samples, and images .* hold fewer"),
        (lambda: numbered(6, counts=[0] * 9), "counts=0: must be at least 1"),
        (lambda: Dataset(whole.images, NAMES, NAMES, "x", descriptions="ab"), "2 descriptions for 9"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            make()
