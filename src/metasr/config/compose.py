"""Composing a config within a program, as the command line would."""

from __future__ import annotations

import threading
from contextlib import nullcontext

from omegaconf import DictConfig

from metasr.config.schema import register
from metasr.paths import conf_folder
from metasr.runs.folder import register_resolvers

_COMPOSING = threading.RLock()  # hydra composes one config at a time in a process


def compose(*choices: str) -> DictConfig:
    """The config that a command line of these choices would compose, without any logger."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    register()
    register_resolvers()
    with _COMPOSING:
        within = GlobalHydra.instance().is_initialized()  # a job of hydra's own, whose folders of configs count too
        with nullcontext() if within else initialize_config_dir(str(conf_folder()), version_base="1.3"):
            return hydra_compose("config", overrides=[*choices, "logger=none"])
