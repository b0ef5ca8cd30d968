"""DDSR as a solver: what it is given, what it gives back, and what it refuses."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from metasr.degradation.direct_kernel import direct_kernel
from metasr.degradation.kernel_files import load_kernel
from metasr.degradation.kernels import delta
from metasr.degradation.names import parse
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.errors import DataError, InputError
from metasr.metrics.kernel import kernel_moments, kernel_psnr
from metasr.models.kernel_net import KernelNet
from metasr.solvers.ddsr.loop import DDSRTrace, Loop
from metasr.solvers.ddsr.options import BETTER, FAITHFUL
from metasr.solvers.ddsr.solver import DDSRSolver
from small_problems import picture
from solvers.ddsr_parts import problem, tiny, write_mask


def test_kernel_and_image_come_back() -> None:
    lr, hr, given = problem()
    solution = tiny().solve(lr, scale=2, degradation=given)
    assert solution.sr.shape == hr.shape
    assert solution.kernel is not None
    assert solution.kernel.shape == (11, 11)
    torch.testing.assert_close(solution.kernel.sum(), torch.tensor(1.0))
    assert solution.updates == len(solution.trace.losses) == 7
    assert solution.stopped == ""


@pytest.mark.parametrize("mode", ["faithful", "better"])
def test_a_given_kernel_is_measured_and_never_used(mode: str) -> None:
    lr, _, given = problem()
    bare = Degradation(scale=2, downsample="direct")
    other = Degradation(scale=2, downsample="direct", kernel=delta(size=21))
    found = [tiny(mode=mode).solve(lr, scale=2, degradation=d) for d in (given, bare, other)]
    for solution in found[1:]:
        assert torch.equal(solution.sr, found[0].sr)
        assert torch.equal(solution.kernel, found[0].kernel)  # type: ignore[arg-type]
        assert solution.trace.losses == found[0].trace.losses
    traces = [s.trace for s in found]
    assert all(isinstance(t, DDSRTrace) for t in traces)
    assert [len(t.kernel_psnr) for t in traces] == [7, 0, 7]  # type: ignore[attr-defined]
    last = kernel_psnr(found[0].kernel, given.kernel)  # type: ignore[arg-type]
    assert traces[0].kernel_psnr[-1] == pytest.approx(float(last))  # type: ignore[attr-defined]


def test_snapshots_come_in_one_go() -> None:
    lr, _, given = problem()
    found = tiny().snapshots(lr, scale=2, updates=(0, 3, 7), degradation=given)
    alone = tiny(steps=3).solve(lr, scale=2, degradation=given)
    assert [found[n].updates for n in (0, 3, 7)] == [0, 3, 7]
    assert [len(found[n].trace.losses) for n in (0, 3, 7)] == [0, 3, 7]
    assert torch.equal(found[3].sr, alone.sr)
    assert 0 < found[0].seconds < found[3].seconds < found[7].seconds
    with pytest.raises(InputError, match="updates must name at least one number of steps"):
        tiny().snapshots(lr, scale=2, updates=())


def test_what_is_covered_has_no_part_in_anything() -> None:
    lr, _, _ = problem()
    mask = torch.ones(lr.shape[-2:])
    mask[3:9, 2:7] = 0
    garbage = torch.where(mask > 0, lr, torch.rand(lr.shape, generator=torch.Generator().manual_seed(9)))
    found = [tiny(mask=mask).solve(x, scale=2) for x in (lr, garbage)]
    assert torch.equal(found[0].sr, found[1].sr)
    assert found[0].trace.losses == found[1].trace.losses
    told = tiny().solve(garbage, scale=2, degradation=Degradation(scale=2, mask=mask[None, None]))
    assert torch.equal(told.sr, found[0].sr)
    assert not torch.equal(tiny().solve(lr, scale=2).sr, found[0].sr)


@pytest.mark.parametrize("suffix", [".npy", ".png"])
def test_a_mask_from_a_file(suffix: str, tmp_path: Path) -> None:
    lr, _, _ = problem()
    mask = torch.ones(lr.shape[-2:])
    mask[:, :4] = 0
    path = write_mask(tmp_path / f"mask{suffix}", mask)
    assert torch.equal(tiny(mask=str(path)).solve(lr, scale=2).sr, tiny(mask=mask).solve(lr, scale=2).sr)


def test_a_dark_image_is_as_good_as_a_bright_one() -> None:
    lr, _, _ = problem()
    bright = tiny().solve(lr, scale=2)
    dark = tiny(gain=0.5).solve(0.5 * lr, scale=2)  # a half is exact
    assert torch.equal(dark.sr, bright.sr)
    assert not torch.equal(tiny(gain=0.5, brighten=False).solve(0.5 * lr, scale=2).sr, bright.sr)


@pytest.mark.parametrize("mode", ["faithful", "better"])
def test_a_known_gain_gives_the_bright_image(mode: str) -> None:
    lr, _, _ = problem()
    dark = tiny(mode=mode, gain=0.3, steps=40).solve(0.3 * lr, scale=2).sr
    assert abs(float(dark.mean() - lr.mean())) < 0.05  # not a third of it
    told = tiny(mode=mode, steps=40).solve(0.3 * lr, scale=2, degradation=Degradation(scale=2, gain=0.3)).sr
    assert torch.equal(told, dark)


@pytest.mark.parametrize(
    ("mode", "downsample", "centre"),
    [
        ("better", "direct", "middle"), ("better", "bicubic", "correct"), ("better", "area", "correct"),
        ("better", None, "correct"), ("faithful", "direct", "published"), ("faithful", "bicubic", "correct"),
    ],
)  # fmt: skip
def test_auto_takes_the_phase_of_the_subsampling(mode: Any, downsample: Any, centre: Any) -> None:
    lr, _, _ = problem()
    given = None if downsample is None else Degradation(scale=2, downsample=downsample)
    auto, named = (
        tiny(mode=mode, warmup_steps=30, warmup_rate=1e-2, steps=1, centre=c).solve(lr, scale=2, degradation=given)
        for c in ("auto", centre)
    )
    assert torch.equal(auto.kernel, named.kernel)  # type: ignore[arg-type]


def test_before_bicubic_resizing_blur_and_resizing_are_measured_in_one() -> None:
    lr, _, _ = problem()
    given = parse("g1.3b", scale=2)
    solution = tiny().solve(lr, scale=2, degradation=given)
    assert solution.direct
    want = kernel_psnr(solution.kernel, direct_kernel(given, size=11))  # type: ignore[arg-type]
    assert solution.trace.kernel_psnr[-1] == pytest.approx(float(want))  # type: ignore[attr-defined]


def test_the_kernel_begins_where_the_centre_is() -> None:
    lr, _, _ = problem()
    places = {}
    for centre in ("published", "middle", "correct"):
        solved = tiny(centre=centre, mode="better", warmup_steps=300, hidden=200, steps=1).snapshots(
            lr, scale=2, updates=(0,)
        )
        places[centre] = float(kernel_moments(solved[0].kernel)[0].mean())  # type: ignore[arg-type]
    assert places == pytest.approx({"published": 4.5, "middle": 5.0, "correct": 5.5}, abs=0.15)


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "faithful", "precision": "float32"}, {"warmup_steps": 5}, {"warmup_rate": 1e-2}, {"widths": "wide"},
        {"random_kernels": 3}, {"accumulate": 2}, {"drop_losses": True}, {"ssim_steps": 2}, {"optimisers": "shared"},
        {"prior_weight": 0.1}, {"sparse_kernel": 5.0}, {"average": 0.5}, {"share_forward": False}, {"centre": "middle"},
        {"kernel_size": 13}, {"width": 6}, {"skip": 3}, {"levels": 3}, {"hidden": 17}, {"gain": 0.9}, {"steps": 6},
        {"precision": "bfloat16"}, {"max_pixels": 60 * 60},
    ],
    ids=str,
)  # fmt: skip
def test_no_option_is_silent(change: dict[str, Any]) -> None:
    lr = picture(35, 27)
    one, other = (tiny(**c).solve(lr, scale=2) for c in ({"mode": "better"}, change))
    assert not torch.equal(one.sr, other.sr)


def test_modes() -> None:
    assert tiny(mode="faithful", warmup_steps=None).choices == FAITHFUL
    assert DDSRSolver().choices == BETTER
    assert DDSRSolver(mode="faithful", average=0.2).choices.average == 0.2


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_flat_and_saturated_images(value: float) -> None:
    lr = torch.full((1, 3, 17, 13), value)
    assert tiny().solve(lr, scale=2).sr.isfinite().all()
    sr = tiny(steps=60, stop="none", average=0.0, ssim_steps=0).solve(lr, scale=2).sr
    assert abs(float(sr.mean()) - value) < 0.4


def test_a_budget_stops_with_what_there_is() -> None:
    lr, _, given = problem()
    solution = tiny(steps=100_000, budget_seconds=0.3).solve(lr, scale=2, degradation=given)
    assert solution.stopped.startswith("budget_seconds=0.3 spent after ")
    assert 0 < solution.updates == len(solution.trace.losses) < 100_000


def test_time_that_is_over_in_the_warm_up_gives_the_enlarged_image() -> None:
    lr, _, given = problem()
    found = tiny(budget_seconds=1e-6, warmup_steps=10_000_000, centre="published").snapshots(
        lr, scale=2, updates=(0, 1, 500), degradation=given
    )
    assert [found[n].updates for n in (0, 1, 500)] == [0, 0, 0]
    assert found[500].trace.warmup_steps == 1  # type: ignore[attr-defined]
    assert not found[0].stopped
    assert found[500].stopped == (
        "budget_seconds=1e-06 spent after 0 of 500 steps: enlarged bicubically, as fewer than 50 steps make no image "
        "yet"
    )
    torch.testing.assert_close(found[500].sr, imresize(lr, 2, shift=(1.0, 1.0)).clamp(0, 1))
    assert not torch.equal(found[0].sr, found[500].sr)  # asked for, and so the net's own


@pytest.mark.parametrize(("steps", "enlarged"), [(49, True), (50, False)])
def test_ctrl_c_gives_what_was_learned_once_there_is_enough(
    steps: int, enlarged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lr, _, given = problem(20, 16)
    done, take = [0], Loop.image_step

    def image_step(self: Loop, step: int) -> torch.Tensor:
        done[0] += 1
        if done[0] == steps:
            signal.raise_signal(signal.SIGINT)
        return take(self, step)

    monkeypatch.setattr(Loop, "image_step", image_step)
    solution = tiny(gain=0.5, steps=1000, stop="none").solve(0.5 * lr, scale=2, degradation=given)
    told = f"interrupted after {steps} of 1000 steps"
    assert solution.updates == steps
    plain = imresize(lr, 2, shift=(0.5, 0.5)).clamp(0, 1)
    assert solution.stopped.startswith(told)
    assert (solution.stopped != told) == enlarged
    assert torch.allclose(solution.sr, plain, atol=1e-5) == enlarged


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "best"}, "mode must be one of faithful, better, got 'best'"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"kernel_size": 12}, "kernel_size must be odd and at least 3, got 12"),
        ({"kernel_size": 1}, "kernel_size must be odd and at least 3, got 1"),
        ({"gain": 0.0}, r"gain must be in \(0, 1\], got 0.0"),
        ({"gain": 1.2}, r"gain must be in \(0, 1\], got 1.2"),
        ({"centre": "left"}, "centre must be one of published, middle, correct, got 'left'; or auto"),
        ({"budget_seconds": 0}, "budget_seconds must be above 0"),
        ({"max_pixels": 0}, "max_pixels must be at least 1, got 0"),
        ({"average": 1.0}, "average must be a share below 1 of the steps so far, got 1.0"),
        ({"accumulate": 0}, "accumulate must be at least 1, got 0"),
        ({"prior_weight": -1.0}, "prior_weight must be at least 0, got -1.0"),
        ({"sparse_kernel": float("nan")}, "sparse_kernel must be at least 0, got nan"),
        ({"widths": "narrow"}, "widths must be one of wide, data, both, got 'narrow'"),
        ({"optimisers": "one"}, "optimisers must be one of shared, random, kernel, all, got 'one'"),
        ({"stop": "loss"}, "stop must be one of none, variance, got 'loss'"),
        ({"precision": "half"}, "precision must be one of auto, float32, bfloat16, got 'half'"),
        ({"width": 1}, "width at least 2"),
        ({"hidden": 0}, "code and hidden must be at least 1"),
    ],
)
def test_impossible_options(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DDSRSolver(**arguments)


@pytest.mark.parametrize(
    ("lr", "scale", "options", "message"),
    [
        (picture(5, 30), 2, {}, r"ddsr at x2 needs an image of at least 6x6 pixels \(its kernel is 11x11 HR pixels"),
        (picture(8, 8), 2, {"levels": 4}, r"at least 9x9 pixels .* halves the image 4 times\), got 8x8"),
        (picture(30, 20), 1.5, {}, "ddsr needs a scale of 2, 3, 4 or 8, got 1.5"),
        (picture(30, 20), 1, {}, "ddsr needs a scale of 2, 3, 4 or 8, got 1"),
        (picture(30, 20), 5, {}, "ddsr needs a scale of 2, 3, 4 or 8, got 5"),
        (picture(30, 20) * float("nan"), 2, {}, "lr must be finite"),
        (picture(30, 20), 2, {"mask": torch.ones(20, 30)}, r"the LR image's size 30x20, got \(20, 30\)"),
        (picture(30, 20), 2, {"mask": torch.zeros(30, 20)}, "the mask hides the whole image"),
        (picture(30, 20), 2, {"mask": torch.full((30, 20), 0.5)}, "1 where the image is seen and 0 elsewhere"),
        (picture(90, 60), 2, {"max_pixels": 900}, "max_pixels must be at least 3600 at x2 for a larger image"),
    ],
)
def test_impossible_problems(lr: torch.Tensor, scale: float, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny(**options).solve(lr, scale=scale)


def test_masks_that_cannot_be_read(tmp_path: Path) -> None:
    broken = tmp_path / "mask.npy"
    broken.write_bytes(b"no array")
    with pytest.raises(DataError, match="cannot read a mask from"):
        tiny(mask=broken)
    with pytest.raises(DataError, match=r"must hold a 2-D array of 0 and 1, got shape \(1, 4, 4\)"):
        tiny(mask=write_mask(tmp_path / "three.npy", torch.ones(1, 4, 4)))
    with pytest.raises(DataError):
        tiny(mask=tmp_path / "none.png")


def test_on_a_batch_of_kernels_nothing_is_measured() -> None:
    given = parse("g2.0d", scale=2)
    assert given.kernel is not None
    batch = Degradation(scale=2, downsample="direct", kernel=given.kernel[None])
    trace = tiny().solve(problem()[0], scale=2, degradation=batch).trace
    assert trace.kernel_psnr == []  # type: ignore[attr-defined]


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "want"), [("baby", 46.6), ("bird", 39.9), ("butterfly", 47.3), ("head", 47.3), ("woman", 42.6)]
)
def test_the_published_warm_up(name: str, want: float, shared_data: Path) -> None:
    truth = load_kernel(shared_data / "ddsr_set5_x4" / f"kernel_{name}.mat")
    solver = tiny(mode="faithful", warmup_steps=200, hidden=1000, centre="published", steps=1)
    loop = solver.loop(picture(9, 9), Degradation(scale=4, downsample="direct"))
    assert isinstance(loop.kernel_net, KernelNet)
    loop.warm_up()
    assert float(kernel_psnr(loop.kernel, truth)) == pytest.approx(want, abs=0.3)
    assert float(kernel_moments(loop.kernel)[0].mean()) == pytest.approx(8.7, abs=0.15)


@pytest.mark.data
def test_a_stronger_warm_up_begins_six_decibels_higher(shared_data: Path) -> None:
    truth = load_kernel(shared_data / "ddsr_set5_x4" / "kernel_butterfly.mat")
    solver = tiny(mode="better", warmup_steps=None, hidden=1000, centre="published", steps=1)
    loop = solver.loop(picture(9, 9), Degradation(scale=4, downsample="direct"))
    loop.warm_up()
    assert float(kernel_psnr(loop.kernel, truth)) > 47.3 + 6
