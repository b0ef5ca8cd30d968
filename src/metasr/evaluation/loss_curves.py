"""The solvers' own losses while they adapted, for ``curves.csv`` beside a run's table."""

from __future__ import annotations

import csv
import io
from statistics import fmean

from torch import Tensor

from metasr.degradation.pipeline import Degradation
from metasr.evaluation.evaluate import Entry, Watcher
from metasr.solvers.base import Solution

CURVES_NAME = "curves.csv"
COLUMNS = ("degradation", "solver", "weights", "updates", "loss", "images")


class LossCurves:
    """Watches an evaluation; of each image's solutions the longest adaptation counts."""

    def __init__(self) -> None:
        self._losses: dict[tuple[str, str, str], dict[str, list[float]]] = {}

    def __call__(self, image: str, degradation: Degradation, entry: Entry, solution: Solution, hr: Tensor) -> None:
        """Keep a solution's losses."""
        losses = solution.trace.losses
        if not losses:
            return
        images = self._losses.setdefault((str(degradation), entry.solver, entry.weights), {})
        if len(losses) > len(images.get(image, ())):
            images[image] = list(losses)

    def to_csv(self) -> str:
        """Mean loss over the images that got so far, by number of updates; a heading alone where none adapted."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for key, images in self._losses.items():
            for step in range(max(map(len, images.values()))):
                values = [losses[step] for losses in images.values() if step < len(losses)]
                writer.writerow([*key, step, f"{fmean(values):.6g}", len(values)])
        return text.getvalue()


def together(*watchers: Watcher) -> Watcher:
    """Several watchers as one."""

    def watch(image: str, degradation: Degradation, entry: Entry, solution: Solution, hr: Tensor) -> None:
        for watcher in watchers:
            watcher(image, degradation, entry, solution, hr)

    return watch
