"""Two processes with a thread each against one process with two: steps of the same training, by turns.

python benchmarks/processes.py

Each number is the median time of a step, from five turns of each; the ratio is above 1 where two processes are ahead.
Nothing else should run. On GPUs, start `examples/distributed.py` with one and with several, and compare `seconds`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from mlbook import fit, load
from mlbook.data import sinusoids
from mlbook.metric import PrototypicalNetwork
from mlbook.nets import MLP, Conv4
from mlbook.optimization import MAML

ROOT = Path(__file__).resolve().parent.parent
SIZES = {  # steps to warm up, steps that count
    "MAML, sinusoids": (20, 100),
    "MAML, 5 ways 1 shot": (2, 8),
    "Prototypical, 20 ways 1 shot": (2, 8),
}


def training(name: str) -> tuple[torch.nn.Module, object]:
    torch.manual_seed(0)
    if name == "MAML, sinusoids":
        return MAML(MLP(1, 40, 40, 1), inner_lr=0.01, loss=F.mse_loss), sinusoids(tasks=24)
    train = load("glyphs").split("characters", seed=0)[0]
    if name == "MAML, 5 ways 1 shot":
        model = MAML(
            torch.nn.Sequential(
                Conv4(hidden=32, track_running_stats=False), torch.nn.Linear(32, 5)
            ),
            inner_lr=0.4,
        )
        return model, train.episodes(ways=5, shots=1, queries=5, tasks=8)
    return PrototypicalNetwork(Conv4()), train.episodes(ways=20, shots=1, queries=5, tasks=4)


def one_run(name: str, processes: int) -> None:
    """Print the time of a step; in a process of its own, or in two."""
    fabric = None
    if processes > 1:
        from lightning_fabric import Fabric

        fabric = Fabric(accelerator="cpu", devices=processes, strategy="ddp")
        fabric.launch()
    torch.set_num_threads(2 // processes)
    warm, counted = SIZES[name]
    model, tasks = training(name)
    times: list[float] = []
    fit(
        model,
        tasks,
        warm + counted,
        fabric=fabric,
        device=None if fabric else "cpu",
        progress=False,
        callback=lambda *_: times.append(time.perf_counter()),
    )
    if times:  # of the first process
        print(f"step {(times[-1] - times[warm - 1]) / counted}")


def seconds(name: str, processes: int) -> float:
    command = [sys.executable, __file__, name, str(processes)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(
        next(line for line in out.stdout.splitlines() if line.startswith("step")).split()[1]
    )


def main() -> None:
    print("ms a step                        one process   two processes   ratio")
    for name in SIZES:
        turns = [(seconds(name, 1), seconds(name, 2)) for _ in range(5)]
        one, two = (1000 * statistics.median(side) for side in zip(*turns, strict=True))
        ratio = statistics.median(a / b for a, b in turns)
        print(f"{name:30}{one:14.1f}{two:16.1f}{ratio:10.2f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        one_run(sys.argv[1], int(sys.argv[2]))
    else:
        main()
