"""Files: checked before any work, written whole or not at all, hashed."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from metasr.errors import OutputError

PathLike = str | os.PathLike[str]

_ADVICE = {
    errno.ENOSPC: "make room on that disk, or choose another place",
    errno.EDQUOT: "your share of that disk is used up: make room, or choose another place",
    errno.EROFS: "the disk is read-only: choose another place",
    errno.EACCES: "check the folder's permissions, or choose another place",
    errno.EPERM: "check the folder's permissions, or choose another place",
    errno.ENOENT: "the folder has gone meanwhile: is its disk still connected?",
    errno.ENOTDIR: "a part of the path is a file: choose another place",
    errno.EEXIST: "a part of the path is a file: choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
}
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)  # file systems that cannot, and say so


def file_hash(path: PathLike) -> str:
    """SHA-256 of a file, hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: PathLike, text: str) -> Path:
    """Write a text file in UTF-8, whole or not at all; an existing one is replaced.

    Characters that UTF-8 does not know (file names in other encodings have them) are written as escapes.

    Raises:
        OutputError: if it cannot be written; what was there before is kept.
    """
    return write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_bytes(path: PathLike, data: bytes, *, overwrite: bool = True) -> Path:
    """Write a file whole or not at all.

    Raises:
        OutputError: if it cannot be written; what was there before is kept.
    """
    with whole_file(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)
    return Path(path)


@contextmanager
def whole_file(path: PathLike, *, overwrite: bool = True) -> Iterator[Path]:
    """Give a path to write to, an empty file beside ``path``, which takes its place when the block ends without error.

    The parent folder is made where needed. A symbolic link at ``path`` is replaced, and what it leads to left alone.
    After an error nothing is left of the new file; what a killed process of this machine has left of an earlier
    attempt goes too.

    Args:
        path: the file to write.
        overwrite: whether a file of that name may be replaced.

    Raises:
        OutputError: for any error of the operating system, telling what to do about it.
    """
    path = Path(path)
    mark = hashlib.sha256(f"{platform.node()}\0".encode() + os.fsencode(path.name)).hexdigest()[:12]
    temporary = path.with_name(f".{mark}.{os.getpid()}.{secrets.token_hex(4)}.tmp")  # short, whatever the name's length
    with told_of_writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.open("xb").close()
            yield temporary
            if not overwrite and os.path.lexists(path):
                raise FileExistsError(None, "a file of that name appeared meanwhile")
            put_in_place(temporary, path)
        except BaseException:
            with suppress(OSError):  # the folder itself may be what is wrong
                temporary.unlink()
            raise
        _remove_left_overs(path.parent, mark)


def put_in_place(temporary: Path, path: Path) -> None:
    """Give a finished file its final name, once its bytes are on the disk: on one file system that is atomic."""
    with temporary.open("rb+") as file:
        _sync(file.fileno())
    os.replace(temporary, path)
    with suppress(OSError):  # a folder cannot be opened everywhere
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            _sync(handle)
        finally:
            os.close(handle)


@contextmanager
def told_of_writing(path: PathLike) -> Iterator[None]:
    """Turn errors of the operating system into one that says which file could not be written, why, and what to do."""
    try:
        yield
    except OutputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        reason = getattr(error, "strerror", None) or str(error)
        advice = _ADVICE.get(getattr(error, "errno", None) or 0, "choose a writable place with room")
        raise OutputError(f"cannot write {path}: {reason}; nothing was left there: {advice}") from error


def check_new_file(path: PathLike, *, overwrite: bool = False, label: str = "", instead: str = "another path") -> None:
    """Require a path that a file can be written to, so that a long run fails before its work, not after.

    Args:
        path: where a file will be written.
        overwrite: whether an existing file may be replaced.
        label: what the user typed before the path, for the messages: ``table=``.
        instead: what to choose otherwise, for the messages.

    Raises:
        OutputError: if the path is a folder, exists and is not to be overwritten, a parent of it is a file, or its
            folder may not be made or written in.
    """
    path = Path(path)
    if os.path.isdir(path):
        raise OutputError(f"expected a file to write at {label}{path}, but that is a folder; give a file name in it")
    if os.path.lexists(path) and not overwrite:
        raise OutputError(
            f"{label}{path} exists already; choose another name, or allow it: overwrite=true (--overwrite)"
        )
    require_permission(path.parent, instead=f"choose {instead}")


def require_permission(folder: PathLike, *, instead: str) -> None:
    """Require that a folder, which need not exist yet, may be made and written in.

    Args:
        folder: the folder.
        instead: what to do otherwise, for the message.

    Raises:
        OutputError: if it may not.
    """
    folder = Path(folder).absolute()
    above = next((parent for parent in (folder, *folder.parents) if os.path.lexists(parent)), folder)
    if not os.path.isdir(above):
        reason = "is a file, not a folder" if os.path.exists(above) else "is a link that leads nowhere"
        raise OutputError(f"cannot write in {folder}: {above} {reason}; {instead}")
    if not os.access(above, os.W_OK | os.X_OK):
        why = "its disk is read-only" if _is_read_only(above) else "no permission"
        raise OutputError(f"cannot write in {above}: {why}; {instead}")


def _is_read_only(folder: Path) -> bool:
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except (OSError, AttributeError):  # not on every system
        return False


def _sync(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _remove_left_overs(folder: Path, mark: str) -> None:
    """Remove what processes that were killed while writing the same file have left."""
    if os.name != "posix":
        return
    for path in folder.glob(f".{mark}.*.tmp"):
        pid = path.name.split(".")[2]
        if pid.isdigit() and not _is_alive(int(pid)):
            path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    return True
