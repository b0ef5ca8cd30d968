"""A solver at the scale that its weights were made for, and from there to the one that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize, output_size
from metasr.errors import InputError
from metasr.solvers.base import Solution, Solver, check_problem, clock
from metasr.solvers.blind.base import finds_kernel, takes_kernel


class OwnScaleSolver:
    """Enlarges by a scale that the solver inside knows, then resizes bicubically: a larger one is made smaller.

    For photos of which nothing is known but that they were made small: a kernel belongs to its scale, and with one the
    solver inside is run at the scale asked for, come what may. MZSR's weights for ×2 with ten updates gain 2.1 dB at
    ×1.5 and 1.2 dB at ×3 and ×4 by it over being run at that scale, which they never saw (``benchmarks/scales.py``, six
    images of BSDS500).

    Args:
        inner: the solver.
        scales: those that it knows, each above 1.

    Raises:
        InputError: without any scale.
    """

    def __init__(self, inner: Solver, *, scales: Sequence[float]) -> None:
        if not scales or min(scales) <= 1:
            raise InputError(f"a solver's own scales must be some above 1, got {list(scales)}")
        self.inner = inner
        self.scales = tuple(sorted(scales))

    @property
    def uses_kernel(self) -> bool:
        """Whether the solver inside makes use of a kernel."""
        return takes_kernel(self.inner)

    @property
    def finds_kernel(self) -> bool:
        """Whether the solver inside finds the kernel itself."""
        return finds_kernel(self.inner)

    def solve(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0) -> Solution:
        """See ``solvers.base.Solver.solve``."""
        problem = check_problem(lr, scale, degradation)
        own = own_scale(scale, self.scales)
        if own == scale or not is_plain(problem):
            return self.inner.solve(lr, scale=scale, degradation=problem, seed=seed)
        start = clock(lr.device)
        at_own = replace(problem, scale=own, name="")
        solution = self.inner.solve(lr, scale=own, degradation=at_own, seed=seed)
        size = output_size((lr.shape[-2], lr.shape[-1]), scale)
        with torch.no_grad():
            sr = imresize(solution.sr, scale / own, size=size).clamp(0, 1)
        return replace(solution, sr=sr, seconds=clock(lr.device) - start)


def own_scale(scale: float, known: Sequence[float]) -> float:
    """The least of some known scales that is not below the one asked for, or the largest of them."""
    return min((s for s in known if s >= scale - 1e-9), default=max(known))


def is_plain(degradation: Degradation) -> bool:
    """Whether a degradation means the same at any scale: bicubic subsampling of a whole image, by no further blur."""
    return degradation.kernel is None and degradation.downsample == "bicubic" and degradation.mask is None
