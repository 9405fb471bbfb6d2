"""What holds for every source of tasks, and what each one draws from: its distributions, not its code."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import second_device
import torch
from torch import Tensor

from mlbook import Dataset, Episode
from mlbook.data import sinusoids
from mlbook.data.bandits import Bandits
from mlbook.data.descriptions import Vocabulary, ZeroShotTasks
from mlbook.data.problems import Classifiers, Quadratics
from mlbook.episodes import Batches
from tests.test_episodes import numbered, read


def noise(classes: int = 12, samples: int = 6, side: int = 4) -> Dataset:
    g = torch.Generator().manual_seed(0)
    images = torch.randint(256, (classes, samples, 1, side, side), dtype=torch.uint8, generator=g)
    return Dataset(images, [str(i) for i in range(classes)], ["g"] * classes, "noise")


NAMES = [f"LATIN SMALL LETTER {letter}" for letter in "ABCDEFGHIJKLMNOP"]


def letters(some: str) -> Dataset:
    names = [name for name in NAMES if name[-1] in some]
    return Dataset(noise(len(names)).images, names, ["Latin"] * len(names), "letters")


# each: how it is made with a seed, and another value of every argument
SOURCES: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "episodes": (
        lambda **k: noise().episodes(**{"ways": 3, "shots": 2, "queries": 1, **k}),
        {"ways": 4, "shots": 1, "queries": 2, "tasks": 2, "rotations": True},
    ),
    "batches": (lambda **k: Batches(noise(), **{"size": 9, **k}), {"size": 8, "rotations": True}),
    "sinusoids": (sinusoids, {"shots": 3, "queries": 4, "tasks": 2}),
    "bandits": (lambda **k: Bandits(**{"tasks": 3, **k}), {"arms": 3, "pulls": 7, "tasks": 2}),
    "quadratics": (lambda **k: Quadratics(**{"tasks": 3, **k}), {"dimension": 3, "tasks": 2}),
    "zero-shot": (
        lambda tasks=1, **k: ZeroShotTasks(
            letters("ABCDEFGH").episodes(3, 1, 1, tasks=tasks, **k), Vocabulary(NAMES)
        ),
        {"tasks": 2},
    ),
    "classifiers": (
        lambda **k: Classifiers(noise(), **{"sizes": (4, 3, 3), "pictures": 2, "tasks": 2, **k}),
        {"sizes": (4, 2, 3), "pictures": 3, "tasks": 1},
    ),
}
each = pytest.mark.parametrize("name", SOURCES)


@each
def test_a_batch_is_the_same_whenever_it_is_asked_for(name: str) -> None:
    make, _ = SOURCES[name]
    source = make(seed=1)
    later = source[7]
    state = torch.get_rng_state()
    for k, batch in zip(range(9), source, strict=False):  # iterating counts from 0
        for a, b in zip(batch, make(seed=1)[k], strict=True):
            assert torch.equal(a, b)
    for a, b in zip(source[7], later, strict=True):
        assert torch.equal(a, b)
    assert torch.equal(torch.get_rng_state(), state), "the global generator is left alone"


@each
def test_no_batch_of_one_seed_is_a_batch_of_another(name: str) -> None:
    make, _ = SOURCES[name]
    seen = {
        b"".join(t.contiguous().numpy().tobytes() for t in make(seed=seed)[k])
        for seed in range(-10, 15)
        for k in range(25)
    }
    assert len(seen) == 25 * 25


@each
def test_a_fingerprint_names_every_argument_and_no_device(name: str) -> None:
    make, others = SOURCES[name]
    prints = [make(seed=0).fingerprint, make(seed=1).fingerprint]
    prints += [make(seed=0, **{key: value}).fingerprint for key, value in others.items()]
    assert len(set(prints)) == 2 + len(others)
    assert all(isinstance(p, str) for p in prints)
    assert make(seed=0).fingerprint == prints[0]
    assert make(seed=np.int64(0)).fingerprint == prints[0]
    assert make(seed=0).to("cpu").fingerprint == prints[0]


@each
def test_all_of_a_batch_is_on_the_device(name: str) -> None:
    make, others = SOURCES[name]
    for source in (make(seed=0), make(seed=0, **others)):
        there = source.to("meta")
        assert [t.device.type for t in there[2]] == ["meta"] * len(source[2])
        assert [t.shape for t in there[2]] == [t.shape for t in source[2]]
        assert [t.device.type for t in source[2]] == ["cpu"] * len(source[2]), (
            "the first is as it was"
        )


@each
@pytest.mark.parametrize("three", [np.int64(3), np.uint8(3), torch.tensor(3)])
def test_numbers_of_numpy_and_torch_are_numbers(name: str, three: Any) -> None:
    make, others = SOURCES[name]
    numbers = {k for k, v in others.items() if type(v) is int}
    for key in numbers | {"seed"}:
        for a, b in zip(make(**{key: three})[three], make(**{key: 3})[3], strict=True):
            assert torch.equal(a, b)
        assert make(**{key: three}).fingerprint == make(**{key: 3}).fingerprint
        for wrong in (1.5, True, "2", None, math.inf):
            with pytest.raises(ValueError, match=f"{key}=.*must be a whole number"):
                make(**{key: wrong})
    for wrong in (1.5, slice(3), True):
        with pytest.raises(ValueError, match=r"episode=.*must be a whole number"):
            make()[wrong]
    with pytest.raises(IndexError, match="-1"):
        make()[-1]


def test_the_fingerprint_of_descriptions_changes_with_them_and_with_further_candidates() -> None:
    episodes, more = letters("ABCDEFGH").episodes(3, 1, 1), letters("IJKL").episodes(2, 1, 0)
    prints = {
        ZeroShotTasks(episodes, Vocabulary(NAMES)).fingerprint,
        ZeroShotTasks(episodes, Vocabulary(NAMES[:8])).fingerprint,
        ZeroShotTasks(episodes, Vocabulary(NAMES), more).fingerprint,
        ZeroShotTasks(episodes, Vocabulary(NAMES), letters("IJKM").episodes(2, 1, 0)).fingerprint,
    }
    assert len(prints) == 4


@each
@pytest.mark.skipif(not second_device.AVAILABLE, reason="this torch has no such backend")
def test_another_device_gets_the_same_numbers_and_is_never_waited_for(name: str) -> None:
    make, others = SOURCES[name]
    for source in (make(seed=0), make(seed=0, **others)):
        right = source[3]
        with second_device.second_device() as log:
            there = source.to(second_device.GPU)
            log.clear()
            batch = there[3]
            if isinstance(batch, Episode):
                assert batch.check_shapes().faults().device.type == "gpu"
            assert not log.synchronisations and not log.mixed
            for a, b in zip(batch, right, strict=True):
                assert a.device.type == "gpu" and torch.equal(a.cpu(), b)
            assert there.fingerprint == source.fingerprint


def is_uniform(values: Tensor, low: float, high: float) -> bool:
    """Kolmogorov and Smirnov's test; of numbers that are uniform it refuses one sample in 10,000."""
    x = values.flatten().double().sort().values
    if x[0] < low or x[-1] > high:
        return False
    n, cdf = len(x), (x - low) / (high - low)
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    return float(torch.maximum(cdf - steps[:-1], steps[1:] - cdf).max()) < 2.225 / math.sqrt(n)


