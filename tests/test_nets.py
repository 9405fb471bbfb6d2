from __future__ import annotations

import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, vmap

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


BATCH_STATISTICS = [
    ({}, (5, 1, 28, 28)),
    ({"pools": 0, "stride": 2}, (5, 1, 28, 28)),
    ({"in_channels": 3, "pools": 1}, (3, 3, 13, 18)),
    ({"pools": 2, "flatten": False}, (1, 1, 28, 28)),
    ({"pools": 0, "stride": 2}, (1, 1, 28, 28)),
    ({}, (1, 1, 28, 28)),
]


def small(options: dict[str, int], seed: int = 0) -> Conv4:
    """A network in double precision whose batch norms have weights of both signs."""
    torch.manual_seed(seed)
    net = Conv4(hidden=4, track_running_stats=False, **options).double()  # type: ignore[arg-type]
    for name, p in net.named_parameters():
        if ".1." in name:  # of a batch norm
            torch.nn.init.normal_(p)
    return net


@pytest.mark.parametrize(("options", "shape"), BATCH_STATISTICS)
def test_statistics_of_the_batch_to_the_second_derivative(
    options: dict[str, int], shape: tuple[int, ...]
) -> None:
    net = small(options)
    x = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    names, p = zip(*net.named_parameters(), strict=True)
    biases = [i for i, name in enumerate(names) if name.endswith(".0.bias")]
    sides = []
    for maps in (net.normalised_by_batch(x), usual(net, x)):
        g = torch.autograd.grad(maps.square().sum(), (x, *p), create_graph=True)
        h = torch.autograd.grad(sum(g.square().sum() for g in g), (x, *p), materialize_grads=True)
        sides.append([maps, *g, *h])
    assert all(torch.allclose(a, b, rtol=1e-8, atol=1e-8) for a, b in zip(*sides, strict=True))
    assert not any(sides[0][2 + i].any() for i in biases)  # batch norm cancels them: exactly 0


@pytest.mark.parametrize(("options", "shape"), BATCH_STATISTICS)
def test_the_plain_lines_in_the_docstring_may_take_its_place(
    options: dict[str, int], shape: tuple[int, ...]
) -> None:
    text = inspect.getdoc(Conv4.normalised_by_batch) or ""
    lines = [line for line in text.split("::", 1)[1].split("\n") if line.startswith("    ")]
    assert len(lines) == 4
    space: dict[str, object] = {}
    exec("def plain(self, x):\n" + "\n".join(lines), space)
    net = small(options)
    x = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    sides = []
    for maps in (net.normalised_by_batch(x), space["plain"](net, x)):  # type: ignore[operator]
        g = torch.autograd.grad(maps.square().sum(), (x, *net.parameters()), create_graph=True)
        h = torch.autograd.grad(sum(g.square().sum() for g in g), x)
        sides.append([maps, *g, *h])
    assert all(torch.allclose(a, b, rtol=1e-8, atol=1e-8) for a, b in zip(*sides, strict=True))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"in_channels": 3, "pools": 1}])
def test_vmap_with_running_statistics_gives_what_a_loop_gives(
    options: dict[str, int], training: bool
) -> None:
    torch.manual_seed(0)
    net = Conv4(hidden=4, **options).double()  # type: ignore[arg-type]
    net(torch.rand(7, net.in_channels, 28, 28, dtype=torch.float64))
    net.train(training)
    each = [
        {k: t + 0.1 * i * torch.randn_like(t.double()).abs() for k, t in net.state_dict().items()}
        for i in range(3)
    ]
    stacked = {k: torch.stack([p[k] for p in each]) for k in each[0]}
    x = torch.rand(3, 5, net.in_channels, 28, 28, dtype=torch.float64)
    at_once = vmap(functional_call, (None, 0, 0))(net, stacked, x)
    one_by_one = torch.stack([functional_call(net, p, x) for p, x in zip(each, x, strict=True)])
    assert torch.allclose(at_once, one_by_one, atol=1e-10)
    for k in each[0]:  # the running statistics too, which `training` moves
        assert torch.allclose(stacked[k], torch.stack([p[k] for p in each]), atol=1e-10)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_reach_the_blocks_in_channels_last_whatever_order_they_come_in(
    channels: int, training: bool
) -> None:
    net = Conv4(channels, hidden=4).train(training)
    seen: list[Tensor] = []
    net.blocks.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.rand(6, channels, 28, 28)
    for order in (x, x.to(memory_format=torch.channels_last), x.mT.contiguous().mT):
        net(order)
    assert all(torch.equal(y, x) for y in seen)
    assert all(y.is_contiguous(memory_format=torch.channels_last) for y in seen)


@pytest.mark.parametrize(("options", "shape"), BATCH_STATISTICS)
def test_vmap_gives_what_a_loop_gives(options: dict[str, int], shape: tuple[int, ...]) -> None:
    net = small(options)
    each = [{k: p.detach() for k, p in small(options, i).named_parameters()} for i in range(3)]
    stacked = {k: torch.stack([p[k] for p in each]).requires_grad_() for k in each[0]}
    x = torch.rand(3, *shape, dtype=torch.float64)
    at_once = vmap(functional_call, (None, 0, 0))(net, stacked, x)
    p = [{k: p[i] for k, p in stacked.items()} for i in range(3)]
    one_by_one = torch.stack([functional_call(net, p, x) for p, x in zip(p, x, strict=True)])
    assert torch.allclose(at_once, one_by_one, atol=1e-10)
    sides = [
        torch.autograd.grad(z.square().sum(), list(stacked.values())) for z in (at_once, one_by_one)
    ]
    assert all(torch.allclose(a, b, atol=1e-8) for a, b in zip(*sides, strict=True))


