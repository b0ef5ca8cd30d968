"""Where metrics go: CSV files and wandb, and where wandb is not installed, or switched off."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from metasr.config import build
from metasr.errors import InputError
from metasr.training import loggers as module
from metasr.training.loggers import Logging, confine_wandb
from running import SMALL, SMOKE, compose, run_py, save_picture

DEFAULT = ("+experiment=mzsr_x2",)


def settled(*choices: str) -> Logging:
    return build.logging(compose(*choices)).settled()


def test_loggers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [v for v in os.environ if v.startswith("WANDB_")]:
        monkeypatch.delenv(variable)
    assert build.logging(compose(*SMOKE)).open(tmp_path, run=tmp_path, job="j") == []
    made = build.logging(compose(*SMOKE, "logger=csv")).open(tmp_path, run=tmp_path, job="j")
    assert [type(m).__name__ for m in made] == ["CSVLogger"]
    assert not [v for v in os.environ if v.startswith("WANDB_")]


def test_tensorboard_stands_beside_the_others(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    chosen = build.logging(compose(*SMOKE, "logger=tensorboard")).settled()
    opened = chosen.open(tmp_path / "stage", run=tmp_path, job="stage")
    assert [type(logger).__name__ for logger in opened] == ["CSVLogger", "TensorBoardLogger"]
    assert Path(opened[1].log_dir).is_relative_to(tmp_path / "stage" / "tensorboard")
    both = build.logging(compose(*SMOKE, "logger=wandb", "logger.tensorboard=true"))
    assert both.tensorboard
    assert both.wandb is not None


def test_tensorboard_that_is_missing_is_named_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(InputError) as told:
        build.logging(compose(*SMOKE, "logger=tensorboard")).settled()
    install = "pip install 'metasr[tensorboard]', or pip install tensorboard"
    assert str(told.value) == f"logger=tensorboard: tensorboard is not installed: {install}"


class FakeWandb:
    """Takes what ``wandb.init`` is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import wandb
        from pytorch_lightning import loggers

        self.told: dict[str, Any] = {}
        monkeypatch.setattr(wandb, "init", self.init)
        monkeypatch.setattr(loggers, "WandbLogger", lambda experiment, save_dir: experiment)
        monkeypatch.setattr(module, "confine_wandb", lambda folder: None)

    def init(self, **told: Any) -> str:
        self.told = told
        return "run"


def test_wandb_runs_are_grouped_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = FakeWandb(monkeypatch)
    cfg = compose(*SMOKE, "logger=wandb", "logger.csv=false", "logger.wandb.tags=[mine]")
    for run, group, name, tags in (
        (tmp_path / "mzsr_x2" / "2026-01-01", "2026-01-01", "mzsr_x2/pretrain", ["mzsr_x2", "mine"]),
        (
            tmp_path / "mzsr_x2" / "sweeps" / "seeds-01" / "seed_1-ab", "seeds-01", "mzsr_x2/seed_1-ab/pretrain",
            ["mzsr_x2", "seeds-01", "mine"],
        ),
    ):  # fmt: skip
        assert build.logging(cfg).open(run / "01_pretrain", run=run, job="pretrain") == ["run"]
        told = wandb.told
        assert (told["group"], told["job_type"], told["name"], told["tags"]) == (group, "pretrain", name, tags)
        assert told["dir"] == str(run / "01_pretrain")
        kept = {key: told["config"][key] for key in ("experiment", "sweep", "run_folder", "stage", "seed")}
        sweep = group if group != run.name else None
        assert kept == {
            "experiment": "mzsr_x2", "sweep": sweep, "run_folder": run.name, "stage": "pretrain", "seed": 1,
        }  # fmt: skip


def test_wandb_online_needs_a_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = FakeWandb(monkeypatch)
    cfg = compose(*SMOKE, "logger=wandb", "logger.wandb.mode=online")
    monkeypatch.setattr(module, "logged_in", lambda: False)
    with pytest.raises(InputError, match=r"logger.wandb.mode=online needs a login: run `wandb login` first"):
        build.logging(cfg).open(tmp_path, run=tmp_path, job="j")
    assert wandb.told == {}
    monkeypatch.setattr(module, "logged_in", lambda: True)
    build.logging(cfg).open(tmp_path, run=tmp_path, job="j")
    assert wandb.told["mode"] == "online"


def test_wandb_is_confined_to_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR",
                     "WANDB_SILENT", "WANDB_CONSOLE"):  # fmt: skip
        monkeypatch.setenv(variable, "to be restored afterwards")
    confine_wandb(tmp_path / "stage")
    for variable in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR"):
        assert Path(os.environ[variable]).is_relative_to(tmp_path / "stage")
        assert Path(os.environ[variable]).is_dir()


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch):
    """Hides wandb; gives what sets the command line's choices."""
    monkeypatch.setitem(sys.modules, "wandb", None)

    def typed(*choices: str) -> None:
        monkeypatch.setattr(module, "typed_choices", lambda name: list(choices))

    return typed


