"""Evaluation: data set × degradation × solver -> table."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from metasr.data.catalog import ImageSet
from metasr.degradation import names
from metasr.degradation.pipeline import Degradation
from metasr.errors import told_of
from metasr.evaluation.manifest import Manifest, draw_seed
from metasr.evaluation.results import ImageRow, Table
from metasr.metrics.protocol import LumaProtocol
from metasr.seeds import seed_from
from metasr.solvers.base import SnapshotSolver, Solution, Solver
from metasr.solvers.interpolate import InterpolateSolver
from metasr.solvers.oracle import OracleMaker
from metasr.solvers.step_budget import was_interrupted

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A solver to evaluate.

    Attributes:
        solver: the solver's name in the table.
        weights: its weights' name; ``-`` for none.
        made_by: the solver; or what makes one for an image that it is shown the HR image of.
        updates: for solvers that adapt, the numbers of updates to show; none for those that do not.
    """

    solver: str
    weights: str
    made_by: Solver | OracleMaker
    updates: tuple[int, ...] | None = None


class Watcher(Protocol):
    """Told of every solution, for pictures."""

    def __call__(self, image: str, degradation: Degradation, entry: Entry, solution: Solution, hr: Tensor) -> None:
        """One image was solved."""
        ...


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
) -> Table:
    """Degrade every image by every degradation, solve it by every solver, and score the results.

    Each image's random draws (noise) come from (seed, image name, degradation): order and subsets change nothing.

    Args:
        images: HR images.
        degradations: short names of degradations and of sets of them (see :mod:`metasr.degradation.names`); the table
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

    Returns:
        The table.
    """
    table = Table(compare=compare, method=method, sets=names.sets_in(degradations, scale))
    label = testset or images.name
    wanted = names.expand(degradations, scale)
    problems = {str(d): d for d in (names.parse(name, scale=scale) for name in wanted)}  # aliases counted once
    for degradation in problems.values():
        rows = [*baselines(), *entries(degradation)]
        start = time.perf_counter()
        for i, image in enumerate(images.names):
            hr = images.load(i)[None].to(device or "cpu")
            with told_of(f"image {image!r}"):
                hr = protocol.crop_reference(hr, scale)  # (1, 3, H, W)
                source = torch.Generator().manual_seed(draw_seed(seed, image, degradation))
                lr = degradation(hr, generator=source)
            if manifest is not None:
                manifest.add(image, degradation, lr)
            solve_seed = seed_from(seed, image, str(degradation), "solve")
            for entry in rows:
                with told_of(f"image {image!r}"):
                    solutions = _solve(entry, lr, hr, scale, degradation, solve_seed)
                if any(was_interrupted(solution) for solution in solutions):
                    raise KeyboardInterrupt  # half an image is no result
                for solution in solutions:
                    sr = solution.sr[..., : hr.shape[-2], : hr.shape[-1]]
                    with told_of(f"image {image!r}"):
                        score = protocol(sr, hr, scale=scale)
                    table.add(
                        ImageRow(
                            label, str(degradation), float(scale), entry.solver, entry.weights, solution.updates,
                            image, score.psnr_y, score.ssim_y, solution.seconds, score.hf_error_y,
                            solution.stopped,
                        )
                    )  # fmt: skip
                    if watch is not None:
                        watch(image, degradation, entry, solution, hr)
        log.info(
            "evaluated %s on %d images of %s in %.1f s", degradation, len(images), label, time.perf_counter() - start
        )
    return table


def _solve(entry: Entry, lr: Tensor, hr: Tensor, scale: float, degradation: Degradation, seed: int) -> list[Solution]:
    solver = entry.made_by.for_image(hr) if isinstance(entry.made_by, OracleMaker) else entry.made_by
    if entry.updates is not None and isinstance(solver, SnapshotSolver):
        found = solver.snapshots(lr, scale=scale, updates=entry.updates, degradation=degradation, seed=seed)
        return [found[n] for n in sorted(found)]
    return [solver.solve(lr, scale=scale, degradation=degradation, seed=seed)]
