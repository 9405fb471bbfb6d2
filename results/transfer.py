"""Meta-learning against transfer learning, by the number of shots: what stands behind book/optimization/transfer.ipynb.

    python results/run.py transfer          # or: make results METHOD=transfer

Two networks of one shape are trained on Omniglot's training characters, each for about a minute and a half of one
core: by MAML, on 1-shot and 5-shot tasks in turn, and in the ordinary way, on all classes together. How fast and how
long each then learns in a new task is chosen on validation characters, for each number of shots. All are asked the
same 5-way tasks, of handwriting and of print; every task's right answers are kept, so that differences can be paired.
Resumable: a training goes on from its checkpoint, a measurement from its last 50 tasks. Half an hour on one core at
most.
"""

from __future__ import annotations

import copy
import json
import time
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from comparison import entry as entry_of
from comparison import table
from machine import hardware
from schedules import half_cosine
from torch import nn

from mlbook import Dataset, Episode, Episodes, Result, evaluate, fit, load, load_pretrained
from mlbook.baselines import FineTuning, PretrainedCentroids
from mlbook.data.files import atomic
from mlbook.episodes import Batches
from mlbook.nets import Conv4
from mlbook.optimization import MAML
from mlbook.results import FOLDER

HERE = Path(__file__).parent
RUNS = HERE / "runs"
SHOTS = (1, 2, 5, 10, 15)
DOMAINS = ("omniglot", "glyphs")
QUERIES = 2  # of each of the 5 classes
TASKS = {1: 600, 2: 600, 5: 600, 10: 300, 15: 300}  # test tasks, by the shots
CHOOSING = 50  # validation tasks
STEPS = {"maml": 700, "fine_tuning": 2800}
# what a new task is learned with: the rates and the steps that are tried on validation tasks
ADAM = partial(torch.optim.Adam, fused=True)
TRIED: dict[str, tuple[Any, tuple[float, ...], tuple[int, ...]]] = {
    "maml": (torch.optim.SGD, (0.4,), (1, 2, 5, 10)),
    "fine_tuning": (ADAM, (1e-3, 3e-3), (5, 10, 20, 40)),
    "scratch": (ADAM, (3e-3,), (20,)),
}
PROTOCOL = (
    "'characters' split of each set, seed 0; 28x28, upright; Conv4-32 with stride 2; about a minute and a half of "
    "training on one core: MAML, 700 steps, 8 tasks of 5 ways and 1 shot or 4 tasks of 5 shots in turn, 5 queries a "
    "class, one inner step of rate 0.4, Adam 3e-3; pre-training, 2800 steps of 240 pictures of all training classes, "
    "Adam 5e-3; half a cosine to 0; in a new task the optimizer's rate and steps that were best on 50 validation tasks "
    "of handwriting with as many shots; 5-way test tasks of seed 1, 2 queries a class, the same for all; inductive, "
    "where 'transductive' does not say otherwise; MAML's choice is made transductively"
)


@cache
def split(domain: str) -> tuple[Dataset, Dataset, Dataset]:
    """Training, validation and test characters."""
    return load(domain).split("characters", seed=0)


class InTurn:
    """The batches of several sources in turn."""

    def __init__(self, *sources: Episodes) -> None:
        self.sources = sources

    def __getitem__(self, k: int) -> Episode:
        turn, i = k % len(self.sources), k // len(self.sources)
        return self.sources[turn][i]


def cost(name: str) -> float:
    """Seconds of one core that the training takes, from 20 of its steps."""
    all_steps, began = STEPS[name], 0.0
    for STEPS[name] in (1, 21):  # the first to load the data
        began = time.process_time()
        train(name, keep=False)
    STEPS[name] = all_steps
    return (time.process_time() - began) / 21 * all_steps


def untrained(name: str, classes: int = 1) -> nn.Module:
    """The model before training, its weights seeded."""
    torch.manual_seed(0)
    body = Conv4(hidden=32, stride=2, pools=0, track_running_stats=name != "maml")
    return (
        MAML(nn.Sequential(body, nn.Linear(32, 5)))
        if name == "maml"
        else FineTuning(body, 32, classes)
    )


