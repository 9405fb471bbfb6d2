"""The networks that the chapters adapt: a four-block convolutional network and a small MLP."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, batch norm and ReLU: the standard network of few-shot learning.

    A block halves the picture by max-pooling (the first `pools` blocks) or by its stride. Pooling
    comes *before* ReLU: the two commute, so outputs and gradients are the same to the bit, and ReLU
    has a quarter of the work. Weights and pictures are kept in `channels_last` order, in which
    convolutions are faster on a CPU. With the statistics of the batch, the first batch norm is folded
    into its convolution; see `normalised_by_batch`.

    Args:
        in_channels: Channels of a picture: 1 for glyphs and Omniglot, 3 for colour.
        hidden: Filters in every block.
        pools: How many of the four blocks, counted from the input, end in 2x2 max-pooling; 0 to 4.
        stride: Stride of every convolution, 1 or 2. `stride=2, pools=0` is the network of MAML's
            authors.
        track_running_stats: Batch norm keeps running statistics and uses them in `eval()`. With
            False it always uses the statistics of the batch at hand, as gradient-based methods do.
        flatten: Return vectors (True) or feature maps (False, what a relation head wants). A
            network with `stride=2` averages over positions instead of laying them out, as MAML's
            authors do.

    Shape:
        - Input: `[B, in_channels, H, W]`, floats in [0, 1].
        - Output: `[B, D]`, with D = `hidden` for pictures of 28x28 and four poolings;
          `[B, hidden, h, w]` if not `flatten`.

    Source: Vinyals et al. (2016), section 4.1; Snell et al. (2017), section 3; Finn et al. (2017),
    section 5.2.

    Raises:
        ValueError: If `pools` or `stride` is out of range, or a picture does not have `in_channels`
            channels or is too small for so many poolings.
    """

    def __init__(
        self,
        in_channels: int = 1,
        hidden: int = 64,
        pools: int = 4,
        stride: int = 1,
        track_running_stats: bool = True,
        flatten: bool = True,
    ) -> None:
        super().__init__()
        if pools not in range(5):
            raise ValueError(f"pools={pools}: Conv4 has four blocks, so pools is 0, 1, 2, 3 or 4")
        if stride not in (1, 2):
            raise ValueError(f"stride={stride}: use 1 (and pooling) or 2 (and pools=0)")
        self.in_channels, self.pools, self.stride, self.flatten = (
            in_channels,
            pools,
            stride,
            flatten,
        )
        blocks = []
        for i in range(4):
            conv = nn.Conv2d(in_channels if i == 0 else hidden, hidden, 3, stride, padding=1)
            norm = nn.BatchNorm2d(hidden, track_running_stats=track_running_stats)
            pool = nn.MaxPool2d(2) if i < pools else nn.Identity()
            blocks.append(nn.Sequential(conv, norm, pool, nn.ReLU()))
        self.blocks = nn.Sequential(*blocks)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """Embed pictures `[B, C, H, W]` as vectors `[B, D]`, or as feature maps if not `flatten`."""
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise ValueError(
                f"Conv4 expects pictures [B, {self.in_channels}, H, W] and got {list(x.shape)}; "
                "set in_channels, or flatten the tasks dimension into the batch"
            )
        side = min(x.shape[2:])
        for i in range(4):
            side = -(-side // self.stride)  # a convolution rounds up, pooling rounds down
            if side < 2 and i < self.pools:
                raise ValueError(
                    f"pools={self.pools}: nothing is left of pictures of {x.shape[2]}x{x.shape[3]} after so many "
                    f"poolings; use Conv4(pools={i}), or larger pictures"
                )
            side = side // 2 if i < self.pools else side
        if self.blocks[0][1].running_mean is None:  # type: ignore[index]
            x = self.normalised_by_batch(x)
        else:
            # channels_last by permutation, here and below: vmap cannot ask for a memory format
            x = self.blocks(x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2))
        if not self.flatten:
            return x
        return x.mean((2, 3)) if self.stride == 2 else x.flatten(1)

    def normalised_by_batch(self, x: Tensor) -> Tensor:
        """The four blocks with the statistics of the batch: the same function, in fewer passes.

        It equals these lines, which may take its place if you copy this network; they are what the
        usual path runs, and for gradients of gradients they take longer::

            for conv, norm, pool, relu in self.blocks:
                x = norm(conv(x))
                x = relu(pool(x))
            return x

        An output of the first convolution is w·p + b, with p one of the picture's 3x3 patches. Its
        mean over the batch is therefore w·E[p] + b and its variance w·Cov[p]·w, known from a 9x9
        matrix (for one channel) before the convolution runs. Scaled by γ/σ the convolution gives
        normalised outputs at once, and no gradient, first or second, has to pass through a batch norm
        of the largest feature map. In every block the bias b cancels; the blocks leave it out.
        """
        p = F.unfold(x, 3, padding=1, stride=self.stride)  # [B, 9 in_channels, positions]
        mean = p.mean((0, 2))
        p = p - mean[:, None]
        cov = (p @ p.mT).mean(0) / p.shape[2]
        # A copy: of one channel it is open which order it is in, and convolutions guess the slow one.
        # Written with permute, because vmap knows of no channels_last.
        x = x.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format).permute(0, 3, 1, 2)
        blocks: Iterable[Any] = self.blocks
        for i, (conv, norm, pool, relu) in enumerate(blocks):
            beta = norm.bias.add(conv.bias, alpha=0)  # so that b keeps a gradient, of zero
            if i == 0:
                w = conv.weight.flatten(1)
                scale = norm.weight * ((w @ cov) * w).sum(1).add(norm.eps).rsqrt()
                w = scale[:, None] * w
                x = F.conv2d(x, w.view_as(conv.weight), beta - w @ mean, self.stride, padding=1)
            else:
                # torch 2.13 takes a wrong gradient of one picture in channels_last, under vmap
                w = conv.weight.contiguous() if len(x) == 1 else conv.weight
                x = F.conv2d(x, w, None, self.stride, padding=1)
                # A row for every position: its second derivative takes half as long that way.
                x = x.permute(0, 2, 3, 1)
                y = F.batch_norm(
                    x.flatten(0, 2), None, None, norm.weight, beta, training=True, eps=norm.eps
                )
                x = y.view_as(x).permute(0, 3, 1, 2)
            x = relu(pool(x))
        return x


class MLP(nn.Sequential):
    """A multi-layer perceptron with ReLU between its layers, `MLP(1, 40, 40, 1)` for the sinusoids.

    Args:
        sizes: Units of every layer, from input to output; at least two.

    Shape:
        - Input: `[..., sizes[0]]`. Output: `[..., sizes[-1]]`.

    Source: Finn et al. (2017), section 5.1, for the sizes above.

    Raises:
        ValueError: If fewer than two sizes are given.
    """

    def __init__(self, *sizes: int) -> None:
        if len(sizes) < 2:
            raise ValueError(
                f"MLP{sizes}: give at least an input and an output size, as in MLP(1, 40, 40, 1)"
            )
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        super().__init__(*layers[:-1])
