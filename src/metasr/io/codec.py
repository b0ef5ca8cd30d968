"""From the bytes of an image file to samples and back: everything that knows Pillow's modes and formats."""

from __future__ import annotations

import io
import struct
import threading
from typing import IO, NamedTuple

import numpy as np
from PIL import Image

from metasr.errors import DataError
from metasr.io.png16 import check_sums, encode_png16, needs_exact_read, read_samples

MAX_PIXELS = 1_000_000_000
"""Largest image read, in pixels; anything above is taken for a damaged or hostile header."""

READ_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM")
"""Pillow's names of the formats read (not EPS, for which Pillow starts Ghostscript)."""

SAVE_OPTIONS: dict[str, dict[str, object]] = {
    ".png": {"format": "PNG"},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".webp": {"format": "WEBP", "lossless": True, "exact": True},
    ".tif": {"format": "TIFF"},
    ".tiff": {"format": "TIFF"},
    ".bmp": {"format": "BMP"},
}
"""How each suffix (lower case) is written."""

_BITS_PER_SAMPLE, _PHOTOMETRIC, _ORIENTATION = 258, 262, 274  # TIFF and EXIF tags
_pillow_limit = threading.Lock()


class Samples(NamedTuple):
    """Decoded pixels.

    Attributes:
        values: ``(H, W, C)`` uint8 or uint16; C = 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA).
        full: the value that means full intensity.
        icc_profile: the colour profile, if the file has one for this number of colours.
        cut: whether the file has more bits than these.
    """

    values: np.ndarray
    full: int
    icc_profile: bytes | None
    cut: bool = False


def decode(handle: IO[bytes]) -> Samples:
    """Decode the first frame of an image file, upright.

    Args:
        handle: the file, at its beginning.

    Raises:
        DataError: if the file is empty, not an image, without pixels, too large, or of pixels without a stated range.
        Exception: whatever a decoder raises on damaged data.
    """
    head = handle.read(29)
    if not head:
        raise DataError("the file is empty (0 bytes); copy or download it again")
    handle.seek(0)
    check_sums(handle)
    handle.seek(0)
    deep = False
    with _open(handle) as image:
        width, height = image.size
        if min(width, height) == 0:
            raise DataError(f"the image has no pixels ({width}x{height}); export it again")
        if width * height > MAX_PIXELS:
            raise DataError(
                f"the image claims {width}x{height} = {width * height} pixels, at most {MAX_PIXELS} are read; cut it "
                "into parts if that is its true size"
            )
        if needs_exact_read(head):
            orientation = _orientation(image)  # Pillow reads past the pixels to find it, so before the other reader
            handle.seek(0)
            values, full = read_samples(handle)
        else:
            deep = _is_deep(image)
            image.load()
            orientation = _orientation(image)
            values, full = _samples(image)
        profile = _matching_profile(image.info.get("icc_profile"), grey=values.shape[2] < 3)
    return Samples(_upright(values, orientation), full, profile, cut=deep and full == 255)


def encode(samples: Samples, suffix: str) -> bytes:
    """Encode samples in the format of a suffix (a key of ``SAVE_OPTIONS``); uint16 becomes a 16-bit PNG."""
    values = samples.values
    profile = _matching_profile(samples.icc_profile, grey=values.shape[2] < 3 and suffix != ".webp")  # WebP is RGB
    if values.dtype == np.uint16:
        return encode_png16(values, profile)
    image = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)  # mode L, LA, RGB or RGBA
    buffer = io.BytesIO()
    embed = {"icc_profile": profile} if profile and suffix != ".bmp" else {}  # Pillow writes none to BMP
    image.save(buffer, **SAVE_OPTIONS[suffix], **embed)  # type: ignore[arg-type]
    return buffer.getvalue()


def _open(handle: IO[bytes]) -> Image.Image:
    """Read the header, with our own limit in place of Pillow's, which refuses ordinary panoramas."""
    with _pillow_limit:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(handle, formats=READ_FORMATS)
        except Image.UnidentifiedImageError as error:
            raise DataError(
                f"the content is none of the known formats ({', '.join(READ_FORMATS)}) or its header is damaged; "
                "convert it to PNG"
            ) from error
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _samples(image: Image.Image) -> tuple[np.ndarray, int]:
    """Convert any of Pillow's modes to samples ``(H, W, C)`` and their full value."""
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format == "PPM"):
        tags = getattr(image, "tag_v2", {})
        full = 4095 if tags.get(_BITS_PER_SAMPLE) == (12,) else 65535
        values = np.asarray(image).astype(np.uint16)[..., None]  # (H, W, 1)
        return (full - values if tags.get(_PHOTOMETRIC) == 0 else values), full  # 0: white is zero
    if mode in ("I", "F"):
        kind = "integer" if mode == "I" else "floating-point"
        raise DataError(
            f"expected 8 or 16 bits per channel, got 32-bit {kind} pixels, whose range is not stated; "
            "convert it to 16-bit PNG"
        )
    alpha = "transparency" in image.info or mode in ("LA", "La", "PA", "RGBA", "RGBa")
    colours = "L" if mode in ("1", "L", "LA", "La") else "RGB"
    values = np.asarray(image.convert(colours + "A" * alpha))
    return values.reshape(*values.shape[:2], -1), 255


def _is_deep(image: Image.Image) -> bool:
    """Whether a TIFF or PPM that was opened, not loaded yet, has more than 8 bits per channel."""
    found: object = ()
    if image.format == "TIFF":
        found = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE)
        limit = 8
    elif image.format == "PPM":
        found = next((tile.args for tile in getattr(image, "tile", [])), ())  # the largest value is among them
        limit = 255
    return isinstance(found, tuple) and any(isinstance(number, int) and number > limit for number in found)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) where there is none or it cannot be read."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except (SyntaxError, ValueError, LookupError, TypeError, OverflowError, struct.error):  # damaged EXIF data
        return 1
    return value if value in range(1, 9) else 1


def _upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Turn and mirror ``(H, W, C)`` as the EXIF orientation asks (EXIF 2.32, tag 274)."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)  # (W, H, C): 5 is the plain transpose
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def _matching_profile(profile: bytes | None, *, grey: bool) -> bytes | None:
    """Keep a profile only if it is for these colours: a CMYK profile on an RGB image makes readers fail."""
    space = (profile or b"")[16:20]
    return profile if space == (b"GRAY" if grey else b"RGB ") else None
