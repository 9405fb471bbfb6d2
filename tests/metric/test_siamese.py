from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import gradients_agree, task, tasks_are_independent
from torch import Tensor, nn

from mlbook import Dataset, evaluate
from mlbook.metric import SiameseNetwork
from mlbook.nets import MLP, Conv4


def network() -> SiameseNetwork:
    torch.manual_seed(0)
    model = SiameseNetwork(MLP(5, 7, 4), 4).double()
    nn.init.normal_(model.alpha.weight)  # weights of both signs, a bias that is not zero
    nn.init.normal_(model.alpha.bias)
    return model


def pairs(model: SiameseNetwork, sx: Tensor, qx: Tensor) -> np.ndarray:
    """p of every query with every support example `[T, Q, S]`, by loops in NumPy."""
    with torch.no_grad():
        hs, hq = model.embed(sx).numpy(), model.embed(qx).numpy()
    alpha, b = model.alpha.weight.detach().numpy()[0], model.alpha.bias.item()
    p = np.empty((len(hq), hq.shape[1], hs.shape[1]))
    for t, q, i in np.ndindex(*p.shape):
        u = sum(alpha[j] * abs(hq[t, q, j] - hs[t, i, j]) for j in range(len(alpha))) + b
        p[t, q, i] = 1 / (1 + np.exp(-u))
    return p


def class_means(p: np.ndarray, sy: Tensor) -> np.ndarray:
    """The mean of p over the support examples of each class, `[T, Q, N]`."""
    labels = sy.numpy()
    means = np.empty((*p.shape[:2], labels.max() + 1))
    for t, q, k in np.ndindex(*means.shape):
        means[t, q, k] = p[t, q, labels[t] == k].mean()
    return means


def test_scores_and_loss_are_those_of_the_definition() -> None:
    model, (sx, sy, qx, qy) = network(), task(shots=3)
    p = pairs(model, sx, qx)
    mean = class_means(p, sy)
    scores = model.adapt(sx, sy)(qx).detach()
    np.testing.assert_allclose(scores.sigmoid(), mean, atol=1e-12)
    np.testing.assert_allclose(scores, np.log(mean / (1 - mean)), atol=1e-10)

    same, different = [], []
    for t, q, i in np.ndindex(*p.shape):
        if qy[t, q] == sy[t, i]:
            same.append(-np.log(p[t, q, i]))
        else:
            different.append(-np.log(1 - p[t, q, i]))
    expected = 0.5 * np.mean(same) + 0.5 * np.mean(different)
    assert model.loss(sx, sy, qx, qy).item() == pytest.approx(expected, abs=1e-12)
    assert model.metrics["accuracy"].item() == pytest.approx((mean.argmax(-1) == qy.numpy()).mean())


def test_one_shot_scores_are_the_logits_of_the_pairs() -> None:
    model, (sx, sy, qx, _) = network(), task(shots=1)
    logits = model.logits(model.f(qx), model.f(sx))  # by support example
    in_order = logits.gather(-1, sy.argsort(-1)[:, None].expand_as(logits))  # by class
    assert torch.allclose(model.adapt(sx, sy)(qx), in_order, atol=1e-12)


def test_which_of_the_two_comes_first_does_not_matter() -> None:
    model, (sx, _, qx, _) = network(), task()
    h_1, h_2 = model.f(qx), model.f(sx)
    assert torch.equal(model.logits(h_1, h_2), model.logits(h_2, h_1).mT)


def test_an_example_and_itself_differ_by_the_bias_alone() -> None:
    """|h - h| = 0, so p(x, x) = sigmoid(b) for every x: the most alike that two things can be if alpha <= 0."""
    model, (sx, _, _, _) = network(), task()
    h = model.f(sx)
    diagonal = model.logits(h, h).diagonal(dim1=1, dim2=2)
    assert torch.equal(diagonal, model.alpha.bias.expand_as(diagonal))


@settings(max_examples=40)
@given(ways=st.integers(2, 6), shots=st.integers(1, 4), seed=st.integers(0, 1000))
def test_the_order_of_the_support_does_not_matter(ways: int, shots: int, seed: int) -> None:
    model, (sx, sy, qx, qy) = network(), task(1, ways, shots, seed=seed)
    order = torch.randperm(ways * shots, generator=torch.Generator().manual_seed(seed))
    before, after = (model.adapt(sx, sy)(qx), model.adapt(sx[:, order], sy[:, order])(qx))
    assert torch.allclose(before, after, atol=1e-12)
    shuffled = model.loss(sx[:, order], sy[:, order], qx, qy)
    assert torch.allclose(model.loss(sx, sy, qx, qy), shuffled, atol=1e-12)


