"""Reading, writing and listing image files."""

import dataclasses
import io
import os
import stat
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import png
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from metasr.data import codec
from metasr.data.images import (
    IMAGE_SUFFIXES,
    WRITE_SUFFIXES,
    Photo,
    check_output,
    from_uint8,
    list_images,
    read_image,
    read_photo,
    to_uint8,
    write_photo,
)
from metasr.errors import DataError, InputError, OutputError

H, W = 7, 5


def noise(channels: int, full: int = 255, *, seed: int = 0, size: tuple[int, int] = (H, W)) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, full + 1, (*size, channels))
    return values.astype(np.uint8 if full <= 255 else np.uint16)


def photo_of(values: np.ndarray, **fields: object) -> Photo:
    full = 255 if values.dtype == np.uint8 else 65535
    image = torch.from_numpy(values.astype(np.float64) / full).float().movedim(-1, 0)
    channels = image.shape[0]
    rgb = image[:1].repeat(3, 1, 1) if channels < 3 else image[:3]
    alpha = None if channels % 2 else image[-1:]
    return Photo(rgb, alpha, grey=channels < 3, bits=8 if full == 255 else 16, **fields)


def levels(photo: Photo, full: int = 255) -> np.ndarray:
    """The photo's integer values (H, W, 3 or 4), which must be exact to float32."""
    planes = photo.rgb if photo.alpha is None else torch.cat([photo.rgb, photo.alpha])
    scaled = planes.double() * full
    assert (scaled - scaled.round()).abs().max() < 0.01
    return scaled.round().movedim(0, -1).numpy().astype(int)


def as_rgb(values: np.ndarray) -> np.ndarray:
    """What levels() must give for samples of 1 to 4 channels."""
    if values.shape[2] >= 3:
        return values.astype(int)
    return np.concatenate([values[..., :1].repeat(3, 2), values[..., 1:]], 2).astype(int)


def save_png(path: Path, values: np.ndarray, depth: int = 16, **options: object) -> None:
    """Write with pypng's plain path (another one than the package uses)."""
    planes = values.shape[2]
    writer = png.Writer(
        values.shape[1], values.shape[0], greyscale=planes < 3, alpha=planes % 2 == 0, bitdepth=depth, **options
    )
    with path.open("wb") as handle:
        rows = values.reshape(values.shape[0], -1).tolist()
        if options.get("interlace"):
            writer.write_array(handle, [sample for row in rows for sample in row])
        else:
            writer.write(handle, rows)


# Reading: every mode against numpy or Pillow's own conversion


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


# Reading: errors


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
        with pytest.raises(DataError, match=r"(damaged|no pixels)") as caught:
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
        with pytest.raises(DataError, match=r"checksum error in the IDAT chunk\); the file seems truncated or damaged"):
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
    for form in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM"):
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
    with pytest.raises(DataError, match=r"claims 50000x50000 = 2500000000 pixels, at most 1000000000"):
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
    monkeypatch.setattr(codec, "MAX_PIXELS", 34)
    with pytest.raises(DataError, match="claims 5x7 = 35 pixels"):
        read_image(tmp_path / "a.bmp")


# Writing


@pytest.mark.parametrize("suffix", [s for s in WRITE_SUFFIXES if s not in (".jpg", ".jpeg")])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_round_trip_of_8_bits(tmp_path: Path, suffix: str, channels: int) -> None:
    if suffix == ".bmp" and channels % 2 == 0:
        pytest.skip("BMP has no alpha")
    values = noise(channels)
    path = write_photo(photo_of(values), tmp_path / "new" / f"a{suffix}")
    photo = read_photo(path)
    assert (levels(photo) == as_rgb(values)).all()
    assert photo.grey == (channels < 3 and suffix != ".webp")
    assert photo.bits == 8
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG"])
def test_jpeg(tmp_path: Path, suffix: str) -> None:
    smooth = (np.add.outer(np.arange(37), np.arange(41))[..., None] + np.array([0, 60, 120])).astype(np.uint8)
    path = write_photo(photo_of(smooth), tmp_path / f"a{suffix}")
    assert np.abs(levels(read_photo(path)) - smooth).max() <= 4
    with Image.open(path) as image:
        assert image.layer[0][1:3] == image.layer[1][1:3]  # 4:4:4
    grey = write_photo(photo_of(smooth[..., :1]), tmp_path / f"grey{suffix}")
    assert read_photo(grey).grey


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_round_trip_of_16_bits(tmp_path: Path, channels: int) -> None:
    values = noise(channels, 65535)
    path = write_photo(photo_of(values), tmp_path / "a.png")
    photo = read_photo(path)
    assert (photo.bits, photo.grey) == (16, channels < 3)
    assert (levels(photo, 65535) == as_rgb(values)).all()
    with Image.open(path) as image:  # an independent reader
        image.load()
        upper = np.asarray(image if channels > 1 else image.point(lambda v: v)).astype(int)
    want = as_rgb(values) // 256 if channels > 1 else values[..., 0]
    assert (upper == want).all()


