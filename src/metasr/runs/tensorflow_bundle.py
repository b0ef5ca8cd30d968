"""Variables of a TensorFlow checkpoint, read without TensorFlow.

A checkpoint of the second format ("bundle", what ``tf.train.Saver`` writes since TensorFlow 1.0) is an index and one
or more shards of data, ``NAME.index`` and ``NAME.data-00000-of-00001``. The index is a sorted table as LevelDB's:
blocks of entries whose keys share prefixes, each with a checksum, found by an index of the blocks that the file's last
48 bytes point at. Its values are protocol buffers: the kind and shape of a variable, and where in which shard its bytes
lie.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from metasr.errors import WeightsError

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_MOST_BYTES = 8 * 2**20
"""Of an index; one of a thousand variables has some 60 thousand."""
_KINDS = {1: "float32", 2: "float64", 3: "int32", 4: "uint8", 9: "int64", 10: "bool", 14: "bfloat16", 19: "float16"}
"""TensorFlow's numbers for the kinds of variables, as far as checkpoints of networks have them."""
_FLOAT32 = 1
_SUFFIX = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")


@dataclass(frozen=True)
class Bundle:
    """What a checkpoint holds.

    Attributes:
        tensors: the float32 variables by name, of their shapes.
        others: the kinds of all other variables by name; their values are not read.
    """

    tensors: dict[str, Tensor]
    others: dict[str, str]


@dataclass(frozen=True)
class _Entry:
    kind: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int


def is_bundle(path: Path) -> bool:
    """Whether a path is that of a TensorFlow checkpoint: of its index, of its data, or the name without a suffix."""
    return index_of(path).is_file() and (not path.is_file() or _SUFFIX.search(path.name) is not None)


def index_of(path: Path) -> Path:
    """The index of a checkpoint that is given by any of its files, or by their common name."""
    return path.with_name(_SUFFIX.sub("", path.name) + ".index")


def read_bundle(path: Path) -> Bundle:
    """Read a checkpoint.

    Args:
        path: its index, one of its shards, or the name that they share.

    Raises:
        WeightsError: if a file is missing, cut short, damaged (by its checksums), or of a form that is not known here.
    """
    index = index_of(path)
    if not index.is_file():
        raise WeightsError(f"no TensorFlow checkpoint {path}: there is no {index.name}; give the index's file")
    if index.stat().st_size > _MOST_BYTES:
        raise WeightsError(f"{index} is larger than the {_MOST_BYTES // 2**20} MiB that an index of a network has")
    try:
        table = dict(_table(index.read_bytes(), index))
        header = _message(table.pop(b"", b""))
        entries = {name.decode("utf-8"): _entry(value, index) for name, value in table.items()}
    except (IndexError, ValueError, struct.error, OverflowError, OSError) as error:  # whatever damage leads to
        raise WeightsError(f"{index} is no readable index of a TensorFlow checkpoint; fetch it again") from error
    if _number(header, 2):
        raise WeightsError(f"{index} was written on a big-endian machine, which is not read here")
    shards = _number(header, 1)
    floats = {name: entry for name, entry in entries.items() if entry.kind == _FLOAT32}
    others = {n: _KINDS.get(e.kind, f"kind {e.kind}") for n, e in entries.items() if e.kind != _FLOAT32}
    return Bundle({name: _values(index, shards, name, entry) for name, entry in floats.items()}, others)


def _values(index: Path, shards: int, name: str, entry: _Entry) -> Tensor:
    shard = index.with_name(f"{index.stem}.data-{entry.shard:05d}-of-{shards:05d}")
    if entry.size != 4 * math.prod(entry.shape):
        raise WeightsError(
            f"{index}: {name!r} of shape {entry.shape} is told to have {entry.size} bytes; fetch it again"
        )
    try:
        with shard.open("rb") as file:
            file.seek(entry.offset)
            data = file.read(min(entry.size, shard.stat().st_size))
    except OSError as error:
        raise WeightsError(
            f"{shard} cannot be read ({error.strerror or error}); it belongs beside {index.name}: fetch it too"
        ) from error
    if len(data) != entry.size or _masked(_crc32c(data)) != entry.checksum:
        raise WeightsError(f"{shard} is damaged or cut short: {name!r} is not what {index.name} tells; fetch it again")
    return torch.from_numpy(np.frombuffer(data, dtype="<f4").astype(np.float32).reshape(entry.shape))


