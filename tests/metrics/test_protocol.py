import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from metasr.errors import InputError
from metasr.metrics.protocol import LumaProtocol


def pair(size: tuple[int, int] = (41, 33)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(size[0]) / 6.0, torch.arange(size[1]) / 4.0, indexing="ij")
    hr = 0.5 + 0.3 * torch.stack([torch.sin(x) * torch.cos(y), torch.cos(x + y), torch.sin(y - x)])[None]
    return hr + 0.05 * torch.randn(hr.shape, generator=generator), hr


def by_hand(sr: torch.Tensor, hr: torch.Tensor, shave: int, round_luma: bool = True) -> tuple[float, float]:
    lumas = []
    for image in (sr, hr):
        r, g, b = np.rint(image[0].double().clamp(0, 1).numpy() * 255)
        y = 16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255
        y = np.rint(y) if round_luma else y
        lumas.append(y[shave : y.shape[0] - shave, shave : y.shape[1] - shave])
    _, full = structural_similarity(
        *lumas, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    return peak_signal_noise_ratio(*lumas, data_range=255), full[5:-5, 5:-5].mean()


@pytest.mark.parametrize(("scale", "shave"), [(2, 2), (3, 3), (4, 4), (2.2, 3), (1.5, 2)])
def test_score(scale, shave):
    sr, hr = pair()
    score = LumaProtocol()(sr, hr, scale=scale)
    want = by_hand(sr, hr, shave)
    assert score.psnr_y == pytest.approx(want[0], abs=1e-5)
    assert score.ssim_y == pytest.approx(want[1], abs=1e-9)


@pytest.mark.parametrize("shave", [0, 1, 7])
@pytest.mark.parametrize("round_luma", [True, False])
def test_options(shave, round_luma):
    sr, hr = pair()
    score = LumaProtocol(shave=shave, round_luma=round_luma)(sr, hr, scale=2)
    want = by_hand(sr, hr, shave, round_luma)
    assert (score.psnr_y, score.ssim_y) == (pytest.approx(want[0], abs=1e-5), pytest.approx(want[1], abs=1e-9))


def test_every_option_changes_the_number():
    sr, hr = pair()
    scores = {LumaProtocol(**options)(sr, hr, scale=2).psnr_y for options in ({}, {"shave": 5}, {"round_luma": False})}
    assert len(scores) == 3


def test_images_are_rounded_to_8_bits_before_they_are_compared():
    _, hr = pair()
    exact = torch.round(hr * 255) / 255
    assert LumaProtocol()(exact + 0.4 / 255, exact, scale=2).psnr_y == float("inf")
    assert LumaProtocol()(exact + 0.6 / 255, exact, scale=2).psnr_y < 60


def test_errors_in_the_shaved_border_do_not_count():
    _, hr = pair()
    framed = hr.clone()
    framed[..., :3, :] = framed[..., -3:, :] = 0
    framed[..., :, :3] = framed[..., :, -3:] = 0
    assert LumaProtocol()(framed, hr, scale=3).psnr_y == float("inf")
    assert LumaProtocol()(framed, hr, scale=2).psnr_y < 40


@pytest.mark.parametrize(
    ("scale", "size"), [(2, (40, 32)), (3, (39, 33)), (4, (40, 32)), (1, (41, 33)), (2.2, (41, 33)), (2.0, (40, 32))]
)
def test_the_reference_is_cut_at_the_bottom_and_right(scale, size):
    hr = pair()[1][0]
    cut = LumaProtocol().crop_reference(hr, scale)
    np.testing.assert_array_equal(cut, hr[:, : size[0], : size[1]])


def test_errors_say_what_came():
    protocol = LumaProtocol()
    with pytest.raises(InputError, match="HR image of 2x9 is smaller than the scale 3"):
        protocol.crop_reference(torch.rand(3, 2, 9), 3)
    with pytest.raises(InputError, match=r"must both be \(1, 3, H, W\), got \(1, 3, 9, 7\) and \(1, 3, 7, 9\)"):
        protocol(torch.rand(1, 3, 9, 7), torch.rand(1, 3, 7, 9), scale=2)
    with pytest.raises(InputError, match=r"must both be \(1, 3, H, W\), got \(2, 3, 9, 7\)"):
        protocol(torch.rand(2, 3, 9, 7), torch.rand(2, 3, 9, 7), scale=2)
    with pytest.raises(InputError, match="image of 21x8 has nothing left after shaving 4 pixels"):
        protocol(torch.rand(1, 3, 21, 8), torch.rand(1, 3, 21, 8), scale=4)
    with pytest.raises(InputError, match="at least 11x11 pixels, got 10x17"):
        protocol(torch.rand(1, 3, 14, 21), torch.rand(1, 3, 14, 21), scale=2)
