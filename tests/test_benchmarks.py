"""What the benchmarks make of bad input, and which runs and numbers they take; nothing is measured here."""

import csv
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from omegaconf import OmegaConf

from metasr.degradation.direct_kernel import direct_kernel
from metasr.degradation.names import parse
from metasr.degradation.pipeline import Degradation
from metasr.degradation.published_ddsr import PublishedDraws
from metasr.errors import InputError
from metasr.io.images import Photo, write_photo
from metasr.runs import folder as run_folder
from metasr.runs import weights as weights_store
from metasr.solvers.ddsr.solver import DDSRSolver
from report_samples import TABLE
from running import PROJECT, save_picture

BENCHMARKS = PROJECT / "benchmarks"
MARKS = "<!-- results --><!-- /results -->"


@pytest.fixture(autouse=True)
def _beside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METASR_OUTPUTS", str(tmp_path / "outputs"))


def load(name: str) -> dict[str, Any]:
    return runpy.run_path(str(BENCHMARKS / f"{name}.py"))


def status(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    module = load(name)
    return module["status_of"](module["main"])


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("results --set5 nowhere", "--set5"),
        ("results --set5 . --b100 nowhere", "--b100"),
        ("results --set5 . --write none.md", "none.md"),
        ("results --set5 . --write text.md", "results"),
        ("results --set5 . --quick .", "run folder"),
        ("adapt --device cuda", "--device"),
        ("adapt --device cpu --repeats 0", "--repeats"),
        ("adapt --device cpu --sizes 256 -4", "--sizes"),
        ("adapt --device cpu --updates -1", "--updates"),
        ("blind --images nowhere", "--images"),
        ("blind --images . --crop 23", "--crop"),
        ("meta_step --device cuda", "CUDA"),
        ("meta_step --size 3", "--size"),
        ("meta_step --size 17", "--size"),
        ("meta_step --tasks 0", "--tasks"),
        ("ddsr_speed --rounds 0", "--rounds"),
        ("ddsr_speed --side 20", "--side"),
        ("ddsr_speed --device cuda", "CUDA"),
        ("ddsr_ablation --steps 0", "--steps"),
        ("ddsr_ablation --rows bettr", "--rows"),
        ("ddsr_ablation --folder nowhere", "nowhere"),
        ("ddsr_ablation --folder . --image moon", "--image"),
        ("ddsr_ablation --gain 0", "--gain"),
        ("ddsr_ablation --noise -1", "--noise"),
        ("ddsr_ablation --cover 60", "--cover"),
        ("ddsr_published --folder nowhere", "--folder"),
        ("ddsr_published --folder .", "hr_"),
        ("ddsr_published --folder . --seeds 1,1", "--seeds"),
        ("ddsr_published --folder . --rows best", "--rows"),
        ("upscale --sizes 3x", "--sizes"),
        ("upscale --steps -1", "--steps"),
        ("zssr --count 0", "--count"),
        ("zssr --side 16", "--side"),
        ("zssr --memory 2", "--memory"),
        ("zssr --settings defualt", "'default'"),
        ("zssr --images nowhere", "--images"),
        ("zssr --degradations g2", "'g2.0d'"),
        ("meta_sets profile=smoke", "max_images=1"),
        ("meta_sets --testset b100 --root nowhere", "--root"),
        ("meta_sets --seeds 1,b", "--seeds"),
        ("meta_sets --seeds 1,1", "--seeds"),
        ("meta_sets --each 0", "--each"),
        ("meta_sets meta_set=texture", "meta_set=texture"),
        ("meta_sets scale=2,3", "scale=2,3"),
        ("meta_sets stages.weighted.recipe.levle=1", "'level'"),
        ("meta_sets word", "'word'"),
        ("weighting profile=smoke", "max_images=1"),
        ("weighting --meta line_art,photos", "--meta"),
        ("weighting --ways similarity,weight", "--ways"),
        ("weighting --seeds 1,b", "--seeds"),
        ("weighting --testset b100 --root nowhere", "--root"),
        ("weighting --root .", "--testset"),
        ("weighting --write none.md", "none.md"),
        ("weighting --write text.md", "weighting"),
        ("weighting init=released/mzsr_x2_pretrain", "init=released/mzsr_x2_pretrain"),
        ("weighting stages.weighted.recipe.reward=error", "recipe.reward=error"),
        ("weighting scale=2,3", "scale=2,3"),
        ("weighting stages.weighted.recipe.levle=1", "'level'"),
        ("activation_maps nowhere", "nowhere"),
        ("activation_maps .", "+ablation=maml_sr_neither"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_with_status_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, named: str
) -> None:
    def unwanted(*_: object, **__: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(subprocess, "run", unwanted)
    Path("text.md").write_text("text")
    assert status(monkeypatch, *command.split()) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert named in shown.err
    assert shown.err.count("\n") == 1


def test_no_sizes_no_second_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["adapt", "--device", "cpu", "--updates", "--sizes"])
    module = load("adapt")
    module["main"].__globals__["machine_rates"] = lambda device: {}
    assert module["status_of"](module["main"]) == 0
    assert "image" not in capsys.readouterr().out


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Evaluations are not done but noted; Set5's come to 30 dB and n updates more, B100's fail with status 3."""
    noted: list[dict[str, str]] = []

    def evaluate(command: list[str], **_: object) -> SimpleNamespace:
        choices = dict(c.partition("=")[::2] for c in command[2:])
        noted.append(choices)
        if choices["testset"] == "b100":
            return SimpleNamespace(returncode=3)
        solvers = [("interpolate", 0), ("interpolate_aligned", 0), ("adapt", 1), ("adapt", 10), ("unfolded", 0)]
        with Path(choices["table"]).open("w", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("degradation", "solver", "updates", "weights", "psnr_y"))
            for name in choices["degradations"].strip("[]").split(","):
                writer.writerows((name, solver, n, "run", 30 + n) for solver, n in solvers)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", evaluate)
    return noted


def test_a_sets_table_is_shown_before_the_next_one_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], evaluations: list[dict[str, str]]
) -> None:
    Path("doc.md").write_text(MARKS)
    with pytest.raises(SystemExit) as stop:
        status(monkeypatch, "results", "--set5", ".", "--b100", ".", "--write", "doc.md")
    assert stop.value.code == 3
    shown = capsys.readouterr().out
    assert "| `g0.2d` | 30.00 | 30.00 | 31.00 | 40.00 | 30.00 | 33.14 | 33.74 | -2.14 | +6.26 |" in shown
    assert Path("doc.md").read_text() == MARKS


def test_multi_scale_weights_are_compared_with_the_published_multi_scale_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], evaluations: list[dict[str, str]]
) -> None:
    cards = {
        "one": {"experiment": "mzsr_multiscale", "stage": "meta_transfer"}, "two": {"experiment": "mzsr_x4"},
        "three": {"experiment": "mzsr_multiscale", "stage": "pretrain"},
    }  # fmt: skip
    monkeypatch.setattr(weights_store, "released", lambda folder: cards)
    stage = Path("a run, [1]") / "01_pretrain"
    stage.mkdir(parents=True)
    (stage / "card.json").touch()
    Path("doc.md").write_text(MARKS)
    assert status(monkeypatch, "results", "--set5", ".", "--quick", str(stage.parent), "--write", "doc.md") == 0
    shown = capsys.readouterr().out
    assert "| `gani_d`, `one` | 30.00 | 30.00 | - | 31.00 | 40.00 | - | - | 33.95 | - | +6.05 |" in shown
    assert "`two`" not in shown
    assert "`three`" not in shown
    assert shown.strip() in Path("doc.md").read_text()
    assert [(e["+experiment"], e["weights"]) for e in evaluations] == [
        ("mzsr_x2", "released"), ("mzsr_x2", f"'{stage.parent.resolve()}'"), ("unfolded", "released/unfolded"),
        ("mzsr_multiscale", "released/one"),
    ]  # fmt: skip


def sweep_of(folder: Path, seeds: str, *, unfinished: str = "") -> None:
    """A sweep's folder with a job of either meta-data set for each seed."""
    for meta_set in ("structure", "texture"):
        for seed in seeds.split(","):
            job = folder / f"{meta_set}-{seed}"
            job.mkdir(parents=True)
            done = f"{meta_set}-{seed}" != unfinished
            (job / "table.csv").write_text(TABLE.format(low=30, high=31))
            (job / "job.json").write_text(
                json.dumps({"overrides": [f"meta_set={meta_set}", f"seed={seed}", "+experiment=weightnet_x2"],
                            "status": "finished" if done else "started"})
            )  # fmt: skip


def test_meta_sets_takes_the_seeds_asked_for_from_the_sweep_that_it_ran(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def sweep(command: list[str], **_: object) -> SimpleNamespace:
        task = [c for c in command[3:] if not c.startswith("hydra/")]
        node = {"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper", "params": None}
        run_folder.begin_sweep(OmegaConf.create({
            "name": "weightnet_x2", "sweep_name": "meta_sets", "paths": {"outputs": os.environ["METASR_OUTPUTS"]},
            "hydra": {"overrides": {"task": task}, "sweeper": node},
        }))  # fmt: skip
        if not Path(run_folder._sweep[0]).exists():
            sweep_of(Path(run_folder._sweep[0]), "1,2,3", unfinished="texture-3")
        sweep_of(Path(run_folder._sweep[0]).with_name(f"meta_sets-{len(noted)}"), "1,2")  # newer, of others
        noted.append(command)
        return SimpleNamespace(returncode=0)

    noted: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", sweep)
    train = load("meta_sets")["train"]
    choices = ["+experiment=weightnet_x2", "sweep_name=meta_sets", "hydra/launcher=joblib"]
    found = train(["2", "1"], choices)
    place = Path(run_folder._sweep[0])
    assert found == {(m, s): place / f"{m}-{s}" for m in ("structure", "texture") for s in "21"}
    assert list(train(["2"], choices).values()) == [place / "structure-2", place / "texture-2"]
    with pytest.raises(InputError, match="has no finished job with meta_set=texture seed=3"):
        train(["1", "3"], choices)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1))
    with pytest.raises(SystemExit, match="1"):
        train(["1"], choices)