def test_16_bits_become_8_where_the_format_has_no_more(tmp_path: Path) -> None:
    values = np.array([[[0, 128, 129]], [[65535, 65406, 65407]]], dtype=np.uint16)
    for suffix in (".tif", ".bmp", ".webp"):
        photo = read_photo(write_photo(photo_of(values), tmp_path / f"a{suffix}"))
        assert photo.bits == 8
        assert (levels(photo) == [[[0, 0, 1]], [[255, 254, 255]]]).all()  # round(v / 257)


def test_values_are_clamped_and_rounded(tmp_path: Path) -> None:
    row = torch.tensor([-0.5, 1.5, 0.5 / 255 - 1e-4, 0.5 / 255 + 1e-4, float("inf")])
    path = write_photo(Photo(row.repeat(3, 2, 1)), tmp_path / "a.png")
    assert levels(read_photo(path))[0, :, 0].tolist() == [0, 255, 0, 1, 255]


def test_grey_is_the_mean_of_three_channels(tmp_path: Path) -> None:
    rgb = torch.stack([torch.full((H, W), v / 255) for v in (10, 20, 60)])
    for bits in (8, 16):
        path = write_photo(Photo(rgb, grey=True, bits=bits), tmp_path / f"{bits}.png")
        assert (levels(read_photo(path)) == 30).all()


def test_half_precision_and_gradients_are_fine(tmp_path: Path) -> None:
    values = noise(3)
    for dtype in (torch.float16, torch.float64):
        photo = photo_of(values)
        rgb = photo.rgb.to(dtype).requires_grad_()
        path = write_photo(dataclasses.replace(photo, rgb=rgb), tmp_path / "a.png", overwrite=True)
        assert (levels(read_photo(path)) == values).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", "16.png"])
