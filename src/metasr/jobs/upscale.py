"""Upscaling a user's photos: one solver on one file, or on each of several."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from metasr.checks import check_scale
from metasr.config.photo_plan import PhotoPlan, plan_of
from metasr.config.photos import at_own_scale
from metasr.degradation import names
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.errors import Cancelled, DataError, InputError, MetasrError, told_of
from metasr.figures import comparison as figures
from metasr.io.files import check_new_file
from metasr.io.flat_parts import keep_flat
from metasr.io.images import MAX_PIXELS, FileChoices, Photo, check_output, read_photo, read_size, write_photo
from metasr.io.transparency import fill_transparent
from metasr.jobs.photo_files import (
    PathLike,
    kernel_path,
    kernels_for,
    pairs_of_files,
    require_apart,
    save_kernel,
    without_existing,
)
from metasr.seeds import seed_from
from metasr.solvers.base import Solution, Solver
from metasr.solvers.progress import Listener, listening, part, tell
from metasr.solvers.step_budget import was_cut_short, was_interrupted
from metasr.text import pluralize

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upscaled:
    """One photo's result.

    Attributes:
        source: the photo.
        output: its enlargement.
        seconds: that it took, files included.
        updates: gradient steps taken on it.
        weights: the weights' name; ``-`` for none.
        assumed: what was estimated, where the kernel was.
        cut_short: why the solver was ended, where it would have gone on.
        stopped: why it took no further step, where it ended by itself.
        chosen: what was seen of the photo and chosen for it, where that was not typed.
        place: its number among the photos of the job, and how many these are.
    """

    source: Path
    output: Path
    seconds: float
    updates: int
    weights: str
    assumed: str = ""
    cut_short: str = ""
    stopped: str = ""
    chosen: str = ""
    place: tuple[int, int] = (1, 1)

    def __str__(self) -> str:
        assumption = f", kernel {self.assumed}" if self.assumed else ""
        assumption += f"; cut short: {self.cut_short}" if self.cut_short else ""
        assumption += f"; {self.stopped}" if self.stopped else ""
        assumption += f"; {self.chosen}" if self.chosen else ""
        number = "{} of {}: ".format(*self.place) if self.place[1] > 1 else ""
        return (
            f"{number}{self.output}  ({self.seconds:.1f} s, {pluralize(self.updates, 'update')}, "
            f"weights {self.weights}{assumption})"
        )


def upscale_task(cfg: DictConfig, progress: Listener | None = None) -> Iterator[Upscaled]:
    """``task=upscale``: enlarge ``cfg.input`` to ``cfg.output``; see ``upscale_files``."""
    if not cfg.input:
        raise InputError("task=upscale needs input=FILE or input=FOLDER")
    return upscale_files(
        plan_of(at_own_scale(cfg)), [cfg.input], cfg.output, recursive=cfg.recursive, skip_existing=cfg.skip_existing,
        progress=progress,
    )  # fmt: skip


def upscale_files(
    plan: PhotoPlan,
    sources: Sequence[PathLike],
    output: PathLike | None,
    *,
    recursive: bool = False,
    skip_existing: bool = False,
    progress: Listener | None = None,
) -> Iterator[Upscaled]:
    """Enlarge photos by the solver and the kernels of a plan; gives each result as soon as it is written.

    Args:
        plan: how they are enlarged.
        sources: image files and folders of them.
        output: a file or folder; none for beside the sources (see ``jobs.photo_files.pairs_of_files``).
        recursive: take the images of sub-folders too.
        skip_existing: leave out photos whose results are there already.
        progress: told how far the work has got (``solvers.progress.Progress``).

    Raises:
        MetasrError: see ``upscale``.
    """
    if skip_existing and plan.overwrite:
        raise InputError("skip_existing (--skip-existing) and overwrite (--overwrite) exclude each other: give one")
    suffix = f".{plan.file.format or 'png'}"
    if not plan.target.is_fixed:
        check_scale(plan.target.scale)
        if plan.target.scale <= 1:
            raise InputError(f"upscaling needs a scale above 1, got {plan.target.scale:g}")
    pairs = pairs_of_files(sources, output, ending=plan.target.ending, suffix=suffix, recursive=recursive)
    for _, target in pairs:
        plan.file.check(target)
    if skip_existing:
        pairs = without_existing(pairs)
    if not pairs:
        return
    kernels = kernels_for(plan.kernel, [source for source, _ in pairs])
    kernels = [names.with_choice(k, index=plan.kernel_index, flip=plan.flip_kernel) for k in kernels]
    max_pixels = plan.max_pixels or MAX_PIXELS
    choices = plan.make(kernels, [_factor(plan, source, max_pixels=max_pixels) for source, _ in pairs])
    yield from upscale(
        [choice.solver for choice in choices],
        [source for source, _ in pairs],
        [target for _, target in pairs],
        degradations=[choice.degradations[0] for choice in choices],
        weights=[choice.weights for choice in choices],
        device=plan.device,
        seed=plan.seed,
        overwrite=plan.overwrite,
        side_by_side=plan.side_by_side,
        save_kernels=plan.save_kernel,
        frame=plan.frame,
        max_pixels=max_pixels,
        file=plan.file,
        progress=progress,
    )


def _factor(plan: PhotoPlan, source: Path, *, max_pixels: int) -> float:
    """The factor of one photo; where a size is asked for, by what the file's header tells."""
    if not plan.target.is_fixed:
        return plan.target.scale
    try:
        height, width = read_size(source, max_pixels=max_pixels)
    except DataError:  # is told when it is its turn
        return plan.target.scale
    factor = plan.target.factor(height, width)
    if factor < 1:
        log.warning("%s is %dx%d already: it is made smaller", source, width, height)
    return factor


