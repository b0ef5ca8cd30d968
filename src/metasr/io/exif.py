"""EXIF data from file to file: date, camera, exposure and place, without what is no longer true of other pixels."""

from __future__ import annotations

import logging
import struct
from collections.abc import Mapping
from typing import Any

from PIL import Image, TiffImagePlugin

log = logging.getLogger(__name__)

PREFIX = b"Exif\0\0"
MOST = 65_000
"""Bytes that are carried at most: a JPEG has room for so many."""

_EXIF, _GPS = 0x8769, 0x8825
_X_RESOLUTION, _Y_RESOLUTION, _UNIT, _INCH = 282, 283, 296, 2
_WIDTH, _HEIGHT = 0xA002, 0xA003
_OF_IMAGE = (270, 271, 272, 305, 306, 315, 316, 18246, 33432, 40091, 40092, 40093, 40094, 40095)
"""What is carried of the image itself: description, camera, program, date, artist, rights, and Windows' own."""
_OF_PIXELS = frozenset({0x927C, _WIDTH, _HEIGHT, 0xA005, 0x9214, 0xA214, 0xA20E, 0xA20F, 0xA210})
"""What is not, of the exposure: places and sizes in the photo's pixels, and makers' notes, whose offsets break."""


def carried(image: Image.Image) -> bytes | None:
    """The EXIF data of an opened image that are true of its enlargement too; none where there are none, or damaged.

    The orientation is not among them, as pixels are upright once they are read, nor is a thumbnail.

    Returns:
        A TIFF structure, at most ``MOST`` bytes.
    """
    try:
        found = image.getexif()
        tags = {tag: found[tag] for tag in _OF_IMAGE if tag in found}
        parts = {pointer: dict(found.get_ifd(pointer)) for pointer in (_EXIF, _GPS)}
    except Exception as error:  # a stranger's data, of which Pillow's readers raise anything
        log.info("EXIF data left out, as they are damaged (%s)", error)
        return None
    parts[_EXIF] = {tag: value for tag, value in parts[_EXIF].items() if tag not in _OF_PIXELS}
    data = _packed(tags, parts)
    if data is not None and len(data) > MOST:
        log.info("EXIF data left out: %d bytes, at most %d are carried", len(data), MOST)
        return None
    return data


def completed(data: bytes | None, *, size: tuple[int, int], dpi: tuple[float, float] | None) -> bytes:
    """EXIF data with the new image's height and width, and its pixels per inch where they are known."""
    exif = loaded(data)
    parts = {pointer: dict(exif.get_ifd(pointer)) for pointer in (_EXIF, _GPS)}
    tags = {tag: exif[tag] for tag in _OF_IMAGE if tag in exif}
    if data is not None:
        parts[_EXIF] |= {_HEIGHT: size[0], _WIDTH: size[1]}
    if dpi is not None:
        tags |= {_X_RESOLUTION: dpi[0], _Y_RESOLUTION: dpi[1], _UNIT: _INCH}
    return _packed(tags, parts) or b""


def loaded(data: bytes | None) -> Image.Exif:
    """EXIF data as Pillow has them."""
    exif = Image.Exif()
    if data:
        exif.load(PREFIX + data)
    return exif


def resolution(image: Image.Image) -> tuple[float, float] | None:
    """Pixels per inch across and down, as EXIF data tell them."""
    try:
        exif = image.getexif()
        per_inch = {2: 1.0, 3: 2.54}[exif.get(_UNIT, _INCH)]
        return float(exif[_X_RESOLUTION]) * per_inch, float(exif[_Y_RESOLUTION]) * per_inch
    except (LookupError, TypeError, ValueError, ZeroDivisionError, SyntaxError, OverflowError, struct.error):
        return None


def tiff_tags(data: bytes, *, start: int) -> tuple[dict[int, tuple[int, bytes]], bytes]:
    """EXIF data as tags of a little-endian TIFF, and the bytes that these point to.

    Args:
        data: of ``completed``.
        start: where in the file the bytes will stand.

    Returns:
        Type and value of each tag, and the bytes.
    """
    exif = loaded(data)
    tags: dict[int, tuple[int, bytes]] = {}
    for tag in _OF_IMAGE:
        if isinstance(value := exif.get(tag), str):
            tags[tag] = 2, value.encode("utf-8", "replace") + b"\0"
    body = b""
    for pointer in (_EXIF, _GPS):
        part = exif.get_ifd(pointer)
        if part:
            tags[pointer] = 4, struct.pack("<I", start + len(body))
            body += _directory(part).tobytes(start + len(body))
            body += bytes(len(body) % 2)
    return tags, body


def _packed(tags: Mapping[int, Any], parts: Mapping[int, Mapping[int, Any]]) -> bytes | None:
    """A TIFF structure of as many of the tags as can be written; none of none."""
    exif = Image.Exif()
    for tag, value in tags.items():
        if _can_write({tag: value}):
            exif[tag] = value
    for pointer, part in parts.items():
        kept = {tag: value for tag, value in part.items() if _can_write({tag: value})}
        if kept:
            exif.get_ifd(pointer).update(kept)
            exif[pointer] = kept
    return exif.tobytes().removeprefix(PREFIX) if len(exif) else None


def _can_write(tags: Mapping[int, Any]) -> bool:
    try:
        _directory(tags).tobytes()
    except Exception:  # whatever a stranger's value makes Pillow's writer raise
        return False
    return True


def _directory(tags: Mapping[int, Any]) -> TiffImagePlugin.ImageFileDirectory_v2:
    directory = TiffImagePlugin.ImageFileDirectory_v2(ifh=b"II\x2a\0\x08\0\0\0")
    for tag, value in tags.items():
        directory[tag] = value
    return directory
