"""Properties of every solver."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from metasr.degradation.names import parse
from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError
from metasr.solvers.base import SnapshotSolver, Solver, check_problem
from metasr.solvers.maml_sr.solver import MAMLSRSolver
from small_problems import bits, picture
from solvers.solver_list import ANY_SCALE, ANY_SIZE, SOLVERS

every_solver = pytest.mark.parametrize("name", SOLVERS)
SMALL = {"size": 5}  # kernels that fit on small images


@every_solver
def test_is_a_solver(name: str) -> None:
    solver = SOLVERS[name]()
    assert isinstance(solver, Solver)
    assert isinstance(solver, SnapshotSolver) == name.startswith(("adapt", "ddsr", "unfolded"))


@pytest.mark.parametrize("name", ANY_SIZE)
@pytest.mark.parametrize("size", [(1, 1), (1, 8), (9, 2), (13, 10), (16, 21)])
@pytest.mark.parametrize("degradation", [None, "direct", "area"])
def test_any_size_gives_scale_times_it_in_range(name: str, size: tuple[int, int], degradation: str | None) -> None:
    lr = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    given = None if degradation is None else parse(degradation, scale=2)
    sr = SOLVERS[name]().solve(lr, scale=2, degradation=given).sr
    assert sr.shape == (1, 3, 2 * size[0], 2 * size[1])
    assert sr.dtype == torch.float32
    assert not sr.requires_grad
    assert 0 <= sr.min() <= sr.max() <= 1


@pytest.mark.parametrize("name", ANY_SCALE)
@pytest.mark.parametrize("scale", [1.5, 2.5, 3, 4, 1])
def test_any_scale(name: str, scale: float) -> None:
    lr = picture(13, 10)
    sr = SOLVERS[name]().solve(lr, scale=scale).sr
    assert sr.shape == (1, 3, math.ceil(13 * scale), math.ceil(10 * scale))
    assert sr.isfinite().all()


@every_solver
@pytest.mark.parametrize("degradation", ["g2.0d", "gani_b", "g0.2d_n10"])
def test_a_seed_means_one_result(name: str, degradation: str) -> None:
    lr, given = picture(14, 11), parse(degradation, scale=2, **SMALL)
    one, two = (SOLVERS[name]().solve(lr, scale=2, degradation=given, seed=3) for _ in range(2))
    torch.rand(5)  # what goes on in the global generator has no part in it
    torch.testing.assert_close(one.sr, two.sr, rtol=0, atol=1e-6)
    other = SOLVERS[name]().solve(lr, scale=2, degradation=given, seed=4)
    draws_noise = name == "adapt_everything" or (
        "_n" in degradation and name.startswith(("adapt", "unfolded_adapted")) and name != "adapt_no_steps"
    )
    no_learning = name.startswith(("interpolate", "lanczos", "auto", "back_project", "data_step"))
    draws_weights = not hasattr(SOLVERS[name](), "network") and not no_learning
    assert torch.equal(one.sr, other.sr) != (draws_noise or draws_weights)


@every_solver
@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("inside", [True, False])
def test_same_result_whatever_the_caller_has_switched_off(name: str, around: Any, inside: bool) -> None:
    given = parse("g2.0d", scale=2, **SMALL)
    want = SOLVERS[name]().solve(picture(14, 11), scale=2, degradation=given).sr
    outside = SOLVERS[name](), picture(14, 11), given
    with around():
        within = SOLVERS[name](), picture(14, 11), parse("g2.0d", scale=2, **SMALL)
        solver, lr, degradation = within if inside else outside
        sr = solver.solve(lr, scale=2, degradation=degradation).sr
    torch.testing.assert_close(sr, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [n for n in SOLVERS if hasattr(SOLVERS[n](), "network")])
def test_weights_and_input_are_untouched_bit_for_bit(name: str) -> None:
    solver: Any = SOLVERS[name]()
    network: nn.Module = solver.network
    rates = getattr(solver, "rates", None)
    lr, degradation = picture(14, 11), parse("g2.0d", scale=2, **SMALL)
    inputs = lr.clone(), degradation.kernel.clone()
    before = bits(network), None if rates is None else bits(rates)
    identities = [id(p) for p in network.parameters()]
    solver.solve(lr, scale=2, degradation=degradation)
    assert (bits(network), None if rates is None else bits(rates)) == before
    assert [id(p) for p in network.parameters()] == identities
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert torch.equal(lr, inputs[0])
    assert torch.equal(degradation.kernel, inputs[1])


@every_solver
def test_can_be_used_again(name: str) -> None:
    solver = SOLVERS[name]()
    lr = picture(14, 11)
    first = solver.solve(lr, scale=2).sr
    solver.solve(picture(9, 12, seed=5), scale=2)
    torch.testing.assert_close(solver.solve(lr, scale=2).sr, first, rtol=0, atol=1e-6)


@every_solver
def test_solution_tells_kernel_updates_and_seconds(name: str) -> None:
    given = parse("g2.0d", scale=2, **SMALL)
    solver: Any = SOLVERS[name]()
    solution = solver.solve(picture(14, 11), scale=2, degradation=given)
    own_stop = isinstance(solver, MAMLSRSolver)
    assert bool(solution.stopped) == own_stop
    steps = len(solution.trace.losses) if own_stop else getattr(solver, "steps", getattr(solver, "max_steps", 0))
    if name.startswith("ddsr"):  # it estimates the kernel, whatever it is told
        assert solution.kernel is not None
        assert solution.kernel is not given.kernel
    else:
        takes_none = name.startswith(("interpolate", "lanczos", "auto"))
        assert solution.kernel is (None if takes_none else given.kernel)
    assert solution.updates == len(solution.trace.losses) == len(solution.trace.seconds) == steps
    assert solution.seconds > sum(solution.trace.seconds[-1:])


@every_solver
@pytest.mark.parametrize(
    ("lr", "scale", "message"),
    [
        (torch.rand(2, 3, 8, 8), 2, r"one RGB image of shape \(1, 3, H, W\), got \(2, 3, 8, 8\)"),
        (torch.rand(1, 1, 8, 8), 2, r"one RGB image of shape \(1, 3, H, W\), got \(1, 1, 8, 8\)"),
        (torch.rand(3, 8, 8), 2, r"lr must have shape \(B, C, H, W\), got \(3, 8, 8\); add the missing axes"),
        (torch.rand(1, 3, 0, 8), 2, "lr must not be empty"),
        (torch.full((1, 3, 8, 8), float("nan")), 2, "lr must be finite, got 192 NaN or infinite values"),
        (torch.full((1, 3, 8, 8), float("inf")), 2, "lr must be finite"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), 2, "convert with image.float"),
        (torch.rand(1, 3, 8, 8), 0, "scale must be a finite number above 0, got 0"),
        (torch.rand(1, 3, 8, 8), -2.0, "scale must be a finite number above 0"),
        (torch.rand(1, 3, 8, 8), float("nan"), "scale must be a finite number above 0, got nan"),
        (torch.rand(1, 3, 8, 8), "2", "scale must be a finite number above 0, got '2'"),
    ],
)
def test_impossible_problems_are_refused(name: str, lr: torch.Tensor, scale: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SOLVERS[name]().solve(lr, scale=scale)


@every_solver
def test_degradation_of_another_scale_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="the degradation is for scale 4, but scale 2 was asked for"):
        SOLVERS[name]().solve(torch.rand(1, 3, 8, 8), scale=2, degradation=parse("direct", scale=4))


def test_bicubic_downsampling_is_assumed() -> None:
    lr = torch.rand(1, 3, 8, 8)
    assumed = check_problem(lr, 2.5, None)
    assert (assumed.scale, assumed.downsample, assumed.kernel, str(assumed)) == (2.5, "bicubic", None, "bicubic")
    given = Degradation(scale=2.5)
    assert check_problem(lr, 2.5, given) is given
