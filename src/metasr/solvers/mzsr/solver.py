"""MZSR's meta-test: a few gradient steps on the test image itself, then the network (CVPR 2020, algorithm 2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, cast, get_args

import torch
from torch import Tensor, nn

from metasr.degradation.pipeline import Degradation
from metasr.errors import DivergenceError, InputError, require_at_least
from metasr.meta.cuda_graph import Engine
from metasr.meta.inner_loop import Trace, inner_loop
from metasr.meta.rates import FixedRates, Rates, mean_rate, published_schedule
from metasr.solvers.base import Solution, check_problem, check_updates, clock
from metasr.solvers.ensemble import back_project, symmetries_of
from metasr.solvers.network import NetworkSolver, enlarge, enlarged_son
from metasr.solvers.plain_steps import BackwardPrecision, forward_of, layers_of
from metasr.solvers.progress import is_heard, part, tell
from metasr.solvers.tiles import (
    Tile,
    apply_tiled,
    area,
    check_tiling,
    hold_out,
    overlap_of,
    split,
    spread,
    tiled_error,
    tiled_l1,
)


class MZSRSolver(NetworkSolver):
    """Adapt a clone of a meta-learned network to one image, then run it.

    The LR image is degraded once more by its own degradation; the network learns, by ``steps`` of gradient descent on
    the L1 loss, to bring that "son" back to the LR image, and is then applied to the LR image.

    On a GPU the second image of a size is also the one its adaptation is captured with (an eager run, two warm-ups, the
    recording and its first replay): its ``seconds`` hold all of that, as does a table's mean over its images.

    Args:
        network: meta-learned weights; a clone is adapted, they are never changed.
        rates: learning rates; none for MZSR's published schedule of the degradation's subsampling and scale.
        steps: number of gradient steps.
        tile: largest side in pixels of the parts an image is worked through in, for adaptation (at LR size) and output
            (at SR size); the result does not depend on it beyond rounding. None for the whole image at once.
        adapt_pixels: where an image has more LR pixels than this, adaptation looks at cells of 128×128 spread evenly
            over it, of so many pixels in all; none for the whole of any image.
        backward_precision: type of the backward pass of a plain network in float32: ``float32``, ``bfloat16``, or
            ``auto`` for bfloat16 on a CPU that multiplies it natively. Loss, weights and output stay in float32; on
            Set5 the PSNR differs by less than 0.01 dB.
        son_noise: standard deviation, on the 0-255 scale, of Gaussian noise added to the son; none for the noise of the
            degradation (for real, noisy images give what it seems to be).
        ensemble: average over the turns and flips that commute with the degradation.
        back_projection: rounds of back-projection.
        take_back: hold an eighth of the LR image out of adaptation, and see by it whether that helped. Where the
            adapted network is further from it than the weights as they were, or than bicubic enlargement, the better of
            these two is the result; ``stopped`` of the solution says so. For photos; a table is of what was asked for.
    """

    uses_kernel: ClassVar[bool] = True

    def __init__(
        self,
        network: nn.Module,
        *,
        rates: Rates | None = None,
        steps: int = 10,
        tile: int | None = 256,
        adapt_pixels: int | None = 512 * 512,
        backward_precision: BackwardPrecision = "auto",
        son_noise: float | None = None,
        ensemble: bool = False,
        back_projection: int = 0,
        take_back: bool | None = False,
    ) -> None:
        super().__init__(network, tile=tile, ensemble=ensemble, back_projection=back_projection)
        require_at_least(0, adapt_steps=steps)
        check_tiling(tile, adapt_pixels=adapt_pixels)
        if backward_precision not in get_args(BackwardPrecision):
            raise InputError(f"backward_precision must be 'auto', 'float32' or 'bfloat16', got {backward_precision!r}")
        if son_noise is not None and not 0 <= son_noise < math.inf:
            raise InputError(f"son_noise must be at least 0 (on the 0-255 scale), got {son_noise}")
        self.rates = rates
        self.steps = steps
        self.adapt_pixels = adapt_pixels
        self.backward_precision = backward_precision
        self.son_noise = son_noise
        self.take_back = bool(take_back)
        self._engine = Engine()
        self._sizes: set[Hashable] = set()  # that came before, on a GPU

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

        ``seconds`` of each solution is what it alone would have taken: the adaptation up to it and its own output.
        """
        degradation = check_problem(lr, scale, degradation)
        wanted = check_updates(updates)
        start = clock(lr.device)
        self.network.eval()
        rates = self.rates or FixedRates(published_schedule(degradation.downsample, scale))
        noise_std = None if self.son_noise is None else self.son_noise / 255
        draws = torch.Generator().manual_seed(seed)
        source = enlarged_son(lr, degradation, draws, noise_std=noise_std) if wanted[-1] > 0 else lr
        parts = self._parts(lr)
        held: list[Tile] = []
        if self.take_back and wanted[-1] > 0:
            parts, held = hold_out(parts, (lr.shape[-2], lr.shape[-1]), overlap=overlap_of(self.network))
        problem = _Problem(source, lr, degradation, rates, parts, held)
        if _works_ahead(lr.device) and not is_heard() and not held:  # nothing is waited for but outputs
            solutions = self._captured(problem, wanted, start) or self._run(problem, wanted, start, watched=False)
            if solutions is not None:
                return solutions
        return cast(dict[int, Solution], self._run(problem, wanted, start, watched=True))

    def _run(self, problem: _Problem, wanted: list[int], start: float, *, watched: bool) -> dict[int, Solution] | None:
        """Adapt and render.

        Args:
            problem: what to adapt to.
            wanted: after which numbers of steps to render, in order.
            start: when the clock was started.
            watched: look at each step's loss at once, which on a GPU means to wait for it; otherwise at every output.

        Returns:
            A solution for each number; none where an unwatched adaptation turns out to have diverged.
        """
        lr, degradation = problem.target, problem.degradation
        trace = Trace()
        losses: list[Tensor] = []
        solutions: dict[int, Solution] = {}
        rendering = 0.0  # seconds spent on earlier outputs, not to be counted in later ones
        shares = self._shares(problem, wanted)

        def keep(step: int, learner: nn.Module) -> None:
            nonlocal rendering
            now, rendered = shares(step)
            if step:
                tell(step, wanted[-1], "updates", loss=trace.losses[-1] if watched else None, share=now)
            if step not in wanted:
                return
            before = clock(lr.device)
            if not watched:
                _fill(trace, losses, problem.rates, seconds=before - start - rendering)
            better, stopped = self._taken_back(problem, learner) if step else (learner, "")
            with part(now, rendered):
                sr = _enlarged(lr, degradation) if better is None else self.render(better, lr, degradation)
            after = clock(lr.device)
            if watched:
                _require_finite(sr, step, degradation)
            so_far = replace(trace, losses=list(trace.losses), rates=list(trace.rates), seconds=list(trace.seconds))
            solutions[step] = Solution(
                sr=sr, kernel=degradation.kernel, trace=so_far, updates=step, seconds=after - start - rendering,
                stopped=stopped,
            )  # fmt: skip
            rendering += after - before

        def gradients(learner: nn.Module, parameters: list[nn.Parameter]) -> tuple[float | None, list[Tensor]]:
            loss, gradients = self._gradients(problem, learner, parameters)
            losses.append(loss)
            return (float(loss) if watched else None), gradients

        inner_loop(
            self.network,
            steps=wanted[-1],
            rates=problem.rates,
            order="none",
            after_step=keep,
            trace=trace,
            label=f"degradation {degradation}",
            gradients=gradients,
        )
        if watched:
            return solutions
        finite = all(map(math.isfinite, trace.losses)) and all(bool(s.sr.isfinite().all()) for s in solutions.values())
        return solutions if finite else None

    def _shares(self, problem: _Problem, wanted: list[int]) -> Callable[[int], tuple[float, float]]:
        """By number of updates: the share of the work that is done then, and once what is wanted is rendered.

        An update looks at its pixels three times, forward and twice backward; an output looks at each copy's once.
        """
        lr, scale = problem.target, problem.degradation.scale
        update = 3.0 * sum(area(tile.core) for tile in problem.parts)
        symmetries = symmetries_of(problem.degradation, size=(lr.shape[-2], lr.shape[-1])) if self.ensemble else [0]
        output = len(symmetries) * lr.shape[-2] * lr.shape[-1] * scale**2
        whole = wanted[-1] * update + len(wanted) * output

        def shares(step: int) -> tuple[float, float]:
            before = step * update + sum(n < step for n in wanted) * output
            return before / whole, (before + output) / whole

        return shares

    def _captured(self, problem: _Problem, wanted: list[int], start: float) -> dict[int, Solution] | None:
        """All steps and the output as one CUDA graph, for an image of a size that came before; none where it cannot.

        A graph costs several adaptations to make: it is not worth it for a size that comes once.
        """
        steps, lr = wanted[-1], problem.target
        if wanted != [steps] or steps == 0 or self.ensemble or layers_of(self.network) is None:
            return None
        schedule, tensors = _described(problem.rates)
        if any(t.device != lr.device for t in tensors):  # a graph would record their values
            return None
        settings = (steps, schedule, self.tile, self.adapt_pixels, self.backward_precision)
        size = (settings, lr.shape, problem.degradation.scale)
        if size not in self._sizes:
            self._sizes.add(size)
            return None

        def adapt_and_render(inputs: Sequence[Tensor], _: bool) -> list[Tensor]:
            source, target, enlarged = inputs
            held = replace(problem, source=source, target=target)
            losses: list[Tensor] = []

            def gradients(learner: nn.Module, parameters: list[nn.Parameter]) -> tuple[None, list[Tensor]]:
                loss, gradients = self._gradients(held, learner, parameters)
                losses.append(loss)
                return None, gradients

            learner = inner_loop(self.network, steps=steps, rates=held.rates, order="none", gradients=gradients)
            sr = apply_tiled(forward_of(learner), enlarged, tile=self.tile, overlap=overlap_of(learner))
            return [sr, sr - enlarged, torch.stack(losses)]  # the residual tells a stale graph more clearly than the SR

        enlarged = enlarge(lr, problem.degradation.scale, off_centre=problem.degradation.off_centre)
        inputs = [problem.source, lr, enlarged]
        parameters = [*self.network.parameters(), *tensors]
        sr, _, losses = self._engine.run(adapt_and_render, inputs, parameters=parameters, key=settings)
        if self.back_projection:
            sr = back_project(sr, lr, problem.degradation, rounds=self.back_projection)
        sr = sr.clamp(0, 1)
        seconds = clock(lr.device) - start
        trace = Trace()
        _fill(trace, list(losses.unbind()), problem.rates, seconds=seconds)
        if not (all(map(math.isfinite, trace.losses)) and bool(sr.isfinite().all())):
            return None
        kernel = problem.degradation.kernel
        return {steps: Solution(sr=sr, kernel=kernel, trace=trace, updates=steps, seconds=seconds)}

    def _gradients(
        self, problem: _Problem, learner: nn.Module, parameters: list[nn.Parameter]
    ) -> tuple[Tensor, list[Tensor]]:
        return tiled_l1(
            learner, parameters, problem.source, problem.target, problem.parts, backward=self.backward_precision
        )

    def _taken_back(self, problem: _Problem, learner: nn.Module) -> tuple[nn.Module | None, str]:
        """What to render by, the adapted network or what is better without its updates (none: bicubic), and why."""
        if not problem.held:
            return learner, ""
        names: dict[str, nn.Module | None] = {"": learner, "the weights as they were": self.network, "bicubic": None}
        errors = {
            name: tiled_error(None if one is None else forward_of(one), problem.source, problem.target, problem.held)
            for name, one in names.items()
        }
        best = min(errors, key=lambda name: errors[name])
        if not best:
            return learner, ""
        return names[best], f"updates taken back: on the part of the photo held out of them, {best} came nearer"

    def _parts(self, lr: Tensor) -> list[Tile]:
        """Where the image is looked at: everywhere, or in cells spread over it."""
        height, width = lr.shape[-2:]
        overlap = overlap_of(self.network)
        if self.adapt_pixels is None or height * width <= self.adapt_pixels:
            return split(height, width, tile=self.tile, overlap=overlap)
        return spread(height, width, pixels=self.adapt_pixels, overlap=overlap)


