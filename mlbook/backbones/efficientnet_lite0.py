"""EfficientNet-Lite0: pictures `[B, 3, 224, 224]` to features `[B, 1280]`.

Source: Tan & Le (2019), "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
https://arxiv.org/abs/1905.11946, table 1, in the form for telephones that its authors released in 2020: without
squeeze-and-excitation, ReLU6 in place of swish, stem and head of full width at every scale.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

# expansion, channels, how many, stride of the first, kernel: the rows of table 1
STAGES = [
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
]


class Convolution(nn.Module):
    """Convolution, batch norm, and ReLU6 unless not wanted: `[B, c_in, H, W]` to `[B, c_out, H / stride, W / stride]`.

    Padded as TensorFlow pads ("SAME"), for so the weights were trained: with stride 2 a picture of even size gets one
    row and one column more below and to the right than above and to the left.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        act: bool = True,
    ) -> None:
        super().__init__()
        padding = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(c_out, eps=1e-3)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """Pad, filter, normalise, clip to [0, 6]."""
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        if stride > 1:
            pad = []  # left, right, top, bottom
            for length in (x.shape[-1], x.shape[-2]):
                missing = max(0, (-(-length // stride) - 1) * stride + kernel - length)
                pad += [missing // 2, missing - missing // 2]
            x = F.pad(x, pad)
        x = self.norm(self.conv(x))
        return F.relu6(x) if self.act else x


class InvertedResidual(nn.Module):
    """Widen by 1 x 1, filter each channel by itself, narrow by 1 x 1 without ReLU; add the input where it fits."""

    def __init__(self, expansion: int, c_in: int, c_out: int, stride: int, kernel: int) -> None:
        super().__init__()
        wide = expansion * c_in
        self.layers = nn.Sequential(
            Convolution(c_in, wide) if expansion > 1 else nn.Identity(),
            Convolution(wide, wide, kernel, stride, groups=wide),
            Convolution(wide, c_out, act=False),
        )
        self.adds = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """`[B, c_in, H, W]` to `[B, c_out, H / stride, W / stride]`."""
        y: Tensor = self.layers(x)
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """The network up to its pooled features; the layer that told ImageNet's 1,000 classes apart is left out."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [Convolution(3, 32, kernel=3, stride=2)]
        c_in = 32
        for expansion, channels, repeats, stride, kernel in STAGES:
            for k in range(repeats):
                layers.append(
                    InvertedResidual(expansion, c_in, channels, stride if k == 0 else 1, kernel)
                )
                c_in = channels
        self.layers = nn.Sequential(*layers, Convolution(c_in, 1280))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised pictures `[B, 3, H, W]`, 32 pixels a side or more, to features `[B, 1280]`, none below 0."""
        y: Tensor = self.layers(x)
        return y.mean((-2, -1))

    def load(self, checkpoint: dict[str, Tensor]) -> EfficientNetLite0:
        """Take the weights of the released checkpoint, which holds the same layers in the same order by other names."""
        theirs = [tensor for name, tensor in checkpoint.items() if not name.startswith("_fc.")]
        self.load_state_dict(dict(zip(self.state_dict(), theirs, strict=True)))
        return self
