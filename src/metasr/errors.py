"""The errors metasr raises on purpose.

Every message says what was expected, what came, and what to do. They are all ``MetasrError``, so that a
program (the command line among them) can tell a user's mistake from a defect: the former prints one paragraph, the
latter a traceback.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import get_args


class MetasrError(Exception):
    """Base of all errors that a user can mend."""


class InputError(MetasrError, ValueError):
    """A value, an image or a kernel is not what a function takes."""


class DataError(MetasrError):
    """A file or a data set is missing, unreadable or unfit for its use."""


class OutputError(MetasrError, OSError):
    """A result could not be written where it was asked for."""


class WeightsError(MetasrError):
    """A weights file is unreadable, unsafe, or made for something else."""


class StageError(MetasrError):
    """A training stage's parent or folder is missing, foreign or stale."""


class SliceOverError(MetasrError):
    """The time that a job was given is over, and its training not yet: to be gone on with, no mistake."""


class Cancelled(MetasrError):
    """The work on an image was ended by whoever was told of its progress; nothing half done is written."""


class DivergenceError(MetasrError, ArithmeticError):
    """A loss or gradient stopped being finite."""


@contextmanager
def told_of(what: object) -> Iterator[None]:
    """Put a name (a file, an image) before the messages of ``InputError`` raised within."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from error


def nearest(name: str, known: Iterable[str], *, count: int = 3) -> str:
    """Tell the known names closest to a mistyped one.

    Args:
        name: what the user wrote.
        known: the names that exist.
        count: how many suggestions at most.

    Returns:
        ``"did you mean 'a' or 'b'? known: a, b, c"`` (without the question where nothing is close).
    """
    known = sorted(known)
    close = difflib.get_close_matches(name.lower(), [k.lower() for k in known], n=count, cutoff=0.5)
    original = {k.lower(): k for k in known}
    question = f"did you mean {' or '.join(repr(original[c]) for c in close)}? " if close else ""
    return f"{question}known: {', '.join(known)}"


def require_one_of(value: object, choices: object, *, name: str) -> None:
    """Require one of the known choices.

    Args:
        value: what came.
        choices: a ``Literal``, or a collection of the choices.
        name: what it is called where the user sets it.

    Raises:
        InputError: listing them all.
    """
    known = choices if isinstance(choices, Collection) else get_args(choices)
    if value not in known:
        raise InputError(f"{name} must be one of {', '.join(map(str, known))}, got {value!r}")


def require_at_least(least: float, **values: float | None) -> None:
    """Require that each value, named as the user sets it, is at least ``least``; none is left alone.

    Raises:
        InputError: naming the first that is not.
    """
    for name, value in values.items():
        if value is not None and not value >= least:
            raise InputError(f"{name} must be at least {least:g}, got {value}")


def require_extra(extra: str, *packages: str, asked: str) -> None:
    """Require that the packages of an extra are installed, before any work.

    Args:
        extra: its name in ``pyproject.toml``, as in ``pip install 'metasr[onnx]'``.
        *packages: as they are imported.
        asked: what the user typed that needs them.

    Raises:
        InputError: naming what is missing and how to install it.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise InputError(
            f"{asked}: {' and '.join(missing)} {verb} not installed: pip install 'metasr[{extra}]', or "
            f"pip install {' '.join(packages)}"
        )
