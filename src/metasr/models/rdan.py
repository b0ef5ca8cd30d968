"""The region degradation aware network of MRDA: kernels made of a degradation vector, and a mask of where they help."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metasr.errors import InputError
from metasr.models.conditioned import ConditionedSR, KernelMaker


class RDAConv(KernelMaker):
    """F + M · LeakyReLU(F ⊛ W): W depthwise kernels made of the vector, M a mask in (0, 1) made of F by conv1×1.

    41,025 parameters at width 64.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.mask = nn.Conv2d(width, 1, 1)

    def forward(self, features: Tensor, vector: Tensor) -> Tensor:
        """``(B, width, h, w)`` and vectors ``(B, width)`` to ``(B, width, h, w)``."""
        convolved = F.leaky_relu(super().forward(features, vector), 0.1)
        region = torch.sigmoid(self.mask(features))  # (B, 1, h, w)
        return features + region * convolved


class RDABlock(nn.Module):
    """RDAConv, conv3×3, RDAConv, conv3×3 with LeakyReLU between them, and the input added.

    155,906 parameters at width 64.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.aware1 = RDAConv(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.aware2 = RDAConv(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Tensor, vector: Tensor) -> Tensor:
        """``(B, width, h, w)`` and vectors ``(B, width)`` to ``(B, width, h, w)``."""
        inner = F.leaky_relu(self.conv1(F.leaky_relu(self.aware1(features, vector), 0.1)), 0.1)
        return features + self.conv2(F.leaky_relu(self.aware2(inner, vector), 0.1))


class RDAN(ConditionedSR):
    """27 RDA blocks in one chain (Xia et al., MRDA, 2023); teacher's and student's are the same.

    At x4, width 64 and 27 blocks it has 4,561,721 parameters in 335 tensors, and 24 constants in 4 more.

    Args:
        scale: 2, 3 or 4.
        width: channels, and length of the vector that the blocks are given.
        blocks: how many.
        vector: length of the degradation vector, four times the encoder's width.

    Raises:
        InputError: for another scale, or a number below 1.
    """

    def __init__(self, *, scale: int = 4, width: int = 64, blocks: int = 27, vector: int = 256) -> None:
        if min(width, blocks, vector) < 1:
            raise InputError(
                f"RDAN needs at least 1 channel, block and number, got width {width}, blocks {blocks}, vector {vector}"
            )
        super().__init__(
            [RDABlock(width) for _ in range(blocks)],
            scale=scale,
            width=width,
            compress=nn.Linear(vector, width, bias=False),
            reach=4 * blocks,
        )
