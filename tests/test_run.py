"""The program from the command line: whole runs, kills, sweeps, logs, and mistakes."""

import csv
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from running import NO_VALIDATION, PROJECT, SMOKE, environment, run_py, save_picture

COLUMNS = (
    "testset,degradation,scale,solver,weights,updates,images,psnr_y,ssim_y,seconds,published_psnr_y,published_ssim_y,"
    "hf_error_y,own_stop,requested,taken,exact,grey,failed"
)
FIRST, SECOND = "01_pretrain", "02_meta_transfer"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos") / "my photos"
    for i in range(2):
        save_picture(folder / f"img{i}.png", 59, 63, seed=i)
    return folder


@pytest.fixture(scope="module")
def short(photos: Path) -> tuple[str, ...]:
    """Smoke, on tiny test images."""
    return (*SMOKE, *NO_VALIDATION, f"testset='{photos}'", "degradations=[g2.0d,bicubic]", "adapt_steps=[0,1]")


Done = tuple[subprocess.CompletedProcess[str], Path]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory, short: tuple[str, ...]) -> Done:
    outputs = tmp_path_factory.mktemp("outputs")
    done = run_py(*short, outputs=outputs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done, outputs / "mzsr_x2" / "latest"


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()
    }


def weights(run: Path, stage: str = SECOND) -> bytes:
    return (run / stage / "weights.safetensors").read_bytes()


def test_layout_of_a_run(smoke: Done) -> None:
    run = smoke[1]
    assert run.is_symlink()
    assert {p.name for p in run.iterdir()} == {
        FIRST, SECOND, "table.csv", "table_images.csv", "curves.csv", "manifest.json", "pictures", "job.log",
        ".hydra",
    }  # fmt: skip
    for stage in (FIRST, SECOND):
        assert {p.name for p in (run / stage).iterdir()} == {"card.json", "resume.ckpt", "weights.safetensors"}
    assert {p.name for p in run.resolve().parent.iterdir()} == {run.resolve().name, "latest"}
    assert (run / "job.log").read_text(encoding="utf-8").count("finished in") == 2
    pictures = {p.name for p in (run / "pictures").iterdir()}
    assert pictures == {"adaptation.png", "kernels.png", "img0_g2.0d.png", "img0_bicubic.png"}


def test_table_of_a_run(smoke: Done) -> None:
    text = (smoke[1] / "table.csv").read_text()
    assert text.splitlines()[0] == COLUMNS
    rows = list(csv.DictReader(text.splitlines()))
    for name, released in (("g2.0d", "mzsr_x2_meta"), ("bicubic", "mzsr_x2_bicubic_meta")):
        assert [(r["solver"], r["weights"], r["updates"]) for r in rows if r["degradation"] == name] == [
            ("interpolate", "-", "0"), ("interpolate_aligned", "-", "0"), ("adapt", "run", "0"), ("adapt", "run", "1"),
            ("adapt", f"released/{released}", "1"),
        ]  # fmt: skip
    for row in rows:
        assert (row["testset"], row["scale"], row["images"]) == ("my photos", "2", "1")
        assert 15 < float(row["psnr_y"]) < 60
        assert 0 < float(row["ssim_y"]) <= 1
        assert float(row["seconds"]) >= 0
        assert row["published_psnr_y"] == row["published_ssim_y"] == ""


def test_what_is_printed(smoke: Done) -> None:
    done, run = smoke
    for text in (
        "mzsr_x2: PSNR on Y in dB, 1 image of my photos, x2", "as published", "aligned", "this run", "released",
        "s / image", "profile smoke: seconds, to see that everything runs; its numbers mean nothing",
        "trained on samples (seed 1)", f"run folder: {run.resolve()}", "profile=paper", "profile=gpu", "task=evaluate",
    ):  # fmt: skip
        assert text in done.stdout
    assert done.stderr == ""
    assert "Warning" not in done.stdout


