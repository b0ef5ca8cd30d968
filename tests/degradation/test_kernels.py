import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest, multivariate_normal

from metasr.degradation import kernels
from metasr.degradation.kernels import GaussianSampler, anisotropic, delta, gaussian, isotropic
from metasr.errors import InputError


def covariance(kernel: np.ndarray) -> np.ndarray:
    """Second central moments; x is the column, y the row."""
    y, x = np.mgrid[: kernel.shape[0], : kernel.shape[1]].astype(float)
    x, y = x - (kernel * x).sum(), y - (kernel * y).sum()
    return np.array(
        [[(kernel * x * x).sum(), (kernel * x * y).sum()], [(kernel * x * y).sum(), (kernel * y * y).sum()]]
    )


@pytest.mark.parametrize("theta", [0.0, 0.3, -0.5, math.pi / 2, 2.0])
@pytest.mark.parametrize(("variance1", "variance2"), [(4.0, 1.0), (1.5, 6.0), (2.0, 2.0)])
def test_moments_of_a_wide_kernel_are_the_covariance(variance1, variance2, theta):
    kernel = anisotropic(variance1, variance2, theta, size=61).numpy()
    rotation = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
    want = rotation @ np.diag([variance1, variance2]) @ rotation.T
    np.testing.assert_allclose(covariance(kernel), want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("theta", [0.0, 0.4, -1.1])
def test_values_are_the_normal_density(theta):
    rotation = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
    density = multivariate_normal([0, 0], rotation @ np.diag([3.0, 0.8]) @ rotation.T)
    y, x = np.mgrid[-5:6, -5:6]
    want = density.pdf(np.stack([x, y], -1))
    np.testing.assert_allclose(anisotropic(3.0, 0.8, theta, size=11), want / want.sum(), rtol=1e-12)


def test_a_wide_kernel_lies_along_the_columns_at_angle_zero():
    kernel = anisotropic(9.0, 0.5, 0.0)
    assert kernel[10, 14] > 1e3 * kernel[14, 10]


def test_the_angle_turns_from_columns_towards_rows_and_has_period_pi():
    kernel = anisotropic(6.0, 1.0, 0.7)
    assert kernel[13, 13] > 3 * kernel[13, 7]  # right and below, as rows count downwards
    np.testing.assert_allclose(anisotropic(6.0, 1.0, 0.7 + math.pi), kernel, rtol=0, atol=1e-15)
    np.testing.assert_allclose(anisotropic(1.0, 6.0, 0.7 + math.pi / 2), kernel, rtol=0, atol=1e-15)
    np.testing.assert_allclose(anisotropic(6.0, 1.0, -0.7), kernel.flip(0), rtol=0, atol=1e-15)
    assert (anisotropic(6.0, 1.0, 0.7 + math.pi / 2) - kernel).abs().max() > 0.01


def test_width_is_a_variance():
    profile = isotropic(2.0)[10] / isotropic(2.0)[10, 10]
    np.testing.assert_allclose(profile, np.exp(-0.25 * np.arange(-10, 11) ** 2), rtol=1e-12)


def test_named_test_kernels_are_21_by_21_and_sum_to_1():
    assert kernels.TEST_SIZE == 21
    for kernel in (isotropic(0.2), anisotropic(4.0, 1.0, -0.5)):
        assert kernel.shape == (21, 21)
        assert kernel.dtype == torch.float64
        assert kernel.sum().item() == pytest.approx(1, abs=1e-14)


def test_parameters_may_have_any_shape():
    first = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=torch.float64)
    angle = torch.linspace(0, 1, 6, dtype=torch.float64).view(2, 3)
    got = gaussian(first, torch.ones_like(first), angle, 9)
    assert got.shape == (2, 3, 9, 9)
    np.testing.assert_allclose(got[1, 2], anisotropic(6.0, 1.0, angle[1, 2].item(), size=9), rtol=1e-12)


