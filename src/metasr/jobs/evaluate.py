"""The job that evaluates given weights: a table of them on test images, beside interpolation."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from metasr.config.chain import maps_recipe
from metasr.config.evaluation import evaluation_plan, given_entries
from metasr.evaluation.loss_curves import CURVES_NAME, LossCurves
from metasr.evaluation.manifest import MANIFEST_NAME, Manifest
from metasr.evaluation.results import Table, format_rows
from metasr.figures.kernel_pictures import KernelBook
from metasr.figures.picture_book import PictureBook
from metasr.io.files import check_new_file, write_text
from metasr.text import pluralize
from metasr.training.map_maker import draw_test_maps


def evaluate_weights(cfg: DictConfig, folder: Path) -> None:
    """Evaluate given weights and print the table."""
    target = table_path(cfg.table, folder, overwrite=cfg.overwrite)
    plan = evaluation_plan(cfg)
    entries, weights = given_entries(cfg, plan)
    recipe = None if weights is None or not cfg.stages else maps_recipe(cfg, weights)

    book, losses, kernels = PictureBook(), LossCurves(), KernelBook(plan.protocol)
    manifest = Manifest(plan.seed)
    table = plan.measure(lambda degradation: entries.get(str(degradation), []), manifest, book, losses, kernels)
    write_results(table, target, folder, manifest, losses)
    book.draw(folder / "pictures", adaptation_curves(table))
    kernels.write(folder)
    if recipe is not None and plan.problems:
        draw_test_maps(
            recipe, plan.testset, folder / "pictures", degradation=plan.problems[0], protocol=plan.protocol,
            seed=plan.seed,
        )  # fmt: skip
    print()
    print(format_rows(table, title=f"{plan}, x{plan.scale:g}, PSNR in dB and SSIM on Y"))
    print(f"\n{describe_manifest(manifest, folder)}\ntable: {target}\npictures and per-image scores: {folder}")


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
    for made in (path, _per_image(path)):
        check_new_file(made, overwrite=overwrite, label="table=", instead="another table=FILE")
    return path


def write_results(table: Table, target: Path, folder: Path, manifest: Manifest, losses: LossCurves) -> None:
    """Write an evaluation's files: the table and its scores by image, the manifest and the loss curves."""
    write_text(folder / MANIFEST_NAME, manifest.to_csv())
    write_text(target, table.to_csv())
    write_text(_per_image(target), table.images_to_csv())
    write_text(folder / CURVES_NAME, losses.to_csv())


def adaptation_curves(table: Table) -> dict[str, dict[int, float]]:
    """PSNR by number of updates: the run's own rows where there are any, else those of the weights evaluated."""
    adapted = [row for row in table.rows if row.solver == "adapt"]
    own = [row for row in adapted if row.weights == "run"]
    curves: dict[str, dict[int, float]] = {}
    for row in own or adapted:
        curves.setdefault(row.degradation, {})[int(row.updates)] = row.psnr_y
    return curves


def describe_manifest(manifest: Manifest, folder: Path) -> str:
    """One line on the LR images that were made."""
    made = pluralize(len(manifest.lines), "LR image")
    return f"test set: {made} made on the fly, seed {manifest.seed}, listed in {folder / MANIFEST_NAME}"


def _per_image(table: Path) -> Path:
    return table.with_name(f"{table.stem}_images.csv")
