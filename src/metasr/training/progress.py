"""Where a run stands: a live table of its stages on a terminal, and the words for it in lines of text."""

from __future__ import annotations

import logging
import math
import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console
from rich.live import Live
from rich.table import Table

State = Literal["waiting", "running", "finished", "stopped"]
Clock = Callable[[], float]

_COLOURS: dict[State, str] = {"waiting": "dim", "running": "bold", "finished": "green", "stopped": "red"}
_REDRAW = 0.25  # seconds


class Pace:
    """How fast steps go by, as a mean since the first that was seen.

    Args:
        step: steps done when the clock is started; more than 0 where a stage goes on.
        total: steps of the stage.
        clock: gives seconds.
    """

    def __init__(self, step: int, total: int, *, clock: Clock = time.monotonic) -> None:
        self.first = step
        self.total = total
        self.clock = clock
        self.start = clock()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self.clock() - self.start

    def speed(self, step: int) -> float:
        """Steps per second; 0 before the first is done."""
        return (step - self.first) / max(self.seconds, 1e-9)

    def left(self, step: int) -> float:
        """Seconds that the rest will take at this speed; nan before the first step is done."""
        speed = self.speed(step)
        return (self.total - step) / speed if speed > 0 else math.nan


def duration(seconds: float) -> str:
    """A time in words, two units at most: ``45 s``, ``3 min 20 s``, ``2 h 05 min``, ``3 d 04 h``; ``-`` for nan."""
    if not math.isfinite(seconds):
        return "-"
    whole = max(0, math.ceil(seconds))
    for unit, size, below, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part:02d} {below}"
    return f"{whole} s"


@dataclass
class _Stage:
    total: int
    state: State = "waiting"
    step: int = 0
    pace: Pace | None = None
    seconds: float = math.nan  # it took, once it no longer runs
    loss: float | None = None


class StageTable:
    """A table of a run's stages, kept up to date below the lines of the log as long as its context is open.

    It is shown on a terminal only, where nobody else writes: elsewhere it is kept, and nothing is printed. What is
    logged or printed meanwhile appears above it, as far as it goes to the terminal.

    Attributes:
        watched: whether it is shown.

    Args:
        stages: steps of each stage, by name, in order.
        shown: show it, where that can be.
        console: where to; none for the terminal at standard error, if there is one.
        clock: gives seconds.
    """

    def __init__(
        self,
        stages: Mapping[str, int],
        *,
        shown: bool = True,
        console: Console | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.stages = {name: _Stage(int(total)) for name, total in stages.items()}
        self.clock = clock
        self.console = console or Console(stderr=True)
        self.watched = shown and (is_watched(self.console) if console is None else _can_redraw(console))
        self._live: Live | None = None
        self._moved: list[tuple[logging.StreamHandler[Any], Any]] = []
        self._drawn = -math.inf

    def __enter__(self) -> StageTable:
        """Show it."""
        if self.watched:
            streams = {name: getattr(sys, name) for name in ("stdout", "stderr")}
            shared = [name for name, stream in streams.items() if stream.isatty()]
            self._live = Live(
                console=self.console, auto_refresh=False, get_renderable=self.grid,
                redirect_stdout="stdout" in shared, redirect_stderr="stderr" in shared,
            )  # fmt: skip
            self._live.start(refresh=True)
            for handler in logging.getLogger().handlers:  # they hold the stream itself, not its name
                if isinstance(handler, logging.StreamHandler):
                    for name in (name for name in shared if handler.stream is streams[name]):
                        self._moved.append((handler, streams[name]))
                        handler.setStream(getattr(sys, name))
                        break
        return self

    def __exit__(self, *_: object) -> None:
        """Leave it standing as it is, and give the terminal back."""
        while self._moved:
            handler, stream = self._moved.pop()
            handler.setStream(stream)
        if self._live is not None:
            self._live.stop()
            self._live = None

    def skip(self, name: str) -> None:
        """A stage was finished before."""
        stage = self.stages[name]
        stage.state, stage.step = "finished", stage.total
        self._draw()

    def begin(self, name: str, step: int) -> None:
        """A stage starts, or goes on after ``step`` steps."""
        stage = self.stages[name]
        stage.state, stage.step, stage.pace = "running", step, Pace(step, stage.total, clock=self.clock)
        self._draw()

    def advance(self, name: str, step: int, loss: Callable[[], float | None]) -> None:
        """A step is done.

        Args:
            name: the stage.
            step: how many are.
            loss: gives the loss; asked only when it is drawn, since a GPU has to be waited for.
        """
        stage = self.stages[name]
        stage.step = step
        if self._live is not None and self.clock() - self._drawn >= _REDRAW:
            stage.loss = loss()
            self._draw()

    def end(self, name: str, loss: float | None = None) -> None:
        """A stage no longer runs: it is finished if all its steps are done, else it was stopped."""
        stage = self.stages[name]
        stage.state = "finished" if stage.step >= stage.total else "stopped"
        stage.seconds = stage.pace.seconds if stage.pace is not None else math.nan
        stage.loss = loss if loss is not None else stage.loss
        self._draw()

    def grid(self) -> Table:
        """The table as it stands."""
        grid = Table(show_edge=False, pad_edge=False, header_style="dim")
        for heading in ("stage", "state"):
            grid.add_column(heading, no_wrap=True)
        for heading in ("step", "per second", "time", "remaining", "loss"):
            grid.add_column(heading, justify="right", no_wrap=True)
        for name, stage in self.stages.items():
            grid.add_row(name, f"[{_COLOURS[stage.state]}]{stage.state}[/]", *_numbers(stage))
        return grid

    def _draw(self) -> None:
        self._drawn = self.clock()
        if self._live is not None:
            self._live.refresh()


def _numbers(stage: _Stage) -> list[str]:
    loss = "-" if stage.loss is None else f"{stage.loss:.4f}"
    steps = f"{stage.step} of {stage.total}"
    if stage.state != "running" or stage.pace is None:
        return [steps, "-", duration(stage.seconds), "-", loss]
    speed = stage.pace.speed(stage.step)
    return [
        steps, f"{speed:.2g}" if 0 < speed < 10 else f"{speed:.0f}" if speed else "-", duration(stage.pace.seconds),
        duration(stage.pace.left(stage.step)), loss,
    ]  # fmt: skip


def is_watched(console: Console) -> bool:
    """Whether somebody looks at this very process's standard error: a worker shares its terminal with its siblings."""
    alone = multiprocessing.current_process().name == "MainProcess"
    return alone and sys.stderr is not None and sys.stderr.isatty() and _can_redraw(console)


def _can_redraw(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal
