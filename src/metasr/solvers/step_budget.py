"""A long loop on one image: watched on a terminal, bounded in time, and interrupted without losing what there is."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from torch import Tensor
from tqdm import tqdm

from metasr.errors import InputError
from metasr.solvers.base import CutShort, Solution
from metasr.solvers.progress import is_heard, tell


def check_budget(budget_seconds: float | None) -> None:
    """Require a time that something can be done in, or none for no limit.

    Raises:
        InputError: if it is not above 0.
    """
    if budget_seconds is not None and not budget_seconds > 0:
        raise InputError(f"budget_seconds must be above 0, or none for no limit, got {budget_seconds}")


def was_interrupted(solution: Solution) -> bool:
    """Whether it is what there was when somebody pressed Ctrl-C."""
    return solution.cut_short is CutShort.INTERRUPTED


def was_cut_short(solution: Solution) -> bool:
    """Whether somebody, or the time that was given, ended it before its solver would have."""
    return solution.cut_short is not None


class TimeLimit:
    """The steps of a solver that learns from one image, as a context around its loop.

    ::

        with TimeLimit(steps, budget_seconds=60, label="zssr") as limit:
            for step in range(steps):
                ...
                if not limit.tick(loss):
                    break
        Solution(..., stopped=limit.stopped, cut_short=limit.cut_short)

    The first Ctrl-C (SIGINT) within the context lets the present step end and the loop stop, so that the solver makes
    its image of what was learned so far; from then on Ctrl-C does what it did before. Where signals belong to somebody
    else (in another thread than the main one) nothing is caught. On a terminal a bar on standard error shows steps,
    loss and the time that remains; elsewhere, and where somebody is told of it (``solvers.progress``), nothing is
    printed.

    Attributes:
        steps: how many are done.
        stopped: why no further one is to be taken, in a few words; empty where all of them were.
        cut_short: who ended it, where the solver did not itself.

    Args:
        total: steps that the loop has at most.
        budget_seconds: wall-clock seconds from entering the context to the solver's image; none for no limit.
        label: what the bar is called.
        output_steps: what is to be kept back of the budget for making the image, in steps of the mean duration. The
            first step is always taken, unless the time is spent before it (``prepare``).
        clock: gives seconds.
    """

    def __init__(
        self,
        total: int,
        *,
        budget_seconds: float | None = None,
        label: str = "",
        output_steps: float = 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        check_budget(budget_seconds)
        self.total = total
        self.budget_seconds = budget_seconds
        self.label = label
        self.output_steps = output_steps
        self.clock = clock
        self.steps = 0
        self.stopped = ""
        self.cut_short: CutShort | None = None
        self._start = clock()
        self._aside = 0.0  # seconds before the first step
        self._interrupts = False
        self._before: Any = None  # the handler of SIGINT while ours is in its place
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> TimeLimit:
        """Start the clock, catch Ctrl-C, show the bar."""
        self._start = self.clock()
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._interrupt)
        if is_terminal() and not is_heard():
            self._bar = tqdm(total=self.total, desc=self.label, unit="step", leave=False, file=sys.stderr)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give Ctrl-C and the terminal back."""
        self._release()
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    @property
    def seconds(self) -> float:
        """Since the context was entered."""
        return self.clock() - self._start

    @property
    def progress(self) -> float:
        """The share that is done of the steps, or of the time there is for them: the larger, from 0 to 1."""
        done = self.steps / self.total if self.total else 1.0
        if self.budget_seconds is not None and self.steps:
            available = self._available(self.budget_seconds)
            done = max(done, self.seconds / available if available > 0 else 1.0)
        return min(done, 1.0)

    def tick(self, loss: float | Tensor | None = None, *, image: Tensor | None = None) -> bool:
        """A step is done.

        Args:
            loss: shown beside the bar; a tensor is only waited for when it is shown.
            image: ``(1, 3, H, W)``, the enlarged image by now, for those who are told of the progress.

        Returns:
            Whether another one is to be taken.
        """
        self.steps += 1
        if self._bar is not None:
            if loss is not None and self._bar.n + 1 >= self._bar.last_print_n + (self._bar.miniters or 1):
                self._bar.set_postfix_str(f"loss {float(loss):.4f}", refresh=False)
            self._bar.update()
        tell(self.steps, self.total, "steps", image=image, loss=loss, share=self.progress)
        self._look()
        return not self.stopped and self.steps < self.total

    def prepare(self, label: str) -> bool:
        """A part of what comes before the first step is done; its time is no step's, but the budget's.

        Args:
            label: what it is, shown beside the bar.

        Returns:
            Whether to go on.
        """
        if self._bar is not None:
            self._bar.set_postfix_str(label, refresh=False)
            self._bar.update(0)
        tell(self.steps, self.total, "steps")  # none yet; whoever listens may end it here too
        self._aside = self.seconds
        self._look()
        return not self.stopped

    def _look(self) -> None:
        """Stop where somebody wishes it, or the time is spent."""
        if self._interrupts:
            self._cut(CutShort.INTERRUPTED, f"interrupted after {self.steps} of {self.total} steps")
            print("\ninterrupted: the image is made of what there is; Ctrl-C once more leaves at once", file=sys.stderr)
        elif self._is_spent():
            reason = f"budget_seconds={self.budget_seconds:g} spent after {self.steps} of {self.total} steps"
            self._cut(CutShort.BUDGET, reason)

    def _cut(self, by: CutShort, told: str) -> None:
        if not self.stopped:
            self.stopped, self.cut_short = told, by

    def stop(self, why: str) -> None:
        """Let the loop end, for a reason of the solver's own; the first reason stays."""
        self.stopped = self.stopped or why

    def _is_spent(self) -> bool:
        """Whether another step of the mean duration is too much."""
        if self.budget_seconds is None or self.steps >= self.total:
            return False
        return self.seconds + self._step_seconds > self._available(self.budget_seconds)

    @property
    def _step_seconds(self) -> float:
        """The mean duration of a step; 0 before the first."""
        return (self.seconds - self._aside) / self.steps if self.steps else 0.0

    def _available(self, budget_seconds: float) -> float:
        """Seconds of the budget that are there for steps."""
        return budget_seconds - self.output_steps * self._step_seconds

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._interrupts = True
        self._release()

    def _release(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None


def is_terminal() -> bool:
    """Whether somebody may be watching standard error: it is a terminal, and this is no worker process."""
    return sys.stderr is not None and sys.stderr.isatty() and multiprocessing.parent_process() is None
