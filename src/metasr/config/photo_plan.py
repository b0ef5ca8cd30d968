"""What an upscaling job is asked for, and what enlarges each of its photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from omegaconf import DictConfig

from metasr.config import build
from metasr.config.photos import Enlarger, photo_solver
from metasr.degradation import names
from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError
from metasr.io.images import FileChoices
from metasr.io.sizes import TargetSize, target_size
from metasr.runs.folder import key_of, typed_choices
from metasr.solvers.base import Solver
from metasr.solvers.interpolate import InterpolateSolver


@dataclass(frozen=True)
class PhotoPlan:
    """What an upscaling job is asked for; its solver is made once the photos' kernels are known.

    Attributes:
        target: how large enlargements are to be.
        kernel: a name, a file, a folder of files, or ``estimate``.
        device: where the solver works.
        seed: of the random draws.
        overwrite: whether existing outputs may be replaced.
        side_by_side: whether pictures beside plain enlargement are wanted.
        save_kernel: whether the kernels that are found are wanted.
        kernel_index: which kernel of a file of several, from 0.
        flip_kernel: whether a kernel file's kernel is to be turned by half a turn.
        frame: which of several frames or pages of a photo, from 0; none for the first.
        max_pixels: what a photo may have at most; none for the usual.
        file: how enlargements are written.
        make: makes the solver and the degradation of each photo, by its kernel and factor (see ``photo_solvers``).
    """

    target: TargetSize
    kernel: str
    device: torch.device
    seed: int
    overwrite: bool
    side_by_side: bool
    save_kernel: bool
    kernel_index: int | None
    flip_kernel: bool
    frame: int | None
    max_pixels: int | None
    file: FileChoices
    make: Callable[[Sequence[str], Sequence[float]], list[Enlarger]]


def plan_of(cfg: DictConfig) -> PhotoPlan:
    """What a composed config asks of an upscaling job.

    Raises:
        InputError: for a frame below 0, or less than one pixel.
    """
    if cfg.frame is not None and cfg.frame < 0:
        raise InputError(f"frame (--frame) counts from 0, got {cfg.frame}")
    if cfg.max_pixels is not None and cfg.max_pixels < 1:
        raise InputError(f"max_pixels (--max-pixels) must be at least 1, got {cfg.max_pixels}")
    return PhotoPlan(
        target=target_of(cfg),
        kernel=str(cfg.kernel),
        device=build.device(cfg.device),
        seed=cfg.seed,
        overwrite=cfg.overwrite,
        side_by_side=cfg.side_by_side,
        save_kernel=cfg.save_kernel,
        kernel_index=cfg.kernel_index,
        flip_kernel=cfg.flip_kernel,
        frame=cfg.frame,
        max_pixels=cfg.max_pixels,
        file=FileChoices(format=cfg.format, quality=cfg.quality, metadata=cfg.metadata),
        make=partial(photo_solvers, cfg),
    )


def target_of(cfg: DictConfig) -> TargetSize:
    """How large enlargements are to be.

    Raises:
        InputError: for sizes that exclude each other, and a typed scale beside one.
    """
    typed = "scale" in {key_of(choice) for choice in typed_choices(cfg.name)}
    return target_size(
        cfg.scale if typed else None,
        cfg.scale,
        width=cfg.width,
        height=cfg.height,
        max_side=cfg.max_side,
        megapixels=cfg.megapixels,
    )


def photo_solvers(cfg: DictConfig, kernels: Sequence[str], factors: Sequence[float]) -> list[Enlarger]:
    """What enlarges each of some photos; those of the same weights share one solver.

    Args:
        cfg: the whole config; its ``kernel`` is what ``kernels`` came of.
        kernels: one for each photo; they agree in the sampling.
        factors: one for each photo. Where a size was asked for that a photo has already, or more, it is made smaller.

    Raises:
        MetasrError: see ``photo_solver``.
    """
    made: dict[object, Solver] = {}
    of_factor: dict[float, dict[str, Enlarger]] = {}
    for factor in sorted(set(factors), reverse=True):  # the largest first: what is told of scales is told once, of it
        own = list(dict.fromkeys(k for k, f in zip(kernels, factors, strict=True) if f == factor))
        if factor <= 1 and target_of(cfg).is_fixed:
            of_factor[factor] = dict.fromkeys(own, _smaller(factor))
            continue
        at_factor = cfg.copy()
        at_factor.scale = factor
        chosen = photo_solver(at_factor, own, made=made)
        of_factor[factor] = {
            kernel: replace(chosen, degradations=(problem,))
            for kernel, problem in zip(own, chosen.degradations, strict=True)
        }
    return [of_factor[factor][kernel] for kernel, factor in zip(kernels, factors, strict=True)]


def given_solvers(solver: Solver, weights: str, kernels: Sequence[str], factors: Sequence[float]) -> list[Enlarger]:
    """The same for a solver that is there already, and knows its scale.

    Args:
        solver: the solver.
        weights: their name, for the results.
        kernels: one for each photo.
        factors: one for each photo.

    Raises:
        InputError: for an unknown kernel.
    """
    return [
        Enlarger(solver, weights, (names.parse(kernel, scale=factor),)) if factor > 1 else _smaller(factor)
        for kernel, factor in zip(kernels, factors, strict=True)
    ]


def _smaller(factor: float) -> Enlarger:
    """What makes a photo smaller, or leaves it as it is: nothing is to be learned there."""
    return Enlarger(InterpolateSolver(), "-", (Degradation(scale=factor, downsample="bicubic", name="bicubic"),))
