"""Sizes that enlargements are to have."""

import pytest

from metasr.degradation.resize import output_size
from metasr.errors import InputError
from metasr.io.sizes import TargetSize, target_size


@pytest.mark.parametrize(
    ("asked", "height", "width", "result", "ending"),
    [
        ({"width": 1600}, 667, 1001, (1067, 1600), "_w1600"),
        ({"height": 900}, 667, 1001, (900, 1351), "_h900"),
        ({"width": 300, "height": 300}, 101, 203, (150, 300), "_300x300"),
        ({"width": 300, "height": 100}, 101, 203, (100, 201), "_300x100"),
        ({"max_side": 2000}, 700, 300, (2000, 858), "_max2000"),
        ({"max_side": 100}, 300, 700, (43, 100), "_max100"),
        ({"megapixels": 2.0}, 100, 100, (1415, 1415), "_2mp"),
        ({"megapixels": 0.5}, 333, 777, (463, 1081), "_0.5mp"),
        ({}, 33, 47, (99, 141), "_x3"),
    ],
)
def test_sizes(asked: dict, height: int, width: int, result: tuple[int, int], ending: str) -> None:
    target = TargetSize(scale=3.0, **asked)
    assert output_size((height, width), target.factor(height, width)) == result
    assert target.ending == ending
    assert target.is_fixed == bool(asked)


@pytest.mark.parametrize("side", range(1, 400, 7))
def test_the_side_asked_for_is_met_to_the_pixel(side: int) -> None:
    for width in (1, 3, 7, 97, 333, 1024):
        assert output_size((10, width), TargetSize(scale=2, width=side).factor(10, width))[1] == side


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"width": 0}, "width must be above 0, got 0"),
        ({"megapixels": float("inf")}, "megapixels must be above 0, got inf"),
        ({"max_side": 5, "width": 3}, "width and max_side exclude each other: give one of width, height, max_side"),
        ({"megapixels": 1.0, "height": 3}, "height and megapixels exclude each other"),
    ],
)
def test_what_is_no_size(asked: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TargetSize(scale=2, **asked)


def test_a_scale_excludes_a_size() -> None:
    assert target_size(None, 3.0, width=None).scale == 3
    assert target_size(4.0, 3.0).scale == 4
    assert target_size(None, 3.0, width=7).factor(1, 14) == 0.5
    with pytest.raises(InputError, match=r"a scale and a size .* exclude each other"):
        target_size(2.0, 2.0, width=7)
