import dataclasses
import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate

from metasr.degradation import kernels
from metasr.degradation.jpeg import compress
from metasr.degradation.kernels import GaussianSampler, isotropic
from metasr.degradation.names import parse
from metasr.degradation.pipeline import Degradation, DegradationSampler
from metasr.degradation.resize import imresize
from metasr.errors import InputError
from metasr.io.jpeg import of_quality

SIZE = (23, 31)
KERNEL = kernels.anisotropic(3.0, 1.0, 0.6, size=7)
BATCH = torch.stack([KERNEL, kernels.isotropic(1.5, size=7)])
MASK = (torch.arange(12 * 16).view(1, 1, 12, 16) % 3 > 0).float()

DEGRADATIONS = {
    "bicubic_x2": Degradation(scale=2),
    "bicubic_x3": Degradation(scale=3, kernel=KERNEL),
    "bicubic_x1.7": Degradation(scale=1.7),
    "bicubic_xpi/2": Degradation(scale=math.pi / 2, kernel=KERNEL),
    "direct_x2": Degradation(scale=2, downsample="direct"),
    "direct_x3": Degradation(scale=3, downsample="direct", kernel=KERNEL),
    "direct_batch": Degradation(scale=2, downsample="direct", kernel=BATCH),
    "area_x2": Degradation(scale=2, downsample="area"),
    "area_x4": Degradation(scale=4, downsample="area", kernel=KERNEL),
    "no_scale": Degradation(scale=1, kernel=KERNEL),
    "noisy": Degradation(scale=2, kernel=KERNEL, noise_std=0.05),
    "noise_by_image": Degradation(scale=3, noise_std=torch.tensor([0.02, 0.1])),
    "reflect": Degradation(scale=4, kernel=KERNEL, padding="reflect"),
    "noise_alone": Degradation(scale=1, noise_std=0.2, quantise=None),
    "masked": Degradation(scale=2, mask=MASK),
    "dark": Degradation(scale=2, gain=0.3, downsample="direct"),
    "unquantised": Degradation(scale=2, kernel=KERNEL, quantise=None),
    "truncated": Degradation(scale=2, kernel=KERNEL, quantise="truncate"),
    "circular": Degradation(scale=2, kernel=KERNEL, padding="circular", downsample="direct"),
}
every_degradation = pytest.mark.parametrize("degradation", DEGRADATIONS.values(), ids=DEGRADATIONS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=generator(seed))


@every_degradation
def test_size_is_rounded_up_and_values_stay_in_range(degradation):
    lr = degradation(picture(2, 3, *SIZE), generator=generator())
    assert lr.shape == (2, 3, *(math.ceil(n / degradation.scale) for n in SIZE))
    assert lr.dtype == torch.float32
    assert lr.min() >= 0
    assert lr.max() <= 1


@every_degradation
def test_deterministic_and_without_effect_on_the_input(degradation):
    hr = picture(2, 3, *SIZE)
    before = hr.clone()
    first = degradation(hr, generator=generator(5))
    np.testing.assert_array_equal(first, degradation(hr, generator=generator(5)))
    np.testing.assert_array_equal(hr, before)
    differs = (first - degradation(hr, generator=generator(6))).abs().max().item()
    assert differs > 0.02 if degradation.noisy else differs == 0


@every_degradation
def test_the_linear_part_is_linear(degradation):
    a, b = picture(2, 3, *SIZE).double(), picture(2, 3, *SIZE, seed=1).double()
    want = 2 * degradation.linear(a) - 0.7 * degradation.linear(b)
    np.testing.assert_allclose(degradation.linear(2 * a - 0.7 * b), want, rtol=0, atol=1e-12)


@every_degradation
def test_a_constant_image_keeps_its_level_up_to_the_gain(degradation):
    got = degradation.linear(torch.full((2, 3, *SIZE), 0.6, dtype=torch.float64))
    np.testing.assert_allclose(got, 0.6 * degradation.gain, rtol=0, atol=1e-12)


@every_degradation
def test_quantised_results_are_levels_of_an_8_bit_file(degradation):
    lr = degradation(picture(2, 3, *SIZE), generator=generator()).double() * 255
    distance = (lr - lr.round()).abs().max().item()
    assert distance < 1e-4 if degradation.quantise else distance > 0.1


