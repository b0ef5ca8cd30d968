"""Sweeps: one folder per job that a rerun finds again, failures that leave the others alone, one table at the end.

Light to import: Hydra makes the callback at every start of the program.
"""

from __future__ import annotations

import csv
import json
import logging
import shlex
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from metasr.errors import MetasrError
from metasr.experiment.run_folder import begin_sweep, interpreter

if TYPE_CHECKING:
    from metasr.report.sweep_table import Job

log = logging.getLogger(__name__)

JOB_NAME = "job.json"
TABLE_NAME = "sweep.csv"


def run_job(cfg: DictConfig, folder: Path) -> None:
    """Do one job of a sweep, unless it is done; a failure is written down and does not end the sweep."""
    from hydra.core.hydra_config import HydraConfig

    from metasr.experiment.job import execute

    overrides = list(HydraConfig.get().overrides.task)
    if _read(folder).get("status") == "finished":
        log.info("finished before: skipped (%s)", folder)
        return
    card: dict[str, Any] = {"number": HydraConfig.get().job.num, "overrides": overrides, "status": "started"}
    _write(folder, card)
    start = time.perf_counter()
    try:
        execute(cfg, folder)
    except MetasrError as error:
        card |= {"status": "failed", "error": str(error)}
        log.error("this run failed, the sweep goes on: %s", error)
    except Exception as error:
        card |= {"status": "failed", "error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        log.exception("this run failed, the sweep goes on")
    else:
        done = (folder / "table.csv").is_file()
        card |= {"status": "finished"} if done else {"status": "unfinished", "error": "not finished yet: run it again"}
    _write(folder, card | {"seconds": round(time.perf_counter() - start, 2)})


class SweepEnd(Callback):
    """Gives a sweep its folder, and puts its tables together when its last job is over."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Settle where the sweep's files go."""
        begin_sweep(config)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Print the table, write it as CSV, and leave with status 1 where a job failed."""
        from metasr.experiment.run_card import write_text
        from metasr.report.sweep_table import SweepTable

        folder = Path(config.hydra.sweep.dir)
        table = SweepTable(read_jobs(folder))
        if not table.jobs:
            return
        write_text(folder / TABLE_NAME, table.to_csv())
        print(f"\n{table.format(title=f'sweep {folder.name}: PSNR in dB and SSIM on Y, ± over seeds')}")
        print(f"\ntable: {folder / TABLE_NAME}", flush=True)
        if table.failed:
            sys.exit(1)


def read_jobs(folder: Path) -> list[Job]:
    """All jobs of a sweep's folder, in the order of the sweep."""
    from metasr.report.sweep_table import Job

    jobs = []
    found = [(_read(path.parent), path) for path in folder.glob(f"*/{JOB_NAME}")]
    for card, path in sorted(found, key=lambda item: (item[0].get("number", 0), item[1].parent.name)):
        table = path.parent / "table.csv"
        finished = card.get("status") == "finished" and table.is_file()
        rows: tuple[dict[str, str], ...] = ()
        if finished:
            with table.open(encoding="utf-8", newline="") as file:
                rows = tuple(csv.DictReader(file))
        overrides = tuple(card.get("overrides", ()))
        jobs.append(
            Job(
                overrides=overrides,
                rows=rows,
                error="" if finished else card.get("error", "cut short: run the sweep again"),
                command=f"{interpreter()} {shlex.join(['src/run.py', *overrides])}",
                folder=path.parent.name,
            )
        )
    return jobs


def _read(folder: Path) -> dict[str, Any]:
    try:
        card = json.loads((folder / JOB_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}


def _write(folder: Path, card: dict[str, Any]) -> None:
    from metasr.experiment.run_card import write_text

    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / JOB_NAME, json.dumps(card, indent=1) + "\n")
