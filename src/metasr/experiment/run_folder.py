"""Names of run folders, and the resolvers by which the configs ask for them. Light to import."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from omegaconf import OmegaConf

from metasr.errors import StageError
from metasr.project import outputs_folder, weights_folder


def stamp() -> str:
    """The time to the microsecond, as a folder name: two runs never share one."""
    return datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")


def run_folders(experiment: Path) -> list[Path]:
    """The runs of an experiment's folder, oldest first."""
    if not experiment.is_dir():
        return []
    return sorted(p for p in experiment.iterdir() if p.is_dir() and p.name[:2].isdigit() and not p.is_symlink())


def run_folder(run: str | None, name: str | None, task: str, outputs: str) -> str:
    """The folder a job writes to.

    Args:
        run: ``last`` (the newest run of the experiment, or a new one if there is none), a folder, or none for a new
            one.
        name: the experiment.
        task: jobs other than ``run`` get folders of their own, below the task's name.
        outputs: the project's folder of outputs.
    """
    base = Path(outputs) / (name or "unnamed")
    if task != "run":
        return str(base / task / stamp())
    if run is None:
        return str(base / stamp())
    if run == "last":
        earlier = run_folders(base)
        return str(earlier[-1] if earlier else base / stamp())
    folder = Path(run).expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise StageError(f"run={run} is a file; give a folder, 'last', or leave it out for a new run")
    return str(folder)


def register_resolvers() -> None:
    """Make ``${metasr.run_folder:...}``, ``${metasr.outputs:}`` and ``${metasr.weights:}`` known to omegaconf."""

    def folder(run: str | None, name: str | None, task: object, outputs: str) -> str:
        return run_folder(run, name, getattr(task, "name", str(task)), outputs)

    OmegaConf.register_new_resolver("metasr.run_folder", folder, replace=True)
    OmegaConf.register_new_resolver("metasr.stamp", stamp, replace=True)
    OmegaConf.register_new_resolver("metasr.outputs", lambda: str(outputs_folder()), replace=True)
    OmegaConf.register_new_resolver("metasr.weights", lambda: str(weights_folder()), replace=True)
    OmegaConf.register_new_resolver("metasr.times", lambda a, b: a * b, replace=True)
