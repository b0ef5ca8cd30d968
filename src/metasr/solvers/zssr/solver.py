"""ZSSR: a network learned from one image alone (Shocher et al., CVPR 2018)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import middle
from metasr.errors import DivergenceError, InputError, require_one_of
from metasr.meta.cuda_graph import Engine, EngineKind
from metasr.meta.precision import native_bfloat16
from metasr.models.plain_cnn import PlainCNN
from metasr.solvers.base import Solution, check_problem, clock
from metasr.solvers.ensemble import Symmetry, back_project
from metasr.solvers.plain_steps import forward_of
from metasr.solvers.progress import part
from metasr.solvers.step_budget import TimeLimit, check_budget
from metasr.solvers.tiles import apply_tiled, check_tiling, overlap_of
from metasr.solvers.zssr.internal_learning import Learner
from metasr.solvers.zssr.internal_pairs import InternalPairs, at_scale, enlarge, enlarged_son, require_room
from metasr.solvers.zssr.median_ensemble import median_ensemble, symmetries_with_moves
from metasr.solvers.zssr.rate_rules import Schedule, make_rule

Precision = Literal["auto", "float32", "bfloat16"]

WATCHED = 256
"""Side of the image's middle of which the published schedule takes the reconstruction error."""

NOTHING = 0.25 / 255
"""A difference between fathers and sons that no 8-bit image shows."""


