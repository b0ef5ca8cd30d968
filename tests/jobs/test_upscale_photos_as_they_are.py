"""Transparency, grey stored as RGB, resolution and gamma, from file to file."""

import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from metasr.degradation.pipeline import Degradation
from metasr.io.images import Photo, read_photo, write_photo
from metasr.jobs.upscale import upscale_photo
from metasr.solvers.base import Solution
from metasr.solvers.interpolate import InterpolateSolver


def disc() -> Photo:
    """Grey 250 on transparent black, 37 x 41."""
    rows, columns = torch.meshgrid(torch.arange(37.0), torch.arange(41.0), indexing="ij")
    alpha = ((rows - 17.3).square() + (columns - 20.1).square() < 150).float()[None]
    return Photo(alpha.repeat(3, 1, 1) * 250 / 255, alpha)


@pytest.mark.parametrize("ground", [0.0, 1.0])
def test_a_cut_out_has_no_dark_fringe(tmp_path: Path, ground: float) -> None:
    photo = read_photo(write_photo(disc(), tmp_path / "a.png"))
    large, _ = upscale_photo(InterpolateSolver(), photo, Degradation(scale=2))
    large = read_photo(write_photo(large, tmp_path / "b.png"))
    assert large.alpha is not None
    shown = large.rgb * large.alpha + (1 - large.alpha) * ground
    want = 250 / 255 * large.alpha + (1 - large.alpha) * ground  # what enlarging alpha alone makes of an even grey
    assert float((shown - want).abs().max()) * 255 <= 3


class Tinting:
    """A solver that colours what it is given."""

    def solve(self, lr: Tensor, *, scale: float, **_: object) -> Solution:
        large = lr.repeat_interleave(2, -1).repeat_interleave(2, -2)
        return Solution(sr=large * torch.tensor([1.0, 0.9, 0.8])[:, None, None], kernel=None, trace=())


@pytest.mark.parametrize("grey", [False, True])
def test_grey_stays_grey(grey: bool) -> None:
    rgb = torch.rand(1, 7, 5, generator=torch.Generator().manual_seed(0)).repeat(3, 1, 1)
    large, _ = upscale_photo(Tinting(), Photo(rgb, grey=grey), Degradation(scale=2))
    assert torch.equal(large.rgb[0], large.rgb[1])
    assert torch.equal(large.rgb[0], large.rgb[2])
    assert large.grey == grey
    coloured, _ = upscale_photo(
        Tinting(), Photo(rgb * torch.tensor([1.0, 1.0, 0.99])[:, None, None]), Degradation(scale=2)
    )
    assert not torch.equal(coloured.rgb[0], coloured.rgb[1])


class Drifting:
    """A solver that gives flat colours back a little off."""

    mask: Tensor | None = None
    gain: float | None = None

    def solve(self, lr: Tensor, *, scale: float, **_: object) -> Solution:
        large = lr.repeat_interleave(2, -1).repeat_interleave(2, -2)
        return Solution(sr=large - 2 / 255, kernel=None, trace=())


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (200, 30, 90)])
def test_flat_stays_flat_to_the_level(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    rgb = torch.tensor(colour)[:, None, None].expand(3, 9, 12) / 255
    large, _ = upscale_photo(Drifting(), Photo(rgb.contiguous()), Degradation(scale=2, downsample="direct"))
    again = read_photo(write_photo(large, tmp_path / "a.png")).rgb
    assert torch.equal(again, (torch.tensor(colour) / 255)[:, None, None].expand(3, 18, 24))


def test_what_is_covered_or_dark_is_not_flat() -> None:
    photo = Photo(torch.full((3, 9, 12), 0.5))
    for name, value in (("mask", torch.ones(1, 1, 9, 12)), ("gain", 0.5)):
        solver = Drifting()
        setattr(solver, name, value)
        large, _ = upscale_photo(solver, photo, Degradation(scale=2))
        assert torch.equal(large.rgb, torch.full((3, 18, 24), 0.5 - 2 / 255))


def test_what_the_file_says_is_carried_over(tmp_path: Path) -> None:
    gamma = ("gAMA", struct.pack(">I", 100000))
    photo = replace(disc(), dpi=(300.0, 300.0), colour_chunks=(gamma,))
    large, _ = upscale_photo(InterpolateSolver(), photo, Degradation(scale=2))
    again = read_photo(write_photo(large, tmp_path / "a.png"))
    assert again.dpi == pytest.approx((300, 300), abs=0.02)
    assert again.colour_chunks == (gamma,)
