"""The published program's draws: its own files come out again, and the phase is what it is said to be."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage, stats
from torch import Tensor

from metasr.degradation import names
from metasr.degradation.kernel_files import load_kernel
from metasr.degradation.published_ddsr import (
    PublishedDraws,
    centred,
    centred_disc,
    disc_kernel,
    gaussian_kernel,
    is_published,
    kernel_size,
    parse_published,
    width_range,
)
from metasr.errors import InputError
from metasr.io.images import read_image
from metasr.metrics.color import luma_bt601

SET5 = ("baby", "bird", "butterfly", "head", "woman")


def centre_of(kernel: np.ndarray) -> np.ndarray:
    return np.array(ndimage.center_of_mass(kernel))


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def cut(image: Tensor, multiple: int) -> Tensor:
    height, width = (n // multiple * multiple for n in image.shape[-2:])
    return image[..., :height, :width]


@pytest.mark.data
def test_set5_comes_out_bit_for_bit(shared_data: Path) -> None:
    draws, theirs = PublishedDraws(4, seed=1), shared_data / "ddsr_set5_x4"
    for name in SET5:
        hr = cut(read_image(shared_data / "set5" / f"{name}.png")[None], 12)
        assert torch.equal(hr, read_image(theirs / f"hr_{name}.png")[None])
        drawn = draws.draw(hr)
        assert torch.equal((drawn.lr * 255).round(), (read_image(theirs / f"{name}.png")[None] * 255).round())
        kernel = load_kernel(theirs / f"kernel_{name}.mat", normalise=False)
        assert (drawn.degradation.kernel - kernel).abs().max() <= 1e-12
        assert torch.equal(drawn.degradation(hr), drawn.lr)  # the draw is the degradation that it tells of


@pytest.mark.data
def test_the_true_kernel_explains_the_file_up_to_truncation(shared_data: Path) -> None:
    """Check 5.A.2: below one level everywhere, half a level on average."""
    theirs, draws = shared_data / "ddsr_set5_x4", PublishedDraws(4)
    for name in SET5:
        hr = read_image(theirs / f"hr_{name}.png")[None]
        error = (draws.draw(hr).degradation.linear(hr).clamp(0, 1) - read_image(theirs / f"{name}.png")[None]) * 255
        assert error.abs().max() < 1
        assert 0.475 < error.mean() < 0.505


@pytest.mark.data
def test_the_published_phase_on_set5(shared_data: Path) -> None:
    """Check 5.A.3: 21.37 dB plain, 26.93 dB moved back by 3 pixels (torch's bicubic, Y not rounded, border 4)."""
    plain, moved = [], []
    for name in SET5:
        theirs = shared_data / "ddsr_set5_x4"
        hr, lr = (read_image(theirs / f"{prefix}{name}.png")[None].double() for prefix in ("hr_", ""))
        up = F.interpolate(lr, scale_factor=4, mode="bicubic", align_corners=False).clamp(0, 1)
        for scores, image in ((plain, up), (moved, up.roll((-3, -3), (-2, -1)))):
            a, b = (luma_bt601((x * 255).round() / 255)[..., 4:-4, 4:-4] for x in (image, hr))
            scores.append(10 * float(torch.log10(255**2 / (a - b).square().mean())))
    assert np.mean(plain) == pytest.approx(21.37, abs=0.01)
    assert np.mean(moved) == pytest.approx(26.93, abs=0.01)


@pytest.mark.parametrize(("scale", "size", "low", "high"), [(2, 11, 0.35, 5), (3, 15, 0.525, 7.5), (8, 21, 1.4, 10)])
def test_sizes_and_widths(scale: int, size: int, low: float, high: float) -> None:
    assert kernel_size(scale) == size
    assert width_range(scale) == pytest.approx((low, high))


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_the_kernel_against_a_gaussian(scale: int) -> None:
    """A narrow one loses nothing by the spline but smoothness: it is scipy's normal density around (K - s)/2."""
    size, s = kernel_size(scale), scale
    kernel = gaussian_kernel(scale, 3.0, 1.5, 0.4)
    assert kernel.shape == (size, size)
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    assert centre_of(kernel) == pytest.approx([(size - s) / 2] * 2, abs=0.02)
    assert np.abs(kernel[-(s - 1) :]).max() == np.abs(kernel[:, -(s - 1) :]).max() == 0  # cut off, then moved in
    turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    y, x = np.mgrid[:size, :size] - (size - s) / 2
    want = stats.multivariate_normal(cov=turn @ np.diag([3.0, 1.5]) @ turn.T).pdf(np.stack([x, y], -1))
    assert np.abs(kernel - want)[: -(s - 1), : -(s - 1)].max() < 0.02 * want.max()


def test_noise_on_the_taps_counts() -> None:
    ripple = np.random.default_rng(0).uniform(-0.4, 0.4, (15, 15))
    assert np.abs(gaussian_kernel(3, 4, 2, 0.1, ripple=ripple) - gaussian_kernel(3, 4, 2, 0.1)).max() > 1e-3


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("blur", ["gaussian", "disc"])
def test_the_displacement_of_both_conventions(scale: int, blur: str) -> None:
    """A linear ramp of HR positions shows where each LR pixel looks: at s i + (s - 1)/2, less the shift."""
    hr = torch.arange(24.0 * scale).expand(1, 3, 24 * scale, -1) / 1000
    for shift, wanted in (("published", (scale - 1) if blur == "gaussian" else (scale + 1) / 2), ("centre", 0.0)):
        degradation = PublishedDraws(scale, seed=3, blur=blur, shift=shift).draw(hr).degradation
        assert degradation.kernel.sum() == pytest.approx(1, abs=1e-6)
        looks = degradation.linear(hr)[0, 0, 12, 8:16] * 1000  # away from the circular border
        middle = torch.arange(8, 16) * scale + (scale - 1) / 2
        exact = not (blur == "disc" and shift == "published")  # whose rim the array may cut off
        if exact:
            assert (middle - looks).mean() == pytest.approx(wanted, abs=0.04)  # what the array cuts off
            assert degradation.shift == pytest.approx((wanted, wanted), abs=0.04)
    narrow = torch.from_numpy(disc_kernel(4, 3.0))
    assert centre_of(narrow.numpy()) == pytest.approx([8, 8])


def test_the_centred_kernel_is_the_same_kernel() -> None:
    hr = picture(48, 60)
    a, b = (PublishedDraws(4, seed=5, shift=shift).draw(hr) for shift in ("published", "centre"))
    assert a.parameters == b.parameters
    assert torch.equal(a.degradation.kernel[:16, :16], b.degradation.kernel[3:, 3:])
    rolled = a.degradation.linear(hr.roll((-3, -3), (-2, -1)))
    assert (rolled - b.degradation.linear(hr)).abs().max() < 1e-6
    with pytest.raises(InputError, match=r"the kernel has 0\.\d+ of its weight in its last 3 rows and columns"):
        centred(np.full((19, 19), 1 / 361), 4)


def test_discs() -> None:
    kernel = disc_kernel(4, 2.0)
    y, x = np.mgrid[:19, :19] - 8
    want = (y**2 + x**2 <= 4) / 13
    assert np.allclose(kernel, want, atol=1e-15)
    assert disc_kernel(4, 9.9)[0].sum() > 0  # cut off by the array, still of sum 1
    assert disc_kernel(4, 9.9).sum() == pytest.approx(1)
    for scale, radius in ((2, 0.35), (4, 10.0), (8, 10.0)):
        made = centred_disc(scale, radius)
        assert made.shape[0] % 2 == 1
        assert centre_of(made) - made.shape[0] // 2 == pytest.approx([(scale - 1) / 2] * 2, abs=1e-9)


def test_the_order_of_the_draws() -> None:
    """Against NumPy used by hand: λ1, λ2, θ, K x K, then one uniform and the LR's normals."""
    draws, by_hand = PublishedDraws(3, seed=7, noise_std=20 / 255), np.random.RandomState(7)
    for size in ((30, 33), (36, 21)):
        hr = picture(*size)
        drawn = draws.draw(hr)
        first, second, angle = by_hand.rand(3)
        by_hand.rand(15, 15)
        low, high = width_range(3)
        want = {"variance1": low + first * (high - low), "variance2": low + second * (high - low)}
        assert drawn.parameters == pytest.approx({**want, "theta": angle * np.pi})
        std = by_hand.uniform(0, 20 / 255)
        assert drawn.degradation.noise_std == std
        noise = by_hand.normal(0, std, (size[0] // 3, size[1] // 3, 3))
        clean = drawn.degradation.linear(hr)[0].permute(1, 2, 0).numpy()
        levels = np.floor(np.clip(clean + noise, 0, 1) * 255)
        assert np.abs(drawn.lr[0].permute(1, 2, 0).numpy() * 255 - levels).max() < 1.001
        assert (np.abs(drawn.lr[0].permute(1, 2, 0).numpy() * 255 - levels) > 0.5).mean() < 1e-2


def test_every_option_counts() -> None:
    hr = picture(40, 44)
    options = [{}, {"seed": 2}, {"blur": "disc"}, {"noise_std": 0.1}, {"shift": "centre"}]
    made = [PublishedDraws(4, **o).draw(hr).lr for o in options]  # type: ignore[arg-type]
    assert all(not torch.equal(a, b) for i, a in enumerate(made) for b in made[:i])


@pytest.mark.parametrize("name", ["ddsr_x4", "ddsr_disc_x2", "ddsr_x3_n10", "ddsr_disc_x8_n2.5"])
def test_names_round_trip(name: str) -> None:
    assert is_published(name)
    assert parse_published(name, seed=4, shift="centre").name == name
    assert parse_published(name).shift == "published"
    with pytest.raises(InputError, match=r"is drawn anew for each image.*task=prepare"):
        names.parse(name, scale=4)


@pytest.mark.parametrize("name", ["ddsr", "ddsr_4", "ddsr_x4.0", "ddsr_x4_d", "g2.0d"])
def test_other_names(name: str) -> None:
    assert not is_published(name)
    with pytest.raises(InputError, match="expected ddsr_x4, ddsr_disc_x4"):
        parse_published(name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 5}, "for scale 2, 3, 4, 8, got 5"),
        ({"blur": "motion"}, "blur must be one of gaussian, disc, got 'motion'"),
        ({"shift": "left"}, r"shift must be 'published' .* or 'centre' .*, got 'left'"),
        ({"noise_std": -1.0}, "noise_std must be finite and at least 0"),
        ({"seed": -1}, r"a seed from 0 to 2\*\*32 - 1, got -1"),
    ],
)
def test_wrong_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        PublishedDraws(**{"scale": 4, **arguments})


def test_wrong_images() -> None:
    with pytest.raises(InputError, match=r"of multiples of 4, got \(1, 3, 41, 44\)"):
        PublishedDraws(4).draw(picture(41, 44))
    with pytest.raises(InputError, match="smaller than the 19x19 kernel"):
        PublishedDraws(4).draw(picture(16, 44))
    with pytest.raises(InputError, match="NaN"):
        PublishedDraws(4).draw(picture(40, 44) / 0 * 0)
