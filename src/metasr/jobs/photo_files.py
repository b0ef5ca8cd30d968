"""Files of an upscaling job: its photos, where each result goes, and the kernels that belong to photos."""

from __future__ import annotations

import io
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from os.path import isdir
from pathlib import Path

import numpy as np
from torch import Tensor

from metasr.degradation.kernel_files import KERNEL_SUFFIXES
from metasr.errors import DataError, InputError, OutputError
from metasr.io.files import PathLike, write_bytes
from metasr.io.images import WRITE_SUFFIXES, list_images, natural_key
from metasr.io.listing import is_image
from metasr.text import pluralize

log = logging.getLogger(__name__)

Pair = tuple[Path, Path]
"""A photo, and where its enlargement goes."""


def home_path(path: PathLike) -> Path:
    """A path as it was typed, with ``~`` at its beginning for the home folder."""
    return Path(os.path.expanduser(path))


def pairs_of_files(
    sources: Sequence[PathLike],
    output: PathLike | None,
    *,
    scale: float = 2.0,
    ending: str | None = None,
    suffix: str = ".png",
    recursive: bool = False,
) -> list[Pair]:
    """Which file goes where.

    One photo goes to a file, or into a folder that exists or is written with a slash at its end; several photos, and a
    folder's, go into a folder. Without an output, results go beside their sources: ``<name>_x2.png`` for a file, a
    folder ``<name>_x2`` for a folder. Sub-folders are kept as they are.

    Args:
        sources: image files and folders of them.
        output: where to; none for beside the sources.
        scale: for the names of results beside their sources.
        ending: what these names have instead of ``_x2``.
        suffix: of all results whose names are not given.
        recursive: take the images of sub-folders too.

    Raises:
        InputError: if a source does not exist.
        OutputError: if an output is one of the sources, two photos would have the same one, or it is a file where a
            folder is needed.
    """
    if not sources:
        raise InputError("nothing to enlarge: give an image file or a folder of images")
    paths = list(dict.fromkeys(home_path(source) for source in sources))
    missing = [str(path) for path in paths if not os.path.lexists(path)]
    if missing:
        raise InputError(f"no file or folder {', '.join(missing)}; give an existing image or a folder of images")
    target = None if output is None else home_path(output)
    as_folder = target is not None and (str(output).endswith(("/", os.sep)) or target.is_dir())
    if target is not None and not as_folder and (len(paths) > 1 or paths[0].is_dir()):
        _require_folder(target, "several photos are given" if len(paths) > 1 else "input is a folder")
        as_folder = True
    ending = f"_x{scale:g}" if ending is None else ending
    pairs: list[Pair] = []
    for path in paths:
        if path.is_dir():
            whole = path.resolve()  # "." and ".." have no name to add to
            goal = target or whole.with_name(whole.name + ending)
            pairs += _pairs_of_folder(path, goal, suffix=suffix, recursive=recursive)
        elif target is None:
            pairs.append((path, path.with_name(f"{path.stem}{ending}{suffix}")))
        else:
            pairs.append((path, target / f"{path.stem}{suffix}" if as_folder else target))
    pairs = _apart_by_suffix(pairs)
    require_apart([a for a, _ in pairs], [b for _, b in pairs])
    return pairs


def without_existing(pairs: Sequence[Pair]) -> list[Pair]:
    """The photos whose results are not there yet; how many are is logged. Results are written whole or not at all."""
    left = [(source, target) for source, target in pairs if not os.path.lexists(target)]
    if len(left) < len(pairs):
        log.warning("%d of %s are enlarged already", len(pairs) - len(left), pluralize(len(pairs), "photo"))
    return left


def require_apart(sources: Iterable[Path], outputs: Iterable[Path]) -> None:
    """Require that no output is an input, by whatever path, symbolic or hard link.

    Raises:
        OutputError: naming the first that is.
    """
    inputs = {(stat.st_dev, stat.st_ino) for stat in (path.stat() for path in sources if path.exists())}
    for output in outputs:
        if output.exists() and ((stat := output.stat()).st_dev, stat.st_ino) in inputs:
            raise OutputError(f"output {output} is an input itself, which is never written over; choose another output")


