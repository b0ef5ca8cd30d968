"""Lightning's trainer for one stage, from plain options."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from metasr.errors import InputError, nearest

_SET_ELSEWHERE = {
    "max_steps": "stages.NAME.steps",
    "min_steps": "stages.NAME.steps",
    "max_epochs": "stages.NAME.steps",
    "min_epochs": "stages.NAME.steps",
    "max_time": "max_minutes",
    "gradient_clip_val": "stages.NAME.clip",
    "logger": "logger=csv, tensorboard, wandb or none",
    "default_root_dir": "run=FOLDER",
}
"""Options of Lightning's that a key of the stage or the run decides."""


def require_free(options: Mapping[str, Any]) -> None:
    """Require that no option is given that the program sets itself.

    Raises:
        InputError: naming the key that decides it.
    """
    for name, value in options.items():
        if name in _SET_ELSEWHERE:
            raise InputError(f"trainer.{name}={value} would not be heeded: use {_SET_ELSEWHERE[name]} instead")


def make_trainer(
    options: Mapping[str, Any], *, folder: Path, callbacks: Sequence[pl.Callback] = (), loggers: Sequence[Any] = ()
) -> pl.Trainer:
    """Make the trainer.

    Args:
        options: Lightning's, by its own names.
        folder: the stage's.
        callbacks: what is done beside training.
        loggers: where metrics go.

    Raises:
        InputError: for an option that Lightning does not know, or cannot follow on this machine.
    """
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)  # its hints do not fit, and importing it sets another level
    known = inspect.signature(pl.Trainer.__init__).parameters
    for name in options:
        if name not in known:
            raise InputError(f"no option trainer.{name} of Lightning's trainer: {nearest(name, known)}")
    try:
        return pl.Trainer(
            **options, max_epochs=-1, default_root_dir=str(folder), callbacks=list(callbacks),
            logger=list(loggers) or False,
        )  # fmt: skip
    except (MisconfigurationException, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"Lightning cannot train with these options of trainer: {reason.rstrip('.!')}; change them, or "
            "leave them out"
        ) from error
