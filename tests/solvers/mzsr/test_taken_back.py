"""Adaptation that a part of the photo speaks against is taken back."""

from typing import Any

import pytest
import torch

import metasr
from metasr.config.photos import photo_config, photo_solver
from metasr.degradation.resize import imresize
from metasr.meta.rates import FixedRates
from metasr.solvers.mzsr.solver import MZSRSolver
from metasr.solvers.network import NetworkSolver
from metasr.solvers.tiles import hold_out, split, spread, tiled_error
from small_problems import bits, picture
from solvers.solver_list import tiny


def test_what_is_held_out_is_not_learned_from() -> None:
    for tiles, size in ((split(61, 70, tile=None, overlap=3), (61, 70)), (split(61, 70, tile=20, overlap=3), (61, 70))):
        left, held = hold_out(tiles, size, overlap=3)
        seen = torch.zeros(2, *size)
        for i, part in enumerate((left, held)):
            for tile in part:
                seen[i, tile.core[0], tile.core[1]] += 1
        assert float(seen.sum(0).min()) == float(seen.sum(0).max()) == 1
        assert 0.08 < float(seen[1].mean()) < 0.17


def test_cells_are_held_out_whole() -> None:
    tiles = spread(2000, 1500, pixels=512 * 512, overlap=8)
    left, held = hold_out(tiles, (2000, 1500), overlap=8)
    assert len(held) == 2
    assert set(map(id, left)) | set(map(id, held)) == set(map(id, tiles))


def test_a_small_image_holds_nothing_out() -> None:
    tiles = split(40, 300, tile=None, overlap=3)
    assert hold_out(tiles, (40, 300), overlap=3) == (tiles, [])


def test_the_error_does_not_depend_on_tiles() -> None:
    source, target, network = picture(61, 70), picture(61, 70, seed=2), tiny()
    whole = (network(source) - target).abs().mean().item()
    assert tiled_error(network, source, target, split(61, 70, tile=19, overlap=9)) == pytest.approx(whole, rel=1e-4)
    assert tiled_error(None, source, target, split(61, 70, tile=19, overlap=9)) == pytest.approx(
        float((source - target).abs().mean()), rel=1e-5
    )


def test_updates_that_help_stay() -> None:
    solver = metasr.load("mzsr_x2_bicubic_meta", steps=3, take_back=True)
    assert not solver.solve(picture(56, 64)).stopped


def test_updates_that_harm_are_taken_back() -> None:
    lr, network = picture(56, 64), tiny()
    before = bits(network)
    careful, free = (
        MZSRSolver(network, rates=FixedRates((0.5,) * 4), steps=4, take_back=back) for back in (True, None)
    )
    solution = careful.solve(lr, scale=2)
    assert "taken back" in solution.stopped
    choices = (NetworkSolver(network).solve(lr, scale=2).sr, imresize(lr, 2).clamp(0, 1))
    assert any(torch.allclose(solution.sr, other, atol=1e-5) for other in choices)
    harmed = free.solve(lr, scale=2)
    assert not harmed.stopped
    assert not torch.allclose(solution.sr, harmed.sr, atol=1e-3)
    assert bits(network) == before


def test_photos_are_enlarged_carefully_and_tables_are_of_what_was_asked_for() -> None:
    for given in (None, False):
        cfg = photo_config(kernel="bicubic", steps=1, options={} if given is None else {"take_back": given})
        assert photo_solver(cfg, ["bicubic"]).solver.take_back is (given is None)
    loaded: Any = metasr.load("mzsr_x2_bicubic_meta").solver
    assert not loaded.take_back


def test_what_is_held_out_does_not_depend_on_tiles() -> None:
    def held_of(tile: int | None) -> torch.Tensor:
        seen = torch.zeros(90, 70)
        for part in hold_out(split(90, 70, tile=tile, overlap=3), (90, 70), overlap=3)[1]:
            seen[part.core[0], part.core[1]] += 1
        return seen

    assert float(held_of(None).sum()) > 0
    assert all(torch.equal(held_of(tile), held_of(None)) for tile in (90, 30, 16, 7))
