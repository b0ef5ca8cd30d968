"""What a page is put together from: plain data, which the templates turn into HTML. All texts in it are text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

from markupsafe import Markup


class Styled(NamedTuple):
    """A table cell's text: emphasised, code, or a rate with a tint from 0 to 1."""

    text: str
    style: Literal["strong", "code", "rate"]
    tint: float = 0.0


Cell = str | Styled


class Text(NamedTuple):
    """A heading within a section (``h3``), a paragraph (``p``), a small one that explains, or a long text as it is."""

    text: str
    tag: Literal["h3", "p", "small", "pre"] = "small"


class Grid(NamedTuple):
    """A table that scrolls inside its box; a row's first cell is its heading, the columns ``numbers`` are aligned."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str
    numbers: Collection[int] = ()


class Fold(NamedTuple):
    """What is folded away until it is asked for (and open in print)."""

    summary: str
    parts: Sequence[Block]
    open: bool = False


class Stroke(NamedTuple):
    """A line of a legend."""

    label: str
    colour: str
    dash: str


class Legend(NamedTuple):
    """The names of lines."""

    strokes: Sequence[Stroke]


class Plot(NamedTuple):
    """A plot: what is inside its SVG element, which is HTML already, and its title."""

    inside: Markup
    viewbox: str
    title: str


class Plots(NamedTuple):
    """Plots side by side."""

    plots: Sequence[Plot]


class Picture(NamedTuple):
    """A PNG file in base64, and its size in pixels."""

    base64: str
    width: int
    height: int
    alt: str
    caption: str


Block = Text | Grid | Fold | Legend | Plots | Picture


class Section(NamedTuple):
    """A section of a page; shown where it has any parts."""

    anchor: str
    heading: str
    parts: Sequence[Block]


class Notice(NamedTuple):
    """What a reader has to know before the numbers; ``label`` is emphasised."""

    text: str
    label: str = ""
