"""From config to a chain of stages: what each is made of, what decides its weights, how it is measured."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf, flag_override

from metasr.config import build
from metasr.degradation import names
from metasr.errors import StageError, WeightsError, nearest
from metasr.meta.rates import rates_from_state
from metasr.paths import weights_folder
from metasr.recipes.base import Recipe
from metasr.recipes.weightnet import WeightNetRecipe
from metasr.runs.card import read_card, tensors_hash
from metasr.runs.weights import Weights, resolve
from metasr.solvers.base import Solver
from metasr.solvers.oracle import OracleMaker
from metasr.training.map_maker import has_maps
from metasr.training.stage import Chain, Stage
from metasr.training.trainer import require_free
from metasr.training.validation import Validator

_NO_MATTER = ("checkpoint_every", "validation", "solver")
"""Keys of a stage that do not change its weights."""
_HARMLESS = {
    "accelerator", "log_every_n_steps", "num_sanity_val_steps", "default_root_dir", "logger", "callbacks",
    "profiler", "barebones", "inference_mode", "check_val_every_n_epoch", "val_check_interval", "limit_val_batches",
}  # fmt: skip
"""Choices of the trainer that do not change weights; those that begin with ``enable_`` do not either."""


def chain(cfg: DictConfig, run: Path) -> Chain:
    """An experiment's chain of stages in a run folder.

    Raises:
        StageError: if there are no stages, or a parent is not an earlier stage.
        InputError: for an option of the trainer that would not be heeded, or a device that is not there.
    """
    return Chain(
        cfg.name,
        run,
        stages(cfg, run),
        logging=build.logging(cfg).settled(),
        config=_plain(cfg),
        profile=cfg.profile_name,
        stages_to_run=None if cfg.stages_to_run is None else tuple(cfg.stages_to_run),
        max_minutes=cfg.max_minutes,
        on_divergence=cfg.on_divergence,
    )


def stages(cfg: DictConfig, run: Path) -> dict[str, Stage]:
    """All stages of an experiment, in order.

    With ``init`` the first of those that run (``stages_to_run``) starts from given weights, so it has no parent. One
    that is not to run now and was started so before is taken as it is.

    Raises:
        StageError: if there are none, or a parent is not an earlier stage.
        WeightsError: if there are no such weights.
    """
    if not cfg.stages:
        raise StageError("no stages to run: choose an experiment, for instance +experiment=mzsr_x2")
    start = None if cfg.init is None else resolve(cfg.init, folder=weights_folder())
    start = None if start is None else replace(start, label=f"init={cfg.init}")
    running = [str(name) for name in cfg.stages if cfg.stages_to_run is None or name in cfg.stages_to_run]
    stages_made: dict[str, Stage] = {}
    for number, (name, part) in enumerate(cfg.stages.items(), start=1):
        if part.parent is not None and part.parent not in stages_made:
            raise StageError(
                f"stage {name!r} has the parent {part.parent!r}, which is not an earlier stage of {cfg.name}: "
                f"{nearest(part.parent, stages_made) if stages_made else 'it is the first'}"
            )
        folder = run / f"{number:02d}_{name}"
        starts = start if str(name) in running[:1] else None
        given_hash = None if starts is None else tensors_hash(starts.state)
        if str(name) not in running:
            given_hash = read_card(folder).get("identity", {}).get("init")
        stages_made[str(name)] = Stage(
            name=str(name),
            folder=folder,
            parent=None if part.parent is None or given_hash else stages_made[part.parent],
            steps=part.steps,
            checkpoint_every=part.checkpoint_every,
            choices=_choices(cfg, str(name)),
            trainer=trainer_options(cfg, str(name)),
            make_recipe=partial(build.recipe, cfg, str(name)),
            make_sampler=partial(build.sampler, cfg, str(name)),
            make_data=partial(build.stage_data, cfg, str(name)),
            validator=validator(cfg, str(name)),
            given=starts,
            given_hash=given_hash,
        )
    return stages_made


def _choices(cfg: DictConfig, stage: str) -> dict[str, Any]:
    """What of the configuration decides what a stage's weights come out as."""
    trainer = _plain(cfg.trainer)
    return {
        "stage": {k: v for k, v in _plain(cfg.stages[stage]).items() if k not in _NO_MATTER},
        "seed": cfg.seed,
        "data": {"name": cfg.data.name},
        "trainer": {k: v for k, v in trainer.items() if k not in _HARMLESS and not str(k).startswith("enable_")},
    }


