"""Where a run's metrics go: CSV, TensorBoard, Weights & Biases, all their files in the run folder. Light to import."""

from __future__ import annotations

import importlib.util
import inspect
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from metasr.errors import InputError, require_extra, require_one_of
from metasr.runs.folder import typed_choices
from metasr.runs.wandb_names import group_of, sweep_of

log = logging.getLogger(__name__)

_LONGEST_TAG = 64  # letters that wandb takes
_MODES = ("offline", "online", "disabled")
_VARIABLE_MODES = ("disabled", "dryrun", "offline", "online", "run", "shared")
"""What wandb itself takes as WANDB_MODE."""


@dataclass(frozen=True)
class WandbOptions:
    """What goes to Weights & Biases.

    Attributes:
        project: the project.
        entity: the user or team; none for the default one.
        mode: ``offline``, ``online`` or ``disabled``.
        tags: further tags.
    """

    project: str = "metasr"
    entity: str | None = None
    mode: str = "offline"
    tags: Sequence[str] = ()

    def __post_init__(self) -> None:
        require_one_of(self.mode, _MODES, name="logger.wandb.mode")


@dataclass(frozen=True)
class Logging:
    """The loggers of an experiment's jobs.

    Attributes:
        experiment: its name.
        csv: whether CSV files are written.
        wandb: what goes to Weights & Biases; none for nothing.
        config: the whole configuration as plain values, for wandb.
        tensorboard: whether TensorBoard's event files are written.
    """

    experiment: str
    csv: bool = False
    wandb: WandbOptions | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    tensorboard: bool = False

    def settled(self) -> Logging:
        """The same, as far as it can be had here.

        Where wandb is not installed and was nobody's wish, metrics go to CSV files alone. The environment variable
        WANDB_MODE may switch wandb off, and counts as unset where it is empty.

        Raises:
            InputError: if wandb is not installed and was asked for: ``logger=wandb`` or ``logger.wandb...`` on the
                command line, or the mode ``online``; if WANDB_MODE is no mode of wandb's; or if TensorBoard is not
                installed and was asked for.
        """
        if self.tensorboard:
            require_extra("tensorboard", "tensorboard", asked="logger=tensorboard")
        if self.wandb is None:
            return self
        if (variable := os.environ.get("WANDB_MODE", "").strip()) == "":
            os.environ.pop("WANDB_MODE", None)  # wandb would refuse the empty one
        elif variable not in _VARIABLE_MODES:
            raise InputError(
                f"WANDB_MODE={variable}: wandb knows {', '.join(_VARIABLE_MODES)}; unset it, or take one of these"
            )
        elif variable == "disabled":
            return replace(self, wandb=None)
        if importlib.util.find_spec("wandb") is not None:
            return self
        typed = [choice for choice in typed_choices(self.experiment) if _asks(choice)]
        asked = [*typed, "logger.wandb.mode=online"] if self.wandb.mode == "online" else typed
        if asked:
            raise InputError(f"{asked[0]}: wandb is not installed: pip install wandb, or logger=csv")
        log.warning("wandb is not installed (pip install wandb): the run is logged to CSV files alone")
        return replace(self, csv=True, wandb=None)

    def open(self, folder: Path, *, run: Path, job: str) -> list[Any]:
        """The loggers of one job.

        Args:
            folder: the job's, in the run's.
            run: the run's folder.
            job: the stage's name, or ``evaluate``.
        """
        loggers: list[Any] = []
        if self.csv:
            from pytorch_lightning.loggers import CSVLogger

            loggers.append(CSVLogger(save_dir=str(folder), name="csv"))
        if self.tensorboard:
            from pytorch_lightning.loggers import TensorBoardLogger

            loggers.append(TensorBoardLogger(save_dir=str(folder), name="tensorboard", default_hp_metric=False))
        if self.wandb is not None:
            loggers.append(self._open_wandb(self.wandb, folder, run=run, job=job))
        return loggers

    def _open_wandb(self, options: WandbOptions, folder: Path, *, run: Path, job: str) -> Any:
        """A wandb run of its own, grouped and named as ``runs.wandb_names`` says."""
        confine_wandb(folder)
        import wandb
        from pytorch_lightning.loggers import WandbLogger

        if options.mode == "online" and not logged_in():
            raise InputError("logger.wandb.mode=online needs a login: run `wandb login` first, or take mode=offline")
        sweep, name = sweep_of(run), self.experiment
        about = {"experiment": name, "sweep": sweep or None, "run_folder": run.name, "stage": job}
        started = wandb.init(
            project=options.project,
            entity=options.entity,
            mode=options.mode,  # type: ignore[arg-type]
            tags=[tag[:_LONGEST_TAG] for tag in dict.fromkeys(filter(None, (name, sweep, *options.tags)))],
            dir=str(folder),
            group=group_of(run),
            job_type=job,
            name="/".join(filter(None, (name, run.name if sweep else "", job))),
            config={**self.config, **about},
            settings=wandb.Settings(silent=True, console="off"),
            reinit="finish_previous",
        )
        return WandbLogger(experiment=started, save_dir=str(folder))


def close(loggers: Sequence[Any]) -> None:
    """Finish what ``Logging.open`` opened."""
    for logger in loggers:
        logger.finalize("success")
        if type(logger).__name__ == "WandbLogger":
            logger.experiment.finish()


def add_picture(writer: Any, name: str, path: Path, *, step: int = 0) -> None:
    """Show an image file in TensorBoard, by its event writer."""
    from metasr.io.images import read_image

    writer.add_image(name, read_image(path), step)


def confine_wandb(folder: Path) -> None:
    """Point everything wandb writes (runs, cache, data, settings) into a folder, and keep it from asking questions."""
    for variable in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR"):
        target = folder if variable == "WANDB_DIR" else folder / "wandb" / variable.lower().split("_")[1]
        target.mkdir(parents=True, exist_ok=True)
        os.environ[variable] = str(target)
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_CONSOLE", "off")


def _asks(choice: str) -> bool:
    """Whether a choice of the command line asks for wandb."""
    key, _, value = choice.lstrip("+~").partition("=")
    return (key, value) == ("logger", "wandb") or (key.startswith("logger.wandb.") and value != "disabled")


def logged_in() -> bool:
    """Whether there is an API key: in the environment, the settings, or the netrc file; nobody is asked for one."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    import wandb

    if "prompt" in inspect.signature(wandb.login).parameters:
        return bool(wandb.login(prompt=False))
    return bool(wandb.api.api_key)  # before wandb 0.28
