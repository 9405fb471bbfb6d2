from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mlbook import Dataset, Episode
from mlbook.episodes import Batches, generator_of


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
    with pytest.raises(ValueError, match=r"int64 \[2, 2, 1, 4, 4\]"):
        Dataset(torch.zeros(2, 2, 1, 4, 4).long(), ["a", "b"], ["x", "x"], "whole numbers")
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


def by_masks(source: Any, k: int) -> list[Tensor]:
    """Episode k as it was drawn at first, with masks; written out, so that seeds keep their tasks for ever."""
    assert k >= 0
    g = torch.Generator().manual_seed(
        (int(source.seed) * 0x9E3779B97F4A7C15 + int(k) * 0xD1B54A32D192ED03) % 2**63
    )
    images, t, n = source.data.images, source.tasks, source.ways
    classes = torch.stack([torch.randperm(len(images), generator=g)[:n] for _ in range(t)])
    rows = torch.rand(t, n, images.shape[1], generator=g).argsort(-1)
    rows = rows[..., : source.shots + source.queries]
    turns = torch.randint(4, (t, n), generator=g) if source.rotations else None
    x = images[classes[..., None], rows]
    if turns is not None:
        for quarter in (1, 2, 3):
            x[turns == quarter] = x[turns == quarter].rot90(quarter, (-2, -1))
    y = torch.arange(n)[None, :, None].expand(t, n, rows.shape[2])
    parts = []
    for part in (slice(source.shots), slice(source.shots, None)):
        pictures, labels = x[:, :, part].flatten(1, 2), y[:, :, part].flatten(1, 2)
        parts.append((pictures, labels, torch.rand(labels.shape, generator=g).argsort(-1)))
    return [
        one
        for pictures, labels, order in parts
        for one in (
            torch.stack([p[o] for p, o in zip(pictures, order, strict=True)]).float() / 255,
            labels.gather(1, order),
        )
    ]


