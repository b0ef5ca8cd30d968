"""An evaluation's scores, curves and pictures to TensorBoard, under the names that ``runs.wandb_names`` lists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metasr.evaluation.loss_curves import LossPoint
from metasr.evaluation.results import Table
from metasr.report.wandb.results import curves
from metasr.runs.wandb_names import score_name
from metasr.training.loggers import add_picture


def log_results(logger: Any, *, table: Table, losses: Sequence[LossPoint], pictures: Sequence[Path]) -> None:
    """Log an evaluation.

    Args:
        logger: Lightning's TensorBoard logger; its writer is left open.
        table: the scores; as scalars, and as one table of text.
        losses: mean losses by number of updates.
        pictures: image files, logged by their names.
    """
    writer = logger.experiment
    lines = ["| degradation | solver | weights | updates | PSNR | SSIM |", "| --- | --- | --- | ---: | ---: | ---: |"]
    for row in (row for row in table.rows if row.images):
        line = (row.degradation, row.solver, row.weights, f"{row.updates:g}")
        lines.append(f"| {' | '.join(line)} | {row.psnr_y:.2f} | {row.ssim_y:.4f} |")
        for metric, value in (("psnr_y", row.psnr_y), ("ssim_y", row.ssim_y)):
            name = score_name(
                metric, degradation=row.degradation, solver=row.solver, weights=row.weights, updates=row.updates
            )
            writer.add_scalar(name, value, 0)
    writer.add_text("test/table", "\n".join(lines))
    for updates, values in sorted(curves(table, losses).items()):
        for name, value in values.items():
            writer.add_scalar(name, value, updates)
    for path in pictures:
        add_picture(writer, f"test/{path.stem}", path)
