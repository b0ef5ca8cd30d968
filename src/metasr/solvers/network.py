"""A network run once: the feed-forward solver."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.errors import InputError
from metasr.models.blind import BlindSR
from metasr.models.photo import PhotoNet
from metasr.solvers.base import Solution, check_problem, clock
from metasr.solvers.ensemble import back_project, symmetries_of, transform, turned, undo
from metasr.solvers.plain_steps import forward_of
from metasr.solvers.progress import part
from metasr.solvers.tiles import apply_scaling, apply_tiled, check_tiling, overlap_of

log = logging.getLogger(__name__)

WHOLE = 1024
"""Side in LR pixels up to which a network that looks at the whole image is given all of it."""


class NetworkSolver:
    """Feed-forward super-resolution with any network.

    A blind network (``models.blind.BlindSR``) describes the whole image once, and that one vector steers
    all its tiles: results do not depend on them.

    Args:
        network: its weights are used as they are and never changed.
        enlarge_first: the network takes the bicubically enlarged LR and keeps its size (as MZSR's does); otherwise it
            takes the LR itself and enlarges it by the scale.
        tile: largest side in pixels of the parts an image is worked through in, at the network's input size; none for
            the whole image at once.
        ensemble: average over the turns and flips that commute with the degradation.
        back_projection: rounds of back-projection.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        enlarge_first: bool = True,
        tile: int | None = 256,
        ensemble: bool = False,
        back_projection: int = 0,
    ) -> None:
        if back_projection < 0:
            raise InputError(f"back_projection must be at least 0 rounds, got {back_projection}")
        check_tiling(tile)
        self.network = network
        self.enlarge_first = enlarge_first
        self.tile = tile
        self.ensemble = ensemble
        self.back_projection = back_projection

    def solve(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0) -> Solution:
        """See ``solvers.base.Solver.solve``."""
        degradation = check_problem(lr, scale, degradation)
        start = clock(lr.device)
        self.network.eval()
        sr = self.render(self.network, lr, degradation)
        return Solution(sr=sr, kernel=degradation.kernel, seconds=clock(lr.device) - start)

    def render(self, network: nn.Module, lr: Tensor, degradation: Degradation) -> Tensor:
        """The SR image of some weights: enlarge, run in tiles, ensemble, back-project, clip."""

        def run(image: Tensor, off_centre: tuple[float, float]) -> Tensor:
            if self.enlarge_first:
                enlarged = enlarge(image, degradation.scale, off_centre=off_centre)
                return apply_tiled(forward_of(network), enlarged, tile=self.tile, overlap=overlap_of(network))
            body, overlap = tileable(network, image, degradation)
            sr = apply_scaling(
                body,
                image,
                scale=degradation.scale,
                tile=tile_for(network, self.tile, image),
                overlap=overlap,
                trained=getattr(network, "scale", None),
                multiple=getattr(network, "multiple", 1),
            )
            return imresize(sr, 1.0, shift=(-off_centre[0], -off_centre[1])) if any(off_centre) else sr

        off_centre = degradation.off_centre
        if isinstance(network, PhotoNet):  # which works on the bicubic grid
            off_centre = (-degradation.shift[0], -degradation.shift[1])
        if self.ensemble:
            symmetries = symmetries_of(degradation, size=(lr.shape[-2], lr.shape[-1]), own_centre=True)
            copies = []
            for i, s in enumerate(symmetries):
                with part(i / len(symmetries), (i + 1) / len(symmetries)):
                    copies.append(undo(run(transform(lr, s), turned(off_centre, s)), s))
            sr = torch.stack(copies).mean(0)
        else:
            sr = run(lr, off_centre)
        if self.back_projection:
            sr = back_project(sr, lr, degradation, rounds=self.back_projection)
        return sr.clamp(0, 1)


def enlarge(
    lr: Tensor, scale: float, *, off_centre: tuple[float, float], size: tuple[int, int] | None = None
) -> Tensor:
    """The enlarged image that a network takes which was trained with centred kernels.

    What direct subsampling displaces, such a network has learned to put back; what an off-centre kernel displaces
    beyond that is put back here.

    Args:
        lr: ``(1, 3, h, w)``.
        scale: to enlarge by.
        off_centre: of the kernel (``metasr.degradation.pipeline.Degradation.off_centre``), in enlarged pixels.
        size: of the enlarged image; ``ceil(scale · (h, w))`` by default.
    """
    return imresize(lr, scale, size=size, shift=(-off_centre[0], -off_centre[1]))


def tile_for(network: nn.Module, tile: int | None, lr: Tensor) -> int | None:
    """The side of tiles for a network: at least ``WHOLE`` for one that is better not cut (its ``looks_at_all``).

    Args:
        network: any.
        tile: the side that was asked for; none for no tiles.
        lr: ``(1, 3, H, W)``, the whole image.
    """
    if tile is None or not getattr(network, "looks_at_all", False):
        return tile
    if max(lr.shape[-2:]) > max(tile, WHOLE):
        log.warning(
            "%s looks at the whole image, and one of %dx%d is too large for that: it is cut into tiles of %d, between "
            "which there may be seams", getattr(network, "architecture", "the network"), lr.shape[-1], lr.shape[-2],
            max(tile, WHOLE),
        )  # fmt: skip
    return max(tile, WHOLE)


def enlarged_son(
    lr: Tensor, degradation: Degradation, generator: torch.Generator, *, noise_std: float | None = None
) -> Tensor:
    """The LR image degraded once more and enlarged again: the input from which the LR image is to be recovered.

    Args:
        lr: ``(1, 3, h, w)``.
        degradation: the LR image's own.
        generator: where the noise of a noisy image's copy is drawn from.
        noise_std: of that noise, on the [0, 1] scale; none for the degradation's.

    Returns:
        ``(1, 3, h, w)``.
    """
    degradation = degradation.centred()  # the son need not be displaced, which would leave its border unknown
    again = degradation.for_son(noise_std=degradation.noise_level if noise_std is None else noise_std)
    size = (lr.shape[-2], lr.shape[-1])
    return enlarge(again(lr, generator=generator), degradation.scale, off_centre=degradation.off_centre, size=size)


def tileable(network: nn.Module, lr: Tensor, degradation: Degradation) -> tuple[Callable[[Tensor], Tensor], int]:
    """A network that enlarges as a function of tiles of one image, and by how much these must overlap.

    Args:
        network: one with a ``body`` of (LR, vector) and a ``vector`` that looks at the whole image is given
            that here, and a ``PhotoNet`` is told the degradation.
        lr: ``(1, 3, H, W)``, the whole image.
        degradation: how it came about.
    """
    if isinstance(network, PhotoNet):
        return lambda piece: cast(Tensor, network(piece, degradation)), overlap_of(network)
    if not isinstance(network, BlindSR):
        return network, overlap_of(network)
    with torch.no_grad():
        vector = network.vector(lr)
    body = network.body
    return lambda piece: cast(Tensor, body(piece, vector)), overlap_of(body)
