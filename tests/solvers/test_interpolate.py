"""Bicubic interpolation, as published and put back where it belongs."""

from pathlib import Path

import pytest
import torch

from metasr.degradation.names import parse
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.io.images import list_images, read_image
from metasr.metrics.protocol import LumaProtocol
from metasr.metrics.psnr_ssim import psnr
from metasr.solvers.interpolate import InterpolateSolver


def parabola(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Cubic convolution reproduces quadratics exactly, wherever its taps are inside the image."""
    plane = 0.2 + 0.006 * x + 0.0001 * x * x + 0.004 * y[:, None] - 0.00005 * y[:, None] ** 2
    return torch.stack([plane, plane * 0.5, 0.9 - plane])[None]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_directly_subsampled_parabola(scale: int) -> None:
    """Aligned gives the parabola back where it was; plain shows it (s - 1)/2 pixels too far to the lower right."""
    x, y = (torch.arange(n * scale, dtype=torch.float64) for n in (13, 11))
    hr = parabola(x, y)
    degradation = Degradation(scale=scale, downsample="direct", quantise=None)
    lr = degradation(hr)
    inside = slice(3 * scale, -3 * scale)
    late = (scale - 1) / 2

    def solve(aligned: bool) -> torch.Tensor:
        sr = InterpolateSolver(aligned=aligned).solve(lr, scale=scale, degradation=degradation).sr
        return sr[..., inside, inside]

    torch.testing.assert_close(solve(True), hr[..., inside, inside], rtol=0, atol=1e-12)
    torch.testing.assert_close(solve(False), parabola(x - late, y - late)[..., inside, inside], rtol=0, atol=1e-12)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("name", ["bicubic", "g1.3b", "area"])
def test_nothing_to_align_where_the_grid_is_centred(aligned: bool, name: str) -> None:
    lr = torch.rand(1, 3, 7, 9)
    sr = InterpolateSolver(aligned=aligned).solve(lr, scale=2, degradation=parse(name, scale=2)).sr
    assert torch.equal(sr, imresize(lr, 2).clamp(0, 1))


def test_overshoot_is_clipped() -> None:
    lr = torch.zeros(1, 3, 6, 6)
    lr[..., 3:] = 1.0
    assert imresize(lr, 2).max() > 1.01
    sr = InterpolateSolver().solve(lr, scale=2).sr
    assert (sr.min(), sr.max()) == (0.0, 1.0)


@pytest.mark.data
def test_published_and_aligned_baselines_on_set5(shared_data: Path) -> None:
    """30.24 dB is the published row of g0.2d; the same image, put back in place, is worth 33.85 dB."""
    protocol, degradation = LumaProtocol(), parse("g0.2d", scale=2)
    scores = {True: 0.0, False: 0.0}
    for path in list_images(shared_data / "set5"):
        hr = protocol.crop_reference(read_image(path)[None], 2)
        for aligned in scores:
            sr = InterpolateSolver(aligned=aligned).solve(degradation(hr), scale=2, degradation=degradation).sr
            scores[aligned] += psnr(protocol.luma(sr, scale=2), protocol.luma(hr, scale=2)).item() / 5
    assert scores[False] == pytest.approx(30.24, abs=0.005)
    assert scores[True] == pytest.approx(33.85, abs=0.005)
