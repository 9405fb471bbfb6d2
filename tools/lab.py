"""What the lab page loads: weights and pictures as classic scripts, which a page from disk can load, too.

The site's build writes them into `_static/lab/`: a file a method, `mlbookLab.weights("NAME", index, "base64")`, where
`index` has the names and shapes of the tensors and the text their numbers in half precision, one after the other; the
program of the worker; and the sets of characters in `lab_sets.json`, which

    python tools/lab.py

draws anew from Omniglot's test characters (MIT licence, as all of Omniglot). Pictures are base64 of 2-bit grey levels,
four a byte.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import torch

from mlbook import Dataset, bundle, load, load_pretrained
from mlbook.data.files import atomic, read_tensors

ROOT = Path(__file__).resolve().parent.parent
SETS = ROOT / "tools" / "lab_sets.json"
PRETRAINED = ROOT / "mlbook" / "pretrained"
METHODS = (
    "prototypical",
    "matching",
    "siamese",
    "relation",
    "hypernetwork",
    "in_context",
    "maml",
    "centroids",
)


def packed(name: str) -> str:
    """One method's weights as a script.

    Half precision, as they are shipped, so nothing is lost. Left out is what no answer needs: counts of batches, and
    the layer that told training classes apart.
    """
    tensors, _ = read_tensors(PRETRAINED / f"{name}.safetensors")
    kept = {k: v for k, v in tensors.items() if v.is_floating_point()}
    if name == "centroids":
        kept = {k: v for k, v in kept.items() if not k.startswith("head.")}
    index = [[k, list(v.shape)] for k, v in kept.items()]
    numbers = torch.cat([v.half().flatten() for v in kept.values()]).numpy().astype("<f2")
    text = base64.b64encode(numbers.tobytes()).decode()
    return f'mlbookLab.weights({json.dumps(name)}, {json.dumps(index, separators=(",", ":"))}, "{text}");\n'


def write(folder: Path) -> int:
    """Write all files of the lab; the number of bytes that they have together."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: packed(name) for name in METHODS}
    files["worker"] = f"mlbookLab.program({json.dumps(bundle.worker('lab/worker.js'))});\n"
    files["sets"] = f"mlbookLab.sets({json.dumps(json.loads(SETS.read_text()))});\n"
    for name, text in files.items():
        (folder / f"{name}.js").write_text(text.replace("</", "<\\/"), encoding="utf-8")
    return sum(file.stat().st_size for file in folder.iterdir())


def picture(x: torch.Tensor) -> str:
    """A picture `[1, 28, 28]` of bytes as text: four grey levels, four pixels a byte, the first one lowest."""
    levels = (x.flatten().float() / 85).round().to(torch.uint8).view(-1, 4)
    return base64.b64encode(bytes((levels << torch.tensor([0, 2, 4, 6])).sum(1).tolist())).decode()


def dealt(data: Dataset, classes: list[int], queries: int, g: torch.Generator) -> dict[str, object]:
    """A set: one picture of each class, and as many others of some of them, with the numbers of their classes."""
    samples = torch.randperm(data.images.shape[1], generator=g).tolist()
    truth = torch.randint(len(classes), (queries,), generator=g).tolist()
    asked = [data.images[classes[k], samples[1 + i]] for i, k in enumerate(truth)]
    return {
        "support": [picture(data.images[c, samples[0]]) for c in classes],
        "query": [picture(x) for x in asked],
        "truth": truth,
    }


def alike(data: Dataset, sets: int) -> list[list[int]]:
    """Sets of five classes whose mean embeddings are close, no class in two of them; the closest first."""
    model = load_pretrained("prototypical")
    with torch.no_grad():
        x = data.images[:, :6].float() / 255
        means = model.f(x).mean(1)  # type: ignore[operator]
    distances = torch.cdist(means, means)
    chosen: list[list[int]] = []
    nearest = distances.sort(1)
    for c in nearest.values[:, 4].argsort().tolist():
        group = nearest.indices[c, :5].tolist()
        if not {*group} & {k for other in chosen for k in other} and len(chosen) < sets:
            chosen.append(group)
    return chosen


def draw() -> None:
    """Draw the sets anew: any five of Omniglot's test characters, and five that are easily confused."""
    g = torch.Generator().manual_seed(0)
    data = load("omniglot").split("characters", seed=0)[2]
    order = torch.randperm(len(data.images), generator=g).tolist()
    plain = [dealt(data, order[5 * i : 5 * i + 5], 3, g) for i in range(14)]
    sets: dict[str, list[dict[str, object]]] = {"plain": plain, "alike": []}
    for group in alike(data, 16):
        order = torch.randperm(5, generator=g).tolist()
        sets["alike"].append(dealt(data, [group[i] for i in order], 4, g))
    with atomic(SETS) as temporary:
        temporary.write_text(json.dumps(sets, indent=1) + "\n")


if __name__ == "__main__":
    draw()
