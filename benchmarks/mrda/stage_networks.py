"""What a run learned, as networks: a finished stage's recipe with its weights, as its own card tells it.

A card may be anyone's: what it names is looked up in a closed table, and nothing in it is ever resolved or executed.
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from metasr.errors import InputError, StageError
from metasr.paths import program
from metasr.recipes.base import Recipe
from metasr.runs.architecture import make_recipe
from metasr.runs.card import CARD_NAME, WEIGHTS_NAME, read_card
from metasr.runs.reading import require_plain
from metasr.runs.weights import read_tensors


def finished_stages(run: Path) -> dict[str, Path]:
    """The folders of a run's finished stages by the stages' names, in order.

    Raises:
        StageError: if the folder is no run's, or none of its stages is finished.
    """
    found = {}
    for path in sorted(run.glob(f"[0-9][0-9]_*/{CARD_NAME}")):
        card = read_card(path.parent)
        if card.get("status") == "finished" and (path.parent / WEIGHTS_NAME).is_file():
            found[str(card.get("stage") or path.parent.name.partition("_")[2])] = path.parent
    if not found:
        raise StageError(
            f"{run} has no finished stage; give the folder of a run, or train one with "
            f"`{program()} +experiment=mrda_x4_iso`"
        )
    return found


def stage_config(folder: Path) -> DictConfig:
    """The whole config that a stage was trained by.

    Raises:
        StageError: if its card does not tell.
    """
    config = read_card(folder).get("config")
    if not config:
        raise StageError(f"{folder / CARD_NAME} tells no config; remove the stage's folder and train it again")
    require_plain(config, str(folder / CARD_NAME), error=StageError)
    made = OmegaConf.create(config)
    assert isinstance(made, DictConfig)
    return made


def stage_recipe(folder: Path, stage: str, *, seed: int | None = None) -> Recipe:
    """The recipe that a stage was trained by, with fresh networks.

    Args:
        folder: the stage's.
        stage: its name.
        seed: that networks are drawn by; the run's own by default.

    Raises:
        StageError: if the card does not tell the recipe.
        WeightsError: if it is none of this package's.
    """
    cfg = stage_config(folder)
    told = OmegaConf.to_container(cfg, resolve=False).get("stages", {}).get(stage, {}).get("recipe")
    if told is None or cfg.get("seed") is None:
        raise StageError(
            f"{folder / CARD_NAME} tells no recipe of stage {stage!r}; remove the folder and train it again"
        )
    made: Recipe = make_recipe(told, origin=str(folder / CARD_NAME), seed=cfg.seed if seed is None else seed)
    return made


def untrained_recipe(run: Path, stage: str, *, seed: int) -> Recipe:
    """A finished stage's recipe as it begins, its networks drawn by another seed in the very way the run's were.

    Args:
        run: the run's folder.
        stage: a finished one.
        seed: to be told from the run's own.

    Raises:
        InputError: for the run's own seed.
    """
    cfg = stage_config(finished_stages(run)[stage])
    if seed == cfg.seed:
        raise InputError(f"seed {seed} is that of {run} itself; give another one")
    return stage_recipe(finished_stages(run)[stage], stage, seed=seed).eval().requires_grad_(False)


def trained_recipe(run: Path, stage: str) -> Recipe:
    """A finished stage's recipe with what it learned, frozen.

    Args:
        run: the run's folder.
        stage: its name, such as ``student``.

    Raises:
        StageError: if that stage is not finished, naming those that are, and the command to go on with the run.
    """
    folders = finished_stages(run)
    if stage not in folders:
        cfg = stage_config(next(iter(folders.values())))
        raise StageError(
            f"{run} has no finished stage {stage!r}, but {', '.join(folders)}; go on with the run: "
            f"`{program()} +experiment={cfg.get('name')} run={run}`"
        )
    folder = folders[stage]
    recipe = stage_recipe(folder, stage)
    recipe.restore(read_tensors(folder / WEIGHTS_NAME), origin=folder.name)
    return recipe.eval().requires_grad_(False)
