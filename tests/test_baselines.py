from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mlbook import evaluate, fit
from mlbook.baselines import NearestNeighbour, PretrainedCentroids
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


def test_pretraining_learns_classes_without_episodes() -> None:
    data = numbered(classes=6, samples=8, side=4)
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randint(0, 200, (6, 1, 1, 4, 4), generator=generator)
    noise = torch.randint(0, 55, (6, 8, 1, 4, 4), generator=generator)
    data.images = (patterns + noise).byte()
    torch.manual_seed(0)
    batches = Batches(data, size=32)
    model = PretrainedCentroids(nn.Sequential(nn.Flatten(), nn.Linear(16, 32)), 32, batches.classes)
    history = fit(
        model,
        batches,
        steps=200,
        optimizer=torch.optim.Adam(model.parameters(), 1e-2),
        progress=False,
    )
    assert sum(history.accuracy[-20:]) / 20 > 0.95
    assert evaluate(model, data.episodes(5, 1, 2), n=50).mean > 0.9
