"""The stage chain: a folder with weights and a card for each; finished stages are skipped, one cut short goes on.

A stage's identity is the hash of its configuration, its data, the seed, and its parent's weights. What lies in a
stage's folder counts only if its card carries that identity: anything else is foreign or stale, and an error that says
what differs and what to type. Only more steps than a stage had are taken as the wish to train it longer.
"""

from __future__ import annotations

import logging
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from metasr.data.datamodule import PatchData
from metasr.data.meta_set import MetaSet
from metasr.errors import DivergenceError, MetasrError, OutputError, SliceOverError, StageError
from metasr.io.files import file_hash, write_bytes
from metasr.recipes.base import Recipe, require_finite_weights
from metasr.runs.card import (
    CARD_NAME,
    WEIGHTS_NAME,
    config_hash,
    environment,
    read_card,
    write_card,
)
from metasr.runs.folder import command
from metasr.runs.lock import RunLock
from metasr.runs.weights import Weights, read_tensors
from metasr.training.ancestry import (
    changed_files,
    differences,
    files_of,
    identity,
    meta_set_of,
    parent_state,
    raised_steps,
    require_current,
)
from metasr.training.callbacks import RESUME_NAME, ResumePoint, SettleRates, Slice, StageProgress, Validation, Watch
from metasr.training.loggers import close
from metasr.training.progress import StageTable
from metasr.training.stage import Chain, Stage
from metasr.training.trainer import make_trainer

log = logging.getLogger(__name__)


def run_chain(chain: Chain, *, watch: Watch | None = None, accepted: Callable[[], object] | None = None) -> Weights:
    """Run an experiment's stages in order and give the last one's weights.

    Args:
        chain: the experiment and its run folder.
        watch: told of every validation; what it raises ends the run.
        accepted: called once it is certain that what lies in the folder fits the choices, before it is changed.

    Raises:
        StageError: for a missing, foreign or stale stage, or a run folder in which another command works.
        SliceOverError: when the time was over before the last stage was finished.
    """
    deadline = None if chain.max_minutes is None else time.monotonic() + 60 * chain.max_minutes
    chosen = chain.chosen()
    for stage in chosen:  # made here to be thrown away: an error in the last stage is not to cost the first
        recipe = stage.make_recipe()
        recipe.require_sampler(stage.make_sampler())
        if stage.given is not None:
            _begin(stage, recipe, None)
    make_trainer(chosen[0].trainer, folder=chosen[0].folder)
    with RunLock(chain.run) if is_rank_zero() else nullcontext():
        for stage in chosen:
            if stage.folder.exists() and all(
                read_card(a.folder).get("status") == "finished" for a in stage.ancestors()
            ):
                _start_of(chain, stage)
        if accepted is not None and is_rank_zero():
            accepted()
        with StageTable({stage.name: stage.steps for stage in chosen}, shown=is_rank_zero()) as table:
            for stage in chosen:
                run_stage(chain, stage, watch=watch, deadline=deadline, table=table)
    last = chosen[-1].folder
    return Weights(label="run", state=read_tensors(last / WEIGHTS_NAME), card=read_card(last), run=chain.run)


@dataclass(frozen=True)
class _Start:
    """What a stage starts from: all of it was looked at and fits."""

    parent: dict[str, Tensor] | None
    data: PatchData
    meta_set: MetaSet | None
    identity: dict[str, Any]
    card: dict[str, Any]  # of earlier work; empty for none
    raised: tuple[int, int] | None  # steps it had, and is to have, where it is to be trained longer


def _start_of(chain: Chain, stage: Stage) -> _Start:
    """Look at a stage's folder and at what it builds on.

    Raises:
        StageError: for anything missing, foreign, stale or damaged.
    """
    parent = parent_state(chain, stage)
    data, meta_set = stage.make_data(), meta_set_of(stage)
    fingerprint = data.images.fingerprint()
    require_current(chain, stage, fingerprint)
    wanted = identity(stage, fingerprint, meta_set)
    card = read_card(stage.folder)
    raised = _require_ours(chain, stage, card, wanted, files_of(data.images)) if card else None
    if not card and stage.folder.exists() and any(not p.name.startswith(".") for p in stage.folder.iterdir()):
        raise StageError(
            f"{stage.folder} holds files but no {CARD_NAME}: it was not made by this program; "
            "choose another run folder, or empty it"
        )
    return _Start(parent, data, meta_set, wanted, card, raised)


