"""The stage chain: a folder with weights and a card for each; finished stages are skipped, one cut short goes on.

A stage's identity is the hash of its configuration, its data, the seed, and its parent's weights. What lies in a
stage's folder counts only if its card carries that identity: anything else is foreign or stale, and an error that says
what differs and what to type.
"""

from __future__ import annotations

import logging
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from metasr.config import build
from metasr.errors import InputError, MetasrError, OutputError, SliceOverError, StageError, nearest
from metasr.io.files import file_hash, write_bytes
from metasr.recipes.base import Recipe, require_finite_weights
from metasr.runs.card import (
    CARD_NAME,
    WEIGHTS_NAME,
    config_hash,
    environment,
    read_card,
    tensors_hash,
    write_card,
)
from metasr.runs.folder import command
from metasr.runs.weights import Weights, read_tensors
from metasr.training.ancestry import Place, differences, given_weights, identity, parent_state, require_current
from metasr.training.callbacks import RESUME_NAME, ResumePoint, Slice, StageProgress, Validation
from metasr.training.progress import StageTable
from metasr.training.validation import draw

log = logging.getLogger(__name__)

Score = Callable[[DictConfig, str, Recipe], dict[str, float]]


def places(cfg: DictConfig, run: Path) -> dict[str, Place]:
    """All stages of an experiment, in order.

    With ``init`` the first of those that run (``stages_to_run``) starts from given weights, so it has no parent. One
    that is not to run now and was started so before is taken as it is.

    Raises:
        StageError: if there are none, or a parent is not an earlier stage.
        WeightsError: if there are no such weights.
    """
    if not cfg.stages:
        raise StageError("no stages to run: choose an experiment, for instance +experiment=mzsr_x2")
    given = given_weights(cfg)
    runs = [str(name) for name in cfg.stages if cfg.stages_to_run is None or name in cfg.stages_to_run]
    found: dict[str, Place] = {}
    for number, (name, part) in enumerate(cfg.stages.items(), start=1):
        parent = part.parent
        if parent is not None and parent not in found:
            raise StageError(
                f"stage {name!r} has the parent {parent!r}, which is not an earlier stage of {cfg.name}: "
                f"{nearest(parent, found) if found else 'it is the first'}"
            )
        folder = run / f"{number:02d}_{name}"
        if str(name) not in runs:
            init = read_card(folder).get("identity", {}).get("init")
        else:
            init = tensors_hash(given.state) if given is not None and name == runs[0] else None
        found[str(name)] = Place(str(name), folder, None if parent is None or init else found[parent], init)
    return found


def run_chain(cfg: DictConfig, run: Path, *, score: Score | None = None) -> Weights:
    """Run an experiment's stages in order and give the last one's weights.

    Args:
        cfg: the run's config; with ``max_minutes`` training ends at a resume point after so long.
        run: the run folder.
        score: validation metrics of a recipe in the making.

    Raises:
        StageError: for a missing, foreign or stale stage.
        SliceOverError: when the time was over before the last stage was finished.
    """
    deadline = None
    if cfg.max_minutes is not None:
        if not cfg.max_minutes > 0:
            raise InputError(f"max_minutes must be above 0, or null for no limit, got {cfg.max_minutes}")
        deadline = time.monotonic() + 60 * cfg.max_minutes
    chain = places(cfg, run)
    wanted = list(chain) if cfg.stages_to_run is None else list(cfg.stages_to_run)
    for name in wanted:
        if name not in chain:
            raise StageError(f"no stage {name!r} in {cfg.name}: {nearest(name, chain)}")
    if not wanted:
        raise StageError(f"stages_to_run=[] leaves no stage to run: leave it out, or name some of {', '.join(chain)}")
    chosen = [place for name, place in chain.items() if name in wanted]
    for place in chosen:  # made here to be thrown away: an error in the last stage is not to cost the first
        recipe = build.recipe(cfg, place.name)
        recipe.require_sampler(build.sampler(cfg, place.name))
        if place.init is not None:
            _begin(cfg, recipe)
    with StageTable({place.name: cfg.stages[place.name].steps for place in chosen}, shown=is_rank_zero()) as table:
        for place in chosen:
            run_stage(cfg, place, run, score=score, deadline=deadline, table=table)
    last = chosen[-1]
    return Weights(label="run", state=read_tensors(last.folder / WEIGHTS_NAME), card=read_card(last.folder), run=run)


