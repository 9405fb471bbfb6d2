from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from oracles import gradients_agree, task, tasks_are_independent
from torch import Tensor, nn

from mlbook import evaluate
from mlbook.model_based import MetaNetwork
from mlbook.model_based.meta_network import augmented, prepared
from mlbook.nets import Conv4

WAYS, HIDDEN, UNITS = 3, 8, 5
shots = pytest.mark.parametrize("shots", [1, 2])


def network(fast_embedding: bool = True, fast_base: bool = True) -> MetaNetwork:
    """On a trunk from 5 to 6 numbers; its fast weights are as large as its slow ones."""
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(5, 6), nn.Tanh())
    model = MetaNetwork(trunk, 6, WAYS, HIDDEN, UNITS, fast_embedding, fast_base).double()
    for part in (model.d, model.m):
        for p in part.parameters():
            p.data *= 1.7
    return model


def answer(model: MetaNetwork, *inputs: Tensor) -> Tensor:
    sx, sy, qx = inputs
    with torch.no_grad():
        return model.adapt(sx, sy)(qx)


def frozen(model: MetaNetwork, sx: Tensor, sy: Tensor) -> Callable[..., float]:
    """The loss as a function of the parameters with the gradients of the support held where they are now."""
    with torch.no_grad():
        z = model.features(sx)
        embedding, base = model.embedding_gradients(z, sy), model.task_gradients(z, sy)

    def loss(*batch: Tensor) -> Tensor:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MetaNetwork, "embedding_gradients", lambda *_: embedding.clone())
            patch.setattr(MetaNetwork, "task_gradients", lambda *_: base.clone())
            return model.loss(*batch)

    return loss  # type: ignore[return-value]


# --- the definition, again in NumPy, with loops ------------------------------------------------


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    return float(x @ y / np.sqrt(x @ x) / np.sqrt(y @ y))


def weights(model: MetaNetwork) -> dict[str, np.ndarray]:
    return {k: v.detach().numpy() for k, v in model.state_dict().items()}


def perceptron(z: np.ndarray, layers: list[list[np.ndarray]]) -> np.ndarray:
    """Every layer a list of matrices, whose outputs are added: after ReLU, except at the end."""
    *inner, last = layers
    for matrices in inner:
        z = sum((relu(w @ z) for w in matrices), np.zeros(1))
    return sum((w @ z for w in last), np.zeros(1))


def entropy_gradient(
    z: np.ndarray, y: int, w1: np.ndarray, w2: np.ndarray, v: np.ndarray | None = None
) -> np.ndarray:
    """By hand: of the cross-entropy of (v) w2 relu(w1 z), by w1 and w2, one after the other."""
    h = relu(w1 @ z)
    scores = w2 @ h if v is None else v @ (w2 @ h)
    error = softmax(scores) - np.eye(len(scores))[y]
    error = error if v is None else v.T @ error
    back = (w2.T @ error) * (h > 0)
    return np.concatenate([np.outer(back, z).ravel(), np.outer(error, h).ravel()])


def as_inputs(g: float) -> np.ndarray:
    """Preprocessing with p = 7, case by case."""
    if abs(g) >= math.exp(-7):
        return np.array([math.log(abs(g)) / 7, np.sign(g)])
    return np.array([-1.0, math.exp(7) * g])


def d_by_hand(model: MetaNetwork, gradients: list[np.ndarray]) -> np.ndarray:
    """An LSTM over the examples for every coordinate; torch's order is input, forget, cell, output."""
    at = weights(model)
    w, u = at["d.0.weight_ih_l0"], at["d.0.weight_hh_l0"]
    bias = at["d.0.bias_ih_l0"] + at["d.0.bias_hh_l0"]
    out = np.empty_like(gradients[0])
    for coordinate in range(len(out)):
        h = c = np.zeros(UNITS)
        for g in gradients:
            gates = (w @ as_inputs(g[coordinate]) + u @ h + bias).reshape(4, UNITS)
            c = sigmoid(gates[1]) * c + sigmoid(gates[0]) * np.tanh(gates[2])
            h = sigmoid(gates[3]) * np.tanh(c)
        out[coordinate] = (at["d.1.weight"] @ h + at["d.1.bias"])[0]
    return out


