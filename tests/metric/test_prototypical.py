from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import gradients_agree, task, tasks_are_independent
from torch import Tensor, nn

from mlbook.metric import PrototypicalNetwork
from mlbook.nets import MLP


def network(distance: str = "squared") -> PrototypicalNetwork:
    torch.manual_seed(0)
    return PrototypicalNetwork(MLP(5, 7, 4), distance).double()


def by_hand(model: PrototypicalNetwork, sx: Tensor, sy: Tensor, qx: Tensor) -> np.ndarray:
    """Logits by loops over tasks, queries and classes, in NumPy."""
    with torch.no_grad():
        zs, zq, labels = model.embed(sx).numpy(), model.embed(qx).numpy(), sy.numpy()
    logits = np.empty((len(zq), zq.shape[1], labels.max() + 1))
    for t, q, k in np.ndindex(*logits.shape):
        c, z = zs[t][labels[t] == k].mean(0), zq[t, q]
        if model.distance == "squared":
            logits[t, q, k] = -np.sum((z - c) ** 2)
        elif model.distance == "euclidean":
            logits[t, q, k] = -np.linalg.norm(z - c)
        else:
            logits[t, q, k] = z @ c / np.linalg.norm(z) / np.linalg.norm(c) - 1
    return logits


@pytest.mark.parametrize("distance", ["squared", "euclidean", "cosine"])
def test_logits_and_loss_are_those_of_the_definition(distance: str) -> None:
    model, (sx, sy, qx, qy) = network(distance), task()
    expected = by_hand(model, sx, sy, qx)
    np.testing.assert_allclose(model.adapt(sx, sy)(qx).detach(), expected, atol=1e-10)
    p = np.exp(expected) / np.exp(expected).sum(-1, keepdims=True)
    picked = np.take_along_axis(p, qy.numpy()[..., None], -1)
    assert model.loss(sx, sy, qx, qy).item() == pytest.approx(-np.log(picked).mean(), abs=1e-10)
    assert model.metrics["accuracy"].item() == pytest.approx(
        (expected.argmax(-1) == qy.numpy()).mean()
    )


def test_it_is_a_linear_classifier() -> None:
    """Equation 8: logits are 2 c.z - |c|^2, up to a constant for each query."""
    model, (sx, sy, qx, _) = network(), task()
    z, c = model.f(qx), model.prototypes(model.f(sx), sy)
    linear = 2 * torch.einsum("tqd,tnd->tqn", z, c) - (c**2).sum(-1)[:, None]
    rest = model.adapt(sx, sy)(qx) - linear
    assert torch.allclose(rest, rest[..., :1].expand_as(rest), atol=1e-10)
    unsquared = PrototypicalNetwork(model.embed, "euclidean")
    rest = unsquared.adapt(sx, sy)(qx) - linear
    assert not torch.allclose(rest, rest[..., :1].expand_as(rest), atol=1e-2), (
        "only the squared distance is linear"
    )


def test_distances_are_squared() -> None:
    model = PrototypicalNetwork(nn.Identity())
    sx, sy = torch.tensor([[[0.0, 0.0], [3.0, 4.0]]]), torch.tensor([[0, 1]])
    assert model.adapt(sx, sy)(sx).tolist() == [[[0.0, -25.0], [-25.0, 0.0]]]