def test_delta_is_one_pixel():
    kernel = delta(size=5)
    assert kernel[2, 2] == 1
    assert kernel.count_nonzero() == 1
    assert delta().shape == (1, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: isotropic(2.0, size=4), "size must be odd and at least 1, got 4"),
        (lambda: isotropic(0.0), "variances must be above 0; for no blur at all use"),
        (lambda: anisotropic(1.0, -1.0, 0.0), "variances must be above 0"),
        (lambda: delta(size=0), "size must be odd and at least 1, got 0"),
        (lambda: GaussianSampler(size=8), "size must be odd"),
        (lambda: GaussianSampler(variance=(0.0, 2.0)), r"0 < low <= high, got \(0\.0, 2\.0\)"),
        (lambda: GaussianSampler(variance=(3.0, 2.0)), r"0 < low <= high, got \(3\.0, 2\.0\)"),
        (lambda: GaussianSampler(delta_share=1.5), r"must be a probability, got 1\.5"),
    ],
)
def test_impossible_kernels_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


# -- sampler ----------------------------------------------------------------------------------------------------------


def draw(sampler: GaussianSampler, count: int = 200, seed: int = 0) -> np.ndarray:
    return sampler.sample(count, generator=torch.Generator().manual_seed(seed)).double().numpy()


def test_sampled_kernels_have_covariances_in_the_ranges():
    sampler = GaussianSampler(size=35, variance=(1.0, 5.0), theta=(0.2, 1.0))
    found = [np.linalg.eigh(covariance(k)) for k in draw(sampler, 300)]
    small, large = np.array([values for values, _ in found]).T
    assert large.max() <= 5.001
    assert small.min() >= 0.999
    assert kstest(large, "uniform", (1, 4)).pvalue > 1e-3
    assert kstest((small - 1) / (large - 1), "uniform").pvalue > 1e-3  # the smaller one is uniform below the larger
    clear = large > small + 0.2  # a round kernel has no direction
    axes = np.array([vectors[:, 1] for _, vectors in found])
    angle = np.arctan2(axes[:, 1], axes[:, 0]) % math.pi
    assert angle[clear].min() > 0.19
    assert angle[clear].max() < 1.01
    assert np.ptp(angle[clear]) > 0.7


def test_isotropic_kernels_are_round():
    for kernel in draw(GaussianSampler(size=25, variance=(0.5, 3.0), isotropic=True), 20):
        np.testing.assert_allclose(kernel, kernel.T, rtol=0, atol=1e-7)
        (a, b), (_, d) = covariance(kernel)
        assert abs(b) < 1e-6
        assert a == pytest.approx(d, abs=1e-6)


def test_kernels_have_the_sampler_s_shape_and_sum():
    sampled = GaussianSampler(size=11).sample(7, generator=torch.Generator().manual_seed(0))
    assert sampled.shape == (7, 11, 11)
    assert sampled.dtype == torch.float32
    np.testing.assert_allclose(sampled.sum((1, 2)), 1, rtol=0, atol=1e-6)


def test_the_seed_decides():
    sampler = GaussianSampler()
    np.testing.assert_array_equal(draw(sampler, 5, seed=3), draw(sampler, 5, seed=3))
    assert np.abs(draw(sampler, 5, seed=3) - draw(sampler, 5, seed=4)).max() > 0.01


@pytest.mark.parametrize(
    "options", [{}, {"isotropic": True}, {"delta_share": 0.5}, {"variance": (2.0, 2.0)}, {"theta": (0.0, 0.0)}]
)
def test_the_number_of_draws_does_not_depend_on_the_options(options):
    generator = torch.Generator().manual_seed(0)
    GaussianSampler(**options).sample(3, generator=generator)
    reference = torch.Generator().manual_seed(0)
    torch.rand(12, generator=reference, dtype=torch.float64)
    assert torch.equal(generator.get_state(), reference.get_state())


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (1.0, 400, 400), (0.25, 65, 135)])
def test_the_share_of_plain_subsampling(share, low, high):
    plain = draw(GaussianSampler(size=5, delta_share=share), 400)[:, 2, 2] == 1
    assert low <= plain.sum() <= high


def test_the_other_kernels_stay_the_same_with_some_plain_ones():
    with_plain, without = draw(GaussianSampler(delta_share=0.5), 40), draw(GaussianSampler(), 40)
    plain = with_plain[:, 7, 7] == 1
    assert 0 < plain.sum() < 40
    np.testing.assert_array_equal(with_plain[~plain], without[~plain])
