from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import gradients_agree, task, tasks_are_independent
from torch import Tensor, nn

from mlbook.metric import MatchingNetwork, PrototypicalNetwork
from mlbook.nets import MLP, Conv4

both = pytest.mark.parametrize("full_context", [False, True], ids=["plain", "fce"])


def network(full_context: bool = False, steps: int = 3) -> MatchingNetwork:
    torch.manual_seed(0)
    model = MatchingNetwork(MLP(5, 7, 4), full_context, dim=4, steps=steps, scale=3.0).double()
    for name, p in model.named_parameters():  # LSTMs start small: make what they say count
        if "lstm" in name:
            p.data *= 3
    return model


def answer(model: MatchingNetwork, *inputs: Tensor) -> Tensor:
    sx, sy, qx = inputs
    with torch.no_grad():
        return model.adapt(sx, sy)(qx)


# --- the definition, again in NumPy, with loops ------------------------------------------------


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def lstm_step(
    x: np.ndarray, hidden: np.ndarray, c: np.ndarray, w: np.ndarray, u: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One step of an LSTM with its four gates written out; `hidden` may be wider than the cell c."""
    d = len(c)
    row = [
        slice(k * d, (k + 1) * d) for k in range(4)
    ]  # torch's order: input, forget, cell, output
    write = sigmoid(w[row[0]] @ x + u[row[0]] @ hidden + b[row[0]])
    keep = sigmoid(w[row[1]] @ x + u[row[1]] @ hidden + b[row[1]])
    new = np.tanh(w[row[2]] @ x + u[row[2]] @ hidden + b[row[2]])
    out = sigmoid(w[row[3]] @ x + u[row[3]] @ hidden + b[row[3]])
    c = keep * c + write * new
    return out * np.tanh(c), c


def weights(model: MatchingNetwork) -> dict[str, np.ndarray]:
    return {k: v.detach().numpy() for k, v in model.state_dict().items()}


def g_by_hand(model: MatchingNetwork, z: np.ndarray) -> np.ndarray:
    """Appendix A.2: both directions, one example after the other, from zero states; `z [S, D]`."""
    parts, at = [z], weights(model)
    for suffix, order in (("", range(len(z))), ("_reverse", range(len(z) - 1, -1, -1))):
        w, u = at[f"g_lstm.weight_ih_l0{suffix}"], at[f"g_lstm.weight_hh_l0{suffix}"]
        b = at[f"g_lstm.bias_ih_l0{suffix}"] + at[f"g_lstm.bias_hh_l0{suffix}"]
        h = c = np.zeros(z.shape[1])
        states = np.empty_like(z)
        for i in order:
            h, c = lstm_step(z[i], h, c, w, u, b)
            states[i] = h
        parts.append(states)
    return np.sum(parts, axis=0)


def f_by_hand(
    model: MatchingNetwork, z: np.ndarray, g: np.ndarray, add: bool = False
) -> np.ndarray:
    """Appendix A.1 for one query `z [D]`: x is f'(x) alone, and the hidden state is [h, r].

    The matrix for [h, r] is the one for h with that for r beside it. With `add`, the hidden state is
    h + r instead, as some reproductions have it.
    """
    at, d = weights(model), len(z)
    w, of_r = np.split(at["f_lstm.weight_ih"], 2, axis=1)
    of_h, b = at["f_lstm.weight_hh"], at["f_lstm.bias_ih"] + at["f_lstm.bias_hh"]
    h = c = np.zeros(d)
    for _ in range(model.steps):
        r = softmax(np.array([h @ example for example in g])) @ g
        hidden, u = (h + r, of_h) if add else (np.concatenate([h, r]), np.hstack([of_h, of_r]))
        h, c = lstm_step(z, hidden, c, w, u, b)
        h = h + z
    return h


def by_hand(model: MatchingNetwork, sx: Tensor, sy: Tensor, qx: Tensor) -> np.ndarray:
    """P(y | x, S) `[T, Q, N]`, a sum over the support examples."""
    with torch.no_grad():
        support, query, labels = model.embed(sx).numpy(), model.embed(qx).numpy(), sy.numpy()
    p, s = np.zeros((len(query), query.shape[1], labels.max() + 1)), model.log_s.exp().item()
    for t, q in np.ndindex(*p.shape[:2]):
        g, f = support[t], query[t, q]
        if model.full_context:
            g = g_by_hand(model, g)
            f = f_by_hand(model, f, g)
        cosine = np.array([f @ x / np.sqrt(f @ f) / np.sqrt(x @ x) for x in g])
        for weight, label in zip(softmax(s * cosine), labels[t], strict=True):
            p[t, q, label] += weight
    return p


# --- what the method computes -------------------------------------------------------------------


def test_attention_is_that_of_a_hand_calculation() -> None:
    """Cosines 1, 0 and .6 of a query along the first axis, s = 2: weights e^2 : 1 : e^1.2."""
    model = MatchingNetwork(nn.Identity(), scale=2.0)
    sx = torch.tensor([[[5.0, 0.0], [0.0, 1.0], [3.0, 4.0]]])
    qx = torch.tensor([[[0.1, 0.0]]])
    total = math.exp(2) + 1 + math.exp(1.2)
    expected = [math.exp(2) / total, 1 / total, math.exp(1.2) / total]
    assert model.log_a(qx, sx).exp()[0, 0].tolist() == pytest.approx(expected, abs=1e-6)
    # labels 0, 1, 1: the second and the third example vote for the same class
    p = model.adapt(sx, torch.tensor([[0, 1, 1]]))(qx).exp()[0, 0]
    assert p.tolist() == pytest.approx([expected[0], expected[1] + expected[2]], abs=1e-6)


@both
@given(ways=st.integers(2, 6), shots=st.integers(1, 4), seed=st.integers(0, 1000))
def test_attention_and_answers_sum_to_one(
    full_context: bool, ways: int, shots: int, seed: int
) -> None:
    model, (sx, sy, qx, _) = network(full_context), task(2, ways, shots, seed=seed)
    with torch.no_grad():
        g = model.g(model.embedded(sx))
        a = model.log_a(model.f(model.embedded(qx), g), g).exp()
    assert a.shape == (2, 4, ways * shots)
    assert (a > 0).all()
    assert torch.allclose(a.sum(-1), torch.ones(2, 4).double(), atol=1e-12)
    p = answer(model, sx, sy, qx).exp()
    assert p.shape == (2, 4, ways)
    assert torch.allclose(p.sum(-1), torch.ones(2, 4).double(), atol=1e-12)


@both
def test_answers_and_loss_are_those_of_the_definition(full_context: bool) -> None:
    model, (sx, sy, qx, qy) = network(full_context), task()
    p = by_hand(model, sx, sy, qx)
    np.testing.assert_allclose(answer(model, sx, sy, qx).exp(), p, atol=1e-12)
    picked = np.take_along_axis(p, qy.numpy()[..., None], -1)
    loss = model.loss(sx, sy, qx, qy).item()
    assert loss == pytest.approx(-np.log(picked).mean(), abs=1e-12)
    assert model.metrics["accuracy"].item() == pytest.approx((p.argmax(-1) == qy.numpy()).mean())
    # a cross-entropy that takes the probabilities for logits is something else
    twice = nn.functional.cross_entropy(torch.tensor(p).flatten(0, 1), qy.flatten()).item()
    assert abs(loss - twice) > 1e-2


@both
@given(sizes=st.lists(st.integers(1, 4), min_size=2, max_size=5), seed=st.integers(0, 1000))
def test_classes_may_differ_in_size(full_context: bool, sizes: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sy = torch.cat([torch.full((n,), k) for k, n in enumerate(sizes)])
    sy = sy[torch.randperm(len(sy), generator=generator)][None]
    sx = torch.randn(1, sy.shape[1], 5, dtype=torch.float64, generator=generator)
    qx = torch.randn(1, 3, 5, dtype=torch.float64, generator=generator)
    model = network(full_context)
    np.testing.assert_allclose(
        answer(model, sx, sy, qx).exp(), by_hand(model, sx, sy, qx), atol=1e-12
    )


@pytest.mark.parametrize("ways", [5, 20])
def test_a_cosine_without_scale_cannot_be_sure(ways: int) -> None:
    """Both bounds are reached: all others opposite, and (what a ReLU leaves) all others orthogonal."""
    model = MatchingNetwork(nn.Identity(), scale=1.0).double()
    labels = torch.arange(ways)[None]
    axes = torch.eye(ways, dtype=torch.float64)[None]
    opposite = -axes[:, :1].repeat(1, ways, 1)
    opposite[:, 0] = axes[:, 0]
    e = math.e
    bound, rectified = e / (e + (ways - 1) / e), e / (e + ways - 1)
    assert (round(bound, 3), round(rectified, 3)) == {5: (0.649, 0.405), 20: (0.28, 0.125)}[ways]
    for support, limit in ((opposite, bound), (axes, rectified)):
        p = model.adapt(support, labels)(axes[:, :1]).exp()
        assert p.max().item() == pytest.approx(limit, abs=1e-12)
    sure = MatchingNetwork(nn.Identity(), scale=10.0).double()
    assert sure.adapt(opposite, labels)(axes[:, :1]).exp().max() > 0.99


@given(ways=st.integers(2, 20), seed=st.integers(0, 1000), s=st.floats(0.1, 20))
def test_no_answer_is_surer_than_the_bound(ways: int, seed: int, s: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    model = MatchingNetwork(nn.Identity(), scale=s).double()
    s = model.log_s.exp().item()  # which is stored in single precision
    sx, qx = (torch.randn(1, n, 3, dtype=torch.float64, generator=generator) for n in (ways, 8))
    sy = torch.arange(ways)[None]
    for x, q, low in ((sx, qx, -s), (sx.relu(), qx.relu(), 0.0)):
        limit = math.exp(s) / (math.exp(s) + (ways - 1) * math.exp(low))
        assert answer(model, x, sy, q).exp().max() <= limit + 1e-12


# --- full context embeddings ---------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_full_context_is_the_appendix_step_by_step(steps: int) -> None:
    model, (sx, _, qx, _) = network(True, steps), task()
    with torch.no_grad():
        zs, zq = model.embedded(sx), model.embedded(qx)
        g = model.g(zs)
        f = model.f(zq, g)
    for t in range(2):
        np.testing.assert_allclose(g[t], g_by_hand(model, zs[t].numpy()), atol=1e-12)
        for q in range(4):
            expected = f_by_hand(model, zq[t, q].numpy(), g[t].numpy())
            np.testing.assert_allclose(f[t, q], expected, atol=1e-12)


def test_adding_the_reading_to_the_state_is_another_model() -> None:
    model, (sx, _, qx, _) = network(True), task()
    with torch.no_grad():
        z, g = model.embedded(qx), model.g(model.embedded(sx))
        f = model.f(z, g)
    added = f_by_hand(model, z[0, 0].numpy(), g[0].numpy(), add=True)
    assert np.abs(f[0, 0].numpy() - added).max() > 1e-2


def test_the_first_reading_is_the_mean_of_the_support() -> None:
    """With h_0 = 0 all products are 0 and the attention is even: one step reads only the mean."""
    model, (sx, _, qx, _) = network(True, steps=1), task()
    with torch.no_grad():
        z, g = model.embedded(qx), model.g(model.embedded(sx))
        even = g.mean(1, keepdim=True)
        assert torch.allclose(model.f(z, g), model.f(z, even), atol=1e-12)
        assert not torch.allclose(network(True, 2).f(z, g), network(True, 2).f(z, even), atol=1e-3)


def test_the_reading_is_a_dot_product_and_the_kernel_a_cosine() -> None:
    """Stretching g changes what f reads; stretching both f and g leaves the kernel as it is."""
    model, (sx, _, qx, _) = network(True), task()
    with torch.no_grad():
        z, g = model.embedded(qx), model.g(model.embedded(sx))
        stretched = g.clone()
        stretched[:, 0] *= 4
        assert not torch.allclose(model.f(z, g), model.f(z, stretched), atol=1e-3)
        assert torch.allclose(model.log_a(z, g), model.log_a(5 * z, stretched), atol=1e-12)


# --- symmetries -----------------------------------------------------------------------------------


@given(ways=st.integers(2, 6), shots=st.integers(1, 4), seed=st.integers(0, 1000))
def test_the_order_of_the_support_does_not_matter(ways: int, shots: int, seed: int) -> None:
    model, (sx, sy, qx, _) = network(), task(1, ways, shots, seed=seed)
    order = torch.randperm(ways * shots, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(
        answer(model, sx, sy, qx), answer(model, sx[:, order], sy[:, order], qx), atol=1e-12
    )


def test_the_order_of_the_support_matters_with_full_context() -> None:
    """It is the LSTM over the support that does it: the reading f, for a given g, does not mind."""
    model, (sx, sy, qx, _) = network(True), task(shots=1)
    order = torch.tensor([2, 0, 1])
    turned = answer(model, sx[:, order], sy[:, order], qx)
    assert not torch.allclose(answer(model, sx, sy, qx), turned, atol=1e-3)
    with torch.no_grad():
        z, g = model.embedded(qx), model.g(model.embedded(sx))
        assert torch.allclose(model.f(z, g), model.f(z, g[:, order]), atol=1e-12)
        # and the order in which one direction reads alone is not undone by the other
        assert not torch.allclose(g[:, order], model.g(model.embedded(sx[:, order])), atol=1e-3)


@both
def test_queries_do_not_see_each_other(full_context: bool) -> None:
    model, (sx, sy, qx, _) = network(full_context), task(queries=6)
    few = answer(model, sx, sy, qx[:, :2])
    assert torch.allclose(answer(model, sx, sy, qx)[:, :2], few, atol=1e-12)


@both
def test_relabelling_the_classes_permutes_the_answers(full_context: bool) -> None:
    """Also with full context: the LSTMs see pictures, not labels."""
    model, (sx, sy, qx, _) = network(full_context), task()
    permutation = torch.tensor([2, 0, 1])
    relabelled = answer(model, sx, permutation[sy], qx)
    assert torch.allclose(relabelled[..., permutation], answer(model, sx, sy, qx), atol=1e-12)


def test_one_shot_is_prototypical_with_cosine() -> None:
    model, (sx, sy, qx, _) = network(), task(shots=1)
    prototypical = PrototypicalNetwork(model.embed, "cosine", scale=3.0)
    logits = prototypical.adapt(sx, sy)(qx)
    assert torch.allclose(logits.log_softmax(-1), model.adapt(sx, sy)(qx), atol=1e-12)
    sx, sy, qx, _ = task(shots=2)  # with two shots they part
    logits = prototypical.adapt(sx, sy)(qx)
    assert not torch.allclose(logits.log_softmax(-1), model.adapt(sx, sy)(qx), atol=1e-3)


@both
def test_tasks_at_once_equal_tasks_one_by_one_in_eval_mode(full_context: bool) -> None:
    torch.manual_seed(0)
    model = MatchingNetwork(Conv4(hidden=8), full_context, dim=8).double()
    sx, qx = torch.rand(3, 5, 1, 28, 28).double(), torch.rand(3, 4, 1, 28, 28).double()
    sy = torch.stack([torch.randperm(5) for _ in range(3)])
    model.embed(qx[0])  # running statistics of a network that has seen something
    tasks_are_independent(model, sx, sy, qx)


# --- gradients, cost, mistakes ----------------------------------------------------------------------


@both
def test_gradients_by_finite_differences(full_context: bool) -> None:
    torch.manual_seed(0)
    model = MatchingNetwork(MLP(5, 7, 4), full_context, dim=4).double()
    sx, sy, qx, qy = task()
    gradient = gradients_agree(model, sx, sy, qx, qy)
    assert len(gradient) == (17 if full_context else 5)


def test_a_given_scale_stays_and_another_is_learned() -> None:
    sx, sy, qx, qy = task()
    given_scale, learned = network(), MatchingNetwork(MLP(5, 7, 4)).double()
    for model in (given_scale, learned):
        model.loss(sx, sy, qx, qy).backward()
    assert given_scale.log_s.grad is None
    assert given_scale.log_s.exp().item() == pytest.approx(3)
    assert learned.log_s.grad is not None and learned.log_s.grad.abs() > 0
    assert learned.log_s.exp().item() == pytest.approx(10)


@both
def test_the_support_is_embedded_once(full_context: bool) -> None:
    calls = []

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return x

    sx, sy, qx, _ = task()
    model = MatchingNetwork(Counting(), full_context, dim=5).double()
    if full_context:
        model.g_lstm.register_forward_hook(lambda *_: calls.append(0))
    learner = model.adapt(sx, sy)
    learner(qx)
    learner(qx)
    assert calls == ([12, 0, 8, 8] if full_context else [12, 8, 8])


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="steps=0"):
        MatchingNetwork(nn.Identity(), True, steps=0)
    with pytest.raises(ValueError, match="scale=-1"):
        MatchingNetwork(nn.Identity(), scale=-1.0)
