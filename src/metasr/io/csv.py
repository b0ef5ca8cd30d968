"""CSV files as spreadsheets take them: text stays text, numbers stay numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

_STARTS_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_GUARD = "'"


def format_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A heading and its rows; none is an empty cell.

    A text that a spreadsheet would take for a formula gets an apostrophe before it, which ``parse_csv`` takes off
    again. A lone ``-`` and texts that are numbers are left as they are.
    """
    text = io.StringIO()
    plain, quoting = (csv.writer(text, lineterminator="\n", quoting=q) for q in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    for row in (columns, *rows):
        cells = [_guarded(cell) for cell in row]
        bare_return = any("\r" in cell for cell in cells if isinstance(cell, str))  # left as it is by the plain one
        (quoting if bare_return else plain).writerow(cells)
    return text.getvalue()


def parse_csv(text: str) -> list[dict[str, str]]:
    """The rows below the heading, by column; a cell that its row lacks is left out.

    Raises:
        ValueError: if the text is no CSV.
    """
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise ValueError(str(error)) from error
    if not lines:
        return []
    columns, *rows = [[_unguarded(cell) for cell in line] for line in lines]
    return [dict(zip(columns, row, strict=False)) for row in rows if row]


def columns_of(text: str) -> list[str]:
    """The heading's columns; none of an empty text."""
    return next(csv.reader(io.StringIO(text)), [])


def _guarded(cell: object) -> object:
    if not isinstance(cell, str) or cell == "-" or not _looks_active(cell) or _is_number(cell):
        return cell
    return _GUARD + cell


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith(_GUARD) and _looks_active(cell[1:]) else cell


def _looks_active(cell: str) -> bool:
    """Whether a text begins as a formula does, after apostrophes of its own if it has any."""
    return cell.lstrip(_GUARD).startswith(_STARTS_FORMULA)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
