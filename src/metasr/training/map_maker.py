"""Pictures of what a recipe's networks look at: loss and weight maps, attention, activations."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from metasr.data.catalog import ImageSet
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import middle
from metasr.figures.maps import draw_maps
from metasr.figures.picture_book import file_name
from metasr.metrics.protocol import LumaProtocol
from metasr.recipes.base import Recipe
from metasr.seeds import generator_from

_LARGEST = 256  # pixels; of a larger picture the middle is shown


def has_maps(recipe: Recipe) -> bool:
    """Whether a recipe has anything to show."""
    return type(recipe).maps is not Recipe.maps


def draw_image_maps(
    recipe: Recipe, hr: Tensor, *, image: str, degradation: Degradation, protocol: LumaProtocol, seed: int, path: Path
) -> list[Path]:
    """Draw what a recipe's networks look at in one image.

    Args:
        recipe: asked for its maps.
        hr: ``(1, 3, H, W)``; its middle is taken where it is large.
        image: its name.
        degradation: makes the LR image.
        protocol: crops the HR image to fit the scale.
        seed: the run's seed.
        path: PNG to write.

    Returns:
        The picture's path, or nothing where the recipe has no maps.
    """
    if not has_maps(recipe):
        return []
    hr = protocol.crop_reference(middle(hr, (_LARGEST, _LARGEST)), degradation.scale)
    hr = hr.to(next(recipe.model.parameters()).device)
    lr = degradation(hr, generator=generator_from(seed, image, str(degradation), "maps"))
    maps = recipe.maps(lr, hr, degradation)
    return [draw_maps(maps, path, title=f"{image}, {degradation}")] if maps else []


def draw_test_maps(
    recipe: Recipe,
    images: ImageSet,
    folder: Path,
    *,
    degradation: Degradation,
    protocol: LumaProtocol,
    seed: int,
    count: int = 2,
) -> list[Path]:
    """Draw what a recipe's networks look at in the first test images.

    Args:
        recipe: with the weights to look at.
        images: the test images.
        folder: where the pictures go.
        degradation: makes the LR images.
        protocol: crops the HR images.
        seed: the run's seed.
        count: how many images.
    """
    drawn = []
    for i, image in enumerate(images.names[:count]):
        path = folder / f"{file_name(f'{image}_{degradation}')}_maps.png"
        drawn += draw_image_maps(
            recipe, images.load(i)[None], image=image, degradation=degradation, protocol=protocol, seed=seed, path=path
        )
    return drawn
