"""Files whose data are shorter than their headers promise, in every format; nothing but our line is printed."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.image_files import noise
from metasr.errors import DataError
from metasr.io import whole_pixels
from metasr.io.images import read_photo, read_size
from metasr.io.png_chunks import chunk

ROWS, TALL = 24, 60
VALUES = noise(3, size=(ROWS, 14))


def saved(form: str, values: np.ndarray = VALUES, **options: object) -> bytearray:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, form, **options)
    return bytearray(buffer.getvalue())


def tall_png(height: int = TALL, **options: object) -> bytes:
    data = saved("PNG", **options)
    header = data[16:20] + struct.pack(">I", height) + data[24:29]
    return bytes(data[:8]) + chunk("IHDR", bytes(header)) + bytes(data[33:])


def tall_jpeg(progressive: bool) -> bytes:
    data = saved("JPEG", progressive=progressive)
    at = data.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    data[at + 5 : at + 7] = struct.pack(">H", TALL)
    return bytes(data)


def half_jpeg(mode: str) -> bytes:
    """Cut in the middle, with a proper end."""
    buffer = io.BytesIO()
    Image.fromarray(noise(3, size=(75, 85))).convert(mode).save(buffer, "JPEG")
    return buffer.getvalue()[: len(buffer.getvalue()) // 2] + b"\xff\xd9"


def tall_tiff(compression: str | None, *, one_strip: bool) -> bytes:
    data = saved("TIFF", compression=compression)
    (start,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[start : start + 2])
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack("<HH", data[place : place + 4])
        if tag == 257 or (one_strip and tag == 278):  # the image's length, rows per strip
            data[place + 8 : place + 12] = struct.pack("<I", TALL) if kind == 4 else struct.pack("<HH", TALL, 0)
    return bytes(data)


def tall_jp2() -> bytes:
    data = saved("JPEG2000")
    size, header = data.index(b"\xff\x51"), data.index(b"ihdr")
    data[size + 10 : size + 14] = data[header + 4 : header + 8] = struct.pack(">I", TALL)
    return bytes(data)


def icon(picture: bytes, height: int) -> bytes:
    return struct.pack("<HHH BBBBHHII", 0, 1, 1, 14, height, 0, 0, 1, 24, len(picture), 22) + picture


def patched(form: str, place: int, value: bytes, **options: object) -> bytes:
    data = saved(form, **options)
    data[place : place + len(value)] = value
    return bytes(data)


def psd(rows: int) -> bytes:
    header = b"8BPS" + struct.pack(">H6xHIIHH III H", 1, 3, TALL, 14, 8, 3, 0, 0, 0, 0)
    return header + VALUES.transpose(2, 0, 1)[:, :rows].tobytes()


SHORT: dict[str, Callable[[], bytes]] = {
    "png": tall_png,
    "png, 393228 rows": lambda: tall_png(393228),
    "png in icon": lambda: icon(tall_png(200), 200),
    "jpeg": lambda: tall_jpeg(False),
    "jpeg, progressive": lambda: tall_jpeg(True),
    "jpeg, colour, cut": lambda: half_jpeg("RGB"),
    "jpeg, grey, cut": lambda: half_jpeg("L"),
    "jpeg, CMYK, cut": lambda: half_jpeg("CMYK"),
    **{
        f"tiff, {compression}, {one_strip}": lambda compression=compression, one_strip=one_strip: tall_tiff(
            compression, one_strip=one_strip
        )
        for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
        for one_strip in (False, True)
    },
    "jpeg 2000": tall_jp2,
    "bmp": lambda: patched("BMP", 22, struct.pack("<i", TALL)),
    "tga": lambda: patched("TGA", 14, struct.pack("<H", TALL)),
    "tga, packed": lambda: patched("TGA", 14, struct.pack("<H", TALL), compression="tga_rle"),
    "ppm": lambda: bytes(saved("PPM")).replace(b"14 24", b"14 60"),
    "ppm, 16 bits": lambda: b"P6 14 60 65535\n" + bytes(14 * 24 * 6),
    "psd": lambda: psd(ROWS),
    "avif": lambda: bytes(saved("AVIF"))[:-40],
    "webp": lambda: bytes(saved("WEBP"))[:-40],
    "gif": lambda: bytes(saved("GIF"))[:-40],
}


@pytest.mark.parametrize("name", SHORT)
def test_missing_pixels_are_an_error(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.tga" if name.startswith("tga") else tmp_path / "a.bin"
    path.write_bytes(SHORT[name]())
    with pytest.raises(DataError, match=r"truncated|damaged") as caught:
        read_photo(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_header_is_read_without_its_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(tall_png(393228))
    assert read_size(path) == (393228, 14)
    with pytest.raises(DataError, match=r"truncated: its header promises 14x393228 pixels, its data are \d+ of \d+"):
        read_photo(path)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("form", ["JPEG", "TIFF", "PNG"])
def test_a_size_is_told_upright(tmp_path: Path, orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(VALUES).save(tmp_path / "a", form, exif=exif)
    assert read_size(tmp_path / "a") == tuple(read_photo(tmp_path / "a").rgb.shape[1:])


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_grey_corner_is_no_damage(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (37, 41), 128 if mode == "L" else (128,) * len(mode)).save(tmp_path / "a.jpg")
    assert read_photo(tmp_path / "a.jpg").rgb.shape == (3, 41, 37)


def test_an_unpacking_bomb_is_read_as_far_as_its_header_says(tmp_path: Path) -> None:
    header = chunk("IHDR", struct.pack(">IIBBBBB", 5, 7, 8, 2, 0, 0, 0))
    bomb = chunk("IDAT", zlib.compress(bytes(50_000_000)))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + bomb + chunk("IEND", b""))
    assert read_photo(tmp_path / "a.png").rgb.shape == (3, 7, 5)


@pytest.mark.parametrize("form", ["JPEG2000", "TIFF", "ICO", "PNG", "AVIF", "WEBP", "GIF", "BMP"])
def test_whole_files_pass(tmp_path: Path, form: str) -> None:
    for i, size in enumerate([(24, 14), (1, 1), (300, 3)] if form != "ICO" else [(24, 14)]):
        values = noise(3, size=size)
        options = {"tile_size": (16, 16)} if form == "JPEG2000" else {"sizes": [(14, 24)]} if form == "ICO" else {}
        (tmp_path / str(i)).write_bytes(saved(form, values, **options))
        assert read_photo(tmp_path / str(i)).rgb.shape[1:] == size


def test_a_file_that_is_read_without_opencv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("OpenCV was asked")

    monkeypatch.setattr(whole_pixels, "captured_stderr", fail)
    Image.fromarray(VALUES).save(tmp_path / "a.jpg")
    assert read_photo(tmp_path / "a.jpg").rgb.shape == (3, 24, 14)
