"""The solver that looks at a photo: what it sees, what it chooses, and when it takes that back."""

import logging
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from metasr.degradation.names import parse
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.io.jpeg import of_quality
from metasr.metrics.psnr_ssim import psnr
from metasr.solvers.auto.evidence import Evidence, look_at
from metasr.solvers.auto.rule import SHARES, Choice, decide, kind_of
from metasr.solvers.auto.solver import AutoSolver, Method
from metasr.solvers.back_project import BackProjectSolver
from metasr.solvers.base import Solution
from metasr.solvers.blind.base import Estimate
from metasr.solvers.interpolate import lanczos
from small_problems import picture

PHOTO = Evidence(size=(90, 60), quality=None, noise=0.0, blur=0.0, few=0.2, steep=0.01, estimate="bicubic")


class Told:
    """An estimator that says what it was told to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.scales = (2.0, 4.0)

    def estimate(
        self, lr: Tensor, *, scale: float, downsample: str = "bicubic", jpeg: object = None, seed: int = 0
    ) -> Estimate:
        assert 2 <= scale <= 4
        known = parse(self.name, scale=scale)
        return Estimate(degradation=known, noise_std=known.noise_level, seconds=0.0, told=self.name, fallback=False)


class Spoiled:
    """A method that looks like Lanczos with stripes over it."""

    def solve(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0) -> Solution:
        sr = lanczos(lr, scale).clamp(0, 1)
        sr[..., ::2] += 0.1
        return Solution(sr=sr)


class Remembering:
    """Bicubic enlargement that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[Degradation] = []

    def solve(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0) -> Solution:
        assert degradation is not None
        self.told.append(degradation)
        return Solution(sr=imresize(lr, scale))


