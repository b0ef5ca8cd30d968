"""What is taken for the image while a net still learns: the last one, a running mean, or the steadiest so far."""

from __future__ import annotations

from torch import Tensor

from metasr.solvers.ddsr.options import DDSROptions

FIRST = 30  # steps before the variance is looked at
SETTLED = (1 / 255) ** 2  # a variance of one grey level: what changes by less fits no noise that could be seen


class RunningImage:
    """The running mean of a solver's outputs, their variance about it, and when to stop by that.

    The mean m takes a share a = min(1, 1 / (average · steps)) of each new output x, and so does the variance,
    v ← (1 - a)(v + a mean (x - m)²). An untrained network that learns one image first finds what is there, then fits
    noise: between the two its outputs change least, and v has its minimum (Wang et al., Early Stopping for Deep Image
    Prior, TMLR 2023, there over a fixed window). No truth is needed. Without noise v goes on falling, with jumps: once
    it has been below one grey level there is nothing to stop for, and the last mean is the image.

    Args:
        choices: ``average``, ``stop``, ``patience``.
        seen: ``(1, 1, H, W)``, 1 where the variance is taken; none for everywhere. What is covered never settles.
    """

    def __init__(self, choices: DDSROptions, *, seen: Tensor | None = None) -> None:
        self.seen = seen
        self.share, self.stop, self.patience = choices.average, choices.stop, choices.patience
        self.mean: Tensor | None = None
        self.variance = 0.0
        self._kernel: Tensor | None = None
        self._settled = False
        self._least: tuple[float, int, Tensor, Tensor] | None = None

    def add(self, image: Tensor, kernel: Tensor, step: int) -> str:
        """Take an output.

        Args:
            image: ``(1, 3, H, W)``.
            kernel: of the same step.
            step: from 1.

        Returns:
            Why to stop, or nothing.
        """
        self._kernel = kernel
        if self.share == 0 and self.stop == "none":
            self.mean = image
            return ""
        weight = min(1.0, 1 / ((self.share or 0.05) * step))
        if self.mean is None:
            self.mean = image.clone()
        away = image - self.mean
        self.mean = self.mean + weight * away
        if self.stop == "none":
            return ""
        square = away.square().mean(1, keepdim=True)
        mean = square.mean() if self.seen is None else (square * self.seen).sum() / self.seen.sum()
        self.variance = (1 - weight) * (self.variance + weight * float(mean))
        if self._settled or step < FIRST:
            return ""
        if self.variance < SETTLED:
            self._settled, self._least = True, None
            return ""
        if self._least is None or self.variance < self._least[0]:
            self._least = self.variance, step, self.mean if self.share else image, kernel
        elif step >= self._least[1] + self.patience:
            return f"the image changed least at step {self._least[1]}"
        return ""

    @property
    def best(self) -> tuple[Tensor, Tensor]:
        """Image and kernel to give back."""
        if self._least is not None:
            return self._least[2], self._least[3]
        assert self.mean is not None
        assert self._kernel is not None
        return self.mean, self._kernel