def trainer_options(cfg: DictConfig, stage: str) -> dict[str, Any]:
    """The options of Lightning's trainer for a stage.

    Raises:
        InputError: for an option that would not be heeded, or a device that is not there.
    """
    options = _plain(cfg.trainer)
    require_free(options)
    part = cfg.stages[stage]
    return options | build.accelerator(cfg) | {"max_steps": part.steps, "gradient_clip_val": part.clip}


def validator(cfg: DictConfig, stage: str) -> Validator | None:
    """What measures a stage's recipe in the making; none where the stage has no validation."""
    wanted = cfg.stages[stage].validation
    if not wanted.degradations:
        return None
    return Validator(
        make_images=lambda: build.images(cfg, "val").subset(wanted.max_images),
        make_solver=lambda weights, steps: stage_solver(cfg, stage, weights, steps=steps),
        degradations=tuple(names.expand(wanted.degradations, cfg.scale)),
        updates=tuple(wanted.updates),
        scale=cfg.scale,
        seed=cfg.seed,
        protocol=build.protocol(cfg),
        device=build.device(cfg.device),
        every=wanted.every,
        crop=wanted.crop,
    )


def stage_solver(cfg: DictConfig, stage: str, weights: Weights, *, steps: int) -> Solver | OracleMaker:
    """The stage's own solver or the experiment's, with the stage's network; MZSR's where that one runs no network."""
    from metasr.solvers.mzsr.solver import MZSRSolver

    part = cfg.stages[stage]
    if part.solver is not None:
        return build.oracle(cfg, part.solver, weights=weights)
    if part.recipe.get("model") is not None:
        cfg = cfg.copy()
        with flag_override(cfg, ["readonly", "struct"], False):
            cfg.model = part.recipe.model
    node = cfg.solver
    if not node.get("needs_network", False):
        rates = rates_from_state(weights.state)
        device = build.device(cfg.device)
        network = weights.load_into(build.model(cfg)).to(device)
        return MZSRSolver(network, rates=None if rates is None else rates.to(device))
    if "steps" not in node:
        return build.solver(cfg, weights=weights)
    if node.get("rates") == "learned" and rates_from_state(weights.state) is None:  # nothing to be warned of here
        node = OmegaConf.merge(node, {"rates": "published"})
    return build.solver(cfg, weights=weights, node=node, steps=steps)


def maps_recipe(cfg: DictConfig, weights: Weights) -> Recipe | None:
    """The last stage's recipe with some weights, where it has maps to show; none where it has not, or they do not fit.

    Weights whose card tells an earlier stage are looked at as that one does.
    """
    cfg = build.as_trained(cfg, weights)
    made_by = weights.card.get("stage")
    stage = str(made_by if made_by in cfg.stages else list(cfg.stages)[-1])
    recipe = build.recipe(cfg, stage)
    if not has_maps(recipe):
        return None
    try:
        recipe.restore(weights.state, origin=weights.label)
    except WeightsError as error:  # an extra, and the weights may be of another recipe
        build.log.info("no maps are drawn: %s", error)
        return None
    if isinstance(recipe, WeightNetRecipe):
        recipe.meta_pairs = build.sampler(cfg, stage).meta_pairs()
    return recipe.to(build.device(cfg.device)).eval()


def _plain(node: DictConfig) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True, enum_to_str=True))
