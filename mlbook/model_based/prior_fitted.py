"""A classifier for any small table, fitted to a prior. Müller et al., ICLR 2022, arXiv:2112.10510."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Rows = Callable[[Tensor], Tensor]  # from rows `[T, B, D]` to what is made of each, `[T, B, any]`


class Block(nn.Module):
    """Attention to the support, whose queries and keys share a projection, then an MLP; each after a layer norm."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.match = nn.Linear(dim, dim, bias=False)  # W_Q = W_K
        self.value, self.out = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, h: Tensor, s: Tensor) -> Tensor:
        """Tokens h `[T, B, dim]` after reading the support's, s `[T, S, dim]`."""
        a, b = self.norm_1(h), self.norm_1(s)
        parts = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [T, heads, B or S, dim / heads]
            for x in (self.match(a), self.match(b), self.value(b))
        )
        h = h + self.out(F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))
        return h + self.mlp(self.norm_2(h))  # type: ignore[no-any-return]


class PriorFittedNetwork(nn.Module):
    r"""Read the labelled rows of a table it has never seen, and answer new rows in one forward pass.

    Trained on tables (D, x, y) drawn from a prior p, and on nothing else, q approximates its posterior predictive::

        J = E_p [ -log q(y | x, D) ] = E KL( p(y | x, D) || q(y | x, D) ) + constant   (insight 1)
        s_i = [ token(g_D(x_i)), e_{y_i} ]    a labelled row
        q   = [ token(g_D(x)), 0 ]            a row that is asked
        s <- Block(s, s),  q <- Block(q, s)   L times; nobody reads a query
        q(y | x, D) = softmax( W norm q )

    What cannot matter is taken out by g_D before the network sees it (TabPFN averages over permutations instead).
    Columns are standardised on the support and stand in the order of how well each tells the classes apart, the
    correlation ratio η²; classes are numbered by their mean over the columns, weighted by η², and columns turned to
    rise with that number. So no order of rows or columns, no name of a class, no unit of a column has a say. Then come
    coordinates along principal axes, divided by their deviations, in which a small contrast of columns that go together
    is as large as any other; what is missing; and, as a start, scores of Fisher's linear discriminant with two ridges.

    Args:
        columns, ways: How many columns and axes are read, of more those that tell or deviate most; classes, at most.
        dim, layers, heads: Numbers in a token; L; heads of the attention in each layer, a divisor of `dim`.
    """

    missing = True  # NaN is a value like any other

    def __init__(
        self, columns: int = 13, ways: int = 5, dim: int = 64, layers: int = 4, heads: int = 4
    ) -> None:
        super().__init__()
        if min(columns, dim // 4, layers, heads) < 1 or ways < 2 or dim % heads:
            got = f"columns={columns}, ways={ways}, dim={dim}, layers={layers}, heads={heads}"
            raise ValueError(f"{got}: 1 or more, ways 2, dim 4 or more, heads a divisor of dim")
        self.columns, self.ways, told = columns, ways, 3 * columns + 2 * ways + 3
        self.token = nn.Sequential(nn.Linear(told, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim - dim // 4))  # fmt: skip
        self.label = nn.Embedding(ways, dim // 4)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(layers))
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, ways))
        self.metrics: dict[str, Tensor] = {}

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Rows:
        """Learn T tables, each from its own rows: read them, once.

        `support_x [T, S, D]`, any D, is NaN where a value is missing, and all NaN in a column that is none;
        `support_y [T, S]` has labels 0..N-1, N at most `ways`. The learner goes from `query_x [T, Q, D]` to scores
        `[T, Q, N]`, whose softmax is q(y | x, D); minus infinity for a class of which a table has no row. Raises
        `ValueError` if shapes or labels cannot be used.
        """
        if support_x.dim() != 3 or support_x.shape[:2] != support_y.shape or not support_x.numel():
            got = f"support_x {[*support_x.shape]}, support_y {[*support_y.shape]}"
            raise ValueError(f"{got}, not [T, S, D] and [T, S]; a single table is x[None], y[None]")
        y = support_y.long()
        low, n = torch.stack([y.min(), y.max() + 1]).tolist()  # a GPU waits for both at once
        if wrong := min(low, 0) or (n - 1 if n > self.ways else 0):
            raise ValueError(f"label {wrong}: labels are 0..{self.ways - 1}; build with ways={n}")
        g, number = view(support_x, y, n, self.columns, self.ways)
        gone = ~F.one_hot(y, n).any(1)[:, None]  # [T, 1, N]
        memory = [torch.cat([self.token(g(support_x)), self.label(number.gather(1, y))], -1)]
        for block in list(self.blocks)[:-1]:
            memory.append(block(memory[-1], memory[-1]))

        def learner(query_x: Tensor) -> Tensor:
            if query_x.dim() != 3 or query_x.shape[::2] != support_x.shape[::2]:
                raise ValueError(f"queries {[*query_x.shape]}, rows {[*support_x.shape]}: as many columns")  # fmt: skip
            q = F.pad(self.token(g(query_x)), (0, self.label.embedding_dim))  # its label open
            for block, s in zip(self.blocks, memory, strict=True):
                q = block(q, s)
            scores = self.head(q).gather(2, number[:, None].expand(-1, q.shape[1], -1))
            return scores.masked_fill(gone, -torch.inf)  # type: ignore[no-any-return]

        return learner

    def loss(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:  # fmt: skip
        """J, a scalar, for queries with labels `query_y [T, Q]`, each of a class of its table's support."""
        scores = self.adapt(support_x, support_y)(query_x)
        self.metrics["accuracy"] = (scores.detach().argmax(-1) == query_y).float().mean()
        return F.cross_entropy(scores.flatten(0, 1), query_y.flatten().long())


def view(x: Tensor, y: Tensor, n: int, columns: int, ways: int) -> tuple[Rows, Tensor]:
    """g_D, `[T, B, D]` to `[T, B, 3 columns + 2 ways + 3]`, of x `[T, S, D]`, y `[T, S]`; the classes' numbers."""

    def wide(x: Tensor) -> Tensor:
        return F.pad(x, (0, max(0, columns - x.shape[2])), value=torch.nan)

    x, Y, S = wide(x), F.one_hot(y, n).to(x), x.shape[1]
    known, there = (~x.isnan()).to(x), Y.any(1)[:, None]
    count = known.sum(1, keepdim=True).clamp(min=1)
    mean = x.nan_to_num().sum(1, keepdim=True) / count
    std = ((x - mean).nan_to_num().square().sum(1, keepdim=True) / count).sqrt()
    varies = std > 1e-5 * x.nan_to_num().abs().amax(1, keepdim=True)
    std = torch.where(varies, std, torch.inf)  # a column that says nothing becomes 0
    z = ((x - mean) / std).nan_to_num().clamp(-4, 4)
    means = Y.mT @ z / (Y.mT @ known).clamp(min=1)  # of the classes, [T, n, D]
    eta = ((Y.mT @ known) * means**2).sum(1) / z.square().sum(1).clamp(min=1e-6)  # η², [T, D]
    weight = torch.where((z**3).mean(1) < -1e-3, -eta, eta)  # whichever way a column is turned
    place = (means @ weight[..., None])[..., 0].masked_fill(~there[:, 0], torch.inf)
    number = (by_number := place.argsort(1)).argsort(1)
    step = (of := number.gather(1, y).to(x)[..., None]) - of.mean(1, keepdim=True)
    best = eta.argsort(dim=1, descending=True, stable=True)[:, None, :columns]
    turned = (1 - 2 * ((z * step).sum(1, keepdim=True) < 0).to(z)).gather(2, best)
    spread, axes = torch.linalg.eigh(z.mT @ z / S)
    spread, axes = spread.flip(1)[:, None, :columns], axes.flip(2)[..., :columns]
    axes = axes * (spread.clamp(min=1e-4).rsqrt() * (spread > 1e-4))
    axes = axes * (1 - 2 * ((z @ axes * step).sum(1, keepdim=True) < 0).to(z))
    rest = z - Y @ means  # within classes, of which few rows say little: hence two ridges
    ridge = 0.1 + varies.sum(2, keepdim=True) / S
    ridge = torch.stack([ridge, 0.1 * ridge]) * torch.ones_like(z[0, 0]).diag()
    w = torch.linalg.solve_ex(rest.mT @ rest / S + ridge, means.mT)[0]  # [2, T, D, n]
    b = (means.mT * w).sum(2, keepdim=True) / 2
    told = there.sum(2, keepdim=True) / 5, varies.sum(2, keepdim=True) / columns
    size = torch.cat([torch.full_like(spread[..., :1], S).log() / 5, *told], -1)

    def g(x: Tensor) -> Tensor:
        x, B = wide(x), x.shape[1]
        z, pick = ((x - mean) / std).nan_to_num().clamp(-4, 4), best.expand(-1, x.shape[1], -1)
        d = (z @ w - b) * there
        d = d - d.sum(3, keepdim=True) / there.sum(2, keepdim=True)
        d = d.masked_fill(~there, -4).gather(3, by_number[:, None].expand(2, -1, B, -1))
        d = F.pad(d.clamp(-4, 4), (0, ways - n), value=-4.0)
        gone = (x.isnan() & varies).gather(2, pick)
        cells = z.gather(2, pick) * turned, (z @ axes).clamp(-4, 4), gone, *d
        return torch.cat([*cells, size.expand(-1, B, -1)], -1).to(z)

    return g, number
