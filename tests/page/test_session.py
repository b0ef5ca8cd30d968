"""A tab's files, and what is made of them; without a browser."""

import stat
from pathlib import Path

import pytest
import torch
from PIL import Image

import metasr
from metasr.data.catalog import image_set
from metasr.errors import Cancelled, DataError, InputError
from metasr.page.choices import Choices
from metasr.page.session import PLAIN, RESULT, TRUTH, Session, Sessions, Upload, enlarge
from metasr.page.work import Work


def photo(path: Path, width: int = 45, height: int = 39) -> Path:
    with Image.open(image_set("samples", split="test").paths[1]) as image:
        image.convert("RGB").crop((90, 90, 90 + width, 90 + height)).save(path)
    return path


def session(root: Path, source: Path, name: str = "my photo.png") -> Session:
    made = Session(root)
    made.uploads["photo"] = [Upload(source, name)]
    return made


def test_an_upload_has_its_owners_name_and_nobody_elses_eyes(tmp_path: Path) -> None:
    own = session(tmp_path, photo(tmp_path / "a1b2.png"))
    assert stat.S_IMODE(own.folder.stat().st_mode) == 0o700
    problem = own.problem(scale=2)
    assert problem is not None
    assert problem.photo.name == problem.shown == "my photo.png"
    assert problem.photo.read_bytes() == (tmp_path / "a1b2.png").read_bytes()
    assert own.told(f"cannot read {problem.photo}: no") == "cannot read my photo.png: no"
    own.close()
    assert not own.folder.exists()
    assert Session(tmp_path).problem(scale=2) is None


@pytest.mark.parametrize("name", ["../../up.png", "/etc/passwd", "..\\..\\up.png", "..", ".", ""])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    own = session(tmp_path, photo(tmp_path / "x.png"), name)
    path = own.named(own.uploads["photo"][0])
    assert path.resolve().is_relative_to(own.folder.resolve())
    assert path.is_file()


def test_an_original_is_shrunk_enlarged_and_scored_as_an_evaluation_does(tmp_path: Path) -> None:
    own = session(tmp_path, photo(tmp_path / "x.png"))
    problem = own.problem(scale=2, shrink="g2.0d")
    assert problem is not None
    assert problem.command == "metasr prepare 'my photo.png' -o 'my photo_small' -d g2.0d --hr"
    assert problem.shown == "my photo_small/lr/my photo.png"
    result = enlarge(problem, Choices(2, "g2.0d", "back_project"))
    assert set(result.images) == {PLAIN, RESULT, TRUTH}
    assert {tuple(image.shape) for image in result.images.values()} == {(3, 38, 44)}
    assert all(image.dtype == torch.uint8 for image in result.images.values())
    table = metasr.evaluate(metasr.load(solver="back_project"), tmp_path / "x.png", ["g2.0d"], scale=2)
    want = {row.solver: (row.psnr_y, row.ssim_y) for row in table.rows}
    for name, solver in ((PLAIN, "interpolate_aligned"), (RESULT, "back_project")):
        assert (result.scores[name].psnr_y, result.scores[name].ssim_y) == pytest.approx(want[solver], abs=0.02)
    again = own.problem(scale=2, shrink="bicubic")
    assert again is not None
    assert again.photo == problem.photo
    assert again.command.endswith("-d bicubic --hr")


def test_a_photo_and_its_original(tmp_path: Path) -> None:
    own = session(tmp_path, photo(tmp_path / "x.png", 23, 20))
    own.uploads["truth"] = [Upload(photo(tmp_path / "hr.png", 45, 39), "hr.png")]
    problem = own.problem(scale=2)
    assert problem is not None
    result = enlarge(problem, Choices(2, solver="interpolate"))
    assert result.images[RESULT].shape == result.images[TRUTH].shape == (3, 39, 45)
    assert result.scores[PLAIN].psnr_y == pytest.approx(result.scores[RESULT].psnr_y, abs=0.01)
    own.uploads["truth"] = [Upload(photo(tmp_path / "other.png", 47, 39), "other.png")]
    problem = own.problem(scale=2)
    assert problem is not None
    with pytest.raises(InputError, match="the original is 47x39 pixels and the result will be 46x40"):
        enlarge(problem, Choices(2, solver="interpolate"))


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"nothing")
    own = session(tmp_path, tmp_path / "x.png")
    problem = own.problem(scale=2)
    assert problem is not None
    with pytest.raises(DataError, match="none of the known formats"):
        enlarge(problem, Choices(2))
    with pytest.raises(DataError, match="none of the known formats"):
        own.problem(scale=2, shrink="bicubic")


def test_what_is_cancelled_leaves_no_result(tmp_path: Path) -> None:
    own = session(tmp_path, photo(tmp_path / "x.png"))
    problem = own.problem(scale=2)
    assert problem is not None

    def stop(_: object) -> None:
        raise Cancelled("no more")

    with pytest.raises(Cancelled):
        enlarge(problem, Choices(2, solver="adapt", updates=3), progress=stop)
    assert [path.name for path in problem.photo.parent.iterdir()] == ["my photo.png"]


def test_tabs_come_go_and_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(tmp_path)
    one, other = sessions.of("one"), sessions.of("other")
    assert one is sessions.of("one")
    assert one.folder != other.folder
    one.work = Work(lambda listener: None)
    sessions.leave("one")
    assert one.work._ended.is_set()
    assert sessions.of("one") is one  # its connection was lost for a moment
    sessions.leave("one")
    sessions.leave("never there")
    monkeypatch.setattr("metasr.page.session.KEPT_SECONDS", -1)
    sessions.of("other")
    assert not one.folder.exists()
    assert other.folder.exists()
    assert sessions.of("one") is not one