def test_an_adapted_network_stays_channels_last() -> None:
    net, seen = small({}), []
    for block in net.blocks:
        block[2].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))  # type: ignore[index]
    x = torch.rand(5, 1, 28, 28, dtype=torch.float64)
    loss = net(x).square().sum()
    g = torch.autograd.grad(loss, list(net.parameters()), create_graph=True)
    adapted = {k: p - 0.1 * g for (k, p), g in zip(net.named_parameters(), g, strict=True)}
    functional_call(net, adapted, x)
    assert len(seen) == 8
    assert all(maps.is_contiguous(memory_format=torch.channels_last) for maps in seen)
    assert not any(maps.is_contiguous() for maps in seen)


def test_statistics_of_pictures_that_are_all_the_same() -> None:
    net = Conv4(hidden=4, track_running_stats=False)
    x = torch.ones(3, 1, 28, 28, requires_grad=True)
    assert torch.allclose(net(x), usual(net, x).flatten(1), atol=1e-4)
    assert torch.autograd.grad(net(x).sum(), x)[0].isfinite().all()


def test_max_pooling_and_relu_commute_to_the_bit() -> None:
    x = torch.randn(3, 4, 9, 9, requires_grad=True)
    one, two = F.relu(F.max_pool2d(x, 2)), F.max_pool2d(F.relu(x), 2)
    assert torch.equal(one, two)
    weight = torch.randn_like(one)
    assert torch.equal(*(torch.autograd.grad((y * weight).sum(), x)[0] for y in (one, two)))


def test_conv4_has_the_parameters_of_the_paper() -> None:
    # 64 x (9 + 1) + 3 x 64 x (9 x 64 + 1) convolutions, 4 x 2 x 64 batch norm
    assert sum(p.numel() for p in Conv4().parameters()) == 640 + 3 * 64 * 577 + 512


def test_conv4_is_that_of_the_papers() -> None:
    # Vinyals et al. (2016), section 4.1: 64 filters of 3x3, batch norm, ReLU, 2x2 max-pooling, in
    # every one of four blocks; Snell et al. (2017), section 3: 28x28 pictures give vectors of 64
    options = {name: p.default for name, p in inspect.signature(Conv4).parameters.items()}
    assert options == {"in_channels": 1, "hidden": 64, "pools": 4, "stride": 1,
                       "track_running_stats": True, "flatten": True}  # fmt: skip
    for conv, norm, pool, relu in Conv4().blocks:  # type: ignore[misc]
        assert (conv.kernel_size, conv.padding, conv.stride) == ((3, 3), (1, 1), (1, 1))
        assert (norm.eps, norm.momentum) == (1e-5, 0.1) and norm.affine
        assert (pool.kernel_size, pool.stride, pool.padding) == (2, 2, 0)
        assert isinstance(relu, torch.nn.ReLU)
    assert Conv4()(torch.rand(2, 1, 28, 28)).shape == (2, 64)


@pytest.mark.parametrize("track", [True, False])
@pytest.mark.parametrize(
    ("options", "sides"),
    [({"pools": 0}, [28, 28, 28, 28]), ({"pools": 1}, [14, 14, 14, 14]), ({"pools": 2}, [14, 7, 7, 7]),
     ({"pools": 3}, [14, 7, 3, 3]), ({}, [14, 7, 3, 1]), ({"pools": 0, "stride": 2}, [14, 7, 4, 2]),
     ({"pools": 1, "stride": 2}, [7, 4, 2, 1])],
)  # fmt: skip
def test_the_first_blocks_pool(options: dict[str, int], sides: list[int], track: bool) -> None:
    net = Conv4(hidden=2, track_running_stats=track, **options)  # type: ignore[arg-type]
    seen: list[int] = []
    for block in net.blocks:
        block[3].register_forward_hook(lambda _, __, maps: seen.append(maps.shape[-1]))  # type: ignore[index]
    net(torch.rand(2, 1, 28, 28))
    assert seen == sides


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("pools", range(5))
def test_pictures_that_are_too_small_are_named_with_the_remedy(pools: int, stride: int) -> None:
    for side in range(1, 33):
        x = torch.rand(2, 1, side, 33)
        net = Conv4(hidden=2, pools=pools, stride=stride)
        if _fits(side, pools, stride):
            assert net(x).isfinite().all()
        else:
            with pytest.raises(ValueError, match=rf"pools={pools}: .* {side}x33 ") as caught:
                net(x)
            less = int(str(caught.value).split("Conv4(pools=")[1][0])
            assert Conv4(hidden=2, pools=less, stride=stride)(x).numel()
            assert not _fits(side, less + 1, stride)  # and not less than needed


def _fits(side: int, pools: int, stride: int) -> bool:
    """Whether torch finds something left of a picture, with no word of ours."""
    x = torch.zeros(2, 1, side, 33)
    try:
        for i in range(4):
            x = F.conv2d(x, torch.zeros(1, 1, 3, 3), None, stride, 1)
            x = F.max_pool2d(x, 2) if i < pools else x
    except RuntimeError:
        return False
    return True


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