def is_normal(values: Tensor) -> bool:
    """The same for standard normal numbers."""
    return is_uniform(torch.special.ndtr(values.double()), 0, 1)


def is_even(counts: Tensor, total: float | None = None, share: Any = None) -> bool:
    """Whether counts are binomial about equal shares (or `share` of `total`), to 5 standard deviations."""
    counts = counts.double()
    n = counts.sum() if total is None else torch.tensor(total)
    p = torch.tensor(1 / counts.numel() if share is None else share, dtype=torch.float64)
    return bool(((counts - n * p).abs() < 5 * (n * p * (1 - p)).sqrt()).all())


def related(a: Tensor, b: Tensor) -> bool:
    """Whether two samples are correlated, beyond 4.5 standard errors."""
    r = float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]).double())[0, 1])
    return abs(r) > 4.5 / math.sqrt(a.numel())


def test_the_tests_can_fail() -> None:
    g = torch.Generator().manual_seed(0)
    u = torch.rand(4000, generator=g)
    assert is_uniform(10 * u - 5, -5, 5) and not is_uniform(8 * u - 4, -5, 5)
    assert not is_uniform(10 * u.square() - 5, -5, 5)
    z = torch.randn(4000, generator=g)
    assert is_normal(z) and not is_normal(1.2 * z) and not is_normal(z + 0.1)
    assert related(u, u + z.abs() / 9) and not related(u, z)
    assert is_even(torch.tensor([1000, 1030])) and not is_even(torch.tensor([1000, 1400]))


