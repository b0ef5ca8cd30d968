"""The data step as a solver: what a known degradation gives without any learning."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from metasr.degradation.data_step import prepare
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.errors import require_at_least
from metasr.solvers.base import Solution, check_problem, clock

ROUNDING = 0.5 / 255  # what an LR value is off by at least: 8-bit rounding, and a model that is not exact
GUESS_ERROR = 0.02  # standard deviation of the aligned bicubic image's error


class DataStepSolver:
    """The aligned bicubic image, then data steps from it, each from the last one's result.

    One step is the most probable image where the guess's error is white; further ones trust the guess less. The weight
    of the guess is the noise's variance over that of its error.

    Args:
        rounds: of data steps, at least 1.

    Raises:
        InputError: for fewer rounds.
    """

    uses_kernel: ClassVar[bool] = True

    def __init__(self, *, rounds: int = 3) -> None:
        require_at_least(1, rounds=rounds)
        self.rounds = rounds

    @torch.no_grad()
    def solve(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0) -> Solution:
        """See ``solvers.base.Solver.solve``."""
        degradation = check_problem(lr, scale, degradation)
        start = clock(lr.device)
        sr = imresize(lr / degradation.gain, scale, shift=degradation.shift)
        mu = (degradation.noise_level**2 + ROUNDING**2) / GUESS_ERROR**2
        step = prepare(lr, degradation)
        for _ in range(self.rounds):
            sr = step(sr, mu)
        return Solution(sr=sr.clamp(0, 1), kernel=degradation.kernel, seconds=clock(lr.device) - start)
