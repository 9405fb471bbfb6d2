"""A training step of Prototypical Networks: `fit`, the bare arithmetic, and easyfsl, side by side in one run.

    python benchmarks/prototypical.py
    pip install --no-deps easyfsl pandas && python benchmarks/prototypical.py    # with the peer

The three take turns, round by round, on the same data and batch shape, so that whatever else the machine does
falls on all of them. Printed are the median seconds a step over the rounds and the median of the rounds' ratios.

- *bare*: forward, backward and Adam of the same network on a batch that is ready, no sampling, no progress bar.
- *fit*: the whole step: sampling, rotations, forward, backward, Adam, history and progress bar.
- *easyfsl*: `PrototypicalNetworks` with its own `TaskSampler` in a `DataLoader`, and the usual Conv4
  (convolution, batch norm, ReLU, pooling, in the default layout). It imports torchvision, of which nothing used
  here depends; where that is missing an empty module stands in.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlbook import Dataset, fit, load
from mlbook.metric import PrototypicalNetwork
from mlbook.nets import Conv4


def bare_steps(data: Dataset, ways: int, shots: int, queries: int) -> Callable[[int], None]:
    """Forward, backward and Adam on one ready batch."""
    torch.manual_seed(0)
    model = PrototypicalNetwork(Conv4())
    batch = data.episodes(ways, shots, queries)[0]
    optimizer = torch.optim.Adam(model.parameters())
    n = ways * shots
    x = torch.cat([batch.support_x, batch.query_x], 1)[0]

    def steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            z = model.embed(x)
            c = F.one_hot(batch.support_y[0]).float().T @ z[:n] / shots
            F.cross_entropy(-torch.cdist(z[n:], c).square(), batch.query_y[0]).backward()
            optimizer.step()

    return steps


def fit_steps(data: Dataset, ways: int, shots: int, queries: int) -> Callable[[int], None]:
    """The same number of steps of `fit`, with all that a user gets."""
    torch.manual_seed(0)
    model = PrototypicalNetwork(Conv4())
    tasks = data.episodes(ways, shots, queries, rotations=True)
    optimizer = torch.optim.Adam(model.parameters())
    return lambda count: void(fit(model, tasks, steps=count, optimizer=optimizer, device="cpu"))


def void(_: object) -> None:
    """Forget a result."""


def usual_conv4() -> nn.Module:
    """Conv4 as most repositories write it."""
    blocks = []
    for i in range(4):
        conv = nn.Conv2d(1 if i == 0 else 64, 64, 3, padding=1)
        blocks.append(nn.Sequential(conv, nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)))
    return nn.Sequential(*blocks, nn.Flatten())


def easyfsl_steps(data: Dataset, ways: int, shots: int, queries: int) -> Callable[[int], None]:
    """easyfsl's classifier, sampler and collation, as its notebooks use them."""
    if importlib.util.find_spec("torchvision") is None:
        stub_torchvision()
    from easyfsl.datasets import FewShotDataset
    from easyfsl.methods import PrototypicalNetworks
    from easyfsl.samplers import TaskSampler
    from torch.utils.data import DataLoader, Sampler

    # easyfsl 1.5 hands its sampler's base class an argument that newer releases of torch no longer take
    Sampler.__init__ = lambda self, data_source=None: None  # type: ignore[method-assign, misc]
    images = data.images.flatten(0, 1)

    class InMemory(FewShotDataset):  # type: ignore[misc, no-any-unimported]
        def __getitem__(self, i: int) -> tuple[Tensor, int]:
            return images[i].float().div_(255), i // data.images.shape[1]

        def __len__(self) -> int:
            return len(images)

        def get_labels(self) -> list[int]:
            return [i // data.images.shape[1] for i in range(len(images))]

    torch.manual_seed(0)
    model = PrototypicalNetworks(usual_conv4())
    model.train()
    optimizer = torch.optim.Adam(model.parameters())
    sampler = TaskSampler(InMemory(), ways, shots, queries, n_tasks=10**9)
    loader = DataLoader(InMemory(), batch_sampler=sampler, collate_fn=sampler.episodic_collate_fn)
    batches: Iterator[tuple[Tensor, Tensor, Tensor, Tensor, list[int]]] = iter(loader)

    def steps(count: int) -> None:
        for _ in range(count):
            support, support_y, query, query_y, _ = next(batches)
            optimizer.zero_grad()
            model.process_support_set(support, support_y)
            F.cross_entropy(model(query), query_y).backward()
            optimizer.step()

    return steps


def stub_torchvision() -> None:
    """An empty torchvision, whatever is asked of it."""

    class Anything(types.ModuleType):
        def __getattr__(self, name: str) -> object:
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {})

    for name in ("", ".transforms", ".datasets", ".models", ".models.resnet"):
        sys.modules[f"torchvision{name}"] = Anything(f"torchvision{name}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ways", type=int, default=20)
    parser.add_argument("--shots", type=int, default=1)
    parser.add_argument("--queries", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20, help="steps a round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = load("omniglot", fallback="glyphs").split("characters")[0]
    shape = (data, args.ways, args.shots, args.queries)
    sides = {"bare": bare_steps(*shape), "fit": fit_steps(*shape)}
    if importlib.util.find_spec("easyfsl"):
        sides["easyfsl"] = easyfsl_steps(*shape)
    else:
        print("easyfsl is not installed (pip install --no-deps easyfsl pandas): without it here")
    pictures = args.ways * (args.shots + args.queries)
    print(
        f"{data.name}, {args.ways} ways, {pictures} pictures a step, {torch.get_num_threads()} threads"
    )
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for steps in sides.values():
        steps(3)  # warm up
    for _ in range(args.rounds):
        for name, steps in sides.items():
            started = time.perf_counter()
            steps(args.steps)
            seconds[name].append((time.perf_counter() - started) / args.steps)
    for name, values in seconds.items():
        ratios = [value / fitted for value, fitted in zip(values, seconds["fit"], strict=True)]
        print(
            f"{name:8} {statistics.median(values):.4f} s a step, {statistics.median(ratios):.2f} x fit"
        )
    overhead = [f / b for f, b in zip(seconds["fit"], seconds["bare"], strict=True)]
    print(f"fit / bare: {statistics.median(overhead):.3f}")
    if "easyfsl" in seconds:
        gain = [e / f for e, f in zip(seconds["easyfsl"], seconds["fit"], strict=True)]
        print(f"easyfsl / fit: {statistics.median(gain):.2f}")


if __name__ == "__main__":
    main()