def test_a_default_gives_way_to_csv_files_with_one_line(hidden, caplog: pytest.LogCaptureFixture) -> None:
    hidden(*DEFAULT, "logger.wandb.mode=disabled", "seed=2")
    cfg = compose(*DEFAULT, "logger.csv=false")
    with caplog.at_level(logging.WARNING):
        settled = build.logging(cfg).settled()
    assert (settled.csv, settled.wandb) == (True, None)
    assert caplog.messages == ["wandb is not installed (pip install wandb): the run is logged to CSV files alone"]


@pytest.mark.parametrize(
    "choice",
    [
        "logger=wandb",
        "logger.wandb.mode=online",
        "logger.wandb.mode=offline",
        "+logger.wandb.x=1",
        "logger.wandb.tags=[a]",
    ],
)
def test_what_was_asked_for_is_an_error(hidden, choice: str) -> None:
    hidden(*DEFAULT, choice)
    with pytest.raises(InputError) as told:
        settled(*DEFAULT)
    assert str(told.value) == f"{choice}: wandb is not installed: pip install wandb, or logger=csv"


def test_online_by_a_config_is_asked_for_too(hidden) -> None:
    hidden(*DEFAULT)
    with pytest.raises(InputError, match=r"^logger.wandb.mode=online: wandb is not installed: pip install wandb, or"):
        settled(*DEFAULT, "logger.wandb.mode=online")


def test_nothing_changes_without_wandb_or_where_it_is_there(hidden) -> None:
    hidden(*DEFAULT, "logger=csv")
    for choice in ("logger=csv", "logger=none"):
        assert settled(*DEFAULT, choice).wandb is None


def test_with_wandb_installed_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: name)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    kept = settled(*DEFAULT).wandb
    assert kept is not None
    assert (kept.project, kept.mode) == ("metasr", "offline")


@pytest.mark.parametrize(("value", "kept"), [("", True), (" ", True), ("offline", True), ("disabled", False)])
def test_the_environment_may_switch_wandb_off(monkeypatch: pytest.MonkeyPatch, value: str, kept: bool) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setenv("WANDB_MODE", value)
    assert (settled(*DEFAULT, "logger=wandb").wandb is not None) == kept
    assert os.environ.get("WANDB_MODE", "unset") == (value if value.strip() else "unset")  # wandb refuses empty ones


def test_an_unknown_mode_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "bogus")
    told = (
        "WANDB_MODE=bogus: wandb knows disabled, dryrun, offline, online, run, shared; unset it, or take one of these"
    )
    with pytest.raises(InputError) as error:
        settled(*DEFAULT)
    assert str(error.value) == told
    assert settled(*DEFAULT, "logger=csv").wandb is None  # nobody asks for wandb then


def test_unknown_options_of_wandb() -> None:
    with pytest.raises(InputError, match=r"no key logger\.wandb\.projekt: did you mean 'project'"):
        build.logging(compose(*DEFAULT, "+logger.wandb.projekt=x"))
    with pytest.raises(InputError, match=r"logger\.wandb\.mode must be one of offline, online, disabled, got 'of'"):
        build.logging(compose(*DEFAULT, "logger.wandb.mode=of"))


@pytest.mark.slow
def test_a_whole_run_without_wandb(tmp_path: Path) -> None:
    hides = tmp_path / "hides"
    hides.mkdir()
    (hides / "sitecustomize.py").write_text("import sys\nsys.modules['wandb'] = None\n")
    path = os.pathsep.join(filter(None, (str(hides), os.environ.get("PYTHONPATH", ""))))
    photo = save_picture(tmp_path / "photos" / "a.png", 45, 53)
    small = [c for c in SMALL if c != "logger=none"] + [f"testset={photo.parent}", "degradations=[bicubic]",
                                                       "adapt_steps=[0]", "device=cpu"]  # fmt: skip
    refused = run_py(*small, "logger=wandb", outputs=tmp_path / "out", PYTHONPATH=path)
    assert refused.returncode == 2
    assert refused.stderr.strip() == "error: logger=wandb: wandb is not installed: pip install wandb, or logger=csv"
    assert not list((tmp_path / "out").rglob("card.json"))  # before training
    # the smoke profile logs to CSV files alone: another one's logger is the default
    done = run_py(*(c for c in small if c != "profile=smoke"), "profile=quick", "stages.pretrain.steps=2",
                  "stages.meta_transfer.steps=1", "stages.pretrain.sampler.batch_size=2",
                  "stages.meta_transfer.sampler.meta_batch=1", "trainer.log_every_n_steps=1",
                  outputs=tmp_path / "out", PYTHONPATH=path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wandb is not installed") == 1
    run = (tmp_path / "out" / "mzsr_x2" / "latest").resolve()
    assert len(list(run.glob("*/csv/version_0/metrics.csv"))) == 2
    assert not list(run.rglob("wandb"))
