"""Sixteen bits per channel: read and written exactly, against tifffile, pypng and files made by hand."""

from pathlib import Path

import numpy as np
import png
import pytest
import tifffile
import torch
from PIL import Image, ImageCms

from data.image_files import as_rgb, levels, noise, photo_of
from metasr.errors import DataError
from metasr.io.images import Photo, read_photo, write_photo

SIZE = (37, 41)


@pytest.mark.parametrize(
    "options",
    [
        {}, {"compression": "zlib"}, {"compression": "zlib", "predictor": True}, {"tile": (16, 16)},
        {"byteorder": ">"}, {"rowsperstrip": 2}, {"extrasamples": ["unassalpha"]},
    ],
)  # fmt: skip
def test_colour_tiff(tmp_path: Path, options: dict, caplog: pytest.LogCaptureFixture) -> None:
    values = noise(4 if "extrasamples" in options else 3, 65535, size=SIZE)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", **options)
    photo = read_photo(tmp_path / "a.tif")
    assert (photo.bits, photo.grey) == (16, False)
    assert (levels(photo, 65535) == values).all()
    assert not caplog.records


def test_alpha_that_is_multiplied_in(tmp_path: Path) -> None:
    values = noise(4, 65535, size=SIZE)
    values[..., 3] |= 0x8000
    values[..., :3] = values[..., :3] * (values[..., 3:] / 65535)
    values[3, 5] = 0
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["assocalpha"])
    photo = read_photo(tmp_path / "a.tif")
    assert photo.alpha is not None
    np.testing.assert_allclose((photo.rgb * photo.alpha).movedim(0, 2) * 65535, values[..., :3], atol=1)
    assert photo.rgb[:, 3, 5].tolist() == [0, 0, 0]


def test_the_second_page_of_a_deep_tiff(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pages = np.stack([noise(3, 65535, seed=i, size=SIZE) for i in range(3)])
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="rgb")
    assert (levels(read_photo(tmp_path / "a.tif", frame=1), 65535) == pages[1]).all()
    assert not caplog.records
    assert (levels(read_photo(tmp_path / "a.tif"), 65535) == pages[0]).all()
    assert "holds 3 frames, of which the first is read; choose another by frame=N (--frame N), from 0" in caplog.text


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_turned_deep_tiff(tmp_path: Path, orientation: int) -> None:
    values = noise(3, 65535, size=SIZE)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
    want = np.rot90(values, {1: 0, 3: 2, 6: 3, 8: 1}[orientation])
    assert (levels(read_photo(tmp_path / "a.tif"), 65535) == want).all()


def test_planes_one_after_the_other_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(3, 65535, size=SIZE).transpose(2, 0, 1), photometric="rgb",
                     planarconfig="separate")  # fmt: skip
    with pytest.raises(DataError, match=r"a\.tif: its 16-bit colours lie plane by plane.*save it again as PNG"):
        read_photo(tmp_path / "a.tif")


def test_bits_that_are_lost_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values = noise(3, 1023, size=SIZE)
    (tmp_path / "a.ppm").write_text("P3 41 37 1023 " + " ".join(map(str, values.ravel())))
    photo = read_photo(tmp_path / "a.ppm")
    assert photo.bits == 8
    assert np.abs(levels(photo) - values / 1023 * 255).max() <= 1
    assert f"{tmp_path / 'a.ppm'} has more than 8 bits per colour" in caplog.text
    assert "PNG keeps 16 bits" in caplog.text


@pytest.mark.parametrize("full", [1023, 65535])
def test_ppm(tmp_path: Path, full: int, caplog: pytest.LogCaptureFixture) -> None:
    values = noise(3, full, size=SIZE)
    (tmp_path / "a.ppm").write_bytes(b"P6\n# made by hand\n41 37 %d\n" % full + values.astype(">u2").tobytes())
    photo = read_photo(tmp_path / "a.ppm")
    assert photo.bits == 16
    assert (levels(photo, full) == values).all()
    assert not caplog.records


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_is_what_pypng_reads(tmp_path: Path, channels: int) -> None:
    values = noise(channels, 65535, size=SIZE)
    path = write_photo(photo_of(values), tmp_path / "a.png")
    width, height, rows, info = png.Reader(str(path)).read()
    assert (width, height, info["bitdepth"], info["planes"]) == (41, 37, 16, channels)
    assert (np.stack([np.asarray(row) for row in rows]).reshape(values.shape) == values).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("tags", [False, True])
def test_tiff_is_written_exactly(tmp_path: Path, channels: int, tags: bool) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    values = noise(channels, 65535, size=SIZE)
    fields = {"icc_profile": profile, "dpi": (300.0, 299.5)} if tags else {}
    path = write_photo(photo_of(values, **fields), tmp_path / "a.tif")
    photo = read_photo(path)
    assert photo.bits == 16
    assert (levels(photo, 65535) == as_rgb(values)).all()
    assert photo.icc_profile == (profile if tags and channels > 2 else None)
    assert photo.dpi == ((300.0, 299.5) if tags else None)
    with Image.open(path) as image:
        assert image.mode == {1: "I;16", 2: "RGBA", 3: "RGB", 4: "RGBA"}[channels]
        image.load()


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 1)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_smallest(tmp_path: Path, size: tuple[int, int], channels: int) -> None:
    values = noise(channels, 65535, size=size)
    for suffix in (".png", ".tif"):
        path = write_photo(photo_of(values), tmp_path / f"a{suffix}")
        assert (levels(read_photo(path), 65535) == as_rgb(values)).all()


def test_one_level_of_65536_survives_the_way_through_both(tmp_path: Path) -> None:
    ramp = torch.arange(65536, dtype=torch.float64).reshape(1, 256, 256).expand(3, -1, -1) / 65535
    for suffix in (".png", ".tif"):
        photo = read_photo(write_photo(Photo(ramp, bits=16), tmp_path / f"a{suffix}"))
        assert (levels(photo, 65535)[..., 1] == np.arange(65536).reshape(256, 256)).all()
