"""A network run once: the feed-forward solver."""

from __future__ import annotations

from torch import Tensor, nn

from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.errors import InputError
from metasr.solvers.base import Solution, check_problem, clock
from metasr.solvers.plain_steps import forward_of
from metasr.solvers.refine import back_project, self_ensemble, symmetries_of
from metasr.solvers.tiles import apply_tiled, check_tiling, overlap_of


class NetworkSolver:
    """Feed-forward super-resolution with any network.

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
        """See :meth:`metasr.solvers.base.Solver.solve`."""
        degradation = check_problem(lr, scale, degradation)
        start = clock(lr.device)
        self.network.eval()
        sr = self.render(self.network, lr, degradation)
        return Solution(sr=sr, kernel=degradation.kernel, seconds=clock(lr.device) - start)

    def render(self, network: nn.Module, lr: Tensor, degradation: Degradation) -> Tensor:
        """The SR image of some weights: enlarge, run in tiles, ensemble, back-project, clip."""
        overlap = overlap_of(network)

        def run(image: Tensor) -> Tensor:
            if self.enlarge_first:
                enlarged = imresize(image, degradation.scale)
                return apply_tiled(forward_of(network), enlarged, tile=self.tile, overlap=overlap)
            sr = apply_scaling(network, image, scale=degradation.scale, tile=self.tile, overlap=overlap)
            return sr

        size = (lr.shape[-2], lr.shape[-1])
        sr = self_ensemble(run, lr, symmetries_of(degradation, size=size)) if self.ensemble else run(lr)
        if self.back_projection:
            sr = back_project(sr, lr, degradation, rounds=self.back_projection)
        return sr.clamp(0, 1)


def apply_scaling(network: nn.Module, lr: Tensor, *, scale: float, tile: int | None, overlap: int) -> Tensor:
    """Run a network that enlarges by a whole scale itself, tile by tile, without gradients.

    Args:
        network: ``(1, 3, h, w)`` to ``(1, 3, scale * h, scale * w)``.
        lr: ``(1, 3, H, W)``.
        scale: a whole number.
        tile: largest side of a tile's kept part, in LR pixels.
        overlap: at least the network's receptive radius in LR pixels.
    """
    if scale != int(scale):
        raise InputError(f"a network that enlarges the image itself needs a whole scale, got {scale:g}")
    step = int(scale)

    def same_size(image: Tensor) -> Tensor:
        sr = network(image)
        want = (image.shape[-2] * step, image.shape[-1] * step)
        if tuple(sr.shape[-2:]) != want:
            raise InputError(
                f"the network gave {tuple(sr.shape[-2:])} for an input of {tuple(image.shape[-2:])} at scale {step}, "
                f"expected {want}; set solver.enlarge_first=true if it takes the enlarged image"
            )
        return nn.functional.pixel_unshuffle(sr, step)  # (1, 3 s², h, w): the tiles are cut at LR size

    return nn.functional.pixel_shuffle(apply_tiled(same_size, lr, tile=tile, overlap=overlap), step)
