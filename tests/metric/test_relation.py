from __future__ import annotations

import copy
import math

import numpy as np
import oracles
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor, nn

from mlbook.metric.relation import RelationModule, RelationNetwork
from mlbook.nets import Conv4

CHANNELS, SIZE = 3, 5  # of the feature maps below: 5 -> 2 -> 1 by the module's two poolings


def task(*args: int, **kwargs: int) -> tuple[Tensor, ...]:
    return oracles.task(*args, x=(1, SIZE, SIZE), **kwargs)


def network(seed: int = 0) -> RelationNetwork:
    """A small network in float64 and `eval()`, whose batch norms do something and whose units are alive."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    embed = nn.Sequential(nn.Conv2d(1, CHANNELS, 3, padding=1), nn.Tanh())
    model = RelationNetwork(embed, RelationModule(CHANNELS, SIZE, hidden=4)).double()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor, low in [
                    (module.weight, 0.5),
                    (module.bias, 0.2),
                    (module.running_mean, -0.5),
                    (module.running_var, 0.5),
                ]:
                    tensor.copy_(low + torch.rand(CHANNELS, generator=generator))
        hidden, last = (m for m in model.relation.rest if isinstance(m, nn.Linear))
        hidden.bias.fill_(0.5)
        hidden.weight.mul_(2)
        last.weight.copy_(torch.tensor([[2.0, -2.0, 1.0, -1.0]]))
        sx, sy, qx, _ = task()
        last.bias.sub_(torch.logit(model.eval().adapt(sx, sy)(qx)).mean())  # scores around 1/2
    return model


def numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """3x3 convolution of maps [B, C, h, w] with a border of zeros."""
    patches = sliding_window_view(np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)]), (3, 3), (2, 3))
    return np.einsum("bchwij,ocij->bohw", patches, weight) + bias[:, None, None]


def block(x: np.ndarray, norm: nn.BatchNorm2d) -> np.ndarray:
    """Batch norm, ReLU, 2x2 max-pooling, in the order of the paper."""
    if norm.training:
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
    else:
        mean, variance = numbers(norm.running_mean), numbers(norm.running_var)
    gain, shift = numbers(norm.weight), numbers(norm.bias)
    scale = gain / np.sqrt(variance + norm.eps)
    x = np.maximum((x - mean[:, None, None]) * scale[:, None, None] + shift[:, None, None], 0)
    h, w = x.shape[2] // 2, x.shape[3] // 2
    return x[:, :, : 2 * h, : 2 * w].reshape(*x.shape[:2], h, 2, w, 2).max((3, 5))


def by_hand(
    model: RelationNetwork, sx: Tensor, sy: Tensor, qx: Tensor, together: str = "sum"
) -> np.ndarray:
    """Scores in NumPy: every pair of maps is put together and goes through the whole of the paper's module."""
    g = model.relation
    first, second, hidden, last = (m for m in g.rest if isinstance(m, nn.BatchNorm2d | nn.Linear))
    (middle,) = (m for m in g.rest if isinstance(m, nn.Conv2d))
    with torch.no_grad():
        s, q = (np.stack([numbers(model.embed(x)) for x in part]) for part in (sx, qx))
    shape = (len(s), q.shape[1], int(sy.max()) + 1)
    pairs = []
    for t, j, k in np.ndindex(*shape):
        members = s[t][numbers(sy[t]) == k]
        pairs.append(np.concatenate([getattr(members, together)(0), q[t, j]]))
    weight = np.concatenate([numbers(g.conv_s.weight), numbers(g.conv_q.weight)], 1)
    x = block(convolve(np.stack(pairs), weight, numbers(g.conv_s.bias)), first)
    x = block(convolve(x, numbers(middle.weight), numbers(middle.bias)), second)
    x = x.reshape(len(x), -1) @ numbers(hidden.weight).T + numbers(hidden.bias)
    x = np.maximum(x, 0) @ numbers(last.weight).T + numbers(last.bias)
    return (1 / (1 + np.exp(-x))).reshape(shape)


@pytest.mark.parametrize("training", [False, True])
def test_scores_and_loss_are_those_of_the_definition(training: bool) -> None:
    model, (sx, sy, qx, qy) = network().train(training), task()
    expected = by_hand(model, sx, sy, qx)
    assert expected.std() > 0.01
    np.testing.assert_allclose(numbers(model.adapt(sx, sy)(qx)), expected, atol=1e-10)
    squares = []
    for t, j, k in np.ndindex(*expected.shape):  # over all pairs of a query and a class
        squares.append((expected[t, j, k] - (qy[t, j].item() == k)) ** 2)
    assert model.loss(sx, sy, qx, qy).item() == pytest.approx(np.mean(squares), abs=1e-10)
    assert model.metrics["accuracy"].item() == pytest.approx(
        (expected.argmax(-1) == qy.numpy()).mean()
    )


