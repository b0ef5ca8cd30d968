"""ZSSR: learning from one image alone."""

import os
import signal
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from metasr.degradation.names import parse
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.errors import DivergenceError, InputError
from metasr.metrics.psnr_ssim import psnr
from metasr.models.plain_cnn import PlainCNN
from metasr.solvers.ensemble import back_project
from metasr.solvers.step_budget import TimeLimit
from metasr.solvers.zssr.internal_learning import LOOK, Learner
from metasr.solvers.zssr.internal_pairs import InternalPairs, enlarge
from metasr.solvers.zssr.rate_rules import CosineRule, SlopeRule
from metasr.solvers.zssr.solver import ZSSRSolver, centre
from running import compose
from small_problems import picture

G2 = parse("g2.0d", scale=2, size=5)


def solver(**options: Any) -> ZSSRSolver:
    return ZSSRSolver(**{"channels": 4, "layers": 3, "max_steps": 4, "crop": 8, **options})


# --- what it gives ---


@pytest.mark.parametrize("name", ["bicubic", "g2.0d", "gani_b"])
def test_without_steps_it_is_the_enlarged_image_back_projected(name: str) -> None:
    lr, degradation = picture(23, 18), parse(name, scale=2, size=5)
    got = solver(max_steps=0, last_gain=0.0, ensemble=False).solve(lr, scale=2, degradation=degradation)
    want = back_project(enlarge(lr, degradation), lr, degradation, rounds=10).clamp(0, 1)
    torch.testing.assert_close(got.sr, want, rtol=0, atol=1e-5)
    assert (got.updates, got.stopped, got.trace.losses) == (0, "", [])


@pytest.mark.parametrize("name", ["bicubic", "g2.0d"])
def test_it_learns_what_interpolation_does_not_know(name: str) -> None:
    degradation = parse(name, scale=2, size=7)
    hr = picture(72, 88, seed=3)
    lr = degradation(hr)
    learned = solver(channels=16, layers=4, max_steps=150, crop=24, rate=4e-3, back_projection=0)
    solution = learned.solve(lr, scale=2, degradation=degradation)
    assert sum(solution.trace.losses[-50:]) < 0.92 * sum(solution.trace.losses[:50])
    gain = psnr(solution.sr, hr) - psnr(enlarge(lr, degradation).clamp(0, 1), hr)
    assert gain > 0.15


def test_every_option_changes_the_outcome() -> None:
    lr, base = picture(26, 31), {"max_steps": 5, "last_gain": 0.5}
    want = solver(**base).solve(lr, scale=2, degradation=G2).sr
    assert torch.equal(solver(**base).solve(lr, scale=2, degradation=G2).sr, want)
    changes: list[dict[str, Any]] = [
        {"channels": 5}, {"layers": 4}, {"last_gain": 0.4}, {"centred": False}, {"max_steps": 6}, {"batch": 2},
        {"crop": 9}, {"rate": 1e-3}, {"schedule": "published"}, {"father_sizes": 2}, {"smallest_father": 0.9},
        {"whole_share": 0.0}, {"son_noise": 5.0}, {"gradual": (1.5,)}, {"ensemble": False}, {"back_projection": 9},
        {"precision": "bfloat16"}, {"precision": "float32"}, {"adapt_pixels": 200},
    ]  # fmt: skip
    for change in changes:
        if change == {"precision": "float32"}:  # auto is one of the two, by the processor
            other = solver(**base, precision="bfloat16").solve(lr, scale=2, degradation=G2).sr
            assert not torch.equal(solver(**base, **change).solve(lr, scale=2, degradation=G2).sr, other)
        elif change != {"precision": "bfloat16"}:
            got = solver(**{**base, **change}).solve(lr, scale=2, degradation=G2).sr
            assert not torch.equal(got, want), change


def test_results_do_not_depend_on_tiles_and_hardly_on_the_precision() -> None:
    lr = picture(26, 31)
    want = solver(tile=None, precision="float32").solve(lr, scale=2, degradation=G2).sr
    in_tiles = solver(tile=7, precision="float32").solve(lr, scale=2, degradation=G2).sr
    torch.testing.assert_close(in_tiles, want, rtol=0, atol=1e-5)
    half = solver(precision="bfloat16").solve(lr, scale=2, degradation=G2).sr
    assert 0 < (half - want).abs().max() < 0.05


def test_noise_of_the_degradation_is_that_of_the_sons() -> None:
    lr = picture(26, 31)
    noisy = parse("g2.0d_n8", scale=2, size=5)
    told = solver(son_noise=8.0).solve(lr, scale=2, degradation=G2).sr
    torch.testing.assert_close(solver().solve(lr, scale=2, degradation=noisy).sr, told)