def m_by_hand(model: MetaNetwork, g: np.ndarray) -> np.ndarray:
    at, out = weights(model), np.empty_like(g)
    for coordinate in range(len(g)):
        h = relu(at["m.0.weight"] @ as_inputs(g[coordinate]) + at["m.0.bias"])
        h = relu(at["m.2.weight"] @ h + at["m.2.bias"])
        out[coordinate] = (at["m.4.weight"] @ h + at["m.4.bias"])[0]
    return out


def beside(slow: list[np.ndarray], fast: np.ndarray) -> list[list[np.ndarray]]:
    first, second = np.split(fast, [slow[0].size])
    return [[slow[0], first.reshape(slow[0].shape)], [slow[1], second.reshape(slow[1].shape)]]


def by_hand(model: MetaNetwork, sx: Tensor, sy: Tensor, qx: Tensor) -> np.ndarray:
    """Algorithm 1 up to the logits `[T, Q, N]`; the gradients of a contrastive loss are taken from the model."""
    at, scores = weights(model), np.empty((*qx.shape[:2], WAYS))
    with torch.no_grad():
        support, query = model.trunk(sx).numpy(), model.trunk(qx).numpy()
        pairs = model.embedding_gradients(model.features(sx), sy).numpy()
    Q, W = ([at[f"{name}.0.weight"], at[f"{name}.2.weight"]] for name in "QW")
    for t in range(len(sx)):
        examples = list(zip(support[t], sy[t].tolist(), strict=True))
        if len(examples) == WAYS:
            nabla = [entropy_gradient(z, y, *Q, at["V.weight"]) for z, y in examples]
        else:
            nabla = list(pairs[t])
        u = beside(Q, d_by_hand(model, nabla))
        keys = [perceptron(z, u) for z, _ in examples]
        memory = [m_by_hand(model, entropy_gradient(z, y, *W)) for z, y in examples]
        for q, z in enumerate(query[t]):
            a = softmax(np.array([cosine(perceptron(z, u), key) for key in keys]))
            read = np.sum([weight * w for weight, w in zip(a, memory, strict=True)], 0)
            scores[t, q] = perceptron(z, beside(W, read))
    return scores


def contrastive_loss(
    z: np.ndarray, other: np.ndarray, same: bool, w1: np.ndarray, w2: np.ndarray
) -> float:
    distance = math.sqrt(2 - 2 * cosine(w2 @ relu(w1 @ z), w2 @ relu(w1 @ other)))
    return distance**2 if same else max(0.0, 1 - distance) ** 2


# --- what the method computes -------------------------------------------------------------------


def test_preprocessing() -> None:
    """p = 7: log-magnitude and sign from e^-7 on, below it -1 and the gradient itself, enlarged."""
    g = [1.0, math.e, -math.exp(-3.5), 0.0, -math.exp(-8), math.exp(-9)]
    expected = [[0, 1], [1 / 7, 1], [-0.5, -1], [-1, 0], [-1, -math.exp(-1)], [-1, math.exp(-2)]]
    got = prepared(torch.tensor(g, dtype=torch.float64))
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=0)
    assert prepared(torch.zeros(2, 3)).shape == (2, 3, 2)


@shots
def test_the_answers_are_those_of_the_algorithm_step_by_step(shots: int) -> None:
    model, (sx, sy, qx, qy) = network(), task(t=2, ways=WAYS, shots=shots)
    scores = answer(model, sx, sy, qx)
    expected = by_hand(model, sx, sy, qx)
    np.testing.assert_allclose(scores.numpy(), expected, atol=1e-10)
    losses = [-math.log(softmax(expected[t, q])[qy[t, q]]) for t, q in np.ndindex(2, 4)]
    assert model.loss(sx, sy, qx, qy).item() == pytest.approx(np.mean(losses), abs=1e-10)
    right = expected.argmax(-1) == qy.numpy()
    assert model.metrics["accuracy"].item() == pytest.approx(right.mean())


