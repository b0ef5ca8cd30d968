"""Weights to release out of a finished run."""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from metasr.io.files import file_hash
from metasr.runs.weights import from_release
from running import PROJECT, SMALL, compose, train

TABLE = (
    "testset,degradation,scale,solver,weights,updates,images,psnr_y\n"
    "set5,g2.0d,2,interpolate,-,0,5,28.73\n"
    "set5,g2.0d,2,adapt,run,1,5,33.127\nset5,g2.0d,2,adapt,run,10,5,35.5\nset5,g0.2d,2,adapt,run,10,5,33.1\n"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("release") / "run"
    train(compose(*SMALL), made)
    (made / ".hydra").mkdir()
    typed = ["+experiment=mzsr_x2", "data.root=/home/me/photos", "run=last", "logger=csv", "stages_to_run=[pretrain]"]
    (made / ".hydra" / "overrides.yaml").write_text("".join(f"- {choice}\n" for choice in typed))
    return made


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.syspath_prepend(str(PROJECT / "benchmarks"))
    module = runpy.run_path(str(PROJECT / "benchmarks" / "release.py"))
    (tmp_path / "table.csv").write_text(TABLE)

    def release(run: Path, *more: str) -> int:
        given = ["--data", "my photos", "--hardware", "one core", "--into", str(tmp_path), *more]
        monkeypatch.setattr(sys, "argv", ["release", str(run), "mine", "--table", str(tmp_path / "table.csv"), *given])
        return int(module["status_of"](module["main"]))

    return release


def test_the_last_stage_is_released_with_a_card_that_tells_all(release: Any, run: Path, tmp_path: Path) -> None:
    assert release(run) == 0
    card = json.loads((tmp_path / "mine.json").read_text())
    file = run / "02_meta_transfer" / "weights.safetensors"
    assert (tmp_path / "mine.safetensors").read_bytes() == file.read_bytes()
    assert card["sha256"] == file_hash(file)
    told = ("name", "method", "experiment", "scale", "stage", "downsample", "default", "steps", "seed", "data")
    assert [card[k] for k in told] == [
        "mine", "mzsr", "mzsr_x2", 2.0, "meta_transfer", "direct", True, 4, 1, "my photos",
    ]  # fmt: skip
    assert card["command"] == ("python src/run.py +experiment=mzsr_x2 data.root=FOLDER 'stages_to_run=[pretrain]'"), (
        "neither where the photos lie nor what changes no weights"
    )
    assert card["config"]["model"]["channels"] == 8
    assert card["scores"] == {
        "what": "PSNR on Y in dB, set5 x2, by number of updates",
        "g2.0d": {"1": 33.13, "10": 35.5},
        "g0.2d": {"10": 33.1},
    }
    assert "/home" not in (tmp_path / "mine.json").read_text()
    loaded = from_release(tmp_path, "mine")
    assert sum(t.numel() for t in loaded.network.values()) == card["parameters"]


def test_nothing_is_replaced_unasked(release: Any, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert release(run) == 0
    assert release(run) != 0
    assert (
        "mine.safetensors exists already; choose another name, or allow it with --overwrite" in capsys.readouterr().err
    )
    assert release(run, "--overwrite") == 0


def test_a_table_without_the_runs_rows_is_refused(
    release: Any, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "table.csv").write_text("\n".join(TABLE.splitlines()[:2]) + "\n")
    assert release(run) != 0
    assert "has no row of a run's weights; make it with task=evaluate" in capsys.readouterr().err
    assert not (tmp_path / "mine.json").exists()