def test_card_of_a_run(smoke: Done) -> None:
    first, second = (json.loads((smoke[1] / stage / "card.json").read_text()) for stage in (FIRST, SECOND))
    assert (second["experiment"], second["stage"], second["status"]) == ("mzsr_x2", "meta_transfer", "finished")
    assert second["identity"]["parent"] == first["weights"]
    assert second["weights_from"].startswith("16 of 16 network tensors from 01_pretrain")
    assert second["config"]["model"]["_target_"] == "metasr.models.plain_cnn.PlainCNN"
    assert second["versions"]["torch"]


@pytest.fixture
def copy(smoke: Done, tmp_path: Path) -> Path:
    """The finished run, in outputs of its own."""
    run = smoke[1].resolve()
    return Path(shutil.copytree(run, tmp_path / "outputs" / "mzsr_x2" / run.name))


@pytest.mark.slow
def test_run_last_skips_what_is_finished(copy: Path, short: tuple[str, ...]) -> None:
    before = {stage: contents(copy / stage) for stage in (FIRST, SECOND)}
    done = run_py(*short, "run=last", outputs=copy.parents[1])
    assert done.returncode == 0, done.stderr
    assert {stage: contents(copy / stage) for stage in (FIRST, SECOND)} == before
    for stage in ("pretrain", "meta_transfer"):
        assert f"stage {stage} is finished: skipped" in done.stdout
    assert f"run folder: {copy}" in done.stdout
    assert {p.name for p in copy.parent.iterdir()} == {copy.name, "latest"}


@pytest.mark.slow
def test_run_folder_skips_what_is_finished_and_refuses_other_choices(copy: Path, short: tuple[str, ...]) -> None:
    before = {stage: contents(copy / stage) for stage in (FIRST, SECOND)}
    done = run_py(*short, f"run={copy}", outputs=copy.parents[1] / "elsewhere")
    assert done.returncode == 0, done.stderr
    assert not (copy.parents[1] / "elsewhere").exists()
    stale = run_py(*short, f"run={copy}", "seed=2", outputs=copy.parents[1])
    assert stale.returncode == 2
    assert "error: stage 'pretrain' in" in stale.stderr
    assert "is stale: it was made with other choices (seed: then 1, now 2)" in stale.stderr
    assert "Traceback" not in stale.stderr
    assert {stage: contents(copy / stage) for stage in (FIRST, SECOND)} == before


@pytest.mark.slow
def test_two_runs_never_share_a_folder(tmp_path: Path, short: tuple[str, ...]) -> None:
    for _ in range(2):
        assert run_py(*short, "stages_to_run=[pretrain]", outputs=tmp_path).returncode == 0
    assert len([p for p in (tmp_path / "mzsr_x2").iterdir() if not p.is_symlink()]) == 2


# Cut short


