"""What solvers that estimate a kernel made of it: pictures beside the truth, and curves."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import torch
from torch import Tensor

from metasr.degradation.direct_kernel import direct_kernel
from metasr.degradation.pipeline import Degradation
from metasr.evaluation.evaluate import Entry
from metasr.figures.kernels import Course, courses, estimates, likeness
from metasr.io.files import write_text
from metasr.metrics.protocol import LumaProtocol
from metasr.solvers.base import Solution

CURVES_NAME = "kernel_curves.csv"
COLUMNS = ("degradation", "solver", "weights", "image", "steps", "loss", "kernel_psnr", "psnr_y", "seconds")
_SHOWN = 6

_Key = tuple[str, str, str, str]  # degradation, solver, weights, image


class KernelBook:
    """Watches an evaluation, and keeps what solvers say of kernels that were not given to them.

    Of an image's solutions the one with most updates is drawn; of all of them the PSNR is kept. A solution whose kernel
    is the one that its degradation carries was no estimate and is passed over. One that holds the resizing too
    (``Solution.direct``) is compared with blur and resizing in one.

    Args:
        protocol: how an image's PSNR is made.
    """

    def __init__(self, protocol: LumaProtocol) -> None:
        self.protocol = protocol
        self._pairs: dict[_Key, tuple[int, Tensor, Tensor | None]] = {}
        self._courses: dict[_Key, Course] = {}

    def __call__(self, image: str, degradation: Degradation, entry: Entry, solution: Solution, hr: Tensor) -> None:
        """Keep an estimate and its course."""
        kernel, truth = solution.kernel, degradation.kernel
        if kernel is None or (truth is not None and _same(kernel, truth)):
            return
        if solution.direct and truth is not None and degradation.downsample != "direct":
            truth = direct_kernel(degradation, size=max(kernel.shape[-2:]))
        key = (str(degradation), entry.solver, entry.weights, image)
        course = self._courses.setdefault(key, Course())
        sr = solution.sr[..., : hr.shape[-2], : hr.shape[-1]]
        course.psnr[solution.updates] = self.protocol(sr, hr, scale=degradation.scale).psnr_y
        if key in self._pairs and solution.updates < self._pairs[key][0]:
            return
        self._pairs[key] = (solution.updates, kernel.detach().cpu(), None if truth is None else truth.detach().cpu())
        course.losses = list(solution.trace.losses)
        course.seconds = list(solution.trace.seconds)
        course.kernel_psnr = list(getattr(solution.trace, "kernel_psnr", ()))

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
        made = [estimates(pairs, folder / "pictures" / "kernels_estimated.png")]
        lines = {_caption(key).replace("\n", ", "): self._courses[key] for key in first if self._courses[key].losses}
        if lines:
            made.append(courses(lines, folder / "pictures" / "kernel_curves.png"))
        return made

    def to_csv(self) -> str:
        """A line for each step of each image; PSNR where it was looked at, kernel PSNR where there is a true kernel.

        An estimate that was made without steps has one line, with the estimate's own kernel PSNR.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for key, course in self._courses.items():
            updates, kernel, truth = self._pairs[key]
            steps = {*range(1, len(course.losses) + 1), *course.psnr}
            for step in sorted(steps):
                known = _at(course.kernel_psnr, step)
                if known is None and step == updates and truth is not None and not course.kernel_psnr:
                    known = likeness(kernel, truth)
                cells = (_at(course.losses, step), known, course.psnr.get(step), _at(course.seconds, step))
                writer.writerow([*key, step, *("" if cell is None else f"{cell:.6g}" for cell in cells)])
        return text.getvalue()


def _same(kernel: Tensor, truth: Tensor) -> bool:
    return kernel.shape == truth.shape and torch.equal(kernel, truth.to(kernel))


def _at(values: object, step: int) -> float | None:
    """The value of a step, counted from 1."""
    assert isinstance(values, list | tuple)
    return values[step - 1] if 1 <= step <= len(values) else None


def _caption(key: _Key) -> str:
    degradation, solver, weights, image = key
    made_by = solver if weights == "-" else f"{solver}, {weights.removeprefix('released/')}"
    return f"{image}, {degradation}\n{made_by}"
