"""What the SR networks of MRDA and KDSR have in common: a chain of blocks that a degradation vector steers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metasr.errors import InputError
from metasr.models.dynamic_conv import dynamic_depthwise
from metasr.models.upsampling import check_trained_scale, pixel_shuffle_tail

RGB_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean colour of DIV2K, which the published networks take away and add again."""


class MeanShift(nn.Module):
    """Scale and shift the three colours by constants, kept in the state as a 1×1 convolution's would be.

    12 numbers in two buffers, ``weight`` (3, 3, 1, 1), of which the diagonal counts, and ``bias`` (3,); nothing of it
    is trained. It is computed element by element so that mixed precision leaves images in float32.

    Args:
        sign: -1 takes the mean colour away, 1 adds it.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, sign: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.eye(3)[..., None, None])
        self.register_buffer("bias", sign * torch.tensor(RGB_MEAN))

    def forward(self, image: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to the same shape."""
        gain = self.weight.flatten(1).diagonal()
        return image * gain[:, None, None] + self.bias[:, None, None]


class KernelMaker(nn.Module):
    """A vector to a 3×3 kernel for each channel: linear, LeakyReLU, linear, no biases; and the convolution by it.

    Args:
        width: length of the vector, and number of channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kernel = nn.Sequential(
            nn.Linear(width, width, bias=False), nn.LeakyReLU(0.1), nn.Linear(width, 9 * width, bias=False)
        )

    def forward(self, features: Tensor, vector: Tensor) -> Tensor:
        """``(B, width, h, w)``, each image's channels convolved with the kernels of its own vector ``(B, width)``."""
        kernels = self.kernel(vector).view(*vector.shape, 3, 3)  # (B, width, 3, 3)
        return dynamic_depthwise(features, kernels)


class ConditionedSR(nn.Module):
    """Head, blocks in one chain with a long skip, and a pixel-shuffle tail; every block is given a short vector.

    The short vector v = LeakyReLU(linear(vector)) is made once. LR images may have any size from 1×1 up.

    The state holds four constant tensors beside what is trained: the mean colour, taken away at the start and added at
    the end (24 numbers, counted in the published sizes).

    Attributes:
        scale: by which it enlarges.
        receptive_radius: how far, in LR pixels, an output pixel sees, the vector aside: tiles that overlap by this
            much, and are given the vector of the whole image, have no seams.

    Args:
        blocks: modules of (features, v).
        scale: 2, 3 or 4.
        width: channels.
        compress: makes v of the vector.
        reach: of all blocks together, in pixels.
    """

    def __init__(self, blocks: Sequence[nn.Module], *, scale: int, width: int, compress: nn.Linear, reach: int) -> None:
        super().__init__()
        self.scale = check_trained_scale(scale)
        self.receptive_radius = reach + 4  # the head 1, the closing convolution 1, the tail 2
        self.take_mean = MeanShift(-1)
        self.compress = compress
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(blocks)
        self.close = nn.Conv2d(width, width, 3, padding=1)
        self.tail = pixel_shuffle_tail(width, scale=self.scale)
        self.add_mean = MeanShift(1)

    def forward(self, lr: Tensor, vector: Tensor) -> Tensor:
        """Enlarge images of known degradation.

        Args:
            lr: ``(B, 3, h, w)`` in [0, 1], any size.
            vector: what an encoder says of each, ``(B, V)``.

        Returns:
            ``(B, 3, scale * h, scale * w)``, not clipped.

        Raises:
            InputError: if the vectors are of another number or length.
        """
        want = (lr.shape[0], self.compress.in_features)
        if vector.shape != want:
            raise InputError(
                f"degradation vectors must have shape {want}, one per image, got {tuple(vector.shape)}; "
                "make them with the encoder of this network"
            )
        short = F.leaky_relu(self.compress(vector), 0.1)  # (B, width)
        start = self.head(self.take_mean(lr))
        features = start
        for block in self.blocks:
            features = block(features, short)
        return self.add_mean(self.tail(self.close(features) + start))
