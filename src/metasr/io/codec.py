"""From the bytes of an image file to samples and back: everything that knows Pillow's modes and formats."""

from __future__ import annotations

import io
import math
import struct
import threading
import zlib
from contextlib import nullcontext
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms

from metasr.errors import DataError
from metasr.io import deep, exif, heif, jpeg_frames, png_chunks, whole_pixels
from metasr.io.jpeg import Jpeg, read_header
from metasr.io.quiet import captured_stderr

MAX_PIXELS = 200_000_000
"""Largest image read where nothing else is said, in pixels: 2.4 GB as float32 RGB."""

READ_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000", "AVIF", "ICO", "PSD", "TGA")
"""Pillow's names of the formats read: those that it decodes itself (not EPS, for which it starts Ghostscript)."""

SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG"},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".webp": {"format": "WEBP", "lossless": True, "exact": True},
    ".tif": {"format": "TIFF"},
    ".tiff": {"format": "TIFF"},
    ".bmp": {"format": "BMP"},
}
"""How each suffix (lower case) is written."""

LOSSY_SUFFIXES = (".jpg", ".jpeg", ".webp")
"""Suffixes of the formats that a quality can be asked of."""

DEEP_SUFFIXES = (".png", ".tif", ".tiff")
"""Suffixes of the formats that keep 16 bits per channel."""

_BITS_PER_SAMPLE, _PHOTOMETRIC, _ORIENTATION, _X_RESOLUTION = 258, 262, 274, 282  # TIFF and EXIF tags
_TGA_ENDING = b"TRUEVISION-XFILE.\0"
_NOT_FRAMES = ("MPO", "PSD", "ICO")  # a camera's previews, layers, and sizes of one picture
_pillow_limit = threading.Lock()


class Samples(NamedTuple):
    """Decoded pixels.

    Attributes:
        values: ``(H, W, C)`` uint8 or uint16; C = 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA).
        full: the value that means full intensity.
        icc_profile: the colour profile, if the file has one for this number of colours.
        cut: whether the file has more bits than these.
        dpi: pixels per inch across and down, if the file says so.
        colour_chunks: a PNG's chunks about colour, names and bytes.
        exif: EXIF data (``io.exif.carried``), if the file has any.
        frames: how many pictures the file holds.
        jpeg: how the file was compressed, if it is a JPEG.
    """

    values: np.ndarray
    full: int
    icc_profile: bytes | None = None
    cut: bool = False
    dpi: tuple[float, float] | None = None
    colour_chunks: tuple[tuple[str, bytes], ...] = ()
    exif: bytes | None = None
    frames: int = 1
    jpeg: Jpeg | None = None


def decode(handle: IO[bytes], *, frame: int = 0, max_pixels: int = MAX_PIXELS, is_tga: bool = False) -> Samples:
    """Decode one frame of an image file, upright.

    Args:
        handle: the file, at its beginning.
        frame: which of several frames or pages, from 0.
        max_pixels: what a header may claim at most.
        is_tga: whether the file is named as a TGA, which nothing in old files of that format tells.

    Raises:
        DataError: if the file is empty, not an image, without pixels, too large, truncated, of pixels without a stated
            range, or has no such frame.
        Exception: whatever a decoder raises on damaged data.
    """
    with open_image(handle, is_tga=is_tga) as image:
        frames = _count_frames(image)
        if not 0 <= frame < frames:
            raise DataError(f"it holds {frames} frame(s), so frame must be 0 to {frames - 1}, got {frame}")
        check_size(image, max_pixels=max_pixels)
        if frame > 0:
            image.seek(frame)
            check_size(image, max_pixels=max_pixels)
        png = None
        if image.format == "PNG":
            place = handle.tell()
            handle.seek(0)
            png = png_chunks.inspect(handle)
            handle.seek(place)
        jpeg_frames.check_tables(image)
        whole_pixels.before_loading(image, handle)
        values, full, cut = _read(image, handle, png if frame == 0 else None, frame)
        orientation = _orientation(image)
        jpeg = read_header(image) if frame == 0 else None
        if jpeg is not None:
            jpeg = jpeg.seen(orientation, size=values.shape[:2])
        profile = _matching_profile(image.info.get("icc_profile"), grey=values.shape[2] < 3)
        dpi = _dpi(image)
        metadata = exif.carried(image)
    colour = png.colour if png is not None else ()
    return Samples(_upright(values, orientation), full, profile, cut, dpi, colour, metadata, frames, jpeg)