def test_relabelling_the_classes_permutes_the_scores() -> None:
    model, (sx, sy, qx, qy) = network(), task()
    permutation = torch.tensor([2, 0, 1])
    relabelled = model.adapt(sx, permutation[sy])(qx)[..., permutation]
    assert torch.allclose(relabelled, model.adapt(sx, sy)(qx), atol=1e-12)
    loss = model.loss(sx, permutation[sy], qx, permutation[qy])
    assert torch.allclose(loss, model.loss(sx, sy, qx, qy), atol=1e-12)


@settings(max_examples=40)
@given(sizes=st.lists(st.integers(1, 5), min_size=2, max_size=5), seed=st.integers(0, 1000))
def test_classes_may_differ_in_size(sizes: list[int], seed: int) -> None:
    sy = torch.cat([torch.full((n,), k) for k, n in enumerate(sizes)])[None]
    generator = torch.Generator().manual_seed(seed)
    sx = torch.randn(1, sy.shape[1], 5, dtype=torch.float64, generator=generator)
    qx = torch.randn(1, 3, 5, dtype=torch.float64, generator=generator)
    model = network()
    expected = class_means(pairs(model, sx, qx), sy)
    np.testing.assert_allclose(model.adapt(sx, sy)(qx).detach().sigmoid(), expected, atol=1e-12)


def test_the_loss_is_that_of_pairs_drawn_half_and_half() -> None:
    """The mean binary cross-entropy of pairs whose kind a fair coin decides, within five standard errors."""
    model, (sx, sy, qx, qy) = network(), task(1, ways=4, shots=2, queries=5)
    p = pairs(model, sx, qx)[0]
    same = qy[0].numpy()[:, None] == sy[0].numpy()
    rng = np.random.default_rng(0)
    n = 200_000
    drawn = np.where(rng.random(n) < 0.5, rng.choice(p[same], n), -rng.choice(p[~same], n))
    losses = -np.log(np.where(drawn > 0, drawn, 1 + drawn))  # 1 - p where the pair is different
    error = losses.std() / n**0.5
    assert abs(losses.mean() - model.loss(sx, sy, qx, qy).item()) < 5 * error
    # without the balance the three different pairs of every four would have three times the say
    plain = np.concatenate([-np.log(p[same]), -np.log(1 - p[~same])]).mean()
    assert abs(losses.mean() - plain) > 20 * error


@pytest.mark.parametrize("ways", [2, 5, 20])
def test_a_constant_network_has_nothing_to_learn_from_the_number_of_ways(ways: int) -> None:
    """Half the weight is with the same pairs, so the best constant p is one half, and the loss log 2."""
    model, episode = SiameseNetwork(nn.Identity(), 5).double(), task(1, ways, 1, 2 * ways)
    nn.init.zeros_(model.alpha.weight)
    nn.init.zeros_(model.alpha.bias)
    loss = model.loss(*episode)
    assert loss.item() == pytest.approx(np.log(2))
    (slope,) = torch.autograd.grad(loss, [model.alpha.bias])
    assert slope.item() == pytest.approx(0, abs=1e-12)


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros(len(x), 4)


@pytest.mark.parametrize("shots", [1, 3])
def test_a_constant_network_is_at_chance(shots: int) -> None:
    """The tie trap: with the answer always in the first slot such a network would be right every time."""
    images = torch.randint(256, (12, 8, 1, 6, 6), dtype=torch.uint8)
    data = Dataset(images, [str(k) for k in range(12)], ["g"] * 12, "noise")
    model = SiameseNetwork(Constant(), 4)
    result = evaluate(model, data.episodes(ways=5, shots=shots, queries=2), n=50)
    assert result.mean == pytest.approx(1 / 5) and result.interval == pytest.approx(0, abs=1e-12)

    sx, sy, qx, qy = data.episodes(ways=5, shots=shots, queries=2)[0]
    first = qy == 0  # what an episode looks like whose answer always sits at index 0
    right = (model.adapt(sx, sy)(qx).argmax(-1) == qy)[first]
    assert right.all()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("shots", [1, 3])
