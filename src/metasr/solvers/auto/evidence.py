"""What can be seen of a photo before it is enlarged."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from metasr.degradation.jpeg import jpegs_of
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import middle
from metasr.io.levels import to_levels
from metasr.solvers.blind.base import Estimator

_LOOK = 512  # side in pixels of the photo's middle that is looked at
_STEP = 8  # grey levels of a channel that are counted as one colour
_FEW = 8  # how many colours are few
_STEEP = 96  # grey levels between neighbours that are called an edge


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was seen of a photo.

    Attributes:
        size: width and height in pixels.
        quality: of its JPEG compression, 1 to 100; none where there was none.
        noise: standard deviation on the 0-255 scale; 0 where none was seen.
        blur: standard deviation of the blur in the photo's pixels, as a Gaussian's; 0 where none was seen.
        few: share of its pixels that have one of its eight most frequent colours, to 8 levels.
        steep: share of its pixels with a step of 96 levels or more to a neighbour.
        estimate: what it is taken to have come about by, in one line.
        kernel: that blur as a kernel of HR pixels, ``(k, k)``; none where none was seen.
    """

    size: tuple[int, int]
    quality: int | None
    noise: float
    blur: float
    few: float
    steep: float
    estimate: str
    kernel: Tensor | None = field(default=None, repr=False, compare=False)

    @property
    def drawn(self) -> bool:
        """Whether it looks like a drawing, or a picture of text: few colours, and steep steps between them."""
        return self.few >= 0.36 and self.steep >= (0.1 if self.few < 0.8 else 0.02)

    @property
    def soft(self) -> bool:
        """Whether it is blurred by more than fine texture may look like."""
        return self.blur >= 0.45

    @property
    def content(self) -> str:
        """By what drawings are told from photographs, in one line."""
        return f"{self.few:.0%} of its pixels have one of {_FEW} colours, {self.steep:.0%} are at steep edges"

    def __str__(self) -> str:
        compressed = "not compressed" if self.quality is None else f"JPEG of quality {self.quality}"
        noise = f"noise of {self.noise:.1f} levels" if self.noise else "no noise"
        blur = f"blur of {self.blur:.1f} pixels" if self.blur else "no blur"
        return f"{compressed}, {noise}, {blur}, {'drawn or written' if self.drawn else 'a photograph'}"


def look_at(lr: Tensor, degradation: Degradation, estimator: Estimator) -> Evidence:
    """Look at a photo.

    Args:
        lr: ``(1, 3, H, W)`` in [0, 1].
        degradation: its scale and sampling, and its compression, as far as its file tells.
        estimator: tells blur and noise.
    """
    part = middle(lr, (_LOOK, _LOOK))
    levels = to_levels(part)
    highest = F.max_pool2d(levels, 3, stride=1, padding=1)
    lowest = -F.max_pool2d(-levels, 3, stride=1, padding=1)
    spread = (highest - lowest).amax(1)  # (1, h, w)
    grid = degradation.downsample if degradation.downsample == "direct" else "bicubic"
    (jpeg,) = jpegs_of(degradation.jpeg, 1)
    least, most = getattr(estimator, "scales", (0.0, math.inf))
    scale = min(max(degradation.scale, least), most)  # noise does not depend on it, nor blur in the photo's pixels
    found = estimator.estimate(lr, scale=scale, downsample=grid, jpeg=jpeg)
    kernel = found.kernel
    return Evidence(
        size=(lr.shape[-1], lr.shape[-2]),
        quality=None if jpeg is None else jpeg.quality,
        noise=found.noise_std * 255,
        blur=0.0 if kernel is None else _width(kernel) / scale,
        few=_share_of_few(levels[0]),
        steep=float((spread >= _STEEP).float().mean()),
        estimate=found.told,
        kernel=kernel if scale == degradation.scale else None,
    )


def _share_of_few(levels: Tensor) -> float:
    """Share of the pixels of ``(3, h, w)`` that have one of the most frequent colours."""
    red, green, blue = levels.div(_STEP, rounding_mode="floor").long()
    side = 256 // _STEP
    counts = torch.bincount(((red * side + green) * side + blue).flatten()).float()
    return float(counts.topk(min(_FEW, len(counts))).values.sum() / counts.sum())


def _width(kernel: Tensor) -> float:
    """Standard deviation of a kernel in its own pixels, the mean of both axes'."""
    total = 0.0
    for axis in (0, 1):
        taps = kernel.double().sum(1 - axis)
        place = taps.new_tensor(range(len(taps)))
        mean = float((taps * place).sum() / taps.sum())
        total += float((taps * (place - mean).square()).sum() / taps.sum())
    return (total / 2) ** 0.5