def start_and_stop(
    arguments: tuple[str, ...], outputs: Path, ready: Callable[[], bool], how: signal.Signals
) -> tuple[int, str]:
    """Start the program, wait until it is ``ready``, send the signal, and give status and what it wrote."""
    with subprocess.Popen(
        [sys.executable, "src/run.py", *arguments], cwd=PROJECT, env=environment(outputs), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        end = time.monotonic() + 180
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                pytest.fail(f"ended or hung before it could be stopped: {process.communicate()[0]}")
            time.sleep(0.005)
        process.send_signal(how)
        output = process.communicate(timeout=60)[0]
    return process.returncode, output


@pytest.mark.slow
@pytest.mark.parametrize("stage", [FIRST, SECOND])
def test_killed_and_started_again_gives_the_same_bits(tmp_path: Path, short: tuple[str, ...], stage: str) -> None:
    longer = (*short, "stages.pretrain.steps=40", "stages.pretrain.checkpoint_every=4", "stages.meta_transfer.steps=20",
              "stages.meta_transfer.checkpoint_every=2")  # fmt: skip
    if stage == FIRST:
        longer = (*longer, "stages.pretrain.steps=120", "stages_to_run=[pretrain]")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run_py(*longer, f"run={whole}", outputs=tmp_path / "out").returncode == 0
    arguments, resume = (*longer, f"run={cut}"), cut / stage / "resume.ckpt"
    status, _ = start_and_stop(arguments, tmp_path / "out", resume.is_file, signal.SIGKILL)
    assert status == -signal.SIGKILL
    assert resume.is_file()
    assert not (cut / stage / "weights.safetensors").exists()
    assert json.loads((cut / stage / "card.json").read_text())["status"] == "started"
    done = run_py(*arguments, outputs=tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert f"going on from {resume}" in done.stdout
    assert weights(cut, stage) == weights(whole, stage)
    assert weights(cut, FIRST) == weights(whole, FIRST)
    assert not resume.exists()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopped_politely_it_says_how_to_go_on(tmp_path: Path, short: tuple[str, ...], how: signal.Signals) -> None:
    arguments = (*short, "stages.pretrain.steps=150", "stages_to_run=[pretrain]", "seed=3")
    whole, cut = tmp_path / "whole", tmp_path / "cut here"
    assert run_py(*arguments, f"run={whole}", outputs=tmp_path).returncode == 0
    resume = cut / FIRST / "resume.ckpt"
    status, output = start_and_stop((*arguments, f"run='{cut}'"), tmp_path, resume.is_file, how)
    assert status == 130
    assert "Traceback" not in output
    told = output.splitlines()[-1]
    assert told.startswith("stopped in stage 'pretrain' at step ")
    assert re.search(r" of 150; go on with: \S*python src/run\.py \+experiment=mzsr_x2 profile=smoke ", told)
    command = re.sub(r"^\S*python ", f"{sys.executable} ", told.partition("go on with: ")[2])
    assert "'stages_to_run=[pretrain]'" in command
    done = subprocess.run(
        command, shell=True, cwd=PROJECT, env=environment(tmp_path), capture_output=True,
        text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert weights(cut, FIRST) == weights(whole, FIRST)


# Mistakes: one line, status 2, and nothing left behind


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "more", "message"),
    [
        (1_000_000, (), "error: stage 'pretrain' cannot write in .*File too large; make room, then go on with: python"),
        (600_000, ("stages.pretrain.checkpoint_every=100",), "error: cannot write .*weights.safetensors: .*; choose a"),
    ],
)
def test_a_full_disk(tmp_path: Path, short: tuple[str, ...], limit: int, more: tuple[str, ...], message: str) -> None:
    arguments = (*short, *more, "stages_to_run=[pretrain]", f"run={tmp_path / 'run'}")
    done = subprocess.run(
        [sys.executable, "src/run.py", *arguments], cwd=PROJECT, env=environment(tmp_path), capture_output=True,
        text=True, timeout=180, check=False, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit,
        limit)),
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert re.search(message, done.stderr)
    assert not (tmp_path / "run" / FIRST / "weights.safetensors").exists()
    assert run_py(*arguments, outputs=tmp_path).returncode == 0  # with room again it goes on


# Other tasks, sweeps, logs


