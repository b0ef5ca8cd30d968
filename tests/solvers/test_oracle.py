"""The teacher as a solver, and a blind network in tiles."""

import pytest
import torch
from torch.nn import functional as F

from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError
from metasr.models.blind import BlindSR
from metasr.models.den import DegradationEncoder
from metasr.models.kdsr import KDSRBody, KDSREncoder
from metasr.models.mln import MLN
from metasr.models.rdan import RDAN
from metasr.models.teacher import AdaptedFeatures, PairView, TeacherOracle, adapt
from metasr.solvers.base import Solver
from metasr.solvers.network import NetworkSolver
from metasr.solvers.oracle import Oracle, OracleMaker, OracleSolver
from small_problems import bits, picture

SCALE = 2
RATES = (0.05, 0.02, 0.02)


def teacher() -> TeacherOracle:
    torch.manual_seed(0)
    mln = MLN(scale=SCALE, width=5, depth=1).requires_grad_(False)
    return TeacherOracle(
        AdaptedFeatures(rates=RATES), encoder=DegradationEncoder(channels=5, width=4),
        body=RDAN(scale=SCALE, width=4, blocks=1, vector=16), mln=mln,
    )  # fmt: skip


def pair_teacher() -> TeacherOracle:
    torch.manual_seed(0)
    return TeacherOracle(
        PairView(), encoder=KDSREncoder(channels=15, width=4, blocks=1), body=KDSRBody(scale=SCALE, width=4, blocks=1)
    )


def student() -> BlindSR:
    torch.manual_seed(0)
    return BlindSR(DegradationEncoder(width=4), RDAN(scale=SCALE, width=4, blocks=1, vector=16))


def problem(height: int = 30, width: int = 22) -> tuple[torch.Tensor, torch.Tensor]:
    hr = picture(height, width)
    return Degradation(scale=SCALE)(hr), hr


@pytest.mark.parametrize("make", [teacher, pair_teacher])
@pytest.mark.parametrize("tile", [None, 7])
def test_solutions(make, tile) -> None:
    network, (lr, hr) = make(), problem()
    before = bits(network)
    maker = Oracle(network, tile=tile)
    assert isinstance(maker, OracleMaker)
    assert not isinstance(maker, Solver)  # which takes LR images alone
    solver = maker.for_image(hr)
    assert isinstance(solver, Solver)
    found = solver.solve(lr, scale=SCALE)
    assert found.sr.shape == hr.shape
    assert 0 <= found.sr.min() <= found.sr.max() <= 1
    assert torch.equal(found.sr, maker.for_image(hr).solve(lr, scale=SCALE).sr)
    assert bits(network) == before
    assert found.updates == len(found.trace.losses) == (3 if make is teacher else 0)
    with torch.no_grad():
        torch.testing.assert_close(found.sr, network(lr, hr).clamp(0, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [teacher, pair_teacher])
def test_the_hr_image_matters(make) -> None:
    lr, hr = problem()
    maker = Oracle(make())
    ends = [maker.for_image(image).solve(lr, scale=SCALE).sr for image in (hr, 1 - hr)]
    assert not torch.equal(*ends)


def test_the_trace_is_that_of_the_steps() -> None:
    network, (lr, hr) = teacher(), problem()
    found = Oracle(network).for_image(hr).solve(lr, scale=SCALE)
    assert found.trace.losses[0] == pytest.approx(F.l1_loss(network.mln(lr), hr).item(), rel=1e-5)
    assert found.trace.losses[-1] < found.trace.losses[0]
    assert found.trace.rates == pytest.approx(RATES)


def test_adapting_goes_on_with_the_last_rate_and_shows_its_steps() -> None:
    lr, hr = problem()
    start, seen = teacher().mln, []
    adapt(start, lr, hr, rates=(0.05, 0.02), steps=4, after_step=lambda n, net: seen.append((n, net(lr).sum().item())))
    assert [n for n, _ in seen] == [0, 1, 2, 3, 4]
    assert len({v for _, v in seen}) == 5
    longer = adapt(start, lr, hr, rates=(0.05, 0.02, 0.02, 0.02))
    assert longer(lr).sum().item() == pytest.approx(seen[-1][1], rel=1e-5)


def test_errors() -> None:
    lr, hr = problem()
    with pytest.raises(InputError, match="made for an HR image of 30x22, but LR of 15x10 at scale 2 is not one of its"):
        Oracle(teacher()).for_image(hr).solve(lr[..., :10], scale=SCALE)
    with pytest.raises(InputError, match=r"these weights enlarge by 2, but scale 3 was asked for; set scale=2"):
        OracleSolver(pair_teacher(), picture(45, 33)).solve(lr, scale=3)
    with pytest.raises(InputError, match="tile must be at least 1"):
        Oracle(teacher(), tile=0)
    with pytest.raises(InputError, match="hr must have shape"):
        Oracle(teacher()).for_image(hr[0])
    with pytest.raises(InputError, match="PairView adapts no network"):
        TeacherOracle(PairView(), encoder=student().encoder, body=student().body, mln=teacher().mln)


# --- the student, in tiles ---


@pytest.mark.parametrize("ensemble", [False, True])
def test_a_blind_network_describes_the_whole_image_whatever_the_tiles(ensemble: bool) -> None:
    lr, _ = problem(46, 38)
    whole, tiled = (
        NetworkSolver(student(), enlarge_first=False, tile=tile, ensemble=ensemble).solve(lr, scale=SCALE).sr
        for tile in (None, 6)
    )
    torch.testing.assert_close(tiled, whole, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        alone = student()(lr[..., :6, :6]).clamp(0, 1)
    assert (alone[..., :4, :4] - whole[..., :4, :4]).abs().max() > 1e-5  # its own vector would be another


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 3)])
def test_small_images(size: tuple[int, int]) -> None:
    lr = picture(*size)
    found = NetworkSolver(student(), enlarge_first=False).solve(lr, scale=SCALE)
    assert found.sr.shape == (1, 3, SCALE * size[0], SCALE * size[1])


@pytest.mark.parametrize("scale", [3, 4, 2.5])
def test_another_scale_than_was_trained(scale: float) -> None:
    with pytest.raises(
        InputError, match=rf"these weights enlarge by 2, but scale {scale:g} was asked for; set scale=2"
    ):
        NetworkSolver(student(), enlarge_first=False).solve(problem()[0], scale=scale)