def train(name: str, keep: bool = True) -> tuple[nn.Module, float]:
    """The model, trained or taken from its checkpoint, and the seconds that took."""
    data = split("omniglot")[0]
    steps, batches = STEPS[name], Batches(data, 240, rotations=False)
    few, more = (data.episodes(5, k, 5, tasks, rotations=False) for k, tasks in ((1, 8), (5, 4)))
    model = untrained(name, batches.classes)
    history = fit(
        model,
        InTurn(few, more) if name == "maml" else batches,
        steps=steps,
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3 if name == "maml" else 5e-3),
        schedule=lambda k: half_cosine(k / steps),
        checkpoint=RUNS / f"transfer_{name}.safetensors" if keep else None,
        checkpoint_every=50,
        progress=False,
    )
    return model.eval(), history.seconds


def learn(
    name: str, model: Any, episode: Episode, rate: float, marks: tuple[int, ...]
) -> dict[str, list[int]]:
    """Learn one task; the queries answered rightly after each number of steps in `marks`, and what else can be counted.

    This is `adapt` of `MAML` and of `FineTuning`, with a look at the queries on the way.
    """
    sx, sy, qx, qy = (t[0] for t in episode)
    net: nn.Module = copy.deepcopy(model.net)
    if name != "maml":
        head = nn.Linear(32, 5)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        net = nn.Sequential(net, head)
    net.train(name == "scratch")  # its batch norm has no statistics yet
    optimizer = TRIED[name][0](net.parameters(), lr=rate)
    right: dict[str, list[int]] = {"right": []}
    for step in range(max(marks) + 1):
        if step in marks:
            net.eval()
            with torch.no_grad():
                answers = net(qx).argmax(-1)
                right["right"].append(int((answers == qy).sum()))
            net.train(name == "scratch")
        if step < max(marks):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(sx), sy).backward()
            optimizer.step()
    if name == "maml" and len(marks) == 1:  # each query alone with the support set
        right["transductive"] = right["right"]
        with torch.no_grad():
            alone = torch.stack([net(torch.cat([sx, x[None]]))[-1] for x in qx])
        right["right"] = [int((alone.argmax(-1) == qy).sum())]
    return right


def asked(
    name: str,
    model: Any,
    data: Dataset,
    shots: int,
    n: int,
    rate: float,
    marks: tuple[int, ...],
    key: str,
) -> dict[str, list[list[int]]]:
    """`learn` on n tasks: for each count a list over tasks of lists over marks. Kept every 50 tasks."""
    path = RUNS / f"transfer_{name}_{key}.json"
    kept: dict[str, list[list[int]]] = (
        json.loads(path.read_text()) if path.exists() else {"right": []}
    )
    tasks = data.episodes(5, shots, QUERIES, rotations=False, seed=1)
    for k in range(len(kept["right"]), n):
        if (
            k == 0 and len(marks) == 1 and name != "scratch"
        ):  # the same as the package's own `adapt`
            check(name, model, tasks[0], rate, marks[0])
        for what, counts in learn(name, model, tasks[k], rate, marks).items():
            kept.setdefault(what, []).append(counts)
        if (k + 1) % 50 == 0 or k + 1 == n:
            with atomic(path) as temporary:
                temporary.write_text(json.dumps(kept))
    return kept


def check(name: str, model: Any, episode: Episode, rate: float, steps: int) -> None:
    """Raise AssertionError unless `learn` counts what `evaluate` does with the package's own `adapt`."""
    if name == "fine_tuning":
        model.optimizer = partial(TRIED[name][0], lr=rate)
    options = (
        [("right", {"transductive": False}), ("transductive", {})]
        if name == "maml"
        else [("right", {})]
    )
    counted = learn(name, model, episode, rate, (steps,))
    for what, option in options:
        with torch.no_grad():
            scores = model.adapt(episode.support_x, episode.support_y, steps=steps, **option)(
                episode.query_x
            )
        right = int((scores.argmax(-1) == episode.query_y).sum())
        assert abs(right - counted[what][0]) <= 1, (
            name,
            what,
            right,
            counted,
        )  # a tie may fall either way


def choose(name: str, model: Any, val: Dataset, shots: int) -> dict[str, Any]:
    """The rate and the steps with the most right answers on validation tasks, and how all that were tried did."""
    _, rates, marks = TRIED[name]
    tried: dict[tuple[float, int], float] = {}
    for rate in rates:
        counts = asked(
            name, model, val, shots, CHOOSING, rate, marks, f"choose_{shots}_{rate:g}_{max(marks)}"
        )["right"]
        share = torch.tensor(counts).double().mean(0) / (5 * QUERIES)
        tried |= {(rate, steps): float(a) for steps, a in zip(marks, share, strict=True)}
    best = max(tried, key=lambda choice: tried[choice])  # of equals the first: the fewest steps
    listed = [{"rate": r, "steps": s, "accuracy": round(100 * a, 2)} for (r, s), a in tried.items()]
    return {"rate": best[0], "steps": best[1], "validation": listed}