def encode(samples: Samples, suffix: str, *, quality: int | None = None) -> bytes:
    """Encode samples in the format of a suffix (a key of ``SAVE_OPTIONS``); uint16 for ``DEEP_SUFFIXES`` alone.

    A profile and EXIF data go into all formats but BMP, the resolution into all, a PNG's colour chunks into PNG.

    Args:
        samples: what to encode.
        suffix: of the format.
        quality: of ``LOSSY_SUFFIXES``, 1 to 100; by default JPEG's 95, and WebP without loss.
    """
    values = samples.values
    size = values.shape[0], values.shape[1]
    metadata = b""
    if samples.exif or suffix == ".webp":  # which has no other place for the resolution
        metadata = exif.completed(samples.exif, size=size, dpi=samples.dpi)
    profile = _matching_profile(samples.icc_profile, grey=values.shape[2] < 3 and suffix != ".webp")  # WebP is RGB
    if values.dtype == np.uint16 and suffix != ".png":
        if values.shape[2] == 2:
            values = values[..., [0, 0, 0, 1]]
            profile = None
        return deep.encode_tiff16(values, icc_profile=profile, dpi=samples.dpi, metadata=metadata)
    if values.dtype == np.uint16:
        data = deep.encode_png16(values)
    else:
        image = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)  # mode L, LA, RGB or RGBA
        buffer = io.BytesIO()
        embed: dict[str, Any] = {"dpi": samples.dpi} if samples.dpi and suffix not in (".webp", ".png") else {}
        if profile and suffix not in (".bmp", ".png"):  # Pillow writes none to BMP
            embed["icc_profile"] = profile
        if metadata and suffix not in (".bmp", ".png"):
            embed["exif"] = exif.loaded(metadata) if suffix in DEEP_SUFFIXES else exif.PREFIX + metadata
        if quality is not None:
            embed |= {"quality": quality, "lossless": False} if suffix == ".webp" else {"quality": quality}
        image.save(buffer, **{**SAVE_OPTIONS[suffix], **embed})
        data = buffer.getvalue()
    return png_chunks.with_chunks(data, _png_extra(samples, profile, metadata)) if suffix == ".png" else data


def open_image(handle: IO[bytes], *, is_tga: bool = False) -> Image.Image:
    """Read an image file's header, with our own limit in place of Pillow's, which refuses ordinary panoramas.

    Raises:
        DataError: if the file is empty, of no known format, or of a kind of one that is not read.
    """
    size = handle.seek(0, io.SEEK_END)
    if size == 0:
        raise DataError("the file is empty (0 bytes); copy or download it again")
    handle.seek(max(0, size - len(_TGA_ENDING)))
    is_tga = is_tga or handle.read() == _TGA_ENDING
    handle.seek(0)
    formats = [name for name in READ_FORMATS if name != "TGA" or is_tga]
    jpeg_frames.check_kind(handle)
    may_be_heif = heif.is_heif(handle.read(12))
    handle.seek(0)
    if may_be_heif and heif.register():
        formats.append("HEIF")
    with _pillow_limit:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(handle, formats=formats)
        except Image.UnidentifiedImageError as error:
            if may_be_heif and not heif.can_read():
                raise DataError(heif.ADVICE) from error
            raise DataError(
                f"the content is none of the known formats ({', '.join(READ_FORMATS)}) or its header is damaged; "
                "convert it to PNG"
            ) from error
        finally:
            Image.MAX_IMAGE_PIXELS = before