@pytest.mark.parametrize("rotations", [False, True])
@pytest.mark.parametrize("seed", [0, 7, 2**62])
def test_a_seed_has_the_tasks_that_it_always_had(rotations: bool, seed: int) -> None:
    images = torch.randint(256, (9, 6, 2, 5, 5), dtype=torch.uint8)
    data = Dataset(images, list("abcdefghi"), list("abcdefghi"), "random")
    source = data.episodes(4, 2, 3, tasks=3, rotations=rotations, seed=seed)
    for k in (0, 1, 50, 10**9):
        for a, b in zip(source[k], by_masks(source, k), strict=True):
            assert torch.equal(a, b)
    batches = Batches(data, size=40, rotations=rotations, seed=seed)
    g = generator_of(seed, 3)
    labels = torch.randint(36 if rotations else 9, (40,), generator=g)
    samples = torch.randint(6, (40,), generator=g)
    x, y = batches[3]
    assert torch.equal(y, labels)
    for picture, label, sample in zip(x, labels.tolist(), samples.tolist(), strict=True):
        upright = images[label % 9, sample].float() / 255
        assert torch.equal(picture, upright.rot90(label // 9, (-2, -1)))


WHOLE = [np.int64(3), np.uint8(3), np.int32(3), torch.tensor(3), torch.tensor(3, dtype=torch.int32)]


@pytest.mark.parametrize("three", WHOLE, ids=lambda v: f"{type(v).__name__} {v.dtype}")
def test_numbers_of_numpy_and_torch_are_numbers(three: Any) -> None:
    right = numbered().episodes(3, 3, 3, tasks=3, seed=3)
    source = numbered().episodes(three, three, three, tasks=three, seed=three)
    for a, b in zip(source[three], right[3], strict=True):
        assert torch.equal(a, b)
    assert torch.equal(source.classes_of(three), right.classes_of(3))
    assert source.fingerprint == right.fingerprint
    assert torch.equal(
        Batches(numbered(), three, seed=three)[three][0], Batches(numbered(), 3, seed=3)[3][0]
    )
    parts = [numbered(64).split("characters", seed)[0].classes for seed in (three, 3)]
    assert parts[0] == parts[1]


@pytest.mark.parametrize("seed", [-1, -(2**70) - 5, 2**63 + 2, 2**64 + 3, 10**40 + 1])
def test_any_whole_number_is_a_seed(seed: int) -> None:
    a, b, other = (numbered().episodes(5, 1, 2, seed=s)[3] for s in (seed, seed % 2**32, 0))
    assert torch.equal(a.support_x, b.support_x)
    assert not torch.equal(a.support_x, other.support_x)
    for by in ("characters", "alphabets"):
        parts = [numbered(64).split(by, seed=seed)[0].classes for _ in range(2)]
        assert parts[0] == parts[1]


@pytest.mark.parametrize(
    "wrong",
    [1.5, 3.0, True, "3", None, [3], np.float64(3), torch.tensor(3.0), torch.tensor(True)],
)
def test_what_is_not_a_whole_number_is_named(wrong: Any) -> None:
    for name in ("ways", "shots", "queries", "tasks", "seed"):
        arguments: dict[str, Any] = {"ways": 3, "shots": 1, "queries": 1, name: wrong}
        with pytest.raises(ValueError, match=f"{name}=.* must be a whole number"):
            numbered().episodes(**arguments)
    with pytest.raises(ValueError, match=r"episode=.* must be a whole number"):
        numbered().episodes(3, 1, 1)[wrong]
    for name in ("size", "seed"):
        with pytest.raises(ValueError, match=f"{name}=.* must be a whole number"):
            Batches(numbered(), **{name: wrong})
    with pytest.raises(ValueError, match=r"seed=.* must be a whole number"):
        numbered(64).split("characters", seed=wrong)


def test_slices_and_odd_rotations_are_named() -> None:
    for source in (numbered().episodes(3, 1, 1), Batches(numbered())):
        with pytest.raises(ValueError, match=r"one at a time: \[source\[k\] for k in range"):
            source[1:3]  # type: ignore[misc]
    for wrong in ("no", 90, [True]):
        with pytest.raises(ValueError, match=r"rotations=.*True, False or None"):
            numbered().episodes(3, 1, 1, rotations=wrong)  # type: ignore[arg-type]
    wide = torch.zeros(5, 2, 1, 4, 6, dtype=torch.uint8)
    with pytest.raises(ValueError, match="rotations need square pictures"):
        Batches(Dataset(wide, list("abcde"), list("abcde"), "wide"), rotations=True)


def test_a_mask_chooses_the_classes_where_it_is_true() -> None:
    data = numbered()
    mask = torch.tensor([c in (2, 3, 7) for c in range(12)])
    for chosen in (mask, mask.numpy(), mask.tolist(), np.array(mask.tolist())[::-1][::-1]):
        part = data.subset(chosen)  # type: ignore[arg-type]
        assert part.classes == ["class 2", "class 3", "class 7"]
        assert part.images[:, 0, 0, 0, 0].tolist() == [2, 3, 7]
        assert part.groups == ["group 2", "group 3", "group 3"]
    for indices in ([7, 2], torch.tensor([7, 2], dtype=torch.uint8), np.array([7, 2]), (7, 2)):
        assert data.subset(indices).images[:, 0, 0, 0, 0].tolist() == [7, 2]  # type: ignore[arg-type]
    assert data.subset(range(3)).classes == data.classes[:3]


@pytest.mark.parametrize(
    ("indices", "says"),
    [
        ([True] * 11, r"a mask of shape \[11\] for 12 classes"),
        (torch.ones(12, 1, dtype=torch.bool), r"a mask of shape \[12, 1\]"),
        ([False] * 12, "no class is chosen"),
        ([], "no class is chosen"),
        ([0, 12], r"index 12: the classes are numbered 0\.\.11"),
        ([0, -1], r"index -1: the classes are numbered 0\.\.11"),
        ([4, 5, 4], "index 4 comes twice"),
        ([0.0, 1.0], "float32"),
        (np.array([0.5]), "float64"),
        ([[0, 1]], r"\[1, 2\]"),
        (3, r"int64 \[\]"),
        (["class 1"], "whole numbers or a mask"),
        (None, "whole numbers or a mask"),
        (slice(3), "whole numbers or a mask"),
    ],
)
def test_what_chooses_no_classes_is_named(indices: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        numbered().subset(indices)


@given(classes=st.integers(1, 60), groups=st.integers(1, 12), seed=st.integers(0, 99))
def test_every_set_that_is_large_enough_can_be_split_into_parts_that_give_tasks(
    classes: int, groups: int, seed: int
) -> None:
    images = torch.zeros(classes, 2, 1, 1, 1, dtype=torch.uint8)
    data = Dataset(
        images, [str(i) for i in range(classes)], [str(i % groups) for i in range(classes)], "own"
    )
    for by in ("characters", "alphabets"):
        try:
            parts = data.split(by, seed=seed)
        except ValueError as error:
            assert "too few to split" in str(error)
            # of groups, whether it can be done depends on which are drawn; 3 of 2 classes are enough
            assert classes < 6 or (by == "alphabets" and not 3 <= groups <= classes // 2)
            continue
        assert min(map(len, parts)) >= 2
        for part in parts:
            part.episodes(2, 1, 1)
        if by == "characters":
            assert classes >= 6
            assert sum(map(len, parts)) == classes
        else:
            assert sum(len(set(part.groups)) for part in parts) == min(groups, classes)
    for sizes in ((2, 2, 2), (3, 2, 4)):
        if sum(sizes) <= classes:
            assert tuple(map(len, data.split("characters", seed, sizes))) == sizes


def test_the_proportions_are_those_of_before_where_they_were_enough() -> None:
    for classes in (25, 40, 162, 900):
        images = torch.zeros(classes, 1, 1, 1, 1, dtype=torch.uint8)
        data = Dataset(images, [str(i) for i in range(classes)], ["g"] * classes, "own")
        order = torch.randperm(classes, generator=torch.Generator().manual_seed(5)).tolist()
        n_train, n_val = round(classes * 1100 / 1623), round(classes * 100 / 1623)
        parts = [order[:n_train], order[n_train : n_train + n_val], order[n_train + n_val :]]
        got = [[int(c) for c in part.classes] for part in data.split("characters", seed=5)]
        assert got == [sorted(part) for part in parts]


def test_sizes_say_how_many_classes_or_groups_each_part_gets() -> None:
    data = numbered(classes=64)  # in 4 groups of 16
    assert [len(p) for p in data.split("characters", sizes=(6, 3, 3))] == [6, 3, 3]
    assert [len(p) for p in data.split("alphabets", sizes=(1, 1, 2))] == [16, 16, 32]
    assert [len(p) for p in data.split("characters", sizes=[6, 3, 3])] == [6, 3, 3]
    parts = [set(p.classes) for p in data.split("characters", sizes=(20, 20, 20))]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    omniglot = numbered(classes=64)
    omniglot.name = "omniglot"
    omniglot.groups = [
        f"{'evaluation' if i % 4 == 0 else 'background'}/{i % 16}" for i in range(64)
    ]
    train, val, test = omniglot.split("alphabets", sizes=(6, 2, 3))
    assert [len(set(p.groups)) for p in (train, val, test)] == [6, 2, 3]
    assert {g[:4] for g in test.groups} == {"eval"}
    assert {g[:4] for g in train.groups + val.groups} == {"back"}
    for sizes, says in (
        ((60, 3, 2), r"sizes=\(60, 3, 2\): numbered has 64 classes in 4 groups, too few"),
        ((6, 1, 3), "validation would get 1, and a task needs 2"),
        ((6, 0, 3), "sizes=0: must be at least 1"),
        ((6.0, 3, 3), "sizes=6.0: must be a whole number"),
        ((6, 3), r"sizes=\(6, 3\): give three numbers"),
        (12, "sizes=12: give three numbers"),
    ):
        with pytest.raises(ValueError, match=says):
            data.split("characters", sizes=sizes)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="too few to split by 'alphabets' so"):
        data.split("alphabets", sizes=(2, 2, 1))


def test_one_class_gives_no_tasks_and_that_is_said_without_contradiction() -> None:
    for ways in (1, 2):
        with pytest.raises(ValueError) as error:
            numbered().subset([3]).episodes(ways, 1, 1)
        assert "1 ways at most" not in str(error.value)
    with pytest.raises(ValueError, match=r"has 1 class here, .* sizes= gives it more"):
        numbered().subset([3]).episodes(2, 1, 1)


def test_pictures_may_come_from_numpy() -> None:
    array = numbered().images.numpy()
    fixed = array.copy()
    fixed.flags.writeable = False
    for one in (array, fixed, array[::-1][::-1], np.asfortranarray(array)):
        data = Dataset(one, numbered().classes, numbered().groups, "numpy")  # type: ignore[arg-type]
        assert torch.equal(data.images, numbered().images)
        assert data.fingerprint == numbered().fingerprint
    data.images.zero_()
    assert array.any(), "the user's array is another"
    with pytest.raises(ValueError, match="images is a list"):
        Dataset([[1]], ["a"], ["b"], "list")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 5, 5)])
