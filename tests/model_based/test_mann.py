from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles import gradients_agree, task, tasks_are_independent
from torch import Tensor, nn

from mlbook.model_based import MANN, LSTMControl
from mlbook.nets import Conv4

Model = MANN | LSTMControl
State = tuple[np.ndarray, ...]


def network(lstm: bool = True, scale: float | None = None, gamma: float = 0.99) -> MANN:
    torch.manual_seed(0)
    embed = nn.Sequential(nn.Linear(5, 4), nn.Tanh())
    model = MANN(embed, 4, 3, 6, 9, 4, reads=2, lstm=lstm, scale=scale, gamma=gamma).double()
    return louder(model)


def control() -> LSTMControl:
    torch.manual_seed(0)
    return louder(LSTMControl(nn.Sequential(nn.Linear(5, 4), nn.Tanh()), 4, 3, 6).double())


def louder(model: Model) -> Model:
    """Larger weights: as they start, little changes from step to step."""
    with torch.no_grad():
        for p in model.parameters():
            p *= 3.0 if p.dim() else 1.0
    return model


MODELS: dict[str, Callable[[], Model]] = {
    "mann": network,
    "feed-forward": lambda: network(lstm=False),
    "as in the paper": lambda: network(scale=1.0),
    "control": control,
}
every_model = pytest.mark.parametrize("name", MODELS)


