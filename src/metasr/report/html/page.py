"""The report as one HTML file that needs nothing else: no network, no scripts; the same data give the same file."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from metasr.report.compare import loss_curves, places, psnr_curves
from metasr.report.html.blocks import Block, Cell, Fold, Grid, Plots, Section, Styled, Text
from metasr.report.html.figures import Line, legend, picture, plot
from metasr.report.html.sections import benchmarks, cards, differing, environments, notices, results
from metasr.report.html.training import runs_with_pictures, training
from metasr.report.run_data import RatesTable, ReportData

_CSS = Path(__file__).parent / "report.css"
_TEMPLATES = Path(__file__).parent / "templates"
_KERNELS = ("kernels.png", "kernels_estimated.png", "kernel_curves.png")


def page(data: ReportData) -> str:
    """The whole file.

    Args:
        data: what is reported.
    """
    sections = [
        Section("results", "Results", results(data)),
        Section("benchmarks", "Benchmarks", benchmarks(data)),
        Section("adaptation", "Adaptation", adaptation(data)),
        Section("pictures", "Pictures", crops(data)),
        Section("kernels", "Kernels", kernels(data)),
        Section("rates", "Learned rates", rates(data)),
        Section("training", "Training", training(data)),
        Section("differences", "What differs", differing(data)),
        Section("cards", "Run cards", cards(data)),
        Section("environment", "Environment", environments(data)),
    ]
    templates = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
    templates.filters["kind"] = lambda block: type(block).__name__.lower()
    return templates.get_template("page.html.j2").render(
        title=data.title, lead=_lead(data), css=Markup(_CSS.read_text(encoding="utf-8")), notices=notices(data),
        sections=[section for section in sections if section.parts], version=data.version,
    )  # fmt: skip


def _lead(data: ReportData) -> str:
    places_line = "; ".join(map(str, places(data)))
    profiles = dict.fromkeys(str(run.config["profile_name"]) for run in data.runs if run.config.get("profile_name"))
    return "; ".join(
        filter(None, (f"measured on {places_line}" if places_line else "", f"profile {', '.join(profiles)}"))
    )


def adaptation(data: ReportData) -> list[Block]:
    """PSNR and the solver's own loss against the number of updates."""
    quality, losses = psnr_curves(data), loss_curves(data)
    steps = [points for lines in quality.values() for points in lines.values()]
    if not any(len(points) > 1 for points in steps):
        quality = {}
    series = [list(lines) for lines in quality.values()] + [list(lines) for lines in losses.values()]
    names = list(dict.fromkeys([*data.lines, *(name for lines in series for name in lines)]))
    drawn = {i: name for i, name in enumerate(names) if any(name in lines for lines in series)}
    plots = []
    for (place, degradation), curves in quality.items():
        lines = [
            Line(names.index(name), list(points), [p.mean for p in points.values()], [p.std for p in points.values()])
            for name, points in curves.items()
        ]
        plots.append(plot(lines, title=f"{degradation}: PSNR, {place}", xlabel="updates", ylabel="PSNR on Y in dB"))
    for degradation, curves_of in losses.items():
        lines = [
            Line(names.index(name), range(len(values)), [p.mean for p in values], [p.std for p in values])
            for name, values in curves_of.items()
        ]
        caption = f"{degradation}: the solver's own loss, mean over images"
        plots.append(plot(lines, title=caption, xlabel="updates", ylabel="loss on the image itself", log=True))
    older = {run.pictures["adaptation.png"] for run in data.runs if not run.losses and "adaptation.png" in run.pictures}
    drawn_then = [
        picture(png, alt="adaptation curves", caption="as the run drew them, which stored no losses")
        for png in sorted(older)
    ]
    parts: list[Block] = [legend(drawn), Plots(plots)] if plots else []
    if plots and len(data.runs) > len(data.lines):
        parts.insert(1, Text("Shaded: ± one sample standard deviation over the runs of a line."))
    return [*parts, *drawn_then]


def crops(data: ReportData) -> list[Block]:
    """The pictures that the runs wrote: the region marked in the whole picture, and enlarged."""
    return _pictures(data, "pictures", lambda name: name not in ("adaptation.png", *_KERNELS))


def kernels(data: ReportData) -> list[Block]:
    """The blur kernels that the runs drew, and those that their solvers estimated."""
    return _pictures(data, "kernels", lambda name: name in _KERNELS)


def _pictures(data: ReportData, kind: str, wanted: Callable[[str], bool]) -> list[Block]:
    shown: dict[tuple[str, str], tuple[bytes, list[str]]] = {}
    chosen = runs_with_pictures(data)
    for run in chosen:
        for name, png in run.pictures.items():
            if wanted(name):
                key = (name, hashlib.sha256(png).hexdigest())
                shown.setdefault(key, (png, []))[1].append(run.label)
    figures: list[Block] = []
    for (name, _), (png, labels) in shown.items():
        stem = name.removesuffix(".png").replace("_", " ")
        whose = "all runs" if len(labels) == len(chosen) > 1 else ", ".join(labels)
        figures.append(picture(png, alt=f"{kind} of {whose}: {stem}", caption=f"{stem} — {whose}"))
    left = len(data.runs) - len(chosen)
    are = "is" if len(chosen) == 1 else "are"
    more = f"Of {len(data.runs)} runs {len(chosen)} {are} shown; the others' pictures lie in their folders."
    return [Text(more), *figures] if figures and left else figures


def rates(data: ReportData) -> list[Block]:
    """Learned rates per step and layer, as a plot and as numbers, by run."""
    parts: list[Block] = []
    for run in data.runs:
        if run.rates is not None:
            names = [f"step {step}" for step in run.rates.steps]
            lines = [Line(i, range(len(row)), row) for i, row in enumerate(run.rates.values)]
            drawn = plot(
                lines, title=f"{run.label}: rates in the network's order", xlabel="tensor", ylabel="inner rate",
                log=True,
            )  # fmt: skip
            inside: list[Block] = [legend(dict(enumerate(names))), Plots([drawn]), _rates_table(run.rates)]
            parts.append(Fold(run.label, inside, open=not parts))
    return parts


def _rates_table(found: RatesTable) -> Grid:
    """Tensors down, steps across; the larger the rate (logarithmically), the deeper the tint."""
    logs = [math.log(v) for row in found.values for v in row if v > 0]
    low, high = min(logs, default=0.0), max(logs, default=0.0)

    def cell(value: float) -> Styled:
        tint = (math.log(value) - low) / (high - low) if value > 0 and high > low else 0.0
        return Styled(f"{value:.2e}", "rate", tint)

    rows: list[list[Cell]] = [
        [Styled(tensor, "code"), *(cell(row[i]) for row in found.values)] for i, tensor in enumerate(found.tensors)
    ]
    columns = ["tensor", *(f"step {step}" for step in found.steps)]
    return Grid(columns, rows, "Learned inner rate by tensor and step", range(1, len(columns)))
