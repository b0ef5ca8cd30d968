"""One job: run an experiment, evaluate weights, or upscale photos; composed config in, files and a table out."""

from __future__ import annotations

import logging
import os
import shlex
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from metasr.data.catalog import CATALOG, ImageSet, image_set
from metasr.data.images import list_images
from metasr.data.meta_set import WeightedSampler, require_disjoint
from metasr.degradation import names
from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError, OutputError, SliceOverError, WeightsError, nearest
from metasr.experiment import build
from metasr.experiment.curves import CURVES_NAME, LossCurves, together
from metasr.experiment.entries import (
    check_solvers,
    entry,
    learned_entries,
    needs_weights,
    own_entries,
)
from metasr.experiment.evaluate import Entry, Watcher, evaluate
from metasr.experiment.maps import draw_test_maps
from metasr.experiment.pictures import PictureBook
from metasr.experiment.report import report
from metasr.experiment.run_card import write_text
from metasr.experiment.run_folder import interpreter, is_stamp, quoted, require_permission
from metasr.experiment.schema import TaskName
from metasr.experiment.stages import is_chief, run_chain
from metasr.experiment.upscale import upscale
from metasr.experiment.validation import validate
from metasr.experiment.weights import choose_for
from metasr.project import conf_folder
from metasr.report.table import Table, format_pivot, format_rows

log = logging.getLogger(__name__)

_UNFITTING_HINTS = (
    ".*does not have many workers.*",
    ".*mid-epoch.*",
    ".*`max_epochs`.*",
    ".*lr_scheduler.step.*",
    ".*number of training batches.*",
    ".*Checkpoint directory.*",
    ".*logs directory.*",
    ".*isinstance.*LeafSpec.*",
)


def execute(cfg: DictConfig, folder: Path) -> None:
    """Do a composed job.

    Args:
        cfg: the whole config.
        folder: the job's own folder.
    """
    _quieten()
    if cfg.task == TaskName.run:
        run_experiment(cfg, folder)
    elif cfg.task == TaskName.evaluate:
        evaluate_weights(cfg, folder)
    elif cfg.task == TaskName.report:
        report(cfg, folder)
    else:
        for done in upscale(cfg):
            print(done, flush=True)


def run_experiment(cfg: DictConfig, folder: Path) -> None:
    """Train the chain, evaluate its weights beside the released ones, and print the table."""
    if cfg.name is None:
        known = sorted(path.stem for path in (conf_folder() / "experiment").glob("*.yaml"))
        raise InputError(f"no experiment is chosen: add +experiment=NAME, one of {', '.join(known)}")
    testset = check_evaluation(cfg)
    start = time.perf_counter()
    if is_chief():
        _link_latest(folder)
    else:
        logging.getLogger().setLevel(logging.WARNING)
    try:
        trained = run_chain(cfg, folder, score=validate) if cfg.stages else None
    except SliceOverError as over:
        if is_chief():
            print(over, flush=True)
        return
    if not is_chief():
        return
    trained_seconds = time.perf_counter() - start

    def learned(degradation: Degradation) -> list[Entry]:
        rows = [] if trained is None else learned_entries(cfg, trained)
        return rows + _released_beside(cfg, degradation)

    book, losses = PictureBook(), LossCurves()
    table = _evaluate(cfg, testset, learned, book, losses)
    _write_tables(table, folder, cfg.table)
    write_text(folder / CURVES_NAME, losses.to_csv())
    pictures = book.draw(folder / "pictures", _curves(table))
    if trained is not None:
        pictures += draw_test_maps(cfg, trained, testset, folder / "pictures")
    _log_results(cfg, folder, table, pictures)
    _print_run(cfg, folder, table, testset, trained_seconds)


def check_evaluation(cfg: DictConfig) -> ImageSet:
    """Check everything that the evaluation will ask for, so that no training is lost to a typing error; give images.

    Raises:
        MetasrError: telling what is wrong.
    """
    for name in cfg.degradations:
        names.parse(name, scale=cfg.scale)
    check_solvers(cfg)
    build.protocol(cfg)
    if cfg.table:
        _check_table(Path(cfg.table).expanduser(), overwrite=cfg.overwrite)
    found = test_images(cfg)
    for stage in cfg.stages:
        sampler = build.sampler(cfg, str(stage))
        if isinstance(sampler, WeightedSampler):
            require_disjoint(sampler.meta_set, found)
    return found


def _released_beside(cfg: DictConfig, degradation: Degradation) -> list[Entry]:
    """The released weights of the same scale, for comparison with a run's own."""
    if not cfg.evaluation.released:
        return []
    try:
        known = choose_for(cfg, "released", degradation)
    except WeightsError as error:
        log.info("no released weights beside: %s", error)
        return []
    if known.card.get("scale") != cfg.scale:
        return []
    return [entry(cfg, cfg.solver, known, updates=list(cfg.evaluation.released_updates))]


def _check_table(path: Path, *, overwrite: bool) -> None:
    if path.is_dir():
        raise OutputError(f"table={path} is a folder; give a file name in it, for instance {path / 'table.csv'}")
    for made in (path, _per_image(path)):
        if os.path.lexists(made) and not overwrite:
            raise OutputError(f"table={path}: {made} exists already; choose another name, or allow it: overwrite=true")
    above = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    if not above.is_dir():
        raise OutputError(f"table={path} cannot be written: {above} is not a folder; choose another path")
    require_permission(path.parent, instead="give a file name elsewhere as table=FILE")


