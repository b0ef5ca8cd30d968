"""The high-frequency error against scipy, and what it sees."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from metasr.errors import InputError
from metasr.metrics.high_frequency import high_frequency_error
from metasr.metrics.protocol import LumaProtocol


def levels(seed: int, size=(31, 44), count: int = 2) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(0, 255, (count, 1, *size)))


def by_scipy(image: torch.Tensor, reference: torch.Tensor, scale: float) -> list[float]:
    """High-pass both images themselves, then compare inside."""
    sigma = scale / 2
    radius = math.ceil(3 * sigma)
    found = []
    for one, other in zip(image.numpy()[:, 0], reference.numpy()[:, 0], strict=True):
        a, b = (x - gaussian_filter(x, sigma, radius=radius, mode="constant") for x in (one, other))
        inside = slice(radius, -radius)
        found.append(float(np.sqrt(((a - b)[inside, inside] ** 2).mean())))
    return found


@pytest.mark.parametrize("scale", [1, 2, 2.5, 3, 4])
def test_against_scipy(scale: float) -> None:
    image, reference = levels(0), levels(1)
    got = high_frequency_error(image, reference, scale=scale)
    assert got.dtype == torch.float64
    np.testing.assert_allclose(got.numpy(), by_scipy(image, reference, scale), rtol=1e-12)


def test_equal_images_and_a_shift_of_all_levels_have_none() -> None:
    image = levels(0)
    assert high_frequency_error(image, image, scale=2).tolist() == [0.0, 0.0]
    assert high_frequency_error(image + 9, image, scale=2).max() < 1e-10


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_half_the_amplitude_passes_below_the_lr_grids_nyquist_frequency(scale: int) -> None:
    x = torch.arange(4000, dtype=torch.float64).expand(1, 1, 40, -1)

    def share(frequency: float) -> float:
        wave = torch.sin(frequency * x)
        return float(high_frequency_error(wave, torch.zeros_like(wave), scale=scale) / wave.square().mean().sqrt())

    assert share(2.355 / scale) == pytest.approx(0.5, abs=0.01)
    assert share(math.pi / scale) > 0.65
    assert share(0.3 / scale) < 0.02


def test_channels_count_alike() -> None:
    a, b = levels(0), levels(1)
    both = high_frequency_error(torch.cat([a, a], 1), torch.cat([b, a], 1), scale=2)
    torch.testing.assert_close(both, high_frequency_error(a, b, scale=2) / math.sqrt(2))


def test_of_the_protocols_luma() -> None:
    """Rounding and shaving are the protocol's: what differs in the shaved border alone is not seen."""
    generator = torch.Generator().manual_seed(0)
    hr = torch.rand(1, 3, 30, 37, generator=generator)
    sr = hr.clone()
    sr[..., :2, :] = 0
    sr[..., 12, 15] += 0.4 / 255 / 128  # below half a level
    luma = LumaProtocol().luma
    assert high_frequency_error(luma(sr, scale=2), luma(hr, scale=2), scale=2).item() == 0


def test_bad_input_is_refused() -> None:
    a = levels(0)
    with pytest.raises(InputError, match=r"one shape, got \(2, 1, 31, 44\) and \(1, 1, 31, 44\)"):
        high_frequency_error(a, a[:1], scale=2)
    with pytest.raises(InputError, match="scale must be a finite number above 0, got 0"):
        high_frequency_error(a, a, scale=0)
    with pytest.raises(InputError, match="at scale 4 needs more than 12x12 pixels, got 12x44"):
        high_frequency_error(a[..., :12, :], a[..., :12, :], scale=4)
    assert high_frequency_error(a[..., :13, :], a[..., :13, :], scale=4).shape == (2,)
