"""The parts of a report that hold numbers: results, sweeps, differences, cards, environment."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from metasr.evaluation.printing import signed, updates_text
from metasr.evaluation.results import Row
from metasr.report import compare
from metasr.report.compare import Place, baselines_differ, comparison, differences, gap, places
from metasr.report.html.blocks import Block, Cell, Fold, Grid, Notice, Styled, Text
from metasr.report.run_data import ReportData, RunData, Spread, SweepData
from metasr.report.sweep_table import SweepRow
from metasr.text import plain_number, pluralize


def notices(data: ReportData) -> list[Notice]:
    """What a reader has to know before the numbers: unfinished, failed, left out, of other versions, not comparable."""
    notices: list[Notice] = []
    if len(data.experiments) > 1:
        notices.append(Notice(f"Runs of different experiments are compared: {', '.join(data.experiments)}."))
    notices += [
        Notice(
            f"Bicubic interpolation differs between the runs on {place}: they were not measured on the same images by "
            "the same protocol, and their scores do not compare."
        )
        for place in baselines_differ(data)
    ]
    for run in data.runs:
        if run.unfinished:
            notices.append(Notice(f"{run.label}: {run.unfinished}", "Unfinished"))
        notices += [Notice(f"{run.label}: {note}") for note in (*run.notes, *_incomplete(run))]
    for sweep in data.sweeps:
        for job in sweep.table.failed:
            notices.append(Notice(f"{sweep.name}, {sweep.table.whole_label(job)}: {job.error}", "Failed"))
    return notices + [Notice(f"{folder}: {reason}", "Left out") for folder, reason in data.left_out]


def _incomplete(run: RunData) -> list[str]:
    """What of a run's means is not the mean over all of its images, and which images were compared in another way."""
    facts = [
        f"{r.failed} of {pluralize(r.images + r.failed, 'image')} failed under {r.degradation} with "
        f"{compare.describe(r)}: left out of its means"
        for r in run.rows if r.failed
    ]  # fmt: skip
    facts += [
        f"{r.exact} of {pluralize(r.images, 'image')} came out exact under {r.degradation} with {compare.describe(r)} "
        "(infinite PSNR): left out of its mean PSNR"
        for r in run.rows if 0 < r.exact < r.images
    ]  # fmt: skip
    if grey := max((r.grey for r in run.rows), default=0):
        facts.append(f"{pluralize(grey, 'image')} scored by grey values as they are: their files are grey")
    return facts


def results(data: ReportData) -> list[Block]:
    """The comparison, the sweeps' tables, and every row."""
    parts: list[Block] = []
    for place in places(data):
        compared = comparison(data, place)
        caption = f"PSNR on Y in dB, {place}, each run after most updates"
        if "published" in compared.columns:
            caption += "; in brackets the gap to the published number of the same method and number of updates"
        rows = [_emphasised(row) for row in compared.rows]
        parts.append(Grid(compared.columns, rows, caption, range(1, len(compared.columns))))
    for sweep in data.sweeps:
        parts += _sweep(sweep)
    alone = len(data.runs) == 1
    for place in places(data):
        whole = _all_rows(data, place)
        parts.append(whole if alone else Fold(f"Every row: {place}", [whole]))
    return parts


def benchmarks(data: ReportData) -> list[Block]:
    """The tables of photos and of known blur."""
    return [
        Grid(table.columns, [_with_best(row, best) for row, best in zip(table.rows, table.best, strict=True)],
             table.title, range(1, len(table.columns)))
        for table in data.benchmarks
    ]  # fmt: skip


def _with_best(row: Sequence[str], best: Collection[int]) -> list[Cell]:
    return [row[0], *(Styled(text, "strong") if place in best else text for place, text in enumerate(row[1:]))]


def _emphasised(cells: Sequence[compare.Cell]) -> list[Cell]:
    """The highest score of a line, the baselines' included, is bold, and those that read alike."""
    highest = max((round(c.psnr, 2) for c in cells if not math.isnan(c.psnr)), default=None)
    return [Styled(c.text, "strong") if round(c.psnr, 2) == highest else c.text for c in cells]


def _sweep(sweep: SweepData) -> list[Block]:
    rows = sweep.table.rows

    def cells(r: SweepRow) -> list[Cell]:
        made_by = f"{r.solver}, {r.weights}" if r.weights.startswith("released/") else r.solver
        published = r.published_psnr_y
        return [
            r.degradation, r.variant, made_by, plain_number(r.updates), str(r.runs),
            Spread(r.psnr_y, r.psnr_y_std).text(2), number(r.psnr_y_best, 2), Spread(r.ssim_y, r.ssim_y_std).text(4),
            Spread(r.hf_error_y, r.hf_error_y_std).text(3), number(r.seconds, 2), number(published, 2),
            "-" if published is None else signed(r.psnr_y - published),
        ]  # fmt: skip

    columns = (
        "degradation", "variant", "solver", "updates", "runs", "PSNR dB", "best", "SSIM", "HF error", "s / image",
        "published", "gap dB",
    )  # fmt: skip
    caption = f"{sweep.name}: mean ± sample standard deviation over its runs, on Y"
    parts: list[Block] = [Text(f"Sweep {sweep.name}", "h3")]
    if rows:
        parts.append(_told(columns, [cells(r) for r in rows], caption=caption, texts=3))
    else:
        parts.append(Text("No run of it is finished.", "p"))
    listed: list[list[Cell]] = [
        [sweep.table.whole_label(job), sweep.table.state(job), Styled(job.command, "code")]
        for job in sweep.table.jobs if job.command
    ]  # fmt: skip
    if listed:
        parts.append(Fold("Run one of its runs again", [Grid(("run", "state", "command"), listed, "Commands")]))
    return parts


