"""Sets of pictures that code draws."""

from pathlib import Path

import pytest
import torch

from metasr.data.catalog import image_set
from metasr.data.drawn_sets import COUNTS, KINDS, SIDE
from metasr.data.meta_set import MetaSet, require_disjoint
from metasr.errors import DataError


@pytest.fixture(autouse=True)
def outputs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("METASR_OUTPUTS", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", KINDS)
def test_a_meta_data_set_and_a_test_set_of_one_kind_share_no_picture(name: str) -> None:
    meta, test = MetaSet(name), image_set(name, split="test")
    assert (len(meta), len(test)) == tuple(COUNTS.values())
    require_disjoint(meta, test)
    everything = image_set(name, split="all")
    assert len({everything.load(i).numpy().tobytes() for i in range(len(everything))}) == len(everything)
    assert meta.patches(48).shape == (64, 3, 48, 48)
    for i in range(len(everything)):
        image = everything.load(i)
        assert image.shape == (3, SIDE, SIDE)
        assert image.std() > 0.1, f"{everything.names[i]} is nearly flat"


def test_lines_and_words_are_grey_and_the_photographs_from_above_are_not() -> None:
    for name, lightest in (("line_art", 0.6), ("text", 0.05), ("aerial", None)):
        image = image_set(name, split="test").load(0)
        assert bool(torch.equal(image[0], image[2])) == (lightest is not None)
        if lightest is not None:
            assert float((image > 0.75).float().mean()) > lightest


def test_pictures_are_drawn_anew_only_where_they_are_not_there_as_they_should_be(outputs: Path) -> None:
    first = image_set("line_art", split="test")
    before, stamps = first.fingerprint(), [path.stat().st_mtime_ns for path in first.paths]
    assert all(path.is_relative_to(outputs / "drawn" / "line_art") for path in first.paths)
    first.paths[0].unlink()
    first.paths[1].write_bytes(b"spoilt")
    again = image_set("line_art", split="test")
    assert again.fingerprint() == before
    assert [path.stat().st_mtime_ns for path in again.paths[2:]] == stamps[2:]


def test_nothing_is_validated_on_them() -> None:
    with pytest.raises(DataError, match="cannot be used as 'val'"):
        image_set("text", split="val")
