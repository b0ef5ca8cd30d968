"""PNG files chunk by chunk: checked to be whole, what decoders pass over, and chunks put into files.

Neither Pillow nor libpng says when a file's data end before its last row: the missing pixels come out black.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple

from metasr.errors import DataError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_CHUNKS = ("cICP", "sRGB", "gAMA", "cHRM")
"""Chunks that say which colours the values mean, beside a profile; the first there counts (PNG, third edition, 4.3)."""

_IHDR_END = 33  # signature (8), then IHDR: length (4), type (4), data (13), checksum (4)
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_AT_ONCE = 1 << 20  # bytes decompressed at a time, so that a bomb takes no memory


class Png(NamedTuple):
    """What a PNG's chunks say.

    Attributes:
        depth: bits per sample, 1 to 16.
        channels: samples per pixel; 1 for a palette.
        palette: whether the samples are indices.
        transparent: the one colour that is transparent (``tRNS``), in samples of ``depth`` bits; none for palettes.
        colour: names and bytes of the chunks of ``COLOUR_CHUNKS``.
    """

    depth: int
    channels: int
    palette: bool
    transparent: tuple[int, ...] | None
    colour: tuple[tuple[str, bytes], ...]


def inspect(handle: IO[bytes]) -> Png:
    """Read a PNG's chunks and require them to be whole: checksums of all that matter, and pixels for every row.

    Args:
        handle: the file, at the PNG's beginning.

    Raises:
        DataError: for a wrong checksum, damaged data, or fewer pixels than the header promises.
    """
    if handle.read(8) != SIGNATURE:
        raise DataError("the PNG's signature is damaged; copy or download the file again")
    header: tuple[int, ...] = ()
    transparent, colour = None, []
    unpacked = zlib.decompressobj()
    wanted = got = 0
    for name, data in _chunks(handle):
        if name == "IHDR":
            header = struct.unpack(">IIBBBBB", data)
            wanted = _size(header)
        elif name == "tRNS" and header and header[3] in (0, 2):
            transparent = struct.unpack(f">{len(data) // 2}H", data)
        elif name in COLOUR_CHUNKS:
            colour.append((name, data))
        elif name == "IDAT" and got < wanted:
            got += _count(unpacked, data, wanted - got)
    if not header or got < wanted:
        promised = f"{header[0]}x{header[1]} pixels" if header else "a PNG"
        raise DataError(
            f"the file is truncated: its header promises {promised}, its data are {got} of {wanted} bytes when "
            "unpacked; copy or download it again"
        )
    _, _, depth, kind, *_ = header
    return Png(depth, _CHANNELS[kind], kind == 3, transparent, tuple(colour))


def with_chunks(data: bytes, chunks: Iterable[tuple[str, bytes]]) -> bytes:
    """Put chunks behind the header of a PNG file."""
    return data[:_IHDR_END] + b"".join(chunk(name, content) for name, content in chunks) + data[_IHDR_END:]


def chunk(name: str, data: bytes) -> bytes:
    """The bytes of one chunk: length, name, data, checksum."""
    body = name.encode("ascii") + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def is_unusual(colour: Iterable[tuple[str, bytes]]) -> bool:
    """Whether chunks say that the values are not those of sRGB, so that leaving them out changes the colours."""
    chunks = dict(colour)
    if "sRGB" in chunks and "cICP" not in chunks:
        return False
    gamma = chunks.get("gAMA", struct.pack(">I", 45455))
    primaries = chunks.get("cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
    if "cICP" in chunks or len(gamma) != 4 or len(primaries) != 32:
        return True
    usual = zip(struct.unpack(">8I", primaries), (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000), strict=True)
    return abs(struct.unpack(">I", gamma)[0] - 45455) > 500 or any(abs(a - b) > 500 for a, b in usual)


def _chunks(handle: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """Name and data of each chunk up to the end; those that matter are checked, a last one cut short is left out."""
    while len(start := handle.read(8)) == 8 and start[4:] != b"IEND":
        length = int.from_bytes(start[:4], "big")
        data, stored = handle.read(length), handle.read(4)
        name = start[4:].decode("latin-1")
        matters = start[4:5].isupper()
        if len(stored) < 4:
            if name == "IDAT":
                yield name, data
            return
        if matters and zlib.crc32(data, zlib.crc32(start[4:])) != int.from_bytes(stored, "big"):
            raise DataError(f"the file is damaged: checksum error in its {name} chunk; copy or download it again")
        if name == "IHDR" and (length != 13 or data[9] not in _CHANNELS):
            raise DataError("the file is damaged: its header is none of a PNG; copy or download it again")
        yield name, data


def _size(header: tuple[int, ...]) -> int:
    """Bytes of all rows before compression, each with its filter's byte."""
    width, height, depth, kind, _, _, interlaced = header
    bits = depth * _CHANNELS[kind]
    if not interlaced:
        return height * (1 + (width * bits + 7) // 8)
    total = 0
    for left, top, across, down in _PASSES:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def _count(unpacked: zlib._Decompress, data: bytes, most: int) -> int:
    """How many bytes a piece of compressed data gives; counting stops at ``most``."""
    got = 0
    try:
        while data and got < most:
            got += len(unpacked.decompress(data, _AT_ONCE))
            data = unpacked.unconsumed_tail
    except zlib.error as error:
        raise DataError(f"the file is damaged: its pixels cannot be unpacked ({error}); copy it again") from error
    return got