def _all_rows(data: ReportData, place: Place) -> Grid:
    """Every row of every run; those that all runs share to the digit, once."""
    groups: dict[tuple[str, str, str, int | None], list[tuple[RunData, Row]]] = {}
    for run in data.runs:
        for row in run.rows:
            if Place.of(row) == place:
                groups.setdefault((row.degradation, row.solver, row.weights, row.request), []).append((run, row))
    order = list(dict.fromkeys(degradation for degradation, *_ in groups))
    measured = sum(any(Place.of(row) == place for row in run.rows) for run in data.runs)
    body: list[list[Cell]] = []
    for _, members in sorted(groups.items(), key=lambda item: order.index(item[0][0])):
        first = members[0][1]
        same = all((r.psnr_y, r.ssim_y) == (first.psnr_y, first.ssim_y) for _, r in members)
        shared = "all" if len(members) == measured else ", ".join(run.label for run, _ in members)
        for run, r in members[:1] if same else members:
            body.append([
                r.degradation, shared if same else run.label, r.solver, r.weights,
                updates_text(r), str(r.images), number(r.psnr_y, 2), number(r.ssim_y, 4), number(r.hf_error_y, 3),
                number(r.seconds, 2), number(r.published_psnr_y, 2), _gap(r),
            ])  # fmt: skip
    columns = (
        "degradation", "run", "solver", "weights", "updates", "images", "PSNR dB", "SSIM", "HF error", "s / image",
        "published", "gap dB",
    )  # fmt: skip
    unneeded = ("run",) if len(data.runs) == 1 else ()
    return _told(columns, body, caption=f"All rows: {place}, on Y", texts=4, unneeded=unneeded)


def _told(
    columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, caption: str, texts: int, unneeded: Sequence[str] = ()
) -> Grid:
    """A table without the columns that tell nothing; those after the first ``texts`` are numbers."""
    kept = [i for i, name in enumerate(columns) if name not in unneeded and any(row[i] != "-" for row in rows)]
    numbers = [position for position, i in enumerate(kept) if i >= texts]
    return Grid([columns[i] for i in kept], [[row[i] for i in kept] for row in rows], caption, numbers)


def _gap(row: Row) -> str:
    value = gap(row)
    return "-" if value is None else signed(value)


def number(value: float | None, digits: int) -> str:
    """A number, or ``-``."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def differing(data: ReportData) -> list[Block]:
    """What differs between the runs' configs."""
    if len(data.runs) < 2:
        return []
    differing = differences(data.runs)
    if not differing:
        return [Text("The runs' configs are equal.", "p")]
    columns = ["choice", *(run.label for run in data.runs)]
    rows: list[list[Cell]] = [[Styled(key, "code"), *values] for key, values in differing.items()]
    whole = Grid(columns, rows, "Choices that are not the same in all runs")
    return [Fold(pluralize(len(differing), "choice"), [whole], open=len(differing) <= 20)]


def cards(data: ReportData) -> list[Block]:
    """A card per run: what it was asked for, its stages, its config."""
    return [_card(run) for run in data.runs]


def _card(run: RunData) -> Fold:
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
    parts: list[Block] = [Grid(("fact", "value"), [[k, v or "-"] for k, v in facts.items()], "Run")]
    if stages:
        parts.append(Grid(columns, stages, "Stages", (2, 3)))
    if config:
        text = json.dumps(config, indent=2, default=str, ensure_ascii=False)
        parts.append(Fold("The whole config", [Text(text, "pre")]))
    return Fold(run.label, parts)


def _seconds(card: Mapping[str, Any]) -> str:
    seconds = card.get("seconds")
    return f"{seconds:.1f}" if isinstance(seconds, int | float) else "-"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def environments(data: ReportData) -> list[Block]:
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
        cells = tuple((k, "-" if v is None else str(v)) for k, v in facts.items())
        columns.setdefault(cells, []).append(run.label)
    if not columns:
        return []
    names = list(dict.fromkeys(name for cells in columns for name, _ in cells))
    rows: list[list[Cell]] = [[name, *(dict(cells).get(name, "-") for cells in columns)] for name in names]
    headings = [
        "what",
        *("all runs" if len(labels) == len(data.runs) else ", ".join(labels) for labels in columns.values()),
    ]
    return [Grid(headings, rows, "Versions and machine")]
