"""An unfolded network, told the degradation: run as it is, or adapted to the image first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.errors import InputError, require_at_least, require_one_of
from metasr.meta.inner_loop import GradFunction, Trace, inner_loop
from metasr.meta.precision import Arithmetic, Precision
from metasr.meta.rates import FixedRates, Rates
from metasr.models.unfolded import UnfoldedNet
from metasr.solvers.base import Solution, check_problem, check_updates, clock
from metasr.solvers.ensemble import SYMMETRIES, Symmetry, transform, turned_problem, undo
from metasr.solvers.progress import part, tell
from metasr.solvers.tiles import apply_tiled, check_tiling, overlap_of, spread
from metasr.text import pluralize

Father = Literal["result", "lr"]

RATE = 3e-5
"""Of Adam, where no rates were learned."""


class UnfoldedSolver:
    """Rounds of data step and prior (``metasr.models.unfolded.UnfoldedNet``) with the degradation as told.

    With ``steps`` a clone of the network is adapted to the image first. The network's own result, shrunk to the size of
    the LR image, is a sharp picture of the same things at half their size (at scale 2): the "father". Degraded once
    more it makes the "son", and the network learns by gradient descent on the L1 loss to bring father back from son.
    MZSR takes the LR image itself for a father; that is blurred and aliased, and a network that is told the blur loses
    by learning to make such images.

    What helps an image of repeated structure harms another. So the adapted network is tried on what it has not learned
    from: the result shrunk by the root of the scale, between the father and the image itself in size. It is used only
    where it brings the loss there down by the share ``least_gain``; otherwise the solution is the network's own, and
    says so.

    Args:
        network: its weights are used as they are and never changed.
        rates: of plain gradient descent, as meta-transfer learns them; none for Adam at ``RATE``.
        steps: gradient steps on the image; 0 to run the network as it is.
        father: what they learn to bring back: ``result``, or ``lr`` as MZSR does.
        least_gain: by what share adaptation has to bring down the loss on what it has not learned from; none to use it
            always.
        tile: largest side in HR pixels of the parts that a prior works through an image in; none for all at once. Data
            steps are of the whole image.
        adapt_pixels: where an image has more LR pixels than this, adaptation looks at cells of 128×128 spread evenly
            over it, of so many pixels in all; none for the whole of any image.
        precision: of the adaptation's passes (``metasr.meta.precision.Precision``).
        ensemble: average over the eight turns and flips, each with the kernel turned along.

    Raises:
        InputError: for a network that takes no degradation, or a number out of its range.
    """

    uses_kernel: ClassVar[bool] = True

    def __init__(
        self,
        network: nn.Module,
        *,
        rates: Rates | None = None,
        steps: int = 0,
        father: Father = "result",
        least_gain: float | None = 0.025,
        tile: int | None = 256,
        adapt_pixels: int | None = 256 * 256,
        precision: Arithmetic = "auto",
        ensemble: bool = False,
    ) -> None:
        check_tiling(tile, adapt_pixels=adapt_pixels)
        require_at_least(0, adapt_steps=steps)
        require_one_of(father, Father, name="father")
        if least_gain is not None and not 0 <= least_gain < 1:
            raise InputError(f"least_gain must be a share of the loss in [0, 1), or none, got {least_gain}")
        if not isinstance(network, UnfoldedNet):
            raise InputError(
                f"solver unfolded runs an UnfoldedNet, which is told the degradation, got {type(network).__name__}; "
                "take +experiment=unfolded, or model=unfolded and weights made for it"
            )
        self.network = network
        self.rates = rates
        self.steps = steps
        self.father = father
        self.least_gain = least_gain
        self.tile = tile
        self.adapt_pixels = adapt_pixels
        self.precision = Precision(arithmetic=precision)
        self.ensemble = ensemble

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
        """Super-resolve after each of several numbers of updates, in one adaptation.

        ``seconds`` of each solution is what it alone would have taken.
        """
        degradation = check_problem(lr, scale, degradation)
        wanted = check_updates(updates)
        start = clock(lr.device)
        self.network.eval()
        with part(0, 1 if wanted == [0] else 1 / (2 + wanted[-1])):
            sr = self._render(self.network, lr, degradation)
        own = Solution(sr=sr.clamp(0, 1), kernel=degradation.kernel, seconds=clock(lr.device) - start)
        if wanted == [0]:
            return {0: own}
        known = degradation.centred().for_son(noise_std=degradation.noise_level)  # nothing displaced that need not be
        taps = (1, 1) if known.kernel is None else known.kernel.shape[-2:]
        if lr.shape[-2] < taps[0] or lr.shape[-1] < taps[1]:
            size = f"{lr.shape[-1]}x{lr.shape[-2]}"
            told = f"no update taken: {size} pixels are fewer than the kernel's {taps[1]}x{taps[0]}"
            return {n: replace(own, stopped=told if n else "") for n in wanted}

        def family(image: Tensor) -> _Family:
            return _Family(image, known, pixels=self.adapt_pixels, seed=seed, precision=self.precision)

        shrunk = imresize(own.sr, size=(lr.shape[-2], lr.shape[-1])).clamp(0, 1)
        between = imresize(own.sr, 1 / math.sqrt(scale)).clamp(0, 1)
        learned = family(shrunk if self.father == "result" else lr)
        return self._adapted(learned, family(between), lr, degradation, wanted, own, start)

    def _adapted(
        self,
        learned: _Family,
        unseen: _Family,
        lr: Tensor,
        degradation: Degradation,
        wanted: list[int],
        own: Solution,
        start: float,
    ) -> dict[int, Solution]:
        """The solutions after some numbers of steps, ``own`` where nothing is gained."""
        solutions: dict[int, Solution] = {}
        trace = Trace()
        rendering = 0.0  # seconds spent on earlier outputs, not to be counted in later ones
        at_first = None if self.least_gain is None else unseen.loss(self.network)

        def keep(step: int, learner: nn.Module) -> None:
            nonlocal rendering
            now = (1 + step) / (2 + wanted[-1])  # steps, and the outputs before and after them, count alike
            if step:
                tell(step, wanted[-1], "updates", loss=trace.losses[-1], share=now)
            if step not in wanted:
                return
            if step == 0:
                solutions[0] = own
                return
            before = clock(lr.device)
            gain = None if at_first is None else 1 - unseen.loss(learner) / at_first
            if gain is None or self.least_gain is None or gain >= self.least_gain:
                with part(now, 1 if step == wanted[-1] else now):
                    sr, taken, told = self._render(learner, lr, degradation).clamp(0, 1), step, ""
            else:
                sr, taken, told = own.sr, 0, _told(gain, self.least_gain, step)
                tell(step, wanted[-1], "updates", image=sr, share=1 if step == wanted[-1] else now)
            after = clock(lr.device)
            so_far = replace(trace, losses=list(trace.losses), rates=list(trace.rates), seconds=list(trace.seconds))
            solutions[step] = Solution(
                sr=sr, kernel=own.kernel, trace=so_far, updates=taken, seconds=after - start - rendering, stopped=told
            )
            rendering += after - before

        inner_loop(
            self.network,
            steps=wanted[-1],
            rates=self.rates or FixedRates([RATE]),
            order="none",
            after_step=keep,
            trace=trace,
            label=f"degradation {degradation}",
            gradients=learned.gradients if self.rates else _Adam(learned.gradients),
        )
        return solutions

    @torch.no_grad()
    def _render(self, network: nn.Module, lr: Tensor, degradation: Degradation) -> Tensor:
        if not self.ensemble:
            return self._once(network, lr, degradation)
        copies = []
        for i, s in enumerate(SYMMETRIES):
            with part(i / len(SYMMETRIES), (i + 1) / len(SYMMETRIES)):
                copies.append(undo(self._once(network, *turned_problem(lr, degradation, s)), s))
        return torch.stack(copies).mean(0)

    def _once(self, network: nn.Module, lr: Tensor, degradation: Degradation) -> Tensor:
        done, rounds = itertools.count(), self.network.rounds

        def run_prior(prior: nn.Module, image: Tensor, condition: Tensor) -> Tensor:
            index = next(done)
            with part(index / rounds, (index + 1) / rounds):
                return self._run_prior(prior, image, condition)

        sr: Tensor = network(lr, degradation, run_prior=run_prior)
        return sr

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


class _Family:
    """An image, in cells where it is large, to be brought back from its degraded copies.

    Args:
        image: ``(1, 3, H, W)``.
        degradation: what makes the copies.
        pixels: that the cells may have in all; none for the whole image.
        seed: of the noise.
        precision: of the network's passes.
    """

    def __init__(
        self, image: Tensor, degradation: Degradation, *, pixels: int | None, seed: int, precision: Precision
    ) -> None:
        size = (image.shape[-2], image.shape[-1])
        self.fathers = [image]
        if pixels is not None and size[0] * size[1] > pixels:
            cells = spread(*size, pixels=pixels, overlap=0)
            self.fathers = [image[..., cell.core[0], cell.core[1]] for cell in cells]
        self.degradation = degradation
        self.seed = seed
        self.precision = precision
        self.turn = 0

    def gradients(self, network: nn.Module, parameters: list[nn.Parameter]) -> tuple[float, list[Tensor]]:
        """The mean loss and its gradients, one cell in memory at a time; of another turn or flip at each call."""
        total, sums = 0.0, [torch.zeros_like(p, requires_grad=False) for p in parameters]
        for loss in self._losses(network, SYMMETRIES[3 * self.turn % len(SYMMETRIES)]):
            gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
            for into, gradient in zip(sums, gradients, strict=True):
                into += gradient
            total += float(loss.detach())
        self.turn += 1
        return total, sums

    @torch.no_grad()
    def loss(self, network: nn.Module) -> float:
        """The mean loss, upright."""
        return sum(float(loss) for loss in self._losses(network, SYMMETRIES[0]))

    def _losses(self, network: nn.Module, symmetry: Symmetry) -> Iterator[Tensor]:
        """Each cell's share of the mean loss."""
        generator = torch.Generator().manual_seed(self.seed + self.turn)
        for cell in self.fathers:
            father = transform(cell, symmetry)
            son = self.degradation(father, generator=generator)
            with self.precision.autocast(son.device):
                found = network(son, self.degradation)
            found = found[..., : father.shape[-2], : father.shape[-1]]  # sides that are no multiple were rounded up
            yield (found.to(father.dtype) - father).abs().mean() / len(self.fathers)


