"""Evaluation: data set × degradation × solver -> table."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metasr.data.catalog import ImageSet
from metasr.degradation import names
from metasr.degradation.pipeline import Degradation
from metasr.errors import DataError, DivergenceError, InputError
from metasr.evaluation.manifest import Manifest, describe, draw_seed
from metasr.evaluation.parts import Part, Parts
from metasr.evaluation.published import published_as
from metasr.evaluation.results import ImageRow, Table
from metasr.evaluation.solved import Entry, Solved, Watcher
from metasr.io.files import file_hash
from metasr.metrics.protocol import LumaProtocol, Score
from metasr.seeds import seed_from
from metasr.solvers.base import SnapshotSolver, Solution
from metasr.solvers.interpolate import InterpolateSolver
from metasr.solvers.oracle import OracleMaker
from metasr.solvers.step_budget import was_interrupted

log = logging.getLogger(__name__)

_FAILURES = (InputError, DataError, DivergenceError)
"""What may be wrong with one image, and is told of it; the others are scored."""


def baselines() -> list[Entry]:
    """The two interpolation rows that every table has."""
    return [
        Entry("interpolate", "-", InterpolateSolver()),
        Entry("interpolate_aligned", "-", InterpolateSolver(aligned=True)),
    ]


def evaluate(
    images: ImageSet,
    degradations: Sequence[str],
    entries: Callable[[Degradation], Sequence[Entry]],
    *,
    scale: float,
    seed: int,
    protocol: LumaProtocol,
    device: torch.device | None = None,
    testset: str | None = None,
    compare: bool = True,
    method: str = "",
    watch: Watcher | None = None,
    manifest: Manifest | None = None,
    parts: Parts | None = None,
    lr_images: ImageSet | None = None,
) -> Table:
    """Degrade every image by every degradation, solve it by every solver, and score the results.

    Each image's random draws (noise) come from (seed, image name, degradation): order and subsets change nothing. An
    image that cannot be read, degraded, solved or scored gets a row that says why, and the others are scored.

    Args:
        images: HR images.
        degradations: short names of degradations and of sets of them (see ``degradation.names``); the table
            has the mean over a set beside its members.
        entries: the solvers for a degradation; the interpolation baselines are always added before them.
        scale: factor between LR and HR.
        seed: the run's seed.
        protocol: how numbers are made.
        device: where to solve.
        testset: name in the table; the image set's by default.
        compare: set published numbers beside.
        method: whose results these are, for the published numbers beside a network's rows.
        watch: told of every solution.
        manifest: is given every LR image.
        parts: where finished images are kept until all are; those kept earlier are not solved again.
        lr_images: ready LR images, in the order of ``images``; the degradations then only tell the solvers what to
            take them for.

    Returns:
        The table.

    Raises:
        InputError: if no image could be scored at all.
    """
    table = Table(compare=compare, sets=names.sets_in(degradations, scale))
    job = _Job(images, lr_images, testset or images.name, scale, seed, protocol, device or torch.device("cpu"), method)
    wanted = names.expand(degradations, scale)
    problems = {str(d): d for d in (names.parse(name, scale=scale) for name in wanted)}  # aliases counted once
    for degradation in problems.values():
        rows = [*baselines(), *entries(degradation)]
        start = time.perf_counter()
        for i, image in enumerate(images.names):
            key = job.key(i, rows) if parts is not None else []
            part = parts.read(image, degradation, key) if parts is not None else None
            earlier = part is not None
            hr: Tensor | None = None
            if part is None:
                part, hr = job.solve(i, degradation, rows)
                if parts is not None:
                    parts.write(image, degradation, key, part)
            if manifest is not None and part.line is not None:
                manifest.add(part.line)
            for number, (row, solution) in zip(part.number, part.results, strict=True):
                table.add(row)
                if watch is not None and solution is not None:
                    if earlier and hr is None and solution.sr.numel():
                        hr = job.reference(i)[0]
                    watch(Solved(row, degradation, rows[number], solution, hr if solution.sr.numel() else None))
        log.info(
            "evaluated %s on %d images of %s in %.1f s", degradation, len(images), job.label,
            time.perf_counter() - start,
        )  # fmt: skip
    if table.images and len(table.failures) == len(table.images):
        first = table.failures[0]
        raise InputError(f"no image could be scored; image {first.image!r}: {first.failed}")
    return table


def require_scores(table: Table) -> None:
    """Require that every row of a table has a number; its single failures are told below it.

    Raises:
        InputError: naming the solvers that failed on every image of a degradation.
    """
    empty = [row for row in table.rows if row.failed and not row.images]
    if empty:
        failing = ", ".join(dict.fromkeys(f"{row.solver} on {row.degradation}" for row in empty))
        first = next(f for f in table.failures if f.solver == empty[0].solver)
        raise InputError(
            f"{failing}: every image failed, so that the table has no number; image {first.image!r}: {first.failed}"
        )


@dataclass
class _Job:
    """What does not change from image to image."""

    images: ImageSet
    lr_images: ImageSet | None
    label: str
    scale: float
    seed: int
    protocol: LumaProtocol
    device: torch.device
    method: str

    def key(self, index: int, rows: Sequence[Entry]) -> list[str]:
        """What a result depends on: the files' bytes, and what is asked of whom."""
        asked = [f"{entry.solver} {entry.weights} {entry.digest} {entry.updates}" for entry in rows]
        sets = [self.images] if self.lr_images is None else [self.images, self.lr_images]
        return [*asked, *(_hash_of(image_set, index) for image_set in sets)]

    def reference(self, index: int) -> tuple[Tensor, bool]:
        """The HR image, cropped for the scale, and whether it is grey."""
        hr, grey = self.images.load_with_kind(index)
        return self.protocol.crop_reference(hr[None].to(self.device), self.scale), grey  # (1, 3, H, W)

    def solve(self, index: int, degradation: Degradation, rows: Sequence[Entry]) -> tuple[Part, Tensor | None]:
        """Solve one image by every entry."""
        image, part = self.images.names[index], Part()

        def fail(number: int, error: Exception, *requested: int | None) -> None:
            entry = rows[number]
            for updates in requested or sorted(entry.updates or ()) or (None,):
                part.add(number, self._row(image, degradation, entry, updates, failed=" ".join(str(error).split())))
            log.warning("image %r, %s, %s: %s", image, degradation, entry.solver, error)

        try:
            hr, grey = self.reference(index)
            lr = self._observe(index, degradation, hr)
        except _FAILURES as error:
            for number in range(len(rows)):
                fail(number, error)
            return part, None
        if self.lr_images is None:
            part.line = describe(image, degradation, lr, seed=draw_seed(self.seed, image, degradation))
        seed = seed_from(self.seed, image, str(degradation), "solve")
        for number, entry in enumerate(rows):
            try:
                solutions = _solve(entry, lr, hr, self.scale, degradation, seed)
            except _FAILURES as error:
                fail(number, error)
                continue
            if any(was_interrupted(solution) for solution in solutions.values()):
                raise KeyboardInterrupt  # half an image is no result
            for requested, solution in solutions.items():
                sr = solution.sr[..., : hr.shape[-2], : hr.shape[-1]]
                try:
                    score = self.protocol(sr, hr, scale=self.scale, grey=grey)
                except _FAILURES as error:
                    fail(number, error, requested)
                    continue
                row = self._row(image, degradation, entry, requested, solution=solution, score=score, grey=grey)
                part.add(number, row, solution)
        return part, hr

    def _observe(self, index: int, degradation: Degradation, hr: Tensor) -> Tensor:
        """The LR image: made, or read."""
        if self.lr_images is None:
            seed = draw_seed(self.seed, self.images.names[index], degradation)
            return degradation(hr, generator=torch.Generator().manual_seed(seed))
        lr = self.lr_images.load(index)[None].to(self.device)
        expected = tuple(math.ceil(n / self.scale) for n in hr.shape[-2:])
        if tuple(lr.shape[-2:]) != expected:
            raise InputError(
                f"expected its LR image {self.lr_images.paths[index]} to have {expected[0]}x{expected[1]} pixels, as "
                f"HR of {hr.shape[-2]}x{hr.shape[-1]} has at scale {self.scale:g}, got "
                f"{lr.shape[-2]}x{lr.shape[-1]}; give pairs of one scale"
            )
        return lr

    def _row(
        self, image: str, degradation: Degradation, entry: Entry, requested: int | None, *,
        solution: Solution | None = None, score: Score | None = None, grey: bool = False, failed: str = "",
    ) -> ImageRow:  # fmt: skip
        solution = solution or Solution(torch.empty(0), seconds=math.nan)
        score = score or Score(math.nan, math.nan)
        updates = solution.updates if requested is None else requested
        return ImageRow(
            self.label, str(degradation), float(self.scale), entry.solver, entry.weights, solution.updates, image,
            score.psnr_y, score.ssim_y, solution.seconds, score.hf_error_y, solution.stopped, requested,
            luma="grey" if grey else "bt601", failed=failed,
            published_as=published_as(entry.made_by, updates=updates, method=self.method),
        )  # fmt: skip


def _solve(
    entry: Entry, lr: Tensor, hr: Tensor, scale: float, degradation: Degradation, seed: int
) -> dict[int | None, Solution]:
    """Solutions by the number of updates that was asked for; none stands for a solver without such a number."""
    solver = entry.made_by.for_image(hr) if isinstance(entry.made_by, OracleMaker) else entry.made_by
    if entry.updates is not None and isinstance(solver, SnapshotSolver):
        solutions = solver.snapshots(lr, scale=scale, updates=entry.updates, degradation=degradation, seed=seed)
        return {n: solutions[n] for n in sorted(solutions)}
    return {None: solver.solve(lr, scale=scale, degradation=degradation, seed=seed)}


def _hash_of(images: ImageSet, index: int) -> str:
    """SHA-256 of an image's file; a file that cannot be read has none."""
    try:
        return file_hash(images.paths[index])
    except OSError as error:
        return f"unreadable: {error.strerror}"
