"""Blur and resizing in one: the kernel that says the same before direct subsampling."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError


def direct_kernel(degradation: Degradation, *, size: int) -> Tensor | None:
    """The K with ``linear(x) = gain · (x correlated with K)[::s, ::s]`` away from the border.

    A blur before bicubic or area resizing and a kernel learned before direct subsampling are unlike things: the latter
    holds the resizing's own filter too, and lies (s - 1)/2 HR pixels below and to the right of its middle. This is the
    former told as the latter, so that the two can be compared. It is read off the answers to s² single pixels.

    Args:
        degradation: with one kernel, or none.
        size: odd side; taps beyond it are cut off, without being normalised again.

    Returns:
        ``(size, size)`` float64 on the CPU; none where the scale is not whole, or each image has a kernel of its own.

    Raises:
        InputError: for an even size.
    """
    if size < 1 or size % 2 == 0:
        raise InputError(f"kernels have an odd side, got {size}")
    scale, kernel = int(degradation.scale), degradation.kernel
    if degradation.scale != scale or (kernel is not None and kernel.ndim != 2):
        return None
    reach = 0 if kernel is None else max(kernel.shape) // 2
    n = math.ceil((size // 2 + reach) / scale) + 4  # LR pixels each side; bicubic resizing looks at two
    pixels = torch.zeros(scale**2, 1, scale * (2 * n + 1), scale * (2 * n + 1), dtype=torch.float64)
    for index in range(scale**2):
        pixels[index, 0, scale * n + index // scale, scale * n + index % scale] = 1
    own = None if kernel is None else kernel.detach().double().cpu()
    with torch.no_grad():
        answers = replace(degradation, kernel=own, gain=1.0).linear(pixels)  # (s², 1, 2n + 1, 2n + 1)
    # pixel s·n + a answers at LR pixel i with the tap s (n - i) + a
    taps = F.pixel_shuffle(answers.transpose(0, 1).flip(-2, -1), scale)[0, 0]
    first = scale * n - size // 2
    return taps[first : first + size, first : first + size].clone()
