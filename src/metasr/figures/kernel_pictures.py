"""What solvers that estimate a kernel made of it: pictures beside the truth, and curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from metasr.degradation.direct_kernel import direct_kernel
from metasr.evaluation.solved import Solved
from metasr.figures.kernels import Course, courses, estimates, likeness
from metasr.io.csv import format_csv
from metasr.io.files import write_text

CURVES_NAME = "kernel_curves.csv"
COLUMNS = ("degradation", "solver", "weights", "image", "updates", "loss", "kernel_psnr", "psnr_y", "seconds")
_SHOWN = 6

_Key = tuple[str, str, str, str]  # degradation, solver, weights, image


class KernelBook:
    """Watches an evaluation, and keeps what solvers say of kernels that were not given to them.

    Of an image's solutions the one with most updates is drawn; of all of them the PSNR is kept. A solution whose kernel
    is the one that its degradation carries was no estimate and is passed over. One that holds the resizing too
    (``Solution.direct``) is compared with blur and resizing in one.
    """

    def __init__(self) -> None:
        self._pairs: dict[_Key, tuple[int, Tensor, Tensor | None]] = {}
        self._courses: dict[_Key, Course] = {}

    def __call__(self, solved: Solved) -> None:
        """Keep an estimate and its course."""
        solution, degradation, row = solved.solution, solved.degradation, solved.row
        kernel, truth = solution.kernel, degradation.kernel
        if kernel is None or (truth is not None and _same(kernel, truth)):
            return
        if solution.direct and truth is not None and degradation.downsample != "direct":
            truth = direct_kernel(degradation, size=max(kernel.shape[-2:]))
        key = (row.degradation, row.solver, row.weights, row.image)
        course = self._courses.setdefault(key, Course())
        course.psnr[solution.updates] = row.psnr_y
        if key in self._pairs and solution.updates < self._pairs[key][0]:
            return
        self._pairs[key] = (solution.updates, kernel.detach().cpu(), None if truth is None else truth.detach().cpu())
        course.losses = list(solution.trace.losses)
        course.seconds = list(solution.trace.seconds)
        course.kernel_psnr = list(solution.trace.kernel_psnr)

    def write(self, folder: Path) -> list[Path]:
        """Write the curves to ``kernel_curves.csv``, and pictures; nothing where no kernel was estimated.

        Args:
            folder: the run's.

        Returns:
            The pictures.
        """
        if not self._pairs:
            return []
        write_text(folder / CURVES_NAME, self.to_csv())
        first = list(self._pairs)[:_SHOWN]
        pairs = {_caption(key): self._pairs[key][1:] for key in first}
        pictures = [estimates(pairs, folder / "pictures" / "kernels_estimated.png")]
        lines = {_caption(key).replace("\n", ", "): self._courses[key] for key in first if self._courses[key].losses}
        if lines:
            pictures.append(courses(lines, folder / "pictures" / "kernel_curves.png"))
        return pictures

    def to_csv(self) -> str:
        """A line for each number of updates of each image, counted as ``curves.csv`` counts them.

        The loss and the kernel's PSNR (where there is a true kernel) are what the next update found: those before any
        stand in the line of 0. PSNR stands where the image was looked at, seconds since the first update began. The
        line of the estimate itself has the estimate's own kernel PSNR.
        """
        lines = []
        for key, course in self._courses.items():
            updates, kernel, truth = self._pairs[key]
            for n in sorted({*range(len(course.losses)), *course.psnr}):
                known = _at(course.kernel_psnr, n)
                if known is None and n == updates and truth is not None:
                    known = likeness(kernel, truth)
                cells = (_at(course.losses, n), known, course.psnr.get(n), _at(course.seconds, n - 1))
                lines.append([*key, n, *(None if cell is None else f"{cell:.6g}" for cell in cells)])
        return format_csv(COLUMNS, lines)


def _same(kernel: Tensor, truth: Tensor) -> bool:
    return kernel.shape == truth.shape and torch.equal(kernel, truth.to(kernel))


def _at(values: Sequence[float], index: int) -> float | None:
    return values[index] if 0 <= index < len(values) else None


def _caption(key: _Key) -> str:
    degradation, solver, weights, image = key
    made_by = solver if weights == "-" else f"{solver}, {weights.removeprefix('released/')}"
    return f"{image}, {degradation}\n{made_by}"
