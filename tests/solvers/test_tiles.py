"""Tiles: the same numbers, a part at a time."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from metasr.errors import InputError
from metasr.models.plain_cnn import PlainCNN
from metasr.solvers.tiles import Tile, apply_tiled, overlap_of, split, spread, tiled_l1

sides = st.integers(1, 60)


def area(tiles: list[Tile]) -> int:
    return sum((t.core[0].stop - t.core[0].start) * (t.core[1].stop - t.core[1].start) for t in tiles)


def network(dtype: torch.dtype = torch.float64) -> PlainCNN:
    torch.manual_seed(0)
    return PlainCNN(channels=5, layers=4).to(dtype)


@settings(max_examples=60, deadline=None)
@given(height=sides, width=sides, tile=st.none() | st.integers(1, 40), overlap=st.integers(0, 10))
def test_cores_cover_every_pixel_once_and_outer_parts_reach_beyond(
    height: int, width: int, tile: int | None, overlap: int
) -> None:
    count = torch.zeros(height, width)
    marks = torch.arange(height * width).reshape(height, width)
    tiles = split(height, width, tile=tile, overlap=overlap)
    for part in tiles:
        count[part.core] += 1
        for core, outer, side in zip(part.core, part.outer, (height, width), strict=True):
            assert outer.start == max(0, core.start - overlap)
            assert outer.stop == min(side, core.stop + overlap)
            assert core.stop - core.start <= (tile or side)
        assert torch.equal(marks[part.outer][part.inner], marks[part.core])
    assert (count == 1).all()
    sizes = {(t.core[0].stop - t.core[0].start) for t in tiles}
    assert max(sizes) - min(sizes) <= 1
    if tile is None:
        assert len(tiles) == 1


@pytest.mark.parametrize("tile", [0, -3])
def test_impossible_tiles_are_refused(tile: int) -> None:
    with pytest.raises(InputError, match=f"tile must be at least 1, got {tile}"):
        split(4, 4, tile=tile, overlap=1)


@pytest.mark.parametrize("tile", [1, 3, 7, 8, 16, 23, 24, 100, None])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_tiled_is_whole(tile: int | None, dtype: torch.dtype, tolerance: float) -> None:
    net, image = network(dtype), torch.rand(2, 3, 23, 17, dtype=dtype)
    with torch.no_grad():
        want = net(image)
    got = apply_tiled(net, image, tile=tile, overlap=net.receptive_radius)
    torch.testing.assert_close(got, want, rtol=0, atol=tolerance)
    assert not got.requires_grad


def test_overlap_is_needed_to_the_last_pixel() -> None:
    net, image = network(), torch.rand(1, 3, 23, 17, dtype=torch.float64)
    got = apply_tiled(net, image, tile=8, overlap=net.receptive_radius - 1)
    assert (got - net(image)).abs().max() > 1e-9


def test_other_channel_counts_go_through() -> None:
    net, image = nn.Conv2d(3, 7, 3, padding=1), torch.rand(2, 3, 9, 11)
    torch.testing.assert_close(apply_tiled(net, image, tile=4, overlap=1), net(image).detach(), rtol=0, atol=1e-6)


def test_overlap_comes_from_the_network() -> None:
    assert overlap_of(network()) == 4
    assert overlap_of(nn.Conv2d(3, 3, 3)) == 32
    assert overlap_of(nn.Conv2d(3, 3, 3), default=5) == 5


def whole_gradient(
    net: nn.Module, source: torch.Tensor, target: torch.Tensor, where: Callable[[torch.Tensor], torch.Tensor]
) -> tuple[float, list[torch.Tensor]]:
    loss = where((net(source) - target).abs()).mean()
    return loss.item(), list(torch.autograd.grad(loss, list(net.parameters())))


@pytest.mark.parametrize("tile", [3, 5, 8, 40, None])
def test_tiled_gradient_is_the_whole_images(tile: int | None) -> None:
    net = network()
    source, target = torch.rand(2, 1, 3, 19, 14, dtype=torch.float64)
    tiles = split(19, 14, tile=tile, overlap=net.receptive_radius)
    loss, gradients = tiled_l1(net, list(net.parameters()), source, target, tiles)
    want_loss, want = whole_gradient(net, source, target, lambda error: error)
    assert loss.item() == pytest.approx(want_loss, rel=1e-12)
    for got, expected in zip(gradients, want, strict=True):
        assert (got - expected).norm() < 1e-12 * expected.norm()


def test_gradient_of_some_tiles_is_that_of_their_pixels() -> None:
    net = network()
    source, target = torch.rand(2, 1, 3, 19, 14, dtype=torch.float64)
    chosen = [split(19, 14, tile=7, overlap=net.receptive_radius)[i] for i in (0, 3)]
    seen = torch.zeros(19, 14, dtype=torch.bool)
    for part in chosen:
        seen[part.core] = True
    loss, gradients = tiled_l1(net, list(net.parameters()), source, target, chosen)
    want_loss, want = whole_gradient(net, source, target, lambda error: error[..., seen])
    assert loss.item() == pytest.approx(want_loss, rel=1e-12)
    for got, expected in zip(gradients, want, strict=True):
        assert (got - expected).norm() < 1e-12 * expected.norm()


@pytest.mark.parametrize("tile", [7, None])
def test_parameters_without_a_part_in_the_output_have_a_gradient_of_zero(tile: int | None) -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1)).double()
    net.register_module("head", nn.Conv2d(3, 2, 1).double())
    net.forward = lambda image: net[0](image)  # type: ignore[method-assign]
    source, target = torch.rand(2, 1, 3, 19, 14, dtype=torch.float64)
    _, gradients = tiled_l1(net, list(net.parameters()), source, target, split(19, 14, tile=tile, overlap=1))
    assert [g.shape for g in gradients] == [p.shape for p in net.parameters()]
    assert [bool(g.any()) for g in gradients] == [True, True, False, False]


@settings(max_examples=100, deadline=None)
@given(height=sides, width=sides, cell=st.integers(1, 20), pixels=st.integers(0, 4000))
def test_spread_cells_keep_the_budget_and_do_not_overlap(height: int, width: int, cell: int, pixels: int) -> None:
    chosen = spread(height, width, pixels=pixels, overlap=2, cell=cell)
    assert chosen
    assert area(chosen) <= pixels or len(chosen) == 1
    seen = torch.zeros(height, width, dtype=torch.int64)
    for part in chosen:
        assert seen[part.core].shape == (min(cell, height), min(cell, width))
        seen[part.core] += 1
        for core, outer, n in zip(part.core, part.outer, (height, width), strict=True):
            assert (outer.start, outer.stop) == (max(0, core.start - 2), min(n, core.stop + 2))
    assert int(seen.max()) == 1


@pytest.mark.parametrize(("height", "width"), [(2000, 3000), (3000, 2000), (1024, 1024), (3024, 4032), (700, 5000)])
def test_spread_cells_reach_every_part_of_a_photo(height: int, width: int) -> None:
    chosen = spread(height, width, pixels=512 * 512, overlap=8)
    assert area(chosen) > 0.7 * 512 * 512
    for n, axis in ((height, 0), (width, 1)):
        centres = sorted({(t.core[axis].start + t.core[axis].stop) / 2 / n for t in chosen})
        assert centres[0] < 0.5 < centres[-1] or len(centres) == 1
        gaps = [b - a for a, b in pairwise([-centres[0], *centres, 2 - centres[-1]])]
        assert max(gaps) - min(gaps) < 0.01  # evenly, and as far from the borders as from each other
    quadrants = {(t.core[0].start > height / 2, t.core[1].start > width / 2) for t in chosen}
    assert len(quadrants) == 4 or height == 700