@dataclass(frozen=True)
class _Problem:
    """What is adapted to: an input, what should come out, where the two are compared, and by what strides."""

    source: Tensor
    target: Tensor
    degradation: Degradation
    rates: Rates
    parts: list[Tile]
    held: list[Tile] = field(default_factory=list)


def _enlarged(lr: Tensor, degradation: Degradation) -> Tensor:
    return enlarge(lr, degradation.scale, off_centre=_all_of(degradation)).clamp(0, 1)


def _all_of(degradation: Degradation) -> tuple[float, float]:
    """What bicubic enlargement, which has learned nothing, is to put back: of subsampling too."""
    return -degradation.shift[0], -degradation.shift[1]


def _works_ahead(device: torch.device) -> bool:
    """Whether work is only queued there, so that looking at a number means to wait for it."""
    return device.type == "cuda"


def _fill(trace: Trace, losses: list[Tensor], rates: Rates, *, seconds: float) -> None:
    """Enter steps that nobody watched; the time since the last one that is known is shared evenly among them."""
    known = len(trace.losses)
    new = len(losses) - known
    if new == 0:
        return
    trace.losses += torch.stack(losses[known:]).tolist()
    trace.rates += [mean_rate(rates.at(step)) for step in range(known, len(losses))]
    before = trace.seconds[known - 1] if known else 0.0
    trace.seconds[known:] = [before + (seconds - before) * (i + 1) / new for i in range(new)]


def _described(rates: Rates) -> tuple[Hashable, list[Tensor]]:
    """What rates are as numbers, which a graph records, and as tensors, which it reads."""
    if isinstance(rates, FixedRates):
        return rates.schedule, []
    return getattr(rates, "tail", None), list(rates.parameters())


def _require_finite(sr: Tensor, step: int, degradation: Degradation) -> None:
    if not bool(torch.isfinite(sr).all()):
        raise DivergenceError(
            f"the output after {step} updates for degradation {degradation} is not finite; lower the inner rate"
        )
