"""Emoji: concepts that four open sets draw each in its own style, 48 x 48 in colours, in the package itself.

`EMOJI.md` beside this file names the four sets, their authors and licences; `tools/emoji.py` makes the file.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import torch
from torch import Tensor

from mlbook.data.files import read_tensors
from mlbook.episodes import Dataset

FILE = Path(__file__).with_name("emoji.safetensors")
STYLES = ("twemoji", "noto", "fluent-emoji-flat", "emojione")


def load() -> Dataset:
    """Some thousand concepts in four styles each: sample s of every class is of style `STYLES[s]`.

    Classes are Unicode's concepts by their names, such as `"green apple"`, which describe them; groups are Unicode's
    nine, such as `"Animals & Nature"`. `split("characters")` divides by concept and `split("alphabets")` by group;
    `samples` divides by style, for support and queries of different ones::

        train, val, test = load("emoji").split("characters")
        test.samples([0]).episodes(5, 1, 3, queries_from=test.samples([1, 2, 3]))

    Returns:
        Images `uint8 [classes, 4, 3, 48, 48]`, on white.
    """
    tensors, facts = read_tensors(FILE)
    classes, size, colours = facts["classes"], facts["size"], facts["colours"]
    n = len(classes) * len(STYLES)

    def unpacked(name: str) -> Tensor:
        raw = zlib.decompress(tensors[name].numpy().tobytes())
        return torch.frombuffer(bytearray(raw), dtype=torch.uint8)

    palettes = unpacked("palettes").view(n, colours, 3)  # each picture's own tones
    which = unpacked("which").view(n, size * size).long()
    pixels = palettes.gather(1, which[..., None].expand(-1, -1, 3))
    images = pixels.view(len(classes), len(STYLES), size, size, 3).permute(0, 1, 4, 2, 3)
    return Dataset(images.contiguous(), classes, facts["groups"], "emoji")
