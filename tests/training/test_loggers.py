"""Where wandb is not installed."""

import logging
import os
import sys
from pathlib import Path

import pytest
from metasr.training.wandb_login import settle_wandb

from metasr.errors import InputError
from metasr.training import wandb_login
from running import SMALL, compose, run_py, save_picture

DEFAULT = ("+experiment=mzsr_x2",)


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch):
    """Hides wandb; gives what sets the command line's choices."""
    monkeypatch.setitem(sys.modules, "wandb", None)

    def typed(*choices: str) -> None:
        monkeypatch.setattr(wandb_login, "typed_choices", lambda name: list(choices))

    return typed


def test_a_default_gives_way_to_csv_files_with_one_line(hidden, caplog: pytest.LogCaptureFixture) -> None:
    hidden(*DEFAULT, "logger.wandb.mode=disabled", "seed=2")
    cfg = compose(*DEFAULT, "logger.csv=false")
    with caplog.at_level(logging.WARNING):
        settled = settle_wandb(cfg)
    assert (settled.logger.csv, settled.logger.wandb) == (True, None)
    assert cfg.logger.wandb.mode == "offline"  # the given one is left as it was
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
        settle_wandb(compose(*DEFAULT))
    assert str(told.value) == f"{choice}: wandb is not installed: pip install wandb, or logger=csv"


def test_online_by_a_config_is_asked_for_too(hidden) -> None:
    hidden(*DEFAULT)
    with pytest.raises(InputError, match=r"^logger.wandb.mode=online: wandb is not installed: pip install wandb, or"):
        settle_wandb(compose(*DEFAULT, "logger.wandb.mode=online"))


def test_nothing_changes_without_wandb_or_where_it_is_there(hidden) -> None:
    hidden(*DEFAULT, "logger=csv")
    for choice in ("logger=csv", "logger=none"):
        cfg = compose(*DEFAULT, choice)
        assert settle_wandb(cfg) is cfg


def test_with_wandb_installed_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_login.importlib.util, "find_spec", lambda name: name)
    cfg = compose(*DEFAULT)
    assert settle_wandb(cfg) is cfg


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
    done = run_py(*(c for c in small if c != "profile=smoke"), "profile=quick", "budget.pretrain.steps=2",
                  "budget.meta_transfer.steps=1", "budget.pretrain.batch_size=2", "budget.meta_transfer.meta_batch=1",
                  outputs=tmp_path / "out", PYTHONPATH=path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wandb is not installed") == 1
    run = (tmp_path / "out" / "mzsr_x2" / "latest").resolve()
    assert len(list(run.glob("*/csv/version_0/metrics.csv"))) == 2
    assert not list(run.rglob("wandb"))
