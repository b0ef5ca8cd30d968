"""Reading image files: every mode and depth against numpy or Pillow's own conversion."""

import io
from pathlib import Path

import numpy as np
import png
import pytest
import torch
from PIL import Image, ImageOps

from data.image_files import H, W, as_rgb, levels, noise, save_png
from metasr.io import codec
from metasr.io.images import read_image, read_photo


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P"])
def test_read_png_modes(tmp_path: Path, mode: str) -> None:
    source = Image.fromarray(noise(4)).convert("RGBA" if mode == "RGBA" else "RGB").convert(mode)
    source.save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    alpha = mode in ("LA", "RGBA")
    assert photo.rgb.shape == (3, H, W)
    assert photo.rgb.dtype == torch.float32
    assert photo.rgb.is_contiguous()
    assert (photo.grey, photo.bits) == (mode in ("1", "L", "LA"), 8)
    assert (photo.alpha is not None) == alpha
    assert (levels(photo) == np.asarray(source.convert("RGBA" if alpha else "RGB"))).all()
    assert torch.equal(read_image(tmp_path / "a.png"), photo.rgb)


def test_read_cmyk(tmp_path: Path) -> None:
    source = Image.new("CMYK", (W, H), (200, 100, 30, 10))
    source.save(tmp_path / "a.tif")
    photo = read_photo(tmp_path / "a.tif")
    assert not photo.grey
    assert photo.alpha is None
    assert (levels(photo) == np.asarray(source.convert("RGB"))).all()


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "RGBX", "RGBa", "La", "PA"])
def test_modes_that_few_files_have(mode: str) -> None:
    source = Image.new({"La": "LA", "RGBa": "RGBA"}.get(mode, mode), (W, H)).convert(mode)
    values, full = codec._samples(source)
    channels = {"RGBa": 4, "La": 2, "PA": 4}.get(mode, 3)
    assert (values.shape, values.dtype, full) == ((H, W, channels), np.uint8, 255)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("transparent", [False, True])
def test_read_grey_png_of_few_bits(tmp_path: Path, depth: int, transparent: bool) -> None:
    full = 2**depth - 1
    values = noise(1, full)
    value = int(values[3, 2, 0])
    save_png(tmp_path / "a.png", values, depth, transparent=value if transparent else None)
    photo = read_photo(tmp_path / "a.png")
    assert (photo.grey, photo.bits) == (True, 8)
    np.testing.assert_allclose(photo.rgb[1].numpy(), values[..., 0] / full, atol=1e-7)
    if transparent:
        assert photo.alpha is not None
        assert (photo.alpha[0].numpy() == (values[..., 0] != value)).all()
    else:
        assert photo.alpha is None


def test_read_colour_png_with_a_transparent_colour(tmp_path: Path) -> None:
    values = noise(3)
    values[2:4, 1] = (9, 8, 7)
    for name, scaled, depth in (("8", values, 8), ("16", values.astype(np.uint16) * 200, 16)):
        colour = tuple(int(v) for v in scaled[2, 1])
        save_png(tmp_path / f"{name}.png", scaled, depth, transparent=colour)
        photo = read_photo(tmp_path / f"{name}.png")
        assert photo.alpha is not None
        assert (photo.alpha[0].numpy() == (scaled != colour).any(-1)).all()
        assert (levels(photo, 2**depth - 1)[..., :3] == scaled).all()


