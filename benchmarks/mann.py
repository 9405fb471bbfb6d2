"""A training step of the memory-augmented network, beside the same LSTM controller without a memory.

    python benchmarks/mann.py [--threads 2]

16 sequences of 50 (5 classes x 10 pictures of 20x20, as in the paper), 200 units, a memory of 128 slots x 40, 4 heads.
A step is the loss, its gradient and Adam's update. Sides take turns, round by round, on the same tensors; printed are
the median seconds of a step and the median of the rounds' ratios to the first side.

- *LSTMCell*: the loop as it is usually written, `nn.LSTMCell` on each picture and the label before it.
- *MANN*: the network with its memory.
- *MANN, feed-forward*: the same with the controller that remembers nothing by itself.
- *LSTMControl*: the control of the chapter, `nn.LSTM` on whole sequences.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlbook.model_based import MANN, LSTMControl


class Cell(nn.Module):
    """The controller alone."""

    def __init__(self, dim: int, ways: int, hidden: int) -> None:
        super().__init__()
        self.ways, self.cell = ways, nn.LSTMCell(dim + ways, hidden)
        self.output = nn.Linear(hidden, ways)

    def sequence(self, x: Tensor, y: Tensor) -> Tensor:
        y = F.pad(F.one_hot(y, self.ways), (0, 0, 1, -1)).to(x.dtype)
        z, hs = x.flatten(2), []
        h = c = z.new_zeros(len(z), self.cell.hidden_size)
        for t in range(z.shape[1]):
            h, c = self.cell(torch.cat([z[:, t], y[:, t]], -1), (h, c))
            hs.append(h)
        return self.output(torch.stack(hs, 1))


def seconds(model: nn.Module, adam: torch.optim.Optimizer, x: Tensor, y: Tensor) -> float:
    """Wall-clock seconds of one training step."""
    if x.is_cuda:
        torch.cuda.synchronize()
    started = time.perf_counter()
    adam.zero_grad()
    loss = F.cross_entropy(model.sequence(x, y).flatten(0, 1), y.flatten())  # type: ignore[operator]
    loss.backward()
    adam.step()
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=16)
    parser.add_argument("--ways", type=int, default=5)
    parser.add_argument("--per-class", type=int, default=10)
    parser.add_argument("--hidden", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    length = args.ways * args.per_class
    x = torch.rand(args.tasks, length, 1, 20, 20, device=device)
    y = torch.arange(args.ways, device=device).repeat(args.tasks, args.per_class)
    y = y.gather(1, torch.rand(y.shape, device=device).argsort(1))
    options = {"dim": 400, "ways": args.ways, "hidden": args.hidden}
    sides: dict[str, nn.Module] = {
        "LSTMCell": Cell(**options),
        "MANN": MANN(nn.Flatten(), **options),
        "MANN, feed-forward": MANN(nn.Flatten(), **options, lstm=False),
        "LSTMControl": LSTMControl(nn.Flatten(), **options),
    }
    adams = {name: torch.optim.Adam(m.to(device).parameters()) for name, m in sides.items()}
    where = torch.cuda.get_device_name() if device == "cuda" else f"{args.threads} threads"
    print(f"{args.tasks} sequences of {length}, {args.hidden} units, {where}")
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for i in range(args.rounds + 2):
        for name, model in sides.items():
            once = seconds(model, adams[name], x, y)
            taken[name] += [once] * (i > 1)  # the first two warm up
    for name, values in taken.items():
        ratio = statistics.median(b / a for a, b in zip(taken["LSTMCell"], values, strict=True))
        print(f"  {name:20} {statistics.median(values):.4f} s a step, {ratio:.2f} x LSTMCell")


if __name__ == "__main__":
    main()
