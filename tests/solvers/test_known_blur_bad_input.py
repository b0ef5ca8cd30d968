"""Solvers that are told the blur, and input that is hard to meet: a clear error, or a stated fallback."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from metasr.degradation.kernel_samplers import moved_by
from metasr.degradation.kernels import isotropic
from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError
from metasr.solvers.base import Solver
from metasr.solvers.data_step import DataStepSolver
from metasr.solvers.interpolate import InterpolateSolver
from metasr.solvers.unfolded import UnfoldedSolver
from small_problems import picture
from solvers.solver_list import unfolded

SOLVERS: dict[str, Callable[[], Solver]] = {
    "data_step": DataStepSolver,
    "unfolded": lambda: UnfoldedSolver(unfolded(strided=True)),
    "unfolded_adapted": lambda: UnfoldedSolver(unfolded(strided=True), steps=1, least_gain=None),
}
KERNEL = isotropic(1.0, size=7)


@pytest.fixture(params=SOLVERS)
def solver(request: pytest.FixtureRequest) -> Solver:
    return SOLVERS[request.param]()


@pytest.mark.parametrize("scale", [2, 1.5])
@pytest.mark.parametrize("height", [13, 40])
def test_a_kernel_larger_than_the_image_is_met_or_told(solver: Solver, height: int, scale: float) -> None:
    """By the mirrored border, as far as that goes; there is nothing to adapt to, and that is said."""
    lr = picture(height, 14)
    degradation = Degradation(scale=scale, kernel=isotropic(4.0, size=19), downsample="bicubic")
    found = solver.solve(lr, scale=scale, degradation=degradation)
    assert found.sr.shape == (1, 3, -(-height * scale // 1), 14 * scale)
    assert bool(found.sr.isfinite().all())
    if getattr(solver, "steps", 0):
        assert found.updates == 0
        assert found.stopped == f"no update taken: 14x{height} pixels are fewer than the kernel's 19x19"


@pytest.mark.parametrize("scale", [2, 1.5])
def test_a_kernel_far_larger_than_the_image_is_refused(solver: Solver, scale: float) -> None:
    degradation = Degradation(scale=scale, kernel=isotropic(4.0, size=99), downsample="bicubic")
    with pytest.raises(InputError, match=r"larger than the image with its mirrored|smaller than the 99x99 kernel"):
        solver.solve(picture(9, 7), scale=scale, degradation=degradation)


def test_a_kernel_without_taps_or_of_another_sum_is_refused() -> None:
    for kernel, told in ((torch.zeros(5, 5), "sum to 1, got 0"), (-KERNEL, "sum to 1, got -1"), (KERNEL * 2, "got 2")):
        with pytest.raises(InputError, match=told):
            Degradation(scale=2, kernel=kernel)
    with pytest.raises(InputError, match="finite"):
        Degradation(scale=2, kernel=KERNEL * float("nan"))


def test_negative_taps_of_an_estimate_are_bearable(solver: Solver) -> None:
    ringing = KERNEL.clone()
    ringing[0, ::2] -= 0.02
    ringing[3, 3] += 0.08
    degradation = Degradation(scale=2, kernel=ringing, downsample="direct", quantise=None)
    hr = picture(60, 52)
    lr = degradation(hr)
    error, of_plain = (
        float((s.solve(lr, scale=2, degradation=degradation).sr - hr)[..., 8:-8, 8:-8].abs().mean())
        for s in (solver, InterpolateSolver(aligned=True))
    )
    assert error < of_plain


def test_a_kernel_with_all_its_mass_in_a_corner_is_a_displacement(solver: Solver) -> None:
    """The image is put back, but for the border that the displacement has taken away."""
    hr = picture(72, 64)
    corner = moved_by(torch.nn.functional.pad(isotropic(1.0, size=9), (6, 6, 6, 6)), (6, -6))
    problem = Degradation(scale=2, kernel=corner, downsample="direct")
    middle = replace(problem, kernel=isotropic(1.0, size=9))
    errors = [
        float((solver.solve(d(hr), scale=2, degradation=d).sr - hr)[..., 16:-16, 16:-16].square().mean())
        for d in (problem, middle)
    ]
    assert errors[0] < 1.15 * errors[1]


def test_a_broken_scale_is_met_where_it_can_be(solver: Solver) -> None:
    lr = picture(21, 26)
    for downsample in ("direct", "bicubic"):
        degradation = Degradation(scale=2.4, kernel=KERNEL, downsample=downsample)  # type: ignore[arg-type]
        assert solver.solve(lr, scale=2.4, degradation=degradation).sr.shape == (1, 3, 51, 63)
    with pytest.raises(InputError, match=r"scale must be whole, got 2\.4"):
        Degradation(scale=2.4, kernel=KERNEL, downsample="area")
    with pytest.raises(InputError, match="direct subsampling keeps every s-th pixel"):
        Degradation(scale=0.5, kernel=KERNEL, downsample="direct")


def test_noise_out_of_range_is_refused_and_loud_noise_trusts_the_image_less(solver: Solver) -> None:
    for noise in (-0.1, float("inf"), float("nan")):
        with pytest.raises(InputError, match="noise_std must be finite and at least 0"):
            Degradation(scale=2, kernel=KERNEL, noise_std=noise)
    loud = Degradation(scale=2, kernel=KERNEL, downsample="direct", noise_std=1.0)
    lr = loud(picture(40, 36), generator=torch.Generator().manual_seed(0))
    sr = solver.solve(lr, scale=2, degradation=loud).sr
    plain = InterpolateSolver(aligned=True).solve(lr, scale=2, degradation=loud).sr
    deaf = solver.solve(lr, scale=2, degradation=replace(loud, noise_std=0.0)).sr
    assert (sr - plain).abs().mean() < 0.5 * (deaf - plain).abs().mean()
