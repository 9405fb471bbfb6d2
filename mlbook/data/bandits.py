"""Bernoulli bandits: the smallest game that has to be explored, many tables of it at once, and who plays it well."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mlbook.episodes import generator_of, send, whole

Policy = Callable[
    [Tensor, Tensor, int], Tensor
]  # wins, pulls `[T, arms]`, t: the arms to pull `[T]`


class Bandits:
    """An endless, reproducible source of tasks: `bandits[k]` is batch number k, two tensors.

    The first is `[T, arms]`, each arm's chance of paying 1, uniform in [0, 1]. The second, `[T, pulls,
    arms]`, holds for every pull and arm whether it would pay, so that players meet the same luck.

    Args:
        arms: To choose from; 2 or more.
        pulls: Of one task; 1 or more.
        tasks: T.
        seed: Any whole number; batch k of a seed is always the same, on every device.

    Source: Duan et al. (2016), section 3.1; Wang et al. (2016), section 3.1.

    Raises:
        ValueError: If a number is too small, or not whole.
    """

    def __init__(self, arms: int = 2, pulls: int = 100, tasks: int = 64, seed: int = 0) -> None:
        self.arms, self.pulls = whole("arms", arms, 2), whole("pulls", pulls, 1)
        self.tasks, self.seed = whole("tasks", tasks, 1), whole("seed", seed)
        self.device: torch.device | str = "cpu"

    @property
    def fingerprint(self) -> str:
        """What the tables depend on, in words; two sources of one fingerprint give the same."""
        return (
            f"Bandits(arms={self.arms}, pulls={self.pulls}, tasks={self.tasks}, seed={self.seed})"
        )

    def to(self, device: torch.device | str) -> Bandits:
        """The same tables on `device`."""
        there = copy.copy(self)
        there.device = device
        return there

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor]:
        """Chances `[T, arms]`, and what each arm would pay at each pull, `[T, pulls, arms]`."""
        generator = generator_of(self.seed, k)
        p = torch.rand(self.tasks, self.arms, generator=generator)
        u = torch.rand(self.tasks, self.pulls, self.arms, generator=generator)
        pays = (u < p[:, None]).to(p.dtype)
        return send(p, self.device), send(pays, self.device)


class BanditTables:
    """All T tables as one environment, with Gymnasium's signatures on tensors `[T, ...]`.

    There is nothing to observe, so an observation is a single 0. A table's only episode is cut short
    (`truncated`) after the last pull.

    Args:
        p, pays: One batch of `Bandits`.
    """

    def __init__(self, p: Tensor, pays: Tensor) -> None:
        self.p, self.pays, self.t = p, pays, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Observation `[T, 1]` and an empty info; what the arms pay is given, so a seed changes nothing."""
        self.t = 0
        return self.p.new_zeros(len(self.p), 1), {}

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Pull arms `[T]`: observation, reward, terminated, truncated; the info has this pull's `regret`.

        Raises:
            ValueError: After the last pull.
        """
        if self.t == self.pays.shape[1]:
            raise ValueError(f"the tables close after {self.t} pulls: call reset()")
        reward = self.pays[:, self.t].gather(1, action[:, None])[:, 0]
        regret = self.p.amax(1) - self.p.gather(1, action[:, None])[:, 0]
        self.t += 1
        never = torch.zeros_like(reward, dtype=torch.bool)
        over = never | (self.t == self.pays.shape[1])
        return self.p.new_zeros(len(self.p), 1), reward, never, over, {"regret": regret}


def play(
    policy: Policy, p: Tensor, pays: Tensor, make: type[BanditTables] = BanditTables
) -> Tensor:
    """The regret of every pull, `[pulls, T]`, if `policy` plays all tables of a batch, or what `make` makes of them.

    All stays on the device of the tables; what a policy answers may come from another.
    """
    env, regrets = make(p, pays), []
    env.reset()
    wins, pulls = torch.zeros(2, *p.shape, dtype=torch.float64, device=p.device)
    for t in range(pays.shape[1]):
        action = policy(wins, pulls, t).to(p.device)
        _, reward, _, _, info = env.step(action)
        wins.scatter_add_(1, action[:, None], reward[:, None].double())
        pulls.scatter_add_(1, action[:, None], torch.ones_like(wins[:, :1]))
        regrets.append(info["regret"])
    return torch.stack(regrets)


def thompson(generator: torch.Generator) -> Policy:
    """Draw each arm's chance from what is known of it, a Beta distribution, and pull the best (Thompson, 1933).

    It is drawn where the generator is, so that one on the CPU gives the same pulls on every device.
    """

    def policy(wins: Tensor, pulls: Tensor, _: int) -> Tensor:
        # Beta(a, b) = X / (X + Y) with X, Y ~ Gamma(a), Gamma(b)
        here = ((1 + n).to(generator.device) for n in (wins, pulls - wins))
        x, y = (torch._standard_gamma(n, generator) for n in here)
        return (x / (x + y)).argmax(1).to(wins.device)

    return policy


def ucb1(wins: Tensor, pulls: Tensor, t: int) -> Tensor:
    """Each arm once, then that of the highest mean + sqrt(2 ln t / n) (Auer, Cesa-Bianchi & Fischer, 2002)."""
    if t < wins.shape[1]:
        return torch.full((len(wins),), t, device=wins.device)
    bonus = (2 * torch.tensor(t, dtype=wins.dtype).log() / pulls).sqrt()
    return (wins / pulls + bonus).argmax(1)


def bayes_optimal(pulls: int) -> Policy:
    """What nobody can beat on average: two arms of uniform chances, exactly, by dynamic programming.

    After t pulls all that matters is (n, s_1, s_2): pulls of arm 1, wins of both. From the last pull
    back, V_t is the larger of the two arms' values, q (1 + V_{t+1} after a win) + (1 - q) V_{t+1}
    after a loss, with q = (s + 1) / (n + 2) the arm's expected chance.

    Args:
        pulls: Of one task.

    Raises:
        ValueError: When it is played, if the tables do not have two arms.
    """
    V, best = torch.zeros(pulls + 1, pulls + 1, pulls + 1, dtype=torch.float64), []
    for t in range(pulls - 1, -1, -1):
        n, s_1, s_2 = torch.meshgrid(*[torch.arange(t + 1, dtype=torch.float64)] * 3, indexing="ij")
        q_1, q_2 = (s_1 + 1) / (n + 2), (s_2 + 1) / (t - n + 2)
        first = q_1 * (1 + V[1:, 1:, :-1]) + (1 - q_1) * V[1:, :-1, :-1]
        second = q_2 * (1 + V[:-1, :-1, 1:]) + (1 - q_2) * V[:-1, :-1, :-1]
        V = torch.maximum(first, second)
        best.append(second > first)
    best.reverse()

    def policy(wins: Tensor, pulls: Tensor, t: int) -> Tensor:
        if wins.shape[1] != 2:
            raise ValueError(f"{wins.shape[1]} arms: this policy is for tables of two")
        table = best[t].to(wins.device)
        return table[pulls[:, 0].long(), wins[:, 0].long(), wins[:, 1].long()].long()

    policy.value = V.item()  # type: ignore[attr-defined]  # wins to be expected at the start
    return policy
