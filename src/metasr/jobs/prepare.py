"""Preparing LR images: a folder of HR images in; LR images, kernels, masks and a manifest out.

::

    OUTPUT/lr/NAME.png        what a solver gets: task=upscale input=OUTPUT/lr
    OUTPUT/kernels/NAME.npy   where there is a blur: kernel=OUTPUT/kernels/NAME.npy (direct; _b behind it for bicubic)
    OUTPUT/masks/NAME.png     with prepare.mask: white where the image is seen
    OUTPUT/hr/NAME.png        with prepare.hr: the HR images as they were degraded, cut to a multiple of the scale
    OUTPUT/manifest.json      what made each of them

A name that stands for several degradations (``gaussian8``) makes such a folder for each, below OUTPUT. LR images are
the same, bit for bit, as those that ``task=evaluate`` makes with the same seed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor

from metasr import __version__
from metasr.config.photos import typed_scale
from metasr.data.catalog import ImageSet
from metasr.degradation import names
from metasr.degradation.pipeline import Degradation
from metasr.degradation.published_ddsr import SET5_MULTIPLE, Shift, check_shift, is_published, parse_published
from metasr.errors import InputError, OutputError, require_one_of, told_of
from metasr.evaluation.manifest import MANIFEST_NAME
from metasr.figures.picture_book import file_name
from metasr.io.files import check_new_file, file_hash, write_text
from metasr.io.images import Photo, check_output, list_images, read_photo, write_photo
from metasr.jobs.photo_files import PathLike, home_path, require_apart, save_kernel
from metasr.seeds import generator_from
from metasr.text import pluralize

MASKS = ("none", "square", "published")
DEFAULT_SCALE = 2.0


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """What is written beside LR images and kernels, and how LR images are made.

    Attributes:
        seed: of the random draws.
        shift: where the pixels of ``ddsr_...`` look: ``published`` (displaced) or ``centre``.
        hr: also write the HR images as they were degraded.
        multiple: HR sides are cut to multiples of this; by default of the scale (``ddsr_...``: and of 12).
        mask: what is covered: ``none``, a ``square`` at a random place, or as ``published`` on the diagonal.
        mask_side: side of the covering square in LR pixels.
        gain: brightness in (0, 1]; DDSR's dark images have 0.3.
        overwrite: whether existing outputs may be replaced; the input never is.

    Raises:
        InputError: for a value that is none of these.
    """

    seed: int = 1
    shift: Shift = "published"
    hr: bool = False
    multiple: int | None = None
    mask: str = "none"
    mask_side: int = 40
    gain: float = 1.0
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_shift(self.shift)
        require_one_of(self.mask, MASKS, name="prepare.mask")
        if not 0 < self.gain <= 1:
            raise InputError(f"prepare.gain must be in (0, 1], got {self.gain}; 1 leaves the image as bright as it is")
        if self.multiple is not None and self.multiple < 1:
            raise InputError(f"prepare.multiple must be at least 1, got {self.multiple}")


@dataclass(frozen=True)
class Prepared:
    """One folder of LR images."""

    folder: Path
    degradation: str
    scale: float
    seed: int
    images: int
    offset: tuple[float, float] | None  # None where the images' differ

    def __str__(self) -> str:
        if self.offset is None:
            place = "each with an offset of its own, told in the manifest"
        elif max(abs(o) for o in self.offset) < 0.1:
            place = "aligned as bicubic resizing aligns"
        else:
            place = "{:.3g} px down and {:.3g} px right (HR pixels) of bicubic alignment".format(*self.offset)
        return (
            f"{self.folder}: {pluralize(self.images, 'LR image')} of {self.degradation}, x{self.scale:g}, seed "
            f"{self.seed}, {place}; manifest: {self.folder / MANIFEST_NAME}"
        )


class Made(NamedTuple):
    """An LR image ``(1, 3, h, w)``, the degradation that made it, what its kernel was drawn from, and its bits."""

    lr: Tensor
    degradation: Degradation
    parameters: dict[str, float]
    bits: int = 8


class Maker(NamedTuple):
    """Degrades one HR image ``(1, 3, H, W)`` of a name after the other, beneath a mask or none."""

    make: Callable[[Tensor, str, Callable[[Tensor], Tensor | None]], Made]
    name: str
    scale: float
    multiple: int  # of which an HR image's sides must be; 1 for any
    by_name: bool  # images in the plain order of their names, as the published program takes them


def prepare_task(cfg: DictConfig) -> Iterator[Prepared]:
    """``task=prepare``: degrade ``cfg.input`` into ``cfg.output``; see ``prepare``."""
    if not cfg.input or not cfg.output:
        raise InputError("task=prepare needs input=HR_FOLDER output=FOLDER degradation=NAME")
    if not cfg.degradation:
        raise InputError("task=prepare needs degradation=NAME, for instance g2.0d, gaussian8 or ddsr_x4")
    options = PrepareOptions(seed=cfg.seed, shift=cfg.shift, overwrite=cfg.overwrite, **cfg.prepare)
    return prepare(cfg.input, cfg.output, cfg.degradation, scale=typed_scale(cfg), options=options)


def prepare(
    source: PathLike,
    output: PathLike,
    degradation: str,
    *,
    scale: float | None = None,
    options: PrepareOptions | None = None,
) -> Iterator[Prepared]:
    """Degrade HR images; gives each folder's result as soon as it is written.

    All paths are checked before anything is written; the manifest comes last. An image that cannot be read or degraded
    stops the job, since draws that go from image to image would be others without it.

    Args:
        source: an HR image, or a folder of them.
        output: the folder to write.
        degradation: the name of one, of a set of them, or of published draws.
        scale: the factor; by default that of published draws, else 2.
        options: what is written, and how.

    Raises:
        MetasrError: for bad input, options or output; see the message.
    """
    options = options or PrepareOptions()
    source, output = home_path(source), home_path(output)
    makers = _makers(degradation, scale, options)
    folders = [output / file_name(maker.name) if len(makers) > 1 else output for maker in makers]
    if not source.exists():
        raise InputError(f"no file or folder {source}; give a folder of HR images")
    images = ImageSet("input", "test", tuple(list_images(source) if source.is_dir() else [source]))
    for folder in folders:
        _check_outputs(options, folder, images, source)
    for maker, folder in zip(makers, folders, strict=True):
        yield _prepare_one(options, maker, folder, images)


def mask_square(size: tuple[int, int], side: int, *, generator: torch.Generator, diagonal: bool = False) -> Tensor:
    """A mask that hides a square at a random place.

    Args:
        size: of the LR image, ``(h, w)``.
        side: of the square in LR pixels, above 0.
        generator: where the place is drawn from.
        diagonal: as in DDSR's public program, which takes one of the two coordinates for both, so that the square lies
            on the diagonal and may be cut off on the right; by default both count.

    Returns:
        ``(1, 1, h, w)`` float32, 0 within the square and 1 elsewhere.

    Raises:
        InputError: if the square hides the whole image or is larger.
    """
    height, width = size
    if side < 1:
        raise InputError(f"the covering square's side must be at least 1 pixel, got {side}")
    if side >= min(height, width):
        raise InputError(
            f"a square of {side} pixels leaves nothing or too little to see of an LR image of {height}x{width}; choose "
            "a smaller one: prepare.mask_side=16"
        )
    draw = torch.rand(2, generator=generator, dtype=torch.float64)
    top = int(draw[0] * (height - side + (not diagonal)))
    left = top if diagonal else int(draw[1] * (width - side + 1))
    mask = torch.ones(1, 1, height, width)
    mask[..., top : top + side, left : left + side] = 0
    if not bool(mask[0, 0].min() == 0):
        raise InputError(f"the square at ({top}, {left}) lies outside the LR image of {height}x{width}")
    return mask


def _makers(degradation: str, scale: float | None, options: PrepareOptions) -> list[Maker]:
    """One for each degradation that the name stands for, at a scale that was asked for or the default one.

    Raises:
        InputError: for an unknown name, a scale other than the name's, or a convention that it cannot have.
    """
    name, gain = degradation.strip(), options.gain
    if is_published(name):
        draws = parse_published(name, seed=options.seed, shift=options.shift)
        if scale not in (None, draws.scale):
            raise InputError(f"degradation={name} is for scale {draws.scale}, but scale={scale:g}; leave scale= out")

        def published(hr: Tensor, _: str, mask: Callable[[Tensor], Tensor | None]) -> Made:
            drawn = draws.draw(hr)
            degradation = replace(drawn.degradation, gain=gain, mask=mask(drawn.lr))
            lr = drawn.lr if gain == 1 else drawn.lr * gain  # of the 8-bit image, and not rounded again
            return Made(_covered(lr, degradation), degradation, drawn.parameters, 8 if gain == 1 else 16)

        multiple = _multiple(options, draws.scale, math.lcm(SET5_MULTIPLE, draws.scale))
        return [Maker(published, draws.name, float(draws.scale), multiple, by_name=True)]
    makers = []
    scale = float(scale or DEFAULT_SCALE)
    if scale <= 1:
        raise InputError(f"LR images need a scale above 1, got {scale:g}")
    for member in names.expand([name], scale):
        problem = names.parse(member, scale=scale)
        if options.shift == "centre" and max(abs(s) for s in problem.shift) > 1e-3:
            raise InputError(
                f"shift=centre is for the ddsr_... degradations, whose kernel can be moved; {problem} displaces an "
                f"image by {problem.shift[0]:g} HR pixels: leave shift= out, or take bicubic subsampling (_b)"
            )

        def fixed(
            hr: Tensor, image: str, mask: Callable[[Tensor], Tensor | None], problem: Degradation = problem
        ) -> Made:
            source = generator_from(options.seed, image, str(problem), "degrade")
            lr = replace(problem, gain=gain)(hr, generator=source)
            made_by = replace(problem, gain=gain, mask=mask(lr))
            return Made(_covered(lr, made_by), made_by, {})

        whole = int(scale) if scale == int(scale) else 1
        makers.append(Maker(fixed, str(problem), scale, _multiple(options, whole, whole), by_name=False))
    return makers


def _multiple(options: PrepareOptions, scale: int, default: int) -> int:
    """What HR sides are cut to a multiple of."""
    wanted = options.multiple
    if wanted is None:
        return default
    if wanted % scale:
        raise InputError(f"prepare.multiple must be a multiple of the scale {scale}, got {wanted}")
    return int(wanted)


def _covered(lr: Tensor, degradation: Degradation) -> Tensor:
    return lr if degradation.mask is None else lr * degradation.mask


def _paths(options: PrepareOptions, folder: Path, name: str) -> dict[str, Path]:
    """What may be written of an image."""
    paths = {"lr": folder / "lr" / f"{name}.png", "kernel": folder / "kernels" / f"{name}.npy"}
    if options.hr:
        paths["hr"] = folder / "hr" / f"{name}.png"
    if options.mask != "none":
        paths["mask"] = folder / "masks" / f"{name}.png"
    return paths


def _check_outputs(options: PrepareOptions, folder: Path, images: ImageSet, source: Path) -> None:
    paths = [path for name in images.names for path in _paths(options, folder, name).values()]
    input_folder = (source if source.is_dir() else source.parent).resolve()
    for place in (folder, *{path.parent for path in paths}):
        if place.resolve() == input_folder:
            raise OutputError(
                f"output {folder} would put files into the input's own folder {input_folder}; choose another output"
            )
    require_apart(images.paths, paths)
    for path in paths:
        if path.suffix == ".npy":
            check_new_file(path, overwrite=options.overwrite)
        else:
            check_output(path, overwrite=options.overwrite)
    check_new_file(folder / MANIFEST_NAME, overwrite=options.overwrite)


def _prepare_one(options: PrepareOptions, maker: Maker, folder: Path, images: ImageSet) -> Prepared:
    order = sorted(range(len(images)), key=lambda i: images.paths[i].name) if maker.by_name else range(len(images))
    rows: list[dict[str, Any]] = []
    offsets: list[tuple[float, float]] = []
    for i in order:
        path, name = images.paths[i], images.names[i]
        photo = read_photo(path)
        with told_of(path):
            hr = _cut(photo.rgb[None], maker.multiple)
            problem = maker.make(hr, name, lambda lr, name=name: _mask(options, lr, name))  # type: ignore[misc]
        rows.append(_write(options, folder, photo, hr, problem, path, name))
        offsets.append(problem.degradation.shift)
    manifest = {
        "metasr": __version__,
        "degradation": maker.name,
        "scale": maker.scale,
        "seed": options.seed,
        "shift": options.shift if is_published(maker.name) else None,
        "gain": options.gain,
        "mask": options.mask,
        "images": rows,
    }
    write_text(folder / MANIFEST_NAME, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    return Prepared(folder, maker.name, maker.scale, options.seed, len(rows), _common(offsets))


def _common(offsets: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """The offset that all images have within 0.1 pixel, if there is one."""
    if any(max(axis) - min(axis) > 0.1 for axis in zip(*offsets, strict=True)):
        return None
    return fmean(down for down, _ in offsets), fmean(right for _, right in offsets)


def _cut(hr: Tensor, multiple: int) -> Tensor:
    height, width = (n - n % multiple for n in hr.shape[-2:])
    if min(height, width) == 0:
        raise InputError(
            f"an HR image of {hr.shape[-2]}x{hr.shape[-1]} has nothing left when its sides are cut to multiples of "
            f"{multiple}; leave it out, or set prepare.multiple"
        )
    return hr[..., :height, :width]


def _mask(options: PrepareOptions, lr: Tensor, name: str) -> Tensor | None:
    if options.mask == "none":
        return None
    size = (lr.shape[-2], lr.shape[-1])
    generator = generator_from(options.seed, name, "mask")
    return mask_square(size, options.mask_side, generator=generator, diagonal=options.mask == "published")


def _write(
    options: PrepareOptions, folder: Path, photo: Photo, hr: Tensor, made: Made, source: Path, name: str
) -> dict[str, Any]:
    """Write one image's files; gives its row of the manifest."""
    paths, degradation = _paths(options, folder, name), made.degradation
    grey = photo.grey and not degradation.noisy
    write_photo(Photo(made.lr[0], grey=grey, bits=made.bits), paths["lr"], overwrite=options.overwrite)
    written = {"lr": paths["lr"]}
    if degradation.kernel is not None:
        save_kernel(degradation.kernel, paths["kernel"])
        written["kernel"] = paths["kernel"]
    if "hr" in paths:
        kept = replace(photo, rgb=hr[0].contiguous(), alpha=None)
        written["hr"] = write_photo(kept, paths["hr"], overwrite=options.overwrite)
    if degradation.mask is not None and "mask" in paths:
        seen = Photo(degradation.mask[0].expand(3, -1, -1).contiguous(), grey=True)
        written["mask"] = write_photo(seen, paths["mask"], overwrite=options.overwrite)
    return {
        "name": name,
        "source": source.name,
        "hr_size": list(hr.shape[-2:]),
        "lr_size": list(made.lr.shape[-2:]),
        **{key: path.relative_to(folder).as_posix() for key, path in written.items()},
        "lr_sha256": file_hash(paths["lr"]),
        "offset": [round(s, 6) + 0.0 for s in degradation.shift],
        "noise_std": round(degradation.noise_level * 255, 6),
        "downsample": degradation.downsample,
        "padding": degradation.padding,
        "quantise": degradation.quantise,
        "parameters": made.parameters,
    }