def run_stage(chain: Chain, stage: Stage, *, watch: Watch | None, deadline: float | None, table: StageTable) -> None:
    """Train one stage, or go on with it, or find that it is finished.

    Raises:
        StageError: for a missing, foreign or stale predecessor.
        SliceOverError: when the deadline came first; the resume point is written.
        DivergenceError: if a loss or a weight is no longer finite; with ``on_divergence=retry`` the second time.
    """
    start = _start_of(chain, stage)
    if start.card.get("status") == "finished" and start.raised is None:
        log.info("stage %s is finished: skipped (%s)", stage.name, stage.folder)
        table.skip(stage.name)
        return
    if is_rank_zero():
        _make(stage.folder)
    going_on = (stage.folder / RESUME_NAME).is_file()
    earlier = start.card if going_on else {}
    card: dict[str, Any] = {
        "experiment": chain.experiment,
        "stage": stage.name,
        "status": "started",
        "identity": start.identity,
        "hash": config_hash(start.identity),
        "data": {
            "split": "train",
            "images": len(start.data.images),
            **start.identity["data"],
            "files": files_of(start.data.images),
            "tested_on": list(chain.tested_on),
            **({"left_out": start.data.left_out} if start.data.left_out else {}),
        },
        "init": None if stage.given is None else stage.given.label.removeprefix("init="),
        "profile": chain.profile,
        "meta_set": {} if start.meta_set is None else start.meta_set.contents(),
        "seconds": float(earlier.get("seconds", 0.0)),
        **{key: earlier[key] for key in ("extended", "retried") if key in earlier},
        "config": chain.config,
        **environment(),
    }
    if start.raised is not None:
        before, after = start.raised
        card["extended"] = {**card.get("extended", {}), str(before): after}
        log.info("stage %s had %d steps and is trained for %d: its schedule is that of %d", stage.name, before, after,
                 after)  # fmt: skip
    while True:
        began = time.perf_counter()
        try:
            return _train(chain, stage, start, card, watch=watch, deadline=deadline, table=table)
        except DivergenceError as error:
            alone = not (torch.distributed.is_available() and torch.distributed.is_initialized())
            if chain.on_divergence != "retry" or not alone:
                raise
            if "retried" in card:
                raise DivergenceError(f"{error}; this was the second time, with half the learning rates") from error
            step = _step_of(chain, stage) if (stage.folder / RESUME_NAME).is_file() else 0
            card["retried"] = {"from": step, "rates": 0.5, "error": str(error)}
            card["seconds"] = round(card["seconds"] + time.perf_counter() - began, 2)
            log.warning("stage %s: %s. Going back to step %d, with half the learning rates", stage.name, error, step)


def _train(
    chain: Chain,
    stage: Stage,
    start: _Start,
    card: dict[str, Any],
    *,
    watch: Watch | None,
    deadline: float | None,
    table: StageTable,
) -> None:
    """Train a stage from its resume point, or from its beginning where there is none."""
    again = command(chain.experiment, chain.run)
    recipe = stage.make_recipe()
    origin = _begin(stage, recipe, start.parent)
    log.info("stage %s: %s", stage.name, origin)
    card["weights_from"] = origin
    if is_rank_zero():
        write_card(stage.folder, card)
    resume = stage.folder / RESUME_NAME
    first = _step_of(chain, stage) if resume.is_file() else 0
    if first:
        log.info("stage %s: going on from %s", stage.name, resume)

    resume_point = ResumePoint(stage.folder, every=stage.checkpoint_every)
    time_slice = None if deadline is None else Slice(resume_point, deadline=deadline)
    validation = None if stage.validator is None else Validation(stage, stage.validator, watch=watch)
    callbacks = [validation, resume_point, StageProgress(stage.name, unit=recipe.unit, table=table), time_slice,
                 _settling(card, first)]  # fmt: skip
    loggers = chain.logging.open(stage.folder, run=chain.run, job=stage.name) if is_rank_zero() else []
    trainer = make_trainer(
        stage.trainer, folder=stage.folder, callbacks=[c for c in callbacks if c is not None], loggers=loggers
    )
    began = time.perf_counter()
    try:
        trainer.fit(
            recipe, datamodule=start.data, ckpt_path=str(resume) if resume.is_file() else None, weights_only=True
        )
    except SystemExit as stop:  # what Lightning makes of Ctrl-C (ignoring any further one) and of SIGTERM
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt(
            f"stopped in stage {stage.name!r} at {recipe.unit} {trainer.global_step} of {stage.steps}; go on with: "
            f"{again}"
        ) from stop
    except OSError as error:
        if isinstance(error, MetasrError):
            raise
        raise OutputError(
            f"stage {stage.name!r} cannot write in {stage.folder}: {error.strerror or error}; make room, then go on "
            f"with: {again}"
        ) from error
    finally:
        seconds = time.perf_counter() - began
    close(loggers)
    card["seconds"] = round(card["seconds"] + seconds, 2)
    if time_slice is not None and time_slice.over:
        if is_rank_zero():
            write_card(stage.folder, card)
        raise SliceOverError(
            f"max_minutes={chain.max_minutes:g} are over in stage {stage.name!r} at {recipe.unit} "
            f"{trainer.global_step} of {stage.steps}; go on with: {again}"
        )
    if trainer.interrupted or trainer.global_step < stage.steps:
        raise StageError(
            f"stage {stage.name!r} stopped at step {trainer.global_step} of {stage.steps}; go on with: {again}"
        )
    if is_rank_zero():
        validated = 0.0 if validation is None else validation.seconds
        card["step_seconds"] = (seconds - validated) / max(1, stage.steps - first)
        _finish(stage, recipe, trainer, card, validation=validation)
    trainer.strategy.barrier()  # the others read the weights in the next stage


