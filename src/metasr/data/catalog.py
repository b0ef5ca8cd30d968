"""Named data sets of high-resolution images: where their files lie, what may be learned from them, how to get them.

``image_set`` finds a set's files and refuses uses that would spoil a result: learning from a test set, or
learning from the 100 images of BSDS500 that are the test set B100.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from torch import Tensor

from metasr.data.download import fetch
from metasr.data.drawn_sets import drawn
from metasr.data.known_sets import CATALOG, DatasetInfo
from metasr.errors import DataError, InputError, nearest, require_one_of
from metasr.io.files import file_hash
from metasr.io.images import read_image, read_photo, read_size
from metasr.io.listing import is_image, list_images, natural_key
from metasr.text import pluralize

Split = Literal["train", "val", "test", "all"]

ROOT_VARIABLE = "METASR_DATA"
"""Environment variable that names the folder of data sets where no ``root`` is given."""

_ROOT_SETTING = "data.root=FOLDER, or testset_root=FOLDER for a test set"
_SAMPLES = Path(__file__).parent / "samples"
_COARSEST_TIME = 2_000_000_000  # nanoseconds between two times that every file system tells apart
_HOLD_OUT = 0.05  # share of a plain folder that is kept for validation


FileState = tuple[Path, int, int, int]


@dataclass(frozen=True)
class ImageSet:
    """The images of one split of a data set: paths, read when asked for.

    Attributes:
        name: the data set's name.
        split: which part of it.
        paths: the files, in natural order.
        crop: longest and shortest side in pixels that ``load`` keeps, from the top left, or None.
        lr: the LR image of each, where there are such: ready pairs to learn from.
    """

    name: str
    split: str
    paths: tuple[Path, ...]
    crop: tuple[int, int] | None = None
    lr: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def names(self) -> tuple[str, ...]:
        """The file names without folder and suffix; with these where two files would otherwise share a name."""
        stems = tuple(path.stem for path in self.paths)
        names = tuple(path.name for path in self.paths)
        for told in (stems, names):
            if len(set(told)) == len(told):
                return told
        common = os.path.commonpath([path.absolute().parent for path in self.paths])
        return tuple(path.absolute().relative_to(common).as_posix() for path in self.paths)

    def load(self, index: int) -> Tensor:
        """Read one image: ``(3, H, W)`` float32 RGB in [0, 1], cropped where the set asks for it."""
        return self.load_with_kind(index)[0]

    def load_with_kind(self, index: int) -> tuple[Tensor, bool]:
        """Read one image as ``load`` does, and tell whether its file is greyscale."""
        photo = read_photo(self.paths[index])
        rows, columns = self._kept(photo.rgb.shape[-2], photo.rgb.shape[-1])
        return photo.rgb[:, :rows, :columns].contiguous(), photo.grey  # (3, min(H, rows), min(W, columns))

    def load_lr(self, index: int) -> Tensor:
        """Read one image's LR image: ``(3, h, w)`` float32 RGB in [0, 1]."""
        return read_image(self.lr[index])

    def sizes(self, index: int) -> list[tuple[int, int]]:
        """Height and width of what ``load`` gives, and of the LR image if there is one, from the headers alone."""
        hr = self._kept(*read_size(self.paths[index]))
        return [hr, read_size(self.lr[index])] if self.lr else [hr]

    def _kept(self, height: int, width: int) -> tuple[int, int]:
        if self.crop is None:
            return height, width
        long, short = self.crop
        rows, columns = (short, long) if width >= height else (long, short)
        return min(height, rows), min(width, columns)

    def fingerprint(self) -> str:
        """Hash the files' names and bytes, in order (SHA-256, hex); the same wherever the set lies.

        Raises:
            DataError: naming all files that cannot be opened.
        """
        states = self.file_states()
        return _hash_files((*self.paths, *self.lr)) if states is None else _hash_known_files(states)

    def file_states(self) -> tuple[FileState, ...] | None:
        """Path, times and size of every file: equal where nothing was changed since.

        None where that cannot be told: a file is missing, or so new that a second change might not show in its times.
        """
        try:
            stamps = [(path.absolute(), path.stat()) for path in (*self.paths, *self.lr)]
        except OSError:
            return None
        newest = max((stat.st_mtime_ns for _, stat in stamps), default=0)
        if time.time_ns() - newest < _COARSEST_TIME:
            return None
        return tuple((path, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size) for path, stat in stamps)

    def subset(self, max_images: int | None) -> ImageSet:
        """Keep the first images.

        Args:
            max_images: how many at most; None keeps all.

        Raises:
            InputError: if that is not above 0.
        """
        if max_images is None:
            return self
        if max_images < 1:
            raise InputError(f"max_images must be at least 1, or None for all, got {max_images}")
        return self.only(range(min(max_images, len(self))))

    def only(self, places: Iterable[int]) -> ImageSet:
        """Keep the images of these places."""
        kept = list(places)
        return replace(
            self, paths=tuple(self.paths[i] for i in kept), lr=tuple(self.lr[i] for i in kept) if self.lr else ()
        )


