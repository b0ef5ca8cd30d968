"""Runs side by side: the comparison, curves over seeds, and what differs between configs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from metasr.evaluation.printing import signed
from metasr.evaluation.results import Row
from metasr.report.run_data import ReportData, RunData, Spread
from metasr.text import pluralize

BASELINES = ("interpolate", "interpolate_aligned")
"""Rows that every table has, whatever was trained."""

_PLACES = ("paths.", "run", "output", "table", "input", "overwrite", "runs", "benchmarks", "to", "task", "logger.")
"""Choices that say where files go, not what is computed."""
_SAME = 0.011  # dB: bicubic rows that differ by more were not made from the same images by the same protocol


class Place(NamedTuple):
    """What was measured on: scores on different images, or at different scales, are not compared.

    Images that failed count, so that a row with a failure stays beside the others.
    """

    testset: str
    scale: float
    images: int

    @classmethod
    def of(cls, row: Row) -> Place:
        """Where a row was measured."""
        return cls(row.testset, row.scale, row.images + row.failed)

    def __str__(self) -> str:
        return f"{pluralize(self.images, 'image')} of {self.testset}, ×{self.scale:g}"


class Cell(NamedTuple):
    """A cell of a comparison: its text, and the PSNR in it where it is one of ours."""

    text: str
    psnr: float = math.nan


@dataclass(frozen=True)
class Comparison:
    """A line per degradation.

    Attributes:
        columns: headings.
        rows: their cells; ``-`` where there is nothing.
    """

    columns: list[str]
    rows: list[list[Cell]]

    @property
    def texts(self) -> list[list[str]]:
        """The cells' texts."""
        return [[cell.text for cell in row] for row in self.rows]


def places(data: ReportData) -> list[Place]:
    """What was measured on, in order."""
    return list(dict.fromkeys(Place.of(row) for run in data.runs for row in run.rows))


def comparison(data: ReportData, place: Place) -> Comparison:
    """Bicubic, every line of runs (mean and spread over its runs) and published PSNR, by degradation.

    In brackets behind a line's number stands its gap to the published number of the same method and number of updates.
    """
    rows = [r for run in data.runs for r in run.rows if Place.of(r) == place]
    lines = {
        line: runs
        for line, runs in data.lines.items()
        if any(Place.of(r) == place and r.solver not in BASELINES for run in runs for r in run.rows)
    }
    compared = any(r.published_psnr_y is not None for r in rows if r.solver not in BASELINES)
    made_by: dict[str, str] = {}
    body = []
    for degradation in dict.fromkeys(r.degradation for r in rows):
        cells = [Cell(degradation)]
        for solver in BASELINES:
            mine = [r for r in rows if (r.degradation, r.solver) == (degradation, solver)]
            cells.append(_score(mine[:1], plain=True))
        known: dict[str, None] = {}
        for line, runs in lines.items():
            headlines = [row for run in runs if (row := headline(run, place, degradation)) is not None]
            cells.append(_score(headlines))
            known |= {f"{r.published_psnr_y:.2f}": None for r in headlines if r.published_psnr_y is not None}
            if headlines:
                made_by.setdefault(line, describe(headlines[0]))
        body.append([*cells, Cell(", ".join(known) or "-")] if compared else cells)
    columns = ["degradation", "bicubic", "bicubic, aligned"]
    columns += [f"{line} ({made_by[line]})" if line in made_by else line for line in lines]
    return Comparison(columns + (["published"] if compared else []), body)


def _score(found: Sequence[Row], *, plain: bool = False) -> Cell:
    """Mean and spread over runs; unless ``plain`` the gap to the published number; of how many images, if not all."""
    scored = [row for row in found if row.images]
    if not scored:
        return Cell("-")
    spread = Spread.of([row.psnr_y for row in scored])
    gaps = [] if plain else [value for row in scored if (value := gap(row)) is not None]
    text = spread.text(2) + (f" ({signed(Spread.of(gaps).mean)})" if gaps else "")
    fewer = {f", {row.images} of {row.images + row.failed} images" for row in scored if row.failed}
    return Cell(text + "".join(sorted(fewer)), spread.mean)