def auto(
    solver: Any, *, name: str = "network", scale: float = 2, told: str = "bicubic", guard: bool = True
) -> AutoSolver:
    return AutoSolver([Method(name, f"{name}'s", scale, lambda: solver)], Told(told), guard=guard)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that gives everything to the network."""
    monkeypatch.setattr("metasr.solvers.auto.rule.SHARES", {kind: {"network": 1.0} for kind in SHARES})


def test_shares_are_shares() -> None:
    for shares in SHARES.values():
        assert all(0 <= share <= 1 for share in shares.values())
        assert 0 <= sum(shares.values()) <= 1


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        ({}, "clean"),
        ({"quality": 99}, "clean"),
        ({"blur": 0.7}, "soft"),
        ({"blur": 0.3}, "clean"),
        ({"quality": 90}, "lightly compressed"),
        ({"quality": 75, "blur": 0.7}, "compressed"),
        ({"noise": 5.0, "quality": 75}, "compressed"),
        ({"noise": 9.0, "quality": 75}, "compressed, noisy"),
        ({"noise": 5.0}, "noisy"),
        ({"noise": 3.9}, "clean"),
        ({"noise": 3.9, "blur": 0.5}, "soft"),
        ({"few": 0.4, "steep": 0.3}, "drawn"),
        ({"few": 0.9, "steep": 0.03}, "drawn"),
        ({"few": 0.7, "steep": 0.05}, "clean"),
        ({"steep": 0.3}, "clean"),
        ({"few": 0.5, "steep": 0.3, "quality": 80, "noise": 3.0}, "drawn, compressed"),
    ],
)
def test_what_a_photo_is_taken_for(seen: dict[str, Any], kind: str) -> None:
    assert kind_of(replace(PHOTO, **seen)) == kind


def test_lanczos_stands_in_for_what_is_not_there() -> None:
    choice = decide(PHOTO, [])
    assert (choice.shares, choice.method, str(choice)) == ({}, "lanczos", "lanczos")
    assert any(f"lanczos stands in for {' and '.join(SHARES['clean'])}" in line for line in choice.why)
    choice = decide(PHOTO, ["photo"])
    assert choice.shares == {"photo": pytest.approx(1)}


def test_a_mixture_tells_its_shares() -> None:
    choice = Choice(kind="clean", shares={"photo": 0.25}, noise=0.0, updates=0, why=())
    assert (choice.method, str(choice)) == ("lanczos", "75% lanczos + 25% photo")


def test_few_colours_and_edges_are_seen() -> None:
    page = torch.ones(1, 3, 60, 80)
    page[..., 20:40, 10:70] = 0
    seen = look_at(page, Degradation(scale=2, jpeg=of_quality(75)), Told("sig_1.6_b_n4"))
    assert seen.size == (80, 60)
    assert (seen.quality, seen.noise) == (75, pytest.approx(4))
    assert seen.blur == pytest.approx(0.8, abs=0.01)
    assert seen.drawn
    assert seen.few == 1
    assert not look_at(picture(60, 80) * 0.3 + 0.3, Degradation(scale=2), Told("bicubic")).drawn


@pytest.mark.usefixtures("always")
def test_what_spoils_the_photo_is_taken_back(caplog: pytest.LogCaptureFixture) -> None:
    lr = picture(61, 72)
    with caplog.at_level(logging.INFO, logger="metasr"):
        kept = auto(Spoiled()).solve(lr, scale=2)
    torch.testing.assert_close(kept.sr, lanczos(lr, 2).clamp(0, 1))
    assert kept.weights == "-"
    assert kept.chosen.endswith(": lanczos")
    assert "taken back" in caplog.text
    spoiled = auto(Spoiled(), guard=False).solve(lr, scale=2)
    assert float((spoiled.sr - kept.sr).abs().max()) > 0.09
    assert spoiled.weights == "network's"


@pytest.mark.usefixtures("always")
def test_numbers_that_are_none_are_taken_back() -> None:
    class Broken:
        def solve(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0) -> Solution:
            return Solution(sr=torch.full_like(imresize(lr, scale), torch.nan))

    lr = picture(61, 72)
    torch.testing.assert_close(auto(Broken()).solve(lr, scale=2).sr, lanczos(lr, 2).clamp(0, 1))


@pytest.mark.usefixtures("always")
def test_what_is_better_is_kept() -> None:
    hr = picture(122, 144)
    lr = parse("bicubic", scale=2)(hr)
    solution = auto(BackProjectSolver()).solve(lr, scale=2)
    assert float(psnr(solution.sr * 255, hr * 255)) > float(psnr(lanczos(lr, 2).clamp(0, 1) * 255, hr * 255)) + 0.2
    assert solution.weights == "network's"


@pytest.mark.usefixtures("always")
def test_methods_are_told_noise_and_compression() -> None:
    inner = Remembering()
    auto(inner, told="sig_1.2_b_n4").solve(
        picture(60, 60), scale=2, degradation=Degradation(scale=2, jpeg=of_quality(70))
    )
    assert {str(problem) for problem in inner.told} == {"bicubic_n1_q70"}
    inner = Remembering()
    auto(inner, told="bicubic_n4").solve(picture(60, 60), scale=2)
    auto(inner, told="bicubic_n9").solve(picture(60, 60), scale=2)
    assert {str(problem) for problem in inner.told} == {"bicubic_n2", "bicubic_n9"}


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(("scale", "own"), [(3, 4), (1.5, 2), (4, 4), (2, 2), (5, 4)])
def test_other_scales_go_by_the_next_larger_weights(scale: float, own: float) -> None:
    inner = {factor: Remembering() for factor in (2, 4)}
    methods = [Method("network", f"x{factor}", factor, lambda factor=factor: inner[factor]) for factor in (2, 4)]
    lr = picture(50, 61)
    solution = AutoSolver(methods, Told("bicubic")).solve(lr, scale=scale)
    assert solution.sr.shape == lanczos(lr, scale).shape
    assert {problem.scale for problem in inner[own].told} == {own}
    assert not inner[6 - own].told
    error = (solution.sr - lanczos(lr, scale))[..., 8:-8, 8:-8].square().mean().sqrt()
    assert float(error) < 0.02  # in its place


def test_an_image_too_small_to_try_on_is_enlarged() -> None:
    assert auto(Spoiled()).solve(picture(9, 11), scale=2).sr.shape == (1, 3, 18, 22)


@pytest.mark.usefixtures("always")
def test_where_no_weights_know_the_scale_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    solver = auto(BackProjectSolver())
    told = "no weights know a scale above x2: enlarged by that, and to x3 by interpolation"
    assert told in solver.look(picture(50, 61), scale=3)[1].why
    for _ in range(2):
        solver.solve(picture(50, 61), scale=3)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [told]
    caplog.clear()
    solver.solve(picture(50, 61), scale=1.5)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    assert not any("no weights know" in line for line in solver.look(picture(50, 61), scale=2)[1].why)
