from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles import (
    affine,
    gradients_agree,
    logits_are,
    numbers,
    queries_are_blind,
    support_is_a_set,
    task,
    tasks_are_independent,
)
from torch import Tensor, nn

from mlbook.model_based import HyperNetwork
from mlbook.nets import Conv4


def network(seed: int = 0) -> HyperNetwork:
    """A small network in float64 and `eval()`, whose layer norm does something."""
    torch.manual_seed(seed)
    model = HyperNetwork(nn.Sequential(nn.Linear(5, 4), nn.Tanh()), dim=4, hidden=16).double()
    nn.init.uniform_(model.norm.weight, 0.5, 1.5)
    nn.init.uniform_(model.norm.bias, -0.5, 0.5)
    return model.eval()


def embedding(model: HyperNetwork, x: Tensor) -> np.ndarray:
    z = np.tanh(affine(model.embed[0], numbers(x)))  # type: ignore[index]
    z = (z - z.mean()) / np.sqrt(z.var() + model.norm.eps)
    return z * numbers(model.norm.weight) + numbers(model.norm.bias)


def by_hand(model: HyperNetwork, sx: Tensor, sy: Tensor, qx: Tensor) -> np.ndarray:
    """Logits in NumPy, one task, one class and one example at a time."""
    logits = []
    for x, y, q in zip(sx, sy, qx, strict=True):
        r_k = []
        for k in range(int(y.max()) + 1):
            features = [embedding(model, x[i]) for i in range(len(x)) if y[i] == k]
            r_k.append(np.mean([np.maximum(affine(model.phi[0], z), 0) for z in features], 0))
        r = np.mean(r_k, 0)
        emitted = []
        for k in r_k:
            hidden = np.maximum(affine(model.rho[0], np.concatenate([k, r])), 0)
            emitted.append(affine(model.rho[2], hidden))
        logits.append(
            [[w[:-1] @ embedding(model, one) + w[-1] for w in emitted] for one in q.unbind()]
        )
    return np.array(logits)


def test_logits_and_loss_are_those_of_the_definition() -> None:
    model, (sx, sy, qx, qy) = network(), task()
    sy[0] = torch.tensor([0, 0, 0, 1, 2, 2])  # classes of unequal size: r is a mean over classes
    expected = by_hand(model, sx, sy, qx)
    assert expected.std(-1).min() > 1e-3
    logits_are(model, expected, sx, sy, qx, qy)


def test_the_gradient() -> None:
    gradients = gradients_agree(network(), *task())
    assert all(g.abs().max() > 1e-6 for g in gradients.values())


def test_tasks_at_once_equal_tasks_one_by_one() -> None:
    tasks_are_independent(network(), *task(t=3)[:3])
    torch.manual_seed(0)
    model = HyperNetwork(Conv4(hidden=4), dim=4).double()
    model.loss(*task(t=3, x=(1, 16, 16)))  # gives batch norm its statistics
    tasks_are_independent(model, *task(t=3, x=(1, 16, 16))[:3])


def test_the_order_of_the_support_does_not_matter_and_that_of_the_queries_is_kept() -> None:
    model, (sx, sy, qx, _) = network(), task(shots=3, queries=6)
    support_is_a_set(model, sx, sy, qx)


def test_queries_are_blind_to_each_other() -> None:
    model, (sx, sy, qx, _) = network(), task()
    queries_are_blind(model, sx, sy, qx)


def test_other_labels_for_the_classes_are_other_places_for_the_scores() -> None:
    model, (sx, sy, qx, _) = network(), task()
    scores = model.adapt(sx, sy)(qx)
    new = torch.tensor([2, 0, 1])  # class k is called new[k]
    torch.testing.assert_close(model.adapt(sx, new[sy])(qx)[..., new], scores, atol=1e-12, rtol=0)
    assert (scores - scores[..., new]).abs().max() > 1e-3


def test_ways_and_shots_are_free() -> None:
    model = network()
    for ways, shots in [(2, 1), (5, 3)]:
        sx, sy, qx, _ = task(ways=ways, shots=shots)
        scores = model.adapt(sx, sy)(qx)
        assert scores.shape == (2, 4, ways)
        # a class is described by a mean: every example twice says no more than once
        twice = model.adapt(sx.repeat(1, 2, 1), sy.repeat(1, 2))(qx)
        torch.testing.assert_close(twice, scores, atol=1e-12, rtol=0)


def test_the_learner_is_the_linear_classifier_that_was_emitted() -> None:
    model, (sx, sy, qx, _) = network(), task()
    w, b = model.weights(model.f(sx), sy)
    assert w.shape == (2, 3, 4) and b.shape == (2, 1, 3)
    scores = model.adapt(sx, sy)(qx)
    expected = torch.einsum("tkd,tqd->tqk", w, model.f(qx)) + b
    torch.testing.assert_close(scores, expected, atol=1e-12, rtol=0)


def test_the_weights_of_a_class_depend_on_its_rivals() -> None:
    model, (sx, sy, _, _) = network(), task()
    w, b = model.weights(model.f(sx), sy)
    sx[sy == 2] += 1
    moved, shifted = model.weights(model.f(sx), sy)
    assert ((w - moved).abs().amax(-1) > 1e-6).all()
    assert ((b - shifted).abs() > 1e-6).all()


def test_the_support_is_embedded_once() -> None:
    calls: list[int] = []

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return x

    model, (sx, sy, qx, qy) = HyperNetwork(Counting(), dim=5).double(), task()
    learner = model.adapt(sx, sy)
    learner(qx)
    learner(qx)
    assert calls == [12, 8, 8]
    model.loss(sx, sy, qx, qy)
    assert calls[3:] == [20], "support and query share a pass, and so batch norm's statistics"


def test_a_class_without_support_is_named() -> None:
    sx, sy, qx, qy = task()
    sy[1][sy[1] == 1] = 2
    for call in (lambda: network().adapt(sx, sy), lambda: network().loss(sx, sy, qx, qy)):
        with pytest.raises(ValueError, match="class 1 of task 1 has no support example"):
            call()


def test_numbers_above_n_change_no_weights() -> None:
    """Where the number of classes is not read, that of the examples stands for it: r is of the classes there are."""
    model, (sx, sy, _, _) = network(), task(shots=3)
    z = model.f(sx)
    for few, many in zip(model.weights(z, sy), model.weights(z, sy, 9), strict=True):
        many = many[:, :3] if few.shape[1] == 3 else many[..., :3]
        torch.testing.assert_close(many, few, atol=1e-12, rtol=0)