def test_probabilities_near_one_or_zero_do_not_tie(shots: int, sign: int) -> None:
    """In float32 sigmoid(26) and sigmoid(30) are both exactly 1; their log-odds are told apart."""
    model = SiameseNetwork(nn.Identity(), 1)
    nn.init.constant_(model.alpha.weight, -1.0)
    nn.init.constant_(model.alpha.bias, 30.0 if sign > 0 else -26.0)
    sx = torch.tensor([4.0] * shots + [0.0] * shots)[None, :, None]
    sy = torch.tensor([0] * shots + [1] * shots)[None]
    scores = model.adapt(sx, sy)(torch.zeros(1, 1, 1))[0, 0]
    assert scores.dtype == torch.float32
    expected = torch.tensor([26.0, 30.0] if sign > 0 else [-30.0, -26.0])
    assert torch.allclose(scores, expected, atol=1e-4)
    assert scores.argmax() == 1
    if sign > 0:
        assert scores.sigmoid().tolist() == [1.0, 1.0], "as probabilities they would tie"


def test_a_doubtful_example_counts_as_a_mean_of_probabilities() -> None:
    """K shots: the mean of p and not of its logarithm, nor the best: (0.9 + 0.1) / 2 < 0.6."""
    model = SiameseNetwork(nn.Identity(), 1).double()
    nn.init.constant_(model.alpha.weight, -1.0)
    nn.init.constant_(model.alpha.bias, 3.0)
    p = torch.tensor([0.9, 0.1, 0.6, 0.6], dtype=torch.float64)
    sx = (3 - p.logit())[None, :, None]  # at these distances from a query at 0
    sy = torch.tensor([[0, 0, 1, 1]])
    scores = model.adapt(sx, sy)(torch.zeros(1, 1, 1, dtype=torch.float64))[0, 0]
    assert scores.sigmoid().tolist() == pytest.approx([0.5, 0.6])


def test_gradients_by_finite_differences() -> None:
    model, (sx, sy, qx, qy) = network(), task()
    gradients_agree(model, sx, sy, qx, qy)


def test_tasks_at_once_equal_tasks_one_by_one_in_eval_mode() -> None:
    torch.manual_seed(0)
    model = SiameseNetwork(Conv4(hidden=8), 8).double()
    sx, qx = torch.rand(3, 10, 1, 28, 28).double(), torch.rand(3, 4, 1, 28, 28).double()
    sy = torch.stack([torch.randperm(10) % 5 for _ in range(3)])
    model.embed(qx[0])  # running statistics of a network that has seen something
    tasks_are_independent(model, sx, sy, qx)


def test_the_support_is_embedded_once() -> None:
    calls = []

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return x

    sx, sy, qx, _ = task()
    learner = SiameseNetwork(Counting(), 5).double().adapt(sx, sy)
    learner(qx)
    learner(qx)
    assert calls == [12, 8, 8]


def test_it_starts_with_far_apart_means_different() -> None:
    """Before any training the nearer of two support examples already has the higher score."""
    model = SiameseNetwork(nn.Identity(), 2)
    sx, sy = torch.tensor([[[3.0, 3.0], [1.0, 0.0]]]), torch.tensor([[0, 1]])
    scores = model.adapt(sx, sy)(torch.zeros(1, 1, 2))[0, 0]
    assert scores[1] > scores[0]


def test_mistakes_are_named() -> None:
    sx, sy, _, _ = task(t=1)
    sy = torch.where(sy == 1, 0, sy)
    with pytest.raises(ValueError, match="class 1 of task 0 has no support"):
        network().adapt(sx, sy)


@pytest.mark.parametrize("dim", [1, 64])
def test_it_starts_at_one_half_where_components_are_half_apart(dim: int) -> None:
    model = SiameseNetwork(nn.Identity(), dim)
    assert (model.alpha.weight == torch.tensor(-0.1)).all()
    half = model.logits(torch.zeros(1, 1, dim), torch.full((1, 1, dim), 0.5))
    assert half.sigmoid().item() == pytest.approx(0.5, abs=1e-6)


def test_scores_of_a_class_without_examples_stand_apart() -> None:
    """They are no number, and in the accuracy of a loss the least."""
    model, (sx, sy, qx, _) = network(), task(shots=1)
    member = torch.nn.functional.one_hot(sy, 5).bool()
    scores = model.scores(model.logits(model.f(qx), model.f(sx)), member)
    assert scores[..., 3:].isnan().all()
    assert torch.equal(scores[..., :3], model.adapt(sx, sy)(qx))
    assert (scores.nan_to_num(-torch.inf).argmax(-1) < 3).all()
