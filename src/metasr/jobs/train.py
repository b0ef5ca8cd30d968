"""The job that runs an experiment: trains its stages, evaluates them beside the released weights, prints the table."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from metasr.config import build
from metasr.config.chain import chain, maps_recipe
from metasr.config.entries import learned_entries, solver_nodes
from metasr.config.evaluation import evaluation_plan, released_entries
from metasr.config.record import write_choices
from metasr.data.overlap import shared_files
from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError, SliceOverError
from metasr.evaluation.evaluate import require_scores
from metasr.evaluation.plan import EvaluationPlan
from metasr.evaluation.printing import format_pivot, format_rows
from metasr.evaluation.solved import Entry
from metasr.jobs.evaluate import measure, table_path
from metasr.jobs.search import validation_psnr
from metasr.paths import conf_folder, program, weights_folder
from metasr.report import tensorboard
from metasr.report.wandb import results as wandb_results
from metasr.runs.folder import evaluate_command, is_stamp, link_latest
from metasr.runs.wandb_names import EVALUATION
from metasr.runs.weights import has_released
from metasr.training.callbacks import Watch
from metasr.training.chain import is_rank_zero, run_chain
from metasr.training.loggers import close

log = logging.getLogger(__name__)


def run_experiment(cfg: DictConfig, folder: Path, *, watch: Watch | None = None) -> float | None:
    """Train the chain, evaluate its weights beside the released ones, and print the table; give the validation PSNR.

    Args:
        cfg: the whole config.
        folder: the run folder.
        watch: told of every validation.
    """
    if cfg.name is None:
        known = sorted(path.stem for path in (conf_folder() / "experiment").glob("*.yaml"))
        raise InputError(f"no experiment is chosen: add +experiment=NAME, one of {', '.join(known)}")
    target = table_path(cfg.table, folder, overwrite=cfg.overwrite)
    plan = evaluation_plan(cfg)
    stages = chain(cfg, folder) if cfg.stages else None
    shared = [] if stages is None else shared_files(build.images(cfg, "train"), plan.testset)
    if stages is not None and shared:
        stages = replace(stages, tested_on=tuple(shared))
        log.warning("%s", _warning(shared, plan))
    loggers = build.logging(cfg).settled() if stages is None else stages.logging
    start = time.perf_counter()

    def begin() -> None:
        write_choices(cfg, folder)
        _link_latest(folder)

    if stages is None:
        begin()
    if not is_rank_zero():
        logging.getLogger().setLevel(logging.WARNING)
    try:
        trained = None if stages is None else run_chain(stages, watch=watch, accepted=begin)
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
        return rows + released_entries(cfg, degradation)

    recipe = None if trained is None else maps_recipe(cfg, trained)
    measured = measure(plan, learned, folder, target, recipe=recipe)
    table = measured.table
    opened = replace(loggers, csv=False).open(folder / "evaluation", run=folder, job=EVALUATION)
    for logger in opened:
        to_wandb = type(logger).__name__ == "WandbLogger"
        log_results = wandb_results.log_results if to_wandb else tensorboard.log_results
        log_results(logger, table=table, losses=measured.losses, pictures=measured.pictures)
    close(opened)
    ours = [row.key for row in table.rows if row.weights == "run" and row.solver == plan.solver]
    title = f"{cfg.name}: PSNR on Y in dB, {plan}, x{plan.scale:g}"
    print()
    if len(solver_nodes(cfg)) > 1:
        print(format_rows(table, title=title))
    else:
        print(format_pivot(table, title=title, highlight=max(ours, key=lambda key: key[2]) if ours else None))
    print(f"\nprofile {cfg.profile_name}: {cfg.profile_note}{f'; {cfg.schedule_note}' if cfg.schedule_note else ''}")
    if trained is not None:
        there = has_released(weights_folder(), method=cfg.method, scale=cfg.scale)
        print(
            f"trained on {cfg.data.name} (seed {cfg.seed}), {trained_seconds:.0f} s of it in this command"
            + ("; released weights: see weights/README.md" if there else "")
        )
    print(f"run folder: {folder}")
    if trained is not None:
        _print_next(cfg.name, folder, method=cfg.method, profile=cfg.profile_name)
    print(measured.lr_images)
    if shared:
        print(f"warning: {_warning(shared, plan)}")
    require_scores(table)
    return objective


def _warning(shared: Sequence[str], plan: EvaluationPlan) -> str:
    some = ", ".join(shared[:3]) + (", ..." if len(shared) > 3 else "")
    return (
        f"{len(shared)} of {plan} {'is' if len(shared) == 1 else 'are'} among the training images ({some}): the scores "
        "there tell nothing of new images; take another testset, or other data"
    )


def _print_next(experiment: str, folder: Path, *, method: str, profile: str) -> None:
    """What to type next."""
    if profile != "paper":
        what = "a long schedule" if method == "weightnet" else "the published schedule"
        print(
            f"{what}: {program()} +experiment={experiment} profile=paper data=div2k "
            "data.root=FOLDER   (on one data-centre GPU, in minutes: profile=gpu)"
        )
    print(f"the same weights on Set5: {evaluate_command(experiment, folder)}")


def _link_latest(folder: Path) -> None:
    """Point ``latest`` beside the run folders at this one; a folder of the user's own naming is none of them."""
    if is_stamp(folder.name):
        link_latest(folder)