def test_sinusoids_are_drawn_as_in_the_paper() -> None:
    """Finn et al. (2017), section 5.1: amplitude from [0.1, 5], phase from [0, π], x from [-5, 5], all uniform."""
    source = sinusoids(shots=5, queries=5, tasks=500, seed=2)
    batches = [source[k] for k in range(4)]
    amplitude, phase = (
        torch.cat(t) for t in zip(*map(source.parameters_of, range(4)), strict=True)
    )
    assert is_uniform(amplitude, 0.1, 5)
    assert 0.1 <= amplitude.min() < 0.12 and 4.98 < amplitude.max() <= 5
    assert is_uniform(phase, 0, math.pi)
    assert not related(amplitude, phase)
    support, query = (torch.cat([b[i] for b in batches])[..., 0] for i in (0, 2))
    for x in (*support.T, *query.T):  # at every place
        assert is_uniform(x, -5, 5)
        assert not related(x, amplitude) and not related(x, phase)
    assert not related(support[:, 0], support[:, 1]) and not related(support[:, 0], query[:, 0])
    assert not related(support[:-1], support[1:]), "tasks have points of their own"
    y = torch.cat([b.support_y for b in batches])[..., 0]
    right = amplitude[:, None] * torch.sin(support - phase[:, None])
    assert torch.allclose(y, right, atol=1e-5), "without noise, radians, minus the phase"


def test_bandits_pay_by_chances_that_are_uniform() -> None:
    """Duan et al. (2016): p uniform in [0, 1], each pull independent of the others."""
    source = Bandits(arms=3, pulls=50, tasks=2000, seed=3)
    p, pays = source[5]
    for arm in range(3):
        assert is_uniform(p[:, arm], 0, 1)
    assert not related(p[:, 0], p[:, 1]) and not related(p[:, 1], p[:, 2])
    z = (pays - p[:, None]) / (p * (1 - p)).sqrt()[
        :, None
    ]  # of mean 0 and variance 1, whatever p is
    assert z.mean(0).abs().max() < 5 / math.sqrt(2000)
    assert float(z[:, :, 0].mean()) == pytest.approx(0, abs=5 / math.sqrt(2000 * 50))
    assert not related(z[:, :, 0], z[:, :, 1]), "arms are independent"
    assert not related(z[:, :-1], z[:, 1:]), "pulls are independent"
    u = pays.mean(1)
    assert (u - p).abs().max() < 5 * 0.5 / math.sqrt(50)


def test_quadratics_are_standard_normal_in_every_number() -> None:
    """Andrychowicz et al. (2016), section 3.1, with θ_0 standard normal, too."""
    theta, W, y = Quadratics(dimension=6, tasks=3000, seed=4)[2]
    for t in (theta, y, W.flatten(1)):
        for column in t.T:
            assert is_normal(column)
    assert not related(theta, y) and not related(theta, W[:, 0]) and not related(y, W[:, 0])
    assert not related(W[:, 0], W[:, 1]) and not related(theta[:-1], theta[1:])


def test_classifiers_begin_with_weights_of_variance_one_over_the_inputs() -> None:
    sizes = (16, 30, 5, 4)
    theta, _, _ = Classifiers(noise(side=8), sizes, pictures=2, tasks=400, seed=5)[1]
    at = 0
    for i, o in itertools.pairwise(sizes):
        W, b = theta[:, at : at + i * o], theta[:, at + i * o : at + (i + 1) * o]
        assert is_normal(W * math.sqrt(i)), f"{i} inputs"
        assert float(W.var()) == pytest.approx(1 / i, rel=0.05)
        assert (b == 0).all()
        at += (i + 1) * o
    assert at == theta.shape[1]
    assert not related(theta[:-1, : 16 * 30], theta[1:, : 16 * 30])


def test_classifiers_learn_from_any_classes_and_pictures_under_any_label() -> None:
    data = noise(classes=6, samples=5, side=2)  # one pixel of each: its number
    data.images[:] = torch.arange(30, dtype=torch.uint8).view(6, 5, 1, 1, 1)
    _, x, y = Classifiers(data, (1, 3), pictures=2, tasks=3000, seed=6)[0]
    number = (255 * x[..., 0]).round().long()
    classes, samples = number // 5, number % 5
    of_label = torch.zeros(3, 6)
    for label in range(3):
        mine = classes[y == label].view(3000, 2)
        assert (mine[:, 0] == mine[:, 1]).all(), "one class a label"
        of_label[label] = torch.bincount(mine[:, 0], minlength=6)
        assert is_even(of_label[label])
        pair = samples[y == label].view(3000, 2)
        assert (pair[:, 0] != pair[:, 1]).all()
        assert is_even(torch.bincount(pair[:, 0], minlength=5))
    first, second = (classes[:, i] for i in (0, 2))
    assert (first != second).all(), "no class twice"
    assert is_even(torch.bincount(samples[:, 0] * 5 + samples[:, 2], minlength=25)), (
        "drawn for each"
    )