@pytest.mark.parametrize(("scale", "size"), [("2", (30, 34)), ("3", (30, 33)), ("2.5", (31, 35))])
def test_meta_sets_cuts_by_the_scale(tmp_path: Path, scale: str, size: tuple[int, int]) -> None:
    for name in ("a", "b", "c"):
        save_picture(tmp_path / "set" / f"{name}.png", 31, 35)
    images = load("meta_sets")["pictures"](
        ["+experiment=weightnet_x2", f"scale={scale}", "testset=set", "max_images=2"]
    )
    assert {name: tuple(image.shape) for name, image in images.items()} == {n: (1, 3, *size) for n in ("a", "b")}


@pytest.fixture
def tiny_ddsr(monkeypatch: pytest.MonkeyPatch) -> None:
    """DDSR with small networks."""
    make = DDSRSolver.__init__

    def small(self: DDSRSolver, **options: Any) -> None:
        make(self, **({"width": 4, "skip": 2, "levels": 2, "hidden": 16, "warmup_steps": 2} | options))

    monkeypatch.setattr(DDSRSolver, "__init__", small)


def ddsr_folders(root: Path) -> list[Path]:
    """One image as the public program lays it out, and as task=prepare does."""
    hr = torch.nn.functional.interpolate(
        torch.rand(1, 3, 9, 8, generator=torch.Generator().manual_seed(0)), scale_factor=8
    )
    drawn = PublishedDraws(2).draw(hr)
    own, prepared = root / "own", root / "prepared"
    for folder in (own, prepared / "lr", prepared / "hr", prepared / "kernels"):
        folder.mkdir(parents=True)
    for path, image in ((own / "a.png", drawn.lr), (own / "hr_a.png", hr), (prepared / "lr" / "a.png", drawn.lr),
                        (prepared / "hr" / "a.png", hr)):  # fmt: skip
        write_photo(Photo(image[0]), path)
    assert drawn.degradation.kernel is not None
    kernel = drawn.degradation.kernel.numpy()
    scipy.io.savemat(own / "kernel_a.mat", {"Kernel": kernel})
    np.save(prepared / "kernels" / "a.npy", kernel)
    return [own, prepared]