def _hash_files(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    faults = []
    for path in paths:
        try:
            content = file_hash(path)
        except OSError as error:
            faults.append(f"{path} ({error.strerror})")
            continue
        digest.update(os.fsencode(path.name) + f"\0{content}\n".encode())
    if faults:
        raise DataError(
            f"{pluralize(len(faults), 'image')} cannot be opened; mend them, or leave them out "
            f"(data.unreadable=skip): {', '.join(faults[:20])}{', ...' if len(faults) > 20 else ''}"
        )
    return digest.hexdigest()


@lru_cache(maxsize=8)
def _hash_known_files(states: tuple[FileState, ...]) -> str:
    return _hash_files(path for path, *_ in states)


def info(name: str) -> DatasetInfo:
    """Look up a data set.

    Raises:
        DataError: on an unknown name, with the nearest ones.
    """
    if name not in CATALOG:
        raise DataError(f"there is no data set {name!r}: {nearest(name, CATALOG)}")
    return CATALOG[name]


def describe(name: str) -> str:
    """Tell a data set's splits, folder structure, licence, source and downloads, as text."""
    entry = info(name)
    usable = [f"{s} ({entry.counts[s]})" if s in entry.counts else s for s in entry.splits] or ["train", "val", "test"]
    lines = [
        f"{name}: {entry.title}",
        f"  splits:    {', '.join(usable)}",
        f"  structure: {entry.structure}",
        f"  licence:   {entry.licence}",
        f"  source:    {entry.source}",
    ]
    for reason in dict.fromkeys(entry.refusals.values()):
        lines.append(f"  not for {', '.join(s for s, r in entry.refusals.items() if r == reason)}: {reason}")
    lines += [f"  download:  {a.url} ({a.known_hash or 'no checksum is published'})" for a in entry.archives]
    return "\n".join(lines)


def image_set(
    name: str,
    *,
    split: Split = "train",
    root: str | Path | None = None,
    download: bool = False,
    val_fraction: float | None = None,
) -> ImageSet:
    """Find the images of one split of a data set.

    Args:
        name: a key of ``CATALOG``.
        split: ``"train"``, ``"val"``, ``"test"``, or ``"all"`` (every split that the set has, together).
        root: the folder that has the set's folder in it, or the set's folder itself; by default the environment
            variable ``METASR_DATA``. For ``image_folder`` the folder of images; where it has a sub-folder ``train``,
            ``val`` or ``test``, these are the splits. All are searched with their sub-folders. Not needed for
            ``samples`` and the sets that are drawn by code.
        download: fetch the set into ``root`` if it is not there.
        val_fraction: share of the training images to hold out as ``"val"``, chosen by the hash of the file name, for
            sets that have no validation images of their own; give the same to both splits. None holds out 5 % of an
            ``image_folder`` and nothing of a published set. 0 holds out nothing.

    Returns:
        The files found, at least one.

    Raises:
        DataError: on an unknown name, a split the set does not have or must not be used for, no root, a missing or
            empty folder, or a failed download.
        InputError: if ``split`` is no split or ``val_fraction`` is not in [0, 1).
    """
    entry = info(name)
    require_one_of(split, Split, name="split")
    if val_fraction is not None and not 0 <= val_fraction < 1:
        raise InputError(f"val_fraction must be in [0, 1), got {val_fraction}")
    held_out = bool(val_fraction) and "val" not in entry.splits and "train" in entry.splits
    if split in entry.refusals and not (split == "val" and held_out):
        raise DataError(f"{name} cannot be used as {split!r}: {entry.refusals[split]}")
    if name == "samples":
        folders = [s for s in ("train", "val", "test") if split in (s, "all")]
        return ImageSet(name, split, tuple(p for s in folders for p in list_images(_SAMPLES / s)))
    if entry.drawn:
        return ImageSet(name, split, tuple(drawn(name, split)))
    place = _root(entry, root)
    if name == "image_folder":
        paths = _plain_folder(place, split, val_fraction)
        if not paths:
            raise DataError(
                f"{place} has no validation images with val_fraction=0 (data.val_fraction=0); add a sub-folder val, or "
                "raise it"
            )
        return ImageSet(name, split, tuple(paths))
    if split == "all":
        every = dict.fromkeys(p for s in entry.splits for p in _find(entry, s, place, download))
        return ImageSet(name, split, tuple(every), entry.crop)
    if held_out and split in ("train", "val"):
        train, val = _hold_out(_find(entry, "train", place, download), val_fraction or 0)
        return ImageSet(name, split, tuple(train if split == "train" else val), entry.crop)
    return ImageSet(name, split, tuple(_find(entry, split, place, download)), entry.crop)


def _root(entry: DatasetInfo, root: str | Path | None) -> Path:
    place = root if root is not None else os.environ.get(ROOT_VARIABLE) or None
    if place is None or not str(place):
        raise DataError(
            f"{entry.name} needs to know where its images lie: give root ({_ROOT_SETTING}), the folder of data "
            f"sets, or set the environment variable {ROOT_VARIABLE}. Expected there: {entry.structure}. "
            "The set 'samples' needs neither."
        )
    return Path(place).expanduser()


def _find(entry: DatasetInfo, split: str, root: Path, download: bool) -> list[Path]:
    """Find the files of one split, fetching them first if need be."""
    if split not in entry.splits:
        raise DataError(f"{entry.name} has no split {split!r}, only {', '.join(map(repr, entry.splits))}")
    paths = _look(entry, split, root)
    if not paths and entry.parts:
        parts = [CATALOG[part] for part in entry.parts if split in CATALOG[part].splits]
        return [path for part in parts for path in _find(part, split, root, download)]
    if not paths and download:
        paths = _download(entry, split, root)
    if not paths:
        raise DataError(_missing(entry, split, root))
    leaked = sorted({path.stem for path in paths} & entry.apart)
    if leaked:
        raise DataError(
            f"{len(leaked)} of the {len(paths)} images in {paths[0].parent} are test images of B100 "
            f"({', '.join(leaked[:3])}, ...), so {entry.name} cannot be used with them: {entry.refusals['val']}"
        )
    expected = entry.counts.get(split)
    if expected not in (None, len(paths)):
        warnings.warn(
            f"{entry.name} ({split}) has {expected} images, found {len(paths)} in {paths[0].parent}: "
            "results are not comparable with published ones",
            stacklevel=4,
        )
    return paths


def _look(entry: DatasetInfo, split: str, root: Path) -> list[Path]:
    """Try the set's folders below the root, then the root itself, with each layout."""
    bases = [base for folder in entry.folders for base in _match([root], folder) if base.is_dir()]
    for base in dict.fromkeys([*bases, root]):
        for layout in entry.splits[split]:
            matches = [_images(_match([base], part)) for part in layout.split(" + ")]
            if all(matches):
                return sorted({p for part in matches for p in part}, key=lambda p: natural_key(p.name))
    return []


def _match(starts: Iterable[Path], pattern: str) -> list[Path]:
    """Glob below folders, case-blind on every system; hidden entries are left out."""
    level = list(starts)
    for part in pattern.lower().split("/"):
        inside = (entry for folder in level if folder.is_dir() for entry in folder.iterdir())
        level = sorted(e for e in inside if e.name[0] != "." and fnmatch.fnmatchcase(e.name.lower(), part))
    return level


def _images(paths: Iterable[Path]) -> list[Path]:
    """Keep image files, and broken links: reading those fails, where leaving them out would change an average."""
    return [p for p in paths if not os.path.isdir(p) and is_image(p)]


def _download(entry: DatasetInfo, split: str, root: Path) -> list[Path]:
    if not entry.archives:
        raise DataError(
            f"{entry.name} cannot be downloaded automatically: {entry.source}. {_missing(entry, split, root)}"
        )
    folder = root if root.name.lower() in {name.lower() for name in entry.folders} else root / entry.folders[0]
    for archive in entry.archives:
        if not archive.splits or split in archive.splits:
            try:
                fetch(archive, folder)
            except DataError as error:
                raise DataError(
                    f"{error} Or get {entry.name} by other means ({entry.source}) and place its images so: "
                    f"{entry.structure}, with ROOT as root ({_ROOT_SETTING})"
                ) from error
    paths = _look(entry, split, root)
    if not paths:
        raise DataError(
            f"{entry.name} was fetched into {folder}, but its {split} images are not where they were expected "
            f"({entry.structure}): the published archive has changed; move its images there by hand"
        )
    return paths


def _missing(entry: DatasetInfo, split: str, root: Path) -> str:
    if not root.is_dir():
        reason = "that is a file" if root.exists() else "there is no such folder"
    else:
        names = sorted((p.name + "/" * p.is_dir() for p in root.iterdir() if p.name[0] != "."), key=natural_key)
        reason = f"found there: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}" if names else "it is empty"
    get = "fetch it with download=True (data.download=true), or " if entry.archives else ""
    return (
        f"no images of {entry.name} ({split}) in {root}; {reason}. Expected: {entry.structure}. What to do: {get}"
        f"place the images so and give their folder as root ({_ROOT_SETTING}) or in the environment variable "
        f"{ROOT_VARIABLE} (source: {entry.source})"
    )


def _plain_folder(root: Path, split: str, val_fraction: float | None) -> list[Path]:
    """List a user's folder: its sub-folder for the split, else all its images, split by name."""
    subs = {sub: _match([root], sub) for sub in ("train", "val", "test")} if root.is_dir() else {}
    listed = {sub: list_images(found[0], recursive=True) for sub, found in subs.items() if found and found[0].is_dir()}
    own = sorted(_images(root.iterdir()), key=lambda p: natural_key(p.name)) if listed else []
    loose = own if listed else list_images(root, recursive=True)
    if split == "all":
        return [path for images in (*listed.values(), loose) for path in images]
    if split in listed and (split != "train" or "val" in listed):
        return listed[split]
    pool = loose if split == "test" else listed.get("train", loose)
    if not pool:
        raise DataError(
            f"{root} has the sub-folder(s) {', '.join(listed)} and no images of its own, so nothing for {split!r}; "
            f"add a sub-folder {split}, or give the folder that holds the images as root ({_ROOT_SETTING})"
        )
    if split == "test" or "val" in listed:
        return pool
    train, val = _hold_out(pool, _HOLD_OUT if val_fraction is None else val_fraction)
    return train if split == "train" else val


def _hold_out(paths: list[Path], fraction: float) -> tuple[list[Path], list[Path]]:
    """Split files by the hash of their names: at least one each way, the same in any folder and order."""
    if fraction == 0:
        return paths, []
    if len(paths) < 2:
        raise DataError(
            f"{paths[0].parent} has one image only, which cannot be both learned from and validated on; "
            "add images, or set val_fraction=0 (data.val_fraction=0) and validate on nothing"
        )
    count = min(max(1, round(len(paths) * fraction)), len(paths) - 1)
    ranked = sorted(paths, key=lambda path: hashlib.sha256(os.fsencode(path.name)).digest())
    held = set(ranked[:count])
    return [p for p in paths if p not in held], [p for p in paths if p in held]
