"""One job: run an experiment, evaluate weights, or upscale photos; composed config in, files and a table out."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from metasr.config import build
from metasr.config.entries import (
    check_solvers,
    entry,
    learned_entries,
    needs_weights,
    own_entries,
    solver_nodes,
)
from metasr.config.schema import TaskName
from metasr.data.catalog import CATALOG, ImageSet, image_set
from metasr.data.meta_set import require_disjoint, require_unseen
from metasr.degradation import names
from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError, SliceOverError, WeightsError, nearest
from metasr.evaluation.evaluate import Entry, Watcher, evaluate
from metasr.evaluation.loss_curves import CURVES_NAME, LossCurves, together
from metasr.evaluation.manifest import MANIFEST_NAME, Manifest
from metasr.evaluation.results import Table, format_pivot, format_rows
from metasr.figures.kernel_pictures import KernelBook
from metasr.figures.picture_book import PictureBook
from metasr.io.files import check_new_file, write_text
from metasr.io.images import list_images
from metasr.jobs.offset import offsets
from metasr.jobs.prepare import prepare
from metasr.jobs.report import report
from metasr.jobs.search import validation_psnr
from metasr.jobs.upscale import upscale
from metasr.paths import conf_folder, weights_folder
from metasr.report.wandb.names import EVALUATION
from metasr.report.wandb.results import log_results
from metasr.runs.folder import (
    evaluate_command,
    interpreter,
    is_stamp,
    key_of,
    link_latest,
    typed_choices,
)
from metasr.runs.weights import choose_for, has_released
from metasr.text import pluralize
from metasr.training.chain import Score, is_rank_zero, run_chain
from metasr.training.map_maker import draw_test_maps
from metasr.training.validation import validate
from metasr.training.wandb_login import settle_wandb

log = logging.getLogger(__name__)

_UNFITTING_HINTS = (
    ".*does not have many workers.*",
    ".*mid-epoch.*",
    ".*ended before the epoch ended.*",
    ".*`max_epochs`.*",
    ".*lr_scheduler.step.*",
    ".*number of training batches.*",
    ".*Checkpoint directory.*",
    ".*logs directory.*",
    ".*isinstance.*LeafSpec.*",
)


def execute(cfg: DictConfig, folder: Path, *, score: Score = validate) -> float | None:
    """Do a composed job.

    Args:
        cfg: the whole config.
        folder: the job's own folder.
        score: validation metrics of a recipe in the making.

    Returns:
        The validation PSNR of a run's last stage in dB, where it has any.
    """
    _quieten()
    if cfg.task == TaskName.run:
        return run_experiment(cfg, folder, score=score)
    if cfg.task == TaskName.evaluate:
        evaluate_weights(cfg, folder)
    elif cfg.task == TaskName.report:
        report(cfg, folder)
    elif cfg.task == TaskName.prepare:
        for prepared in prepare(cfg):
            print(prepared, flush=True)
    elif cfg.task == TaskName.offset:
        for found in offsets(cfg):
            print(found, flush=True)
    else:
        for done in upscale(cfg):
            print(done, flush=True)
    return None


def run_experiment(cfg: DictConfig, folder: Path, *, score: Score = validate) -> float | None:
    """Train the chain, evaluate its weights beside the released ones, and print the table; give the validation PSNR."""
    if cfg.name is None:
        known = sorted(path.stem for path in (conf_folder() / "experiment").glob("*.yaml"))
        raise InputError(f"no experiment is chosen: add +experiment=NAME, one of {', '.join(known)}")
    cfg = settle_wandb(cfg)
    testset = check_evaluation(cfg)
    start = time.perf_counter()
    if is_rank_zero():
        _link_latest(folder)
    else:
        logging.getLogger().setLevel(logging.WARNING)
    try:
        trained = run_chain(cfg, folder, score=score) if cfg.stages else None
    except SliceOverError as over:
        if is_rank_zero():
            print(over, flush=True)
        return None
    objective = None if trained is None else validation_psnr(trained.card.get("metrics", {}))
    if not is_rank_zero():
        return objective
    trained_seconds = time.perf_counter() - start

    def learned(degradation: Degradation) -> list[Entry]:
        rows = [] if trained is None else learned_entries(cfg, trained)
        return rows + _released_beside(cfg, degradation)

    book, losses, kernels = PictureBook(), LossCurves(), KernelBook(build.protocol(cfg))
    manifest = Manifest(cfg.seed)
    table = _evaluate(cfg, testset, learned, manifest, book, losses, kernels)
    _write_tables(table, folder, cfg.table)
    write_text(folder / MANIFEST_NAME, manifest.to_csv())
    write_text(folder / CURVES_NAME, losses.to_csv())
    pictures = book.draw(folder / "pictures", _curves(table)) + kernels.write(folder)
    if trained is not None:
        pictures += draw_test_maps(cfg, trained, testset, folder / "pictures")
    _log_results(cfg, folder, table, losses.to_csv(), pictures)
    _print_run(cfg, folder, table, testset, trained_seconds)
    print(_told_of(manifest, folder))
    return objective


def check_evaluation(cfg: DictConfig) -> ImageSet:
    """Check everything that the evaluation will ask for, so that no training is lost to a typing error; give images.

    Raises:
        MetasrError: telling what is wrong.
    """
    for name in names.expand(cfg.degradations, cfg.scale):
        names.parse(name, scale=cfg.scale)
    _refuse_unused(cfg)
    check_solvers(cfg)
    build.protocol(cfg)
    if cfg.table:
        _check_table(Path(cfg.table).expanduser(), overwrite=cfg.overwrite)
    found = test_images(cfg)
    if cfg.task == TaskName.run:  # weights that are there already tell in their card what they have seen
        for stage in cfg.stages:
            meta_set = build.meta_set(build.sampler(cfg, str(stage)))
            if meta_set is not None:
                require_disjoint(meta_set, found)
    return found


def _refuse_unused(cfg: DictConfig) -> None:
    """Refuse choices that were typed and that nothing in the experiment listens to."""
    typed = {key_of(choice) for choice in typed_choices(cfg.name)}
    if "adapt_steps" in typed and not any("steps" in node for node in solver_nodes(cfg)):
        instead = "its bound is solver.max_steps" if "max_steps" in cfg.solver else "it takes none"
        raise InputError(f"adapt_steps={cfg.adapt_steps}: solver {cfg.solver.name} has no number of updates; {instead}")
    listened = OmegaConf.to_yaml(cfg.stages, resolve=False)
    for key in ("rates", "order"):
        if key in typed and cfg.task == TaskName.run and f"${{{key}}}" not in listened:
            raise InputError(f"{key}={cfg[key]}: no stage of {cfg.name} has {key}; leave it out")


def _released_beside(cfg: DictConfig, degradation: Degradation) -> list[Entry]:
    """The released weights of the same scale, for comparison with a run's own."""
    if not cfg.evaluation.released or not has_released(weights_folder(), method=cfg.method, scale=cfg.scale):
        return []
    try:
        known = choose_for(cfg, "released", degradation)
        if known.card.get("scale") != cfg.scale:
            return []
        return [entry(cfg, cfg.solver, known, updates=list(cfg.evaluation.released_updates))]
    except WeightsError as error:
        log.info("no released weights beside: %s", error)
        return []


