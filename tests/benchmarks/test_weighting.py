"""What weighting by reward is worth: which jobs are run and which numbers are told; nothing is trained here."""

import csv
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser

from metasr.runs import folder as run_folder
from metasr.runs.job_card import write_job
from report_samples import TABLE
from running import PROJECT, save_picture

PSNR = {"none": 30.0, "similarity": 30.5, "none+choose": 29.0}
MARKS = "before <!-- weighting --><!-- /weighting --> after"


@pytest.fixture(autouse=True)
def _beside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(PROJECT / "benchmarks"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METASR_OUTPUTS", str(tmp_path / "outputs"))


def load() -> dict[str, Any]:
    return runpy.run_path(str(PROJECT / "benchmarks" / "weighting.py"))


def status(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["weighting", *arguments])
    module = load()
    return int(module["status_of"](module["main"]))


@pytest.fixture
def sweeps(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The sweeps asked for; each leaves jobs with tables, the better the larger the seed."""
    noted: list[list[str]] = []

    def sweep(command: list[str], **_: object) -> SimpleNamespace:
        noted.append(command[3:])
        parsed = OverridesParser.create().parse_overrides(command[3:])
        fixed = {p.key_or_group: p.value() for p in parsed if not p.is_sweep_override()}
        varied = {p.key_or_group: list(p.sweep_string_iterator()) for p in parsed if p.is_sweep_override()}
        task = [str(p.input_line) for p in parsed if not p.is_hydra_override()]
        outputs = str(Path("outputs").absolute())
        place = Path(run_folder.sweep_folder(task, "weightnet_x2", str(fixed["sweep_name"]), outputs))
        for seed in varied["seed"]:
            for reward in varied.get("stages.weighted.recipe.reward", ["pretrain"]):
                job = place / (f"seed_{seed}" if reward == "pretrain" else f"{reward}-{seed}")
                job.mkdir(parents=True)
                (job / "table.csv").write_text(TABLE.format(low=30, high=31))
                choices = [f"seed={seed}", f"stages.weighted.recipe.reward={reward}"]
                write_job(job, {"overrides": choices, "status": "finished"})
                way = reward + ("+choose" if fixed.get("stages.weighted.recipe.sampling") == "choose" else "")
                with (job / "table_images.csv").open("w", encoding="utf-8") as file:
                    writer = csv.writer(file)
                    writer.writerow(("image", "weights", "psnr_y", "ssim_y", "hf_error_y"))
                    for i, image in enumerate(IMAGES):
                        writer.writerow((image, "-", 1, 1, 1))
                        writer.writerow((image, "run", PSNR.get(way, 0) + i + int(seed), 0.9, 5))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", sweep)
    return noted


IMAGES = ("a", "b", "c", "d")


def folder_of_images(place: Path) -> None:
    for name in IMAGES:
        save_picture(place / f"{name}.png", 40, 44)


def test_all_ways_start_from_one_pretraining_for_each_seed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sweeps: list[list[str]]
) -> None:
    folder_of_images(Path("set"))
    Path("doc.md").write_text(MARKS)
    given = ["--testset", "set", "--ways", "similarity,none+choose", "--seeds", "1,2", "--write", "doc.md"]
    assert status(monkeypatch, *given, "max_images=4", "stages.weighted.steps=7", "stages.pretrain.steps=5") == 0
    pretrain, weighed, chosen = sweeps
    assert {"stages_to_run=[pretrain]", "seed=choice(1,2)", "stages.pretrain.steps=5", "max_images=1"} <= set(pretrain)
    assert "stages.weighted.steps=7" not in pretrain
    assert "stages.weighted.recipe.reward=choice(none,similarity)" in weighed
    assert "stages.weighted.recipe.reward=choice(none)" in chosen
    starts = [c for c in (*weighed, *chosen) if c.startswith("init=")]
    assert len(set(starts)) == 1
    assert starts[0].endswith("/seed_${seed}'")
    assert {"meta_set=structure", "testset=set", "max_images=4", "stages.weighted.steps=7"} <= {*weighed} & {*chosen}
    shown = capsys.readouterr().out.strip()
    assert "7 steps after 5 of pretraining, seeds 1, 2:" in shown
    assert "| all 4 images | PSNR |" in shown
    assert "| `none` | 33.000 ± 0.707 | 0.9000 ± 0.0000 | 5.000 ± 0.000 |  |  |" in shown
    ahead = "| `similarity` | 33.500 ± 0.707 | 0.9000 ± 0.0000 | 5.000 ± 0.000 | +0.500 ± 0.000 | ahead by more than"
    assert ahead in shown
    assert "| `none+choose` | 32.000 ± 0.707 | 0.9000 ± 0.0000 | 5.000 ± 0.000 | -1.000 ± 0.000 | behind by" in shown
    assert "| the quarter of strongest structure | PSNR |" in shown
    document = Path("doc.md").read_text()
    assert document.startswith("before <!-- weighting -->\n")
    assert document.endswith("<!-- /weighting --> after")
    assert shown in document


def test_given_weights_replace_pretraining_and_a_drawn_set_is_tested_on_its_kind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sweeps: list[list[str]]
) -> None:
    module = load()
    monkeypatch.setitem(module["groups"].__globals__, "pictures", lambda *_, **__: dict.fromkeys(IMAGES))
    monkeypatch.setattr(
        sys, "argv", ["weighting", "--meta", "line_art", "--ways", "similarity", "--seeds", "3", "--init", "released/x"]
    )
    assert module["status_of"](module["main"]) == 0
    assert len(sweeps) == 1
    assert {"meta_set=line_art", "testset=line_art", "init=released/x", "seed=choice(3)"} <= set(sweeps[0])
    shown = capsys.readouterr().out
    assert "150 steps from `released/x`, seed 3:" in shown
    assert "| `similarity` | 35.000 | 0.9000 | 5.000 | +0.500 | one seed tells no spread |" in shown
    assert "quarter" not in shown


@pytest.mark.parametrize(
    ("gains", "told"),
    [
        ([0.1, 0.1, 0.1], "ahead by more"), ([-0.1, -0.2], "behind by more"), ([0.3, -0.2, 0.1], "not beyond"),
        ([0.0, 0.0], "not beyond"), ([1.0], "one seed"),
    ],
)  # fmt: skip
def test_the_verdict_is_by_the_spread_over_seeds(gains: list[float], told: str) -> None:
    assert load()["verdict"](gains).startswith(told)


def test_the_quarter_is_told_by_the_pictures_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    images = {name: torch.rand(1, 3, 32, 32, generator=generator) for name in "abcdefg"}
    images["lines"] = (torch.arange(32) // 4 % 2).float().expand(1, 3, 32, 32)
    module = load()
    monkeypatch.setitem(module["groups"].__globals__, "pictures", lambda *_, **__: images)
    found = module["groups"]("structure", [])
    assert found["all 8 images"] == list(images)
    quarter = found["the quarter of strongest structure"]
    assert quarter[0] == "lines"
    assert len(quarter) == 2
    assert list(module["groups"]("text", [])) == ["all 8 images"]
