"""Pictures of what a recipe's networks look at: loss and weight maps, attention, activations."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig
from torch import Tensor

from metasr.config import build
from metasr.data.catalog import ImageSet
from metasr.degradation import names
from metasr.degradation.resize import middle
from metasr.errors import WeightsError
from metasr.figures.maps import draw_maps
from metasr.figures.picture_book import file_name
from metasr.recipes.base import Recipe
from metasr.recipes.weightnet import WeightNetRecipe
from metasr.runs.weights import Weights
from metasr.seeds import generator_from

log = logging.getLogger(__name__)

_LARGEST = 256  # pixels; of a larger picture the middle is shown


def has_maps(recipe: Recipe) -> bool:
    """Whether a recipe has anything to show."""
    return type(recipe).maps is not Recipe.maps


def draw_image_maps(
    cfg: DictConfig, recipe: Recipe, hr: Tensor, *, image: str, degradation: str, path: Path
) -> list[Path]:
    """Draw what a recipe's networks look at in one image.

    Args:
        cfg: the run's config.
        recipe: asked for its maps.
        hr: ``(1, 3, H, W)``; its middle is taken where it is large.
        image: its name.
        degradation: short name.
        path: PNG to write.

    Returns:
        The picture's path, or nothing where the recipe has no maps.
    """
    if not has_maps(recipe):
        return []
    hr = build.protocol(cfg).crop_reference(middle(hr, (_LARGEST, _LARGEST)), cfg.scale)
    hr = hr.to(next(recipe.model.parameters()).device)
    problem = names.parse(degradation, scale=cfg.scale)
    lr = problem(hr, generator=generator_from(cfg.seed, image, degradation, "maps"))
    found = recipe.maps(lr, hr, problem)
    return [draw_maps(found, path, title=f"{image}, {degradation}")] if found else []


def draw_test_maps(cfg: DictConfig, weights: Weights, images: ImageSet, folder: Path, *, count: int = 2) -> list[Path]:
    """Draw what the last stage's networks, with some weights, look at in the first test images.

    Weights whose card tells an earlier stage are looked at as that one does.
    """
    cfg = build.as_trained(cfg, weights)
    made_by = weights.card.get("stage")
    stage = str(made_by if made_by in cfg.stages else list(cfg.stages)[-1])
    recipe = build.recipe(cfg, stage)
    if not has_maps(recipe) or not cfg.degradations:
        return []
    try:
        recipe.restore(weights.state, origin=weights.label)
    except WeightsError as error:  # an extra, and the weights may be of another recipe
        log.info("no maps are drawn: %s", error)
        return []
    if isinstance(recipe, WeightNetRecipe):
        recipe.meta_pairs = build.sampler(cfg, stage).meta_pairs()
    recipe.to(build.device(cfg.device)).eval()
    degradation = names.expand(cfg.degradations, cfg.scale)[0]
    made = []
    for i, image in enumerate(images.names[:count]):
        name = file_name(f"{image}_{degradation}")
        made += draw_image_maps(
            cfg, recipe, images.load(i)[None], image=image, degradation=degradation, path=folder / f"{name}_maps.png"
        )
    return made
