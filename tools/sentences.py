"""Make `mlbook/data/sentences.safetensors`, a tenth of CLINC150 with its embeddings, which the package carries.

    python tools/sentences.py

Needs CLINC150 and `pip install "mlbook[practice]"`. The embeddings are what `backbone("minilm")` gives, 384 numbers of
8 bits a sentence, each scaled so that its largest fills the byte.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script sees its folder only

from mlbook import load
from mlbook.backbones import backbone, embed_dataset
from mlbook.data import sentences
from mlbook.data.files import write_tensors

EVERY = {"clinc150": 15, "clinc150:unknown": 10}  # this many sentences apart: 10 an intent, 120


def main() -> None:
    net, tensors, facts = backbone("minilm"), {}, {}
    for name, every in EVERY.items():
        data: Any = embed_dataset(load(name), net)
        data = data.samples(range(0, data.images.shape[1], every))
        part = name.partition(":")[2] or "known"
        tensors[part] = sentences.rounded(data.images)
        facts[part] = {"classes": data.classes, "groups": data.groups, "texts": data.texts}
    write_tensors(sentences.FILE, tensors, facts)
    print(f"{sentences.FILE.name}: {sentences.FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
