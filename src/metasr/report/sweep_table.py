"""The one table that a sweep ends with: mean, spread and best over its seeds, for every variant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from statistics import fmean, median, stdev

from rich.table import Table as RichTable

from metasr.evaluation.printing import render
from metasr.evaluation.results import Row
from metasr.io.csv import format_csv
from metasr.text import plain_number

_COMMON = ("interpolate", "interpolate_aligned")


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        overrides: its choices, as ``key=value``.
        rows: the means of its table.
        error: why it failed; empty where it did not.
        command: what runs it again.
        folder: its folder's name.
        trial: whether it is one of a search's.
        objective: what the search goes by, validation PSNR in dB; none where it failed.
        pruned: where and why it was given up; empty where it was not.
        step_seconds: training time per step of its last stage; none where that is not known.
    """

    overrides: tuple[str, ...]
    rows: tuple[Row, ...] = ()
    error: str = ""
    command: str = ""
    folder: str = ""
    trial: bool = False
    objective: float | None = None
    pruned: str = ""
    step_seconds: float | None = None

    @property
    def variant(self) -> tuple[str, ...]:
        """The choices without the seed."""
        return tuple(choice for choice in self.overrides if choice.partition("=")[0] != "seed")


@dataclass(frozen=True)
class SweepRow:
    """One variant's scores under one degradation, over its seeds; spreads are sample standard deviations.

    ``updates`` is the requested number, or the mean that was taken where none is requested.
    """

    variant: str
    testset: str
    degradation: str
    solver: str
    weights: str
    updates: float
    runs: int
    psnr_y: float
    psnr_y_std: float
    psnr_y_best: float
    ssim_y: float
    ssim_y_std: float
    hf_error_y: float
    hf_error_y_std: float
    seconds: float
    command: str
    published_psnr_y: float | None = None


