"""Parts of a photo that are of one colour, which enlarging must not change: clipped skies, white paper, drawings."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from metasr.errors import InputError

_RADIUS = 2


def keep_flat(sr: Tensor, lr: Tensor, *, shift: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """Give an enlarged photo the photo's own colour where the photo is flat.

    A network's answer to an even colour is that colour to a level or two only, and tinted. Flat is a pixel whose
    neighbours within 2 pixels (and as many more as the image is displaced by) have exactly its colour; between these
    and all others the change is gradual, over the width of one pixel of ``lr``.

    Args:
        sr: ``(3, H, W)``, the enlarged ``lr``.
        lr: ``(3, h, w)``.
        shift: how far ``sr`` is displaced against ``lr`` (down, right), in pixels of ``sr``.

    Returns:
        ``(3, H, W)``; ``sr`` itself where nothing is flat.

    Raises:
        InputError: if the shapes do not fit.
    """
    if lr.ndim != 3 or sr.ndim != 3 or lr.shape[0] != sr.shape[0]:
        raise InputError(f"expected (3, H, W) and (3, h, w), got {tuple(sr.shape)} and {tuple(lr.shape)}")
    size = (int(sr.shape[-2]), int(sr.shape[-1]))
    moved = max(abs(s) * n / m for s, n, m in zip(shift, lr.shape[-2:], size, strict=True))
    radius = _RADIUS + math.floor(moved)
    even = (_highest(lr, radius) == -_highest(-lr, radius)).all(0, keepdim=True)
    if not bool(even.any()):
        return sr
    weight = F.interpolate(even[None].to(sr.dtype), size, mode="bilinear", align_corners=False)[0]
    colour = F.interpolate(lr[None].to(sr.dtype), size, mode="nearest-exact")[0]
    return sr.lerp(colour, weight)


def _highest(image: Tensor, radius: int) -> Tensor:
    """The largest value within some pixels of each, along rows and columns; beyond the border there is nothing."""
    side = 2 * radius + 1
    rows = F.max_pool2d(image[None], (side, 1), stride=1, padding=(radius, 0))
    return F.max_pool2d(rows, (1, side), stride=1, padding=(0, radius))[0]
