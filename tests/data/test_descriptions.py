from __future__ import annotations

from collections import Counter
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlbook import load
from mlbook.data.descriptions import (
    COMPOSING,
    Combinations,
    Parts,
    Vocabulary,
    ZeroShotTasks,
    parse,
    split_combinations,
)
from mlbook.episodes import Dataset


@cache
def glyphs() -> Dataset:
    return load("glyphs")


@cache
def combinations(seed: int = 0, seen: int = 3) -> Combinations:
    """A split of the real names, with pictures that say which class and sample they are."""
    names, groups = glyphs().classes, glyphs().groups
    images = torch.zeros(len(names), 20, 1, 4, 4, dtype=torch.uint8)
    images[:, :, 0, 0, 0] = torch.arange(20, dtype=torch.uint8)
    images[:, :, 0, 0, 1] = (torch.arange(len(names)) % 256).byte()[:, None]
    images[:, :, 0, 0, 2] = (torch.arange(len(names)) // 256).byte()[:, None]
    return split_combinations(Dataset(images, names, groups, "names"), seed, seen)


def test_names_are_taken_apart() -> None:
    for name, expected in {
        "LATIN SMALL LETTER A WITH ACUTE": ("Latin", "small", "A", ("ACUTE",)),
        "LATIN CAPITAL LETTER O": ("Latin", "capital", "O", ()),
        "GREEK CAPITAL LETTER OMEGA WITH PSILI AND VARIA AND PROSGEGRAMMENI": (
            *("Greek", "capital", "OMEGA"),
            ("PROSGEGRAMMENI", "PSILI", "VARIA"),
        ),
        "CYRILLIC SMALL LETTER GHE WITH STROKE AND HOOK": (
            *("Cyrillic", "small", "GHE"),
            ("HOOK", "STROKE"),
        ),
        "LATIN SMALL LETTER OPEN E": ("Latin", "small", "OPEN E", ()),
        "LATIN CAPITAL LETTER D WITH SMALL LETTER Z WITH CARON": (
            *("Latin", "capital", "D"),
            ("CARON", "SMALL LETTER Z"),
        ),
        "LATIN LETTER SMALL CAPITAL G WITH HOOK": ("Latin", "small capital", "G", ("HOOK",)),
        "LATIN SMALL CAPITAL LETTER I WITH STROKE": ("Latin", "small capital", "I", ("STROKE",)),
        "CYRILLIC SMALL LIGATURE EN GHE": ("Cyrillic", "small", "ligature EN GHE", ()),
        "HEBREW LETTER FINAL MEM": ("Hebrew", "", "FINAL MEM", ()),
        "NKO LETTER KA": ("N'Ko", "", "KA", ()),
        "CANADIAN SYLLABICS WEST-CREE TWE": ("Canadian syllabics", "", "WEST-CREE TWE", ()),
        "OLD ITALIC LETTER KE": ("Old Italic", "", "KE", ()),
    }.items():
        assert parse(name) == Parts(*expected), name
    assert parse("LATIN SMALL LETTER A WITH ACUTE").words() == [
        *("script Latin", "case small", "letter A", "mark ACUTE")
    ]
    with pytest.raises(ValueError, match="'RUNIC LETTER A' does not begin with a script"):
        parse("RUNIC LETTER A")


def test_every_glyph_has_a_name_that_parses_into_its_own_script() -> None:
    for name, group in zip(glyphs().classes, glyphs().groups, strict=True):
        parts = parse(name)
        assert parts.script == group and parts.letter
        assert all(parts.marks) and not any(" WITH " in m or " AND " in m for m in parts.marks)


def test_a_description_has_a_one_for_each_part_and_its_order_of_marks_is_lost() -> None:
    vocabulary = Vocabulary(
        ["LATIN SMALL LETTER A WITH ACUTE", "GREEK CAPITAL LETTER ETA", "HEBREW LETTER HE"]
    )
    assert vocabulary.words == [
        *("script Greek", "script Hebrew", "script Latin", "case capital", "case small"),
        *("letter A", "letter ETA", "letter HE", "mark ACUTE"),
    ]
    got = vocabulary(["LATIN SMALL LETTER A WITH ACUTE", "HEBREW LETTER HE"])
    assert got.tolist() == [[0, 0, 1, 0, 1, 1, 0, 0, 1], [0, 1, 0, 0, 0, 0, 0, 1, 0]]
    assert vocabulary(["GREEK SMALL LETTER A"])[0].sum() == 3  # a new combination of known parts
    with pytest.raises(ValueError, match="'mark GRAVE', which no name"):
        vocabulary(["LATIN SMALL LETTER A WITH GRAVE"])
    both = Vocabulary(["LATIN SMALL LETTER U WITH MACRON AND DIAERESIS"])
    assert both(["LATIN SMALL LETTER U WITH DIAERESIS AND MACRON"]).eq(1).all()


@given(seed=st.integers(0, 10_000), seen=st.integers(1, 5))
@settings(max_examples=10)
def test_held_out_combinations_are_new_and_their_parts_are_not(seed: int, seen: int) -> None:
    train, other, val, test = combinations(seed, seen)
    assert train.classes == other.classes
    names = [set(part.classes) for part in (train, val, test)]
    assert not names[0] & names[1] and not names[0] & names[2] and not names[1] & names[2]
    known = [parse(name) for name in train.classes]
    groups = [[parse(name) for name in part.classes] for part in (train, val, test)]
    together = [{p.combination for p in group} for group in groups]
    assert not together[0] & (together[1] | together[2]) and not together[1] & together[2]
    times = Counter(part for p in known for part in (p.base, *p.marks))
    for p in groups[1] + groups[2]:
        assert p.marks and p.script in COMPOSING
        assert all(times[part] >= seen for part in (p.base, *p.marks)), p
    vocabulary = Vocabulary(train.classes)
    vocabulary(val.classes + test.classes)  # a part unknown to training would raise
    assert len(test.classes) >= 60 and len(val.classes) >= 30
    descriptions = vocabulary(train.classes + val.classes + test.classes)
    assert len(descriptions.unique(dim=0)) == len(
        descriptions
    )  # no two classes are described alike


def test_the_split_is_fixed_by_its_seed_and_keeps_pictures_apart() -> None:
    one, again, other = combinations(0), combinations.__wrapped__(0), combinations(1)
    assert [part.classes for part in one] == [part.classes for part in again]
    assert all(torch.equal(a.images, b.images) for a, b in zip(one, again, strict=True))
    assert one.test.classes != other.test.classes
    assert one.train.images.shape[1] == 16 and one.seen.images.shape[1] == 4
    assert one.test.images.shape[1] == 20
    for a, b in zip(one.train.images, one.seen.images, strict=True):
        assert a[0, 0, 0, 1] == b[0, 0, 0, 1] and a[0, 0, 0, 2] == b[0, 0, 0, 2]  # the same class
        samples = torch.cat([a, b])[:, 0, 0, 0]
        assert samples.sort().values.tolist() == list(range(20))  # all of its pictures, each once


def test_tasks_are_those_of_the_episodes_with_descriptions_for_pictures() -> None:
    train, _, val, test = combinations()
    vocabulary = Vocabulary(train.classes)
    episodes = test.episodes(ways=6, shots=1, queries=2, tasks=3, seed=4)
    tasks = ZeroShotTasks(episodes, vocabulary)
    descriptions, labels, qx, qy = tasks[7].check()
    assert descriptions.shape == (3, 6, len(vocabulary)) and labels.shape == (3, 6)
    assert torch.equal(qx, episodes[7].query_x) and torch.equal(qy, episodes[7].query_y)
    for t, row in enumerate(episodes.classes_of(7).tolist()):
        for n, k in enumerate(row):
            words = {w for w, on in zip(vocabulary.words, descriptions[t, n], strict=True) if on}
            assert words == set(parse(test.classes[k]).words()) and labels[t, n] == n
    first = next(iter(tasks))
    assert all(torch.equal(a, b) for a, b in zip(first, tasks[0], strict=True))
    also = val.episodes(ways=4, shots=1, queries=0, tasks=3, seed=4)
    wide = ZeroShotTasks(episodes, vocabulary, also).to("cpu")[7].check()
    assert wide.support_x.shape[1] == 10 and torch.equal(wide.support_x[:, :6], descriptions)
    assert wide.query_y.max() < 6
    expected = vocabulary([val.classes[k] for k in also.classes_of(7)[0].tolist()])
    assert torch.equal(wide.support_x[0, 6:], expected)


def test_mistakes_are_named() -> None:
    train, seen, val, _ = combinations()
    vocabulary = Vocabulary(train.classes)
    episodes = val.episodes(5, 1, 1)
    with pytest.raises(ValueError, match="tasks=1 in episodes and 2 in also"):
        ZeroShotTasks(episodes, vocabulary, train.episodes(5, 1, 1, tasks=2))
    with pytest.raises(ValueError, match="is a class of both"):
        ZeroShotTasks(seen.episodes(5, 1, 1), vocabulary, train.episodes(5, 1, 1))
    with pytest.raises(ValueError, match="seen=0"):
        split_combinations(glyphs(), seen=0)
    with pytest.raises(ValueError, match="Klingon"):
        split_combinations(glyphs(), scripts=["Klingon"])