def _per_image(table: Path) -> Path:
    return table.with_name(f"{table.stem}_images.csv")


def evaluate_weights(cfg: DictConfig, folder: Path) -> None:
    """Evaluate given weights and print the table."""
    testset = check_evaluation(cfg)
    made: dict[str, list[Entry]] = {}
    chosen: dict[str, list[Entry]] = {}
    weights = None
    for degradation in (names.parse(name, scale=cfg.scale) for name in cfg.degradations):  # before any of the work
        if not needs_weights(cfg):
            if cfg.weights is not None:
                raise InputError(f"weights={cfg.weights}: solver {cfg.solver.name} has none; leave it out")
            break
        if weights is None or cfg.weights in (None, "released"):  # else the same weights for all
            weights = choose_for(cfg, cfg.weights, degradation)
        if weights.label not in made:
            made[weights.label] = learned_entries(cfg, weights)
        chosen[str(degradation)] = made[weights.label]

    book, losses = PictureBook(), LossCurves()
    table = _evaluate(cfg, testset, lambda degradation: chosen.get(str(degradation), []), book, losses)
    path = _write_tables(table, folder, cfg.table)
    write_text(folder / CURVES_NAME, losses.to_csv())
    book.draw(folder / "pictures", _curves(table))
    if weights is not None and cfg.stages:
        draw_test_maps(cfg, weights, testset, folder / "pictures")
    print()
    print(format_rows(table, title=f"{_describe(testset)}, x{cfg.scale:g}, PSNR in dB and SSIM on Y"))
    print(f"\ntable: {path}\npictures and per-image scores: {folder}")


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
    cfg: DictConfig, testset: ImageSet, learned: Callable[[Degradation], list[Entry]], *watchers: Watcher
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
        watch=together(*watchers),
    )


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


def _log_results(cfg: DictConfig, folder: Path, table: Table, pictures: list[Path]) -> None:
    """The table, pictures and curves to wandb, as a job of their own; CSV files are there already."""
    loggers = build.loggers(cfg, folder / "evaluation", group=folder.name, job="evaluate")
    if not loggers:
        return
    from pytorch_lightning.loggers import WandbLogger  # not light

    for logger in loggers:
        if not isinstance(logger, WandbLogger):
            continue
        run = logger.experiment
        columns = [
            "degradation", "solver", "weights", "updates", "psnr_y", "ssim_y", "hf_error_y", "seconds",
            "published_psnr_y",
        ]  # fmt: skip
        logger.log_table("test/table", columns=columns, data=[[getattr(r, c) for c in columns] for r in table.rows])
        for row in table.rows:
            run.summary[f"test/psnr_y/{row.degradation}/{row.solver}/{row.weights}@{row.updates:g}"] = row.psnr_y
        for path in pictures:
            logger.log_image(f"test/{path.stem}", [str(path)])
        run.finish()


def _print_run(cfg: DictConfig, folder: Path, table: Table, testset: ImageSet, seconds: float) -> None:
    ours = [r.key for r in table.rows if r.weights == "run"]
    print()
    print(
        format_pivot(
            table,
            title=f"{cfg.name}: PSNR on Y in dB, {_describe(testset)}, x{cfg.scale:g}",
            highlight=max(ours, key=lambda k: k[2]) if ours else None,
        )
    )
    print()
    print(f"profile {cfg.profile_name}: {cfg.profile_note}")
    print(f"trained on {cfg.data.name} (seed {cfg.seed}) in {seconds:.0f} s; released weights: see weights/README.md")
    print(f"run folder: {folder}")
    if cfg.profile_name != "paper" and cfg.stages:
        print(
            f"the published schedule: {interpreter()} src/run.py +experiment={cfg.name} profile=paper data=div2k "
            "data.root=FOLDER   (on one data-centre GPU, in minutes: profile=gpu)"
        )
    these = shlex.quote(f"weights={quoted(str(folder))}")
    print(
        f"the same weights on Set5: {interpreter()} src/run.py +experiment={cfg.name} task=evaluate {these} "
        "testset=set5 testset_root=FOLDER"
    )


def _describe(testset: ImageSet) -> str:
    return f"{len(testset)} image{'' if len(testset) == 1 else 's'} of {testset.name}"


def _link_latest(folder: Path) -> None:
    """Point ``latest`` beside the run folders at this one; file systems without links do without."""
    link = folder.parent / "latest"
    if not is_stamp(folder.name) or (link.exists() and not link.is_symlink()):
        return
    temporary = folder.parent / f".latest.{os.getpid()}"
    try:
        temporary.symlink_to(folder.name, target_is_directory=True)
        os.replace(temporary, link)
    except OSError as error:
        log.debug("no link %s: %s", link, error)


def _quieten() -> None:
    """Silence hints of Lightning's that do not fit: data is drawn on the device, one epoch is the whole stage."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells when it looks for fonts
    for text in _UNFITTING_HINTS:
        warnings.filterwarnings("ignore", message=text)
