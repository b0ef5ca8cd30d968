"""What a report is made from: runs and sweeps as they were read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from metasr.evaluation.results import Row
from metasr.report.benchmarks import BenchmarkTable
from metasr.report.sweep_table import SweepTable
from metasr.text import pluralize


@dataclass(frozen=True)
class RatesTable:
    """Learned inner rates, one per step and tensor: ``values[step][tensor]``, and what steps and tensors are called."""

    steps: tuple[str, ...]
    tensors: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class StageData:
    """One stage of a run.

    Attributes:
        name: its folder's name, ``02_meta_transfer``.
        card: its card.
        metrics: what was logged, by name: pairs of step and value, in order of the steps.
        picture: the last validation picture, PNG: bicubic, the stage's weights then, and truth; none where none was
            drawn.
        maps: the last picture of what the stage's networks look at, PNG; none for most.
    """

    name: str
    card: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    picture: bytes | None = None
    maps: bytes | None = None

    @property
    def finished(self) -> bool:
        """Whether its weights stand."""
        return self.card.get("status") == "finished"


LossKey = tuple[str, str, str]  # degradation, solver, weights


@dataclass(frozen=True)
class RunData:
    """One run, as far as it got.

    Attributes:
        label: what it is called, unlike any other run of the report.
        line: what its curves are called; runs of one variant that differ in their seed share it.
        experiment: its experiment.
        folder: where it lies.
        rows: its table; empty where it has none yet.
        stages: those begun.
        config: the whole config, as far as known.
        overrides: its choices as typed.
        losses: the solver's own loss on the test images, by number of updates.
        pictures: PNG files by name.
        rates: learned rates of its last finished stage.
        unfinished: what is missing; empty for a finished run.
        sweep: the sweep that it belongs to; empty for none.
        notes: what else a reader must know.
    """

    label: str
    line: str
    experiment: str
    folder: str
    rows: Sequence[Row] = ()
    stages: Sequence[StageData] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    overrides: Sequence[str] = ()
    losses: Mapping[LossKey, Sequence[float]] = field(default_factory=dict)
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    rates: RatesTable | None = None
    unfinished: str = ""
    sweep: str = ""
    notes: Sequence[str] = ()

    @property
    def card(self) -> Mapping[str, Any]:
        """The last stage's card."""
        return self.stages[-1].card if self.stages else {}


@dataclass(frozen=True)
class SweepData:
    """A sweep: its name, and the table over its seeds."""

    name: str
    table: SweepTable


@dataclass(frozen=True)
class ReportData:
    """Everything that a report shows.

    Attributes:
        runs: in the order in which they are shown.
        sweeps: whose runs are among them.
        left_out: what could not be read, and why.
        version: of the program that makes the report.
        benchmarks: tables of benchmarks beside them.
    """

    runs: Sequence[RunData]
    sweeps: Sequence[SweepData] = ()
    left_out: Sequence[tuple[str, str]] = ()
    version: str = ""
    benchmarks: Sequence[BenchmarkTable] = ()

    @property
    def experiments(self) -> list[str]:
        """The experiments' names, each once."""
        return list(dict.fromkeys(run.experiment for run in self.runs))

    @property
    def lines(self) -> dict[str, list[RunData]]:
        """Runs by what their curves are called."""
        by_label: dict[str, list[RunData]] = {}
        for run in self.runs:
            by_label.setdefault(run.line, []).append(run)
        return by_label

    @property
    def title(self) -> str:
        """What the report is about, in a few words."""
        count = pluralize(len(self.runs), "run")
        if not self.runs and not self.sweeps:
            return pluralize(len(self.benchmarks), "benchmark")
        if len(self.sweeps) == 1 and len(self.experiments) == 1 and all(run.sweep for run in self.runs):
            return f"{self.experiments[0]}: {self.sweeps[0].name}, {count}"
        if len(self.experiments) == 1:
            return f"{self.experiments[0]}: {count}"
        return f"{count} of {len(self.experiments)} experiments"


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (NaN for fewer than two values)."""

    mean: float
    std: float = math.nan

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of some values, at least one."""
        spread = stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan
        return cls(fmean(values), spread)

    def text(self, digits: int) -> str:
        """``30.12 ± 0.05``, without the spread where there is none, ``-`` where there is no value."""
        if math.isnan(self.mean):
            return "-"
        return f"{self.mean:.{digits}f}" + ("" if math.isnan(self.std) else f" ± {self.std:.{digits}f}")
