"""Collects what is shown of an evaluation: pictures of the first images, curves, kernels."""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor

from metasr.degradation.pipeline import Degradation
from metasr.evaluation.evaluate import Entry
from metasr.figures import comparison as figures
from metasr.solvers.base import Solution
from metasr.text import pluralize


class PictureBook:
    """Watches an evaluation and draws at its end.

    Args:
        images: how many images are shown.
        degradations: for which degradations, at most.
    """

    def __init__(self, *, images: int = 2, degradations: int = 2) -> None:
        self.limit = images
        self.breadth = degradations
        self._shown: dict[tuple[str, str], dict[str, Tensor]] = {}
        self._kernels: dict[str, Tensor] = {}
        self._losses: dict[str, list[float]] = {}
        self._own: set[str] = set()

    def __call__(self, image: str, degradation: Degradation, entry: Entry, solution: Solution, hr: Tensor) -> None:
        """Keep what will be drawn."""
        name = str(degradation)
        if degradation.kernel is not None:
            self._kernels.setdefault(name, degradation.kernel)
        if solution.trace.losses and (entry.weights == "run" or name not in self._own):
            label = name if entry.solver == "adapt" else f"{name}, {entry.solver}"
            self._losses[label] = solution.trace.losses  # of the last image, its longest adaptation
            if entry.weights == "run":
                self._own.add(name)  # this run's curves come before those of weights shown beside
        key = (image, name)
        names = {d for _, d in self._shown} | {name}
        pictures = {i for i, _ in self._shown} | {image}
        if len(names) > self.breadth or len(pictures) > self.limit:
            return
        shown = self._shown.setdefault(key, {})
        shown[_caption(entry, solution)] = solution.sr[..., : hr.shape[-2], : hr.shape[-1]].cpu()
        shown.pop("truth", None)
        shown["truth"] = hr.cpu()

    def draw(self, folder: Path, curves: dict[str, dict[int, float]]) -> list[Path]:
        """Write the pictures.

        Args:
            folder: where to.
            curves: PSNR by number of updates, by degradation.
        """
        made = []
        for (image, name), shown in self._shown.items():
            path = folder / f"{file_name(image)}_{file_name(name)}.png"
            made.append(figures.comparison(shown, path, title=f"{image}, {name}"))
        if self._kernels:
            made.append(figures.kernels(self._kernels, folder / "kernels.png"))
        if self._losses:
            made.append(figures.adaptation_curves(curves, self._losses, folder / "adaptation.png"))
        return made


def _caption(entry: Entry, solution: Solution) -> str:
    if entry.weights == "-":
        return {"interpolate": "bicubic", "interpolate_aligned": "bicubic, aligned"}.get(entry.solver, entry.solver)
    made_by = entry.weights.removeprefix("released/")
    if entry.solver != "adapt":
        made_by = entry.solver if entry.weights == "run" else f"{made_by}, {entry.solver}"
        if not solution.updates:
            return made_by
    return f"{made_by}, {pluralize(solution.updates, 'update')}"


def file_name(text: str) -> str:
    """A text with nothing in it that a file's name may not hold."""
    return re.sub(r"[^\w.\-]+", "_", text)
