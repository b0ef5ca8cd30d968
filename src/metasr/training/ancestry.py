"""What a stage builds on: every stage before it must be there, its own, whole, and made by today's choices.

A stage's identity is the hash of its configuration, its data, the seed, and its parent's weights.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from metasr.data.catalog import ImageSet
from metasr.data.meta_set import MetaSet, WeightedSampler
from metasr.errors import StageError
from metasr.io.files import file_hash
from metasr.paths import program
from metasr.runs.card import WEIGHTS_NAME, config_hash, read_card
from metasr.runs.folder import command
from metasr.runs.weights import read_tensors
from metasr.training.stage import Chain, Stage


def identity(stage: Stage, fingerprint: str, meta_set: MetaSet | None) -> dict[str, Any]:
    """Everything that decides what a stage's weights come out as.

    Args:
        stage: its own choices stand in it.
        fingerprint: of the training images.
        meta_set: the meta-data set that its sampler brings along.
    """
    facts = {
        **stage.choices,
        "data": {**stage.choices["data"], "fingerprint": fingerprint},
        "parent": None if stage.parent is None else file_hash(stage.parent.folder / WEIGHTS_NAME),
    }
    if stage.given_hash is not None:
        facts["init"] = stage.given_hash
    if meta_set is not None:
        facts["sampler_data"] = meta_set.fingerprint()
    return facts


def files_of(images: ImageSet) -> dict[str, int]:
    """Names and sizes in bytes of some images' files, by which a card can name those that were changed.

    Sets of more than 20,000 images are not listed: a card is to stay readable.
    """
    return {path.name: path.stat().st_size for path in images.paths} if len(images) <= 20_000 else {}


def changed_files(old: Any, new: Mapping[str, int]) -> str:
    """What became of a stage's training images, in words; empty where that is not known.

    Args:
        old: the ``data`` of the stage's card.
        new: names and sizes of the files now.
    """
    old = old.get("files") if isinstance(old, Mapping) else None
    if not isinstance(old, Mapping) or not old or not new:
        return ""
    facts = {
        "gone": [name for name in old if name not in new],
        "new": [name for name in new if name not in old],
        "of another size": [name for name in new if name in old and old[name] != new[name]],
    }
    words = [
        f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''} {state}"
        for state, names in facts.items()
        if names
    ]
    return "; training images: " + ("; ".join(words) or "the same names and sizes, other contents or another order")


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Where two identities differ, each in words."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found = []
        for key in sorted(set(old) | set(new)):
            found += differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
        return found
    return [] if old == new else [f"{path}: then {old}, now {new}"]


def raised_steps(old: Any, new: Mapping[str, Any]) -> tuple[int, int] | None:
    """The numbers of steps of two identities, where the second has more and nothing else differs."""
    if not isinstance(old, Mapping) or not isinstance(old.get("stage"), Mapping):
        return None
    before, after = old["stage"].get("steps"), new["stage"]["steps"]
    if not isinstance(before, int) or before >= after:
        return None
    as_before = copy.deepcopy(dict(new))
    as_before["stage"]["steps"] = before
    if as_before["stage"]["recipe"].get("steps") == after:  # told it for its schedule
        as_before["stage"]["recipe"]["steps"] = before
    return (before, after) if config_hash(as_before) == config_hash(old) else None


def parent_state(chain: Chain, stage: Stage) -> dict[str, Tensor] | None:
    """The tensors of a stage's parent, when all that it builds on is there.

    Raises:
        StageError: for a predecessor, near or far, that is missing, unfinished, foreign or damaged.
    """
    if stage.parent is None:
        return None
    child = stage
    for ancestor in stage.ancestors():
        _require_whole(chain, ancestor, child)
        child = ancestor
    return read_tensors(stage.parent.folder / WEIGHTS_NAME)


def require_current(chain: Chain, stage: Stage, fingerprint: str) -> None:
    """Require that what a stage builds on would come about by today's choices, each from its present parent.

    Args:
        chain: the experiment.
        stage: one of its stages.
        fingerprint: of the training images.

    Raises:
        StageError: for a stale predecessor; of several the first of the chain.
    """
    for ancestor in reversed(list(stage.ancestors())):
        card = read_card(ancestor.folder)
        wanted = identity(ancestor, fingerprint, meta_set_of(ancestor))
        if card.get("hash") != config_hash(wanted):
            changed = ", ".join(differences(card.get("identity", {}), wanted)) or "its identity"
            raise StageError(
                f"stage {stage.name!r} builds on stage {ancestor.name!r} in {ancestor.folder}, which is stale: it was "
                f"made with other choices ({changed}). Take them back, or start a new run by leaving run= out, or "
                f"remove {ancestor.folder} and train it again with: {_alone(chain, ancestor)}"
            )


def meta_set_of(stage: Stage) -> MetaSet | None:
    """The meta-data set that a stage's sampler brings along beside the training set; none for most."""
    sampler = stage.make_sampler()
    return sampler.meta_set if isinstance(sampler, WeightedSampler) else None


def _alone(chain: Chain, stage: Stage) -> str:
    """What to type to run one stage alone."""
    return f"{command(chain.experiment, chain.run, without=('stages_to_run',))} 'stages_to_run=[{stage.name}]'"


def _require_whole(chain: Chain, ancestor: Stage, child: Stage) -> None:
    card = read_card(ancestor.folder)
    weights = ancestor.folder / WEIGHTS_NAME
    if card.get("status") != "finished" or not weights.is_file():
        state = "was cut short" if card else "is missing"
        raise StageError(
            f"stage {child.name!r} needs stage {ancestor.name!r} first, which {state} in {ancestor.folder}; run it "
            f"with: {_alone(chain, ancestor)}"
        )
    if card.get("experiment") != chain.experiment or card.get("stage") != ancestor.name:
        raise StageError(
            f"{ancestor.folder} is foreign: it holds stage {card.get('stage')!r} of {card.get('experiment')!r}, but "
            f"stage {child.name!r} of {chain.experiment!r} needs {ancestor.name!r} of its own experiment; run the "
            f"chain in a new folder: {program()} +experiment={chain.experiment}"
        )
    if file_hash(weights) != card.get("weights"):
        raise StageError(
            f"{weights} is not the file that its card describes (changed or damaged); remove {ancestor.folder} and run "
            f"stage {ancestor.name!r} again with: {command(chain.experiment, chain.run, without=('stages_to_run',))}"
        )
