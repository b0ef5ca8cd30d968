"""What would be done with a photo is what is done."""

from pathlib import Path

import pytest
import torch

import metasr
from metasr.errors import DataError
from metasr.io.images import Photo, write_photo


@pytest.fixture
def source(tmp_path: Path) -> Path:
    image = torch.rand(3, 30, 41, generator=torch.Generator().manual_seed(1))
    return write_photo(Photo(image), tmp_path / "a.png")


def test_a_plan_tells_what_is_done(source: Path) -> None:
    found = metasr.plan(source, solver="adapt", steps=1)
    (done,) = metasr.upscale(source, solver="adapt", steps=1)
    assert (found.output, found.weights, found.updates) == (done.output, done.weights, done.updates)
    assert metasr.plan(done.output).size == found.output_size == (82, 60)


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