def run_stage(
    cfg: DictConfig, place: Place, run: Path, *, score: Score | None, deadline: float | None, table: StageTable
) -> None:
    """Train one stage, or go on with it, or find that it is finished.

    Raises:
        StageError: for a missing, foreign or stale predecessor.
        SliceOverError: when the deadline came first; the resume point is written.
    """
    again = command(cfg.name, run)
    anew = command(cfg.name, run, without=("stages_to_run",))
    parent = parent_state(cfg, place, anew)
    data = build.stage_data(cfg, place.name)
    meta_set = build.meta_set(data.sampler)
    fingerprint = data.images.fingerprint()
    require_current(cfg, place, fingerprint, anew)
    wanted = identity(cfg, place, fingerprint, meta_set)
    card = read_card(place.folder)
    if card:
        _require_ours(cfg, place, card, wanted, run)
        if card["status"] == "finished":
            log.info("stage %s is finished: skipped (%s)", place.name, place.folder)
            table.skip(place.name)
            return
    elif place.folder.exists() and any(not p.name.startswith(".") for p in place.folder.iterdir()):
        raise StageError(
            f"{place.folder} holds files but no {CARD_NAME}: it was not made by this program; "
            "choose another run folder, or empty it"
        )
    if is_rank_zero():
        _make(place.folder)
    recipe = build.recipe(cfg, place.name)
    origin = "no parent: freshly initialised"
    if place.init is not None:
        origin = _begin(cfg, recipe)
    elif place.parent is not None:
        assert parent is not None
        origin = recipe.load_parent(parent, origin=place.parent.folder.name)
    log.info("stage %s: %s", place.name, origin)
    resume = place.folder / RESUME_NAME
    spent = float(card.get("seconds", 0.0)) if resume.is_file() else 0.0
    card = {
        "experiment": cfg.name,
        "stage": place.name,
        "status": "started",
        "identity": wanted,
        "hash": config_hash(wanted),
        "weights_from": origin,
        "init": cfg.init if place.init is not None else None,
        "data": {"name": cfg.data.name, "split": "train", "images": len(data.images), **wanted["data"]},
        "profile": cfg.profile_name,
        "meta_set": {} if meta_set is None else meta_set.contents(),
        "seconds": spent,
        "config": OmegaConf.to_container(cfg, resolve=True, enum_to_str=True),
        **environment(),
    }
    if is_rank_zero():
        write_card(place.folder, card)

    validation = None
    resume_point = ResumePoint(place.folder, every=cfg.stages[place.name].checkpoint_every)
    callbacks: list[Any] = [resume_point, StageProgress(place.name, unit=recipe.unit, table=table)]
    if deadline is not None:
        callbacks.append(Slice(resume_point, deadline=deadline))
    if score is not None:
        validation = Validation(
            lambda recipe: score(cfg, place.name, recipe),
            every=cfg.stages[place.name].validation.every,
            draw=lambda recipe, step: draw(cfg, place.name, recipe, place.folder, step=step),
        )
        callbacks.insert(0, validation)
    loggers = build.loggers(cfg, place.folder, run=run, job=place.name) if is_rank_zero() else []
    trainer = build.trainer(cfg, place.name, place.folder, callbacks=callbacks, loggers=loggers)
    start, first = time.perf_counter(), 0
    if resume.is_file():
        first = _step_of(resume, place, again)
        log.info("stage %s: going on from %s", place.name, resume)
    total = cfg.stages[place.name].steps
    try:
        trainer.fit(recipe, datamodule=data, ckpt_path=str(resume) if resume.is_file() else None, weights_only=True)
    except SystemExit as stop:  # what Lightning makes of Ctrl-C (ignoring any further one) and of SIGTERM
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt(
            f"stopped in stage {place.name!r} at {recipe.unit} {trainer.global_step} of {total}; go on with: {again}"
        ) from stop
    except OSError as error:
        if isinstance(error, MetasrError):
            raise
        raise OutputError(
            f"stage {place.name!r} cannot write in {place.folder}: {error.strerror or error}; make room, then go on "
            f"with: {again}"
        ) from error
    _close(loggers)
    if any(isinstance(c, Slice) and c.over for c in callbacks):
        if is_rank_zero():
            write_card(place.folder, card | {"seconds": round(spent + time.perf_counter() - start, 2)})
        raise SliceOverError(
            f"max_minutes={cfg.max_minutes:g} are over in stage {place.name!r} at {recipe.unit} "
            f"{trainer.global_step} of {total}; go on with: {again}"
        )
    if trainer.interrupted or trainer.global_step < total:
        raise StageError(f"stage {place.name!r} stopped at step {trainer.global_step} of {total}; go on with: {again}")
    if is_rank_zero():
        now = time.perf_counter() - start
        card["seconds"] = round(spent + now, 2)
        card["step_seconds"] = (now - (validation.seconds if validation else 0.0)) / max(1, total - first)
        _finish(place, recipe, trainer, card, validation=validation)
    trainer.strategy.barrier()  # the others read the weights in the next stage
    resume.unlink(missing_ok=True)


