"""JPEG compression of a batch, as the last link of a degradation; random compressions for training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from metasr.errors import InputError
from metasr.io.jpeg import MCU, Jpeg, of_quality, recompress
from metasr.io.levels import to_levels

Jpegs = Jpeg | Sequence[Jpeg | None]
"""One compression for all images of a batch, or one (or none) for each."""


def compress(image: Tensor, jpeg: Jpegs) -> Tensor:
    """Compress and decompress by the codec itself, on the CPU.

    Gradients are those of kornia's differentiable codec where colour is 4:2:0, the one form that it has, else those of
    the identity. Values never are: its differ from the codec's by about half of what compression changes.

    Args:
        image: ``(B, 3, H, W)`` in [0, 1]; rounded to 8 bits first.
        jpeg: how; of a sequence, images whose entry is none are only rounded.

    Returns:
        The same shape and type, in 256 levels.

    Raises:
        InputError: for an image of other than three channels, or as many compressions as there are no images.
    """
    if image.shape[1] != 3:
        raise InputError(f"JPEG compression takes RGB images (B, 3, H, W), got {tuple(image.shape)}")
    each = jpegs_of(jpeg, len(image))
    levels = to_levels(image.detach()).permute(0, 2, 3, 1).to("cpu", torch.uint8).numpy()  # (B, H, W, 3)
    coded = [one if how is None else recompress(one, how) for one, how in zip(levels, each, strict=True)]
    result = torch.from_numpy(np.stack(coded)).permute(0, 3, 1, 2).to(image).contiguous() / 255
    if not (image.requires_grad and torch.is_grad_enabled()):
        return result
    smooth = torch.cat([_differentiable(one, how) for one, how in zip(image.split(1), each, strict=True)])
    return result + (smooth - smooth.detach())


def _differentiable(image: Tensor, jpeg: Jpeg | None) -> Tensor:
    """One image with what a gradient is to be taken of."""
    if jpeg is None or jpeg.subsampling != "4:2:0":
        return image
    from kornia.enhance import jpeg_codec_differentiable

    above, left = ((MCU - offset) % MCU for offset in jpeg.corner)
    luma, chroma = (torch.tensor(table, dtype=image.dtype, device=image.device).reshape(8, 8)
                    for table in (jpeg.luma, jpeg.chroma))  # fmt: skip
    padded = F.pad(image, (left, 0, above, 0), mode="replicate")
    as_given = image.new_tensor([50.0])  # the quality at which tables are taken as they are
    return jpeg_codec_differentiable(padded, as_given, luma, chroma)[..., above:, left:]


def jpegs_of(jpeg: Jpegs | None, count: int) -> list[Jpeg | None]:
    """The compression of each of some images; of a sequence of one, that one.

    Raises:
        InputError: for another number of compressions than images.
    """
    if jpeg is None or isinstance(jpeg, Jpeg):
        return [jpeg] * count
    if len(jpeg) not in (1, count):
        raise InputError(f"{len(jpeg)} compressions came for {count} images; give one, or one for each image")
    return list(jpeg) * (count if len(jpeg) == 1 else 1)


def told_numbers(jpeg: Jpegs | None, count: int) -> Tensor:
    """Compressions as numbers that a network is told, ``(count, 3)``, about [0, 1].

    log(1 + mean quantisation step) over log 64 of luma, and of chroma (quality 95 has 0.4, quality 30 has 1.1), both 0
    where there was no compression; and 1 where chroma was subsampled. Tables tell more than a quality does, and those
    of cameras are of none.
    """
    return torch.tensor([_numbers_of(one) for one in jpegs_of(jpeg, count)])


def _numbers_of(jpeg: Jpeg | None) -> tuple[float, float, float]:
    if jpeg is None:
        return 0.0, 0.0, 0.0
    luma, chroma = (math.log1p(sum(table) / 64) / math.log(64) for table in (jpeg.luma, jpeg.chroma))
    return luma, chroma, float(jpeg.subsampled)


@dataclass(frozen=True, kw_only=True)
class JpegSampler:
    """Random compressions.

    Attributes:
        quality: range that whole numbers are drawn from, both ends included.
        share: probability of any compression at all.
        subsampled_share: of the compressed images, how many have 4:2:0 colour; the others have 4:4:4.
        anywhere: put the grid at a random place instead of the image's corner. A patch is a part of a photo, whose grid
            its border tells nothing of.
    """

    quality: tuple[int, int] = (30, 95)
    share: float = 1.0
    subsampled_share: float = 0.5
    anywhere: bool = True

    def __post_init__(self) -> None:
        low, high = self.quality
        if not 1 <= low <= high <= 100:
            raise InputError(f"quality must be a range (low, high) with 1 <= low <= high <= 100, got ({low}, {high})")
        for name in ("share", "subsampled_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be a probability, got {getattr(self, name)}")

    def sample(self, count: int, *, generator: torch.Generator) -> tuple[Jpeg | None, ...]:
        """Draw compressions for ``count`` images; always the same number of draws."""
        low, high = self.quality
        drawn: list[Jpeg | None] = []
        for any_, level, colour, down, right in torch.rand(count, 5, generator=generator, dtype=torch.float64).tolist():
            quality = min(low + int(level * (high - low + 1)), high)
            corner = (int(down * MCU), int(right * MCU)) if self.anywhere else (0, 0)
            coarser = colour < self.subsampled_share
            one = of_quality(quality, subsampling="4:2:0" if coarser else "4:4:4", corner=corner)
            drawn.append(one if any_ < self.share else None)
        return tuple(drawn)
