"""``kernel=estimate``: an upscaling job's kernel is estimated from each photo, and written beside it on wish."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from torch import Tensor

from metasr.config import build
from metasr.degradation import names
from metasr.degradation.pipeline import Degradation, Downsample
from metasr.errors import InputError
from metasr.io.files import write_bytes
from metasr.solvers.base import Solver
from metasr.solvers.blind.base import BlindSolver, blind, finds_kernel, takes_kernel

log = logging.getLogger(__name__)

ESTIMATE: dict[str, Downsample] = {"estimate": "bicubic", "estimate_b": "bicubic", "estimate_d": "direct"}
"""What ``kernel=`` may be for an estimate, and the sampling grid that each assumes: it cannot be seen in an image."""


def is_estimated(cfg: DictConfig) -> bool:
    """Whether a job's kernel is to be estimated."""
    return cfg.kernel in ESTIMATE or bool(cfg.solver.get("blind", False))


def problem_of(cfg: DictConfig) -> Degradation:
    """The degradation that a job names; without kernel and noise where they are to be estimated.

    Raises:
        InputError: for an unknown name, or a kernel given to a solver that is to estimate it.
    """
    if cfg.kernel in ESTIMATE:
        return names.parse(ESTIMATE[cfg.kernel], scale=cfg.scale)
    given = names.parse(cfg.kernel, scale=cfg.scale)
    if is_estimated(cfg) and (given.kernel is not None or given.noisy):
        raise InputError(
            f"kernel={cfg.kernel}: solver {cfg.solver.name} estimates the kernel and does not look at one; take the "
            "solver that is told it, or kernel=estimate"
        )
    return given


def estimating(cfg: DictConfig, solver: Solver, degradation: Degradation) -> Solver:
    """The job's solver, told no kernel where that is to be estimated.

    A solver that finds the kernel itself stays what it is, whether an estimate is asked for or a kernel is named.

    Args:
        cfg: the job's config.
        solver: made from it.
        degradation: what :func:`problem_of` gave.

    Raises:
        InputError: if it takes none, or no kernel comes about that could be saved.
    """
    if finds_kernel(solver):
        if degradation.kernel is not None or degradation.noisy:
            log.warning(
                "%s finds the kernel itself: of %s only the sampling grid is used", cfg.solver.name, degradation
            )
        return solver
    if cfg.save_kernel and not is_estimated(cfg):
        raise InputError(
            f"save_kernel=true: there is none to save but {cfg.kernel} itself; add kernel=estimate, or take solver=ddsr"
        )
    if cfg.kernel not in ESTIMATE or isinstance(solver, BlindSolver):
        return solver
    if not takes_kernel(solver):
        raise InputError(
            f"kernel={cfg.kernel}: solver {cfg.solver.name} takes no kernel, or finds its own; use solver=adapt or "
            "solver=zssr, or leave kernel= out"
        )
    return blind(solver, build.estimator(cfg))


def kernel_path(target: Path) -> Path:
    """Where an output's kernel is written: ``photo_x2_kernel.npy`` beside ``photo_x2.png``."""
    return target.with_name(f"{target.stem}_kernel.npy")


def save_kernel(kernel: Tensor, path: Path) -> None:
    """Write a kernel, ``(kH, kW)``, as float64, so that ``kernel=FILE_d`` or ``kernel=FILE_b`` reads the same back.

    Raises:
        OutputError: if it cannot be written; what was there before is kept.
    """
    data = io.BytesIO()
    np.save(data, kernel.detach().double().cpu().numpy(), allow_pickle=False)
    write_bytes(path, data.getvalue())