def test_two_convolutions_added_are_one_over_the_concatenated_maps() -> None:
    """The module's shortcut and the paper's `conv([s, q])`, pair by pair."""
    g = network().relation
    generator = torch.Generator().manual_seed(0)
    s = torch.randn(2, 3, CHANNELS, SIZE, SIZE, dtype=torch.float64, generator=generator)
    q = torch.randn(2, 4, CHANNELS, SIZE, SIZE, dtype=torch.float64, generator=generator)
    weight = torch.cat([g.conv_s.weight, g.conv_q.weight], 1)
    assert g.conv_q.bias is None, "one convolution has one bias"
    with torch.no_grad():
        for t, j, k in np.ndindex(2, 4, 3):
            pair = torch.cat([s[t, k], q[t, j]])[None]
            score = g.rest(F.conv2d(pair, weight, g.conv_s.bias, padding=1))
            assert g(s, q)[t, j, k].item() == pytest.approx(score.item(), abs=1e-12)


def test_the_convolutions_see_every_map_once_and_the_rest_every_pair() -> None:
    seen: dict[str, int] = {}
    model, (sx, sy, qx, _) = network(), task(t=2, ways=3, shots=2, queries=4)
    for name in ("conv_s", "conv_q", "rest"):
        getattr(model.relation, name).register_forward_pre_hook(
            lambda _, x, name=name: seen.__setitem__(name, len(x[0]))
        )
    model.adapt(sx, sy)(qx)
    assert seen == {"conv_s": 2 * 3, "conv_q": 2 * 4, "rest": 2 * 4 * 3}


def test_the_support_is_embedded_once() -> None:
    calls = []

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return x.expand(-1, CHANNELS, -1, -1)

    sx, sy, qx, qy = task()
    model = RelationNetwork(Counting(), network().relation)
    learner = model.adapt(sx, sy)
    learner(qx)
    learner(qx)
    assert calls == [12, 8, 8]
    model.loss(sx, sy, qx, qy)
    assert calls[3:] == [20], "support and query in one pass"


def test_the_maps_of_several_shots_are_summed_and_not_averaged() -> None:
    model, (sx, sy, qx, _) = network(), task(shots=3)
    scores = numbers(model.adapt(sx, sy)(qx))
    np.testing.assert_allclose(scores, by_hand(model, sx, sy, qx), atol=1e-10)
    assert np.abs(scores - by_hand(model, sx, sy, qx, "mean")).max() > 1e-3
    twice = model.adapt(torch.cat([sx, sx], 1), torch.cat([sy, sy], 1))(qx)
    assert np.abs(numbers(twice) - scores).max() > 1e-3, "a mean would not see the repetition"


