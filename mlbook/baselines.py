"""What every meta-learner has to beat: raw pixels, and a network trained in the ordinary way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call


class NearestNeighbour(nn.Module):
    """Answer with the label of the nearest support example, by Euclidean distance between raw pixels.

    Nothing is learned, so there is nothing to train. Scores are minus the distance to the nearest
    example of each class.
    """

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        """Remember the support set `[T, S, *x]` and its labels `[T, S]`; the learner returns scores `[T, Q, N]`.

        Raises:
            ValueError: If a class has no support example.
        """
        other = ~members(support_x, support_y)[:, None]  # [T, 1, S, N]
        s = support_x.flatten(2).to(torch.promote_types(support_x.dtype, torch.float32)).clone()

        def learner(query_x: Tensor) -> Tensor:
            asked(query_x, s)
            # not by |q|^2 - 2 q.s + |s|^2, which rounds where pixels are far from 0
            exact = "donot_use_mm_for_euclid_dist"
            distance = torch.cdist(query_x.flatten(2).to(s.dtype), s, compute_mode=exact)
            return -distance[..., None].masked_fill(other, torch.inf).amin(2)

        return learner


class PretrainedCentroids(nn.Module):
    """Train one network to tell all training classes apart, then answer new tasks by the nearest class mean.

    Training needs no episodes: `fit(model, Batches(train), steps)` with `mlbook.episodes.Batches`,
    and `classes=Batches(train).classes`. On a new task only the embedding is kept, normalised to
    unit length, and a query goes to the class whose mean is most similar.

    Args:
        embed: A network from `[B, *x]` to `[B, D]`.
        dim: D.
        classes: Training classes.

    Raises:
        ValueError: If `dim` or `classes` is below 1.

    Source: the baseline of Chen et al. (2019), section 3.1, with the nearest-centroid head of Tian
    et al. (2020).
    """

    def __init__(self, embed: nn.Module, dim: int, classes: int) -> None:
        super().__init__()
        if min(dim, classes) < 1:
            raise ValueError(f"dim={dim}, classes={classes}: must be 1 or more")
        self.embed = embed
        self.head = nn.Linear(dim, classes)
        self.metrics: dict[str, Tensor] = {}

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy over all training classes, for pictures `[B, *x]` with labels `[B]` in 0..classes-1."""
        logits = self.head(embedded(self.embed, x[None], self.head.in_features)[0])
        self.metrics["accuracy"] = (logits.detach().argmax(-1) == y).float().mean()
        return F.cross_entropy(logits, y.long())

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Callable[[Tensor], Tensor]:
        """Average the embedded support set by class; the learner returns cosine similarities `[T, Q, N]`.

        Raises:
            ValueError: If a class has no support example.
        """
        member = members(support_x, support_y)  # [T, S, N]
        z = self.features(support_x)
        c = F.normalize(member.to(z.dtype).mT @ z, dim=-1)
        return lambda query_x: (self.features(query_x) if asked(query_x, c) else c[:, :0]) @ c.mT

    def features(self, x: Tensor) -> Tensor:
        """Unit-length embeddings `[T, B, D]` of `[T, B, *x]`."""
        return F.normalize(embedded(self.embed, x, self.head.in_features), dim=-1)


