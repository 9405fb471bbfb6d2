from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import gradients_agree, tasks_are_independent
from torch import Tensor, nn

from mlbook import evaluate, fit
from mlbook.episodes import Episode
from mlbook.metric import ZeroShotPrototypicalNetwork
from mlbook.nets import MLP


def task(
    t: int = 2, ways: int = 4, queries: int = 5, a: int = 3, d: int = 6, seed: int = 0
) -> Episode:
    """Descriptions `[t, ways, a]`, shuffled labels, pictures `[t, queries, d]` and their answers."""
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(t, ways, a, dtype=torch.float64, generator=generator)
    y = torch.stack([torch.randperm(ways, generator=generator) for _ in range(t)])
    qx = torch.randn(t, queries, d, dtype=torch.float64, generator=generator)
    return Episode(v, y, qx, torch.randint(ways, (t, queries), generator=generator))


def network(scale: float = 1.0) -> ZeroShotPrototypicalNetwork:
    torch.manual_seed(0)
    return ZeroShotPrototypicalNetwork(MLP(6, 8, 5), MLP(3, 7, 5), scale).double()


def by_hand(model: ZeroShotPrototypicalNetwork, v: Tensor, y: Tensor, qx: Tensor) -> np.ndarray:
    """Logits by loops over tasks, queries and descriptions, in NumPy."""
    with torch.no_grad():
        g, f, labels = model.describe(v).numpy(), model.embed(qx).numpy(), y.numpy()
    logits = np.full((len(f), f.shape[1], g.shape[1]), np.nan)
    for t in range(len(f)):
        for q in range(f.shape[1]):
            for row in range(g.shape[1]):
                c = g[t, row] / np.sqrt(sum(value**2 for value in g[t, row]))
                squared = sum((a - b) ** 2 for a, b in zip(f[t, q], c, strict=True))
                logits[t, q, labels[t, row]] = -model.scale * squared
    return logits


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_logits_and_loss_are_those_of_the_definition(scale: float) -> None:
    model, (v, y, qx, qy) = network(scale), task()
    expected = by_hand(model, v, y, qx)
    np.testing.assert_allclose(model.adapt(v, y)(qx).detach(), expected, atol=1e-10)
    p = np.exp(expected) / np.exp(expected).sum(-1, keepdims=True)
    picked = np.take_along_axis(p, qy.numpy()[..., None], -1)
    assert model.loss(v, y, qx, qy).item() == pytest.approx(-np.log(picked).mean(), abs=1e-10)
    assert model.metrics["accuracy"].item() == pytest.approx(
        (expected.argmax(-1) == qy.numpy()).mean()
    )


@given(factor=st.floats(1e-3, 1e3))
def test_only_the_description_is_normalised(factor: float) -> None:
    """A longer description changes nothing; a longer picture changes the probabilities, not the answer."""
    model, (v, y, qx, _) = network(), task()
    before = model.adapt(v, y)(qx)
    model.describe.register_forward_hook(lambda *a: factor * a[-1])
    assert torch.allclose(model.adapt(v, y)(qx), before, atol=1e-9)
    model.embed.register_forward_hook(lambda *a: 3 * a[-1])
    after = model.adapt(v, y)(qx)
    assert not torch.allclose(after.softmax(-1), before.softmax(-1), atol=1e-2)
    assert torch.equal(after.argmax(-1), before.argmax(-1))


def test_prototypes_have_unit_length_and_logits_are_linear_in_the_picture() -> None:
    """With |c| = 1 the logits are 2 f(x).c up to a constant of the query."""
    model, (v, y, qx, _) = network(), task()
    c = model.prototypes(v, y)
    assert torch.allclose(c.norm(dim=-1), torch.ones(2, 4).double(), atol=1e-12)
    rest = model.adapt(v, y)(qx) - 2 * torch.einsum("tqd,tnd->tqn", model.f(qx), c)
    assert torch.allclose(rest, rest[..., :1].expand_as(rest), atol=1e-10)


@given(ways=st.integers(2, 8), seed=st.integers(0, 1000))
def test_order_and_labels_of_the_descriptions(ways: int, seed: int) -> None:
    model, (v, y, qx, _) = network(), task(1, ways, seed=seed)
    order = torch.randperm(ways, generator=torch.Generator().manual_seed(seed + 1))
    scores = model.adapt(v, y)(qx)
    # pairs of description and label may come in any order
    assert torch.allclose(model.adapt(v[:, order], y[:, order])(qx), scores, atol=1e-12)
    # other labels: the same scores under other numbers
    assert torch.allclose(model.adapt(v, order[y])(qx)[..., order], scores, atol=1e-12)
    # without labels row n is class n
    sorted_v = v[:, y[0].argsort()]
    assert torch.allclose(model.adapt(sorted_v)(qx), scores, atol=1e-12)


