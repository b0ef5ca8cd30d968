"""Gaussians by standard deviation, the convention of DASR, MRDA and KDSR: names and samplers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate
from scipy.stats import kstest

from metasr.degradation import kernels
from metasr.degradation.kernels import GaussianSampler
from metasr.degradation.names import parse
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.errors import InputError

stds = st.floats(0.1, 7) | st.decimals("0.2", 4, places=1).map(float)


def direct_gaussian(std1: float, std2: float, degrees: float, size: int = 21) -> np.ndarray:
    """By the inverse of the covariance, as the papers write it."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.array([[c, -s], [s, c]])
    inverse = np.linalg.inv(turn @ np.diag([std1**2, std2**2]) @ turn.T)
    axis = np.arange(size) - size // 2
    places = np.stack(np.meshgrid(axis, axis), -1)  # (row, column, (x, y))
    values = np.exp(-0.5 * np.einsum("...i,ij,...j", places, inverse, places))
    return values / values.sum()


def sample(sampler: GaussianSampler, count: int, seed: int = 0) -> np.ndarray:
    return sampler.sample(count, generator=torch.Generator().manual_seed(seed)).double().numpy()


def axes(kernel: np.ndarray) -> tuple[float, float, float]:
    """Standard deviations along and across the longer axis, and its angle in [0, π), from second moments."""
    axis = np.arange(len(kernel)) - len(kernel) // 2
    x, y = np.meshgrid(axis, axis)
    covariance = [[(kernel * a * b).sum() for b in (x, y)] for a in (x, y)]
    values, vectors = np.linalg.eigh(covariance)
    return math.sqrt(values[1]), math.sqrt(values[0]), math.atan2(vectors[1, 1], vectors[0, 1]) % math.pi


# -- names ------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(std1=stds, std2=stds, degrees=st.floats(-400, 400), end=st.sampled_from("db"))
def test_the_kernel_is_that_of_the_covariance_and_the_name_reads_back(std1, std2, degrees, end):
    found = parse(f"sigani_{std1}_{std2}_{degrees}_{end}", scale=4)
    np.testing.assert_allclose(found.kernel, direct_gaussian(std1, std2, degrees), atol=1e-9)
    again = parse(str(found), scale=4)
    assert str(again) == str(found)
    assert torch.equal(again.kernel, found.kernel)
    assert found.downsample == {"d": "direct", "b": "bicubic"}[end]


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("sigani_4.0_1.0_20.0_b", "sigani_4_1_20_b"),
        ("sigani_4_1_200_b", "sigani_4_1_20_b"),
        ("sigani_4_1_-160_d_n10", "sigani_4_1_20_d_n10"),
        ("sigani_4_1_180_b", "sigani_4_1_0_b"),
        ("sigani_4_1_-1e-20_b", "sigani_4_1_0_b"),
        ("sigani_2.6_2.6_77_b", "sig_2.6_b"),
        ("sig_0_b", "bicubic"),
        ("sig_0.0_d_n5", "direct_n5"),
        ("sigani_0_0_30_b", "bicubic"),
    ],
)
def test_canonical_text(text, canonical):
    found = parse(text, scale=4)
    assert str(found) == canonical
    same = parse(canonical, scale=4)
    assert (found.downsample, found.noise_std, found.kernel is None) == (
        same.downsample, same.noise_std, same.kernel is None,
    )  # fmt: skip


def test_a_width_of_zero_leaves_plain_subsampling_as_it_is():
    hr = torch.rand(1, 3, 29, 37)
    assert torch.equal(parse("sig_0_b", scale=4)(hr), parse("bicubic", scale=4)(hr))
    assert not torch.equal(parse("sig_0.6_b", scale=4)(hr), parse("bicubic", scale=4)(hr))


@pytest.mark.parametrize("degrees", [0, 13, 90, 151])
def test_equal_widths_are_round_at_every_angle(degrees):
    round_one = parse("sig_2.6_b", scale=4).kernel
    assert torch.equal(parse(f"sigani_2.6_2.6_{degrees}_b", scale=4).kernel, round_one)
    np.testing.assert_allclose(round_one, direct_gaussian(2.6, 2.6, degrees), atol=1e-12)


def test_angles_turn_from_the_columns_clockwise():
    flat = parse("sigani_4_1_0_b", scale=4).kernel
    assert flat[10, 14] > 100 * flat[14, 10]  # long along a row
    slanting = parse("sigani_4_1_45_b", scale=4).kernel
    assert slanting[13, 13] > 100 * slanting[7, 13]  # from the upper left to the lower right


def test_widths_are_no_variances():
    np.testing.assert_allclose(axes(parse("sig_1.5_b", scale=4).kernel.numpy())[:2], 1.5, atol=1e-3)
    assert torch.equal(parse("sig_1.5_b", scale=4).kernel, parse("iso_2.25_b", scale=4).kernel)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sig_-1_b", "'sig_-1_b': standard deviations must be finite and at least 0, .* got -1, -1 and 0 degrees"),
        ("sig_1e999_b", "finite and at least 0, .* got inf"),
        ("sigani_4_-1_0_b", "finite and at least 0, .* got 4, -1 and 0 degrees"),
        ("sigani_4_1_1e999_b", "the angle finite, got 4, 1 and inf degrees"),
        ("sigani_0_1_0_b", "a width of 0 in one direction alone is no kernel; give both above 0"),
        ("sigani_4_1_b", "unknown degradation"),
    ],
)
def test_impossible_widths(text, message):
    with pytest.raises(InputError, match=message):
        parse(text, scale=4)


