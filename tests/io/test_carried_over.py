"""What a file says beside its pixels, and what becomes of it."""

import logging
import struct
from pathlib import Path

import png
import pytest
import torch
from PIL import Image, ImageCms

from data.image_files import H, W, levels, noise, photo_of, save_png
from metasr.errors import DataError
from metasr.io.images import Photo, read_photo, write_photo

GAMMA = ("gAMA", struct.pack(">I", 100000))
CHROMA = ("cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))
SRGB = ("sRGB", b"\0")


def chunks_of(path: Path) -> dict[str, bytes]:
    return {name.decode(): bytes(data) for name, data in png.Reader(str(path)).chunks()}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("colour", [(GAMMA,), (GAMMA, CHROMA), (SRGB,), ()])
def test_a_png_s_colours_are_carried_over(tmp_path: Path, bits: int, colour: tuple) -> None:
    photo = photo_of(noise(3, 2**bits - 1), colour_chunks=colour)
    path = write_photo(photo, tmp_path / "a.png")
    found = chunks_of(path)
    assert {name: found[name] for name, _ in colour} == dict(colour)
    again = read_photo(path)
    assert again.colour_chunks == colour
    assert (levels(again, 2**bits - 1) == levels(photo, 2**bits - 1)).all()  # not applied
    with Image.open(path) as image:
        image.load()
        assert image.info.get("gamma") == (1.0 if GAMMA in colour else None)


def test_gamma_as_others_write_it(tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", noise(3, 255), depth=8, gamma=0.5)
    assert dict(read_photo(tmp_path / "a.png").colour_chunks) == {"gAMA": struct.pack(">I", 50000)}


@pytest.mark.parametrize(
    ("colour", "said"),
    [
        ((GAMMA,), True), ((CHROMA,), True), ((SRGB,), False), ((GAMMA, SRGB), False), ((), False),
        ((("gAMA", struct.pack(">I", 45454)),), False), ((("cICP", b"\x09\x10\0\1"), SRGB), True),
    ],
)  # fmt: skip
def test_where_they_cannot_be_carried_that_is_said(
    tmp_path: Path, colour: tuple, said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    write_photo(photo_of(noise(3), colour_chunks=colour), tmp_path / "a.jpg")
    assert ("a.jpg: .jpg cannot hold the PNG's own gamma or colours" in caplog.text) == said


def test_a_profile_beside_the_chunks(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = photo_of(noise(3), colour_chunks=(SRGB, GAMMA), icc_profile=profile)
    path = write_photo(photo, tmp_path / "a.png")
    assert "sRGB" not in chunks_of(path)  # PNG allows one of the two
    assert read_photo(path).icc_profile == profile


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp"])
def test_dpi(tmp_path: Path, suffix: str, bits: int) -> None:
    photo = photo_of(noise(3, 2**bits - 1), dpi=(300.0, 150.0))
    plain = read_photo(write_photo(photo_of(noise(3)), tmp_path / f"b{suffix}")).dpi
    assert plain is None or plain == pytest.approx((96, 96), abs=0.02)  # what Pillow writes to a BMP
    found = read_photo(write_photo(photo, tmp_path / f"a{suffix}")).dpi
    assert found == pytest.approx((300, 150), abs=0.02)


@pytest.mark.parametrize("dpi", [(0, 0), (float("nan"), 1)])
def test_a_resolution_that_makes_no_sense(tmp_path: Path, dpi: tuple) -> None:
    Image.fromarray(noise(3)).save(tmp_path / "a.tif", dpi=(1, 1))
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data.replace(struct.pack("<II", 1, 1), struct.pack("<II", 0, 0)))
    assert read_photo(tmp_path / "a.tif").dpi is None


FRAMES = [Image.new("RGB", (W, H), colour) for colour in ("red", "lime", "blue")]


@pytest.mark.parametrize("suffix", [".gif", ".tiff", ".webp", ".png"])
def test_frames(tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / f"a{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {}
    FRAMES[0].save(path, save_all=True, append_images=FRAMES[1:], **options)
    assert levels(read_photo(path))[0, 0, :3].tolist() == [255, 0, 0]
    (record,) = caplog.records
    assert (
        record.getMessage() == f"{path} holds 3 frames, of which the first is read; "
        "choose another by frame=N (--frame N), from 0"
    )
    caplog.clear()
    for i, colour in enumerate(([255, 0, 0], [0, 255, 0], [0, 0, 255])):
        photo = read_photo(path, frame=i)
        assert photo.rgb.shape == (3, H, W)
        assert levels(photo)[3, 2, :3].tolist() == colour
    assert not caplog.records
    for frame in (3, -1):
        with pytest.raises(
            DataError, match=rf"a\{suffix}: it holds 3 frame\(s\), so frame must be 0 to 2, got {frame}"
        ):
            read_photo(path, frame=frame)


def test_one_frame_is_no_news(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for suffix in (".gif", ".tiff", ".webp", ".png", ".jpg"):
        FRAMES[0].save(tmp_path / f"a{suffix}")
        read_photo(tmp_path / f"a{suffix}", frame=0)
        read_photo(tmp_path / f"a{suffix}")
    assert not caplog.records


def test_a_later_frame_that_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    FRAMES[0].save(path, save_all=True, append_images=FRAMES[1:])
    path.write_bytes(path.read_bytes()[:-30])
    assert levels(read_photo(path))[0, 0].tolist() == [255, 0, 0]


def test_a_photo_s_fields_are_kept_by_replace() -> None:
    photo = Photo(torch.zeros(3, H, W), dpi=(72.0, 72.0), colour_chunks=(GAMMA,))
    assert (photo.dpi, photo.colour_chunks) == ((72.0, 72.0), (GAMMA,))
