"""PNG samples exactly as stored: 16 bits per channel, and grey of fewer than 8 bits with a transparent value.

Pillow keeps only the upper 8 bits of 16-bit colour PNG and writes none, so these files go through pypng, which is
plain Python: about a second per megapixel.
"""

from __future__ import annotations

import io
import zlib
from typing import IO

import numpy as np
import png

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IHDR_END = 33  # signature (8), then IHDR: length (4), type (4), data (13), checksum (4)


def needs_exact_read(head: bytes) -> bool:
    """Whether the first 29 bytes of a file are those of a PNG that Pillow does not read exactly."""
    if len(head) < 29 or head[:8] != _SIGNATURE or head[12:16] != b"IHDR":
        return False
    depth, colour = head[24], head[25]
    return depth == 16 or (colour == 0 and depth < 8)


def check_sums(handle: IO[bytes]) -> None:
    """Verify the checksums of a PNG's header, palette and pixels, which Pillow does not do for pixels.

    Args:
        handle: the file, at its beginning; anything but a PNG passes.

    Raises:
        png.ChunkError: if one is wrong. (A file that ends too early passes: decoding it fails.)
    """
    if handle.read(8) != _SIGNATURE:
        return
    while len(start := handle.read(8)) == 8 and start[4:] != b"IEND":
        data = handle.read(int.from_bytes(start[:4], "big"))
        stored = handle.read(4)
        critical = start[4:5].isupper()
        if critical and len(stored) == 4 and zlib.crc32(data, zlib.crc32(start[4:])) != int.from_bytes(stored, "big"):
            raise png.ChunkError(f"checksum error in the {start[4:].decode('latin-1')} chunk")


def read_samples(handle: IO[bytes]) -> tuple[np.ndarray, int]:
    """Read a PNG that holds no palette, sample for sample.

    A transparent colour (``tRNS``) becomes an alpha channel. The gamma (``gAMA``) and significant-bits (``sBIT``)
    chunks are not applied, as Pillow and most viewers do: values are taken as they are stored.

    Args:
        handle: the file, at its beginning.

    Returns:
        Samples ``(H, W, C)`` as uint16, C = 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA), and the value that means
        full intensity (65535 for 16 bits).

    Raises:
        png.Error: if the file is not such a PNG, is cut short or fails a checksum.
    """
    reader = png.Reader(file=handle)
    width, height, rows, info = reader.read()
    lines = [np.asarray(row, dtype=np.uint16) for row in rows]
    planes = int(info["planes"])
    if len(lines) != height or any(line.size != width * planes for line in lines):
        raise png.FormatError(f"expected {height} rows of {width} pixels, found fewer")
    samples = np.stack(lines).reshape(height, width, planes)
    full = 2 ** int(info["bitdepth"]) - 1
    if "transparent" in info:
        opaque = (samples != np.asarray(info["transparent"])).any(-1, keepdims=True)  # (H, W, 1)
        samples = np.concatenate([samples, opaque.astype(np.uint16) * full], axis=-1)  # (H, W, C + 1)
    return samples, full


def encode_png16(samples: np.ndarray, icc_profile: bytes | None = None) -> bytes:
    """Encode samples as a 16-bit PNG.

    Args:
        samples: ``(H, W, C)`` uint16, C = 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA).
        icc_profile: a colour profile to embed.

    Returns:
        The bytes of the file.
    """
    height, width, planes = samples.shape
    buffer = io.BytesIO()
    writer = png.Writer(width, height, greyscale=planes < 3, alpha=planes % 2 == 0, bitdepth=16)
    writer.write_packed(buffer, (row.tobytes() for row in samples.astype(">u2")))
    data = buffer.getvalue()
    if not icc_profile:
        return data
    chunk = io.BytesIO()
    png.write_chunk(chunk, b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc_profile))
    return data[:_IHDR_END] + chunk.getvalue() + data[_IHDR_END:]