def _check_table(path: Path, *, overwrite: bool) -> None:
    for made in (path, _per_image(path)):
        check_new_file(made, overwrite=overwrite, label="table=", instead="another table=FILE")


def _per_image(table: Path) -> Path:
    return table.with_name(f"{table.stem}_images.csv")


def evaluate_weights(cfg: DictConfig, folder: Path) -> None:
    """Evaluate given weights and print the table."""
    testset = check_evaluation(cfg)
    made: dict[str, list[Entry]] = {}
    chosen: dict[str, list[Entry]] = {}
    weights = None
    wanted = names.expand(cfg.degradations, cfg.scale)
    for degradation in (names.parse(name, scale=cfg.scale) for name in wanted):  # before any of the work
        if not needs_weights(cfg):
            if cfg.weights is not None:
                raise InputError(f"weights={cfg.weights}: solver {cfg.solver.name} has none; leave it out")
            break
        if weights is None or cfg.weights in (None, "released"):  # else the same weights for all
            weights = choose_for(cfg, cfg.weights, degradation)
        if weights.label not in made:
            require_unseen(weights.card.get("meta_set") or {}, testset)
            made[weights.label] = learned_entries(cfg, weights)
        chosen[str(degradation)] = made[weights.label]

    book, losses, kernels = PictureBook(), LossCurves(), KernelBook(build.protocol(cfg))
    manifest = Manifest(cfg.seed)
    watchers = (book, losses, kernels)
    table = _evaluate(cfg, testset, lambda degradation: chosen.get(str(degradation), []), manifest, *watchers)
    write_text(folder / MANIFEST_NAME, manifest.to_csv())
    path = _write_tables(table, folder, cfg.table)
    write_text(folder / CURVES_NAME, losses.to_csv())
    book.draw(folder / "pictures", _curves(table))
    kernels.write(folder)
    if weights is not None and cfg.stages:
        draw_test_maps(cfg, weights, testset, folder / "pictures")
    print()
    print(format_rows(table, title=f"{_describe(testset)}, x{cfg.scale:g}, PSNR in dB and SSIM on Y"))
    print(f"\n{_told_of(manifest, folder)}\ntable: {path}\npictures and per-image scores: {folder}")


