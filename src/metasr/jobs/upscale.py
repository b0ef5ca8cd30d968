"""Upscaling a user's photos: one solver on one file, or on each file of a folder."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from metasr.config import build
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.errors import DataError, InputError, OutputError, told_of
from metasr.figures import comparison as figures
from metasr.io.files import check_new_file
from metasr.io.images import WRITE_SUFFIXES, Photo, check_output, list_images, read_photo, write_photo
from metasr.io.transparency import fill_transparent
from metasr.jobs.estimate import estimating, kernel_path, problem_of, save_kernel
from metasr.runs.weights import choose_for
from metasr.seeds import seed_from
from metasr.solvers.base import Solution, Solver
from metasr.solvers.step_budget import was_cut_short, was_interrupted
from metasr.text import pluralize

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upscaled:
    """One file's result."""

    source: Path
    output: Path
    seconds: float
    updates: int
    weights: str
    assumed: str = ""  # what was estimated, where the kernel was
    cut_short: str = ""  # by whom, where the solver would have gone on
    stopped: str = ""  # why it took no further step, where it ended by itself

    def __str__(self) -> str:
        told = f", kernel {self.assumed}" if self.assumed else ""
        told += f"; cut short: {self.cut_short}" if self.cut_short else ""
        told += f"; {self.stopped}" if self.stopped else ""
        return (
            f"{self.output}  ({self.seconds:.1f} s, {pluralize(self.updates, 'update')}, weights {self.weights}{told})"
        )


def pairs_of_files(source: str | Path, output: str | Path | None, *, scale: float) -> list[tuple[Path, Path]]:
    """Which file goes where.

    A file goes to a file, or into a folder that exists or is written with a slash at its end; a folder's images go into
    a folder. Without an output, results go beside their sources as ``<name>_x2.png``.

    Raises:
        InputError: if the source does not exist.
        OutputError: if an output is its own source, or a file where a folder is needed.
    """
    source = Path(source)
    as_folder = output is not None and str(output).endswith(("/", os.sep))
    ending = f"_x{scale:g}.png"
    if source.is_dir():
        whole = source.resolve()  # "." and ".." have no name to add to
        target = Path(output) if output is not None else whole.with_name(whole.name + ending.removesuffix(".png"))
        if target.is_file():
            raise OutputError(f"input is a folder, so output must be a folder too, but {target} is a file")
        files = list_images(source)
        if output is not None and not (as_folder or target.is_dir()) and target.suffix.lower() in WRITE_SUFFIXES:
            raise OutputError(
                f"input is a folder, so output must be a folder too, but {target} is a file's name; write {target}/ if "
                "a folder is meant"
            )
        names_ = [f"{f.stem}.png" for f in files]
        if len(set(names_)) < len(names_):  # a.jpg beside a.png
            names_ = [f"{f.name}.png" for f in files]
        pairs = [(f, target / n) for f, n in zip(files, names_, strict=True)]
    elif source.exists():
        if output is None:
            target = source.with_name(source.stem + ending)
        else:
            target = Path(output)
            if as_folder or target.is_dir():
                target = target / (source.stem + ".png")
        pairs = [(source, target)]
    else:
        raise InputError(f"no file or folder {source}; give an existing image or a folder of images")
    require_apart([a for a, _ in pairs], [b for _, b in pairs])
    return pairs


