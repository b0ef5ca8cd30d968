"""Keep what C libraries write to the terminal off it: libtiff, libpng and libjpeg report there, past Python."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

_one_at_a_time = threading.RLock()


@contextmanager
def captured_stderr() -> Iterator[Callable[[], str]]:
    """Catch what is written to the process's standard error, by whatever library.

    Yields:
        A function that gives the text so far.
    """
    with _one_at_a_time, ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile())
            kept = os.dup(2)
        except OSError:  # no standard error, or no place for the file
            yield lambda: ""
            return
        stack.callback(os.close, kept)
        with suppress(AttributeError, OSError, ValueError):
            sys.stderr.flush()
        stack.callback(os.dup2, kept, 2)
        os.dup2(file.fileno(), 2)
        yield lambda: _content(file.fileno())


def _content(file: int) -> str:
    end = os.lseek(file, 0, os.SEEK_END)
    os.lseek(file, 0, os.SEEK_SET)
    text = os.read(file, min(end, 1 << 16)).decode("utf-8", "replace")
    os.lseek(file, 0, os.SEEK_END)
    return text
