"""Interpolation: bicubic, the baseline of every table, in two forms; and Lanczos, as image programs enlarge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize, output_size, pad_symmetric
from metasr.solvers.base import Solution, check_problem, clock


@dataclass(frozen=True, kw_only=True)
class InterpolateSolver:
    """Bicubic interpolation, MATLAB's imresize.

    Attributes:
        aligned: put the image back where it came from. Direct subsampling keeps pixels 0, s, 2s, ..., so plain bicubic
            enlargement (as published tables have it) shows it (s - 1)/2 pixels too far to the lower right, which costs
            it up to 3.6 dB that have nothing to do with resolution.
    """

    aligned: bool = False

    def solve(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0) -> Solution:
        """See ``solvers.base.Solver.solve``."""
        degradation = check_problem(lr, scale, degradation)
        start = clock(lr.device)
        sr = imresize(lr, scale, shift=degradation.shift if self.aligned else 0.0).clamp(0, 1)
        return Solution(sr=sr, kernel=None, seconds=clock(lr.device) - start)


class LanczosSolver:
    """Interpolation with Lanczos' window of three lobes: the sharpest that image programs offer without a network."""

    def solve(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0) -> Solution:
        """See ``solvers.base.Solver.solve``; the image is put back where its degradation took it from."""
        degradation = check_problem(lr, scale, degradation)
        start = clock(lr.device)
        sr = lanczos(lr, scale, shift=degradation.shift).clamp(0, 1)
        return Solution(sr=sr, kernel=None, seconds=clock(lr.device) - start)


def lanczos(image: Tensor, scale: float, *, shift: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """Enlarge by Pillow's Lanczos filter in float32, borders mirrored; grid, size and ``shift`` as of ``imresize``.

    Args:
        image: ``(B, C, H, W)``.
        scale: above 0.
        shift: (down, right), in output pixels.
    """
    height, width = image.shape[-2:]
    high, wide = output_size((height, width), scale)
    offsets = [s / scale for s in shift]
    spare = 4 + int(max(abs(offset) for offset in offsets))  # beyond the window's three lobes
    padded = pad_symmetric(image.detach().float(), (spare, spare, spare, spare)).cpu().numpy()
    top, left = (spare + offset for offset in offsets)
    box = (left, top, left + wide / scale, top + high / scale)
    planes = [
        [np.asarray(Image.fromarray(plane).resize((wide, high), Image.Resampling.LANCZOS, box=box)) for plane in one]
        for one in padded
    ]
    return torch.from_numpy(np.array(planes)).to(image)
