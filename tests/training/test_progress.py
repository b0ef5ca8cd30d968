"""The live table of a run's stages, and the lines that stand for it where there is no terminal."""

import io
import logging
import math
import multiprocessing
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from rich.console import Console
from torch import Tensor, nn

from metasr.errors import DivergenceError
from metasr.recipes.base import Recipe
from metasr.training.callbacks import ResumePoint, Slice, StageProgress
from metasr.training.progress import Pace, StageTable, duration, is_watched
from recipes.fitting import Given
from running import SMALL, compose
from running import train as run_chain


class Clock:
    """Shows what it is set to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Falls(Recipe):
    """Its loss is 1/2 before any step, and less after each; or its weight breaks."""

    def __init__(self, *, breaks: bool = False) -> None:
        super().__init__(nn.Linear(1, 1, bias=False), steps=10, schedule="constant")
        nn.init.constant_(self.model.weight, float("nan") if breaks else 0.5)

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.model.parameters()), "lr": 1e-3}]

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.model.weight.sum()
        self.log("train/loss", loss)
        return loss


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def quiet_root() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield root
    root.handlers[:] = before
    root.setLevel(level)


def terminal(**options: Any) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100, record=True, **options)


def lines(table: StageTable) -> dict[str, list[str]]:
    """The table's cells by stage, as they are drawn."""
    console = Console(file=io.StringIO(), width=100)
    console.print(table.grid())
    rows = [re.split(r"\s*[│┃]\s*", line.strip()) for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    return {row[0]: row[1:] for row in rows if len(row) > 1}


# --- words and numbers ---


def test_pace_counts_from_where_the_stage_went_on(clock: Clock) -> None:
    pace = Pace(20, 60, clock=clock)
    assert math.isnan(pace.left(20))
    assert pace.speed(20) == 0
    clock.now += 4
    assert (pace.seconds, pace.speed(30), pace.left(30)) == (4.0, 2.5, 12.0)
    assert pace.left(60) == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"), (44.2, "45 s"), (59.5, "1 min 00 s"), (200, "3 min 20 s"), (3599.5, "1 h 00 min"),
        (7500, "2 h 05 min"), (3 * 86400 + 4 * 3600, "3 d 04 h"), (-1, "0 s"), (math.nan, "-"), (math.inf, "-"),
    ],
)  # fmt: skip
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


# --- the table ---


def test_the_table_follows_the_stages(clock: Clock) -> None:
    table = StageTable({"first": 6, "second": 40, "third": 9}, console=terminal(), clock=clock)
    table.skip("first")
    assert lines(table)["first"] == ["finished", "6 of 6", "-", "-", "-", "-"]
    table.begin("second", 10)
    clock.now += 5
    with table:
        table.advance("second", 20, lambda: 0.03125)
    found = lines(table)
    assert found["stage"] == ["state", "step", "per second", "time", "remaining", "loss"]
    assert found["second"] == ["running", "20 of 40", "2", "5 s", "10 s", "0.0312"]
    assert found["third"] == ["waiting", "0 of 9", "-", "-", "-", "-"]
    table.end("second")
    assert lines(table)["second"] == ["stopped", "20 of 40", "-", "5 s", "-", "0.0312"]
    table.begin("second", 20)
    clock.now += 100
    table.advance("second", 40, lambda: 0.02)
    table.end("second", 0.02)
    assert lines(table)["second"] == ["finished", "40 of 40", "-", "1 min 40 s", "-", "0.0200"]


def test_the_loss_is_asked_for_only_where_it_is_drawn(clock: Clock) -> None:
    asked: list[float] = []

    def loss() -> float:
        asked.append(clock.now)
        return 1.0

    table = StageTable({"only": 100}, console=terminal(), clock=clock)
    table.begin("only", 0)
    table.advance("only", 1, loss)  # nobody looks yet
    with table:
        for step in range(2, 12):
            clock.now += 0.0625
            table.advance("only", step, loss)
    assert asked == [100.25, 100.5]


def test_on_a_terminal_it_is_drawn_over_itself() -> None:
    console = terminal()
    with StageTable({"only": 3}, console=console) as table:
        assert table.watched
        table.begin("only", 0)
        table.advance("only", 3, lambda: 0.5)
        table.end("only", 0.25)
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "running" in written
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1, "the cursor is hidden, then shown again"
    assert "\x1b[1A" in written, "it goes up to where the table begins"
    assert "0.2500" in console.export_text().splitlines()[-1]


@pytest.mark.parametrize("console", [
    Console(file=io.StringIO()), Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"}),
])  # fmt: skip
def test_elsewhere_nothing_is_printed(console: Console) -> None:
    with StageTable({"only": 3}, console=console) as table:
        table.begin("only", 0)
        table.advance("only", 3, lambda: pytest.fail("the loss is not needed"))
        table.end("only")
    assert not table.watched
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]
    assert lines(table)["only"][0] == "finished"


