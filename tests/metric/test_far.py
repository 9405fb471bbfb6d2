"""Embeddings far from the origin, in single precision: distances between them are what they are at the origin."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mlbook.baselines import NearestNeighbour, RidgeAttributes
from mlbook.metric import PrototypicalNetwork, ZeroShotPrototypicalNetwork


def clusters(offset: float, ways: int = 5, shots: int = 5, queries: int = 30) -> tuple[Tensor, ...]:
    """Classes 0.3 around their centres, centres 0.3 around the offset, in 64 dimensions and float64."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, 64, dtype=torch.float64, generator=generator)

    centre = offset + 0.3 * normal(2, ways)
    sy, qy = (torch.arange(ways).repeat(2, n) for n in (shots, queries))
    sx, qx = (
        centre.gather(1, y[..., None].expand(-1, -1, 64)) + 0.3 * normal(2, y.shape[1])
        for y in (sy, qy)
    )
    return sx, sy, qx, qy


@pytest.mark.parametrize("offset", [0.0, 1000.0, -1000.0])
@pytest.mark.parametrize(
    "model",
    [
        PrototypicalNetwork(nn.Identity()),
        PrototypicalNetwork(nn.Identity(), "euclidean"),
        NearestNeighbour(),
    ],
    ids=["squared", "euclidean", "pixels"],
)
def test_answers_far_from_the_origin_are_those_of_double_precision(
    model: nn.Module, offset: float
) -> None:
    sx, sy, qx, qy = clusters(offset)
    exact = model.adapt(sx, sy)(qx)  # type: ignore[operator]
    got = model.adapt(sx.float(), sy)(qx.float())  # type: ignore[operator]
    assert got.dtype == torch.float32
    # a coordinate at 1,000 is itself rounded to 3e-5
    torch.testing.assert_close(got.double(), exact, atol=5e-3 if offset else 1e-4, rtol=1e-3)
    assert (got <= 0).all(), "a distance is not negative"
    right = (exact.argmax(-1) == qy).double().mean()
    assert ((got.argmax(-1) == qy).double().mean() - right).abs() < 0.02
    assert right > 0.9


def test_the_loss_and_its_gradient_far_from_the_origin() -> None:
    losses, gradients = [], []
    for dtype in (torch.float64, torch.float32):
        sx, sy, qx, qy = (x.to(dtype) if x.is_floating_point() else x for x in clusters(1000.0))
        torch.manual_seed(0)
        embed = nn.Linear(64, 64).to(dtype)
        with torch.no_grad():
            embed.weight.copy_(torch.eye(64))
            embed.bias.zero_()
        loss = PrototypicalNetwork(embed).loss(sx, sy, qx, qy)
        loss.backward()
        losses.append(loss.item())
        gradients.append(embed.bias.grad)
    assert losses[1] == pytest.approx(losses[0], abs=2e-3)
    # the same shift of all moves no distance
    assert gradients[1] is not None and gradients[1].abs().max() < 1e-3


def test_a_distance_of_nothing_is_nothing() -> None:
    x = torch.rand(1, 20, 64) + 3
    y = torch.arange(20)[None]
    same = -PrototypicalNetwork(nn.Identity()).adapt(x, y)(x).diagonal(dim1=1, dim2=2)
    assert (same >= 0).all() and (same < 1e-3).all()


def test_near_the_origin_every_bit_is_that_of_the_plain_formula() -> None:
    """The origin moves only where that helps: what was trained and stored before stays as it is."""
    generator = torch.Generator().manual_seed(0)
    for shift in (0.0, 0.5, 1.0):
        z = torch.randn(2, 9, 16, generator=generator).relu() + shift
        c = torch.randn(2, 5, 16, generator=generator).relu() + shift
        plain = z.square().sum(-1)[..., None] - 2 * z @ c.mT + c.square().sum(-1)[:, None]
        assert torch.equal(PrototypicalNetwork(nn.Identity()).d(z, c), plain.clamp_min(0))
        zero_shot = ZeroShotPrototypicalNetwork(nn.Identity(), nn.Identity())
        assert torch.equal(zero_shot.d(z, c), plain.clamp_min(0))


def test_zero_shot_prototypes_that_lie_together() -> None:
    """All directions alike to 1e-3, pictures among them: the differences are a millionth of the terms."""
    generator = torch.Generator().manual_seed(0)
    common = torch.ones(1, 1, 32, dtype=torch.float64)
    words = common + 1e-2 * torch.randn(1, 5, 32, dtype=torch.float64, generator=generator)
    pictures = nn.functional.normalize(words, dim=-1).repeat(1, 4, 1)
    pictures = pictures + 1e-3 * torch.randn(1, 20, 32, dtype=torch.float64, generator=generator)
    model = ZeroShotPrototypicalNetwork(nn.Identity(), nn.Identity())
    exact = model.adapt(words)(pictures)
    got = model.adapt(words.float())(pictures.float())
    assert (got <= 0).all()
    torch.testing.assert_close(got.double(), exact, rtol=1e-2, atol=1e-8)
    assert (got.argmax(-1) == torch.arange(5).repeat(4)).all()


def test_whole_numbers_as_pixels() -> None:
    x = torch.tensor([[[0, 0], [3, 4], [1_000_000, 0]]])
    y = torch.arange(3)[None]
    scores = NearestNeighbour().adapt(x, y)(x)
    assert scores[0, 0].tolist() == [0, -5, -1_000_000]
    for dtype in (torch.uint8, torch.int32, torch.float64):
        small = x[:, :2].to(dtype)
        assert NearestNeighbour().adapt(small, y[:, :2])(small)[0, 0].tolist() == [0, -5]


def test_descriptions_far_from_the_origin() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 4, dtype=torch.float64, generator=generator)
    v = x @ torch.randn(4, 3, dtype=torch.float64, generator=generator) + 1e7
    model = RidgeAttributes(1e-9, "squared").solve(x, v)
    candidates = v[None, :30]
    scores = model.adapt(candidates)(x[None, :30])
    assert (scores <= 0).all()
    assert scores[0].argmax(-1).equal(torch.arange(30))