class _Adam:
    """Adam's directions (Kingma and Ba, 2015) in place of some gradients."""

    def __init__(self, gradients: GradFunction, *, betas: tuple[float, float] = (0.9, 0.99)) -> None:
        self.gradients = gradients
        self.betas = betas
        self.means: list[Tensor] = []
        self.squares: list[Tensor] = []
        self.count = 0

    def __call__(self, network: nn.Module, parameters: list[nn.Parameter]) -> tuple[float | None, list[Tensor]]:
        loss, gradients = self.gradients(network, parameters)
        self.means = self.means or [torch.zeros_like(g) for g in gradients]
        self.squares = self.squares or [torch.zeros_like(g) for g in gradients]
        self.count += 1
        first, second = self.betas
        directions = []
        for mean, square, gradient in zip(self.means, self.squares, gradients, strict=True):
            mean.mul_(first).add_(gradient, alpha=1 - first)
            square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
            width = (square / (1 - second**self.count)).sqrt_().add_(1e-8)
            directions.append(mean / (1 - first**self.count) / width)
        return loss, directions


def _told(gain: float, wanted: float, steps: int) -> str:
    return (
        f"{pluralize(steps, 'update')} not used: the loss on what was not learned from fell by {100 * gain:.1f} %, not "
        f"by {100 * wanted:g} %, so the image has nothing to gain"
    )
