"""What DDSR's two modes choose: the public program's schedule, and ours."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from metasr.errors import InputError, require_one_of
from metasr.solvers.ddsr.random_kernels import Widths

Mode = Literal["faithful", "better"]
Optimisers = Literal["shared", "random", "kernel", "all"]
Stop = Literal["none", "variance"]
Arithmetic = Literal["auto", "float32", "bfloat16"]

PER_OUTER = 5
"""Image steps of an outer iteration, which begins with one step of random kernel learning."""


@dataclass(frozen=True, kw_only=True)
class DDSROptions:
    """Everything in which the modes differ; the defaults are the public program's.

    Attributes:
        warmup_steps: steps on random kernels alone before anything else, one kernel each.
        warmup_rate: Adam's rate in them.
        widths: range of the random kernels' variances, see ``solvers.ddsr.random_kernels.variance_range``.
        random_kernels: drawn in every outer iteration; 0 for no random kernel learning.
        optimisers: ``shared``: one Adam for all that the kernel net learns (though the gradients of random kernel
            learning are hundreds of times smaller than the data loss's, and those of the MSE than the SSIM's, and Adam
            remembers); ``random``: one for random kernels and one for the data losses; ``kernel``: one for random
            kernels, one for SSIM, one for MSE; ``all``: the image net's too.
        accumulate: image steps of whose data losses the kernel net sees the sum.
        drop_losses: count to ``accumulate`` over all image steps, but forget an unfinished sum where an outer iteration
            ends: sums of 3, 1, 3, 2, 3 losses. Otherwise count within it, with a step on what is left at its end: 3, 2.
        ssim_steps: image steps with 1 - SSIM as data loss; the mean squared error from there on.
        prior_weight: of the hyper-Laplacian prior on the image.
        brighten: divide a dark LR image by its gain, and learn from it as from a bright one. Otherwise the model is
            darkened, and the prior is off.
        sparse_kernel: weight of the penalty Σ √k / K on the kernel's taps (1 for a uniform kernel, less the fewer taps
            it has), in units of the data loss: it takes away the pedestal that a softmax leaves under the kernel.
        average: the output is a running mean over about this share of the steps so far; 0 for the last one alone.
        stop: ``variance``: stop when the outputs' variance about their running mean has not fallen for ``patience``
            steps, and take the image of its least, unless it has been so small that there is no noise to be fitted
            (``solvers.ddsr.average.RunningImage``); ``none``: never.
        patience: for ``stop``.
        share_forward: random kernel learning takes the image of the last forward pass, that from before the image
            net's last step, and so saves a pass of its own. The public program makes one with the net as it now is; the
            kernels are compared by an image that is a step older.
        precision: of the image net's passes; ``auto`` is bfloat16 on a CPU that multiplies it natively.
    """

    warmup_steps: int = 200
    warmup_rate: float = 1e-4
    widths: Widths = "wide"
    random_kernels: int = 5
    optimisers: Optimisers = "shared"
    accumulate: int = 3
    drop_losses: bool = True
    ssim_steps: int = 81 * PER_OUTER
    prior_weight: float = 1e-3
    brighten: bool = False
    sparse_kernel: float = 0.0
    average: float = 0.0
    stop: Stop = "none"
    patience: int = 100
    share_forward: bool = False
    precision: Arithmetic = "float32"

    def __post_init__(self) -> None:
        for name, least in (
            ("warmup_steps", 0), ("random_kernels", 0), ("accumulate", 1), ("ssim_steps", 0), ("patience", 1),
            ("prior_weight", 0), ("sparse_kernel", 0), ("average", 0), ("warmup_rate", 0),
        ):  # fmt: skip
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= least):
                raise InputError(f"{name} must be at least {least}, got {value}")
        if self.average >= 1:
            raise InputError(f"average must be a share below 1 of the steps so far, got {self.average}")
        for name, known in (("widths", Widths), ("optimisers", Optimisers), ("stop", Stop), ("precision", Arithmetic)):
            require_one_of(getattr(self, name), known, name=name)

    def gradient_kept(self, step: int) -> bool:
        """Whether the kernel net will ever see the data loss of an image step (from 1)."""
        due = -(-step // self.accumulate) * self.accumulate  # the next kernel step
        return not self.drop_losses or (due - 1) // PER_OUTER == (step - 1) // PER_OUTER

    def kernel_step_due(self, step: int) -> bool:
        """Whether the kernel net takes a step after an image step (from 1)."""
        if self.drop_losses:
            return step % self.accumulate == 0
        within = (step - 1) % PER_OUTER + 1
        return within % self.accumulate == 0 or within == PER_OUTER


FAITHFUL = DDSROptions()

# Chosen on crops of BSDS's training images at x4. The widths matter most: with the published ones, all above 3.7 px², a
# kernel that is sharper than that is never come to.
BETTER = DDSROptions(
    warmup_rate=1e-3,
    widths="data",
    optimisers="kernel",
    drop_losses=False,
    brighten=True,
    average=0.1,
    stop="variance",
    share_forward=True,
    precision="auto",
)


def options_of(mode: Mode, changes: dict[str, Any]) -> DDSROptions:
    """A mode's choices with changes of one's own; a change to none is none.

    Raises:
        InputError: for an unknown mode, or a value out of its range.
    """
    require_one_of(mode, Mode, name="mode")
    base = FAITHFUL if mode == "faithful" else BETTER
    return replace(base, **{k: v for k, v in changes.items() if v is not None})
