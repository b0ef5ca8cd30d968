"""The slow kernel estimator: DDSR on a crop, and what it hands on."""

import re

import pytest
import torch

from metasr.degradation.names import parse
from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError
from metasr.solvers.back_project import BackProjectSolver
from metasr.solvers.blind.base import blind, finds_kernel, takes_kernel
from metasr.solvers.blind.ddsr import DDSREstimator
from metasr.solvers.ddsr.solver import DDSRSolver
from small_problems import picture


def small(steps: int = 3) -> DDSRSolver:
    return DDSRSolver(steps=steps, width=4, skip=2, levels=2, hidden=8, warmup_steps=2)


@pytest.mark.parametrize("downsample", ["direct", "bicubic"])
def test_the_kernel_is_what_ddsr_learns_of_the_middle(downsample: str) -> None:
    lr = picture(31, 37)
    found = DDSREstimator(small(), crop=21).estimate(lr, scale=2, downsample=downsample, seed=4)  # type: ignore[arg-type]
    crop = lr[..., 5:26, 8:29]
    mask = torch.zeros(1, 1, 21, 21)
    mask[..., 3:-3, 3:-3] = 1  # the kernel of 11 HR pixels reaches 3 LR pixels
    given = Degradation(scale=2, downsample=downsample, mask=mask)  # type: ignore[arg-type]
    want = small().solve(crop, scale=2, degradation=given, seed=4).kernel
    assert found.kernel is not None
    torch.testing.assert_close(found.kernel, want)
    assert found.degradation.downsample == "direct"
    assert (found.fallback, found.noise_std) == (False, 0.0)
    assert found.seconds > 0
    assert not found.kernel.requires_grad
    assert found.told.startswith("learned in 3 steps: 11x11 taps before direct subsampling")
    assert ("bicubic resizing in it" in found.told) == (downsample == "bicubic")


def test_seed_steps_and_crop_count() -> None:
    lr = picture(31, 37)

    def kernel(*, steps: int = 3, crop: int | None = 21, seed: int = 4) -> torch.Tensor:
        found = DDSREstimator(small(steps), crop=crop).estimate(lr, scale=2, seed=seed)
        assert found.kernel is not None
        return found.kernel

    reference = kernel()
    assert torch.equal(reference, kernel())
    for other in (kernel(seed=5), kernel(steps=4), kernel(crop=25), kernel(crop=None)):
        assert float((other - reference).abs().max()) > 1e-7


def test_the_edge_of_the_crop_is_not_compared_and_the_image_s_own_is() -> None:
    lr = picture(21, 37)
    spoilt = {"cut": lr.clone(), "own": lr.clone()}
    spoilt["cut"][..., 8:11] = 0.5  # the crop's columns are 8 to 28
    spoilt["own"][..., :3, :] = 0.5
    estimates = {
        name: DDSREstimator(small(), crop=21).estimate(image, scale=2, seed=4) for name, image in spoilt.items()
    }
    reference = DDSREstimator(small(), crop=21).estimate(lr, scale=2, seed=4).kernel
    assert torch.equal(estimates["cut"].kernel, reference)
    assert not torch.equal(estimates["own"].kernel, reference)


@pytest.mark.parametrize(
    ("lr", "message"),
    [
        (picture(12, 12), r"^12x12 pixels are too few to see a blur in \(17x17 at least\): bicubic assumed$"),
        (torch.full((1, 3, 31, 37), 0.4), "^the image is nearly constant: bicubic assumed$"),
        ((picture(31, 37) > 0.5).float(), r"^100% of the image is saturated: bicubic assumed$"),
    ],
)
def test_where_nothing_can_be_learned_plain_subsampling_is_assumed(lr: torch.Tensor, message: str) -> None:
    found = DDSREstimator(DDSRSolver(steps=1)).estimate(lr, scale=2)
    assert (found.fallback, found.kernel, found.noise_std, str(found.degradation)) == (True, None, 0.0, "bicubic")
    assert re.search(message, found.told)


def test_a_solver_goes_by_it() -> None:
    lr = picture(31, 37)
    estimator = DDSREstimator(small(), crop=21)
    solution = blind(BackProjectSolver(rounds=2), estimator).solve(
        lr, scale=2, degradation=parse("g2.0d", scale=2), seed=1
    )
    found = estimator.estimate(lr, scale=2, downsample="direct", seed=1)
    torch.testing.assert_close(
        solution.sr, BackProjectSolver(rounds=2).solve(lr, scale=2, degradation=found.degradation).sr
    )
    assert solution.assumed == found.told


def test_what_cannot_be_done_is_refused() -> None:
    estimator = DDSREstimator(small())
    with pytest.raises(InputError, match=r"ddsr needs a scale of 2, 3, 4 or 8, got 2\.5"):
        estimator.estimate(picture(31, 37), scale=2.5)
    with pytest.raises(InputError, match="estimated for direct or bicubic subsampling, got 'area'"):
        estimator.estimate(picture(31, 37), scale=2, downsample="area")
    with pytest.raises(InputError, match="crop must be at least 1, got 0"):
        DDSREstimator(small(), crop=0)
    with pytest.raises(InputError, match="crop must be at least 12 pixels at x2, of which 3 on each side are not"):
        DDSREstimator(small(), crop=11).estimate(picture(31, 37), scale=2)
    assert not takes_kernel(small())  # it finds its own
    assert finds_kernel(small())