def test_icc_profile_is_kept(tmp_path: Path, suffix: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = photo_of(noise(3, 65535 if "16" in suffix else 255), icc_profile=profile)
    path = write_photo(photo, tmp_path / f"a{suffix}")
    assert read_photo(path).icc_profile == profile
    with Image.open(path) as image:
        assert image.info["icc_profile"] == profile


def test_icc_profile_of_other_colours_is_dropped(tmp_path: Path) -> None:
    cmyk = bytes(16) + b"CMYK" + bytes(108)
    Image.new("CMYK", (W, H)).save(tmp_path / "a.jpg", icc_profile=cmyk)
    assert read_photo(tmp_path / "a.jpg").icc_profile is None
    rgb = bytes(16) + b"RGB " + bytes(108)
    path = write_photo(photo_of(noise(1), icc_profile=rgb), tmp_path / "grey.png")
    with Image.open(path) as image:
        assert "icc_profile" not in image.info


def test_alpha_where_there_is_none(tmp_path: Path) -> None:
    photo = photo_of(noise(4))
    for suffix in (".jpg", ".jpeg", ".bmp"):
        with pytest.raises(OutputError, match=r"cannot hold the image's transparency.*a\.png instead"):
            write_photo(photo, tmp_path / f"a{suffix}")
    assert not list(tmp_path.iterdir())
    opaque = dataclasses.replace(photo, alpha=torch.full((1, H, W), 0.9999))
    assert read_photo(write_photo(opaque, tmp_path / "a.bmp")).alpha is None


def test_existing_files_are_safe(tmp_path: Path) -> None:
    path = write_photo(photo_of(noise(3)), tmp_path / "a.png")
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists already; choose another name, or allow it: overwrite=true"):
        write_photo(photo_of(noise(3, seed=1)), path)
    assert path.read_bytes() == before
    write_photo(photo_of(noise(3, seed=1)), path, overwrite=True)
    assert (levels(read_photo(path)) == noise(3, seed=1)).all()


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    original = write_photo(photo_of(noise(3)), tmp_path / "original.png")
    link = tmp_path / "link.png"
    link.symlink_to(original)
    with pytest.raises(OutputError, match="exists already"):
        write_photo(photo_of(noise(3, seed=1)), link)
    write_photo(photo_of(noise(3, seed=1)), link, overwrite=True)
    assert not link.is_symlink()
    assert (levels(read_photo(original)) == noise(3)).all()


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    path = write_photo(photo_of(noise(3)), tmp_path / "a.png")
    (tmp_path / "plain").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_unwritable_paths(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    photo = photo_of(noise(3))
    for name, message in {
        "file/a.png": "file is a file, not a folder",
        "file/b/a.png": "file is a file, not a folder",
        "folder.png": "that is a folder; give a file name",
        "a.gif": r"ends in \.png, .*got '.*a\.gif'; choose one",
        "a": "ends in .png",
        "n" * 300 + ".png": "File name too long; nothing was left there",
        "nul\0.png": "null byte; nothing was left there",
    }.items():
        with pytest.raises(OutputError, match=message):
            write_photo(photo, tmp_path / name, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match=r"cannot write .*Permission denied"):
            write_photo(photo_of(noise(3)), tmp_path / "a.png")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("existing", [False, True])
def test_failure_leaves_the_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, existing: bool
) -> None:
    path = tmp_path / "a.png"
    if existing:
        write_photo(photo_of(noise(3)), path)
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}

    def fail(*_: object) -> None:
        assert len(list(tmp_path.iterdir())) == len(before) + 1  # the temporary file is beside the target
        raise failure

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OutputError if isinstance(failure, OSError) else KeyboardInterrupt) as caught:
        write_photo(photo_of(noise(3, seed=1)), path, overwrite=True)
    if isinstance(failure, OSError):
        assert "No space left on device; nothing was left there" in str(caught.value)
        assert caught.value.__cause__ is failure
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


FULL_DISK = """
import resource, sys, torch
from metasr.data.images import Photo, write_photo
from metasr.errors import OutputError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for suffix in (".png", ".jpg", ".webp", ".tif", ".bmp"):
    try:
        write_photo(Photo(torch.rand(3, 77, 85)), sys.argv[1] + "/a" + suffix)
    except OutputError as error:
        assert "nothing was left there" in str(error) and isinstance(error.__cause__, OSError), error
    else:
        sys.exit("no error for " + suffix)
"""


def test_full_disk(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


def test_sides_too_long_for_the_format(tmp_path: Path) -> None:
    photo = Photo(torch.zeros(3, 1, 65501))
    for suffix, limit in ((".webp", 16383), (".jpg", 65500)):
        with pytest.raises(OutputError, match=rf"at most {limit} pixels a side, got 1x65501; write .*a\.png"):
            write_photo(photo, tmp_path / f"a{suffix}")
    write_photo(Photo(torch.zeros(3, 1, 65500)), tmp_path / "a.jpg")
    write_photo(Photo(torch.zeros(3, 1, 16383)), tmp_path / "a.webp")


def test_check_output_leaves_nothing(tmp_path: Path) -> None:
    check_output(tmp_path / "new" / "deep" / "a.png")
    check_output(tmp_path / "a.webp", alpha=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["a b.png", "a[1].png", "x=2,y=3.png", "été ß 図.PNG", "100%.png", "-a.png", "a'\"$.png"]
)
def test_awkward_names(tmp_path: Path, name: str) -> None:
    path = write_photo(photo_of(noise(3)), tmp_path / "f [x], é=1" / name)
    assert list_images(path.parent) == [path]
    assert (levels(read_photo(path)) == noise(3)).all()


# Conversion and Photo


def test_every_uint8_survives() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(from_uint8(values)), values)
    assert from_uint8(values).dtype == torch.float32
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        near = to_uint8(from_uint8(values).to(dtype)).int() - values.int()
        assert near.abs().max() <= (1 if dtype == torch.bfloat16 else 0)


