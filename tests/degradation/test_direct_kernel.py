"""Blur and resizing told as one kernel before direct subsampling."""

from dataclasses import replace

import pytest
import torch

from metasr.degradation.direct_kernel import direct_kernel
from metasr.degradation.kernels import anisotropic
from metasr.degradation.names import parse
from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError
from metasr.metrics.kernel import kernel_moments, resized
from small_problems import picture


@pytest.mark.parametrize("downsample", ["direct", "bicubic", "area"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_it_makes_the_same_image(downsample: str, scale: int) -> None:
    kernel = anisotropic(4.0, 1.5, 0.7, size=9)
    given = Degradation(scale=scale, kernel=kernel, downsample=downsample, gain=0.5)  # type: ignore[arg-type]
    whole = direct_kernel(given, size=41)
    assert whole is not None
    hr = picture(scale * 21, scale * 24, dtype=torch.float64)
    as_one = Degradation(scale=scale, kernel=whole, downsample="direct", gain=0.5)
    border = -(-20 // scale) + 1
    inside = (..., slice(border, -border), slice(border, -border))
    torch.testing.assert_close(as_one.linear(hr)[inside], given.linear(hr)[inside], rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [11, 27])
def test_before_direct_subsampling_it_is_the_kernel_itself(size: int) -> None:
    given = parse("gani_d", scale=3)
    assert given.kernel is not None
    want = resized(given.kernel.double(), size)
    torch.testing.assert_close(direct_kernel(given, size=size), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [2, 4])
def test_bicubic_resizing_lies_off_the_middle_and_widens(scale: int) -> None:
    blurred, bare = (direct_kernel(parse(name, scale=scale), size=61) for name in ("g1.3b", "bicubic"))
    assert blurred is not None
    assert bare is not None
    for kernel in (blurred, bare):
        torch.testing.assert_close(kernel.sum(), torch.tensor(1.0, dtype=torch.float64))
        assert kernel_moments(kernel)[0].tolist() == pytest.approx([30 + (scale - 1) / 2] * 2, abs=1e-6)
    widths = [float(kernel_moments(k)[1].mean()) for k in (blurred, bare)]
    assert widths[0] - widths[1] == pytest.approx(1.3, rel=0.01)  # variances of a convolution add up


def test_what_no_single_kernel_tells() -> None:
    given = parse("g1.3b", scale=2)
    assert given.kernel is not None
    assert direct_kernel(replace(given, kernel=given.kernel[None]), size=11) is None
    assert direct_kernel(parse("bicubic", scale=2.5), size=11) is None
    with pytest.raises(InputError, match="kernels have an odd side, got 12"):
        direct_kernel(given, size=12)
