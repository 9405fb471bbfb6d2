"""A recurrent agent for two-armed bandits, and its regret beside that of classical players on the same tables.

    python results/run.py bandits         # or: make results METHOD=bandits

A quarter of an hour on one core; resumable.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from records import write
from schedules import half_cosine
from torch import Tensor, nn

from mlbook import Result, fit
from mlbook.data.bandits import Bandits, BanditTables, bayes_optimal, play, thompson, ucb1
from mlbook.data.files import write_tensors
from mlbook.lstm_meta_learner import RecurrentAgent
from mlbook.pretrained import MODELS

HERE = Path(__file__).parent
PULLS, TEST = 100, 10_000


class Stage(NamedTuple):
    """Steps of so many tables, Adam at `rate`, by half a cosine to 0; γ, λ, β_H and β_V.

    `grows` is what returns grow by where γ does, and so the estimate of them at the start of the stage;
    `norm` is the largest that the gradient's may be.
    """

    seed: int
    steps: int
    tables: int
    rate: float
    gamma: float
    lam: float
    entropy: float
    value: float
    grows: float
    norm: float


STAGES = (
    Stage(1, 800, 128, 1e-2, 0.8, 0.3, 0.02, 0.5, 1.0, 0.3),
    Stage(2, 800, 256, 3e-3, 0.93, 0.5, 0.003, 0.03, 1.0, 0.3),
    Stage(7, 400, 512, 1e-3, 0.98, 0.95, 0.0, 0.01, 3.5, 1.0),
    Stage(8, 450, 512, 1e-3, 0.985, 0.97, 0.0, 0.01, 4 / 3, 1.0),
)


class Watched(BanditTables):
    """Tables that write down the regret of every pull."""

    def __init__(self, p: Tensor, pays: Tensor) -> None:
        super().__init__(p, pays)
        self.regrets: list[Tensor] = []

    def step(self, action: Tensor) -> Any:
        """As ever."""
        told = super().step(action)
        self.regrets.append(told[4]["regret"])
        return told


@torch.no_grad()
def regrets(agent: RecurrentAgent, p: Tensor, pays: Tensor, greedy: bool) -> Tensor:
    """The regret of every pull, `[pulls, T]`; `greedy` takes the likeliest arm, else arms are drawn from π."""
    env = Watched(p, pays)
    torch.manual_seed(0)
    agent.train(not greedy).rollout(env, pays.shape[1])
    return torch.stack(env.regrets)


def bandits() -> None:
    """Train, measure all players on the same 10,000 tables, keep the weights."""
    torch.manual_seed(0)
    agent, seconds = MODELS["bandit_agent"](), 0.0
    assert isinstance(agent, RecurrentAgent)
    hidden = agent.cell.hidden_size
    nn.init.constant_(agent.cell.bias_ih[hidden : 2 * hidden], 1.0)  # remember at first
    validation: list[list[float]] = []
    for i, stage in enumerate(STAGES):
        agent.gamma, agent.lam = stage.gamma, stage.lam
        agent.entropy, agent.value = stage.entropy, stage.value
        optimizer = torch.optim.Adam(agent.parameters(), stage.rate)

        def clip(optimizer: torch.optim.Optimizer, *_: object, norm: float = stage.norm) -> None:
            nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], norm)

        optimizer.register_step_pre_hook(clip)
        with torch.no_grad():
            for p in agent.v.parameters():
                p *= stage.grows
        history = fit(
            agent,
            Bandits(pulls=PULLS, tasks=stage.tables, seed=stage.seed),
            steps=stage.steps,
            optimizer=optimizer,
            schedule=lambda k, n=stage.steps: half_cosine(k / n),
            checkpoint=HERE / "runs" / f"bandit_agent_{i}.safetensors",
            checkpoint_every=250,
        )
        seconds += history.seconds
        tables = Bandits(pulls=PULLS, tasks=5000, seed=1000)[0]
        validation.append(
            [
                round(float(regrets(agent, *tables, greedy=g).sum(0).mean()), 3)
                for g in (False, True)
            ]
        )
        print(f"stage {i}: validation regret {validation[-1]} (drawn, greedy)", flush=True)
    tables = Bandits(pulls=PULLS, tasks=TEST, seed=1001)[0]
    best = bayes_optimal(PULLS)
    players = {
        "agent": regrets(agent, *tables, greedy=False),
        "agent_greedy": regrets(agent, *tables, greedy=True),
        "thompson": play(thompson(torch.Generator().manual_seed(0)), *tables),
        "ucb1": play(ucb1, *tables),
        "bayes_optimal": play(best, *tables),
        "random": play(chance(torch.Generator().manual_seed(0)), *tables),
    }
    totals = {name: r.sum(0) for name, r in players.items()}
    entry: dict[str, Any] = {
        "tables": TEST,
        "seed": 0,
        "steps": sum(s.steps for s in STAGES),
        "seconds": round(seconds),
        "stages": [s._asdict() for s in STAGES],
        "validation": validation,
        "players": {},
    }
    for name, total in totals.items():
        against = Result(totals["agent"] - total)
        entry["players"][name] = {
            "regret": round(total.mean().item(), 4),
            "interval": round(Result(total).interval, 4),
            "agent_minus": round(against.mean, 4),
            "agent_minus_interval": round(against.interval, 4),
            "curve": [round(x, 3) for x in players[name].cumsum(0).mean(1).tolist()],
        }
        print(f"{name}: {total.mean():.3f}", flush=True)
    protocol = (
        f"two-armed Bernoulli bandits, chances uniform in [0, 1], {PULLS} pulls; LSTM of {hidden} units; "
        + "; then ".join(
            f"{s.steps:,} steps of {s.tables} tables, Adam at {s.rate:g}, half-cosine to 0, γ = {s.gamma:g}, "
            f"λ = {s.lam:g}, β_H = {s.entropy:g}, β_V = {s.value:g}, gradient's norm at most {s.norm:g}"
            for s in STAGES
        )
        + "; the agent draws its arms from π at meta-test, too"
    )
    write("bandits", "2x100", **entry, protocol=protocol)
    weights = HERE.parent / "mlbook" / "pretrained" / "bandit_agent.safetensors"
    write_tensors(weights, dict(agent.state_dict()), {"method": "bandits", "protocol": protocol})


def chance(generator: torch.Generator) -> Any:
    """Any arm."""
    return lambda wins, *_: torch.randint(wins.shape[1], wins.shape[:1], generator=generator)
