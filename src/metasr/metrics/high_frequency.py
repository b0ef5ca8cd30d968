"""The error that is left in the frequencies an LR image cannot hold."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from metasr.errors import InputError


def filter_radius(scale: float) -> int:
    """How many pixels the filter reaches, and so how many go at each border."""
    return math.ceil(3 * scale / 2)


def high_frequency_error(image: Tensor, reference: Tensor, *, scale: float) -> Tensor:
    """Root mean square of the high-pass filtered difference, one per image; lower is better.

    The filter is the identity less a Gaussian of σ = ``scale``/2 pixels (cut at 3σ, sum 1). It passes half the
    amplitude at 2.35/``scale`` radians per pixel, a little below the LR grid's Nyquist frequency π/``scale``, and more
    above. Only pixels whose whole window lies inside the image count. Given the Y levels that
    ``metrics.protocol.LumaProtocol.luma`` makes, rounding and shaving are those of PSNR and SSIM.

    Args:
        image: ``(B, C, H, W)`` on the 0-255 scale.
        reference: same shape.
        scale: the factor between HR and LR.

    Returns:
        ``(B,)`` float64, in levels.

    Raises:
        InputError: if the shapes differ, the scale is not above 0, or the image is smaller than the filter.
    """
    if image.shape != reference.shape or image.ndim != 4:
        raise InputError(
            "image and reference must both be (B, C, H, W) of one shape, "
            f"got {tuple(image.shape)} and {tuple(reference.shape)}"
        )
    if not (math.isfinite(scale) and scale > 0):
        raise InputError(f"scale must be a finite number above 0, got {scale!r}")
    sigma = scale / 2
    radius = filter_radius(scale)
    if min(image.shape[-2:]) <= 2 * radius:
        raise InputError(
            f"the high-frequency error at scale {scale:g} needs more than {2 * radius}x{2 * radius} pixels, got "
            f"{image.shape[-2]}x{image.shape[-1]}"
        )
    channels = image.shape[1]
    difference = image.double() - reference.double()
    taps = torch.arange(-radius, radius + 1, dtype=torch.float64, device=image.device)
    row = torch.exp(-0.5 * (taps / sigma) ** 2)
    row = row / row.sum()
    low = F.conv2d(difference, row.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    low = F.conv2d(low, row.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)  # (B, C, H - 2r, W - 2r)
    high = difference[..., radius:-radius, radius:-radius] - low
    return high.square().mean((1, 2, 3)).sqrt()
