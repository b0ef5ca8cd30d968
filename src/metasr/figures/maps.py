"""What a recipe's networks look at, beside the picture, and how far two such maps lie apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metasr.errors import InputError
from metasr.figures.comparison import literal, pixels, pyplot, save

_OUTLIERS = 0.5  # percent of a map's values beyond either end of its colours
_COLUMNS = 4


class MapDistance(NamedTuple):
    """How far two maps of one image lie apart.

    Attributes:
        total_variation: 0.5 mean|a - b| with both scaled to mean 1: the share of the weight that lies elsewhere, in
            [0, 1].
        rank: 1 - Spearman's rank correlation, in [0, 2]: 0 for one order, 1 for none in common, 2 for the reverse.
    """

    total_variation: float
    rank: float


def map_distance(a: Tensor, b: Tensor) -> MapDistance:
    """The distance of two weight maps of one image.

    Args:
        a: ``(H, W)``, at least 0, not all 0.
        b: same shape.

    Returns:
        Both distances. A map that is equal everywhere has no order: its rank distance is 1 from any other, 0 from
        another such map.

    Raises:
        InputError: for other shapes or values.
    """
    from scipy.stats import spearmanr  # not light

    if a.ndim != 2 or a.shape != b.shape:
        raise InputError(f"two weight maps must both be (H, W) of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    one, other = (m.detach().double().cpu() for m in (a, b))
    for m in (one, other):
        if not bool(torch.isfinite(m).all()) or float(m.min()) < 0 or float(m.max()) == 0:
            raise InputError(
                f"a weight map must be finite, at least 0 and not all 0, got values from {float(m.min()):.4g} to "
                f"{float(m.max()):.4g}"
            )
    variation = 0.5 * float((one / one.mean() - other / other.mean()).abs().mean())
    flat = [bool(m.max() == m.min()) for m in (one, other)]
    if any(flat):
        return MapDistance(variation, 0.0 if all(flat) else 1.0)
    return MapDistance(variation, 1 - float(spearmanr(one.flatten().numpy(), other.flatten().numpy()).statistic))


def draw_maps(maps: Mapping[str, Tensor], path: Path, *, title: str = "") -> Path:
    """Pictures and maps of one image side by side, each map with a colour bar.

    A map that has values on both sides of 0 is drawn in blue (below) and red (above), white at 0; any other from dark
    to bright. The outermost half percent of the values at either end does not stretch the colours.

    Args:
        maps: by caption, in the order to draw: pictures ``(3, H, W)`` in [0, 1], or finite maps ``(H, W)`` of any
            range; a leading axis of 1 is dropped.
        path: PNG to write.
        title: above all.

    Raises:
        InputError: if there is nothing to draw, or something is neither picture nor map.
        OutputError: if the file cannot be written.
    """
    shown = {caption: _checked(caption, given) for caption, given in maps.items()}
    if not shown:
        raise InputError("there are no maps to draw; give at least one picture or map")
    plt = pyplot()
    columns = min(_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    height, width = next(iter(shown.values())).shape[-2:]
    tall = min(2.5, max(0.4, height / width))
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.3 * columns, (3.0 * tall + 0.4) * rows + 0.4), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, (caption, given) in zip(axes.flat, shown.items(), strict=False):
        _draw(figure, axis, given)
        axis.set_title(literal(caption), fontsize=9)
    if title:
        figure.suptitle(literal(title), fontsize=10)
    return save(figure, path)


def _checked(caption: str, given: Tensor) -> Tensor:
    values = given.detach()
    if values.ndim in (3, 4) and values.shape[0] == 1:
        values = values[0]
    if not (values.ndim == 2 or (values.ndim == 3 and values.shape[0] == 3)) or values.numel() == 0:
        raise InputError(f"{caption!r} must be a picture (3, H, W) or a map (H, W), got {tuple(given.shape)}")
    if not bool(torch.isfinite(values).all()):
        raise InputError(f"{caption!r} must be finite to be drawn, got NaN or infinite values")
    return values


def _draw(figure: Any, axis: Any, given: Tensor) -> None:
    if given.ndim == 3:
        axis.imshow(pixels(given), interpolation="antialiased")
        return
    values = given.double().cpu().numpy()
    low, high = np.percentile(values, [_OUTLIERS, 100 - _OUTLIERS])
    if low < 0 < high:
        reach = max(-low, high)
        drawn = axis.imshow(values, cmap="RdBu_r", vmin=-reach, vmax=reach, interpolation="antialiased")
    else:
        drawn = axis.imshow(values, cmap="magma", vmin=low, vmax=high, interpolation="antialiased")
    figure.colorbar(drawn, ax=axis, shrink=0.8).ax.tick_params(labelsize=7)