class ZSSRSolver:
    """Learn from an image how it was degraded once more, with a fresh network, then undo its own degradation.

    The network is ``models.plain_cnn.PlainCNN``, drawn anew for each image from the seed, so that its
    output starts at the enlarged image. It learns to bring sons back to their fathers (``InternalPairs``) by Adam
    on the L1 loss. The output is the median over the turns and flips that the degradation allows, then back-projected.

    Departures from the paper, each to be undone by an option (``profile=paper`` does: crops of 128, up to 3000 steps at
    1e-3, ``schedule: published``): the first layer begins with the image's mean colour taken off, so that
    learning starts at once whatever the seed; the rate is higher and follows half a cosine over fewer steps, on smaller
    crops; passes run in bfloat16 where the processor multiplies it natively. And one that stays: the
    enlarged image is put where the LR pixels came from, which the paper's network has to learn of direct subsampling.

    Args:
        channels: width of the network.
        layers: its number of convolutions.
        last_gain: what its last layer's initial weights are multiplied by; 1 is the paper's.
        centred: begin with biases that take the image's mean colour off (``centre``); not so in the paper.
        max_steps: steps at most.
        batch: crops per step.
        crop: their side, in LR pixels.
        rate: of Adam, at the start.
        schedule: ``cosine`` falls to 0 over ``max_steps``, or over ``budget_seconds`` where that is shorter;
            ``published`` is divided by 10 whenever the reconstruction error no longer falls, and ends by itself.
        father_sizes: number of sizes that fathers are reduced to.
        smallest_father: the least of them, as a share of the image's.
        whole_share: of crops from fathers of the image's own size.
        son_noise: standard deviation, on the 0-255 scale, of Gaussian noise added to sons; none for the degradation's.
        gradual: scales to enlarge by before the last one, each result a father of the next (paper, section 3.3).
        ensemble: take the median over turned and flipped copies.
        back_projection: rounds of back-projection.
        precision: of the learning steps: ``auto`` is bfloat16 on CPUs that multiply it natively, else float32. Weights,
            and the output, are float32.
        tile: largest side in pixels of the parts the output is made in; none for the whole image at once.
        adapt_pixels: the largest area of a father, in LR pixels; of larger images, each is another part.
        budget_seconds: wall-clock seconds for an image; none for no limit.
        engine: whether steps are captured as a CUDA graph (``meta.cuda_graph.Engine``).

    Raises:
        InputError: for an option out of its range.
    """

    uses_kernel: ClassVar[bool] = True

    def __init__(
        self,
        *,
        channels: int = 64,
        layers: int = 8,
        last_gain: float = 0.1,
        centred: bool = True,
        max_steps: int = 600,
        batch: int = 1,
        crop: int = 64,
        rate: float = 2e-3,
        schedule: Schedule = "cosine",
        father_sizes: int = 6,
        smallest_father: float = 0.5,
        whole_share: float = 0.5,
        son_noise: float | None = None,
        gradual: Sequence[float] = (),
        ensemble: bool = True,
        back_projection: int = 10,
        precision: Precision = "auto",
        tile: int | None = 256,
        adapt_pixels: int = 512 * 512,
        budget_seconds: float | None = None,
        engine: EngineKind = "auto",
    ) -> None:
        for name, value, least in (
            ("channels", channels, 1),
            ("layers", layers, 2),
            ("max_steps", max_steps, 0), ("batch", batch, 1), ("crop", crop, 1), ("father_sizes", father_sizes, 0),
            ("back_projection", back_projection, 0),
        ):  # fmt: skip
            if value < least:
                raise InputError(f"{name} must be at least {least}, got {value}")
        if not 0 < rate < math.inf:
            raise InputError(f"rate must be above 0, got {rate}")
        if not 0 < smallest_father <= 1:
            raise InputError(
                f"smallest_father is a share of the image's side, above 0 and at most 1, got {smallest_father}"
            )
        if not 0 <= whole_share <= 1:
            raise InputError(f"whole_share must be between 0 and 1, got {whole_share}")
        if son_noise is not None and not 0 <= son_noise < math.inf:
            raise InputError(f"son_noise must be at least 0 (on the 0-255 scale), got {son_noise}")
        require_one_of(precision, Precision, name="precision")
        if sorted(set(gradual)) != list(gradual) or any(s <= 1 for s in gradual):
            raise InputError(f"gradual takes scales above 1 in rising order, got {list(gradual)}")
        check_tiling(tile, adapt_pixels=adapt_pixels)
        check_budget(budget_seconds)
        make_rule(schedule, rate=rate)  # refuses what it does not know
        Engine(engine)
        self.channels = channels
        self.layers = layers
        self.last_gain = last_gain
        self.centred = centred
        self.max_steps = max_steps
        self.batch = batch
        self.crop = crop
        self.rate = rate
        self.schedule = schedule
        self.father_sizes = father_sizes
        self.smallest_father = smallest_father
        self.whole_share = whole_share
        self.son_noise = son_noise
        self.gradual = tuple(gradual)
        self.ensemble = ensemble
        self.back_projection = back_projection
        self.precision = precision
        self.tile = tile
        self.adapt_pixels = adapt_pixels
        self.budget_seconds = budget_seconds
        self.engine = engine

    @torch.inference_mode(False)  # what is made in inference mode cannot take part in a gradient
    @torch.enable_grad()
    def solve(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0) -> Solution:
        """See ``solvers.base.Solver.solve``.

        Raises:
            InputError: also for a mask or a gain, a scale below 1 or not above the ones of ``gradual``, and an image
                that is smaller than the kernel.
            DivergenceError: if the loss or the output stops being finite.
        """
        degradation = check_problem(lr, scale, degradation)
        self._check(lr, degradation)
        lr = lr.clone()  # whatever the caller has it in
        start = clock(lr.device)
        generator = torch.Generator().manual_seed(seed)
        learner = Learner(
            self._fresh(lr, generator),
            rate=self.rate,
            bfloat16=self.precision == "bfloat16" or (self.precision == "auto" and _is_cheaper(lr)),
            engine="eager" if self.engine == "auto" and lr.device.type != "cuda" else self.engine,
        )
        stages = [*(at_scale(degradation, s) for s in self.gradual), degradation]
        images = [lr]
        output_steps = self._output_steps(lr, degradation)
        learned = self.max_steps / (self.max_steps + output_steps)  # the share of the work that learning is
        limit = TimeLimit(
            self.max_steps, budget_seconds=self.budget_seconds, label="zssr", output_steps=output_steps
        )  # fmt: skip
        with part(0, learned), limit:
            for i, stage in enumerate(stages):
                self._learn(learner, images, stage, limit, (i / len(stages), (i + 1) / len(stages)), generator)
                if i < len(stages) - 1 and not limit.stopped:
                    with part(limit.progress, limit.progress):
                        images.append(self._render(learner.network, lr, stage))
        with part(learned, 1):
            sr = self._render(learner.network, lr, degradation)
        if not bool(torch.isfinite(sr).all()):
            raise DivergenceError(f"the output for degradation {degradation} is not finite; lower solver.rate")
        return Solution(
            sr=sr,
            kernel=degradation.kernel,
            trace=learner.trace,
            updates=limit.steps,
            seconds=clock(lr.device) - start,
            stopped=limit.stopped,
            cut_short=limit.cut_short,
        )

    def _check(self, lr: Tensor, degradation: Degradation) -> None:
        if degradation.mask is not None or degradation.gain != 1:
            what = "mask" if degradation.mask is not None else "gain"
            raise InputError(f"zssr learns from whole images of full brightness, got a degradation with a {what}")
        if degradation.scale < 1:
            raise InputError(f"zssr enlarges: the scale must be at least 1, got {degradation.scale:g}")
        if any(s >= degradation.scale for s in self.gradual):
            raise InputError(
                f"gradual takes scales below the last one, {degradation.scale:g}, got {list(self.gradual)}"
            )
        require_room(lr, degradation)

    def _fresh(self, lr: Tensor, generator: torch.Generator) -> nn.Module:
        """A network drawn from the seed; the global generator is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(1 << 62, (1,), generator=generator)))
            network = PlainCNN(self.channels, self.layers, last_gain=self.last_gain)
        network = network.to(lr).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.centred:
            centre(network, lr.mean((0, 2, 3)))
        return network

    def _learn(
        self,
        learner: Learner,
        images: Sequence[Tensor],
        degradation: Degradation,
        limit: TimeLimit,
        part: tuple[float, float],
        generator: torch.Generator,
    ) -> None:
        """The steps of one scale, a part of the limit from one share of it to another."""
        if limit.stopped or self.max_steps == 0:
            return
        pairs = InternalPairs(
            images,
            degradation,
            sizes=self.father_sizes,
            smallest=self.smallest_father,
            pixels=self.adapt_pixels,
            crop=min(self.crop, *images[0].shape[-2:]),
            generator=generator,
        )
        if pairs.contrast < NOTHING:
            limit.stop("nothing to learn: degraded once more, the image stays what it is")
            return
        noise_std = degradation.noise_level if self.son_noise is None else self.son_noise / 255

        def draw() -> tuple[Tensor, Tensor]:
            return pairs.draw(self.batch, generator=generator, whole_share=self.whole_share, noise_std=noise_std)

        rule = make_rule(self.schedule, rate=self.rate)
        part_seen = middle(images[0], (WATCHED, WATCHED))
        watched = (enlarged_son(part_seen, degradation), part_seen) if rule.watches else None
        learner.learn(draw, limit=limit, rule=rule, part=part, watched=watched, label=str(degradation))

    def _render(self, network: nn.Module, lr: Tensor, degradation: Degradation) -> Tensor:
        """The SR image of what was learned so far, ``(1, 3, H, W)`` in [0, 1]."""
        run, overlap = forward_of(network), overlap_of(network)

        def enlarged(image: Tensor) -> Tensor:
            return apply_tiled(run, enlarge(image, degradation), tile=self.tile, overlap=overlap)

        sr = median_ensemble(enlarged, lr, self._moves(lr, degradation))
        return back_project(sr, lr, degradation, rounds=self.back_projection).clamp(0, 1)

    def _moves(self, lr: Tensor, degradation: Degradation) -> dict[Symmetry, tuple[int, int]]:
        if not self.ensemble:
            return {}
        return symmetries_with_moves(degradation, size=(lr.shape[-2], lr.shape[-1]))

    def _output_steps(self, lr: Tensor, degradation: Degradation) -> float:
        """About how many learning steps the output takes: one forward pass per copy, where a step takes three."""
        copies = max(1, len(self._moves(lr, degradation)))
        pixels = lr.shape[-2] * lr.shape[-1] * degradation.scale**2
        return copies * pixels / (3 * self.batch * min(self.crop**2, lr.shape[-2] * lr.shape[-1]))


def centre(network: nn.Module, colour: Tensor) -> None:
    """Make a network's first layer see images as they differ from a colour, by its biases.

    Otherwise an image's mean, many times what it differs by, runs through all layers of a fresh network, and the first
    hundreds of steps go into getting rid of it.

    Args:
        network: a plain one, changed in place.
        colour: ``(3,)``.
    """
    first = network.get_submodule("conv1")
    assert isinstance(first, nn.Conv2d)
    assert first.bias is not None
    with torch.no_grad():
        first.bias.copy_(-(first.weight.sum((2, 3)) @ colour.to(first.weight)))


def _is_cheaper(image: Tensor) -> bool:
    """Whether bfloat16 is multiplied at a higher rate there, and float32 is asked for."""
    return image.dtype == torch.float32 and image.device.type == "cpu" and native_bfloat16()
