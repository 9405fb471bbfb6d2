from __future__ import annotations

import inspect
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from mlbook.data.bandits import Bandits, BanditTables, bayes_optimal, play, thompson, ucb1


def test_batches_are_the_same_every_time_and_pay_what_they_say() -> None:
    bandits = Bandits(arms=3, pulls=2000, tasks=5, seed=1)
    for a, b in zip(bandits[4], bandits[4], strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=0)
    p, pays = bandits[4]
    assert (
        p.shape == (5, 3) and pays.shape == (5, 2000, 3) and set(pays.unique().tolist()) == {0, 1}
    )
    assert (pays.mean(1) - p).abs().max() < 5 * 0.5 / 2000**0.5
    assert not torch.equal(p, bandits[5][0])


def test_the_environment_pays_the_arm_that_is_pulled_and_closes_after_the_last_pull() -> None:
    p, pays = Bandits(arms=2, pulls=3, tasks=4)[0]
    env = BanditTables(p, pays)
    for _ in range(2):  # a second game is the first again
        observation, info = env.reset(seed=7)
        assert observation.tolist() == [[0]] * 4 and info == {}
        for t in range(3):
            arm = torch.tensor([0, 1, 0, 1])
            observation, reward, terminated, truncated, info = env.step(arm)
            assert reward.tolist() == [pays[i, t, a].item() for i, a in enumerate(arm)]
            assert info["regret"].tolist() == [
                (p[i].max() - p[i, a]).item() for i, a in enumerate(arm)
            ]
            assert not terminated.any() and truncated.tolist() == [t == 2] * 4
        with pytest.raises(ValueError, match="close after 3 pulls: call reset"):
            env.step(arm)


@cache
def value(s_1: int, f_1: int, s_2: int, f_2: int, left: int) -> float:
    """The best that can be expected of the pulls that are left, by recursion over single games."""
    if not left:
        return 0.0
    q_1, q_2 = (s_1 + 1) / (s_1 + f_1 + 2), (s_2 + 1) / (s_2 + f_2 + 2)
    return max(
        q_1 * (1 + value(s_1 + 1, f_1, s_2, f_2, left - 1)) + (1 - q_1) * value(s_1, f_1 + 1, s_2, f_2, left - 1),
        q_2 * (1 + value(s_1, f_1, s_2 + 1, f_2, left - 1)) + (1 - q_2) * value(s_1, f_1, s_2, f_2 + 1, left - 1),
    )  # fmt: skip


@pytest.mark.parametrize("pulls", [1, 2, 5, 12])
def test_the_optimum_is_that_of_the_recursion(pulls: int) -> None:
    policy = bayes_optimal(pulls)
    assert policy.value == pytest.approx(value(0, 0, 0, 0, pulls), abs=1e-12)  # type: ignore[attr-defined]
    for s_1, f_1, s_2, f_2 in (
        (0, 0, 0, 0),
        (1, 0, 0, 0),
        (0, 1, 1, 2),
        (2, 1, 0, 0),
        (1, 1, 3, 4),
    ):
        t = s_1 + f_1 + s_2 + f_2
        if t < pulls:
            left, wins = pulls - t - 1, torch.tensor([[s_1, s_2]])
            n = torch.tensor([[s_1 + f_1, s_2 + f_2]])
            q = [(s + 1) / (s + f + 2) for s, f in ((s_1, f_1), (s_2, f_2))]
            each = [
                q[0] * (1 + value(s_1 + 1, f_1, s_2, f_2, left)) + (1 - q[0]) * value(s_1, f_1 + 1, s_2, f_2, left),
                q[1] * (1 + value(s_1, f_1, s_2 + 1, f_2, left)) + (1 - q[1]) * value(s_1, f_1, s_2, f_2 + 1, left),
            ]  # fmt: skip
            if abs(each[0] - each[1]) > 1e-9:
                assert policy(wins, n, t).item() == int(each[1] > each[0])


