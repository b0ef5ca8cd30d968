"""Runs the command on one bad input after another, in one process, and judges how each ended.

A case ends well in a whole output, or in one line on standard error with exit status 2. Everything else is a finding:
a traceback, further lines, a hang, memory above the bound, or a file written anywhere but where the output goes.
"""

from __future__ import annotations

import copy
import faulthandler
import io
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

import hydra
from PIL import Image

from metasr import cli

SECONDS = 30.0
"""More is a hang, if the processor was busy with it: a crowded machine gets four times as long."""
MEMORY = 1024
"""MiB by which a case may raise the process's memory at its highest."""
GOOD = ("output", "error", "usage")
"""Outcomes that are none to mend; ``usage`` is what argparse says of an option that it cannot read."""


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        kind: its class: ``image``, ``kernel`` and so on.
        name: what is bad about it; with ``kind`` it is unique.
        make: writes what it needs into an empty folder, and gives the command's arguments; outputs go below ``out``.
    """

    kind: str
    name: str
    make: Callable[[Path], Sequence[str]]


@dataclass(frozen=True)
class Ended:
    """How a case ended.

    Attributes:
        case: which.
        outcome: one of ``GOOD``, or what is wrong.
        told: what the command printed.
        seconds: it took.
        memory: MiB above where it began, at its highest.
    """

    case: Case
    outcome: str
    told: str
    seconds: float
    memory: float

    @property
    def good(self) -> bool:
        """Whether it ended well."""
        return self.outcome in GOOD


class _HangError(BaseException):
    """Raised by the alarm; not to be caught by anything that catches exceptions."""


def run_case(case: Case, folder: Path) -> Ended:
    """Run the command on one case.

    Args:
        case: the case.
        folder: an empty one of its own.
    """
    (folder / "out").mkdir(parents=True)
    (folder / "tmp").mkdir()
    arguments = [str(argument) for argument in case.make(folder)]
    before = _snapshot(folder)
    start, base = time.perf_counter(), _reset_peak()
    with _captured() as streams, _alarm(), _inside(folder), _composed_once():
        status, raised = _status(arguments)
    seconds, memory = time.perf_counter() - start, (_peak() - base) / 1024
    told, shown = streams["err"].strip(), streams["out"].strip()
    outcome = _outcome(status, raised, told, folder)
    if outcome in GOOD and memory > MEMORY:
        outcome = f"memory above {MEMORY} MiB"
    if outcome in GOOD and (changed := _changed(before, _snapshot(folder))):
        outcome = f"touched {', '.join(changed[:3])}"
    return Ended(case, outcome, raised or told or shown, seconds, memory)


def _status(arguments: list[str]) -> tuple[int | None, str]:
    """The exit status, or the traceback of what came through."""
    try:
        with mock.patch.object(sys, "argv", ["metasr", *arguments]):
            return cli.main(arguments), ""
    except SystemExit as stop:
        return (stop.code if isinstance(stop.code, int) else 1), ""
    except _HangError:
        return None, f"hang: no end after {SECONDS:g} s"
    except BaseException:  # whatever a user would see as a traceback
        return None, traceback.format_exc()


def _outcome(status: int | None, raised: str, told: str, folder: Path) -> str:
    if raised:
        return "hang" if raised.startswith("hang") else "traceback"
    lines = [line for line in told.splitlines() if line.strip()]
    if status == 0:
        made = [path for path in (folder / "out").rglob("*") if path.is_file()]
        return "output" if made and all(_is_whole(path) for path in made) else "no whole output"
    if status != 2:
        return f"exit {status}"
    if lines and lines[0].startswith("usage: ") and ": error: " in lines[-1]:
        return "usage"
    if len(lines) != 1 or not lines[0].startswith("error: "):
        return f"{len(lines)} lines" if lines else "no line"
    return "error" if _tells(lines[0]) else "says too little"


def _tells(line: str) -> bool:
    """Whether a message has the parts of one: what it is about, and what was expected, or what to do."""
    signs = (": ", "; ", ", got ", " must ", "instead", "expected", "requires", "No match")
    return len(line) > 30 and any(sign in line[7:] for sign in signs)


def _is_whole(path: Path) -> bool:
    if path.suffix.lower() not in (".png", ".jpg", ".tif", ".tiff", ".webp", ".bmp"):
        return path.stat().st_size > 0 or path.suffix == ".log"
    with Image.open(path) as image:
        image.load()
        return min(image.size) > 0


def _snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything in a folder but what is below ``out``, with what would change if it were written."""
    found = {}
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not (Path(root) == folder and name == "out")]
        for name in [*files, *folders]:
            if name.startswith("torchinductor_"):  # torch's own cache among the temporary files
                continue
            status = os.lstat(os.path.join(root, name))
            is_file = not os.path.isdir(os.path.join(root, name))
            found[os.path.join(root, name)] = (status.st_size, status.st_mtime_ns) if is_file else (0, 0)
    return found


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return sorted(os.path.basename(path) for path in {*before, *after} if before.get(path) != after.get(path))


