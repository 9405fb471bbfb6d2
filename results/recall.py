"""How far back recurrent learners remember: an LSTM, a GRU and a plain network, told once, asked after a delay.

    python results/run.py recall                  # or: make results METHOD=recall

Twenty short trainings, resumable, one or two minutes on one core.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from records import record
from schedules import half_cosine
from torch import Tensor, nn

from mlbook import Result, fit
from mlbook.episodes import generator_of
from mlbook.lstm_meta_learner import RecurrentLearner

HERE = Path(__file__).parent
CELLS: dict[str, type[nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
RATES = {"lstm": (1e-2, 3e-3), "gru": (1e-2, 3e-3), "rnn": (1e-2, 3e-3, 1e-3)}
LOUD, SEEDS = (1.0, 3.0), (0, 1, 2)
SYMBOLS, HIDDEN, TASKS, STEPS = 8, 32, 64, 300
LONGEST = 50  # in training, from half of the steps on
DELAYS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 70, 100, 200, 500, 1000, 2000, 5000)
ENOUGH = 0.95


class Recall:
    """Batch k: of all that is told, one label counts, the first; after some steps it is asked for.

    The input is 1 with the label that counts and with the question, and 0 with all others. There are `delay`
    others, or, if none is given, from 1 up to a number that grows to 50 by half of the steps, as many for all
    tasks of a batch.
    """

    def __init__(self, tasks: int = TASKS, seed: int = 0, delay: int | None = None) -> None:
        self.tasks, self.seed, self.delay = tasks, seed, delay

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        generator = generator_of(self.seed, k)
        longest = max(1, LONGEST * min(1.0, 2 * k / STEPS))
        drawn = 1 + int(longest * torch.rand((), generator=generator))
        delay = drawn if self.delay is None else self.delay
        y = torch.randint(SYMBOLS, (self.tasks, 1 + delay), generator=generator)
        x = F.one_hot(torch.zeros(self.tasks, dtype=torch.long), 1 + delay)[..., None].float()
        return x, y, torch.ones(self.tasks, 1, 1), y[:, :1]


class Asked(RecurrentLearner):
    """A recurrent learner of which only the answers to queries count, none of them told."""

    def loss(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:  # fmt: skip
        p = self.adapt(support_x, support_y)(query_x)
        self.metrics["accuracy"] = (p.detach().argmax(-1) == query_y).float().mean()
        return self.each_loss(p.flatten(0, 1), query_y.flatten(0, 1))


class Run(NamedTuple):
    """One training."""

    cell: str
    rate: float
    loud: float  # a factor on the weights of the input, at the start
    seed: int

    def train(self) -> tuple[Asked, float]:
        """The trained learner, and the seconds it took."""
        torch.manual_seed(self.seed)
        model = Asked(1, SYMBOLS, HIDDEN, CELLS[self.cell], F.cross_entropy)
        with torch.no_grad():
            model.cell.weight_ih_l0.mul_(self.loud)
            if self.cell == "lstm":
                model.cell.bias_ih_l0[HIDDEN : 2 * HIDDEN] = 1  # of the forget gate
        history = fit(
            model,
            Recall(seed=self.seed),
            STEPS,
            optimizer=torch.optim.Adam(model.parameters(), lr=self.rate),
            schedule=lambda k: half_cosine(k / STEPS),
            seed=self.seed,
            checkpoint=HERE / "runs" / ("recall_" + "_".join(map(str, self)) + ".safetensors"),
            device="cpu",
            progress=False,
        )
        return model.eval(), history.seconds


@torch.no_grad()
def right(model: Asked, delay: int, seed: int, n: int = 1000) -> Tensor:
    """1 or 0 for each of n tasks of one delay, a fifth of them if it is very long."""
    n = n if delay <= 500 else n // 5
    support_x, support_y, query_x, query_y = Recall(tasks=n, seed=seed, delay=delay)[0]
    answer = model.adapt(support_x, support_y)(query_x).argmax(-1)
    return (answer == query_y)[:, 0].double()


def validation(model: Asked) -> float:
    """Mean accuracy at delays up to the longest trained, on tasks that are neither trained on nor tested."""
    return sum(right(model, d, 1000).mean().item() for d in range(5, LONGEST + 1, 5)) / (
        LONGEST // 5
    )


def recall() -> None:
    """Each cell with the rate and the start that are best on validation tasks at seed 0, then with the other seeds."""
    for cell in CELLS:
        runs = [Run(cell, rate, loud, SEEDS[0]) for rate in RATES[cell] for loud in LOUD]
        done = {run: run.train() for run in runs}
        tried = {run: validation(model) for run, (model, _) in done.items()}
        best = max(runs, key=tried.__getitem__)
        others = [best._replace(seed=seed) for seed in SEEDS[1:]]
        done |= {run: run.train() for run in others}
        chosen = [done[run][0] for run in (best, *others)]
        accuracy = [[right(m, d, 2000).mean().item() for d in DELAYS] for m in chosen]
        mean = [sum(column) / len(chosen) for column in zip(*accuracy, strict=True)]
        record(
            "recall",
            cell,
            Result(torch.cat([right(m, LONGEST, 2000) for m in chosen])),
            protocol=f"one label of {SYMBOLS} told first, then others, one a step, then asked; delays 1 to {LONGEST} "
            f"in training, the longest ones from step {STEPS // 2} on; {HIDDEN} units; {STEPS:,} steps of {TASKS} "
            "tasks, Adam, half-cosine to 0; rate and scale of the input's weights at the start chosen on validation "
            f"tasks at seed {SEEDS[0]}; the forget gate of the LSTM begins with bias 1; accuracy at delay "
            f"{LONGEST}, all seeds",
            parameters=sum(p.numel() for p in chosen[0].parameters()),
            longest=LONGEST,
            rate=best.rate,
            loud=best.loud,
            tried=[
                {"rate": r.rate, "loud": r.loud, "validation": round(100 * v, 2)}
                for r, v in tried.items()
            ],
            seeds=list(SEEDS),
            steps=STEPS,
            seconds=round(sum(seconds for _, seconds in done.values())),
            delays=list(DELAYS),
            accuracy_by_delay=[[round(100 * a, 2) for a in line] for line in accuracy],
            fails_at=next((d for d, a in zip(DELAYS, mean, strict=True) if a < ENOUGH), None),
        )
