"""What hydra's launchers and sweepers need of a job: their plugins, and its processes. Light to import."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import Any

from omegaconf import DictConfig

from metasr.errors import InputError

_EXTRAS = {
    "hydra_joblib_launcher": "joblib", "hydra_submitit_launcher": "submitit", "hydra_ray_launcher": "ray",
    "hydra_optuna_sweeper": "optuna",
}  # fmt: skip
"""What to install for each of hydra's plugins."""


def require_plugins(config: DictConfig) -> None:
    """Require that a sweep's launcher and sweeper are installed, and SLURM where it is to be used.

    Args:
        config: the whole config, hydra's part in it.

    Raises:
        InputError: telling what to install, or which launcher to take.
    """
    for part in ("launcher", "sweeper"):
        package, _, inside = str(config.hydra[part]._target_).removeprefix("hydra_plugins.").partition(".")
        if package not in _EXTRAS or not inside or importlib.util.find_spec(f"hydra_plugins.{package}") is not None:
            continue
        chosen = config.hydra.runtime.choices[f"hydra/{part}"]
        raise InputError(
            f"hydra/{part}={chosen} is not installed: pip install 'metasr[{_EXTRAS[package]}]', or "
            f"pip install {package.replace('_', '-')}"
        )
    if str(config.hydra.launcher._target_).endswith(".SlurmLauncher") and shutil.which("srun") is None:
        raise InputError(
            "expected a node of a SLURM cluster, got one without `srun`; start the sweep on a login node, or take "
            "hydra/launcher=local"
        )


def one_device(devices: Any) -> bool:
    """Whether Lightning's ``devices`` are one device, and so one process: a number, a list of them, or ``auto``."""
    return str(devices) == "1" or (not isinstance(devices, str | int) and len(devices) == 1)


def join_processes(devices: Any, *, nodes: int = 1) -> None:
    """Tell Lightning of the processes that submitit started for a sweep's job, where it trains on several devices.

    Left alone Lightning would start them with the sweep's own command line, each a sweep of its own.

    Args:
        devices: Lightning's for the job, each with a process of its own.
        nodes: machines that have as many each.

    Raises:
        InputError: if there are not as many processes as devices.
    """
    tasks = _processes()
    devices = 1 if one_device(devices) else devices
    if tasks == 1 and devices == 1:
        return
    known = isinstance(devices, int) and devices > 0  # neither 'auto' nor -1
    if tasks == 1 or (known and devices * nodes != tasks):
        raise InputError(
            f"expected a process for each device, got {tasks} for trainer.devices={devices}: for several devices in a "
            "sweep's job add hydra/launcher=slurm (or local), as many hydra.launcher.tasks_per_node, "
            "and +trainer.strategy=ddp; or run the jobs one by one, without -m"
        )
    from submitit.helpers import TorchDistributedEnvironment

    TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)


def is_first() -> bool:
    """Whether this is the one of a job's processes that writes down how the job went."""
    return int(os.environ.get("RANK", "0")) == 0


def _processes() -> int:
    """How many processes submitit started for this job; 1 outside of its jobs."""
    if "SUBMITIT_EXECUTOR" not in os.environ:
        return 1
    from submitit import JobEnvironment

    return int(JobEnvironment().num_tasks)
