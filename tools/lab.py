"""What the lab page loads: weights and pictures as classic scripts, which a page from disk can load, too.

The site's build writes them into `_static/lab/`: a file a method, `mlbookLab.weights("NAME", index, "base64")`, where
`index` has the names and shapes of the tensors and the text their numbers in half precision, one after the other.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import torch

from mlbook.data.files import read_tensors

ROOT = Path(__file__).resolve().parent.parent
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
    for name in METHODS:
        (folder / f"{name}.js").write_text(packed(name), encoding="utf-8")
    return sum(file.stat().st_size for file in folder.iterdir())
