"""Whether an image file holds all the pixels that its header promises.

Where data end early, several decoders fill the rest without a word: with black, or grey in a JPEG. PNG files are
checked by ``io.png_chunks``; BMP, GIF, PPM, PSD, TGA, WebP and AVIF by Pillow itself.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

import numpy as np
from PIL import Image

from metasr.errors import DataError
from metasr.io import png_chunks
from metasr.io.quiet import captured_stderr

_WIDTH, _HEIGHT, _COMPRESSION, _STRIP_OFFSETS, _ROWS_PER_STRIP = 256, 257, 259, 273, 278
_JPEG_IN_TIFF = 7
_GREY = (127, 128, 129)  # what the JPEG decoder fills with: coefficients of 0


def before_loading(image: Image.Image, handle: IO[bytes]) -> None:
    """Check an image that was opened and not loaded yet.

    Args:
        image: as Pillow opened it; its position in the file is put back.
        handle: its file.

    Raises:
        DataError: if pixels are missing.
    """
    check = {"TIFF": _check_tiff, "JPEG2000": _check_jpeg2000, "ICO": _check_ico}.get(image.format or "")
    if check is not None:
        place = handle.tell()
        check(image, handle)
        handle.seek(place)


def after_loading(image: Image.Image, handle: IO[bytes]) -> None:
    """Check a JPEG that was loaded: one that ends in the decoder's grey is asked for what its decoder had to say.

    Raises:
        DataError: if pixels are missing.
    """
    if image.format not in ("JPEG", "MPO"):
        return
    corner = image.getpixel((image.width - 1, image.height - 1))
    if not all(level in _GREY for level in (corner if isinstance(corner, tuple) else (corner,))):
        return
    import cv2

    handle.seek(0)
    data = np.frombuffer(handle.read(), np.uint8)
    with captured_stderr() as stderr_text:
        cv2.imdecode(data, cv2.IMREAD_REDUCED_GRAYSCALE_8)
        if "premature end" in stderr_text().lower():
            raise _truncated(image, "its data end before the last rows")


def _check_tiff(image: Image.Image, handle: IO[bytes]) -> None:
    """Strips or tiles for the whole area; JPEG strips as high as the directory says."""
    tags = getattr(image, "tag_v2", {})
    width, height = int(tags[_WIDTH]), int(tags[_HEIGHT])  # as stored; the image's own are turned
    tiles = {tuple(tile[1]) for tile in getattr(image, "tile", ()) if tile[1] is not None}
    covered = sum((min(right, width) - left) * (min(bottom, height) - top) for left, top, right, bottom in tiles)
    if covered < width * height:
        raise _truncated(image, f"its strips hold {covered} of {width * height} pixels")
    if tags.get(_COMPRESSION) != _JPEG_IN_TIFF or _STRIP_OFFSETS not in tags:
        return
    rows = min(int(tags.get(_ROWS_PER_STRIP, height)), height)
    for i, offset in enumerate(tags[_STRIP_OFFSETS]):
        handle.seek(offset)
        held = _jpeg_height(handle)
        expected = min(rows, height - i * rows)
        if held is not None and held < expected:
            raise _truncated(image, f"a strip holds {held} of {expected} rows")


def _jpeg_height(handle: IO[bytes]) -> int | None:
    """The rows that a JPEG stream's frame header tells; None where there is none before the pixels."""
    if handle.read(2) != b"\xff\xd8":
        return None
    while len(start := handle.read(4)) == 4 and start[0] == 0xFF:
        marker, length = start[1], int.from_bytes(start[2:], "big")
        if marker == 0xDA:  # the pixels begin
            return None
        data = handle.read(length - 2) if length >= 2 else b""
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(data) >= 3:
            return int.from_bytes(data[1:3], "big")
    return None


def _check_jpeg2000(image: Image.Image, handle: IO[bytes]) -> None:
    """As many tiles as the size asks for; a missing one comes out black."""
    handle.seek(0)
    data = handle.read()
    start = data.find(b"\xff\x4f\xff\x51")  # start of codestream, then SIZ
    if start < 0 or len(data) < start + 40:
        raise _truncated(image, "it holds no codestream")
    right, bottom, _, _, width, height, left, top = struct.unpack(">8I", data[start + 8 : start + 40])
    if not (width and height):
        raise _truncated(image, "its tiles have no size")
    wanted = -(-(right - left) // width) * -(-(bottom - top) // height)
    tiles = len(set(_tiles(data, start + 2)))
    if tiles < wanted:
        raise _truncated(image, f"it holds {tiles} of {wanted} tiles")


def _tiles(data: bytes, place: int) -> Iterator[int]:
    """The tile that each tile part of a JPEG 2000 codestream belongs to (ISO 15444-1, A.4.2)."""
    while place + 12 <= len(data):
        marker, length = struct.unpack(">HH", data[place : place + 4])
        if marker == 0xFF90:  # SOT
            index, part = struct.unpack(">HI", data[place + 4 : place + 10])
            yield index
            if part < 12:  # 0: to the end of the file
                return
            place += part
        elif marker >= 0xFF00 and marker != 0xFFD9:
            place += 2 + length
        else:
            return


def _check_ico(image: Image.Image, handle: IO[bytes]) -> None:
    """The PNG inside, if the icon is one."""
    for entry in getattr(getattr(image, "ico", None), "entry", ()):
        offset = getattr(entry, "offset", None)
        if offset is None or getattr(entry, "dim", None) != image.size:
            continue
        handle.seek(offset)
        is_png = handle.read(8) == png_chunks.SIGNATURE
        if is_png:
            handle.seek(offset)
            png_chunks.inspect(handle)


def _truncated(image: Image.Image, what: str) -> DataError:
    width, height = image.size
    return DataError(
        f"the file is truncated: its header promises {width}x{height} pixels, {what}; copy or download it again"
    )
