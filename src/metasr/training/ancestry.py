"""What a stage builds on: every stage before it must be there, its own, whole, and made by today's choices.

A stage's identity is the hash of its configuration, its data, the seed, and its parent's weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from metasr.config import build
from metasr.data.meta_set import MetaSet
from metasr.errors import StageError
from metasr.io.files import file_hash
from metasr.paths import weights_folder
from metasr.runs.card import WEIGHTS_NAME, config_hash, read_card
from metasr.runs.folder import interpreter
from metasr.runs.weights import Weights, read_tensors, resolve

_HARMLESS = {
    "_target_", "accelerator", "log_every_n_steps", "num_sanity_val_steps", "default_root_dir", "logger", "callbacks",
    "profiler", "barebones", "inference_mode", "check_val_every_n_epoch", "val_check_interval", "limit_val_batches",
}  # fmt: skip
"""Choices of the trainer that do not change weights; those that begin with ``enable_`` do not either."""


@dataclass(frozen=True)
class Place:
    """A stage's place in the chain.

    Attributes:
        name: the stage.
        folder: ``<run>/<nn>_<stage>``.
        parent: where it starts from, or none.
        init: hash of the tensors given to it from outside the run to start from, instead of a parent's; or none.
    """

    name: str
    folder: Path
    parent: Place | None
    init: str | None = None

    def ancestors(self) -> Iterator[Place]:
        """Its parent, that one's parent, and so on."""
        place = self.parent
        while place is not None:
            yield place
            place = place.parent


def identity(cfg: DictConfig, place: Place, fingerprint: str, meta_set: MetaSet | None) -> dict[str, Any]:
    """Everything that decides what a stage's weights come out as."""
    part = OmegaConf.to_container(cfg.stages[place.name], resolve=True)
    assert isinstance(part, dict)
    for indifferent in ("checkpoint_every", "validation", "solver"):
        part.pop(indifferent, None)
    trainer = OmegaConf.to_container(cfg.trainer, resolve=True)
    assert isinstance(trainer, dict)
    found = {
        "stage": part,
        "seed": cfg.seed,
        "data": {"name": cfg.data.name, "fingerprint": fingerprint},
        "trainer": {k: v for k, v in trainer.items() if k not in _HARMLESS and not str(k).startswith("enable_")},
        "parent": None if place.parent is None else file_hash(place.parent.folder / WEIGHTS_NAME),
    }
    if place.init is not None:
        found["init"] = place.init
    if meta_set is not None:
        found["sampler_data"] = meta_set.fingerprint()
    return found


def given_weights(cfg: DictConfig) -> Weights | None:
    """What ``init`` names, or none: the weights that the first of the stages that run starts from.

    Raises:
        WeightsError, StageError: if there are none.
    """
    return None if cfg.init is None else resolve(cfg.init, folder=weights_folder())


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Where two identities differ, each in words."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found = []
        for key in sorted(set(old) | set(new)):
            found += differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
        return found
    return [] if old == new else [f"{path}: then {old}, now {new}"]


def parent_state(cfg: DictConfig, place: Place, again: str) -> dict[str, Tensor] | None:
    """The tensors of a stage's parent, when all that it builds on is there.

    Args:
        cfg: the run's config.
        place: the stage.
        again: the command that goes on with the run.

    Raises:
        StageError: for a predecessor, near or far, that is missing, unfinished, foreign or damaged.
    """
    if place.parent is None:
        return None
    child = place
    for ancestor in place.ancestors():
        _require_whole(cfg, ancestor, child, again)
        child = ancestor
    return read_tensors(place.parent.folder / WEIGHTS_NAME)


def require_current(cfg: DictConfig, place: Place, fingerprint: str, again: str) -> None:
    """Require that what a stage builds on would come about by today's choices, each from its present parent.

    Args:
        cfg: the run's config.
        place: the stage.
        fingerprint: of the training images.
        again: the command that goes on with the run.

    Raises:
        StageError: for a stale predecessor; of several the first of the chain.
    """
    for ancestor in reversed(list(place.ancestors())):
        card = read_card(ancestor.folder)
        wanted = identity(cfg, ancestor, fingerprint, build.meta_set(build.sampler(cfg, ancestor.name)))
        if card.get("hash") != config_hash(wanted):
            changed = ", ".join(differences(card.get("identity", {}), wanted)) or "its identity"
            raise StageError(
                f"stage {place.name!r} builds on stage {ancestor.name!r} in {ancestor.folder}, which is stale: it was "
                f"made with other choices ({changed}). Take them back, or start a new run by leaving run= out, or "
                f"remove {ancestor.folder} and train it again with: {again} 'stages_to_run=[{ancestor.name}]'"
            )


def _require_whole(cfg: DictConfig, ancestor: Place, child: Place, again: str) -> None:
    card = read_card(ancestor.folder)
    weights = ancestor.folder / WEIGHTS_NAME
    if card.get("status") != "finished" or not weights.is_file():
        state = "was cut short" if card else "is missing"
        raise StageError(
            f"stage {child.name!r} needs stage {ancestor.name!r} first, which {state} in {ancestor.folder}; run it "
            f"with: {again} 'stages_to_run=[{ancestor.name}]'"
        )
    if card.get("experiment") != cfg.name or card.get("stage") != ancestor.name:
        raise StageError(
            f"{ancestor.folder} is foreign: it holds stage {card.get('stage')!r} of {card.get('experiment')!r}, but "
            f"stage {child.name!r} of {cfg.name!r} needs {ancestor.name!r} of its own experiment; run the chain in a "
            f"new folder: {interpreter()} src/run.py +experiment={cfg.name}"
        )
    if file_hash(weights) != card.get("weights"):
        raise StageError(
            f"{weights} is not the file that its card describes (changed or damaged); remove {ancestor.folder} and run "
            f"stage {ancestor.name!r} again with: {again}"
        )
