"""MiniLM: numbers of word pieces `[B, L]` to sentence embeddings `[B, 384]` of length 1.

A BERT of six layers, distilled from a larger one and then trained on a billion pairs of sentences that belong together.

Source: Devlin et al. (2019), "BERT", https://arxiv.org/abs/1810.04805; Wang et al. (2020), "MiniLM",
https://arxiv.org/abs/2002.10957; Reimers & Gurevych (2019), "Sentence-BERT", https://arxiv.org/abs/1908.10084, for the
mean over word pieces.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NAMES = {  # theirs: ours
    "embeddings.word_embeddings.": "pieces.",
    "embeddings.position_embeddings.": "positions.",
    "embeddings.token_type_embeddings.": "kinds.",
    "embeddings.LayerNorm.": "norm.",
    "encoder.layer.": "layers.",
    "attention.self.": "",
    "attention.output.dense.": "mix.",
    "attention.output.LayerNorm.": "norm_1.",
    "intermediate.dense.": "up.",
    "output.dense.": "down.",
    "output.LayerNorm.": "norm_2.",
}


class Layer(nn.Module):
    """Self-attention of 12 heads, then two linear layers on every piece; each adds to its input and is normalised."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.mix = (nn.Linear(dim, dim) for _ in range(4))
        self.up, self.down = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.norm_1, self.norm_2 = (nn.LayerNorm(dim, eps=1e-12) for _ in range(2))
        self.heads = heads

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        """`[B, L, dim]` to the same; `there [B, L]` says which pieces are looked at."""
        q, k, v = (
            f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, L, dim / heads]
            for f in (self.query, self.key, self.value)
        )
        heads = F.scaled_dot_product_attention(q, k, v, attn_mask=there[:, None, None])
        x = self.norm_1(x + self.mix(heads.transpose(1, 2).flatten(2)))
        out: Tensor = self.norm_2(x + self.down(F.gelu(self.up(x))))
        return out


class MiniLM(nn.Module):
    """The sentence encoder all-MiniLM-L6-v2. The piece number 0 fills up a sentence that is shorter than others."""

    def __init__(self, dim: int = 384, heads: int = 12, layers: int = 6) -> None:
        super().__init__()
        self.pieces, self.positions = nn.Embedding(30_522, dim), nn.Embedding(512, dim)
        self.kinds = nn.Embedding(2, dim)  # first or second sentence; here there is only a first
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.layers = nn.ModuleList(Layer(dim, heads) for _ in range(layers))

    def forward(self, pieces: Tensor) -> Tensor:
        """Numbers of word pieces `[B, L]`, L up to 512, to embeddings `[B, 384]`."""
        pieces = pieces.long()  # what passes through episodes comes as floats
        there = pieces != 0  # [B, L]
        place = torch.arange(pieces.shape[1], device=pieces.device)
        x = self.norm(self.pieces(pieces) + self.positions(place) + self.kinds.weight[0])
        for layer in self.layers:
            x = layer(x, there)
        # the mean over the pieces that are there; its length is divided out next, so the sum will do
        return F.normalize((x * there[..., None]).sum(1), dim=-1)

    def load(self, checkpoint: dict[str, Tensor]) -> MiniLM:
        """Take the weights of the released checkpoint; its pooler is not used for embeddings of sentences."""
        ours = {}
        for name, tensor in checkpoint.items():
            if not name.startswith("pooler.") and name != "embeddings.position_ids":
                for old, new in NAMES.items():
                    name = name.replace(old, new)
                ours[name] = tensor
        self.load_state_dict(ours)
        return self
