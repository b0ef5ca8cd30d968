"""Tables of results: rows, CSV files, and what is printed."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import NamedTuple

from rich.console import Console
from rich.table import Table as RichTable

from metasr.evaluation.published import method_of, published
from metasr.solvers.oracle import ORACLE
from metasr.text import pluralize


@dataclass(frozen=True)
class ImageRow:
    """The score of one image.

    ``hf_error_y`` is described in :mod:`metasr.metrics.high_frequency`; ``stopped`` tells why a solver that decides
    itself took no further step, and is empty where the number of updates was given.
    """

    testset: str
    degradation: str
    scale: float
    solver: str
    weights: str
    updates: int
    image: str
    psnr_y: float
    ssim_y: float
    seconds: float
    hf_error_y: float = math.nan
    stopped: str = ""


@dataclass(frozen=True)
class Row:
    """The mean score of one (degradation, solver, weights, number of updates).

    Where the solver decides itself when to stop (``own_stop``), ``updates`` is the mean over the images.
    """

    testset: str
    degradation: str
    scale: float
    solver: str
    weights: str
    updates: float
    images: int
    psnr_y: float
    ssim_y: float
    seconds: float
    published_psnr_y: float | None = None
    published_ssim_y: float | None = None
    hf_error_y: float = math.nan
    own_stop: bool = False

    @property
    def key(self) -> Key:
        """What distinguishes the columns of a printed table; a number of updates that was not given does not."""
        return self.solver, self.weights, OWN_STOP if self.own_stop else int(self.updates)


Key = tuple[str, str, int]
REFERENCES = ("MZSR(10)", "DASR", "MRDA", "KDSR-M")
"""Published methods that have a column of their own in a printed table, where they have numbers for it."""

OWN_STOP = -1
"""Stands for the number of updates of a solver that decides itself when to stop."""


class _Group(NamedTuple):
    """What a mean is taken over the images of."""

    testset: str
    degradation: str
    scale: float
    solver: str
    weights: str
    updates: int


class Table:
    """Scores of images, and their means.

    Attributes:
        images: one row per image and degradation, in the order they were added.
        compare: whether published numbers are set beside.
        method: whose results these are.
        sets: named sets of degradations, each with its members, that a mean is told of too.
    """

    def __init__(
        self,
        images: Iterable[ImageRow] = (),
        *,
        compare: bool = True,
        method: str = "",
        sets: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.images = list(images)
        self.compare = compare
        self.method = method
        self.sets = dict(sets or {})

    def add(self, row: ImageRow) -> None:
        """Add one image's score."""
        self.images.append(row)

    @property
    def rows(self) -> list[Row]:
        """Means over images, in order of first appearance, with published numbers where there are any.

        After them, for every named set of degradations, the means over its members' images: of those solvers that
        solved all members.
        """
        groups: dict[_Group, list[ImageRow]] = {}
        for r in self.images:
            updates = OWN_STOP if r.stopped else r.updates
            groups.setdefault(_Group(r.testset, r.degradation, r.scale, r.solver, r.weights, updates), []).append(r)
        rows = []
        for (testset, degradation, scale, solver, weights, updates), members in self._with_sets(groups).items():
            known = None
            if self.compare:
                known = published(
                    method_of(solver, updates, method=self.method), testset=testset, degradation=degradation,
                    scale=scale,
                )  # fmt: skip
            kernels = len(self.sets.get(degradation, (degradation,)))
            rows.append(
                Row(
                    testset, degradation, scale, solver, weights,
                    updates if updates != OWN_STOP else fmean(m.updates for m in members),
                    len(members) // kernels,
                    fmean(m.psnr_y for m in members), fmean(m.ssim_y for m in members),
                    fmean(m.seconds for m in members),
                    known.psnr_y if known else None, known.ssim_y if known else None,
                    fmean(m.hf_error_y for m in members), updates == OWN_STOP,
                )
            )  # fmt: skip
        return rows

    def _with_sets(self, groups: dict[_Group, list[ImageRow]]) -> dict[_Group, list[ImageRow]]:
        found = dict(groups)
        for name, degradations in self.sets.items():
            for group in groups:
                members = [groups.get(group._replace(degradation=d)) for d in degradations]
                whole = [rows for rows in members if rows is not None]
                if group.degradation == degradations[0] and len(whole) == len(degradations):
                    found[group._replace(degradation=name)] = [row for rows in whole for row in rows]
        return found

    def to_csv(self) -> str:
        """Means, one line per (degradation, solver, weights, updates)."""
        return _csv(Row, self.rows)

    def images_to_csv(self) -> str:
        """One line per image."""
        return _csv(ImageRow, self.images)


def _csv(kind: type, rows: Sequence[object]) -> str:
    names = [f.name for f in fields(kind)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(name, getattr(row, name)) for name in names])
    return text.getvalue()


