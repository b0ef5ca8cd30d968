"""What a search over choices goes by: one number per run, and when a run is given up before its end."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean, median

from metasr.errors import InputError, MetasrError
from metasr.io.files import write_text
from metasr.recipes.base import Recipe

INTERMEDIATE_NAME = "intermediate.json"


class PrunedError(MetasrError):
    """A run was given up as worse than the others were; no mistake.

    Attributes:
        value: the best validation PSNR it had, in dB.
    """

    def __init__(self, message: str, *, value: float) -> None:
        super().__init__(message)
        self.value = value

    def __reduce__(self) -> tuple[Callable[[str, float], PrunedError], tuple[str, float]]:
        return _pruned, (str(self), self.value)


def validation_psnr(metrics: Mapping[str, float]) -> float | None:
    """A run's one number: validation PSNR on Y after the most updates, mean over the degradations, in dB.

    Args:
        metrics: by name; of ``val/psnr_y/<degradation>@<updates>`` the one of the most updates counts, or ``@own``.

    Returns:
        None where nothing was validated.
    """
    last: dict[str, tuple[float, float]] = {}
    for name, value in metrics.items():
        if name.startswith("val/psnr_y/"):
            degradation, _, updates = name.rpartition("@")
            reached = (math.inf if updates == "own" else float(updates), value)
            last[degradation] = max(reached, last.get(degradation, reached), key=lambda pair: pair[0])
    return fmean(value for _, value in last.values()) if last else None


class MedianPruning:
    """Watches validations, and gives up the runs of a sweep that lag behind.

    At every validation of the last stage the run's PSNR goes into a file in its folder. It is given up when the best so
    far is below the median of what the sweep's other runs had at the same step, as the median stopping rule has it
    (Golovin et al., *Google Vizier*, KDD 2017, section 3.2.1; theirs takes running averages of the others). Runs that
    were given up, or that are still going, count as far as they got.

    Args:
        folder: the run's; the other runs' lie beside it.
        stage: the last stage, whose validations count.
        startup: how many others must have got as far, at least 1.
        warmup: steps of the stage within which no run is given up.

    Raises:
        InputError: for a startup below 1, or a negative warmup.
    """

    def __init__(self, *, folder: Path, stage: str, startup: int, warmup: int = 0) -> None:
        if startup < 1:
            raise InputError(f"prune.startup must be at least 1, got {startup}")
        if warmup < 0:
            raise InputError(f"prune.warmup must be at least 0, got {warmup}")
        self.path = folder / INTERMEDIATE_NAME
        self.stage = stage
        self.startup = startup
        self.warmup = warmup

    def __call__(self, stage: str, recipe: Recipe, metrics: Mapping[str, float]) -> None:
        """Write down, and compare.

        Args:
            stage: the stage's name.
            recipe: in the making.
            metrics: its validation's, by name.

        Raises:
            PrunedError: if the run is given up.
        """
        value = validation_psnr(metrics)
        if stage != self.stage or value is None:
            return
        step = int(recipe.global_step)
        own = {s: v for s, v in _read(self.path).items() if s < step} | {step: value}
        write_text(self.path, json.dumps(own) + "\n")
        others = [_read(path) for path in self.path.parent.parent.glob(f"*/{INTERMEDIATE_NAME}") if path != self.path]
        reached = [values[step] for values in others if step in values]
        best = max(own.values())
        if step < recipe.steps and step >= self.warmup and len(reached) >= self.startup and best < median(reached):
            raise PrunedError(
                f"given up at {recipe.unit} {step} of {recipe.steps}: {best:.3f} dB on the validation images, the "
                f"median of {len(reached)} other runs is {median(reached):.3f} dB",
                value=best,
            )


def _pruned(message: str, value: float) -> PrunedError:
    return PrunedError(message, value=value)


def _read(path: Path) -> dict[int, float]:
    """PSNR by step; nothing where there is no file, or none that can be read."""
    try:
        return {int(step): float(value) for step, value in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
