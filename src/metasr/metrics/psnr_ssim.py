"""PSNR and SSIM by torchmetrics, set up as the field's MATLAB scripts compute them.

torchmetrics is imported where it is called: with scipy and matplotlib behind it, that takes as long as torch itself,
and enlarging a photo needs none of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metasr.errors import InputError
from metasr.io.levels import to_levels

_WINDOW = 11
_STRIP_PIXELS = 2**18


def psnr(image: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, peak 255, one per image.

    Args:
        image: ``(B, C, H, W)`` on the 0-255 scale.
        reference: same shape.

    Returns:
        ``(B,)`` float64; infinite for equal images.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    _require_same_shape(image, reference)
    return peak_signal_noise_ratio(
        image.double(), reference.double(), data_range=255.0, dim=(1, 2, 3), reduction="none"
    ).reshape(-1)


def ssim(image: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity (Wang et al., 2004), 11×11 Gaussian window of σ 1.5, valid region only, one per image.

    What had to be set in torchmetrics: ``sigma=1.5`` (from which it derives the 11×11 window), ``data_range=255``,
    float64 (variances as differences of means of squares lose digits in float32), and the border. It pads by reflection
    and averages over the *whole* map, which on BSD100 reads up to 0.002 higher than MATLAB's ``filter2(..., 'valid')``:
    so the full map is asked for and its outer 5 pixels are cut. Large images are measured in strips, since a float64
    convolution takes a kilobyte of memory a pixel.

    Args:
        image: ``(B, C, H, W)`` on the 0-255 scale, at least 11×11.
        reference: same shape.

    Returns:
        ``(B,)`` float64.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    _require_same_shape(image, reference)
    height, width = image.shape[-2:]
    if min(height, width) < _WINDOW:
        raise InputError(f"SSIM's window needs at least 11x11 pixels, got {height}x{width}")
    border = _WINDOW // 2
    valid = height - 2 * border
    strip = max(1, _STRIP_PIXELS // width)
    total = torch.zeros(image.shape[0], dtype=torch.float64, device=image.device)
    for top in range(0, valid, strip):
        rows = slice(top, min(top + strip, valid) + 2 * border)
        _, similarity = structural_similarity_index_measure(
            image[..., rows, :].double(),
            reference[..., rows, :].double(),
            sigma=1.5,
            data_range=255.0,
            reduction="none",
            return_full_image=True,
        )
        total += similarity[..., border:-border, border:-border].sum((1, 2, 3))
    return total / (image.shape[1] * valid * (width - 2 * border))


def _require_same_shape(image: Tensor, reference: Tensor) -> None:
    if image.shape != reference.shape or image.ndim != 4:
        raise InputError(
            "image and reference must both be (B, C, H, W) of one shape, "
            f"got {tuple(image.shape)} and {tuple(reference.shape)}"
        )


def to_8bit_levels(image: Tensor) -> Tensor:
    """The 0-255 levels an 8-bit file would hold of an image in [0, 1], as floats."""
    return to_levels(image)
