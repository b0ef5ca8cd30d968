"""What a few SGD steps on pairs of one degradation do for *other* pairs: of the same, and of another degradation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor, nn

from metasr.data.catalog import ImageSet
from metasr.data.patches import PatchPool
from metasr.degradation.names import parse
from metasr.errors import DataError
from metasr.models.mln import MLN
from metasr.models.teacher import adapt
from metasr.seeds import generator_from
from mrda.luma_psnr import luma_psnr


@dataclass(frozen=True)
class Point:
    """A mean over draws.

    Attributes:
        start: whose weights.
        adapted_on: standard deviation of the blur of the pairs that the steps were taken on, in HR pixels.
        scored_on: that of the pairs that are scored, which are of other photographs.
        steps: taken so far.
        psnr_y: in dB.
    """

    start: str
    adapted_on: float
    scored_on: float
    steps: int
    psnr_y: float


def study_widths(scale: float) -> list[float]:
    """Standard deviations 0 (no blur) to 0.9 of the scale, in thirds."""
    return [round(0.3 * i * scale, 3) for i in range(4)]


def adaptation_curves(
    starts: Mapping[str, MLN],
    images: ImageSet,
    *,
    sigmas: Sequence[float],
    rates: Sequence[float],
    draws: int = 4,
    adapt_patches: int = 16,
    score_patches: int = 16,
    patch_size: int = 128,
    seed: int = 0,
) -> list[Point]:
    """Adapt each network to patches of half of the photographs, and score it on patches of the other half.

    All networks see the same patches. LR patches are 8-bit.

    Args:
        starts: networks by name, none of them changed.
        images: at least two photographs.
        sigmas: standard deviations; each is adapted to, and all of them scored.
        rates: of the steps.
        draws: how often, with other patches; the halves change places from draw to draw.
        adapt_patches: in a batch.
        score_patches: likewise.
        patch_size: of the HR patches.
        seed: of the patches.

    Returns:
        Means over the draws, for every start, width adapted to, width scored and number of steps.

    Raises:
        DataError: if there is one photograph alone.
    """
    if len(images) < 2:
        raise DataError(f"adaptation is scored on other photographs than it is done on, got {len(images)}; give more")
    scale = next(iter(starts.values())).scale
    patch_size -= patch_size % scale
    halves = [
        PatchPool([images.load(i) for i in range(half, len(images), 2)], patch_size=patch_size) for half in (0, 1)
    ]
    found: dict[tuple[str, float, float, int], list[float]] = {}
    for draw in range(draws):
        hrs = [
            halves[(draw + part) % 2].draw(count, generator=generator_from(seed, draw, part, "patches"))
            for part, count in enumerate((adapt_patches, score_patches))
        ]
        lrs = [{sigma: _lr(hr, sigma, scale) for sigma in sigmas} for hr in hrs]
        others = {sigma: (lr, hrs[1]) for sigma, lr in lrs[1].items()}
        for name, start in starts.items():
            for sigma, lr in lrs[0].items():
                for other, curve in _curves(start, lr, hrs[0], others, rates).items():
                    for step, value in enumerate(curve):
                        found.setdefault((name, sigma, other, step), []).append(value)
    return [Point(*key, fmean(values)) for key, values in found.items()]


def _curves(
    start: MLN, lr: Tensor, hr: Tensor, others: Mapping[float, tuple[Tensor, Tensor]], rates: Sequence[float]
) -> dict[float, list[float]]:
    """PSNR on each of other pairs before and after every step on a pair."""
    found: dict[float, list[float]] = {sigma: [] for sigma in others}

    def score(step: int, network: nn.Module) -> None:
        with torch.no_grad():
            for sigma, (other_lr, other_hr) in others.items():
                found[sigma].append(float(luma_psnr(network(other_lr), other_hr, scale=start.scale).mean()))

    adapt(start, lr, hr, rates=rates, after_step=score)
    return found


def gains(points: Sequence[Point], *, start: str) -> dict[float, float]:
    """By width: PSNR after all steps less that before them, on other pairs of the width adapted to."""
    return {
        s: _at(points, start, s, s, last) - _at(points, start, s, s, 0)
        for s, last in {p.adapted_on: max(q.steps for q in points) for p in points}.items()
    }


def wrong_cost(points: Sequence[Point], *, start: str, low: float, high: float) -> dict[tuple[float, float], float]:
    """What is lost, in dB, by adapting to the one width and not to the other, which is scored: (adapted, scored)."""
    last = max(p.steps for p in points)
    return {
        (a, b): _at(points, start, b, b, last) - _at(points, start, a, b, last) for a, b in ((low, high), (high, low))
    }


def _at(points: Sequence[Point], start: str, adapted: float, scored: float, steps: int) -> float:
    key = (start, adapted, scored, steps)
    return next(p.psnr_y for p in points if (p.start, p.adapted_on, p.scored_on, p.steps) == key)


def _lr(hr: Tensor, sigma: float, scale: int) -> Tensor:
    return parse(f"sig_{sigma:g}_b" if sigma else "bicubic", scale=scale)(hr)
