from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from oracles import gradients_agree, numbers, queries_are_blind, tasks_are_independent
from torch import Tensor, nn

from mlbook.data.bandits import Bandits, BanditTables
from mlbook.lstm_meta_learner import RecurrentAgent, RecurrentLearner

every_cell = pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])


def learner(cell: type[nn.RNNBase] = nn.LSTM) -> RecurrentLearner:
    torch.manual_seed(0)
    return RecurrentLearner(2, 1, hidden=4, cell=cell).double()


def series(t: int = 3, n: int = 5) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(t, 2 * n, 2, dtype=torch.float64, generator=generator)
    y = torch.randn(t, 2 * n, 1, dtype=torch.float64, generator=generator)
    return x[:, :n], y[:, :n], x[:, n:], y[:, n:]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm(
    weights: dict[str, np.ndarray], z: np.ndarray, h: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One step of an LSTM, in NumPy."""
    gates = weights["ih"] @ z + weights["bih"] + weights["hh"] @ h + weights["bhh"]
    i, f, g, o = np.split(gates, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def weights(cell: nn.Module, suffix: str = "") -> dict[str, np.ndarray]:
    names = {"ih": "weight_ih", "hh": "weight_hh", "bih": "bias_ih", "bhh": "bias_hh"}
    return {k: numbers(getattr(cell, v + suffix)) for k, v in names.items()}


def test_predictions_are_those_of_the_definition() -> None:
    model, (sx, sy, qx, qy) = learner(), series()
    x, y = numbers(torch.cat([sx, qx], 1)), numbers(torch.cat([sy, qy], 1))
    w, expected = weights(model.cell, "_l0"), np.zeros_like(y)
    for t in range(len(x)):
        h, c = np.zeros((2, 4))
        for k in range(10):
            before = y[t, k - 1] if k else np.zeros(1)
            h, c = lstm(w, np.concatenate([x[t, k], before]), h, c)
            expected[t, k] = numbers(model.U.weight) @ h + numbers(model.U.bias)
    seen = model.sequence(*map(torch.from_numpy, (x, y)))
    np.testing.assert_allclose(numbers(seen), expected, atol=1e-12)
    J = ((expected - y) ** 2).mean()
    assert model.loss(sx, sy, qx, qy).item() == pytest.approx(J, abs=1e-12)


@every_cell
def test_a_query_is_one_more_step(cell: type[nn.RNNBase]) -> None:
    model, (sx, sy, qx, _) = learner(cell), series()
    answers = model.adapt(sx, sy)(qx)
    for q in range(qx.shape[1]):
        x = torch.cat([sx, qx[:, q, None]], 1)
        y = torch.cat([sy, torch.full_like(sy[:, :1], 9.0)], 1)  # its own target is not told
        torch.testing.assert_close(answers[:, q], model.sequence(x, y)[:, -1], atol=1e-12, rtol=0)


@every_cell
def test_tasks_and_queries_are_apart_and_a_task_begins_anew(cell: type[nn.RNNBase]) -> None:
    model, (sx, sy, qx, _) = learner(cell), series()
    tasks_are_independent(model, sx, sy, qx)
    queries_are_blind(model, sx, sy, qx)
    first = model.adapt(sx, sy)(qx)
    model.adapt(sx + 1, sy - 1)(qx)
    torch.testing.assert_close(model.adapt(sx, sy)(qx), first, atol=0, rtol=0)


@every_cell
def test_gradients_are_those_of_finite_differences(cell: type[nn.RNNBase]) -> None:
    assert all(g.abs().max() > 1e-9 for g in gradients_agree(learner(cell), *series()).values())


def test_a_target_changes_nothing_at_or_before_its_step() -> None:
    model, (x, y, *_) = learner(), series()
    before, other = model.sequence(x, y), y.clone()
    other[:, 2] += 1
    after = model.sequence(x, other)
    torch.testing.assert_close(after[:, :3], before[:, :3], atol=0, rtol=0)
    assert (after[:, 3:] - before[:, 3:]).abs().min() > 1e-6


def test_labels_are_read_one_hot() -> None:
    torch.manual_seed(0)
    model = RecurrentLearner(2, 3, hidden=4, loss=nn.functional.cross_entropy).double()
    x, y = series()[0], torch.randint(3, (3, 5))
    p = model.sequence(x, y)
    torch.testing.assert_close(p, model.sequence(x, nn.functional.one_hot(y, 3).double()))
    loss = model.loss(x[:, :2], y[:, :2], x[:, 2:], y[:, 2:])
    torch.testing.assert_close(loss, nn.functional.cross_entropy(p.flatten(0, 1), y.flatten()))
    assert model.metrics["accuracy"].item() == pytest.approx((p.argmax(-1) == y).double().mean())


def agent(steps: int = 6) -> RecurrentAgent:
    torch.manual_seed(0)
    return RecurrentAgent(BanditTables, 1, 2, steps, hidden=4).double()


def tables(pulls: int = 6) -> tuple[Tensor, Tensor]:
    p, pays = Bandits(pulls=pulls, tasks=3)[0]
    return p.double(), pays.double()


def test_a_rollout_is_that_of_the_definition() -> None:
    model, (p, pays) = agent(), tables()
    played = model.rollout(BanditTables(p, pays), 6)
    w = weights(model.cell)
    for i in range(3):
        h, c = np.zeros((2, 4))
        told = np.zeros(5)  # observation, two actions, reward, done
        for t in range(6):
            h, c = lstm(w, told, h, c)
            logits = numbers(model.W.weight) @ h + numbers(model.W.bias)
            value = numbers(model.v.weight)[0] @ h + numbers(model.v.bias)[0]
            np.testing.assert_allclose(numbers(played["logits"][t, i]), logits, atol=1e-12)
            np.testing.assert_allclose(numbers(played["value"][t, i]), value, atol=1e-12)
            a = int(played["action"][t, i])
            assert played["reward"][t, i] == pays[i, t, a]
            told = np.array([0, a == 0, a == 1, pays[i, t, a], t == 5], dtype=float)


def test_the_loss_is_that_of_the_definition() -> None:
    model, batch = agent(), tables()
    torch.manual_seed(3)
    loss = model.loss(*batch)
    torch.manual_seed(3)
    played = {k: numbers(v) for k, v in model.rollout(BanditTables(*batch), 6).items()}
    J, squares, H = [], [], []
    for i in range(3):
        V = [*played["value"][:, i], 0.0]
        delta = [played["reward"][t, i] + model.gamma * V[t + 1] - V[t] for t in range(6)]
        for t in range(6):
            A = sum((model.gamma * model.lam) ** (k - t) * delta[k] for k in range(t, 6))
            pi = np.exp(played["logits"][t, i]) / np.exp(played["logits"][t, i]).sum()
            J.append(-np.log(pi[played["action"][t, i]]) * A)
            squares.append(A**2)
            H.append(-(pi * np.log(pi)).sum())
    expected = np.mean(J) + model.value * np.mean(squares) - model.entropy * np.mean(H)
    assert loss.item() == pytest.approx(expected, abs=1e-12)


def test_with_lambda_1_the_advantage_is_the_return_less_its_estimate() -> None:
    model, batch = agent(), tables()
    model.lam, model.value, model.entropy = 1.0, 1.0, 0.0
    torch.manual_seed(3)
    loss = model.loss(*batch)
    torch.manual_seed(3)
    played = model.rollout(BanditTables(*batch), 6)
    G = torch.stack(
        [
            sum(model.gamma ** (k - t) * played["reward"][k] for k in range(t, 6))  # type: ignore[misc]
            for t in range(6)
        ]
    )
    A = G - played["value"]
    log_p = played["logits"].log_softmax(-1).gather(-1, played["action"][..., None])[..., 0]
    torch.testing.assert_close(loss, A.square().mean() - (log_p * A).mean())


def test_the_policys_gradient_is_that_of_expected_reward() -> None:
    """One pull of two arms: summed over both actions, the estimate's mean is the slope of Σ π(a) p(a)."""
    model = agent(steps=1)
    model.value = model.entropy = 0.0
    p, _ = tables()
    parameters = [*model.cell.parameters(), *model.W.parameters()]

    def slope(x: Tensor) -> Tensor:
        return torch.cat(
            [g.flatten() for g in torch.autograd.grad(x, parameters, retain_graph=True)]
        )

    expected, total = torch.zeros(()), 0.0
    logits = model.rollout(BanditTables(p, p[:, None]), 1)["logits"][0]
    expected = slope((logits.softmax(-1) * p).sum(-1).mean())
    for seed in range(600):
        torch.manual_seed(seed)
        total = total - slope(model.loss(p, p[:, None])) / 600
    assert (total - expected).norm() < 0.15 * expected.norm()


def test_the_state_is_carried_through_a_task_and_not_beyond() -> None:
    model, (p, pays) = agent().eval(), tables()
    with torch.no_grad():
        first = model.rollout(BanditTables(p, pays), 6)
        again = model.rollout(BanditTables(p, pays), 6)
        other = model.rollout(BanditTables(p, 1 - pays), 6)
    torch.testing.assert_close(first["logits"], again["logits"], atol=0, rtol=0)
    torch.testing.assert_close(first["logits"][0], other["logits"][0], atol=0, rtol=0)
    assert (first["logits"][1:] - other["logits"][1:]).abs().amax((1, 2)).min() > 1e-9


class Rounds:
    """Two tables with episodes of two steps that begin again by themselves; to be seen is the round's number."""

    def __init__(self) -> None:
        self.t = 0

    def reset(self) -> tuple[Tensor, dict[str, Tensor]]:
        return torch.zeros(2, 1, dtype=torch.float64), {}

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Tensor]]:
        self.t += 1
        no = torch.zeros(2, dtype=torch.bool)
        s = torch.full((2, 1), self.t // 2, dtype=torch.float64)
        return s, action.double(), ~no if self.t % 2 == 0 else no, no, {}


def test_the_state_is_carried_across_the_episodes_of_a_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, seen, act = agent().eval(), [], RecurrentAgent.act
    monkeypatch.setattr(model, "act", lambda x, h: seen.append((x, h)) or act(model, x, h))
    played = model.rollout(Rounds(), 5)
    assert [x[0, 0].item() for x, _ in seen] == [0, 0, 1, 1, 2]
    assert [x[0, -1].item() for x, _ in seen] == [0, 0, 1, 0, 1], "d tells where an episode ended"
    assert seen[0][1] is None
    for t in range(1, 5):
        torch.testing.assert_close(seen[t][1][0], played["state"][t - 1], atol=0, rtol=0)


def test_play_is_random_in_training_and_greedy_at_the_test() -> None:
    model, env = agent(), BanditTables(*tables())
    torch.manual_seed(0)
    drawn = torch.stack([model.rollout(env, 6)["action"] for _ in range(10)])
    assert drawn.float().std(0).max() > 0
    played = model.eval().rollout(env, 6)
    assert torch.equal(played["action"], played["logits"].argmax(-1))


def test_nothing_piles_up_over_many_rollouts() -> None:
    model, batch, counts = agent(steps=2), tables(), []
    for k in range(500):
        model.loss(*batch).backward()
        if k % 100 == 99:
            gc.collect()
            counts.append(sum(issubclass(type(o), Tensor) for o in gc.get_objects()))
    assert len(set(counts)) == 1