@pytest.mark.parametrize("step", [2, 3, 4])
def test_direct_keeps_pixels_0_s_2s(step):
    hr = picture(1, 3, *SIZE)
    got = Degradation(scale=step, downsample="direct", quantise=None)(hr)
    np.testing.assert_array_equal(got, hr.numpy()[:, :, 0::step, 0::step])


def test_blur_comes_before_subsampling_and_is_a_correlation():
    hr = picture(2, 3, *SIZE).double()
    got = Degradation(scale=3, downsample="direct", kernel=BATCH, quantise=None)(hr)
    for i in range(2):
        want = correlate(hr[i].numpy(), BATCH[i].numpy()[None], mode="reflect")[:, ::3, ::3]
        np.testing.assert_allclose(got[i], want, rtol=0, atol=1e-14)


@pytest.mark.parametrize("step", [2, 3, 4])
def test_area_is_the_mean_over_blocks(step):
    hr = picture(1, 2, *SIZE).double()
    got = Degradation(scale=step, downsample="area", quantise=None)(hr)[0]
    rows, columns = (math.ceil(n / step) for n in SIZE)
    want = [
        [[c[i * step : (i + 1) * step, j * step : (j + 1) * step].mean() for j in range(columns)] for i in range(rows)]
        for c in hr[0].numpy()
    ]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-14)


def test_noise_has_the_asked_deviation_and_comes_after_subsampling():
    hr = torch.full((1, 3, 202, 198), 0.5)
    lr = Degradation(scale=2, downsample="direct", noise_std=0.05, quantise=None)(hr, generator=generator())
    assert lr.std().item() == pytest.approx(0.05, rel=0.02)
    neighbours = ((lr[..., 1:] - 0.5) * (lr[..., :-1] - 0.5)).mean().item()
    assert abs(neighbours) < 0.05 * 0.05**2  # white: blurred or subsampled by bicubic it would not be


def test_noise_needs_a_generator():
    with pytest.raises(InputError, match=r"degradation bicubic_n10 has noise: pass a torch\.Generator"):
        Degradation(scale=2, noise_std=10 / 255)(picture(1, 3, 9, 7))


def test_mask_hides_also_the_noise():
    lr = Degradation(scale=2, mask=MASK, noise_std=0.1, quantise=None)(picture(1, 3, *SIZE), generator=generator())
    hidden = (MASK == 0).expand_as(lr)
    assert lr[hidden].abs().max() == 0
    seen = Degradation(scale=2, noise_std=0.1, quantise=None)(picture(1, 3, *SIZE), generator=generator())
    np.testing.assert_array_equal(lr[~hidden], seen[~hidden])


def test_one_mask_each():
    masks = torch.cat([MASK, 1 - MASK])
    lr = Degradation(scale=2, mask=masks)(picture(2, 3, *SIZE) * 0.5 + 0.3)
    np.testing.assert_array_equal(lr > 0, (masks > 0).expand_as(lr))


def test_gain_darkens_before_the_noise():
    hr = picture(1, 3, *SIZE)
    plain = Degradation(scale=2, downsample="direct", quantise=None)(hr)
    np.testing.assert_allclose(
        Degradation(scale=2, downsample="direct", gain=0.3, quantise=None)(hr), plain * 0.3, rtol=0, atol=1e-7
    )
    black = torch.zeros(1, 3, 101, 99)
    noisy = Degradation(scale=1, gain=0.3, noise_std=0.1, quantise=None)(black, generator=generator())
    assert noisy[noisy > 0].mean().item() == pytest.approx(0.1 * math.sqrt(2 / math.pi), rel=0.02)


