"""Building blocks of a U-shaped super-resolution network (MAML-SR): each takes and gives feature maps."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metasr.errors import InputError
from metasr.models.conv import Conv2d, ConvTranspose2d

Norm = Literal["group", "batch", "none"]


def norm_layer(kind: Norm, channels: int) -> nn.Module:
    """A normalisation without running statistics, which an inner loop's clones would share.

    Args:
        kind: ``group``: up to 8 groups of at least 2 channels, statistics of one image; ``batch``: statistics of the
            batch at hand, in training and at test time alike; ``none``.
        channels: an even number.
    """
    if kind == "group":
        return nn.GroupNorm(math.gcd(8, channels // 2), channels)
    if kind == "batch":
        return nn.BatchNorm2d(channels, track_running_stats=False)
    if kind == "none":
        return nn.Identity()
    raise InputError(f"norm must be one of {', '.join(get_args(Norm))}, got {kind!r}")


class FeatureEncoder(nn.Module):
    """A residual block: conv3×3 - norm - ReLU - conv3×3 - norm, plus conv1×1 - norm on the skip, added, ReLU.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        norm: see ``norm_layer``.
    """

    def __init__(self, inputs: int, outputs: int, *, norm: Norm = "group") -> None:
        super().__init__()
        self.conv1 = Conv2d(inputs, outputs, 3, padding=1)
        self.norm1 = norm_layer(norm, outputs)
        self.conv2 = Conv2d(outputs, outputs, 3, padding=1)
        self.norm2 = norm_layer(norm, outputs)
        self.skip = Conv2d(inputs, outputs, 1)
        self.norm_skip = norm_layer(norm, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H, W)``, not negative."""
        inner = F.relu(self.norm1(self.conv1(features)))
        return F.relu(self.norm2(self.conv2(inner)) + self.norm_skip(self.skip(features)))


class Bridge(nn.Module):
    """The lowest level: conv3×3 - norm - LeakyReLU(0.1), twice.

    Args:
        channels: in and out.
        norm: see ``norm_layer``.
    """

    def __init__(self, channels: int, *, norm: Norm = "group") -> None:
        super().__init__()
        self.conv1 = Conv2d(channels, channels, 3, padding=1)
        self.norm1 = norm_layer(norm, channels)
        self.conv2 = Conv2d(channels, channels, 3, padding=1)
        self.norm2 = norm_layer(norm, channels)

    def forward(self, features: Tensor) -> Tensor:
        """``(B, channels, H, W)`` to the same shape."""
        features = F.leaky_relu(self.norm1(self.conv1(features)), 0.1)
        return F.leaky_relu(self.norm2(self.conv2(features)), 0.1)


class UpJoin(nn.Module):
    """Twice the size by a transposed conv4×4 (no bias) and ReLU, then joined with the features of that level.

    Args:
        inputs: channels that come from below.
        outputs: channels they become, as many as the level's features have.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)

    def forward(self, below: Tensor, level: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` and ``(B, outputs, 2H, 2W)`` to ``(B, 2 outputs, 2H, 2W)``."""
        return torch.cat([F.relu(self.conv(below)), level], 1)


class DeepHead(nn.Module):
    """An intermediate output: conv3×3 - norm - ReLU - bilinear enlargement - conv3×3 - ReLU - conv1×1 to RGB.

    Args:
        inputs: channels that come in.
        channels: width of the head.
        factor: how many times smaller than the image the features are.
        norm: see ``norm_layer``.
    """

    def __init__(self, inputs: int, channels: int, *, factor: int, norm: Norm = "group") -> None:
        super().__init__()
        self.factor = factor
        self.conv1 = Conv2d(inputs, channels, 3, padding=1)
        self.norm1 = norm_layer(norm, channels)
        self.conv2 = Conv2d(channels, channels, 3, padding=1)
        self.conv3 = Conv2d(channels, 3, 1)

    def forward(self, features: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, 3, factor * H, factor * W)``, of any range."""
        features = F.relu(self.norm1(self.conv1(features)))
        features = enlarge_features(features, self.factor)
        return self.conv3(F.relu(self.conv2(features)))


def enlarge_features(features: Tensor, factor: int) -> Tensor:
    """Bilinear enlargement with aligned corners: ``(B, C, H, W)`` to ``(B, C, factor * H, factor * W)``."""
    height, width = features.shape[-2:]
    return F.interpolate(features, (height * factor, width * factor), mode="bilinear", align_corners=True)
