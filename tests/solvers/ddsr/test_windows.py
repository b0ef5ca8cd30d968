"""Images too large to be learned at once, and what is taken for the image."""

import signal
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.solvers.ddsr.average import FIRST, RunningImage
from metasr.solvers.ddsr.data_term import DataTerm
from metasr.solvers.ddsr.loop import Loop
from metasr.solvers.ddsr.options import FAITHFUL
from metasr.solvers.ddsr.random_kernels import Centre, RandomKernels
from metasr.solvers.ddsr.windows import Windows, _detail
from small_problems import picture
from solvers.ddsr_parts import tiny

PIXELS = 60 * 60  # SR pixels of a window


def plan(height: int = 50, width: int = 41) -> Windows:
    return Windows.plan(height, width, scale=2, size=11, max_pixels=PIXELS)


def test_windows_are_no_larger_than_asked_for_and_cover_all() -> None:
    windows = plan()
    assert len(windows.tiles) > 4
    total = torch.zeros(1, 1, 100, 82)
    for tile in windows.tiles:
        rows, columns = tile.outer
        assert 4 * (rows.stop - rows.start) * (columns.stop - columns.start) <= PIXELS
        weight = windows.weight(tile, 50, 41)
        assert weight.shape[-2:] == (2 * (rows.stop - rows.start), 2 * (columns.stop - columns.start))
        total[..., 2 * rows.start : 2 * rows.stop, 2 * columns.start : 2 * columns.stop] += weight
    assert total.min() > 0.2


def test_a_small_image_is_one_window() -> None:
    for limit in (None, 50 * 41 * 4):
        windows = Windows.plan(50, 41, scale=2, size=11, max_pixels=limit)
        assert len(windows.tiles) == 1
        assert windows.seen(windows.tiles[0], 50, 41).min() == 1
        assert windows.weight(windows.tiles[0], 50, 41).min() == 1


def test_what_needs_pixels_from_beyond_is_not_compared() -> None:
    windows = plan()
    assert windows.reach == 3  # LR pixels: half of 11 at x2, rounded up
    tile = next(t for t in windows.tiles if t.outer[0].start > 0 and t.outer[1].start == 0)
    seen = windows.seen(tile, 50, 41)[0, 0]
    assert seen[:3].max() == 0
    assert seen[3:-3, 0].min() == 1  # the image's own border counts
    assert seen[3].max() == 1


def test_windows_make_one_image() -> None:
    lr = picture(50, 41)
    solved = tiny(max_pixels=PIXELS, steps=3).solve(lr, scale=2)
    assert solved.sr.shape == (1, 3, 100, 82)
    assert solved.updates == 3
    assert (solved.sr - imresize(lr, 2)).abs().mean() < 0.2
    found = tiny(max_pixels=PIXELS).snapshots(lr, scale=2, updates=(1, 3))
    assert [s.updates for s in found.values()] == [1, 3]
    assert torch.equal(found[3].sr, solved.sr)


