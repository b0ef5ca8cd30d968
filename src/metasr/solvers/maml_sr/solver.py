"""MAML-SR's test-time adaptation: a few steps, on self-consistency or on the image, until a metric says to stop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import middle
from metasr.errors import DivergenceError, InputError, require_at_least, require_one_of
from metasr.meta.inner_loop import Trace, inner_loop
from metasr.meta.rates import FixedRates
from metasr.solvers.base import Solution, check_problem, clock
from metasr.solvers.maml_sr.stopping import Mixed, Rule, Stop, lr_error_of, make_rule
from metasr.solvers.network import enlarge, enlarged_son
from metasr.solvers.progress import part as share_of_work
from metasr.solvers.progress import tell
from metasr.solvers.tiles import Tile, apply_tiled, check_tiling, overlap_of, split

Optimiser = Literal["adam", "sgd"]
Head = Literal["coarsest", "middle", "finest"]
Source = Literal["scales", "image"]


@dataclass
class StopTrace(Trace):
    """What happened, step by step; ``losses``, ``rates`` and ``seconds`` as ever, one of each per step taken.

    Attributes:
        measured: what the stopping rule measured of the output after 0, 1, ... steps: ``psnr`` and ``ssim`` against the
            reference output, ``lr_error``, or ``loss``.
        verdicts: what it made of it, in words.
        kept: after how many steps the output was made that is given back.
    """

    measured: list[dict[str, float]] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)
    kept: int = 0


class _Look(NamedTuple):
    """One pass over the image: the loss, the final image, and the loss's gradient when it is wanted."""

    loss: float
    output: Tensor
    gradients: Callable[[], list[Tensor]]


