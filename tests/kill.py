"""Kill training at random moments with kill -9, go on, and compare the end with that of a run left alone.

    python tests/kill.py --kills 100            # three methods in turn, checkpoint_every=1
    python tests/kill.py --kills 6 --seed 3

After every kill the same command is started again. A method's run is right if its last checkpoint,
all but the seconds, is to the bit that of an uninterrupted run, and no other file is left.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import torch
from torch import nn

from mlbook import Dataset, fit
from mlbook.data.files import read_tensors
from mlbook.metric import PrototypicalNetwork
from mlbook.model_based import MANN
from mlbook.optimization import MAML

METHODS = ("prototypical", "maml", "mann")
STEPS = 100


def model_of(method: str) -> nn.Module:
    torch.manual_seed(0)
    if method == "maml":
        return MAML(nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3)))
    embed = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Dropout(0.1))
    if method == "mann":
        return MANN(embed, 8, ways=3, hidden=8, slots=6, width=5)
    return PrototypicalNetwork(embed)


def train(method: str, checkpoint: str, steps: int) -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (9, 6, 1, 8, 8), generator=generator, dtype=torch.uint8)
    data = Dataset(images, [f"c{i}" for i in range(9)], ["g"] * 9, "noise")
    model = model_of(method)
    adam = torch.optim.Adam(model.parameters(), 1e-3)
    fit(model, data.episodes(3, 1, 2, tasks=2), steps, adam, lambda k: 1 - k / steps,
        checkpoint=checkpoint, checkpoint_every=1, device="cpu", progress=False)  # fmt: skip


def warm_up() -> None:
    """What torch imports in a first step, once for all the processes that are forked from this one."""
    torch.set_num_threads(1)
    p = nn.Parameter(torch.zeros(1))
    p.grad = torch.zeros(1)
    torch.optim.Adam([p]).step()


def start(method: str, path: Path, steps: int) -> int:
    """Train in a process of its own; forked from this one, so that it begins at once."""
    if pid := os.fork():
        return pid
    try:
        train(method, str(path), steps)
        os._exit(0)
    finally:  # an error: os._exit above does not come here
        traceback.print_exc()
        os._exit(1)


def ended(pid: int, within: float) -> bool:
    """Whether the process comes to its end by itself in so many seconds; it is killed if not."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(1e-4)
    os.kill(pid, signal.SIGKILL)
    return not os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def end_of(path: Path) -> tuple[dict[str, bytes], object]:
    """All that a checkpoint says, but for the time it took."""
    tensors, facts = read_tensors(path)
    facts["history"] = str(facts["history"]).split("seconds")[0]
    return {k: v.reshape(-1).view(torch.uint8).numpy().tobytes() for k, v in tensors.items()}, facts


def killed(method: str, kills: int, r: random.Random, steps: int) -> list[str]:
    """Kill a run so many times, and say what is wrong in the end."""
    wrong, hit, early, ends = [], 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        whole, path = Path(folder, "whole"), Path(folder, "killed")
        began = time.monotonic()
        ended(start(method, whole, steps), math.inf)
        right, seconds = end_of(whole), time.monotonic() - began
        finished = False
        while hit < kills or not finished:
            # so that some 20 kills fall into one run; the last one is left alone
            within = r.uniform(0, seconds / 10) if hit < kills else math.inf
            finished = ended(start(method, path, steps), within)
            if finished:
                ends += 1
                if not path.exists() or end_of(path) != right:
                    wrong.append(f"{method}: another end")
                path.unlink(missing_ok=True)
            else:
                hit += 1
                early += not path.exists()
                if path.exists():
                    read_tensors(path)  # whole at any moment
        left = sorted(p.name for p in Path(folder).iterdir() if p != whole)
        wrong += [f"{method}: {name} is left" for name in left]
    print(
        f"{method:13}{hit} kills, {early} before the first checkpoint; {ends} runs ended, "
        f"{wrong or 'the same to the bit'}; files left over: {len(left)}; {time.monotonic() - began:.0f} s",
        flush=True,
    )
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args()
    warm_up()
    r = random.Random(given.seed)
    shares = [given.kills * (i + 1) // 3 - given.kills * i // 3 for i in range(3)]
    wrong = []
    for method, kills in zip(METHODS, shares, strict=True):
        wrong += killed(method, kills, r, given.steps)
    print(f"{given.kills} kills: {wrong or 'all ends to the bit, 0 files left over'}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