def test_the_gradients_of_one_example_a_class_are_those_of_cross_entropies() -> None:
    model, (sx, sy, _, _) = network(), task(ways=WAYS, shots=1)
    at = weights(model)
    with torch.no_grad():
        z = model.features(sx)
        embedding, base = model.embedding_gradients(z, sy), model.task_gradients(z, sy)
    for t, i in np.ndindex(*sy.shape):
        x, y = z[t, i].numpy(), int(sy[t, i])
        by_q = entropy_gradient(x, y, at["Q.0.weight"], at["Q.2.weight"], at["V.weight"])
        by_w = entropy_gradient(x, y, at["W.0.weight"], at["W.2.weight"])
        np.testing.assert_allclose(embedding[t, i].numpy(), by_q, atol=1e-12)
        np.testing.assert_allclose(base[t, i].numpy(), by_w, atol=1e-12)


def test_the_gradients_of_more_examples_are_those_of_a_contrastive_loss() -> None:
    """Each example with the next and the last with the first; by central differences of a loss in NumPy."""
    model, (sx, sy, _, _) = network(), task(ways=WAYS, shots=3)
    at = weights(model)
    sizes = at["Q.0.weight"].shape, at["Q.2.weight"].shape
    flat = np.concatenate([at["Q.0.weight"].ravel(), at["Q.2.weight"].ravel()])
    first = at["Q.0.weight"].size
    with torch.no_grad():
        z = model.features(sx)
        got = model.embedding_gradients(z, sy).numpy()
    kinds = set()
    for t, i in np.ndindex(*sy.shape):
        j = (i + 1) % sy.shape[1]
        same = bool(sy[t, i] == sy[t, j])
        kinds.add((same, np.abs(got[t, i]).max() > 0))
        for k in range(0, len(flat), 3):
            value = []
            for step in (1e-6, -1e-6):
                moved = flat.copy()
                moved[k] += step
                w1, w2 = moved[:first].reshape(sizes[0]), moved[first:].reshape(sizes[1])
                value.append(contrastive_loss(z[t, i].numpy(), z[t, j].numpy(), same, w1, w2))
            assert got[t, i, k] == pytest.approx((value[0] - value[1]) / 2e-6, abs=1e-7)
    assert {(True, True), (False, True)} <= kinds, "both kinds of pairs must pull or push"


def test_two_examples_that_are_the_same_picture_have_gradients() -> None:
    """Their distance is 0, where a square root has no slope."""
    model, (sx, sy, qx, qy) = network(), task(ways=WAYS, shots=2)
    sx[:] = sx[:, :1]
    model.loss(sx, sy, qx, qy).backward()
    for p in model.parameters():
        assert p.grad is None or p.grad.isfinite().all()
    with torch.no_grad():
        assert model.embedding_gradients(model.features(sx), sy).isfinite().all()


def test_attention_is_a_softmax_of_cosines() -> None:
    model, (sx, sy, qx, _) = network(), task(t=2, ways=WAYS, shots=2)
    with torch.no_grad():
        z = model.features(qx)
        fast, _, keys = model.learn(model.features(sx), sy)
        a, r = model.attention(z, fast, keys), augmented(z, model.Q.parameters(), fast)
    assert a.shape == (2, 4, 6)
    for t, q in np.ndindex(2, 4):
        cosines = np.array([cosine(r[t, q].numpy(), key.numpy()) for key in keys[t]])
        np.testing.assert_allclose(a[t, q].numpy(), softmax(cosines), atol=1e-12)


