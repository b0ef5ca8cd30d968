"""JPEG files of all kinds: an image, or a clear word."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from data.jpegs import READ, REFUSED, pixels, saved
from metasr.errors import DataError
from metasr.io.images import read_photo, read_size


@pytest.mark.parametrize("kind", READ)
def test_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(READ[kind])
    assert read_size(path) == (16, 24)
    found = read_photo(path).rgb.permute(1, 2, 0).numpy() * 255
    assert np.abs(found - pixels()).max() <= 10
    assert np.abs(found - pixels()).mean() <= 2


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(tmp_path: Path, kind: str) -> None:
    data, message = REFUSED[kind]
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_photo(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_printing_colours_go_by_the_file_s_own_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = bytes(16) + b"CMYK" + bytes(108)
    (tmp_path / "a.jpg").write_bytes(saved("CMYK", icc_profile=profile))
    plain = read_photo(tmp_path / "a.jpg").rgb  # the profile is none: by rule of thumb
    asked = []

    def convert(image: Image.Image, known: object, wanted: object, outputMode: str) -> Image.Image:
        asked.append((image.mode, outputMode))
        return Image.new("RGB", image.size, (10, 20, 30))

    monkeypatch.setattr(ImageCms, "ImageCmsProfile", lambda stream: stream.read())
    monkeypatch.setattr(ImageCms, "profileToProfile", convert)
    photo = read_photo(tmp_path / "a.jpg")
    assert asked == [("CMYK", "RGB")]
    assert (photo.rgb[:, 0, 0] * 255).round().tolist() == [10, 20, 30]
    assert photo.icc_profile is None  # which is for other colours
    assert np.abs(plain.permute(1, 2, 0).numpy() * 255 - pixels()).max() <= 25
