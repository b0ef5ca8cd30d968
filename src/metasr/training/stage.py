"""What the chain knows of an experiment: its stages, each with what makes its parts, and how it is logged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from metasr.errors import InputError, StageError, nearest
from metasr.training.loggers import Logging
from metasr.training.validation import Validator

if TYPE_CHECKING:
    from metasr.data.datamodule import PatchData
    from metasr.recipes.base import Recipe
    from metasr.runs.weights import Weights

OnDivergence = Literal["stop", "retry"]


@dataclass(frozen=True)
class Stage:
    """One stage of a chain.

    Attributes:
        name: the stage.
        folder: ``<run>/<nn>_<stage>``.
        parent: where it starts from, or none.
        steps: optimiser steps of the whole stage.
        checkpoint_every: steps between resume points.
        choices: the configuration that decides what its weights come out as, plain values by name.
        trainer: Lightning's options.
        make_recipe: makes the recipe with a fresh network.
        make_sampler: makes what draws its batches.
        make_data: makes the source of its batches.
        validator: measures the recipe in the making; none for no validation.
        given: weights from outside the run that it starts from instead of a parent's; or none.
        given_hash: hash of these tensors; also told of a stage that was started so before and does not run now.
    """

    name: str
    folder: Path
    parent: Stage | None
    steps: int
    checkpoint_every: int
    choices: Mapping[str, Any]
    trainer: Mapping[str, Any]
    make_recipe: Callable[[], Recipe]
    make_sampler: Callable[[], Any]
    make_data: Callable[[], PatchData]
    validator: Validator | None = None
    given: Weights | None = None
    given_hash: str | None = None

    def ancestors(self) -> Iterator[Stage]:
        """Its parent, that one's parent, and so on."""
        stage = self.parent
        while stage is not None:
            yield stage
            stage = stage.parent


@dataclass(frozen=True)
class Chain:
    """An experiment's stages, to be run in a folder.

    Attributes:
        experiment: its name.
        run: the run folder.
        stages: all of them by name, in order.
        logging: where metrics go.
        config: the whole configuration as plain values, for the cards.
        profile: the schedule's name, for the cards.
        stages_to_run: names of the stages to run; none for all.
        max_minutes: training ends at a resume point after so long; none for no limit.
        on_divergence: what is done when a loss or a weight is no longer finite: ``stop``, or ``retry`` once from the
            last resume point with half the learning rates.
        tested_on: names of test images that are training images too, for the cards.
    """

    experiment: str
    run: Path
    stages: Mapping[str, Stage]
    logging: Logging
    config: Mapping[str, Any]
    profile: str = ""
    stages_to_run: tuple[str, ...] | None = None
    max_minutes: float | None = None
    on_divergence: OnDivergence = "stop"
    tested_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise InputError(f"max_minutes must be above 0, or null for no limit, got {self.max_minutes}")
        if self.on_divergence not in ("stop", "retry"):
            raise InputError(f"on_divergence must be stop or retry, got {self.on_divergence!r}")

    def chosen(self) -> list[Stage]:
        """The stages to run, in order.

        Raises:
            StageError: for a name that is none of the stages', or if nothing is left to run.
        """
        wanted = list(self.stages) if self.stages_to_run is None else list(self.stages_to_run)
        for name in wanted:
            if name not in self.stages:
                raise StageError(f"no stage {name!r} in {self.experiment}: {nearest(name, self.stages)}")
        if not wanted:
            raise StageError(
                f"stages_to_run=[] leaves no stage to run: leave it out, or name some of {', '.join(self.stages)}"
            )
        return [stage for name, stage in self.stages.items() if name in wanted]
