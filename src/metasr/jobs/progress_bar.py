"""A bar on the terminal: how far an upscaling job has got, and what time remains."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from metasr.jobs.upscale import Upscaled
from metasr.solvers.progress import Progress
from metasr.solvers.step_budget import is_terminal

DELAY = 2.0
"""Seconds before the bar of a single photo is shown: most are done by then."""

_FORMAT = "{desc} {percentage:3.0f}%|{bar:30}| {elapsed}, {remaining} left"


def with_bar(
    work: Callable[..., Iterable[Upscaled]], *, quiet: bool = False, delay: float = DELAY
) -> Iterator[Upscaled]:
    """The results of an upscaling job, with a bar beside them where standard error is a terminal.

    Args:
        work: starts the job; takes ``progress``, who is told how far it has got.
        quiet: show none in any case.
        delay: seconds before the bar of a single photo; that of several is shown at once.
    """
    if quiet or not is_terminal():
        yield from work(progress=None)
        return
    bar = _Bar(delay)
    try:
        with logging_redirect_tqdm(_with_handlers()):
            for result in work(progress=bar.show):
                bar.clear()  # so that the line that is printed now has the screen to itself
                yield result
    finally:
        bar.close()


class _Bar:
    """A bar that begins with the first report."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self._bar: tqdm[Any] | None = None

    def show(self, report: Progress) -> None:
        several = report.place[1] > 1
        if self._bar is None:
            self._bar = tqdm(
                total=1.0, delay=0.0 if several else self.delay, bar_format=_FORMAT, smoothing=0, leave=False,
                file=sys.stderr, dynamic_ncols=True,
            )  # fmt: skip
        self._bar.set_description_str(_described(report), refresh=False)
        self._bar.update(report.share - self._bar.n)

    def clear(self) -> None:
        if self._bar is not None:
            self._bar.clear()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _described(report: Progress) -> str:
    """``12 of 40: photo.jpg, update 3 of 10``."""
    number = "{} of {}: ".format(*report.place) if report.place[1] > 1 else ""
    name = "" if report.photo is None else report.photo.name
    if report.what == "photos":
        return f"{number}{name}"
    return f"{number}{name}, {report.what.removesuffix('s')} {report.done} of {report.total}"


def _with_handlers() -> list[logging.Logger]:
    """The loggers that write to the terminal by themselves: our own, or the root."""
    return [logger for logger in (logging.getLogger(), logging.getLogger("metasr")) if logger.handlers]
