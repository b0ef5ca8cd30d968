"""What would be done with a photo is what is done."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

import metasr
from metasr.cli import main
from metasr.errors import DataError
from metasr.io.images import Photo, read_photo, write_photo
from running import save_picture


@pytest.fixture
def source(tmp_path: Path) -> Path:
    image = torch.rand(3, 30, 41, generator=torch.Generator().manual_seed(1))
    return write_photo(Photo(image), tmp_path / "a.png")


def test_a_plan_tells_what_is_done(source: Path) -> None:
    found = metasr.plan(source, solver="adapt", steps=1)
    (done,) = metasr.upscale(source, solver="adapt", steps=1)
    assert (found.output, found.weights, found.updates) == (done.output, done.weights, done.updates)
    assert metasr.plan(done.output).size == found.output_size == (82, 60)


def test_the_default_looks_at_the_photo(source: Path, caplog: pytest.LogCaptureFixture) -> None:
    photo = read_photo(source)
    small = Photo(photo.rgb.mean(0, keepdim=True).expand(3, -1, -1) * 0.2 + 0.4)
    path = write_photo(small, source.with_suffix(".jpg"))
    found = metasr.plan(path)
    assert "JPEG of quality 95" in found.seen[1]
    assert found.degradation.endswith("_q95")
    assert found.updates == 0
    with caplog.at_level(logging.INFO, logger="metasr"):
        (done,) = metasr.upscale(path)
    assert done.updates == 0
    assert "JPEG of quality 95" in done.chosen
    assert done.chosen in str(done)
    assert found.why[0] in caplog.text


@pytest.mark.parametrize(
    "typed", [{"kernel": "bicubic"}, {"steps": 2}, {"weights": "mzsr_x2_bicubic_meta"}, {"rates": "learned"}]
)
def test_what_is_typed_is_done(source: Path, typed: dict[str, Any]) -> None:
    found = metasr.plan(source, **typed)
    assert (found.solver, found.updates) == ("adapt", typed.get("steps", 10))


def test_nothing_is_written(source: Path) -> None:
    found = metasr.plan(source, scale=3, solver="interpolate", kernel="bicubic_n5")
    assert sorted(source.parent.iterdir()) == [source]
    assert (found.solver, found.weights, found.updates, found.scale) == ("interpolate", "-", 0, 3)
    assert found.output == source.with_name("a_x3.png")
    assert found.output_size == (123, 90)
    assert found.degradation == "bicubic_n5"
    assert found.noise == pytest.approx(5)


def test_an_estimate_is_told(source: Path) -> None:
    found = metasr.plan(source, kernel="estimate")
    (done,) = metasr.upscale(source, kernel="estimate", steps=0)
    assert any(done.assumed in line for line in found.why)
    assert found.degradation in done.assumed


def test_a_plan_prints_all_of_its_lines(source: Path) -> None:
    found = metasr.plan(source)
    assert str(found).splitlines() == [*found.seen, *found.chosen, *found.why]
    assert found.seen[0] == f"{source}: 41x30 pixels, colour, 8 bits"


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        metasr.plan(tmp_path)


def test_sizes_are_planned_as_they_come_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save_picture(tmp_path / "b.png", 37, 51)
    for size in ({"width": 77}, {"max_side": 120}, {"megapixels": 0.01}, {"max_side": 30}, {"scale": 3.0}):
        planned = metasr.plan(source, solver="network", kernel="bicubic", **size)  # type: ignore[arg-type]
        (done,) = metasr.upscale(source, solver="network", kernel="bicubic", **size)  # type: ignore[arg-type]
        assert planned.output == done.output
        assert planned.output_size == tuple(reversed(read_photo(done.output).rgb.shape[1:]))
        assert planned.weights == done.weights
    assert metasr.plan(source, max_side=30).why == ("it is as large as that already: made smaller by plain resizing",)
    assert main(["info", str(source), "--max-side", "120"]) == 0
    assert "b_max120.png, 120x88 pixels, by " in capsys.readouterr().out
