"""Training sets with files that cannot be read, are too small, or do not fit into memory."""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from metasr.data import decoding
from metasr.data.catalog import ImageSet, image_set
from metasr.data.datamodule import PatchData
from metasr.data.patches import DiskPixels
from metasr.errors import DataError, InputError

GOOD = ("a.png", "b.png", "c.jpg")


class Cut:
    """The plainest sampler: a few patches."""

    def draw(self, pool: Any, *, generator: torch.Generator) -> torch.Tensor:
        return pool.draw(9, generator=generator)


def data(images: ImageSet, **options: Any) -> PatchData:
    return PatchData(images, sampler=Cut(), patch_size=16, steps=3, seed=1, stage="x", **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three good images among five of all kinds of bad ones."""
    place = tmp_path / "hr"
    place.mkdir()
    for i, name in enumerate(GOOD):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (37, 41 + i, 3), dtype=np.uint8)).save(place / name)
    (place / "broken_link.png").symlink_to("gone.png")
    (place / "truncated.png").write_bytes((place / "a.png").read_bytes()[:500])
    (place / "damaged.jpg").write_bytes(b"\xff\xd8\xffno image")
    (place / "empty.png").touch()
    for name in ("small.png", "flat.png"):
        Image.new("RGB", (41, 15) if name == "flat.png" else (9, 9)).save(place / name)
    return place


def of(folder: Path) -> ImageSet:
    return image_set("image_folder", split="train", root=folder, val_fraction=0)


def good(folder: Path) -> ImageSet:
    return ImageSet("good", "train", tuple(folder / name for name in GOOD))


def test_all_that_is_unfit_is_named_at_once(folder: Path) -> None:
    with pytest.raises(DataError) as caught:
        data(of(folder)).setup("fit")
    message = str(caught.value)
    assert "4 of 9 training images cannot be read; mend them, or leave them out (data.unreadable=skip)" in message
    assert "2 of 9 training images are smaller than the 16x16 patch: flat (15x41), small (9x9)" in message
    assert "data.too_small=skip" in message
    for name in ("broken_link.png", "truncated.png", "damaged.jpg", "empty.png"):
        assert str(folder / name) in message
    assert not any(name in message for name in GOOD)
    assert "\n" not in message


def test_what_is_unfit_is_left_out_and_counted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = data(of(folder), unreadable="skip", too_small="skip")
    assert made.left_out == {
        "unreadable": ["broken_link", "damaged", "empty", "truncated"],
        "too_small": ["flat", "small"],
    }
    assert [path.name for path in made.images.paths] == ["a.png", "b.png", "c.jpg", "flat.png", "small.png"]
    assert len(made.images.fingerprint()) == 64
    made.setup("fit")
    assert "4 training images left out (unreadable): broken_link, damaged, empty, truncated" in caplog.text
    assert "2 training images left out (too_small): flat, small" in caplog.text
    whole = data(good(folder))
    whole.setup("fit")
    draws = [torch.Generator().manual_seed(3) for _ in range(2)]
    assert made.pool is not None
    assert whole.pool is not None
    assert torch.equal(made.pool.draw(50, generator=draws[0]), whole.pool.draw(50, generator=draws[1]))


@pytest.mark.parametrize(
    ("options", "told", "untold"),
    [({"unreadable": "skip"}, "are smaller", "cannot be read"), ({"too_small": "skip"}, "cannot be read", "smaller")],
)
def test_each_is_chosen_by_itself(folder: Path, options: dict, told: str, untold: str) -> None:
    with pytest.raises(DataError) as caught:
        data(of(folder), **options).setup("fit")
    assert told in str(caught.value)
    assert untold not in str(caught.value)


def test_nothing_left(folder: Path) -> None:
    for name in GOOD:
        (folder / name).unlink()
    with pytest.raises(DataError, match="2 of 6 training images are smaller"):
        data(of(folder), unreadable="skip", too_small="skip").setup("fit")
    for name in ("small.png", "flat.png"):
        (folder / name).unlink()
    with pytest.raises(DataError, match="4 of 4 training images cannot be read"):
        data(of(folder), unreadable="skip", too_small="skip").setup("fit")


def test_choices_are_checked(folder: Path) -> None:
    with pytest.raises(InputError, match=r"data\.unreadable must be .*error.*skip.* got 'ignore'"):
        data(of(folder), unreadable="ignore")


def test_a_fingerprint_names_what_cannot_be_opened(folder: Path) -> None:
    (folder / "another.png").symlink_to("gone too.png")
    with pytest.raises(DataError, match=r"2 images cannot be opened; .*another\.png \(No such file.*broken_link\.png"):
        of(folder).fingerprint()


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    for i in range(3):
        Image.new("RGB", (20, 20), (i, 0, 0)).save(tmp_path / os.fsdecode(b"caf\xe9\x80%d.png" % i))
    images = image_set("image_folder", split="train", root=tmp_path)
    assert len(images) == 2
    assert len(images.fingerprint()) == 64
    data(images).setup("fit")


def test_a_file_that_vanishes(folder: Path) -> None:
    images = good(folder)
    images.paths[1].unlink()
    with pytest.raises(DataError, match=r"1 of 3 training images cannot be read; .*b\.png, but there is none"):
        data(images).setup("fit")


@pytest.mark.parametrize("patch_size", [16, 7])
def test_a_set_larger_than_memory_gives_the_same_patches(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, patch_size: int
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("METASR_OUTPUTS", str(folder.parent / "out"))
    batches = []
    for memory_gb in (1.0, 1e-6):
        made = data(good(folder), memory_gb=memory_gb)
        made.setup("fit")
        assert made.pool is not None
        assert (made.pool.disk is not None) == (memory_gb < 1)
        batches.append(made.pool.draw(60, generator=torch.Generator().manual_seed(5)))
    assert torch.equal(*batches)
    assert "more than the 0.0 GB of memory (data.memory_gb): decoded to a file in" in caplog.text


def test_unreadable_ones_of_a_set_on_disk(folder: Path) -> None:
    found = decoding.decode(of(folder), patch_size=16, unreadable="skip", too_small="skip", memory=1000,
                            folder=folder.parent)  # fmt: skip
    assert isinstance(found.pixels, DiskPixels)
    assert sorted(found.unreadable) == ["broken_link", "damaged", "empty", "truncated"]
    assert found.pixels.sizes == ((37, 41), (37, 42), (37, 43), (15, 41), (9, 9))
