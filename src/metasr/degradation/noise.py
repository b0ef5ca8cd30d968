"""Noise and 8-bit rounding."""

from __future__ import annotations

import torch
from torch import Tensor

from metasr.errors import InputError
from metasr.io.levels import Quantise, to_levels


def add_gaussian_noise(image: Tensor, std: float | Tensor, *, generator: torch.Generator) -> Tensor:
    """Add white Gaussian noise.

    Args:
        image: ``(B, C, H, W)`` in [0, 1].
        std: standard deviation on the [0, 1] scale, a number, ``(1,)`` or ``(B,)``; at least 0.
        generator: where the noise is drawn from, on its own device (a CPU generator gives the same noise everywhere).

    Returns:
        The noisy image, not clipped.
    """
    if not isinstance(std, Tensor) and std < 0:
        raise InputError(f"noise_std must be at least 0, got {std}")
    if isinstance(std, Tensor) and std.shape not in ((1,), image.shape[:1]):
        raise InputError(
            f"{len(std)} noise levels came for {len(image)} images; give one number, or one for each image"
        )
    noise = torch.randn(image.shape, generator=generator, device=generator.device, dtype=torch.float32).to(image)
    scale = std.to(image).view(-1, 1, 1, 1) if isinstance(std, Tensor) else std
    return image + scale * noise


def quantise_8bit(image: Tensor, mode: Quantise = "round") -> Tensor:
    """Clip to [0, 1] and keep only the 256 levels of an 8-bit file.

    Args:
        image: any shape, nominally in [0, 1].
        mode: ``round`` to the nearest level, or ``truncate`` to the one below (as a plain cast to uint8 does).

    Returns:
        Same shape and dtype; not differentiable.
    """
    return to_levels(image, mode=mode) / 255
