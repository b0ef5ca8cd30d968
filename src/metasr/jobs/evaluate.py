"""The job that evaluates given weights: a table of them on test images, beside interpolation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from metasr.config.chain import maps_recipe
from metasr.config.comparison import compared_entries
from metasr.config.evaluation import evaluation_plan
from metasr.degradation.pipeline import Degradation
from metasr.evaluation.evaluate import require_scores
from metasr.evaluation.loss_curves import CURVES_NAME, LossCurves, LossPoint
from metasr.evaluation.manifest import MANIFEST_NAME, Manifest
from metasr.evaluation.parts import Parts
from metasr.evaluation.plan import EvaluationPlan
from metasr.evaluation.printing import format_rows
from metasr.evaluation.results import Table
from metasr.evaluation.solved import Entry
from metasr.figures.kernel_pictures import KernelBook
from metasr.figures.picture_book import PictureBook
from metasr.io.files import check_new_file, write_text
from metasr.recipes.base import Recipe
from metasr.text import pluralize
from metasr.training.map_maker import draw_test_maps


def evaluate_weights(cfg: DictConfig, folder: Path) -> None:
    """Evaluate given weights and print the table."""
    target = table_path(cfg.table, folder, overwrite=cfg.overwrite)
    plan = evaluation_plan(cfg)
    entries, weights = compared_entries(cfg, plan)
    recipe = None if weights is None or not cfg.stages else maps_recipe(cfg, weights)

    measured = measure(
        plan, lambda degradation: entries.get(str(degradation), []), folder, target, recipe=recipe,
        go_on_beside=folder.parent,
    )  # fmt: skip
    print()
    print(format_rows(measured.table, title=f"{plan}, x{plan.scale:g}, PSNR in dB and SSIM on Y"))
    print(f"\n{measured.lr_images}\ntable: {target}\npictures and per-image scores: {folder}")
    require_scores(measured.table)


@dataclass(frozen=True)
class Measured:
    """An evaluation, as it was written.

    Attributes:
        table: the scores.
        losses: the solvers' own losses by number of updates.
        pictures: image files.
        lr_images: one line on the LR images.
    """

    table: Table
    losses: list[LossPoint]
    pictures: list[Path]
    lr_images: str


def measure(
    plan: EvaluationPlan,
    learned: Callable[[Degradation], Sequence[Entry]],
    folder: Path,
    target: Path,
    *,
    recipe: Recipe | None = None,
    go_on_beside: Path | None = None,
) -> Measured:
    """Measure, and write everything that comes of it; what is finished of it outlives a kill, and is gone on with.

    Args:
        plan: what is measured.
        learned: gives the rows with weights for a degradation.
        folder: the job's.
        target: where the table goes.
        recipe: whose maps are drawn; none for none.
        go_on_beside: the folder of jobs, of which one that was left unfinished is gone on with.
    """
    book, losses, kernels, manifest = PictureBook(), LossCurves(), KernelBook(), Manifest(plan.seed)
    parts = Parts(folder, plan.question, keep_pixels=book.wants_pixels)
    if go_on_beside is not None:
        parts.adopt(go_on_beside)
    table = plan.measure(learned, manifest, parts, book, losses, kernels)
    write_text(folder / MANIFEST_NAME, manifest.to_json())
    write_text(target, table.to_csv())
    write_text(_per_image(target), table.images_to_csv())
    write_text(folder / CURVES_NAME, losses.to_csv())
    pictures = book.draw(folder / "pictures", _adaptation_curves(table)) + kernels.write(folder)
    if recipe is not None and plan.problems:
        pictures += draw_test_maps(
            recipe, plan.testset, folder / "pictures", degradation=plan.problems[0], protocol=plan.protocol,
            seed=plan.seed,
        )  # fmt: skip
    parts.remove()
    return Measured(table, list(losses.points), pictures, _describe_lr_images(plan, manifest, folder))


def table_path(wanted: str | None, folder: Path, *, overwrite: bool) -> Path:
    """Where the table goes, after a check that it may be written there.

    Args:
        wanted: what ``table=`` was given; none for ``table.csv`` in the job's folder.
        folder: the job's.
        overwrite: whether a file of that name may be replaced.

    Raises:
        OutputError: if it may not.
    """
    if not wanted:
        return folder / "table.csv"
    path = Path(wanted).expanduser()
    for target in (path, _per_image(path)):
        check_new_file(target, overwrite=overwrite, label="table=", instead="another table=FILE")
    return path


def _adaptation_curves(table: Table) -> dict[str, dict[int, float]]:
    """PSNR by requested updates: the run's own rows where there are any, else those of the weights evaluated."""
    adapted = [row for row in table.rows if row.requested is not None and math.isfinite(row.psnr_y)]
    own = [row for row in adapted if row.weights == "run"]
    curves: dict[str, dict[int, float]] = {}
    for row in own or adapted:
        curves.setdefault(f"{row.degradation}, {row.solver}", {})[int(row.updates)] = row.psnr_y
    return curves


def _describe_lr_images(plan: EvaluationPlan, manifest: Manifest, folder: Path) -> str:
    if plan.lr_images is not None:
        return f"test set: {pluralize(len(plan.lr_images), 'ready LR image')} of {plan.lr_images.paths[0].parent}"
    lr_images = pluralize(len(manifest.lines), "LR image")
    return f"test set: {lr_images} made on the fly, seed {manifest.seed}, listed in {folder / MANIFEST_NAME}"


def _per_image(table: Path) -> Path:
    return table.with_name(f"{table.stem}_images.csv")
