"""A network that emits the weights of a classifier. Gordon et al., ICLR 2019, arXiv:1805.09921."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class HyperNetwork(nn.Module):
    r"""Read the support set, emit the weights of a classifier for the task.

    With an embedding f, layer-normalised, and the support examples S_k of class k = 1..N::

        r_k          = 1/|S_k| sum_{x in S_k} φ( f(x) )    what class k looks like
        r            = 1/N sum_k r_k                       what the whole task looks like
        w_k, b_k     = ρ( r_k, r )                         the weights of class k, emitted
        p(y = k | x) = softmax_k( w_k . f(x) + b_k )       the task's own linear classifier
        J            = mean over queries of -log p(y | x)  what training minimises

    φ and ρ are the same for every class and task. Nothing in them says what a good classifier is:
    no distance, no gradient, no attention. ρ is a hypernetwork, one whose output is the weights of
    another (Ha, Dai & Le, ICLR 2017, arXiv:1609.09106). φ, a mean and ρ are a Deep Set (Zaheer et al.,
    NeurIPS 2017, arXiv:1703.06114, theorem 2, for a sum): the order of the support set changes nothing, and
    exchanging two labels exchanges two rows of weights. N and the shots are free, each time.

    Gordon et al. emit each class's row of a linear classifier as well, but a distribution over it,
    and from the class alone. Here r describes a class beside its rivals. Prototypical networks are an
    answer that ρ could come to, `w_k = 2 c_k` and `b_k = -|c_k|²`, if it found that to be best.

    Args:
        embed: f, any network from `[B, *x]` to `[B, D]`.
        dim: D.
        hidden: Numbers in r_k, and units in the hidden layer of ρ.
    """

    def __init__(self, embed: nn.Module, dim: int = 64, hidden: int = 128) -> None:
        super().__init__()
        self.embed, self.norm = embed, nn.LayerNorm(dim)
        self.phi = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU())
        self.rho = nn.Sequential(
            nn.Linear(2 * hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, dim + 1, bias=False),  # softmax sees nothing that all classes share
        )
        self.metrics: dict[str, Tensor] = {}  # what a progress bar may show beside the loss

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        """Learn T tasks, each from its own support set: emit its classifier, once.

        Args:
            support_x: `[T, S, *x]`.
            support_y: `[T, S]`, labels 0..N-1, every class present in every task.

        Returns:
            The learner, from `query_x [T, Q, *x]` to logits `[T, Q, N]`, whose softmax is p(y | x).

        Raises:
            ValueError: If a class has no support example.
        """
        w, b = self.weights(self.f(support_x), support_y)
        return lambda query_x: self.f(query_x) @ w.mT + b

    def loss(
        self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor
    ) -> Tensor:
        """J, a scalar, for queries with labels `query_y [T, Q]`."""
        # one pass for both: faster, and in train() mode batch norm treats them alike
        z = self.f(torch.cat([support_x, query_x], 1))
        w, b = self.weights(z[:, : support_x.shape[1]], support_y)
        logits = z[:, support_x.shape[1] :] @ w.mT + b
        self.metrics["accuracy"] = (logits.detach().argmax(-1) == query_y).float().mean()
        return F.cross_entropy(logits.flatten(0, 1), query_y.flatten())

    def f(self, x: Tensor) -> Tensor:
        """The normalised embeddings `[T, B, D]` of T tasks of B examples `[T, B, *x]`."""
        z: Tensor = self.norm(self.embed(x.flatten(0, 1)))
        return z.view(*x.shape[:2], -1)

    def weights(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The classifiers w `[T, N, D]` and b `[T, 1, N]`, from embeddings z `[T, S, D]` with labels y `[T, S]`."""
        member = F.one_hot(y).to(z.dtype)  # [T, S, N]
        size = member.sum(1)[..., None]  # [T, N, 1], |S_k|
        if not size.all():
            task, k, _ = (size == 0).nonzero()[0].tolist()
            raise ValueError(
                f"class {k} of task {task} has no support example; label each task's classes 0..N-1"
            )
        r_k = member.mT @ self.phi(z) / size  # [T, N, hidden]
        r = r_k.mean(1, keepdim=True).expand_as(r_k)
        emitted = self.rho(torch.cat([r_k, r], -1))  # [T, N, D + 1]
        return emitted[..., :-1], emitted[..., None, :, -1]
