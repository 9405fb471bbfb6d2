"""A meta-step of second-order MAML: this package beside higher, TorchOpt and the textbook's loop, in one run.

    python benchmarks/maml.py
    pip install --no-deps higher torchopt optree graphviz && python benchmarks/maml.py    # with the peers

The meta-gradient of 16 tasks, 5-way 1-shot with 15 queries a class, through 1 and through 5 inner steps. All sides get
the same pictures, the same weights and four blocks of 32 filters: the peers the usual convolution, batch norm, ReLU and
pooling in the default layout, `MAML` the package's `Conv4`. Each side takes its tasks one at a time, gradients
accumulate.

- *textbook*: `functional_call`, `torch.autograd.grad(..., create_graph=True)`, a dictionary of updated weights.
- *higher*: `innerloop_ctx` around the network and SGD.
- *torchopt*: `MetaSGD` on the network, whose state is put back after every task.

First the meta-gradients are compared, as one vector, in double precision: they must agree to 1e-4 of its length. (In
single precision rounding decides which pixel wins a max-pooling; that difference is printed beside it.) Then the sides
take turns, round by round, on the same tensors; printed are the median seconds over the rounds and the median of the
rounds' ratios. Peak memory is that of a fresh process for each side (Linux only): its largest resident size during the
second meta-step less its size before it, with freed memory returned to the system at once. On a GPU `MAML` runs its 32
tasks at once, and the memory is what torch allocated at most.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from mlbook import load
from mlbook.nets import Conv4
from mlbook.optimization import MAML

Tasks = tuple[Tensor, Tensor, Tensor, Tensor]  # support_x, support_y, query_x, query_y
Side = Callable[
    [nn.Module, Tasks, int, float], None
]  # adds the meta-gradient to the parameters' .grad
PEERS = {"higher": ("higher",), "torchopt": ("torchopt", "optree", "graphviz")}


def mlbook(net: nn.Module, tasks: Tasks, steps: int, lr: float) -> None:
    """`MAML`: one task after the other on a CPU, all at once on a GPU."""
    model, size = MAML(net, lr, steps), len(tasks[0]) if tasks[0].is_cuda else 1
    for part in zip(*(x.split(size) for x in tasks), strict=True):
        (model.loss(*part) * size / len(tasks[0])).backward()


def textbook(net: nn.Module, tasks: Tasks, steps: int, lr: float) -> None:
    """The loop as it is usually written by hand."""
    for support_x, support_y, query_x, query_y in zip(*tasks, strict=True):
        theta = dict(net.named_parameters())
        for _ in range(steps):
            loss = F.cross_entropy(functional_call(net, theta, (support_x,)), support_y)
            g = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
            theta = {k: p - lr * g for (k, p), g in zip(theta.items(), g, strict=True)}
        loss = F.cross_entropy(functional_call(net, theta, (query_x,)), query_y)
        (loss / len(tasks[0])).backward()


def higher(net: nn.Module, tasks: Tasks, steps: int, lr: float) -> None:
    """As in higher's example of MAML."""
    from higher import innerloop_ctx

    sgd = torch.optim.SGD(net.parameters(), lr)
    for support_x, support_y, query_x, query_y in zip(*tasks, strict=True):
        with innerloop_ctx(net, sgd, copy_initial_weights=False) as (adapted, inner):
            for _ in range(steps):
                inner.step(F.cross_entropy(adapted(support_x), support_y))
            (F.cross_entropy(adapted(query_x), query_y) / len(tasks[0])).backward()


def torchopt(net: nn.Module, tasks: Tasks, steps: int, lr: float) -> None:
    """As in TorchOpt's example of MAML."""
    from torchopt import MetaSGD, extract_state_dict, recover_state_dict

    inner = MetaSGD(net, lr=lr)
    start = [extract_state_dict(x, by="reference") for x in (net, inner)]
    for support_x, support_y, query_x, query_y in zip(*tasks, strict=True):
        for _ in range(steps):
            inner.step(F.cross_entropy(net(support_x), support_y))
        (F.cross_entropy(net(query_x), query_y) / len(tasks[0])).backward()
        for x, state in zip((net, inner), start, strict=True):
            recover_state_dict(x, state)


SIDES: dict[str, Side] = {
    "mlbook": mlbook,
    "textbook": textbook,
    "higher": higher,
    "torchopt": torchopt,
}


def network(side: str, ways: int, filters: int) -> nn.Module:
    """The same network with the same weights, as the package and as most repositories write it."""
    torch.manual_seed(0)
    head = nn.Linear(filters, ways)
    fast = nn.Sequential(Conv4(hidden=filters, track_running_stats=False), head)
    if side == "mlbook":
        return fast
    layers: list[nn.Module] = []
    for i in range(4):
        conv = nn.Conv2d(filters if i else 1, filters, 3, padding=1)
        norm = nn.BatchNorm2d(filters, track_running_stats=False)
        layers += [conv, norm, nn.ReLU(), nn.MaxPool2d(2)]
    usual = nn.Sequential(*layers, nn.Flatten(), nn.Linear(filters, ways))
    with torch.no_grad():
        for p, q in zip(usual.parameters(), fast.parameters(), strict=True):
            p.copy_(q)
    return usual


