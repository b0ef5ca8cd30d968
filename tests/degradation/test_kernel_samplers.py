"""Random kernels of many kinds."""

import math

import pytest
import torch

from metasr.degradation.kernel_samplers import MixedKernelSampler, mistaken, moved_by, stroke
from metasr.degradation.kernels import GaussianSampler, anisotropic, delta, disc, isotropic
from metasr.degradation.pipeline import Degradation, DegradationSampler
from metasr.errors import InputError


def moments(kernel: torch.Tensor) -> tuple[float, float, float, float]:
    """Centre of mass (down, right) from the middle tap, and the variances along both axes."""
    weights = kernel.double()
    axis = torch.arange(weights.shape[0], dtype=torch.float64) - weights.shape[0] // 2
    rows, columns = weights.sum(1), weights.sum(0)
    down, right = float((rows * axis).sum()), float((columns * axis).sum())
    return (
        down,
        right,
        float((rows * axis.square()).sum()) - down**2,
        float((columns * axis.square()).sum()) - right**2,
    )


def test_a_stroke_is_as_long_as_told_and_centred() -> None:
    """Even weight along a chord has a variance of length²/12, and the line's own width is added to it."""
    for bend in (0.0, 0.7):
        down, right, tall, wide = moments(stroke(9.0, theta=0.0, bend=bend))
        assert abs(down) < 0.05
        assert abs(right) < 0.05
        assert wide == pytest.approx(81 / 12 + 0.16, rel=0.06)
        assert (tall > 0.2) == (bend > 0)
    upright = stroke(9.0, theta=math.pi / 2)
    torch.testing.assert_close(upright, stroke(9.0, theta=0.0).T, rtol=0, atol=1e-9)


def test_a_moved_kernel_keeps_its_shape_and_says_where_it_is() -> None:
    kernel = moved_by(isotropic(1.0, size=13), (2, -1))
    assert moments(kernel) == pytest.approx((2, -1, 1.0, 1.0), abs=0.01)
    assert Degradation(scale=2, kernel=kernel).off_centre == pytest.approx((2, -1), abs=0.01)


def test_centring_moves_a_kernel_by_whole_pixels_and_loses_nothing() -> None:
    moved = Degradation(scale=2, kernel=moved_by(isotropic(0.5, size=11), (2, -1)))
    centred = moved.centred()
    assert centred.off_centre == pytest.approx((0, 0), abs=1e-3)
    assert centred.kernel is not None
    assert float(centred.kernel.sum()) == pytest.approx(1)
    plain = Degradation(scale=2, kernel=isotropic(0.5, size=11))
    assert plain.centred() is plain


def test_shares_of_the_kinds_are_those_asked_for() -> None:
    sampler = MixedKernelSampler(
        gaussian=GaussianSampler(size=21, variance=(0.5, 4.0)), motion_share=0.5, disc_share=0.25, off_centre_share=0.5
    )
    kernels = sampler.sample(400, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(kernels.sum((1, 2)), torch.ones(400))
    off = [max(abs(v) for v in moments(kernel)[:2]) > 0.3 for kernel in kernels]
    assert 0.4 < sum(off) / 400 < 0.56  # 24 in 25 of a half are moved
    flat = [(kernel > 0.98 * kernel.max()).sum() > 4 and (kernel > 0).sum() < 90 for kernel in kernels]
    assert 0.1 < sum(flat) / 400 < 0.3  # discs have a plateau and an end


def test_the_same_seed_draws_the_same_and_wider_ones_on_wish() -> None:
    sampler = MixedKernelSampler(gaussian=GaussianSampler(size=21, variance=(0.05, 5.0)))
    first, second = (sampler.sample(5, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    wide = sampler.up_to(10.0)
    assert wide.gaussian.variance == (0.05, 10.0)


def test_batches_come_on_several_grids_with_and_without_noise() -> None:
    sampler = DegradationSampler(
        kernels=MixedKernelSampler(gaussian=GaussianSampler(size=9, variance=(0.5, 1.0)), disc_share=0.0),
        scales=(2.0, 3.0),
        variance_per_scale=1.0,
        downsample=("direct", "bicubic"),
        noise_std=(0.01, 0.05),
        clean_share=0.5,
    )
    generator = torch.Generator().manual_seed(0)
    drawn = [sampler.sample(1, generator=generator) for _ in range(80)]
    assert {(d.downsample, d.scale) for d in drawn} == {(g, s) for g in ("direct", "bicubic") for s in (2.0, 3.0)}
    assert 25 < sum(not d.noisy for d in drawn) < 55


@pytest.mark.parametrize("shares", [{"motion_share": 1.2}, {"motion_share": 0.6, "disc_share": 0.5}, {"off_centre": 9}])
def test_shares_and_moves_that_cannot_be_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(InputError, match="must be"):
        MixedKernelSampler(gaussian=GaussianSampler(size=9), **shares)  # type: ignore[arg-type]


def test_a_kernel_mistaken_by_nothing_is_the_gaussian_of_its_moments() -> None:
    kernels = torch.stack(
        [anisotropic(4, 1, 0.6), isotropic(3), delta(size=21), moved_by(anisotropic(4, 1, -0.5), (1, -2)), disc(3)]
    ).float()
    told = mistaken(kernels, size=0, shape=0, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(told[:4], kernels[:4], rtol=0, atol=2e-6)
    torch.testing.assert_close(told[4], isotropic(float(_covariance(disc(3))[0, 0])).float(), rtol=0, atol=1e-4)


def test_a_kernel_is_mistaken_by_as_much_as_is_said() -> None:
    true = isotropic(2).float().expand(400, -1, -1)
    generator = torch.Generator().manual_seed(0)
    sizes = mistaken(true, size=0.3, shape=0.0, generator=generator)
    shapes = mistaken(true, size=0.0, shape=0.3, generator=generator)
    for told, size, shape in ((sizes, 0.3, 0.0), (shapes, 0.0, 0.3)):
        torch.testing.assert_close(told.sum((-2, -1)), torch.ones(400))
        first, second = (torch.linalg.eigvalsh(torch.stack([_covariance(k) for k in told])) / 2).log().unbind(-1)
        assert float((first + second).std() / 2) == pytest.approx(size, abs=0.03)
        assert float((first + second).mean() / 2) == pytest.approx(0, abs=0.04)
        assert float((second - first).square().mean().sqrt() / 2) == pytest.approx(math.sqrt(2) * shape, abs=0.03)


def _covariance(kernel: torch.Tensor) -> torch.Tensor:
    """About the middle, x first, in pixels²."""
    axis, kernel = torch.arange(kernel.shape[-1], dtype=torch.float64) - kernel.shape[-1] // 2, kernel.double()
    xx, yy = (kernel * axis.square()).sum(), (kernel * axis.square()[:, None]).sum()
    xy = (kernel * axis * axis[:, None]).sum()
    return torch.stack([xx, xy, xy, yy]).reshape(2, 2)
