"""A folder of weights side by side: each file with the network and the solver that it was made for."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from metasr.config.entries import entry
from metasr.config.evaluation import given_entries
from metasr.config.photos import photo_config
from metasr.data.meta_set import require_unseen
from metasr.errors import InputError, MetasrError, WeightsError, nearest
from metasr.evaluation.plan import EvaluationPlan
from metasr.evaluation.solved import Entry
from metasr.runs.other_programs import is_of_another_program
from metasr.runs.weights import Weights, from_file
from metasr.solvers.tiles import check_trained

log = logging.getLogger(__name__)

_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")


def compared_entries(cfg: DictConfig, plan: EvaluationPlan) -> tuple[dict[str, list[Entry]], Weights | None]:
    """The rows of the weights that a user asks for, by degradation: of each file, where a folder of them was given.

    A file that cannot be compared (of another scale, unreadable) is told and left out.

    Returns:
        The rows, and the last of the weights where they are one experiment's own.

    Raises:
        InputError: if no weights are given to compare, or ``networks`` names a file that is not there.
        WeightsError: if none of the files can be compared, or there are none.
    """
    files = weights_files(cfg.weights)
    if cfg.weights is None and cfg.method == "comparison":
        raise InputError(f"{cfg.name} compares the weights of a folder: give weights=FOLDER")
    if not files:
        return given_entries(cfg, plan)
    stems = [path.stem for path in files]
    for name in cfg.networks:
        if name not in stems:
            raise InputError(f"networks.{name}: {cfg.weights} has no weights of that name: {nearest(str(name), stems)}")
    rows: list[Entry] = []
    for path in files:
        label = path.name if stems.count(path.stem) > 1 else path.stem
        try:
            row = _entry(cfg, path, label, plan)
            check_trained(getattr(getattr(row.made_by, "network", None), "scale", None), cfg.scale)
            rows.append(row)
        except MetasrError as error:
            log.warning("%s is left out: %s", path.name, error)
    if not rows:
        raise WeightsError(
            f"{cfg.weights}: none of its {len(files)} files can be compared, for the reasons given above"
        )
    return {str(problem): rows for problem in plan.problems}, None


def weights_files(folder: str | None) -> list[Path]:
    """The weights files right in a folder, by name; none for what is no such folder, or a run's."""
    path = None if folder in (None, "last", "released") else Path(str(folder)).expanduser()
    if path is None or not path.is_dir() or any(path.glob("*/card.json")):
        return []
    return sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES and file.is_file())


def _entry(cfg: DictConfig, path: Path, label: str, plan: EvaluationPlan) -> Entry:
    """One file's rows, by the solver that it was made for."""
    weights = replace(from_file(path), label=label)
    if path.stem in cfg.networks:
        return entry(_copy(cfg, model=cfg.networks[path.stem]), cfg.solver, weights)
    if is_of_another_program(weights):
        return entry(cfg, cfg.solver, weights)
    card = weights.card
    require_unseen(card.get("meta_set") or {}, plan.testset)
    if float(card.get("scale") or cfg.scale) != cfg.scale and not card.get("scales"):
        raise InputError(f"its card tells scale {card['scale']:g}, and {cfg.scale:g} is compared")
    plain = card.get("method") == "mzsr" and card.get("stage") == "pretrain"
    fitting = photo_config(
        weights=str(path), solver="network" if plain else None, scale=cfg.scale, device=cfg.device, seed=cfg.seed
    )
    return entry(_copy(fitting, adapt_steps=cfg.adapt_steps), fitting.solver, weights)


def _copy(cfg: DictConfig, **values: object) -> DictConfig:
    copy = cfg.copy()
    with open_dict(copy):
        OmegaConf.set_readonly(copy, False)
        for key, value in values.items():
            copy[key] = value
    return copy
