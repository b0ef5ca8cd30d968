"""Collects what is shown of an evaluation: pictures of the first images, curves, kernels."""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor

from metasr.degradation.pipeline import Degradation
from metasr.evaluation.results import ImageRow
from metasr.evaluation.solved import Solved
from metasr.figures import comparison as figures
from metasr.io.images import from_uint8, to_uint8
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

    def wants_pixels(self, image: str, degradation: Degradation) -> bool:
        """Whether the pictures of an image under a degradation are among those that will be drawn."""
        names = {d for _, d in self._shown} | {str(degradation)}
        pictures = {i for i, _ in self._shown} | {image}
        return len(names) <= self.breadth and len(pictures) <= self.limit

    def __call__(self, solved: Solved) -> None:
        """Keep what will be drawn; pixels as an 8-bit file would hold them."""
        row, solution, hr = solved.row, solved.solution, solved.hr
        name, kernel = row.degradation, solved.degradation.kernel
        if kernel is not None:
            self._kernels.setdefault(name, kernel)
        if solution.trace.losses and (row.weights == "run" or name not in self._own):
            self._losses[f"{name}, {row.solver}"] = solution.trace.losses  # of the last image, its longest adaptation
            if row.weights == "run":
                self._own.add(name)  # this run's curves come before those of weights shown beside
        if hr is None or not self.wants_pixels(row.image, solved.degradation):
            return
        shown = self._shown.setdefault((row.image, name), {})
        shown[_caption(row)] = from_uint8(to_uint8(solution.sr[..., : hr.shape[-2], : hr.shape[-1]].cpu()))
        shown.pop("truth", None)
        shown["truth"] = hr.cpu()

    def draw(self, folder: Path, curves: dict[str, dict[int, float]]) -> list[Path]:
        """Write the pictures.

        Args:
            folder: where to.
            curves: PSNR by number of updates, by degradation.
        """
        pictures = []
        for (image, name), shown in self._shown.items():
            path = folder / f"{file_name(image)}_{file_name(name)}.png"
            pictures.append(figures.comparison(shown, path, title=f"{image}, {name}"))
        if self._kernels:
            pictures.append(figures.kernels(self._kernels, folder / "kernels.png"))
        if self._losses:
            pictures.append(figures.adaptation_curves(curves, self._losses, folder / "adaptation.png"))
        return pictures


def _caption(row: ImageRow) -> str:
    if row.weights == "-":
        name = {"interpolate": "bicubic", "interpolate_aligned": "bicubic, aligned"}.get(row.solver, row.solver)
        return name if row.requested is None else f"{name}, {pluralize(row.requested, 'update')}"
    made_by = row.solver if row.weights == "run" else f"{row.weights.removeprefix('released/')}, {row.solver}"
    updates = row.updates if row.requested is None else row.requested
    return made_by if row.requested is None and not updates else f"{made_by}, {pluralize(updates, 'update')}"


def file_name(text: str) -> str:
    """A text with nothing in it that a file's name may not hold."""
    return re.sub(r"[^\w.\-]+", "_", text)
