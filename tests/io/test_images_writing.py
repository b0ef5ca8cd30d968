"""Writing image files: round trips, what a format cannot hold, and what a failure leaves behind."""

import dataclasses
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from data.image_files import H, W, as_rgb, levels, noise, photo_of
from metasr.errors import OutputError
from metasr.io.images import WRITE_SUFFIXES, Photo, check_output, list_images, read_photo, write_photo


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
    for suffix in (".bmp", ".webp"):
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
        with pytest.raises(OutputError, match=r"cannot write in .*: no permission; choose"):
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
from metasr.io.images import Photo, write_photo
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