@pytest.mark.parametrize("name", ["sig_2_b", "sigani_3_1_30_b", "sig_1.2_d"])
def test_the_border_is_mirrored_without_its_edge(name):
    hr = torch.rand(1, 3, 29, 37, dtype=torch.float64)
    found = parse(name, scale=4)
    blurred = np.stack([correlate(c, found.kernel.numpy(), mode="mirror") for c in hr[0].numpy()])
    lr = blurred[:, ::4, ::4] if name.endswith("d") else imresize(torch.from_numpy(blurred), 0.25).numpy()
    np.testing.assert_allclose(found.linear(hr)[0], lr, atol=1e-12)
    assert parse("iso_4_b", scale=4).padding == "symmetric"


def test_order_blur_then_bicubic_then_noise_then_rounding():
    hr = torch.rand(1, 3, 45, 57)
    lr = parse("sig_2_b_n20", scale=3)(hr, generator=torch.Generator().manual_seed(5))
    plain = Degradation(scale=3, kernel=parse("sig_2_b", scale=3).kernel, padding="reflect", quantise=None).linear(hr)
    noise = torch.randn(plain.shape, generator=torch.Generator().manual_seed(5)) * 20 / 255
    assert torch.equal(lr, ((plain + noise).clamp(0, 1) * 255).round() / 255)


# -- sampler ----------------------------------------------------------------------------------------------------------


def test_standard_deviations_are_uniform_and_independent():
    found = sample(GaussianSampler(size=41, std=(1.0, 3.0)), 1500)
    long, short, _ = np.array([axes(kernel) for kernel in found]).T
    assert 0.99 < short.min() < 1.05
    assert 2.95 < long.max() < 3.01
    # the larger and the smaller of two independent uniform draws on [0, 1]: x² and 1 - (1 - x)²
    assert kstest((long - 1) / 2, lambda x: np.clip(x, 0, 1) ** 2).pvalue > 1e-3
    assert kstest((short - 1) / 2, lambda x: 1 - (1 - np.clip(x, 0, 1)) ** 2).pvalue > 1e-3


def test_round_kernels_have_uniform_standard_deviations():
    found = sample(GaussianSampler(size=41, std=(1.0, 3.0), isotropic=True), 400)
    long, short, _ = np.array([axes(kernel) for kernel in found]).T
    np.testing.assert_allclose(long, short, atol=1e-3)
    assert kstest((long - 1) / 2, "uniform").pvalue > 1e-3


def angles(sampler: GaussianSampler, count: int) -> np.ndarray:
    return np.array([axes(kernel)[2] for kernel in sample(sampler, count)])


def test_angles_are_uniform_over_the_half_turn():
    found = angles(GaussianSampler(size=17, std=(0.8, 2.5)), 10_000)
    assert kstest(found / math.pi, "uniform").pvalue > 1e-3


def test_the_public_program_s_angles_lie_flat_or_upright():
    found = angles(GaussianSampler(size=17, std=(0.8, 2.5), theta=(0.0, math.radians(1))), 300)
    off = np.minimum(found % (math.pi / 2), math.pi / 2 - found % (math.pi / 2))
    assert off.max() < 0.03
    assert ((found > 0.7) & (found < 2.4)).sum() > 50  # upright ones too: either width may be the larger


def test_angles_are_finite() -> None:
    with pytest.raises(InputError, match=r"theta must be two finite angles in radians, got \(0, nan\)"):
        GaussianSampler(theta=(0, math.nan))


@pytest.mark.parametrize("options", [{}, {"isotropic": True}, {"delta_share": 0.5}, {"theta": (0.0, 0.0)}])
def test_the_number_of_draws_is_that_of_the_other_law(options):
    generator = torch.Generator().manual_seed(0)
    GaussianSampler(std=(0.2, 4.0), **options).sample(3, generator=generator)
    reference = torch.Generator().manual_seed(0)
    GaussianSampler().sample(3, generator=reference)
    assert torch.equal(generator.get_state(), reference.get_state())


def test_kernels_of_the_narrowest_and_widest_law_have_sum_one():
    found = sample(GaussianSampler(size=21, std=(0.2, 4.0)), 200)
    np.testing.assert_allclose(found.sum((1, 2)), 1, atol=1e-6)
    assert found.shape == (200, 21, 21)


def test_without_a_range_the_variance_is_the_same_as_ever():
    np.testing.assert_array_equal(sample(GaussianSampler(), 5), sample(GaussianSampler(variance=(1.0, 5.0)), 5))
    assert np.abs(sample(GaussianSampler(), 5) - sample(GaussianSampler(std=(1.0, 5.0)), 5)).max() > 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"std": (0.2, 4.0), "variance": (1.0, 5.0)}, r"by variance or by std, got variance=\(1\.0, 5\.0\) and std="),
        ({"std": (0.0, 4.0)}, r"std must be a range \(low, high\) with 0 < low <= high, got \(0\.0, 4\.0\)"),
        ({"std": (-1.0, 4.0)}, "std must be a range"),
        ({"std": (4.0, 0.2)}, "std must be a range"),
        ({"std": (1.0, math.inf)}, "std must be a range"),
    ],
)
def test_impossible_laws(options, message):
    with pytest.raises(InputError, match=message):
        GaussianSampler(**options)


def test_the_named_kernel_is_one_that_the_sampler_draws():
    drawn = sample(GaussianSampler(size=21, std=(2.0, 2.0), isotropic=True), 1)[0]
    np.testing.assert_allclose(drawn, kernels.isotropic(4.0), atol=1e-7)
