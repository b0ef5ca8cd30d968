"""Launchers and sweepers that hydra has as plugins: each really runs a sweep of two jobs."""

import csv
import json
import os
import re
import stat
import sys
from pathlib import Path

import pytest
import yaml

from running import NO_VALIDATION, SMALL, run_py, save_picture

PLUGINS = {
    "parallel": "hydra_plugins.hydra_joblib_launcher", "local": "hydra_plugins.hydra_submitit_launcher",
    "slurm": "hydra_plugins.hydra_submitit_launcher", "ray_tasks": "hydra_plugins.hydra_ray_launcher",
    "tpe": "hydra_plugins.hydra_optuna_sweeper",
}  # fmt: skip
SEARCHED = "stages.meta_transfer.recipe.inner_rate"


def needs(choice: str) -> None:
    pytest.importorskip(PLUGINS[choice], reason=f"{choice} needs the plugin {PLUGINS[choice]}")


@pytest.fixture
def small(tmp_path: Path) -> tuple[str, ...]:
    photo = save_picture(tmp_path / "photos" / "a.png", 45, 53)
    return ("-m", *SMALL, f"testset={photo.parent}", "degradations=[bicubic]", "adapt_steps=[0,1]", "device=cpu")


def jobs(outputs: Path) -> list[dict]:
    """The cards of the one sweep's jobs, each with its folder, in order."""
    folder = (outputs / "mzsr_x2" / "sweeps" / "latest").resolve(strict=True)
    assert {p.name for p in folder.parent.iterdir()} == {folder.name, "latest"}
    found = [json.loads(p.read_text()) | {"folder": p.parent} for p in folder.glob("*/job.json")]
    return sorted(found, key=lambda card: card["number"])


def scores(card: dict) -> list[list[str]]:
    """A job's table without what was timed."""
    return [
        [v for k, v in row.items() if k != "seconds"] for row in csv.DictReader((card["folder"] / "table.csv").open())
    ]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["parallel", "local", "ray_tasks"])
def test_two_jobs_by_a_launcher(tmp_path: Path, small: tuple[str, ...], launcher: str) -> None:
    needs(launcher)
    out = tmp_path / "out"
    done = run_py(*small, "seed=1,2", f"hydra/launcher={launcher}", outputs=out, HOME=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deprecated in Hydra" not in done.stderr
    found = jobs(out)
    assert [(c["status"], c["overrides"][-1]) for c in found] == [("finished", "seed=1"), ("finished", "seed=2")]
    assert [c["folder"].name.rpartition("-")[0] for c in found] == ["seed_1", "seed_2"]
    assert "table: " in done.stdout
    made = [scores(card) for card in found]
    assert made[0] != made[1]

    stamps = [(c["folder"] / "table.csv").stat().st_mtime_ns for c in found]
    again = run_py(*small, "seed=1,2", outputs=out)  # what one launcher finished, another one skips
    assert again.returncode == 0, again.stderr
    assert [(c["folder"] / "table.csv").stat().st_mtime_ns for c in jobs(out)] == stamps
    alone = run_py(*small[1:], "seed=1", f"run={tmp_path / 'alone'}", outputs=out)
    assert alone.returncode == 0, alone.stderr
    assert scores({"folder": tmp_path / "alone"}) == made[0]


FAKE_SLURM = {
    "sbatch": """
import os, re, subprocess, sys
text = open(sys.argv[-1]).read()
flags = {k: v.strip("'") for k, v in re.findall(r"#SBATCH --([a-z-]+)=(.*)", text)}
open(os.environ["FAKE_SLURM"] + "/flags", "w").write(repr(flags))
tasks = flags["ntasks-per-node"]
told = {"SLURM_NTASKS": tasks, "SLURM_NTASKS_PER_NODE": tasks, "SLURM_NNODES": "1", "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NODEID": "0", "SLURM_JOB_NODELIST": "localhost", "SLURM_JOB_NAME": flags["job-name"],
        "SLURM_ARRAY_JOB_ID": "77"}
for k in range(int(re.match(r"0-(\\d+)", flags["array"]).group(1)) + 1):
    env = os.environ | told | {"SLURM_ARRAY_TASK_ID": str(k), "SLURM_JOB_ID": str(77 + k)}
    subprocess.Popen(["bash", sys.argv[-1]], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print("Submitted batch job 77")
""",
    "srun": """
import os, subprocess, sys
command = sys.argv[sys.argv.index("-u") - 1:]
ranks = range(int(os.environ["SLURM_NTASKS"]))
started = [
    subprocess.Popen(command, env=os.environ | {"SLURM_PROCID": str(k), "SLURM_LOCALID": str(k)}) for k in ranks
]
sys.exit(max(p.wait() for p in started))
""",
    "sacct": "print('JobID|State|NodeList')",
    "scontrol": "print('localhost')",
}
"""Programs in place of SLURM's, that run a job array at once on this machine."""


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine with a pretended SLURM."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in FAKE_SLURM.items():
        (folder / name).write_text(f"#!{sys.executable}\n{text}")
        (folder / name).chmod(stat.S_IRWXU)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "FAKE_SLURM": str(folder)}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["local", "slurm"])