class BaselinePlusPlus(nn.Module):
    r"""Train one network under a cosine classifier, then fit a new cosine classifier to each new task.

    Training classes and the classes of a task are told apart in the same way, each by the direction
    of a weight vector::

        a_k(x) = s cos(f(x), w_k)                  p(y = k | x) = softmax_k a_k(x)

    Training needs no episodes: `fit(model, Batches(train), steps)` with `mlbook.episodes.Batches`,
    and `classes=Batches(train).classes`. On a new task the embedding stays as it is and each class
    gets a weight vector of its own. It starts at the mean direction of the class's support examples
    and takes a few steps down the gradient of the support set's cross-entropy.

    Args:
        embed: f, a network from `[B, *x]` to `[B, D]`.
        dim: D.
        classes: Training classes.
        scale: Where s starts, above 0. It is learned with the rest: a cosine, confined to [-1, 1], could
            alone not be sure. 10 is that of the authors' code for more than 200 training classes;
            theirs goes on to learn a length for every w_k.

    Source: Chen et al. (2019), section 3.1. There w_k starts at random in a new task; where it
    starts here is the imprinting of Qi et al. (2018).

    Raises:
        ValueError: If `dim` or `classes` is below 1 or `scale` not above 0.
    """

    def __init__(self, embed: nn.Module, dim: int, classes: int, scale: float = 10.0) -> None:
        super().__init__()
        if min(dim, classes) < 1 or not 0 < scale < torch.inf:
            raise ValueError(
                f"dim={dim}, classes={classes}, scale={scale}: from 1, from 1, above 0"
            )
        self.embed = embed
        self.log_s = nn.Parameter(torch.tensor(math.log(scale)))
        # of length about 1; it has no say in the scores, only in how fast a step turns w
        self.w = nn.Parameter(torch.randn(classes, dim) / dim**0.5)
        self.metrics: dict[str, Tensor] = {}

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy over all training classes, for pictures `[B, *x]` with labels `[B]` in 0..classes-1."""
        scores = self.scores(self.f(x[None])[0], self.w)
        self.metrics["accuracy"] = (scores.detach().argmax(-1) == y).float().mean()
        return F.cross_entropy(scores, y.long())

    def adapt(
        self, support_x: Tensor, support_y: Tensor, steps: int = 100, rate: float = 0.1
    ) -> Callable[[Tensor], Tensor]:
        """Fit weight vectors to the classes of T tasks; the embedding is left alone.

        Args:
            support_x: `[T, S, *x]`.
            support_y: `[T, S]`, labels 0..N-1, every class present in every task.
            steps: Steps of gradient descent, each on the whole support set. 0 leaves the mean
                directions as they are.
            rate: Of gradient descent.

        Returns:
            The learner, from `query_x [T, Q, *x]` to scores `[T, Q, N]`, whose softmax is p(y | x).

        Raises:
            ValueError: If a class has no support example, `steps` is not 0 or more or `rate` not above 0.
        """
        if steps < 0 or steps % 1:
            raise ValueError(f"steps={steps}: must be 0 (mean directions) or more, a whole number")
        if not 0 < rate < torch.inf:
            raise ValueError(f"rate={rate}: must be above 0")
        member = members(support_x, support_y)  # [T, S, N]
        z = F.normalize(self.f(support_x).detach(), dim=-1)
        w = F.normalize(member.to(z.dtype).mT @ z, dim=-1)
        with torch.enable_grad():  # also where `evaluate` has turned gradients off
            for _ in range(int(steps)):
                w.requires_grad_()
                log_p = self.scores(z, w).log_softmax(-1)
                # a mean over the support set and a sum over tasks, which do not know of each other
                loss = -log_p.gather(-1, support_y[..., None].long()).mean((1, 2)).sum()
                w = (w - rate * torch.autograd.grad(loss, w)[0]).detach()
        return lambda query_x: self.scores(self.f(query_x) if asked(query_x, w) else w[:, :0], w)

    def scores(self, z: Tensor, w: Tensor) -> Tensor:
        """The scores a `[..., B, K]` of embeddings z `[..., B, D]` for weight vectors w `[..., K, D]`."""
        return self.log_s.exp() * F.normalize(z, dim=-1) @ F.normalize(w, dim=-1).mT

    def f(self, x: Tensor) -> Tensor:
        """The embeddings `[T, B, D]` of T tasks of B examples `[T, B, *x]`."""
        return embedded(self.embed, x, self.w.shape[1])


class FineTuning(nn.Module):
    """Transfer learning: train one network on all tasks together, then train it further on a new one.

    For regression the network is kept whole: `fit(model, tasks, steps)` with the tasks that a
    meta-learner gets, whose points are all thrown together. For classification, with `classes`,
    the network embeds and one linear layer tells all training classes apart:
    `fit(model, Batches(train), steps)` with `mlbook.episodes.Batches`; a new task gets a new layer,
    which starts at zero.

    Args:
        net: Any network, from `[B, *x]` to predictions `[B, *y]` or, with `classes`, to `[B, D]`.
            In a new task batch norm uses the running statistics, in `eval()`.
        dim: D, with `classes`.
        classes: Training classes, `Batches(train).classes`. None for regression.
        loss: From scores and labels (predictions and targets) to the mean over examples.
        optimizer: Makes the optimizer of the new task, from parameters.
        steps: Its steps in a new task, each on the whole support set.

    Source: "fine-tuning" as in Yosinski et al. (2014); the regression baseline of Finn et al.
    (2017), section 5.1.

    Raises:
        ValueError: If only one of `dim` and `classes` is given, or `steps` is not a whole number from 0 on.
    """

    def __init__(
        self,
        net: nn.Module,
        dim: int | None = None,
        classes: int | None = None,
        loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] = torch.optim.Adam,
        steps: int = 50,
    ) -> None:
        super().__init__()
        if (dim is None) != (classes is None):
            raise ValueError(
                f"dim={dim}, classes={classes}: give both (classification) or none (regression)"
            )
        if not (steps >= 0 and steps % 1 == 0):
            raise ValueError(f"steps={steps}: give a whole number, 0 (no training) or more")
        self.net, self.dim, self.classes = net, dim, classes
        self.head = nn.Identity() if not dim or not classes else nn.Linear(dim, classes)
        self.task_loss, self.optimizer, self.steps = loss, optimizer, steps
        self.metrics: dict[str, Tensor] = {}

    def loss(self, *batch: Tensor) -> Tensor:
        """The loss on pictures `[B, *x]` with labels `[B]`, or on all points of an episode's tasks."""
        if len(batch) == 4:
            support_x, support_y, query_x, query_y = batch
            x = torch.cat([support_x, query_x], 1).flatten(0, 1)
            y = torch.cat([support_y, query_y], 1).flatten(0, 1)
        else:
            x, y = batch
        self._fits(y)
        scores = self.head(self.net(x))
        if not y.is_floating_point():
            self.metrics["accuracy"] = (scores.detach().argmax(-1) == y).float().mean()
        return self.task_loss(scores, y)

    def adapt(
        self, support_x: Tensor, support_y: Tensor, steps: int | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Train a copy of the network's weights further on each of T tasks.

        Args:
            support_x: `[T, S, *x]`.
            support_y: `[T, S]`, labels 0..N-1, or targets `[T, S, *y]`.
            steps: As given at the start unless given here; 0 for none.

        Returns:
            The learner, from `query_x [T, Q, *x]` to scores `[T, Q, N]` or predictions `[T, Q, *y]`.

        Raises:
            ValueError: If `steps` is not a whole number from 0 on, nothing is left to train, the targets do
                not suit the loss, or the learner is asked about another number of tasks.
        """
        steps = self.steps if steps is None else steps
        if not (steps >= 0 and steps % 1 == 0):
            raise ValueError(f"steps={steps}: give a whole number, 0 (no training) or more")
        self._fits(support_y)
        tasks = []
        for x, y in zip(support_x, support_y, strict=True):
            # copies of the weights, not of the network: what it keeps of its last call need not be copied
            weights = {
                k: nn.Parameter(p.detach().clone(), p.requires_grad)
                for k, p in self.net.named_parameters()
            }
            state = weights | {k: b.clone() for k, b in self.net.named_buffers()}
            head: nn.Module = nn.Identity()
            if self.dim is not None:
                head = nn.Linear(self.dim, int(support_y.max()) + 1)
                head.to(next(self.head.parameters()))
                nn.init.zeros_(head.weight)
                nn.init.zeros_(head.bias)
            learned = [*weights.values(), *head.parameters()]
            if not any(p.requires_grad for p in learned):
                raise ValueError(
                    "every parameter of the network is frozen: free one, requires_grad=True"
                )
            optimizer = self.optimizer(learned)
            with torch.enable_grad():  # also where `evaluate` has turned gradients off
                for _ in range(steps):
                    optimizer.zero_grad()
                    scores = head(functional_call(self.net, state, x))
                    self.task_loss(scores, y).backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
            tasks.append((state, head))

        def learner(query_x: Tensor) -> Tensor:
            if len(query_x) != len(tasks):
                raise ValueError(
                    f"{len(query_x)} tasks are asked, but {len(tasks)} were learned: query_x is [T, Q, *x]"
                )
            each = zip(tasks, query_x, strict=True)
            return torch.stack([head(functional_call(self.net, s, x)) for (s, head), x in each])

        return learner

    def _fits(self, y: Tensor) -> None:
        """Cross-entropy of numbers would be trained on in silence: of one number it is 0 whatever the network says."""
        if y.is_floating_point() and self.task_loss is F.cross_entropy:
            raise ValueError(
                "the targets are numbers and the loss is that of labels: give loss=F.mse_loss"
            )


class RidgeAttributes(nn.Module):
    """Zero-shot without a network: a linear map from pixels to descriptions, then the nearest description.

    The map is ridge regression in closed form, with a bias that is not penalised: with centred
    pictures X `[n, P]` and descriptions V `[n, A]`, W = (X'X + strength n I)^-1 X'V.

    Args:
        strength: Of the penalty, relative to the number of pictures; more than 0.
        distance: How a predicted description is compared with a class's: `"cosine"` or
            `"squared"`.

    Source: the simplest attribute-based recognition in the sense of Lampert et al. (2009).

    Raises:
        ValueError: If `strength` is not above 0, or `distance` is neither.
    """

    mean_x: Tensor
    mean_v: Tensor
    weight: Tensor

    def __init__(self, strength: float = 0.01, distance: str = "cosine") -> None:
        super().__init__()
        if not 0 < strength < torch.inf:
            raise ValueError(f"strength={strength}: must be above 0, or pixels may not determine W")
        if distance not in ("cosine", "squared"):
            raise ValueError(f"distance={distance!r}: use 'cosine' or 'squared'")
        self.strength, self.distance = strength, distance
        for name in ("mean_x", "mean_v", "weight"):
            self.register_buffer(name, torch.zeros(0))

    def solve(self, x: Tensor, descriptions: Tensor) -> RidgeAttributes:
        """Regress descriptions `[B, A]` on pictures `[B, *x]`; returns the model itself.

        Raises:
            ValueError: If there is not one description a picture.
        """
        if len(x) != len(descriptions):
            raise ValueError(
                f"{len(x)} pictures and {len(descriptions)} descriptions: one for each"
            )
        x, v = x.flatten(1).double(), descriptions.double()
        self.mean_x, self.mean_v = x.mean(0), v.mean(0)
        x = x - self.mean_x
        gram = x.mT @ x / len(x)
        gram.diagonal().add_(self.strength)
        self.weight = torch.linalg.solve(gram, x.mT @ (v - self.mean_v) / len(x))
        return self

    def adapt(
        self, descriptions: Tensor, labels: Tensor | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Take the candidates' descriptions `[T, N, A]`; the learner returns scores `[T, Q, N]`.

        Without `labels [T, N]`, each of 0..N-1 once, row n describes class n.

        Raises:
            ValueError: If `solve` has not been called, or the labels of a task are not 0..N-1, each once.
        """
        if not len(self.weight):
            raise ValueError("call solve(pictures, descriptions) before adapt: nothing is learned")
        v = descriptions.double().clone()
        if labels is not None:
            if labels.shape != v.shape[:2] or members(v, labels).shape[2] < v.shape[1]:
                raise ValueError(
                    f"labels={labels.tolist()}: each task needs every label of 0..{v.shape[1] - 1} once"
                )
            v = v.gather(1, labels.argsort(-1)[..., None].expand_as(v))

        def learner(query_x: Tensor) -> Tensor:
            asked(query_x, v)
            z = (query_x.flatten(2).double() - self.mean_x) @ self.weight + self.mean_v
            if self.distance == "cosine":
                return F.normalize(z, dim=-1) @ F.normalize(v, dim=-1).mT
            return -torch.cdist(z, v, compute_mode="donot_use_mm_for_euclid_dist").square()

        return learner


def members(x: Tensor, y: Tensor) -> Tensor:
    """Which class `[T, S, N]` the examples `[T, S, *x]` are of, by their labels `[T, S]`: true or false.

    Raises:
        ValueError: If the labels of a task are not 0..N-1, each of them there.
    """
    if x.shape[:2] != y.shape or not y.numel():
        raise ValueError(
            f"support_x {[*x.shape]} and support_y {[*y.shape]}: give [T, S, *x] and [T, S], not empty; "
            "a single task is x[None], y[None]"
        )
    n = max(map(max, rows := y.tolist())) + 1
    for task, row in enumerate(rows):
        if wrong := {*row} ^ {*range(min(n, len(row) + 1))}:
            raise ValueError(
                f"class {min(wrong)} of task {task} has no support example in {sorted({*row})}: "
                "label each task's classes 0..N-1"
            )
    return y[..., None] == torch.arange(n, device=y.device)


def asked(query_x: Tensor, learned: Tensor) -> int:
    """How many queries `[T, Q, *x]` there are in a task, for a learner of T tasks `[T, ...]`.

    Raises:
        ValueError: If they are of more or fewer tasks.
    """
    if len(query_x) != len(learned):
        raise ValueError(f"queries of {len(query_x)} tasks for a learner of {len(learned)}")
    return query_x.shape[1]


def embedded(embed: nn.Module, x: Tensor, dim: int) -> Tensor:
    """The embeddings `[T, B, dim]` of T tasks of B examples `[T, B, *x]`.

    Raises:
        ValueError: If the network gives something else.
    """
    z = embed(x.flatten(0, 1))
    got = f"dim={z[0].numel()}" if isinstance(z, Tensor) else type(z).__name__
    if got != f"dim={dim}":
        raise ValueError(f"embed returns {got}, not [B, dim], which is here dim={dim}")
    rows: Tensor = z.reshape(*x.shape[:2], -1)
    return rows
