"""The unfolded solver and the data step alone: tiles, turns, and input that is hard to meet."""

import pytest
import torch

from metasr.degradation.kernel_samplers import moved_by
from metasr.degradation.kernels import anisotropic, isotropic
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.errors import InputError
from metasr.meta.rates import PerStepRates
from metasr.models.plain_cnn import PlainCNN
from metasr.solvers.base import Solver
from metasr.solvers.data_step import DataStepSolver
from metasr.solvers.ensemble import SYMMETRIES, transform, turned_problem
from metasr.solvers.unfolded import RATE, UnfoldedSolver
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


PROBLEM = Degradation(scale=2, kernel=isotropic(1.0, size=5), downsample="direct")


def test_adaptation_learns_to_bring_back_the_image_s_own_copy() -> None:
    lr = PROBLEM(picture(64, 72))
    solver = UnfoldedSolver(unfolded(), steps=9, least_gain=None)
    found = solver.solve(lr, scale=2, degradation=PROBLEM)
    own = UnfoldedSolver(unfolded()).solve(lr, scale=2, degradation=PROBLEM)
    assert found.updates == 9
    assert found.trace.losses[8] < found.trace.losses[0]  # of the same turn
    assert not torch.equal(found.sr, own.sr)
    assert torch.equal(solver.snapshots(lr, scale=2, updates=[0], degradation=PROBLEM)[0].sr, own.sr)


@pytest.mark.parametrize("scale", [2, 1.5, 3])
@pytest.mark.parametrize("father", ["result", "lr"])
def test_what_gains_nothing_is_not_used_and_said(scale: float, father: str) -> None:
    degradation = Degradation(scale=scale, kernel=isotropic(1.0, size=5), noise_std=0.01)
    lr = torch.rand(1, 3, 27, 22)
    solver = UnfoldedSolver(unfolded(strided=True), steps=2, least_gain=0.9, father=father)  # type: ignore[arg-type]
    solved = solver.snapshots(lr, scale=scale, updates=[0, 1, 2], degradation=degradation)
    for steps in (1, 2):
        assert torch.equal(solved[steps].sr, solved[0].sr)
        assert solved[steps].updates == 0
        assert len(solved[steps].trace.losses) == steps
        assert "not used: the loss on what was not learned from fell by" in solved[steps].stopped
    assert solved[0].stopped == ""


def test_snapshots_are_what_single_adaptations_give() -> None:
    degradation = Degradation(scale=2, kernel=isotropic(1.0, size=5), downsample="direct", noise_std=0.02)
    lr = degradation(picture(48, 40), generator=torch.Generator().manual_seed(0))
    for rates in (None, PerStepRates(2, 17, initial=0.05)):
        solver = UnfoldedSolver(unfolded(), steps=3, rates=rates, least_gain=None, adapt_pixels=200)
        several = solver.snapshots(lr, scale=2, updates=[1, 3], degradation=degradation, seed=4)
        assert torch.equal(several[3].sr, solver.solve(lr, scale=2, degradation=degradation, seed=4).sr)
        assert not torch.equal(several[3].sr, several[1].sr)
        other = solver.solve(lr, scale=2, degradation=degradation, seed=5)
        assert not torch.equal(other.sr, several[3].sr)  # another noise on the copies


def test_learned_rates_are_plain_gradient_descent() -> None:
    """One step by hand: the copy at LR size, degraded; the L1 loss; every tensor by its own rate."""
    lr, network = PROBLEM(picture(40, 48)), unfolded()
    count = len(list(network.parameters()))
    rates = PerStepRates.of(torch.linspace(0.01, 0.1, count)[None])
    found = UnfoldedSolver(network, rates=rates, steps=1, least_gain=None, precision="fp32")
    sr = found.solve(lr, scale=2, degradation=PROBLEM).sr
    father = imresize(UnfoldedSolver(network).solve(lr, scale=2, degradation=PROBLEM).sr, 0.5).clamp(0, 1)
    loss = (network(PROBLEM.for_son()(father), PROBLEM) - father).abs().mean()
    gradients = torch.autograd.grad(loss, list(network.parameters()), materialize_grads=True)
    with torch.no_grad():
        for parameter, gradient, rate in zip(network.parameters(), gradients, rates.at(0), strict=True):
            parameter -= rate * gradient
    by_hand = UnfoldedSolver(network).solve(lr, scale=2, degradation=PROBLEM).sr
    torch.testing.assert_close(sr, by_hand, rtol=0, atol=1e-6)


def test_without_learned_rates_it_is_adam() -> None:
    lr, network = PROBLEM(picture(40, 48)), unfolded()
    solver = UnfoldedSolver(network, steps=3, least_gain=None, precision="fp32")
    sr = solver.solve(lr, scale=2, degradation=PROBLEM).sr
    father = imresize(UnfoldedSolver(network).solve(lr, scale=2, degradation=PROBLEM).sr, 0.5).clamp(0, 1)
    adam = torch.optim.Adam(network.parameters(), lr=RATE, betas=(0.9, 0.99))
    for symmetry in ((0, False), (3, False), (2, True)):
        turned = transform(father, symmetry)
        adam.zero_grad()
        (network(PROBLEM.for_son()(turned), PROBLEM) - turned).abs().mean().backward()
        adam.step()
    by_hand = UnfoldedSolver(network).solve(lr, scale=2, degradation=PROBLEM).sr
    torch.testing.assert_close(sr, by_hand, rtol=0, atol=1e-5)


def test_it_adapts_in_inference_mode_too() -> None:
    with torch.inference_mode():
        solver = UnfoldedSolver(unfolded(), steps=1, least_gain=None)
        assert solver.solve(PROBLEM(picture(32, 40)), scale=2, degradation=PROBLEM).updates == 1


def test_numbers_out_of_range_are_refused() -> None:
    for options, told in (
        ({"steps": -1}, "adapt_steps must be at least 0"),
        ({"least_gain": 1.0}, r"least_gain must be a share of the loss in \[0, 1\), or none, got 1.0"),
        ({"father": "mother"}, "father must be"),
        ({"precision": "half"}, "precision must be"),
        ({"adapt_pixels": 0}, "adapt_pixels must be at least 1"),
    ):
        with pytest.raises(InputError, match=told):
            UnfoldedSolver(unfolded(), **options)  # type: ignore[arg-type]
