"""Self-ensemble and back-projection."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from metasr.degradation.kernels import anisotropic, isotropic
from metasr.degradation.names import parse
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.metrics.protocol import LumaProtocol
from metasr.solvers.ensemble import SYMMETRIES, back_project, self_ensemble, symmetries_of, transform, undo
from small_problems import picture

LOPSIDED = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(25)).reshape(5, 5))
OBLONG = torch.full((3, 5), 1 / 15, dtype=torch.float64)
KERNELS = {
    "none": None,
    "iso": isotropic(2.0, size=9),
    "aniso": anisotropic(4.0, 1.0, -0.5, size=9),
    "aniso_level": anisotropic(4.0, 1.0, 0.0, size=9),
    "aniso_diagonal": anisotropic(4.0, 1.0, np.pi / 4, size=9),
    "aniso_counterdiagonal": anisotropic(4.0, 1.0, -np.pi / 4, size=9),
    "lopsided": LOPSIDED,
    "oblong": OBLONG,
    "one_of_a_batch": isotropic(1.0, size=5)[None],
}


def test_the_eight_are_different_and_can_be_undone() -> None:
    image = torch.rand(1, 3, 5, 7)
    images = [transform(image, s) for s in SYMMETRIES]
    assert len({(tuple(i.shape), i.numpy().tobytes()) for i in images}) == 8
    for symmetry, turned in zip(SYMMETRIES, images, strict=True):
        assert torch.equal(undo(turned, symmetry), image)


def commutes(degradation: Degradation, symmetry: tuple[int, bool]) -> bool:
    """Whether degrading a turned image gives the turned degraded image, by trying."""
    x = torch.rand(1, 3, 24, 36, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    a, b = degradation(transform(x, symmetry)), transform(degradation(x), symmetry)
    return a.shape == b.shape and bool((a - b).abs().max() < 1e-9)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("downsample", ["direct", "bicubic", "area"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_symmetries_are_those_that_commute_with_the_degradation(kernel: str, downsample: str, scale: int) -> None:
    degradation = Degradation(scale=scale, kernel=KERNELS[kernel], downsample=downsample, quantise=None)
    assert set(symmetries_of(degradation)) == {s for s in SYMMETRIES if commutes(degradation, s)}


def test_how_many_symmetries_there_are() -> None:
    counts = {
        name: [len(symmetries_of(parse(name + end, scale=2))) for end in ("d", "b")]
        for name in ("g2.0", "gani_", "aniso_4_1_0_", f"aniso_4_1_{np.pi / 4}_")
    }
    assert list(counts.values()) == [[2, 8], [1, 2], [1, 4], [2, 4]]


@pytest.mark.parametrize(
    ("size", "scale"), [((13, 10), 1.5), ((12, 10), 1.5), ((12, 9), 2.5), ((13, 11), 2), ((7, 5), 1.2)]
)
def test_symmetries_at_any_scale_commute_with_enlarging(size: tuple[int, int], scale: float) -> None:
    lr = torch.rand(1, 3, *size, dtype=torch.float64)
    allowed = symmetries_of(Degradation(scale=scale), size=size)
    for s in allowed:
        torch.testing.assert_close(
            imresize(transform(lr, s), scale), transform(imresize(lr, scale), s), rtol=0, atol=1e-9
        )
    whole = all(float(n * scale).is_integer() for n in size)
    assert len(allowed) == (8 if whole else 2)


def test_ensemble_is_mean_or_median_of_the_results_turned_back() -> None:
    image = torch.rand(1, 2, 6, 6, dtype=torch.float64)
    uneven = torch.rand(6, 6, dtype=torch.float64)
    array, weight = image.numpy(), uneven.numpy()
    results = []
    for turns, flip in SYMMETRIES:
        x = np.rot90(array, turns, (-2, -1))
        x = (np.flip(x, -1) if flip else x) * weight
        results.append(np.rot90(np.flip(x, -1) if flip else x, -turns, (-2, -1)))

    def solve(x: Tensor) -> Tensor:
        return x * uneven

    for count in (8, 7, 2, 1):
        mean = self_ensemble(solve, image, SYMMETRIES[:count]).numpy()
        median = self_ensemble(solve, image, SYMMETRIES[:count], median=True).numpy()
        np.testing.assert_allclose(mean, np.mean(results[:count], 0), atol=1e-14)
        np.testing.assert_allclose(median, np.median(results[:count], 0), atol=1e-14)


def test_ensemble_of_all_eight_turns_with_the_image() -> None:
    torch.manual_seed(0)
    net = torch.nn.Conv2d(3, 3, 3, padding=1).double()
    image = torch.rand(1, 3, 6, 9, dtype=torch.float64)
    with torch.no_grad():
        for s in SYMMETRIES:
            turned = self_ensemble(net, transform(image, s), SYMMETRIES)
            torch.testing.assert_close(turned, transform(self_ensemble(net, image, SYMMETRIES), s), rtol=0, atol=1e-12)


# --- back-projection ---

BLURRED = ["g2.0d", "gani_d", "g1.3b", "gani_b"]


def problem(name: str, *, scale: float = 2) -> tuple[Tensor, Tensor, Degradation]:
    hr, degradation = picture(60, 48, dtype=torch.float64), replace(parse(name, scale=scale), quantise=None)
    return hr, degradation(hr), degradation


@pytest.mark.parametrize("name", ["direct", "bicubic", "area", *BLURRED])
def test_residual_falls_with_every_round(name: str) -> None:
    _, lr, degradation = problem(name)
    start = imresize(lr, 2)
    residuals = [
        (lr - degradation.linear(back_project(start, lr, degradation, rounds=rounds))).abs().mean().item()
        for rounds in (0, 1, 2, 4, 10)
    ]
    assert residuals[-1] < 0.1 * residuals[0]
    assert all(b < a or b < 1e-12 for a, b in pairwise(residuals))


@pytest.mark.parametrize("name", BLURRED)
def test_blurred_images_come_nearer_to_the_truth(name: str) -> None:
    hr, lr, degradation = problem(name)
    protocol = LumaProtocol()
    start = imresize(lr, 2, shift=degradation.shift)
    scores = [
        protocol(back_project(start, lr, degradation, rounds=rounds).clamp(0, 1), hr, scale=2).psnr_y
        for rounds in (0, 1, 4)
    ]
    assert scores[2] > scores[1] + 0.5 > scores[0] + 1.5


@pytest.mark.parametrize("scale", [2, 3])
def test_direct_pixels_are_put_back_where_they_came_from(scale: int) -> None:
    """Cubic convolution passes through its nodes: with nothing but subsampling, one round from nothing agrees fully."""
    _, lr, degradation = problem("direct", scale=scale)
    sr = back_project(torch.zeros(1, 3, 60, 48, dtype=torch.float64), lr, degradation, rounds=1)
    torch.testing.assert_close(sr[..., ::scale, ::scale], lr, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("height", "width", "scale"), [(13, 9, 1.5), (11, 7, 2.5), (5, 4, 1.2)])
def test_real_scales_whose_sizes_are_rounded_up(height: int, width: int, scale: float) -> None:
    lr = picture(height, width, dtype=torch.float64)
    degradation = Degradation(scale=scale, quantise=None)
    start = imresize(lr, scale)
    better = back_project(start, lr, degradation, rounds=4)
    assert better.shape == start.shape

    def residual(sr: Tensor) -> float:
        return (degradation.linear(sr)[..., :height, :width] - lr).abs().mean().item()

    assert residual(better) < 0.5 * residual(start)


def test_no_rounds_change_nothing_and_noise_mask_and_rounding_are_left_out() -> None:
    hr, lr, degradation = problem("g2.0d")
    assert back_project(hr, lr, degradation, rounds=0) is hr
    start = imresize(lr, 2)
    dirty = replace(degradation, noise_std=0.1, quantise="round", mask=torch.zeros(1, 1, *lr.shape[-2:]))
    want = back_project(start, lr, degradation, rounds=3)
    assert torch.equal(back_project(start, lr, dirty, rounds=3), want)
    assert not torch.equal(want, start)