@dataclass
class SweepTable:
    """A sweep's jobs, put together.

    Attributes:
        jobs: all of them, the failed ones too.
    """

    jobs: Sequence[Job] = field(default_factory=list)

    @property
    def failed(self) -> list[Job]:
        """The jobs without a result."""
        return [job for job in self.jobs if job.error]

    @property
    def trials(self) -> list[Job]:
        """A search's trials, the best first, the failed last."""
        trials = [job for job in self.jobs if job.trial]
        return sorted(trials, key=lambda job: -math.inf if job.objective is None else job.objective, reverse=True)

    def label(self, job: Job) -> str:
        """What distinguishes a variant from the sweep's others: the choices that not all jobs share.

        Numbers are told to four digits where that keeps all variants apart.
        """
        shared = set(self.jobs[0].variant).intersection(*(set(j.variant) for j in self.jobs))
        variants = {j.variant for j in self.jobs}
        rounded = {tuple(map(_rounded, variant)) for variant in variants}
        tell = _rounded if len(rounded) == len(variants) else str
        own = [tell(choice) for choice in job.variant if choice not in shared]
        return ", ".join(map(_short, own)) or "as configured"

    def whole_label(self, job: Job) -> str:
        """The same with the seed: what tells one run of the sweep from all others."""
        seed = next((choice for choice in job.overrides if choice.startswith("seed=")), "")
        return ", ".join(filter(None, (self.label(job), seed)))

    def state(self, job: Job) -> str:
        """How a run went, in a word."""
        return "given up" if job.pruned else "failed" if job.error else "finished"

    @property
    def rows(self) -> list[SweepRow]:
        """Means over the seeds, in order of first appearance; interpolation once for all variants."""
        groups: dict[tuple[str, str, str, str, str, int | None], list[tuple[Row, Job]]] = {}
        measured = {_measured_on(row) for job in self.jobs for row in job.rows}
        for job in self.jobs:
            for row in (row for row in job.rows if row.images):  # else every image failed, which the job's table tells
                common = row.solver in _COMMON or row.weights.startswith("released/")
                shared = "all" if len(measured) == 1 else ", ".join(["all", *_measured_on(row)])
                variant = shared if common else self.label(job)
                key = (row.testset, row.degradation, variant, row.solver, row.weights, row.request)
                groups.setdefault(key, []).append((row, job))
        rows = []
        for (testset, degradation, variant, solver, weights, _), members in groups.items():
            psnr, ssim, hf_error, seconds, updates = (
                [getattr(row, name) for row, _ in members]
                for name in ("psnr_y", "ssim_y", "hf_error_y", "seconds", "updates")
            )
            best = max(range(len(members)), key=lambda i: psnr[i])
            rows.append(
                SweepRow(
                    variant, testset, degradation, solver, weights, fmean(updates),
                    len({id(job) for _, job in members}), fmean(psnr), _spread(psnr), psnr[best], fmean(ssim),
                    _spread(ssim), fmean(hf_error), _spread(hf_error), fmean(seconds), members[best][1].command,
                    members[0][0].published_psnr_y,
                )
            )  # fmt: skip
        order = list(dict.fromkeys(row.degradation for row in rows))
        return sorted(rows, key=lambda row: order.index(row.degradation))

    def to_csv(self) -> str:
        """One line per variant, degradation, solver, weights and number of updates; then one per failed job."""
        names = [f.name for f in fields(SweepRow) if f.name != "published_psnr_y"]
        lines: list[list[object]] = []
        for row in self.rows:
            values = dict(zip(names, (getattr(row, name) for name in names), strict=True))
            values["updates"] = plain_number(row.updates)
            lines.append([f"{v:.4f}" if isinstance(v, float) else v for v in values.values()] + [None])
        for job in self.failed:
            lines.append([self.label(job), *[None] * (len(names) - 2), job.command, job.error])
        return format_csv([*names, "error"], lines)

    def trials_to_csv(self) -> str:
        """One line per trial of a search, the best first."""
        lines = []
        for job in self.trials:
            value = None if job.objective is None else f"{job.objective:.4f}"
            lines.append([self.label(job), value, job.pruned or job.error or "finished", job.command])
        return format_csv(["trial", "val_psnr_y", "state", "command"], lines)

    def format(self, *, title: str) -> str:
        """The table as it is printed; below it each run's command (of a search's trials the best), and what failed."""
        rows = self.rows
        grid = RichTable(title=title, title_justify="left", title_style="bold", show_edge=False, pad_edge=False)
        for name in ("degradation", "variant", "solver"):
            grid.add_column(name)
        for name in ("updates", "runs", "PSNR", "best", "SSIM", "HF error", "s / image"):
            grid.add_column(name, justify="right")
        before = None
        for r in rows:
            if before is not None and r.degradation != before:
                grid.add_section()
            made_by = f"{r.solver}, {r.weights}" if r.weights.startswith("released/") else r.solver
            grid.add_row(
                r.degradation if r.degradation != before else "",
                r.variant,
                made_by,
                plain_number(r.updates),
                str(r.runs),
                _with_spread(r.psnr_y, r.psnr_y_std, 2),
                f"{r.psnr_y_best:.2f}",
                _with_spread(r.ssim_y, r.ssim_y_std, 4),
                _with_spread(r.hf_error_y, r.hf_error_y_std, 3),
                f"{r.seconds:.2f}",
            )
            before = r.degradation
        parts = [render(grid)] if rows else [f"{title}: no finished run"]
        if self.trials:
            lines = [f"  {_value(job)}  {self.label(job)}{_state(job)}" for job in self.trials]
            parts.append("\n".join(["trials by PSNR in dB on the validation images:", *lines]))
        if cost := self._cost():
            parts.append("\n".join(["training, seconds per step of the last stage (ratio to the first):", *cost]))
        again = [job for job in self.jobs if not job.trial or job.error] + self.trials[:1]
        commands = {self.whole_label(job): job.command for job in again if job.command}
        if commands:
            parts.append("\n".join(["one run again:", *(f"  {run}: {c}" for run, c in commands.items())]))
        if self.failed:
            lines = [f"  {self.whole_label(job)}: {job.error}" for job in self.failed]
            parts.append("\n".join([f"{len(self.failed)} of {len(self.jobs)} runs failed:", *lines]))
        return "\n\n".join(parts)

    def _cost(self) -> list[str]:
        """One line per variant: the median over its seeds."""
        times: dict[str, list[float]] = {}
        for job in self.jobs:
            if job.step_seconds is not None and not job.error:
                times.setdefault(self.label(job), []).append(job.step_seconds)
        medians = {variant: median(values) for variant, values in times.items()}
        first = next(iter(medians.values()), 0.0)
        return [f"  {v}: {m:.3f}" + (f" ({m / first:.2f})" if first else "") for v, m in medians.items()]


def _measured_on(row: Row) -> tuple[str, str]:
    """What interpolation's scores depend on beside test set and degradation."""
    return f"x{row.scale:g}", f"{row.images} images"


def _short(choice: str) -> str:
    """``stages.maml_sr.recipe.order=first`` as ``order=first``; ``~key`` and ``+key`` as ``key``."""
    key, equals, value = choice.lstrip("+~").partition("=")
    return f"{key.rpartition('.')[2]}{equals}{value}"


def _rounded(choice: str) -> str:
    """A choice with a long number to four digits; other choices as they are."""
    key, equals, value = choice.partition("=")
    try:
        short = f"{float(value):.4g}"
    except ValueError:
        return choice
    return f"{key}{equals}{short}" if len(short) < len(value) else choice


def _value(job: Job) -> str:
    return "   -  " if job.objective is None else f"{job.objective:6.2f}"


def _state(job: Job) -> str:
    return f" ({job.pruned or 'failed'})" if job.pruned or job.error else ""


def _spread(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan


def _with_spread(mean: float, spread: float, digits: int) -> str:
    if math.isnan(mean):
        return "-"
    return f"{mean:.{digits}f}" + ("" if math.isnan(spread) else f" ± {spread:.{digits}f}")