def test_embeddings_are_given_as_they_are(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    x = (100 * torch.randn(6, 4, *shape)).to(dtype)
    data = Dataset(x, list("abcdef"), list("abcdef"), "embeddings")
    source = data.episodes(3, 2, 2, tasks=2)
    episode = source[1].check()
    assert episode.support_x.shape == (2, 6, *shape)
    classes = source.classes_of(1)
    for pictures, labels in (episode[:2], episode[2:]):
        assert pictures.dtype == dtype
        for t in range(2):
            for picture, label in zip(pictures[t], labels[t].tolist(), strict=True):
                assert any(torch.equal(picture, one) for one in x[classes[t, label]])
    batch, y = Batches(data, 5)[0]
    assert all(
        any(torch.equal(b, one) for one in x[label]) for b, label in zip(batch, y, strict=True)
    )
    assert "floats" in repr(data) and len(data.split("characters")[0]) == 2
    for make in (
        lambda: data.episodes(3, 2, 2, rotations=True),
        lambda: Batches(data, rotations=True),
        lambda: Dataset(x, list("abcdef"), list("abcdef"), "embeddings", rotate=True),
    ):
        with pytest.raises(ValueError, match=r"rotat.* pictures \(uint8\)"):
            make()
    x[2, 3] = torch.nan
    with pytest.raises(FloatingPointError, match=r"sample 3 of class 2 \(c\) holds NaN"):
        Dataset(x, list("abcdef"), list("abcdef"), "embeddings")


@pytest.mark.parametrize(
    "shape", [(5, 2, 28, 28, 3), (5, 2, 84, 60, 3), (5, 2, 8, 8, 1), (5, 2, 28, 28, 4)]
)
def test_channels_that_come_last_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"channels last; .*permute\(0, 1, 4, 2, 3\)"):
        Dataset(torch.zeros(shape, dtype=torch.uint8), list("abcde"), list("abcde"), "last")


