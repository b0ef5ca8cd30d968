"""Tables of results as they are printed, with what a reader must know below them."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table as RichTable

from metasr.evaluation.published import published
from metasr.evaluation.results import NO_REQUEST, Key, Row, Table
from metasr.solvers.oracle import ORACLE
from metasr.text import plain_number, pluralize

REFERENCES = ("MZSR(10)", "DASR", "MRDA", "KDSR-M")
"""Published methods that have a column of their own in a printed table, where they have numbers for it."""

_MOST_FAILURES = 20


def format_pivot(table: Table, *, title: str, highlight: Key | None = None) -> str:
    """One line per degradation, one column per (solver, weights, updates), PSNR on Y in dB.

    Args:
        table: the results.
        title: printed above.
        highlight: the column whose seconds per image are shown; none for the last.
    """
    rows = table.rows
    # Released weights differ from one degradation to the next: one column for all of them.
    columns: dict[Key, list[Row]] = {}
    for row in rows:
        columns.setdefault(_column(row.key), []).append(row)
    cells = {(r.degradation, _column(r.key)): r for r in rows}
    degradations = list(dict.fromkeys(r.degradation for r in rows))
    known = {m: {d: _published(rows, d, m) for d in degradations} for m in REFERENCES} if table.compare else {}
    known = {m: numbers for m, numbers in known.items() if any(numbers.values())}
    timed = _column(highlight) if highlight else next(reversed(columns), None)
    most = max((r.images for r in rows), default=0)

    grid = _grid(title)
    grid.add_column("degradation")
    for column, members in columns.items():
        grid.add_column(_heading(column, members), justify="right")
    for method in known:
        grid.add_column(f"published\n{method}", justify="right")
    if timed is not None:
        grid.add_column(f"s / image\n{_heading(timed, columns.get(timed, [])).splitlines()[-1]}", justify="right")
    for d in degradations:
        cells_of_row = [cells.get((d, c)) for c in columns]
        line = [d, *("-" if r is None else _score(r, most) for r in cells_of_row)]
        line += [numbers[d] or "-" for numbers in known.values()]
        if timed is not None:
            line.append(_number(cells[d, timed].seconds, 2) if (d, timed) in cells else "-")
        grid.add_row(*line)
    fewer = [f"({r.images}): mean over so many images" for r in rows if 0 < r.images < most]
    return "\n".join([render(grid), *dict.fromkeys(fewer), *notes(table)])


def format_rows(table: Table, *, title: str) -> str:
    """One line per (degradation, solver, weights, updates): PSNR, SSIM, seconds, and the published numbers.

    Where solvers took fewer updates on the mean than was requested, that number stands in brackets.
    """
    grid = _grid(title)
    rows = table.rows
    compared = any(r.published_psnr_y is not None for r in rows)
    for name in ("degradation", "solver", "weights"):
        grid.add_column(name)
    for name in ("updates", "images", "PSNR", "SSIM", "s / image"):
        grid.add_column(name, justify="right")
    if compared:
        grid.add_column("published", justify="right")
        grid.add_column("gap dB", justify="right")
    before = None
    for r in rows:
        if before is not None and r.degradation != before:
            grid.add_section()
        line = [
            r.degradation if r.degradation != before else "", r.solver, r.weights, updates_text(r), str(r.images),
            _number(r.psnr_y, 2), _number(r.ssim_y, 4), _number(r.seconds, 2),
        ]  # fmt: skip
        if compared:
            if r.published_psnr_y is None:
                line += ["-", "-"]
            else:
                similarity = f" / {r.published_ssim_y:.4f}" if r.published_ssim_y is not None else ""
                line += [f"{r.published_psnr_y:.2f}{similarity}", signed(r.psnr_y - r.published_psnr_y)]
        grid.add_row(*line)
        before = r.degradation
    return "\n".join([render(grid), *notes(table)])


def notes(table: Table) -> list[str]:
    """What is said below a table: oracles, exact images, grey images, and failures, each by its image."""
    rows = table.rows
    notices = [
        f"{name} looks at the HR image: an upper reference, no result"
        for name in sorted({r.solver for r in rows if r.solver.endswith(ORACLE)})
    ]
    notices += [
        f"{r.degradation}, {_made_by(r.solver, r.weights)}: {r.exact} of {pluralize(r.images, 'image')} came out exact "
        "(infinite PSNR)" + ("; the mean is over the others" if math.isfinite(r.psnr_y) else "")
        for r in rows if r.exact
    ]  # fmt: skip
    if grey := {r.image for r in table.images if r.luma == "grey"}:
        notices.append(
            f"{pluralize(len(grey), 'image')} of {len({r.image for r in table.images})} "
            f"{'is' if len(grey) == 1 else 'are'} grey, and scored by the grey values as they are; the others by Y of "
            "BT.601"
        )
    failures = list(dict.fromkeys(
        f"{r.image}, {r.degradation}, {_made_by(r.solver, r.weights)}: {r.failed}" for r in table.failures
    ))  # fmt: skip
    if failures:
        notices.append(f"{pluralize(len(failures), 'failure')}, left out of the means:")
        notices += [f"  {line}" for line in failures[:_MOST_FAILURES]]
        if len(failures) > _MOST_FAILURES:
            notices.append(f"  ... and {len(failures) - _MOST_FAILURES} more, in the table of images")
    return notices


def updates_text(row: Row) -> str:
    """The requested updates, and in brackets the mean number taken where that is another: ``1000 (took 412.5)``."""
    updates = plain_number(row.updates)
    if math.isnan(row.taken) or row.taken == row.updates:
        return updates
    return f"{updates} (took {plain_number(row.taken)})"


def signed(difference: float) -> str:
    """A difference in dB with its sign; never ``-0.00``."""
    return "-" if math.isnan(difference) else f"{round(difference, 2) + 0.0:+.2f}"


def render(grid: RichTable) -> str:
    """A grid as plain text, without colours and trailing blanks."""
    text = io.StringIO()
    Console(file=text, width=160, color_system=None).print(grid)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _grid(title: str) -> RichTable:
    return RichTable(title=title, title_justify="left", title_style="bold", show_edge=False, pad_edge=False)


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _score(row: Row, most: int) -> str:
    return _number(row.psnr_y, 2) + (f" ({row.images})" if 0 < row.images < most else "")


def _published(rows: Sequence[Row], degradation: str, method: str) -> str | None:
    mine = next(r for r in rows if r.degradation == degradation)
    number = published(method, testset=mine.testset, degradation=degradation, scale=mine.scale)
    return f"{number.psnr_y:.2f}" if number else None


def _column(key: Key) -> Key:
    solver, weights, requested = key
    return solver, "released" if weights.startswith("released/") else weights, requested


def _heading(column: Key, rows: Sequence[Row]) -> str:
    solver, weights, requested = column
    taken = {r.updates for r in rows}
    if requested != NO_REQUEST:
        updates = pluralize(requested, "update")
    elif len(taken) == 1 and 0 not in taken and not any(r.own_stop for r in rows):
        updates = pluralize(taken.pop(), "update")
    else:
        updates = ""
    if weights == "-":
        name = {"interpolate": "bicubic\nas published", "interpolate_aligned": "bicubic\naligned"}.get(solver, solver)
        return f"{name}\n{updates}" if updates else name
    name = {"run": "this run", "released": "released"}.get(weights, weights.rsplit("/", 1)[-1])
    return f"{name}\n{updates or solver}"


def _made_by(solver: str, weights: str) -> str:
    return solver if weights == "-" else f"{solver} ({weights})"
