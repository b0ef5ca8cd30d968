"""Offsets that were put in come out."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from metasr.data.catalog import image_set
from metasr.degradation import names
from metasr.degradation.kernel_files import load_kernel
from metasr.degradation.kernels import isotropic
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.errors import InputError
from metasr.io.images import read_image
from metasr.metrics.registration import Offset, consistency, conventions, find_offset, scale_between


@pytest.fixture(scope="module")
def photo() -> Tensor:
    """Odd and not square."""
    return image_set("samples", split="test").load(0)[None][..., 40:291, 60:367]


def moved(hr: Tensor, scale: float, down: float, right: float) -> Tensor:
    """An LR image that lies so many HR pixels down and right."""
    return imresize(hr, 1 / scale, shift=(-down / scale, -right / scale)).clamp(0, 1)


@pytest.mark.parametrize("scale", [2, 3, 4, 2.5])
@pytest.mark.parametrize(("down", "right"), [(0.0, 0.0), (0.05, -0.6), (1.3, -2.2), (-3.7, 0.4), (3.0, 3.0)])
def test_known_offsets(photo: Tensor, scale: float, down: float, right: float) -> None:
    found = find_offset(moved(photo, scale, down, right), photo, scale=scale, reach=5)
    assert (found.down, found.right) == pytest.approx((down, right), abs=0.05)
    assert found.correlation > 0.99
    assert found.scale == scale


@pytest.mark.parametrize("name", ["bicubic", "area", "g0.2d", "g2.0d", "gani_d", "g1.3b", "disc_3_d", "g2.0d_n10"])
@pytest.mark.parametrize("scale", [2, 4])
def test_degradations_lie_where_they_say(photo: Tensor, name: str, scale: int) -> None:
    degradation = names.parse(name, scale=scale)
    found = find_offset(degradation(photo, generator=torch.Generator().manual_seed(0)), photo)
    aliased = name == "g0.2d" and scale == 4  # hardly blurred: fine patterns really are displaced
    assert (found.down, found.right) == pytest.approx(degradation.shift, abs=0.1 if aliased else 0.05)
    assert found.convention == ("direct" if degradation.downsample == "direct" else "centre")
    assert found.scale == scale


def test_the_shift_puts_the_image_back(photo: Tensor) -> None:
    lr = names.parse("g2.0d", scale=4)(photo)
    found = find_offset(lr, photo)
    size = (photo.shape[-2], photo.shape[-1])
    plain, back = (imresize(lr, 4, size=size, shift=shift) for shift in (0.0, found.shift))
    inside = (..., slice(8, -8), slice(8, -8))
    assert (back - photo)[inside].square().mean() < 0.7 * (plain - photo)[inside].square().mean()


def test_an_off_centre_kernel_counts(photo: Tensor) -> None:
    kernel = torch.zeros(9, 9, dtype=torch.float64)
    kernel[1:6, 3:8] = isotropic(1.0, size=5)  # its centre: one row up, one column right of the middle
    degradation = Degradation(scale=2, kernel=kernel, downsample="direct")
    found = find_offset(degradation(photo), photo)
    assert (found.down, found.right) == pytest.approx((1.5, -0.5), abs=0.05)
    assert found.convention is None


def test_brightness_is_no_offset(photo: Tensor) -> None:
    lr = moved(photo, 2, 1.0, -0.5)
    bright, dark = find_offset(lr, photo), find_offset(lr * 0.3, photo)
    assert (dark.down, dark.right) == pytest.approx((bright.down, bright.right), abs=1e-6)
    assert dark.gain / bright.gain == pytest.approx(0.3)
    assert bright.gain == pytest.approx(1, abs=0.05)


def test_of_a_large_image_the_middle_is_looked_at() -> None:
    generator = torch.Generator().manual_seed(1)
    hr = imresize(torch.rand(1, 1, 90, 120, generator=generator), 10)
    found = find_offset(moved(hr, 3, 1.2, 0.4), hr)
    assert (found.down, found.right) == pytest.approx((1.2, 0.4), abs=0.05)
    spoilt = hr.clone()
    spoilt[..., :40, :] = 0  # far from the middle
    assert find_offset(moved(hr, 3, 1.2, 0.4), spoilt).shift == found.shift


def test_the_reach_bounds_what_is_found(photo: Tensor) -> None:
    lr = moved(photo, 2, 3.0, 0.0)
    assert find_offset(lr, photo, reach=4).down == pytest.approx(3, abs=0.05)
    assert find_offset(lr, photo, reach=2).down <= 2


@pytest.mark.parametrize(
    ("hr", "lr", "scale"),
    [((40, 60), (20, 30), 2), ((41, 61), (21, 31), 2), ((41, 61), (20, 30), 2), ((100, 79), (25, 20), 4),
     ((90, 63), (30, 21), 3)],
)  # fmt: skip
def test_the_scale_is_told_from_the_sizes(hr: tuple, lr: tuple, scale: int) -> None:
    assert scale_between(torch.zeros(1, 1, *lr), torch.zeros(1, 1, *hr)) == scale
    assert scale_between(torch.zeros(1, 1, *lr), torch.zeros(1, 1, *hr), scale=scale) == scale


@pytest.mark.parametrize(
    ("lr", "hr", "scale", "message"),
    [
        ((40, 60), (20, 30), None, "the LR image must be smaller than the HR one, got 40x60 and 20x30; are they exch"),
        ((20, 30), (20, 30), None, "must be smaller than the HR one"),
        ((30, 30), (45, 45), None, r"45x45 is no whole multiple of LR of 30x30; give the factor: scale=1\.5"),
        ((20, 30), (40, 90), None, "no whole multiple"),
        ((20, 30), (40, 60), 3.0, "LR and HR sizes do not match scale 3"),
        ((20, 30), (40, 60), -1.0, "scale must be a finite number above 0"),
    ],
)
def test_sizes_that_do_not_fit(lr: tuple, hr: tuple, scale: float | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        scale_between(torch.zeros(1, 1, *lr), torch.zeros(1, 1, *hr), scale=scale)


def test_images_that_tell_no_offset(photo: Tensor) -> None:
    lr = moved(photo, 2, 0, 0)
    with pytest.raises(InputError, match="no structure that could tell an offset"):
        find_offset(torch.full_like(lr, 0.5), photo)
    with pytest.raises(InputError, match="no structure that could tell an offset"):
        find_offset(lr, torch.full_like(photo, 0.5))
    with pytest.raises(InputError, match=r"do not show the same \(correlation"):
        find_offset(lr.flip(-1), photo)
    stripes = torch.sin(torch.arange(80.0) / 3).expand(1, 1, 60, 80) * 0.4 + 0.5
    with pytest.raises(InputError, match="vary in one direction only"):
        find_offset(moved(stripes, 2, 0, 0), stripes)
    with pytest.raises(InputError, match="11x20 is too small to tell its offset; it takes at least 12x12 pixels"):
        find_offset(photo[..., :11, :20], photo[..., :22, :40])
    with pytest.raises(InputError, match="of as many channels"):
        find_offset(lr[:, :1], photo)
    with pytest.raises(InputError, match="lr must be finite"):
        find_offset(lr * float("nan"), photo)


def test_what_is_told() -> None:
    told = str(Offset(3.02, 2.96, 4.0, 0.99, 1.0))
    assert told.startswith(
        "LR sits 3.02 px down and 2.96 px right (HR pixels) of bicubic alignment, as DDSR's published"
    )
    assert "enlarge with shift=(3.02, 2.96)" in told
    assert "as direct subsampling (0::s)" in str(Offset(1.5, 1.45, 4.0, 1.0, 1.0))
    assert str(Offset(-0.01, 0.02, 4.0, 1.0, 1.0)).startswith("LR is aligned as bicubic resizing aligns, as bicubic")
    strange = str(Offset(-1.0, 2.0, 4.0, 1.0, 1.0))
    assert "1.00 px up and 2.00 px right" in strange
    assert "which is no known convention (centre 0, direct 1.5, ddsr 3)" in strange
    assert str(Offset(2.0, -1.0, 4.0, 1.0, 1.0)).startswith("LR sits 2.00 px down and 1.00 px left")
    assert conventions(3) == {"centre": 0, "direct": 1, "ddsr": 2}


def test_consistency_knows_rounding_from_truncation(photo: Tensor) -> None:
    for quantise, hint, bias in (("round", "rounding", 0.0), ("truncate", "truncation", -0.5)):
        degradation = Degradation(scale=2, kernel=isotropic(2.0), downsample="direct", quantise=quantise)
        other_border = Degradation(scale=2, kernel=isotropic(2.0), downsample="direct", padding="circular")
        found = consistency(degradation(photo), photo, other_border)
        assert found.bias == pytest.approx(bias, abs=0.02)
        assert found.largest < 1.001
        assert hint in str(found)
    wrong = consistency(degradation(photo), photo, names.parse("iso_4_d", scale=2))
    assert wrong.mean > 2 * found.mean
    assert "8 bits" not in str(wrong)


def test_consistency_of_cut_images(photo: Tensor) -> None:
    degradation = names.parse("g2.0d", scale=2)  # of 251x307: LR of 126x154, or of the cut HR 125x153
    cut = degradation(photo[..., :250, :306])
    assert consistency(cut, photo, degradation).largest < 0.51
    assert consistency(degradation(photo), photo, degradation).largest < 0.51
    with pytest.raises(InputError, match="LR and HR sizes do not match scale 2"):
        consistency(degradation(photo), photo[..., :100, :100], degradation)
    with pytest.raises(InputError, match="has nothing left without a border of 5 pixels"):
        consistency(degradation(photo[..., :21, :40])[..., :10, :], photo[..., :21, :40], degradation)


@pytest.mark.data
def test_ddsrs_own_files_are_displaced_by_three_pixels(shared_data: Path) -> None:
    folder = shared_data / "ddsr_set5_x4"
    for name in ("baby", "bird", "butterfly", "head", "woman"):
        hr, lr = (read_image(folder / f"{prefix}{name}.png")[None] for prefix in ("hr_", ""))
        found = find_offset(lr, hr)
        assert (found.down, found.right) == pytest.approx((3, 3), abs=0.05)
        assert found.convention == "ddsr"
        kernel = load_kernel(folder / f"kernel_{name}.mat")
        explained = consistency(lr, hr, Degradation(scale=4, kernel=kernel, downsample="direct"))
        assert explained.largest <= 1.001
        assert 0.475 < explained.mean < 0.505
        assert "truncation" in str(explained)
