from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mlbook.nets import MLP, Conv4


def usual(net: Conv4, x: Tensor) -> Tensor:
    """The textbook's order and layout: convolution, batch norm, ReLU, then pooling, in plain functions."""
    for conv, norm, pool, _ in net.blocks:  # type: ignore[misc, attr-defined]
        x = F.conv2d(x, conv.weight.contiguous(), conv.bias, conv.stride, 1)
        if net.training or norm.running_mean is None:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        else:
            mean, var = norm.running_mean, norm.running_var
        x = (x - mean[:, None, None]) / (var[:, None, None] + norm.eps).sqrt()
        x = F.relu(x * norm.weight[:, None, None] + norm.bias[:, None, None])
        if isinstance(pool, torch.nn.MaxPool2d):
            x = F.max_pool2d(x, 2)
    return x


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("options", "shape"),
    [({}, (64,)), ({"pools": 2, "flatten": False}, (64, 7, 7)), ({"pools": 0, "stride": 2, "hidden": 32}, (32,)),
     ({"in_channels": 3, "track_running_stats": False}, (64,))],
)  # fmt: skip
def test_conv4_equals_the_usual_order(
    options: dict[str, int], shape: tuple[int, ...], training: bool
) -> None:
    torch.manual_seed(0)
    net = Conv4(**options).double()  # type: ignore[arg-type]
    x = torch.rand(6, net.in_channels, 28, 28, dtype=torch.float64)
    net(x)  # move the running statistics away from their start
    net.train(training)
    expected = usual(net, x)
    expected = (
        expected.mean((2, 3))
        if net.stride == 2
        else expected.flatten(1)
        if net.flatten
        else expected
    )
    out = net(x)
    assert out.shape == (6, *shape)
    assert torch.allclose(out, expected, atol=1e-10)
    assert net.blocks[1][0].weight.is_contiguous(memory_format=torch.channels_last)
    grads = torch.autograd.grad(out.square().sum(), list(net.parameters()))
    wanted = torch.autograd.grad(expected.square().sum(), list(net.parameters()))
    assert all(torch.allclose(a, b, atol=1e-8) for a, b in zip(grads, wanted, strict=True))


def test_max_pooling_and_relu_commute_to_the_bit() -> None:
    x = torch.randn(3, 4, 9, 9, requires_grad=True)
    one, two = F.relu(F.max_pool2d(x, 2)), F.max_pool2d(F.relu(x), 2)
    assert torch.equal(one, two)
    weight = torch.randn_like(one)
    assert torch.equal(*(torch.autograd.grad((y * weight).sum(), x)[0] for y in (one, two)))


def test_conv4_has_the_parameters_of_the_paper() -> None:
    # 64 x (9 + 1) + 3 x 64 x (9 x 64 + 1) convolutions, 4 x 2 x 64 batch norm
    assert sum(p.numel() for p in Conv4().parameters()) == 640 + 3 * 64 * 577 + 512


def test_mlp() -> None:
    net = MLP(1, 40, 40, 1)
    assert [type(layer).__name__ for layer in net] == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]
    assert net(torch.zeros(3, 5, 1)).shape == (3, 5, 1)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="pools=5"):
        Conv4(pools=5)
    with pytest.raises(ValueError, match="stride=3"):
        Conv4(stride=3)
    with pytest.raises(
        ValueError, match=r"expects pictures \[B, 1, H, W\] and got \[2, 3, 28, 28\]"
    ):
        Conv4()(torch.zeros(2, 3, 28, 28))
    with pytest.raises(ValueError, match="at least an input and an output"):
        MLP(3)
