"""Any job: hands a composed config over to the job that its task names."""

from __future__ import annotations

import logging
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from metasr.config.schema import TaskName

if TYPE_CHECKING:
    from metasr.training.callbacks import Watch

_UNFITTING_HINTS = (
    ".*does not have many workers.*",
    ".*mid-epoch.*",
    ".*ended before the epoch ended.*",
    ".*`max_epochs`.*",
    ".*lr_scheduler.step.*",
    ".*number of training batches.*",
    ".*Checkpoint directory.*",
    ".*logs directory.*",
    ".*isinstance.*LeafSpec.*",
)


def execute(cfg: DictConfig, folder: Path, *, watch: Watch | None = None) -> float | None:
    """Do a composed job.

    Args:
        cfg: the whole config.
        folder: the job's own folder.
        watch: told of every validation of a recipe in the making.

    Returns:
        The validation PSNR of a run's last stage in dB, where it has any.
    """
    from metasr.config.record import write_choices

    _quieten()
    if cfg.task == TaskName.run:
        from metasr.jobs.train import run_experiment

        return run_experiment(cfg, folder, watch=watch)
    write_choices(cfg, folder)
    if cfg.task == TaskName.evaluate:
        from metasr.jobs.evaluate import evaluate_weights

        evaluate_weights(cfg, folder)
    elif cfg.task == TaskName.report:
        from metasr.jobs.report import report

        report(cfg, folder)
    elif cfg.task == TaskName.prepare:
        from metasr.jobs.prepare import prepare_task

        for prepared in prepare_task(cfg):
            print(prepared, flush=True)
    elif cfg.task == TaskName.offset:
        from metasr.jobs.offset import offset_task

        for offset in offset_task(cfg):
            print(offset, flush=True)
    else:
        from metasr.jobs.progress_bar import with_bar
        from metasr.jobs.upscale import upscale_task

        for done in with_bar(partial(upscale_task, cfg)):
            print(done, flush=True)
    return None


def _quieten() -> None:
    """Silence hints of Lightning's that do not fit: data is drawn on the device, one epoch is the whole stage."""
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells when it looks for fonts
    for text in _UNFITTING_HINTS:
        warnings.filterwarnings("ignore", message=text)
