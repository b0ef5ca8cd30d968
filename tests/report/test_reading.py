"""What a report reads of a run's pictures and logs, damaged ones too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metasr.errors import DataError
from metasr.report.reading import read_run
from report_samples import png, write_run
from running import PROJECT

LAST = "02_meta_transfer"


@pytest.mark.slow
def test_a_report_on_damaged_pictures_is_the_same_from_another_process(tmp_path: Path):
    folder = write_run(tmp_path / "run")
    (folder / "pictures" / "bird_g2.0d.png").write_text("no picture")
    (folder / "pictures" / "kernels.png").write_bytes(png()[:40])
    program = (
        "import sys; from metasr.jobs.report import gather; from metasr.report.html.page import page; "
        "kept = [bytearray(n) for n in range(int(sys.argv[2]))]; print(page(gather([sys.argv[1]])))"
    )
    pages = [
        subprocess.run(
            [sys.executable, "-c", program, str(folder), count], capture_output=True, check=True, cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(PROJECT / "src"), "PYTHONHASHSEED": count},
        ).stdout
        for count in ("1", "5000")
    ]  # fmt: skip
    assert pages[0] == pages[1]
    assert pages[0].count(b"is damaged and not shown") == 2


def test_validation_pictures_and_maps_of_a_stage_are_both_read(tmp_path: Path):
    folder = write_run(tmp_path / "run")
    drawn = folder / LAST / "pictures"
    drawn.mkdir()
    for number, name in enumerate(("step_000002", "step_000002_maps", "step_000004", "step_000004_maps")):
        (drawn / f"{name}.png").write_bytes(png((number, 0, 0)))
    stages = read_run(folder).stages
    assert (stages[1].picture, stages[1].maps) == (png((2, 0, 0)), png((3, 0, 0)))
    assert (stages[0].picture, stages[0].maps) == (None, None)


@pytest.mark.parametrize("text", ["a,b", "a,b\n1,2\n", "hello\n"])
def test_a_log_overwritten_by_something_else_is_noted(text: str, tmp_path: Path):
    folder = write_run(tmp_path / "run")
    log = folder / LAST / "csv" / "version_0" / "metrics.csv"
    log.write_text(text)
    run = read_run(folder)
    assert run.stages[1].metrics == {}
    assert run.notes == [f"{log} is no log of this program's (it lacks the column step): its curves are not shown"]
    log.write_text("")  # as Lightning begins it
    assert read_run(folder).notes == []


@pytest.mark.parametrize(
    "text", ["[" * 50000, "- " * 50000 + "1", "a: {b: [", "just text", "[" * 40 + "]" * 40, "!!python/name:os.system"]
)
@pytest.mark.parametrize("name", ["config.yaml", "overrides.yaml"])
def test_a_damaged_yaml_is_named(text: str, name: str, tmp_path: Path):
    folder = write_run(tmp_path / "run")
    for card in folder.glob("*/card.json"):
        card.write_text("{}")  # so that the config is looked for in .hydra
    (folder / ".hydra").mkdir(exist_ok=True)
    (folder / ".hydra" / name).write_text(text)
    with pytest.raises(DataError, match=rf"{name} is damaged or cannot be read: .*; leave its run out of the report"):
        read_run(folder)