@pytest.mark.usefixtures("tiny_ddsr")
def test_ddsr_of_both_layouts_is_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shown = []
    for where in ddsr_folders(tmp_path):
        command = f"--folder {where} --scale 2 --steps 2 4 --seeds 1,2 --rows faithful better --cover 9 --device cpu"
        assert status(monkeypatch, "ddsr_published", *command.split()) == 0
        shown.append([row.split()[:-1] for row in capsys.readouterr().out.splitlines()[2:]])  # the last is the seconds
    assert shown[0] == shown[1]
    assert [row[:3] for row in shown[0]] == [[m, "a", n] for m in ("faithful", "better") for n in ("2", "4")]
    assert all(row.count("±") == 4 for row in shown[0])


@pytest.mark.usefixtures("tiny_ddsr")
@pytest.mark.parametrize(
    "change", ["--noise 10", "--disc 2", "--cover 8", "--gain 0.3 --rows faithful", "--side 48", "--seed 1"]
)
def test_what_is_done_to_the_image_changes_the_ablation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, change: str
) -> None:
    where, shown = ddsr_folders(tmp_path)[0], []
    for more in ("", change):
        command = f"--folder {where} --image a --scale 2 --steps 3 --rows better --device cpu {more}"
        assert status(monkeypatch, "ddsr_ablation", *command.split()) == 0
        shown.append(capsys.readouterr().out.splitlines()[-1].split()[:-1])
    assert shown[0] != shown[1]
    assert (shown[1][3] != "-") == ("--cover" in change)


