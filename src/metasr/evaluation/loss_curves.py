"""The solvers' own losses while they adapted, for ``curves.csv`` beside a run's table."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import NamedTuple

from metasr.evaluation.solved import Solved
from metasr.io.csv import format_csv

CURVES_NAME = "curves.csv"


class LossPoint(NamedTuple):
    """A mean loss: measured after ``updates`` updates, over the images that got so far."""

    degradation: str
    solver: str
    weights: str
    updates: int
    loss: float
    images: int


class LossCurves:
    """Watches an evaluation; of each image's solutions the longest adaptation counts."""

    def __init__(self) -> None:
        self._losses: dict[tuple[str, str, str], dict[str, list[float]]] = {}

    def __call__(self, solved: Solved) -> None:
        """Keep a solution's losses."""
        losses, row = solved.solution.trace.losses, solved.row
        if not losses:
            return
        images = self._losses.setdefault((row.degradation, row.solver, row.weights), {})
        if len(losses) > len(images.get(row.image, ())):
            images[row.image] = list(losses)

    @property
    def points(self) -> Iterator[LossPoint]:
        """Mean loss over the images that got so far, by number of updates."""
        for key, images in self._losses.items():
            for updates in range(max(map(len, images.values()))):
                values = [losses[updates] for losses in images.values() if updates < len(losses)]
                yield LossPoint(*key, updates, fmean(values), len(values))

    def to_csv(self) -> str:
        """The points, one per line; a heading alone where none adapted."""
        return format_csv(LossPoint._fields, ((*p[:4], f"{p.loss:.6g}", p.images) for p in self.points))