@pytest.mark.parametrize("scale", [1.5, 2.7, 3])
def test_real_scales_and_steps_between(scale: float) -> None:
    lr = picture(25, 30)
    solution = solver(gradual=(1.2, 1.4)).solve(lr, scale=scale)
    assert solution.sr.shape[-1] == -(-30 * scale // 1)
    assert solution.updates == 4


def test_each_scale_between_is_a_father_of_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, list[tuple[int, ...]]]] = []
    make = InternalPairs.__init__

    def noted(self: InternalPairs, images: Sequence[Tensor], degradation: Degradation, **options: Any) -> None:
        seen.append((degradation.scale, [tuple(i.shape[-2:]) for i in images]))
        make(self, images, degradation, **options)

    monkeypatch.setattr(InternalPairs, "__init__", noted)
    solver(max_steps=6, gradual=(1.5, 2.0)).solve(picture(20, 30), scale=3)
    assert seen == [(1.5, [(20, 30)]), (2.0, [(20, 30), (30, 45)]), (3, [(20, 30), (30, 45), (40, 60)])]


# --- when it ends ---


@pytest.mark.parametrize("problem", [(torch.full((1, 3, 12, 15), 0.4), 2), (picture(12, 15), 1)])
def test_where_there_is_nothing_to_learn_no_step_is_taken(problem: tuple[Tensor, float]) -> None:
    lr, scale = problem
    solution = solver().solve(lr, scale=scale)
    assert solution.updates == 0
    assert solution.stopped == "nothing to learn: degraded once more, the image stays what it is"
    assert (solution.sr - imresize(lr, scale)).abs().max() < 0.05


def test_a_budget_ends_it_with_an_image() -> None:
    solution = solver(max_steps=10**6, budget_seconds=0.3).solve(picture(40, 50), scale=2)
    assert solution.stopped.startswith("budget_seconds=0.3 spent after ")
    assert 0 < solution.updates == len(solution.trace.losses) < 10**6
    assert solution.sr.shape == (1, 3, 80, 100)


def test_the_rate_comes_to_rest_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(10**6))
    monkeypatch.setattr(TimeLimit, "seconds", property(lambda self: float(next(seconds))))
    solution = solver(max_steps=10**6, budget_seconds=500.0, ensemble=False).solve(picture(20, 30), scale=2)
    rates = solution.trace.rates
    assert 10 < len(rates) < 200
    assert rates[-1] < 0.2 * max(rates)


def test_ctrl_c_gives_the_image_learned_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    draw, lr = InternalPairs.draw, picture(26, 31)
    drawn = 0

    def interrupting(self: InternalPairs, *args: Any, **options: Any) -> Any:
        nonlocal drawn
        drawn += 1
        if drawn == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return draw(self, *args, **options)

    monkeypatch.setattr(InternalPairs, "draw", interrupting)
    solution = solver(max_steps=50, gradual=(1.5,)).solve(lr, scale=2)
    assert solution.stopped == "interrupted after 3 of 50 steps"
    assert solution.updates == len(solution.trace.losses) == 3
    assert solution.sr.shape == (1, 3, 52, 62)


@pytest.mark.slow
def test_the_published_rule_ends_by_itself() -> None:
    solution = solver(max_steps=4000, schedule="published", rate=1e-4).solve(picture(16, 20), scale=2)
    assert solution.stopped == "the rate fell below 9e-06"
    assert solution.updates < 4000
    assert sorted(set(solution.trace.rates)) == pytest.approx([1e-5, 1e-4], rel=1e-6)


# --- the steps ---


