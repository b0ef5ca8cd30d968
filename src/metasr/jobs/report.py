"""The job that reports: reads runs and sweeps, and writes one HTML file or a report on wandb."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from omegaconf import DictConfig

from metasr import __version__
from metasr.errors import DataError, InputError, OutputError
from metasr.io.files import check_new_file, write_text
from metasr.paths import program
from metasr.report.benchmarks import read_benchmark
from metasr.report.html.page import page
from metasr.report.reading import is_sweep, read_jobs, read_run, require_folder
from metasr.report.run_data import ReportData, RunData, SweepData
from metasr.report.sweep_table import Job, SweepTable
from metasr.runs.folder import stamp
from metasr.runs.job_card import JOB_NAME

log = logging.getLogger(__name__)


def report(cfg: DictConfig, folder: Path) -> None:
    """Report on ``cfg.runs``, each the folder of a run or of a sweep, and on ``cfg.benchmarks``, files of results.

    Args:
        cfg: the config; ``to`` says whether a file or a wandb report is made, ``output`` where the file goes.
        folder: that of all reports, where the file goes otherwise, named by the time.

    Raises:
        InputError: for nothing to report on, or an unknown ``to``.
        DataError: for a folder that does not exist or holds no run, and for damaged files where nothing is left.
        OutputError: if the file may not be written.
    """
    if cfg.to not in ("html", "wandb"):
        raise InputError(f"to must be html or wandb, got {cfg.to!r}")
    runs, measured = list(cfg.runs or []), list(cfg.benchmarks or [])
    if not runs and not measured:
        raise InputError(
            f"nothing to report on: give folders of runs or of sweeps, 'runs=[FOLDER,...]'{_known(cfg.paths.outputs)}"
        )
    if cfg.to == "wandb":
        from metasr.config.build import wandb_options
        from metasr.report.wandb.report import publish, require_wandb

        require_wandb()  # before the work
        print(f"report: {publish(gather(runs, measured), wandb_options(cfg))}", flush=True)
        return
    path = folder / f"{stamp()}.html" if cfg.output is None else Path(cfg.output).expanduser()
    check_report_path(path, overwrite=cfg.overwrite)
    data = gather(runs, measured)
    write_text(path, page(data))
    for left, reason in data.left_out:
        log.warning("left out: %s: %s", left, reason)
    print(f"report on {data.title}: {path}", flush=True)


def check_report_path(path: Path, *, overwrite: bool) -> None:
    """Require that a report can be written to a path, before any work.

    Raises:
        OutputError: if it is a folder, exists and is not to be overwritten, or its folder is missing or not writable.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"output={path} must end in .html; choose such a name")
    check_new_file(path, overwrite=overwrite, label="output=", instead="another output=FILE")


@dataclass
class _Gathered:
    runs: list[RunData] = field(default_factory=list)
    sweeps: list[SweepData] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def gather(folders: Sequence[str], benchmarks: Sequence[str] = ()) -> ReportData:
    """Read runs and sweeps. Of several, those that are damaged are left out, and the report says so.

    Args:
        folders: of runs and sweeps.
        benchmarks: files of benchmarks' results; none of them may be damaged.

    Raises:
        DataError: for a folder that does not exist or holds no run; for a damaged one if nothing else is left.
    """
    tables = [read_benchmark(Path(file).expanduser()) for file in dict.fromkeys(benchmarks)]
    paths = list(dict.fromkeys(Path(f).expanduser().resolve() for f in folders))
    for path in paths:  # a mistyped name is no damage
        require_folder(path)
    gathered = _Gathered()
    for path in paths:
        if is_sweep(path):
            _add_sweep(gathered, path)
            continue
        try:
            gathered.runs.append(read_run(path))
        except DataError as error:
            if len(paths) == 1:
                raise
            gathered.left_out.append((str(path), str(error)))
    if paths and not gathered.runs and not any(sweep.table.jobs for sweep in gathered.sweeps):
        reasons = "; ".join(reason for _, reason in gathered.left_out)
        raise DataError(f"none of the {len(paths)} folders can be reported on: {reasons}")
    return ReportData(_told_apart(gathered.runs), gathered.sweeps, gathered.left_out, __version__, tables)


def _add_sweep(found: _Gathered, folder: Path) -> None:
    """A sweep's jobs, and their runs as far as they got; a damaged one counts as failed."""
    runs: dict[str, RunData] = {}
    damaged: dict[str, str] = {}
    for path in sorted(path.parent for path in folder.glob(f"*/{JOB_NAME}")):
        try:
            runs[path.name] = read_run(path)
        except DataError as error:
            damaged[path.name] = str(error)
    jobs = [
        replace(job, rows=(), error=damaged[job.folder]) if _spoilt(job, damaged) else job for job in read_jobs(folder)
    ]
    table = SweepTable(jobs)
    found.sweeps.append(SweepData(folder.name, table))
    for job in jobs:
        if job.folder in runs:
            run = runs[job.folder]
            line = _line(run, folder.name, table.label(job))
            seed = next((c for c in job.overrides if c.startswith("seed=")), "")
            label = ", ".join(filter(None, (line, seed)))
            state = job.pruned or run.unfinished
            found.runs.append(
                replace(run, label=label, line=line, overrides=job.overrides, sweep=folder.name, unfinished=state)
            )


def _spoilt(job: Job, damaged: dict[str, str]) -> bool:
    """Whether a job that counts as finished cannot be read; why others failed is told by themselves."""
    return not job.error and job.folder in damaged


def _line(run: RunData, sweep: str, variant: str) -> str:
    return f"{run.experiment}, {sweep}" if variant == "as configured" else variant


def _told_apart(runs: Sequence[RunData]) -> list[RunData]:
    """The runs, each with a label of its own: where two would be called the same, their folder's name is added."""
    labels = [run.label for run in runs]
    runs_data: list[RunData] = []
    for run in runs:
        if labels.count(run.label) == 1:
            runs_data.append(run)
            continue
        label = f"{run.label} ({Path(run.folder).name})"
        if label in (r.label for r in runs_data):
            label = f"{run.label} ({run.folder})"
        runs_data.append(replace(run, label=label, line=label if run.line == run.label else run.line))
    return runs_data


def _known(outputs: str) -> str:
    """The newest runs, for the message that asks for some."""
    latest = sorted(path.parent.name for path in Path(outputs).glob("*/latest"))
    if not latest:
        return f"; none was made yet in {outputs}: {program()} +experiment=mzsr_x2"
    return f", for instance 'runs=[{Path(outputs) / latest[0] / 'latest'}]'"
