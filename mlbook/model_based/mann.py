"""Memory-Augmented Neural Networks. Santoro, Bartunov, Botvinick, Wierstra & Lillicrap, ICML 2016, arXiv:1605.06065."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MANN(nn.Module):
    r"""Read a task as a sequence, write it into a memory, and find it there when its like comes back.

    At step t a picture x_t comes in beside the label of the one *before*, y_{t-1}, and is to be named; y_0 = 0.
    A controller steers n heads on a memory of N slots (section 3). All starts at 0, but w^u at 1e-4 more from slot
    to slot: ties stay alike. The paper has no tanh (it keeps keys of h's size) and a gate that is no output::

        h_t      = LSTM( f(x_t), y_{t-1}, r_{t-1}; h_{t-1}, c_{t-1} )  the controller
        k_t, a_t = tanh(V h_t), σ(V' h_t)                             each head's key and gate
        w^lu     = 1 where w^u_{t-1} is at most its n-th smallest, or 0
        w^w_t    = a_t w^r_{t-1} + (1 - a_t) w^lu                     where to write
        M_t      = M_{t-1} less the least used slot, + w^w_t k_t      erase and write; heads add up
        w^r_t    = softmax over slots of s cos(k_t, M_t)              where to read
        w^u_t    = γ w^u_{t-1} + w^r_t + w^w_t                        usage; heads add up
        P(y_t)   = softmax( U [h_t, r_t] )                            with what is read, r_t = w^r_t M_t

    Args:
        embed, dim, ways: f, any network from `[B, *x]` to `[B, dim]`, `nn.Flatten()` in the paper; the scores' N.
        hidden, lstm: Units of the controller; if not lstm, h_{t-1} and c_{t-1} count as 0: it is feed-forward.
        slots, width, reads, gamma: Size of the memory; n, heads, at most the slots; γ, in [0, 1].
        scale: s; 1 is the paper's, with which no slot outweighs another by more than e². None learns it, from 10.
    """

    def __init__(
        self, embed: nn.Module, dim: int, ways: int = 5, hidden: int = 200, slots: int = 128, width: int = 40,
        reads: int = 4, lstm: bool = True, scale: float | None = 1.0, gamma: float = 0.99,
    ) -> None:  # fmt: skip
        super().__init__()
        s, low = 10.0 if scale is None else float(scale), min(dim, ways - 1, hidden, width, reads)
        if low < 1 or slots < reads or not (0 < s < torch.inf and 0 <= gamma <= 1):
            raise ValueError(
                f"{dim=} {ways=} {hidden=} {slots=} {width=} {reads=} {scale=} {gamma=}: out of range"
            )
        self.embed, self.dim, self.ways, self.lstm, self.gamma = embed, dim, ways, lstm, gamma
        self.input, out = nn.Linear(dim + ways, 4 * hidden), hidden + reads * width
        self.recurrent = nn.Linear(out if lstm else out - hidden, 4 * hidden, bias=False)
        self.heads, self.output = nn.Linear(hidden, reads * (width + 1)), nn.Linear(out, ways)
        self.log_s = nn.Parameter(torch.tensor(s).log(), requires_grad=scale is None)
        self.shapes = ((out,), (hidden,), (width, slots), (reads, slots), (1, slots))
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        """Learn T tasks: read support sets `[T, S, *x]`, labels `[T, S]` of 0..N-1, not all, in the order given.

        The learner, `[T, Q, *x]` to scores `[T, Q, N]`, gives each query one step beside the last label, on a copy.
        """
        if support_x.shape[:2] != support_y.shape or {*support_y.flatten().tolist()} - {*range(self.ways)}:  # fmt: skip
            raise ValueError(f"{support_y.max()+1} > ways={self.ways}: a single task is x[None], y[None]")  # fmt: skip
        y = F.one_hot(support_y.long(), self.ways)
        _, state = self.unroll(support_x, F.pad(y, (0, 0, 1, -1)))

        def learner(query_x: Tensor) -> Tensor:
            if (t := len(query_x)) != len(y):
                raise ValueError(f"queries of {t} tasks for a learner of {len(y)}")
            if not (q := query_x.shape[1]):
                return y[:, :0].to(state[0])  # none
            last, *copies = (s.repeat_interleave(q, 0) for s in (y[:, -1:], *state))
            return self.unroll(query_x.flatten(0, 1)[:, None], last, copies)[0].view(t, q, -1)

        return learner

    def loss(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:  # fmt: skip
        """Cross-entropy, a scalar, of every step of support and query shuffled into one sequence."""
        x, y = torch.cat([support_x, query_x], 1), torch.cat([support_y, query_y], 1).long()
        order = torch.rand(y.shape, device=y.device).argsort(1)
        x, y = x[torch.arange(len(y), device=y.device)[:, None], order], y.gather(1, order)
        scores = self.sequence(x, y)
        self.metrics["accuracy"] = (scores.detach().argmax(-1) == y).float().mean()
        return F.cross_entropy(scores.flatten(0, 1), y.flatten())

    def sequence(self, x: Tensor, y: Tensor) -> Tensor:
        """Scores `[T, L, N]` of each picture of x `[T, L, *x]` from it and all before it, and their y `[T, L]`."""
        return self.unroll(x, F.pad(F.one_hot(y.long(), self.ways), (0, 0, 1, -1)))[0]

    def unroll(self, x: Tensor, y: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Scores `[T, L, N]` of x `[T, L, *x]` beside labels y `[T, L, N]`, and the state after them."""
        z = self.embed(x.flatten(0, 1))
        if (got := z[0].numel() if isinstance(z, Tensor) else type(z).__name__) != self.dim:
            raise ValueError(f"embed returns dim={got}, not a tensor [B, dim={self.dim}]")
        z = torch.cat([z.reshape(*x.shape[:2], -1), y.to(z.dtype)], -1)
        z = self.input(z.transpose(0, 1).contiguous())
        if state is None:
            state = [z.new_zeros(len(x), *shape) for shape in self.shapes]
            state[-1] += 1e-4 * torch.arange(state[-1].shape[-1], device=z.device, dtype=z.dtype)
        W = F.pad(self.recurrent.weight, (state[0].shape[1] - self.recurrent.in_features, 0))
        weights = W, *self.heads.parameters(), self.log_s.exp(), self.gamma, self.lstm
        out, *state = Steps.apply(z, *state, *weights)  # type: ignore[no-untyped-call]
        return self.output(out).transpose(0, 1), [out[-1], *state]


class Steps(torch.autograd.Function):
    """The formulas above and their gradient by hand (g_x is that by x, or a slope): autograd's takes twice the time."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, z: Tensor, o: Tensor, c: Tensor, M: Tensor, w_r: Tensor, w_u: Tensor,
        W: Tensor, V: Tensor, b: Tensor, s: Tensor, gamma: float, lstm: bool,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        out, ctx.steps, (n, width) = [o], [], (w_r.shape[1], M.shape[1])
        for z_t in z.unbind(0):
            gates, c_0, w_0 = torch.addmm(z_t, out[-1], W.t()), c, w_r
            i, f, q, g = gates.chunk(4, 1)
            c = (f.sigmoid_() * c if lstm else f.zero_()).addcmul(i.sigmoid_(), g.tanh_())
            h = q.sigmoid_() * c.tanh()
            k, a = torch.addmm(b, h, V.t()).view(-1, n, width + 1).split_with_sizes((width, 1), 2)
            k, a = k.tanh(), a.sigmoid()
            least = w_u.topk(n, 2, largest=False).values  # the smallest first
            w_lu, kept = (w_u <= least[..., -1:]).to(M.dtype), (w_u > least[..., :1]).to(M.dtype)
            w_w = torch.lerp(w_lu, w_r, a)
            M = (M * kept).baddbmm_(k.mT, w_w)
            m = (M * M).sum(1, keepdim=True).add_(1e-6).rsqrt_()  # 1 / |M_t(i)|
            u = k * (p := s / torch.linalg.vector_norm(k, dim=2, keepdim=True))
            w_r = (e := torch.bmm(u, M).mul_(m)).softmax(2)
            w_u = (w_r + w_w).sum(1, keepdim=True).add_(w_u, alpha=gamma)
            out.append(torch.cat([h, torch.bmm(w_r, M.mT).flatten(1)], 1))
            ctx.steps.append((gates, c_0, c, k, a, w_lu, kept, w_0, w_w, M, m, p, u, e, w_r))
        ctx.save_for_backward(W, V, s, torch.stack(out))
        ctx.mark_non_differentiable(w_u)
        return torch.stack(out[1:]), c.clone(), M.clone(), w_r.clone(), w_u

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g_out: Tensor, g_c: Tensor, g_M: Tensor, g_w: Tensor, _: Any) -> Any:  # noqa: D102
        (W, V, s, o), g_M, g_w = ctx.saved_tensors, g_M.clone(), g_w.clone()
        gates, c_0, c, k, a = (torch.stack(x) for x in list(zip(*ctx.steps, strict=True))[:5])
        (i, f, q, g), c, sizes = gates.chunk(4, 2), c.tanh(), (V.shape[1], W.shape[1] - V.shape[1])
        g_z = torch.cat([g * i * (1 - i), c_0 * f * (1 - f), c * q * (1 - q), i * (1 - g * g)], 2)
        g_heads, slope, g_s = torch.cat([1 - k * k, a * (1 - a)], 3), q * (1 - c * c), 0.0 * a[0]
        for t in range(len(g_out) - 1, -1, -1):
            *_, k, a, w_lu, kept, w_0, w_w, M, m, p, u, e, w_r = ctx.steps[t]
            g_o = torch.addmm(g_out[t], g_z[t + 1], W) if t + 1 < len(g_z) else g_out[t]
            g_h, g_r = g_o[:, : sizes[0]], g_o[:, sizes[0] :].view(k.shape)
            g_e = g_w.baddbmm_(g_r, M).mul_(w_r)
            g_e.addcmul_(w_r, g_e.sum(2, keepdim=True), value=-1)
            along = (x := g_e * e).sum(2, keepdim=True)
            g_s += along
            g_M.addcmul_(M, x.sum(1, keepdim=True).mul_(m).mul_(m), value=-1)
            g_M.baddbmm_(torch.cat([g_r, u], 1).mT, torch.cat([w_r, g_e.mul_(m)], 1))
            g_k = torch.bmm(g_e, M.mT).addcmul_(u, along / (s * s), value=-1).mul_(p)
            g_k.baddbmm_(w_w, g_M.mT)
            g_w = torch.bmm(k, g_M)
            g_heads[t].mul_(torch.cat([g_k, (g_w * (w_0 - w_lu)).sum(2, keepdim=True)], 2))
            g_h = torch.addmm(g_h, g_heads[t].flatten(1), V)
            g_c = torch.addcmul(g_c, g_h, slope[t])
            g_z[t].mul_(torch.cat([g_c, g_c, g_h, g_c], 1))
            g_w, g_M, g_c = g_w.mul_(a), g_M.mul_(kept), g_c * f[t]
        g_k, h = g_heads.flatten(2).flatten(0, 1), o[1:, :, : sizes[0]].flatten(0, 1)
        g_W, g_V = g_z.flatten(0, 1).t() @ o[:-1].flatten(0, 1), g_k.t() @ h
        return g_z, g_z[0] @ W, g_c, g_M, g_w, None, g_W, g_V, g_k.sum(0), g_s.sum() / s, None, None
