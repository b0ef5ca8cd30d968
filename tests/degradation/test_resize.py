"""Resizing against MATLAB's ``imresize``, rewritten here from its documentation as dense float64 matrices."""

import math

import kornia
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metasr.degradation import resize
from metasr.degradation.resize import imresize, output_size, pad_symmetric
from metasr.errors import InputError

SCALES = [2, 3, 4, 1 / 2, 1 / 3, 1 / 4, 1.5, 2.2, 0.7, math.pi / 2, 1 / 1.7]
SIZES = [(1, 1), (2, 3), (17, 31), (23, 8)]
SCALE_IDS = [f"x{s:.4g}" for s in SCALES]


def matlab_matrix(n: int, m: int, scale: float, shift: float = 0.0) -> np.ndarray:
    """MATLAB's ``contributions`` for one axis, with its 1-based indices, as an (m, n) matrix."""
    matrix = np.zeros((m, n))
    stretch = min(scale, 1.0)  # antialiasing only when shrinking
    width = 4.0 / stretch
    mirrored = [*range(n), *reversed(range(n))]
    for x in range(1, m + 1):
        u = (x + shift) / scale + 0.5 * (1 - 1 / scale)
        left = math.floor(u - width / 2)
        indices = np.arange(left, left + math.ceil(width) + 2)
        d = np.abs(u - indices) * stretch
        weights = (1.5 * d**3 - 2.5 * d**2 + 1) * (d <= 1)
        weights += (-0.5 * d**3 + 2.5 * d**2 - 4 * d + 2) * ((d > 1) & (d <= 2))
        weights /= weights.sum()
        for index, weight in zip(indices, weights, strict=True):
            matrix[x - 1, mirrored[(index - 1) % (2 * n)]] += weight
    return matrix


def matlab_imresize(image: np.ndarray, size: tuple[int, int], scale: tuple[float, float], shift=0.0) -> np.ndarray:
    height, width = image.shape[-2:]
    return matlab_matrix(height, size[0], scale[0], shift) @ image @ matlab_matrix(width, size[1], scale[1], shift).T


def ceil_size(shape: tuple[int, ...], scale: float) -> tuple[int, int]:
    return math.ceil(round(shape[-2] * scale, 6)), math.ceil(round(shape[-1] * scale, 6))


def picture(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", SCALES, ids=SCALE_IDS)
def test_equals_matlab(scale, size):
    image = picture(*size)
    want = matlab_imresize(image.numpy(), ceil_size(size, scale), (scale, scale))
    got = imresize(image, scale)
    assert got.dtype == torch.float64
    np.testing.assert_allclose(got, want, rtol=0, atol=5e-14)
    single = imresize(image.float(), scale)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single, want, rtol=0, atol=1e-5)


@settings(max_examples=80, deadline=None)
@given(
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    vertical=st.floats(0.15, 5),
    horizontal=st.floats(0.15, 5),
    shift=st.sampled_from([0.0, 0.5, 1.0, -0.3]),
)
def test_equals_matlab_at_any_size_and_pair_of_scales(height, width, vertical, horizontal, shift):
    image = picture(height, width)
    got = imresize(image, (vertical, horizontal), shift=shift)
    size = tuple(got.shape)
    assert size[0] - 1 < height * vertical + 1e-6
    assert size[0] >= height * vertical - 1e-6
    assert size[1] - 1 < width * horizontal + 1e-6
    assert size[1] >= width * horizontal - 1e-6
    np.testing.assert_allclose(
        got, matlab_imresize(image.numpy(), size, (vertical, horizontal), shift), rtol=0, atol=1e-11
    )


def test_a_wide_image_in_single_precision_stays_within_a_tenth_of_a_grey_level():
    image = picture(3, 2001)
    for scale in (2, 3, 1.5, 2.2, 0.7, 1 / 3):
        want = matlab_imresize(image.numpy(), ceil_size(image.shape, scale), (scale, scale))
        assert np.abs(imresize(image.float(), scale).numpy() - want).max() < 0.1 / 255


@pytest.mark.parametrize(
    ("n", "scale", "m"), [(17, 1 / 1.7, 10), (21, 1 / 3, 7), (23, 1 / 3, 8), (7, 2.2, 16), (70, 1.1, 77), (5, 0.5, 3)]
)
def test_output_size_is_rounded_up_and_immune_to_the_rounding_of_the_scale(n, scale, m):
    assert output_size((n, 1), scale)[0] == m
    assert imresize(picture(n, 3), scale).shape[0] == m