class MAMLSRSolver:
    """Adapt a clone of a deeply supervised network to one image until a rule says to stop.

    Each step brings down ‖final - intermediate‖₁, the mean disagreement of the network's scales about this image
    (facts of the public code: Adam at 1e-3, and the finest of the three intermediate images). After each step the
    stopping rule judges the output (the rules stand in ``solvers.maml_sr.stopping``, the metric-dependent one with
    every case written down), and at ``max_steps`` it ends in any case, which the public loop does not. What is given
    back is the last output that the rule kept.

    What to expect: the loss has its least value where both images agree, and the final one is drawn to the
    intermediate one, which is worse, more than the other way round. After short trainings, steps at the published rate
    cost 0.2 to 0.8 dB, up to all that the network had gained over interpolation; at a tenth of it 0.03 to 0.2 dB. The
    metric-dependent rule does not see that, as outputs that settle raise both metrics wherever they settle; the LR
    error does.

    ``learn_from="image"`` therefore takes the steps on what the image itself teaches, under the same rules: it is
    degraded once more by its own degradation, as in MZSR, and the network learns to undo that. Weights meta-trained for
    it come from the recipe's ``inner_loss="image"``.

    Any image from 1×1 LR pixels is taken. The network's global pooling and normalisation see what they are given as a
    whole, so an image done in parts comes out differently than in one, if only by some 0.01 dB; there are no seams, as
    the parts overlap. Images of which no side exceeds ``tile`` are done in one, larger ones in equal parts; adaptation
    takes about 16 kB a pixel of one part at width 32. It looks at the whole image up to ``adapt_pixels`` and at its
    centre beyond, which bounds the steps' time.

    Args:
        network: weights with intermediate images (``forward_all``); a clone is adapted, they are never changed.
        rate: learning rate of the steps.
        max_steps: largest number of steps.
        stop: ``metric``, ``consistency`` (the LR error stops falling), ``loss`` (``threshold`` is reached) or ``fixed``
            (all ``max_steps``).
        threshold: of ``stop="loss"``, in units of the [0, 1] range.
        mixed: with ``stop="metric"``, what follows when one metric rises and the other falls: ``continue`` or ``stop``.
        optimiser: ``adam`` or ``sgd``.
        learn_from: ``scales``, the disagreement with an intermediate image (published), or ``image``.
        target_head: with ``learn_from="scales"``, which intermediate image: ``coarsest``, ``middle`` or ``finest``,
            from 1/8, 1/4 and 1/2 of the resolution.
        tile: largest side in SR pixels of the parts an image is worked through in; none for one part.
        adapt_pixels: SR pixels that adaptation looks at, at most; none for the whole of any image.

    Raises:
        InputError: for a network without intermediate images, or an option out of its range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        rate: float = 1e-3,
        max_steps: int = 10,
        stop: Stop = "metric",
        threshold: float = 0.01,
        mixed: Mixed = "continue",
        optimiser: Optimiser = "adam",
        learn_from: Source = "scales",
        target_head: Head = "finest",
        tile: int | None = 256,
        adapt_pixels: int | None = 512 * 512,
    ) -> None:
        if not hasattr(network, "forward_all") or not getattr(network, "deep_supervision", True):
            raise InputError(
                f"metric-constrained adaptation compares the final image with an intermediate one, and this "
                f"{type(network).__name__} gives none; take one with deep_supervision=true, or solver=network"
            )
        make_rule(stop, threshold=threshold, mixed=mixed, lr_error=_no_error)  # refuses what it does not know
        require_one_of(optimiser, Optimiser, name="optimiser")
        require_one_of(learn_from, Source, name="learn_from")
        require_one_of(target_head, Head, name="target_head")
        if not 0 < rate < math.inf:
            raise InputError(f"rate must be above 0, got {rate}")
        require_at_least(0, max_steps=max_steps)
        check_tiling(tile, adapt_pixels=adapt_pixels)
        self.network = network
        self.rate = rate
        self.max_steps = max_steps
        self.stop = stop
        self.threshold = threshold
        self.mixed = mixed
        self.optimiser = optimiser
        self.learn_from = learn_from
        self.target_head = target_head
        self.tile = tile
        self.adapt_pixels = adapt_pixels

    @torch.inference_mode(False)  # what is made in inference mode cannot take part in a gradient
    @torch.enable_grad()
    def solve(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0) -> Solution:
        """See ``solvers.base.Solver.solve``; all that is drawn at random is the noise of a noisy image's copy."""
        degradation = check_problem(lr, scale, degradation)
        start = clock(lr.device)
        self.network.eval()
        part = self._centre(lr, scale)
        whole = part.shape == lr.shape
        source = enlarge(part, scale, off_centre=degradation.off_centre).clone()  # (1, 3, H, W)
        overlap = overlap_of(self.network)
        tiles = split(*source.shape[-2:], tile=self.tile, overlap=overlap)
        if self.learn_from == "image":
            son = enlarged_son(part, degradation, torch.Generator().manual_seed(seed)).clone()
            parts = split(*son.shape[-2:], tile=self.tile, overlap=overlap)
        learner = inner_loop(self.network, steps=0, rates=FixedRates((self.rate,)), order="none")
        parameters = [p for p in learner.parameters() if p.requires_grad]
        if not parameters and self.max_steps:
            raise InputError("all weights of the network are frozen: nothing can be adapted; take solver=network")
        make = torch.optim.Adam if self.optimiser == "adam" else torch.optim.SGD
        optimiser = make(parameters, lr=self.rate) if parameters else None
        rule = self._rule(part, degradation)

        output = 0.0 if whole else lr.shape[-2] * lr.shape[-1] * scale**2
        looks = 3 * source.shape[-2] * source.shape[-1] * (self.max_steps + 1)  # forward and twice backward
        adapted = looks / (looks + output)  # the share of the work that adaptation is

        trace = StopTrace()
        sr, stopped = source, ""
        weights: list[Tensor] = []  # those that made ``sr``, where they have a larger image to make yet
        for step in range(self.max_steps + 1):
            look = (
                _look(learner, parameters, source, tiles, head=get_args(Head).index(self.target_head))
                if self.learn_from == "scales"
                else _look_at_son(learner, parameters, source, tiles, son=son, target=part, parts=parts)
            )
            _require_finite(look, step, self.rate, degradation)
            verdict = rule(look.output.clamp(0, 1), look.loss)
            trace.measured.append(verdict.measured)
            trace.verdicts.append(verdict.why)
            so_far = adapted * (step + 1) / (self.max_steps + 1)
            tell(step, self.max_steps, "updates", image=look.output, loss=look.loss, share=so_far)
            if verdict.keep:
                sr, trace.kept = look.output, step
                weights = [] if whole else [p.detach().clone() for p in parameters]
            if verdict.stop or step == self.max_steps or optimiser is None:
                stopped = verdict.why if verdict.stop else "" if self.stop == "fixed" else "max_steps reached"
                break
            for parameter, gradient in zip(parameters, look.gradients(), strict=True):
                parameter.grad = gradient
            optimiser.step()
            trace.losses.append(look.loss)
            trace.rates.append(self.rate)
            trace.seconds.append(clock(lr.device) - start)
        if not whole:
            with torch.no_grad():
                for parameter, kept in zip(parameters, weights, strict=True):
                    parameter.copy_(kept)
            enlarged = enlarge(lr, scale, off_centre=degradation.off_centre)
            with share_of_work(adapted, 1):
                sr = apply_tiled(learner, enlarged, tile=self.tile, overlap=overlap_of(self.network))
        return Solution(
            sr=sr.clamp(0, 1),
            kernel=degradation.kernel,
            trace=trace,
            updates=len(trace.losses),
            seconds=clock(lr.device) - start,
            stopped=stopped,
        )

    def _rule(self, lr: Tensor, degradation: Degradation) -> Rule:
        lr_error = lr_error_of(lr, degradation)
        return make_rule(self.stop, threshold=self.threshold, mixed=self.mixed, lr_error=lr_error)

    def _centre(self, lr: Tensor, scale: float) -> Tensor:
        """The part of an image that adaptation looks at."""
        height, width = lr.shape[-2:]
        pixels = height * width * scale**2
        if self.adapt_pixels is None or pixels <= self.adapt_pixels:
            return lr
        share = math.sqrt(self.adapt_pixels / pixels)
        tall, wide = (max(1, math.floor(n * share)) for n in (height, width))
        return middle(lr, (tall, wide))


