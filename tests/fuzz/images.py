"""Image files that are damaged, lie, or are merely unusual; drawn by a seed."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from fuzz.harness import Case

FORMATS = {"png": "PNG", "jpg": "JPEG", "tif": "TIFF", "bmp": "BMP", "gif": "GIF", "webp": "WEBP", "ppm": "PPM",
           "tga": "TGA"}  # fmt: skip
MODES = {"png": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"), "jpg": ("RGB", "L", "CMYK"), "gif": ("P", "L"),
         "tif": ("RGB", "RGBA", "L", "1", "P", "CMYK", "I;16", "F", "I"), "bmp": ("RGB", "L", "1", "P"),
         "webp": ("RGB", "RGBA"), "ppm": ("RGB", "L", "1"), "tga": ("RGB", "RGBA", "L")}  # fmt: skip
UPSCALE = ("--solver", "interpolate")


def cases(seed: int = 1) -> Iterator[Case]:
    """At least 600 of them."""
    draw = random.Random(f"images {seed}")
    for suffix in FORMATS:
        for mode in MODES[suffix]:
            yield _case(f"{suffix} {mode} as it is", f"a.{suffix}", partial(encoded, suffix, mode, seed=draw.random()))
        for number in range(22):
            content = partial(_cut, suffix, draw.choice(MODES[suffix]), draw.random(), draw.random())
            yield _case(f"{suffix} cut short {number}", f"a.{suffix}", content)
        for number in range(30):
            content = partial(_flipped, suffix, draw.choice(MODES[suffix]), draw.random(), draw.choice((1, 1, 3, 20)))
            yield _case(f"{suffix} with changed bytes {number}", f"a.{suffix}", content)
        for number in range(6):
            content = partial(_head_changed, suffix, draw.random())
            yield _case(f"{suffix} with a changed head {number}", f"a.{suffix}", content)
        for other in draw.sample(sorted(FORMATS), 3):
            yield _case(f"{suffix} that is {other}", f"a.{suffix}", partial(encoded, other, "L" if other == "gif" else
                        "RGB", seed=draw.random()))  # fmt: skip
        yield _case(f"{suffix} empty", f"a.{suffix}", lambda: b"")
        yield _case(f"{suffix} of noise", f"a.{suffix}", partial(draw.randbytes, 700))
        yield _case(f"{suffix} head alone", f"a.{suffix}", partial(_head, suffix))
        yield _case(f"{suffix} twice", f"a.{suffix}", partial(_twice, suffix))
    for width, height in ((1, 1), (1, 40), (40, 1), (2, 3), (3, 2), (5, 4), (1, 2000)):
        for suffix in ("png", "jpg", "tif"):
            yield _case(f"{suffix} of {width}x{height}", f"a.{suffix}", partial(encoded, suffix, "RGB", width=width,
                        height=height))  # fmt: skip
    for width, height in ((14, 393_228), (2**31 - 1, 1), (2**31 - 1, 2**31 - 1), (0, 5), (5, 0), (30_000, 30_000),
                          (2**32 - 1, 1), (100_000, 2)):  # fmt: skip
        yield _case(f"png that claims {width}x{height}", "a.png", partial(claiming, width, height))
    for name, content in _odd_contents().items():
        yield _case(name, f"a.{name.split()[0]}", content)
    for number, name in enumerate(_odd_names()):
        yield _case(f"name {number} {name[:12]!r}", name, partial(encoded, "png", "RGB"))
    yield Case("image", "a folder named .png", lambda folder: _upscale(_made_folder(folder / "a.png"), folder))
    yield Case("image", "a pipe", lambda folder: _upscale(_pipe(folder / "a.png"), folder))
    yield Case("image", "endless zeros", lambda folder: _upscale(_link(folder / "a.png", "/dev/zero"), folder))
    yield Case("image", "a link to itself", lambda folder: _upscale(_link(folder / "a.png", "a.png"), folder))
    yield Case("image", "a link to nothing", lambda folder: _upscale(_link(folder / "a.png", "nowhere"), folder))
    yield Case("image", "no such file", lambda folder: _upscale(folder / "none.png", folder))
    yield Case("image", "an empty name", lambda folder: ["upscale", "", "-o", str(folder / "out" / "b.png")])
    for number, options in enumerate((("-n", "1"), ("-n", "0"))):
        for suffix in ("png", "jpg", "tif"):
            yield _case(f"{suffix} by another solver {number}", f"a.{suffix}", partial(encoded, suffix, "RGB"), options)


def _case(name: str, file: str, content: Callable[[], bytes], options: Sequence[str] = UPSCALE) -> Case:
    def make(folder: Path) -> Sequence[str]:
        path = os.path.join(folder, file)
        with open(path, "wb") as handle:
            handle.write(content())
        return ["upscale", path, "-o", str(folder / "out" / "b.png"), *options]

    return Case("image", name, make)


def _upscale(path: Path, folder: Path) -> Sequence[str]:
    return ["upscale", str(path), "-o", str(folder / "out" / "b.png"), *UPSCALE]


def encoded(suffix: str, mode: str = "RGB", *, width: int = 23, height: int = 17, seed: float = 0.0) -> bytes:
    """A small picture's file."""
    rng = np.random.default_rng(int(seed * 2**32))
    rgb = Image.fromarray(rng.integers(0, 256, (height, width, 3)).astype(np.uint8))
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (height, width)).astype(np.uint16))
    elif mode in ("RGBA", "LA"):
        image = rgb.convert(mode)
        image.putalpha(Image.fromarray(rng.integers(0, 256, (height, width)).astype(np.uint8)))
    else:
        image = rgb.convert(mode)
    file = io.BytesIO()
    image.save(file, FORMATS[suffix])
    return file.getvalue()


