"""Iterative back-projection from the aligned bicubic image: what a known kernel gives without any learning."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.errors import require_at_least
from metasr.solvers.base import Solution, check_problem, clock
from metasr.solvers.ensemble import back_project


class BackProjectSolver:
    """Bicubic enlargement, then SR += bicubic↑(LR - degrade(SR)), some rounds (Irani and Peleg, 1991).

    Args:
        rounds: of back-projection; more sharpen more, and amplify noise.

    Raises:
        InputError: for a negative number of rounds.
    """

    uses_kernel: ClassVar[bool] = True

    def __init__(self, *, rounds: int = 10) -> None:
        require_at_least(0, rounds=rounds)
        self.rounds = rounds

    @torch.no_grad()
    def solve(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0) -> Solution:
        """See ``solvers.base.Solver.solve``."""
        degradation = check_problem(lr, scale, degradation)
        start = clock(lr.device)
        sr = imresize(lr, scale, shift=degradation.shift)
        sr = back_project(sr, lr, degradation, rounds=self.rounds).clamp(0, 1)
        return Solution(sr=sr, kernel=degradation.kernel, seconds=clock(lr.device) - start)