@pytest.mark.parametrize("batch", [1, 3])
def test_steps_by_hand(batch: int) -> None:
    torch.manual_seed(0)
    ours, theirs = PlainCNN(4, 3).double(), PlainCNN(4, 3).double()
    theirs.load_state_dict(ours.state_dict())
    generator = torch.Generator().manual_seed(0)
    pairs = [torch.rand(2, batch, 3, 9, 11, generator=generator, dtype=torch.float64) for _ in range(5)]
    draws = iter(pairs)
    learner = Learner(ours, rate=0.01, bfloat16=False, engine="eager")
    with TimeLimit(5) as limit:
        learner.learn(lambda: tuple(next(draws)), limit=limit, rule=SlopeRule(0.01), part=(0.0, 1.0))  # type: ignore[arg-type,return-value]
    optimiser, losses = torch.optim.Adam(theirs.parameters(), lr=0.01), []
    for source, target in pairs:
        loss = F.l1_loss(theirs(source), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert learner.trace.losses == pytest.approx(losses, rel=1e-9)
    assert learner.trace.rates == [0.01] * 5
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_a_part_of_a_session_has_the_whole_of_a_rule() -> None:
    learner = Learner(PlainCNN(2, 2), rate=0.01, bfloat16=False, engine="eager")
    pair = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    rates = []
    with TimeLimit(20) as limit:
        for part in ((0.0, 0.5), (0.5, 1.0)):
            learner.learn(lambda: pair, limit=limit, rule=CosineRule(0.01), part=part)
            rates.append(learner.trace.rates[-10:])
    assert limit.steps == 20
    assert rates[0] == pytest.approx(rates[1])
    assert max(rates[1]) > 5 * rates[1][-1]


def test_a_loss_that_is_not_finite_is_told() -> None:
    with pytest.raises(DivergenceError, match=r"the loss became (nan|inf) at step \d+ for degradation bicubic"):
        solver(max_steps=2 * LOOK, rate=1e30).solve(picture(16, 20), scale=2)


def test_a_centred_network_sees_nothing_in_its_colour() -> None:
    network = PlainCNN(8, 3).double()
    colour = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    centre(network, colour)
    seen = network.conv1(colour[None, :, None, None].expand(1, 3, 7, 9))
    assert seen[..., 1:-1, 1:-1].abs().max() < 1e-12
    other = network.conv1((colour + 0.1)[None, :, None, None].expand(1, 3, 7, 9))
    torch.testing.assert_close(other[0, :, 3, 3], 0.1 * network.conv1.weight.sum((1, 2, 3)))


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    solver().solve(picture(16, 20), scale=2)
    assert torch.equal(torch.rand(3), want)


# --- what it refuses ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_steps": -1}, "max_steps must be at least 0, got -1"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"crop": 0}, "crop must be at least 1, got 0"),
        ({"father_sizes": -1}, "father_sizes must be at least 0, got -1"),
        ({"back_projection": -1}, "back_projection must be at least 0, got -1"),
        ({"rate": 0.0}, "rate must be above 0, got 0.0"),
        ({"smallest_father": 0.0}, "smallest_father is a share of the image's side, above 0 and at most 1, got 0.0"),
        ({"smallest_father": 1.5}, "smallest_father is a share"),
        ({"whole_share": 1.5}, "whole_share must be between 0 and 1, got 1.5"),
        ({"son_noise": -1.0}, "son_noise must be at least 0"),
        ({"precision": "half"}, "precision must be one of auto, float32, bfloat16, got 'half'"),
        ({"schedule": "step"}, "schedule must be one of cosine, published, got 'step'"),
        ({"gradual": (1.5, 1.2)}, r"gradual takes scales above 1 in rising order, got \[1.5, 1.2\]"),
        ({"gradual": (1.0,)}, "gradual takes scales above 1"),
        ({"tile": 0}, "tile must be at least 1"),
        ({"adapt_pixels": 0}, "adapt_pixels must be at least 1"),
        ({"budget_seconds": 0}, "budget_seconds must be above 0, or none for no limit, got 0"),
        ({"layers": 1}, "layers must be at least 2, got 1"),
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"engine": "fast"}, "engine must be one of auto, eager, captured, got 'fast'"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        solver(**options)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (Degradation(scale=2, mask=torch.ones(1, 1, 9, 9)), {}, "got a degradation with a mask"),
        (Degradation(scale=2, gain=0.5), {}, "got a degradation with a gain"),
        (Degradation(scale=0.5), {}, "zssr enlarges: the scale must be at least 1, got 0.5"),
        (
            Degradation(scale=2),
            {"gradual": (1.5, 2.0)},
            r"scales below the last one, 2, got \[1.5, 2.0\]",
        ),
        (parse("g2.0d", scale=2), {}, "an image of 9x9 is too small to be degraded once more by a kernel of 21x21"),
    ],
)
def test_impossible_problems_are_refused(given: Degradation, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        solver(**options).solve(picture(9, 9), scale=given.scale, degradation=given)


# --- its configs ---


def test_the_paper_s_profile_is_the_published_schedule() -> None:
    choices = compose("+experiment=zssr_x2", "profile=paper").solver
    assert (choices.channels, choices.layers, choices.crop, choices.batch) == (64, 8, 128, 1)
    assert (choices.max_steps, choices.rate, choices.schedule, choices.last_gain) == (3000, 1e-3, "published", 1.0)
    assert (choices.ensemble, choices.back_projection, choices.precision) == (True, 10, "float32")


def test_the_config_s_defaults_are_the_solver_s() -> None:
    choices = dict(compose("+experiment=zssr_x3", "profile=quick").solver)
    for key in ("name", "needs_network", "_target_"):
        choices.pop(key)
    made = ZSSRSolver()
    assert {k: tuple(v) if k == "gradual" else v for k, v in choices.items()} == {k: getattr(made, k) for k in choices}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_steps_are_captured_and_give_the_same() -> None:
    lr = picture(40, 50).cuda()
    chosen: dict[str, Any] = {"max_steps": 30, "precision": "float32"}
    want = solver(**chosen, engine="eager").solve(lr, scale=2, degradation=G2)
    got = solver(**chosen, engine="captured").solve(lr, scale=2, degradation=G2)
    assert (got.sr - want.sr).abs().max() < 0.02
    assert got.trace.losses == pytest.approx(want.trace.losses, rel=0.05)