def test_images(cfg: DictConfig) -> ImageSet:
    """The test set: a catalog name, or a folder of HR images.

    Raises:
        InputError: for an unknown name that is no folder either.
    """
    name = cfg.testset
    if is_known_set(name):
        found = image_set(name, split="test", root=cfg.testset_root, download=cfg.data.download)
    elif Path(name).expanduser().is_dir():
        path = Path(name).expanduser()
        found = ImageSet(path.name, "test", tuple(list_images(path)))
    else:
        known = nearest(name, filter(is_known_set, CATALOG))
        raise InputError(f"testset {name!r} is neither a folder nor a known set: {known}")
    return found.subset(cfg.max_images)


def is_known_set(name: str) -> bool:
    """Whether a testset's name means a set of the catalog, rather than a folder of the user's."""
    return name in CATALOG and name != "image_folder"


def _evaluate(
    cfg: DictConfig,
    testset: ImageSet,
    learned: Callable[[Degradation], list[Entry]],
    manifest: Manifest,
    *watchers: Watcher,
) -> Table:
    """The table of the interpolation rows, and of what was learned or, by a method without weights, its own row."""
    own = own_entries(cfg)
    return evaluate(
        testset,
        list(cfg.degradations),
        lambda degradation: [*own, *learned(degradation)],
        scale=cfg.scale,
        seed=cfg.seed,
        protocol=build.protocol(cfg),
        device=build.device(cfg.device),
        compare=is_known_set(cfg.testset) and cfg.max_images is None,
        method=cfg.method,
        watch=together(*watchers),
        manifest=manifest,
    )


def _told_of(manifest: Manifest, folder: Path) -> str:
    made = pluralize(len(manifest.lines), "LR image")
    return f"test set: {made} made on the fly, seed {manifest.seed}, listed in {folder / MANIFEST_NAME}"


def _write_tables(table: Table, folder: Path, wanted: str | None) -> Path:
    path = Path(wanted).expanduser() if wanted else folder / "table.csv"
    write_text(path, table.to_csv())
    write_text(_per_image(path), table.images_to_csv())
    return path


def _curves(table: Table) -> dict[str, dict[int, float]]:
    """PSNR by number of updates: the run's own rows where there are any, else those of the weights evaluated."""
    adapted = [row for row in table.rows if row.solver == "adapt"]
    own = [row for row in adapted if row.weights == "run"]
    curves: dict[str, dict[int, float]] = {}
    for row in own or adapted:
        curves.setdefault(row.degradation, {})[int(row.updates)] = row.psnr_y
    return curves


def _log_results(cfg: DictConfig, folder: Path, table: Table, losses: str, pictures: list[Path]) -> None:
    """The table, pictures and curves to wandb, as a job of their own; CSV files are there already."""
    if cfg.logger.wandb is None:
        return
    from pytorch_lightning.loggers import WandbLogger  # not light

    for logger in build.loggers(cfg, folder / "evaluation", run=folder, job=EVALUATION):
        if isinstance(logger, WandbLogger):
            log_results(logger, table=table, losses=losses, pictures=pictures)
            logger.experiment.finish()


def _print_run(cfg: DictConfig, folder: Path, table: Table, testset: ImageSet, seconds: float) -> None:
    ours = [r.key for r in table.rows if r.weights == "run" and r.solver == cfg.solver.name]
    title = f"{cfg.name}: PSNR on Y in dB, {_describe(testset)}, x{cfg.scale:g}"
    print()
    if len(solver_nodes(cfg)) > 1:
        print(format_rows(table, title=title))
    else:
        print(format_pivot(table, title=title, highlight=max(ours, key=lambda k: k[2]) if ours else None))
    print()
    note = OmegaConf.select(cfg, f"budget.{cfg.method}.note")
    print(f"profile {cfg.profile_name}: {cfg.profile_note}{f'; {note}' if note else ''}")
    there = has_released(weights_folder(), method=cfg.method, scale=cfg.scale)
    if cfg.stages:
        print(
            f"trained on {cfg.data.name} (seed {cfg.seed}) in {seconds:.0f} s"
            + ("; released weights: see weights/README.md" if there else "")
        )
    print(f"run folder: {folder}")
    if cfg.profile_name != "paper" and cfg.stages:
        what = "a long schedule" if cfg.method == "weightnet" else "the published schedule"
        print(
            f"{what}: {interpreter()} src/run.py +experiment={cfg.name} profile=paper data=div2k "
            "data.root=FOLDER   (on one data-centre GPU, in minutes: profile=gpu)"
        )
    if cfg.stages:
        print(f"the same weights on Set5: {evaluate_command(cfg.name, folder)}")


def _describe(testset: ImageSet) -> str:
    return f"{pluralize(len(testset), 'image')} of {testset.name}"


def _link_latest(folder: Path) -> None:
    """Point ``latest`` beside the run folders at this one; a folder of the user's own naming is none of them."""
    if is_stamp(folder.name):
        link_latest(folder)


def _quieten() -> None:
    """Silence hints of Lightning's that do not fit: data is drawn on the device, one epoch is the whole stage."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells when it looks for fonts
    for text in _UNFITTING_HINTS:
        warnings.filterwarnings("ignore", message=text)
