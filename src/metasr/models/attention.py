"""Cross-scale spectro-spatial attention (MAML-SR), of plain operations that can be differentiated twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metasr.errors import InputError
from metasr.models.blocks import Norm, enlarge_features, norm_layer
from metasr.models.conv import Conv2d

Attention = Literal["both", "spatial", "spectral", "none"]


class SpatialAttention(nn.Module):
    """Where to look: sigmoid(conv3×3([mean, max over channels])), no bias."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = Conv2d(2, 1, 3, padding=1, bias=False)

    def gains(self, features: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, 1, H, W)`` in (0, 1)."""
        pooled = torch.cat([features.mean(1, keepdim=True), features.amax(1, keepdim=True)], 1)  # (B, 2, H, W)
        return torch.sigmoid(self.conv(pooled))

    def forward(self, features: Tensor) -> Tensor:
        """``(B, C, H, W)``, each pixel weighted."""
        return features * self.gains(features)


class SpectralAttention(nn.Module):
    """Which channels to listen to: sigmoid(conv1×1([global mean, global maximum])), no bias.

    Args:
        channels: in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv2d(2 * channels, channels, 1, bias=False)

    def gains(self, features: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C, 1, 1)`` in (0, 1)."""
        pooled = torch.cat([features.mean((2, 3), keepdim=True), features.amax((2, 3), keepdim=True)], 1)
        return torch.sigmoid(self.conv(pooled))

    def forward(self, features: Tensor) -> Tensor:
        """``(B, C, H, W)``, each channel weighted."""
        return features * self.gains(features)


class CrossScaleAttention(nn.Module):
    """A level's features, amplified by what all deeper levels see at the same place.

    Each deeper level is projected by conv1×1 to this level's width and enlarged bilinearly to its size; all are
    concatenated with the level's own features and weighted by spatial and by spectral attention; both results together
    go through conv3×3 - norm, are added to the level's features, and through ReLU.

    Args:
        width: channels of the level.
        deeper: channels of the deeper levels, each of half the size of the one before.
        kind: which weighting takes part: ``both``, ``spatial`` or ``spectral``.
        norm: see ``models.blocks.norm_layer``.
    """

    def __init__(self, width: int, deeper: Sequence[int], *, kind: Attention = "both", norm: Norm = "group") -> None:
        super().__init__()
        if kind not in get_args(Attention) or kind == "none":
            raise InputError(f"attention must be 'both', 'spatial' or 'spectral' to be built, got {kind!r}")
        joined = width * (1 + len(deeper))
        self.project = nn.ModuleList(Conv2d(channels, width, 1) for channels in deeper)
        self.spatial = SpatialAttention() if kind != "spectral" else None
        self.spectral = SpectralAttention(joined) if kind != "spatial" else None
        self.merge = Conv2d(joined * (2 if kind == "both" else 1), width, 3, padding=1)
        self.norm = norm_layer(norm, width)

    def join(self, levels: Sequence[Tensor]) -> Tensor:
        """The level's features and the deeper ones brought to it, ``(B, width * len(levels), H, W)``."""
        brought = [
            enlarge_features(project(features), 2**distance)
            for distance, (project, features) in enumerate(zip(self.project, levels[1:], strict=True), start=1)
        ]
        return torch.cat([levels[0], *brought], 1)

    def gains(self, levels: Sequence[Tensor]) -> dict[str, Tensor]:
        """What the joined features are multiplied by: ``spatial`` (B, 1, H, W), ``spectral`` (B, C, 1, 1)."""
        joined = self.join(levels)
        parts = {"spatial": self.spatial, "spectral": self.spectral}
        return {name: part.gains(joined) for name, part in parts.items() if part is not None}

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Attend.

        Args:
            levels: ``(B, width, H, W)`` of this level, then ``(B, deeper[i], H / 2^(i+1), W / 2^(i+1))``.

        Returns:
            ``(B, width, H, W)``, not negative.
        """
        joined = self.join(levels)
        weighted = [part(joined) for part in (self.spatial, self.spectral) if part is not None]
        return F.relu(levels[0] + self.norm(self.merge(torch.cat(weighted, 1))))
