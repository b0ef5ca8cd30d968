"""PSNR and SSIM against scikit-image, and against numpy loops written from the papers."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from metasr.errors import InputError
from metasr.metrics.psnr_ssim import psnr, ssim, to_8bit_levels

SIZES = [(11, 11), (12, 31), (37, 23)]
PSNR_DIGITS = 1e-5  # torchmetrics takes the logarithm of the peak in float32


def pair(size: tuple[int, int], count: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth pictures of whole grey levels and noisy copies of them."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    clean = np.stack([128 + 90 * np.sin(x / (3 + i)) * np.cos(y / 5) for i in range(count)])[:, None]
    noisy = clean + random.normal(0, 12, clean.shape)
    return tuple(torch.from_numpy(a.round().clip(0, 255)) for a in (clean, noisy))


def naive_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. (2004), equation 13, averaged over all whole windows."""
    t = np.arange(-5, 6)
    window = np.exp(-(t[:, None] ** 2 + t**2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(x: np.ndarray) -> np.ndarray:
        return convolve2d(x, window, mode="valid")

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    return float(((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean())


@pytest.mark.parametrize("size", SIZES)
def test_psnr(size):
    a, b = pair(size)
    for i, value in enumerate(psnr(b, a)):
        want = peak_signal_noise_ratio(a[i, 0].numpy(), b[i, 0].numpy(), data_range=255)
        assert value.item() == pytest.approx(want, abs=PSNR_DIGITS)
        squares = [(float(p) - float(q)) ** 2 for p, q in zip(a[i].flatten(), b[i].flatten(), strict=True)]
        assert value.item() == pytest.approx(10 * math.log10(255**2 / (sum(squares) / len(squares))), abs=PSNR_DIGITS)


@pytest.mark.parametrize("size", SIZES)
def test_ssim(size):
    a, b = pair(size)
    for i, value in enumerate(ssim(b, a)):
        assert value.item() == pytest.approx(naive_ssim(a[i, 0].numpy(), b[i, 0].numpy()), abs=1e-10)
        _, full = structural_similarity(
            a[i, 0].numpy(), b[i, 0].numpy(), data_range=255, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False, full=True,
        )  # fmt: skip
        assert value.item() == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-10)


def test_strips_change_nothing(monkeypatch):
    a, b = pair((37, 23), count=2)
    whole = ssim(b, a)
    monkeypatch.setattr("metasr.metrics.psnr_ssim._STRIP_PIXELS", 23 * 4)
    np.testing.assert_allclose(ssim(b, a), whole, rtol=0, atol=1e-12)


def test_one_value_per_image_independent_of_the_others():
    a, b = pair((17, 23), count=3)
    assert psnr(b, a).shape == ssim(b, a).shape == (3,)
    for i in range(3):
        assert psnr(b, a)[i] == psnr(b[i : i + 1], a[i : i + 1])[0]
        assert ssim(b, a)[i].item() == pytest.approx(ssim(b[i : i + 1], a[i : i + 1]).item(), abs=1e-12)


def test_single_precision_is_measured_in_double():
    a, b = pair((17, 23))
    assert psnr(b.float(), a.float()).dtype == ssim(b.float(), a.float()).dtype == torch.float64
    np.testing.assert_array_equal(ssim(b.float(), a.float()), ssim(b, a))


def test_equal_images():
    a, _ = pair((13, 17))
    assert torch.isinf(psnr(a, a)).all()
    np.testing.assert_allclose(ssim(a, a), 1, rtol=0, atol=1e-12)


def test_a_known_value():
    a = torch.full((1, 1, 13, 17), 100.0)
    assert psnr(a + 1, a).item() == pytest.approx(48.1308036, abs=PSNR_DIGITS)  # 20 log10(255)
    c1 = (0.01 * 255) ** 2
    assert ssim(a + 1, a).item() == pytest.approx((2 * 100 * 101 + c1) / (100**2 + 101**2 + c1), abs=1e-9)


def test_torchmetrics_default_border_is_another():
    # It mirrors the image and averages the whole map, border and all; MATLAB's has the valid region only. Where the
    # border is worse than the rest, the two differ far beyond the last printed digit.
    a, b = pair((37, 23), count=1)
    b[..., :3] = 255 - b[..., :3]
    default = structural_similarity_index_measure(b, a, sigma=1.5, kernel_size=11, data_range=255.0).item()
    assert abs(default - ssim(b, a).item()) > 0.005


def test_levels_of_an_8_bit_file():
    image = torch.tensor([-0.3, 0.0, 0.4999 / 255, 0.5001 / 255, 100.4 / 255, 1.0, 1.7], dtype=torch.float64)
    assert to_8bit_levels(image).tolist() == [0, 0, 0, 1, 100, 255, 255]


@pytest.mark.parametrize("measure", [psnr, ssim])
@pytest.mark.parametrize(
    ("a", "b"), [((1, 1, 13, 17), (1, 1, 17, 13)), ((1, 13, 17), (1, 13, 17)), ((2, 1, 13, 17), (1, 1, 13, 17))]
)
def test_shapes_must_agree(measure, a, b):
    with pytest.raises(InputError, match=r"must both be \(B, C, H, W\) of one shape, got"):
        measure(torch.zeros(a), torch.zeros(b))


def test_ssim_needs_a_whole_window():
    with pytest.raises(InputError, match="at least 11x11 pixels, got 10x17"):
        ssim(torch.zeros(1, 1, 10, 17), torch.zeros(1, 1, 10, 17))
