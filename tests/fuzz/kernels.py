"""Kernel files that are damaged, lie, hide code, or are merely unusual; and names near the grammar of degradations."""

from __future__ import annotations

import io
import pickle
import random
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from fuzz.harness import Case
from fuzz.images import chunk, encoded
from metasr.degradation.names import EXAMPLES
from metasr.degradation.published_sets import SETS
from strangers import Bomb

UPSCALE = ("--solver", "interpolate")
_GOOD = np.outer(np.hanning(9)[1:-1], np.hanning(9)[1:-1])


def cases(seed: int = 1) -> Iterator[Case]:
    """About 170 of files."""
    draw = random.Random(f"kernels {seed}")
    for name, values in _arrays().items():
        yield _case(f"npy, {name}", "k.npy", partial(_npy, values))
        yield _case(f"mat, {name}", "k.mat", partial(_mat, {"kernel": values}))
    for name, content in _contents().items():
        yield _case(name, f"k.{name[:3]}", content)
    for suffix, whole in (("npy", partial(_npy, lambda: _GOOD)), ("mat", partial(_mat, {"kernel": lambda: _GOOD})),
                          ("png", partial(encoded, "png", "L", width=7, height=7))):  # fmt: skip
        for number in range(12):
            yield _case(f"{suffix} cut short {number}", f"k.{suffix}", partial(_cut, whole, draw.random()))
        for number in range(16):
            content = partial(_flipped, whole, draw.random())
            yield _case(f"{suffix} with changed bytes {number}", f"k.{suffix}", content)
    for end in (
        "#0",
        "#5",
        "#-1",
        "#99999999999999999999",
        "_d",
        "_b",
        "_x",
        "#0_b",
        "_n5",
        "_n-5",
        "_nnan",
        "_n1e999",
    ):
        yield _case(f"npy{end}", "k.npy", partial(_npy, lambda: _GOOD), end=end)
    yield Case("kernel", "no such file", lambda folder: _with(folder, str(folder / "none.npy")))
    yield Case("kernel", "a folder", lambda folder: _with(folder, str(_folder(folder / "k.npy"))))
    yield Case("kernel", "a null device", lambda folder: _with(folder, str(_link(folder / "k.npy", "/dev/zero"))))


def names(seed: int = 1, count: int = 200) -> Iterator[Case]:
    """Names a few changes away from good ones."""
    draw = random.Random(f"names {seed}")
    signs = "0123456789._-+einfagdbsoxX#/\\ \t\n'\"$%{}[]()é\u0660\udc80"
    seen = set()
    while len(seen) < count:
        text = draw.choice((*EXAMPLES, *SETS, "k.npy", "disc_2_d", "ddsr_gaussian", "estimate", "sigani_4_1_20_b_n5"))
        for _ in range(draw.choice((1, 1, 2, 5))):
            place = draw.randrange(len(text) + 1)
            change = draw.choice(("add", "drop", "swap", "number", "double"))
            if change == "add":
                text = text[:place] + draw.choice(signs) + text[place:]
            elif change == "drop":
                text = text[: max(0, place - 1)] + text[place:]
            elif change == "swap":
                text = text[:place] + draw.choice(signs) + text[place + 1 :]
            elif change == "double":
                text = text + text[place:]
            else:
                found = [i for i, sign in enumerate(text) if sign.isdigit()]
                at = draw.choice(found) if found else 0
                number = draw.choice(("1e9", "1e309", "-1", "0", "nan", "inf", "1e-300", "9" * 400))
                text = text[:at] + number + text[at + 1 :]
        text = text.replace("\0", "")
        if text not in seen and not text.startswith("-"):
            seen.add(text)
            yield Case("name", f"{len(seen)} {text[:30]!r}", partial(_named, text))


def _named(text: str, folder: Path) -> Sequence[str]:
    return _with(folder, text)


def _with(folder: Path, kernel: str) -> Sequence[str]:
    (folder / "a.png").write_bytes(encoded("png"))
    return ["upscale", str(folder / "a.png"), "-o", str(folder / "out" / "b.png"), "-k", kernel, *UPSCALE]


def _case(name: str, file: str, content: Callable[[], bytes], *, end: str = "") -> Case:
    def make(folder: Path) -> Sequence[str]:
        (folder / file).write_bytes(content())
        return _with(folder, f"{folder / file}{end}")

    return Case("kernel", name, make)


