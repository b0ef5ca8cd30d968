"""How far the work on a photo has got, told to whoever listens, who may also end it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Progress:
    """One report.

    Attributes:
        done: how many of ``what`` are done.
        total: how many there are.
        what: ``updates`` of adaptation, ``steps`` of learning, ``tiles`` of the output, ``photos`` that are written.
        image: ``(1, 3, H, W)`` in [0, 1], the enlarged image as it is by now, where the solver has it at hand.
        loss: of the last update or step, where there is one.
        share: of the whole work that is done, all photos together, from 0 to 1; it never falls.
        photo: the file worked on; none for images in memory.
        place: its number among the photos, and how many these are.
    """

    done: int
    total: int
    what: str
    image: Tensor | None = None
    loss: float | None = None
    share: float = 0.0
    photo: Path | None = None
    place: tuple[int, int] = (1, 1)


Listener = Callable[[Progress], object]
"""Is called with each report, in the thread that works; what it raises ends the work (``metasr.errors.Cancelled``)."""


@dataclass(frozen=True)
class _Heard:
    """Who listens, and the part of the whole work that is done now."""

    listener: Listener
    start: float = 0.0
    stop: float = 1.0


_heard: ContextVar[_Heard | None] = ContextVar("progress", default=None)


@contextmanager
def listening(listener: Listener | None) -> Iterator[None]:
    """Have a listener told of the work within, in this thread; with none, whoever listens already goes on."""
    if listener is None:
        yield
        return
    before = _heard.set(_Heard(listener))
    try:
        yield
    finally:
        _heard.reset(before)


@contextmanager
def part(start: float, stop: float) -> Iterator[None]:
    """Say which part of the work around it the work within is, from one share of it to another."""
    heard = _heard.get()
    if heard is None:
        yield
        return
    length = heard.stop - heard.start
    before = _heard.set(_Heard(heard.listener, heard.start + start * length, heard.start + stop * length))
    try:
        yield
    finally:
        _heard.reset(before)


def is_heard() -> bool:
    """Whether anybody listens: what a report costs need not be spent otherwise."""
    return _heard.get() is not None


def tell(
    done: int,
    total: int,
    what: str,
    *,
    image: Tensor | None = None,
    loss: float | Tensor | None = None,
    share: float | None = None,
) -> None:
    """Report to whoever listens.

    Args:
        done: see ``Progress``.
        total: see ``Progress``.
        what: see ``Progress``.
        image: ``(1, 3, H, W)``, of any range and on any device.
        loss: waited for only if somebody listens.
        share: of the present part that is done; ``done / total`` by default.

    Raises:
        Exception: whatever the listener raises.
    """
    heard = _heard.get()
    if heard is None:
        return
    within = share if share is not None else done / total if total else 1.0
    heard.listener(
        Progress(
            done,
            total,
            what,
            image=None if image is None else image.detach().clamp(0, 1).cpu(),
            loss=None if loss is None else float(loss),
            share=heard.start + min(max(within, 0.0), 1.0) * (heard.stop - heard.start),
        )
    )
