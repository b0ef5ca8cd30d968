"""The interpolation rows of published tables, from the images to the last digit.

They hold resizing, kernels, subsampling, rounding and both metrics at once. PSNR within 0.01, SSIM within 0.0003.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from metasr.data.catalog import image_set
from metasr.degradation import names
from metasr.degradation.resize import imresize
from metasr.evaluation.published import published
from metasr.metrics.protocol import LumaProtocol
from metasr.metrics.psnr_ssim import psnr

pytestmark = pytest.mark.data

SET5 = {
    "g0.2d": (30.24, 0.8976),
    "g2.0d": (28.73, 0.8449),
    "gani_d": (28.15, 0.8265),
    "g1.3b": (30.54, 0.8773),
    "bicubic": (33.65, 0.9295),
}
B100 = {
    "g0.2d": (27.45, 0.7992),
    "g2.0d": (26.51, 0.7157),
    "gani_d": (26.23, 0.7018),  # published as 26.00 / 0.6891, which the next one gives
    "aniso_5_1_-0.5_d": (26.00, 0.6891),
    "g1.3b": (27.49, 0.7546),
    "bicubic": (29.55, 0.8427),
}
ALIGNED = {"g0.2d": 33.85, "g2.0d": 29.79, "gani_d": 29.10}


@lru_cache
def row(testset: str, root: Path, degradation: str) -> tuple[float, float, float]:
    """Mean PSNR and SSIM of bicubic enlargement as published, and its PSNR once put back where it came from."""
    images = image_set(testset, split="test", root=root)
    protocol, model = LumaProtocol(), names.parse(degradation, scale=2)
    scores = []
    for i in range(len(images)):
        hr = protocol.crop_reference(images.load(i), 2)[None]
        lr = model(hr)
        score = protocol(imresize(lr, 2).clamp(0, 1), hr, scale=2)
        aligned = imresize(lr, 2, shift=model.shift).clamp(0, 1)
        scores.append((score.psnr_y, score.ssim_y, psnr(*(protocol.luma(x, scale=2) for x in (aligned, hr))).item()))
    return tuple(np.mean(scores, axis=0))


@pytest.mark.parametrize("degradation", SET5)
def test_set5(shared_data, degradation):
    psnr_y, ssim_y, _ = row("set5", shared_data, degradation)
    assert psnr_y == pytest.approx(SET5[degradation][0], abs=0.01)
    assert ssim_y == pytest.approx(SET5[degradation][1], abs=0.0003)


@pytest.mark.parametrize("degradation", ALIGNED)
def test_set5_with_half_a_pixel_undone(shared_data, degradation):
    published_psnr, _, aligned_psnr = row("set5", shared_data, degradation)
    assert aligned_psnr == pytest.approx(ALIGNED[degradation], abs=0.01)
    assert aligned_psnr - published_psnr > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("degradation", B100)
def test_b100(shared_data, degradation):
    psnr_y, ssim_y, _ = row("b100", shared_data, degradation)
    assert psnr_y == pytest.approx(B100[degradation][0], abs=0.01)
    assert ssim_y == pytest.approx(B100[degradation][1], abs=0.0003)


def test_our_rows_are_the_published_ones_but_for_one(shared_data):
    del shared_data  # the numbers above are compared, no image is read
    for testset, expected in (("set5", SET5), ("b100", B100)):
        for degradation, (psnr_y, ssim_y) in expected.items():
            known = published("Bicubic", testset=testset, degradation=degradation, scale=2)
            agrees = abs(known.psnr_y - psnr_y) < 0.015 and abs(known.ssim_y - ssim_y) < 0.0006
            assert agrees == ((testset, degradation) != ("b100", "gani_d")), (testset, degradation, known)


def test_published_low_resolution_files_are_reproduced(shared_data):
    inputs = image_set("set5", split="test", root=shared_data)
    theirs = image_set("image_folder", split="all", root=shared_data / "mzsr_g20_set5", val_fraction=0)
    assert theirs.names == inputs.names
    model = names.parse("g2.0d", scale=2)
    for i in range(len(inputs)):
        hr = LumaProtocol().crop_reference(inputs.load(i), 2)[None]
        levels, want = model.linear(hr)[0] * 255, theirs.load(i) * 255
        assert levels.shape == want.shape
        assert (levels - want).abs().max() < 0.5 + 1e-3
        assert (levels.round() == want.round()).double().mean() > 0.999
