"""From config to what an evaluation measures; all of it is checked before any work."""

from __future__ import annotations

import json
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from metasr import __version__
from metasr.config import build
from metasr.config.entries import check_solvers, entry, learned_entries, needs_weights, own_entries, solver_nodes
from metasr.config.schema import TaskName
from metasr.data.catalog import CATALOG, ImageSet, image_set
from metasr.data.meta_set import WeightedSampler, require_disjoint, require_unseen
from metasr.data.pairing import paired
from metasr.degradation import names
from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError, WeightsError, nearest
from metasr.evaluation.plan import EvaluationPlan
from metasr.evaluation.solved import Entry
from metasr.io.images import list_images
from metasr.paths import weights_folder
from metasr.runs.folder import key_of, typed_choices
from metasr.runs.weights import Weights, choose, has_released

_NO_PART = (
    "paths", "run", "output", "table", "input", "overwrite", "runs", "benchmarks", "to", "task", "stages_to_run",
    "max_minutes", "logger",
)  # fmt: skip
"""Choices that say where files go and how long is trained at once, not what is measured."""


def evaluation_plan(cfg: DictConfig) -> EvaluationPlan:
    """What an evaluation measures; a typing error in it is to cost no training.

    Raises:
        MetasrError: telling what is wrong.
    """
    for name in names.expand(cfg.degradations, cfg.scale):
        names.parse(name, scale=cfg.scale)
    _refuse_unused(cfg)
    check_solvers(cfg)
    testset = test_images(cfg)
    if cfg.task == TaskName.run:  # weights that are there already tell in their card what they have seen
        for stage in cfg.stages:
            sampler = build.sampler(cfg, str(stage))
            if isinstance(sampler, WeightedSampler):
                require_disjoint(sampler.meta_set, testset)
    lr_images = None if cfg.testset_lr is None else paired(Path(cfg.testset_lr).expanduser(), testset, scale=cfg.scale)
    return EvaluationPlan(
        testset=testset,
        degradations=tuple(cfg.degradations),
        scale=cfg.scale,
        seed=cfg.seed,
        protocol=build.protocol(cfg),
        device=build.device(cfg.device),
        method=cfg.method,
        solver=cfg.solver.name,
        own=own_entries(cfg),
        compare=is_known_set(cfg.testset) and cfg.max_images is None and lr_images is None,
        question=_question(cfg),
        lr_images=lr_images,
    )


def _question(cfg: DictConfig) -> str:
    """The choices that an evaluation's results depend on, and the version that makes them."""
    choices = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(choices, dict)
    kept = {key: value for key, value in choices.items() if key not in _NO_PART}
    return json.dumps({"choices": kept, "version": __version__}, sort_keys=True, default=str)


def _refuse_unused(cfg: DictConfig) -> None:
    """Refuse choices that were typed and that nothing in the experiment listens to."""
    typed = {key_of(choice) for choice in typed_choices(cfg.name)}
    adapts = any("steps" in node for node in solver_nodes(cfg)) or cfg.method == "comparison"  # each file has its own
    if "adapt_steps" in typed and not adapts:
        instead = "its bound is solver.max_steps" if "max_steps" in cfg.solver else "it takes none"
        raise InputError(f"adapt_steps={cfg.adapt_steps}: solver {cfg.solver.name} has no number of updates; {instead}")
    listened = OmegaConf.to_yaml(cfg.stages, resolve=False)
    for key in ("rates", "order"):
        if key in typed and cfg.task == TaskName.run and f"${{{key}}}" not in listened:
            raise InputError(f"{key}={cfg[key]}: no stage of {cfg.name} has {key}; leave it out")


def test_images(cfg: DictConfig) -> ImageSet:
    """The test set: a catalog name, or a folder of HR images.

    Raises:
        InputError: for an unknown name that is no folder either.
    """
    name = cfg.testset
    if is_known_set(name):
        images = image_set(name, split="test", root=cfg.testset_root, download=cfg.data.download)
    elif Path(name).expanduser().is_dir():
        path = Path(name).expanduser()
        images = ImageSet(path.name, "test", tuple(list_images(path)))
    else:
        known = nearest(name, filter(is_known_set, CATALOG))
        raise InputError(f"testset {name!r} is neither a folder nor a known set: {known}")
    return images.subset(cfg.max_images)


def is_known_set(name: str) -> bool:
    """Whether a testset's name means a set of the catalog, rather than a folder of the user's."""
    return name in CATALOG and name != "image_folder"


def choose_for(
    cfg: DictConfig, source: str | None, degradation: Degradation, *, steps: int | None = None, warn: bool = True
) -> Weights:
    """The weights that a user asks for, as they fit the configured solver (see ``runs.weights.choose``)."""
    return choose(
        source,
        degradation=degradation,
        store=weights_folder(),
        outputs=Path(cfg.paths.outputs),
        name=cfg.name,
        method=cfg.method,
        adapts=cfg.method != "mzsr" or "steps" in cfg.solver,
        steps=steps if cfg.method == "mzsr" else None,  # whose meta-weights are of no use without any
        warn=warn,
    )


def given_entries(cfg: DictConfig, plan: EvaluationPlan) -> tuple[dict[str, list[Entry]], Weights | None]:
    """The rows of the weights that a user asks for, by degradation, and the last of these weights.

    Raises:
        InputError: for weights that no solver runs.
        WeightsError: if there are none, or they cannot be read.
    """
    if not needs_weights(cfg):
        if cfg.weights is not None:
            raise InputError(f"weights={cfg.weights}: solver {cfg.solver.name} has none; leave it out")
        return {}, None
    entries_by_name: dict[str, list[Entry]] = {}
    chosen: dict[str, list[Entry]] = {}
    weights = None
    for degradation in plan.problems:
        if weights is None or cfg.weights in (None, "released"):  # else the same weights for all
            weights = choose_for(cfg, cfg.weights, degradation)
        if weights.label not in entries_by_name:
            require_unseen(weights.card.get("meta_set") or {}, plan.testset)
            entries_by_name[weights.label] = learned_entries(cfg, weights)
        chosen[str(degradation)] = entries_by_name[weights.label]
    return chosen, weights


def released_entries(cfg: DictConfig, degradation: Degradation) -> list[Entry]:
    """The released weights of the same scale, for comparison with a run's own."""
    if not cfg.evaluation.released or not has_released(weights_folder(), method=cfg.method, scale=cfg.scale):
        return []
    try:
        known = choose_for(cfg, "released", degradation)
        if known.card.get("scale") != cfg.scale:
            return []
        return [entry(cfg, cfg.solver, known, updates=list(cfg.evaluation.released_updates))]
    except WeightsError as error:
        build.log.info("no released weights beside: %s", error)
        return []
