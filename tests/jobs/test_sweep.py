"""Sweeps: folders that a rerun finds again, and jobs whose failures stay their own."""

import json
import math
import os
import pickle
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf, open_dict

from metasr.config.command_line import sweep_as_run
from metasr.errors import InputError
from metasr.jobs import run as job_module
from metasr.jobs import sweep
from metasr.jobs.search import MedianPruning, PrunedError
from metasr.report.reading import read_jobs
from metasr.runs.folder import as_typed, begin_sweep, job_folder, register_resolvers, sweep_folder, swept_keys
from report_samples import TABLE
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


@pytest.fixture
def hydra(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What hydra tells a job."""
    from hydra.core.hydra_config import HydraConfig

    told = SimpleNamespace(
        job=SimpleNamespace(num=3), overrides=SimpleNamespace(task=("seed=1", "a=2")),
        sweeper=SimpleNamespace(_target_="x.BasicSweeper"),
    )  # fmt: skip
    monkeypatch.setattr(HydraConfig, "get", staticmethod(lambda: told))
    return told


@pytest.fixture
def jobs(hydra: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    """Replaces what a job does, and counts how often."""
    monkeypatch.delenv("RANK", raising=False)
    calls: list[Path] = []

    def set_to(action) -> list[Path]:
        def execute(cfg, folder: Path, *, watch) -> float | None:
            calls.append(folder)
            return action(folder)

        monkeypatch.setattr(job_module, "execute", execute)
        return calls

    return set_to


def finish(folder: Path) -> None:
    (folder / "table.csv").write_text(TABLE.format(low=30, high=31), encoding="utf-8")


def test_a_finished_job_is_skipped(jobs, tmp_path: Path):
    calls = jobs(finish)
    cfg = compose("+experiment=mzsr_x2")
    for _ in range(2):
        sweep.run_job(cfg, tmp_path / "s" / "j")
    assert len(calls) == 1
    (found,) = read_jobs(tmp_path / "s")
    assert (found.error, found.overrides) == ("", ("seed=1", "a=2"))
    assert [row.psnr_y for row in found.rows] == [28.73, 30, 31]
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
    assert [j.error for j in read_jobs(tmp_path / "s")] == [told]
    assert ("traceback" in json.loads((folder / "job.json").read_text())) == isinstance(error, ZeroDivisionError)
    jobs(finish)
    sweep.run_job(cfg, folder)
    assert [j.error for j in read_jobs(tmp_path / "s")] == [""]


def test_a_job_whose_slice_is_over_is_not_finished(jobs, tmp_path: Path):
    calls = jobs(lambda _: None)
    cfg = compose("+experiment=mzsr_x2")
    for _ in range(2):
        sweep.run_job(cfg, tmp_path / "s" / "j")
    assert len(calls) == 2
    assert "not finished yet" in read_jobs(tmp_path / "s")[0].error


def test_a_search_gets_every_jobs_validation_score(jobs, hydra, tmp_path: Path):
    def score(folder: Path) -> float:
        finish(folder)
        return 31.25

    def give_up(folder: Path) -> float:
        raise PrunedError("given up at 2", value=29.5)

    def fail(folder: Path) -> float:
        raise InputError("why")

    cfg = compose("+experiment=mzsr_x2")
    hydra.sweeper._target_ = "x.OptunaSweeper"
    calls = jobs(score)
    for name, action, value in (("a", score, 31.25), ("b", give_up, 29.5), ("c", fail, -math.inf)):
        jobs(action)
        assert sweep.run_job(cfg, tmp_path / name) == value
    jobs(lambda folder: finish(folder))
    assert sweep.run_job(cfg, tmp_path / "d") == -math.inf
    jobs(lambda folder: None)
    assert math.isnan(sweep.run_job(cfg, tmp_path / "e"))  # its time was over: that says nothing of its choices
    shutil.rmtree(tmp_path / "e")
    assert len(calls) == 5
    assert [sweep.run_job(cfg, tmp_path / name) for name in "ab"] == [31.25, 29.5]
    assert len(calls) == 5  # neither is done again
    a, b, c, d = read_jobs(tmp_path)
    assert (a.trial, a.objective, a.pruned, a.error) == (True, 31.25, "", "")
    assert (b.objective, b.pruned, b.error, b.rows) == (29.5, "given up at 2", "", ())
    assert (c.objective, c.error) == (None, "why")
    assert d.error == "nothing to search by: give its last stage validation.degradations"


def test_a_failing_job_of_a_plain_sweep_gives_nothing(jobs, tmp_path: Path):
    cfg = compose("+experiment=mzsr_x2")
    jobs(lambda folder: finish(folder))
    assert sweep.run_job(cfg, tmp_path / "a") is None
    assert [(job.error, job.trial) for job in read_jobs(tmp_path)] == [("", False)]


def test_what_gives_a_job_up(jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    given = []

    def execute(cfg, folder: Path, *, watch) -> None:
        given.append(watch)

    monkeypatch.setattr(job_module, "execute", execute)
    for n, choices in enumerate(
        [(), ("prune.startup=3", "prune.warmup=7"), ("prune.startup=1", "stages_to_run=[pretrain]"),
         ("prune.startup=4", "trainer.devices=2")]
    ):  # fmt: skip
        monkeypatch.setattr("metasr.jobs.launching._processes", lambda: 1)
        monkeypatch.setattr(sweep, "join_processes", lambda devices, nodes: None)
        sweep.run_job(compose("+experiment=mzsr_x2", *choices), tmp_path / str(n))
    none, made, only = given
    assert none is None
    assert isinstance(made, MedianPruning)
    assert (made.stage, made.startup, made.warmup, made.path.parent) == ("meta_transfer", 3, 7, tmp_path / "1")
    assert isinstance(only, MedianPruning)
    assert (only.stage, only.startup, only.warmup) == ("pretrain", 1, 0)
    told = "trainer.devices=2: jobs of several processes cannot be pruned; add prune.startup=0"
    assert json.loads((tmp_path / "3" / "job.json").read_text())["error"] == told


def test_one_of_several_processes_writes_the_card(jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    jobs(lambda folder: None)
    monkeypatch.setenv("RANK", "1")
    sweep.run_job(compose("+experiment=mzsr_x2"), tmp_path / "j")
    assert not (tmp_path / "j").exists()


def test_a_process_that_gets_the_callback_can_compose_a_job():
    sent = pickle.dumps(sweep.SweepEnd())
    OmegaConf.clear_resolver("metasr.job_folder")
    assert isinstance(pickle.loads(sent), sweep.SweepEnd)
    assert OmegaConf.has_resolver("metasr.job_folder")


def test_a_sweep_whose_plugin_is_missing_ends_before_it_begins(capsys: pytest.CaptureFixture[str]):
    config = OmegaConf.create(
        {
            "hydra": {
                "launcher": {"_target_": "hydra_plugins.hydra_ray_launcher_x.y"},
                "sweeper": {"_target_": "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"},
                "runtime": {"choices": {"hydra/sweeper": "tpe"}},
            }
        }
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(SystemExit) as left:
            sweep.SweepEnd().on_multirun_start(config)
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("error: hydra/sweeper=tpe is not installed: pip install 'metasr[optuna]'")


def test_a_job_cut_short_counts_as_failed(tmp_path: Path):
    (tmp_path / "j").mkdir()
    (tmp_path / "j" / "job.json").write_text('{"overrides": ["seed=1"], "status": "started"}', encoding="utf-8")
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "job.json").write_text("{not json", encoding="utf-8")
    assert [j.error for j in read_jobs(tmp_path)] == ["cut short: run the sweep again"] * 2


def test_the_end_of_a_sweep_tells_of_failures_by_its_status(jobs, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    sweep.SweepEnd().on_multirun_end(config)  # no jobs at all: --cfg job, say
    assert capsys.readouterr().out == ""
    (tmp_path / "j").mkdir()
    (tmp_path / "j" / "job.json").write_text('{"overrides": ["seed=1"], "status": "failed", "error": "why"}')
    with pytest.raises(SystemExit) as left:
        sweep.SweepEnd().on_multirun_end(config)
    assert left.value.code == 1
    assert not (tmp_path / "trials.csv").exists()
    assert "as configured, seed=1: why" in capsys.readouterr().out
    assert "why" in (tmp_path / "sweep.csv").read_text()


def test_the_last_line_of_a_sweep_tells_how_to_report_on_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("s", "a folder"):
        (tmp_path / name / "j").mkdir(parents=True)
        (tmp_path / name / "j" / "job.json").write_text('{"overrides": ["seed=1"], "status": "pruned"}')
        sweep.SweepEnd().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path / name)}}}))
        last = capsys.readouterr().out.splitlines()[-1]
        assert last.startswith("report: ")
        told = shlex.split(last)
        assert told[2:4] == ["src/run.py", "task=report"]
        (runs,) = (c for c in sweep_as_run(told[3:]) if c.startswith("runs="))
        assert list(compose("task=report", runs).runs) == [str(tmp_path / name)]


@pytest.mark.parametrize("access", [True, False])
def test_a_sweep_that_cannot_write_ends_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], access: bool
):
    config = sweep_config("+experiment=e", "seed=1,2", params=None)
    OmegaConf.set_struct(config, False)
    config.hydra.launcher = {"_target_": "x.BasicLauncher"}
    config.hydra.sweep = {"dir": str(tmp_path / "out" / "s")}
    monkeypatch.setattr(os, "access", lambda *_: access)  # whoever runs the tests may write everywhere
    if access:
        sweep.SweepEnd().on_multirun_start(config)
        return
    with pytest.raises(SystemExit) as left:
        sweep.SweepEnd().on_multirun_start(config)
    assert left.value.code == 2
    told = f"error: cannot write in {tmp_path}: no permission; set METASR_OUTPUTS, or hydra.sweep.dir=FOLDER\n"
    assert capsys.readouterr().err == told


def test_the_sweep_under_way_is_the_latest(jobs, tmp_path: Path):
    jobs(finish)
    cfg = compose("+experiment=mzsr_x2")
    for name in ("a", "b", "a"):  # a job that is skipped counts too
        (tmp_path / name).mkdir(exist_ok=True)
        sweep.run_job(cfg, tmp_path / name / "j")
        assert (tmp_path / "latest").resolve() == tmp_path / name


def test_the_end_of_a_search_lists_its_trials(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for number, value in enumerate((30.0, 31.0)):
        card = {"overrides": [f"a={number}"], "status": "pruned", "told": "why", "search": True, "objective": value}
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "job.json").write_text(json.dumps(card))
    sweep.SweepEnd().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    assert "31.00  a=1 (why)" in capsys.readouterr().out
    assert (tmp_path / "trials.csv").read_text().splitlines()[1].startswith("a=1,31.0000,why,")


def sweep_config(*typed: str, params: dict[str, str] | None, sweeper: str = "x.BasicSweeper"):
    return OmegaConf.create(
        {
            "name": "e", "sweep_name": "s", "paths": {"outputs": "/out"},
            "hydra": {"overrides": {"task": list(typed)}, "sweeper": {"_target_": sweeper, "params": params}},
        },
        flags={"struct": True},
    )  # fmt: skip


def test_what_a_sweep_varies_comes_after_what_was_typed_which_wins():
    config = sweep_config("+experiment=e", "seed=7", params={"+ablation": "a,b", "seed": "1,2,3"})
    begin_sweep(config)
    assert list(config.hydra.overrides.task) == ["+experiment=e", "seed=7", "+ablation=a,b"]
    assert config.hydra.sweeper.params is None
    register_resolvers()
    asked = OmegaConf.create({"folder": "${metasr.sweep_folder:}", "swept": "${metasr.swept:}"})
    assert asked.folder.startswith("/out/e/sweeps/s-")
    assert asked.swept == "ablation"


def test_what_stands_for_each_jobs_own_value_is_left_to_the_jobs():
    """Else all of them would begin with the weights of the config's own seed."""
    config = sweep_config("+experiment=e", "init=/runs/seed_${seed}", "seed=1,2", params=None)
    with open_dict(config):
        config.seed = 7
    begin_sweep(config)
    assert OmegaConf.to_container(config.hydra.overrides.task, resolve=False)[1] == "init=/runs/seed_${seed}"
    assert as_typed(config.hydra.overrides.task) == ["+experiment=e", "init=/runs/seed_${seed}", "seed=1,2"]
    folder = sweep_folder(["+experiment=e", "init=/runs/seed_${seed}", "seed=1,2"], "e", "s", "/out")
    assert OmegaConf.create({"folder": "${metasr.sweep_folder:}"}).folder == folder


def test_other_sweepers_keep_their_own_parameters():
    config = sweep_config("+experiment=e", params={"rate": "interval(1,2)"}, sweeper="x.OptunaSweeper")
    begin_sweep(config)
    assert dict(config.hydra.sweeper.params) == {"rate": "interval(1,2)"}
    assert list(config.hydra.overrides.task) == ["+experiment=e"]