@shots
def test_without_fast_weights_it_is_the_slow_network(shots: int) -> None:
    model, (sx, sy, qx, _) = network(), task(ways=WAYS, shots=shots)
    slow = model.W(model.trunk(qx)).detach()
    assert (answer(model, sx, sy, qx) - slow).abs().min() > 1e-3
    for last in (model.d[-1], model.m[-1]):
        last.weight.data.zero_()
        last.bias.data.zero_()
    torch.testing.assert_close(answer(model, sx, sy, qx), slow, atol=1e-14, rtol=0)
    with torch.no_grad():
        z = model.features(sx)
        fast, memory, keys = model.learn(z, sy)
        assert fast is not None and memory is not None
        assert not fast.any() and not memory.any()
        torch.testing.assert_close(keys, model.Q(z), atol=1e-14, rtol=0)
    for part in (True, False):  # a part left out is a part whose fast weights are zero
        left_out, zero = network(fast_embedding=part, fast_base=not part), network()
        last = (zero.m if part else zero.d)[-1]
        last.weight.data.zero_()
        last.bias.data.zero_()
        a, b = answer(left_out, sx, sy, qx), answer(zero, sx, sy, qx)
        torch.testing.assert_close(a, b, atol=1e-14, rtol=0)


def test_slow_and_fast_weights_are_augmented_layer_by_layer() -> None:
    """relu(w h) + relu(w* h) and at the end a plain sum, with numbers small enough to follow."""
    w1, w2 = torch.tensor([[1.0, 0.0], [0.0, -1.0]]), torch.tensor([[1.0, -2.0]])
    fast = torch.tensor([-3.0, 0.0, 2.0, 1.0, 0.5, 0.25])  # [[-3, 0], [2, 1]] and [[.5, .25]]
    h = torch.tensor([1.0, 1.0])
    # slow: relu(1, -1) = (1, 0); fast: relu(-3, 3) = (0, 3); together (1, 3)
    assert augmented(h, [w1, w2], fast).tolist() == [1 - 6 + 0.5 + 0.75]
    assert augmented(h, [w1, w2]).tolist() == [1.0]


def test_the_memory_holds_every_example_for_itself() -> None:
    """What is written for an example depends on no other, the embedding's fast weights on each."""
    model, (sx, sy, _, _) = network(), task(ways=WAYS, shots=1)
    with torch.no_grad():
        fast, memory, _ = model.learn(model.features(sx), sy)
        assert fast is not None and memory is not None
        for i in range(WAYS):
            other = sx.clone()
            other[:, i] += 0.3
            changed, rewritten, _ = model.learn(model.features(other), sy)
            assert changed is not None and rewritten is not None
            rows = (rewritten - memory).abs().amax(-1) > 1e-9
            assert (rows == (torch.arange(WAYS) == i)).all()
            assert ((changed - fast).abs().amax(-1) > 1e-9).all()


@shots
def test_hidden_units_have_no_order(shots: int) -> None:
    """d and m treat every coordinate alike: renaming the hidden units of u and b renames their fast weights too."""
    model, (sx, sy, qx, _) = network(), task(ways=WAYS, shots=shots)
    before = answer(model, sx, sy, qx)
    order = torch.tensor([2, 7, 0, 3, 5, 1, 6, 4])
    for part in (model.Q, model.W):
        part[0].weight.data = part[0].weight.data[order]
        part[2].weight.data = part[2].weight.data[:, order]
    torch.testing.assert_close(answer(model, sx, sy, qx), before, atol=1e-12, rtol=0)
    model.Q[2].weight.data = model.Q[2].weight.data[order]  # and the entries of r
    model.V.weight.data = model.V.weight.data[:, order]
    torch.testing.assert_close(answer(model, sx, sy, qx), before, atol=1e-12, rtol=0)


@shots
@pytest.mark.parametrize("fast_embedding", [True, False])
def test_the_order_of_the_support_matters_only_through_the_lstm(
    fast_embedding: bool, shots: int
) -> None:
    model, (sx, sy, qx, _) = network(fast_embedding), task(ways=WAYS, shots=shots)
    before = answer(model, sx, sy, qx)
    order = torch.arange(WAYS * shots).roll(1)  # neighbours stay neighbours, and so the same pairs
    moved = (answer(model, sx[:, order], sy[:, order], qx) - before).abs().max()
    assert moved > 1e-6 if fast_embedding else moved < 1e-12


def test_without_the_fast_weights_of_the_base_no_label_is_seen() -> None:
    sx, sy, qx, _ = task(ways=WAYS, shots=1)
    blind, seeing = network(fast_base=False), network()
    other = (sy + 1) % WAYS
    assert torch.equal(answer(blind, sx, sy, qx), answer(blind, sx, other, qx))
    assert (answer(seeing, sx, sy, qx) - answer(seeing, sx, other, qx)).abs().max() > 1e-3


