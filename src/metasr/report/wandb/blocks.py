"""The comparison as blocks of a wandb report: plain ones of our own, which need no account, and wandb's made from them.

Runs are found by their group and job type, which ``runs.wandb_names`` tells.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metasr.errors import InputError
from metasr.report.compare import Place, comparison, headline, places
from metasr.report.run_data import ReportData, RunData
from metasr.runs.wandb_names import EVALUATION, group_of, score_name

_NAMEABLE = re.compile(r"[\w.+@ -]+")


@dataclass(frozen=True)
class Heading:
    """A heading of level 1 to 3."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class MarkdownTable:
    """A table; cells are plain text."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def text(self) -> str:
        """As markdown."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


@dataclass(frozen=True)
class RunSet:
    """The runs whose group is one of these, and which are of one job type (all, where it is empty).

    Attributes:
        name: what the set is called.
        groups: names of run folders, or of sweeps.
        job: the job type.
        apart: whether each run is a line of its own, as a sweep's are, which share a group.
    """

    name: str
    groups: Sequence[str]
    job: str = ""
    apart: bool = False

    @property
    def filters(self) -> str:
        """As an expression of wandb's."""
        condition = f"Metric('Group') in {list(self.groups)!r}"
        return condition + (f" and Metric('JobType') == {self.job!r}" if self.job else "")


@dataclass(frozen=True)
class Lines:
    """Curves of one metric against the step, a line per group, or per run of a sweep."""

    metric: str


@dataclass(frozen=True)
class Bars:
    """A bar per run for each summary metric."""

    title: str
    metrics: Sequence[str]


@dataclass(frozen=True)
class Pictures:
    """Logged pictures, by key."""

    keys: Sequence[str]


@dataclass(frozen=True)
class LoggedTable:
    """A table that the runs logged."""

    key: str


@dataclass(frozen=True)
class Grid:
    """Panels over a set of runs."""

    runs: RunSet
    panels: Sequence[Lines | Bars | Pictures | LoggedTable]


Block = Heading | Paragraph | MarkdownTable | Grid


def blocks(data: ReportData) -> list[Block]:
    """The report's blocks: results, then test scores, pictures and training curves, by experiment and sweep.

    Raises:
        InputError: for a run folder whose name cannot stand in a filter.
    """
    page: list[Block] = [Heading(data.title, 1)]
    warned = [f"{run.label} is unfinished: {run.unfinished}." for run in data.runs if run.unfinished]
    warned += [f"{folder} was left out: {reason}" for folder, reason in data.left_out]
    for sweep in data.sweeps:
        if failed := len(sweep.table.failed):
            warned.append(f"{sweep.name}: {failed} of {len(sweep.table.jobs)} runs failed.")
    page += [Paragraph(text) for text in warned]
    for place in places(data):
        compared = comparison(data, place)
        page += [Heading(f"PSNR on Y in dB, {place}"), MarkdownTable(compared.columns, compared.texts)]
    for table in data.benchmarks:
        page += [Heading(table.title), MarkdownTable(table.columns, table.rows)]
    parts: dict[str, list[RunData]] = {}
    for run in data.runs:
        parts.setdefault(f"{run.experiment}, {run.sweep}" if run.sweep else run.experiment, []).append(run)
    for name, runs in parts.items():
        page.append(Heading(name))
        page += _part(name, runs)
    return page


def _part(name: str, runs: Sequence[RunData]) -> list[Block]:
    groups = list(dict.fromkeys(wandb_group(run) for run in runs))
    apart = bool(runs[0].sweep)
    page: list[Block] = []
    scores: dict[str, None] = {}
    for run in runs:
        for place, degradation in dict.fromkeys((Place.of(row), row.degradation) for row in run.rows):
            if row := headline(run, place, degradation):
                keys = {"degradation": degradation, "solver": row.solver, "weights": row.weights}
                scores[score_name("psnr_y", **keys, updates=row.updates)] = None
    pictures = dict.fromkeys(f"test/{png.removesuffix('.png')}" for run in runs for png in run.pictures)
    if scores:
        panels: list[Lines | Bars | Pictures | LoggedTable] = [Bars("PSNR on Y in dB", list(scores))]
        panels += [Pictures(list(pictures))] if pictures else []
        page.append(Grid(RunSet(f"{name}: test", groups, EVALUATION, apart), [*panels, LoggedTable("test/table")]))
    stages: dict[str, dict[str, None]] = {}
    for run in runs:
        for stage in run.stages:
            logged = (*stage.metrics, *stage.card.get("metrics", {}))
            stages.setdefault(stage.name.partition("_")[2], {}).update(dict.fromkeys(sorted(logged)))
    for stage_name, metrics in stages.items():
        if metrics:
            lines = [Lines(metric) for metric in metrics]
            page.append(Grid(RunSet(f"{name}: {stage_name}", groups, stage_name, apart), lines))
    return page


def wandb_group(run: RunData) -> str:
    """The group of a run's jobs on wandb.

    Raises:
        InputError: if it cannot stand in a filter.
    """
    name = run.sweep or group_of(Path(run.folder))
    if not _NAMEABLE.fullmatch(name):
        raise InputError(
            f"run folder {run.folder}: its name, by which wandb groups its jobs, must be of letters, digits and "
            ". _ + @ - to stand in a filter of a report; leave it out"
        )
    return name


def to_wandb(found: Sequence[Block], api: Any, *, entity: str, project: str) -> list[Any]:
    """Our blocks as wandb's.

    Args:
        found: the blocks.
        api: the module ``wandb_workspaces.reports.v2``.
        entity: user or team.
        project: where the runs lie.
    """
    page: list[Any] = [api.TableOfContents()]
    for block in found:
        if isinstance(block, Heading):
            page.append((api.H1, api.H2, api.H3)[block.level - 1](text=block.text))
        elif isinstance(block, Paragraph):
            page.append(api.P(text=block.text))
        elif isinstance(block, MarkdownTable):
            page.append(api.MarkdownBlock(text=block.text))
        else:
            runs = api.Runset(
                entity=entity, project=project, name=block.runs.name, filters=block.runs.filters,
                groupby=[] if block.runs.apart else ["group"],
            )  # fmt: skip
            page.append(api.PanelGrid(runsets=[runs], panels=[_panel(panel, api) for panel in block.panels]))
    return page


def _panel(panel: Lines | Bars | Pictures | LoggedTable, api: Any) -> Any:
    if isinstance(panel, Lines):
        return api.LinePlot(title=panel.metric, x="Step", y=[panel.metric], log_y="loss" in panel.metric)
    if isinstance(panel, Bars):
        return api.BarPlot(title=panel.title, metrics=list(panel.metrics))
    if isinstance(panel, Pictures):
        return api.MediaBrowser(title="pictures", media_keys=list(panel.keys), num_columns=1)
    return api.WeavePanelSummaryTable(table_name=panel.key)


def _cell(text: str) -> str:
    """A text that markdown shows as it is: neither HTML nor links nor emphasis."""
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", text).replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
