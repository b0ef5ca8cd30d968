"""What the benchmarks share: checks of their options, and jobs of sweeps."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metasr.errors import InputError
from metasr.paths import conf_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from metasr.report.sweep_table import Job


def at_least(options: argparse.Namespace, **least: int) -> None:
    """Require options that are given, alone or as lists, to be no smaller than so much.

    Raises:
        InputError: naming the first that is.
    """
    for name, limit in least.items():
        given = getattr(options, name)
        for value in given if isinstance(given, list) else [given]:
            if value is not None and value < limit:
                raise InputError(f"--{name.replace('_', '-')} must be at least {limit}, got {value}")


def folder(path: str | Path, *, what: str) -> Path:
    """A folder that exists, as an absolute path.

    Raises:
        InputError: if there is none.
    """
    found = Path(path).expanduser().resolve()
    if not found.is_dir():
        raise InputError(f"no folder {path}; give {what}")
    return found


def device(name: str) -> str:
    """``cpu`` or ``cuda``; ``auto`` takes a GPU if there is one.

    Raises:
        InputError: if a GPU is asked for and there is none.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: no CUDA device is available here; use --device cpu, or leave it out")
    return name


def finished_jobs(sweep: Path) -> list[Job]:
    """The jobs of a sweep's folder that came to a table."""
    from metasr.report.reading import read_jobs

    return [job for job in read_jobs(sweep) if job.rows]


def composed(choices: Sequence[str]) -> DictConfig:
    """The whole config of a job, from its choices."""
    from hydra import compose, initialize_config_dir

    from metasr.config.schema import register
    from metasr.runs.folder import register_resolvers

    register()
    register_resolvers()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("config", overrides=list(choices))