def kernels_for(kernel: str, photos: Sequence[Path]) -> list[str]:
    """The name or file of each photo's kernel.

    A folder of kernels has ``NAME.npy`` or ``kernel_NAME.mat`` for each photo ``NAME``; ``_d`` or ``_b`` behind the
    folder tells the sampling, as behind a file.

    Raises:
        DataError: if a folder of kernels has none for some of them, which are all named.
    """
    folder, end = home_path(kernel), ""
    if not isdir(folder) and kernel[-2:] in ("_d", "_b"):
        folder, end = home_path(kernel[:-2]), kernel[-2:]
    if not isdir(folder):  # nor a name that no folder can have
        return [kernel] * len(photos)
    kernel_files = [_kernel_in(folder, photo) for photo in photos]
    missing = [photo for photo, path in zip(photos, kernel_files, strict=True) if path is None]
    if missing:
        stem = missing[0].stem
        raise DataError(
            f"the folder {folder} has no kernel for {', '.join(photo.name for photo in missing)}: it would be "
            f"{stem}.npy or kernel_{stem}.mat"
        )
    return [f"{path}{end}" for path in kernel_files]


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


def _kernel_in(folder: Path, photo: Path) -> Path | None:
    files = (folder / f"{stem}{s}" for stem in (photo.stem, f"kernel_{photo.stem}") for s in KERNEL_SUFFIXES)
    return next((path for path in files if path.is_file()), None)


def _require_folder(target: Path, why: str) -> None:
    if target.is_file():
        raise OutputError(f"{why}, so output must be a folder too, but {target} is a file")
    if target.suffix.lower() in WRITE_SUFFIXES:
        raise OutputError(
            f"{why}, so output must be a folder too, but {target} is a file's name; write {target}/ if a folder is "
            "meant"
        )


def _pairs_of_folder(folder: Path, target: Path, *, suffix: str, recursive: bool) -> list[Pair]:
    """The photos of a folder; what of it is left out is logged."""
    below = _folders_below(folder, target)
    if recursive:
        places = [place for place in (folder, *below) if _holds_images(place)] or [folder]
    else:
        places = [folder]
        if any(_holds_images(place) for place in below) and _holds_images(folder):
            log.warning("%s: sub-folders are left out; --recursive (recursive=true) takes them", folder)
    pairs = []
    for place in places:
        goal = target / place.relative_to(folder)
        pairs += [(path, goal / f"{path.stem}{suffix}") for path in list_images(place)]
    return pairs


def _folders_below(folder: Path, target: Path) -> list[Path]:
    """All sub-folders in natural order, but hidden ones and the one that results go to."""
    photos = []
    for place, folders, _ in os.walk(folder):
        folders[:] = sorted(
            (n for n in folders if n[0] != "." and not _is_same(Path(place) / n, target)), key=natural_key
        )
        photos += [Path(place) / name for name in folders]
    return photos


def _is_same(a: Path, b: Path) -> bool:
    return b.exists() and a.samefile(b)


def _holds_images(folder: Path) -> bool:
    return any(path.name[0] != "." and is_image(path) for path in folder.iterdir())


def _apart_by_suffix(pairs: Sequence[Pair]) -> list[Pair]:
    """The same with whole file names where results differ by their photo's suffix alone: ``a.jpg`` beside ``a.png``.

    Raises:
        OutputError: if two photos would still go to one file.
    """
    pairs = list(dict.fromkeys(pairs))
    while True:
        counts = Counter(target for _, target in pairs)
        longer = [
            (s, t.with_name(f"{s.name}{t.suffix}") if counts[t] > 1 and t.stem == s.stem else t) for s, t in pairs
        ]
        if longer == pairs:
            break
        pairs = longer
    twice = next((target for target, count in counts.items() if count > 1), None)
    if twice is not None:
        photos = " and ".join(str(source) for source, target in pairs if target == twice)
        raise OutputError(f"{photos} would be written to the same file {twice}; rename one, or enlarge them one by one")
    return pairs
