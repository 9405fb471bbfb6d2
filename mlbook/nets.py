"""The networks that the chapters adapt: a four-block convolutional network and a small MLP."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, batch norm and ReLU: the standard network of few-shot learning.

    A block halves the picture by max-pooling (the first `pools` blocks) or by its stride. Pooling
    comes *before* ReLU: the two commute, so outputs and gradients are the same to the bit, and ReLU
    has a quarter of the work. The weights are kept in `channels_last` order, in which convolutions
    are faster on a CPU.

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
            channels.
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
        self.in_channels, self.stride, self.flatten = in_channels, stride, flatten
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
        x = self.blocks(x.contiguous(memory_format=torch.channels_last))
        if not self.flatten:
            return x
        return x.mean((2, 3)) if self.stride == 2 else x.flatten(1)


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
