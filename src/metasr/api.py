"""The public functions of ``metasr``: enlarge photos, load solvers, degrade, evaluate.

Import them from ``metasr`` itself, which loads this module when one of them is first used.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metasr.config import build
from metasr.config.photo_plan import PhotoPlan, given_solvers, plan_of
from metasr.config.photo_weights import ESTIMATE, sampling_of
from metasr.config.photos import photo_config, solver_for
from metasr.data.catalog import CATALOG, ImageSet, image_set
from metasr.degradation import names
from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError, nearest
from metasr.evaluation.evaluate import evaluate as evaluate_entries
from metasr.evaluation.solved import Entry
from metasr.io.images import FileChoices, list_images
from metasr.io.sizes import target_size
from metasr.jobs.photo_files import PathLike, home_path
from metasr.jobs.upscale import Upscaled, upscale_files
from metasr.metrics.protocol import LumaProtocol
from metasr.solvers.base import SnapshotSolver, Solver
from metasr.solvers.loaded import LoadedSolver, check_batch, require_scale
from metasr.solvers.progress import Listener

if TYPE_CHECKING:
    from metasr.evaluation.results import Table


def load(
    name: str | None = None, *, solver: str | None = None, steps: int | None = None, device: str = "auto",
    **options: Any,
) -> LoadedSolver:  # fmt: skip
    """Load weights with the solver that they were made for.

    Args:
        name: released weights (``mzsr_x2``; ``metasr weights`` lists them), a weights file, or a run folder. None for a
            solver that needs no weights.
        solver: another solver for them: a name of ``conf/solver``, such as ``network``, ``zssr``, ``interpolate``.
        steps: gradient steps on each image; by default the solver's own number.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``.
        **options: of the solver, as its file in ``conf/solver`` lists them (``ensemble=True``).

    Returns:
        A solver that is called with tensors.

    Raises:
        MetasrError: for weights that are not there, unreadable or another network's, and for unknown choices.

    Example:
        >>> import metasr
        >>> from metasr.data.catalog import image_set
        >>> hr = image_set("samples", split="test").load(0)[:, 40:104, 60:124]
        >>> solver = metasr.load("mzsr_x2", steps=2)
        >>> solver
        <solver adapt, weights released/mzsr_x2_meta, x2, direct by default>
        >>> solver(metasr.degrade(hr, "g2.0d", scale=2), degradation="g2.0d").shape
        torch.Size([3, 64, 64])
    """
    if name is None and solver is None:
        raise InputError("load needs released weights, a file or a run folder: metasr.load('mzsr_x2')")
    cfg = photo_config(solver=solver, weights=name, steps=steps, device=device, options=options)
    degradation = names.parse(sampling_of(name), scale=cfg.scale)
    made, weights = solver_for(cfg, degradation)
    return LoadedSolver(
        made, name=cfg.solver.name, weights=weights, degradation=degradation, device=build.device(cfg.device)
    )


def upscale(
    source: PathLike | Sequence[PathLike],
    output: PathLike | None = None,
    *,
    scale: float | None = None,
    width: int | None = None,
    height: int | None = None,
    max_side: int | None = None,
    megapixels: float | None = None,
    kernel: str | None = None,
    kernel_index: int | None = None,
    flip_kernel: bool = False,
    estimator: str | None = None,
    save_kernel: bool = False,
    solver: str | Solver | None = None,
    weights: str | None = None,
    steps: int | None = None,
    frame: int | None = None,
    max_pixels: int | None = None,
    format: str | None = None,
    quality: int | None = None,
    metadata: bool = True,
    side_by_side: bool = False,
    recursive: bool = False,
    skip_existing: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    seed: int = 1,
    progress: Listener | None = None,
    **options: Any,
) -> list[Upscaled]:
    """Enlarge photos: files in, files out, as the command ``metasr upscale`` does.

    Args:
        source: an image file, a folder of them, or several.
        output: a file or folder; by default ``<name>_x2.png`` beside each photo.
        scale: the factor; by default that of the weights, else 2.
        width: of each enlargement in pixels, instead of a factor; with ``height`` the largest that fits into both.
        height: of each enlargement in pixels.
        max_side: of each enlargement's longer side, in pixels.
        megapixels: of each enlargement, in millions of pixels.
        kernel: how the photos came to be small; by default that is looked for in each photo (see ``plan``).
            ``bicubic``, ``estimate`` (blur and noise, from each photo), a short name, a kernel file, or a folder of
            kernels of the photos' names.
        kernel_index: which kernel of a file of several, from 0.
        flip_kernel: turn the kernel of a file by half a turn: it comes from a program that convolves.
        estimator: of ``kernel="estimate"``, a name of ``conf/estimator``; by default ``parametric``.
        save_kernel: write the kernel that was estimated, or that ``ddsr`` found, beside the output, as ``.npy``.
        solver: a name of ``conf/solver``, or what ``load`` gave; by default ``auto``, which chooses by what it sees of
            the photo; with weights, or a kernel that released ones are best for, what these were made for; else, with
            kernel, steps or options, ``adapt``.
        weights: released weights, a file or a run folder; by default the released ones that fit the kernel.
        steps: gradient steps on each photo; by default the solver's own number.
        frame: which frame or page of a photo of several, from 0; by default the first, with a warning.
        max_pixels: that a photo may have; by default 200 million.
        format: ``png``, ``jpg`` or ``webp``; by default that of the output's name, PNG for names that are not given.
        quality: of JPEG (by default 95) and WebP (by default without loss), 1 to 100.
        metadata: carry EXIF data over: date, camera, place. Colour profile and resolution always are.
        side_by_side: also write a picture beside plain bicubic enlargement.
        recursive: take the photos of sub-folders too.
        skip_existing: leave out photos that are enlarged already.
        overwrite: replace existing outputs; never a photo itself.
        device: ``auto``, ``cpu``, ``cuda``; what ``load`` gave stays where it was loaded to.
        seed: of the random draws.
        progress: a function that is called with a ``metasr.Progress`` after each update, step and tile, in the thread
            that works. To end the work, raise ``metasr.Cancelled`` in it: nothing half done is written.
        **options: of the solver.

    Returns:
        What became of each photo, in order.

    Raises:
        MetasrError: for bad input, weights or output. Of several photos, once all that can be done are.
        Cancelled: if ``progress`` raised it.

    Example:
        >>> import tempfile
        >>> import metasr
        >>> from metasr.data.catalog import image_set
        >>> photo = image_set("samples", split="test").paths[0]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     done, = metasr.upscale(photo, f"{folder}/large.png", scale=2, kernel="bicubic", solver="interpolate")
        ...     done.output.name, done.updates
        ('large.png', 0)
    """
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    if solver is None or isinstance(solver, str):
        cfg = photo_config(
            solver=solver, weights=weights, scale=scale, width=width, height=height, max_side=max_side,
            megapixels=megapixels, kernel=kernel, kernel_index=kernel_index, flip_kernel=flip_kernel,
            estimator=estimator, save_kernel=save_kernel, steps=steps, frame=frame, max_pixels=max_pixels,
            format=format, quality=quality, metadata=metadata, side_by_side=side_by_side, device=device, seed=seed,
            overwrite=overwrite, options=options,
        )  # fmt: skip
        results = upscale_files(
            plan_of(cfg), sources, output, recursive=recursive, skip_existing=skip_existing, progress=progress
        )
        return list(results)
    if weights is not None or steps is not None or estimator is not None or options:
        raise InputError(
            "weights, steps, estimator and options are those of the solver that was given; give them to load"
        )
    if kernel in ESTIMATE:
        raise InputError(
            f"kernel={kernel!r} is for solvers that are named; of those that are loaded, one that estimates the kernel "
            "itself does it: metasr.load(solver='adapt_blind')"
        )
    loaded = solver if isinstance(solver, LoadedSolver) else None
    given = PhotoPlan(
        target=target_size(
            scale, loaded.scale if loaded else 2.0, width=width, height=height, max_side=max_side, megapixels=megapixels
        ),
        kernel=kernel or "bicubic",
        device=torch.device("cpu"),  # what was loaded takes photos to where it works
        seed=seed,
        overwrite=overwrite,
        side_by_side=side_by_side,
        save_kernel=save_kernel,
        kernel_index=kernel_index,
        flip_kernel=flip_kernel,
        frame=frame,
        max_pixels=max_pixels,
        file=FileChoices(format=format, quality=quality, metadata=metadata),
        make=partial(given_solvers, solver, loaded.weights if loaded else "-"),
    )
    results = upscale_files(given, sources, output, recursive=recursive, skip_existing=skip_existing, progress=progress)
    return list(results)


def degrade(hr: Tensor, degradation: str | Degradation, *, scale: float | None = None, seed: int = 0) -> Tensor:
    """Make LR images of HR images.

    Args:
        hr: ``(3, H, W)`` or ``(B, 3, H, W)`` in [0, 1].
        degradation: a short name (``g2.0d``, ``bicubic_n5``, a kernel file), or a ``Degradation``.
        scale: the factor, for a name; by default 2.
        seed: of the noise, where there is any.

    Returns:
        ``(3, ceil(H / scale), ceil(W / scale))``, or a batch of that, rounded to 8 bits.

    Raises:
        InputError: for an unknown name, a malformed image, or one smaller than the kernel.

    Example:
        >>> import metasr
        >>> from metasr.data.catalog import image_set
        >>> hr = image_set("samples", split="test").load(0)
        >>> metasr.degrade(hr[:, :63, :81], "g2.0d", scale=2).shape
        torch.Size([3, 32, 41])
    """
    if isinstance(degradation, Degradation):
        require_scale(degradation, scale)
        known = degradation
    else:
        known = names.parse(degradation, scale=2.0 if scale is None else scale)
    batch = hr[None] if isinstance(hr, Tensor) and hr.ndim == 3 else hr
    check_batch(batch, name="hr")
    lr = known(batch, generator=torch.Generator(batch.device).manual_seed(seed))
    return lr[0] if hr.ndim == 3 else lr


def evaluate(
    solver: str | Solver,
    images: str | PathLike | Sequence[PathLike] | ImageSet,
    degradations: str | Sequence[str],
    *,
    scale: float | None = None,
    updates: Sequence[int] | None = None,
    seed: int = 1,
) -> Table:
    """Degrade images, enlarge them, and score the results beside bicubic interpolation: PSNR and SSIM on Y.

    Args:
        solver: what ``load`` gave, the name of weights for it, or any ``solvers.base.Solver``.
        images: a folder of HR images, files, or a known set (``samples`` is embedded).
        degradations: short names, or one.
        scale: the factor; by default the solver's, else 2.
        updates: numbers of gradient steps to show; by default the solver's own.
        seed: of the random draws.

    Returns:
        The table: ``table.rows`` are means over the images, ``table.images`` the images, ``table.to_csv()`` a file's
        text, and ``print(table)`` shows it.

    Raises:
        MetasrError: for what cannot be read, degraded or enlarged; the message names the image.

    Example:
        >>> import metasr
        >>> from metasr.data.catalog import image_set
        >>> photo = image_set("samples", split="test").paths[0]
        >>> table = metasr.evaluate(metasr.load(solver="back_project"), photo, ["g2.0d"], scale=2)
        >>> [(row.solver, f"{row.psnr_y:.1f}") for row in table.rows]
        [('interpolate', '27.9'), ('interpolate_aligned', '28.7'), ('back_project', '32.5')]
    """
    asked = [degradations] if isinstance(degradations, str) else list(degradations)
    if not asked:
        raise InputError("no degradations to evaluate on: give at least one, such as ['g2.0d']")
    made = load(solver) if isinstance(solver, str) else solver
    loaded = made if isinstance(made, LoadedSolver) else None
    behind = loaded.solver if loaded else made
    counts = None if updates is None else tuple(sorted(set(updates)))
    if counts is not None and not isinstance(behind, SnapshotSolver):
        raise InputError(f"updates={list(counts)}: {type(behind).__name__} takes none; leave them out")
    entry = Entry(loaded.name if loaded else type(made).__name__, loaded.weights if loaded else "-", behind, counts)
    return evaluate_entries(
        _image_set(images),
        asked,
        lambda _: [] if entry.solver in ("interpolate", "interpolate_aligned") else [entry],
        scale=float(scale or (loaded.scale if loaded else 2.0)),
        seed=seed,
        protocol=LumaProtocol(),
        device=loaded.device if loaded else None,
        compare=False,
    )


def _image_set(images: str | PathLike | Sequence[PathLike] | ImageSet) -> ImageSet:
    if isinstance(images, ImageSet):
        return images
    if isinstance(images, str) and images in CATALOG and not home_path(images).exists():
        return image_set(images, split="test")
    if isinstance(images, str | os.PathLike):
        path = home_path(images)
        if not path.exists():
            raise InputError(f"{path} is neither a file, a folder nor a known set: {nearest(str(images), CATALOG)}")
        return ImageSet(path.name, "test", tuple(list_images(path) if path.is_dir() else [path]))
    paths = tuple(home_path(path) for path in images)
    return ImageSet("images", "test", paths)