@pytest.mark.parametrize("lead", [(), (2,), (2, 3), (2, 1, 3)])
@pytest.mark.parametrize("scale", [1.5, math.pi / 2])
def test_leading_axes_are_resized_one_by_one(lead, scale):
    image = picture(*lead, 7, 11)
    got = imresize(image, scale)
    assert got.shape == (*lead, *ceil_size((7, 11), scale))
    want = matlab_imresize(image.numpy(), ceil_size((7, 11), scale), (scale, scale))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single_and_given_back_in_half(dtype):
    image = picture(9, 13).to(dtype)
    got = imresize(image, 2)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got.float(), imresize(image.float(), 2).to(dtype).float())


def test_a_strided_image_is_read_as_it_is_indexed():
    image = picture(11, 7).T[::2]  # (4, 11), not contiguous
    np.testing.assert_allclose(imresize(image, 2), matlab_imresize(image.numpy(), (8, 22), (2, 2)), rtol=0, atol=5e-14)


@pytest.mark.parametrize("scale", SCALES, ids=SCALE_IDS)
def test_a_constant_image_stays_constant(scale):
    got = imresize(torch.full((2, 9, 14), 0.37, dtype=torch.float64), scale)
    np.testing.assert_allclose(got, 0.37, rtol=0, atol=1e-14)


@pytest.mark.parametrize("scale", [2, 1 / 3, math.pi / 2], ids=["x2", "x1/3", "xpi/2"])
def test_linear_with_the_adjoint_as_its_gradient(scale):
    x, size = picture(9, 14).requires_grad_(), ceil_size((9, 14), scale)
    y = picture(*size, seed=1)
    (gradient,) = torch.autograd.grad((imresize(x, scale) * y).sum(), x)
    adjoint = matlab_matrix(9, size[0], scale).T @ y.numpy() @ matlab_matrix(14, size[1], scale)
    np.testing.assert_allclose(gradient, adjoint, rtol=0, atol=1e-13)
    a, b = picture(9, 14, seed=2), picture(9, 14, seed=3)
    np.testing.assert_allclose(
        imresize(3 * a - 0.5 * b, scale), 3 * imresize(a, scale) - 0.5 * imresize(b, scale), rtol=0, atol=1e-13
    )


@pytest.mark.parametrize("scale", [2, 1 / 2, math.pi / 2, 1 / 1.7], ids=["x2", "x1/2", "xpi/2", "x1/1.7"])
def test_gradient_equals_finite_differences(scale):
    image = picture(1, 2, 5, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: imresize(x, scale), image)
    assert torch.autograd.gradgradcheck(lambda x: imresize(x, scale).square(), image)


def test_the_fast_way_serves_common_scales_and_the_other_way_the_rest():
    fast = {s: resize._whole_pixel_padding(23, ceil_size((23, 23), s)[0], s) is not None for s in SCALES}
    assert [s for s in SCALES if not fast[s]] == [math.pi / 2]


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (23, 17)])
@pytest.mark.parametrize("scale", [s for s in SCALES if s != math.pi / 2])
def test_both_ways_agree(scale, size, monkeypatch):
    image = picture(*size)
    fast = imresize(image, scale)
    monkeypatch.setattr(resize, "_resize_padded", None)  # calling it would fail
    monkeypatch.setattr(resize, "_whole_pixel_padding", lambda n, m, scale: None)
    np.testing.assert_allclose(imresize(image, scale), fast, rtol=0, atol=5e-14)


@pytest.mark.parametrize(("scale", "size"), [(2, (15, 9)), (2, (13, 21)), (1 / 2, (6, 3)), (1.5, (11, 8))])
def test_size_beside_scale_changes_only_the_extent_of_the_grid(scale, size):
    image = picture(7, 5)
    np.testing.assert_allclose(
        imresize(image, scale, size=size), matlab_imresize(image.numpy(), size, (scale, scale)), rtol=0, atol=5e-14
    )


@pytest.mark.parametrize("size", [(14, 15), (7, 4), (3, 22), (1, 1)])
def test_size_alone_stretches_each_axis_by_its_own_factor(size):
    image = picture(7, 11)
    want = matlab_imresize(image.numpy(), size, (size[0] / 7, size[1] / 11))
    np.testing.assert_allclose(imresize(image, size=size), want, rtol=0, atol=5e-14)


