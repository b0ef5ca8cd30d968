"""The unfolded solver and the data step alone: tiles, turns, and input that is hard to meet."""

import pytest
import torch

from metasr.degradation.kernel_samplers import moved_by
from metasr.degradation.kernels import anisotropic, isotropic
from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError
from metasr.models.plain_cnn import PlainCNN
from metasr.solvers.base import Solver
from metasr.solvers.data_step import DataStepSolver
from metasr.solvers.ensemble import SYMMETRIES, transform, turned_problem
from metasr.solvers.unfolded import UnfoldedSolver
from small_problems import picture
from solvers.solver_list import unfolded


def untrained(*, strided: bool) -> UnfoldedSolver:
    """Priors that do something, which fresh ones hardly do."""
    network = unfolded(strided=strided)
    torch.manual_seed(1)
    with torch.no_grad():
        for prior in network.priors:
            for parameter in prior.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return UnfoldedSolver(network)


@pytest.mark.parametrize("strided", [False, True])
def test_tiles_do_not_change_the_result(*, strided: bool) -> None:
    degradation = Degradation(scale=2, kernel=isotropic(1.0, size=5), downsample="direct")
    solver, lr = untrained(strided=strided), torch.rand(1, 3, 43, 37)
    whole = solver.solve(lr, scale=2, degradation=degradation).sr
    plain = DataStepSolver(rounds=2).solve(lr, scale=2, degradation=degradation).sr
    assert (whole - plain).abs().mean() > 0.01
    solver.tile = 24
    torch.testing.assert_close(solver.solve(lr, scale=2, degradation=degradation).sr, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("downsample", ["direct", "bicubic", "area"])
@pytest.mark.parametrize("scale", [2, 3])
def test_a_turned_problem_is_that_of_the_turned_image(downsample: str, scale: int) -> None:
    hr = torch.rand(1, 3, 18, 24, dtype=torch.float64)
    kernel = moved_by(anisotropic(2.0, 0.7, 0.4, size=7), (1, 0))
    for given in (None, kernel):
        degradation = Degradation(scale=scale, kernel=given, downsample=downsample)  # type: ignore[arg-type]
        lr = degradation.linear(hr)
        for symmetry in SYMMETRIES:
            image, turned = turned_problem(lr, degradation, symmetry)
            torch.testing.assert_close(turned.linear(transform(hr, symmetry)), image, rtol=0, atol=1e-12)


@pytest.mark.parametrize("solver", [DataStepSolver(), UnfoldedSolver(unfolded())])
def test_input_that_is_hard_to_meet(solver: Solver) -> None:
    lr = picture(12, 10)
    corner = torch.zeros(9, 9, dtype=torch.float64)
    corner[0, 0] = 1
    ringing = isotropic(1.0, size=7).clone()
    ringing[0, 0] -= 0.01
    ringing[3, 3] += 0.01
    kernels = {"larger than the image": isotropic(4.0, size=31), "in a corner": corner, "with a negative tap": ringing}
    for kernel in kernels.values():
        degradation = Degradation(scale=2, kernel=kernel, downsample="direct")
        sr = solver.solve(lr, scale=2, degradation=degradation).sr
        assert sr.shape == (1, 3, 24, 20)
        assert bool(sr.isfinite().all())
    loud = Degradation(scale=1.5, kernel=isotropic(1.0, size=5), noise_std=0.5, gain=0.5)  # by conjugate gradients
    assert bool(solver.solve(lr, scale=1.5, degradation=loud).sr.isfinite().all())


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="runs an UnfoldedNet, which is told the degradation, got PlainCNN"):
        UnfoldedSolver(PlainCNN(4, 3))
    with pytest.raises(InputError, match="rounds must be at least 1, got 0"):
        DataStepSolver(rounds=0)
    large = Degradation(scale=2, kernel=isotropic(4.0, size=99))
    with pytest.raises(InputError, match="larger than the image with its mirrored border"):
        DataStepSolver().solve(picture(5, 5), scale=2, degradation=large)


def test_the_data_step_is_nearer_the_truth_than_its_guess_and_minds_noise() -> None:
    hr = picture(64, 72)
    for noise in (0.0, 0.06):
        degradation = Degradation(scale=2, kernel=isotropic(2.0, size=13), downsample="direct", noise_std=noise)
        lr = degradation(hr, generator=torch.Generator().manual_seed(0))
        sr = DataStepSolver().solve(lr, scale=2, degradation=degradation).sr
        deaf = (
            DataStepSolver()
            .solve(lr, scale=2, degradation=Degradation(scale=2, kernel=degradation.kernel, downsample="direct"))
            .sr
        )
        error, of_deaf = (float((image - hr).square().mean()) for image in (sr, deaf))
        assert error <= of_deaf
    assert error < 0.5 * of_deaf
