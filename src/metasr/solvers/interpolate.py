"""Bicubic interpolation: the baseline of every table, in two forms."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
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