@given(ways=st.integers(2, 8), extra=st.integers(1, 5), seed=st.integers(0, 1000))
def test_a_further_candidate_changes_no_other_score(ways: int, extra: int, seed: int) -> None:
    model, (v, _, qx, _) = network(), task(2, ways + extra, seed=seed)
    wide, narrow = model.adapt(v)(qx), model.adapt(v[:, :ways])(qx)
    assert torch.allclose(wide[..., :ways], narrow, atol=1e-12)


def test_gradients_by_finite_differences() -> None:
    model, batch = network(), task()
    gradients_agree(model, *batch)


def test_tasks_at_once_equal_tasks_one_by_one_in_eval_mode() -> None:
    from mlbook.nets import Conv4

    torch.manual_seed(0)
    model = ZeroShotPrototypicalNetwork(Conv4(hidden=8), nn.Linear(6, 8)).double()
    v, qx = torch.rand(3, 5, 6).double(), torch.rand(3, 4, 1, 28, 28).double()
    y = torch.stack([torch.randperm(5) for _ in range(3)])
    model.embed(qx[0])  # running statistics of a network that has seen something
    tasks_are_independent(model, v, y, qx)


def test_the_descriptions_are_embedded_once() -> None:
    calls = []
    model, (v, y, qx, _) = network(), task()
    model.describe.register_forward_hook(lambda *a: calls.append(len(a[-1])))
    learner = model.adapt(v, y)
    learner(qx)
    learner(qx)
    assert calls == [8]


def test_it_learns_combinations_that_it_has_not_met_with_the_ordinary_fit_and_evaluate() -> None:
    """Pictures hold colour and shape as two noisy one-hots; the descriptions say which. 4 of 16 are held out."""
    mix = torch.randn(8, 8, generator=torch.Generator().manual_seed(9))
    pairs = [(i, j) for i in range(4) for j in range(4)]
    unseen = [(i, (i + 1) % 4) for i in range(4)]
    seen = [pair for pair in pairs if pair not in unseen]

    class Tasks:
        def __init__(self, classes: list[tuple[int, int]]) -> None:
            rows = torch.tensor(classes)
            one_hot = nn.functional.one_hot
            self.v = torch.cat([one_hot(rows[:, 0], 4), one_hot(rows[:, 1], 4)], 1).float()

        def __getitem__(self, k: int) -> Episode:
            generator = torch.Generator().manual_seed(k)
            chosen = torch.randperm(len(self.v), generator=generator)[:4]
            qy = torch.randint(4, (1, 20), generator=generator)
            noise = 0.3 * torch.randn(1, 20, 8, generator=generator)
            qx = self.v[chosen][qy[0]][None] @ mix + noise
            return Episode(self.v[chosen][None], torch.arange(4)[None], qx, qy)

    torch.manual_seed(0)
    model = ZeroShotPrototypicalNetwork(nn.Linear(8, 8), nn.Linear(8, 8))
    before = evaluate(model, Tasks(unseen), n=50)
    history = fit(
        model, Tasks(seen), 200, torch.optim.Adam(model.parameters(), 3e-2), progress=False
    )
    assert history.loss[-1] < history.loss[0]
    assert evaluate(model, Tasks(unseen), n=50).mean > max(0.9, before.mean)


def test_mistakes_are_named() -> None:
    model, (v, y, _, _) = network(), task(t=1)
    with pytest.raises(ValueError, match=r"every label of 0\.\.3 once"):
        model.adapt(v, torch.where(y == 1, 0, y))


def test_other_mistakes_are_named() -> None:
    model, (v, y, qx, qy) = network(), task()
    with pytest.raises(ValueError, match=r"a single task is v\[None\], y\[None\]"):
        model.adapt(v[0], y[0])
    with pytest.raises(ValueError, match=r"v\[None\]"):
        model.adapt(v, y[:, :3])
    with pytest.raises(ValueError, match="queries of 1 tasks for a learner of 2"):
        model.adapt(v, y)(qx[:1])
    with pytest.raises(ValueError, match="no queries"):
        model.loss(v, y, qx[:, :0], qy[:, :0])
    with pytest.raises(ValueError, match="every label"):
        model.loss(v, torch.zeros_like(y), qx, qy)
    assert model.adapt(v, y)(qx[:, :0]).shape == (2, 0, 4)
    assert torch.equal(model.adapt(v, y.int())(qx), model.adapt(v, y)(qx))
    assert model.loss(v, y.int(), qx, qy.int()) == model.loss(v, y, qx, qy)
    for part in ("embed", "describe"):
        broken, net = network(), getattr(model, part)
        setattr(broken, part, nn.Sequential(net, Pair()))
        with pytest.raises(ValueError, match=f"{part} returns a tuple"):
            broken.adapt(v, y)(qx)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x
