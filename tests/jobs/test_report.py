"""The job that reports: reading run folders, bad ones too, and writing one file."""

import json
import logging
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from metasr.config.build import wandb_options
from metasr.errors import DataError, InputError, OutputError
from metasr.jobs import report as report_module
from metasr.jobs.report import check_report_path, gather
from metasr.jobs.run import execute
from metasr.report.reading import read_run
from metasr.report.run_data import ReportData
from metasr.report.wandb import report as wandb_report
from metasr.runs.folder import is_stamp
from report_samples import NETWORK, STAMP, png, run_data, write_run, write_sweep
from running import SMALL, compose, save_picture

LAST = "02_meta_transfer"


def report(folder: Path, *runs: Path, **values: object) -> None:
    cfg = compose("task=report", "logger=none")
    cfg.runs = [str(run) for run in runs]
    for key, value in values.items():
        cfg[key] = str(value) if isinstance(value, Path) else value
    execute(cfg, folder)


def test_a_whole_run_is_read(tmp_path: Path):
    run = read_run(write_run(tmp_path / STAMP))
    assert run.label == run.line == "mzsr_x2, 2026-03-04 05:06:07"
    assert (run.experiment, run.unfinished, list(run.notes)) == ("mzsr_x2", "", [])
    assert [r.psnr_y for r in run.rows] == [28.73, 32.5, 35.5]
    assert (run.rows[1].published_psnr_y, run.rows[2].published_psnr_y) == (None, 36.05)
    assert run.losses == {("g2.0d", "adapt", "run"): [0.5, 0.25]}
    assert set(run.pictures) == {"bird_g2.0d.png", "kernels.png"}
    assert list(run.overrides) == ["+experiment=mzsr_x2", "seed=1"]
    assert [s.name for s in run.stages] == ["01_pretrain", LAST]
    assert run.stages[0].metrics == {"train/loss": [(0.0, 0.5), (1.0, 0.25)]}
    assert run.rates is not None
    assert run.rates.tensors == tuple(f"conv{i}.{kind}" for i in (1, 2, 3) for kind in ("weight", "bias"))
    assert run.rates.steps == ("1", "2")
    assert run.rates.values[1] == pytest.approx((0.02,) * 6)


def test_a_resumed_stages_logs_are_one_and_a_line_being_written_is_left_out(tmp_path: Path):
    folder = write_run(tmp_path / "run")
    logs = {
        "version_2": "epoch,step,train/loss\n0,1,0.2\n0,2,0.1\n",
        "version_10": "step,train/loss,v\n2,0.05,1\n4,0.04,0.1",
    }
    for version, text in logs.items():
        (folder / LAST / "csv" / version).mkdir()
        (folder / LAST / "csv" / version / "metrics.csv").write_text(text)
    assert read_run(folder).stages[1].metrics == {"train/loss": [(0, 0.5), (1, 0.2), (2, 0.05)], "v": [(2, 1.0)]}


def test_an_unfinished_run_is_told_as_one(tmp_path: Path):
    run = read_run(write_run(tmp_path / "cut", table=False, last_stage="started"))
    assert run.unfinished == f"stage {LAST} was begun and is not finished; no table yet"
    shutil.rmtree(tmp_path / "cut" / LAST)
    assert read_run(tmp_path / "cut").unfinished == "not begun: meta_transfer; no table yet"
    report(tmp_path, tmp_path / "cut", output=tmp_path / "r.html")
    assert "<strong>Unfinished: </strong>mzsr_x2, cut: not begun" in (tmp_path / "r.html").read_text()


def test_runs_of_other_versions_are_labelled(tmp_path: Path):
    assert read_run(write_run(tmp_path / "a", version="0.0.7")).notes == ["made by metasr 0.0.7, reported by 0.1.0"]
    card = tmp_path / "a" / LAST / "card.json"
    card.write_text(json.dumps({"status": "finished", "stage": "meta_transfer", "experiment": "old"}))
    run = read_run(tmp_path / "a")
    assert run.experiment == "old"
    assert run.notes == ["made by metasr of unknown version, reported by 0.1.0"]
    assert run.rates is not None
    assert run.rates.tensors[0] == "tensor 1"


