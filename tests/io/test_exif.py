"""EXIF data on their way from file to file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.image_files import noise
from metasr.io import exif
from metasr.io.images import Photo, read_photo, write_photo

EXIF, GPS = 0x8769, 0x8825
MAKE, ORIENTATION, DATE, TAKEN, EXPOSURE, MAKER_NOTE = 271, 274, 306, 0x9003, 0x829A, 0x927C
SUFFIXES = (".png", ".jpg", ".webp", ".tif")


def photo_file(path: Path, *, size: tuple[int, int] = (21, 34), orientation: int = 1, **save: object) -> Path:
    tags = Image.Exif()
    tags[MAKE], tags[ORIENTATION], tags[DATE] = "Lumière", orientation, "2020:01:02 03:04:05"
    tags[EXIF] = {TAKEN: "2020:01:02 03:04:05", EXPOSURE: 0.008, MAKER_NOTE: b"secret", 0xA002: 34, 0xA003: 21}
    tags[GPS] = {1: "N", 2: (48.0, 30.0, 1.5), 3: "E", 4: (9.0, 0.0, 0.0)}
    Image.fromarray(noise(3, size=size)).save(path, exif=tags.tobytes(), **save)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("bits", [8, 16])
def test_date_camera_and_place_are_carried_to_every_format(tmp_path: Path, suffix: str, bits: int) -> None:
    photo = replace(read_photo(photo_file(tmp_path / "a.jpg")), bits=bits)
    path = write_photo(photo, tmp_path / f"b{suffix}")
    with Image.open(path) as image:
        tags = image.getexif()
        assert tags[MAKE].startswith("Lum")
        assert tags[DATE] == "2020:01:02 03:04:05"
        taken = tags.get_ifd(EXIF)
        assert (taken[TAKEN], float(taken[EXPOSURE])) == ("2020:01:02 03:04:05", 0.008)
        assert (taken[0xA002], taken[0xA003]) == (34, 21)
        assert MAKER_NOTE not in taken
        assert tags.get_ifd(GPS)[2] == (48.0, 30.0, 1.5)
    assert exif.loaded(read_photo(path).exif).get_ifd(GPS)[4] == (9.0, 0.0, 0.0)  # and from there again
    assert (read_photo(path).rgb - photo.rgb).abs().max() < 0.1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied_and_then_forgotten(tmp_path: Path, orientation: int) -> None:
    photo = read_photo(photo_file(tmp_path / "a.jpg", orientation=orientation))
    assert photo.rgb.shape[1:] == ((21, 34) if orientation < 5 else (34, 21))
    again = read_photo(write_photo(photo, tmp_path / "b.png"))
    assert again.rgb.shape == photo.rgb.shape
    with Image.open(tmp_path / "b.png") as image:
        assert ORIENTATION not in image.getexif()
        assert image.getexif().get_ifd(EXIF)[0xA002] == photo.rgb.shape[2]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_resolution_is_carried_to_every_format(tmp_path: Path, suffix: str) -> None:
    photo = Photo(read_photo(photo_file(tmp_path / "a.jpg")).rgb, dpi=(300.0, 150.0))
    assert read_photo(write_photo(photo, tmp_path / f"b{suffix}")).dpi == pytest.approx((300, 150), abs=0.02)


def test_without_exif_none_is_made_up(tmp_path: Path) -> None:
    Image.fromarray(noise(3)).save(tmp_path / "a.jpg")
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.exif is None
    for suffix in SUFFIXES:
        with Image.open(write_photo(photo, tmp_path / f"b{suffix}")) as image:
            assert "exif" not in image.info


@pytest.mark.parametrize("place", [0, 6, 9, 14, 20, 30, 45, 60])
def test_damaged_exif_does_not_keep_a_photo_from_being_read(tmp_path: Path, place: int) -> None:
    data = bytearray(photo_file(tmp_path / "a.jpg").read_bytes())
    start = data.index(b"Exif\0\0") + place
    data[start : start + 6] = b"\xff" * 6
    (tmp_path / "b.jpg").write_bytes(data)
    photo = read_photo(tmp_path / "b.jpg")
    assert np.isfinite(photo.rgb.numpy()).all()
    write_photo(photo, tmp_path / "c.jpg")
    read_photo(tmp_path / "c.jpg")


def test_more_than_a_jpeg_has_room_for_is_left_out(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[MAKE] = "x" * exif.MOST
    Image.fromarray(noise(3)).save(tmp_path / "a.png", exif=tags.tobytes())
    photo = read_photo(tmp_path / "a.png")
    assert photo.exif is None
    write_photo(photo, tmp_path / "b.jpg")
