"""DDSR: an image net and a kernel net learn one image and its blur from its low-resolution version alone.

"Meta-learning based blind image super-resolution approach to different degradations" (Neural Networks 178, 2024), from
its public program. What is called meta-learning there is of first order: the kernel net takes one step on the sum of
the data losses of several image steps. See ``solvers.ddsr.options`` for the two modes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from metasr.degradation.direct_kernel import direct_kernel
from metasr.degradation.pipeline import Degradation
from metasr.degradation.published_ddsr import SCALES
from metasr.degradation.published_ddsr import kernel_size as published_size
from metasr.degradation.resize import imresize
from metasr.errors import InputError, require_at_least
from metasr.meta.precision import Precision, native_bfloat16
from metasr.models.kernel_net import KernelNet
from metasr.models.skip_net import SkipNet
from metasr.solvers.base import CutShort, Solution, check_problem, check_updates, clock
from metasr.solvers.ddsr.data_term import DataTerm, read_mask
from metasr.solvers.ddsr.loop import Loop, State
from metasr.solvers.ddsr.options import Arithmetic, DDSROptions, Mode, Optimisers, Stop, options_of
from metasr.solvers.ddsr.random_kernels import Centre, RandomKernels, Widths, shift_of, variance_range
from metasr.solvers.ddsr.windows import TOO_EARLY, Windows, learn_in_windows, too_early
from metasr.solvers.step_budget import TimeLimit, check_budget


class DDSRSolver:
    """Blind super-resolution by two untrained networks.

    Of the degradation that it is told only the mask, the gain and, with ``centre="auto"``, the kind of subsampling are
    used. A kernel it carries is never looked at but to measure the estimate (``trace.kernel_psnr``), and before bicubic
    or area resizing together with the resizing's filter, which the estimate holds too. The model of the LR image is
    y = m · gain · (x * k)↓s with circular borders, whatever the degradation's padding.

    A run that Ctrl-C or its time ends in the warm-up or before it has an image gives the LR image enlarged bicubically,
    put in its place; ``stopped`` tells it. What a mask covers is then black.

    Args:
        mode: ``faithful`` for the public program's schedule, ``better`` for ours.
        steps: image steps; outer iterations have five.
        centre: where the random kernels sit, see ``solvers.ddsr.random_kernels.centre_of``. ``auto`` is
            ``correct`` for bicubic and area; for direct subsampling it is ``middle`` in our mode, and in the faithful
            one ``published``, as the public program knows no other data than its own: name ``middle`` for direct
            subsampling after a centred kernel (``g2.0d``).
        kernel_size: odd side of the kernel; none for min(4s + 3, 21).
        mask: file (.png or .npy) or tensor of the LR image's size, 1 where the image is seen; none for the
            degradation's.
        gain: known brightness in (0, 1]; none for the degradation's. The solution is as bright as the scene.
        budget_seconds: wall-clock seconds after which it stops with what there is; none for no limit.
        max_pixels: SR pixels that are learned at once; each takes 8.4 kB of memory in float32, 5.8 kB in bfloat16
            (512×512 take 2.3 GB in all, 2048×2048 would take 35). A larger image is learned in overlapping windows:
            kernel and image in the one with most detail, then the image alone, with that kernel, in the others. None
            for the whole of any image.
        width: feature maps of the image net.
        skip: feature maps of its skip connections.
        levels: its halvings.
        hidden: width of the kernel net.
        warmup_steps: this and what follows: see ``solvers.ddsr.options.DDSROptions``; none for the mode's.
    """

    finds_kernel: ClassVar[bool] = True
    scales: ClassVar[tuple[int, ...]] = SCALES

    def __init__(
        self,
        *,
        mode: Mode = "better",
        steps: int = 1000,
        centre: Centre | Literal["auto"] = "auto",
        kernel_size: int | None = None,
        mask: str | Path | Tensor | None = None,
        gain: float | None = None,
        budget_seconds: float | None = None,
        max_pixels: int | None = 512 * 512,
        width: int = 128,
        skip: int = 16,
        levels: int = 5,
        hidden: int = 1000,
        warmup_steps: int | None = None,
        warmup_rate: float | None = None,
        widths: Widths | None = None,
        random_kernels: int | None = None,
        optimisers: Optimisers | None = None,
        accumulate: int | None = None,
        drop_losses: bool | None = None,
        ssim_steps: int | None = None,
        prior_weight: float | None = None,
        brighten: bool | None = None,
        sparse_kernel: float | None = None,
        average: float | None = None,
        stop: Stop | None = None,
        patience: int | None = None,
        share_forward: bool | None = None,
        precision: Arithmetic | None = None,
    ) -> None:
        require_at_least(1, steps=steps)
        check_budget(budget_seconds)
        require_at_least(1, max_pixels=max_pixels)
        self.choices: DDSROptions = options_of(
            mode,
            {
                "warmup_steps": warmup_steps, "warmup_rate": warmup_rate, "widths": widths,
                "random_kernels": random_kernels, "optimisers": optimisers, "accumulate": accumulate,
                "drop_losses": drop_losses, "ssim_steps": ssim_steps, "prior_weight": prior_weight,
                "brighten": brighten, "sparse_kernel": sparse_kernel, "average": average, "stop": stop,
                "patience": patience, "share_forward": share_forward, "precision": precision,
            },
        )  # fmt: skip
        if centre not in ("auto", *get_args(Centre)):
            raise InputError(f"centre must be one of {', '.join(get_args(Centre))}, got {centre!r}; or auto")
        if kernel_size is not None and (kernel_size < 3 or kernel_size % 2 == 0):
            raise InputError(f"kernel_size must be odd and at least 3, got {kernel_size}")
        if gain is not None and not 0 < gain <= 1:
            raise InputError(f"gain must be in (0, 1], got {gain}")
        self.mode = mode
        self.steps = steps
        self.centre = centre
        self.kernel_size = kernel_size
        self.mask = read_mask(mask) if isinstance(mask, str | Path) else mask
        self.gain = gain
        self.budget_seconds = budget_seconds
        self.max_pixels = max_pixels
        self.image_net = {"width": width, "skip": skip, "levels": levels}
        self.hidden = hidden
        self._nets(3)  # whatever is wrong with the sizes is told now

    def solve(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0) -> Solution:
        """See ``solvers.base.Solver.solve``."""
        return self.snapshots(lr, scale=scale, updates=(self.steps,), degradation=degradation, seed=seed)[self.steps]

    @torch.inference_mode(False)  # what is made in inference mode cannot take part in a gradient
    @torch.enable_grad()
    def snapshots(
        self,
        lr: Tensor,
        *,
        scale: float,
        updates: Sequence[int],
        degradation: Degradation | None = None,
        seed: int = 0,
    ) -> dict[int, Solution]:
        """Super-resolve after each of several numbers of image steps, in one run.

        Where the solver stops before the largest of them, those not reached get what there is.
        """
        problem = check_problem(lr, scale, degradation)
        wanted = check_updates(updates)
        start = clock(lr.device)
        observation = self._observation(
            lr.clone(), problem
        )  # a clone can take part in a gradient, made in whatever mode
        size = self._size(observation.scale)
        windows = Windows.plan(*lr.shape[-2:], scale=observation.scale, size=size, max_pixels=self.max_pixels)

        def make(part: DataTerm, kernel: Tensor | None) -> Loop:
            return self._loop(part, problem, size=size, seed=seed, kernel=kernel)

        if len(windows.tiles) > 1:
            states, loop, stopped, cut = learn_in_windows(
                observation, windows, make, wanted=wanted, budget_seconds=self.budget_seconds,
                fallback=self._enlarged(observation, problem),
            )  # fmt: skip
            return {n: _solution(state, loop, before=0.0, stopped=stopped, cut=cut) for n, state in states.items()}
        with TimeLimit(wanted[-1], budget_seconds=self.budget_seconds, label="ddsr") as limit:
            loop = make(observation, None)
            loop.warm_up(limit)
            before = clock(lr.device) - start
            states = loop.run(wanted, limit)
        solutions = {}
        for n, state in states.items():
            stopped, cut = (limit.stopped, limit.cut_short) if state.step < n else ("", None)
            if too_early(state.step, n, cut):
                state, stopped = state._replace(image=self._enlarged(observation, problem)), stopped + TOO_EARLY
            solutions[n] = _solution(state, loop, before=before, stopped=stopped, cut=cut)
        return solutions

    def loop(self, lr: Tensor, degradation: Degradation, *, seed: int = 0) -> Loop:
        """The loop that ``solve`` would run on the whole of an image, before its warm-up; to look inside."""
        observation = self._observation(lr, check_problem(lr, degradation.scale, degradation))
        size = self._size(observation.scale)
        return self._loop(observation, degradation, size=size, seed=seed, kernel=None)

    def _observation(self, lr: Tensor, given: Degradation) -> DataTerm:
        scale = published_scale(given.scale)
        mask = self.mask if self.mask is not None else given.mask
        gain = given.gain if self.gain is None else self.gain
        if self.choices.brighten:
            lr, gain = lr / gain, 1.0
        observation = DataTerm(lr, scale=scale, mask=mask, gain=gain)
        size, need = self._size(scale), self.least_side(scale)
        if min(lr.shape[-2:]) < need:
            raise InputError(
                f"ddsr at x{scale} needs an image of at least {need}x{need} pixels (its kernel is {size}x{size} HR "
                f"pixels, and its network halves the image {self.image_net['levels']} times), got "
                f"{lr.shape[-2]}x{lr.shape[-1]}"
            )
        return observation

    def least_side(self, scale: int) -> int:
        """Side in LR pixels below which an image is too small for the kernel or the image net."""
        return -(-max(self._size(scale), 2 ** self.image_net["levels"] + 1) // scale)

    def reach(self, scale: int) -> int:
        """LR pixels at the edge of a part of an image that depend on what lies beyond it."""
        return -(-(self._size(scale) // 2) // scale)

    def _size(self, scale: int) -> int:
        return published_size(scale) if self.kernel_size is None else self.kernel_size

    def _centre(self, degradation: Degradation) -> Centre:
        if self.centre != "auto":
            return self.centre
        if degradation.downsample != "direct":
            return "correct"
        return "published" if self.mode == "faithful" else "middle"

    def _enlarged(self, observation: DataTerm, degradation: Degradation) -> Tensor:
        """The LR image as bright as the scene, enlarged bicubically, in its place."""
        shift = shift_of(self._centre(degradation), scale=observation.scale)
        return imresize(observation.lr / observation.gain, observation.scale, shift=(shift, shift))

    def _loop(
        self, observation: DataTerm, degradation: Degradation, *, size: int, seed: int, kernel: Tensor | None
    ) -> Loop:
        centre = self._centre(degradation)
        variance = variance_range(self.choices.widths, scale=observation.scale)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            image_net, kernel_net = self._nets(size)
        truth = None if degradation.kernel is None else direct_kernel(degradation, size=size)
        return Loop(
            observation,
            image_net,
            kernel_net if kernel is None else None,
            kernel=kernel,
            random_kernels=RandomKernels(scale=observation.scale, size=size, variance=variance, centre=centre),
            choices=self.choices,
            generator=torch.Generator().manual_seed(seed),
            precision=Precision(arithmetic="bf16" if self._low(observation.lr.device) else "tf32"),
            truth=truth,
        )

    def _nets(self, size: int) -> tuple[SkipNet, KernelNet]:
        return SkipNet(**self.image_net), KernelNet(size, hidden=self.hidden)

    def _low(self, device: torch.device) -> bool:
        if self.choices.precision == "auto":
            return device.type == "cpu" and native_bfloat16()
        return self.choices.precision == "bfloat16"


def published_scale(scale: float) -> int:
    """A scale as a whole number.

    Raises:
        InputError: for any but those that the method was published for.
    """
    if scale not in SCALES:
        raise InputError(f"ddsr needs a scale of {', '.join(map(str, SCALES[:-1]))} or {SCALES[-1]}, got {scale:g}")
    return int(scale)


def _solution(state: State, loop: Loop, *, before: float, stopped: str, cut: CutShort | None) -> Solution:
    return Solution(
        sr=state.image.clamp(0, 1),
        kernel=state.kernel,
        trace=loop.trace.until(state.length),
        updates=state.step,
        direct=True,
        seconds=before + state.seconds,
        stopped=stopped,
        cut_short=cut,
    )