DAMAGE = {
    f"{LAST}/card.json": "{not json",
    "01_pretrain/card.json": '{"config": 3}',
    "table.csv": "testset,degradation\nset5,g2.0d\n",
    "curves.csv": "degradation,solver\ng2.0d,adapt\n",
    f"{LAST}/csv/version_0/metrics.csv": "epoch,step,train/loss\n0,zero,0.5\n0,1,0.25\n",
    f"{LAST}/weights.safetensors": "no tensors",
    ".hydra/overrides.yaml": "- [unclosed",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_named(name: str, tmp_path: Path):
    whole_stage = name.endswith(("card.json", "safetensors"))
    remedy = f"or remove .*{'0._[a-z_]*' if whole_stage else name} and go on with the run, which makes it again$"
    folder = write_run(tmp_path / "run")
    (folder / name).write_text(DAMAGE[name])
    with pytest.raises(DataError, match=rf"{name} is damaged or cannot be read: .*{remedy}"):
        read_run(folder)


HEADING = b"testset,degradation,scale,solver,weights,updates,images,psnr_y,ssim_y,seconds\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"\xff\xfe", "decode"),
        (b"", "it lacks the columns testset, degradation"),
        (HEADING, "it has no rows"),
        (HEADING + b"a,b,2,c,d,1,1,x,1,1\n", "line 2: could not convert"),
        (HEADING + b"a,b,2\n", "line 2: .*missing"),
    ],
)
def test_what_is_wrong_with_a_table_is_told(text: bytes, told: str, tmp_path: Path):
    folder = write_run(tmp_path / "run")
    (folder / "table.csv").write_bytes(text)
    with pytest.raises(DataError, match=rf"table\.csv is damaged.*{told}"):
        read_run(folder)


def test_of_several_runs_a_damaged_one_is_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    good, bad = write_run(tmp_path / "good"), write_run(tmp_path / "bad")
    (bad / "table.csv").write_text("nothing")
    with caplog.at_level(logging.WARNING):
        report(tmp_path, good, bad, output=tmp_path / "r.html")
    assert f"left out: {bad}" in caplog.text
    text = (tmp_path / "r.html").read_text()
    assert "<h1>mzsr_x2: 1 run</h1>" in text
    assert f"<strong>Left out: </strong>{bad}: {bad}/table.csv is damaged" in text
    (good / "table.csv").write_text("nothing")
    with pytest.raises(DataError, match=r"none of the 2 folders can be reported on: .*good.*bad"):
        gather([str(good), str(bad)])


def test_a_damaged_picture_is_noted_and_the_rest_shown(tmp_path: Path):
    folder = write_run(tmp_path / "run")
    (folder / "pictures" / "bird_g2.0d.png").write_bytes(png()[:40])
    run = read_run(folder)
    assert set(run.pictures) == {"kernels.png"}
    told = "is damaged and not shown: it is no whole PNG file that can be read"
    assert run.notes == [f"the picture {folder / 'pictures' / 'bird_g2.0d.png'} {told}"]


def test_finished_weights_that_are_gone_are_noted(tmp_path: Path):
    folder = write_run(tmp_path / "run")
    (folder / LAST / "weights.safetensors").unlink()
    assert read_run(folder).notes == [
        f"{folder / LAST / 'weights.safetensors'} is missing, though its stage is finished"
    ]


def test_rates_per_weight_are_averaged_over_each_tensor(tmp_path: Path):
    folder = write_run(tmp_path / "run")
    rates = {f"meta_rates.{i}": torch.full((2, 3), 0.01 * (i + 1)) for i in range(6)}
    save_file(rates, folder / LAST / "weights.safetensors")
    found = read_run(folder).rates
    assert found is not None
    assert found.steps == ("every",)
    assert found.values[0] == pytest.approx([0.01 * (i + 1) for i in range(6)])
    assert found.tensors[5] == "conv3.bias"