@pytest.mark.slow
def test_evaluating_a_run(smoke: Done, tmp_path: Path, photos: Path) -> None:
    run = smoke[1].resolve()
    done = run_py(
        *SMOKE, "task=evaluate", f"weights={run}", f"testset='{photos}'", "degradations=[g2.0d]", "adapt_steps=[1]",
        f"table={tmp_path / 'out.csv'}", outputs=tmp_path / "outputs",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    here = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    there = list(csv.DictReader((run / "table.csv").read_text().splitlines()))
    there = [r for r in there if (r["degradation"], r["weights"], r["updates"]) == ("g2.0d", "run", "1")]
    assert here[2]["psnr_y"] == there[0]["psnr_y"]
    assert len(list((tmp_path / "outputs" / "mzsr_x2" / "evaluate").iterdir())) == 1


@pytest.mark.slow
def test_upscaling(tmp_path: Path) -> None:
    source = save_picture(tmp_path / "a.png", 25, 31)
    done = run_py("task=upscale", "logger=none", f"input={source}", f"output={tmp_path / 'b.png'}", "adapt_steps=2",
                  "kernel=g2.0d", "side_by_side=true", outputs=tmp_path / "outputs")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 updates, weights released/mzsr_x2_meta)" in done.stdout
    assert (tmp_path / "b.png").is_file()
    assert (tmp_path / "b_side_by_side.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_sweeps(tmp_path: Path, short: tuple[str, ...], launcher: str) -> None:
    if launcher == "joblib":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    sweep = ("-m", *short, f"hydra/launcher={launcher}")
    done = run_py(*sweep, "seed=1,2", outputs=tmp_path)
    assert done.returncode == 0, done.stderr
    latest = tmp_path / "mzsr_x2" / "sweeps" / "latest"
    sweep_folder = latest.resolve(strict=True)
    assert {p.name for p in latest.parent.iterdir()} == {"latest", sweep_folder.name}
    runs = sorted(p for p in sweep_folder.iterdir() if p.is_dir())
    assert [run.name.rpartition("-")[0] for run in runs] == ["seed_1", "seed_2"]
    assert [line.partition(": ")[0] for line in done.stdout.splitlines()[-2:]] == ["table", "report"]
    assert done.stdout.splitlines()[-1].endswith(f"src/run.py task=report sweep={sweep_folder}")
    for run, seed in zip(runs, (1, 2), strict=True):
        assert json.loads((run / SECOND / "card.json").read_text())["identity"]["seed"] == seed
        assert (run / "table.csv").read_text().splitlines()[0] == COLUMNS
    assert weights(runs[0]) != weights(runs[1])

    made = (runs[0] / "table.csv").stat().st_mtime_ns
    again = run_py(*sweep, "seed=1,2,nonsense", outputs=tmp_path)
    assert again.returncode != 0  # no seed: refused before anything is run
    wider = run_py(*sweep, "seed=1,2", "rates=per_step,none", outputs=tmp_path)
    assert wider.returncode == 1  # the sweep goes on past what fails, and says so
    assert "2 of 6 runs failed:" in wider.stdout
    assert "rates=none, seed=1: rates must be 'fixed', 'per_step' or 'meta_sgd', got 'none'" in wider.stdout
    assert (runs[0] / "table.csv").stat().st_mtime_ns == made
    rows = list(csv.DictReader((sweep_folder / "sweep.csv").read_text().splitlines()))
    assert {r["variant"] for r in rows} == {"all", "as configured", "rates=per_step", "rates=none"}
    assert {r["runs"] for r in rows if r["variant"] == "rates=per_step"} == {"2"}


@pytest.mark.slow
def test_wandb_stays_in_the_run_folder_and_is_readable_offline(
    tmp_path: Path, short: tuple[str, ...], photos: Path
) -> None:
    home, work = tmp_path / "home", tmp_path / "outputs"
    home.mkdir()
    done = run_py(
        *short, "logger=wandb", "stages.meta_transfer.validation.degradations=[g2.0d]",
        "stages.meta_transfer.validation.updates=[0]", "stages.meta_transfer.validation.crop=64", outputs=work,
        HOME=str(home), XDG_CACHE_HOME="", XDG_CONFIG_HOME="", MPLCONFIGDIR=str(tmp_path / "matplotlib"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(home.rglob("*")) == []
    assert not (PROJECT / "wandb").exists()
    run = work / "mzsr_x2" / "latest"
    found = {}
    for part in (FIRST, SECOND, "evaluation"):
        folders = list((run / part / "wandb").glob("offline-run-*"))
        assert len(folders) == 1
        read = subprocess.run(
            [Path(sys.executable).with_name("wandb"), "leet", "inspect", "--summary", "--json", str(folders[0])],
            capture_output=True, text=True, env=environment(work, HOME=str(tmp_path / "other home")), timeout=60,
            check=True,
        )  # fmt: skip
        found[part] = json.loads(read.stdout)
        assert found[part]["state"] == "finished"
        assert found[part]["config"]["seed"] == 1
    assert "train/loss" in found[FIRST]["summary"]
    assert {"train/loss", "val/psnr_y/g2.0d@0", "rates/step_1"} <= found[SECOND]["summary"].keys()
    scores = [k for k in found["evaluation"]["summary"] if k.startswith("test/psnr_y/")]
    assert len(scores) == 10
    assert list((run / "evaluation").rglob("media/images/test/*.png"))
    assert os.path.isfile(run / FIRST / "csv" / "version_0" / "metrics.csv")
