"""What a trainer does beside training: resume points, progress, validation."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, TQDMProgressBar
from pytorch_lightning.loggers import WandbLogger

from metasr.recipes.base import Recipe, require_finite_weights

log = logging.getLogger(__name__)

RESUME_NAME = "resume.ckpt"


class ResumePoint(Callback):
    """Write a checkpoint to go on from, every so many steps, so that a kill at any moment leaves a whole one.

    The file is written beside its final name and then renamed: on one file system that is atomic. Weights that are not
    finite stop the training instead, so that the last good checkpoint stays.

    Args:
        folder: the stage's folder.
        every: steps between checkpoints.
    """

    def __init__(self, folder: Path, *, every: int) -> None:
        self.path = folder / RESUME_NAME
        self.every = max(1, every)
        self._last = -1

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save at multiples of ``every``.

        Raises:
            DivergenceError: if a weight is not finite.
        """
        if trainer.global_step % self.every == 0:
            self.save(trainer, pl_module)

    def save(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save now, if that has not been done at this step.

        Raises:
            DivergenceError: if a weight is not finite.
        """
        step = trainer.global_step
        if step == self._last:
            return
        self._last = step
        require_finite_weights(pl_module, step=step)
        temporary = self.path.with_suffix(".part")
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            os.replace(temporary, self.path)


class Slice(Callback):
    """End a stage cleanly once its slice of time is over, at a resume point.

    Args:
        resume: writes the resume point.
        deadline: on :func:`time.monotonic`'s clock, in seconds; at least one step is taken whatever it says.
    """

    def __init__(self, resume: ResumePoint, *, deadline: float) -> None:
        self.resume = resume
        self.deadline = deadline
        self.over = False

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop at the first step after the deadline; all devices together, when one of them is past it."""
        late = trainer.strategy.reduce_boolean_decision(time.monotonic() > self.deadline, all=False)
        if late and trainer.global_step < trainer.max_steps:
            self.resume.save(trainer, pl_module)
            self.over = True
            trainer.should_stop = True


class StageProgress(TQDMProgressBar):
    """A bar that counts a stage's own steps; lines of text where nobody watches a terminal.

    Args:
        stage: the stage's name.
        unit: what is counted (``meta-step``).
    """

    def __init__(self, stage: str, *, unit: str) -> None:
        self.terminal = sys.stderr.isatty()
        super().__init__(refresh_rate=5 if self.terminal else 0)
        self.stage = stage
        self.unit = unit
        self._start = (0.0, 0)

    def init_train_tqdm(self) -> Any:
        """Lightning's bar, with the unit in it."""
        bar = super().init_train_tqdm()
        bar.unit = f" {self.unit}"
        return bar

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Name the stage instead of an epoch."""
        self._start = (time.perf_counter(), trainer.global_step)
        if self.terminal:
            super().on_train_epoch_start(trainer)
            self.train_progress_bar.set_description(self.stage)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """The logged metrics, without Lightning's version number."""
        return {k.removeprefix("train/"): v for k, v in super().get_metrics(trainer, pl_module).items() if k != "v_num"}

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        """Move the bar, or every tenth of the way write a line."""
        if self.terminal:
            super().on_train_batch_end(trainer, pl_module, *args)
            return
        step, total = trainer.global_step, trainer.max_steps
        if step % max(1, total // 5) == 0 or step == total:
            seconds = time.perf_counter() - self._start[0]
            speed = (step - self._start[1]) / max(seconds, 1e-9)
            loss = trainer.callback_metrics.get("train/loss")
            shown = f", loss {float(loss):.4f}" if loss is not None else ""
            log.info("%s: %s %d of %d, %.1f per second%s", self.stage, self.unit, step, total, speed, shown)


class Validation(Callback):
    """Score the recipe's present weights on validation images every so many steps, and at the end.

    Args:
        score: gives metrics by name for a recipe.
        every: steps between validations; 0 for the end alone.
        draw: writes pictures of a recipe at a step, and gives their paths; none for none.
    """

    def __init__(
        self,
        score: Callable[[Recipe], dict[str, float]],
        *,
        every: int,
        draw: Callable[[Recipe, int], list[Path]] | None = None,
    ) -> None:
        self.score = score
        self.every = every
        self.draw = draw
        self.latest: dict[str, float] = {}
        self._last = -1

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Score at multiples of ``every`` and at the last step."""
        step = trainer.global_step
        due = step == trainer.max_steps or (self.every > 0 and step % self.every == 0)
        if not due or step == self._last or not trainer.is_global_zero:
            return
        self._last = step
        assert isinstance(pl_module, Recipe)
        self.latest = self.score(pl_module)
        for logger in trainer.loggers:
            logger.log_metrics(self.latest, step=step)
        for picture in self.draw(pl_module, step) if self.draw is not None else []:
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.log_image("val/maps", [str(picture)], step=step)
        shown = ", ".join(f"{k.removeprefix('val/psnr_y/')} {v:.2f}" for k, v in self.latest.items() if "psnr" in k)
        if shown:
            log.info("validation at %s %d, PSNR on Y in dB: %s", pl_module.unit, step, shown)