def check_size(image: Image.Image, *, max_pixels: int) -> None:
    """Require an opened image to have pixels, and not too many.

    Raises:
        DataError: telling the number and how to allow it.
    """
    width, height = image.size
    if min(width, height) <= 0:
        raise DataError(f"the image has no pixels ({width}x{height}); export it again")
    if width * height > max_pixels:
        raise DataError(
            f"the image claims {width}x{height} = {width * height:,} pixels, at most {max_pixels:,} are read; if that "
            "is its true size, allow it (max_pixels, --max-pixels), or cut it into parts"
        )


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Height and width of an opened image as its EXIF orientation shows it."""
    width, height = image.size
    if image.format == "TIFF":  # Pillow's size is turned already
        return height, width
    return (width, height) if _orientation(image) >= 5 else (height, width)


def _read(
    image: Image.Image, handle: IO[bytes], png: png_chunks.Png | None, frame: int
) -> tuple[np.ndarray, int, bool]:
    """The pixels of an opened image: ``(H, W, C)``, their full value, and whether bits were cut."""
    deep_ppm = deep.read_ppm16(handle, image) if image.format == "PPM" else None
    if deep_ppm is not None:
        return *deep_ppm, False
    is_deep, is_tiff16 = _is_deep(image), image.format == "TIFF" and deep.is_tiff16(image)
    with captured_stderr() if image.format == "TIFF" else nullcontext():
        image.load()  # of deep files too: Pillow reports damage that OpenCV fills with black
    whole_pixels.after_loading(image, handle)
    if png is not None and png.depth == 16:
        return deep.read_png16(handle, png), 65535, False
    if is_tiff16:
        return deep.read_tiff16(handle, image, frame=frame), 65535, False
    if png is not None and png.depth < 8 and not png.palette and png.transparent:
        levels = np.asarray(image.convert("L"))
        clear = png.transparent[0] * 255 // (2**png.depth - 1)
        return np.stack([levels, np.where(levels == clear, 0, 255).astype(np.uint8)], -1), 255, False
    values, full = _samples(image)
    return values, full, is_deep and full == 255


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
    if mode == "CMYK":
        return np.asarray(_from_cmyk(image)), 255
    alpha = "transparency" in image.info or mode in ("LA", "La", "PA", "RGBA", "RGBa")
    colours = "L" if mode in ("1", "L", "LA", "La") else "RGB"
    values = np.asarray(image.convert(colours + "A" * alpha))
    return values.reshape(*values.shape[:2], -1), 255


def _from_cmyk(image: Image.Image) -> Image.Image:
    """Printing colours as sRGB: by the file's own profile where it has one, else by Pillow's rule of thumb."""
    profile = image.info.get("icc_profile") or b""
    if profile[16:20] == b"CMYK":
        try:
            known, wanted = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, known, wanted, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):  # a stranger's profile
            converted = None
        if converted is not None:
            return converted
    return image.convert("RGB")


def _is_deep(image: Image.Image) -> bool:
    """Whether a TIFF, PPM or HEIF file that was opened, not loaded yet, has more than 8 bits per channel."""
    bits: object = ()
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE)
        limit = 8
    elif image.format == "PPM":
        bits = next((tile.args for tile in getattr(image, "tile", [])), ())  # the largest value is among them
        limit = 255
    elif image.format == "HEIF":
        bits, limit = (image.info.get("bit_depth"),), 8
    return isinstance(bits, tuple) and any(isinstance(number, int) and number > limit for number in bits)


def _count_frames(image: Image.Image) -> int:
    """Frames or pages; 1 where later ones are damaged and cannot be counted."""
    if image.format in _NOT_FRAMES:
        return 1
    try:
        return max(1, int(getattr(image, "n_frames", 1)))
    except Exception:  # decoders raise anything at all on damaged files, and the first frame may be whole
        image.seek(0)
        return 1


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


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    """Pixels per inch across and down; None where there are none that make sense."""
    if image.format == "TIFF" and _X_RESOLUTION not in getattr(image, "tag_v2", {}):
        return None  # Pillow says 1
    try:
        across, down = (float(v) for v in image.info.get("dpi") or exif.resolution(image) or ())
    except (LookupError, TypeError, ValueError, ZeroDivisionError):
        return None
    fits = all(math.isfinite(v) and 1 <= v < 65535 for v in (across, down))
    return (across, down) if fits else None


def _png_extra(samples: Samples, profile: bytes | None, metadata: bytes) -> list[tuple[str, bytes]]:
    """What goes into a PNG beside its pixels."""
    extra = list(samples.colour_chunks)
    if profile:
        extra = [(name, data) for name, data in extra if name != "sRGB"]  # there may be one of the two
        extra.append(("iCCP", b"ICC Profile\0\0" + zlib.compress(profile)))
    if samples.dpi:
        across, down = (round(v / 0.0254) for v in samples.dpi)  # per metre
        extra.append(("pHYs", struct.pack(">IIB", across, down, 1)))
    if metadata:
        extra.append(("eXIf", metadata))
    return extra
