"""Files are written whole or not at all, and what stands in the way is said before any work."""

import errno
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from metasr.errors import OutputError
from metasr.io import files
from metasr.io.files import check_new_file, file_hash, require_permission, whole_file, write_bytes, write_text


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def meanwhile(path: Path, happens: Callable[[], object], *, overwrite: bool = True) -> None:
    """Write a file; something else happens before it is finished."""
    with whole_file(path, overwrite=overwrite) as temporary:
        temporary.write_text("half")
        happens()


@pytest.fixture
def small_files() -> Iterator[None]:
    """A disk on which a file may have 1000 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_hash(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc" * 100_000)
    assert file_hash(tmp_path / "x") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_text_and_bytes(tmp_path: Path) -> None:
    path = write_text(tmp_path / "new" / "deep" / "é.csv", "ü,1\n")
    assert path.read_bytes() == "ü,1\n".encode()
    assert write_bytes(path, b"\0\1") == path
    assert path.read_bytes() == b"\0\1"
    assert names(path.parent) == ["é.csv"]


def test_text_with_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    write_text(tmp_path / "a", os.fsdecode(b"caf\xe9.png"))
    assert (tmp_path / "a").read_text() == r"caf\udce9.png"


@pytest.mark.parametrize("name", [b"caf\xe9\x80.txt", b"n" * 255])
def test_awkward_names(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    try:
        write_text(path, "x")
    except OutputError:  # pragma: no cover - file systems that hold UTF-8 alone
        pytest.skip("this file system takes no such name")
    assert os.listdir(os.fsencode(tmp_path)) == [name]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    for place in (tmp_path / "file" / "a", tmp_path / "file" / "b" / "a"):
        with pytest.raises(OutputError, match=r"cannot write .*; nothing was left there: a part of the path is a file"):
            write_text(place, "x")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = write_text(tmp_path / "table.csv", "old")
    with pytest.raises(OutputError, match=r"cannot write .*table\.csv: File too large; nothing was left there"):
        write_text(path, "new" * 10_000)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["table.csv"]


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room on that disk"),
        (errno.EDQUOT, "your share of that disk is used up"),
        (errno.EROFS, "the disk is read-only"),
        (errno.EACCES, "check the folder's permissions"),
        (errno.ENOENT, "the folder has gone meanwhile"),
        (errno.EIO, "choose a writable place with room"),
    ],
)
def test_each_failure_has_its_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str) -> None:
    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)  # where a full disk may show first
    with pytest.raises(OutputError, match=f"cannot write .*: {os.strerror(number)}; nothing was left there: {advice}"):
        write_text(tmp_path / "a", "x")
    assert not names(tmp_path)


def test_a_disk_that_cannot_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    assert write_text(tmp_path / "a", "x").read_text() == "x"


def test_a_folder_that_vanishes(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "a"
    with pytest.raises(OutputError, match=r"cannot write .*: No such file or directory; .* is its disk still conn"):
        meanwhile(path, lambda: shutil.rmtree(path.parent))
    assert not names(tmp_path)


def test_errors_of_the_block_are_not_ours(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        meanwhile(tmp_path / "a", lambda: {}["b"])
    assert not names(tmp_path)


def test_a_file_that_appears_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with pytest.raises(OutputError, match="appeared meanwhile"):
        meanwhile(path, lambda: path.write_text("theirs"), overwrite=False)
    assert path.read_text() == "theirs"
    assert names(tmp_path) == ["a"]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "original").write_text("kept")
    (tmp_path / "link").symlink_to("original")
    write_text(tmp_path / "link", "new")
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "original").read_text() == "kept"


KILLED = """
import os, sys
from metasr.io.files import whole_file
with whole_file(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_left_goes_with_the_next(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a", "old")
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", KILLED, str(path)])
        assert done.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 3
    assert path.read_text() == "old"
    write_text(tmp_path / "b", "of another name")
    with whole_file(path) as mine:  # of this process, which is alive
        mine.write_text("mine")
        write_text(path, "new")
        assert mine.is_file()
    assert names(tmp_path) == ["a", "b"]
    assert path.read_text() == "mine"


def test_checks_before_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    check_new_file(tmp_path / "new" / "a")
    check_new_file(tmp_path / "file", overwrite=True)
    for name, message in {
        "folder": "expected a file to write at table=.*folder, but that is a folder; give a file name in it",
        "file": r"table=.*file exists already; choose another name, or allow it: overwrite=true \(--overwrite\)",
        "link": "exists already",
        "file/a/b": "cannot write in .*file/a: .*file is a file, not a folder; choose another table",
        "link/a": "link is a link that leads nowhere; choose another table",
    }.items():
        with pytest.raises(OutputError, match=message):
            check_new_file(tmp_path / name, label="table=", instead="another table")
    assert names(tmp_path) == ["file", "folder", "link"]


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != tmp_path)
    with pytest.raises(OutputError, match=rf"cannot write in {tmp_path}: no permission; choose another"):
        require_permission(tmp_path / "new" / "deeper", instead="choose another")
    monkeypatch.setattr(files, "_is_read_only", lambda _: True)
    with pytest.raises(OutputError, match="its disk is read-only; choose another"):
        require_permission(tmp_path, instead="choose another")
    (tmp_path / "mine").mkdir()
    require_permission(tmp_path / "mine", instead="")
