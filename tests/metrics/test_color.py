import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr

from metasr.errors import InputError
from metasr.metrics.color import luma_bt601


def test_equals_scikit_image():
    rgb = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    want = rgb2ycbcr(rgb.numpy(), channel_axis=1)[:, :1]
    np.testing.assert_allclose(luma_bt601(rgb), want, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("colour", "luma"),
    [((0, 0, 0), 16), ((1, 1, 1), 235), ((1, 0, 0), 81.481), ((0, 1, 0), 144.553), ((0, 0, 1), 40.966)],
)
def test_black_white_and_the_primaries(colour, luma):
    rgb = torch.tensor(colour, dtype=torch.float64).view(3, 1, 1)
    assert luma_bt601(rgb).item() == pytest.approx(luma, abs=1e-9)


@pytest.mark.parametrize("lead", [(), (2,), (2, 5)])
def test_leading_axes_and_dtype_are_kept(lead):
    got = luma_bt601(torch.rand(*lead, 3, 5, 7))
    assert got.shape == (*lead, 1, 5, 7)
    assert got.dtype == torch.float32


@pytest.mark.parametrize("shape", [(1, 5, 7), (4, 5, 7), (5, 7), (2, 7, 3)])
def test_other_channels_are_refused(shape):
    with pytest.raises(InputError, match=r"rgb must have shape \(\.\.\., 3, H, W\), got"):
        luma_bt601(torch.rand(shape))
