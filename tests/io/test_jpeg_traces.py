"""The compression that pixels tell of."""

from pathlib import Path

import numpy as np
import pytest
import torch

from metasr.degradation.names import parse
from metasr.io.images import Photo, read_photo, write_photo
from metasr.io.jpeg import Subsampling, of_quality, recompress
from metasr.io.jpeg_traces import traces_of
from small_problems import picture


def photo(height: int = 144, width: int = 160, *, name: str = "sig_1.2_b_n2") -> np.ndarray:
    """As from a camera: a little soft, a little noisy."""
    drawn = torch.Generator().manual_seed(0)
    image = parse(name, scale=2)(picture(2 * height, 2 * width), generator=drawn)[0]
    return (image.movedim(0, -1).numpy() * 255).round().astype(np.uint8)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
@pytest.mark.parametrize("quality", [30, 50, 75, 90, 95])
def test_quality_and_colour_are_found(quality: int, subsampling: Subsampling) -> None:
    jpeg = of_quality(quality, subsampling=subsampling)
    assert traces_of(recompress(photo(), jpeg)) == jpeg


def test_the_grid_of_a_cut_photo_is_found() -> None:
    jpeg = of_quality(70, subsampling="4:2:0")
    found = traces_of(recompress(photo(), jpeg)[5:, 10:])
    assert found == of_quality(70, subsampling="4:2:0", corner=(11, 6))


@pytest.mark.parametrize("name", ["sig_1.2_b_n2", "bicubic", "bicubic_n8", "sig_0.8_b"])
def test_what_was_never_compressed_shows_nothing(name: str) -> None:
    assert traces_of(photo(name=name)) is None


def test_what_was_changed_since_shows_nothing() -> None:
    coded = recompress(photo(), of_quality(60))
    noise = np.random.default_rng(0).integers(-3, 4, coded.shape)
    assert traces_of(np.clip(coded + noise, 0, 255).astype(np.uint8)) is None
    assert traces_of(coded[::2, ::2]) is None


def test_too_small_or_even_images_show_nothing() -> None:
    assert traces_of(photo()[:20, :20]) is None
    assert traces_of(np.full((64, 64, 3), 77, np.uint8)) is None
    assert traces_of(np.zeros((64, 64, 3), np.uint8)) is None


def test_a_photo_tells_its_compression_by_header_or_pixels(tmp_path: Path) -> None:
    jpeg = of_quality(75, subsampling="4:2:0")
    coded = torch.tensor(recompress(photo(), jpeg)).movedim(-1, 0).float() / 255
    write_photo(Photo(rgb=coded), tmp_path / "again.png")
    again = read_photo(tmp_path / "again.png")
    assert again.jpeg is None
    assert again.compression == jpeg
    assert Photo(rgb=coded, bits=16).compression is None
    assert Photo(rgb=coded, jpeg=of_quality(20)).compression == of_quality(20)
    write_photo(Photo(rgb=coded), tmp_path / "again.jpg")
    assert read_photo(tmp_path / "again.jpg").compression == of_quality(95)