@pytest.mark.parametrize("shift", [0.5, 1.5, -0.25])
def test_shift_moves_the_grid_by_output_pixels(shift):
    image = picture(9, 13)
    want = matlab_imresize(image.numpy(), (18, 26), (2, 2), shift)
    np.testing.assert_allclose(imresize(image, 2, shift=shift), want, rtol=0, atol=5e-14)
    assert np.abs(want - matlab_imresize(image.numpy(), (18, 26), (2, 2))).max() > 0.05


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_shift_puts_a_directly_subsampled_image_back(scale):
    y, x = torch.meshgrid(torch.arange(61, dtype=torch.float64), torch.arange(83, dtype=torch.float64), indexing="ij")
    smooth = 0.5 + 0.25 * torch.sin(x / 9 + 0.3) + 0.25 * torch.cos(y / 7)
    subsampled = smooth[::scale, ::scale]

    def error(shift: float) -> float:
        restored = imresize(subsampled, scale, size=(61, 83), shift=shift)
        return (restored - smooth)[8:-8, 8:-8].abs().max().item()

    assert error((scale - 1) / 2) < 0.01
    assert error(0.0) > 0.02
    assert error(0.0) > 5 * error((scale - 1) / 2)
    restored = imresize(subsampled, scale, size=(61, 83), shift=(scale - 1) / 2)
    np.testing.assert_allclose(restored[::scale, ::scale], subsampled, rtol=0, atol=1e-12)  # the kept pixels come back


def test_torch_without_mirrored_borders_is_not_matlab():
    # The reason for the padding: torch renormalises the taps at the border. Inside the image it agrees.
    image = picture(24, 36)
    want = matlab_imresize(image.numpy(), (12, 18), (0.5, 0.5))
    plain = torch.nn.functional.interpolate(image[None, None], size=(12, 18), mode="bicubic", antialias=True)[0, 0]
    difference = np.abs(plain.numpy() - want)
    assert difference.max() > 0.01
    assert difference[3:-3, 3:-3].max() < 1e-12
    enlarged = torch.nn.functional.interpolate(image[None, None], scale_factor=2, mode="bicubic")[0, 0]  # a = -0.75
    assert np.abs(enlarged.numpy() - matlab_imresize(image.numpy(), (48, 72), (2, 2)))[6:-6, 6:-6].max() > 0.01


def test_kornias_antialiased_resize_is_not_matlab():
    # It blurs by a Gaussian first, everywhere in the image.
    image = picture(24, 36)
    want = matlab_imresize(image.numpy(), (12, 18), (0.5, 0.5))
    other = kornia.geometry.resize(image[None, None], (12, 18), interpolation="bicubic", antialias=True)[0, 0]
    assert np.abs(other.numpy() - want)[3:-3, 3:-3].max() > 0.01


@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (2, 0, 1, 3), (5, 4, 3, 3), (11, 7, 20, 0)])
def test_symmetric_padding_repeats_the_edge_pixel(padding):
    image = picture(2, 3, 5)
    left, right, top, bottom = padding
    want = np.pad(image.numpy(), ((0, 0), (top, bottom), (left, right)), mode="symmetric")
    np.testing.assert_array_equal(pad_symmetric(image, padding), want)


@pytest.mark.parametrize(
    ("image", "arguments", "message"),
    [
        (torch.zeros(3), {"scale": 2}, r"image must have shape \(\.\.\., H, W\) and not be empty, got \(3,\)"),
        (torch.zeros(0, 3), {"scale": 2}, r"not be empty, got \(0, 3\)"),
        (torch.zeros(3, 3, dtype=torch.uint8), {"scale": 2}, "floating point, got torch.uint8; convert with"),
        (torch.zeros(3, 3), {}, "needs a scale or a size, got neither"),
        (torch.zeros(3, 3), {"scale": 0.0}, r"scale must be a finite number above 0, got 0\.0"),
        (torch.zeros(3, 3), {"scale": (1.0, math.nan)}, "scale must be a finite number above 0, got nan"),
        (torch.zeros(3, 3), {"scale": -2}, "above 0, got -2"),
        (torch.zeros(3, 3), {"scale": 2, "size": (0, 4)}, "output size must be at least 1x1, got 0x4"),
    ],
)
def test_errors_say_what_came(image, arguments, message):
    with pytest.raises(InputError, match=message):
        imresize(image, **arguments)


def test_output_size_with_a_factor_for_each_axis():
    assert output_size((10, 10), (0.5, 1 / 3)) == (5, 4)
    assert imresize(picture(10, 10), (0.5, 1 / 3)).shape[:2] == (5, 4)
