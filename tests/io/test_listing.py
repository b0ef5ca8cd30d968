"""Which files of a folder are images, and what is said of the others."""

import logging
import os
from pathlib import Path

import pytest
from PIL import Image

from data.image_files import noise
from metasr.errors import DataError
from metasr.io.images import read_photo
from metasr.io.listing import IMAGE_SUFFIXES, is_image, list_images


def test_natural_order(tmp_path: Path) -> None:
    names = ["IMG_1.png", "img_2.JPG", "img_2b.png", "img_010.png", "img_10.png", "img_11.TIFF", "z.webp"]
    for name in [*reversed(names), ".hidden.png", "._z.png", "notes.txt", "kernel.npy"]:
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_images(str(tmp_path))] == names
    assert {Path(name).suffix.lower() for name in names} <= IMAGE_SUFFIXES


@pytest.mark.parametrize("dangling", [False, True])
def test_a_broken_link_is_listed(tmp_path: Path, dangling: bool) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / ("a.png" if not dangling else "gone.png"))
    (path,) = list_images(tmp_path)
    with pytest.raises(DataError, match=r"expected an image file at .*a\.png, but that is a link to .* not there"):
        read_photo(path)


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9 \x80.png")
    Image.fromarray(noise(3)).save(path)
    assert list_images(tmp_path) == [path]
    assert read_photo(path).rgb.shape == (3, 7, 5)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.jfif", "JPEG"), ("a.pnm", "PPM"), ("a.tga", "TGA"), ("a.jp2", "JPEG2000"), ("a.avif", "AVIF"),
        ("a.ico", "ICO"), ("a.dib", "DIB"), ("scan", "PNG"), ("scan.001", "TIFF"), ("a.bak", "WEBP"), ("b", "AVIF"),
        ("b.old", "JPEG2000"), ("c", "BMP"), ("d", "GIF"), ("e", "JPEG"),
    ],
)  # fmt: skip
def test_one_rule_for_file_and_folder(tmp_path: Path, name: str, form: str) -> None:
    source = Image.fromarray(noise(3, size=(37, 41)))
    source.save(tmp_path / name, form, **({"sizes": [(41, 37)]} if form == "ICO" else {}))
    assert list_images(tmp_path) == [tmp_path / name]
    photo = read_photo(tmp_path / name)
    assert photo.rgb.shape == (3, 37, 41)
    if form not in ("JPEG", "AVIF", "GIF", "WEBP"):
        assert ((photo.rgb.movedim(0, 2) * 255).round().numpy() == noise(3, size=(37, 41))).all()


def test_what_is_left_out_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Image.fromarray(noise(3)).save(tmp_path / "a.png")
    for name in ("b.jxl", "c.NEF", "notes.txt", "Thumbs.db", ".hidden"):
        (tmp_path / name).write_bytes(b"no image")
    assert [path.name for path in list_images(tmp_path)] == ["a.png"]
    (pictures, others) = caplog.records
    assert pictures.levelname == "WARNING"
    assert "2 files left out (of formats that are not read, convert them to PNG): b.jxl, c.NEF" in pictures.getMessage()
    assert others.levelname == "INFO"
    assert "2 files left out (no images): notes.txt, Thumbs.db" in others.getMessage()


def test_sub_folders_are_searched_on_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for name in ("b.png", "z/2.png", "z/10.png", "a/1.png", "a/deep/x.jpg", ".hidden/h.png", "a/.h.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "round").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a" / "notes.txt").touch()
    (tmp_path / "z" / "raw.nef").touch()
    found = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path, recursive=True)]
    assert found == ["b.png", "a/1.png", "a/deep/x.jpg", "z/2.png", "z/10.png"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: 1 file left out (of formats that are not read, convert them to PNG): {Path('z/raw.nef')}",
        f"{tmp_path}: 1 file left out (no images): {Path('a/notes.txt')}",
    ]
    assert list_images(tmp_path) == [tmp_path / "b.png"]
    (tmp_path / "empty" / "too").mkdir(parents=True)
    with pytest.raises(DataError, match=r"expected images .* in .*empty, found no file; give the folder that holds"):
        list_images(tmp_path / "empty", recursive=True)


def test_what_cannot_be_opened_is_no_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for ever
    assert not is_image(tmp_path / "pipe")
    assert not is_image(tmp_path / "none")
    assert not is_image(tmp_path)


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
