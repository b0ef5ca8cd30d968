"""Fixtures that find what does not come with the repository: benchmark images and reference weights."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

# Small tensors are quicker on one thread, and several workers then share the cores in peace.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A background shell lets its children ignore Ctrl-C, which tests send to themselves and to their own children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest

_BESIDE = Path(__file__).resolve().parents[2] / "shared"


def _folder(variable: str, beside: str, what: str) -> Path:
    given = os.environ.get(variable)
    folder = Path(given).expanduser() if given else _BESIDE / beside
    if not folder.is_dir():
        pytest.skip(f"{what} not found: set {variable}")
    return folder


@pytest.fixture(autouse=True)
def _level_of_our_log() -> Iterator[None]:
    """The command sets how much is told, for its whole process; no other test is to notice."""
    level = logging.getLogger("metasr").level
    yield
    logging.getLogger("metasr").setLevel(level)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    return _folder("METASR_DATA", "data", "benchmark images")


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    return _folder("METASR_WEIGHTS", "weights", "reference weights")
