"""What an evaluation sends to wandb."""

from pathlib import Path

import pytest

from metasr.evaluation.loss_curves import LossPoint
from metasr.evaluation.results import ImageRow, Table
from metasr.report.wandb.results import curves, log_results

LOSSES = [LossPoint("g2.0d", "adapt", "run", 0, 0.5, 2), LossPoint("g2.0d", "adapt", "run", 1, 0.25, 2)]


def image(psnr: float, *, name: str = "a", solver: str = "adapt", updates: int = 0, stopped: str = "") -> ImageRow:
    weights = "-" if solver == "interpolate" else "run"
    return ImageRow("set5", "g2.0d", 2.0, solver, weights, updates, name, psnr, 0.9, 0.1, stopped=stopped,
                    requested=updates if solver == "adapt" else None)  # fmt: skip


TABLE = Table(
    [
        image(28.0, solver="interpolate"), image(30.0), image(32.0, name="b"), image(33.0, updates=2),
        image(31.0, solver="own", updates=3, stopped="x"), image(35.0, solver="own", updates=1, name="b", stopped="x"),
        image(36.0, solver="own", updates=5, name="c"),
    ]
)  # fmt: skip


def test_curves_by_number_of_updates():
    assert curves(TABLE, LOSSES) == {
        0: {"curves/psnr_y/g2.0d/adapt/run": 31.0, "curves/loss/g2.0d/adapt/run": 0.5},
        1: {"curves/loss/g2.0d/adapt/run": 0.25},
        2: {"curves/psnr_y/g2.0d/adapt/run": 33.0},
    }


class FakeRun:
    def __init__(self) -> None:
        self.summary: dict[str, float] = {}
        self.logged: list[dict[str, float]] = []
        self.defined: list[tuple[str, str | None]] = []

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.defined.append((name, step_metric))

    def log(self, values: dict[str, float]) -> None:
        self.logged.append(values)


class FakeLogger:
    def __init__(self) -> None:
        self.experiment = FakeRun()
        self.tables: dict[str, tuple[list[str], list[list[object]]]] = {}
        self.images: dict[str, list[str]] = {}

    def log_table(self, key: str, columns: list[str], data: list[list[object]]) -> None:
        assert all(len(line) == len(columns) for line in data)
        self.tables[key] = (columns, data)

    def log_image(self, key: str, images: list[str]) -> None:
        self.images[key] = images


def test_tables_scores_curves_and_pictures_have_their_names():
    logger = FakeLogger()
    log_results(logger, table=TABLE, losses=LOSSES, pictures=[Path("/p/kernels.png"), Path("/p/bird_g2.0d.png")])
    assert {key: len(data) for key, (_, data) in logger.tables.items()} == {
        "test/table": 4, "test/images": 7, "test/curves": 2,
    }  # fmt: skip
    assert logger.tables["test/curves"][1][1] == ["g2.0d", "adapt", "run", 1, 0.25, 2]
    assert logger.tables["test/images"][1][0][6] == "a"
    assert logger.images == {"test/kernels": ["/p/kernels.png"], "test/bird_g2.0d": ["/p/bird_g2.0d.png"]}
    run = logger.experiment
    assert run.summary["test/psnr_y/g2.0d/own/run@3"] == 34.0
    assert run.summary["test/ssim_y/g2.0d/interpolate/-@0"] == pytest.approx(0.9)
    assert run.defined == [("curves/updates", None), ("curves/*", "curves/updates")]
    assert [values["curves/updates"] for values in run.logged] == [0, 1, 2]
    assert run.logged[1] == {"curves/updates": 1, "curves/loss/g2.0d/adapt/run": 0.25}
