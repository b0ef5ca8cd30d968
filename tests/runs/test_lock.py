"""One command at a time in a run folder."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from metasr.errors import OutputError, StageError
from metasr.runs.lock import LOCK_NAME, RunLock


def lock(place: Path, **owner: object) -> Path:
    """A lock as another command would have written it."""
    mine = RunLock(place)._mine
    (place / LOCK_NAME).write_text(json.dumps(mine | owner))
    return place / LOCK_NAME


def test_the_lock_is_there_as_long_as_the_work(tmp_path: Path) -> None:
    with RunLock(tmp_path / "run"):
        owner = json.loads((tmp_path / "run" / LOCK_NAME).read_text())
        assert (owner["pid"], owner["host"]) == (os.getpid(), socket.gethostname())
        with pytest.raises(StageError, match=rf"process {os.getpid()} of this machine works in .*run; wait for it or"):
            RunLock(tmp_path / "run").__enter__()
    assert list((tmp_path / "run").iterdir()) == []
    with pytest.raises(ZeroDivisionError), RunLock(tmp_path / "run"):
        raise ZeroDivisionError
    assert list((tmp_path / "run").iterdir()) == []


def test_a_living_process_is_respected_and_a_dead_ones_lock_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program = "import sys, time; print('there', flush=True); time.sleep(600)"
    other = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        other.stdout.readline()
        from metasr.runs.lock import _start_time

        path = lock(tmp_path, pid=other.pid, started=_start_time(other.pid))
        with pytest.raises(StageError, match=f"process {other.pid} of this machine works in"):
            RunLock(tmp_path).__enter__()
        assert path.is_file()
    finally:
        other.kill()
        other.communicate()
    with RunLock(tmp_path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert "ended without a word: going on" in caplog.text


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1}', "[" * 10**5, '{"pid":' * 10**5])
def test_a_lock_that_cannot_be_read_is_stale(tmp_path: Path, content: str) -> None:
    (tmp_path / LOCK_NAME).write_text(content)
    with RunLock(tmp_path):
        pass


def test_a_number_that_another_process_has_now_is_not_the_owner(tmp_path: Path) -> None:
    lock(tmp_path, started="1")  # this very process's number, but it started at another time
    with RunLock(tmp_path):
        pass


def test_a_copied_or_moved_folders_lock_is_not_of_that_place(tmp_path: Path) -> None:
    lock(tmp_path, folder=str(tmp_path.parent / "elsewhere"))
    with RunLock(tmp_path):
        pass


def test_another_machines_lock_is_respected(tmp_path: Path) -> None:
    path = lock(tmp_path, host="far-away", pid=123456789)
    with pytest.raises(StageError, match=rf"process 123456789 on far-away works in .*; wait for it, .* remove {path}"):
        RunLock(tmp_path).__enter__()
    assert path.is_file()


def test_somebody_elses_lock_is_not_taken_away_at_the_end(tmp_path: Path) -> None:
    with RunLock(tmp_path):
        path = lock(tmp_path, host="far-away")
    assert path.is_file()


def test_a_place_where_nothing_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot make .*file/run.*choose a writable run folder"):
        RunLock(tmp_path / "file" / "run").__enter__()
