"""What enlarging a photo takes keeps to the bound that is stated for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from running import PROJECT, save_picture
from upscale import bound

_MEASURED = """
import resource, sys
import metasr.config.build, metasr.jobs.upscale
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
from metasr.cli import main
assert main(sys.argv[1:]) == 0
print(before / 2**20, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def peaks(*arguments: str) -> tuple[float, float]:
    """Highest memory in GiB once everything is imported, and in the end."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, "upscale", *arguments], cwd=PROJECT, text=True, capture_output=True,
        check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
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
