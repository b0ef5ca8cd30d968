"""What an evaluation solves, and what its watchers are told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from metasr.degradation.pipeline import Degradation
from metasr.evaluation.results import ImageRow
from metasr.solvers.base import Solution, Solver
from metasr.solvers.oracle import OracleMaker


@dataclass(frozen=True)
class Entry:
    """A solver to evaluate.

    Attributes:
        solver: the solver's name in the table.
        weights: its weights' name; ``-`` for none.
        made_by: the solver; or what makes one for an image that it is shown the HR image of.
        updates: for solvers that adapt, the numbers of updates to show; none for those that do not.
        digest: a hash of the weights' tensors; empty for none.
    """

    solver: str
    weights: str
    made_by: Solver | OracleMaker
    updates: tuple[int, ...] | None = None
    digest: str = ""


@dataclass(frozen=True)
class Solved:
    """One image that was solved and scored.

    Attributes:
        row: its score.
        degradation: how its LR image came about.
        entry: what solved it.
        solution: the solver's result; of an earlier session its pixels are empty where nobody asked to keep them.
        hr: the truth ``(1, 3, H, W)``; none where the pixels are not at hand.
    """

    row: ImageRow
    degradation: Degradation
    entry: Entry
    solution: Solution
    hr: Tensor | None


class Watcher(Protocol):
    """Told of every solution, for pictures and curves."""

    def __call__(self, solved: Solved) -> None:
        """One image was solved."""
        ...


def together(*watchers: Watcher) -> Watcher:
    """Several watchers as one."""

    def watch(solved: Solved) -> None:
        for watcher in watchers:
            watcher(solved)

    return watch