def test_the_optimum_earns_its_value_and_more_than_the_others() -> None:
    p, pays = Bandits(pulls=50, tasks=4000)[0]
    best = bayes_optimal(50)
    lost = {
        "optimal": play(best, p, pays).sum(0),
        "thompson": play(thompson(torch.Generator().manual_seed(0)), p, pays).sum(0),
        "ucb1": play(ucb1, p, pays).sum(0),
        "any": play(lambda w, _n, _t: torch.zeros(len(w), dtype=torch.int64), p, pays).sum(0),
    }
    earned = 50 * p.amax(1) - lost["optimal"]
    error = 4 * earned.std() / 4000**0.5
    assert (earned.mean() - best.value).abs() < error  # type: ignore[attr-defined]
    means = [x.mean().item() for x in lost.values()]
    assert means == sorted(means)


def test_thompson_draws_from_the_posterior() -> None:
    wins, pulls = torch.tensor([[3.0, 1.0]]).double(), torch.tensor([[4.0, 6.0]]).double()
    policy = thompson(torch.Generator().manual_seed(0))
    share = policy(wins.expand(20000, 2), pulls.expand(20000, 2), 10).double().mean().item()
    first, second = (
        torch.distributions.Beta(1 + wins[0, i], 1 + pulls[0, i] - wins[0, i]) for i in (0, 1)
    )
    x = torch.linspace(0.0005, 0.9995, 1000, dtype=torch.float64)  # P(second > first), by a sum
    below: Tensor = (first.log_prob(x).exp().cumsum(0)) / 1000
    assert share == pytest.approx((second.log_prob(x).exp() * below).sum().item() / 1000, abs=0.015)


def test_ucb1_is_that_of_the_paper() -> None:
    wins, pulls = torch.tensor([[2.0, 5.0]]).double(), torch.tensor([[3.0, 9.0]]).double()
    assert [ucb1(wins, pulls, t).item() for t in (0, 1)] == [0, 1]
    index = [2 / 3 + (2 * 2.4849 / 3) ** 0.5, 5 / 9 + (2 * 2.4849 / 9) ** 0.5]
    assert ucb1(wins, pulls, 12).item() == index.index(max(index))


def test_ucb1_by_its_formula_where_every_part_of_it_counts() -> None:
    draw = np.random.default_rng(0)
    pulls = draw.integers(1, 60, (400, 4)).astype(float)
    wins = np.floor(pulls * draw.beta(4, 4, (400, 4)))
    t = int(pulls[0].sum())

    def index(factor: float, time: float) -> np.ndarray:
        return (wins / pulls + np.sqrt(factor * time / pulls)).argmax(1)

    pulled = ucb1(torch.from_numpy(wins), torch.from_numpy(pulls), t).numpy()
    assert (pulled == index(2, np.log(t))).all()
    # and the formula without its factor, its logarithm, the bonus or the mean is told apart
    for other in (index(1, np.log(t)), index(2, t), index(0, 0), (-pulls).argmax(1)):
        assert (pulled != other).mean() > 0.02


def test_chances_are_uniform_and_neither_arms_nor_pulls_know_of_each_other() -> None:
    bandits = Bandits(pulls=3, tasks=4000)
    p, pays = (torch.cat(parts) for parts in zip(*(bandits[k] for k in range(5)), strict=True))
    n = len(p)
    for moment in (1, 2, 3, 4):  # E x^m = 1 / (m + 1), with a standard deviation below 1/2
        assert ((p**moment).mean(0) - 1 / (moment + 1)).abs().max() < 4 * 0.5 / n**0.5
    assert 0 <= p.min() < 0.001 and 0.999 < p.max() < 1
    assert torch.corrcoef(p.T)[0, 1].abs() < 4 / n**0.5
    luck = (pays - p[:, None]).flatten(1)  # what is left of 3 pulls of 2 arms
    off = torch.corrcoef(luck.T) - torch.eye(6)
    assert off.abs().max() < 4 / n**0.5


def test_defaults_are_the_two_arms_and_100_pulls_of_the_book() -> None:
    options = {k: v.default for k, v in inspect.signature(Bandits).parameters.items()}
    assert options == {"arms": 2, "pulls": 100, "tasks": 64, "seed": 0}
    assert [x.shape for x in Bandits()[0]] == [(64, 2), (64, 100, 2)]


@pytest.mark.parametrize("wrong", [{"arms": 1}, {"pulls": 0}, {"tasks": 0}])
def test_too_little_is_an_error(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        Bandits(**wrong)


def test_the_optimum_is_known_for_two_arms_only() -> None:
    with pytest.raises(ValueError, match="3 arms"):
        play(bayes_optimal(4), *Bandits(arms=3, pulls=4, tasks=2)[0])
