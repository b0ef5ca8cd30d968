"""Whole jobs, within this process: evaluating weights, naming test sets, printing."""

import csv
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from metasr.config.chain import stages
from metasr.config.entries import steps_of
from metasr.config.evaluation import test_images as images_of
from metasr.errors import DataError, InputError, OutputError, WeightsError
from metasr.evaluation.results import ImageRow, Table
from metasr.figures.picture_book import PictureBook
from metasr.jobs import train as job
from metasr.jobs.evaluate import _adaptation_curves
from metasr.jobs.run import execute
from metasr.runs.weights import from_run
from metasr.solvers.base import Solution
from metasr.solvers.interpolate import InterpolateSolver
from running import OWN_NETWORKS, SMALL, SMOKE, compose, save_picture, train

COLUMNS = (
    "testset,degradation,scale,solver,weights,updates,images,psnr_y,ssim_y,seconds,published_psnr_y,published_ssim_y,"
    "hf_error_y,own_stop,requested,taken,exact,grey,failed"
)
EVALUATE = (*SMOKE, "task=evaluate", "max_images=null")


@pytest.fixture(autouse=True)
def _log_levels() -> Iterator[None]:
    """What a job silences is heard again by the next test."""
    quiet = [logging.getLogger(n) for n in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric", "matplotlib")]
    before = [logger.level for logger in quiet]
    yield
    for logger, level in zip(quiet, before, strict=True):
        logger.setLevel(level)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos") / "set5"  # named like a published set, and none
    for i, (height, width) in enumerate([(57, 63), (61, 50), (53, 55)]):
        save_picture(folder / f"img{i + 9}.png", height, width, seed=i)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job") / "run"
    train(compose(*SMALL), folder)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def evaluate(folder: Path, *overrides: str) -> list[dict[str, str]]:
    execute(compose(*EVALUATE, *overrides), folder)
    return rows(folder / "table.csv")


def test_table_of_released_weights(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = evaluate(tmp_path, f"testset={photos}", "degradations=[g2.0d,g1.3b]", "adapt_steps=[0,2]")
    assert (tmp_path / "table.csv").read_text().splitlines()[0] == COLUMNS
    assert [(r["degradation"], r["solver"], r["weights"], r["updates"]) for r in table] == [
        (d, s, w, u) for d, name in (("g2.0d", "mzsr_x2_meta"), ("g1.3b", "mzsr_x2_bicubic_meta"))
        for s, w, u in (("interpolate", "-", "0"), ("interpolate_aligned", "-", "0"), ("adapt", f"released/{name}",
        "0"),
                        ("adapt", f"released/{name}", "2"))
    ]  # fmt: skip
    assert {(r["testset"], r["scale"], r["images"]) for r in table} == {("set5", "2", "3")}
    assert {(r["published_psnr_y"], r["published_ssim_y"]) for r in table} == {("", "")}  # a folder has none
    each = rows(tmp_path / "table_images.csv")
    assert len(each) == 3 * len(table)
    assert [r["image"] for r in each if r["solver"] == "interpolate"][:3] == ["img9", "img10", "img11"]
    mean = sum(float(r["psnr_y"]) for r in each if (r["degradation"], r["solver"]) == ("g2.0d", "interpolate")) / 3
    assert float(table[0]["psnr_y"]) == pytest.approx(mean, abs=1e-3)
    assert any(p.suffix == ".png" for p in (tmp_path / "pictures").iterdir())
    shown = capsys.readouterr().out
    assert f"table: {tmp_path / 'table.csv'}" in shown
    assert "released/mzsr_x2_bicubic_meta" in shown
    assert "published" not in shown


def test_a_subset_is_the_first_rows_of_the_whole(tmp_path: Path, photos: Path) -> None:
    fixed = (f"testset={photos}", "degradations=[g2.0d_n10]", "adapt_steps=[1]", "solver.son_noise=5")
    evaluate(tmp_path / "all", *fixed)
    evaluate(tmp_path / "one", *fixed, "max_images=1")
    for every, one in zip(
        [r for r in rows(tmp_path / "all" / "table_images.csv") if r["image"] == "img9"],
        rows(tmp_path / "one" / "table_images.csv"), strict=True,
    ):  # fmt: skip
        assert {k: v for k, v in every.items() if k != "seconds"} == {k: v for k, v in one.items() if k != "seconds"}


def test_the_interpolation_solver_adds_no_row(tmp_path: Path, photos: Path) -> None:
    table = evaluate(tmp_path, f"testset={photos}", "solver=interpolate", "degradations=[bicubic]")
    assert [r["solver"] for r in table] == ["interpolate", "interpolate_aligned"]


def test_table_where_asked_for(tmp_path: Path, photos: Path) -> None:
    wanted = tmp_path / "new" / "out.csv"
    execute(
        compose(*EVALUATE, f"testset={photos}", "solver=interpolate", f"table={wanted}", "max_images=1"),
        tmp_path / "job",
    )
    assert wanted.read_text().splitlines()[0] == COLUMNS
    assert (tmp_path / "new" / "out_images.csv").is_file()
    assert not (tmp_path / "job" / "table.csv").exists()


@pytest.mark.parametrize("task", ["run", "evaluate"])
@pytest.mark.parametrize("existing", ["out.csv", "out_images.csv"])
def test_a_table_is_not_written_over(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, task: str, existing: str
) -> None:
    monkeypatch.setattr(job, "run_chain", lambda *_, **__: pytest.fail("training began"))
    (tmp_path / existing).write_text("mine")
    fixed = (*SMALL, f"task={task}", f"testset={photos}", "solver=interpolate", f"table={tmp_path / 'out.csv'}")
    with pytest.raises(OutputError, match=rf"{existing} exists already; choose another name, .*: overwrite=true"):
        execute(compose(*fixed), tmp_path / "job")
    assert (tmp_path / existing).read_text() == "mine"
    if task == "evaluate":
        execute(compose(*fixed, "overwrite=true"), tmp_path / "job")
        assert (tmp_path / existing).read_text() != "mine"


def test_a_table_that_cannot_be_written(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    fixed = (*EVALUATE, f"testset={photos}", "solver=interpolate")
    with pytest.raises(OutputError, match=r"cannot write in .*file is a file, not a folder; choose another table=FILE"):
        execute(compose(*fixed, f"table={tmp_path / 'file' / 'new' / 'out.csv'}"), tmp_path / "job")
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != tmp_path)
    with pytest.raises(OutputError, match=r"cannot write in .*: no permission; choose another table=FILE"):
        execute(compose(*fixed, f"table={tmp_path / 'new' / 'out.csv'}"), tmp_path / "job")


def test_a_network_without_adaptation_gets_weights_that_need_none(tmp_path: Path, photos: Path) -> None:
    fixed = (f"testset={photos}", "solver=network")
    table = evaluate(tmp_path, *fixed, "degradations=[bicubic]")
    assert table[2]["weights"] == "released/mzsr_x2_pretrain"
    assert float(table[2]["psnr_y"]) > float(table[0]["psnr_y"])
    with pytest.raises(WeightsError, match=r"no released feed-forward weights for degradation g2\.0d.*solver=adapt"):
        evaluate(tmp_path / "none", *fixed, "degradations=[bicubic,g2.0d]")
    assert not (tmp_path / "none").exists()


def test_weights_for_another_scale_are_told_of(tmp_path: Path, photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    evaluate(tmp_path, f"testset={photos}", "degradations=[g2.0d]", "adapt_steps=[0]", "scale=3", "max_images=1")
    assert "released/mzsr_x2_meta was trained for scale 2 and is used for 3" in caplog.text


def test_curves_of_any_weights() -> None:
    table = Table()
    for weights, updates, psnr in (("released/w", 0, 20.0), ("released/w", 5, 30.0), ("-", 0, 10.0)):
        solver = "interpolate" if weights == "-" else "adapt"
        asked = updates if solver == "adapt" else None
        table.add(ImageRow("t", "g2.0d", 2.0, solver, weights, updates, "a", psnr, 0.5, 1.0, requested=asked))
    assert _adaptation_curves(table) == {"g2.0d, adapt": {0: 20.0, 5: 30.0}}
    table.add(ImageRow("t", "g2.0d", 2.0, "adapt", "run", 1, "a", 25.0, 0.5, 1.0, requested=1))
    assert _adaptation_curves(table) == {"g2.0d, adapt": {1: 25.0}}


def test_weights_of_a_run_and_of_a_file(tmp_path: Path, photos: Path, run: Path) -> None:
    fixed = (f"testset={photos}", "degradations=[g2.0d]", "adapt_steps=[1]", "max_images=1", "model.channels=8",
             "model.layers=3")  # fmt: skip
    of_run = evaluate(tmp_path / "run", *fixed, f"weights={run}")
    file = run / "02_meta_transfer" / "weights.safetensors"
    of_file = evaluate(tmp_path / "file", *fixed, f"weights={file}")
    assert [r["weights"] for r in of_run] == ["-", "-", "run"]
    assert [r["weights"] for r in of_file] == ["-", "-", str(file)]
    assert of_run[2]["psnr_y"] == of_file[2]["psnr_y"]


def test_weights_of_the_last_run(tmp_path: Path, photos: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METASR_OUTPUTS", str(tmp_path / "outputs"))
    fixed = (f"testset={photos}", "degradations=[g2.0d]", "adapt_steps=1", "max_images=1", "model.channels=8",
             "model.layers=3", "weights=last", f"paths.outputs={tmp_path / 'outputs'}")  # fmt: skip
    with pytest.raises(WeightsError, match=r"weights=last, but mzsr_x2 has not been run yet, or .*src/run\.py"):
        evaluate(tmp_path / "job", *fixed)
    shutil.copytree(run, tmp_path / "outputs" / "mzsr_x2" / "2026-01-02_03-04-05-000006")
    (tmp_path / "outputs" / "mzsr_x2" / "2026-01-02_03-04-05-000007" / ".hydra").mkdir(parents=True)  # a typing error
    cut = tmp_path / "outputs" / "mzsr_x2" / "2026-01-02_03-04-05-000008" / "01_pretrain"
    cut.mkdir(parents=True)
    (cut / "card.json").write_text('{"status": "started"}')
    assert evaluate(tmp_path / "job", *fixed)[2]["weights"] == "run"


def test_published_and_learned_rates_differ(tmp_path: Path, photos: Path) -> None:
    fixed = (f"testset={photos}", "degradations=[g2.0d]", "adapt_steps=[2]", "max_images=1")
    learned = evaluate(tmp_path / "a", *fixed)
    published = evaluate(tmp_path / "b", *fixed, "solver.rates=published")
    assert learned[2]["psnr_y"] != published[2]["psnr_y"]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "code").mkdir()
    name = f"own_networks_of_{abs(hash(tmp_path)) % 10**9}"
    (tmp_path / "code" / f"{name}.py").write_text(OWN_NETWORKS)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    return name


def test_an_own_network_with_own_weights(tmp_path: Path, photos: Path, own: str) -> None:
    for name, enlarge_first in (("Sharp", True), ("Double", False)):
        weights = tmp_path / f"{name}.safetensors"
        save_file({"gain": torch.tensor(0.4 if name == "Sharp" else 1.0)}, weights)
        table = evaluate(
            tmp_path / name, f"testset={photos}", "solver=network", "model=own", f"model._target_={own}.{name}",
            f"weights={weights}", f"solver.enlarge_first={enlarge_first}", "degradations=[bicubic]", "solver.tile=20",
        )  # fmt: skip
        assert (table[2]["solver"], table[2]["weights"], table[2]["updates"]) == ("network", str(weights), "0")
        assert 20 < float(table[2]["psnr_y"]) < 60


def test_an_own_network_of_another_output_size(tmp_path: Path, photos: Path, own: str) -> None:
    weights = tmp_path / "w.pt"
    torch.save({"gain": torch.tensor(1.0)}, weights)
    fixed = (f"testset={photos}", "solver=network", "model=own", f"weights={weights}", "degradations=[bicubic]")
    with pytest.raises(
        InputError, match=r"image 'img9': .*\(28, 31\).*expected \(56, 62\); set solver.enlarge_first=true"
    ):
        evaluate(tmp_path, *fixed, f"model._target_={own}.Sharp", "solver.enlarge_first=false", "solver.tile=null")
    for tile in (20, 256):
        with pytest.raises(
            InputError, match=r"image 'img9': .*expected the same size; set solver\.enlarge_first=false"
        ):
            evaluate(tmp_path, *fixed, f"model._target_={own}.Double", f"solver.tile={tile}")
    with pytest.raises(InputError, match=r"takes .*whole scale|needs a whole scale, got 1\.5"):
        evaluate(tmp_path, *fixed, f"model._target_={own}.Double", "solver.enlarge_first=false", "scale=1.5")
    with pytest.raises(WeightsError, match=r"released/mzsr_x2_pretrain holds the weights of another network"):
        evaluate(tmp_path, *fixed[:3], fixed[4], f"model._target_={own}.Sharp", "weights=released")


def test_known_sets_come_from_the_catalog(shared_data: Path) -> None:
    found = images_of(compose(*EVALUATE, "testset=set5", f"testset_root={shared_data}"))
    assert (found.name, len(found)) == ("set5", 5)
    assert len(images_of(compose(*SMOKE))) == 1  # the smoke profile's
    assert images_of(compose(*EVALUATE)).name == "samples"


@pytest.mark.slow
@pytest.mark.data
def test_a_published_set_has_published_columns(
    tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PictureBook, "draw", lambda *_: [])
    fixed = ("solver=interpolate", "degradations=[g2.0d]")
    named = evaluate(tmp_path / "a", *fixed, "testset=set5", f"testset_root={shared_data}")
    assert (named[0]["published_psnr_y"], named[0]["published_ssim_y"]) == ("28.7300", "0.8449")
    assert float(named[0]["psnr_y"]) == pytest.approx(28.73, abs=0.01)
    assert float(named[0]["ssim_y"]) == pytest.approx(0.8449, abs=3e-4)
    part = evaluate(tmp_path / "b", *fixed, "testset=set5", f"testset_root={shared_data}", "max_images=1")
    assert part[0]["published_psnr_y"] == ""


@pytest.mark.parametrize(("value", "want"), [(None, (0, 1, 10)), (3, (3,)), ([10, 0, 1, 1], (0, 1, 10))])
def test_steps_to_show(value: object, want: tuple[int, ...]) -> None:
    cfg = compose("+experiment=mzsr_x2")
    cfg.adapt_steps = value
    assert steps_of(cfg) == want


def test_latest_points_at_the_newest_run_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: Path) -> None:
    monkeypatch.setattr(job, "run_chain", lambda *_, accepted, **__: accepted())
    cfg = compose(*SMALL, f"testset={photos}", "degradations=[bicubic]", "adapt_steps=[0]")
    for name in ("2026-01-02_03-04-05-000006", "2026-01-02_03-04-05-000007"):
        (tmp_path / "out" / name).mkdir(parents=True)
        execute(cfg, tmp_path / "out" / name)
        assert (tmp_path / "out" / "latest").resolve().name == name
    execute(cfg, tmp_path / "photos" / "2026")
    assert sorted(p.name for p in (tmp_path / "photos").iterdir()) == ["2026"]


def test_what_a_run_prints(tmp_path: Path, photos: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "my run"))
    execute(compose(*SMALL, f"testset={photos}", "degradations=[g2.0d,bicubic]", "adapt_steps=[0,1]"), folder)
    shown = capsys.readouterr().out
    for text in (
        "mzsr_x2: PSNR on Y in dB, 1 image of set5, x2", "this run", "0 updates", "1 update", "as published", "aligned",
        "(on one data-centre GPU, in minutes: profile=gpu)",
        "s / image", "profile smoke: ", "its numbers mean nothing", "trained on samples (seed 1)",
        f"run folder: {folder}", "profile=paper", "profile=gpu", "task=evaluate", f"weights='\"'\"'{folder}'\"'\"'",
    ):  # fmt: skip
        assert text in shown
    table = rows(folder / "table.csv")
    assert [r["weights"] for r in table[:4]] == ["-", "-", "run", "run"]
    assert {p.name for p in (folder / "pictures").iterdir()} >= {"adaptation.png", "kernels.png"}


def test_the_runs_rows_are_the_weights_own(tmp_path: Path, photos: Path, run: Path) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    fixed = (f"testset={photos}", "degradations=[g2.0d]", "adapt_steps=[1]", "max_images=1", "model.channels=8",
             "model.layers=3")  # fmt: skip
    execute(compose(*SMALL, *fixed), folder)
    again = evaluate(tmp_path / "again", *fixed, f"weights={folder}")
    assert rows(folder / "table.csv")[2]["psnr_y"] == again[2]["psnr_y"]
    assert from_run(folder).card["stage"] == "meta_transfer"
    assert stages(compose(*SMALL), folder)["meta_transfer"].folder.is_dir()


def test_ready_lr_images_are_scored_and_told_of(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("img9", "img10", "img11"):
        with Image.open(photos / f"{name}.png") as image:
            image.resize((image.width // 2, image.height // 2)).save(tmp_path / f"{name}.png")
    fixed = (f"testset={photos}", "solver=interpolate", "degradations=[bicubic]")
    table = evaluate(tmp_path / "out", *fixed, f"testset_lr={tmp_path}")
    assert [(r["images"], r["failed"]) for r in table] == [("3", "0")] * 2
    assert f"test set: 3 ready LR images of {tmp_path}" in capsys.readouterr().out
    (tmp_path / "img9.png").unlink()
    with pytest.raises(DataError, match=r"have no LR image in .*: img9"):
        evaluate(tmp_path / "none", *fixed, f"testset_lr={tmp_path}")


def test_a_job_that_was_left_is_gone_on_with_by_the_same_command(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = (f"testset={photos}", "solver=interpolate", "degradations=[g2.0d,bicubic]")
    whole = evaluate(tmp_path / "other" / "whole", *fixed)
    solved: list[str] = []
    genuine = InterpolateSolver.solve

    def solve(self: InterpolateSolver, lr: Tensor, **given: Any) -> Solution:
        solved.append("")
        if len(solved) == 9:
            raise KeyboardInterrupt
        return genuine(self, lr, **given)

    monkeypatch.setattr(InterpolateSolver, "solve", solve)
    with pytest.raises(KeyboardInterrupt):
        evaluate(tmp_path / "evaluate" / "1", *fixed)
    assert not (tmp_path / "evaluate" / "1" / "table.csv").exists()
    again = evaluate(tmp_path / "evaluate" / "2", *fixed)
    assert len(solved) == 8 + 1 + 4  # of 12, four images of two solvers were finished
    assert [{k: v for k, v in r.items() if k != "seconds"} for r in again] == [
        {k: v for k, v in r.items() if k != "seconds"} for r in whole
    ]
    other, second = tmp_path / "other" / "whole", tmp_path / "evaluate" / "2"
    names = sorted(p.relative_to(other).as_posix() for p in other.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(second).as_posix() for p in second.rglob("*") if p.is_file())
    assert all(
        (other / name).read_bytes() == (second / name).read_bytes() for name in names if not name.startswith("table")
    )
