from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from mlbook import evaluate, fit
from mlbook.baselines import (
    BaselinePlusPlus,
    FineTuning,
    NearestNeighbour,
    PretrainedCentroids,
    RidgeAttributes,
)
from mlbook.episodes import Batches
from tests.test_episodes import numbered


def test_nearest_neighbour_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    sx, qx = (
        torch.rand(2, 6, 1, 3, 3, generator=generator),
        torch.rand(2, 5, 1, 3, 3, generator=generator),
    )
    sy = torch.tensor([[0, 1, 2, 0, 1, 2], [2, 1, 0, 0, 0, 1]])
    scores = NearestNeighbour().adapt(sx, sy)(qx)
    assert scores.shape == (2, 5, 3)
    for t in range(2):
        for q in range(5):
            distance = [np.linalg.norm((sx[t, s] - qx[t, q]).numpy()) for s in range(6)]
            assert scores[t, q].argmax() == sy[t, int(np.argmin(distance))]
            nearest = [
                -min(d for d, y in zip(distance, sy[t].tolist(), strict=True) if y == k)
                for k in range(3)
            ]
            np.testing.assert_allclose(scores[t, q], nearest, rtol=1e-4)


def test_pretrained_centroids_by_hand() -> None:
    model = PretrainedCentroids(nn.Identity(), 2, 4)
    sx = torch.tensor([[[1.0, 0.0], [2.0, 2.0], [0.0, 5.0]]])
    learner = model.adapt(sx, torch.tensor([[0, 0, 1]]))
    c0 = np.array([1 + 0.5**0.5, 0.5**0.5]) / 2  # the mean of the two unit vectors
    z = np.array([3.0, 4.0]) / 5
    expected = [z @ c0 / np.linalg.norm(c0), z @ np.array([0.0, 1.0])]
    np.testing.assert_allclose(learner(torch.tensor([[[3.0, 4.0]]]))[0, 0], expected, rtol=1e-6)
    with pytest.raises(ValueError, match="no support example"):
        model.adapt(sx, torch.tensor([[0, 0, 2]]))


def patterns_in_noise() -> Batches:
    """Batches of six classes, each one random pattern with noise on it."""
    data = numbered(classes=6, samples=8, side=4)
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randint(0, 200, (6, 1, 1, 4, 4), generator=generator)
    noise = torch.randint(0, 55, (6, 8, 1, 4, 4), generator=generator)
    data.images = (patterns + noise).byte()
    return Batches(data, size=32)


def test_pretraining_learns_classes_without_episodes() -> None:
    batches = patterns_in_noise()
    torch.manual_seed(0)
    model = PretrainedCentroids(nn.Sequential(nn.Flatten(), nn.Linear(16, 32)), 32, batches.classes)
    history = fit(
        model,
        batches,
        steps=200,
        optimizer=torch.optim.Adam(model.parameters(), 1e-2),
        progress=False,
    )
    assert sum(history.accuracy[-20:]) / 20 > 0.95
    assert evaluate(model, batches.data.episodes(5, 1, 2), n=50).mean > 0.9


def ridge_task() -> tuple[torch.Tensor, ...]:
    """Pictures that a linear map turns into descriptions, and noise: one row a picture."""
    generator = torch.Generator().manual_seed(0)
    v = torch.randint(0, 2, (60, 5), generator=generator).double()
    mixed = v @ torch.randn(5, 12, dtype=torch.float64, generator=generator)
    x = mixed + 0.1 * torch.randn(60, 12, dtype=torch.float64, generator=generator) + 3
    return x.view(60, 1, 3, 4), v


@pytest.mark.parametrize("strength", [1e-3, 0.1, 10.0])
def test_ridge_attributes_in_closed_form(strength: float) -> None:
    """As ordinary least squares on augmented rows: sqrt(strength n) I with targets 0 stands for the penalty."""
    x, v = ridge_task()
    model = RidgeAttributes(strength).solve(x, v)
    flat, target = x.flatten(1).numpy(), v.numpy()
    rows = np.vstack([flat - flat.mean(0), np.sqrt(strength * len(flat)) * np.eye(12)])
    goal = np.vstack([target - target.mean(0), np.zeros((12, 5))])
    weight = np.linalg.lstsq(rows, goal, rcond=None)[0]
    np.testing.assert_allclose(model.weight, weight, atol=1e-9)
    query = torch.randn(2, 3, 1, 3, 4, generator=torch.Generator().manual_seed(1)).double()
    candidates = torch.stack([v[:4], v[4:8]])
    predicted = (query.flatten(2).numpy() - flat.mean(0)) @ weight + target.mean(0)
    cosine = model.adapt(candidates)(query)
    squared = RidgeAttributes(strength, "squared").solve(x, v).adapt(candidates)(query)
    for t, q, n in np.ndindex(2, 3, 4):
        a, b = predicted[t, q], candidates[t, n].numpy()
        length = max(np.linalg.norm(b), 1e-12) * np.linalg.norm(a)
        assert cosine[t, q, n].item() == pytest.approx(a @ b / length, abs=1e-9)
        assert squared[t, q, n].item() == pytest.approx(-np.sum((a - b) ** 2), abs=1e-9)


