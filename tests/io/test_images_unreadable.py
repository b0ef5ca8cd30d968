"""Files that cannot be read as images: no image, truncated, damaged, too large."""

import io
import os
import zlib
from pathlib import Path

import png
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data.image_files import H, W, noise, photo_of, save_png
from metasr.errors import DataError
from metasr.io.images import read_image, read_photo, read_size, write_photo


def test_errors_for_what_is_not_an_image_file(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "vector.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 7\n%%EndComments\n")
    os.mkfifo(tmp_path / "pipe.png")
    for name, message in {
        "none.png": "there is none; check the path",
        "nul\0.png": "there is none; check the path",
        "n" * 300: "there is none; check the path",
        ".": "that is a folder",
        "pipe.png": "not a regular file",
        "empty.png": r"empty \(0 bytes\)",
        "text.png": "none of the known formats .*PNG.* convert it to PNG",
        "vector.png": "none of the known formats",
    }.items():
        with pytest.raises(DataError, match=message):
            read_photo(tmp_path / name)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp", ".gif", ".ppm", "16.png"])
def test_truncated_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == "16.png":
        save_png(path, noise(3, 65535, size=(37, 41)))
    else:
        Image.fromarray(noise(3, size=(37, 41))).save(path)
    data = path.read_bytes()
    for length in (3, 20, 60, len(data) // 2):
        path.write_bytes(data[:length])
        with pytest.raises(DataError, match=r"(truncated|damaged|no pixels)") as caught:
            read_photo(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_changed_bit_in_a_png_is_found(tmp_path: Path, bits: int) -> None:
    path = write_photo(photo_of(noise(3, 2**bits - 1)), tmp_path / "a.png")
    data = path.read_bytes()
    for place in range(41, len(data) - 12, 5):  # the pixels
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"the file is damaged: checksum error in its IDAT chunk"):
            read_photo(path)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_damage_is_a_data_error_or_an_image(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(DAMAGEABLE)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = DAMAGE_FOLDER / "a.bin"
    path.write_bytes(content)
    try:
        image = read_image(path)
    except DataError:
        return
    assert image.shape[0] == 3
    assert 0 <= float(image.min()) <= float(image.max()) <= 1


@pytest.fixture(autouse=True, scope="module")
def _damageable(tmp_path_factory: pytest.TempPathFactory) -> None:
    global DAMAGE_FOLDER
    DAMAGE_FOLDER = tmp_path_factory.mktemp("damage")
    for form in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "TGA", "JPEG2000", "AVIF", "ICO"):
        buffer = io.BytesIO()
        Image.fromarray(noise(3)).save(buffer, form)
        DAMAGEABLE.append(buffer.getvalue())
    save_png(DAMAGE_FOLDER / "a.png", noise(4, 65535))
    DAMAGEABLE.append((DAMAGE_FOLDER / "a.png").read_bytes())


DAMAGE_FOLDER = Path()
DAMAGEABLE: list[bytes] = []


@pytest.mark.parametrize("kind", ["I", "F"])
def test_32_bit_pixels_are_refused(tmp_path: Path, kind: str) -> None:
    Image.new(kind, (W, H)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"expected 8 or 16 bits.*32-bit .*convert it to 16-bit PNG"):
        read_photo(tmp_path / "a.tif")


def png_of_size(width: int, height: int) -> bytes:
    """A PNG of one bit per pixel whose header claims a size, with data for a few rows only."""
    out = io.BytesIO()
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    png.write_chunks(out, [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b"")])
    return out.getvalue()


def test_size_limits(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "a.png"
    before = Image.MAX_IMAGE_PIXELS
    path.write_bytes(png_of_size(50_000, 50_000))
    with pytest.raises(DataError, match=r"claims 50000x50000 = 2,500,000,000 pixels, at most 200,000,000"):
        read_photo(path)
    path.write_bytes(png_of_size(0, 7))
    with pytest.raises(DataError, match=r"no pixels \(0x7\)|damaged"):
        read_photo(path)
    assert before == Image.MAX_IMAGE_PIXELS
    assert not recwarn


def test_the_limit_is_ours_not_pillows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(noise(3)).save(tmp_path / "a.bmp")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # 35 pixels: more than twice Pillow's limit
    assert read_image(tmp_path / "a.bmp").shape == (3, H, W)
    assert read_image(tmp_path / "a.bmp", max_pixels=35).shape == (3, H, W)
    for read in (read_image, read_photo, read_size):
        with pytest.raises(
            DataError, match=r"claims 5x7 = 35 pixels, at most 34 .* allow it \(max_pixels, --max-pixels"
        ):
            read(tmp_path / "a.bmp", max_pixels=34)