def _table(data: bytes, origin: Path) -> Iterator[tuple[bytes, bytes]]:
    """All keys and values of a sorted table."""
    footer = data[-_FOOTER:]
    if len(footer) < _FOOTER or struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise WeightsError(f"{origin} is no index of a TensorFlow checkpoint; give the file that ends in .index")
    _, _, place = _handle(footer, 0)  # of the table's own notes
    offset, size, _ = _handle(footer, place)
    for _, value in _block(data, offset, size, origin):
        yield from _block(data, *_handle(value, 0)[:2], origin)


def _handle(data: bytes, place: int) -> tuple[int, int, int]:
    """Where a block begins, how long it is, and where in ``data`` that was said to the end."""
    offset, place = _varint(data, place)
    size, place = _varint(data, place)
    return offset, size, place


def _block(data: bytes, offset: int, size: int, origin: Path) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of one block: each key begins with some bytes of the one before."""
    block, kind, checksum = data[offset : offset + size], data[offset + size], data[offset + size + 1 :][:4]
    if _masked(_crc32c(data[offset : offset + size + 1])) != struct.unpack("<I", checksum)[0]:
        raise WeightsError(f"{origin} is damaged: a checksum of its does not fit; fetch it again")
    if kind != 0:
        raise WeightsError(f"{origin} is compressed, which TensorFlow's own checkpoints are not; save it without")
    end = size - 4 * (1 + struct.unpack("<I", block[-4:])[0])  # before the places where keys are whole
    place, key = 0, b""
    while place < end:
        shared, place = _varint(block, place)
        own, place = _varint(block, place)
        length, place = _varint(block, place)
        key = key[:shared] + block[place : place + own]
        yield key, block[place + own : place + own + length]
        place += own + length


def _entry(value: bytes, origin: Path) -> _Entry:
    fields = _message(value)
    if 7 in fields:
        raise WeightsError(f"{origin} holds a variable in slices, which is not read here; save it as a whole")
    shape = _message(_bytes(fields, 2))
    sizes = tuple(_number(_message(dim), 1) for dim in shape.get(2, []) if isinstance(dim, bytes))
    return _Entry(
        _number(fields, 1), sizes, _number(fields, 3), _number(fields, 4), _number(fields, 5), _number(fields, 6)
    )


def _message(data: bytes) -> dict[int, list[int | bytes]]:
    """The fields of a protocol buffer by number."""
    fields: dict[int, list[int | bytes]] = {}
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        value: int | bytes
        if tag & 7 == 0:
            value, place = _varint(data, place)
        elif tag & 7 == 2:
            length, place = _varint(data, place)
            value, place = data[place : place + length], place + length
        elif tag & 7 in (1, 5):
            width = 8 if tag & 7 == 1 else 4
            value, place = int.from_bytes(data[place : place + width], "little"), place + width
        else:
            raise ValueError(f"field of unknown form {tag & 7}")
        fields.setdefault(tag >> 3, []).append(value)
    if place > len(data):
        raise ValueError("cut short")
    return fields


def _number(fields: dict[int, list[int | bytes]], number: int) -> int:
    value = fields.get(number, [0])[-1]
    if not isinstance(value, int):
        raise ValueError(f"field {number} is no number")
    return value


def _bytes(fields: dict[int, list[int | bytes]], number: int) -> bytes:
    value = fields.get(number, [b""])[-1]
    if not isinstance(value, bytes):
        raise ValueError(f"field {number} is no text")
    return value


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits to a byte, lowest first, and where the next thing begins."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number of more than ten bytes")


@lru_cache
def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


def _crc32c(data: bytes) -> int:
    """The checksum of Castagnoli's polynomial."""
    table, value = _crc_table(), 0xFFFFFFFF
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def _masked(checksum: int) -> int:
    """A checksum as it is stored: turned and shifted, so that a checksum of checksums stays one."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