def test_windows_that_are_covered_come_out_black() -> None:
    lr, mask = picture(50, 41), torch.ones(50, 41)
    mask[25:] = 0
    solved = tiny(max_pixels=PIXELS, steps=2, mask=mask).solve(lr, scale=2)
    assert solved.sr[..., 96:, :].max() == 0
    assert solved.sr[..., :40, :].min() > 0


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Ctrl-C in the so-many-th image step of all windows together."""
    done, take = [0], Loop.image_step

    def image_step(self: Loop, *arguments: Any) -> Tensor:
        done[0] += 1
        if done[0] == step:
            signal.raise_signal(signal.SIGINT)
        return take(self, *arguments)

    monkeypatch.setattr(Loop, "image_step", image_step)


@pytest.mark.parametrize("centre", get_args(Centre))
@pytest.mark.parametrize("gain", [1.0, 0.5])
def test_what_was_not_begun_is_enlarged_in_its_place(
    centre: Centre, gain: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    hr = F.interpolate(picture(25, 21), (100, 84), mode="bicubic").clamp(0, 1)  # smooth: enlarging loses nothing
    blur = RandomKernels(scale=2, size=11, variance=(0.3, 0.3), centre=centre)._kernel(0.3, 0.3, 0.0)
    lr = gain * Degradation(scale=2, kernel=torch.from_numpy(blur).float(), downsample="direct", quantise=None)(hr)
    interrupt_at(monkeypatch, 4)  # in the second window, after three steps in the first
    solved = tiny(max_pixels=PIXELS, steps=3, centre=centre, gain=gain).solve(lr, scale=2)
    assert solved.stopped.startswith("interrupted in window 2 of ")
    windows = plan(50, 42)
    begun = torch.zeros(1, 1, 100, 84)
    brightest = max(windows.tiles, key=lambda t: _detail(DataTerm(lr, scale=2), t))
    rows, columns = (slice(2 * o.start, 2 * o.stop) for o in brightest.outer)
    begun[..., rows, columns] = windows.weight(brightest, 50, 42)
    rest = (begun == 0).expand(1, 3, -1, -1).clone()
    rest[..., :8, :], rest[..., -8:, :], rest[..., :8], rest[..., -8:] = False, False, False, False
    off = {by: float((imresize(lr / gain, 2, shift=(by, by)) - hr)[rest].abs().mean()) for by in (0.0, 0.5, 1.0)}
    here = (solved.sr - hr)[rest].abs().mean()
    assert float(here) == pytest.approx(min(off.values()), rel=0.02)  # as the picture shows, whatever the code says
    assert sorted(off.values())[0] < 0.5 * sorted(off.values())[1]


def test_windows_cut_short_are_enlarged(monkeypatch: pytest.MonkeyPatch) -> None:
    lr = picture(50, 41)
    interrupt_at(monkeypatch, 2)
    solved = tiny(max_pixels=PIXELS, steps=60).solve(lr, scale=2)
    assert solved.stopped.startswith("interrupted in window 1 of ")
    torch.testing.assert_close(solved.sr, imresize(lr, 2).clamp(0, 1))
    assert solved.updates == 2


def test_time_is_shared_among_the_windows() -> None:
    solved = tiny(max_pixels=PIXELS, steps=100_000, budget_seconds=1.0).solve(picture(50, 41), scale=2)
    assert solved.stopped.startswith("budget_seconds=")
    assert solved.seconds < 20


def test_the_last_image_alone() -> None:
    running = RunningImage(FAITHFUL)
    for step in range(1, 4):
        image = torch.full((1, 3, 2, 2), float(step))
        assert running.add(image, torch.eye(3), step) == ""
        assert running.best[0] is image


def test_a_running_mean() -> None:
    running = RunningImage(replace(FAITHFUL, average=0.25))
    values = [1.0, 5.0, 2.0, 8.0, 4.0, 4.0, 0.0, 3.0]
    want = 0.0
    for step, value in enumerate(values, 1):
        running.add(torch.full((1, 1, 2, 2), value), torch.eye(3), step)
        share = min(1.0, 1 / (0.25 * step))
        want = want + share * (value - want)
        assert float(running.best[0].mean()) == pytest.approx(want)


def test_the_steadiest_image_is_found() -> None:
    running = RunningImage(replace(FAITHFUL, average=0.05, stop="variance", patience=30))
    generator = torch.Generator().manual_seed(0)
    told, step = "", 0
    while not told:
        step += 1
        size = 0.03 if step < 200 else 0.3  # steadier, then noise
        told = running.add(0.5 + size * torch.randn(1, 3, 8, 8, generator=generator), torch.eye(3), step)
        assert step < 400
    least = int(told.rpartition(" ")[2])
    assert FIRST <= least < 205
    assert step == least + 30
    assert (running.best[0] - 0.5).abs().mean() < 0.02


def test_what_is_covered_need_not_settle() -> None:
    generator = torch.Generator().manual_seed(0)
    seen = torch.ones(1, 1, 8, 8)
    seen[..., :5] = 0
    told = {}
    for kind, mask in (("all", None), ("seen", seen)):
        running = RunningImage(replace(FAITHFUL, average=0.05, stop="variance", patience=30), seen=mask)
        for step in range(1, 100):
            image = torch.full((1, 3, 8, 8), 0.5)
            image[..., :5] += 0.002 * step * torch.randn(1, 3, 8, 5, generator=generator)
            told[kind] = told.get(kind) or running.add(image, torch.eye(3), step)
    assert told["all"].startswith("the image changed least")
    assert told["seen"] == ""


def test_an_image_that_has_settled_stops_for_nothing() -> None:
    running = RunningImage(replace(FAITHFUL, average=0.05, stop="variance", patience=30))
    generator = torch.Generator().manual_seed(0)
    image = torch.empty(0)
    for step in range(1, 300):
        size = 0.002 if step < 100 else 0.3  # below a grey level, then what would stop it
        image = 0.5 + size * torch.randn(1, 3, 8, 8, generator=generator)
        assert running.add(image, torch.eye(3), step) == ""
    assert running.best[0] is running.mean
