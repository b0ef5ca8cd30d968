"""Sweeps: one folder per job that a rerun finds again, failures that leave the others alone, one table at the end.

Light to import: Hydra makes the callback at every start of the program.
"""

from __future__ import annotations

import logging
import math
import os
import shlex
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from metasr.config.schema import TaskName
from metasr.errors import InputError, MetasrError
from metasr.io.files import require_permission, write_text
from metasr.jobs.launching import is_first, join_processes, one_device, require_plugins
from metasr.paths import program
from metasr.runs.folder import (
    as_typed,
    begin_sweep,
    link_latest,
    quoted,
    register_resolvers,
)
from metasr.runs.job_card import read_job, write_job

if TYPE_CHECKING:
    from metasr.training.callbacks import Watch

log = logging.getLogger(__name__)

TABLE_NAME = "sweep.csv"
TRIALS_NAME = "trials.csv"


def run_job(cfg: DictConfig, folder: Path) -> float | None:
    """Do one job of a sweep, unless it is done; a failure is written down and does not end the sweep.

    Returns:
        What a search maximises: the validation PSNR of the job's last stage in dB, or its best one where the job was
        given up. None where nothing was validated or the job failed. In a search minus infinity tells of a failure,
        so that it learns where jobs fail, and nan of a job that was cut short, which counts for nothing.
    """
    from hydra.core.hydra_config import HydraConfig

    from metasr.jobs.run import execute
    from metasr.jobs.search import PrunedError

    hydra = HydraConfig.get()
    searched = not hydra.sweeper._target_.endswith(".BasicSweeper")
    failed = -math.inf if searched else None
    if is_first() and folder.parent.is_dir():
        link_latest(folder.parent)
    card = read_job(folder)
    if card.get("status") in ("finished", "pruned"):
        log.info("%s before: skipped (%s)", card["status"], folder)
        return failed if card.get("objective") is None else float(card["objective"])
    card = {
        "number": hydra.job.num,
        "overrides": as_typed(hydra.overrides.task),
        "search": searched,
        "status": "started",
    }
    start = time.perf_counter()
    try:
        devices = cfg.trainer.devices if cfg.task == TaskName.run else 1
        join_processes(devices, nodes=cfg.trainer.get("num_nodes", 1))
        if is_first():
            write_job(folder, card)
        stages = list(cfg.stages_to_run or cfg.stages)
        watch = _pruning(folder, stages, devices, startup=cfg.prune.startup, warmup=cfg.prune.warmup)
        try:
            value = execute(cfg, folder, watch=watch)
        except PrunedError as error:
            card |= {"status": "pruned", "told": str(error)}
            log.info("%s", error)
            value = error.value
    except MetasrError as error:
        card |= {"status": "failed", "error": str(error)}
        log.error("this run failed, the sweep goes on: %s", error)
    except Exception as error:
        card |= {"status": "failed", "error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        log.exception("this run failed, the sweep goes on")
    else:
        if card["status"] == "started":
            done = (folder / "table.csv").is_file()
            card |= (
                {"status": "finished"} if done else {"status": "unfinished", "error": "not finished yet: run it again"}
            )
        if searched and value is None and card["status"] == "finished":
            card |= {"status": "failed", "error": "nothing to search by: give its last stage validation.degradations"}
        card["objective"] = value
    if is_first():
        write_job(folder, card | {"seconds": round(time.perf_counter() - start, 2)})
    if card["status"] == "unfinished":
        return math.nan if searched else None
    return card["objective"] if card["status"] in ("finished", "pruned") else failed


def _pruning(folder: Path, stages: Sequence[str], devices: Any, *, startup: int, warmup: int) -> Watch | None:
    """What gives a job up where it lags behind; none without ``prune.startup``.

    Raises:
        InputError: for pruning with several processes per job, of which only one validates.
    """
    from metasr.jobs.search import MedianPruning

    if not startup or not stages:
        return None
    if not one_device(devices):
        raise InputError(f"trainer.devices={devices}: jobs of several processes cannot be pruned; add prune.startup=0")
    return MedianPruning(folder=folder, stage=stages[-1], startup=startup, warmup=warmup)


class SweepEnd(Callback):
    """Gives a sweep its folder, and puts its tables together when its last job is over."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Launchers bring the callback into processes that never ran the program, and compose a job's config there."""
        return _elsewhere, ()

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Settle where the sweep's files go; leave with status 2 where it cannot write, or its plugins are missing."""
        try:
            require_plugins(config)
        except MetasrError as error:  # hydra would make a warning of it
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        begin_sweep(config)
        try:
            require_permission(Path(config.hydra.sweep.dir), instead="set METASR_OUTPUTS, or hydra.sweep.dir=FOLDER")
        except MetasrError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Print the table, write it as CSV, and leave with status 1 where a job failed."""
        from metasr.report.reading import read_jobs
        from metasr.report.sweep_table import SweepTable

        folder = Path(config.hydra.sweep.dir)
        table = SweepTable(read_jobs(folder))
        if not table.jobs:
            return
        write_text(folder / TABLE_NAME, table.to_csv())
        if table.trials:
            write_text(folder / TRIALS_NAME, table.trials_to_csv())
        print(f"\n{table.format(title=f'sweep {folder.name}: PSNR in dB and SSIM on Y, ± over seeds')}")
        print(f"\ntable: {folder / TABLE_NAME}")
        print(f"report: {program()} {shlex.join(['task=report', f'sweep={quoted(str(folder))}'])}",
              flush=True)  # fmt: skip
        if table.failed:
            sys.exit(1)


def _elsewhere() -> SweepEnd:
    register_resolvers()
    return SweepEnd()
