"""MAML, its relatives and two methods without an inner loop, each trained on Omniglot for the same number of steps.

    python results/run.py optimization_omniglot         # or: make results METHOD=optimization_omniglot
    python results/optimization_omniglot.py anil 0      # one training, and what it is measured on

What stands behind book/optimization/maml_omniglot.ipynb. All take the tasks of that notebook, its network, optimizer
and number of steps; the pre-trained classifier takes batches of as many pictures. Each training writes one
`mlbook/results/optimization_omniglot_METHOD_seedS.json` with the number of right answers of every test task, so that
differences can be paired, and is skipped from then on. Two to three minutes each on one core.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from comparison import entry
from machine import hardware
from schedules import half_cosine
from torch import Tensor, nn

from mlbook import evaluate, fit, load
from mlbook.baselines import PretrainedCentroids
from mlbook.data.files import atomic
from mlbook.episodes import Batches
from mlbook.metric import PrototypicalNetwork
from mlbook.nets import Conv4
from mlbook.optimization import ANIL, MAML, MetaSGD
from mlbook.results import FOLDER

HERE = Path(__file__).parent
STEPS, TASKS, QUERIES, RATE = 1300, 4, 5, 3e-3
SEEDS = (0, 1)
EPISODES = 600


def adaptive() -> nn.Sequential:
    """Body and head of the methods with an inner loop, whose batch norm uses the batch at hand."""
    return nn.Sequential(Conv4(hidden=32, track_running_stats=False), nn.Linear(32, 5))


MODELS: dict[str, Callable[[int], nn.Module]] = {  # from the number of training classes
    "anil": lambda n: ANIL(*adaptive(), inner_lr=0.4),
    "first_order": lambda n: MAML(adaptive(), inner_lr=0.4, first_order=True),
    "meta_sgd": lambda n: MetaSGD(adaptive(), inner_lr=0.4),
    "maml": lambda n: MAML(adaptive(), inner_lr=0.4),
    "prototypical": lambda n: PrototypicalNetwork(Conv4(hidden=32), scale=0.05),
    "pretrained": lambda n: PretrainedCentroids(Conv4(hidden=32), 32, n),
}


class NIL(nn.Module):
    """No inner loop: the label of the support example whose features have the most similar direction; one shot."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        z = nn.functional.normalize(self.body(support_x[0][support_y[0].argsort()]), dim=-1)
        return lambda x: (nn.functional.normalize(self.body(x[0]), dim=-1) @ z.T)[None]


def what_adapts(model: nn.Module) -> dict[str, nn.Module]:
    """The trained model with only its head or only its body adapting, and with its head removed."""
    if isinstance(model, ANIL):
        return {"head_removed": NIL(model.body)}
    if not isinstance(model, MAML):
        return {}
    variants: dict[str, nn.Module] = {"head_removed": NIL(model.net[0])}  # type: ignore[index]
    for name, still in (("only_the_head", 0), ("only_the_body", 1)):
        variants[name] = copy.deepcopy(model)
        variants[name].net[still].requires_grad_(False)  # type: ignore[index, operator, union-attr]
    return variants


def rates(model: MetaSGD) -> list[dict[str, Any]]:
    """What Meta-SGD's learned rates look like: for each tensor of θ its name, their quantiles and the share below 0."""
    at = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
    table = []
    for (name, _), alpha in zip(model.net.named_parameters(), model.alpha, strict=True):
        values: Tensor = alpha.detach().flatten()
        table.append(
            {
                "name": name,
                "coordinates": values.numel(),
                "quantiles": [round(v, 4) for v in values.quantile(at).tolist()],
                "negative": round(float((values < 0).float().mean()), 4),
            }
        )
    return table


def measure(name: str, seed: int) -> None:
    """Train once, evaluate on test classes, write one JSON; do nothing if that file is there."""
    path = FOLDER / f"optimization_omniglot_{name}_seed{seed}.json"
    if path.exists():
        return
    data, _, test = load("omniglot").split("characters", seed=0)
    pictures = TASKS * 5 * (1 + QUERIES)
    batches = Batches(data, pictures, seed=seed)
    torch.manual_seed(seed)
    model = MODELS[name](batches.classes)
    source = batches if name == "pretrained" else data.episodes(5, 1, QUERIES, TASKS, seed=seed)
    trial = copy.deepcopy(model)
    fit(trial, source, 3, progress=False)
    began = time.process_time()  # what the clock says where one thread has a core to itself
    fit(trial, source, 20, progress=False)
    seconds = STEPS * (time.process_time() - began) / 20
    history = fit(
        model,
        source,
        steps=STEPS,
        optimizer=torch.optim.Adam(model.parameters(), lr=RATE),
        schedule=lambda k: half_cosine(k / STEPS),
        seed=seed,
        checkpoint=HERE / "runs" / f"optimization_omniglot_{name}_seed{seed}.safetensors",
        checkpoint_every=100,
        progress=False,
    )
    results = {}
    for shots, n in ((1, EPISODES), (5, EPISODES // 3)):
        tasks = test.episodes(5, shots, 15, rotations=True, seed=1)
        result = evaluate(model, tasks, n)
        results[f"5w{shots}s"] = {**entry(result, 75), "asked": 75}
        print(f"{name} seed {seed}, {shots} shots: {result}, {seconds:.0f} s", flush=True)
    for label, variant in what_adapts(model).items():
        tasks = test.episodes(5, 1, 15, rotations=True, seed=1)
        results[f"5w1s_{label}"] = {
            **entry(evaluate(variant, tasks, EPISODES // 3), 75),
            "asked": 75,
        }
    statistics = (
        "running batch-norm statistics at meta-test (inductive)"
        if name in ("prototypical", "pretrained")
        else "batch norm over all queries of a task at meta-test (transductive)"
    )
    whole = {
        "method": "optimization_omniglot",
        "model": name,
        "seed": seed,
        "steps": STEPS,
        "pictures": STEPS * pictures,
        "rate": RATE,
        "seconds": round(seconds, 1),
        "loss": round(sum(history.loss[-100:]) / 100, 4),
        "episodes": {setting: len(r["right"].split()) for setting, r in results.items()},
        "results": results,
        **({"rates": rates(model)} if isinstance(model, MetaSGD) else {}),
        "protocol": "Omniglot 'characters' split, seed 0; 28x28; classes turned by multiples of 90 degrees in training "
        f"and at meta-test; Conv4-32; {STEPS:,} steps of {TASKS} 5-way 1-shot tasks with {QUERIES} queries a class, "
        f"one inner step of rate 0.4 (or batches of {pictures} pictures); Adam at {RATE:g}, half-cosine to 0; "
        f"test episodes of seed 1, 15 queries a class; {statistics}; seconds: those of 20 steps, scaled",
        "hardware": hardware(),
        "torch": torch.__version__,
        "command": "make results METHOD=optimization_omniglot",
    }
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n")


def optimization_omniglot() -> None:
    """All trainings that have no result yet."""
    for seed in SEEDS:
        for name in MODELS:
            measure(name, seed)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(sys.argv[1], int(sys.argv[2]))
    else:
        optimization_omniglot()
