"""Which files of a folder are images, and what is left out."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from metasr.errors import DataError
from metasr.io import heif
from metasr.io.files import PathLike
from metasr.text import pluralize

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset(
    {
        ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif", ".ppm",
        ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".j2k", ".avif", ".ico", ".psd",
    }
)  # fmt: skip
"""Suffixes (lower case) by which files are known as images."""

_OTHER_PICTURES = frozenset(
    {
        *heif.SUFFIXES, ".jxl", ".svg", ".eps", ".pdf", ".exr", ".hdr", ".dng", ".cr2", ".cr3", ".nef", ".arw",
        ".orf", ".rw2", ".raf", ".raw", ".xcf",
    }
)  # fmt: skip
_BEGINNINGS = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"8BPS", b"\0\0\1\0",
    b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51",
)  # fmt: skip


def is_image(path: Path) -> bool:
    """Whether a file is taken for an image: by its suffix, else by how its content begins.

    A broken symbolic link that is named as an image counts, so that reading it fails rather than one image going
    missing from an average.
    """
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES or (suffix in heif.SUFFIXES and heif.can_read()):
        return os.path.isfile(path) or not os.path.exists(path)
    if suffix in _OTHER_PICTURES or not os.path.isfile(path):
        return False
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return False
    return head.startswith(_BEGINNINGS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or head[4:12] == b"ftypavif"


def natural_key(name: str) -> tuple[list[int | str], str]:
    """Sort key that puts ``img2`` before ``img10`` and pays no heed to case."""
    parts = re.split(r"(\d+)", name)  # text at even places, digits at odd ones
    return [int(part) if i % 2 else part.casefold() for i, part in enumerate(parts)], name


def list_images(folder: PathLike, *, recursive: bool = False) -> list[Path]:
    """List the image files in a folder, in natural order (``img2`` before ``img10``).

    Hidden files and folders are left out, and links to folders are not followed. What else is left out is logged: as a
    warning where it is a picture of a format that is not read.

    Args:
        folder: where to look.
        recursive: look in its sub-folders too, after its own files.

    Raises:
        DataError: if the folder is missing, is not a folder, cannot be read, or holds no image.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):  # os.path, unlike pathlib, answers False where it may not look
        reason = "that is a file; give its folder" if os.path.exists(folder) else "there is none; check the path"
        raise DataError(f"expected a folder of images at {folder}, but {reason}")
    entries = list(_files(folder, recursive=recursive))
    images = [entry for entry in entries if is_image(entry)]
    others = [entry for entry in entries if entry not in set(images)]
    if not images:
        kinds = sorted({entry.suffix.lower() or "no suffix" for entry in others})
        reason = f"{len(others)} other file(s) ({', '.join(kinds[:8])})" if others else "no file"
        where = "in" if recursive else "directly in"
        searched = "" if recursive else "sub-folders are not searched: "
        raise DataError(
            f"expected images ({', '.join(sorted(IMAGE_SUFFIXES))}) {where} {folder}, found {reason}; {searched}give "
            "the folder that holds the images"
        )
    pictures = [entry for entry in others if entry.suffix.lower() in _OTHER_PICTURES]
    for left_out, level, why in (
        ([e for e in pictures if e.suffix.lower() in heif.SUFFIXES], logging.WARNING, heif.ADVICE),
        (
            [e for e in pictures if e.suffix.lower() not in heif.SUFFIXES],
            logging.WARNING,
            "of formats that are not read, convert them to PNG",
        ),
        ([entry for entry in others if entry not in pictures], logging.INFO, "no images"),
    ):
        if left_out:
            shown = ", ".join(str(entry.relative_to(folder)) for entry in left_out[:5]) + (
                ", ..." if len(left_out) > 5 else ""
            )
            log.log(level, "%s: %s left out (%s): %s", folder, pluralize(len(left_out), "file"), why, shown)
    return images


def _files(folder: Path, *, recursive: bool) -> Iterator[Path]:
    """The files of a folder in natural order, then those of its sub-folders where these are wanted."""
    try:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"cannot list the folder {folder}: {error.strerror}; check its permissions") from error
    entries.sort(key=lambda entry: natural_key(entry.name))
    yield from (entry for entry in entries if not os.path.isdir(entry))
    if recursive:
        for entry in entries:
            if os.path.isdir(entry) and not os.path.islink(entry):
                yield from _files(entry, recursive=True)