@pytest.mark.parametrize(
    "model",
    [
        {"_target_": "os.mkdir", "path": "made"},
        {"_target_": "metasr.models.plain_cnn.torch.save", "obj": 1, "f": "made"},
        {**NETWORK, "last_gain": {"_target_": "os.mkdir", "path": "made"}},
        {"_target_": "metasr.models.plain_cnn.Gone"}, {"_target_": 3}, None,
    ],
)  # fmt: skip
def test_a_card_cannot_have_anything_called(model: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    folder = write_run(tmp_path / "run")
    card = json.loads((folder / LAST / "card.json").read_text())
    (folder / LAST / "card.json").write_text(json.dumps(card | {"config": card["config"] | {"model": model}}))
    found = read_run(folder).rates
    assert found is not None
    assert found.tensors == tuple(f"tensor {i}" for i in range(1, 7))
    assert not (tmp_path / "made").exists()


def test_folders_that_hold_no_run(tmp_path: Path):
    with pytest.raises(DataError, match=r"expected the folder of a run or a sweep at .*nowhere, which is missing"):
        gather([str(tmp_path / "nowhere")])
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file, which is a file; give an existing one"):
        gather([str(tmp_path / "file")])
    write_run(tmp_path / "experiment" / "one")
    with pytest.raises(DataError, match=r"experiment holds no run: .*did you mean one of those in it: one\?"):
        gather([str(tmp_path / "experiment")])
    good = write_run(tmp_path / "good")
    with pytest.raises(DataError, match="nowhere"):  # a mistyped name is no damage
        gather([str(good), str(tmp_path / "nowhere")])


def test_a_run_is_reported_once_however_it_is_named(tmp_path: Path):
    folder = write_run(tmp_path / STAMP)
    (tmp_path / "latest").symlink_to(STAMP)
    assert len(gather([str(folder), str(tmp_path / "latest")]).runs) == 1


def test_runs_that_would_be_called_the_same_are_told_apart(tmp_path: Path):
    stamps = [STAMP, STAMP[:-1] + "1"]
    runs = [write_run(tmp_path / s) for s in stamps] + [write_run(tmp_path / "elsewhere" / STAMP)]
    labels = [run.label for run in gather([str(r) for r in runs]).runs]
    assert len(set(labels)) == 3
    assert labels[1] == f"mzsr_x2, 2026-03-04 05:06:07 ({stamps[1]})"


def test_a_sweep_with_a_failed_and_a_damaged_member(tmp_path: Path):
    folder = write_sweep(tmp_path / "sweep-abc")
    (folder / "seed_2-order_first" / "table.csv").write_text("testset\nset5\n")
    data = gather([str(folder)])
    assert data.title == "mzsr_x2: sweep-abc, 2 runs"
    assert [run.label for run in data.runs] == ["order=first, seed=1", "order=second, seed=1"]
    assert [run.line for run in data.runs] == ["order=first", "order=second"]
    (sweep,) = data.sweeps
    errors = [job.error for job in sweep.table.failed]
    assert "table.csv is damaged" in errors[0]
    assert errors[1] == "loss became nan"
    (folder / "seed_2-order_first" / "table.csv").write_bytes(b"\xff")
    (sweep,) = gather([str(folder)]).sweeps  # no text at all
    assert "seed_2-order_first/table.csv is damaged" in sweep.table.failed[0].error


def test_seeds_of_a_sweep_share_their_line(tmp_path: Path):
    data = gather([str(write_sweep(tmp_path / "s", failed=False)), str(write_run(tmp_path / "other"))])
    assert [run.line for run in data.runs] == [*["order=first"] * 2, *["order=second"] * 2, "mzsr_x2, other"]
    assert data.title == "mzsr_x2: 5 runs"


def test_the_same_runs_give_the_same_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", experiment="other", high=30.0)]
    report(tmp_path, *runs, output=tmp_path / "1.html")
    report(tmp_path, *runs, output=tmp_path / "2.html")
    assert (tmp_path / "1.html").read_bytes() == (tmp_path / "2.html").read_bytes()
    assert f"report on 2 runs of 2 experiments: {tmp_path / '1.html'}" in capsys.readouterr().out
    assert "Runs of different experiments are compared: mzsr_x2, other." in (tmp_path / "1.html").read_text()


def test_without_output_it_goes_into_the_folder_of_reports_by_the_time(tmp_path: Path):
    (tmp_path / "job").mkdir()
    report(tmp_path / "job", write_run(tmp_path / "a"))
    (made,) = (tmp_path / "job").iterdir()
    assert is_stamp(made.stem)
    assert made.read_text().startswith("<!doctype html>")


def test_places_that_a_report_cannot_go_to(tmp_path: Path):
    existing = tmp_path / "r.html"
    existing.write_text("kept")
    with pytest.raises(OutputError, match=r"r\.html exists already; choose another name, or allow it: overwrite=true"):
        report(tmp_path, tmp_path, output=existing)  # before any run is read
    assert existing.read_text() == "kept"
    report(tmp_path, write_run(tmp_path / "a"), output=existing, overwrite=True)
    assert existing.read_text() != "kept"
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(OutputError, match=r"is a folder; give a file name in it"):
        check_report_path(tmp_path / "folder.html", overwrite=True)
    with pytest.raises(OutputError, match=r"r\.pdf must end in \.html"):
        check_report_path(tmp_path / "r.pdf", overwrite=False)


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # whoever runs the tests may write everywhere
    with pytest.raises(OutputError, match=r"cannot write in .*: no permission; choose another output=FILE"):
        check_report_path(tmp_path / "r.html", overwrite=False)


def test_nothing_to_report_on(tmp_path: Path):
    with pytest.raises(InputError, match=r"nothing to report on: give folders.*'runs=\[FOLDER,\.\.\.\]'"):
        report(tmp_path)
    with pytest.raises(InputError, match="to must be html or wandb, got 'pdf'"):
        report(tmp_path, tmp_path, to="pdf")
    assert "none was made yet" in report_module._known(str(tmp_path))
    write_run(tmp_path / "mzsr_x2" / "latest")
    assert report_module._known(str(tmp_path)) == f", for instance 'runs=[{tmp_path}/mzsr_x2/latest]'"


def test_wandb_without_its_package_or_a_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wandb_report, "logged_in", lambda: False)
    monkeypatch.setattr(wandb_report.importlib.util, "find_spec", lambda name: None if "workspaces" in name else name)
    told = r"to=wandb: wandb-workspaces is not installed: pip install .*; nobody is logged in: run `wandb login`"
    with pytest.raises(InputError, match=told):
        report(tmp_path, write_run(tmp_path / "a"), to="wandb")
    monkeypatch.setattr(wandb_report, "logged_in", lambda: True)
    with pytest.raises(InputError, match=r"wandb-workspaces is not installed.*pip install wandb-workspaces\. Without"):
        wandb_report.require_wandb()
    monkeypatch.setattr(wandb_report.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="wandb wandb-workspaces is not installed"):
        wandb_report.require_wandb()
    monkeypatch.setattr(wandb_report.importlib.util, "find_spec", lambda name: name)
    wandb_report.require_wandb()