def meta_gradient(side: str, net: nn.Module, tasks: Tasks, steps: int, lr: float) -> Tensor:
    """One meta-step's gradient as a vector."""
    net.zero_grad()
    SIDES[side](net, tasks, steps, lr)
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def resident(key: str) -> float:
    """This process's resident size, now (`VmRSS`) or at most (`VmHWM`), in MiB."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"{key}:\s+(\d+)", text)[1]) / 1024  # type: ignore[index]


def memory(side: str, net: nn.Module, tasks: Tasks, steps: int, lr: float) -> float:
    """MiB that a meta-step needs at most beside what stands before it; a first one loads libraries."""
    meta_gradient(side, net, tasks, steps, lr)
    if tasks[0].is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        meta_gradient(side, net, tasks, steps, lr)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident("VmRSS")
    meta_gradient(side, net, tasks, steps, lr)
    return resident("VmHWM") - before


def memory_of(side: str, steps: int) -> float:
    """The same, in a fresh process; what is freed there goes back to the system at once."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    env["MALLOC_MMAP_THRESHOLD_"] = env["MALLOC_TRIM_THRESHOLD_"] = "16384"
    command = [sys.executable, *sys.argv, "--steps", str(steps), "--memory", side]
    return float(subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE).stdout)


def main() -> None:
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 5], help="inner steps")
    parser.add_argument("--tasks", type=int, default=32 if gpu else 16)
    parser.add_argument("--ways", type=int, default=5)
    parser.add_argument("--shots", type=int, default=1)
    parser.add_argument("--queries", type=int, default=15, help="a class")
    parser.add_argument("--filters", type=int, default=32)
    parser.add_argument("--lr", type=float, default=0.4, help="of the inner loop")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory", choices=SIDES, help="print the peak memory of this side alone")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = "cuda" if gpu else "cpu"
    data = load("omniglot", fallback="glyphs").split("characters")[0]
    batch = data.episodes(args.ways, args.shots, args.queries, tasks=args.tasks)[0]
    x, y, query_x, query_y = batch.support_x, batch.support_y, batch.query_x, batch.query_y
    tasks = (x.to(device), y.to(device), query_x.to(device), query_y.to(device))
    shape = (args.ways, args.filters)
    if args.memory:
        net = network(args.memory, *shape).to(device)
        print(memory(args.memory, net, tasks, args.steps[0], args.lr))
        return

    sides = list(SIDES)
    for peer, needed in PEERS.items():
        if not all(map(importlib.util.find_spec, needed)):
            print(f"{peer} is not installed (pip install --no-deps {' '.join(needed)}): left out")
            sides.remove(peer)
    task = f"{args.tasks} tasks, {args.ways}-way {args.shots}-shot, {args.queries} queries a class"
    where = torch.cuda.get_device_name() if gpu else f"{torch.get_num_threads()} threads"
    print(f"{data.name}, {task}, {args.filters} filters, {where}")
    for steps in args.steps:
        nets = {side: network(side, *shape).to(device) for side in sides}
        print(f"\n{steps} inner step{'s' * (steps > 1)}", flush=True)
        errors: dict[str, list[float]] = {side: [] for side in sides if side != "textbook"}
        for dtype in (torch.float64, torch.float32):
            same = tuple(x.to(dtype) if x.is_floating_point() else x for x in tasks)
            g = {
                side: meta_gradient(side, net.to(dtype), same, steps, args.lr)
                for side, net in nets.items()
            }
            for side in errors:
                difference = (g[side] - g["textbook"]).norm() / g["textbook"].norm()
                errors[side].append(difference.item())
        print("meta-gradient, relative difference to the textbook's (float64, float32)")
        for side, (double, single) in errors.items():
            print(f"  {side:9} {double:.0e}, {single:.0e}")
            if not double < 1e-4:
                raise SystemExit(f"{side} has another meta-gradient: nothing to compare")
        taken: dict[str, list[float]] = {side: [] for side in sides}
        for i in range(args.rounds + 1):
            for side, net in nets.items():
                once = seconds(lambda: meta_gradient(side, net, tasks, steps, args.lr))  # noqa: B023
                taken[side] += [once] * (i > 0)  # the first warms up
        for side, values in taken.items():
            ratios = [b / a for a, b in zip(taken["mlbook"], values, strict=True)]
            print(
                f"  {side:9} {statistics.median(values):.3f} s a meta-step, "
                f"{statistics.median(ratios):.2f} x mlbook, peak {memory_of(side, steps):.0f} MiB",
                flush=True,
            )
        peers = {
            side: statistics.median(taken[side])
            for side in errors.keys() | {"textbook"}
            if side != "mlbook"
        }
        fastest = min(peers, key=peers.__getitem__)
        gain = [b / a for a, b in zip(taken["mlbook"], taken[fastest], strict=True)]
        print(f"  the fastest peer, {fastest}, takes {statistics.median(gain):.2f} x as long")


if __name__ == "__main__":
    main()
