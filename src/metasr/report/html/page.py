"""The report as one HTML file that needs nothing else: no network, no scripts; the same data give the same file."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

from metasr.report.compare import loss_curves, places, psnr_curves
from metasr.report.html.figures import Line, legend, picture, plot
from metasr.report.html.markup import Child, Markup, details, element, markup, table
from metasr.report.html.sections import cards, differing, environments, notices, results
from metasr.report.html.training import runs_with_pictures, training
from metasr.report.run_data import RatesTable, ReportData

_CSS = Path(__file__).parent / "report.css"
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_KERNELS = ("kernels.png", "kernels_estimated.png", "kernel_curves.png")


def page(data: ReportData) -> str:
    """The whole file.

    Args:
        data: what is reported.
    """
    parts = {
        ("results", "Results"): results(data),
        ("adaptation", "Adaptation"): adaptation(data),
        ("pictures", "Pictures"): crops(data),
        ("kernels", "Kernels"): kernels(data),
        ("rates", "Learned rates"): rates(data),
        ("training", "Training"): training(data),
        ("differences", "What differs"): differing(data),
        ("cards", "Run cards"): cards(data),
        ("environment", "Environment"): environments(data),
    }
    shown = {place: part for place, part in parts.items() if part}
    links = [element("li", element("a", heading, href=f"#{anchor}")) for anchor, heading in shown]
    sections = [
        element("section", element("h2", heading), part, id=anchor) for (anchor, heading), part in shown.items()
    ]
    head = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"metasr: {data.title}"),
        element("style", Markup(_CSS.read_text(encoding="utf-8"))),
    ]
    header = element(
        "header",
        element("h1", data.title),
        element("p", _lead(data), class_="lead"),
        element("nav", element("ul", links), aria_label="Sections"),
    )
    body = [header, notices(data), element("main", sections), element("footer", f"Made by metasr {data.version}.")]
    whole = element("html", element("head", head), element("body", body), lang="en")
    return f"<!doctype html>\n{whole}\n"


def _lead(data: ReportData) -> str:
    told = "; ".join(map(str, places(data)))
    profiles = dict.fromkeys(str(run.config["profile_name"]) for run in data.runs if run.config.get("profile_name"))
    return "; ".join(filter(None, (f"measured on {told}" if told else "", f"profile {', '.join(profiles)}")))


def adaptation(data: ReportData) -> Markup:
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
        told = f"{degradation}: the solver's own loss, mean over images"
        plots.append(plot(lines, title=told, xlabel="updates", ylabel="loss on the image itself", log=True))
    older = {run.pictures["adaptation.png"] for run in data.runs if not run.losses and "adaptation.png" in run.pictures}
    drawn_then = [
        picture(png, alt="adaptation curves", caption="as the run drew them, which stored no losses")
        for png in sorted(older)
    ]
    if not plots and not drawn_then:
        return Markup("")
    shaded = "Shaded: ± one sample standard deviation over the runs of a line."
    return markup([
        legend(drawn), element("p", shaded, class_="small") if len(data.runs) > len(data.lines) else None,
        element("div", plots, class_="plots"), drawn_then,
    ])  # fmt: skip


def crops(data: ReportData) -> Markup:
    """The pictures that the runs wrote: the region marked in the whole picture, and enlarged."""
    return _pictures(data, "pictures", lambda name: name not in ("adaptation.png", *_KERNELS))


def kernels(data: ReportData) -> Markup:
    """The blur kernels that the runs drew, and those that their solvers estimated."""
    return _pictures(data, "kernels", lambda name: name in _KERNELS)


def _pictures(data: ReportData, kind: str, wanted: Callable[[str], bool]) -> Markup:
    shown: dict[tuple[str, str], tuple[bytes, list[str]]] = {}
    chosen = runs_with_pictures(data)
    for run in chosen:
        for name, png in run.pictures.items():
            if wanted(name):
                key = (name, hashlib.sha256(png).hexdigest())
                shown.setdefault(key, (png, []))[1].append(run.label)
    figures = []
    for (name, _), (png, labels) in shown.items():
        stem = name.removesuffix(".png").replace("_", " ")
        whose = "all runs" if len(labels) == len(chosen) > 1 else ", ".join(labels)
        figures.append(picture(png, alt=f"{kind} of {whose}: {stem}", caption=f"{stem} — {whose}"))
    left = len(data.runs) - len(chosen)
    are = "is" if len(chosen) == 1 else "are"
    more = f"Of {len(data.runs)} runs {len(chosen)} {are} shown; the others' pictures lie in their folders."
    return markup([element("p", more, class_="small") if left else None, figures] if figures else None)


def rates(data: ReportData) -> Markup:
    """Learned rates per step and layer, as a plot and as numbers, by run."""
    parts: list[Child] = []
    for run in data.runs:
        if run.rates is not None:
            names = [f"step {step}" for step in run.rates.steps]
            lines = [Line(i, range(len(row)), row) for i, row in enumerate(run.rates.values)]
            drawn = plot(
                lines, title=f"{run.label}: rates in the network's order", xlabel="tensor", ylabel="inner rate",
                log=True,
            )  # fmt: skip
            inside = [legend(dict(enumerate(names))), element("div", drawn, class_="plots"), _rates_table(run.rates)]
            parts.append(details(run.label, inside, open_=not parts))
    return markup(parts)


def _rates_table(found: RatesTable) -> Markup:
    """Tensors down, steps across; the larger the rate (logarithmically), the deeper the tint."""
    logs = [math.log(v) for row in found.values for v in row if v > 0]
    low, high = min(logs, default=0.0), max(logs, default=0.0)

    def cell(value: float) -> Markup:
        depth = (math.log(value) - low) / (high - low) if value > 0 and high > low else 0.0
        return element("span", f"{value:.2e}", class_="rate", style=f"background:rgba(63,127,208,{0.45 * depth:.2f})")

    rows: list[list[Child]] = [
        [element("code", tensor), *(cell(row[i]) for row in found.values)] for i, tensor in enumerate(found.tensors)
    ]
    columns = ["tensor", *(f"step {step}" for step in found.steps)]
    return table(columns, rows, caption="Learned inner rate by tensor and step", numbers=range(1, len(columns)))
