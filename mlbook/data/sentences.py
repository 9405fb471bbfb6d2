"""Sentences in the package itself: a few of each intent of CLINC150, with their embeddings by MiniLM.

`SENTENCES.md` beside this file names the authors and the licence; `tools/sentences.py` makes the file.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mlbook.data.files import read_tensors
from mlbook.episodes import Dataset

FILE = Path(__file__).with_name("sentences.safetensors")


def rounded(x: Tensor) -> Tensor:
    """Vectors `[..., dim]` as signed bytes, each scaled so that its largest number fills one: directions are kept."""
    return (127 * x / x.abs().amax(-1, keepdim=True).clamp_min(1e-12)).round().to(torch.int8)


def load(part: str = "") -> Dataset:
    """The 150 intents with 10 sentences each, or, as a set of one class, 120 sentences of no intent; no download.

    They are embedded already, as `embed_dataset(load("clinc150"), backbone("minilm"))` does it, up to rounding to
    8 bits: a tenth of that set, for pages that run where neither it nor the backbone can be had.

    Args:
        part: `""` or `"unknown"`.

    Returns:
        Floats `[classes, samples, 384]` of length 1, the sentences in `texts`; classes are intents and groups domains.

    Source: Larson et al. (2019), "An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction";
    CC BY 3.0.
    """
    tensors, facts = read_tensors(FILE)
    name = part or "known"
    x = F.normalize(tensors[name].float(), dim=-1)  # bytes: the scale goes with the length
    classes, groups, texts = (facts[name][key] for key in ("classes", "groups", "texts"))
    return Dataset(x, classes, groups, f"sentences{part and ':'}{part}", texts=texts)