@pytest.mark.parametrize(
    "shape", [(5, 2, 3, 28, 28), (5, 2, 1, 4, 4), (5, 2, 2, 1, 1), (5, 2, 3, 8, 3), (5, 2, 3, 3, 3)]
)
def test_channels_that_come_first_are_fine_however_small_the_picture(
    shape: tuple[int, ...],
) -> None:
    data = Dataset(torch.zeros(shape, dtype=torch.uint8), list("abcde"), list("abcde"), "first")
    assert data.episodes(2, 1, 1)[0].support_x.shape == (1, 2, *shape[2:])


@pytest.mark.parametrize("shape", [(0, 2, 1, 4, 4), (5, 0, 1, 4, 4), (5, 2, 0, 4, 4), (5, 2, 1, 0, 4)])  # fmt: skip
def test_sets_without_a_picture_or_a_pixel_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"images \[.*\] are empty"):
        Dataset(torch.zeros(shape, dtype=torch.uint8), ["a"] * shape[0], ["a"] * shape[0], "empty")


def test_a_fingerprint_changes_with_all_that_changes_the_tasks_and_with_nothing_else() -> None:
    data = numbered(side=4)
    base: dict[str, Any] = {"ways": 3, "shots": 1, "queries": 2, "tasks": 2, "rotations": False, "seed": 1}  # fmt: skip
    seen = {data.episodes(**base).fingerprint}
    other: Any = {"ways": 4, "shots": 2, "queries": 3, "tasks": 1, "rotations": True, "seed": 2}
    for name, value in other.items():
        seen.add(data.episodes(**{**base, name: value}).fingerprint)
    one_pixel = data.images.clone()
    one_pixel[3, 2, 0, 3, 3] ^= 1
    other_names = [*data.classes[:-1], "another"]
    for changed in (
        Dataset(one_pixel, data.classes, data.groups, "numbered"),
        Dataset(data.images, other_names, data.groups, "numbered"),
        Dataset(data.images.float() / 255, data.classes, data.groups, "numbered"),
        data.subset(range(11)),
        data.subset([1, 0, *range(2, 12)]),
    ):
        seen.add(changed.episodes(**base).fingerprint)
    assert len(seen) == 12
    again = Dataset(data.images.clone(), data.classes, data.groups, "numbered")
    assert again.episodes(**base).fingerprint == data.episodes(**base).fingerprint
    strided = Dataset(
        data.images.transpose(0, 1).contiguous().transpose(0, 1), data.classes, data.groups, "n"
    )
    assert strided.fingerprint == data.fingerprint
    assert data.to("cpu").fingerprint == data.fingerprint
    before = again.fingerprint
    again.images[0, 0, 0, 0, 0] ^= 1
    assert again.fingerprint != before, "changed in place"
    assert len({Batches(data, **k).fingerprint for k in ({}, {"size": 5}, {"seed": 1}, {"rotations": True})}) == 4  # type: ignore[arg-type]  # fmt: skip


def test_seeds_and_episodes_do_not_overlap() -> None:
    """No two of 300 seeds x 300 episodes begin with the same numbers, seed 1's first and seed 0's second, say."""
    drawn = {
        torch.randint(2**62, (2,), generator=generator_of(seed, k)).numpy().tobytes()
        for seed in range(-150, 150)
        for k in range(300)
    }
    assert len(drawn) == 300 * 300
    # torch's generator keeps 32 bits of what it is seeded with: seeds less than 1,000 apart meet after a million
    # episodes and more, for s a + k b = s' a + k' b has no solution in smaller numbers
    a, b = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03
    assert generator_of(3, 5).initial_seed() == (3 * a + 5 * b) % 2**63
    per_seed = a * pow(b, -1, 2**32) % 2**32
    assert min(min(d * per_seed % 2**32, -d * per_seed % 2**32) for d in range(1, 1000)) > 10**6
