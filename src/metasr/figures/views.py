"""Pictures for a screen, as plain tensors: reduced, cropped in step, kernels and errors in colours."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from metasr.errors import InputError, require_at_least
from metasr.io.images import from_uint8

ERROR_LIMIT = 32 / 255
"""The error that is drawn brightest by default: 32 levels of 255."""

_COLOURS = "magma"


def reduced(image: Tensor, longest: int) -> Tensor:
    """An image whose longer side is at most so long, by area averaging; a smaller one as it is.

    Args:
        image: ``(3, H, W)``, uint8, or floating point in [0, 1].
        longest: in pixels.

    Returns:
        The same kind of image, ``(3, h, w)``.
    """
    require_at_least(1, longest=longest)
    height, width = image.shape[-2:]
    factor = max(height, width) / longest
    if factor <= 1:
        return image
    size = (max(1, round(height / factor)), max(1, round(width / factor)))
    if image.dtype != torch.uint8:
        return torch.nn.functional.interpolate(image[None], size=size, mode="area")[0]
    small = torch.nn.functional.interpolate(image[None].float(), size=size, mode="area")[0]
    return small.round().to(torch.uint8)


def magnified(image: Tensor, centre: tuple[float, float], *, side: int, zoom: int) -> Tensor:
    """The square part of an image around a point, each pixel drawn as ``zoom``×``zoom`` pixels.

    Of images of one size, parts with the same centre and side show the same place.

    Args:
        image: ``(3, H, W)``.
        centre: down and across, shares of height and width from 0 to 1; the part stays within the image.
        side: of the part in pixels; the whole of a side that is shorter.
        zoom: at least 1.

    Returns:
        ``(3, h * zoom, w * zoom)``, ``h`` and ``w`` at most ``side``.
    """
    require_at_least(1, side=side, zoom=zoom)
    (top, high), (left, wide) = (_span(share, n, side) for share, n in zip(centre, image.shape[-2:], strict=True))
    part = image[..., top : top + high, left : left + wide]
    return part.repeat_interleave(zoom, -2).repeat_interleave(zoom, -1)


def moved(
    centre: tuple[float, float], point: tuple[float, float], size: tuple[int, int], *, side: int, zoom: int
) -> tuple[float, float]:
    """The centre that brings a point of a magnified part to its middle.

    Args:
        centre: that the part was made with.
        point: down and across, in pixels of the magnified part.
        size: height and width of the image that it is a part of.
        side: that the part was made with.
        zoom: that the part was made with.
    """
    down, across = (
        min(max((_span(share, n, side)[0] + (at + 0.5) / zoom) / n, 0.0), 1.0)
        for share, at, n in zip(centre, point, size, strict=True)
    )
    return down, across


def _span(share: float, length: int, side: int) -> tuple[int, int]:
    """Where a part of at most ``side`` begins, and how long it is."""
    kept = min(side, length)
    return round(min(max(share * length - kept / 2, 0), length - kept)), kept


def kernel_picture(kernel: Tensor, *, side: int = 210) -> Tensor:
    """A blur kernel in colours, dark for 0 and bright for its largest value; each tap is a square.

    Args:
        kernel: ``(kH, kW)``.
        side: about how long the longer side is to be in pixels.

    Returns:
        ``(3, h, w)`` in [0, 1].

    Raises:
        InputError: for another shape, or values that are not finite.
    """
    if kernel.ndim != 2 or kernel.numel() == 0 or not bool(torch.isfinite(kernel).all()):
        raise InputError(f"a kernel to draw must be finite and of shape (kH, kW), got {tuple(kernel.shape)}")
    taps = kernel.detach().float().cpu()
    zoom = max(1, side // max(taps.shape))
    drawn = taps.repeat_interleave(zoom, 0).repeat_interleave(zoom, 1)
    return _coloured(drawn / max(float(taps.max()), 1e-12))


def error_map(sr: Tensor, hr: Tensor, *, limit: float = ERROR_LIMIT) -> Tensor:
    """How far each pixel is from the truth, dark for no error, brightest from a limit on: the mean of the channels.

    Two maps with the same limit can be compared.

    Args:
        sr: ``(3, H, W)``, uint8, or floating point in [0, 1].
        hr: the truth, same shape.
        limit: the error that is brightest, above 0.

    Returns:
        ``(3, H, W)`` in [0, 1].

    Raises:
        InputError: if the shapes differ, or for a limit of 0 and below.
    """
    if sr.shape != hr.shape or sr.ndim != 3:
        raise InputError(f"sr and hr must both be (3, H, W), got {tuple(sr.shape)} and {tuple(hr.shape)}")
    if not limit > 0:
        raise InputError(f"limit must be above 0, got {limit}")
    a, b = (from_uint8(image) if image.dtype == torch.uint8 else image.float() for image in (sr, hr))
    return _coloured((a - b).abs().mean(0) / limit)


def _coloured(values: Tensor) -> Tensor:
    """``(3, H, W)`` of a map ``(H, W)``; what lies outside [0, 1] takes the colours of its ends."""
    from matplotlib import colormaps  # not pyplot, which is for one thread alone

    colours = colormaps[_COLOURS](values.clamp(0, 1).numpy())[..., :3]
    return torch.from_numpy(np.ascontiguousarray(colours, dtype=np.float32)).permute(2, 0, 1)
