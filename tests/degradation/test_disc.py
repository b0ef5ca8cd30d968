"""Out-of-focus kernels."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from metasr.degradation import kernels
from metasr.degradation.names import parse
from metasr.errors import InputError


@pytest.mark.parametrize("radius", [0.7, 2.0, 3.3, 9.9])
def test_weights_are_areas_of_the_circle(radius: float) -> None:
    """Against points thrown into the circle and counted by tap."""
    kernel = kernels.disc(radius, size=23)
    rng = np.random.default_rng(0)
    distance, angle = radius * np.sqrt(rng.random(1_000_000)), rng.uniform(0, 2 * np.pi, 1_000_000)
    edges = np.arange(24) - 11.5
    counted, _, _ = np.histogram2d(distance * np.sin(angle), distance * np.cos(angle), bins=[edges, edges])
    share = counted / 1_000_000
    assert np.abs(kernel.numpy() - share).max() < 0.02 * share.max() + 0.001
    assert np.abs(kernel.numpy() - share).sum() < 0.04
    for turned in (kernel.flip(0), kernel.T, kernel.rot90()):
        assert torch.allclose(turned, kernel, atol=1e-15)


def test_one_point_per_tap_is_binary() -> None:
    kernel = kernels.disc(2.0, size=7, subpixels=1)
    y, x = np.mgrid[:7, :7] - 3
    assert np.allclose(kernel, (y**2 + x**2 <= 4) / 13, atol=1e-16)
    assert len(kernels.disc(2.0, size=7).unique()) > 2


def test_the_centre_moves_the_disc() -> None:
    kernel = kernels.disc(1.5, size=9, centre=(2.0, 5.5))
    assert ndimage.center_of_mass(kernel.numpy()) == pytest.approx((2.0, 5.5), abs=1e-12)
    assert ndimage.center_of_mass(kernels.disc(1.5, size=9, centre=5).numpy()) == pytest.approx((5, 5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"radius": 0.0}, "radius must be finite and above 0, got 0"),
        ({"radius": float("inf")}, "radius must be finite and above 0"),
        ({"radius": 2.0, "size": 6}, "kernel size must be odd"),
        ({"radius": 2.0, "subpixels": 0}, "subpixels must be at least 1"),
        ({"radius": 11.0}, r"a disc of radius 11 at \(10, 10\) does not fit into 21x21 taps"),
        ({"radius": 2.0, "centre": 19.5}, r"radius 2 at \(19.5, 19.5\) does not fit"),
        ({"radius": 0.3, "centre": 4.5, "subpixels": 1}, "holds no tap; take more subpixels"),
    ],
)
def test_wrong_discs(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        kernels.disc(**arguments)


@pytest.mark.parametrize(("name", "size"), [("disc_3_d", 21), ("disc_2.50_b_n10", 21), ("disc_12.2_d", 27)])
def test_names_of_discs(name: str, size: int) -> None:
    found = parse(name, scale=2)
    again = parse(str(found), scale=2)
    assert str(again) == str(found)
    assert found.kernel.shape == (size, size)
    assert torch.equal(found.kernel, again.kernel)
    assert (found.downsample, found.noise_std) == ("bicubic" if "_b" in name else "direct", 10 / 255 * ("_n" in name))
    assert str(parse("disc_2.50_b_n10", scale=2)) == "disc_2.5_b_n10"


@pytest.mark.parametrize("name", ["disc_0_d", "disc_-1_d", "disc_1e999_d"])
def test_impossible_names_of_discs(name: str) -> None:
    with pytest.raises(InputError, match="radius must be finite and above 0"):
        parse(name, scale=2)
    with pytest.raises(InputError, match="unknown degradation"):
        parse("disc_3", scale=2)