def test_rounding_truncation_and_none():
    hr = picture(1, 3, *SIZE).double()
    raw, rounded, truncated = (
        Degradation(scale=2, kernel=KERNEL, quantise=q)(hr) * 255 for q in (None, "round", "truncate")
    )
    np.testing.assert_allclose(rounded, raw.round(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(truncated, raw.floor(), rtol=0, atol=1e-10)
    assert 0.4 < (rounded - truncated).mean() < 0.6


def test_frozen():
    with pytest.raises(FrozenInstanceError):
        DEGRADATIONS["noisy"].scale = 3


def test_for_son_keeps_blur_and_scale_and_drops_the_rest():
    parent = Degradation(
        scale=2, kernel=KERNEL, downsample="direct", padding="circular", noise_std=0.1, mask=MASK, gain=0.5
    )
    son = parent.for_son(noise_std=0.02)
    kept = ("scale", "kernel", "downsample", "padding", "jpeg")
    assert all(getattr(son, name) is getattr(parent, name) for name in kept)
    assert (son.noise_std, son.mask, son.gain, son.quantise) == (0.02, None, 1.0, None)
    public = {f.name for f in dataclasses.fields(son) if not f.name.startswith("_")}
    assert public == {*kept, "noise_std", "mask", "gain", "quantise", "name"}
    lr = picture(1, 3, 12, 17).double()
    assert torch.equal(
        dataclasses.replace(parent, jpeg=of_quality(60)).for_son()(lr), compress(parent.for_son()(lr), of_quality(60))
    )
    want = correlate(lr[0].numpy(), KERNEL.numpy()[None], mode="wrap")[:, ::2, ::2]
    np.testing.assert_allclose(parent.for_son()(lr)[0], want, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("downsample", "shift"), [("direct", 1.5), ("bicubic", 0.0), ("area", 0.0)])
def test_shift_is_where_the_centre_of_a_block_lies_against_the_kept_pixel(downsample, shift):
    degradation = Degradation(scale=4, downsample=downsample, quantise=None)
    assert degradation.shift == (shift, shift)
    ramp = torch.arange(64, dtype=torch.float64).expand(1, 1, 64, 64) / 64
    seen = degradation(ramp)[0, 0, 5, 5].item() * 64  # which HR coordinate the pixel shows
    assert seen == pytest.approx(4 * 5 + 1.5 - shift, abs=1e-9)


def test_an_off_centre_kernel_shifts_too():
    # All the weight one row below and two columns left of the middle: each LR pixel shows that neighbour.
    kernel = torch.zeros(5, 5)
    kernel[3, 0] = 1.0
    degradation = Degradation(scale=2, kernel=kernel, downsample="direct", quantise=None)
    assert degradation.shift == (0.5 - 1, 0.5 + 2)
    y, x = torch.meshgrid(torch.arange(33) / 7, torch.arange(41) / 7, indexing="ij")
    hr = ((y + 1.3 * x).sin() / 2 + 0.5)[None, None].double()
    restored = imresize(degradation(hr), 2, size=(33, 41), shift=degradation.shift)
    inner = (..., slice(8, -8), slice(8, -8))
    assert (restored - hr)[inner].abs().max() < 1e-3
    assert (imresize(degradation(hr), 2, size=(33, 41), shift=0.5) - hr)[inner].abs().max() > 0.05


def test_gradient_reaches_image_and_kernel():
    hr = picture(1, 1, 7, 9).double().requires_grad_()
    kernel = kernels.anisotropic(3.0, 1.0, 0.6, size=3).requires_grad_()
    for downsample in ("direct", "bicubic", "area"):
        assert torch.autograd.gradcheck(
            lambda x, k, d=downsample: Degradation(scale=2, kernel=k, downsample=d).linear(x), (hr, kernel)
        )


@pytest.mark.parametrize(
    ("degradation", "text"),
    [
        (Degradation(scale=2), "bicubic"),
        (Degradation(scale=2, downsample="area", noise_std=10 / 255), "area_n10"),
        (Degradation(scale=2, downsample="direct", noise_std=2.5 / 255), "direct_n2.5"),
        (Degradation(scale=2, kernel=KERNEL, name="mine"), "mine"),
    ],
)
def test_text(degradation, text):
    assert str(degradation) == text


def test_text_of_an_unnamed_kernel_tells_kernels_apart():
    one = str(Degradation(scale=2, kernel=KERNEL, downsample="direct"))
    assert one == str(Degradation(scale=3, kernel=KERNEL.clone(), downsample="direct"))
    head, size, digest, tail = one.split("_")
    assert (head, size, tail, len(digest)) == ("kernel", "7x7", "d", 6)
    assert str(Degradation(scale=2, kernel=KERNEL, noise_std=5 / 255)) == f"kernel_7x7_{digest}_b_n5"
    assert str(Degradation(scale=2, kernel=KERNEL.T.contiguous(), downsample="direct")) != one


def test_direct_subsampling_at_a_broken_scale_interpolates_at_its_multiples():
    def wave(row, column):
        return 0.5 + 0.2 * torch.sin(row / 9) * torch.cos(column / 7)

    rows, columns = torch.arange(53.0, dtype=torch.float64), torch.arange(67.0, dtype=torch.float64)
    hr = wave(rows[:, None], columns)[None, None]
    lr = Degradation(scale=2.2, downsample="direct", quantise=None)(hr)
    assert lr.shape[-2:] == (math.ceil(53 / 2.2), math.ceil(67 / 2.2))
    expected = wave(2.2 * torch.arange(lr.shape[-2])[:, None], 2.2 * torch.arange(lr.shape[-1]))
    torch.testing.assert_close(lr[0, 0, 1:-1, 1:-1], expected[1:-1, 1:-1].double(), atol=2e-4, rtol=0)
    whole = Degradation(scale=3, downsample="direct", quantise=None)(hr)
    nearly = Degradation(scale=3 + 1e-7, downsample="direct", quantise=None)(hr)
    torch.testing.assert_close(nearly[..., :17, :22], whole[..., :17, :22], atol=1e-5, rtol=0)


def test_the_widest_variance_follows_the_drawn_scale():
    sampler = DegradationSampler(
        kernels=GaussianSampler(size=41, isotropic=True), scales=(2.0, 4.0), downsample="direct", variance_per_scale=2.5
    )
    widest = {2.0: 0.0, 4.0: 0.0}
    offset = torch.arange(41.0) - 20
    for seed in range(200):
        drawn = sampler.sample(1, generator=torch.Generator().manual_seed(seed))
        widest[drawn.scale] = max(widest[drawn.scale], float((drawn.kernel[0].sum(1) * offset**2).sum()))
    assert 4.5 < widest[2.0] <= 5.0
    assert 9.0 < widest[4.0] <= 10.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 0}, "scale must be a finite number above 0, got 0"),
        ({"scale": math.inf}, "scale must be a finite number above 0, got inf"),
        ({"scale": 0.5, "downsample": "direct"}, r"scale must be at least 1, got 0\.5"),
        ({"scale": 2.5, "downsample": "area"}, r"scale must be whole, got 2\.5"),
        ({"scale": 0.5, "downsample": "area"}, r"scale must be whole, got 0\.5"),
        ({"scale": 2, "downsample": "nearest"}, "one of direct, bicubic, area, got 'nearest'"),
        ({"scale": 2, "noise_std": -0.1}, r"noise_std must be finite and at least 0, got -0\.1"),
        ({"scale": 2, "noise_std": math.nan}, "noise_std must be finite and at least 0, got nan"),
        ({"scale": 2, "gain": 0.0}, r"gain must be in \(0, 1\], got 0\.0"),
        ({"scale": 2, "gain": 1.5}, r"gain must be in \(0, 1\], got 1\.5"),
        ({"scale": 2, "quantise": "floor"}, "'round', 'truncate' or none, got 'floor'"),
        ({"scale": 2, "padding": "edge"}, "padding must be one of .*'edge'"),
        ({"scale": 2, "kernel": torch.ones(3, 3)}, "kernel must sum to 1, got 9"),
        ({"scale": 2, "kernel": torch.full((2, 2), 0.25)}, "odd sides, got 2x2"),
    ],
)
def test_impossible_degradations_are_refused_when_made(arguments, message):
    with pytest.raises(InputError, match=message):
        Degradation(**arguments)


