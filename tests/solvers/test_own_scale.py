"""A solver run at its own scale, and the rest resized."""

import pytest
import torch

from metasr.degradation import names
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.errors import InputError
from metasr.solvers.base import Solution
from metasr.solvers.interpolate import InterpolateSolver
from metasr.solvers.own_scale import OwnScaleSolver, own_scale

LR = torch.rand(1, 3, 15, 22, generator=torch.Generator().manual_seed(0))


class Asked(InterpolateSolver):
    """Remembers what it was asked for."""

    def solve(
        self, lr: torch.Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0
    ) -> Solution:
        asked.append((scale, degradation.scale if degradation else None, seed))
        return super().solve(lr, scale=scale, degradation=degradation, seed=seed)


asked: list[tuple[float, float | None, int]] = []


@pytest.mark.parametrize(
    ("scale", "own"), [(1.5, 2), (2, 2), (2.1, 4), (3, 4), (4, 4), (5.5, 4), (1.01, 2), (2 + 1e-12, 2)]
)
def test_the_own_scale_is_the_next_larger_one_or_the_largest(scale: float, own: float) -> None:
    assert own_scale(scale, (4.0, 2.0)) == own
    asked.clear()
    solver = OwnScaleSolver(Asked(), scales=(4.0, 2.0))
    result = solver.solve(LR, scale=scale, degradation=names.parse("bicubic", scale=scale), seed=7)
    assert asked == [(own, own, 7)]
    assert result.sr.shape[-2:] == imresize(LR, scale).shape[-2:]
    want = imresize(LR, own).clamp(0, 1)
    if own != scale:
        want = imresize(want, scale / own, size=tuple(result.sr.shape[-2:])).clamp(0, 1)
    assert torch.equal(result.sr, want)


@pytest.mark.parametrize("name", ["g2.0d", "g1.3b", "direct", "area"])
def test_a_degradation_that_belongs_to_its_scale_is_left_to_the_solver(name: str) -> None:
    asked.clear()
    OwnScaleSolver(Asked(), scales=(2.0,)).solve(LR, scale=3, degradation=names.parse(name, scale=3))
    assert asked == [(3, 3, 0)]


def test_noise_goes_along() -> None:
    seen = []

    class Noisy(InterpolateSolver):
        def solve(self, lr: torch.Tensor, **how: object) -> Solution:  # type: ignore[override]
            seen.append(how["degradation"].noise_level)  # type: ignore[attr-defined]
            return super().solve(lr, **how)  # type: ignore[arg-type]

    OwnScaleSolver(Noisy(), scales=(2.0,)).solve(LR, scale=3, degradation=names.parse("bicubic_n10", scale=3))
    assert seen == [10 / 255]


def test_scales_are_needed() -> None:
    for scales in ((), (1.0, 2.0)):
        with pytest.raises(InputError, match="own scales must be some above 1"):
            OwnScaleSolver(InterpolateSolver(), scales=scales)