def _cell(name: str, value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, float):
        if name == "scale":
            return f"{value:g}"
        return f"{value:.4f}" if math.isfinite(value) else str(value)
    return value


def format_pivot(table: Table, *, title: str, highlight: Key | None = None) -> str:
    """One line per degradation, one column per (solver, weights, updates), PSNR on Y in dB.

    Args:
        table: the results.
        title: printed above.
        highlight: the column whose seconds per image are shown; none for the last.
    """
    rows = table.rows
    keys = list(dict.fromkeys(r.key for r in rows))
    # Released weights differ from one degradation to the next: one column for all of them.
    columns = list(dict.fromkeys(_column(k) for k in keys))
    cells = {(r.degradation, _column(r.key)): r for r in rows}
    degradations = list(dict.fromkeys(r.degradation for r in rows))
    known = {m: {d: _best_known(rows, d, m) for d in degradations} for m in REFERENCES} if table.compare else {}
    known = {m: numbers for m, numbers in known.items() if any(numbers.values())}
    timed = _column(highlight) if highlight else columns[-1]

    grid = RichTable(title=title, title_justify="left", title_style="bold", show_edge=False, pad_edge=False)
    grid.add_column("degradation")
    for column in columns:
        grid.add_column(_heading(column), justify="right")
    for method in known:
        grid.add_column(f"published\n{method}", justify="right")
    grid.add_column(f"s / image\n{_heading(timed).splitlines()[-1]}", justify="right")
    for d in degradations:
        line = [d]
        line += [f"{cells[d, c].psnr_y:.2f}" if (d, c) in cells else "-" for c in columns]
        line += [numbers[d] or "-" for numbers in known.values()]
        line.append(f"{cells[d, timed].seconds:.2f}" if (d, timed) in cells else "-")
        grid.add_row(*line)
    return render(grid) + _oracle_note(rows)


def _best_known(rows: Sequence[Row], degradation: str, method: str) -> str | None:
    mine = next(r for r in rows if r.degradation == degradation)
    found = published(method, testset=mine.testset, degradation=degradation, scale=mine.scale)
    return f"{found.psnr_y:.2f}" if found else None


def _column(key: Key) -> Key:
    solver, weights, updates = key
    return solver, "released" if weights.startswith("released/") else weights, updates


def _heading(column: Key) -> str:
    solver, weights, updates = column
    if weights == "-":
        name = {"interpolate": "bicubic\nas published", "interpolate_aligned": "bicubic\naligned"}.get(solver, solver)
        return f"{name}\n{pluralize(updates, 'update')}" if updates and updates != OWN_STOP else name
    name = {"run": "this run", "released": "released"}.get(weights, weights.rsplit("/", 1)[-1])
    if solver != "adapt":
        return f"{name}\n{solver}"
    return f"{name}\n{pluralize(updates, 'update')}"


def format_rows(table: Table, *, title: str) -> str:
    """One line per (degradation, solver, weights, updates): PSNR, SSIM, seconds, and the published numbers."""
    grid = RichTable(title=title, title_justify="left", title_style="bold", show_edge=False, pad_edge=False)
    rows = table.rows
    compared = any(r.published_psnr_y is not None for r in rows)
    for name in ("degradation", "solver", "weights"):
        grid.add_column(name)
    for name in ("updates", "PSNR", "SSIM", "s / image"):
        grid.add_column(name, justify="right")
    if compared:
        grid.add_column("published", justify="right")
        grid.add_column("gap dB", justify="right")
    before = None
    for r in rows:
        if before is not None and r.degradation != before:
            grid.add_section()
        line = [
            r.degradation if r.degradation != before else "", r.solver, r.weights, f"{r.updates:.3g}",
            f"{r.psnr_y:.2f}", f"{r.ssim_y:.4f}", f"{r.seconds:.2f}",
        ]  # fmt: skip
        if compared:
            if r.published_psnr_y is None:
                line += ["-", "-"]
            else:
                similarity = f" / {r.published_ssim_y:.4f}" if r.published_ssim_y is not None else ""
                line += [
                    f"{r.published_psnr_y:.2f}{similarity}",
                    f"{round(r.psnr_y - r.published_psnr_y, 2) + 0.0:+.2f}",
                ]
        grid.add_row(*line)
        before = r.degradation
    return render(grid) + _oracle_note(rows)


def _oracle_note(rows: Sequence[Row]) -> str:
    """What is said below a table of the solvers in it that looked at the HR image."""
    found = sorted({r.solver for r in rows if r.solver.endswith(ORACLE)})
    return "".join(f"\n{name} looks at the HR image: an upper reference, no result" for name in found)


def render(grid: RichTable) -> str:
    """A grid as plain text, without colours and trailing blanks."""
    text = io.StringIO()
    Console(file=text, width=160, color_system=None).print(grid)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