def sequences(length: int = 12, t: int = 2) -> tuple[Tensor, Tensor]:
    """T random sequences `[T, L, 5]` with labels `[T, L]`."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(t, length, 5, dtype=torch.float64, generator=generator)
    return x, torch.randint(3, (t, length), generator=generator)


# --- the definition, again in NumPy, head by head and slot by slot -------------------------------


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def start(model: MANN) -> State:
    h, r, memory, w_r, w_u = np.zeros(6), np.zeros((2, 4)), np.zeros((9, 4)), np.zeros((2, 9)), 1e-4
    return h, h, r, memory, w_r, w_u * np.arange(9)


def step(
    model: MANN, x: np.ndarray, label: int | None, state: State, fault: str = ""
) -> tuple[np.ndarray, State]:
    """Scores `[3]` of one picture beside one label (None: y_0), and the state after; a fault breaks a rule."""
    at = {name: p.detach().numpy() for name, p in model.named_parameters()}
    h, c, r, memory, w_r, w_u = state
    y = np.array([label == k for k in range(3)], dtype=float)
    f = np.tanh(at["embed.0.weight"] @ x + at["embed.0.bias"])
    gates = at["input.weight"] @ np.concatenate([f, y]) + at["input.bias"]
    if fault == "nothing read comes back":
        r = np.zeros_like(r)
    recurrent = np.concatenate([h, r.ravel()]) if model.lstm else r.ravel()
    gates = gates + at["recurrent.weight"] @ recurrent
    write, keep, out, new = gates[:6], gates[6:12], gates[12:18], gates[18:]
    c = sigmoid(keep) * (c if model.lstm else 0) + sigmoid(write) * np.tanh(new)
    h = sigmoid(out) * np.tanh(c)
    heads = (at["heads.weight"] @ h + at["heads.bias"]).reshape(2, 5)
    k, a = np.tanh(heads[:, :4]), sigmoid(heads[:, 4])

    least_used = np.zeros(9)
    for slot in range(9):
        rank = 2 if fault != "one slot" else 1
        least_used[slot] = w_u[slot] <= np.sort(w_u)[rank - 1]
    w_w = np.empty_like(w_r)
    for head in range(2):
        w_w[head] = a[head] * w_r[head] + (1 - a[head]) * least_used
        if fault == "gate the wrong way":
            w_w[head] = (1 - a[head]) * w_r[head] + a[head] * least_used
    memory, w_r, old = memory.copy(), w_r.copy(), memory
    if fault not in ("no erase", "erase after writing"):
        memory[np.argmin(w_u)] = 0
    for head in range(2):
        for slot in range(9):
            memory[slot] += w_w[head, slot] * k[head] if fault != "no write" else 0
    if fault == "erase after writing":
        memory[np.argmin(w_u)] = 0
    seen = old if fault == "read before writing" else memory
    for head in range(2):
        e = np.empty(9)
        for slot in range(9):
            length = np.sqrt(k[head] @ k[head]) * np.sqrt(seen[slot] @ seen[slot] + 1e-6)
            cosine = k[head] @ seen[slot] / (length if fault != "dot product" else 1)
            e[slot] = np.exp(np.exp(at["log_s"]) * cosine)
        w_r[head] = e / e.sum()
    r = w_r @ seen
    w_u = (model.gamma if fault != "usage does not decay" else 1) * w_u + w_r.sum(0)
    if fault != "usage without writes":
        w_u = w_u + w_w.sum(0)
    scores = at["output.weight"] @ np.concatenate([h, r.ravel()]) + at["output.bias"]
    return scores, (h, c, r, memory, w_r, w_u)


def by_hand(model: MANN, x: Tensor, y: Tensor, fault: str = "") -> tuple[np.ndarray, State]:
    """Scores `[L, 3]` of a sequence x `[L, 5]` with labels y `[L]`, and the state after it."""
    state, scores = start(model), []
    for t in range(len(x)):
        before = None if t == 0 else int(y[t - 1])
        answer, state = step(
            model, x[t].numpy(), int(y[t]) if fault == "label too early" else before, state, fault
        )
        scores.append(answer)
    return np.stack(scores), state


@pytest.mark.parametrize("name", ["mann", "feed-forward", "as in the paper"])
def test_a_sequence_step_by_step(name: str) -> None:
    model, (x, y) = MODELS[name](), sequences()
    assert isinstance(model, MANN)
    with torch.no_grad():
        scores, found = model.unroll(x, F.pad(F.one_hot(y, 3), (0, 0, 1, -1)))
        torch.testing.assert_close(model.sequence(x, y), scores, atol=0, rtol=0)
    for i in range(2):
        expected, (h, c, r, memory, w_r, w_u) = by_hand(model, x[i], y[i])
        np.testing.assert_allclose(scores[i], expected, atol=1e-11)
        np.testing.assert_allclose(found[0][i], np.concatenate([h, r.ravel()]), atol=1e-11)
        np.testing.assert_allclose(found[1][i], c, atol=1e-11)
        np.testing.assert_allclose(found[2][i].T, memory, atol=1e-11)
        np.testing.assert_allclose(found[3][i], w_r, atol=1e-11)
        np.testing.assert_allclose(found[4][i, 0], w_u, atol=1e-8)


@pytest.mark.parametrize(
    "fault",
    [
        *("no erase", "erase after writing", "no write", "one slot", "gate the wrong way"),
        *("read before writing", "dot product", "usage does not decay", "usage without writes"),
        *("label too early", "nothing read comes back"),
    ],
)
def test_every_rule_shows_in_the_answers(fault: str) -> None:
    """The test above would notice if one of them was broken."""
    gamma = 0.5 if fault == "usage does not decay" else 0.99
    model, (x, y) = network(gamma=gamma), sequences(length=30)
    with torch.no_grad():
        scores = model.sequence(x, y).numpy()
    right, wrong = (by_hand(model, x[0], y[0], f)[0] for f in ("", fault))
    np.testing.assert_allclose(scores[0], right, atol=1e-10)
    assert np.abs(scores[0] - wrong).max() > 1e-3


def test_the_first_step_writes_the_first_slots_and_no_other() -> None:
    """M_1 = sum over heads of (1 - σ(a)) k in the n least used slots, which are the first n."""
    model, (x, _) = network(), sequences(length=1)
    with torch.no_grad():
        _, (o, _, memory, w_r, _) = model.unroll(x, torch.zeros(2, 1, 3))
        k, a = model.heads(o[:, :6]).view(2, 2, 5).split([4, 1], 2)
    written = ((1 - a.sigmoid()) * k.tanh()).sum(1)
    torch.testing.assert_close(memory[..., :2], written[..., None].expand(-1, -1, 2))
    assert not memory[..., 2:].any()
    torch.testing.assert_close(o[:, 6:].view(2, 2, 4), w_r[..., :2].sum(2, True) * written[:, None])


def test_without_what_it_reads_it_is_the_control() -> None:
    model, plain, (x, y) = network(), control(), sequences()
    rows = torch.arange(24).view(4, 6)[[0, 1, 3, 2]].flatten()  # torch's gates: i, f, g, o
    with torch.no_grad():
        model.recurrent.weight[:, 6:] = model.output.weight[:, 6:] = 0
        plain.embed.load_state_dict(model.embed.state_dict())
        plain.lstm.weight_ih_l0.copy_(model.input.weight[rows])
        plain.lstm.weight_hh_l0.copy_(model.recurrent.weight[rows, :6])
        plain.lstm.bias_ih_l0.copy_(model.input.bias[rows])
        plain.lstm.bias_hh_l0.zero_()
        plain.output.weight.copy_(model.output.weight[:, :6])
        plain.output.bias.copy_(model.output.bias)
        torch.testing.assert_close(model.sequence(x, y), plain.sequence(x, y), atol=1e-12, rtol=0)


# --- what a sequence may depend on ---------------------------------------------------------------


@every_model
def test_a_label_changes_only_what_comes_after_it(name: str) -> None:
    model, (x, y) = MODELS[name](), sequences()
    with torch.no_grad():
        scores = model.sequence(x, y)
        for t in range(12):
            other = y.clone()
            other[:, t] = (y[:, t] + 1) % 3
            changed = (model.sequence(x, other) - scores).abs().amax((0, 2))
            assert not changed[: t + 1].any(), t
            assert t == 11 or changed[t + 1] > 1e-3, t


@every_model
def test_a_picture_changes_nothing_before_it(name: str) -> None:
    model, (x, y) = MODELS[name](), sequences()
    with torch.no_grad():
        scores = model.sequence(x, y)
        for t in range(12):
            other = x.clone()
            other[:, t] += 1
            changed = (model.sequence(other, y) - scores).abs().amax((0, 2))
            assert not changed[:t].any(), t
            assert changed[t] > 1e-3, t


@every_model
def test_nothing_is_left_of_the_last_episode(name: str) -> None:
    model, (x, y), (sx, sy, qx, qy) = MODELS[name](), sequences(), task()
    with torch.no_grad():
        before = model.sequence(x, y), model.adapt(sx, sy)(qx)
        model.loss(sx + 1, sy, qx, qy)
        model.adapt(sx + 1, sy)(qx)
        after = model.sequence(x, y), model.adapt(sx, sy)(qx)
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=0)


@every_model
def test_a_query_is_one_more_step_on_a_copy(name: str) -> None:
    """Each query is answered as if it came next, whatever was asked before it."""
    model, (sx, sy, qx, _) = MODELS[name](), task()
    with torch.no_grad():
        learner = model.adapt(sx, sy)
        model.adapt(sx + 1, sy)(qx)  # another task in between
        scores = learner(qx)
        for j in range(qx.shape[1]):
            x = torch.cat([sx, qx[:, j : j + 1]], 1)
            y = torch.cat([sy, torch.zeros(2, 1, dtype=torch.long)], 1)  # of the query: unused
            expected = model.sequence(x, y)[:, -1]
            torch.testing.assert_close(scores[:, j], expected, atol=1e-12, rtol=0)
        torch.testing.assert_close(learner(qx.flip(1)).flip(1), scores, atol=1e-12, rtol=0)
        reordered = model.adapt(sx.flip(1), sy.flip(1))(qx)
    assert (reordered - scores).abs().max() > 1e-3  # it is a sequence: its order counts


def test_a_query_step_by_step() -> None:
    model, (sx, sy, qx, _) = network(), task()
    with torch.no_grad():
        scores = model.adapt(sx, sy)(qx).numpy()
    for i in range(2):
        _, state = by_hand(model, sx[i], sy[i])
        for j in range(qx.shape[1]):
            expected, _ = step(model, qx[i, j].numpy(), int(sy[i, -1]), state)
            np.testing.assert_allclose(scores[i, j], expected, atol=1e-11)


@every_model
def test_tasks_at_once_equal_tasks_one_by_one(name: str) -> None:
    sx, sy, qx, _ = task(t=3)
    model = MODELS[name]()
    tasks_are_independent(model, sx, sy, qx)
    with torch.no_grad():
        together = model.sequence(sx, sy)
        for i in range(3):
            alone = model.sequence(sx[i, None], sy[i, None])
            torch.testing.assert_close(together[i, None], alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", [MANN, LSTMControl])
def test_pictures_through_a_network(kind: type[Model]) -> None:
    torch.manual_seed(0)
    model = kind(Conv4(hidden=4), 4, ways=5, hidden=8)
    sx, sy, qx, qy = task(t=3, x=(1, 16, 16))
    sx, qx = sx.float(), qx.float()
    model.loss(sx, sy, qx, qy).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.embed.blocks[0].parameters())
    scores = model.adapt(sx, sy)(qx)
    assert scores.shape == (3, 4, 5) and scores.dtype == torch.float32  # 3 ways in a network for 5
    tasks_are_independent(model.double(), sx.double(), sy, qx.double())
    with pytest.raises(ValueError, match="ways=5"):
        model.adapt(sx.double(), sy + 3)


# --- the loss ------------------------------------------------------------------------------------


@every_model
def test_the_loss_is_that_of_one_shuffled_sequence(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (sx, sy, qx, qy) = MODELS[name](), task(t=3)
    x, y = torch.cat([sx, qx], 1), torch.cat([sy, qy], 1)
    seen: list[tuple[Tensor, ...]] = []
    sequence = model.sequence

    def spy(x: Tensor, y: Tensor) -> Tensor:
        seen.append((x, y, sequence(x, y)))
        return seen[-1][-1]

    monkeypatch.setattr(model, "sequence", spy)
    torch.manual_seed(1)
    loss = [model.loss(sx, sy, qx, qy).item() for _ in range(2)]
    orders = []
    for value, (shuffled, labels, scores) in zip(loss, seen, strict=True):
        order = torch.cdist(shuffled, x).argmin(2)  # where each picture was
        torch.testing.assert_close(order.sort(1).values, torch.arange(10).expand(3, -1))
        torch.testing.assert_close(labels, y.gather(1, order))
        p = scores.detach().softmax(-1).gather(2, labels[..., None])
        assert value == pytest.approx(-p.log().mean().item(), abs=1e-12)
        orders.append(order)
    accuracy = (scores.argmax(-1) == labels).double().mean().item()
    assert model.metrics["accuracy"].item() == pytest.approx(accuracy, abs=1e-6)
    assert len({tuple(o) for order in orders for o in order.tolist()}) == 6  # another every time
    torch.manual_seed(1)
    assert model.loss(sx, sy, qx, qy).item() == loss[0]


class Seeded(nn.Module):
    """The same model, whose loss draws the same order every time, or is that of its learner's answers."""

    def __init__(self, model: Model, adapt: bool) -> None:
        super().__init__()
        self.model, self.adapt = model, adapt

    def loss(self, sx: Tensor, sy: Tensor, qx: Tensor, qy: Tensor) -> Tensor:
        if self.adapt:
            return F.cross_entropy(self.model.adapt(sx, sy)(qx).flatten(0, 1), qy.flatten())
        torch.manual_seed(0)
        return self.model.loss(sx, sy, qx, qy)


@pytest.mark.parametrize("adapt", [False, True], ids=["loss", "adapt"])
@every_model
def test_gradients_by_finite_differences(name: str, adapt: bool) -> None:
    """The recurrence has its gradient written out by hand: over steps, and on through the state into a query."""
    gradient = gradients_agree(
        Seeded(MODELS[name](), adapt), *task(shots=3), coordinates=5 if adapt else 12
    )
    assert all(g.abs().max() > 1e-5 for g in gradient.values())
    assert ("model.log_s" in gradient) == (name in ("mann", "feed-forward"))


def test_the_gradient_of_a_gradient_is_refused() -> None:
    model, batch = network(), task()
    loss = model.loss(*batch)
    (g,) = torch.autograd.grad(loss, model.heads.weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.sum().backward()  # type: ignore[no-untyped-call]


def test_what_a_pass_has_kept_is_freed_with_it() -> None:
    model, (x, y) = network(), sequences()
    gc.collect()
    gc.disable()  # a cycle of references would hold every memory of every step until it runs
    try:
        scores, state = model.unroll(x, F.one_hot(y, 3))
        kept = [weakref.ref(s) for s in (scores, *state)]
        del scores, state
        assert not any(ref() is not None for ref in kept)
    finally:
        gc.enable()
