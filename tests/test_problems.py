from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from mlbook import load
from mlbook.data.problems import Classifiers, Quadratics, classifier, quadratic
from mlbook.episodes import Dataset


@pytest.fixture(scope="module")
def glyphs() -> Dataset:
    return load("glyphs")


def blank(dtype: torch.dtype, height: int, width: int) -> Dataset:
    images = torch.zeros(10, 20, 1, height, width, dtype=dtype)
    return Dataset(images, [str(i) for i in range(10)], ["g"] * 10, "blank")


def test_a_quadratic_is_the_squared_norm_of_the_definition() -> None:
    theta, W, y = Quadratics(dimension=4, tasks=3, seed=1)[5]
    f = quadratic(theta, W, y)
    for i in range(3):
        r = W[i].numpy() @ theta[i].numpy() - y[i].numpy()
        assert f[i].item() == pytest.approx(np.dot(r, r), rel=1e-5)


def test_quadratics_are_standard_normal() -> None:
    for x in Quadratics(tasks=2000)[0]:
        assert abs(x.mean()) < 0.03 and abs(x.std() - 1) < 0.03


def test_one_seed_gives_one_sequence_and_another_another(glyphs: Dataset) -> None:
    for make in (lambda seed: Quadratics(seed=seed), lambda seed: Classifiers(glyphs, seed=seed)):
        for a, b in zip(make(0)[3], make(0)[3], strict=True):
            assert torch.equal(a, b)
        assert not torch.equal(make(0)[3][0], make(0)[4][0])
        assert not torch.equal(make(0)[3][0], make(1)[3][0])


@pytest.mark.parametrize("sizes", [(49, 20, 10), (49, 5, 6, 10)])
def test_a_classifier_is_the_same_network_in_torch(glyphs: Dataset, sizes: tuple[int, ...]) -> None:
    theta, x, y = Classifiers(glyphs, sizes, tasks=2)[0]
    f = classifier(sizes)(theta, x, y)
    for b in range(2):
        layers: list[nn.Module] = []
        for i, o in itertools.pairwise(sizes):
            layers += [nn.Linear(i, o), nn.Sigmoid()]
        net = nn.Sequential(*layers[:-1])
        at = 0
        for layer in net:
            if isinstance(layer, nn.Linear):
                n = layer.weight.numel()
                layer.weight.data = theta[b, at : at + n].view(layer.in_features, -1).T
                layer.bias.data = theta[b, at + n : at + n + layer.out_features]
                at += n + layer.out_features
        assert at == theta.shape[1]
        torch.testing.assert_close(f[b], nn.functional.cross_entropy(net(x[b]), y[b]))


def test_pictures_are_averages_of_squares_and_classes_come_once(glyphs: Dataset) -> None:
    _, x, y = Classifiers(glyphs, pictures=4, tasks=5)[0]
    assert x.shape == (5, 40, 49) and x.amin() >= 0 and x.amax() <= 1
    assert y.unique(return_counts=True)[1].tolist() == [20] * 10
    small = glyphs.images.float().view(-1, 7, 4, 7, 4).mean((2, 4)).flatten(1) / 255
    for picture in x.flatten(0, 1)[:: len(x)]:
        assert (small - picture).abs().amax(1).min() < 1e-5
    for problem in x:  # no picture twice
        assert torch.cdist(problem, problem).fill_diagonal_(1).min() > 0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda data: Quadratics(dimension=0), "dimension=0"),
        (lambda data: Classifiers(data, tasks=0), "tasks=0"),
        (lambda data: Classifiers(data, (50, 20, 10)), "n² with n a divisor of 28"),
        (lambda data: Classifiers(data, pictures=21), "10 classes of 21 pictures"),
        (lambda data: Classifiers(data, (49,)), r"sizes=\(49,\): .* inputs and classes"),
        (lambda data: Classifiers(data, (49, 20.0, 10)), "sizes=20.0: must be a whole number"),
        (lambda data: Classifiers(data, (49, 0, 10)), "sizes=0: must be at least 1"),
        (lambda _: Classifiers(blank(torch.uint8, 28, 56)), r"square pictures .*28, 56"),
        (lambda _: Classifiers(blank(torch.float32, 28, 28)), "pictures of bytes .*float32"),
    ],
)
def test_what_cannot_be_is_an_error(glyphs: Dataset, make, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=said):
        make(glyphs)