def test_who_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_API_KEY", "x")
    assert wandb_report.logged_in()
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    assert not wandb_report.logged_in()


class FakeReport:
    """Stands for wandb's report; ``url`` tells what was saved."""

    saved: "FakeReport | None" = None
    error: Exception | None = None

    def __init__(self, **values: object) -> None:
        self.values = values

    def save(self) -> None:
        if FakeReport.error is not None:
            raise FakeReport.error
        FakeReport.saved = self

    url = "the address"


def test_a_report_on_wandb(monkeypatch: pytest.MonkeyPatch):
    import sys
    from types import ModuleType

    options = wandb_options(compose("task=report", "logger.wandb.entity=me", "logger.wandb.project=p"))

    class Api(ModuleType):
        Report = FakeReport

        def __getattr__(self, kind: str):
            if kind.startswith("__"):  # what imports ask of a module
                raise AttributeError(kind)
            return lambda **values: (kind, values)

    api = Api("wandb_workspaces.reports.v2")
    for name in ("wandb_workspaces", "wandb_workspaces.reports"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, api.__name__, api)
    monkeypatch.setattr(sys.modules["wandb_workspaces.reports"], "v2", api, raising=False)
    data = ReportData([run_data(experiment="x" * 300)])
    assert wandb_report.publish(data, options) == "the address"
    assert FakeReport.saved is not None
    told = FakeReport.saved.values
    assert (told["entity"], told["project"], len(told["title"])) == ("me", "p", 128)
    assert told["blocks"][1] == ("H1", {"text": data.title})
    monkeypatch.setattr(FakeReport, "error", RuntimeError("no project\nat all"))
    with pytest.raises(OutputError, match=r"wandb did not take the report \(RuntimeError: no project\); .*wandb sync"):
        wandb_report.publish(data, options)


def test_a_run_of_the_program_is_reported_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    photo = save_picture(tmp_path / "photos" / "bird.png", 49, 57)
    cfg = compose(*SMALL, f"testset='{photo.parent}'", "degradations=[g2.0d]", "adapt_steps=[0,2]", "logger=csv")
    execute(cfg, tmp_path / "mzsr_x2" / STAMP)
    run = read_run(tmp_path / "mzsr_x2" / STAMP)
    assert (run.unfinished, list(run.notes)) == ("", [])
    assert {(r.solver, r.updates) for r in run.rows if r.weights == "run"} == {("adapt", 0.0), ("adapt", 2.0)}
    assert [len(losses) for losses in run.losses.values()] == [2]
    assert {"bird_g2.0d.png", "kernels.png", "adaptation.png"} == set(run.pictures)
    assert len(run.stages[1].metrics["train/loss"]) == cfg.stages.meta_transfer.steps
    assert run.rates is not None
    assert run.rates.tensors[0] == "conv1.weight"
    report(tmp_path, tmp_path / "mzsr_x2" / STAMP, output=tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    for heading in ("Results", "Adaptation", "Pictures", "Kernels", "Learned rates", "Training", "Environment"):
        assert f"<h2>{heading}</h2>" in text
