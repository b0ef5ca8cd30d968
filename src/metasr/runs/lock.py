"""One command at a time in a run folder: a lock file that names its owner, by which an abandoned one is recognised."""

from __future__ import annotations

import json
import logging
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Any

from metasr.errors import OutputError, StageError
from metasr.io.files import write_text
from metasr.runs.reading import read_object

log = logging.getLogger(__name__)

LOCK_NAME = ".lock"


class RunLock:
    """Keeps other commands out of a run folder while its context is open.

    The file holds the owner's process id, its start time, its host and the folder. A lock whose owner ran on this host
    and is no longer there is stale: it is replaced, and the log says so. So is one that came with a folder that was
    moved or copied. The owner of a lock of another host cannot be looked for, so such a lock is respected.

    Args:
        folder: the run folder; made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_NAME
        self._mine = {
            "pid": os.getpid(),
            "started": _start_time(os.getpid()),
            "host": socket.gethostname(),
            "folder": str(folder.resolve()),
        }

    def __enter__(self) -> RunLock:
        """Take the lock.

        Raises:
            StageError: if another command holds it.
            OutputError: if the folder cannot be made or written.
        """
        temporary = self.path.with_name(f"{LOCK_NAME}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot make {self.path.parent}: {error.strerror or error}; choose a writable run folder, or set "
                "METASR_OUTPUTS"
            ) from error
        try:
            write_text(temporary, json.dumps(self._mine))
            for _ in range(3):  # a stale lock may be replaced by somebody else first
                try:
                    os.link(temporary, self.path)  # whole or not at all, and never over another
                    return self
                except FileExistsError:
                    self._remove_stale()
                except OSError as error:
                    log.debug("no lock %s on a file system without links: %s", self.path, error)
                    return self
        finally:
            temporary.unlink(missing_ok=True)
        raise StageError(f"{self.path} keeps coming back: another command works in {self.path.parent}; wait for it")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Give it back."""
        if _read(self.path) == self._mine:
            self.path.unlink(missing_ok=True)

    def _remove_stale(self) -> None:
        """Remove a lock whose owner is gone.

        Raises:
            StageError: if its owner works, or may work.
        """
        if not os.path.lexists(self.path):
            return
        owner = _read(self.path)
        if owner and owner["host"] != self._mine["host"]:
            raise StageError(
                f"process {owner.get('pid')} on {owner.get('host')} works in {self.path.parent}; wait for it, or, if "
                f"it is certain to be gone, remove {self.path}"
            )
        here = owner and owner["folder"] == self._mine["folder"]
        if here and _start_time(owner["pid"]) is not None and owner["started"] == _start_time(owner["pid"]):
            raise StageError(
                f"process {owner['pid']} of this machine works in {self.path.parent}; wait for it or stop it, or leave "
                "run= out to start a new run"
            )
        log.warning("the command that worked in %s before ended without a word: going on", self.path.parent)
        self.path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    """The owner; empty for a file that cannot be read, which is one that was being written at the end."""
    try:
        owner = read_object(path, what="lock", error=StageError)
    except StageError:
        return {}
    return owner if isinstance(owner.get("pid"), int) and {"host", "started", "folder"} <= owner.keys() else {}


def _start_time(pid: int) -> str | None:
    """When a process of this machine started, in the kernel's ticks; none if there is no such process.

    Where the kernel does not tell, an empty text for a process that is there: then the process id alone counts.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass  # it is there, and another user's
    return ""