class Given(nn.Module):
    """A relation whose scores are parameters, whatever the maps."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores)

    def forward(self, s: Tensor, q: Tensor) -> Tensor:
        return self.scores.expand(len(s), q.shape[1], s.shape[1])


def test_the_loss_counts_wrong_classes_as_much_as_the_right_one() -> None:
    sx, sy, qx, _ = task(t=1, ways=3, shots=1, queries=2)
    r = torch.tensor([[0.9, 0.2, 0.4], [0.5, 0.0, 1.0]], dtype=torch.float64)[None]
    model = RelationNetwork(nn.Identity(), Given(r))
    loss = model.loss(sx, sy, qx, torch.tensor([[0, 2]]))
    assert loss.item() == pytest.approx((0.1**2 + 0.2**2 + 0.4**2 + 0.5**2) / 6)
    loss.backward()
    # each score is pulled on its own, by 2 (r - target) / number of pairs; no class stands for another
    target = torch.tensor([[1.0, 0, 0], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(model.relation.scores.grad, 2 * (r - target) / 6)


@pytest.mark.parametrize("ways", [2, 5, 20])
def test_one_over_n_is_the_best_answer_that_does_not_look(ways: int) -> None:
    """Where training may sit at first: with c = 1/N everywhere the loss is (N - 1) / N^2, and flat."""
    sx, sy, qx, qy = task(t=2, ways=ways, shots=1, queries=3)
    c = torch.tensor(1 / ways, dtype=torch.float64)
    model = RelationNetwork(nn.Identity(), Given(c))
    loss = model.loss(sx, sy, qx, qy)
    assert loss.item() == pytest.approx((ways - 1) / ways**2)
    assert torch.autograd.grad(loss, model.relation.scores)[0].abs() < 1e-12


@given(ways=st.integers(2, 5), shots=st.integers(1, 3), seed=st.integers(0, 1000))
def test_scores_lie_between_0_and_1_and_need_not_sum_to_1(ways: int, shots: int, seed: int) -> None:
    model, (sx, sy, qx, _) = network(seed % 7), task(1, ways, shots, seed=seed)
    r = model.adapt(10 * sx, sy)(10 * qx)
    assert r.shape == (1, 4, ways)
    assert ((r >= 0) & (r <= 1)).all()
    assert (r.sum(-1) - 1).abs().max() > 1e-6


@given(ways=st.integers(2, 5), shots=st.integers(1, 4), seed=st.integers(0, 1000))
def test_the_order_of_the_support_does_not_matter(ways: int, shots: int, seed: int) -> None:
    model, (sx, sy, qx, _) = network(), task(1, ways, shots, seed=seed)
    order = torch.randperm(ways * shots, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(
        model.adapt(sx, sy)(qx), model.adapt(sx[:, order], sy[:, order])(qx), atol=1e-12, rtol=0
    )


@settings(max_examples=40)
@given(sizes=st.lists(st.integers(1, 4), min_size=2, max_size=4), seed=st.integers(0, 1000))
def test_classes_may_differ_in_size(sizes: list[int], seed: int) -> None:
    sy = torch.cat([torch.full((n,), k) for k, n in enumerate(sizes)])[None]
    generator = torch.Generator().manual_seed(seed)
    sx, qx = (
        torch.randn(1, n, 1, SIZE, SIZE, dtype=torch.float64, generator=generator)
        for n in (sy.shape[1], 3)
    )
    model = network()
    np.testing.assert_allclose(
        numbers(model.adapt(sx, sy)(qx)), by_hand(model, sx, sy, qx), atol=1e-10
    )


def test_relabelling_the_classes_permutes_the_scores() -> None:
    model, (sx, sy, qx, _) = network(), task()
    permutation = torch.tensor([2, 0, 1])
    torch.testing.assert_close(
        model.adapt(sx, permutation[sy])(qx)[..., permutation],
        model.adapt(sx, sy)(qx),
        atol=1e-12,
        rtol=0,
    )


def test_a_score_does_not_depend_on_the_other_classes_or_queries_in_eval_mode() -> None:
    model, (sx, sy, qx, _) = network(), task(t=1, ways=5, shots=1)
    r = model.adapt(sx, sy)(qx)
    order = sy[0].argsort()
    for kept in ([0, 1], [3, 1, 4], [4, 2]):
        some = sx[:, order[kept]]
        fewer = model.adapt(some, torch.arange(len(kept))[None])(qx[:, 1:])
        torch.testing.assert_close(fewer, r[:, 1:, kept], atol=1e-12, rtol=0)


def test_the_comparison_is_not_symmetric_by_construction() -> None:
    model, (sx, sy, qx, _) = network(), task(t=1, ways=3, shots=1, queries=3)
    sx = sx[:, sy[0].argsort()]
    y = torch.arange(3)[None]
    there, back = model.adapt(sx, y)(qx), model.adapt(qx, y)(sx)
    assert (there - back.mT).abs().max() > 1e-3
    with torch.no_grad():  # and is, for one query and one class, if both convolutions are the same
        model.relation.conv_q.weight.copy_(model.relation.conv_s.weight)
    there, back = model.adapt(sx, y)(qx), model.adapt(qx, y)(sx)
    torch.testing.assert_close(there, back.mT, atol=1e-12, rtol=0)


def test_any_module_may_compare() -> None:
    class Cosine(nn.Module):
        def forward(self, s: Tensor, q: Tensor) -> Tensor:
            a, b = (F.normalize(m.flatten(2), dim=-1) for m in (q, s))
            return (1 + a @ b.mT) / 2

    sx, sy, qx, qy = task(shots=2)
    model = RelationNetwork(nn.Flatten(3, 3), Cosine())
    r = model.adapt(sx, sy)(qx)
    for t, j, k in np.ndindex(2, 4, 3):
        total, q = sx[t][sy[t] == k].sum(0).flatten(), qx[t, j].flatten()
        cosine = (total @ q / total.norm() / q.norm()).item()
        assert r[t, j, k].item() == pytest.approx((1 + cosine) / 2, abs=1e-12)
    assert 0 < model.loss(sx, sy, qx, qy).item() < 1


def test_gradients_by_finite_differences() -> None:
    model, (sx, sy, qx, qy) = network().train(), task()
    gradient = oracles.gradients_agree(model, sx, sy, qx, qy)
    assert sum(g.abs().max() > 1e-6 for g in gradient.values()) > 10, "little to compare"


def test_tasks_at_once_equal_tasks_one_by_one_in_eval_mode() -> None:
    torch.manual_seed(0)
    embed = Conv4(hidden=8, pools=2, flatten=False)
    model = RelationNetwork(embed, RelationModule(8)).double()
    sx, qx = torch.rand(3, 10, 1, 28, 28).double(), torch.rand(3, 4, 1, 28, 28).double()
    sy = torch.stack([torch.arange(5).repeat(2)[torch.randperm(10)] for _ in range(3)])
    for _ in range(3):  # running statistics of a network that has seen something
        model.loss(sx, sy, qx, torch.zeros(3, 4, dtype=torch.long))
    oracles.tasks_are_independent(model, sx, sy, qx)


def test_the_networks_of_the_paper_fit_together_and_learn_a_task() -> None:
    torch.manual_seed(0)
    model = RelationNetwork(Conv4(pools=2, flatten=False), RelationModule())
    sx, qx = torch.rand(1, 2, 1, 28, 28), torch.rand(1, 6, 1, 28, 28)
    sy, qy = torch.tensor([[1, 0]]), torch.tensor([[0, 1, 0, 1, 0, 1]])
    qx[qy == 1] += sx[0, 0]  # a query is like its class
    qx[qy == 0] += sx[0, 1]
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = model.loss(sx, sy, qx, qy)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 < losses[0]
    assert model.metrics["accuracy"] == 1


def test_a_copy_of_the_model_is_independent() -> None:
    model, (sx, sy, qx, _) = network(), task()
    learner = model.adapt(sx, sy)
    before = learner(qx)
    with torch.no_grad():
        for p in copy.deepcopy(model).parameters():
            p.zero_()
    assert torch.equal(learner(qx), before)


def test_a_class_without_support_is_named() -> None:
    sx, sy, _, _ = task(t=2)
    sy[1] = torch.where(sy[1] == 1, 0, sy[1])
    with pytest.raises(ValueError, match="class 1 of task 1 has no support"):
        network().adapt(sx, sy)


def test_maps_need_not_be_square() -> None:
    torch.manual_seed(0)
    g = RelationModule(2, (4, 12), hidden=3)
    assert [m.in_features for m in g.rest if isinstance(m, nn.Linear)] == [2 * 1 * 3, 3]
    s, q = torch.rand(2, 3, 2, 4, 12), torch.rand(2, 5, 2, 4, 12)
    assert g.eval()(s, q).shape == (2, 5, 3)
    with pytest.raises(ValueError, match=r"maps of 12x4: set size=\(12, 4\)"):
        g(s.mT, q.mT)
    square = RelationModule(2, (5, 5))  # 5, 6 and 7 come to the same after two poolings
    assert square(torch.rand(1, 2, 2, 7, 6), torch.rand(1, 2, 2, 7, 6)).shape == (1, 2, 2)
    model = RelationNetwork(Conv4(hidden=2, pools=2, flatten=False), RelationModule(2, (7, 14)))
    x, y = torch.rand(1, 3, 1, 28, 56), torch.arange(3)[None]
    model.loss(x, y, x, y).backward()


def test_its_first_convolutions_start_as_one_of_twice_the_channels_would() -> None:
    """Uniform up to 1 / sqrt(fan-in), of two times 16 channels: the bound of torch's own convolution."""
    g = RelationModule(16)
    for conv in (g.conv_s, g.conv_q):
        bound = math.sqrt(6 / (1 + 3**2) / (16 * 9))
        assert 0.99 * bound < conv.weight.abs().max() <= bound
    assert bound / math.sqrt(1 / (32 * 9)) == pytest.approx(1.1, abs=0.01)


def test_vectors_are_told_from_maps() -> None:
    sx, sy, _, _ = task()
    with pytest.raises(ValueError, match=r"not maps \[B, C, h, w\]; Conv4: flatten=False"):
        RelationNetwork(nn.Flatten(), RelationModule()).adapt(sx, sy)
