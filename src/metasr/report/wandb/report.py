"""Makes the report on wandb, where its packages and a login are there; else says what is missing."""

from __future__ import annotations

import importlib.util
from typing import Any

from metasr.errors import InputError, OutputError
from metasr.report.run_data import ReportData
from metasr.report.wandb.blocks import blocks, to_wandb
from metasr.training.loggers import WandbOptions, logged_in

_TITLE = 128  # letters that wandb takes


def require_wandb() -> None:
    """Require the packages and a login.

    Raises:
        InputError: telling everything that is missing, and what to do.
    """
    missing = []
    absent = [name for name in ("wandb", "wandb_workspaces") if importlib.util.find_spec(name) is None]
    if absent:
        packages = " ".join(name.replace("_", "-") for name in absent)
        missing.append(f"{packages} is not installed: pip install 'metasr[report]', or pip install {packages}")
    if "wandb" not in absent and not logged_in():
        missing.append("nobody is logged in: run `wandb login`, or set WANDB_API_KEY")
    if missing:
        raise InputError(f"to=wandb: {'; '.join(missing)}. Without either, to=html writes the same report as a file")


def publish(data: ReportData, options: WandbOptions | None) -> str:
    """Make the report on wandb.

    Args:
        data: what is reported; its runs must have been logged there, or synced.
        options: the project and entity to report in; none for the defaults.

    Returns:
        The report's address.

    Raises:
        OutputError: if wandb refuses or cannot be reached.
    """
    import wandb
    import wandb_workspaces.reports.v2 as api

    options = options or WandbOptions()
    project = options.project
    all_blocks = blocks(data)
    try:
        entity = str(options.entity or wandb.Api().default_entity)
        report: Any = api.Report(
            project=project,
            entity=entity,
            title=data.title[:_TITLE],
            description=f"Made by metasr {data.version}.",
            blocks=to_wandb(all_blocks, api, entity=entity, project=project),
            width="fluid",
        )
        report.save()
        return str(report.url)
    except Exception as error:  # wandb raises many kinds, plain Exception among them
        reason = str(error).partition("\n")[0]
        raise OutputError(
            f"wandb did not take the report ({type(error).__name__}: {reason}); check the login, that "
            f"project {project!r} exists, and that offline runs were sent: "
            "for d in RUN/*/wandb/offline-run-*; do wandb sync $d; done"
        ) from error
