"""Pictures for a screen: reduced, in step, in colours."""

import pytest
import torch

from metasr.degradation.kernels import anisotropic
from metasr.errors import InputError
from metasr.figures.views import error_map, kernel_picture, magnified, moved, reduced
from metasr.io.images import to_uint8


def image(height: int = 45, width: int = 67) -> torch.Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(1))


def test_reduced_keeps_kind_mean_and_small_images() -> None:
    one = image(60, 90)
    small = reduced(one, 30)
    assert small.shape == (3, 20, 30)
    assert torch.allclose(small.mean((1, 2)), one.mean((1, 2)), atol=1e-6)
    assert torch.allclose(small[:, 0, 0], one[:, :3, :3].mean((1, 2)))
    levels = to_uint8(one)
    assert reduced(levels, 30).dtype == torch.uint8
    assert reduced(levels, 90) is levels
    with pytest.raises(InputError, match="longest must be at least 1"):
        reduced(one, 0)


@pytest.mark.parametrize(
    ("centre", "top", "left"),
    [((0.5, 0.5), 18, 28), ((0, 0), 0, 0), ((1, 1), 35, 57), ((0.2, 0.9), 4, 55)],
)
def test_parts_of_images_of_one_size_show_the_same_place(centre: tuple[float, float], top: int, left: int) -> None:
    one = image()
    part = magnified(one, centre, side=10, zoom=3)
    assert part.shape == (3, 30, 30)
    assert torch.equal(part[:, ::3, ::3], one[:, top : top + 10, left : left + 10])
    assert torch.equal(part[:, 1::3, 2::3], part[:, ::3, ::3])
    assert torch.equal(magnified(1 - one, centre, side=10, zoom=3), 1 - part)


def test_a_part_larger_than_the_image_is_all_of_it() -> None:
    assert torch.equal(magnified(image(8, 30), (0.5, 0.5), side=10, zoom=1), image(8, 30)[:, :, 10:20])


def test_what_is_clicked_at_moves_to_the_middle() -> None:
    one, side, zoom = image(100, 120), 20, 4
    one[:, 33, 65] = 5
    centre = (0.4, 0.5)
    part = magnified(one, centre, side=side, zoom=zoom)
    row, column = (int(i) for i in (part[0] == 5).nonzero()[0])
    new = moved(centre, (row, column), (100, 120), side=side, zoom=zoom)
    shown = magnified(one, new, side=side, zoom=zoom)
    row, column = (int(i) // zoom for i in (shown[0] == 5).nonzero()[0])
    assert abs(row - side // 2) <= 1
    assert abs(column - side // 2) <= 1
    assert moved((0.0, 0.0), (0, 0), (100, 120), side=side, zoom=zoom)[0] == pytest.approx(0.125 / 100)


def test_a_kernel_is_brightest_at_its_largest_tap() -> None:
    kernel = anisotropic(4.0, 1.0, 0.5, size=15)
    picture = kernel_picture(kernel, side=150)
    assert picture.shape == (3, 150, 150)
    brightness = picture.sum(0)
    row, column = divmod(int(brightness.argmax()), 150)
    assert (row // 10, column // 10) == divmod(int(kernel.argmax()), 15)
    order = brightness[::10, ::10].flatten()[kernel.flatten().argsort()]
    assert bool((order.diff() >= -1e-6).all())
    assert torch.equal(kernel_picture(kernel * 7, side=150), picture)
    for bad in (torch.zeros(3), torch.full((3, 3), float("nan"))):
        with pytest.raises(InputError, match="finite and of shape"):
            kernel_picture(bad)


def test_error_maps_of_one_limit_can_be_compared() -> None:
    hr = torch.zeros(3, 5, 6)
    none, some, most = (error_map(hr + error, hr)[:, 2, 3] for error in (0.0, 0.05, 0.5))
    assert float(none.sum()) < float(some.sum()) < float(most.sum())
    assert torch.equal(error_map(hr + 0.9, hr), error_map(hr + 32 / 255, hr))
    assert torch.equal(error_map(hr + 0.05, hr, limit=0.1)[:, 0, 0], error_map(hr + 0.5, hr, limit=1)[:, 0, 0])
    levels = error_map(to_uint8(image()), to_uint8(image() * 0.9))
    assert torch.allclose(levels, error_map(image(), image() * 0.9), atol=0.1)  # within a level of 32
    with pytest.raises(InputError, match="both be"):
        error_map(hr, hr[:, 1:])
    with pytest.raises(InputError, match="limit must be above 0"):
        error_map(hr, hr, limit=0)
