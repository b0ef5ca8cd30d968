"""When to stop adapting to an image of which no truth is known (MAML-SR's metric-dependent constraint, and others).

A rule is shown the output after 0, 1, 2, ... steps, in order. It keeps an output or not, and stops or not.

The metric-dependent rule takes PSNR and SSIM of the new output against the output it kept last: they do not measure
quality but how much the output still changes. At the start both thresholds are 0, and the output before any step is the
reference. Then, after each step:

======  =========  =========  ==========
PSNR    SSIM       kept       then
======  =========  =========  ==========
rises   rises      yes        thresholds raised to both, the output is the new reference, go on
rises   falls      no         ``mixed``: go on (as the public code does), or stop; nothing is raised
falls   rises      no         the same
falls   falls      no         stop: the output changes more than before
falls   equal      no         stop, and so for SSIM: nothing speaks for the step
rises   equal      no         as ``mixed``: only one of the two speaks for the step
equal   equal      no         stop: the output has settled (of a constant image it never changes at all)
======  =========  =========  ==========
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol, get_args

from torch import Tensor

from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import middle, pad_symmetric
from metasr.errors import DivergenceError, InputError, require_one_of
from metasr.metrics.color import luma_bt601
from metasr.metrics.psnr_ssim import psnr, ssim

Stop = Literal["metric", "consistency", "loss", "fixed"]
Mixed = Literal["continue", "stop"]

_WINDOW = 11
_MIDDLE = 192


class Verdict(NamedTuple):
    """What a rule makes of an output.

    Attributes:
        keep: it is the best so far.
        stop: no further step is to be taken.
        why: in a few words.
        measured: what the rule went by.
    """

    keep: bool
    stop: bool
    why: str
    measured: dict[str, float]


class Rule(Protocol):
    """Judges the outputs of one adaptation, in order; made anew for each image."""

    def __call__(self, sr: Tensor, loss: float) -> Verdict:
        """Judge.

        Args:
            sr: ``(1, 3, H, W)`` in [0, 1].
            loss: the self-consistency loss of it.
        """
        ...


def decide(scores: tuple[float, float], thresholds: tuple[float, float], *, mixed: Mixed) -> tuple[bool, bool, str]:
    """The table of this module.

    Args:
        scores: PSNR and SSIM of the new output against the reference.
        thresholds: what they are compared with.
        mixed: what follows when only one of them rises.

    Returns:
        Whether to keep the output, whether to stop, and why.
    """
    rises = [a > b for a, b in zip(scores, thresholds, strict=True)]
    falls = [a < b for a, b in zip(scores, thresholds, strict=True)]
    if all(rises):
        return True, False, "kept: PSNR and SSIM both rose"
    if not any(rises) and not any(falls):
        return False, True, "the output no longer changes"
    if not any(rises):
        return False, True, "PSNR and SSIM both fell" if all(falls) else "PSNR or SSIM fell and neither rose"
    one, other = ("PSNR", "SSIM") if rises[0] else ("SSIM", "PSNR")
    why = f"{one} rose, {other} {'fell' if any(falls) else 'did not'}"
    return (False, True, why) if mixed == "stop" else (False, False, f"not kept: {why}")


class MetricRule:
    """The metric-dependent constraint: see the module's table.

    PSNR and SSIM are those of ``metrics.psnr_ssim`` on Y in float64, but Y is not rounded to whole levels,
    which would hide the last small changes, and nothing is shaved. Of large images the middle of 192×192 is measured:
    what a step on the weights changes, it changes everywhere, and SSIM in float64 on more would take as long as a step
    of a small network. Images of fewer than 11 pixels a side are mirrored up to SSIM's window.
    """

    def __init__(self, *, mixed: Mixed = "continue") -> None:
        self.mixed = mixed
        self.thresholds = (0.0, 0.0)
        self.reference: Tensor | None = None  # (1, 1, H, W), Y of the output kept last

    def __call__(self, sr: Tensor, loss: float) -> Verdict:
        """See ``Rule``."""
        y = self._measured(sr)
        if self.reference is None:
            self.reference = y
            return Verdict(True, False, "the reference", {})
        scores = psnr(y, self.reference).item(), ssim(y, self.reference).item()
        if scores[0] != scores[0] or scores[1] != scores[1]:
            raise DivergenceError(f"PSNR {scores[0]} and SSIM {scores[1]} of an output: lower the rate")
        keep, stop, why = decide(scores, self.thresholds, mixed=self.mixed)
        if keep:
            self.reference, self.thresholds = y, scores
        return Verdict(keep, stop, why, {"psnr": scores[0], "ssim": scores[1]})

    @staticmethod
    def _measured(sr: Tensor) -> Tensor:
        """Y of what is measured, ``(1, 1, H, W)`` with sides from 11 to 192."""
        y = luma_bt601(middle(sr, (_MIDDLE, _MIDDLE)).double())
        down, right = (max(0, _WINDOW - n) for n in y.shape[-2:])
        return pad_symmetric(y, (0, right, 0, down))


class ConsistencyRule:
    """Stop as soon as the LR error |degrade(SR) - LR| no longer falls; the output with the least is kept.

    Args:
        lr_error: of an SR image.
    """

    def __init__(self, lr_error: Callable[[Tensor], float]) -> None:
        self.lr_error = lr_error
        self.least = float("inf")

    def __call__(self, sr: Tensor, loss: float) -> Verdict:
        """See ``Rule``."""
        error = self.lr_error(sr)
        if error < self.least:
            self.least = error
            return Verdict(True, False, "kept: the LR error fell", {"lr_error": error})
        return Verdict(False, True, "the LR error stopped falling", {"lr_error": error})


class LossRule:
    """Stop as soon as the self-consistency loss is at most a fixed number: what MAML-SR argues against.

    Args:
        threshold: that number; negative never stops.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def __call__(self, sr: Tensor, loss: float) -> Verdict:
        """See ``Rule``."""
        done = loss <= self.threshold
        why = "the loss reached its threshold" if done else "kept: the loss is above its threshold"
        return Verdict(True, done, why, {"loss": loss})


