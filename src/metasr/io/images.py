"""Image files: read without losing bits, written without losing the old file.

In memory an image is float32 RGB in [0, 1]; uint8 and uint16 exist only here.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from metasr.errors import DataError, InputError, OutputError, require_one_of
from metasr.io.codec import (
    DEEP_SUFFIXES,
    LOSSY_SUFFIXES,
    MAX_PIXELS,
    SAVE_OPTIONS,
    Samples,
    check_size,
    decode,
    encode,
    open_image,
    upright_size,
)
from metasr.io.files import PathLike, check_new_file, write_bytes
from metasr.io.jpeg import Jpeg
from metasr.io.jpeg_traces import traces_of
from metasr.io.levels import to_levels
from metasr.io.listing import IMAGE_SUFFIXES, list_images, natural_key
from metasr.io.png_chunks import is_unusual

__all__ = [
    "FORMATS", "IMAGE_SUFFIXES", "MAX_PIXELS", "WRITE_SUFFIXES", "FileChoices", "Photo", "check_output",
    "from_uint8", "list_images", "natural_key", "read_image", "read_photo", "read_size", "to_uint8", "write_photo",
]  # fmt: skip

log = logging.getLogger(__name__)

WRITE_SUFFIXES = tuple(SAVE_OPTIONS)
"""Suffixes (lower case) that ``write_photo`` knows."""

_NO_ALPHA = (".jpg", ".jpeg", ".bmp")
_MAX_SIDE = {".jpg": 65500, ".jpeg": 65500, ".webp": 16383}


FORMATS = ("png", "jpg", "webp")
"""What may be asked for as ``format``."""


@dataclass(frozen=True, kw_only=True)
class FileChoices:
    """How enlarged photos are written.

    Attributes:
        format: one of ``FORMATS``; none for that of the output's name, PNG where there is none.
        quality: of JPEG (95 by default) and WebP (lossless by default), 1 to 100.
        metadata: whether EXIF data (date, camera, place) are carried over.

    Raises:
        InputError: for another format, a quality out of its range, or one of a format that has none.
    """

    format: str | None = None
    quality: int | None = None
    metadata: bool = True

    def __post_init__(self) -> None:
        if self.format is not None:
            require_one_of(self.format, FORMATS, name="format")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise InputError(f"quality must be 1 to 100, got {self.quality}")
        if self.format is not None:
            self.check(Path(f"output.{self.format}"))

    def check(self, path: Path) -> None:
        """Require a file's name to go with the choices.

        Raises:
            InputError: for a name of another format, or of one without a quality where one was asked for.
        """
        suffix = path.suffix.lower()
        if self.format is not None and suffix.replace(".jpeg", ".jpg") != f".{self.format}":
            raise InputError(f"format {self.format} was asked for, but the output is named {path.name}; leave one out")
        if self.quality is not None and suffix not in LOSSY_SUFFIXES:
            raise InputError(
                f"quality is for jpg and webp, and {path.name} would be written without loss; leave it out, or ask for "
                "format jpg or webp"
            )


@dataclass(frozen=True, eq=False)
class Photo:
    """An image and what must survive the way from file to file; ``dataclasses.replace`` it to keep the rest.

    Attributes:
        rgb: ``(3, H, W)`` float32 in [0, 1]; three equal channels where the file was greyscale.
        alpha: opacity ``(1, H, W)`` float32 in [0, 1], not multiplied into ``rgb``; None where the file has none.
        grey: whether the file was greyscale, and is to be written so.
        bits: bits per channel, 8 or 16.
        icc_profile: the colour profile's bytes; the values of ``rgb`` are in that profile's space, not converted.
        dpi: pixels per inch across and down, if the file says so.
        colour_chunks: names and bytes of a PNG's chunks about colour (``gAMA`` and the like); not applied to ``rgb``.
        exif: EXIF data: date, camera, place (``io.exif.carried``).
        jpeg: how the file was compressed, as its header tells, if it was a JPEG; it says nothing of how it is written
            (see ``compression``).

    Raises:
        InputError: if shapes, types or bits are not these.
    """

    rgb: Tensor
    alpha: Tensor | None = None
    grey: bool = False
    bits: int = 8
    icc_profile: bytes | None = None
    dpi: tuple[float, float] | None = None
    colour_chunks: tuple[tuple[str, bytes], ...] = ()
    exif: bytes | None = None
    jpeg: Jpeg | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.rgb.shape)
        if len(shape) != 3 or shape[0] != 3 or min(shape) == 0 or not self.rgb.is_floating_point():
            raise InputError(f"rgb must be floating point of shape (3, H, W), got {self.rgb.dtype} {shape}")
        alpha, want = self.alpha, (1, *shape[1:])
        if alpha is not None and (tuple(alpha.shape) != want or not alpha.is_floating_point()):
            got = f"{alpha.dtype} {tuple(alpha.shape)}"
            raise InputError(f"alpha must be floating point of shape {want}, as rgb has, got {got}")
        if self.bits not in (8, 16):
            raise InputError(f"bits must be 8 or 16, got {self.bits!r}")

    @cached_property
    def compression(self) -> Jpeg | None:
        """How the photo was compressed: as its file's header tells, else as its pixels do, if they show it clearly."""
        if self.jpeg is not None or self.bits != 8:
            return self.jpeg
        return traces_of(to_uint8(self.rgb).movedim(0, -1).cpu().numpy())

    @property
    def colourless(self) -> bool:
        """Whether all three channels are equal, as in a grey photo that is stored as RGB."""
        return self.grey or bool((self.rgb[:1] == self.rgb[1:]).all())


