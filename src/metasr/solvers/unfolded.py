"""An unfolded network on one image: data steps over the whole of it, priors in tiles."""

from __future__ import annotations

import itertools
import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError
from metasr.models.unfolded import UnfoldedNet
from metasr.solvers.base import Solution, check_problem, clock
from metasr.solvers.ensemble import SYMMETRIES, turned_problem, undo
from metasr.solvers.progress import part, tell
from metasr.solvers.tiles import apply_tiled, check_tiling, overlap_of


class UnfoldedSolver:
    """Rounds of data step and prior (``metasr.models.unfolded.UnfoldedNet``) with the degradation as told.

    Args:
        network: its weights are used as they are and never changed.
        tile: largest side in HR pixels of the parts that a prior works through an image in; none for all at once. Data
            steps are of the whole image.
        ensemble: average over the eight turns and flips, each with the kernel turned along.

    Raises:
        InputError: for a network that takes no degradation.
    """

    uses_kernel: ClassVar[bool] = True

    def __init__(self, network: nn.Module, *, tile: int | None = 256, ensemble: bool = False) -> None:
        check_tiling(tile)
        if not isinstance(network, UnfoldedNet):
            raise InputError(
                f"solver unfolded runs an UnfoldedNet, which is told the degradation, got {type(network).__name__}; "
                "take +experiment=unfolded, or model=unfolded and weights made for it"
            )
        self.network = network
        self.tile = tile
        self.ensemble = ensemble

    @torch.no_grad()
    def solve(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0) -> Solution:
        """See ``solvers.base.Solver.solve``."""
        degradation = check_problem(lr, scale, degradation)
        start = clock(lr.device)
        self.network.eval()
        if self.ensemble:
            copies = []
            for i, s in enumerate(SYMMETRIES):
                with part(i / len(SYMMETRIES), (i + 1) / len(SYMMETRIES)):
                    copies.append(undo(self._once(*turned_problem(lr, degradation, s)), s))
            sr = torch.stack(copies).mean(0)
        else:
            sr = self._once(lr, degradation)
        return Solution(sr=sr.clamp(0, 1), kernel=degradation.kernel, seconds=clock(lr.device) - start)

    def _once(self, lr: Tensor, degradation: Degradation) -> Tensor:
        done = itertools.count()

        def run_prior(prior: nn.Module, image: Tensor, condition: Tensor) -> Tensor:
            index = next(done)
            with part(index / self.network.rounds, (index + 1) / self.network.rounds):
                return self._run_prior(prior, image, condition)

        return self.network(lr, degradation, run_prior=run_prior)

    def _run_prior(self, prior: nn.Module, image: Tensor, condition: Tensor) -> Tensor:
        """A prior in tiles, cut where its own grid of pixels allows."""
        step = int(getattr(prior, "multiple", 1))
        height, width = image.shape[-2:]
        if self.tile is None or max(height, width) <= self.tile:
            result = prior(image, condition)
            tell(1, 1, "tiles")
            return result
        padded = F.pad(image, (0, -width % step, 0, -height % step), mode="replicate")

        def on_cells(cells: Tensor) -> Tensor:
            return F.pixel_unshuffle(prior(F.pixel_shuffle(cells, step), condition), step)

        tile, overlap = max(1, self.tile // step), math.ceil(overlap_of(prior) / step)
        cells = apply_tiled(on_cells, F.pixel_unshuffle(padded, step), tile=tile, overlap=overlap)
        return F.pixel_shuffle(cells, step)[..., :height, :width]
