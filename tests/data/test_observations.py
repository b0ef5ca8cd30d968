"""What a kernel estimator learns from: the pairs really are what they are said to be."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from metasr.data.observations import Observations, ObservationSampler
from metasr.data.patches import PatchPool
from metasr.degradation.jpeg import JpegSampler, compress
from metasr.degradation.kernels import GaussianSampler
from metasr.degradation.noise import quantise_8bit
from metasr.degradation.pipeline import DegradationSampler
from metasr.errors import InputError

SAMPLER = ObservationSampler(
    batch_size=12,
    degradations=DegradationSampler(
        kernels=GaussianSampler(size=9, variance=(0.05, 4.0)), scales=(2.0, 3.0), variance_per_scale=2.5
    ),
    lr_size=15,
)


def pool(side: int = 45) -> PatchPool:
    images = torch.rand(2, 3, 61, 53, generator=torch.Generator().manual_seed(5))
    return PatchPool(images, patch_size=side)


def draw(sampler: ObservationSampler = SAMPLER, *, seed: int = 3) -> Observations:
    return sampler.draw(pool(), generator=torch.Generator().manual_seed(seed))


def of_many(sampler: ObservationSampler, count: int = 12) -> list[Observations]:
    generator, images = torch.Generator().manual_seed(0), pool()
    return [sampler.draw(images, generator=generator) for _ in range(count)]


def test_shapes_levels_and_repeatability() -> None:
    drawn, again = draw(), draw()
    assert drawn.lr.shape == (12, 3, 15, 15)
    assert drawn.kernel.shape == (12, 9, 9)
    assert drawn.noise_std.shape == (12,)
    assert torch.equal(drawn.lr * 255, (drawn.lr * 255).round())
    assert all(torch.equal(a, b) for a, b in zip(drawn[:3], again[:3], strict=True))
    assert not torch.equal(drawn.lr, draw(seed=4).lr)


def test_all_grids_scales_and_shapes_come_up() -> None:
    drawn = of_many(SAMPLER)
    assert {d.degradation.downsample for d in drawn} == {"direct", "bicubic"}
    assert {d.degradation.scale for d in drawn} == {2.0, 3.0}
    turned = [float((d.kernel - d.kernel.transpose(-2, -1)).abs().max()) < 1e-7 for d in drawn]
    assert set(turned) == {True, False}  # isotropic, or not


def test_noise_is_what_it_is_said_to_be() -> None:
    noisy = replace(SAMPLER, noise_std=(0.02, 0.1), clean_share=0.5, batch_size=40)
    drawn = of_many(noisy, 1)[0]
    clean = drawn.noise_std == 0
    assert 8 < int(clean.sum()) < 32
    assert bool(((drawn.noise_std[~clean] >= 0.02) & (drawn.noise_std[~clean] <= 0.1)).all())
    assert len(set(drawn.noise_std[~clean].tolist())) == int((~clean).sum())
    grey = PatchPool([torch.full((3, 61, 53), 0.5)], patch_size=45)
    flat = noisy.draw(grey, generator=torch.Generator().manual_seed(0))
    measured = flat.lr.std((1, 2, 3))
    torch.testing.assert_close(measured, flat.noise_std, atol=0.004, rtol=0.06)


def test_the_lr_is_the_hr_degraded_by_what_is_told() -> None:
    drawn = draw(replace(SAMPLER, clean_share=1.0))
    assert float(drawn.noise_std.abs().max()) == 0
    step = pool(round(15 * drawn.degradation.scale))
    generator = torch.Generator().manual_seed(3)
    torch.rand(2, generator=generator, dtype=torch.float64)  # grid and shape
    replace(
        SAMPLER.degradations,
        kernels=replace(SAMPLER.degradations.kernels, isotropic=False),  # type: ignore[type-var]
    ).sample(12, generator=generator)
    torch.rand(12, 2, generator=generator, dtype=torch.float64)
    hr = step.draw(12, generator=generator)
    torch.testing.assert_close(drawn.lr, quantise_8bit(drawn.degradation(hr)))


@pytest.mark.parametrize(
    "other",
    [
        {"batch_size": 5}, {"kernels_per_patch": 3},
        {"downsamples": ("area",)}, {"isotropic_share": 1.0}, {"lr_size": 13},
        {"hr_size": (18, 44)}, {"noise_std": (0.0, 0.3)}, {"clean_share": 0.0},
        {"degradations": replace(SAMPLER.degradations, scales=(3.0,))},
    ],
)  # fmt: skip
def test_no_option_is_silent(other: dict[str, Any]) -> None:
    changed, reference = of_many(replace(SAMPLER, **other), 3), of_many(SAMPLER, 3)
    assert any(a.lr.shape != b.lr.shape or not torch.equal(a.lr, b.lr) for a, b in zip(changed, reference, strict=True))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"batch_size": 0}, "batch_size and lr_size must be at least 1, got 0 and 15"),
        ({"degradations": DegradationSampler()}, "degradations must have Gaussian kernels: they are what is"),
        ({"hr_size": (40, 30)}, r"hr_size must be a range \(low, high\) with 3 <= low <= high, .* got \(40, 30\)"),
        ({"hr_size": (0, 30)}, r"hr_size must be a range .* got \(0, 30\)"),
        ({"downsamples": ()}, "downsamples must name at least one of direct, bicubic and area"),
        ({"noise_std": (0.2, 0.1)}, r"with 0 <= low <= high, got \(0.2, 0.1\)"),
        ({"kernels_per_patch": 5}, "kernels_per_patch must divide the batch of 12, got 5"),
        ({"kernels_per_patch": 0}, "kernels_per_patch must divide the batch of 12, got 0"),
        ({"clean_share": 1.5}, "clean_share must be a probability, got 1.5"),
        ({"isotropic_share": -0.5}, "isotropic_share must be a probability, got -0.5"),
    ],
)
def test_impossible_choices_are_refused(other: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(SAMPLER, **other)


def test_too_small_patches_are_refused() -> None:
    sampler = replace(SAMPLER, degradations=replace(SAMPLER.degradations, scales=(4.0,)))
    with pytest.raises(InputError, match="patches of 45 are too small for 15 LR pixels at scale 4: set patch_size=60"):
        draw(sampler)


def test_patches_of_a_range_of_sizes() -> None:
    sides = {d.lr.shape[-1] * d.degradation.scale for d in of_many(replace(SAMPLER, hr_size=(24, 45)), 40)}
    assert sides <= {24, 26, 27, 28, 30, 32, 33, 34, 36, 38, 39, 40, 42, 44, 45}
    assert len(sides) > 9
    with pytest.raises(InputError, match="patches of 45 are too small for hr_size up to 46: set patch_size=46"):
        draw(replace(SAMPLER, hr_size=(46, 46), degradations=replace(SAMPLER.degradations, scales=(2.0,))))


def test_images_of_one_patch_differ_in_kernel_and_noise_alone() -> None:
    drawn = of_many(replace(SAMPLER, kernels_per_patch=4, clean_share=1.0, lr_size=21), 1)[0]
    means = drawn.lr.mean((-2, -1)).unflatten(0, (3, 4))  # (patches, images of each, 3)
    assert float((means - means[:, :1]).abs().max()) < 0.01
    assert len({tuple(k.flatten().tolist()) for k in drawn.kernel}) == 12


def test_each_image_is_compressed_as_it_is_said_to_be() -> None:
    plain = replace(SAMPLER, noise_std=(0.0, 0.05))
    coded = replace(plain, jpeg=JpegSampler(share=0.5))
    before, after = draw(plain), draw(coded)
    assert torch.equal(before.noise_std, after.noise_std)
    assert torch.equal(compress(before.lr, after.degradation.jpeg), after.lr)  # type: ignore[arg-type]
    given = [jpeg is None for jpeg in after.degradation.jpeg]  # type: ignore[union-attr]
    assert {True, False} == set(given)
    assert [bool(torch.equal(a, b)) for a, b in zip(before.lr, after.lr, strict=True)] == given