def _cut(suffix: str, mode: str, seed: float, where: float) -> bytes:
    whole = encoded(suffix, mode, seed=seed)
    return whole[: int(where * len(whole))]


def _flipped(suffix: str, mode: str, seed: float, count: int) -> bytes:
    draw = random.Random(seed)
    data = bytearray(encoded(suffix, mode, seed=seed))
    for _ in range(count):
        data[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(data)


def _head_changed(suffix: str, seed: float) -> bytes:
    draw = random.Random(seed)
    data = bytearray(encoded(suffix, seed=seed))
    for _ in range(4):
        data[draw.randrange(2, min(40, len(data)))] = draw.choice((0, 1, 127, 255))
    return bytes(data)


def _head(suffix: str) -> bytes:
    return encoded(suffix)[:12]


def _twice(suffix: str) -> bytes:
    return encoded(suffix) * 2


def chunk(name: bytes, data: bytes) -> bytes:
    """A PNG's chunk."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def claiming(width: int, height: int, *, lines: int = 3) -> bytes:
    """A PNG whose header claims a size, with a few lines of pixels."""
    row = b"\0" + b"\x80" * min(3 * max(width, 1), 100_000)
    head = struct.pack(">IIBBBBB", width % 2**32, height % 2**32, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row * lines))
            + chunk(b"IEND", b""))  # fmt: skip


def _odd_contents() -> dict[str, Callable[[], bytes]]:
    def png(*extra: bytes) -> bytes:
        whole = encoded("png")
        return whole[:33] + b"".join(extra) + whole[33:]

    def webp_page(count: int) -> bytes:
        file = io.BytesIO()
        frames = [Image.new("RGB", (9, 8), (i, 0, 0)) for i in range(count)]
        frames[0].save(file, "TIFF", save_all=True, append_images=frames[1:])
        return file.getvalue()

    bomb = zlib.compress(b"\0" * 50_000_000, 9)
    return {
        "png that inflates to 50 MB": lambda: b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 2,
            0, 0, 0)) + chunk(b"IDAT", bomb) + chunk(b"IEND", b""),
        "png with a text of 50 MB": lambda: png(chunk(b"zTXt", b"a\0\0" + bomb)),
        "png with a profile of 50 MB": lambda: png(chunk(b"iCCP", b"a\0\0" + bomb)),
        "png with a broken profile": lambda: png(chunk(b"iCCP", b"a\0\0nothing")),
        "png with two headers": lambda: png(chunk(b"IHDR", b"\0" * 13)),
        "png with a wrong sum": lambda: encoded("png")[:-20] + b"\0" * 20,
        "png with a palette of 3": lambda: png(chunk(b"PLTE", b"\1\2\3")),
        "png with a gamma of 0": lambda: png(chunk(b"gAMA", b"\0\0\0\0")),
        "png with a broken EXIF": lambda: png(chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff")),
        "png animated without frames": lambda: png(chunk(b"acTL", b"\0" * 8)),
        "jpg with an odd orientation": lambda: _with_exif(0x0112, 77),
        "jpg turned": lambda: _with_exif(0x0112, 6),
        "tif of 40 pages": lambda: webp_page(40),
        "tif big-endian head alone": lambda: b"MM\0*\0\0\0\x08" + b"\xff" * 30,
        "tif that points to itself": lambda: b"II*\0\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0",
        "png that is a web page": lambda: b"<!DOCTYPE html><html><body>not found</body></html>",
        "png that is SVG": lambda: b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        "png that is a pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
        "png that is a zip": lambda: b"PK\3\4" + b"\0" * 60,
        "png that is PostScript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(touch x) system\n",
        "ppm of 99999999999 columns": lambda: b"P6 99999999999 2 255\n\0\0",
        "ppm of text": lambda: b"P3 2 2 255\n1 2 3 4 5 6 7 8 9 a b c\n",
        "bmp of negative height": lambda: encoded("bmp")[:22] + struct.pack("<i", -17) + encoded("bmp")[26:],
        "gif without a screen": lambda: b"GIF89a" + b"\0" * 10,
    }  # fmt: skip


def _with_exif(tag: int, value: int) -> bytes:
    file, image = io.BytesIO(), Image.new("RGB", (9, 7), "red")
    exif = Image.Exif()
    exif[tag] = value
    image.save(file, "JPEG", exif=exif)
    return file.getvalue()


def _odd_names() -> list[str]:
    return [
        "a b.png", "ä ö.png", "日本.png", "a\nb.png", "a\tb.png", "-o.png", "--help.png", "${oc.env:HOME}.png", "???",
        "a=b.png", "[1,2].png", "'quoted'.png", '"x".png', "a\\b.png", "$HOME.png", "~.png", "%s.png", "{}.png",
        "a" * 200 + ".png", "a.PNG", "a.png.png", "a", ".png", "a.", "\u202egnp.png", "<script>.png",
        os.fsdecode(b"\x80.png"), os.fsdecode(b"a\xff\xfe.png"), "*.png", "a;b.png", "a|b.png", "\u0301.png", "😀.png",
    ]  # fmt: skip


def _made_folder(path: Path) -> Path:
    path.mkdir()
    return path


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _link(path: Path, target: str) -> Path:
    path.symlink_to(target)
    return path
