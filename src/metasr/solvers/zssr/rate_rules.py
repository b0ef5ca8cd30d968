"""How the learning rate falls while a network learns from one image, and when it is enough."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Protocol

from metasr.errors import require_one_of

Schedule = Literal["cosine", "published"]

WATCH = 50
"""Steps between two reconstruction errors (of the whole image) that the published rule looks at."""
CHECK = 60
"""Steps that must lie between two looks at these errors, at least: with one every 50, every second is looked at."""
RECENT = 5
STOP_BELOW = 9e-6


def slope_and_deviation(errors: Sequence[float]) -> tuple[float, float]:
    """The least-squares line through equally spaced numbers: its slope per number, and the slope's standard deviation.

    Of fewer than three numbers nothing is known about the deviation: it is infinite.
    """
    n = len(errors)
    if n < 3:
        return 0.0, math.inf
    middle, mean = (n - 1) / 2, sum(errors) / n
    spread = sum((i - middle) ** 2 for i in range(n))
    slope = sum((i - middle) * e for i, e in enumerate(errors)) / spread
    residual = sum((e - mean - slope * (i - middle)) ** 2 for i, e in enumerate(errors))
    return slope, math.sqrt(residual / (n - 2) / spread)


class RateRule(Protocol):
    """Gives the rate of each step, in order; made anew for each image.

    Attributes:
        watches: every how many steps the reconstruction error is to be measured; 0 for never.
    """

    watches: int

    def rate(self, progress: float) -> float:
        """The next step's rate.

        Args:
            progress: share that is done of the steps, or of the time there is for them, from 0 to 1.
        """
        ...

    def watch(self, step: int, error: float) -> str:
        """See the reconstruction error after a number of steps.

        Returns:
            Why to stop, in a few words; empty to go on.
        """
        ...


class CosineRule:
    """A short rise, then half a cosine down to 0: what is to be learned in a given number of steps.

    r(p) = r₀ · min(1, p / w) · (1 + cos πp) / 2. Where a time is given instead, it falls with the time that is left, so
    that an image whose time is up is made of weights that have come to rest.

    Args:
        rate: r₀.
        rise: w, share of the steps.
    """

    watches = 0

    def __init__(self, rate: float, *, rise: float = 0.05) -> None:
        self.initial = rate
        self.rise = rise

    def rate(self, progress: float) -> float:
        """See ``RateRule``; never 0 at the first step."""
        progress = min(max(progress, 0.0), 1.0)
        return self.initial * min(1.0, (progress + 1e-3) / self.rise) * (1 + math.cos(math.pi * progress)) / 2

    def watch(self, step: int, error: float) -> str:
        """See ``RateRule``; never asked."""
        return ""


class SlopeRule:
    """ZSSR's own: the rate is divided by 10 whenever the reconstruction error no longer falls clearly.

    A line is fitted to the last five errors, which lie 50 steps apart. When it falls by less than the standard
    deviation of its slope, the rate is divided by 10; below 9e-6 learning ends (Shocher et al., 2018, section 3.2; how
    far the fit reaches back is not stated there: ours). The public program looks every 60 steps. Here it is looked at
    when an error comes in and at least 60 steps have passed, which is every 100: after 250, 350, 450, ... steps. After
    a division the fit begins anew, lest the next follow from the same errors, and is looked at 250 steps later.

    Args:
        rate: at the start; 1e-3 there.
    """

    watches = WATCH

    def __init__(self, rate: float) -> None:
        self.current = rate
        self.errors: list[float] = []
        self._checked = 0

    def rate(self, progress: float) -> float:
        """See ``RateRule``."""
        return self.current

    def watch(self, step: int, error: float) -> str:
        """See ``RateRule``."""
        self.errors.append(error)
        if len(self.errors) < RECENT or step - self._checked < CHECK:
            return ""
        self._checked = step
        slope, deviation = slope_and_deviation(self.errors[-RECENT:])
        if -slope < deviation:
            self.current /= 10
            self.errors.clear()
        return f"the rate fell below {STOP_BELOW:g}" if self.current < STOP_BELOW else ""


def make_rule(schedule: Schedule, *, rate: float) -> RateRule:
    """A rule by name, for one image.

    Raises:
        InputError: for an unknown name.
    """
    require_one_of(schedule, Schedule, name="schedule")
    return CosineRule(rate) if schedule == "cosine" else SlopeRule(rate)