def require_apart(sources: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Require that no output is an input, by whatever path, symbolic or hard link.

    Raises:
        OutputError: naming the first that is.
    """
    inputs = {(stat.st_dev, stat.st_ino) for stat in (path.stat() for path in sources if path.exists())}
    for output in outputs:
        if output.exists() and ((stat := output.stat()).st_dev, stat.st_ino) in inputs:
            raise OutputError(f"output {output} is an input itself, which is never written over; choose another output")


def solver_for(cfg: DictConfig, degradation: Degradation) -> tuple[Solver, str]:
    """The configured solver with its weights, and the weights' name, for one degradation."""
    steps = adapt_steps(cfg)
    if not cfg.solver.get("needs_network", False):
        if cfg.weights is not None:
            raise InputError(f"weights={cfg.weights} (--weights): solver {cfg.solver.name} has none; leave it out")
        return build.solver(cfg, weights=None, steps=steps), "-"
    weights = choose_for(cfg, cfg.weights, degradation, steps=steps)
    return build.solver(cfg, weights=weights, steps=steps), weights.label


def adapt_steps(cfg: DictConfig) -> int | None:
    """The one number of updates for upscaling; the largest where several were given."""
    value = cfg.adapt_steps
    if "steps" not in cfg.solver:
        return None
    return int(cfg.solver.steps) if value is None else max(build.update_counts(value))


def upscale_photo(solver: Solver, photo: Photo, degradation: Degradation, *, seed: int = 0) -> tuple[Photo, Solution]:
    """Enlarge a photo; transparency is enlarged bicubically and carried along, greyscale stays greyscale.

    Args:
        solver: the solver.
        photo: of any size.
        degradation: how the photo is taken to have come about; its scale is the factor.
        seed: of the solver's draws.
    """
    rgb = photo.rgb if photo.alpha is None else fill_transparent(photo.rgb, photo.alpha)
    solution = solver.solve(rgb[None], scale=degradation.scale, degradation=degradation, seed=seed)
    sr = solution.sr[0].cpu()
    if photo.colourless:
        sr = sr.mean(0, keepdim=True).expand(3, -1, -1)
    alpha: Tensor | None = None
    if photo.alpha is not None:
        alpha = imresize(photo.alpha[None], degradation.scale, shift=degradation.shift)[0].clamp(0, 1)
    return replace(photo, rgb=sr.contiguous(), alpha=alpha), solution


def upscale(cfg: DictConfig) -> Iterator[Upscaled]:
    """Upscale ``cfg.input`` to ``cfg.output``; gives each file's result as soon as it is written.

    All outputs are checked before the first photo is worked on, so that nothing fails at the end of a long run. A
    photo of a folder that cannot be read or is too small does not keep the others from being enlarged.

    Raises:
        MetasrError: for bad input, weights or output; see the message. For a folder, after all other photos are done.
    """
    if not cfg.input:
        raise InputError("task=upscale needs input=FILE or input=FOLDER")
    degradation = problem_of(cfg)
    if cfg.scale <= 1:
        raise InputError(f"upscaling needs a scale above 1, got {cfg.scale:g}")
    pairs = pairs_of_files(cfg.input, cfg.output, scale=cfg.scale)
    pictures = [_beside(b) for _, b in pairs] if cfg.side_by_side else []
    require_apart([a for a, _ in pairs], pictures)
    for path in [*(b for _, b in pairs), *pictures]:
        check_output(path, overwrite=cfg.overwrite)
    for path in [kernel_path(b) for _, b in pairs] if cfg.save_kernel else []:
        check_new_file(path, overwrite=cfg.overwrite)
    device = build.device(cfg.device)
    solver, weights = solver_for(cfg, degradation)
    solver = estimating(cfg, solver, degradation)
    failed = []
    for source, target in pairs:
        start = time.perf_counter()
        try:
            photo = read_photo(source)
            alpha = photo.alpha is not None and bool((photo.alpha < 1).any())
            check_output(target, overwrite=cfg.overwrite, alpha=alpha)
            moved = replace(photo, rgb=photo.rgb.to(device))
            with told_of(source):
                enlarged, solution = upscale_photo(solver, moved, degradation, seed=seed_from(cfg.seed, source.name))
        except (DataError, InputError) as error:
            if len(pairs) == 1:
                raise
            log.warning("left out: %s", error)
            failed.append(source.name)
            continue
        write_photo(enlarged, target, overwrite=cfg.overwrite)
        if cfg.side_by_side:
            _draw(photo, enlarged, degradation, _beside(target), solution)
        if cfg.save_kernel and solution.kernel is not None:
            save_kernel(solution.kernel, kernel_path(target))
        seconds = time.perf_counter() - start
        size, new = photo.rgb.shape[-2:], enlarged.rgb.shape[-2:]
        log.info(
            "%s (%dx%d) -> %s (%dx%d), kernel %s, weights %s, %s, %.1f s", source, size[1], size[0], target,
            new[1], new[0], solution.assumed or degradation, weights, pluralize(solution.updates, "update"), seconds,
        )  # fmt: skip
        ended = {"cut_short" if was_cut_short(solution) else "stopped": solution.stopped}
        yield Upscaled(source, target, seconds, solution.updates, weights, solution.assumed, **ended)
        if was_interrupted(solution) and source != pairs[-1][0]:
            raise KeyboardInterrupt  # what was meant is the whole folder
    if failed:
        raise DataError(
            f"{len(failed)} of {len(pairs)} photos were left out, for the reasons given above: {', '.join(failed)}; "
            "the others are done"
        )


def _beside(target: Path) -> Path:
    return target.with_name(f"{target.stem}_side_by_side.png")


def _draw(photo: Photo, enlarged: Photo, degradation: Degradation, path: Path, solution: Solution) -> None:
    plain = imresize(photo.rgb[None], degradation.scale, shift=degradation.shift).clamp(0, 1)
    shown: Sequence[tuple[str, torch.Tensor]] = (
        ("bicubic", plain),
        (pluralize(solution.updates, "update"), enlarged.rgb[None]),
    )
    title = f"{path.stem.removesuffix('_side_by_side')}, kernel {solution.assumed or degradation}"
    figures.comparison(dict(shown), path, title=title)
