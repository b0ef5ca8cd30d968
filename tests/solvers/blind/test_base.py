"""Blind solving: what an estimate may depend on, when it falls back, and that the solver within gets nothing else."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from metasr.degradation.jpeg import Jpegs
from metasr.degradation.kernels import anisotropic
from metasr.degradation.names import parse
from metasr.degradation.pipeline import Degradation, Downsample
from metasr.errors import InputError
from metasr.io.jpeg import Jpeg, of_quality
from metasr.models.kernel_regressor import Blur, KernelRegressor
from metasr.solvers.back_project import BackProjectSolver
from metasr.solvers.base import SnapshotSolver, Solution, Solver
from metasr.solvers.blind.base import BlindSolver, Estimate, blind, takes_kernel
from metasr.solvers.blind.parametric import BlindBackProjectSolver, ParametricEstimator, look, unfit
from metasr.solvers.ensemble import SYMMETRIES, back_project, transform
from metasr.solvers.interpolate import InterpolateSolver
from metasr.solvers.mzsr.solver import MZSRSolver
from metasr.solvers.network import NetworkSolver
from small_problems import bits, picture
from solvers.solver_list import RATES, tiny


class Telling(KernelRegressor):
    """Tells what it is made to, turned with the image as if it saw it there."""

    def __init__(self, log_covariance: tuple[float, float, float], noise_std: float = 0.0, doubt: float = 0.0) -> None:
        super().__init__(width=4)
        self.told = (log_covariance, noise_std, doubt)
        self.asked: list[Jpegs | None] = []

    def forward(self, lr: Tensor, *, scale: float, direct: bool, jpeg: Jpegs | None = None) -> Blur:
        covariance, noise, doubt = self.told
        self.asked.append(jpeg)
        one = torch.ones(len(lr))
        return Blur(torch.tensor([covariance] * len(lr)), noise * one, doubt * one)


class Recording:
    """A solver that keeps what it was given."""

    uses_kernel = True

    def __init__(self) -> None:
        self.given: list[Degradation | None] = []

    def solve(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0) -> Solution:
        self.given.append(degradation)
        return Solution(sr=lr)


class Fixed:
    """An estimator with one answer, that keeps what it was asked."""

    def __init__(self, noise_std: float = 0.0) -> None:
        self.noise_std = noise_std
        self.asked: list[tuple[Tensor, float, Downsample]] = []
        self.jpegs: list[Jpeg | None] = []

    def estimate(
        self,
        lr: Tensor,
        *,
        scale: float,
        downsample: Downsample = "bicubic",
        jpeg: Jpeg | None = None,
        seed: int = 0,
    ) -> Estimate:
        self.asked.append((lr, scale, downsample))
        self.jpegs.append(jpeg)
        degradation = Degradation(
            scale=scale, downsample=downsample, kernel=anisotropic(1.5, 0.5, 0.3, size=5), noise_std=self.noise_std,
            name="told",
        )  # fmt: skip
        return Estimate(degradation=degradation, noise_std=self.noise_std, seconds=0.25, told="found", fallback=False)


def log_of(long: float, short: float, theta: float) -> tuple[float, float, float]:
    """p, q, r of a covariance, written out from its definition."""
    p, m = (math.log(long) + math.log(short)) / 2, (math.log(long) - math.log(short)) / 2
    return p, m * math.cos(2 * theta), m * math.sin(2 * theta)


def upright(long: float, short: float) -> ParametricEstimator:
    """An estimator that is told different things by differently turned images, as a real network is."""
    return ParametricEstimator(Telling(log_of(long, short, 0.0)))


def regressor(*, answering: float = 10.0) -> KernelRegressor:
    torch.manual_seed(0)
    network = KernelRegressor(width=16)
    with torch.no_grad():
        network.layers[-1].weight.mul_(answering)  # type: ignore[operator]
    return network


# --- the solver


@pytest.mark.parametrize("estimator", [ParametricEstimator(regressor()), Fixed(0.01)])
def test_the_kernel_it_is_given_is_not_looked_at(estimator: Any) -> None:
    lr = picture(41, 37)
    solved = [
        blind(MZSRSolver(tiny(), rates=RATES, steps=2), estimator).solve(
            lr, scale=2, degradation=parse(name, scale=2, size=5), seed=3
        )
        for name in ("direct", "g2.0d", "gani_d_n20")
    ]
    assert all(torch.equal(s.sr, solved[0].sr) for s in solved)
    assert all(s.assumed == solved[0].assumed for s in solved)
    other = blind(MZSRSolver(tiny(), rates=RATES, steps=2), estimator).solve(
        lr, scale=2, degradation=parse("g1.3b", scale=2)
    )
    assert not torch.equal(other.sr, solved[0].sr)  # the grid is looked at


def test_the_solver_within_gets_the_estimate_and_what_is_no_property_of_the_blur() -> None:
    inner, estimator = Recording(), Fixed(0.04)
    given = Degradation(
        scale=3.0, downsample="direct", padding="circular", gain=0.5, quantise="truncate", noise_std=0.2,
        kernel=anisotropic(4.0, 4.0, 0.0, size=7),
    )  # fmt: skip
    lr = picture(20, 30) * 0.5
    solution = BlindSolver(inner, estimator).solve(lr, scale=3.0, degradation=given)
    made = inner.given[0]
    assert made is not None
    torch.testing.assert_close(made.kernel, anisotropic(1.5, 0.5, 0.3, size=5))
    assert (made.scale, made.downsample, made.padding, made.gain, made.quantise) == (
        3.0,
        "direct",
        "circular",
        0.5,
        "truncate",
    )
    assert made.noise_std == pytest.approx(0.02)  # seen in the brightened image
    torch.testing.assert_close(estimator.asked[0][0], lr / 0.5)
    assert estimator.asked[0][1:] == (3.0, "direct")
    assert (solution.assumed, solution.kernel) == ("found", made.kernel)
    assert solution.seconds == pytest.approx(0.25)


def test_noise_is_handed_on_or_not() -> None:
    for use_noise in (True, False):
        inner = Recording()
        BlindSolver(inner, Fixed(0.04), use_noise=use_noise).solve(picture(20, 30), scale=2)
        assert inner.given[0] is not None
        assert inner.given[0].noise_std == (0.04 if use_noise else 0.0)
        assert inner.given[0].name == ("told" if use_noise else "")


def test_snapshots_are_made_of_one_estimate_where_the_solver_makes_them() -> None:
    estimator = Fixed()
    solver = blind(MZSRSolver(tiny(), rates=RATES, steps=2), estimator)
    assert isinstance(solver, SnapshotSolver)
    lr = picture(21, 27)
    found = solver.snapshots(lr, scale=2, updates=(0, 2))
    assert len(estimator.asked) == 1
    assert all(s.assumed == "found" and s.seconds > 0.25 for s in found.values())
    assert torch.equal(found[2].sr, solver.solve(lr, scale=2).sr)
    assert not torch.equal(found[0].sr, found[2].sr)
    plain = blind(BackProjectSolver(), estimator)
    assert isinstance(plain, Solver)
    assert not isinstance(plain, SnapshotSolver)


def test_only_solvers_that_take_a_kernel_can_be_blind() -> None:
    assert takes_kernel(MZSRSolver(tiny()))
    assert takes_kernel(BackProjectSolver())
    for solver in (InterpolateSolver(), NetworkSolver(tiny())):
        assert not takes_kernel(solver)
        with pytest.raises(InputError, match=f"no use to {type(solver).__name__}, which takes none.*solver=adapt"):
            blind(solver, Fixed())


def test_a_partly_covered_image_is_refused() -> None:
    given = Degradation(scale=2, mask=torch.ones(1, 1, 20, 30))
    with pytest.raises(InputError, match="the kernel of a partly covered image cannot be estimated; name the kernel"):
        blind(Recording(), Fixed()).solve(picture(20, 30), scale=2, degradation=given)


# --- the parametric estimator


@pytest.mark.parametrize("downsample", ["direct", "bicubic"])
def test_the_estimate_has_a_name_that_anyone_can_type(downsample: Downsample) -> None:
    class Steady(Telling):  # tells the same of the scene however the image is turned
        pass

    network = Steady(log_of(3.0, 3.0, 0.0), 12 / 255)
    found = ParametricEstimator(network).estimate(picture(33, 41), scale=2, downsample=downsample)
    assert str(found.degradation) == f"iso_3_{downsample[0]}_n12"
    assert found.told == f"estimated: iso_3_{downsample[0]}_n12"
    assert not found.fallback
    assert found.noise_std == pytest.approx(12 / 255)
    again = parse(str(found.degradation), scale=2)
    torch.testing.assert_close(found.kernel, again.kernel)
    assert (again.downsample, again.noise_std) == (found.degradation.downsample, found.degradation.noise_std)


def test_an_oblong_blur_is_told_with_its_angle() -> None:
    found, fallback = upright(4.0, 1.0)._decide(
        torch.tensor(log_of(4.0, 1.0, -0.5)), 0.0, parse("direct", scale=2), 0.0
    )
    assert (str(found), fallback) == ("gani_d", False)
    torch.testing.assert_close(found.kernel, anisotropic(4.0, 1.0, -0.5))


def test_what_is_seen_in_turned_images_is_turned_back() -> None:
    network, lr = regressor(), picture(33, 40)
    views = [network(transform(lr, s), scale=2.0, direct=True).log_covariance[0, 0] for s in SYMMETRIES]
    by_hand = torch.stack(views).sort().values[3:5].mean()
    torch.testing.assert_close(look(network, lr, scale=2.0, direct=True).log_covariance[0, 0], by_hand)
    upright_one = look(network, lr, scale=2.0, direct=True).log_covariance[0]
    assert float(upright_one[1:].abs().max()) > 1e-4
    for turns, flip in SYMMETRIES:
        seen = look(network, transform(lr, (turns, flip)), scale=2.0, direct=True).log_covariance[0]
        want = upright_one * torch.tensor([1.0, (-1.0) ** turns, (-1.0) ** (turns + flip)])
        torch.testing.assert_close(seen, want, rtol=0, atol=1e-5)


def test_signs_of_turns_are_those_of_turned_kernels() -> None:
    kernel = anisotropic(4.0, 1.0, 0.5, size=15)
    _, q, r = log_of(4.0, 1.0, 0.5)
    for turns, flip in SYMMETRIES:
        q2, r2 = q * (-1) ** turns, r * (-1) ** (turns + flip)
        theta = 0.5 * math.atan2(r2, q2)
        torch.testing.assert_close(transform(kernel, (turns, flip)), anisotropic(4.0, 1.0, theta, size=15))


def test_weak_blur_before_bicubic_subsampling_is_taken_for_none() -> None:
    weak, plain = Telling(log_of(0.15, 0.15, 0.0)), picture(33, 41)
    found = ParametricEstimator(weak).estimate(plain, scale=2)
    assert (found.fallback, found.kernel, str(found.degradation)) == (True, None, "bicubic")
    assert found.told == "no blur found: bicubic"
    assert not ParametricEstimator(weak, weakest=0.03).estimate(plain, scale=2).fallback
    assert ParametricEstimator(weak).estimate(plain, scale=2, downsample="direct").kernel is not None
    noisy = ParametricEstimator(Telling(log_of(0.15, 0.15, 0.0), 9 / 255)).estimate(plain, scale=2)
    assert str(noisy.degradation) == "bicubic_n9"


def test_weak_noise_is_taken_for_none() -> None:
    network = Telling(log_of(2.0, 2.0, 0.0), 1.5 / 255)
    assert ParametricEstimator(network).estimate(picture(33, 41), scale=2).noise_std == 0
    assert ParametricEstimator(network, quietest=1.0).estimate(picture(33, 41), scale=2).noise_std == pytest.approx(
        1.5 / 255
    )


def test_only_the_middle_is_looked_at() -> None:
    network, lr = regressor(answering=300.0), picture(61, 53)
    changed = lr.clone()
    changed[..., :6, :] = torch.rand(3, 6, 53, generator=torch.Generator().manual_seed(0))
    small = [ParametricEstimator(network, look=30).estimate(x, scale=2).told for x in (lr, changed)]
    assert small[0] == small[1]
    whole = [ParametricEstimator(network).estimate(x, scale=2).told for x in (lr, changed)]
    assert whole[0] != whole[1]


def test_weights_are_untouched_and_the_seed_has_no_part() -> None:
    network, lr = regressor(), picture(41, 37)
    before = bits(network)
    one, two = (ParametricEstimator(network, doubtful=2.0).estimate(lr, scale=3, seed=s) for s in (0, 1))
    assert bits(network) == before
    assert one.told == two.told
    assert one.kernel is not None
    assert not one.kernel.requires_grad


@pytest.mark.parametrize(
    ("lr", "why"),
    [
        (picture(23, 60), "60x23 pixels are too few to see a blur in (24x24 at least)"),
        (torch.full((1, 3, 40, 50), 0.3), "the image is nearly constant"),
        ((picture(40, 50) > 0.5).float(), "100% of the image is saturated"),
    ],
)
def test_images_that_show_nothing_fall_back_and_say_so(lr: Tensor, why: str) -> None:
    found = ParametricEstimator(Telling(log_of(3.0, 3.0, 0.0))).estimate(lr, scale=2)
    assert found.told == f"{why}: bicubic assumed"
    assert (found.fallback, found.kernel, found.noise_std) == (True, None, 0.0)
    assert unfit(lr, smallest=24) == why
    solution = blind(BackProjectSolver(), ParametricEstimator(regressor())).solve(lr, scale=2)
    assert solution.assumed == found.told
    torch.testing.assert_close(solution.sr, BackProjectSolver().solve(lr, scale=2).sr)


def test_an_ordinary_image_is_fit() -> None:
    assert unfit(picture(24, 31), smallest=24) == ""


@pytest.mark.parametrize(
    ("lr", "scale", "downsample", "message"),
    [
        (torch.full((1, 3, 40, 40), math.nan), 2, "bicubic", "lr must be finite, got 4800 NaN"),
        (torch.rand(2, 3, 40, 40), 2, "bicubic", "a solver takes one RGB image"),
        (torch.rand(1, 3, 40, 40), 5, "bicubic", "scales 2 to 4, got 5; name the kernel, or take estimator=ddsr"),
        (torch.rand(1, 3, 40, 40), 1.5, "direct", "trained for scales 2 to 4, got 1.5"),
        (torch.rand(1, 3, 40, 40), 2, "area", "estimated for direct or bicubic subsampling, got 'area'"),
    ],
)  # fmt: skip
def test_impossible_problems_are_refused(lr: Tensor, scale: float, downsample: Downsample, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ParametricEstimator(regressor()).estimate(lr, scale=scale, downsample=downsample)


def test_scales_are_those_of_the_weights() -> None:
    assert ParametricEstimator(regressor(), scales=[3.0, 8.0]).estimate(picture(30, 30), scale=8).told
    with pytest.raises(InputError, match="scales 3 to 8, got 2"):
        ParametricEstimator(regressor(), scales=[3.0, 8.0]).estimate(picture(30, 30), scale=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weakest": -1.0}, "weakest must be at least 0, got -1.0"),
        ({"quietest": -1.0}, "quietest must be at least 0, got -1.0"),
        ({"look": 20}, "look must be at least 24 pixels, got 20"),
    ],
)
def test_impossible_choices_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ParametricEstimator(regressor(), **options)


def test_other_networks_are_refused() -> None:
    with pytest.raises(InputError, match=r"told by a KernelRegressor, got PlainCNN; choose \+exp"):
        ParametricEstimator(tiny())  # type: ignore[arg-type]


# --- back-projection


def test_back_projection_begins_with_the_aligned_image_and_agrees_with_the_lr() -> None:
    lr, given = picture(19, 23), parse("g2.0d", scale=2, size=7)
    aligned = InterpolateSolver(aligned=True).solve(lr, scale=2, degradation=given).sr
    torch.testing.assert_close(BackProjectSolver(rounds=0).solve(lr, scale=2, degradation=given).sr, aligned)
    solution = BackProjectSolver(rounds=4).solve(lr, scale=2, degradation=given)
    by_hand = back_project(aligned, lr, given, rounds=4).clamp(0, 1)
    assert float((solution.sr - by_hand).abs().mean()) < 1e-3  # the aligned image was clipped in between
    errors = [float((given.linear(sr) - lr).abs().mean()) for sr in (aligned, solution.sr)]
    assert errors[1] < 0.8 * errors[0]
    assert solution.kernel is given.kernel
    with pytest.raises(InputError, match="rounds must be at least 0, got -1"):
        BackProjectSolver(rounds=-1)


def test_the_regressors_own_solver_is_the_blind_one() -> None:
    network, lr = regressor(), picture(41, 37)
    whole = BlindBackProjectSolver(network, rounds=3).solve(lr, scale=2)
    parts = blind(BackProjectSolver(rounds=3), ParametricEstimator(network)).solve(lr, scale=2)
    assert torch.equal(whole.sr, parts.sr)
    assert not torch.equal(whole.sr, BlindBackProjectSolver(network, rounds=4).solve(lr, scale=2).sr)
    assert whole.assumed == parts.assumed


def test_where_it_doubts_it_says_bicubic() -> None:
    clear, doubtful = (Telling(log_of(3.0, 3.0, 0.0), 5 / 255, doubt) for doubt in (0.3, 0.9))
    lr = picture(33, 41)
    assert not ParametricEstimator(clear, doubtful=0.5).estimate(lr, scale=2).fallback
    found = ParametricEstimator(doubtful, doubtful=0.5).estimate(lr, scale=2)
    assert (found.fallback, found.kernel, str(found.degradation)) == (True, None, "bicubic_n5")


def test_compression_is_told_to_the_network_and_stays_in_the_problem() -> None:
    network, jpeg = Telling(log_of(3.0, 3.0, 0.0)), of_quality(85)
    problem = replace(parse("bicubic", scale=2), jpeg=jpeg)
    solver = BlindSolver(BackProjectSolver(rounds=1), ParametricEstimator(network))
    estimate = solver.estimate(picture(33, 41), scale=2, degradation=problem)
    assert set(network.asked) == {jpeg}
    assert estimate.degradation.jpeg == jpeg
    assert str(estimate.degradation) == "iso_3_b_q85"


@pytest.mark.parametrize(("quality", "fallback"), [(85, False), (80, False), (75, True), (40, True)])
def test_a_blur_before_strong_compression_is_not_undone(quality: int, *, fallback: bool) -> None:
    estimator = ParametricEstimator(Telling(log_of(3.0, 3.0, 0.0), 5 / 255))
    found = estimator.estimate(picture(33, 41), scale=2, jpeg=of_quality(quality))
    assert found.fallback == fallback
    assert found.told.startswith("too strongly compressed to undo a blur: bicubic_n5") == fallback
