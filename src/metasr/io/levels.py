"""Whole levels of an image: what a file of 8 or 16 bits holds."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from metasr.errors import InputError

Quantise = Literal["round", "truncate"]


def to_levels(image: Tensor, *, full: int = 255, mode: Quantise = "round") -> Tensor:
    """Clip to [0, 1] and scale to the whole levels 0 to ``full``, still floating point.

    Args:
        image: any shape, floating point.
        full: the level of full intensity, 255 for 8 bits.
        mode: ``round`` to the nearest level, or ``truncate`` to the one below.
    """
    levels = image.clamp(0, 1) * full
    if mode == "round":
        return levels.round()
    if mode == "truncate":
        return levels.floor()
    raise InputError(f"quantise must be 'round', 'truncate' or none, got {mode!r}")
