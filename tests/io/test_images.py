"""Conversion of values, a photo's fields."""

import pytest
import torch

from data.image_files import H, W
from metasr.errors import InputError
from metasr.io.images import Photo, from_uint8, to_uint8


def test_every_uint8_survives() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(from_uint8(values)), values)
    assert from_uint8(values).dtype == torch.float32
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        near = to_uint8(from_uint8(values).to(dtype)).int() - values.int()
        assert near.abs().max() <= (1 if dtype == torch.bfloat16 else 0)


def test_to_uint8_rounds_halves_to_even() -> None:
    values = torch.tensor([0.5, 1.5, 2.5, 127.5], dtype=torch.float64) / 255
    assert to_uint8(values).tolist() == [0, 2, 2, 128]
    assert to_uint8(torch.tensor([-1.0, 2.0])).tolist() == [0, 255]


def test_conversion_errors() -> None:
    with pytest.raises(InputError, match=r"floating-point image in \[0, 1\], got torch.uint8"):
        to_uint8(torch.zeros(3, dtype=torch.uint8))
    with pytest.raises(InputError, match="1 NaN"):
        to_uint8(torch.tensor([0.0, float("nan")]))
    with pytest.raises(InputError, match=r"expected a uint8 image, got torch\.float32"):
        from_uint8(torch.zeros(3))


def test_photo_checks_its_fields() -> None:
    rgb = torch.zeros(3, H, W)
    for fields, message in (
        ({"rgb": torch.zeros(1, 3, H, W)}, r"shape \(3, H, W\), got .*\(1, 3, 7, 5\)"),
        ({"rgb": rgb.to(torch.uint8)}, "rgb must be floating point"),
        ({"rgb": torch.zeros(3, 0, W)}, "rgb must be"),
        ({"rgb": rgb, "alpha": torch.zeros(H, W)}, r"alpha must be .*\(1, 7, 5\), as rgb has, got .*\(7, 5\)"),
        ({"rgb": rgb, "bits": 12}, "bits must be 8 or 16, got 12"),
    ):
        with pytest.raises(InputError, match=message):
            Photo(**fields)