@given(ways=st.integers(2, 6), shots=st.integers(1, 4), seed=st.integers(0, 1000))
def test_the_order_of_the_support_does_not_matter(ways: int, shots: int, seed: int) -> None:
    model, (sx, sy, qx, _) = network(), task(1, ways, shots, seed=seed)
    order = torch.randperm(ways * shots, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(
        model.adapt(sx, sy)(qx), model.adapt(sx[:, order], sy[:, order])(qx), atol=1e-12
    )


@given(sizes=st.lists(st.integers(1, 5), min_size=2, max_size=5), seed=st.integers(0, 1000))
def test_classes_may_differ_in_size(sizes: list[int], seed: int) -> None:
    sy = torch.cat([torch.full((n,), k) for k, n in enumerate(sizes)])[None]
    generator = torch.Generator().manual_seed(seed)
    sx = torch.randn(1, sy.shape[1], 5, dtype=torch.float64, generator=generator)
    qx = torch.randn(1, 3, 5, dtype=torch.float64, generator=generator)
    model = network()
    np.testing.assert_allclose(
        model.adapt(sx, sy)(qx).detach(), by_hand(model, sx, sy, qx), atol=1e-10
    )


def test_relabelling_the_classes_permutes_the_scores() -> None:
    model, (sx, sy, qx, _) = network(), task()
    permutation = torch.tensor([2, 0, 1])
    assert torch.allclose(
        model.adapt(sx, permutation[sy])(qx)[..., permutation], model.adapt(sx, sy)(qx), atol=1e-12
    )


def test_one_shot_is_matching_with_the_same_distance() -> None:
    """With one example a class the prototype is that example: a softmax over distances to the support set."""
    model, (sx, sy, qx, _) = network(), task(shots=1)
    z, s = model.f(qx), model.f(sx)
    attention = (-((z[:, :, None] - s[:, None]) ** 2).sum(-1)).softmax(
        -1
    )  # over the support examples
    p = attention @ nn.functional.one_hot(sy).double()  # the weighted sum of their labels
    assert torch.allclose(model.adapt(sx, sy)(qx).softmax(-1), p, atol=1e-10)


@pytest.mark.parametrize("distance", ["squared", "euclidean", "cosine"])
def test_gradients_by_finite_differences(distance: str) -> None:
    model, (sx, sy, qx, qy) = network(distance), task()
    gradients_agree(model, sx, sy, qx, qy)


def test_tasks_at_once_equal_tasks_one_by_one_in_eval_mode() -> None:
    from mlbook.nets import Conv4

    torch.manual_seed(0)
    model = PrototypicalNetwork(Conv4(hidden=8)).double()
    sx, qx = torch.rand(3, 5, 1, 28, 28).double(), torch.rand(3, 4, 1, 28, 28).double()
    sy = torch.stack([torch.randperm(5) for _ in range(3)])
    model.embed(qx[0])  # running statistics of a network that has seen something
    tasks_are_independent(model, sx, sy, qx)


def test_the_support_is_embedded_once() -> None:
    calls = []

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return x

    sx, sy, qx, _ = task()
    learner = PrototypicalNetwork(Counting()).adapt(sx, sy)
    learner(qx)
    learner(qx)
    assert calls == [12, 8, 8]


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="distance='l2'"):
        PrototypicalNetwork(nn.Identity(), "l2")
    sx, sy, _, _ = task(t=1)
    sy = torch.where(sy == 1, 0, sy)
    with pytest.raises(ValueError, match="class 1 of task 0 has no support"):
        network().adapt(sx, sy)


@pytest.mark.parametrize("distance", ["squared", "euclidean", "cosine"])
def test_the_scale_multiplies_every_distance(distance: str) -> None:
    sx, sy, qx, qy = task()
    one, three = network(distance), network(distance)
    three.scale = PrototypicalNetwork(three.embed, distance, scale=3.0).scale
    logits = one.adapt(sx, sy)(qx)
    assert torch.allclose(three.adapt(sx, sy)(qx), 3 * logits, atol=1e-12, rtol=0)
    picked = (3 * logits).log_softmax(-1).gather(-1, qy[..., None])
    assert three.loss(sx, sy, qx, qy).item() == pytest.approx(-picked.mean().item(), abs=1e-12)


def test_the_slope_of_a_distance_of_nothing_is_not_nan() -> None:
    model = PrototypicalNetwork(nn.Linear(5, 5, bias=False), "euclidean").double()
    sx, sy, _, _ = task(shots=1)
    model.loss(sx, sy, sx, sy).backward()  # every query is a prototype
    assert model.embed.weight.grad.isfinite().all()


def test_numbers_above_n_change_no_prototype() -> None:
    """Where the number of classes is not read, that of the examples stands for it: rows of zeros follow."""
    model, (sx, sy, _, _) = network(), task(shots=3)
    z = model.f(sx)
    c, more = model.prototypes(z, sy), model.prototypes(z, sy, 9)
    assert c.shape == (2, 3, 4) and torch.equal(more[:, :3], c) and not more[:, 3:].any()