def _npy(values: Callable[[], np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.save(file, values(), allow_pickle=True)
    return file.getvalue()


def _mat(values: dict[str, Callable[[], np.ndarray]], **options: object) -> bytes:
    from scipy.io import savemat

    file = io.BytesIO()
    savemat(file, {name: made() for name, made in values.items()}, **options)
    return file.getvalue()


def _arrays() -> dict[str, Callable[[], np.ndarray]]:
    good = _GOOD
    return {
        "good": lambda: good, "float32": lambda: good.astype("f4"), "float16": lambda: good.astype("f2"),
        "big-endian": lambda: good.astype(">f8"), "by columns": lambda: np.asfortranarray(good),
        "whole numbers": lambda: (good * 99).astype("i4"), "bytes": lambda: (good * 255).astype("u1"),
        "truths": lambda: good > 0.2, "complex": lambda: good * (1 + 1j),
        "NaN": lambda: np.where(good > 0.9, np.nan, good),
        "infinite": lambda: np.where(good > 0.9, np.inf, good), "zeros": lambda: good * 0,
        "sum 0": lambda: good - good.mean(), "negative": lambda: -good, "huge": lambda: np.full((7, 7), 1e308),
        "tiny": lambda: np.full((7, 7), 1e-320), "even": lambda: good[:6, :6], "one row": lambda: good[3:4],
        "one value": lambda: good[3:4, 3:4], "no values": lambda: good[:0], "a vector": lambda: good[3],
        "a number": lambda: np.array(3.0), "a stack": lambda: np.stack([good] * 3),
        "four axes": lambda: good[None, None],
        "5001x5001": lambda: np.ones((5001, 5001), "u1"), "1x9001": lambda: np.ones((1, 9001), "f4"),
        "text": lambda: np.array(["a", "b"]), "objects": lambda: np.array([good, 2.0], dtype=object),
        "no object at all": lambda: np.array([[]]),
    }  # fmt: skip


def _contents() -> dict[str, Callable[[], bytes]]:
    head = b"\x93NUMPY\1\0"

    def sized(shape: str, kind: str = "'<f8'", data: bytes = b"\0" * 64) -> bytes:
        return claims(f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}", data)

    def claims(text: str, data: bytes = b"\0" * 64) -> bytes:
        padded = text.encode().ljust(118) + b"\n"
        return head + struct.pack("<H", len(padded)) + padded + data

    return {
        "npy that is a pickle": lambda: pickle.dumps(Bomb(Path("marker"))),
        "npy of pickled objects": lambda: sized("(1,)", "'|O'", pickle.dumps(Bomb(Path("marker")))),
        "npy that claims a billion squared": lambda: sized("(1000000000, 1000000000)"),
        "npy that claims 40001x40001": lambda: sized("(40001, 40001)"),
        "npy of negative sides": lambda: sized("(-3, 3)"),
        "npy with code in its head": lambda: claims("__import__('os').open('marker', 65)"),
        "npy nested in its head": lambda: head + struct.pack("<H", 9000) + b"(" * 9000,
        "npy of a record": lambda: sized("(2,)", "[('a', '<f8'), ('b', 'O')]"),
        "npy empty": lambda: b"", "npy of noise": lambda: random.Random(1).randbytes(300),
        "mat empty": lambda: b"", "mat of noise": lambda: random.Random(2).randbytes(300),
        "mat of version 4": partial(_mat, {"kernel": lambda: _GOOD}, format="4"),
        "mat packed": partial(_mat, {"kernel": lambda: _GOOD}, do_compression=True),
        "mat of version 7.3": lambda: b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM\x89HDF\r\n\x1a\n" + bytes(400),
        "mat with two arrays": partial(_mat, {"a": lambda: _GOOD, "b": lambda: _GOOD}),
        "mat with k and kernel": partial(_mat, {"k": lambda: _GOOD, "kernel": lambda: _GOOD}),
        "mat without arrays": partial(_mat, {}),
        "mat that is an image": partial(encoded, "png"),
        "png of 12001x12001": lambda: _flat_png(12_001), "png of 5001x5001": lambda: _flat_png(5001),
        "png in colour": partial(encoded, "png", "RGB", width=7, height=7),
        "png with alpha": partial(encoded, "png", "RGBA", width=7, height=7),
        "png of 16 bits": partial(encoded, "png", "I;16", width=7, height=7),
        "png of one bit": partial(encoded, "png", "1", width=7, height=7),
        "png of a palette": partial(encoded, "png", "P", width=7, height=7),
        "png even": partial(encoded, "png", "L", width=8, height=8),
        "png black": lambda: _black(7), "png that is a jpg": partial(encoded, "jpg", "L", width=7, height=7),
        "png empty": lambda: b"", "png that is npy": partial(_npy, lambda: _GOOD),
    }  # fmt: skip


def _flat_png(side: int) -> bytes:
    packed = zlib.compressobj(1)
    row = b"\0" + b"\1" * side
    data = b"".join(packed.compress(row) for _ in range(side)) + packed.flush()
    size = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _black(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (side, side)).save(file, "PNG")
    return file.getvalue()


def _cut(whole: Callable[[], bytes], where: float) -> bytes:
    data = whole()
    return data[: int(where * len(data))]


def _flipped(whole: Callable[[], bytes], seed: float) -> bytes:
    draw, data = random.Random(seed), bytearray(whole())
    for _ in range(draw.choice((1, 2, 8))):
        data[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(data)


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _link(path: Path, target: str) -> Path:
    path.symlink_to(target)
    return path
