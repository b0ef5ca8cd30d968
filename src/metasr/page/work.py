"""Work in a thread of its own, which tells how far it has got and can be ended."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from metasr.errors import Cancelled
from metasr.solvers.progress import Listener, Progress

T = TypeVar("T")

_PAUSE = 0.3  # seconds between two looks, at least
_LONGEST = 1.0  # and at most, so that whoever shows the clock can go on


class Work(Generic[T]):
    """A task that runs at once.

    ::

        work = Work(lambda listener: metasr.upscale(photo, progress=listener))
        for reports in work:
            ...  # show them
        work.result

    Attributes:
        error: what ended it before it was done; none where nothing did.
        last: the newest report that was handed out.

    Args:
        task: is called with a listener to hand on as ``progress=``.
    """

    def __init__(self, task: Callable[[Listener], T]) -> None:
        self._task = task
        self._reports: queue.SimpleQueue[Progress | None] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._result: list[T] = []
        self.error: BaseException | None = None
        self.last: Progress | None = None
        self._start = time.monotonic()
        threading.Thread(target=self._run, name="metasr page", daemon=True).start()

    def cancel(self) -> None:
        """End it at its next report."""
        self._ended.set()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._start

    @property
    def share(self) -> float:
        """How much of it is done, from 0 to 1."""
        return 0.0 if self.last is None else self.last.share

    @property
    def succeeded(self) -> bool:
        """Whether there is a result."""
        return bool(self._result)

    @property
    def result(self) -> T:
        """What the task gave; there once the reports are at their end."""
        return self._result[0]

    def __iter__(self) -> Iterator[list[Progress]]:
        """The new reports, again and again (there may be none) until the task is done.

        Raises:
            Cancelled: if it was ended.
            Exception: what the task raised.
        """
        done = False
        while not done:
            new = self._waited_for()
            done = None in new
            reports = [report for report in new if report is not None]
            self.last = reports[-1] if reports else self.last
            yield reports
        if self.error is not None:
            raise self.error

    def _waited_for(self) -> list[Progress | None]:
        try:
            new = [self._reports.get(timeout=_LONGEST)]
        except queue.Empty:
            return []
        until = time.monotonic() + _PAUSE
        while new[-1] is not None and (left := until - time.monotonic()) > 0:
            try:
                new.append(self._reports.get(timeout=left))
            except queue.Empty:
                break
        return new

    def _listen(self, report: Progress) -> None:
        if self._ended.is_set():
            raise Cancelled("cancelled")
        self._reports.put(report)

    def _run(self) -> None:
        try:
            self._result.append(self._task(self._listen))
        except BaseException as error:
            self.error = error
        finally:
            self._reports.put(None)
