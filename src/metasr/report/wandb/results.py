"""An evaluation's table, curves and pictures to wandb, as ``runs.wandb_names`` lists them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from metasr.evaluation.loss_curves import LossPoint
from metasr.evaluation.results import ImageRow, Table
from metasr.runs.wandb_names import score_name

_COLUMNS = (
    "degradation", "solver", "weights", "updates", "images", "psnr_y", "ssim_y", "hf_error_y", "seconds",
    "published_psnr_y", "failed",
)  # fmt: skip
_X = "curves/updates"


def log_results(logger: Any, *, table: Table, losses: Sequence[LossPoint], pictures: Sequence[Path]) -> None:
    """Log an evaluation.

    Args:
        logger: Lightning's wandb logger; its run is left open.
        table: the scores.
        losses: mean losses by number of updates.
        pictures: image files, logged by their names.
    """
    run = logger.experiment
    rows = table.rows
    logger.log_table("test/table", columns=list(_COLUMNS), data=[[getattr(r, c) for c in _COLUMNS] for r in rows])
    names = [f.name for f in fields(ImageRow)]
    logger.log_table("test/images", columns=names, data=[list(asdict(image).values()) for image in table.images])
    logger.log_table("test/curves", columns=list(LossPoint._fields), data=[list(point) for point in losses])
    for row in (row for row in rows if row.images):
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


def curves(table: Table, losses: Sequence[LossPoint]) -> dict[int, dict[str, float]]:
    """PSNR and the solver's own loss by number of updates.

    Args:
        table: the scores; solvers that decide themselves when to stop have no such curve.
        losses: mean losses by number of updates.

    Returns:
        By number of updates, values by ``curves/psnr_y/<degradation>/<solver>/<weights>`` and ``curves/loss/...``.
    """
    by_step: dict[int, dict[str, float]] = {}
    counted = [row for row in table.rows if not row.own_stop and math.isfinite(row.psnr_y)]
    for row in counted:
        line = (row.degradation, row.solver, row.weights)
        if sum((r.degradation, r.solver, r.weights) == line for r in counted) > 1:  # one point is no curve
            by_step.setdefault(int(row.updates), {})[f"curves/psnr_y/{'/'.join(line)}"] = row.psnr_y
    for point in losses:
        name = f"curves/loss/{point.degradation}/{point.solver}/{point.weights}"
        by_step.setdefault(point.updates, {})[name] = point.loss
    return by_step
