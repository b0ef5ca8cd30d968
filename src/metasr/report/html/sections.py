"""The parts of a report that hold numbers: results, sweeps, differences, cards, environment."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from metasr.evaluation.results import Row
from metasr.report.compare import Place, baselines_differ, comparison, differences, gap, places
from metasr.report.html.markup import Child, Markup, details, element, markup, table
from metasr.report.run_data import ReportData, RunData, Spread, SweepData
from metasr.report.sweep_table import SweepRow
from metasr.text import pluralize


def notices(data: ReportData) -> Markup:
    """What a reader has to know before the numbers: unfinished, failed, left out, of other versions, not comparable."""
    told: list[Child] = []
    if len(data.experiments) > 1:
        told.append(f"Runs of different experiments are compared: {', '.join(data.experiments)}.")
    told += [
        f"Bicubic interpolation differs between the runs on {place}: they were not measured on the same images by the "
        "same protocol, and their scores do not compare."
        for place in baselines_differ(data)
    ]
    for run in data.runs:
        if run.unfinished:
            told.append([element("strong", "Unfinished: "), f"{run.label}: {run.unfinished}"])
        told += [f"{run.label}: {note}" for note in run.notes]
    for sweep in data.sweeps:
        for job in sweep.table.failed:
            told.append([element("strong", "Failed: "), f"{sweep.name}, {sweep.table.whole_label(job)}: {job.error}"])
    told += [[element("strong", "Left out: "), f"{folder}: {reason}"] for folder, reason in data.left_out]
    if not told:
        return Markup("")
    return element("div", element("ul", [element("li", t) for t in told]), class_="notice", role="note")


def results(data: ReportData) -> Markup:
    """The comparison, the sweeps' tables, and every row."""
    parts: list[Child] = []
    for place in places(data):
        found = comparison(data, place)
        told = f"PSNR on Y in dB, {place}, each run after most updates"
        if "published" in found.columns:
            told += "; in brackets the gap to the published number of the same method and number of updates"
        rows = [_emphasised(row, found.scores) for row in found.rows]
        parts.append(table(found.columns, rows, caption=told, numbers=range(1, len(found.columns))))
    for sweep in data.sweeps:
        parts.append(_sweep(data, sweep))
    alone = len(data.runs) == 1
    for place in places(data):
        whole = _all_rows(data, place)
        parts.append(whole if alone else details(f"Every row: {place}", whole))
    return markup(parts)


def _emphasised(cells: Sequence[str], scores: int) -> list[Child]:
    """The highest score of a line, the baselines' included, is bold."""
    values = {i: float(cells[i].split()[0]) for i in range(1, 1 + scores) if cells[i] != "-"}
    highest = max(values.values(), default=None)
    return [element("strong", c) if i in values and values[i] == highest else c for i, c in enumerate(cells)]


def _sweep(data: ReportData, sweep: SweepData) -> Markup:
    known = {
        (r.testset, r.degradation, r.solver, f"{r.updates:g}"): r.published_psnr_y
        for run in data.runs for r in run.rows if r.published_psnr_y is not None
    }  # fmt: skip
    rows = sweep.table.rows

    def cells(r: SweepRow) -> list[Child]:
        made_by = f"{r.solver}, {r.weights}" if r.weights.startswith("released/") else r.solver
        published = known.get((r.testset, r.degradation, r.solver, r.updates))
        return [
            r.degradation, r.variant, made_by, r.updates, str(r.runs), Spread(r.psnr_y, r.psnr_y_std).text(2),
            number(r.psnr_y_best, 2), Spread(r.ssim_y, r.ssim_y_std).text(4),
            Spread(r.hf_error_y, r.hf_error_y_std).text(3), number(r.seconds, 2), number(published, 2),
            "-" if published is None else f"{round(r.psnr_y - published, 2) + 0.0:+.2f}",
        ]  # fmt: skip

    columns = (
        "degradation", "variant", "solver", "updates", "runs", "PSNR dB", "best", "SSIM", "HF error", "s / image",
        "published", "gap dB",
    )  # fmt: skip
    caption = f"{sweep.name}: mean ± sample standard deviation over its runs, on Y"
    parts: list[Child] = [element("h3", f"Sweep {sweep.name}")]
    if rows:
        parts.append(_told(columns, [cells(r) for r in rows], caption=caption, texts=3))
    else:
        parts.append(element("p", "No run of it is finished."))
    listed: list[list[Child]] = [
        [sweep.table.whole_label(job), sweep.table.state(job), element("code", job.command)]
        for job in sweep.table.jobs if job.command
    ]  # fmt: skip
    if listed:
        parts.append(
            details("Run one of its runs again", table(("run", "state", "command"), listed, caption="Commands"))
        )
    return markup(parts)