def to_uint8(image: Tensor) -> Tensor:
    """Convert [0, 1] to 0..255: clamp, then round to nearest (halves to even, as ``torch.round`` does).

    Args:
        image: floating point of any shape.

    Returns:
        uint8 of the same shape.

    Raises:
        InputError: if the image is not floating point, or holds NaN.
    """
    return _quantise(image, 255).to(torch.uint8)


def from_uint8(image: Tensor) -> Tensor:
    """Convert 0..255 to float32 in [0, 1]; ``to_uint8`` gives back exactly the same values.

    Raises:
        InputError: if the image is not uint8.
    """
    if image.dtype != torch.uint8:
        raise InputError(f"expected a uint8 image, got {image.dtype}; floating-point images are in [0, 1] already")
    return image.to(torch.float32) / 255


def read_image(path: PathLike, *, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Read an image file as RGB ``(3, H, W)``, float32 in [0, 1]; alpha is ignored. See ``read_photo``."""
    return read_photo(path, max_pixels=max_pixels).rgb


def read_photo(path: PathLike, *, frame: int | None = None, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read an image file with all its bits.

    The format is told by the content, not by the suffix. Greyscale, palette, CMYK and YCbCr become RGB; a transparent
    colour or palette entry becomes alpha; the EXIF orientation is applied. Sixteen bits are kept for PNG, PPM, PGM and
    TIFF; of a format or layout that keeps 8 of more bits only, a warning is logged. Values are those of the file:
    neither an ICC profile nor a PNG's gamma is applied, both are carried along.

    Args:
        path: the file.
        frame: which of several frames or pages, from 0. By default the first, with a warning where there are more.
        max_pixels: what the header may claim at most; checked before any pixel is decoded.

    Raises:
        DataError: if the file is missing, a folder, empty, truncated, damaged, of an unknown format, of 32-bit pixels
            (whose range no format states), above ``max_pixels``, or has no such frame.
    """
    path = Path(path)
    with _opened(path) as handle:
        is_tga = path.suffix.lower() == ".tga"
        samples = decode(handle, frame=frame or 0, max_pixels=max_pixels, is_tga=is_tga)
    if samples.cut:
        log.warning("%s has more than 8 bits per colour, of which 8 are read from this format; PNG keeps 16 bits", path)
    if samples.frames > 1 and frame is None:
        log.warning("%s holds %d frames, of which the first is read; choose another by frame=N (--frame N), from 0",
                    path, samples.frames)  # fmt: skip
    image = torch.from_numpy((samples.values / np.float32(samples.full)).astype(np.float32)).movedim(-1, 0)  # (C, H, W)
    channels = image.shape[0]
    grey = channels < 3
    return Photo(
        rgb=image[:1].repeat(3, 1, 1) if grey else image[:3].contiguous(),
        alpha=None if channels % 2 else image[-1:].contiguous(),
        grey=grey,
        bits=8 if samples.full <= 255 else 16,
        icc_profile=samples.icc_profile,
        dpi=samples.dpi,
        colour_chunks=samples.colour_chunks,
        exif=samples.exif,
        jpeg=samples.jpeg,
    )


def read_size(path: PathLike, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Height and width of an image file, upright, from its header alone: the work that it asks for, before any.

    Raises:
        DataError: as ``read_photo``, but for damage beyond the header.
    """
    path = Path(path)
    with _opened(path) as handle, open_image(handle, is_tga=path.suffix.lower() == ".tga") as image:
        check_size(image, max_pixels=max_pixels)
        return upright_size(image)


def write_photo(photo: Photo, path: PathLike, *, overwrite: bool = False, quality: int | None = None) -> Path:
    """Write a photo in the format of the path's suffix, completely or not at all.

    PNG and TIFF keep 16 bits; all other formats get 8. JPEG is written at quality 95 without chroma subsampling, WebP
    lossless. A greyscale photo is written as grey (the mean of its three channels; WebP has no grey and gets RGB, and
    so does a 16-bit TIFF with transparency). Values are clamped to [0, 1] and rounded to nearest. The parent folder is
    made where needed; the file appears under its name only when it is whole. A symbolic link at ``path`` is replaced,
    and what it leads to left alone.

    Args:
        photo: what to write.
        path: where; the suffix is one of ``WRITE_SUFFIXES``.
        overwrite: replace an existing file.
        quality: of JPEG (95 by default) and WebP (lossless by default), 1 to 100.

    Returns:
        The path.

    Raises:
        OutputError: if the path cannot be written: see ``check_output``; or the photo is too large for the format.
        InputError: if the photo holds NaN.
    """
    path = Path(path)
    transparent = photo.alpha is not None and bool((_quantise(photo.alpha, 255) < 255).any())
    check_output(path, overwrite=overwrite, alpha=transparent)
    suffix = path.suffix.lower()
    height, width = photo.rgb.shape[-2:]
    limit = _MAX_SIDE.get(suffix)
    if limit is not None and max(height, width) > limit:
        raise OutputError(
            f"{suffix} takes at most {limit} pixels a side, got {height}x{width}; write {path.with_suffix('.png')}"
        )
    if suffix != ".png" and photo.icc_profile is None and is_unusual(photo.colour_chunks):
        names = ", ".join(name for name, _ in photo.colour_chunks)
        log.warning(
            "%s: %s cannot hold the PNG's own gamma or colours (%s); write .png to keep them", path, suffix, names
        )
    data = _encode(photo, suffix, keep_alpha=suffix not in _NO_ALPHA, quality=quality)
    return write_bytes(path, data, overwrite=overwrite)


def check_output(path: PathLike, *, overwrite: bool = False, alpha: bool = False) -> None:
    """Require a path that ``write_photo`` can write to, so that a long run fails before its work, not after.

    Args:
        path: where an image will be written.
        overwrite: whether an existing file may be replaced.
        alpha: whether the image will have transparent pixels.

    Raises:
        OutputError: if the suffix is not one that is written, the format cannot hold alpha, or the file cannot be
            written there: see ``io.files.check_new_file``.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITE_SUFFIXES:
        raise OutputError(
            f"expected a file name that ends in {', '.join(WRITE_SUFFIXES)}, got {str(path)!r}; choose one of these"
        )
    if alpha and suffix in _NO_ALPHA:
        raise OutputError(
            f"{suffix} cannot hold the image's transparency (alpha); write {path.with_suffix('.png')} instead"
        )
    check_new_file(path, overwrite=overwrite)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open an image file; errors within name it and say what is the matter."""
    if not os.path.isfile(path):
        if os.path.islink(path) and not os.path.exists(path):
            reason = f"that is a link to {os.readlink(path)}, which is not there"
        else:
            other = "that is a folder" if os.path.isdir(path) else "that is not a regular file"
            reason = other if os.path.exists(path) else "there is none"
        raise DataError(f"expected an image file at {path}, but {reason}; check the path")
    try:
        with path.open("rb") as handle, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's are about metadata and size; damaged pixels are errors
            yield handle
    except DataError as error:
        raise DataError(f"cannot read {path}: {error}") from error.__cause__
    except MemoryError as error:  # Pillow says so too of a damaged JPEG 2000 that claims to be huge
        raise DataError(f"decoding {path} takes more memory than there is; copy it again, or convert it") from error
    except PermissionError as error:
        raise DataError(f"cannot open {path}: {error.strerror}; check its permissions") from error
    except FileNotFoundError as error:
        raise DataError(f"cannot open {path}: it has gone meanwhile; put it back, or leave it out") from error
    except Exception as error:  # decoders raise anything at all on damaged files, SyntaxError included
        raise DataError(
            f"expected a readable image at {path}, but decoding failed ({type(error).__name__}: {error}); the file "
            "seems truncated or damaged: open it in a viewer, or copy it again"
        ) from error


def _quantise(image: Tensor, full: int) -> Tensor:
    """Scale [0, 1] to integers 0..full, still floating point."""
    if not image.is_floating_point():
        raise InputError(f"expected a floating-point image in [0, 1], got {image.dtype}; convert with from_uint8")
    if bool(torch.isnan(image).any()):
        raise InputError(f"expected an image in [0, 1], got {int(torch.isnan(image).sum())} NaN values")
    wide = image.detach() if image.dtype == torch.float64 else image.detach().float()  # half is too coarse
    return to_levels(wide, full=full)


def _encode(photo: Photo, suffix: str, *, keep_alpha: bool, quality: int | None) -> bytes:
    """The bytes of the file: 16 bits where photo and format have them, else 8."""
    full, dtype = (65535, np.uint16) if photo.bits == 16 and suffix in DEEP_SUFFIXES else (255, np.uint8)
    planes = [photo.rgb.mean(0, keepdim=True) if photo.grey else photo.rgb]
    if photo.alpha is not None and keep_alpha:
        planes.append(photo.alpha)
    values = torch.cat([_quantise(plane, full) for plane in planes]).movedim(0, -1)  # (H, W, C)
    samples = Samples(
        np.ascontiguousarray(values.cpu().numpy().astype(dtype)),
        full,
        photo.icc_profile,
        dpi=photo.dpi,
        colour_chunks=photo.colour_chunks,
        exif=photo.exif,
    )
    try:
        return encode(samples, suffix, quality=quality)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot encode the image as {suffix}: {error}; write .png instead") from error