@pytest.mark.parametrize("many", [False, True])
def test_read_palette_with_transparency(tmp_path: Path, many: bool) -> None:
    index = noise(1, 3)[..., 0]
    source = Image.new("P", (W, H))
    source.putdata(index.flatten().tolist())
    colours = np.array([[250, 0, 10], [20, 200, 30], [1, 2, 3], [90, 80, 70]])
    source.putpalette(colours.flatten().tolist())
    alphas = np.array([0, 128, 255, 7]) if many else np.array([255, 0, 255, 255])
    source.save(tmp_path / "a.png", transparency=bytes(alphas.tolist()) if many else 1)
    photo = read_photo(tmp_path / "a.png")
    assert (levels(photo) == np.concatenate([colours[index], alphas[index][..., None]], 2)).all()
    assert not photo.grey


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("interlace", [False, True])
def test_read_16_bit_png_exactly(tmp_path: Path, channels: int, interlace: bool) -> None:
    values = noise(channels, 65535)
    save_png(tmp_path / "a.png", values, interlace=interlace)
    photo = read_photo(tmp_path / "a.png")
    assert (photo.bits, photo.grey) == (16, channels < 3)
    assert (levels(photo, 65535) == as_rgb(values)).all()


def test_16_bit_png_ignores_gamma_and_significant_bits(tmp_path: Path) -> None:
    values = noise(3, 65535)
    save_png(tmp_path / "a.png", values, gamma=1.0)
    data = (tmp_path / "a.png").read_bytes()
    chunk = io.BytesIO()
    png.write_chunk(chunk, b"sBIT", bytes([10, 10, 10]))
    (tmp_path / "a.png").write_bytes(data[:33] + chunk.getvalue() + data[33:])
    assert (levels(read_photo(tmp_path / "a.png"), 65535) == values).all()


def test_read_16_bit_grey_tiff_and_pgm(tmp_path: Path) -> None:
    values = noise(1, 65535)
    Image.fromarray(values[..., 0]).save(tmp_path / "a.tif")
    (tmp_path / "a.pgm").write_bytes(b"P5 5 7 65535\n" + values.astype(">u2").tobytes())
    for name in ("a.tif", "a.pgm"):
        photo = read_photo(tmp_path / name)
        assert (photo.bits, photo.grey) == (16, True)
        assert (levels(photo, 65535) == as_rgb(values)).all()


def test_read_16_bit_tiff_where_white_is_zero(tmp_path: Path) -> None:
    values = noise(1, 65535)
    Image.fromarray(values[..., 0]).save(tmp_path / "a.tif", tiffinfo={262: 0})
    with Image.open(tmp_path / "a.tif") as image:
        assert image.tag_v2[262] == 0
    assert (levels(read_photo(tmp_path / "a.tif"), 65535) == as_rgb(65535 - values)).all()


def test_the_first_of_several_frames(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (W, H), colour) for colour in ("red", "lime", "blue")]
    for suffix in (".gif", ".tiff", ".webp", ".png"):
        path = tmp_path / f"a{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], **({"lossless": True} if "w" in suffix else {}))
        assert (levels(read_photo(path))[..., :3] == (255, 0, 0)).all(), suffix


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a{suffix}"
    Image.fromarray(noise(3, size=(16, 11))).save(path, exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
    with Image.open(path) as image:
        want = np.asarray(ImageOps.exif_transpose(image))
    assert want.shape[:2] == ((11, 16) if orientation >= 5 else (16, 11))
    assert (levels(read_photo(path)) == want).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_16_bits(tmp_path: Path, orientation: int) -> None:
    values = noise(1, 65535)
    exif = Image.Exif()
    exif[274] = orientation
    source = Image.fromarray(values[..., 0])
    source.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        want = np.asarray(ImageOps.exif_transpose(image))
    assert (levels(read_photo(tmp_path / "a.png"), 65535)[..., 0] == want).all()


@pytest.mark.parametrize("data", [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"\0" * 9])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_damaged_exif_does_not_stop_reading(
    tmp_path: Path, data: bytes, suffix: str, recwarn: pytest.WarningsRecorder
) -> None:
    Image.fromarray(noise(3)).save(tmp_path / f"a{suffix}", exif=data)
    assert read_image(tmp_path / f"a{suffix}").shape == (3, H, W)
    assert not recwarn


def test_content_tells_the_format(tmp_path: Path) -> None:
    values = noise(3)
    Image.fromarray(values).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert (levels(read_photo(str(tmp_path / "a.jpg"))) == values).all()
