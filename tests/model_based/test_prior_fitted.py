"""A prior-fitted network: what cannot matter does not, to rounding, and what its rows are told is what NumPy says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles import gradients_agree, queries_are_blind, support_is_a_set, tasks_are_independent
from torch import Tensor

from mlbook import fit
from mlbook.classifier import FewShotClassifier
from mlbook.data.tables import tables
from mlbook.model_based import PriorFittedNetwork
from mlbook.model_based.prior_fitted import view


def network(columns: int = 5, ways: int = 4) -> PriorFittedNetwork:
    """A small one in float64 and `eval()`."""
    torch.manual_seed(0)
    return PriorFittedNetwork(columns, ways, dim=16, layers=2, heads=2).double().eval()


def batch(t: int = 3, rows: int = 12, columns: int = 4, ways: int = 3) -> tuple[Tensor, ...]:
    """Skewed columns that tell something about the class, every class in every table."""
    g = torch.Generator().manual_seed(1)
    y = torch.stack([torch.randperm(rows + 6, generator=g) % ways for _ in range(t)])
    y[:, :ways] = torch.arange(ways)
    x = torch.randn(t, rows + 6, columns, dtype=torch.float64, generator=g).exp()
    x = x + y[..., None] * torch.randn(t, 1, columns, dtype=torch.float64, generator=g)
    return x[:, :rows], y[:, :rows], x[:, rows:], y[:, rows:]


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-9, rtol=0)


def test_rows_are_a_set_tables_and_queries_apart() -> None:
    sx, sy, qx, _ = batch()
    support_is_a_set(network(), sx, sy, qx)
    tasks_are_independent(network(), sx, sy, qx)
    tasks_are_independent(network(), sx, sy, qx, train=True)
    queries_are_blind(network(), sx, sy, qx)


def test_names_of_classes_do_not_matter() -> None:
    model, (sx, sy, qx, _) = network(), batch()
    scores = model.adapt(sx, sy)(qx)
    for name in ([1, 2, 0], [2, 1, 0], [0, 2, 1]):
        named = torch.tensor(name)
        same(model.adapt(sx, named[sy])(qx)[..., named], scores)


@pytest.mark.parametrize("columns", [3, 4, 7])  # fewer than are read, and more
def test_order_and_units_of_columns_do_not_matter(columns: int) -> None:
    model, (sx, sy, qx, _) = network(), batch(columns=columns)
    sx[0, 3, 1] = torch.nan
    scores = model.adapt(sx, sy)(qx)
    order = torch.randperm(columns, generator=torch.Generator().manual_seed(0))
    same(model.adapt(sx[..., order], sy)(qx[..., order]), scores)
    factor, offset = torch.linspace(-3, 40, columns).double(), torch.linspace(50, -7, columns)
    same(model.adapt(sx * factor + offset, sy)(qx * factor + offset), scores)
    other = qx.clone()
    other[..., 0] += 1
    assert (model.adapt(sx, sy)(other) - scores).abs().max() > 1e-3


def test_a_column_without_values_and_a_constant_are_no_columns() -> None:
    model, (sx, sy, qx, _) = network(), batch()
    scores = model.adapt(sx, sy)(qx)
    for value in (torch.nan, 3.0):
        wide = [torch.cat([torch.full_like(x[..., :1], value), x], -1) for x in (sx, qx)]
        same(model.adapt(wide[0], sy)(wide[1]), scores)
    gone = qx.clone()
    gone[:, 0] = torch.nan  # a row of which nothing is known has an answer, too
    assert model.adapt(sx, sy)(gone).isfinite().all()


def test_tables_of_fewer_classes_in_one_batch() -> None:
    model, (sx, sy, qx, _) = network(), batch(t=2)
    sy[1] = sy[1].clamp(max=1)
    scores = model.adapt(sx, sy)(qx)
    assert scores[1, :, 2].isneginf().all() and scores[0].isfinite().all()
    same(scores[1:, :, :2], model.adapt(sx[1:], sy[1:])(qx[1:]))


def test_what_a_row_is_told_is_what_numpy_says() -> None:
    """Columns by their correlation ratio, axes of unit deviation, the discriminants of Fisher with a ridge."""
    (sx,), (sy,), *_ = batch(t=1)
    g, number = view(sx[None], sy[None], 3, 5, 4)
    told = g(sx[None])[0].numpy()
    x, y = sx.numpy(), sy.numpy()
    z = ((x - x.mean(0)) / x.std(0)).clip(-4, 4)
    means = np.stack([z[y == c].mean(0) for c in range(3)])
    n = np.bincount(y)
    eta = (n[:, None] * means**2).sum(0) / (z**2).sum(0)
    order = np.argsort(-eta)
    np.testing.assert_allclose(np.abs(told[:, :4]), np.abs(z[:, order]), atol=1e-12)
    assert (told[:, 4] == 0).all()
    axes = told[:, 5:9]
    np.testing.assert_allclose(axes.T @ axes / len(x), np.eye(4), atol=1e-6)
    rest = z - means[y]
    W = rest.T @ rest / len(x) + (0.1 + 4 / len(x)) * np.eye(4)
    d = np.stack([z @ np.linalg.solve(W, m) - m @ np.linalg.solve(W, m) / 2 for m in means], 1)
    d = (d - d.mean(1, keepdims=True)).clip(-4, 4)
    np.testing.assert_allclose(told[:, 15:18][:, number[0].numpy()], d, atol=1e-9)
    rise = np.corrcoef(number[0].numpy()[y], told[:, 0])[0, 1]
    assert rise > 0


def test_the_gradient_is_that_of_the_loss() -> None:
    model, tasks = network(), batch()
    gradients_agree(model, *tasks, coordinates=1)
    p = model.adapt(*tasks[:2])(tasks[2]).log_softmax(-1)
    expected = -p.gather(2, tasks[3][..., None]).mean().item()
    assert model.loss(*tasks).item() == pytest.approx(expected, abs=1e-12)


def test_it_learns_from_its_prior() -> None:
    torch.manual_seed(0)
    model = PriorFittedNetwork(columns=4, ways=2, dim=32, layers=2)
    source = tables((20, 40), 16, (2, 4), (2, 2), tasks=16)
    history = fit(model, source, 80, torch.optim.Adam(model.parameters(), 3e-3), progress=False)
    assert sum(history.loss[-30:]) / 30 < 0.6 < sum(history.loss[:5]) / 5
    assert sum(history.accuracy[-30:]) / 30 > 0.66


def test_as_an_estimator_uneven_numbers_words_and_missing_values() -> None:
    torch.manual_seed(0)
    model = PriorFittedNetwork(columns=4, ways=3, dim=16, layers=2).eval()
    (x, *_), y = batch(t=1)[0].numpy(), ["no"] * 7 + ["yes"] * 5
    x[2, 1] = np.nan
    clf = FewShotClassifier(model).fit(x, y)
    p = clf.predict_proba(x)
    assert p.shape == (12, 2) and np.allclose(p.sum(1), 1) and list(clf.classes_) == ["no", "yes"]
    direct = model.adapt(torch.tensor(x).float()[None], torch.tensor([[0] * 7 + [1] * 5]))
    expected = direct(torch.tensor(x).float()[None])[0].softmax(-1).detach().numpy()
    np.testing.assert_allclose(p, expected, atol=1e-5)
    with pytest.raises(ValueError, match="NaN"):
        FewShotClassifier().fit(x, y)
    x[0, 0] = np.inf
    with pytest.raises(ValueError, match="inf"):
        FewShotClassifier(model).fit(x, y)
    with pytest.raises(ValueError, match="4 classes do not fit"):
        FewShotClassifier(model).fit(np.eye(4), range(4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda sx, sy, qx: (sx[0], sy[0], qx), r"support_x \[12, 4\].*x\[None\]"),
        (lambda sx, sy, qx: (sx, sy + 2, qx), "label 4: labels are 0..3; build with ways=5"),
        (lambda sx, sy, qx: (sx, sy - 1, qx), "label -1"),
        (lambda sx, sy, qx: (sx, sy, qx[..., :2]), "as many columns"),
    ],
)
def test_what_cannot_be_learned_is_said(change: object, message: str) -> None:
    sx, sy, qx = change(*batch()[:3])  # type: ignore[operator]
    with pytest.raises(ValueError, match=message):
        network().adapt(sx, sy)(qx)


def test_sizes_out_of_range_are_named() -> None:
    for wrong in ({"columns": 0}, {"ways": 1}, {"dim": 10, "heads": 4}, {"layers": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
            PriorFittedNetwork(**wrong)