def test_ridge_attributes_learn_and_are_evaluated_like_the_others() -> None:
    x, v = ridge_task()
    model = RidgeAttributes(1e-3).solve(x, v)
    classes = v.unique(dim=0)[1:]  # without the empty description
    y = torch.tensor([[int((classes == row).all(1).nonzero()) for row in v if row.any()]])
    query = x[v.any(1)][None]
    assert (model.adapt(classes[None])(query).argmax(-1) == y).double().mean() > 0.9
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(0))
    shuffled = model.adapt(classes[order][None], order[None])(query)
    assert torch.allclose(shuffled, model.adapt(classes[None])(query))
    again = RidgeAttributes()
    again.mean_x, again.mean_v, again.weight = model.mean_x, model.mean_v, model.weight
    assert torch.equal(again.adapt(classes[None])(query), model.adapt(classes[None])(query))
    for mistake, says in [
        (lambda: RidgeAttributes(0), "strength=0"),
        (lambda: RidgeAttributes(1, "l1"), "distance='l1'"),
        (lambda: RidgeAttributes().adapt(classes[None]), "call solve"),
        (lambda: RidgeAttributes().solve(x, v[:3]), "60 pictures and 3 descriptions"),
    ]:
        with pytest.raises(ValueError, match=says):
            mistake()