def test_jobs_of_two_processes_that_train_together(
    tmp_path: Path, small: tuple[str, ...], slurm: dict[str, str], launcher: str
) -> None:
    needs(launcher)
    out = tmp_path / "out"
    together = ("trainer.devices=2", "+trainer.strategy=ddp", "hydra.launcher.tasks_per_node=2")
    more = slurm if launcher == "slurm" else {}
    done = run_py(*small, "seed=1,2", f"hydra/launcher={launcher}", *together, outputs=out, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    found = jobs(out)
    assert [c["status"] for c in found] == ["finished"] * 2
    for card in found:
        text = (card["folder"] / "job.log").read_text()
        assert "MEMBER: 1/2" in text
        assert "MEMBER: 2/2" in text
        assert text.count("finished in") == 2  # each stage once, by one of the two
    if launcher == "slurm":
        told = (tmp_path / "slurm" / "flags").read_text()
        for flag in ("'gpus-per-node': '1'", "'mem': '32GB'", "'array': '0-1%2'", "'time': '240'", "'nodes': '1'"):
            assert flag in told
        assert "partition" not in told


@pytest.mark.slow
def test_a_search_gives_runs_up_goes_on_and_ends_with_its_trials(tmp_path: Path, small: tuple[str, ...]) -> None:
    needs("tpe")
    out = tmp_path / "out"
    search = (
        *(c for c in small if c != NO_VALIDATION[1]), "+sweep=mzsr_rates_search", "prune.startup=2",
        "stages.meta_transfer.validation.every=1", "stages.meta_transfer.validation.degradations=[g2.0d]",
        "stages.meta_transfer.validation.updates=[0,1]", "stages.meta_transfer.validation.crop=48",
    )  # fmt: skip
    done = run_py(*search, "hydra.sweeper.n_trials=5", outputs=out)
    assert done.returncode == 0, done.stdout + done.stderr
    first = jobs(out)
    assert len(first) == 5
    assert {"finished", "pruned"} == {c["status"] for c in first}
    for card in first:
        seen = json.loads((card["folder"] / "intermediate.json").read_text())
        last = card["folder"] / "02_meta_transfer" / "card.json"
        if card["status"] == "pruned":
            assert card["objective"] == max(seen.values())
            assert not (card["folder"] / "table.csv").exists()
        else:
            assert len(seen) == 4
            assert card["objective"] == seen["4"] == json.loads(last.read_text())["metrics"]["val/psnr_y/g2.0d@1"]
    best = max(first, key=lambda card: card["objective"])
    sweep = first[0]["folder"].parent
    assert yaml.safe_load((sweep / "optimization_results.yaml").read_text())["best_value"] == best["objective"]
    trials = list(csv.DictReader((sweep / "trials.csv").open()))
    assert [float(t["val_psnr_y"]) for t in trials] == sorted((float(t["val_psnr_y"]) for t in trials), reverse=True)
    assert {t["state"].partition(" at ")[0] for t in trials} == {"finished", "given up"}
    assert "trials by PSNR in dB on the validation images:" in done.stdout

    stamps = {c["folder"].name: (c["folder"] / "job.json").stat().st_mtime_ns for c in first}
    more = run_py(*search, "hydra.sweeper.n_trials=6", outputs=out)
    assert more.returncode == 0, more.stderr
    second = jobs(out)
    assert len(second) == 6
    assert stamps.items() <= {c["folder"].name: (c["folder"] / "job.json").stat().st_mtime_ns for c in second}.items()


@pytest.mark.slow
def test_a_search_in_which_trials_fail(tmp_path: Path, small: tuple[str, ...]) -> None:
    needs("tpe")
    done = run_py(*small, "hydra/sweeper=tpe", "hydra.sweeper.n_trials=2", f"{SEARCHED}=interval(0.01,0.02)",
                  outputs=tmp_path / "out")  # fmt: skip
    assert done.returncode == 1
    assert "2 of 2 runs failed:" in done.stdout
    assert len(re.findall(r"nothing to search by: give its last stage validation.degradations", done.stdout)) == 2
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_several_devices_without_their_processes_are_refused(tmp_path: Path, small: tuple[str, ...]) -> None:
    done = run_py(*small, "seed=1,2", "trainer.devices=2", "+trainer.strategy=ddp", outputs=tmp_path / "out")
    assert done.returncode == 1
    assert "2 of 2 runs failed:" in done.stdout
    assert "expected a process for each device, got 1 for trainer.devices=2" in done.stdout
