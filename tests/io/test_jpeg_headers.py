"""What a JPEG's header tells, and the codec that does the same again."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metasr.errors import InputError
from metasr.io.images import read_photo, write_photo
from metasr.io.jpeg import Jpeg, of_quality, read_header, recompress, standard_tables

NAMES = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}


def picture(height: int = 40, width: int = 56) -> np.ndarray:
    """Colours that change slowly, with an edge: what compression is made for, and what it is bad at."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 5 + c) + np.cos(y / (4 + c)) for c in range(3)], -1)
    return np.where((x > 30)[..., None], 90, (waves + 2) * 63).astype(np.uint8)


def saved(levels: np.ndarray, **options: object) -> io.BytesIO:
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, format="JPEG", **options)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("code", NAMES)
@pytest.mark.parametrize("quality", [1, 29, 49, 50, 75, 92, 100])
def test_the_header_tells_what_a_program_chose_and_the_codec_does_it_again(quality: int, code: int) -> None:
    image = Image.open(saved(picture(), quality=quality, subsampling=code))
    found = read_header(image)
    assert found == of_quality(quality, subsampling=NAMES[code])  # type: ignore[arg-type]
    assert found.quality == quality
    assert found.standard
    assert found.subsampled == (code > 0)
    assert np.array_equal(recompress(picture(), found), np.asarray(image))


def test_tables_of_every_quality_are_the_codecs_own() -> None:
    for quality in range(1, 101):
        tables = Image.open(saved(picture(8, 8), quality=quality)).quantization
        assert standard_tables(quality) == (tuple(tables[0]), tuple(tables[1]))


def test_other_tables_are_kept_and_told_by_the_nearest_quality() -> None:
    luma, chroma = ([step + 1 for step in table] for table in standard_tables(80))
    found = read_header(Image.open(saved(picture(), qtables=[luma, chroma], subsampling=2)))
    assert found is not None
    assert (found.luma, found.chroma) == (tuple(luma), tuple(chroma))
    assert not found.standard
    assert str(found) == "q~79c"
    assert str(of_quality(80)) == "q80"


def test_a_grey_jpeg_has_one_table() -> None:
    found = read_header(Image.open(saved(picture()[..., 0], quality=60)))
    assert found is not None
    assert found.luma == found.chroma == standard_tables(60)[0]
    assert found.subsampling == "4:4:4"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_has_its_grid_where_it_was(tmp_path: Path, orientation: int) -> None:
    """Compressed again as it was, on the same grid, an upright photo hardly changes; on another grid it does."""
    exif = Image.Exif()
    exif[274] = orientation
    luma = tuple(8 + 3 * (i % 8) + 7 * (i // 8) for i in range(64))  # not symmetric
    levels = picture(43, 57)
    path = tmp_path / "turned.jpg"
    path.write_bytes(saved(levels, qtables=[list(luma), list(luma)], subsampling=0, exif=exif).getvalue())
    photo = read_photo(path)
    assert photo.jpeg is not None
    upright = (photo.rgb.movedim(0, -1).numpy() * 255).round().astype(np.uint8)
    inside = np.s_[16:-16, 16:-16]  # the codec fills up its last units in its own way

    def change(jpeg: Jpeg) -> float:
        return float(np.abs(recompress(upright, jpeg).astype(float) - upright)[inside].mean())

    elsewhere = Jpeg(luma=luma, chroma=luma, corner=(photo.jpeg.corner[0] ^ 3, photo.jpeg.corner[1] ^ 5))
    assert change(photo.jpeg) < 0.3 * change(elsewhere)


def test_a_photo_of_another_format_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(saved(picture(), quality=70).getvalue())
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.jpeg == of_quality(70, subsampling="4:2:0")
    write_photo(photo, tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png").jpeg is None


@pytest.mark.parametrize("options", [{"progressive": True}, {"quality": 90, "optimize": True}])
def test_progressive_and_optimised_files_tell_it_too(options: dict[str, object]) -> None:
    assert read_header(Image.open(saved(picture(), **options))) is not None


def test_what_is_no_compression_is_refused() -> None:
    luma, chroma = standard_tables(75)
    with pytest.raises(InputError, match="whole number from 1 to 100, got 101"):
        of_quality(101)
    with pytest.raises(InputError, match="luma table has 64 whole numbers"):
        Jpeg(luma=luma[:63], chroma=chroma)
    with pytest.raises(InputError, match="chroma table has 64 whole numbers"):
        Jpeg(luma=luma, chroma=(0, *chroma[1:]))
    with pytest.raises(InputError, match="corner must be 0 to 15"):
        Jpeg(luma=luma, chroma=chroma, corner=(16, 0))
    with pytest.raises(InputError, match="subsampling"):
        Jpeg(luma=luma, chroma=chroma, subsampling="4:1:1")  # type: ignore[arg-type]