@pytest.mark.parametrize(
    ("degradation", "hr", "message"),
    [
        (Degradation(scale=2), torch.rand(3, 9, 7), r"hr must have shape \(B, C, H, W\), got \(3, 9, 7\)"),
        (Degradation(scale=2), torch.full((1, 3, 9, 7), torch.nan), "hr must be finite, got 189 NaN"),
        (Degradation(scale=2, kernel=KERNEL), torch.rand(1, 3, 9, 5), "image of 9x5 is smaller than the 7x7 kernel"),
        (Degradation(scale=2, mask=MASK), torch.rand(1, 3, 9, 7), r"LR size \(5, 4\), got \(12, 16\)"),
        (Degradation(scale=2, kernel=BATCH), torch.rand(3, 3, 9, 7), "2 kernels came for 3 images"),
    ],
)
def test_errors_when_called_say_what_came(degradation, hr, message):
    with pytest.raises(InputError, match=message):
        degradation(hr)


# -- sampler ----------------------------------------------------------------------------------------------------------

SAMPLER = DegradationSampler(
    kernels=GaussianSampler(size=9), scales=(2.0, 3.0, 4.0), downsample="direct", noise_std=(0.01, 0.05)
)


def test_sampled_degradations_are_in_the_ranges_and_reach_them():
    source = generator(1)
    drawn = [SAMPLER.sample(2, generator=source) for _ in range(150)]
    assert {d.scale for d in drawn} == {2.0, 3.0, 4.0}
    assert min(sum(d.scale == s for d in drawn) for s in (2.0, 3.0, 4.0)) > 30
    levels = [d.noise_std for d in drawn]
    assert 0.01 <= min(levels) < 0.013
    assert 0.047 < max(levels) <= 0.05
    assert all(d.kernel.shape == (2, 9, 9) and d.downsample == "direct" and d.quantise is None for d in drawn)
    assert all((d.kernel[0] - d.kernel[1]).abs().max() > 1e-6 for d in drawn)


