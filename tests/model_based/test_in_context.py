from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from oracles import (
    affine,
    gradients_agree,
    logits_are,
    numbers,
    queries_are_blind,
    support_is_a_set,
    task,
    tasks_are_independent,
)
from torch import Tensor, nn

from mlbook.model_based import InContextTransformer
from mlbook.nets import Conv4


def network(seed: int = 0, layers: int = 2, ways: int = 3) -> InContextTransformer:
    """A small network in float64 and `eval()`, whose layer norms do something and whose attention is sharp."""
    torch.manual_seed(seed)
    embed = nn.Sequential(nn.Linear(5, 4), nn.Tanh())
    model = InContextTransformer(embed, dim=4, ways=ways, layers=layers, heads=2).double()
    for name, module in model.named_modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
        if name.endswith("match"):
            nn.init.normal_(module.weight)  # type: ignore[arg-type]
    return model.eval()


def normal(norm: nn.Module, x: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * numbers(norm.weight) + numbers(norm.bias)


def gelu(x: np.ndarray) -> np.ndarray:
    return np.array([v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in x])


def layer(block: nn.Module, token: np.ndarray, support: list[np.ndarray]) -> np.ndarray:
    """One token after it has read the support's, head by head and example by example."""
    width, heads = len(token), 2
    d, read = width // heads, []
    project = numbers(block.match.weight)  # type: ignore[union-attr]
    q = project @ normal(block.norm_1, token)  # type: ignore[arg-type]
    for i in range(heads):
        part = slice(i * d, (i + 1) * d)
        scores, values = [], []
        for s in support:
            s = normal(block.norm_1, s)  # type: ignore[arg-type]
            scores.append(q[part] @ (project @ s)[part] / math.sqrt(d))
            values.append(affine(block.value, s)[part])  # type: ignore[arg-type]
        a = np.exp(scores) / np.exp(scores).sum()
        read.append(sum(w * v for w, v in zip(a, values, strict=True)))
    token = token + affine(block.out, np.concatenate(read))  # type: ignore[arg-type]
    first, _, second = block.mlp  # type: ignore[misc]
    return token + affine(second, gelu(affine(first, normal(block.norm_2, token))))  # type: ignore[arg-type]


def by_hand(model: InContextTransformer, sx: Tensor, sy: Tensor, qx: Tensor) -> np.ndarray:
    """Logits in NumPy, token by token."""

    def embedding(x: Tensor) -> np.ndarray:
        return normal(model.norm, np.tanh(affine(model.embed[0], numbers(x))))  # type: ignore[index]

    logits = []
    for x, y, q in zip(sx, sy, qx, strict=True):
        label = numbers(model.label.weight)
        s = [np.concatenate([embedding(a), label[k]]) for a, k in zip(x, y, strict=True)]
        tokens = [np.concatenate([embedding(a), np.zeros(4)]) for a in q]
        for block in model.blocks:
            tokens = [layer(block, token, s) for token in tokens]
            s = [layer(block, token, s) for token in s]
        norm, last = model.head
        logits.append([affine(last, normal(norm, token)) for token in tokens])
    return np.array(logits)


@pytest.mark.parametrize("layers", [1, 3])
def test_logits_and_loss_are_those_of_the_definition(layers: int) -> None:
    model, (sx, sy, qx, qy) = network(layers=layers), task()
    expected = by_hand(model, sx, sy, qx)
    assert expected.std(-1).min() > 1e-2
    logits_are(model, expected, sx, sy, qx, qy)


def test_the_gradient() -> None:
    gradients = gradients_agree(network(), *task())
    assert all(g.abs().max() > 1e-6 for g in gradients.values())


def test_tasks_at_once_equal_tasks_one_by_one() -> None:
    tasks_are_independent(network(), *task(t=3)[:3])
    torch.manual_seed(0)
    model = InContextTransformer(Conv4(hidden=4), dim=4, ways=3).double()
    model.loss(*task(t=3, x=(1, 16, 16)))  # gives batch norm its statistics
    tasks_are_independent(model, *task(t=3, x=(1, 16, 16))[:3])


def test_the_order_of_the_support_does_not_matter_and_that_of_the_queries_is_kept() -> None:
    model, (sx, sy, qx, _) = network(), task(shots=3, queries=6)
    support_is_a_set(model, sx, sy, qx)
    scores = model.adapt(sx, sy)(qx)
    turned = model.adapt(sx, sy.roll(1, 1))(qx)
    assert (turned - scores).abs().max() > 1e-3, "which label stands at which picture does matter"


def test_queries_are_blind_to_each_other() -> None:
    model, (sx, sy, qx, _) = network(), task()
    queries_are_blind(model, sx, sy, qx)
    learner = model.adapt(sx, sy)
    torch.testing.assert_close(learner(qx[:, 2:3]), learner(qx)[:, 2:3], atol=1e-12, rtol=0)


def test_in_the_loss_too_no_token_sees_a_query() -> None:
    """The loss of many queries is the mean of their losses alone; it would not be if any token read them."""
    model, (sx, sy, qx, qy) = network(), task(queries=5)
    alone = [model.loss(sx, sy, qx[:, q : q + 1], qy[:, q : q + 1]).item() for q in range(5)]
    assert np.std(alone) > 1e-2
    assert model.loss(sx, sy, qx, qy).item() == pytest.approx(np.mean(alone), abs=1e-12)


def test_the_support_reads_itself_and_every_layer_finds_other_tokens() -> None:
    model, (sx, sy, _, _) = network(layers=3), task()
    before = model.read(model.f(sx), sy)
    assert [m.shape for m in before] == [(2, 6, 8)] * 3
    sx[:, 0] += 1
    after = model.read(model.f(sx), sy)
    assert torch.equal(before[0][:, 1:], after[0][:, 1:]), "the first layer finds single examples"
    for a, b in zip(before[1:], after[1:], strict=True):
        assert ((a - b)[:, 1:].abs().amax(-1) > 1e-12).all(), "the next ones find them compared"


def test_every_example_twice_says_no_more_than_once() -> None:
    model, (sx, sy, qx, _) = network(), task()
    scores = model.adapt(sx, sy)(qx)
    twice = model.adapt(sx.repeat(1, 2, 1), sy.repeat(1, 2))(qx)
    torch.testing.assert_close(twice, scores, atol=1e-12, rtol=0)


def test_labels_are_exchanged_together_with_their_vectors() -> None:
    """Every label has a vector and a row of W, b of its own, so a task under other names is another task."""
    model, (sx, sy, qx, _) = network(), task()
    scores = model.adapt(sx, sy)(qx)
    new = torch.tensor([2, 0, 1])  # class k is called new[k]
    renamed = model.adapt(sx, new[sy])(qx)[..., new]
    assert (renamed - scores).abs().max() > 1e-3
    other = copy.deepcopy(model)
    with torch.no_grad():
        for p, q in zip(
            (other.label.weight, *other.head[1].parameters()),
            (model.label.weight, *model.head[1].parameters()),
            strict=True,
        ):
            p[new] = q
    renamed = other.adapt(sx, new[sy])(qx)[..., new]
    torch.testing.assert_close(renamed, scores, atol=1e-12, rtol=0)


def test_fewer_ways_than_label_vectors_give_fewer_scores_and_more_are_an_error() -> None:
    model, (sx, sy, qx, qy) = network(ways=5), task(ways=3)
    expected = by_hand(model, sx, sy, qx)[..., :3]
    np.testing.assert_allclose(numbers(model.adapt(sx, sy)(qx)), expected, atol=1e-12)
    j = -torch.tensor(expected).log_softmax(-1).gather(-1, qy[..., None]).mean()
    assert model.loss(sx, sy, qx, qy).item() == pytest.approx(j.item(), abs=1e-12)
    sx, sy, qx, qy = task(ways=6)
    for call in (lambda: model.adapt(sx, sy), lambda: model.loss(sx, sy, qx, qy)):
        with pytest.raises(ValueError, match=r"label 5: .* 0..4; build with ways=6"):
            call()


def test_the_support_is_embedded_once() -> None:
    calls: list[int] = []

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return x

    model = InContextTransformer(Counting(), dim=5, ways=3).double()
    sx, sy, qx, qy = task()
    learner = model.adapt(sx, sy)
    learner(qx)
    learner(qx)
    assert calls == [12, 8, 8]
    model.loss(sx, sy, qx, qy)
    assert calls[3:] == [20], "support and query share a pass, and so batch norm's statistics"


def test_random_weights_attend_to_what_is_alike() -> None:
    """Before any training, a query that is a support picture attends to that picture more than by chance."""
    hits = []
    for seed in range(40):
        torch.manual_seed(seed)
        model = InContextTransformer(nn.Identity(), dim=32, ways=5, heads=2)
        x, y = torch.randn(1, 5, 32), torch.randperm(5)[None]
        block = model.blocks[0]
        s = block.norm_1(model.read(model.f(x), y)[0])
        q = block.norm_1(torch.cat([model.f(x), torch.zeros_like(x)], -1))
        scores = block.match(q)[0] @ block.match(s)[0].T
        hits.append((scores.argmax(-1) == torch.arange(5)).float().mean().item())
    assert np.mean(hits) > 0.9
