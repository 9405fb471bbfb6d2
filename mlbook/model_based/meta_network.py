"""Meta Networks. Munkhdalai & Yu, ICML 2017, arXiv:1703.00837."""

import math
from collections.abc import Callable, Iterable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import grad, vmap


class MetaNetwork(nn.Module):
    r"""Turn the gradients of the support's losses into weights, by networks that are learned.

    A network u gives representations, a network b gives answers. Each has slow weights (Q, W) that
    training finds and fast weights (Q*, W*) that a task brings along (algorithm 1)::

        ∇_i  = ∇_Q loss_emb(u(Q, x'_i), y'_i)      of support example i                 (section 3.1)
        Q*   = d(G, ∇_1..∇_S)                      one for the task; d is an LSTM over i
        r'_i = u(Q, Q*, x'_i)                      the keys R
        ∇_i  = ∇_W loss_task(b(W, x'_i), y'_i)                                          (section 3.2)
        W*_i = m(Z, ∇_i)                           the memory M; m is a perceptron
        a    = softmax_i cos(u(Q, Q*, x), r'_i)    where query x looks in it
        y    = b(W, W*, x)                         with the query's own W* = Σ a_i W*_i

    A layer with both kinds of weights gives relu(W h) + relu(W* h), the last one W h + W* h (section
    3.3). d and m see one coordinate of ∇ at a time, as two numbers; ∇ is a constant in training. d
    reads all S (the paper: a sample); their order matters. (Others write f_θ, F_w, g_φ, G_v for u, d, b, m.)

    Our choices: u and b are perceptrons of two layers without biases on one trunk of slow weights (the authors give
    convolutions fast ones, too). loss_emb is, if S = N (one example a class), the cross-entropy of V u, with V as
    drawn: no gradient passes through ∇; else contrastive (unit vectors, margin 1), each example with the next.

    Args:
        trunk, dim, ways: Any network from `[B, *x]` to `[B, D]`, where u and b start; N of every task.
        hidden, units: H, of the hidden layers of u and b and the length of r; of d and m's hidden layers (theirs: 20).
        fast_embedding, fast_base: False leaves out Q*, and with it the support's order; W*, and b can only guess.
    """

    def __init__(
        self, trunk: nn.Module, dim: int, ways: int, hidden: int = 32, units: int = 8,
        fast_embedding: bool = True, fast_base: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if min(dim, hidden, units) < 1 or ways < 2:
            raise ValueError(f"{dim=}, {ways=}, {hidden=}, {units=}: from 1, ways from 2")
        self.trunk, self.ways, self.dim = trunk, ways, dim
        self.fast_embedding, self.fast_base = fast_embedding, fast_base
        linear = partial(nn.Linear, bias=False)
        self.Q = nn.Sequential(linear(dim, hidden), nn.ReLU(), linear(hidden, hidden))
        self.W = nn.Sequential(linear(dim, hidden), nn.ReLU(), linear(hidden, ways))
        self.V = linear(hidden, ways).requires_grad_(False)
        self.d = nn.ModuleList([nn.LSTM(2, units), nn.Linear(units, 1)])  # weights G
        self.m = nn.Sequential(nn.Linear(2, units), nn.ReLU(), nn.Linear(units, units), nn.ReLU())
        self.m.append(nn.Linear(units, 1))  # weights Z
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        """Learn T tasks, `support_x [T, S, *x]` with labels `support_y [T, S]`, all of 0..N-1: Q*, memory and keys.

        The learner goes from `query_x [T, Q, *x]` to logits `[T, Q, N]`.
        """
        check(self.ways, support_x, support_y)
        learned = self.learn(z := self.features(support_x), support_y)
        return lambda query_x: self.b(self.features(query_x, z), *learned)

    def loss(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:  # fmt: skip
        """The mean cross-entropy, a scalar, of queries with labels `query_y [T, Q]`, one or more."""
        check(self.ways, support_x, support_y, query_y)
        z = self.features(torch.cat([support_x, query_x], 1))  # one pass: one batch for batch norm
        z, z_query = z.tensor_split([support_x.shape[1]], 1)
        scores = self.b(z_query, *self.learn(z, support_y))
        self.metrics["accuracy"] = (scores.detach().argmax(-1) == query_y).float().mean()
        return F.cross_entropy(scores.flatten(0, 1), query_y.flatten().long())

    def features(self, x: Tensor, learned: Tensor | None = None) -> Tensor:
        """What the trunk gives, z `[T, B, D]`, for examples `[T, B, *x]`; for queries beside the support's z."""
        if learned is not None and len(x) != len(learned):
            raise ValueError(f"queries of {len(x)} tasks for a learner of {len(learned)}")
        if learned is not None and not x.shape[1]:
            return learned[:, :0]
        z: Tensor = self.trunk(x.flatten(0, 1))
        if (got := z[0].numel() if isinstance(z, Tensor) else type(z).__name__) != self.dim:
            raise ValueError(f"trunk returns dim={got}, not a tensor [B, dim={self.dim}]")
        return z.reshape(*x.shape[:2], -1)

    def learn(self, z: Tensor, y: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Q* `[T, 1, P]`, M `[T, S, P']`, R `[T, S, H]` of support sets z `[T, S, D]`, y."""
        y, fast, memory = y.long(), None, None
        if self.fast_embedding:
            lstm, out = self.d
            steps = prepared(self.embedding_gradients(z, y)).transpose(0, 1)  # [S, T, P, 2]
            h = lstm(steps.flatten(1, 2))[1][0][0]  # the last h; every coordinate is a sequence
            fast = out(h).view(len(z), 1, -1)
        if self.fast_base:
            memory = self.m(prepared(self.task_gradients(z, y)))[..., 0]
        return fast, memory, augmented(z, self.Q.parameters(), fast)

    def attention(self, z: Tensor, fast: Tensor | None, keys: Tensor) -> Tensor:
        """Where queries z `[T, Q, D]` look: a `[T, Q, S]`, with Q* and R as `learn` gives them."""
        r = augmented(z, self.Q.parameters(), fast)
        return (F.normalize(r, dim=-1) @ F.normalize(keys, dim=-1).mT).softmax(-1)

    def b(self, z: Tensor, fast: Tensor | None, memory: Tensor | None, keys: Tensor) -> Tensor:
        """Logits `[T, Q, N]` of queries z `[T, Q, D]`, with Q*, M and R as `learn` gives them."""
        read = None if memory is None else self.attention(z, fast, keys) @ memory
        return augmented(z, self.W.parameters(), read)

    def embedding_gradients(self, z: Tensor, y: Tensor) -> Tensor:
        """∇ of loss_emb by Q `[T, S, P]`, for support sets z `[T, S, D]`, y `[T, S]`."""

        def contrast(Q: list[Tensor], z: Tensor, other: Tensor, same: Tensor) -> Tensor:
            r, s = (F.normalize(augmented(x, Q), dim=-1) for x in (z, other))
            return torch.where(same, (r - s).norm() ** 2, (1 - (r - s).norm()).relu() ** 2)

        if y.shape[1] == self.ways:
            return gradients(lambda Q, z, y: F.cross_entropy(self.V(augmented(z, Q)), y), self.Q, z, y)  # fmt: skip
        return gradients(contrast, self.Q, z, z.roll(-1, 1), y == y.roll(-1, 1))

    def task_gradients(self, z: Tensor, y: Tensor) -> Tensor:
        """∇ of loss_task by W `[T, S, P']`, for support sets z `[T, S, D]`, y `[T, S]`."""
        return gradients(lambda W, z, y: F.cross_entropy(augmented(z, W), y), self.W, z, y)


def augmented(h: Tensor, slow: Iterable[Tensor], fast: Tensor | None = None) -> Tensor:
    """A perceptron of h `[..., D]` by slow weights, beside them fast ones `[..., P]` if there are."""
    w1, w2 = slow
    if fast is None:
        return (h @ w1.mT).relu() @ w2.mT
    fast1 = fast[..., : w1.numel()].view(*fast.shape[:-1], *w1.shape)
    fast2 = fast[..., w1.numel() :].view(*fast.shape[:-1], *w2.shape)
    h = (h @ w1.mT).relu() + torch.einsum("...nm,...m->...n", fast1, h).relu()
    return h @ w2.mT + torch.einsum("...nm,...m->...n", fast2, h)


def gradients(loss: Callable[..., Tensor], slow: nn.Module, *examples: Tensor) -> Tensor:
    """∇ of each example's loss by the slow weights `[T, S, P]`, a constant to all outside."""
    each = vmap(grad(loss), (None, *(0 for _ in examples)))
    g = each([w.detach() for w in slow.parameters()], *(x.detach().flatten(0, 1) for x in examples))
    return torch.cat([w.flatten(1) for w in g], -1).view(*examples[0].shape[:2], -1)


def prepared(g: Tensor, p: int = 7) -> Tensor:
    """(log|g| / p, sgn g) where |g| >= e^-p, else (-1, e^p g); from `[...]` to `[..., 2]`."""
    return torch.stack([(g.abs().log() / p).clamp(min=-1), (math.exp(p) * g).clamp(-1, 1)], -1)


def check(ways: int, x: Tensor, y: Tensor, *query_y: Tensor) -> None:
    """Raise unless tasks `[T, S, *x]` have labels `[T, S]` of all ways; in a loss on a GPU none is waited for."""
    if x.shape[:2] != y.shape or not all(t.numel() for t in (y, *query_y)):
        raise ValueError(f"{[[*t.shape] for t in (x, y, *query_y)]}: a single task is x[None], y[None]")  # fmt: skip
    rows = [] if query_y and not y.is_cpu else y.tolist()
    if (n := max(map(max, rows), default=ways - 1) + 1) != ways:
        raise ValueError(f"tasks of {n} ways for a network of {ways}: set ways={n}")
    for task, row in enumerate(rows):
        if wrong := {*row} ^ {*range(ways)}:
            what = f"class {min(wrong)} of task {task} has no support example in {sorted({*row})}"
            raise ValueError(f"{what}: label each task's classes 0..N-1")