def test_the_seed_decides_what_is_sampled():
    a, b, c = (SAMPLER.sample(3, generator=generator(s)) for s in (7, 7, 8))
    assert (a.scale, a.noise_std) == (b.scale, b.noise_std)
    np.testing.assert_array_equal(a.kernel, b.kernel)
    assert a.noise_std != c.noise_std
    assert (a.kernel - c.kernel).abs().max() > 1e-3


def test_options_do_not_move_the_later_draws():
    fixed = dataclasses.replace(SAMPLER, scales=(2.0,), noise_std=(0.0, 0.0))
    np.testing.assert_array_equal(
        fixed.sample(3, generator=generator()).kernel, SAMPLER.sample(3, generator=generator()).kernel
    )


def test_a_sampler_without_kernels_blurs_nothing():
    drawn = DegradationSampler(quantise="round").sample(4, generator=generator())
    assert drawn.kernel is None
    assert (drawn.scale, drawn.downsample, drawn.noise_std, drawn.quantise) == (2.0, "bicubic", 0.0, "round")


def test_a_sampler_needs_a_scale():
    with pytest.raises(InputError, match="scales must name at least one"):
        DegradationSampler(scales=())


def test_a_copy_with_another_kernel_does_not_keep_the_name() -> None:
    named = parse("g2.0d", scale=2)
    other = dataclasses.replace(named, kernel=isotropic(4.0))
    assert (other.name, str(other).startswith("kernel_21x21_")) == ("", True)
    assert dataclasses.replace(named, kernel=None).name == ""
    assert dataclasses.replace(parse("bicubic", scale=2), kernel=isotropic(4.0)).name == ""
    assert dataclasses.replace(named, kernel=isotropic(4.0), name="mine").name == "mine"
    kept = (dataclasses.replace(named, quantise=None), dataclasses.replace(named, kernel=named.kernel.clone()))
    assert [copy.name for copy in kept] == ["g2.0d", "g2.0d"]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_direct_subsampling_moves_the_enlarged_image_down_and_right_as_documented(scale: int) -> None:
    y, x = torch.meshgrid(*2 * (torch.arange(96, dtype=torch.float64),), indexing="ij")
    hr = torch.exp(-((y - 46).square() + (x - 50).square()) / 100)[None, None].repeat(1, 3, 1, 1)
    lr = Degradation(scale=scale, downsample="direct", quantise=None)(hr)
    large = imresize(lr, scale)[0, 0]
    centre = [float((large * axis).sum() / large.sum()) for axis in (y, x)]
    assert centre == pytest.approx([46 + (scale - 1) / 2, 50 + (scale - 1) / 2], abs=0.05)
    assert Degradation.__doc__ is not None
    assert "(s - 1)/2 HR pixels down and right of where it was" in Degradation.__doc__
