"""The command, the task and the function give the same answer to JPEG files of all kinds."""

from pathlib import Path

import pytest

import metasr
from data.jpegs import READ, REFUSED
from metasr.cli import main
from metasr.errors import DataError
from metasr.io.images import read_photo
from metasr.jobs.upscale import upscale_task
from running import upscale_config


@pytest.mark.parametrize("kind", ["progressive", "arithmetic", "cmyk"])
def test_an_answer(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(READ[kind])
    assert main(["upscale", str(source), "-o", str(tmp_path / "cli.png"), "--solver", "interpolate"]) == 0
    list(upscale_task(upscale_config("interpolate", input=source, output=tmp_path / "task.png")))
    metasr.upscale(source, tmp_path / "api.png", solver="interpolate")
    made = [read_photo(tmp_path / f"{name}.png").rgb for name in ("cli", "task", "api")]
    assert made[0].shape == (3, 32, 48)
    assert all((image == made[0]).all() for image in made)


@pytest.mark.parametrize("kind", ["12 bits", "lossless", "no tables", "a table of zeros", "too many codes"])
def test_a_clear_word(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    data, message = REFUSED[kind]
    source = tmp_path / "a.jpg"
    source.write_bytes(data)
    out = tmp_path / "new" / "a.png"
    assert main(["upscale", str(source), "-o", str(out), "--solver", "interpolate"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert message in told
    with pytest.raises(DataError, match=message):
        list(upscale_task(upscale_config("interpolate", input=source, output=out)))
    with pytest.raises(DataError, match=message):
        metasr.upscale(source, out, solver="interpolate")
    assert not out.exists()


def test_one_of_several_does_not_keep_the_others_from_being_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jpg").write_bytes(REFUSED["12 bits"][0])
    (tmp_path / "b.jpg").write_bytes(READ["baseline"])
    arguments = [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg"), "-o", str(tmp_path / "out")]
    assert main(["upscale", *arguments, "--max-side", "60", "--format", "jpg", "--solver", "interpolate"]) == 2
    assert read_photo(tmp_path / "out" / "b.jpg").rgb.shape == (3, 40, 60)
    assert "1 of 2 photos were left out" in capsys.readouterr().err