def test_every_row_of_the_ablation_can_differ() -> None:
    module = load("ddsr_ablation")
    share = module["SSIM_SHARE"]
    made = {row: module["arguments"](row, steps=300, centre="published", ssim_share=share) for row in module["ROWS"]}
    assert made["better"]["ssim_steps"] == 122  # within the run: what comes with the change of the loss takes part
    assert made["SSIM to the end"]["ssim_steps"] == 300
    assert len(
        {str(sorted((DDSRSolver(**a).choices.__dict__ | a | {"mode": ""}).items())) for a in made.values()}
    ) == len(made)


@pytest.mark.usefixtures("tiny_ddsr")
def test_a_row_with_a_centre_or_a_share_of_its_own_is_measured_by_the_published_protocol(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = ["better", "kernels from the middle", "SSIM for a fifth as long"]
    command = ["--folder", str(ddsr_folders(tmp_path)[0]), "--scale", "2", "--steps", "12", "--device", "cpu", "--rows"]
    assert status(monkeypatch, "ddsr_published", *command, *rows) == 0
    shown = capsys.readouterr().out.splitlines()[-3:]
    assert len({tuple(line.split()[-5:-2]) for line in shown}) == 3


def test_kernels_before_unlike_subsampling_are_compared_as_one() -> None:
    score = load("blind")["kernel_score"]
    blurred, bare = parse("g1.3b", scale=2), parse("bicubic", scale=2)
    found = Degradation(scale=2, kernel=direct_kernel(blurred, size=21), downsample="direct")
    assert score(found, blurred, as_one=True) == 99
    assert score(blurred, blurred, as_one=False) == 99
    assert score(found, blurred, as_one=False) < 50
    assert score(bare, blurred, as_one=True) < 60
