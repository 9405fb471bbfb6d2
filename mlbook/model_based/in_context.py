"""In-context learning by a transformer. Müller et al., ICLR 2022, arXiv:2112.10510."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """One layer of a transformer: attention, then an MLP, each after a layer norm and added to its input.

    Queries and keys have one projection between them (as in Kitaev et al., ICLR 2020, arXiv:2001.04451), so
    that even with random weights a token attends most to those it resembles. Heads divide the width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.match = nn.Linear(width, width, bias=False)  # W_Q = W_K
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, h: Tensor, s: Tensor) -> Tensor:
        """Tokens h `[T, B, width]` after reading the support's, s `[T, S, width]`."""
        a, b = self.norm_1(h), self.norm_1(s)
        q, k, v = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [T, heads, B or S, width / heads]
            for x in (self.match(a), self.match(b), self.value(b))
        )
        read = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        h = h + self.out(read)
        out: Tensor = h + self.mlp(self.norm_2(h))
        return out


class InContextTransformer(nn.Module):
    r"""Read the support set as tokens, and answer each query in one forward pass.

    With an embedding f and a learned vector e_k for every label k, before the first of L layers::

        s_i = [ norm f(x_i), e_{y_i} ]        a token for each support example: picture, label
        q   = [ norm f(x), 0 ]                a token for each query, its label open
        s <- Block(s, s)                      the support reads itself, layer by layer
        q <- Block(q, s)                      a query reads the support
        p(y | x) = softmax( W norm q + b )    after the last layer
        J   = mean over queries of -log p(y | x)

    Learning a task is only this reading: no weight changes, there is no inner loop, and what to look
    for and what to take along is for training to find out. No position is encoded, so the order of
    the support set changes nothing; no token ever reads a query, so queries know nothing of each
    other, nor the support of them: both as in Müller et al. Picture and label side by side, not
    added up, are the tokens of Fifty et al. (ICLR 2024, arXiv:2310.10971).

    From scratch, a transformer stays at 1/N for a while before it finds out. Two things make that
    short here: picture and label have their own place in a token, and queries and keys share their
    projection. So attention compares pictures from the first step on, and what is left to learn is
    to pass the label on.

    Args:
        embed: f, any network from `[B, *x]` to `[B, D]`.
        dim: D, also of e_k; tokens have 2 D numbers.
        ways: Labels that there are vectors for: N is at most this.
        layers, heads: L; heads of the attention in each layer, a divisor of 2 D.
    """

    def __init__(
        self, embed: nn.Module, dim: int = 64, ways: int = 5, layers: int = 2, heads: int = 2
    ) -> None:
        super().__init__()
        if min(dim, layers, heads) < 1 or ways < 2 or 2 * dim % heads:
            got = f"dim={dim}, ways={ways}, layers={layers}, heads={heads}"
            raise ValueError(f"{got}: 1 or more, ways 2 or more, heads a divisor of 2 dim")
        self.embed, self.norm = embed, nn.LayerNorm(dim)
        self.label = nn.Embedding(ways, dim)
        self.blocks = nn.ModuleList(Block(2 * dim, heads) for _ in range(layers))
        self.head = nn.Sequential(nn.LayerNorm(2 * dim), nn.Linear(2 * dim, ways))
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        """Learn T tasks, each from its own support set: read it, once.

        `support_x [T, S, *x]` has labels `support_y [T, S]` in 0..N-1, N at most `ways`, every class in
        every task. The learner goes from `query_x [T, Q, *x]` to logits `[T, Q, N]` of p(y | x).

        Raises:
            ValueError: If there is no vector for a label, or no support example of a class.
        """
        n = ways(support_x, support_y, self.label.num_embeddings)
        z = self.f(support_x)
        memory = self.read(z, support_y)
        return lambda query_x: self.answer(self.f(query_x, z), memory)[..., :n]

    def loss(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:  # fmt: skip
        """J, a scalar, for queries with labels `query_y [T, Q]`, one or more."""
        n, s = ways(support_x, support_y, self.label.num_embeddings, query_y), support_x.shape[1]
        # one pass for both: faster, and in train() mode batch norm treats them alike
        z = self.f(torch.cat([support_x, query_x], 1))
        logits = self.answer(z[:, s:], self.read(z[:, :s], support_y))[..., :n]
        k = torch.arange(logits.shape[-1], device=z.device)
        logits = logits.masked_fill((support_y[..., None] != k).all(1, keepdim=True), -torch.inf)
        self.metrics["accuracy"] = (logits.detach().argmax(-1) == query_y).float().mean()
        return F.cross_entropy(logits.flatten(0, 1), query_y.flatten().long())

    def f(self, x: Tensor, learned: Tensor | None = None) -> Tensor:
        """Normalised embeddings `[T, B, D]` of examples `[T, B, *x]`; of queries beside those learned."""
        if learned is not None and len(x) != len(learned):
            raise ValueError(f"queries of {len(x)} tasks for a learner of {len(learned)}")
        if learned is not None and not x.shape[1]:
            return learned[:, :0]
        z, dim = self.embed(x.flatten(0, 1)), self.norm.normalized_shape[0]
        if not isinstance(z, Tensor) or z[0].numel() != dim:
            got = f"dim={z[0].numel()}" if isinstance(z, Tensor) else type(z).__name__
            raise ValueError(f"embed returns {got}, not [B, dim], which is here dim={dim}")
        normalised: Tensor = self.norm(z.reshape(*x.shape[:2], -1))
        return normalised

    def read(self, z: Tensor, y: Tensor) -> list[Tensor]:
        """The support's tokens as each layer finds them, L times `[T, S, 2 D]`, from z `[T, S, D]` and y `[T, S]`."""
        memory = [torch.cat([z, self.label(y.long())], -1)]
        for block in list(self.blocks)[:-1]:
            memory.append(block(memory[-1], memory[-1]))
        return memory

    def answer(self, z: Tensor, memory: list[Tensor]) -> Tensor:
        """Logits `[T, Q, ways]` of queries z `[T, Q, D]` that read the support's tokens."""
        q = torch.cat([z, torch.zeros_like(z)], -1)
        for block, s in zip(self.blocks, memory, strict=True):
            q = block(q, s)
        logits: Tensor = self.head(q)
        return logits


def ways(x: Tensor, y: Tensor, most: int, *query_y: Tensor) -> int:
    """N <= most, of support sets `[T, S, *x]`, labels `[T, S]` 0..N-1, each in every task; in a loss on a GPU S."""
    if x.shape[:2] != y.shape or not all(t.numel() for t in (y, *query_y)):
        got = [[*t.shape] for t in (x, y, *query_y)]
        raise ValueError(f"shapes {got}: none may be empty; a single task is x[None], y[None]")
    if query_y and not y.is_cpu:
        return y.shape[1]  # at least N, which a GPU says only to those who wait for it
    n: int = max(map(max, rows := y.tolist())) + 1
    if n > most:
        raise ValueError(f"label {n - 1}: there are vectors for 0..{most - 1}; build with ways={n}")
    for task, row in enumerate(rows):
        if wrong := {*row} ^ {*range(min(n, len(row) + 1))}:
            what = f"class {min(wrong)} of task {task} has no support example in {sorted({*row})}"
            raise ValueError(f"{what}: label each task's classes 0..N-1")
    return n
