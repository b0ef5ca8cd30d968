"""Upscaling: which weights are taken, and which outputs are refused before any work."""

import os
from pathlib import Path

import pytest

from metasr.errors import OutputError, WeightsError
from metasr.jobs.photo_files import pairs_of_files
from metasr.jobs.upscale import Upscaled, upscale_task
from metasr.solvers.interpolate import InterpolateSolver
from running import save_picture
from running import upscale_config as config


def interpolate(source: Path, output: Path) -> list[Upscaled]:
    return list(upscale_task(config("interpolate", input=source, output=output)))


def test_a_slash_makes_a_folder(tmp_path: Path) -> None:
    source = save_picture(tmp_path / "a.jpg", 9, 9)
    assert pairs_of_files([source], f"{tmp_path}/new.dir/", scale=2) == [(source, tmp_path / "new.dir" / "a.png")]
    folder = save_picture(tmp_path / "in" / "a.png", 9, 9).parent
    assert pairs_of_files([folder], f"{tmp_path}/o.png/", scale=2)[0][1] == tmp_path / "o.png" / "a.png"
    with pytest.raises(OutputError, match=r"must be a folder too, but .*o\.png is a file's name; write .*o\.png/"):
        interpolate(folder, tmp_path / "o.png")
    assert not (tmp_path / "o.png").exists()


def test_an_output_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save_picture(tmp_path / "a.png", 9, 9)
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != tmp_path)
    monkeypatch.setattr(InterpolateSolver, "solve", lambda *_, **__: pytest.fail("work began"))
    with pytest.raises(OutputError, match=rf"cannot write in {tmp_path}: no permission; choose another path"):
        interpolate(source, tmp_path / "new" / "o.png")


def test_the_feed_forward_weights_where_nothing_adapts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = save_picture(tmp_path / "a.png", 25, 23)
    for solver, steps in (("network", None), ("adapt", 0)):
        made = list(upscale_task(config(solver, input=source, adapt_steps=steps, overwrite=True)))
        assert made[0].weights == "released/mzsr_x2_pretrain"
    assert not caplog.records or "poor pictures" not in caplog.text
    assert "no learned rates" not in caplog.text
    made = list(upscale_task(config("adapt", input=source, adapt_steps=0, kernel="g2.0d", overwrite=True)))
    assert made[0].weights == "released/mzsr_x2_meta"
    assert "gives poor pictures without updates" in caplog.text
    with pytest.raises(WeightsError, match=r"no released feed-forward weights .*g2\.0d.*solver=adapt, or give"):
        list(upscale_task(config("network", input=source, kernel="g2.0d", overwrite=True)))


def test_one_update_and_more(tmp_path: Path) -> None:
    assert str(Upscaled(tmp_path, Path("o.png"), 1.0, 1, "w")) == "o.png  (1.0 s, 1 update, weights w)"
    assert "(1.0 s, 0 updates," in str(Upscaled(tmp_path, Path("o.png"), 1.0, 0, "w"))


def test_the_last_runs_weights(tmp_path: Path) -> None:
    source = save_picture(tmp_path / "a.png", 9, 9)
    with pytest.raises(WeightsError, match=r"weights=last is the last run of an experiment: add \+experiment=NAME"):
        list(upscale_task(config("adapt", input=source, weights="last")))
    cfg = config("adapt", input=source, weights="last", name="mzsr_x2")
    cfg.paths.outputs = str(tmp_path / "out")
    with pytest.raises(WeightsError, match=r"weights=last, but mzsr_x2 has not been run yet"):
        list(upscale_task(cfg))