def upscale(
    solver: Solver | Sequence[Solver],
    sources: Sequence[PathLike],
    outputs: Sequence[PathLike],
    *,
    degradations: Degradation | Sequence[Degradation],
    weights: str | Sequence[str] = "-",
    device: torch.device | str = "cpu",
    seed: int = 1,
    overwrite: bool = False,
    side_by_side: bool = False,
    save_kernels: bool = False,
    frame: int | None = None,
    max_pixels: int = MAX_PIXELS,
    file: FileChoices | None = None,
    progress: Listener | None = None,
) -> Iterator[Upscaled]:
    """Enlarge photos; gives each result as soon as it is written.

    All outputs are checked before the first photo is worked on, so that nothing fails at the end of a long run. One of
    several photos that cannot be read or enlarged does not keep the others from being done.

    Args:
        solver: enlarges one image; or one for each photo.
        sources: image files.
        outputs: where the result of each goes.
        degradations: how each photo is taken to have come about, or all of them; their scale is the factor.
        weights: the name of the solver's weights, for the results; or of each photo's.
        device: where the solver works.
        seed: of the random draws, beside each photo's file name.
        overwrite: whether existing outputs may be replaced; the photos themselves never are.
        side_by_side: also write a picture beside plain bicubic enlargement.
        save_kernels: also write the kernel that the solver estimated or used, as ``.npy``.
        frame: which of several frames or pages of a photo, from 0; none for the first.
        max_pixels: what a photo may have at most.
        file: how results are written.
        progress: told how far the work has got, each photo counting by its pixels.

    Raises:
        MetasrError: for bad input, weights or output; see the message. Of several photos, once all others are done.
        Cancelled: if ``progress`` raises it, at once; photos written before stay.
    """
    files = [(Path(source), Path(output)) for source, output in zip(sources, outputs, strict=True)]
    file = file or FileChoices()
    if isinstance(degradations, Degradation):
        degradations = [degradations] * len(files)
    solvers = [solver] * len(files) if isinstance(solver, Solver) else solver
    labels = [weights] * len(files) if isinstance(weights, str) else weights
    _check_outputs(files, overwrite=overwrite, side_by_side=side_by_side, save_kernels=save_kernels)
    failed = []
    shares = _shares([source for source, _ in files]) if progress is not None else [0.0] * (len(files) + 1)
    for i, ((source, output), one, degradation, label) in enumerate(
        zip(files, solvers, degradations, labels, strict=True)
    ):
        start = time.perf_counter()
        try:
            photo = read_photo(source, frame=frame, max_pixels=max_pixels)
            alpha = photo.alpha is not None and bool((photo.alpha < 1).any())
            check_output(output, overwrite=overwrite, alpha=alpha)
            moved = replace(photo, rgb=photo.rgb.to(device))
            heard = None if progress is None else _of_photo(progress, source, place=(i + 1, len(files)))
            with told_of(source), listening(heard), part(*shares[i : i + 2]):
                enlarged, solution = upscale_photo(one, moved, degradation, seed=seed_from(seed, source.name))
            enlarged = enlarged if file.metadata else replace(enlarged, exif=None)
            write_photo(enlarged, output, overwrite=overwrite, quality=file.quality)
            if side_by_side:
                _draw(photo, enlarged, degradation, _beside(output), solution)
            if save_kernels and solution.kernel is not None:
                save_kernel(solution.kernel, kernel_path(output))
        except Cancelled:
            raise
        except MetasrError as error:
            if len(files) == 1:
                raise
            log.error("left out: %s", error)
            failed.append(source.name)
            continue
        seconds = time.perf_counter() - start
        size, new = photo.rgb.shape[-2:], enlarged.rgb.shape[-2:]
        used = solution.weights or label
        log.info(
            "%s (%dx%d) -> %s (%dx%d), kernel %s, weights %s, %s, %.1f s", source, size[1], size[0], output,
            new[1], new[0], solution.assumed or degradation, used, pluralize(solution.updates, "update"), seconds,
        )  # fmt: skip
        ended = {"cut_short" if was_cut_short(solution) else "stopped": solution.stopped}
        place = (i + 1, len(files))
        with listening(heard):
            tell(*place, "photos", share=shares[i + 1])
        yield Upscaled(
            source,
            output,
            seconds,
            solution.updates,
            used,
            solution.assumed,
            place=place,
            chosen=solution.chosen,
            **ended,
        )
        if was_interrupted(solution) and i + 1 < len(files):
            raise KeyboardInterrupt  # what was meant is all of them
    if failed:
        raise DataError(
            f"{len(failed)} of {len(files)} photos were left out, for the reasons given above: {', '.join(failed)}; "
            "the others are done"
        )


