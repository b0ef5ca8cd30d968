"""Blur: correlation with a kernel, border chosen by name."""

from __future__ import annotations

from typing import Literal

from kornia.filters import filter2d
from torch import Tensor

from metasr.checks import check_image, check_kernel
from metasr.degradation.resize import pad_symmetric
from metasr.errors import InputError, require_one_of

Padding = Literal["symmetric", "reflect", "replicate", "circular", "constant"]


def blur(image: Tensor, kernel: Tensor, *, padding: Padding = "symmetric") -> Tensor:
    """Correlate each channel of each image with a kernel (no flip), keeping the size.

    Args:
        image: ``(B, C, H, W)``.
        kernel: ``(kH, kW)`` for all images or ``(B, kH, kW)`` one each; odd sides, sum 1.
        padding: how the image goes on beyond its border; ``symmetric`` mirrors it with the edge pixel repeated.

    Returns:
        ``(B, C, H, W)``, differentiable in image and kernel.

    Raises:
        InputError: for a malformed kernel, a kernel batch of another size than the images', an unknown padding, or an
            image smaller than the kernel.
    """
    kernel = check_kernel(kernel)
    require_one_of(padding, Padding, name="padding")
    if image.ndim != 4:
        check_image(image)
    height, width = image.shape[-2:]
    k_height, k_width = kernel.shape[-2:]
    if height < k_height or width < k_width:
        raise InputError(
            f"image of {height}x{width} is smaller than the {k_height}x{k_width} kernel; the image must be at least "
            f"{k_height}x{k_width}"
        )
    batch = kernel[None] if kernel.ndim == 2 else kernel  # (1 or B, kH, kW)
    if batch.shape[0] not in (1, image.shape[0]):
        raise InputError(f"{batch.shape[0]} kernels came for {image.shape[0]} images; give one, or one for each image")
    batch = batch.to(image)
    if padding == "symmetric":  # kornia has no such border: mirror first, then filter the valid region
        rows, columns = k_height // 2, k_width // 2
        image = pad_symmetric(image, (columns, columns, rows, rows))
        return filter2d(image, batch, padding="valid")
    return filter2d(image, batch, border_type=padding, padding="same")
