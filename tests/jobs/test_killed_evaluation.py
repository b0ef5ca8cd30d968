"""``task=evaluate`` killed by SIGKILL at random moments: the same command goes on, and ends with the same files."""

import csv
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metasr.evaluation.parts import FOLDER_NAME
from running import PROJECT, SMOKE, environment, run_py, save_picture

KILLS = 20


def parts(outputs: Path) -> list[Path]:
    return list(outputs.glob(f"*/evaluate/*/{FOLDER_NAME}/*/*.npz"))


def files_of(folder: Path) -> dict[str, object]:
    """All files of a finished evaluation but logs and what tells of times."""
    found: dict[str, object] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name.startswith("table"):
            rows = csv.DictReader(path.open(encoding="utf-8"))
            found[name] = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
        elif not name.startswith(".hydra") and path.suffix != ".log":
            found[name] = path.read_bytes()
    return found


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_files(tmp_path: Path) -> None:
    for i in range(11):
        save_picture(tmp_path / "photos" / f"img{i}.png", 50 + i, 61, seed=i)
    command = (
        *SMOKE, "task=evaluate", "weights=released", f"testset={tmp_path / 'photos'}", "adapt_steps=[0,1]",
        "degradations=[g2.0d,bicubic_n5]", "max_images=null",
    )  # fmt: skip
    whole = run_py(*command, outputs=tmp_path / "whole", timeout=900)
    assert whole.returncode == 0, whole.stderr
    outputs, draw, kills = tmp_path / "killed", random.Random(3), 0
    while kills < KILLS and len(parts(outputs)) < 20:  # of 22
        before, until, delay = len(parts(outputs)), draw.choice((0, 1, 1, 2)), draw.uniform(0, 0.3)
        process = subprocess.Popen(
            [sys.executable, "src/run.py", *command], cwd=PROJECT, env=environment(outputs), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while process.poll() is None and len(parts(outputs)) < before + until:
            time.sleep(0.01)
        time.sleep(delay)
        if process.poll() is not None:
            break
        process.kill()
        process.communicate()
        kills += 1
        assert not list(outputs.glob("*/evaluate/*/table*.csv"))
    last = run_py(*command, outputs=outputs, timeout=900)
    assert last.returncode == 0, last.stderr
    assert kills > 5
    (first,) = (tmp_path / "whole").glob("*/evaluate/*")
    finished = [path.parent for path in outputs.glob("*/evaluate/*/table.csv")]
    assert files_of(finished[-1]) == files_of(first)
    assert parts(outputs) == []