def upscale_photo(solver: Solver, photo: Photo, degradation: Degradation, *, seed: int = 0) -> tuple[Photo, Solution]:
    """Enlarge a photo; transparency is enlarged bicubically and carried along, greyscale stays greyscale, flat flat.

    Args:
        solver: the solver.
        photo: of any size.
        degradation: how the photo is taken to have come about; its scale is the factor. Where it says nothing of
            compression, that of the photo's file belongs to it.
        seed: of the solver's draws.
    """
    if degradation.jpeg is None:
        degradation = replace(degradation, jpeg=photo.compression)
    rgb = photo.rgb if photo.alpha is None else fill_transparent(photo.rgb, photo.alpha)
    solution = solver.solve(rgb[None], scale=degradation.scale, degradation=degradation, seed=seed)
    sr = solution.sr[0].cpu()
    if _shows_all(solver, degradation):
        sr = keep_flat(sr, rgb.cpu(), shift=degradation.shift)
    if photo.colourless:
        sr = sr.mean(0, keepdim=True).expand(3, -1, -1)
    alpha: Tensor | None = None
    if photo.alpha is not None:
        alpha = imresize(photo.alpha[None], degradation.scale, shift=degradation.shift)[0].clamp(0, 1)
    return replace(photo, rgb=sr.contiguous(), alpha=alpha, jpeg=None), solution


def _shows_all(solver: Solver, degradation: Degradation) -> bool:
    """Whether nothing of the photo is covered or darkened: there the photo's own colours are no answer."""
    covered = degradation.mask is not None or getattr(solver, "mask", None) is not None
    return not covered and degradation.gain == 1 and getattr(solver, "gain", None) in (None, 1)


def _shares(sources: Sequence[Path]) -> list[float]:
    """The share of the work that is done before each photo, and once all are: by their pixels, as headers tell them."""
    pixels = [0.0]
    for source in sources:
        try:
            height, width = read_size(source)
        except MetasrError:  # is told when it is its turn
            height = width = 1
        pixels.append(pixels[-1] + height * width)
    return [n / pixels[-1] for n in pixels]


def _of_photo(progress: Listener, photo: Path, *, place: tuple[int, int]) -> Listener:
    """A listener that adds which photo it is."""
    return lambda report: progress(replace(report, photo=photo, place=place))


def _check_outputs(
    files: Sequence[tuple[Path, Path]], *, overwrite: bool, side_by_side: bool, save_kernels: bool
) -> None:
    pictures = [_beside(output) for _, output in files] if side_by_side else []
    written = [*(output for _, output in files), *pictures]
    require_apart([source for source, _ in files], written)
    for path in written:
        check_output(path, overwrite=overwrite)
    for path in [kernel_path(output) for _, output in files] if save_kernels else []:
        check_new_file(path, overwrite=overwrite)


def _beside(output: Path) -> Path:
    return output.with_name(f"{output.stem}_side_by_side.png")


def _draw(photo: Photo, enlarged: Photo, degradation: Degradation, path: Path, solution: Solution) -> None:
    plain = imresize(photo.rgb[None], degradation.scale, shift=degradation.shift).clamp(0, 1)
    shown = {"bicubic": plain, pluralize(solution.updates, "update"): enlarged.rgb[None]}
    title = f"{path.stem.removesuffix('_side_by_side')}, kernel {solution.assumed or degradation}"
    figures.comparison(shown, path, title=title)
