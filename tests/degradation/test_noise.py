import numpy as np
import pytest
import torch

from metasr.degradation.noise import add_gaussian_noise, quantise_8bit
from metasr.errors import InputError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_noise_has_the_asked_mean_and_deviation_and_is_white():
    noise = add_gaussian_noise(torch.full((2, 3, 101, 97), 0.5), 0.04, generator=generator()) - 0.5
    n = noise.numel()
    assert abs(noise.mean().item()) < 5 * 0.04 / n**0.5
    assert abs(noise.std().item() / 0.04 - 1) < 5 / (2 * n) ** 0.5
    for a, b in (
        (noise[..., 1:], noise[..., :-1]),
        (noise[..., 1:, :], noise[..., :-1, :]),
        (noise[:, 1:], noise[:, :-1]),
    ):
        assert abs((a * b).mean().item()) / 0.04**2 < 5 / a.numel() ** 0.5
    kurtosis = (noise / 0.04).pow(4).mean().item()
    assert abs(kurtosis - 3) < 5 * (96 / n) ** 0.5


def test_one_deviation_for_each_image():
    noise = add_gaussian_noise(torch.zeros(3, 3, 51, 49), torch.tensor([0.0, 0.1, 0.3]), generator=generator())
    assert noise[0].abs().max() == 0
    np.testing.assert_allclose(noise.flatten(1).std(1)[1:], [0.1, 0.3], rtol=0.04)


def test_the_seed_decides_whatever_the_precision():
    image = torch.rand(1, 3, 9, 7, dtype=torch.float64)
    first = add_gaussian_noise(image, 0.1, generator=generator(1))
    np.testing.assert_array_equal(first, add_gaussian_noise(image, 0.1, generator=generator(1)))
    assert (first - add_gaussian_noise(image, 0.1, generator=generator(2))).abs().max() > 0.01
    single = add_gaussian_noise(image.float(), 0.1, generator=generator(1))
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single, first, rtol=0, atol=1e-6)


def test_noise_is_not_clipped():
    noisy = add_gaussian_noise(torch.zeros(1, 1, 21, 17), 0.5, generator=generator())
    assert noisy.min() < -0.5


def test_a_negative_deviation_is_refused():
    with pytest.raises(InputError, match=r"noise_std must be at least 0, got -0\.1"):
        add_gaussian_noise(torch.zeros(1, 1, 3, 5), -0.1, generator=generator())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mode", ["round", "truncate"])
def test_the_256_levels_stay_as_they_are(mode, dtype):
    levels = torch.arange(256, dtype=dtype) / 255
    np.testing.assert_array_equal(quantise_8bit(levels, mode), levels)


def test_rounding_and_truncation_against_numpy():
    values = torch.linspace(-0.2, 1.2, 997, dtype=torch.float64)
    scaled = np.clip(values.numpy(), 0, 1) * 255
    rounded = quantise_8bit(values, "round")
    truncated = quantise_8bit(values, "truncate")
    np.testing.assert_allclose(rounded * 255, np.rint(scaled), rtol=0, atol=1e-12)
    np.testing.assert_array_equal((truncated * 255).round(), scaled.astype(np.uint8))  # as a cast to uint8 does
    differs = (rounded - truncated) * 255
    assert set(differs.round().tolist()) == {0.0, 1.0}
    assert 0.3 < differs.mean() < 0.5  # half of the values in [0, 1], none outside


def test_another_mode_is_refused():
    with pytest.raises(InputError, match="quantise must be 'round', 'truncate' or none, got 'floor'"):
        quantise_8bit(torch.zeros(3), "floor")
