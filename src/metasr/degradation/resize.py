"""Bicubic resizing that equals MATLAB's ``imresize``.

Cubic convolution with a = -0.5 (Keys, 1981), widened by the scale when shrinking (antialiasing), symmetric borders,
output size ``ceil(scale * input size)``. Pixel centres: output pixel ``o`` lies at input coordinate
``(o + 0.5) / scale - 0.5``.

Two ways to the same numbers, tested against each other. Where some symmetric padding of ``p`` pixels moves the output
by a whole number of pixels (``p * scale`` integer: every rational scale of small denominator), torch's own antialiased
bicubic kernel on the padded image is exact, and fastest. Without the padding it is off by up to 0.03 at the borders,
because it renormalises there instead of mirroring. For any other real scale, and for a shifted sampling grid, the taps
are gathered one by one.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from metasr.checks import check_scale
from metasr.errors import InputError

_A = -0.5
_SUPPORT = 2.0  # half-width of the cubic kernel at scale 1


def output_size(size: tuple[int, int], scale: float | tuple[float, float]) -> tuple[int, int]:
    """Size that ``imresize`` gives: ``ceil(scale * size)``, immune to the rounding of ``scale`` itself."""
    vertical, horizontal = scale if isinstance(scale, tuple) else (scale, scale)
    return math.ceil(size[0] * vertical - 1e-9), math.ceil(size[1] * horizontal - 1e-9)


def imresize(
    image: Tensor,
    scale: float | tuple[float, float] | None = None,
    *,
    size: tuple[int, int] | None = None,
    shift: float | tuple[float, float] = 0.0,
    antialias: bool = True,
) -> Tensor:
    """Resize a batch of images as MATLAB's ``imresize(image, scale, 'bicubic')``.

    Args:
        image: ``(..., H, W)``, float32 or float64, any range (values may overshoot it, as MATLAB's do in floating
            point).
        scale: factor above 0, for both axes or ``(vertical, horizontal)``; below 1 shrinks, with antialiasing.
        size: output ``(H, W)``; without ``scale`` the factors are ``size / input size``, with it only the extent of the
            sampled grid changes.
        shift: moves the sampling grid by this many *output* pixels, both axes or ``(down, right)``: output pixel ``o``
            is taken at ``(o + shift + 0.5) / scale - 0.5``. With ``shift = (scale - 1) / 2`` an image that was
            subsampled directly (pixels 0, s, 2s, ...) is put back where it came from.
        antialias: widen the kernel when shrinking, as MATLAB does by default; without it the image is interpolated at
            the sampling positions.

    Returns:
        The resized image, ``(..., ceil(scale * H), ceil(scale * W))`` or ``(..., *size)``. Differentiable.

    Raises:
        InputError: if neither or a non-positive scale or size is given, or the image is empty or not floating point.
    """
    if image.ndim < 2 or min(image.shape) == 0:
        raise InputError(f"image must have shape (..., H, W) and not be empty, got {tuple(image.shape)}")
    if not image.is_floating_point():
        raise InputError(f"image must be floating point, got {image.dtype}; convert with image.float() / 255")
    height, width = image.shape[-2:]
    if scale is None:
        if size is None:
            raise InputError("imresize needs a scale or a size, got neither")
        factors = (size[0] / height, size[1] / width)
    else:
        factors = (
            (float(scale), float(scale)) if isinstance(scale, (int, float)) else (float(scale[0]), float(scale[1]))
        )
    for factor in factors:
        check_scale(factor)
    if size is None:
        size = output_size((height, width), factors)
    if min(size) < 1:
        raise InputError(f"output size must be at least 1x1, got {size[0]}x{size[1]}")

    working = image.float() if image.dtype in (torch.float16, torch.bfloat16) else image
    pads = [_whole_pixel_padding(n, m, f) for n, m, f in zip((height, width), size, factors, strict=True)]
    down, right = (shift, shift) if isinstance(shift, (int, float)) else shift
    if antialias and down == right == 0 and pads[0] is not None and pads[1] is not None:
        result = _resize_padded(working, size, factors, (pads[0], pads[1]))
    else:
        result = _resize_axis(working, -2, size[0], factors[0], down, antialias=antialias)
        result = _resize_axis(result, -1, size[1], factors[1], right, antialias=antialias)
    return result.to(image.dtype)


def middle(image: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle of an image, as far as there is so much of it: ``(..., min(H, size[0]), min(W, size[1]))``.

    Args:
        image: ``(..., H, W)``.
        size: wanted height and width.
    """
    top, left = (max(0, (n - wanted) // 2) for n, wanted in zip(image.shape[-2:], size, strict=True))
    return image[..., top : top + size[0], left : left + size[1]]


def pad_symmetric(image: Tensor, padding: tuple[int, int, int, int]) -> Tensor:
    """Extend an image by mirroring it about its edges, the edge pixel repeated (``d c b a | a b c d | d c b a``).

    Args:
        image: ``(..., H, W)``.
        padding: ``(left, right, top, bottom)`` in pixels, of any size (the mirror image repeats).

    Returns:
        ``(..., H + top + bottom, W + left + right)``.
    """
    left, right, top, bottom = padding
    for axis, before, after in ((-2, top, bottom), (-1, left, right)):
        n = image.shape[axis]
        if before <= n and after <= n:  # one mirror suffices: flips are cheaper than a gather
            parts = [image]
            if before:
                parts.insert(0, image.narrow(axis, 0, before).flip(axis))
            if after:
                parts.append(image.narrow(axis, n - after, after).flip(axis))
            image = torch.cat(parts, axis) if len(parts) > 1 else image
        else:
            index = _mirror(torch.arange(-before, n + after), n)
            image = image.index_select(axis, index.to(image.device))
    return image


def _mirror(index: Tensor, n: int) -> Tensor:
    index = index.remainder(2 * n)
    return torch.where(index < n, index, 2 * n - 1 - index)


@lru_cache(maxsize=256)
def _whole_pixel_padding(n: int, m: int, scale: float) -> int | None:
    """Smallest padding beyond the kernel's reach that moves the output by whole pixels, if there is a small one."""
    support = _SUPPORT / min(scale, 1.0)
    last = (m - 0.5) / scale - 0.5 + support  # input coordinate of the last tap; beyond n where a larger size is asked
    reach = max(math.ceil(support) + 1, math.ceil(last) - n + 1)
    for p in range(reach, reach + 16):
        if abs(p * scale - round(p * scale)) < 1e-9 and round(p * scale) + m <= math.floor((n + 2 * p) * scale + 1e-9):
            return p
    return None


def _resize_padded(image: Tensor, size: tuple[int, int], factors: tuple[float, float], pads: tuple[int, int]) -> Tensor:
    batch = image.reshape(-1, 1, *image.shape[-2:]) if image.ndim != 4 else image
    padded = pad_symmetric(batch, (pads[1], pads[1], pads[0], pads[0]))
    whole = (
        math.floor(padded.shape[-2] * factors[0] + 1e-9),
        math.floor(padded.shape[-1] * factors[1] + 1e-9),
    )
    # The scale is handed over beside the size: torch would otherwise derive it from the two sizes, which differs
    # wherever `size * scale` is not whole.
    resized = torch.ops.aten._upsample_bicubic2d_aa(padded, whole, False, factors[0], factors[1])
    top, left = round(pads[0] * factors[0]), round(pads[1] * factors[1])
    cropped = resized[..., top : top + size[0], left : left + size[1]]
    return cropped.reshape(*image.shape[:-2], *size)


def _cubic(x: Tensor) -> Tensor:
    x = x.abs()
    inner = ((_A + 2) * x - (_A + 3)) * x * x + 1
    outer = ((_A * x - 5 * _A) * x + 8 * _A) * x - 4 * _A
    return torch.where(x <= 1, inner, torch.where(x < 2, outer, torch.zeros_like(x)))


def _resize_axis(image: Tensor, axis: int, m: int, scale: float, shift: float, *, antialias: bool) -> Tensor:
    n = image.shape[axis]
    if scale == 1.0 and m == n and shift == 0.0:
        return image
    shrink = min(scale, 1.0) if antialias else 1.0
    centre = (torch.arange(m, dtype=torch.float64) + shift + 0.5) / scale - 0.5  # (m,) input coordinates
    taps = math.ceil(2 * _SUPPORT / shrink) + 2
    index = torch.floor(centre - _SUPPORT / shrink).long()[:, None] + torch.arange(taps)  # (m, taps)
    weight = _cubic((centre[:, None] - index) * shrink) * shrink
    weight = weight / weight.sum(1, keepdim=True)
    used = weight.abs().amax(0) > 0
    index, weight = _mirror(index[:, used], n).to(image.device), weight[:, used].to(image)
    view = (-1, 1) if axis == -2 else (-1,)
    result = image.index_select(axis, index[:, 0]) * weight[:, 0].view(view)
    for t in range(1, index.shape[1]):  # tap by tap: the memory of one output, not of all taps
        result = result + image.index_select(axis, index[:, t]) * weight[:, t].view(view)
    return result