def baselines_differ(data: ReportData) -> list[str]:
    """Where runs that seem to be measured alike are not: their bicubic rows, which nothing is learned for, differ."""
    kept_rows = []
    for place in places(data):
        values: dict[tuple[str, str], set[float]] = {}
        for row in (r for run in data.runs for r in run.rows if Place.of(r) == place and r.solver in BASELINES):
            values.setdefault((row.degradation, row.solver), set()).add(row.psnr_y)
        if any(max(v) - min(v) > _SAME for v in values.values()):
            kept_rows.append(str(place))
    return kept_rows


def describe(row: Row) -> str:
    """Solver and number of updates: ``adapt, 10 updates``."""
    if row.own_stop:
        return f"{row.solver}, stopping itself"
    if row.request is None and not row.updates > 0:
        return row.solver
    return f"{row.solver}, {pluralize(row.updates, 'update')}"


def is_own(row: Row) -> bool:
    """Whether a row is the run's result, rather than something shown beside it."""
    return row.solver not in BASELINES and not row.weights.startswith("released/")


def headline(run: RunData, place: Place, degradation: str) -> Row | None:
    """The row by which a run is compared: its own after most updates; else that of the weights it evaluated."""
    mine = (r for r in run.rows if r.images and Place.of(r) == place and r.degradation == degradation)
    rows = [r for r in mine if r.solver not in BASELINES]
    candidates = [r for r in rows if is_own(r)] or rows
    return max(candidates, key=lambda r: (r.own_stop, r.updates), default=None)


def gap(row: Row) -> float | None:
    """PSNR less the published one, or none."""
    return None if row.published_psnr_y is None else round(row.psnr_y - row.published_psnr_y, 2) + 0.0


def psnr_curves(data: ReportData) -> dict[tuple[Place, str], dict[str, dict[float, Spread]]]:
    """PSNR by number of updates: by (place, degradation), then line; over seeds as mean and spread.

    Rows of one solver count as a curve; several solvers of one run are told apart by the solver's name.
    """
    values: dict[tuple[Place, str], dict[str, dict[float, list[float]]]] = {}
    for run in data.runs:
        solvers = {r.solver for r in run.rows if r.solver not in BASELINES}
        for row in run.rows:
            if row.solver in BASELINES or row.own_stop or not math.isfinite(row.psnr_y):
                continue
            line = run.line + (f", {row.solver}" if len(solvers) > 1 else "")
            if not is_own(row):
                line = row.weights
            points = values.setdefault((Place.of(row), row.degradation), {}).setdefault(line, {})
            points.setdefault(row.updates, []).append(row.psnr_y)
    return {
        place: {line: {n: Spread.of(points[n]) for n in sorted(points)} for line, points in lines.items()}
        for place, lines in values.items()
    }


def loss_curves(data: ReportData) -> dict[str, dict[str, list[Spread]]]:
    """The solver's own loss by number of updates: by degradation, then line; over seeds as mean and spread."""
    curves_by_place: dict[str, dict[str, list[Sequence[float]]]] = {}
    for run in data.runs:
        solvers = {solver for _, solver, _ in run.losses}
        for (degradation, solver, weights), losses in run.losses.items():
            line = run.line + (f", {solver}" if len(solvers) > 1 else "")
            line = weights if weights.startswith("released/") else line
            curves_by_place.setdefault(degradation, {}).setdefault(line, []).append(losses)
    return {
        degradation: {
            line: [Spread.of([s[i] for s in several if i < len(s)]) for i in range(max(map(len, several)))]
            for line, several in lines.items()
        }
        for degradation, lines in curves_by_place.items()
    }


def differences(runs: Sequence[RunData]) -> dict[str, list[str]]:
    """What differs between the configs of runs: a value per run, by key; where files go does not count."""
    flat = [_flat(run.config) for run in runs]
    keys = dict.fromkeys(key for choices in flat for key in choices)
    kept = {}
    for key in keys:
        if any(key == place or (place.endswith(".") and key.startswith(place)) for place in _PLACES):
            continue
        values = [choices.get(key, "-") for choices in flat]
        if len(set(values)) > 1:
            kept[key] = values
    return kept


def _flat(config: Any, path: str = "") -> dict[str, str]:
    if isinstance(config, Mapping) and config:
        values_by_run: dict[str, str] = {}
        for key, value in config.items():
            values_by_run |= _flat(value, f"{path}.{key}" if path else str(key))
        return values_by_run
    return {path: "null" if config is None else str(config)} if path else {}
