"""Figures of a report: one plot each, as SVG inside the page, in the page's own colours of text."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from markupsafe import Markup

from metasr.figures.comparison import literal, pyplot
from metasr.report.html.blocks import Legend, Picture, Plot, Stroke

COLOURS = ("#3f7fd0", "#c76a0f", "#2b9160", "#a562c8", "#cf4f4f", "#1f8c9c", "#8a7a1f", "#7b828c")
"""Of lines: each at least 3:1 against white and against the dark page."""
_DASHES = ("solid", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
_SVG_DASHES = ("none", "7 3", "2 2", "7 3 2 3")
_INK = "#010203"  # replaced by the page's colour of text
_MOST_POINTS = 400
_WORTH_A_LOG = 5.0  # of largest to smallest; below, logarithmic ticks are hard to read


@dataclass(frozen=True)
class Line:
    """A curve: its place in the legend, and its points, with a spread above and below where there is one (or NaN).

    A faint one is one of several that a curve is the mean of.
    """

    number: int
    xs: Sequence[float]
    ys: Sequence[float]
    spread: Sequence[float] = ()
    faint: bool = False


def plot(lines: Sequence[Line], *, title: str, xlabel: str, ylabel: str, log: bool = False) -> Plot:
    """One plot with a caption; deterministic: the same lines give the same text.

    Args:
        lines: what to draw; points that are not finite are left out, long lines thinned to means of neighbours.
        title: caption, and what a screen reader says.
        xlabel: of the horizontal axis.
        ylabel: of the vertical axis.
        log: whether the vertical axis may be logarithmic: it is where all values are above 0 and far apart.
    """
    plt = pyplot()
    style = {
        "svg.fonttype": "none", "svg.hashsalt": "metasr", "font.size": 11, "text.color": _INK, "axes.edgecolor": _INK,
        "axes.labelcolor": _INK, "xtick.color": _INK, "ytick.color": _INK, "axes.spines.top": False,
        "axes.spines.right": False, "axes.formatter.useoffset": False,
    }  # fmt: skip
    with plt.rc_context(style):
        figure, axes = plt.subplots(figsize=(4.6, 3.0), layout="constrained")
        try:
            _draw(axes, [_thinned(line) for line in lines], log=log)
            axes.set_xlabel(literal(xlabel))
            axes.set_ylabel(literal(ylabel))
            axes.grid(alpha=0.2, color=_INK, linewidth=0.6)
            text = io.StringIO()
            figure.savefig(text, format="svg", transparent=True)
        finally:
            plt.close(figure)
    return _inline(text.getvalue(), title)


def _draw(axes: Any, lines: Sequence[Line], *, log: bool) -> None:
    for line in lines:
        xs, ys = np.asarray(line.xs, float), np.asarray(line.ys, float)
        colour, dash = COLOURS[line.number % len(COLOURS)], _DASHES[line.number // len(COLOURS) % len(_DASHES)]
        few = len(xs) <= 20 and not line.faint
        axes.plot(
            xs, ys, color=colour, linestyle=dash, linewidth=0.8 if line.faint else 1.6,
            alpha=0.45 if line.faint else 1.0, marker="o" if few else None, markersize=3,
        )  # fmt: skip
        if len(line.spread):
            spread = np.nan_to_num(np.asarray(line.spread, float))
            axes.fill_between(xs, ys - spread, ys + spread, color=colour, alpha=0.18, linewidth=0)
    values = [y for line in lines for y in line.ys]
    if log and values and min(values) > 0 and max(values) > _WORTH_A_LOG * min(values):
        axes.set_yscale("log")
    if all(float(x).is_integer() for line in lines for x in line.xs):
        axes.xaxis.get_major_locator().set_params(integer=True)


def _thinned(line: Line) -> Line:
    """Finite points only, and no more than can be seen: neighbours become their mean."""
    points = np.array([(x, y) for x, y in zip(line.xs, line.ys, strict=True) if np.isfinite(x) and np.isfinite(y)])
    if len(points) == 0:
        return replace(line, xs=(), ys=(), spread=())
    if len(points) <= _MOST_POINTS:
        whole = len(points) == len(line.xs)
        spread = line.spread if whole else ()
        return replace(line, xs=points[:, 0].tolist(), ys=points[:, 1].tolist(), spread=spread)
    means = np.array([part.mean(0) for part in np.array_split(points, _MOST_POINTS)])
    return replace(line, xs=means[:, 0].tolist(), ys=means[:, 1].tolist(), spread=())


def _inline(svg: str, title: str) -> Plot:
    """An SVG file as an element of the page: nothing that names another place, no identifiers that are not used."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r' xmlns(:\w+)?="[^"]*"', "", body).replace("xlink:href", "href")
    used = set(re.findall(r"(?:url\(|href=\")#([\w-]+)", body))
    own = hashlib.sha256(f"{title}{body}".encode()).hexdigest()[:8]  # two figures of one page share no identifier
    body = re.sub(r' id="([^"]*)"', lambda m: f' id="{own}-{m[1]}"' if m[1] in used else "", body)
    body = re.sub(r"(url\(|href=\")#([\w-]+)", rf"\1#{own}-\2", body)
    viewbox = re.search(r'viewBox="([^"]*)"', body)
    inside = body[body.index(">") + 1 : body.rindex("</svg>")].replace(_INK, "currentColor")
    inside = re.sub(r"\n\s*", "\n", inside).strip()
    return Plot(Markup(inside), viewbox.group(1) if viewbox else "", title)  # matplotlib escaped the texts in it


def legend(labels: Mapping[int, str]) -> Legend:
    """The lines' names by their numbers, each with a stroke as it is drawn."""
    return Legend([
        Stroke(label, COLOURS[n % len(COLOURS)], _SVG_DASHES[n // len(COLOURS) % len(_SVG_DASHES)])
        for n, label in labels.items()
    ])  # fmt: skip


def picture(png: bytes, *, alt: str, caption: str) -> Picture:
    """A PNG inside the page at its own size: it shrinks by a fifth at most, so that its captions stay legible.

    Where it is wider than the screen even so, it scrolls sideways.
    """
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))  # of the PNG's first chunk
    return Picture(base64.b64encode(png).decode("ascii"), width, height, alt, caption)
