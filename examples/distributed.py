"""One training, from a laptop to several machines: the same file, whoever starts its processes.

    python examples/distributed.py                                    one process
    python examples/distributed.py --processes 2                      two, each with a GPU where there are two
    torchrun --nproc_per_node 2 examples/distributed.py
    fabric run --accelerator cpu --devices 2 examples/distributed.py
    sbatch examples/distributed.sbatch                                two machines with four GPUs each

Started again with the same arguments, it goes on from its last checkpoint, or has nothing left to do. Runs with
other seeds have files of their own, so that several can be under way. Needs `pip install "mlbook[distributed]"`.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric

from mlbook import evaluate, fit
from mlbook.data import sinusoids
from mlbook.nets import MLP
from mlbook.optimization import MAML


def launched(processes: int, accelerator: str) -> Fabric:
    """A Fabric with all its processes: those that a launcher has started, or else as many as asked for."""
    if "LT_CLI_USED" in os.environ:  # `fabric run` has told it everything
        return Fabric()
    machines = 1
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun
        processes = int(os.environ["LOCAL_WORLD_SIZE"])
        machines = int(os.environ["WORLD_SIZE"]) // processes
    elif "SLURM_STEP_ID" in os.environ:  # srun
        machines = int(os.environ["SLURM_NNODES"])
        processes = int(os.environ["SLURM_NTASKS"]) // machines
    strategy = "ddp" if processes * machines > 1 else "auto"
    fabric = Fabric(
        accelerator=accelerator, strategy=strategy, devices=processes, num_nodes=machines
    )
    fabric.launch()
    return fabric


def main() -> None:
    """Train, evaluate, and leave the weights and a file of numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=1, help="on this machine")
    parser.add_argument("--accelerator", default="auto", help="auto, cpu or gpu")
    parser.add_argument("--seed", type=int, default=0, help="of weights and tasks")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("runs"), help="a folder for all runs")
    args = parser.parse_args()

    fabric = launched(args.processes, args.accelerator)
    torch.manual_seed(args.seed)  # the same start in every process
    model = MAML(MLP(1, 40, 40, 1), inner_lr=0.01, loss=F.mse_loss)
    history = fit(
        model,
        sinusoids(tasks=24, seed=args.seed),  # a number that 2, 3, 4, 6 or 8 processes share evenly
        steps=args.steps,
        validate=sinusoids(seed=1_000_000),
        checkpoint=args.out / f"seed{args.seed}.safetensors",
        fabric=fabric,
    )
    if fabric.global_rank == 0:  # one process speaks and writes for all
        result = evaluate(model, sinusoids(seed=2_000_000))
        record = {
            "seed": args.seed,
            "steps": args.steps,
            "processes": fabric.world_size,
            "seconds": history.seconds,
            "squared error": result.mean,
            "interval": result.interval,
        }
        path = args.out / f"seed{args.seed}.json"
        part = path.with_suffix(".part")
        part.write_text(json.dumps(record, indent=1), encoding="utf-8")
        part.replace(path)  # nobody finds it half-written
        print(f"{fabric.world_size} processes: {result}")


if __name__ == "__main__":  # every process reads this file again
    main()