def _begin(cfg: DictConfig, recipe: Recipe) -> str:
    """Load the weights that ``init`` names into a recipe, and count them."""
    given = given_weights(cfg)
    assert given is not None
    return recipe.load_parent(given.state, origin=f"init={cfg.init}")


def is_rank_zero() -> bool:
    """Whether this is the one of several processes training together that writes files and speaks."""
    return int(getattr(rank_zero_only, "rank", None) or 0) == 0


def _finish(
    place: Place,
    recipe: Recipe,
    trainer: pl.Trainer,
    card: dict[str, Any],
    *,
    validation: Validation | None,
) -> None:
    """Write a trained stage's weights, then its card."""
    require_finite_weights(recipe, step=trainer.global_step)
    save_tensors(recipe.export(), place.folder / WEIGHTS_NAME)
    card = card | {
        "status": "finished",
        "steps": trainer.global_step,
        "weights": file_hash(place.folder / WEIGHTS_NAME),
        "metrics": {
            **{k: float(v) for k, v in trainer.callback_metrics.items()},
            **(validation.latest if validation else {}),
        },
    }
    write_card(place.folder, card)
    log.info("stage %s finished in %.1f s: %s", place.name, card["seconds"], place.folder)


def _step_of(resume: Path, place: Place, again: str) -> int:
    """The step of a resume point, which must be whole."""
    try:
        step = torch.load(resume, map_location="cpu", weights_only=True)["global_step"]
        if not isinstance(step, int):
            raise TypeError(f"its step is {step!r}")
    except Exception as error:  # torch raises many kinds here
        raise StageError(
            f"stage {place.name!r} cannot go on from {resume}: the file is damaged ({type(error).__name__}); remove it "
            f"to train the stage from its beginning, then: {again}"
        ) from error
    return step


def _require_ours(cfg: DictConfig, place: Place, card: Mapping[str, Any], wanted: Mapping[str, Any], run: Path) -> None:
    if card.get("experiment") != cfg.name or card.get("stage") != place.name:
        raise StageError(
            f"{place.folder} is foreign: it holds stage {card.get('stage')!r} of {card.get('experiment')!r}, expected "
            f"{place.name!r} of {cfg.name!r}; leave run= out to start a new run"
        )
    if card.get("hash") != config_hash(wanted):
        changed = ", ".join(differences(card.get("identity", {}), wanted)) or "its identity"
        raise StageError(
            f"stage {place.name!r} in {place.folder} is stale: it was made with other choices ({changed}). Take them "
            f"back, or start a new run by leaving run= out, or remove {place.folder} to train it again"
        )
    if card.get("status") == "finished":
        weights = place.folder / WEIGHTS_NAME
        if not weights.is_file() or file_hash(weights) != card.get("weights"):
            raise StageError(
                f"{weights} is missing or not the file that its card describes; remove {place.folder} and run again: "
                f"{command(cfg.name, run)}"
            )


def save_tensors(state: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file, whole or not at all.

    Raises:
        OutputError: if it cannot be written.
    """
    from safetensors.torch import save

    write_bytes(path, save({name: tensor.contiguous() for name, tensor in state.items()}))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < 64 * 2**20:
            raise OutputError(f"less than 64 MiB is free at {folder}; make room, or set METASR_OUTPUTS to another disk")
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"cannot make {folder}: {error.strerror or error}; choose a writable run folder, or set METASR_OUTPUTS"
        ) from error


def _close(loggers: list[Any]) -> None:
    for logger in loggers:
        logger.finalize("success")
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()