def test_episodes_come_shuffled_support_and_query_each_in_an_order_of_its_own() -> None:
    ways, each_, n = 4, 3, 1500
    source = numbered(classes=9, samples=6).episodes(ways, each_, each_, tasks=2, seed=8)
    batches = [source[k] for k in range(n // 2)]
    sx, sy, qx, qy = (torch.cat(t) for t in zip(*batches, strict=True))
    total = ways * each_
    for y in (sy, qy):
        for place in y.T:
            assert is_even(torch.bincount(place, minlength=ways)), "every label at every place"
        same = (y[:, 1:] == y[:, :-1]).sum(0)  # neighbours: as often alike as in a shuffled pack
        assert is_even(same, n, (each_ - 1) / (total - 1))
        assert is_even((y[0::2] == y[1::2]).sum(0), n / 2, 1 / ways), "tasks of an episode differ"
        assert is_even((y[:-2] == y[2:]).sum(0), n - 2, 1 / ways), "so do episodes"
    assert is_even((sy == qy).sum(0), n, 1 / ways), "the queries' order is not the support's"
    # a class is no likelier under one label, a picture no likelier in the support
    for x, y in ((sx, sy), (qx, qy)):
        c, sample = read(x)
        pairs = torch.bincount((c[:, 0] * ways + y[:, 0]), minlength=9 * ways)
        assert is_even(pairs)
        assert is_even(torch.bincount(sample[:, 0], minlength=6))
        assert is_even(torch.bincount(c[:, 0] * 6 + sample[:, 0], minlength=54))
        # which samples are drawn is drawn for every class
        other = (y != y[:, :1]).int().argmax(1, keepdim=True)
        assert is_even((sample[:, 0] == sample.gather(1, other)[:, 0]).sum()[None], n, 1 / 6)
    classes = torch.cat([source.classes_of(k) for k in range(n // 2)])
    for column in classes.T:
        assert is_even(torch.bincount(column, minlength=9))
    assert is_even((classes[0::2] == classes[1::2]).sum(0), n / 2, 1 / 9)


def one_corner(classes: int) -> Dataset:
    """Ink in one corner alone, which says how far a picture was turned; its strength is the class."""
    images = torch.zeros(classes, 3, 1, 5, 5, dtype=torch.uint8)
    images[..., 0, 0] = torch.arange(100, 100 + classes, dtype=torch.uint8)[:, None, None]
    return Dataset(images, [str(i) for i in range(classes)], ["g"] * classes, "corners")


def quarters(x: Tensor) -> tuple[Tensor, Tensor]:
    """How often `[..., 1, 5, 5]` was turned, against the clock, and which class it is."""
    corners = torch.stack([x[..., 0, 0, 0], x[..., 0, 4, 0], x[..., 0, 4, 4], x[..., 0, 0, 4]], -1)
    assert ((corners > 0).sum(-1) == 1).all()
    return corners.argmax(-1), (255 * corners.amax(-1)).round().long() - 100


def test_rotations_are_uniform_and_drawn_for_each_class_of_each_task() -> None:
    n = 3000
    sx, sy, qx, qy = one_corner(5).episodes(4, 2, 1, tasks=n, rotations=True, seed=9)[0]
    turns, classes = quarters(sx)
    table = torch.zeros(n, 4, dtype=torch.long).scatter_(1, sy, turns)
    for label in range(4):
        assert is_even(torch.bincount(table[:, label], minlength=4))
    assert is_even(torch.bincount(turns[:, 0] * 5 + classes[:, 0], minlength=20))
    for a in range(4):
        for b in range(a):
            assert is_even((table[:, a] == table[:, b]).sum()[None], n, 1 / 4)
    assert is_even((table[1:] == table[:-1]).sum(0), n - 1, 1 / 4)
    assert torch.equal(table.gather(1, sy), turns), "the shots of a class are turned alike"
    assert torch.equal(table.gather(1, qy), quarters(qx)[0]), "and its queries"
    assert (quarters(one_corner(5).episodes(4, 2, 1, tasks=50)[0].support_x)[0] == 0).all()


@pytest.mark.parametrize("rotations", [False, True])
def test_batches_hold_every_class_sample_and_rotation_equally_often(rotations: bool) -> None:
    data = one_corner(5)
    data.images[..., 2, 2] = torch.arange(3, dtype=torch.uint8)[:, None]
    x, y = Batches(data, size=6000, rotations=rotations, seed=10)[1]
    turns, classes = quarters(x)
    assert torch.equal(y, classes + 5 * turns)
    assert is_even(torch.bincount(y, minlength=20 if rotations else 5))
    sample = (255 * x[:, 0, 2, 2]).round().long()
    assert is_even(torch.bincount(sample * 5 + classes, minlength=15))
    assert not related(y[1:].double(), y[:-1].double())
