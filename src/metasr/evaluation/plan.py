"""What an evaluation is to measure, as objects and plain values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from metasr.data.catalog import ImageSet
from metasr.degradation import names
from metasr.degradation.pipeline import Degradation
from metasr.evaluation.evaluate import evaluate
from metasr.evaluation.manifest import Manifest
from metasr.evaluation.parts import Parts
from metasr.evaluation.results import Table
from metasr.evaluation.solved import Entry, Watcher, together
from metasr.metrics.protocol import LumaProtocol
from metasr.text import pluralize


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """What is measured, on which images, and how.

    Attributes:
        testset: HR images.
        degradations: short names of degradations and of sets of them.
        scale: factor between LR and HR.
        seed: the run's seed.
        protocol: how numbers are made.
        device: where to solve.
        method: whose results these are, for the published numbers beside them.
        solver: the name of the experiment's solver.
        own: the rows of solvers without weights.
        compare: whether published numbers stand beside: the test set is a whole one of the catalog.
        question: all choices that the results depend on, as text; what was measured under others does not count.
        lr_images: ready LR images in the order of the test set's; none where they are made.
    """

    testset: ImageSet
    degradations: tuple[str, ...]
    scale: float
    seed: int
    protocol: LumaProtocol
    device: torch.device
    method: str
    solver: str
    own: Sequence[Entry] = ()
    compare: bool = False
    question: str = ""
    lr_images: ImageSet | None = None

    @property
    def problems(self) -> list[Degradation]:
        """The degradations, members of sets in their place."""
        return [names.parse(name, scale=self.scale) for name in names.expand(self.degradations, self.scale)]

    def measure(
        self, learned: Callable[[Degradation], Sequence[Entry]], manifest: Manifest, parts: Parts, *watchers: Watcher
    ) -> Table:
        """The table of the interpolation rows, of the solvers without weights, and of what was learned.

        Args:
            learned: gives the rows with weights for a degradation.
            manifest: is given every LR image.
            parts: where finished images are kept until all are.
            watchers: told of every solution.
        """
        return evaluate(
            self.testset,
            self.degradations,
            lambda degradation: [*self.own, *learned(degradation)],
            scale=self.scale,
            seed=self.seed,
            protocol=self.protocol,
            device=self.device,
            compare=self.compare,
            method=self.method,
            watch=together(*watchers),
            manifest=manifest,
            parts=parts,
            lr_images=self.lr_images,
        )

    def __str__(self) -> str:
        """The test set in words: ``5 images of set5``."""
        return f"{pluralize(len(self.testset), 'image')} of {self.testset.name}"
