"""Blind super-resolution: blur and noise are estimated from the LR image, then any solver works with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from metasr.degradation.jpeg import jpegs_of
from metasr.degradation.pipeline import Degradation, Downsample
from metasr.errors import InputError
from metasr.io.jpeg import Jpeg
from metasr.solvers.base import SnapshotSolver, Solution, Solver, check_problem
from metasr.solvers.progress import part

_ESTIMATING = 0.1  # the share of the work that an estimate is taken for, where progress is told


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What an LR image is taken to have come about by.

    Attributes:
        degradation: for the solver that comes next; its name, where it has one, reads back as the same degradation.
        noise_std: of the image, on the [0, 1] scale; 0 where no noise was seen.
        seconds: wall time of the estimate.
        told: what was found, or why nothing was, in one line.
        fallback: whether plain subsampling is assumed because no blur was found, or none could be.
    """

    degradation: Degradation
    noise_std: float
    seconds: float
    told: str
    fallback: bool

    @property
    def kernel(self) -> Tensor | None:
        """The blur kernel, ``(k, k)`` at HR scale, sum 1; none for no blur."""
        return self.degradation.kernel


class Estimator(Protocol):
    """Tells from an LR image alone how it came about."""

    def estimate(
        self,
        lr: Tensor,
        *,
        scale: float,
        downsample: Downsample = "bicubic",
        jpeg: Jpeg | None = None,
        seed: int = 0,
    ) -> Estimate:
        """Estimate.

        Args:
            lr: ``(1, 3, H, W)`` in [0, 1].
            scale: factor between HR and LR.
            downsample: the grid that the image was sampled on after the blur. It cannot be seen in the image: directly
                subsampled pixels and a slightly blurred, bicubically resized picture that lies (s - 1)/2 HR pixels
                elsewhere are the same pixels.
            jpeg: how the image was compressed, if it was.
            seed: of every random draw made on the way.
        """
        ...


class BlindSolver:
    """A solver that is told no kernel: it estimates blur and noise, then solves with them.

    Of the degradation that it is given, only what is no property of the blur is used: scale, sampling grid, padding,
    gain, rounding and compression. Kernel and noise are not looked at.

    Args:
        inner: solves once the degradation is known; it must make use of a kernel.
        estimator: gives the degradation.
        use_noise: hand the estimated noise on; otherwise the image is taken to be clean.

    Raises:
        InputError: for a solver that takes no kernel.
    """

    def __init__(self, inner: Solver, estimator: Estimator, *, use_noise: bool = True) -> None:
        if not takes_kernel(inner):
            raise InputError(
                f"an estimated kernel is of no use to {type(inner).__name__}, which takes none or finds its own; use "
                "solver=adapt or solver=zssr, or kernel=bicubic"
            )
        self.inner = inner
        self.estimator = estimator
        self.use_noise = use_noise

    def solve(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0) -> Solution:
        """See ``solvers.base.Solver.solve``; ``assumed`` of the solution tells the estimate."""
        with part(0, _ESTIMATING):
            estimate = self.estimate(lr, scale=scale, degradation=degradation, seed=seed)
        with part(_ESTIMATING, 1):
            solution = self.inner.solve(lr, scale=scale, degradation=estimate.degradation, seed=seed)
        return _told(solution, estimate)

    def estimate(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0) -> Estimate:
        """The estimate that ``solve`` goes by.

        Raises:
            InputError: for a malformed image, or one that is partly covered: the edge of a mask is no blurred edge.
        """
        problem = check_problem(lr, scale, degradation)
        if problem.mask is not None:
            raise InputError("the kernel of a partly covered image cannot be estimated; name the kernel, or crop it")
        (jpeg,) = jpegs_of(problem.jpeg, 1)
        estimate = self.estimator.estimate(
            lr / problem.gain, scale=scale, downsample=problem.downsample, jpeg=jpeg, seed=seed
        )
        noise_std = estimate.noise_std * problem.gain if self.use_noise else 0.0
        known = replace(
            estimate.degradation,
            padding=problem.padding,
            gain=problem.gain,
            quantise=problem.quantise,
            jpeg=problem.jpeg,
            noise_std=noise_std,
            name=estimate.degradation.name if noise_std == estimate.degradation.noise_std else "",
        )
        return replace(estimate, degradation=known)


class BlindSnapshotSolver(BlindSolver):
    """The same around a solver that shows its results on the way."""

    inner: SnapshotSolver

    def snapshots(
        self,
        lr: Tensor,
        *,
        scale: float,
        updates: Sequence[int],
        degradation: Degradation | None = None,
        seed: int = 0,
    ) -> dict[int, Solution]:
        """See ``solvers.base.SnapshotSolver.snapshots``; one estimate for all of them."""
        with part(0, _ESTIMATING):
            estimate = self.estimate(lr, scale=scale, degradation=degradation, seed=seed)
        with part(_ESTIMATING, 1):
            solved = self.inner.snapshots(lr, scale=scale, updates=updates, degradation=estimate.degradation, seed=seed)
        return {n: _told(solution, estimate) for n, solution in solved.items()}


def blind(inner: Solver, estimator: Estimator, *, use_noise: bool = True) -> BlindSolver:
    """A ``BlindSolver`` around another solver, with snapshots where that one has them."""
    kind = BlindSnapshotSolver if isinstance(inner, SnapshotSolver) else BlindSolver
    return kind(inner, estimator, use_noise=use_noise)


def takes_kernel(solver: Solver) -> bool:
    """Whether a solver makes use of a degradation's kernel: its class says ``uses_kernel = True``."""
    return bool(getattr(solver, "uses_kernel", False))


def finds_kernel(solver: object) -> bool:
    """Whether a solver, or a class of solvers, finds the kernel itself: it says ``finds_kernel = True``."""
    return bool(getattr(solver, "finds_kernel", False))


def assume(plain: Degradation, reason: str, *, seconds: float) -> Estimate:
    """The estimate of an image that nothing can be seen in: plain subsampling, without noise.

    Args:
        plain: the subsampling.
        reason: why nothing is seen, in a few words.
        seconds: that it took to find out.
    """
    summary = f"{reason}: {plain} assumed"
    return Estimate(degradation=plain, noise_std=0.0, seconds=seconds, fallback=True, told=summary)


def _told(solution: Solution, estimate: Estimate) -> Solution:
    return replace(
        solution,
        kernel=estimate.kernel,
        direct=estimate.degradation.downsample == "direct",
        seconds=solution.seconds + estimate.seconds,
        assumed=estimate.told,
    )
