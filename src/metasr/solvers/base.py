"""What a solver is, and what it gives back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from metasr.checks import check_image, check_output_size, check_scale
from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError
from metasr.meta.inner_loop import Trace


class CutShort(Enum):
    """Who ended a solver before it would have ended itself."""

    INTERRUPTED = "interrupted"
    BUDGET = "budget_seconds"


@dataclass
class Solution:
    """One super-resolved image and how it came about.

    Attributes:
        sr: ``(1, 3, ceil(scale * H), ceil(scale * W))`` in [0, 1].
        kernel: the blur kernel used or estimated, ``(kH, kW)``, or none.
        trace: losses, rates and seconds per step.
        updates: gradient steps taken on this image.
        seconds: wall time from the LR image to ``sr``.
        stopped: why the solver took no further step, in a few words; empty where the number of steps was given.
        cut_short: who ended it before the solver would have; none where nobody did.
        assumed: what a blind solver took blur and noise to be; empty where they were given.
        chosen: what a solver that chooses among others saw and chose; empty where there was no choice.
        weights: the weights that it chose; empty where there was no choice.
        direct: whether ``kernel`` stands before direct subsampling, whatever the degradation's own is: blur and
            resizing in one (see ``degradation.direct_kernel.direct_kernel``).
    """

    sr: Tensor
    kernel: Tensor | None = None
    trace: Trace = field(default_factory=Trace)
    updates: int = 0
    seconds: float = 0.0
    stopped: str = ""
    cut_short: CutShort | None = None
    assumed: str = ""
    chosen: str = ""
    weights: str = ""
    direct: bool = False


@runtime_checkable
class Solver(Protocol):
    """Makes an image from ONE low-resolution image. It never changes the weights it was given."""

    def solve(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0) -> Solution:
        """Super-resolve.

        Args:
            lr: ``(1, 3, H, W)`` in [0, 1].
            scale: factor between LR and SR.
            degradation: how the LR came about, if known; bicubic downsampling is assumed otherwise.
            seed: of every random draw made on the way.
        """
        ...


@runtime_checkable
class SnapshotSolver(Solver, Protocol):
    """A solver that improves step by step and can show its result after several numbers of steps in one go."""

    def snapshots(
        self,
        lr: Tensor,
        *,
        scale: float,
        updates: Sequence[int],
        degradation: Degradation | None = None,
        seed: int = 0,
    ) -> dict[int, Solution]:
        """Super-resolve, once for each number of updates asked for (see ``Solver.solve``)."""
        ...


def check_problem(lr: Tensor, scale: float, degradation: Degradation | None) -> Degradation:
    """Check a solver's arguments and fill in the degradation.

    Returns:
        The degradation, bicubic downsampling where none was given.

    Raises:
        InputError: if ``lr`` is not ``(1, 3, H, W)`` and finite, the degradation is for another scale, or the result
            would be larger than memory.
    """
    check_image(lr, name="lr")
    if lr.shape[0] != 1 or lr.shape[1] != 3:
        raise InputError(f"a solver takes one RGB image of shape (1, 3, H, W), got {tuple(lr.shape)}")
    check_scale(scale)
    check_output_size(lr.shape[-2], lr.shape[-1], scale)
    if degradation is None:
        return Degradation(scale=scale, downsample="bicubic", name="bicubic")
    if abs(degradation.scale - scale) > 1e-9:
        raise InputError(f"the degradation is for scale {degradation.scale:g}, but scale {scale:g} was asked for")
    return degradation


def check_updates(updates: Sequence[int]) -> list[int]:
    """The numbers of steps that snapshots are asked for, in order, each once.

    Raises:
        InputError: if there are none, or one is below 0.
    """
    wanted = sorted(set(updates))
    if not wanted or wanted[0] < 0:
        raise InputError(f"updates must name at least one number of steps, all at least 0, got {list(updates)}")
    return wanted


def clock(device: torch.device) -> float:
    """Seconds on a steady clock, once the device has done all it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