def _all_rows(data: ReportData, place: Place) -> Markup:
    """Every row of every run; those that all runs share to the digit, once."""
    groups: dict[tuple[str, str, str, str], list[tuple[RunData, Row]]] = {}
    for run in data.runs:
        for row in run.rows:
            if Place.of(row) == place:
                updates = "own" if row.own_stop else f"{row.updates:g}"
                groups.setdefault((row.degradation, row.solver, row.weights, updates), []).append((run, row))
    order = list(dict.fromkeys(degradation for degradation, *_ in groups))
    measured = sum(any(Place.of(row) == place for row in run.rows) for run in data.runs)
    body: list[list[Child]] = []
    for _, members in sorted(groups.items(), key=lambda item: order.index(item[0][0])):
        first = members[0][1]
        same = all((r.psnr_y, r.ssim_y) == (first.psnr_y, first.ssim_y) for _, r in members)
        shared = "all" if len(members) == measured else ", ".join(run.label for run, _ in members)
        for run, r in members[:1] if same else members:
            body.append([
                r.degradation, shared if same else run.label, r.solver, r.weights,
                f"{r.updates:.3g}", number(r.psnr_y, 2), number(r.ssim_y, 4), number(r.hf_error_y, 3),
                number(r.seconds, 2), number(r.published_psnr_y, 2), "-" if gap(r) is None else f"{gap(r):+.2f}",
            ])  # fmt: skip
    columns = (
        "degradation", "run", "solver", "weights", "updates", "PSNR dB", "SSIM", "HF error", "s / image",
        "published", "gap dB",
    )  # fmt: skip
    unneeded = ("run",) if len(data.runs) == 1 else ()
    return _told(columns, body, caption=f"All rows: {place}, on Y", texts=4, unneeded=unneeded)


def _told(
    columns: Sequence[str], rows: Sequence[Sequence[Child]], *, caption: str, texts: int, unneeded: Sequence[str] = ()
) -> Markup:
    """A table without the columns that tell nothing; those after the first ``texts`` are numbers."""
    kept = [i for i, name in enumerate(columns) if name not in unneeded and any(row[i] != "-" for row in rows)]
    numbers = [position for position, i in enumerate(kept) if i >= texts]
    return table([columns[i] for i in kept], [[row[i] for i in kept] for row in rows], caption=caption, numbers=numbers)


def number(value: float | None, digits: int) -> str:
    """A number, or ``-``."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def differing(data: ReportData) -> Markup:
    """What differs between the runs' configs."""
    if len(data.runs) < 2:
        return Markup("")
    found = differences(data.runs)
    if not found:
        return element("p", "The runs' configs are equal.")
    columns = ["choice", *(run.label for run in data.runs)]
    rows = [[element("code", key), *values] for key, values in found.items()]
    whole = table(columns, rows, caption="Choices that are not the same in all runs")
    return details(pluralize(len(found), "choice"), whole, open_=len(found) <= 20)


def cards(data: ReportData) -> Markup:
    """A card per run: what it was asked for, its stages, its config."""
    return markup([_card(run) for run in data.runs])


def _card(run: RunData) -> Markup:
    config = run.config
    facts = {
        "experiment": run.experiment,
        "state": f"unfinished: {run.unfinished}" if run.unfinished else "finished",
        "profile": ": ".join(str(config[k]) for k in ("profile_name", "profile_note") if config.get(k)),
        "seed": str(config.get("seed", "-")),
        "choices": " ".join(run.overrides) or "-",
        "folder": run.folder,
    }
    stages = [
        [
            s.name, str(s.card.get("status", "-")), str(s.card.get("steps", "-")), f"{_seconds(s.card)}",
            str(s.card.get("weights_from", "-")), str(s.card.get("hash", "-")), str(s.card.get("weights", "-"))[:12],
            "; ".join(f"{k} {_short(v)}" for k, v in _mapping(s.card.get("metrics")).items()) or "-",
        ]
        for s in run.stages
    ]  # fmt: skip
    columns = ("stage", "status", "steps", "seconds", "weights from", "config hash", "weights SHA-256", "last metrics")
    parts: list[Child] = [table(("fact", "value"), [[k, v or "-"] for k, v in facts.items()], caption="Run")]
    if stages:
        parts.append(table(columns, stages, caption="Stages", numbers=(2, 3)))
    if config:
        text = json.dumps(config, indent=2, default=str, ensure_ascii=False)
        parts.append(element("div", details("The whole config", element("pre", text, tabindex="0")), class_="config"))
    return details(run.label, parts, open_=False)


def _seconds(card: Mapping[str, Any]) -> str:
    seconds = card.get("seconds")
    return f"{seconds:.1f}" if isinstance(seconds, int | float) else "-"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def environments(data: ReportData) -> Markup:
    """Versions and machine of every run, one column for those that agree."""
    columns: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for run in data.runs:
        card = run.card
        if not card:
            continue
        machine, versions = _mapping(card.get("machine")), _mapping(card.get("versions"))
        facts = {
            "python": card.get("python"),
            **{name: version for name, version in versions.items()},
            **{name: machine.get(name) for name in ("system", "gpu", "cpus", "threads")},
            "git commit": card.get("git_commit"),
        }
        told = tuple((k, "-" if v is None else str(v)) for k, v in facts.items())
        columns.setdefault(told, []).append(run.label)
    if not columns:
        return Markup("")
    names = list(dict.fromkeys(name for told in columns for name, _ in told))
    rows: list[list[Child]] = [[name, *(dict(told).get(name, "-") for told in columns)] for name in names]
    headings = [
        "what",
        *("all runs" if len(labels) == len(data.runs) else ", ".join(labels) for labels in columns.values()),
    ]
    return table(headings, rows, caption="Versions and machine")
