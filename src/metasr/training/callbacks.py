"""What a trainer does beside training: resume points, progress, validation."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ProgressBar
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from torch.optim.lr_scheduler import LambdaLR

from metasr.io.files import put_in_place
from metasr.recipes.base import Recipe, require_finite_weights
from metasr.training.loggers import add_picture
from metasr.training.progress import Pace, StageTable, duration
from metasr.training.stage import Stage
from metasr.training.validation import Validator

log = logging.getLogger(__name__)

RESUME_NAME = "resume.ckpt"


class ResumePoint(Callback):
    """Write a checkpoint to go on from, every so many steps, so that a kill at any moment leaves a whole one.

    The last step leaves one too, from which the stage can be trained longer. The file is written beside its final name
    and then renamed: on one file system that is atomic, while Lightning's ``ModelCheckpoint`` writes to the system's
    temporary folder and copies. Weights that are not finite stop the training instead, so that the last good checkpoint
    stays.

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
        """Save at multiples of ``every``, and at the last step.

        Raises:
            DivergenceError: if a weight is not finite.
        """
        if trainer.global_step % self.every == 0 or trainer.global_step == trainer.max_steps:
            self.save(trainer, pl_module)

    def save(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save now, if that has not been done at this step.

        Raises:
            DivergenceError: if a weight is not finite.
            OSError: if the file cannot be written; the last one stays.
        """
        step = trainer.global_step
        if step == self._last:
            return
        self._last = step
        require_finite_weights(pl_module, step=step)
        temporary = self.path.with_suffix(".part")
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            put_in_place(temporary, self.path)


class Slice(Callback):
    """End a stage cleanly once its slice of time is over, at a resume point.

    Lightning's ``Timer`` would go on counting from the resume point's time, so that a second slice had none left.

    Args:
        resume: writes the resume point.
        deadline: on ``time.monotonic``'s clock, in seconds; at least one step is taken whatever it says.
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


class SettleRates(Callback):
    """Set the learning rates to what the schedule has at the step that training goes on from, times a factor.

    A resume point brings the rates of its own schedule; where the number of steps was raised, the schedule is another.

    Args:
        factor: multiplies all learning rates from here on; a part of every later resume point.
    """

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set them."""
        for config in trainer.lr_scheduler_configs:
            schedule = config.scheduler
            assert isinstance(schedule, LambdaLR)
            schedule.base_lrs = [self.factor * rate for rate in schedule.base_lrs]
            for group, rate, shape in zip(
                schedule.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True
            ):
                group["initial_lr"], group["lr"] = rate, rate * shape(schedule.last_epoch)


class StageProgress(ProgressBar):
    """Keep the run's table of stages up to date; write lines of text where nobody watches a terminal.

    Args:
        stage: the stage's name.
        unit: what is counted (``meta-step``).
        table: the run's; none for lines in any case.
    """

    def __init__(self, stage: str, *, unit: str, table: StageTable | None = None) -> None:
        super().__init__()
        self.stage = stage
        self.unit = unit
        self.table = table
        self.enabled = True
        self._pace = Pace(0, 0)

    def disable(self) -> None:
        """Say nothing: what Lightning asks of all processes but one."""
        self.enabled = False

    def enable(self) -> None:
        """Speak again."""
        self.enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._pace = Pace(trainer.global_step, trainer.max_steps)
        if self.enabled and self.table is not None:
            self.table.begin(self.stage, trainer.global_step)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Tell the table, or every fifth of the way write a line."""
        if not self.enabled:
            return
        step, total = trainer.global_step, trainer.max_steps
        if self.table is not None:
            self.table.advance(self.stage, step, lambda: _loss(trainer))
        if self.table is not None and self.table.watched:
            return
        if step % max(1, total // 5) == 0 or step == total:
            left = f", {duration(self._pace.left(step))} left" if step < total else ""
            loss = _loss(trainer)
            shown = f", loss {loss:.4f}" if loss is not None else ""
            speed = self._pace.speed(step)
            log.info("%s: %s %d of %d, %.1f per second%s%s", self.stage, self.unit, step, total, speed, left, shown)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The stage is finished, or its slice of time is over."""
        if self.enabled and self.table is not None:
            self.table.end(self.stage, _loss(trainer))

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """The stage was stopped."""
        if self.enabled and self.table is not None:
            self.table.end(self.stage)


def _loss(trainer: pl.Trainer) -> float | None:
    loss = trainer.callback_metrics.get("train/loss")
    return None if loss is None else float(loss)


Watch = Callable[[str, Recipe, Mapping[str, float]], None]
"""Told of every validation: the stage, the recipe, and its metrics by name."""


class Validation(Callback):
    """Score the recipe's present weights on validation images every so many steps, and at the end; draw one image.

    Args:
        stage: the stage.
        validator: scores a recipe, and draws.
        watch: told of the scores.

    Attributes:
        seconds: it took so far.
        latest: the last scores by name.
    """

    def __init__(self, stage: Stage, validator: Validator, *, watch: Watch | None = None) -> None:
        self.stage = stage
        self.validator = validator
        self.watch = watch
        self.seconds = 0.0
        self.latest: dict[str, float] = {}
        self._last = -1

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Score at multiples of ``every`` and at the last step."""
        step, every = trainer.global_step, self.validator.every
        due = step == trainer.max_steps or (every > 0 and step % every == 0)
        if not due or step == self._last or not trainer.is_global_zero:
            return
        self._last = step
        start = time.perf_counter()
        assert isinstance(pl_module, Recipe)
        self.latest = self.validator.score(pl_module)
        if self.watch is not None:
            self.watch(self.stage.name, pl_module, self.latest)
        for logger in trainer.loggers:
            logger.log_metrics(self.latest, step=step)
        for name, picture in self.validator.draw(pl_module, self.stage.folder, step=step).items():
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.log_image(name, [str(picture)], step=step)
                elif isinstance(logger, TensorBoardLogger):
                    add_picture(logger.experiment, name, picture, step=step)
        self.seconds += time.perf_counter() - start
        shown = ", ".join(f"{k.removeprefix('val/psnr_y/')} {v:.2f}" for k, v in self.latest.items() if "psnr" in k)
        if shown:
            log.info("validation at %s %d, PSNR on Y in dB: %s", pl_module.unit, step, shown)
