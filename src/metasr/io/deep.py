"""Samples of 16 bits, exactly as stored: PNG and colour TIFF by OpenCV, binary PPM by NumPy.

Pillow keeps the upper 8 bits of these and writes none of them.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from PIL import Image

from metasr.errors import DataError
from metasr.io import exif
from metasr.io.png_chunks import SIGNATURE, Png, chunk
from metasr.io.quiet import captured_stderr

_BITS_PER_SAMPLE, _PLANAR, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 258, 284, 338, 339
_RESOLUTION_UNIT, _ICC_PROFILE = 296, 34675
_BLUE_FIRST = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}  # OpenCV's order of channels


def read_png16(handle: IO[bytes], png: Png) -> np.ndarray:
    """Read a 16-bit PNG: ``(H, W, C)`` uint16, C = 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA)."""
    values = _decode(handle)
    if png.channels == 2:  # OpenCV has no grey with alpha
        return values[..., [0, 3]]
    values = values[..., : png.channels]
    if png.transparent is None or len(png.transparent) != png.channels:
        return values
    opaque = (values != np.array(png.transparent, np.uint16)).any(-1, keepdims=True)  # (H, W, 1)
    return np.concatenate([values, opaque.astype(np.uint16) * np.uint16(65535)], -1)  # (H, W, C + 1)


def is_tiff16(image: Image.Image) -> bool:
    """Whether an opened TIFF has RGB or RGBA of 16-bit whole numbers.

    Raises:
        DataError: if it has, but plane by plane, which neither Pillow nor OpenCV reads right.
    """
    tags = getattr(image, "tag_v2", {})
    bits = tuple(tags.get(_BITS_PER_SAMPLE, ()))
    if (
        image.mode not in ("RGB", "RGBX", "RGBA", "RGBa")
        or bits not in ((16,) * 3, (16,) * 4)
        or set(tags.get(_SAMPLE_FORMAT, (1,))) != {1}
    ):
        return False
    if tags.get(_PLANAR, 1) != 1:
        raise DataError("its 16-bit colours lie plane by plane, which is not read; save it again as PNG")
    return True


def read_tiff16(handle: IO[bytes], image: Image.Image, *, frame: int) -> np.ndarray:
    """Read one page of a TIFF that ``is_tiff16`` holds for: ``(H, W, 3 or 4)`` uint16, upright."""
    values = _decode(handle, frame=frame)
    extra = getattr(image, "tag_v2", {}).get(_EXTRA_SAMPLES, (2,))
    if values.shape[2] == 3 or extra[0] == 0:  # no fourth channel, or one without a meaning
        return values[..., :3]
    if extra[0] == 1:  # alpha is multiplied in
        alpha = values[..., 3:].astype(np.float64)
        plain = np.divide(values[..., :3] * 65535.0, alpha, out=np.zeros((*alpha.shape[:2], 3)), where=alpha > 0)
        return np.concatenate([plain.round().clip(0, 65535).astype(np.uint16), values[..., 3:]], -1)
    return values


def read_ppm16(handle: IO[bytes], image: Image.Image) -> tuple[np.ndarray, int] | None:
    """Read a binary colour PPM of more than 8 bits: ``(H, W, 3)`` uint16 and the value that means full intensity.

    None for any other file.
    """
    tile = next(iter(getattr(image, "tile", ())), None)
    full = tile.args[1] if tile is not None and isinstance(tile.args, tuple) and len(tile.args) == 2 else None
    if image.mode != "RGB" or tile is None or tile.codec_name != "ppm" or not isinstance(full, int) or full <= 255:
        return None
    width, height = image.size
    handle.seek(tile.offset)
    values = np.frombuffer(handle.read(width * height * 6), ">u2")
    if values.size < width * height * 3:
        raise DataError(
            f"the file is truncated: its header promises {width}x{height} pixels, it holds {values.size // 3}"
        )
    return values.astype(np.uint16).clip(0, full).reshape(height, width, 3), full


def encode_png16(values: np.ndarray) -> bytes:
    """A 16-bit PNG of ``(H, W, C)`` uint16, C = 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA)."""
    height, width, channels = values.shape
    if channels != 2:
        return _encode(".png", values)
    rows = values.astype(">u2").view(np.uint8).reshape(height, -1)
    filtered = np.zeros((height, 1 + rows.shape[1]), np.uint8)  # filter 2 (PNG, 9.2): less the row above
    filtered[:, 0], filtered[:, 1:] = 2, np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    header = struct.pack(">IIBBBBB", width, height, 16, 4, 0, 0, 0)
    pixels = zlib.compress(filtered.tobytes())
    return SIGNATURE + chunk("IHDR", header) + chunk("IDAT", pixels) + chunk("IEND", b"")


def encode_tiff16(
    values: np.ndarray, *, icc_profile: bytes | None, dpi: tuple[float, float] | None, metadata: bytes = b""
) -> bytes:
    """A 16-bit TIFF of ``(H, W, C)`` uint16, C = 1 (grey), 3 (RGB) or 4 (RGBA); packed by LZW.

    Args:
        values: the samples.
        icc_profile: to be embedded.
        dpi: pixels per inch across and down.
        metadata: EXIF data (``io.exif.completed``).
    """
    extra: dict[int, tuple[int, bytes]] = {}  # tag: type, value
    if values.shape[2] == 4:
        extra[_EXTRA_SAMPLES] = 3, struct.pack("<H", 2)  # alpha, not multiplied in
    if icc_profile:
        extra[_ICC_PROFILE] = 7, icc_profile
    for tag, per_inch in zip((282, 283), dpi or (), strict=False):
        extra[tag] = 5, struct.pack("<II", round(per_inch * 1000), 1000)
    if dpi:
        extra[_RESOLUTION_UNIT] = 3, struct.pack("<H", 2)  # inch
    data = _encode(".tif", values)
    if metadata:
        data += bytes(len(data) % 2)
        tags, body = exif.tiff_tags(metadata, start=len(data))
        extra, data = {**tags, **extra}, data + body
    return _with_tags(data, extra)


def _with_tags(data: bytes, extra: Mapping[int, tuple[int, bytes]]) -> bytes:
    """Put tags into a little-endian TIFF of one page, by a new directory at its end (TIFF 6.0, section 2)."""
    if not extra:
        return data
    (start,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[start : start + 2])
    entries = {}
    for i in range(count):
        entry = data[start + 2 + 12 * i : start + 14 + 12 * i]
        entries[struct.unpack("<H", entry[:2])[0]] = entry
    out = bytearray(data) + bytes(len(data) % 2)
    for tag, (kind, value) in extra.items():
        number = len(value) // {2: 1, 3: 2, 4: 4, 5: 8, 7: 1}[kind]
        place = value.ljust(4, b"\0")
        if len(value) > 4:
            place = struct.pack("<I", len(out))
            out += value + bytes(len(value) % 2)
        entries[tag] = struct.pack("<HHI", tag, kind, number) + place
    out[4:8] = struct.pack("<I", len(out))
    out += struct.pack("<H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    return bytes(out)


def _decode(handle: IO[bytes], *, frame: int = 0) -> np.ndarray:
    """``(H, W, C)`` as stored, RGB order."""
    handle.seek(0)
    data = np.frombuffer(handle.read(), np.uint8)
    cv2 = _cv2()
    with captured_stderr():
        if frame == 0:
            values = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        else:
            _, pages = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, range=(frame, frame + 1))
            values = pages[0] if pages else None
    if values is None or values.dtype != np.uint16:
        raise DataError("the file is damaged: its pixels cannot be decoded; open it in a viewer, or copy it again")
    values = values.reshape(*values.shape[:2], -1)
    return values[..., _BLUE_FIRST[values.shape[2]]]


def _encode(suffix: str, values: np.ndarray) -> bytes:
    cv2 = _cv2()
    ok, data = cv2.imencode(suffix, np.ascontiguousarray(values[..., _BLUE_FIRST[values.shape[2]]]))
    if not ok:
        raise ValueError(f"OpenCV cannot write {values.shape} as {suffix}")
    return bytes(data)


def _cv2() -> Any:
    """OpenCV, told to leave the limit on pixels to us."""
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**40))
    import cv2

    return cv2
