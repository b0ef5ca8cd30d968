"""An evaluation's table, curves and pictures to wandb, as :mod:`metasr.runs.wandb_names` lists them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from metasr.evaluation.results import ImageRow, Table
from metasr.runs.wandb_names import score_name

_COLUMNS = (
    "degradation", "solver", "weights", "updates", "psnr_y", "ssim_y", "hf_error_y", "seconds", "published_psnr_y",
)  # fmt: skip
_X = "curves/updates"


def log_results(logger: Any, *, table: Table, losses: str, pictures: Sequence[Path]) -> None:
    """Log an evaluation.

    Args:
        logger: Lightning's wandb logger; its run is left open.
        table: the scores.
        losses: what ``curves.csv`` holds.
        pictures: image files, logged by their names.
    """
    run = logger.experiment
    rows = table.rows
    logger.log_table("test/table", columns=list(_COLUMNS), data=[[getattr(r, c) for c in _COLUMNS] for r in rows])
    names = [f.name for f in fields(ImageRow)]
    logger.log_table("test/images", columns=names, data=[list(asdict(image).values()) for image in table.images])
    lines = list(csv.reader(io.StringIO(losses)))
    logger.log_table("test/curves", columns=lines[0], data=[[*line[:3], *map(float, line[3:])] for line in lines[1:]])
    for row in rows:
        for metric, value in (("psnr_y", row.psnr_y), ("ssim_y", row.ssim_y)):
            name = score_name(
                metric, degradation=row.degradation, solver=row.solver, weights=row.weights, updates=row.updates
            )
            run.summary[name] = value
    for path in pictures:
        logger.log_image(f"test/{path.stem}", [str(path)])
    run.define_metric(_X)
    run.define_metric("curves/*", step_metric=_X)
    for updates, values in sorted(curves(table, losses).items()):
        run.log({_X: updates, **values})


def curves(table: Table, losses: str) -> dict[int, dict[str, float]]:
    """PSNR and the solver's own loss by number of updates.

    Args:
        table: the scores; solvers that decide themselves when to stop have no such curve.
        losses: what ``curves.csv`` holds.

    Returns:
        By number of updates, values by ``curves/psnr_y/<degradation>/<solver>/<weights>`` and ``curves/loss/...``.
    """
    found: dict[int, dict[str, float]] = {}
    counted = [row for row in table.rows if not row.own_stop]
    for row in counted:
        line = (row.degradation, row.solver, row.weights)
        if sum((r.degradation, r.solver, r.weights) == line for r in counted) > 1:  # one point is no curve
            found.setdefault(int(row.updates), {})[f"curves/psnr_y/{'/'.join(line)}"] = row.psnr_y
    for told in csv.DictReader(io.StringIO(losses)):
        name = f"curves/loss/{told['degradation']}/{told['solver']}/{told['weights']}"
        found.setdefault(int(told["updates"]), {})[name] = float(told["loss"])
    return found
