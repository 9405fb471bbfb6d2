"""Matching Networks. Vinyals, Blundell, Lillicrap, Kavukcuoglu & Wierstra, NeurIPS 2016, arXiv:1606.04080."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MatchingNetwork(nn.Module):
    r"""Attend to the support examples that look like the query; answer with the mixture of their labels.

    ::

        a(x, x_i)   = softmax_i( s cos(f(x), g(x_i)) )          the attention kernel   (section 2.1.1)
        P(y | x, S) = sum_i a(x, x_i) y_i                       the classifier         (equation 1)
        J           = mean over queries of -log P(y | x, S)     what training minimises (equation 2)

    Plainly, f = g is one embedding. *Full context embeddings* (appendix A) start from it, f' = g',
    and see every example in the light of the whole support set::

        g(x_i)       = h_i forward + h_i backward + g'(x_i)      a bidirectional LSTM over g'(x_1..S)
        r_{k-1}      = sum_i softmax_i( h_{k-1} . g(x_i) ) g(x_i)        a reading of the support
        h^_k, c_k    = LSTM( f'(x), [h_{k-1}, r_{k-1}], c_{k-1} )        h_0 = c_0 = 0
        h_k          = h^_k + f'(x)                                      f(x) = h_K

    The LSTM of g reads the support in the order given, so that order changes the answer. The paper does
    not give K or the first states: zeros are a choice, and make r_0 the mean of all g(x_i).

    Args:
        embed: f' = g', any network from `[B, *x]` to `[B, D]`.
        full_context, dim, steps: Use full context embeddings; D and K for them, 1 or more.
        scale: s. The paper has none, so 1, and at one shot P <= e / (e + (N - 1) / e). None learns it, from 10.
    """

    def __init__(
        self, embed: nn.Module, full_context: bool = False, dim: int = 64, steps: int = 3, scale: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        s = 10.0 if scale is None else float(scale)
        if not all(hasattr(n, "__index__") and n >= 1 for n in (dim, steps)) or not 0 < s < torch.inf:  # fmt: skip
            raise ValueError(f"dim={dim}, steps={steps}, scale={scale}: from 1, from 1, above 0")
        self.embed, self.full_context, self.dim, self.steps = embed, full_context, dim, int(steps)
        self.log_s = nn.Parameter(torch.tensor(s).log(), requires_grad=scale is None)
        if full_context:
            self.g_lstm = nn.LSTM(dim, dim, bidirectional=True, batch_first=True)
            self.f_lstm = nn.LSTMCell(2 * dim, dim)
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        """Learn T tasks: embed support sets `[T, S, *x]`, labels `[T, S]` in 0..N-1, all in every task, once.

        The learner goes from `query_x [T, Q, *x]` to log-probabilities `[T, Q, N]`.
        """
        n, y = ways(support_x, support_y), support_y.clone()  # copies, of what may be written over
        g = self.g(self.embedded(support_x)).clone()
        return lambda query_x: self.log_p(self.f(self.embedded(query_x, g), g), g, y, n)

    def loss(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:  # fmt: skip
        """J, a scalar, for queries with labels `query_y [T, Q]`, one or more."""
        n, s = ways(support_x, support_y, query_y), support_x.shape[1]
        z = self.embedded(torch.cat([support_x, query_x], 1))  # one pass: one batch for batch norm
        g = self.g(z[:, :s])
        log_p = self.log_p(self.f(z[:, s:], g), g, support_y, n)
        self.metrics["accuracy"] = (log_p.detach().argmax(-1) == query_y).float().mean()
        return F.nll_loss(log_p.flatten(0, 1), query_y.flatten().long())  # no second softmax

    def embedded(self, x: Tensor, g: Tensor | None = None) -> Tensor:
        """f'(x) = g'(x) `[T, B, D]` of examples `[T, B, *x]`; of queries beside the g `[T, S, D]` learned."""
        if g is not None and len(x) != len(g):
            raise ValueError(f"queries of {len(x)} tasks for a learner of {len(g)}")
        if g is not None and not x.shape[1]:
            return g[:, :0]
        z = self.embed(x.flatten(0, 1))
        if not isinstance(z, Tensor) or (self.full_context and z[0].numel() != self.dim):
            got = f"dim={z[0].numel()}" if isinstance(z, Tensor) else type(z).__name__
            raise ValueError(f"embed returns {got}, not [B, dim], which is here dim={self.dim}")
        return z.reshape(*x.shape[:2], -1)

    def g(self, z: Tensor) -> Tensor:
        """The support's g `[T, S, D]`, from g' `[T, S, D]`."""
        return z + sum(self.g_lstm(z)[0].chunk(2, -1)) if self.full_context else z

    def f(self, z: Tensor, g: Tensor) -> Tensor:
        """The queries' f `[T, Q, D]`, from f' `[T, Q, D]` and the support's g `[T, S, D]`."""
        if not self.full_context:
            return z
        h = c = torch.zeros_like(z)
        for _ in range(self.steps):
            r = (h @ g.mT).softmax(-1) @ g  # a dot product here, not a cosine
            inputs = torch.cat([z, r], -1).flatten(0, 1)  # for the state [h, r]: the same sum
            h, c = (s.view_as(z) for s in self.f_lstm(inputs, (h.flatten(0, 1), c.flatten(0, 1))))
            h = h + z
        return h

    def log_a(self, f: Tensor, g: Tensor) -> Tensor:
        """The attention, log a `[T, Q, S]`, from f `[T, Q, D]` and g `[T, S, D]`; a sums to one."""
        f, g = (F.normalize(x, dim=-1) for x in (f, g))
        return (self.log_s.exp() * (f @ g.mT)).log_softmax(-1)

    def log_p(self, f: Tensor, g: Tensor, y: Tensor, n: int | None = None) -> Tensor:
        """The answer, log P `[T, Q, N]`: attention summed by class, for support labels y `[T, S]`."""
        other = y[:, None, :, None] != torch.arange(n or ways(g, y), device=y.device)
        return self.log_a(f, g)[..., None].masked_fill(other, -torch.inf).logsumexp(2)


def ways(x: Tensor, y: Tensor, *query_y: Tensor) -> int:
    """N, of support sets `[T, S, *x]` with labels `[T, S]` 0..N-1, each in every task; or in a loss on a GPU S."""
    if x.shape[:2] != y.shape or not all(t.numel() for t in (y, *query_y)):
        got = [[*t.shape] for t in (x, y, *query_y)]
        raise ValueError(f"shapes {got}: none may be empty; a single task is x[None], y[None]")
    if query_y and not y.is_cpu:
        return y.shape[1]  # at least N, which a GPU says only to those who wait for it
    n: int = max(map(max, rows := y.tolist())) + 1
    for task, row in enumerate(rows):
        if wrong := {*row} ^ {*range(min(n, len(row) + 1))}:
            what = f"class {min(wrong)} of task {task} has no support example in {sorted({*row})}"
            raise ValueError(f"{what}: label each task's classes 0..N-1")
    return n
