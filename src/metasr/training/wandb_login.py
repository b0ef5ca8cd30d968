"""Whether wandb is there, and knows who the user is. Light to import."""

from __future__ import annotations

import importlib.util
import inspect
import logging
import os

from omegaconf import DictConfig, flag_override

from metasr.errors import InputError
from metasr.runs.folder import typed_choices

log = logging.getLogger(__name__)


def settle_wandb(cfg: DictConfig) -> DictConfig:
    """The same config, or one that logs to CSV files alone where wandb is not installed and was nobody's wish.

    Args:
        cfg: the run's config.

    Raises:
        InputError: if wandb is not installed and was asked for: ``logger=wandb`` or ``logger.wandb...`` on the command
            line, or the mode ``online``.
    """
    choices = cfg.logger.wandb
    if choices is None or importlib.util.find_spec("wandb") is not None:
        return cfg
    typed = [choice for choice in typed_choices(cfg.name) if _asks(choice)]
    asked = [*typed, "logger.wandb.mode=online"] if choices.mode == "online" else typed
    if asked:
        raise InputError(f"{asked[0]}: wandb is not installed: pip install wandb, or logger=csv")
    log.warning("wandb is not installed (pip install wandb): the run is logged to CSV files alone")
    settled = cfg.copy()
    with flag_override(settled, ["readonly", "struct"], False):
        settled.logger.csv, settled.logger.wandb = True, None
    return settled


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
