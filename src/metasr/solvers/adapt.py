"""MZSR's meta-test: a few gradient steps on the test image itself, then the network (CVPR 2020, algorithm 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.errors import DivergenceError, InputError
from metasr.meta.inner_loop import Trace, inner_loop
from metasr.meta.rates import FixedRates, Rates, published_schedule
from metasr.solvers.base import Solution, check_problem, clock
from metasr.solvers.network import NetworkSolver
from metasr.solvers.tiles import overlap_of, split, spread, tiled_l1


class AdaptSolver(NetworkSolver):
    """Adapt a clone of a meta-learned network to one image, then run it.

    The LR image is degraded once more by its own degradation; the network learns, by ``steps`` of gradient descent on
    the L1 loss, to bring that "son" back to the LR image, and is then applied to the LR image.

    Args:
        network: meta-learned weights; a clone is adapted, they are never changed.
        rates: learning rates; none for MZSR's published schedule of the degradation's subsampling and scale.
        steps: number of gradient steps.
        tile: largest side in pixels of the parts an image is worked through in, for adaptation (at LR size) and output
            (at SR size); the result does not depend on it beyond rounding. None for the whole image at once.
        adapt_pixels: where an image has more LR pixels than this, adaptation looks at cells of 128×128 spread evenly
            over it, of so many pixels in all; none for the whole of any image.
        son_noise: standard deviation, on the 0-255 scale, of Gaussian noise added to the son; none for the noise of the
            degradation (for real, noisy images give what it seems to be).
        ensemble: average over the turns and flips that commute with the degradation.
        back_projection: rounds of back-projection.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        rates: Rates | None = None,
        steps: int = 10,
        tile: int | None = 256,
        adapt_pixels: int | None = 512 * 512,
        son_noise: float | None = None,
        ensemble: bool = False,
        back_projection: int = 0,
    ) -> None:
        super().__init__(network, tile=tile, ensemble=ensemble, back_projection=back_projection)
        if steps < 0:
            raise InputError(f"adapt_steps must be at least 0, got {steps}")
        if adapt_pixels is not None and adapt_pixels < 1:
            raise InputError(f"adapt_pixels must be at least 1, or none for all, got {adapt_pixels}")
        if son_noise is not None and not 0 <= son_noise < math.inf:
            raise InputError(f"son_noise must be at least 0 (on the 0-255 scale), got {son_noise}")
        self.rates = rates
        self.steps = steps
        self.adapt_pixels = adapt_pixels
        self.son_noise = son_noise

    def solve(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0) -> Solution:
        """See :meth:`metasr.solvers.base.Solver.solve`."""
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
        """Super-resolve after each of several numbers of updates, in one adaptation.

        ``seconds`` of each solution is what it alone would have taken: the adaptation up to it and its own output.
        """
        degradation = check_problem(lr, scale, degradation)
        wanted = sorted(set(updates))
        if not wanted or wanted[0] < 0:
            raise InputError(f"updates must name at least one number of steps, all at least 0, got {list(updates)}")
        generator = torch.Generator().manual_seed(seed)
        start = clock(lr.device)
        trace = Trace()
        solutions: dict[int, Solution] = {}
        rendering = 0.0  # seconds spent on earlier outputs, not to be counted in later ones

        def keep(step: int, learner: nn.Module) -> None:
            nonlocal rendering
            if step not in wanted:
                return
            before = clock(lr.device)
            sr = self.render(learner, lr, degradation)
            after = clock(lr.device)
            if not bool(torch.isfinite(sr).all()):
                raise DivergenceError(
                    f"the output after {step} updates for degradation {degradation} is not finite; lower the inner rate"
                )
            so_far = replace(trace, losses=list(trace.losses), rates=list(trace.rates), seconds=list(trace.seconds))
            solutions[step] = Solution(
                sr=sr, kernel=degradation.kernel, trace=so_far, updates=step, seconds=after - start - rendering
            )
            rendering += after - before

        gradients = None
        if wanted[-1] > 0:
            source = self._enlarged_son(lr, degradation, generator)
            height, width = lr.shape[-2:]
            overlap = overlap_of(self.network)
            if self.adapt_pixels is None or height * width <= self.adapt_pixels:
                parts = split(height, width, tile=self.tile, overlap=overlap)
            else:
                parts = spread(height, width, pixels=self.adapt_pixels, overlap=overlap)

            def gradients(learner: nn.Module, parameters: list[nn.Parameter]) -> tuple[float, list[Tensor]]:
                return tiled_l1(learner, parameters, source, lr, parts)

        self.network.eval()
        rates = self.rates or FixedRates(published_schedule(degradation.downsample, scale))
        inner_loop(
            self.network,
            steps=wanted[-1],
            rates=rates,
            order="none",
            after_step=keep,
            trace=trace,
            label=f"degradation {degradation}",
            gradients=gradients,
        )
        return solutions

    def _enlarged_son(self, lr: Tensor, degradation: Degradation, generator: torch.Generator) -> Tensor:
        """The LR image degraded once more and enlarged again: the input from which the LR is to be recovered."""
        noise_std = degradation.noise_std if self.son_noise is None else self.son_noise / 255
        son = degradation.for_son(noise_std=noise_std)(lr, generator=generator)
        return imresize(son, degradation.scale, size=(lr.shape[-2], lr.shape[-1]))
