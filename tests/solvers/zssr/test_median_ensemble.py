"""The median over turned and flipped copies."""

from dataclasses import replace

import pytest
import torch

from metasr.degradation.names import parse
from metasr.degradation.resize import imresize
from metasr.solvers.ensemble import SYMMETRIES, transform, undo
from metasr.solvers.zssr.internal_pairs import enlarge
from metasr.solvers.zssr.median_ensemble import median_ensemble, symmetries_with_moves
from small_problems import picture


@pytest.mark.parametrize(
    ("name", "scale", "count"),
    [
        ("bicubic", 2, 8), ("g2.0d", 2, 8), ("g2.0d", 3, 8), ("g1.3b", 2, 8), ("gani_d", 2, 2), ("gani_b", 2, 2),
        ("aniso_4_1_0_d", 2, 4), ("g2.0d", 2.5, 2), ("direct", 4, 8), ("bicubic", 1.5, 2),
    ],
)  # fmt: skip
def test_all_symmetries_of_the_kernel_at_whole_scales(name: str, scale: float, count: int) -> None:
    moves = symmetries_with_moves(parse(name, scale=scale), size=(13, 11))
    assert len(moves) == count
    assert next(iter(moves)) == (0, False)


@pytest.mark.parametrize("name", ["direct", "g2.0d", "g0.2d", "bicubic", "gani_d"])
@pytest.mark.parametrize("scale", [2, 3])
def test_moved_copies_lie_where_the_image_does(name: str, scale: int) -> None:
    """Degrading a turned image is not the turned degraded image, but for the move: seen on each copy for itself."""
    degradation = replace(parse(name, scale=scale, size=5), quantise=None)
    hr = picture(13 * scale, 11 * scale, dtype=torch.float64)
    lr = degradation(hr)
    moves = symmetries_with_moves(degradation, size=(13, 11))
    for symmetry, (up, left) in moves.items():
        height, width = hr.shape[-2:]
        moved = torch.zeros_like(hr)  # the HR image as it lies on the grid of a turned solver's output, undone
        moved[..., up:, left:] = hr[..., : height - up, : width - left]
        again = undo(degradation(transform(moved, symmetry)), symmetry)
        torch.testing.assert_close(again[..., 3:-3, 3:-3], lr[..., 3:-3, 3:-3], rtol=0, atol=1e-9)
    assert ((scale - 1, scale - 1) in moves.values()) == (degradation.downsample == "direct")


@pytest.mark.parametrize("name", ["direct", "g2.0d", "bicubic"])
def test_a_solver_without_preferences_is_left_as_it_is(name: str) -> None:
    degradation, lr = parse(name, scale=2), picture(13, 71, dtype=torch.float64)
    plain = enlarge(lr, degradation)
    got = median_ensemble(lambda x: enlarge(x, degradation), lr, symmetries_with_moves(degradation, size=(13, 71)))
    torch.testing.assert_close(got[..., :-6, :-6], plain[..., :-6, :-6], rtol=0, atol=1e-12)
    assert (got - plain).abs().max() < 0.2  # the last rows of moved copies come from others


def test_it_is_the_median_of_the_copies_row_by_row() -> None:
    lr = picture(37, 41, dtype=torch.float64)
    moves = dict.fromkeys(SYMMETRIES[:4], (0, 0))
    weight = torch.linspace(0.5, 1.5, 100, dtype=torch.float64)

    def skewed(image: torch.Tensor) -> torch.Tensor:
        large = imresize(image, 2)
        return large * weight[: large.shape[-2], None]

    copies = torch.stack([undo(skewed(transform(lr, s)), s) for s in moves])
    want = copies.quantile(0.5, dim=0, interpolation="midpoint")
    torch.testing.assert_close(median_ensemble(skewed, lr, moves), want)
    three = dict.fromkeys(SYMMETRIES[:3], (0, 0))
    torch.testing.assert_close(median_ensemble(skewed, lr, three), copies[:3].median(0).values)


def test_without_symmetries_it_is_the_solver_alone() -> None:
    lr = picture(7, 9)
    torch.testing.assert_close(median_ensemble(lambda x: x * 2, lr, {}), lr * 2)
