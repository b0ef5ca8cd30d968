"""A network for photos on one image: told what is known of it, run once, or adapted to it first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError, require_at_least
from metasr.meta.inner_loop import Trace, inner_loop
from metasr.meta.rates import FixedRates, Rates
from metasr.models.photo import PhotoNet
from metasr.solvers.base import Solution, check_problem, check_updates, clock
from metasr.solvers.network import NetworkSolver
from metasr.solvers.progress import tell
from metasr.solvers.tiles import Tile, area, overlap_of, split, spread

_RATE = 1e-2


class PhotoSolver(NetworkSolver):
    """Runs a ``metasr.models.photo.PhotoNet``; with updates, a clone of it that was adapted to the image.

    The image is degraded once more by what is known of it, noise and the file's own compression included; a few steps
    of gradient descent on the L1 loss teach the clone to bring that "son" back to the image (MZSR's meta-test). Weights
    made by ``recipes.meta_transfer.MetaTransfer`` bring learned rates for it.

    Args:
        network: its weights are used as they are and never changed.
        rates: learning rates of the updates; none for 0.01 throughout.
        steps: number of updates.
        tile: largest side of the parts an image is worked through in, in pixels of the network's input; none for all at
            once.
        adapt_pixels: updates look at cells spread evenly over the image, of so many LR pixels in all; none for all.
        ensemble: average over the turns and flips that commute with the degradation.
        back_projection: rounds of back-projection.

    Raises:
        InputError: for another network, or a number out of its range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        rates: Rates | None = None,
        steps: int = 0,
        tile: int | None = 256,
        adapt_pixels: int | None = 512 * 512,
        ensemble: bool = False,
        back_projection: int = 0,
    ) -> None:
        super().__init__(network, enlarge_first=False, tile=tile, ensemble=ensemble, back_projection=back_projection)
        if not isinstance(network, PhotoNet):
            raise InputError(
                f"solver photo runs a PhotoNet, which is told noise and compression, got {type(network).__name__}; "
                "take +experiment=photo_x2, or model=photo and weights made for it"
            )
        require_at_least(0, adapt_steps=steps)
        require_at_least(1, adapt_pixels=adapt_pixels)
        self.rates = rates or FixedRates([_RATE])
        self.steps = steps
        self.adapt_pixels = adapt_pixels

    def solve(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0) -> Solution:
        """See ``solvers.base.Solver.solve``."""
        solved = self.snapshots(lr, scale=scale, updates=(self.steps,), degradation=degradation, seed=seed)
        return solved[self.steps]

    @torch.inference_mode(False)  # what is made in inference mode cannot take part in a gradient
    def snapshots(
        self,
        lr: Tensor,
        *,
        scale: float,
        updates: Sequence[int],
        degradation: Degradation | None = None,
        seed: int = 0,
    ) -> dict[int, Solution]:
        """See ``solvers.base.SnapshotSolver.snapshots``; one adaptation for all of them.

        Raises:
            InputError: for an image too small to be degraded once more, where there are updates.
        """
        degradation = check_problem(lr, scale, degradation)
        wanted = check_updates(updates)
        start = clock(lr.device)
        self.network.eval()
        if wanted == [0]:
            sr = self.render(self.network, lr, degradation)
            return {0: Solution(sr=sr, kernel=degradation.kernel, seconds=clock(lr.device) - start)}
        son, father, parts = self._problem(lr, degradation, seed)
        trace = Trace()
        solutions: dict[int, Solution] = {}
        rendering = 0.0  # seconds spent on earlier outputs, not to be counted in later ones

        def gradients(learner: nn.Module, parameters: list[nn.Parameter]) -> tuple[float, list[Tensor]]:
            return _loss_and_gradients(learner, parameters, son, father, parts, degradation)

        def keep(step: int, learner: nn.Module) -> None:
            nonlocal rendering
            if step:
                tell(step, wanted[-1], "updates", loss=trace.losses[-1])
            if step not in wanted:
                return
            before = clock(lr.device)
            sr = self.render(learner, lr, degradation)
            after = clock(lr.device)
            so_far = replace(trace, losses=list(trace.losses), rates=list(trace.rates), seconds=list(trace.seconds))
            seconds = after - start - rendering
            solutions[step] = Solution(sr=sr, kernel=degradation.kernel, trace=so_far, updates=step, seconds=seconds)
            rendering += after - before

        inner_loop(
            self.network,
            steps=wanted[-1],
            rates=self.rates,
            order="none",
            after_step=keep,
            trace=trace,
            label=f"degradation {degradation}",
            gradients=gradients,
        )
        return solutions

    def _problem(self, lr: Tensor, degradation: Degradation, seed: int) -> tuple[Tensor, Tensor, list[Tile]]:
        """The son, the part of the image that it came of, and where the two are compared, in the son's cells.

        Cells are the groups of pixels that the network's coarse level sees as one: no tile cuts them.
        """
        step, cell = int(degradation.scale), PhotoNet.multiple
        height, width = (n - n % (step * cell) for n in lr.shape[-2:])
        if min(height, width) < 8 * step:
            raise InputError(
                f"an image of {lr.shape[-1]}x{lr.shape[-2]} is too small to learn from; take no updates (adapt_steps=0)"
            )
        father = lr[..., :height, :width]
        known = degradation.centred().for_son(noise_std=degradation.noise_level)
        son = known(father, generator=torch.Generator().manual_seed(seed))
        size = (height // (step * cell), width // (step * cell))
        overlap = -(-overlap_of(self.network) // cell)
        if self.adapt_pixels is None or height * width <= self.adapt_pixels:
            tile = None if self.tile is None else max(1, self.tile // cell)
            return son, father, split(*size, tile=tile, overlap=overlap)
        pixels = max(1, self.adapt_pixels // (step * cell) ** 2)
        return son, father, spread(*size, pixels=pixels, overlap=overlap, cell=64)


def _loss_and_gradients(
    learner: nn.Module,
    parameters: list[nn.Parameter],
    son: Tensor,
    father: Tensor,
    parts: list[Tile],
    degradation: Degradation,
) -> tuple[float, list[Tensor]]:
    """Mean absolute error over some parts, one in memory at a time, and its gradient."""
    cell, whole = PhotoNet.multiple, PhotoNet.multiple * int(degradation.scale)
    count = sum(area(part.core) for part in parts) * whole**2 * father.shape[1]
    total, sums = 0.0, [torch.zeros_like(p, requires_grad=False) for p in parameters]
    for part in parts:
        output = learner(_cut(son, part.outer, cell), degradation)
        loss = (_cut(output, part.inner, whole) - _cut(father, part.core, whole)).abs().sum() / count
        total += float(loss.detach())
        for into, gradient in zip(sums, torch.autograd.grad(loss, parameters, materialize_grads=True), strict=True):
            into += gradient
    return total, sums


def _cut(image: Tensor, part: tuple[slice, slice], cell: int) -> Tensor:
    """A part of an image that is told in cells of so many pixels."""
    rows, columns = (slice(cell * s.start, cell * s.stop) for s in part)
    return image[..., rows, columns]