class FixedRule:
    """Keep the latest output and never stop: the number of steps is fixed."""

    def __call__(self, sr: Tensor, loss: float) -> Verdict:
        """See ``Rule``."""
        return Verdict(True, False, "kept: a fixed number of steps", {"loss": loss})


def lr_error_of(lr: Tensor, degradation: Degradation) -> Callable[[Tensor], float]:
    """What ``ConsistencyRule`` measures: how far an SR image, degraded again, is from its LR image, mean absolute.

    Args:
        lr: ``(1, 3, h, w)``.
        degradation: of the LR image.
    """

    def lr_error(sr: Tensor) -> float:
        again = degradation.linear(sr)[..., : lr.shape[-2], : lr.shape[-1]]  # SR sides are rounded up
        return float((again - lr).abs().mean())

    return lr_error


def make_rule(stop: Stop, *, threshold: float, mixed: Mixed, lr_error: Callable[[Tensor], float]) -> Rule:
    """A rule by name, for one image.

    Args:
        stop: the rule.
        threshold: for ``loss``.
        mixed: for ``metric``.
        lr_error: for ``consistency``.

    Raises:
        InputError: for an unknown name, or a threshold that is not a number.
    """
    require_one_of(mixed, Mixed, name="mixed")
    if threshold != threshold:
        raise InputError("threshold must be a number, got nan")
    if stop == "metric":
        return MetricRule(mixed=mixed)
    if stop == "consistency":
        return ConsistencyRule(lr_error)
    if stop == "loss":
        return LossRule(threshold)
    if stop == "fixed":
        return FixedRule()
    raise InputError(f"stop must be one of {', '.join(get_args(Stop))}, got {stop!r}")
