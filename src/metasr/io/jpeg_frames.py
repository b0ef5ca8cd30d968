"""Kinds of JPEG that no decoder here reads, told by their header and by name."""

from __future__ import annotations

from typing import IO

from PIL import Image

from metasr.errors import DataError

_LOSSLESS, _HIERARCHICAL = (0xC3, 0xC7, 0xCB, 0xCF), (0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF)
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # tables of Huffman codes, reserved, conditions of arithmetic coding
_ALONE = (0x01, *range(0xD0, 0xD9))  # markers without content


def check_kind(handle: IO[bytes]) -> None:
    """Look at the frame header of a JPEG file (ITU-T T.81, B.2.2); any other file is left alone.

    Baseline, extended and progressive frames of 8 bits are read, Huffman and arithmetically coded.

    Args:
        handle: the file; its position is put back.

    Raises:
        DataError: for more than 8 bits, and lossless or hierarchical frames.
    """
    place = handle.tell()
    handle.seek(0)
    frame = _frame(handle) if handle.read(2) == b"\xff\xd8" else None
    handle.seek(place)
    if frame is None:
        return
    marker, bits = frame
    if marker in _LOSSLESS or marker in _HIERARCHICAL:
        kind = "lossless" if marker in _LOSSLESS else "hierarchical"
        raise DataError(f"it is a {kind} JPEG, which hardly any program reads; convert it to PNG with what wrote it")
    if bits != 8:
        raise DataError(
            f"it is a JPEG of {bits} bits per colour, of which 8 alone are read; convert it to 16-bit PNG with what "
            "wrote it"
        )


def check_tables(image: Image.Image) -> None:
    """Require an opened JPEG's quantisation steps to be above 0 (ITU-T T.81, B.2.4.1): else its pixels are grey.

    Raises:
        DataError: if one is not.
    """
    tables = getattr(image, "quantization", None) or {}
    if image.format in ("JPEG", "MPO") and any(not all(table) for table in tables.values()):
        raise DataError("the file is damaged: a step of its quantisation tables is 0; copy or download it again")


def _frame(handle: IO[bytes]) -> tuple[int, int] | None:
    """Marker and bits of the first frame header; none before the pixels begin, or where markers are damaged."""
    while (byte := handle.read(1)) == b"\xff":
        while (byte := handle.read(1)) == b"\xff":  # as many as a writer likes
            pass
        marker = byte[0] if byte else 0xDA
        if marker in _ALONE:
            continue
        if marker in (0xD9, 0xDA):
            return None
        length = int.from_bytes(handle.read(2), "big")
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES:
            bits = handle.read(1)
            return (marker, bits[0]) if bits else None
        handle.seek(max(0, length - 2), 1)
    return None