def test_other_processes_of_a_training_show_none() -> None:
    console = terminal()
    with StageTable({"only": 3}, console=console, shown=False) as table:
        table.begin("only", 0)
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]


def test_only_the_main_process_with_a_terminal_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    console = terminal()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not is_watched(console)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert is_watched(console)
    monkeypatch.setattr(multiprocessing.current_process(), "name", "LokyProcess-2")
    assert not is_watched(console)


def test_log_lines_stand_above_it_and_go_back_where_they_went(
    monkeypatch: pytest.MonkeyPatch, quiet_root: logging.Logger
) -> None:
    screen, file = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", screen)
    shown, kept = logging.StreamHandler(screen), logging.StreamHandler(file)
    quiet_root.handlers[:] = [shown, kept]
    quiet_root.setLevel(logging.INFO)
    console = terminal()
    with suppress(RuntimeError), StageTable({"only": 3}, console=console) as table:
        table.begin("only", 0)
        logging.getLogger("somewhere").info("a line")
        raise RuntimeError("on the way")
    assert shown.stream is screen
    assert sys.stdout is screen
    assert kept.stream is file
    assert file.getvalue() == "a line\n"
    assert screen.getvalue() == "", "the console writes, which knows where the table is"
    text = console.export_text()
    assert text.index("a line") < text.rindex("running")


def test_what_goes_to_a_file_still_goes_there(monkeypatch: pytest.MonkeyPatch, quiet_root: logging.Logger) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stdout", file)
    quiet_root.handlers[:] = [logging.StreamHandler(file)]
    with StageTable({"only": 3}, console=terminal()):
        logging.getLogger().warning("a line")
        print("printed")
    assert file.getvalue() == "a line\nprinted\n"


# --- in training ---


def train(recipe: Recipe, *callbacks: pl.Callback) -> None:
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=10, logger=False, enable_checkpointing=False, enable_model_summary=False,
        callbacks=list(callbacks),
    )  # fmt: skip
    trainer.fit(recipe, datamodule=Given([torch.ones(1)], 10))


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "metasr.training.callbacks"]


def test_lines_tell_the_remaining_time(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        train(Falls(), StageProgress("pretrain", unit="step"))
    found = told(caplog)
    assert len(found) == 5
    for line, step in zip(found[:-1], (2, 4, 6, 8), strict=True):
        assert re.fullmatch(rf"pretrain: step {step} of 10, \d+\.\d per second, \d+ s left, loss 0\.4\d+", line), line
    assert re.fullmatch(r"pretrain: step 10 of 10, \d+\.\d per second, loss 0\.491\d", found[-1]), found[-1]


def test_a_watched_table_stands_for_the_lines(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), StageTable({"pretrain": 10}, console=terminal()) as table:
        train(Falls(), StageProgress("pretrain", unit="step", table=table))
    assert told(caplog) == []
    row = lines(table)["pretrain"]
    assert row[:3] == ["finished", "10 of 10", "-"]
    assert row[-1].startswith("0.491")


def test_a_slice_that_is_over_stops_the_stage(tmp_path: Path) -> None:
    with StageTable({"pretrain": 10, "next": 3}, console=terminal()) as table:
        slice_over = Slice(ResumePoint(tmp_path, every=100), deadline=0.0)
        train(Falls(), StageProgress("pretrain", unit="step", table=table), slice_over)
    assert lines(table)["pretrain"][:2] == ["stopped", "1 of 10"]
    assert lines(table)["next"][0] == "waiting"


def test_a_failure_stops_the_stage(tmp_path: Path) -> None:
    broken = Falls(breaks=True)
    with StageTable({"pretrain": 10}, console=terminal()) as table, pytest.raises(DivergenceError, match="not finite"):
        train(broken, StageProgress("pretrain", unit="step", table=table), ResumePoint(tmp_path, every=2))
    assert lines(table)["pretrain"][:2] == ["stopped", "2 of 10"]


def test_a_chain_fills_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables: list[StageTable] = []

    class Kept(StageTable):
        def __enter__(self) -> StageTable:
            tables.append(self)
            return super().__enter__()

    monkeypatch.setattr("metasr.training.chain.StageTable", Kept)
    run_chain(compose(*SMALL, "stages_to_run=[pretrain]"), tmp_path)
    run_chain(compose(*SMALL), tmp_path)
    assert {name: row[:2] for name, row in lines(tables[0]).items()} == {
        "stage": ["state", "step"], "pretrain": ["finished", "6 of 6"],
    }  # fmt: skip
    assert [stage.state for stage in tables[1].stages.values()] == ["finished", "finished"]
    found = lines(tables[1])
    assert found["pretrain"][3] == "-", "it was finished before"
    assert found["meta_transfer"][3] != "-"
