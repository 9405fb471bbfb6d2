"""Matching Networks. Vinyals, Blundell, Lillicrap, Kavukcuoglu & Wierstra, NeurIPS 2016, arXiv:1606.04080."""

from __future__ import annotations

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

    The LSTM of g reads the support in the order given, so that order changes the answer. The paper
    does not give K or the first states: zeros are a choice, and make r_0 the mean of all g(x_i).

    Args:
        embed: f' = g', any network from `[B, *x]` to `[B, D]`.
        full_context: Use full context embeddings.
        dim: D, needed for them alone.
        steps: K, processing steps of f.
        scale: s. The paper has none, so 1, and cannot be sure: at one shot a cosine in [-1, 1]
            bounds P at e / (e + (N - 1) / e). None learns it, from 10.

    Raises:
        ValueError: If `steps` is below 1 or `scale` not above 0.
    """

    def __init__(
        self,
        embed: nn.Module,
        full_context: bool = False,
        dim: int = 64,
        steps: int = 3,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        if steps < 1 or (scale is not None and scale <= 0):
            raise ValueError(f"steps={steps}, scale={scale}: take at least 1 step, a scale above 0")
        self.embed, self.full_context, self.steps = embed, full_context, steps
        self.log_s = nn.Parameter(torch.tensor(scale or 10.0).log(), requires_grad=scale is None)
        if full_context:
            self.g_lstm = nn.LSTM(dim, dim, bidirectional=True, batch_first=True)
            self.f_lstm = nn.LSTMCell(2 * dim, dim)
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        """Learn T tasks, each from its own support set: embed it, once.

        Args:
            support_x: `[T, S, *x]`.
            support_y: `[T, S]`, labels 0..N-1, every class present in every task.

        Returns:
            The learner, from `query_x [T, Q, *x]` to log-probabilities `[T, Q, N]`.
        """
        g = self.g(self.embedded(support_x))
        return lambda query_x: self.log_p(self.f(self.embedded(query_x), g), g, support_y)

    def loss(
        self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor
    ) -> Tensor:
        """J, a scalar, for queries with labels `query_y [T, Q]`."""
        # one pass for both: faster, and in train() mode batch norm treats them alike
        z = self.embedded(torch.cat([support_x, query_x], 1))
        g = self.g(z[:, : support_x.shape[1]])
        log_p = self.log_p(self.f(z[:, support_x.shape[1] :], g), g, support_y)
        self.metrics["accuracy"] = (log_p.detach().argmax(-1) == query_y).float().mean()
        return F.nll_loss(log_p.flatten(0, 1), query_y.flatten())  # P is a softmax's: no second one

    def embedded(self, x: Tensor) -> Tensor:
        """f'(x) = g'(x), `[T, B, D]`, of T tasks of B examples `[T, B, *x]`."""
        z: Tensor = self.embed(x.flatten(0, 1))
        return z.view(*x.shape[:2], -1)

    def g(self, z: Tensor) -> Tensor:
        """The support's g `[T, S, D]`, from g' `[T, S, D]`."""
        if self.full_context:
            forward, backward = self.g_lstm(z)[0].chunk(2, -1)
            z = forward + backward + z
        return z

    def f(self, z: Tensor, g: Tensor) -> Tensor:
        """The queries' f `[T, Q, D]`, from f' `[T, Q, D]` and the support's g `[T, S, D]`."""
        if not self.full_context:
            return z
        h = c = torch.zeros_like(z)
        for _ in range(self.steps):
            r = (h @ g.mT).softmax(-1) @ g  # a dot product here, not a cosine
            # the hidden state [h, r] of the paper: r enters beside f'(x), which is the same sum
            inputs = torch.cat([z, r], -1).flatten(0, 1)
            h, c = (s.view_as(z) for s in self.f_lstm(inputs, (h.flatten(0, 1), c.flatten(0, 1))))
            h = h + z
        return h

    def log_a(self, f: Tensor, g: Tensor) -> Tensor:
        """The attention, log a `[T, Q, S]`, from f `[T, Q, D]` and g `[T, S, D]`; a sums to one."""
        cosine = F.normalize(f, dim=-1) @ F.normalize(g, dim=-1).mT
        return (self.log_s.exp() * cosine).log_softmax(-1)

    def log_p(self, f: Tensor, g: Tensor, y: Tensor) -> Tensor:
        """The answer, log P `[T, Q, N]`: attention summed by class, for support labels y `[T, S]`."""
        other = F.one_hot(y)[:, None] == 0  # [T, 1, S, N]
        return self.log_a(f, g)[..., None].masked_fill(other, -torch.inf).logsumexp(2)
