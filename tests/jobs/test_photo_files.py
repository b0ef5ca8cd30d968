"""Which photos are taken, where results go, and which kernel belongs to which photo."""

import logging
import os
from pathlib import Path

import pytest

from metasr.errors import DataError, InputError, OutputError
from metasr.jobs.photo_files import kernels_for, pairs_of_files, without_existing
from running import save_picture


def places(folder: Path, pairs: list[tuple[Path, Path]]) -> dict[str, str]:
    """Photos and outputs, relative to a folder."""
    return {a.relative_to(folder).as_posix(): b.relative_to(folder).as_posix() for a, b in pairs}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("in/b.png", "in/a.jpg", "in/deep/c.png", "in/deep/er/d.png", "in/.hidden/e.png", "more/f.png"):
        save_picture(tmp_path / name, 9, 9)
    (tmp_path / "in" / "empty").mkdir()
    return tmp_path


def test_sub_folders_are_taken_on_wish_and_kept_as_they_are(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = places(photos, pairs_of_files([photos / "in"], photos / "out", scale=2))
    assert plain == {"in/a.jpg": "out/a.png", "in/b.png": "out/b.png"}
    assert "sub-folders are left out; --recursive" in caplog.text
    found = places(photos, pairs_of_files([photos / "in"], photos / "out", scale=2, recursive=True))
    assert found == {**plain, "in/deep/c.png": "out/deep/c.png", "in/deep/er/d.png": "out/deep/er/d.png"}


def test_results_inside_the_folder_are_not_enlarged_again(photos: Path) -> None:
    save_picture(photos / "in" / "large" / "b.png", 18, 18)
    found = places(photos, pairs_of_files([photos / "in"], photos / "in" / "large", scale=2, recursive=True))
    assert list(found) == ["in/a.jpg", "in/b.png", "in/deep/c.png", "in/deep/er/d.png"]
    assert found["in/b.png"] == "in/large/b.png"


def test_several_files_and_folders_go_into_a_folder(photos: Path) -> None:
    given = [photos / "in" / "b.png", photos / "more", photos / "in" / "b.png"]
    assert places(photos, pairs_of_files(given, photos / "new", scale=2)) == {
        "in/b.png": "new/b.png", "more/f.png": "new/f.png",
    }  # fmt: skip
    assert places(photos, pairs_of_files(given, None, scale=3)) == {
        "in/b.png": "in/b_x3.png", "more/f.png": "more_x3/f.png",
    }  # fmt: skip
    with pytest.raises(OutputError, match=r"several photos are given, so output must be a folder too, but .*o\.png is"):
        pairs_of_files(given, photos / "o.png", scale=2)
    assert places(photos, pairs_of_files(given[:2], f"{photos}/o.png/", scale=2))["in/b.png"] == "o.png/b.png"


def test_two_photos_never_share_a_result(photos: Path) -> None:
    save_picture(photos / "more" / "b.png", 9, 9)
    save_picture(photos / "more" / "b.jpg", 9, 9)
    alike = [photos / "in" / "b.png", photos / "more" / "b.jpg"]
    assert places(photos, pairs_of_files(alike, photos / "new", scale=2)) == {
        "in/b.png": "new/b.png.png", "more/b.jpg": "new/b.jpg.png",
    }  # fmt: skip
    with pytest.raises(OutputError, match=r"in/b\.png and .*more/b\.png would be written to the same file .*b\.png\.p"):
        pairs_of_files([photos / "in" / "b.png", photos / "more" / "b.png"], photos / "new", scale=2)


def test_all_that_is_missing_is_named(photos: Path) -> None:
    with pytest.raises(InputError, match=r"no file or folder .*/x\.png, .*/y\.png; give an existing image"):
        pairs_of_files([photos / "x.png", photos / "in" / "b.png", photos / "y.png"], None, scale=2)
    with pytest.raises(InputError, match="nothing to enlarge"):
        pairs_of_files([], None, scale=2)


def test_the_home_folder(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(photos))
    assert pairs_of_files(["~/more/f.png"], "~/x.png", scale=2) == [(photos / "more" / "f.png", photos / "x.png")]
    save_picture(photos / "more" / "kernels.png", 9, 9)
    assert kernels_for("~/more", [photos / "kernels.jpg"]) == [str(photos / "more" / "kernels.png")]


def test_what_is_there_already_is_left_out_and_said(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    pairs = pairs_of_files([photos / "in"], photos / "out", scale=2)
    caplog.clear()
    assert without_existing(pairs) == pairs
    assert caplog.text == ""
    save_picture(photos / "out" / "a.png", 18, 18)
    os.symlink(photos / "nowhere", photos / "out" / "b.png")
    assert without_existing(pairs) == []
    assert "2 of 2 photos are enlarged already" in caplog.text


def test_a_folder_of_kernels(tmp_path: Path) -> None:
    for name in ("a.npy", "kernel_b.mat", "b.png", "c.npy"):
        (tmp_path / "kernels" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "kernels" / name).touch()
    photos = [Path("x/a.jpg"), Path("y/b.png")]
    folder = tmp_path / "kernels"
    for end in ("", "_d", "_b"):
        assert kernels_for(f"{folder}{end}", photos) == [f"{folder}/a.npy{end}", f"{folder}/b.png{end}"]
    assert kernels_for("g2.0d", photos) == ["g2.0d", "g2.0d"]
    with pytest.raises(DataError, match=r"has no kernel for d\.png, e\.png: it would be d\.npy or kernel_d\.mat"):
        kernels_for(str(folder), [Path("a.png"), Path("d.png"), Path("e.png")])


def test_of_a_folder_everything_is_taken_that_a_file_would_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = save_picture(tmp_path / "in" / "a.png", 9, 9)
    for name in ("b.jfif", "c.pnm", "d.jxl", "e"):
        (tmp_path / "in" / name).write_bytes(source.read_bytes())
    with caplog.at_level(logging.INFO):
        found = pairs_of_files([tmp_path / "in"], None, scale=2)
    assert [path.name for path, _ in found] == ["a.png", "b.jfif", "c.pnm", "e"]
    assert "d.jxl" in caplog.text
