"""Ready LR images beside HR ones, and images that are learned from and tested on."""

import shutil
from pathlib import Path

import pytest

from metasr.data.catalog import ImageSet
from metasr.data.overlap import shared_files
from metasr.data.pairing import paired
from metasr.errors import DataError
from metasr.io.images import list_images
from running import save_picture


def images(folder: Path, *names: str) -> ImageSet:
    for i, name in enumerate(names):
        save_picture(folder / name, 20 + i, 30, seed=i)
    return ImageSet("set", "test", tuple(list_images(folder)))


def test_pairs_are_matched_by_name_in_the_order_of_the_hr_images(tmp_path: Path) -> None:
    hr = images(tmp_path / "hr", "a2.png", "a10.png", "b.png")
    images(tmp_path / "lr", "b.png", "a10x2.png", "a2.bmp", "unneeded.png")
    found = paired(tmp_path / "lr", hr, scale=2)
    assert [path.name for path in found.paths] == ["a2.bmp", "a10x2.png", "b.png"]
    with pytest.raises(DataError, match=r"1 of 3 images of set have no LR image in .*: a10; .* or with x3 behind"):
        paired(tmp_path / "lr", hr, scale=3)


def test_missing_and_double_partners_are_named(tmp_path: Path) -> None:
    hr = images(tmp_path / "hr", "a.png", "b.png")
    images(tmp_path / "lr", "a.png", "ax2.png", "b.png")
    with pytest.raises(DataError, match=r"several LR images for a; leave one"):
        paired(tmp_path / "lr", hr, scale=2)


def test_files_of_both_sets_are_found_whatever_they_are_called(tmp_path: Path) -> None:
    train, test = images(tmp_path / "train", "a.png", "b.png", "c.png"), images(tmp_path / "test", "x.png")
    assert shared_files(train, test) == ["x"]  # of one seed with a
    shutil.copy(tmp_path / "train" / "b.png", tmp_path / "test" / "other.png")
    save_picture(tmp_path / "test" / "x.png", 20, 30, seed=9)
    assert shared_files(train, ImageSet("t", "test", tuple(list_images(tmp_path / "test")))) == ["other"]
