"""Sweeps: folders that a rerun finds again, and jobs whose failures stay their own."""

import json
from pathlib import Path

import pytest

from metasr.errors import InputError
from metasr.experiment import job as job_module
from metasr.experiment import sweep
from metasr.experiment.run_folder import begin_sweep, job_folder, register_resolvers, sweep_folder, swept_keys
from running import compose


def test_a_sweeps_folder_depends_on_what_is_not_swept():
    def folder(*overrides: str, name: str | None = None) -> str:
        return sweep_folder(overrides, "mzsr_x2", name, "/out")

    one = folder("+experiment=mzsr_x2", "profile=smoke", "seed=1,2")
    assert one.startswith("/out/mzsr_x2/sweeps/sweep-")
    assert folder("+experiment=mzsr_x2", "seed=range(1,9)", "profile=smoke") == one
    assert folder("+experiment=mzsr_x2", "profile=quick", "seed=1,2") != one
    assert folder("+experiment=mzsr_x2", "adapt_steps=[0,1]", "seed=1,2") != one  # a list is no sweep
    assert Path(folder("+sweep=seeds", name="seeds")).name.startswith("seeds-")


def test_what_is_swept():
    assert swept_keys(["a=1", "+b.c=1,2", "d=[1,2]", "e=choice(3,4)"], ["seed"]) == "b.c,e,seed"


def test_a_jobs_folder_tells_what_is_swept_and_no_more():
    name = job_folder(
        ["+experiment=e", "seed=3", "stages.x.recipe.rate=1e-3", "data.root='/a b'"], "seed,stages.x.recipe.rate"
    )
    head, _, digest = name.rpartition("-")
    assert head == "seed_3-rate_1e-3"
    assert len(digest) == 8
    assert job_folder(["seed=3", "other=1"], "seed") != job_folder(["seed=3", "other=2"], "seed")
    assert job_folder(["b=1", "a=2"], "") == job_folder(["a=2", "b=1"], "")
    long = job_folder(["data.root=" + "x" * 300], "data.root")
    assert len(long) < 100


class FakeConfig:
    class job:
        num = 3

    class overrides:
        task = ("seed=1", "a=2")


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch):
    """Replaces what a job does, and counts how often."""
    from hydra.core.hydra_config import HydraConfig

    monkeypatch.setattr(HydraConfig, "get", staticmethod(lambda: FakeConfig))
    calls: list[Path] = []

    def set_to(action) -> list[Path]:
        def execute(cfg, folder: Path) -> None:
            calls.append(folder)
            action(folder)

        monkeypatch.setattr(job_module, "execute", execute)
        return calls

    return set_to


def finish(folder: Path) -> None:
    (folder / "table.csv").write_text("testset,psnr_y\nset5,30\n", encoding="utf-8")


def test_a_finished_job_is_skipped(jobs, tmp_path: Path):
    calls = jobs(finish)
    cfg = compose("+experiment=mzsr_x2")
    for _ in range(2):
        sweep.run_job(cfg, tmp_path / "s" / "j")
    assert len(calls) == 1
    (found,) = sweep.read_jobs(tmp_path / "s")
    assert (found.error, found.overrides, found.rows) == ("", ("seed=1", "a=2"), ({"testset": "set5", "psnr_y": "30"},))
    assert found.command.endswith("src/run.py seed=1 a=2")


@pytest.mark.parametrize(
    ("error", "told"),
    [(InputError("no such thing"), "no such thing"), (ZeroDivisionError("x"), "ZeroDivisionError: x")],
)
def test_a_failing_job_is_written_down_and_done_again(jobs, tmp_path: Path, error: Exception, told: str):
    def fail(_: Path) -> None:
        raise error

    cfg = compose("+experiment=mzsr_x2")
    folder = tmp_path / "s" / "j"
    jobs(fail)
    sweep.run_job(cfg, folder)
    assert [j.error for j in sweep.read_jobs(tmp_path / "s")] == [told]
    assert ("traceback" in json.loads((folder / "job.json").read_text())) == isinstance(error, ZeroDivisionError)
    jobs(finish)
    sweep.run_job(cfg, folder)
    assert [j.error for j in sweep.read_jobs(tmp_path / "s")] == [""]


def test_a_job_whose_slice_is_over_is_not_finished(jobs, tmp_path: Path):
    calls = jobs(lambda _: None)
    cfg = compose("+experiment=mzsr_x2")
    for _ in range(2):
        sweep.run_job(cfg, tmp_path / "s" / "j")
    assert len(calls) == 2
    assert "not finished yet" in sweep.read_jobs(tmp_path / "s")[0].error


def test_a_job_cut_short_counts_as_failed(tmp_path: Path):
    (tmp_path / "j").mkdir()
    (tmp_path / "j" / "job.json").write_text('{"overrides": ["seed=1"], "status": "started"}', encoding="utf-8")
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "job.json").write_text("{not json", encoding="utf-8")
    assert [j.error for j in sweep.read_jobs(tmp_path)] == ["cut short: run the sweep again"] * 2


def test_the_end_of_a_sweep_tells_of_failures_by_its_status(jobs, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from omegaconf import OmegaConf

    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    sweep.SweepEnd().on_multirun_end(config)  # no jobs at all: --cfg job, say
    assert capsys.readouterr().out == ""
    (tmp_path / "j").mkdir()
    (tmp_path / "j" / "job.json").write_text('{"overrides": ["seed=1"], "status": "failed", "error": "why"}')
    with pytest.raises(SystemExit) as left:
        sweep.SweepEnd().on_multirun_end(config)
    assert left.value.code == 1
    assert "as configured, seed=1: why" in capsys.readouterr().out
    assert "why" in (tmp_path / "sweep.csv").read_text()


def sweep_config(*typed: str, params: dict[str, str] | None, sweeper: str = "x.BasicSweeper"):
    from omegaconf import OmegaConf

    return OmegaConf.create(
        {
            "name": "e", "sweep_name": "s", "paths": {"outputs": "/out"},
            "hydra": {"overrides": {"task": list(typed)}, "sweeper": {"_target_": sweeper, "params": params}},
        },
        flags={"struct": True},
    )  # fmt: skip


def test_what_a_sweep_varies_comes_after_what_was_typed_which_wins():
    from omegaconf import OmegaConf

    config = sweep_config("+experiment=e", "seed=7", params={"+ablation": "a,b", "seed": "1,2,3"})
    begin_sweep(config)
    assert list(config.hydra.overrides.task) == ["+experiment=e", "seed=7", "+ablation=a,b"]
    assert config.hydra.sweeper.params is None
    register_resolvers()
    asked = OmegaConf.create({"folder": "${metasr.sweep_folder:}", "swept": "${metasr.swept:}"})
    assert asked.folder.startswith("/out/e/sweeps/s-")
    assert asked.swept == "ablation"


def test_other_sweepers_keep_their_own_parameters():
    config = sweep_config("+experiment=e", params={"rate": "interval(1,2)"}, sweeper="x.OptunaSweeper")
    begin_sweep(config)
    assert dict(config.hydra.sweeper.params) == {"rate": "interval(1,2)"}
    assert list(config.hydra.overrides.task) == ["+experiment=e"]
