"""What enlarging a photo takes keeps to the bound that is stated for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from running import PROJECT, save_picture
from upscale import bound

_MEASURED = """
import sys
def told(key):
    return int(open("/proc/self/status").read().partition(key)[2].split()[0])  # getrusage tells the parent's before it
import metasr.config.build, metasr.jobs.upscale
before = told("VmHWM:")
from metasr.cli import main
assert main(sys.argv[1:]) == 0
print(before / 2**20, told("VmHWM:") / 2**20)
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell the peak")


def peaks(*arguments: str) -> tuple[float, float]:
    """Highest memory in GiB once everything is imported, and in the end."""
    command = [sys.executable, "-c", _MEASURED, "upscale", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=PROJECT, env=environment, text=True, capture_output=True, check=True)
    before, after = done.stdout.splitlines()[-1].split()
    return float(before), float(after)


def test_the_bound_is_for_each_size() -> None:
    assert [round(bound(*size), 1) for size in ((1000, 1000), (3000, 2000), (8000, 5000))] == [1.0, 2.2, 10.3]


@pytest.mark.slow
def test_memory_of_a_photo_of_a_million_pixels(tmp_path: Path) -> None:
    photo = save_picture(tmp_path / "a.png", 1000, 1000)
    before, after = peaks(str(photo), "-o", str(tmp_path / "b.png"), "-n", "1", "--device", "cpu")
    assert after < bound(1000, 1000)
    assert after - before < 0.7 * bound(1000, 1000)


def test_memory_of_a_small_photo(tmp_path: Path) -> None:
    photo = save_picture(tmp_path / "a.png", 101, 83)
    before, after = peaks(str(photo), "-o", str(tmp_path / "b.png"), "-n", "1", "--device", "cpu")
    assert 0.05 < before < after < bound(101, 83)
