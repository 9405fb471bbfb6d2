"""What a query costs once a task is learned: every metric-based method, beside embedding the queries and nothing else.

    python benchmarks/metric.py

20 ways, 5 shots, 1,000 queries. `adapt` runs once and is not counted; then the learner answers all queries, and the
method's own network embeds them, in turns, in the same process. Printed for each method: the pictures that its network
saw in `adapt` and in the answer (no method needs to see the support set again), the median seconds of both, and the
median of the rounds' ratios. Weights are untrained: a query costs the same with any.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mlbook.baselines import BaselinePlusPlus, NearestNeighbour, PretrainedCentroids
from mlbook.metric import (
    MatchingNetwork,
    PrototypicalNetwork,
    RelationModule,
    RelationNetwork,
    SiameseNetwork,
)
from mlbook.nets import Conv4

METHODS: dict[str, Callable[[], nn.Module]] = {
    "Siamese": lambda: SiameseNetwork(Conv4()),
    "Matching": lambda: MatchingNetwork(Conv4()),
    "Matching, full context": lambda: MatchingNetwork(Conv4(), full_context=True),
    "Prototypical": lambda: PrototypicalNetwork(Conv4()),
    "Relation": lambda: RelationNetwork(Conv4(pools=2, flatten=False), RelationModule()),
    "pre-trained centroids": lambda: PretrainedCentroids(Conv4(), 64, 100),
    "Baseline++": lambda: BaselinePlusPlus(Conv4(), 64, 100),
}


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(
    model: nn.Module, support_x: Tensor, support_y: Tensor, query_x: Tensor, rounds: int
) -> tuple[int, int, float, float, float]:
    """Pictures embedded in `adapt` and in an answer, seconds to embed the queries and to answer them, and the ratio."""
    seen = [0]
    embed: nn.Module = model.embed  # type: ignore[assignment]
    hook = embed.register_forward_hook(
        lambda _, inputs, __: seen.__setitem__(0, seen[0] + len(inputs[0]))
    )
    learner = model.adapt(support_x, support_y)  # type: ignore[operator]
    adapting = seen[0]
    learner(query_x)  # a first round that is not timed
    answering = seen[0] - adapting
    hook.remove()
    flat = query_x.flatten(0, 1)
    embed(flat)
    pairs = [
        (seconds(lambda: embed(flat)), seconds(lambda: learner(query_x))) for _ in range(rounds)
    ]
    alone, whole = (statistics.median(side) for side in zip(*pairs, strict=True))
    return adapting, answering, alone, whole, statistics.median(b / a for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ways", type=int, default=20)
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    support_x = torch.rand(1, args.ways * args.shots, 1, 28, 28)
    support_y = torch.arange(args.ways).repeat(args.shots)[None]
    query_x = torch.rand(1, args.queries, 1, 28, 28)
    task = f"{args.ways}-way {args.shots}-shot, {args.queries:,} queries"
    print(f"{task}, {torch.get_num_threads()} threads")
    print(f"{'':24} embedded in         seconds to          answering /")
    print(f"{'':24} adapt  answer    embed   answer      embedding")
    with torch.no_grad():
        for name, build in METHODS.items():
            model = build().eval()
            adapting, answering, alone, whole, ratio = compare(
                model, support_x, support_y, query_x, args.rounds
            )
            counts = f"{adapting:5,} {answering:7,}"
            print(f"{name:24} {counts}   {alone:6.3f}   {whole:6.3f}   {ratio:12.3f}", flush=True)
        learner = NearestNeighbour().adapt(support_x, support_y)
        taken = statistics.median(seconds(lambda: learner(query_x)) for _ in range(args.rounds))
        print(f"{'pixels, no network':24} {'-':>5} {'-':>7}   {'-':>6}   {taken:6.3f}")


if __name__ == "__main__":
    main()