def _look(network: nn.Module, parameters: list[nn.Parameter], source: Tensor, tiles: list[Tile], *, head: int) -> _Look:
    """Mean absolute difference between the final and an intermediate image, its gradient, and the final image.

    One tile is in memory at a time. Where there is only one, its gradient waits until it is asked for.
    """
    total, sums = 0.0, [torch.zeros_like(p) for p in parameters]
    output = torch.empty_like(source)
    for part in tiles:
        outputs = network.forward_all(source[..., part.outer[0], part.outer[1]], heads=(head,))  # type: ignore[operator]
        final, coarse = (image[..., part.inner[0], part.inner[1]] for image in (outputs.final, outputs.deep[0]))
        loss = (final - coarse).abs().sum() / source.numel()
        output[..., part.core[0], part.core[1]] = final.detach()
        total += float(loss.detach())
        if len(tiles) == 1:
            return _Look(total, output, lambda: _gradients(loss, parameters))  # noqa: B023  the only round
        for into, gradient in zip(sums, _gradients(loss, parameters), strict=True):
            into += gradient
    return _Look(total, output, lambda: sums)


def _look_at_son(
    network: nn.Module,
    parameters: list[nn.Parameter],
    source: Tensor,
    tiles: list[Tile],
    *,
    son: Tensor,
    target: Tensor,
    parts: list[Tile],
) -> _Look:
    """Mean absolute error of what the network makes of the degraded copy, its gradient, and the final image."""
    output = torch.empty_like(source)
    with torch.no_grad():
        for part in tiles:
            final = network(source[..., part.outer[0], part.outer[1]])[..., part.inner[0], part.inner[1]]
            output[..., part.core[0], part.core[1]] = final
    total, sums = 0.0, [torch.zeros_like(p) for p in parameters]
    for part in parts:
        made = network(son[..., part.outer[0], part.outer[1]])[..., part.inner[0], part.inner[1]]
        loss = (made - target[..., part.core[0], part.core[1]]).abs().sum() / target.numel()
        total += float(loss.detach())
        for into, gradient in zip(sums, _gradients(loss, parameters), strict=True):
            into += gradient
    return _Look(total, output, lambda: sums)


def _gradients(loss: Tensor, parameters: list[nn.Parameter]) -> list[Tensor]:
    """Gradients of the loss, 0 for the weights of the other intermediate images."""
    return list(torch.autograd.grad(loss, parameters, materialize_grads=True))


def _require_finite(look: _Look, step: int, rate: float, degradation: Degradation) -> None:
    if not math.isfinite(look.loss) or not bool(torch.isfinite(look.output).all()):
        raise DivergenceError(
            f"the output after {step} steps for degradation {degradation} is not finite (self-consistency loss "
            f"{look.loss}); lower the rate, {rate:g}, or check the weights"
        )


def _no_error(sr: Tensor) -> float:
    return 0.0