def cosine_classifier(
    seed: int = 0, **options: float
) -> tuple[BaselinePlusPlus, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A small one in float64 with a support set of two tasks (three classes, unbalanced) and queries."""
    torch.manual_seed(seed)
    embed = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5))
    model = BaselinePlusPlus(embed, 5, 7, **options).double()
    torch.nn.init.constant_(model.log_s, math.log(options.get("scale", 10.0)))  # to 16 digits
    sx, qx = torch.randn(2, 8, 4, dtype=torch.float64), torch.randn(2, 6, 4, dtype=torch.float64)
    sy = torch.tensor([[0, 1, 2, 0, 1, 2, 0, 0], [2, 1, 0, 0, 2, 1, 1, 1]])
    return model, sx, sy, qx


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)  # type: ignore[no-any-return]


def test_baseline_plus_plus_trains_a_cosine_classifier_over_all_classes() -> None:
    model, sx, _, _ = cosine_classifier(scale=3.0)
    x, y = sx[0], torch.tensor([6, 0, 3, 3, 1, 2, 5, 4])
    z, w = model.embed(x).detach().numpy(), model.w.detach().numpy()
    s = 3 * unit(z) @ unit(w).T
    expected = np.mean(np.log(np.exp(s).sum(1)) - s[np.arange(8), y.numpy()])
    loss = model.loss(x, y)
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-12)
    assert model.metrics["accuracy"] == np.mean(s.argmax(1) == y.numpy()).astype(np.float32)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        flat, gradient = parameter.data.flatten(), parameter.grad.flatten()
        for i in range(0, len(flat), 7):
            keep, values = flat[i].item(), []
            for step in (1e-5, -1e-5):
                flat[i] = keep + step
                values.append(model.loss(x, y).item())
            flat[i] = keep
            np.testing.assert_allclose(gradient[i], (values[0] - values[1]) / 2e-5, atol=1e-8)


def test_baseline_plus_plus_starts_a_task_at_the_mean_directions() -> None:
    model, sx, sy, qx = cosine_classifier()
    scores = model.adapt(sx, sy, steps=0)(qx)
    for t in range(2):
        z, q = (unit(model.embed(x[t]).detach().numpy()) for x in (sx, qx))
        w = unit(np.stack([z[sy[t] == k].mean(0) for k in range(3)]))
        np.testing.assert_allclose(scores[t].detach(), 10 * q @ w.T, rtol=1e-12)


def test_baseline_plus_plus_descends_the_gradient_of_the_support_set() -> None:
    """Two steps, the gradient by finite differences in NumPy."""
    model, sx, sy, qx = cosine_classifier(seed=1)
    scores = model.adapt(sx, sy, steps=2, rate=0.3)(qx).detach()
    for t in range(2):
        y = sy[t].numpy()
        z, q = (unit(model.embed(x[t]).detach().numpy()) for x in (sx, qx))
        w = unit(np.stack([z[y == k].mean(0) for k in range(3)]))

        def j(w: np.ndarray, z: np.ndarray = z, y: np.ndarray = y) -> float:
            s = 10 * z @ unit(w).T
            return float(np.mean(np.log(np.exp(s).sum(1)) - s[np.arange(len(y)), y]))

        for _ in range(2):
            gradient = np.zeros_like(w)
            for at in np.ndindex(w.shape):
                step = np.zeros_like(w)
                step[at] = 1e-6
                gradient[at] = (j(w + step) - j(w - step)) / 2e-6
            w = w - 0.3 * gradient
        np.testing.assert_allclose(scores[t], 10 * q @ unit(w).T, atol=1e-7)


def test_baseline_plus_plus_learns_a_task_with_gradients_off_and_its_embedding_kept() -> None:
    model, sx, sy, qx = cosine_classifier()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        learners = [model.adapt(sx, sy, steps=k, rate=0.05) for k in (0, 20, 200)]
        right = torch.nn.functional.one_hot(sy).bool()
        j = [-learner(sx).log_softmax(-1)[right].mean().item() for learner in learners]
        scores = learners[1](qx)
    assert j[0] > j[1] > j[2]
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    # the same with gradients on, and task by task
    torch.testing.assert_close(model.adapt(sx, sy, steps=20, rate=0.05)(qx).detach(), scores)
    for t in range(2):
        alone = model.adapt(sx[t : t + 1], sy[t : t + 1], steps=20, rate=0.05)(qx[t : t + 1])
        torch.testing.assert_close(alone[0].detach(), scores[t], rtol=1e-12, atol=1e-12)
    # no order in the support set, and the length of an embedding has no say
    order = torch.randperm(8)
    shuffled = model.adapt(sx[:, order], sy[:, order], steps=20, rate=0.05)(qx).detach()
    torch.testing.assert_close(shuffled, scores, rtol=1e-12, atol=1e-12)
    bare = BaselinePlusPlus(nn.Identity(), 4, 7)
    scale = 0.1 + 5 * torch.rand(2, 8, 1, dtype=torch.float64)
    twice = bare.adapt(scale * sx, sy)(3 * qx)
    torch.testing.assert_close(twice, bare.adapt(sx, sy)(qx), rtol=1e-10, atol=1e-10)


def test_baseline_plus_plus_says_what_is_wrong() -> None:
    model, sx, sy, _ = cosine_classifier()
    with pytest.raises(ValueError, match="no support example"):
        model.adapt(sx, sy.masked_fill(sy == 1, 0))
    with pytest.raises(ValueError, match="steps=-1"):
        model.adapt(sx, sy, steps=-1)


def test_baseline_plus_plus_learns_without_episodes() -> None:
    batches = patterns_in_noise()
    torch.manual_seed(0)
    model = BaselinePlusPlus(nn.Sequential(nn.Flatten(), nn.Linear(16, 32)), 32, batches.classes)
    adam = torch.optim.Adam(model.parameters(), 1e-2)
    history = fit(model, batches, steps=200, optimizer=adam, progress=False)
    assert sum(history.accuracy[-20:]) / 20 > 0.95
    for steps in (0, 20):
        assert evaluate(model, batches.data.episodes(5, 1, 2), n=50, steps=steps).mean > 0.9


def small_network(norm: bool = False) -> nn.Module:
    torch.manual_seed(0)
    middle: list[nn.Module] = [nn.BatchNorm1d(6)] if norm else []
    return nn.Sequential(nn.Linear(4, 6), *middle, nn.Tanh(), nn.Linear(6, 5)).double()


def test_fine_tuning_trains_on_episodes_and_on_batches() -> None:
    """On the points of all tasks of an episode together, or on a batch of training classes."""
    _, sx, _, qx = cosine_classifier()
    net = small_network()
    regression = FineTuning(net, loss=nn.functional.mse_loss)
    target, query_target = (torch.randn(*x.shape[:2], 5).double() for x in (sx, qx))
    x = torch.cat([sx[0], qx[0], sx[1], qx[1]])
    y = torch.cat([target[0], query_target[0], target[1], query_target[1]])
    expected = (net(x) - y).square().mean().item()
    assert regression.loss(sx, target, qx, query_target).item() == pytest.approx(
        expected, abs=1e-12
    )
    assert regression.loss(x, y).item() == pytest.approx(expected, abs=1e-12)
    assert not regression.metrics
    model = FineTuning(net, 5, 7).double()
    labels = torch.tensor([6, 0, 3, 3, 1, 2, 5, 4])
    scores = model.head(net(sx[0]))
    picked = scores.log_softmax(-1)[torch.arange(8), labels]
    assert model.loss(sx[0], labels).item() == pytest.approx(-picked.mean().item(), abs=1e-12)
    right = (scores.argmax(-1) == labels).double().mean().item()
    assert model.metrics["accuracy"].item() == pytest.approx(right)
    model.loss(sx[0], labels).backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("classify", [True, False])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_fine_tuning_is_an_explicit_loop_on_a_copy(classify: bool, optimizer: str) -> None:
    _, sx, sy, qx = cosine_classifier()
    net = small_network(norm=True)
    net(3 * torch.randn(50, 4).double())  # running statistics of a network that has seen something
    if optimizer == "sgd":
        make = lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)  # noqa: E731
    else:
        make = lambda p: torch.optim.Adam(p, 0.03)  # noqa: E731
    if classify:
        model = FineTuning(net, 5, 7, optimizer=make, steps=9).double().eval()
        y, loss = sy, nn.functional.cross_entropy
    else:
        y, loss = torch.randn(2, 8, 5).double(), nn.functional.mse_loss
        model = FineTuning(net, loss=loss, optimizer=make, steps=9).eval()
    before = copy.deepcopy(model.state_dict())
    for steps in (None, 0, 1, 20):
        with torch.no_grad():
            scores = model.adapt(sx, y, steps=steps)(qx)
        for t in range(2):
            body = copy.deepcopy(net).eval()
            w, b = (
                torch.zeros(*s, dtype=torch.float64, requires_grad=True) for s in ((3, 5), (3,))
            )
            learned = [*body.parameters(), *((w, b) if classify else ())]
            u = make(learned)
            answer = lambda x, body=body, w=w, b=b: body(x) @ w.T + b if classify else body(x)  # noqa: E731
            for _ in range(9 if steps is None else steps):
                u.zero_grad()
                loss(answer(sx[t]), y[t]).backward()
                u.step()
            torch.testing.assert_close(scores[t], answer(qx[t]).detach(), atol=1e-12, rtol=0)
        assert not scores.requires_grad
    assert not (classify and model.adapt(sx, y, steps=0)(qx).any()), "the new layer starts at zero"
    # the model is left as it was: its weights, its gradients, its statistics
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_fine_tuning_in_training_mode_leaves_the_statistics_too() -> None:
    _, sx, sy, qx = cosine_classifier()
    model = FineTuning(small_network(norm=True), 5, 7).double().train()
    before = copy.deepcopy(model.state_dict())
    model.adapt(sx, sy, steps=3)(qx)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_fine_tuning_transfers_to_new_classes() -> None:
    batches = patterns_in_noise()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.ReLU())
    model = FineTuning(net, 32, batches.classes)
    adam = torch.optim.Adam(model.parameters(), 1e-2)
    history = fit(model, batches, steps=100, optimizer=adam, progress=False)
    assert sum(history.accuracy[-20:]) / 20 > 0.95
    for ways in (2, 5):
        episodes = batches.data.episodes(ways, 1, 2)
        sx, sy, qx, _ = episodes[0]
        assert model.adapt(sx, sy)(qx).shape == (1, 2 * ways, ways)
        untouched = evaluate(model, episodes, n=10, steps=0).mean
        assert untouched == pytest.approx(
            1 / ways
        )  # all scores are 0, and the first class is as good as any
        assert evaluate(model, episodes, n=10).mean > 0.9


def test_fine_tuning_needs_both_or_none() -> None:
    for arguments in ({"dim": 5}, {"classes": 7}):
        with pytest.raises(ValueError, match="give both"):
            FineTuning(nn.Identity(), **arguments)


def test_ridge_attributes_name_what_is_wrong_and_keep_what_they_were_told() -> None:
    x, v = ridge_task()
    model = RidgeAttributes(1e-3).solve(x, v)
    candidates, query = torch.stack([v[:4], v[4:8]]), x[:6].view(2, 3, 1, 3, 4)
    for labels in ([[0, 1, 2, 2]] * 2, [[0, 1, 2, 4]] * 2, [[0, 1, 2]] * 2):
        with pytest.raises(ValueError):
            model.adapt(candidates, torch.tensor(labels))
    learner = model.adapt(candidates)
    with pytest.raises(ValueError, match="queries of 1 tasks for a learner of 2"):
        learner(query[:1])
    before = learner(query)
    candidates += 1
    assert torch.equal(learner(query), before)
    assert learner(query[:, :0]).shape == (2, 0, 4)
