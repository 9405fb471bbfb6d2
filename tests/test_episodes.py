from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlbook import Dataset, Episode
from mlbook.episodes import Batches


def numbered(classes: int = 12, samples: int = 6, side: int = 4, rotate: bool = False) -> Dataset:
    """Every picture says in its first pixel which class, in its second which sample it is."""
    images = torch.zeros(classes, samples, 1, side, side, dtype=torch.uint8)
    images[..., 0, 0] = torch.arange(classes, dtype=torch.uint8)[:, None, None]
    images[..., 0, 1] = torch.arange(samples, dtype=torch.uint8)[None, :, None]
    names = [f"class {i}" for i in range(classes)]
    return Dataset(images, names, [f"group {i % 4}" for i in range(classes)], "numbered", rotate)


def read(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Class and sample of pictures `[T, B, 1, H, W]`."""
    return (x[:, :, 0, 0, 0] * 255).round().long(), (x[:, :, 0, 0, 1] * 255).round().long()


@given(
    ways=st.integers(2, 12), shots=st.integers(1, 4), queries=st.integers(0, 2),
    tasks=st.integers(1, 3), seed=st.integers(0, 2**62), k=st.integers(0, 10**9),
)  # fmt: skip
def test_an_episode_is_a_fair_task(
    ways: int, shots: int, queries: int, tasks: int, seed: int, k: int
) -> None:
    source = numbered().episodes(ways, shots, queries, tasks=tasks, seed=seed)
    sx, sy, qx, qy = episode = source[k]
    episode.check()
    assert sx.shape == (tasks, ways * shots, 1, 4, 4)
    assert qx.shape == (tasks, ways * queries, 1, 4, 4)
    assert sx.dtype == torch.float32
    classes = source.classes_of(k)
    for t in range(tasks):
        assert len(set(classes[t].tolist())) == ways, "a class stands behind two labels"
        assert torch.bincount(sy[t], minlength=ways).tolist() == [shots] * ways
        assert torch.bincount(qy[t], minlength=ways).tolist() == [queries] * ways
    support_class, support_sample = read(sx)
    query_class, query_sample = read(qx)
    assert torch.equal(classes.gather(1, sy), support_class)
    assert torch.equal(classes.gather(1, qy), query_class)
    for t in range(tasks):
        support = set(zip(support_class[t].tolist(), support_sample[t].tolist(), strict=True))
        query = set(zip(query_class[t].tolist(), query_sample[t].tolist(), strict=True))
        assert len(support) == ways * shots
        assert len(query) == ways * queries
        assert not support & query, "a picture is in support and query"


def test_the_same_seed_gives_the_same_episodes_in_any_order() -> None:
    one, two = (numbered().episodes(5, 1, 2, tasks=2, rotations=True, seed=3) for _ in range(2))
    later = two[7]
    for k, episode in zip(range(8), one, strict=False):
        assert all(torch.equal(a, b) for a, b in zip(episode, two[k], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(one[7], later, strict=True))
    assert not torch.equal(one[0].support_x, one[1].support_x)
    other = numbered().episodes(5, 1, 2, tasks=2, rotations=True, seed=4)
    assert not torch.equal(one[0].support_x, other[0].support_x)


def test_global_random_state_neither_matters_nor_changes() -> None:
    source = numbered().episodes(5, 1, 2)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = source[0]
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(1)
    assert torch.equal(first.support_x, source[0].support_x)


def test_order_and_label_tell_nothing() -> None:
    """Over many episodes every position holds every label, and every class every label, about equally often."""
    source = numbered(classes=5).episodes(5, 1, 1)
    at_position, of_class = torch.zeros(5, 5), torch.zeros(5, 5)
    n = 1000
    for k in range(n):
        _, sy, qx, qy = source[k]
        at_position[torch.arange(5), sy[0]] += 1
        of_class[read(qx)[0][0], qy[0]] += 1
    for counts in (at_position, of_class):  # each is binomial(n, 1/5); 5 standard deviations
        assert (counts - n / 5).abs().max() < 5 * (n * 0.2 * 0.8) ** 0.5


def test_all_classes_and_samples_are_drawn() -> None:
    source = numbered(classes=7, samples=3).episodes(3, 1, 1)
    seen = {
        pair
        for k in range(200)
        for row in [read(source[k].query_x)]
        for pair in zip(*(r[0].tolist() for r in row), strict=True)
    }
    assert seen == {(c, s) for c in range(7) for s in range(3)}


def test_rotations_turn_whole_classes_by_quarters() -> None:
    images = torch.randint(
        0, 256, (6, 4, 1, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    data = Dataset(images, list("abcdef"), list("abcdef"), "random")
    turns_seen = set()
    for k in range(40):
        source = data.episodes(3, 2, 1, rotations=True)
        sx, sy, qx, qy = source[k]
        classes = source.classes_of(k)[0]
        for label, c in enumerate(classes.tolist()):
            pictures = torch.cat([sx[0][sy[0] == label], qx[0][qy[0] == label]]) * 255
            turns = [
                {
                    q
                    for q in range(4)
                    for s in range(4)
                    if torch.equal(images[c, s].rot90(q, (-2, -1)), p.round().byte())
                }
                for p in pictures
            ]
            assert len(turns[0]) == 1
            assert all(t == turns[0] for t in turns), (
                "support and query of a class are turned alike"
            )
            turns_seen |= turns[0]
    assert turns_seen == {0, 1, 2, 3}


def test_splits_share_nothing() -> None:
    data = numbered(classes=64)
    for by in ("characters", "alphabets"):
        parts = data.split(by, seed=1)
        names = [set(part.classes) for part in parts]
        assert sum(map(len, names)) == 64
        assert not (names[0] & names[1] or names[0] & names[2] or names[1] & names[2])
        assert [p.classes for p in data.split(by, seed=1)] == [p.classes for p in parts]
    groups = [set(part.groups) for part in data.split("alphabets")]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    train, val, test = numbered(classes=1623 // 10).split("characters")
    assert (len(train), len(val), len(test)) == (110, 10, 42)
    assert (
        data.split("characters", seed=2)[0].classes != data.split("characters", seed=1)[0].classes
    )


def test_only_omniglot_is_turned_and_only_in_training() -> None:
    assert [p.rotate for p in numbered(64).split("characters")] == [False, False, False]
    omniglot = numbered(64)
    omniglot.name = "omniglot"
    assert [p.rotate for p in omniglot.split("characters")] == [True, False, False]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"ways": 13}, "ways=13, but numbered has 12 classes"),
        ({"ways": 1}, "ways=1"),
        ({"shots": 0}, "shots=0"),
        ({"queries": -1}, "queries=-1"),
        ({"tasks": 0}, "tasks=0"),
        (
            {"shots": 4, "queries": 3},
            "shots=4 \\+ queries=3 = 7 pictures a class, but numbered has 6",
        ),
    ],
)
def test_impossible_tasks_are_refused(arguments: dict[str, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        numbered().episodes(**{"ways": 5, "shots": 1, "queries": 1, **arguments})


def test_other_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match=r"split\('letters'\)"):
        numbered().split("letters")
    with pytest.raises(ValueError, match="too few"):
        numbered(classes=4).subset([0, 4 - 1]).split("alphabets")
    with pytest.raises(ValueError, match="float32"):
        Dataset(torch.zeros(2, 2, 1, 4, 4), ["a", "b"], ["x", "x"], "floats")
    with pytest.raises(ValueError, match="1 class names"):
        Dataset(torch.zeros(2, 2, 1, 4, 4, dtype=torch.uint8), ["a"], ["x", "x"], "names")
    with pytest.raises(ValueError, match="square"):
        Dataset(
            torch.zeros(5, 2, 1, 4, 6, dtype=torch.uint8), list("abcde"), list("abcde"), "wide"
        ).episodes(2, 1, 0, rotations=True)
    with pytest.raises(IndexError, match="-1"):
        numbered().episodes(5, 1, 1)[-1]


def episode(**changes: torch.Tensor) -> Episode:
    parts = {
        "support_x": torch.zeros(2, 3, 4),
        "support_y": torch.tensor([[0, 1, 2]] * 2),
        "query_x": torch.zeros(2, 3, 4),
        "query_y": torch.tensor([[2, 1, 0]] * 2),
    }
    return Episode(**{**parts, **changes})


def test_a_malformed_episode_is_refused() -> None:
    assert episode().check().support_x.shape == (2, 3, 4)
    for changes, says in [
        ({"query_y": torch.tensor([[3, 1, 0]] * 2)}, "query_y holds the label 3, outside 0..2"),
        ({"support_y": torch.tensor([[0, 2, 2]] * 2)}, "class 1 of task 0 has no support example"),
        ({"support_y": torch.tensor([[0, 1, 2], [0, 1, -1]])}, "support_y holds the label -1"),
        ({"support_x": torch.zeros(3, 4)}, "must begin with the same two dimensions"),
        ({"query_x": torch.zeros(2, 3, 5)}, "must agree in all but the number of examples"),
        (
            {"support_x": torch.zeros(2, 0, 4), "support_y": torch.zeros(2, 0, dtype=torch.long)},
            "empty",
        ),
    ]:
        with pytest.raises(ValueError, match=says):
            episode(**changes).check()


LABELS = torch.tensor([[0, 1, 2]] * 2)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"query_y": torch.tensor([[0, 1, 2], [0, 1, 3]])}, r"query_y .*label 3, .*0\.\.2, in task 1"),
        ({"query_y": torch.tensor([[0, 1, 2], [-1, 1, 2]])}, r"query_y holds the label -1"),
        ({"query_y": torch.tensor([[2_000_000_000, 0, 0]] * 2)}, "label 2000000000"),
        ({"support_y": torch.tensor([[0, 1, 2_000_000_000]] * 2)}, "label 2000000000"),
        ({"support_y": torch.tensor([[0, 1, 2**62], [0, 1, 2]])}, f"label {2**62}"),
        ({"support_y": torch.tensor([[-(2**63), 2**63 - 1, 0]] * 2)}, f"label -{2**63}"),
        # 1..N, and numbers of classes: what to do about it is said
        ({"support_y": LABELS + 1}, r"label 3, though it has 3 classes, .*0\.\.2; relabel.*torch\.unique"),
        ({"support_y": LABELS + 100}, r"label 102, .*return_inverse=True"),
        ({"support_y": torch.tensor([[0, 1, 2], [0, 0, 2]])}, "class 1 of task 1 has no support"),
        ({"support_y": torch.tensor([[1, 1, 2]] * 2)}, "class 0 of task 0 has no support"),
        ({"support_y": torch.tensor([[0, 1, 2], [0, 1, 1]])}, "task 0 has 3 classes and task 1 has 2"),
        ({"support_y": torch.tensor([[0, 1, 1], [0, 1, 2]])}, "task 0 has 2 classes and task 1 has 3"),
        # shapes
        ({"query_y": LABELS[..., None]}, r"query_y \[2, 3, 1\] is torch.int64, .*squeeze\(-1\)"),
        ({"support_y": torch.eye(3).long().expand(2, 3, 3)}, r"support_y .*argmax\(-1\)"),
        ({"support_y": LABELS.float()}, "support_y .*float32 and query_y .*int64 must agree"),
        ({"query_y": torch.zeros(2, 3, 1)}, "support_y .*int64 and query_y .*float32 must agree"),
        ({"query_y": torch.zeros(2, 3, dtype=torch.complex64)}, "complex64"),
        ({"query_x": torch.zeros(2, 3)}, r"x\[\.\.\., None\]"),
        ({"query_x": torch.zeros(2, 3, 4, dtype=torch.uint8)}, r"query_x is uint8: .*\.float\(\) / 255"),
        ({"query_y": [[0, 1, 2]] * 2}, "query_y is a list; .*torch.as_tensor"),
        ({"query_y": LABELS.to("meta")}, "support_x is on cpu and query_y on meta"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_episode_is_named_with_a_remedy(
    changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        episode(**changes).check()


def test_pictures_without_pixels_and_batches_without_tasks_are_refused() -> None:
    for x in (torch.zeros(2, 3, 1, 0, 28), torch.zeros(2, 3, 0, 28, 28), torch.zeros(2, 3, 0)):
        with pytest.raises(ValueError, match=r"support_x .*an example of no numbers"):
            episode(support_x=x, query_x=x).check()
    with pytest.raises(ValueError, match="no tasks"):
        Episode(*(t[:0] for t in episode())).check()
    y = torch.zeros(2, 3, 0)
    with pytest.raises(ValueError, match=r"support_y .*an example of no numbers"):
        episode(support_y=y, query_y=y).check()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_number_that_is_not_finite_is_named_where_it_stands(
    bad: float, dtype: torch.dtype
) -> None:
    for name in Episode._fields:
        parts = {n: torch.zeros(3, 5, 2, 2, dtype=dtype) for n in Episode._fields}
        parts[name][2, 4, 1, 0] = bad
        e = Episode(**parts)
        assert e.faults().any()
        with pytest.raises(FloatingPointError, match=rf"{name} holds {bad} \(task 2, example 4\)"):
            e.check()


@pytest.mark.parametrize(
    "dtype",
    [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32],
)
def test_labels_of_every_integer_type_become_int64(dtype: torch.dtype) -> None:
    checked = episode(support_y=LABELS.to(dtype), query_y=LABELS.flip(1).to(dtype)).check()
    for y, right in ((checked.support_y, LABELS), (checked.query_y, LABELS.flip(1))):
        assert y.dtype == torch.int64
        assert torch.equal(y, right)
    two = LABELS.clamp(max=1)
    yes_or_no = episode(support_y=two.bool(), query_y=two.bool()).check()
    assert torch.equal(yes_or_no.support_y, two)


def test_targets_and_tokens_are_taken_as_they_are() -> None:
    tokens = torch.tensor([[[7, 1], [0, 3], [9, 9]]] * 2)
    for e in (
        episode(support_x=tokens, query_x=tokens),
        episode(support_y=torch.rand(2, 3), query_y=torch.rand(2, 3)),
        episode(support_y=torch.rand(2, 3, 1), query_y=torch.rand(2, 3, 1)),
        episode(query_x=torch.zeros(2, 0, 4), query_y=torch.zeros(2, 0).long()),
        episode(query_x=torch.zeros(2, 3, 1, 8, 8)),  # descriptions support, pictures are asked
    ):
        checked = e.check()
        assert all(a is b for a, b in zip(checked, e, strict=True)), "nothing is copied"
        assert not e.faults().any()


@given(data=st.data())
def test_flags_are_set_just_when_a_plain_reading_finds_a_fault(data: st.DataObject) -> None:
    """The rule on labels, written out in Python, on small random labels that are often nearly right."""
    t, s, q = (data.draw(st.integers(1, 4)) for _ in range(3))
    sy = data.draw(
        st.lists(st.lists(st.integers(-1, 3), min_size=s, max_size=s), min_size=t, max_size=t)
    )
    qy = data.draw(st.lists(st.lists(st.integers(-1, 3), min_size=q, max_size=q), min_size=t, max_size=t))  # fmt: skip
    e = Episode(torch.zeros(t, s, 1), torch.tensor(sy), torch.zeros(t, q, 1), torch.tensor(qy))
    ways = max(sy[0]) + 1
    right = all(
        set(a) == set(range(ways)) and set(b) <= set(a) for a, b in zip(sy, qy, strict=True)
    )
    assert bool(e.faults().any()) == (not right)
    if right:
        e.check()
    else:
        with pytest.raises(ValueError, match=r"relabel|batches of their own"):
            e.check()


def test_batches_for_ordinary_training() -> None:
    data = numbered(classes=5, rotate=True)
    batches = Batches(data, size=64)
    assert batches.classes == 20
    x, y = batches[0]
    assert x.shape == (64, 1, 4, 4)
    assert torch.equal(x, batches[0][0])
    for picture, label in zip(x, y.tolist(), strict=True):
        upright = picture.rot90(-(label // 5), (-2, -1))
        assert round(float(upright[0, 0, 0]) * 255) == label % 5
    assert Batches(data, rotations=False).classes == 5
    with pytest.raises(ValueError, match="size=0"):
        Batches(data, size=0)
