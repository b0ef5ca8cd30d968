"""What stages logged and drew while they trained: a curve per metric, seeds together; single values as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from metasr.report.html.blocks import Block, Cell, Grid, Picture, Plots, Styled, Text
from metasr.report.html.figures import Line, legend, picture, plot
from metasr.report.run_data import ReportData, RunData, Spread
from metasr.text import pluralize

_MOST_PLOTS = 12
_MOST_WITH_PICTURES = 6

Points = Sequence[tuple[float, float]]


def training(data: ReportData) -> list[Block]:
    """The stages one after the other, with a legend for all of them."""
    stages = dict.fromkeys(stage.name for run in data.runs for stage in run.stages)
    parts = [part for name in stages for part in _stage(data, name)]
    if not parts:
        return []
    lines = data.lines
    labels = {i: _with_seeds(line, runs) for i, (line, runs) in enumerate(lines.items())}
    caption = "Thin: single seeds; thick: their mean, as far as all of them got."
    thin = [Text(caption)] if any(len(runs) > 1 for runs in lines.values()) else []
    return [legend(labels), *thin, *parts]


def runs_with_pictures(data: ReportData) -> Sequence[RunData]:
    """The runs whose pictures are shown: the first with any of every line, as many as a page bears."""
    firsts = [next((run for run in runs if run.pictures), runs[0]) for runs in data.lines.values()]
    return firsts[:_MOST_WITH_PICTURES]


def _with_seeds(line: str, runs: Sequence[RunData]) -> str:
    return f"{line} ({pluralize(len(runs), 'seed')})" if len(runs) > 1 else line


def _stage(data: ReportData, stage: str) -> list[Block]:
    logged: dict[str, dict[str, list[Points]]] = {}  # by metric, then line, a list with an entry per run
    for run in data.runs:
        for metric, points in ((m, p) for s in run.stages if s.name == stage for m, p in s.metrics.items()):
            logged.setdefault(metric, {}).setdefault(run.line, []).append(points)
    metrics = sorted(logged, key=_importance)
    curves = [m for m in metrics if any(len(points) > 1 for runs in logged[m].values() for points in runs)]
    single = {m: logged[m] for m in metrics if m not in curves}
    names = list(data.lines)
    plots = [
        plot(
            [line for name, runs in logged[m].items() for line in _lines(names.index(name), runs)],
            title=f"{stage}: {m}", xlabel="step", ylabel=m.partition("/")[2] or m, log="loss" in m,
        )
        for m in curves[:_MOST_PLOTS]
    ]  # fmt: skip
    parts: list[Block] = [Plots(plots)] if plots else []
    if len(curves) > _MOST_PLOTS:
        parts.append(Text(f"Logged too, not drawn: {', '.join(curves[_MOST_PLOTS:])}."))
    parts += [_logged_once(stage, single, names)] if single else []
    parts += _pictures(data, stage)
    return [Text(stage, "h3"), *parts] if parts else []


def _lines(number: int, runs: Sequence[Points]) -> list[Line]:
    """A line of the legend as curves: one, or a faint one for each seed and the mean where all have a value."""
    seeds = [Line(number, [x for x, _ in points], [y for _, y in points]) for points in runs]
    if len(seeds) == 1:
        return seeds
    values = [dict(points) for points in runs]
    steps = sorted(set(values[0]).intersection(*values[1:]))
    faint = [Line(line.number, line.xs, line.ys, faint=True) for line in seeds]
    return [*faint, Line(number, steps, [fmean(points[x] for points in values) for x in steps])]


def _logged_once(stage: str, metrics: Mapping[str, Mapping[str, Sequence[Points]]], names: Sequence[str]) -> Grid:
    """What has one value per run: a line per metric, a column per line of runs."""
    kept = [name for name in names if any(name in lines for lines in metrics.values())]
    rows: list[list[Cell]] = []
    for metric, lines in metrics.items():
        points = {name: [p for run in lines.get(name, ()) for p in run] for name in kept}
        steps = sorted({x for curve in points.values() for x, _ in curve})
        values = (Spread.of([y for _, y in curve]) if curve else None for curve in points.values())
        cells = ["-" if value is None else f"{value.mean:.5g}" + _spread(value) for value in values]
        rows.append([Styled(metric, "code"), ", ".join(f"{x:g}" for x in steps), *cells])
    columns = ["metric", "step", *kept]
    caption = f"{stage}: logged once, ± one sample standard deviation over seeds"
    return Grid(columns, rows, caption, range(1, len(columns)))


def _spread(value: Spread) -> str:
    return "" if value.std != value.std else f" ± {value.std:.2g}"  # NaN for a single run


def _pictures(data: ReportData, stage: str) -> list[Picture]:
    """The last validation picture, and the last maps, of the runs whose pictures are shown."""
    pictures = []
    for run in runs_with_pictures(data):
        for s in (s for s in run.stages if s.name == stage):
            whose = f"{stage}, {run.label}"
            if s.picture is not None:
                caption = "the first validation image enlarged bicubically and by the stage's weights, and the truth"
                pictures.append(picture(s.picture, alt=f"validation picture of {whose}", caption=f"{whose}: {caption}"))
            if s.maps is not None:
                caption = "what its networks look at in the first validation image"
                pictures.append(picture(s.maps, alt=f"maps drawn in {whose}", caption=f"{whose}: {caption}"))
    return pictures


def _importance(metric: str) -> tuple[int, str]:
    order = ("train/loss", "val/psnr_y", "train/", "rates/", "val/")
    return next((i for i, start in enumerate(order) if metric.startswith(start)), len(order)), metric