def entry(right: list[int]) -> dict[str, Any]:
    """That of `comparison`, from the right answers of every task."""
    return entry_of(Result(torch.tensor(right).double() / (5 * QUERIES)), 5 * QUERIES)


def store(name: str, steps: int, seconds: float, results: dict[str, Any], **facts: Any) -> None:
    """Write all that is known of one model so far."""
    whole = {
        "method": "transfer",
        "model": name,
        "seed": 0,
        "steps": steps,
        "seconds": round(seconds, 1),
    }
    whole |= {**facts, "queries": 5 * QUERIES, "results": results, "protocol": PROTOCOL}
    whole |= {
        "hardware": hardware(),
        "torch": torch.__version__,
        "command": "make results METHOD=transfer",
    }
    with atomic(FOLDER / f"transfer_{name}.json") as temporary:
        temporary.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n")


def measure(
    name: str, share: int, shots: tuple[int, ...] = SHOTS, domains: tuple[str, ...] = DOMAINS
) -> None:
    """What learns by gradient descent in a new task: MAML, fine-tuning, and fine-tuning from a random start.

    With `share` 2 only the first half of the test tasks, and so on.
    """
    model, seconds = train(name) if name in STEPS else (untrained(name), 0.0)
    val = split("omniglot")[1]
    path = FOLDER / f"transfer_{name}.json"
    before = json.loads(path.read_text()) if path.exists() else {"results": {}, "choices": {}}
    results, choices = before["results"], before["choices"]
    spent = before.get("cpu_seconds") or (round(cost(name)) if name in STEPS else 0)
    for k in shots:
        choices[str(k)] = choice = choose(name, model, val, k)
        for domain in domains:
            test = split(domain)[2]
            rate, steps, began = choice["rate"], choice["steps"], time.perf_counter()
            n = TASKS[k] // share
            counts = asked(
                name, model, test, k, n, rate, (steps,), f"{domain}_{k}_{rate:g}_{steps}"
            )
            for what, right in counts.items():
                variant = "" if what == "right" else f"_{what}"
                results[f"{domain}_{k}{variant}"] = entry([r[0] for r in right])
                print(name, domain, k, what, results[f"{domain}_{k}{variant}"]["accuracy"],
                      f"{time.perf_counter() - began:.0f} s", flush=True)  # fmt: skip
            store(name, STEPS.get(name, 0), seconds, results, cpu_seconds=spent, choices=choices)


def measure_embedding(name: str) -> None:
    """What needs no steps in a new task: centroids on the pre-trained network, and the shipped Prototypical Network."""
    if (FOLDER / f"transfer_{name}.json").exists():
        return
    model, seconds = load_pretrained("prototypical"), 0.0
    if name == "centroids":
        tuned, seconds = train("fine_tuning")
        model = PretrainedCentroids(tuned.net, 32, 1).eval()  # type: ignore[arg-type]
    results = {}
    for domain in DOMAINS:
        quick, numbers = table(model, split(domain)[2])
        for k in SHOTS:
            tasks = numbers.episodes(5, k, QUERIES, rotations=False, seed=1)
            right = (evaluate(quick, tasks, TASKS[k]).values * 5 * QUERIES).round().long()
            results[f"{domain}_{k}"] = entry(right.tolist())
            print(name, domain, k, results[f"{domain}_{k}"]["accuracy"], flush=True)
    store(name, STEPS["fine_tuning"] if name == "centroids" else 5500, seconds, results)


def transfer() -> None:
    """All of it, in the order in which it is missed most."""
    for share, shots in ((6, (1, 5, 10)), (3, (1, 2, 5, 10)), (1, (1, 2, 5)), (1, SHOTS)):
        measure("fine_tuning", share, shots)
        measure_embedding("centroids")
        measure("maml", share, shots)
        measure_embedding("prototypical")
        measure("scratch", max(share, 2), (1, 5), ("omniglot",))


if __name__ == "__main__":
    transfer()