def _settling(card: Mapping[str, Any], first: int) -> SettleRates | None:
    """What sets the learning rates, where the resume point at step ``first`` does not have the right ones."""
    retried = card.get("retried", {}).get("from") == first
    extended = str(first) in card.get("extended", {})
    if not (retried or extended):
        return None
    return SettleRates(card["retried"]["rates"] if retried else 1.0)


def _begin(stage: Stage, recipe: Recipe, parent: Mapping[str, Tensor] | None) -> str:
    """Load what a stage starts from into its recipe, and count it."""
    if stage.given is not None:
        return recipe.load_parent(stage.given.state, origin=stage.given.label)
    if stage.parent is not None:
        assert parent is not None
        return recipe.load_parent(dict(parent), origin=stage.parent.folder.name)
    return "no parent: freshly initialised"


def is_rank_zero() -> bool:
    """Whether this is the one of several processes training together that writes files and speaks."""
    return int(getattr(rank_zero_only, "rank", None) or 0) == 0


def _finish(
    stage: Stage,
    recipe: Recipe,
    trainer: pl.Trainer,
    card: dict[str, Any],
    *,
    validation: Validation | None,
) -> None:
    """Write a trained stage's weights, then its card."""
    require_finite_weights(recipe, step=trainer.global_step)
    save_tensors(recipe.export(), stage.folder / WEIGHTS_NAME)
    card = card | {
        "status": "finished",
        "steps": trainer.global_step,
        "weights": file_hash(stage.folder / WEIGHTS_NAME),
        "metrics": {
            **{k: float(v) for k, v in trainer.callback_metrics.items()},
            **(validation.latest if validation else {}),
        },
    }
    write_card(stage.folder, card)
    log.info("stage %s finished in %.1f s: %s", stage.name, card["seconds"], stage.folder)


def _step_of(chain: Chain, stage: Stage) -> int:
    """The step of a stage's resume point, which must be whole."""
    resume = stage.folder / RESUME_NAME
    try:
        step = torch.load(resume, map_location="cpu", weights_only=True)["global_step"]
        if not isinstance(step, int):
            raise TypeError(f"its step is {step!r}")
    except Exception as error:  # torch raises many kinds here
        raise StageError(
            f"stage {stage.name!r} cannot go on from {resume}: the file is damaged ({type(error).__name__}); remove it "
            f"to train the stage from its beginning, then: {command(chain.experiment, chain.run)}"
        ) from error
    return step


def _require_ours(
    chain: Chain, stage: Stage, card: Mapping[str, Any], wanted: Mapping[str, Any], files: Mapping[str, int]
) -> tuple[int, int] | None:
    """Require that a stage's folder holds this very stage; gives the steps it had and is to have, where they are more.

    Raises:
        StageError: if it is of something else, or damaged.
    """
    if card.get("experiment") != chain.experiment or card.get("stage") != stage.name:
        raise StageError(
            f"{stage.folder} is foreign: it holds stage {card.get('stage')!r} of {card.get('experiment')!r}, expected "
            f"{stage.name!r} of {chain.experiment!r}; leave run= out to start a new run"
        )
    raised = None
    if card.get("hash") != config_hash(wanted):
        raised = raised_steps(card.get("identity"), wanted)
        if raised is None or not (stage.folder / RESUME_NAME).is_file():
            changed = ", ".join(differences(card.get("identity", {}), wanted)) or "its identity"
            gone = "" if raised is None else "; it has no resume point, from which it could be trained longer"
            if card.get("identity", {}).get("data") != wanted["data"]:
                gone = changed_files(card.get("data"), files)
            raise StageError(
                f"stage {stage.name!r} in {stage.folder} is stale: it was made with other choices ({changed}{gone}). "
                f"Take them back, or start a new run by leaving run= out, or remove {stage.folder} to train it again"
            )
    if card.get("status") == "finished":
        weights = stage.folder / WEIGHTS_NAME
        if not weights.is_file() or file_hash(weights) != card.get("weights"):
            raise StageError(
                f"{weights} is missing or not the file that its card describes; remove {stage.folder} and run again: "
                f"{command(chain.experiment, chain.run)}"
            )
    return raised


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
