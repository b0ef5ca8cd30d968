"""DDSR on an image that is too large to be learned at once: the kernel from one window, the image from all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metasr.errors import InputError
from metasr.solvers.base import CutShort, clock
from metasr.solvers.ddsr.data_term import DataTerm
from metasr.solvers.ddsr.loop import Loop, State
from metasr.solvers.progress import part as part_of_work
from metasr.solvers.step_budget import TimeLimit
from metasr.solvers.tiles import Tile, split

SEAM = 8  # LR pixels over which neighbouring windows pass into each other, each side of a core's edge
LEAST = 8  # LR pixels that a core's side must have room for
ENOUGH = 50
"""Image steps that a run cut short must have come to: its image is worse than a bicubic one before."""

TOO_EARLY = f": enlarged bicubically, as fewer than {ENOUGH} steps make no image yet"

MakeLoop = Callable[[DataTerm, Tensor | None], Loop]


@dataclass(frozen=True)
class Windows:
    """How an image is cut.

    Attributes:
        tiles: in LR pixels.
        reach: LR pixels at a window's inner border that depend on what lies beyond it, and are not compared.
        scale: whole factor.
    """

    tiles: list[Tile]
    reach: int
    scale: int

    @classmethod
    def plan(cls, height: int, width: int, *, scale: int, size: int, max_pixels: int | None) -> Windows:
        """Windows of at most ``max_pixels`` SR pixels each.

        Args:
            height: of the LR image.
            width: of the LR image.
            scale: whole factor.
            size: side of the kernel.
            max_pixels: at most, in SR pixels; none for one window.

        Raises:
            InputError: if so few pixels leave no room beside the overlap.
        """
        if max_pixels is None or height * width * scale**2 <= max_pixels:
            whole = slice(0, height), slice(0, width)
            return cls([Tile(whole, whole)], 0, scale)
        reach = -(-(size // 2) // scale)
        overlap = reach + SEAM
        tile = math.isqrt(max_pixels) // scale - 2 * overlap
        if tile < LEAST:
            least = ((LEAST + 2 * overlap) * scale) ** 2
            raise InputError(
                f"max_pixels must be at least {least} at x{scale} for a larger image: windows of fewer pixels have no "
                f"room beside their overlap; got {max_pixels}"
            )
        return cls(split(height, width, tile=tile, overlap=overlap), reach, scale)

    def seen(self, tile: Tile, height: int, width: int) -> Tensor:
        """``(1, 1, h, w)`` of a window: 0 where the model would need what lies beyond its inner border."""
        sides = [
            _ramp(outer, n, start=self.reach, length=0, step=1)
            for outer, n in zip(tile.outer, (height, width), strict=True)
        ]
        return (sides[0][:, None] * sides[1])[None, None]

    def weight(self, tile: Tile, height: int, width: int) -> Tensor:
        """``(1, 1, s h, s w)`` of a window: how much it counts where windows overlap."""
        sides = [
            _ramp(outer, n, start=self.reach, length=2 * SEAM, step=self.scale)
            for outer, n in zip(tile.outer, (height, width), strict=True)
        ]
        return (sides[0][:, None] * sides[1])[None, None]


def _ramp(outer: slice, n: int, *, start: int, length: int, step: int) -> Tensor:
    """0 up to ``start`` LR pixels from an inner border, then rising to 1 over ``length``; ``step`` values a pixel."""
    places = (torch.arange((outer.stop - outer.start) * step) + 0.5) / step
    value = torch.ones_like(places)
    for inner, distance in ((outer.start > 0, places), (outer.stop < n, outer.stop - outer.start - places)):
        if inner:
            value = value * ((distance - start) / length if length else (distance > start).float()).clamp(0, 1)
    return value


def learn_in_windows(
    observation: DataTerm,
    windows: Windows,
    make: MakeLoop,
    *,
    wanted: Sequence[int],
    budget_seconds: float | None,
    fallback: Tensor,
) -> tuple[dict[int, State], Loop, str, CutShort | None]:
    """Learn kernel and image in the window with most detail, then the image alone in the others, and join them.

    Each window has its share of the time that is left. What was not learned is the enlarged LR image: after Ctrl-C the
    windows that were not begun, and those cut short before they make an image. A window that the mask covers wholly is
    not learned either, and comes out black: there is nothing under the mask to enlarge.

    Args:
        observation: the whole image.
        windows: how it is cut.
        make: makes a window's loop; with a kernel, that is the one.
        wanted: numbers of image steps, each window's.
        budget_seconds: for all.
        fallback: ``(1, 3, s H, s W)``, the LR image enlarged and in its place.

    Returns:
        A state of the whole image for each wanted number; the first window's loop; why it stopped early, or nothing;
        who ended it.
    """
    start = clock(observation.lr.device)
    height, width = observation.lr.shape[-2:]
    order = sorted(windows.tiles, key=lambda t: -_detail(observation, t))
    order = [t for t in order if _visible(observation, windows, t)]
    shape = fallback.shape
    sums = {n: torch.zeros(shape) for n in wanted}
    weights = {n: torch.zeros(1, 1, *shape[-2:]) for n in wanted}
    first: tuple[Loop, dict[int, State]] | None = None
    stopped, steps = "", dict.fromkeys(wanted, 0)
    cut: CutShort | None = None
    for index, tile in enumerate(order):
        part = observation.window(*tile.outer, seen=windows.seen(tile, height, width))
        loop = make(part, None if first is None else first[1][max(wanted)].kernel)
        left = None
        if budget_seconds is not None:
            left = max(1e-3, (budget_seconds - (clock(part.lr.device) - start)) / (len(order) - index))
        label = f"ddsr {index + 1}/{len(order)}"
        here = part_of_work(index / len(order), (index + 1) / len(order))
        with here, TimeLimit(max(wanted), budget_seconds=left, label=label) as limit:
            loop.warm_up(limit)
            states = loop.run(wanted, limit)
        first = first or (loop, states)
        weight = windows.weight(tile, height, width)
        rows, columns = (slice(o.start * windows.scale, o.stop * windows.scale) for o in tile.outer)
        early = False
        for n, state in states.items():
            steps[n] = max(steps[n], state.step)
            if too_early(state.step, n, limit.cut_short):
                early = True
                continue
            sums[n][..., rows, columns] += weight * state.image.cpu()
            weights[n][..., rows, columns] += weight
        cut = limit.cut_short or cut
        if limit.cut_short is CutShort.INTERRUPTED:
            stopped = f"interrupted in window {index + 1} of {len(order)}: what was not begun is enlarged bicubically"
            break
        stopped = (f"{limit.stopped}{TOO_EARLY}" if early else limit.stopped) or stopped
    assert first is not None  # an image of which nothing is seen was refused before
    loop, states = first
    seconds = clock(observation.lr.device) - start
    joined = {}
    for n, total in sums.items():
        image = torch.where(weights[n] > 0, total / weights[n].clamp_min(1e-12), fallback.cpu()).to(observation.lr)
        joined[n] = State(image, states[n].kernel, steps[n], states[n].length, seconds)
    return joined, loop, stopped, cut


def too_early(step: int, wanted: int, cut: CutShort | None) -> bool:
    """Whether somebody, or the time, ended a run at a step when there was no image worth having yet."""
    return cut is not None and step < min(wanted, ENOUGH)


def _visible(observation: DataTerm, windows: Windows, tile: Tile) -> bool:
    if observation.mask is None:
        return True
    seen = windows.seen(tile, *observation.lr.shape[-2:]).to(observation.lr)
    return bool((seen * observation.mask[..., tile.outer[0], tile.outer[1]]).any())


def _detail(observation: DataTerm, tile: Tile) -> float:
    """The sum of squared differences of neighbours in a window: there the blur can be seen."""
    part = observation.lr[..., tile.outer[0], tile.outer[1]]
    return float(
        (part[..., 1:, :] - part[..., :-1, :]).square().sum() + (part[..., 1:] - part[..., :-1]).square().sum()
    )
