"""The bar beside an upscaling job."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metasr.jobs import progress_bar
from metasr.jobs.progress_bar import with_bar
from metasr.solvers.progress import Progress
from running import environment, save_picture


def job(photos: int, *, pause: float = 0.0) -> Callable[..., Iterator[Any]]:
    def work(progress: Callable[[Progress], object] | None) -> Iterator[Any]:
        for i in range(photos):
            for k in range(1, 5):
                time.sleep(pause)
                if progress is not None:
                    share = (i + k / 4) / photos
                    progress(Progress(k, 4, "updates", share=share, photo=Path(f"{i}.png"), place=(i + 1, photos)))
            yield i

    return work


def test_without_a_terminal_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(with_bar(job(3))) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_photo_place_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_bar, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    assert list(with_bar(job(3, pause=0.15))) == [0, 1, 2]
    shown = capsys.readouterr().err
    assert re.search(r"2 of 3: 1\.png, update \d of 4 +\d\d%\|.*\| 00:0\d, 00:0\d left", shown)
    assert shown.endswith("\r")  # it is gone in the end


def test_one_photo_s_bar_waits_and_quiet_shows_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_bar, "is_terminal", lambda: True)
    list(with_bar(job(1)))  # over before the delay is
    list(with_bar(job(3, pause=0.05), quiet=True))
    assert "%" not in capsys.readouterr().err
    list(with_bar(job(1, pause=0.15), delay=0.1))
    assert re.search(r"0\.png, update \d of 4 +\d+%", capsys.readouterr().err)


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_the_command_on_a_terminal(tmp_path: Path) -> None:
    import fcntl
    import pty
    import struct
    import termios

    for name in ("a", "b"):
        save_picture(tmp_path / f"{name}.png", 40, 44)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    words = ["upscale", "a.png", "b.png", "-o", "out/", "--solver", "adapt", "-k", "bicubic", "-n", "3"]
    process = subprocess.Popen(
        [sys.executable, "-m", "metasr", *words], stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL,
        cwd=tmp_path, env=environment(tmp_path), close_fds=True,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    assert process.wait(timeout=60) == 0
    text = shown.decode()
    assert re.search(r" +\d+%\|.*left", text)
    lines = [line.split("\r")[-1] for line in text.replace("\r\n", "\n").split("\n")]
    assert [line[:14] for line in lines if line.startswith(("1 of", "2 of"))] == ["1 of 2: out/a.", "2 of 2: out/b."]