@contextmanager
def _captured() -> Iterator[dict[str, str]]:
    """Both streams as text, those of libraries written in C included."""
    told: dict[str, str] = {}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        sys.stdout.flush(), sys.stderr.flush()
        saved = os.dup(1), os.dup(2)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        streams = [io.TextIOWrapper(os.fdopen(os.dup(n), "wb"), "utf-8", "backslashreplace") for n in (1, 2)]
        try:
            with mock.patch.object(sys, "stdout", streams[0]), mock.patch.object(sys, "stderr", streams[1]):
                yield told
        finally:
            for stream in streams:
                stream.close()
            for number, descriptor in zip((1, 2), saved, strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)
            for name, file in (("out", out), ("err", err)):
                file.seek(0)
                told[name] = file.read().decode("utf-8", "replace")


@contextmanager
def _alarm() -> Iterator[None]:
    began, busy = time.monotonic(), time.process_time()

    def stop(signum: int, frame: object) -> None:
        if time.process_time() - busy > SECONDS / 2 or time.monotonic() - began > 4 * SECONDS - 1:
            raise _HangError

    faulthandler.dump_traceback_later(6 * SECONDS, exit=True)  # where no signal comes through
    old = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """In a folder of its own, with outputs and temporary files below it."""
    import logging

    here, level = Path.cwd(), logging.getLogger().level
    handlers = logging.getLogger().handlers[:]
    logging.getLogger().handlers[:] = []
    os.chdir(folder)
    environment = {"METASR_OUTPUTS": str(folder / "out"), "TMPDIR": str(folder / "tmp"), "HYDRA_FULL_ERROR": "0"}
    try:
        with mock.patch.dict(os.environ, environment), mock.patch.object(tempfile, "tempdir", str(folder / "tmp")):
            yield
    finally:
        os.chdir(here)
        logging.getLogger().handlers[:] = handlers
        logging.getLogger().setLevel(level)


@lru_cache
def _composed(choices: tuple[str, ...]) -> Any:
    return _COMPOSE("config", overrides=list(choices))


_COMPOSE = hydra.compose


@contextmanager
def _composed_once() -> Iterator[None]:
    """Compose a config of the same choices once in all cases, which is most of the time that a case takes."""

    def compose(name: str, *, overrides: Sequence[str] = (), **_: Any) -> Any:
        return copy.deepcopy(_composed(tuple(overrides)))

    with mock.patch.object(hydra, "compose", compose):
        yield


def _reset_peak() -> int:
    """Forget the highest memory so far; gives the present one in KiB."""
    with suppress(OSError):  # not there, or not allowed
        Path("/proc/self/clear_refs").write_text("5")
    return _status_of("VmRSS")


def _peak() -> int:
    return _status_of("VmHWM")


def _status_of(key: str) -> int:
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0  # not told by this system
    return int(text.partition(f"{key}:")[2].split()[0])
