"""Reads what the benchmarks of photos and of known blur have measured, and puts it in tables of a report.

``benchmarks/photos.py --results FILE.jsonl`` writes a line for each image, condition and choice, and
``benchmarks/nonblind.py --table FILE.csv`` one for each kernel and solver.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from metasr.errors import DataError
from metasr.io.csv import parse_csv
from metasr.text import pluralize

SUFFIXES = (".jsonl", ".csv")
MOST_BYTES = 64 * 2**20
PLAIN = ("bicubic", "lanczos")
"""Choices of the benchmark of photos against which a loss counts."""
_PHOTO = ("image", "condition", "choice", "psnr_y", "cpu")
_BLUR = ("kernel", "solver", "psnr_y", "ssim_y", "cpu_seconds", "more_mib", "images")
_HOW = "write it by benchmarks/photos.py --results FILE.jsonl, or benchmarks/nonblind.py --table FILE.csv"


@dataclass(frozen=True)
class BenchmarkTable:
    """A table of texts.

    Attributes:
        title: what it tells.
        columns: its heading.
        rows: each with its name first.
        best: of each row, which cells hold its highest score; empty for rows that hold none.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    best: Sequence[frozenset[int]]


def read_benchmark(path: Path) -> BenchmarkTable:
    """The table of a benchmark's file.

    Raises:
        DataError: for a file that is not there, or no such benchmark's.
    """
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        what = "is not there" if not path.exists() else "is neither .jsonl nor .csv"
        raise DataError(f"expected a benchmark's results at {path}, which {what}; {_HOW}")
    if path.stat().st_size > MOST_BYTES:
        raise DataError(f"{path} is larger than the {MOST_BYTES >> 20} MiB that any benchmark's results have")
    try:
        text = path.read_text(encoding="utf-8")
        photos = path.suffix.lower() == ".jsonl"
        rows = _lines(text) if photos else parse_csv(text)
        checked = [_checked(row, _PHOTO if photos else _BLUR) for row in rows]
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged or of another kind: {str(error)[:200]}; {_HOW}") from error
    if not checked:
        raise DataError(f"{path} holds no results; {_HOW}")
    return photo_table(checked, path.name) if photos else blur_table(checked, path.name)


def photo_table(rows: Sequence[Mapping[str, Any]], name: str) -> BenchmarkTable:
    """Mean PSNR of each choice in each condition, its largest loss on any image, and its time.

    Args:
        rows: ``image``, ``condition``, ``choice``, ``psnr_y`` in dB, ``cpu`` in seconds per megapixel.
        name: the file's.
    """
    by = {(row["condition"], row["image"], row["choice"]): row for row in rows}  # of a repeated line the last counts
    conditions, choices = _each(rows, "condition"), _each(rows, "choice")
    images = {c: [i for i in _each(rows, "image") if all((c, i, one) in by for one in choices)] for c in conditions}
    lines, best = [], []
    for condition in conditions:
        means = [_mean([by[condition, i, one]["psnr_y"] for i in images[condition]]) for one in choices]
        scores = [round(mean, 2) for mean in means]
        lines.append([condition, *(_text(score) for score in scores)])
        best.append(_highest(scores))
    plain = [one for one in PLAIN if one in choices]
    if plain:
        losses = [
            max(
                (max(by[c, i, p]["psnr_y"] for p in plain) - by[c, i, one]["psnr_y"]
                 for c in conditions for i in images[c]),
                default=math.nan,
            )
            for one in choices
        ]  # fmt: skip
        lines.append([f"largest loss against {' or '.join(plain)}", *(_text(loss) for loss in losses)])
        best.append(frozenset())
    seconds = [_mean([row["cpu"] for row in rows if row["choice"] == one]) for one in choices]
    lines.append(["CPU seconds a megapixel", *(_text(value) for value in seconds)])
    best.append(frozenset())
    most = max(map(len, images.values()))
    title = (
        f"Photos as people have them: PSNR on Y in dB, {pluralize(most, 'image')} that all choices have done ({name})"
    )
    return BenchmarkTable(title, ["condition", *choices], lines, best)


def blur_table(rows: Sequence[Mapping[str, Any]], name: str) -> BenchmarkTable:
    """PSNR of each solver for each known kernel, the means over kernels, its time and memory.

    Args:
        rows: ``kernel``, ``solver``, ``psnr_y`` in dB, ``ssim_y``, ``cpu_seconds`` an image, ``more_mib``, ``images``.
        name: the file's.
    """
    by = {(row["kernel"], row["solver"]): row for row in rows}
    kernels, solvers = _each(rows, "kernel"), _each(rows, "solver")
    lines, best = [], []

    def add(label: str, values: Sequence[float], digits: int, *, highest: bool = True) -> None:
        lines.append([label, *(_text(value, digits) for value in values)])
        best.append(_highest([round(v, digits) for v in values]) if highest else frozenset())

    for kernel in kernels:
        add(kernel, [by[kernel, s]["psnr_y"] if (kernel, s) in by else math.nan for s in solvers], 2)

    def over_kernels(key: str, by_kernels: Callable[[list[float]], float] = fmean) -> list[float]:
        return [
            by_kernels([by[k, s][key] for k in kernels]) if all((k, s) in by for k in kernels) else math.nan
            for s in solvers
        ]

    add("mean PSNR", over_kernels("psnr_y"), 2)
    add("mean SSIM", over_kernels("ssim_y"), 4)
    add("CPU seconds an image", over_kernels("cpu_seconds"), 2, highest=False)
    add("memory in MiB", over_kernels("more_mib", max), 0, highest=False)
    count = pluralize(max(row["images"] for row in rows), "image")
    title = f"Known blur: PSNR on Y in dB, mean over {count} ({name})"
    return BenchmarkTable(title, ["kernel", *solvers], lines, best)


def _lines(text: str) -> list[dict[str, Any]]:
    """JSON objects, one a line; a last one that was cut off is left out."""
    found: list[dict[str, Any]] = []
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines) and found:
                break
            raise ValueError(f"line {number} is no JSON ({error})") from error
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is no object")
        found.append(row)
    return found


def _checked(row: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """A row of texts and finite numbers; the keys from ``psnr_y`` on are numbers."""
    missing = [key for key in keys if key not in row]
    if missing:
        raise ValueError(f"no {', '.join(missing)} in a row of {', '.join(map(str, list(row)[:8]))}")
    numbers = keys[keys.index("psnr_y") :]
    return {key: _number(row[key], key) if key in numbers else str(row[key])[:80] for key in keys}


def _number(value: Any, key: str) -> float:
    number = math.nan if isinstance(value, bool) or value is None else float(value)
    if math.isnan(number):
        raise ValueError(f"{key} must be a number, got {value!r:.40}")
    return number


def _each(rows: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows))


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else math.nan


def _text(value: float, digits: int = 2) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _highest(scores: Sequence[float]) -> frozenset[int]:
    """Places of the highest score."""
    highest = max((score for score in scores if not math.isnan(score)), default=math.nan)
    return frozenset(place for place, score in enumerate(scores) if score == highest)