# --- how it learns ------------------------------------------------------------------------------


@shots
def test_gradients_by_finite_differences_with_the_support_gradients_held_fixed(shots: int) -> None:
    model, batch = network(), task(ways=WAYS, shots=shots)
    fixed = frozen(model, *batch[:2])
    found = gradients_agree(model, *batch, value=lambda: fixed(*batch).item())  # type: ignore[attr-defined]
    assert all(g.abs().max() > 0 for g in found.values()), "all that is learned must be reached"
    assert {k.split(".")[0] for k in found} == {"trunk", "Q", "W", "d", "m"}
    # the loss itself moves otherwise, by second derivatives that the method leaves out
    value, slope = [], found["W.2.weight"][0].sum().item()
    for step in (1e-6, -1e-6):
        model.W[2].weight.data[0] += step
        value.append(model.loss(*batch).item())
        model.W[2].weight.data[0] -= step
    assert abs((value[0] - value[1]) / 2e-6 - slope) > 1e-3


@shots
def test_the_gradients_of_the_support_are_constants(shots: int) -> None:
    """The gradient of the loss is the same when numbers stand in their place."""
    model, batch = network(), task(ways=WAYS, shots=shots)
    z = model.features(batch[0])
    assert not model.embedding_gradients(z, batch[1]).requires_grad
    assert not model.task_gradients(z, batch[1]).requires_grad
    learned = [p for p in model.parameters() if p.requires_grad]
    got = torch.autograd.grad(model.loss(*batch), learned)
    expected = torch.autograd.grad(frozen(model, *batch[:2])(*batch), learned)  # type: ignore[arg-type]
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-14, rtol=0)


@shots
def test_adapt_under_no_grad_is_adapt(shots: int) -> None:
    model, (sx, sy, qx, _) = network(), task(ways=WAYS, shots=shots)
    with_gradients = model.adapt(sx, sy)(qx)
    assert with_gradients.requires_grad
    silent = answer(model, sx, sy, qx)
    assert not silent.requires_grad
    assert torch.equal(silent, with_gradients)


@shots
@pytest.mark.parametrize("flags", [(True, True), (False, True), (True, False)])
def test_tasks_at_once_equal_tasks_one_by_one(shots: int, flags: tuple[bool, bool]) -> None:
    sx, sy, qx, qy = task(t=3, ways=WAYS, shots=shots)
    model = network(*flags)
    model.trunk = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh()).double()
    model.loss(sx, sy, qx, qy)  # which moves the running statistics
    tasks_are_independent(model, sx, sy, qx)
    losses = [model.loss(*(x[i : i + 1] for x in (sx, sy, qx, qy))).item() for i in range(3)]
    assert model.loss(sx, sy, qx, qy).item() == pytest.approx(np.mean(losses), abs=1e-12)


@pytest.mark.parametrize(("ways", "examples"), [(5, 1), (5, 5), (2, 3)])
def test_pictures(ways: int, examples: int) -> None:
    torch.manual_seed(0)
    model = MetaNetwork(Conv4(hidden=8), dim=8, ways=ways)
    batch = [
        x.float() if x.is_floating_point() else x for x in task(2, ways, examples, 7, (1, 28, 28))
    ]
    model.loss(*batch).backward()
    scores = model.adapt(*batch[:2])(batch[2])
    assert scores.shape == (2, 7, ways) and scores.dtype == torch.float32
    assert evaluate(model, [tuple(batch)] * 2, n=2).n == 2  # type: ignore[arg-type]


def test_tasks_of_other_ways_are_refused() -> None:
    sx, sy, qx, qy = task(ways=2, shots=1)
    with pytest.raises(ValueError, match="tasks of 2 ways for a network of 3: set ways=2"):
        network().adapt(sx, sy)
    with pytest.raises(ValueError, match="set ways=2"):
        network().loss(sx, sy, qx, qy)
