"""A solver with its weights, for images in memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metasr.checks import check_image
from metasr.degradation import names
from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError
from metasr.solvers.base import SnapshotSolver, Solution, Solver
from metasr.solvers.progress import Listener, listening, part


class LoadedSolver:
    """A solver with its weights, for images in memory; ``load`` makes it.

    It is a ``solvers.base.Solver`` itself. The weights are never changed: adaptation works on a clone.

    Attributes:
        solver: the solver behind it.
        name: its name in tables.
        weights: its weights' name; ``-`` for none.
        scale: the factor that it enlarges by where none is given.
        degradation: what images are taken to have come about by where nothing is given.
        device: where it works.
    """

    def __init__(
        self, solver: Solver, *, name: str, weights: str, degradation: Degradation, device: torch.device
    ) -> None:
        self.solver = solver
        self.name = name
        self.weights = weights
        self.scale = degradation.scale
        self.degradation = degradation
        self.device = device

    def __repr__(self) -> str:
        return f"<solver {self.name}, weights {self.weights}, x{self.scale:g}, {self.degradation} by default>"

    def __call__(
        self,
        lr: Tensor,
        *,
        degradation: str | Degradation | None = None,
        scale: float | None = None,
        seed: int = 0,
        progress: Listener | None = None,
    ) -> Tensor:
        """Enlarge images.

        Args:
            lr: ``(3, H, W)``, or ``(B, 3, H, W)`` to be done one after the other; RGB in [0, 1].
            degradation: how they came about, an object or a short name (``g2.0d``).
            scale: the factor.
            seed: of the random draws.
            progress: told how far the work has got (see ``upscale``).

        Returns:
            ``(3, ceil(scale * H), ceil(scale * W))``, or a batch of that, on the CPU, in [0, 1].

        Raises:
            InputError: for images of another shape or range, or a degradation that does not fit.
        """
        batch = lr[None] if isinstance(lr, Tensor) and lr.ndim == 3 else lr
        check_batch(batch, name="lr")
        known = self._problem(degradation, scale)
        solved = []
        with listening(progress):
            for i, image in enumerate(batch):
                with part(i / len(batch), (i + 1) / len(batch)):
                    solution = self.solve(image[None], scale=known.scale, degradation=known, seed=seed)
                solved.append(solution.sr.detach().cpu())
        return torch.cat(solved) if lr.ndim == 4 else solved[0][0]

    def solve(
        self,
        lr: Tensor,
        *,
        scale: float | None = None,
        degradation: str | Degradation | None = None,
        seed: int = 0,
        progress: Listener | None = None,
    ) -> Solution:
        """Enlarge one image, ``(1, 3, H, W)``; the solution tells kernel, losses and seconds too."""
        known = self._problem(degradation, scale)
        with listening(progress):
            return self.solver.solve(lr.to(self.device), scale=known.scale, degradation=known, seed=seed)

    def snapshots(
        self,
        lr: Tensor,
        *,
        updates: Sequence[int],
        scale: float | None = None,
        degradation: str | Degradation | None = None,
        seed: int = 0,
        progress: Listener | None = None,
    ) -> dict[int, Solution]:
        """Enlarge one image, ``(1, 3, H, W)``, once for each of several numbers of updates, in one adaptation.

        Raises:
            InputError: for a solver without snapshots.
        """
        if not isinstance(self.solver, SnapshotSolver):
            raise InputError(f"solver {self.name} shows no results on its way; take solve, or the solver adapt")
        known = self._problem(degradation, scale)
        with listening(progress):
            return self.solver.snapshots(
                lr.to(self.device), scale=known.scale, updates=updates, degradation=known, seed=seed
            )

    def _problem(self, degradation: str | Degradation | None, scale: float | None) -> Degradation:
        if isinstance(degradation, Degradation):
            require_scale(degradation, scale)
            return degradation
        name = str(self.degradation) if degradation is None else degradation
        return names.parse(name, scale=self.scale if scale is None else scale)


def check_batch(images: Tensor, *, name: str) -> None:
    """Require a batch of images in [0, 1]; bicubic overshoot of a quarter is let through, bytes as floats are not."""
    check_image(images, name=name)
    low, high = float(images.min()), float(images.max())
    if low < -0.25 or high > 1.25:
        raise InputError(f"{name} must lie in [0, 1], got {low:.3g} to {high:.3g}; divide 8-bit values by 255")


def require_scale(degradation: Degradation, scale: float | None) -> None:
    """Require that a scale, where one is given too, is the degradation's."""
    if scale is not None and scale != degradation.scale:
        raise InputError(f"the degradation is for scale {degradation.scale:g}, but scale {scale:g} was asked for")