def test_to_uint8_rounds_halves_to_even() -> None:
    values = torch.tensor([0.5, 1.5, 2.5, 127.5], dtype=torch.float64) / 255
    assert to_uint8(values).tolist() == [0, 2, 2, 128]
    assert to_uint8(torch.tensor([-1.0, 2.0])).tolist() == [0, 255]


def test_conversion_errors() -> None:
    with pytest.raises(InputError, match=r"floating-point image in \[0, 1\], got torch.uint8"):
        to_uint8(torch.zeros(3, dtype=torch.uint8))
    with pytest.raises(InputError, match="1 NaN"):
        to_uint8(torch.tensor([0.0, float("nan")]))
    with pytest.raises(InputError, match=r"expected a uint8 image, got torch\.float32"):
        from_uint8(torch.zeros(3))


def test_photo_checks_its_fields() -> None:
    rgb = torch.zeros(3, H, W)
    for fields, message in (
        ({"rgb": torch.zeros(1, 3, H, W)}, r"shape \(3, H, W\), got .*\(1, 3, 7, 5\)"),
        ({"rgb": rgb.to(torch.uint8)}, "rgb must be floating point"),
        ({"rgb": torch.zeros(3, 0, W)}, "rgb must be"),
        ({"rgb": rgb, "alpha": torch.zeros(H, W)}, r"alpha must be .*\(1, 7, 5\), as rgb has, got .*\(7, 5\)"),
        ({"rgb": rgb, "bits": 12}, "bits must be 8 or 16, got 12"),
    ):
        with pytest.raises(InputError, match=message):
            Photo(**fields)


# Folders and paths


def test_natural_order(tmp_path: Path) -> None:
    names = ["IMG_1.png", "img_2.JPG", "img_2b.png", "img_010.png", "img_10.png", "img_11.TIFF", "z.webp"]
    for name in [*reversed(names), ".hidden.png", "._z.png", "notes.txt", "kernel.npy"]:
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_images(str(tmp_path))] == names
    assert {Path(name).suffix.lower() for name in names} <= IMAGE_SUFFIXES


def test_a_broken_link_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    (path,) = list_images(tmp_path)
    with pytest.raises(DataError, match="there is none"):
        read_photo(path)


def test_list_errors(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    (tmp_path / "empty").mkdir()
    for name, message in {
        "none": "expected a folder of images at .*there is none; check the path",
        "a.txt": "that is a file; give its folder",
        "empty": "found no file; sub-folders are not searched",
        ".": r"found 1 other file\(s\) \(\.txt\); sub-folders",
    }.items():
        with pytest.raises(DataError, match=message):
            list_images(tmp_path / name)


def colour_tiff(values: np.ndarray) -> bytes:
    """The plainest TIFF of 16-bit RGB: one strip."""
    height, width, _ = values.shape
    data = values.astype("<u2").tobytes()
    bits_at = 8 + len(data)
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, bits_at), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 1, 8), (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, len(data))]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return b"II*\0" + struct.pack("<I", bits_at + 6) + data + struct.pack("<3H", 16, 16, 16) + directory


def test_bits_that_are_lost_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values = noise(3, 65535)
    (tmp_path / "a.tif").write_bytes(colour_tiff(values))
    (tmp_path / "a.ppm").write_bytes(b"P6 5 7 65535\n" + values.astype(">u2").tobytes())
    for name in ("a.tif", "a.ppm"):
        caplog.clear()
        photo = read_photo(tmp_path / name)
        assert photo.bits == 8
        assert np.abs(levels(photo, 255).astype(int) - as_rgb(values) / 257).max() <= 1
        assert f"{tmp_path / name} has more than 8 bits per colour" in caplog.text
        assert "PNG keeps 16 bits" in caplog.text
    caplog.clear()
    Image.fromarray(noise(3).astype(np.uint8)).save(tmp_path / "b.tif")
    Image.fromarray(noise(3).astype(np.uint8)).save(tmp_path / "b.ppm")
    Image.fromarray(noise(1, 65535)[..., 0].astype(np.uint16)).save(tmp_path / "c.tif")
    save_png(tmp_path / "c.png", values)
    for name in ("b.tif", "b.ppm", "c.tif", "c.png"):
        read_photo(tmp_path / name)
    assert not caplog.records
