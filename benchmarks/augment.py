"""What six looks at a picture are worth: `FewShotClassifier(augment=)` on groceries, from one set to the other.

Run it with `python benchmarks/augment.py`; it needs the groceries and takes about ten minutes on two cores.
"""

from __future__ import annotations

import torch

from mlbook import Dataset, evaluate, load
from mlbook.backbones import backbone
from mlbook.classifier import FewShotClassifier

LOOKS = (
    20  # photographs of each class at most, evenly over the class: neighbours are near-duplicates
)


def features(part: str, augment: str | None) -> Dataset:
    """Classes in coarse classes that `split` keeps for testing, through the backbone."""
    data = load(f"groceries:{part}", size=224).split("alphabets", seed=0)[2]
    X, y = [], []
    for c, n in enumerate(data.per_class):
        rows = torch.linspace(0, n - 1, min(n, LOOKS)).round().long().tolist()
        X += [data.images[c, i] for i in rows]
        y += [data.classes[c]] * len(rows)
    return FewShotClassifier(embed=backbone("efficientnet_lite0"), augment=augment).dataset(X, y)


def main() -> None:
    """Print accuracies and paired differences to one look."""
    once = {part: features(part, None) for part in ("train", "test")}
    parts = {part: features(part, "all") for part in ("train", "test")}
    settings = {
        "None": (once["train"], once["test"]),
        "'support'": (parts["train"], once["test"]),
        "'all'": (parts["train"], parts["test"]),
    }
    method = FewShotClassifier(distance="cosine")._method()
    for shots in (1, 5):
        found = {
            name: evaluate(method, support.episodes(5, shots, 5, queries_from=query), 1200)
            for name, (support, query) in settings.items()
        }
        for name, result in found.items():
            print(f"{shots} shots, augment={name}: {result}; against None {result - found['None']}")


if __name__ == "__main__":
    main()
