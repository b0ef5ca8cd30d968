"""The teacher as a solver: for measurement alone, since it looks at the HR image it is to make."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from metasr.checks import check_image
from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError
from metasr.meta.inner_loop import Trace
from metasr.models.teacher import TeacherOracle
from metasr.solvers.base import Solution, Solver, check_problem, clock
from metasr.solvers.tiles import apply_scaling, check_tiling, check_trained, overlap_of

ORACLE = "oracle"
"""What the name of every solver that looks at the HR image ends in, wherever its numbers stand."""


@runtime_checkable
class OracleMaker(Protocol):
    """Makes a solver for one image, of which it is shown the HR image: no solver itself, since it needs more."""

    def for_image(self, hr: Tensor) -> Solver:
        """The solver of the LR images that come of this HR image.

        Args:
            hr: ``(1, 3, H, W)`` in [0, 1], the sides multiples of the scale.
        """
        ...


class OracleSolver:
    """Enlarges the LR versions of one HR image, which it looks at: an upper reference, never a result.

    The teacher's vector is made of the whole pair (with MRDA an MLN takes SGD steps on it first); the body then works
    in tiles. The weights are never changed.

    Args:
        network: a teacher.
        hr: ``(1, 3, H, W)``, what the solver is to come close to.
        tile: largest side in LR pixels of the parts that the body works in; none for the whole image at once.
    """

    def __init__(self, network: TeacherOracle, hr: Tensor, *, tile: int | None = 256) -> None:
        check_image(hr, name="hr")
        check_tiling(tile)
        self.network = network
        self.hr = hr
        self.tile = tile

    def solve(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0) -> Solution:
        """See ``solvers.base.Solver.solve``; the trace is that of the MLN's steps.

        Raises:
            InputError: if the LR image cannot be one of the HR image's, or the teacher is for another scale.
        """
        degradation = check_problem(lr, scale, degradation)
        network = self.network
        check_trained(network.scale, scale)
        if tuple(n * scale for n in lr.shape[-2:]) != tuple(self.hr.shape[-2:]):
            raise InputError(
                f"the oracle was made for an HR image of {self.hr.shape[-2]}x{self.hr.shape[-1]}, but LR of "
                f"{lr.shape[-2]}x{lr.shape[-1]} at scale {scale:g} is not one of its LR images; make one per image"
            )
        start = clock(lr.device)
        network.eval()
        trace = Trace()
        with torch.no_grad():
            vector = network.vector(lr, self.hr.to(lr), trace=trace)
            sr = apply_scaling(
                lambda piece: network.body(piece, vector), lr, scale=scale, tile=self.tile,
                overlap=overlap_of(network.body),
            )  # fmt: skip
        return Solution(
            sr=sr.clamp(0, 1), kernel=degradation.kernel, trace=trace, updates=len(trace.losses),
            seconds=clock(lr.device) - start,
        )  # fmt: skip


class Oracle:
    """Makes an ``OracleSolver`` for each image of an evaluation.

    Args:
        network: a teacher.
        tile: see ``OracleSolver``.
    """

    def __init__(self, network: TeacherOracle, *, tile: int | None = 256) -> None:
        check_tiling(tile)
        self.network = network
        self.tile = tile

    def for_image(self, hr: Tensor) -> OracleSolver:
        """See ``OracleMaker.for_image``."""
        return OracleSolver(self.network, hr, tile=self.tile)
