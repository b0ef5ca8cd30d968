"""What a page is put together from: plain data, which the templates turn into HTML. All texts in it are text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from markupsafe import Markup


@dataclass(frozen=True)
class Styled:
    """A table cell's text: emphasised, code, or a rate with a tint from 0 to 1."""

    text: str
    style: Literal["strong", "code", "rate"]
    tint: float = 0.0


Cell = str | Styled


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str
    kind: ClassVar[str] = "heading"


@dataclass(frozen=True)
class Paragraph:
    """A paragraph, by default a small one that explains what is beside it."""

    text: str
    small: bool = True
    kind: ClassVar[str] = "paragraph"


@dataclass(frozen=True)
class Grid:
    """A table that scrolls inside its box; the first cell of a row is its heading.

    Attributes:
        columns: headings.
        rows: their cells.
        caption: what the table shows.
        numbers: columns that are aligned to the right.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str
    numbers: Collection[int] = ()
    kind: ClassVar[str] = "grid"


@dataclass(frozen=True)
class Fold:
    """What is folded away until it is asked for (and open in print)."""

    summary: str
    parts: Sequence[Block]
    open: bool = False
    kind: ClassVar[str] = "fold"


@dataclass(frozen=True)
class Source:
    """A long text as it is."""

    text: str
    kind: ClassVar[str] = "source"


@dataclass(frozen=True)
class Stroke:
    """A line of a legend: its label, colour and dashes."""

    label: str
    colour: str
    dash: str


@dataclass(frozen=True)
class Legend:
    """The names of lines."""

    strokes: Sequence[Stroke]
    kind: ClassVar[str] = "legend"


@dataclass(frozen=True)
class Plot:
    """A plot: what is inside its SVG element, which is HTML already, and its title."""

    inside: Markup
    viewbox: str
    title: str


@dataclass(frozen=True)
class Plots:
    """Plots side by side."""

    plots: Sequence[Plot]
    kind: ClassVar[str] = "plots"


@dataclass(frozen=True)
class Picture:
    """A PNG file: base64, and its size in pixels."""

    base64: str
    width: int
    height: int
    alt: str
    caption: str
    kind: ClassVar[str] = "picture"


Block = Heading | Paragraph | Grid | Fold | Source | Legend | Plots | Picture


@dataclass(frozen=True)
class Section:
    """A section of a page; shown where it has any parts."""

    anchor: str
    heading: str
    parts: Sequence[Block]


@dataclass(frozen=True)
class Notice:
    """What a reader has to know before the numbers; ``label`` is emphasised."""

    text: str
    label: str = ""
