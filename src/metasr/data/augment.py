"""Augmentation of HR patches by kornia: flips, quarter turns, shift and scale, hue and saturation.

kornia's augmentation modules draw from the global generator; here all parameters are drawn from the one that is given,
on the CPU, and kornia's functions apply them, so that a seed means the same patches on every device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import kornia.enhance
import kornia.geometry.transform as geometry
import torch
from torch import Tensor

from metasr.checks import check_image
from metasr.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random variants of square patches, each drawn for itself.

    Flips and turns move pixels and lose nothing. Shift and scale interpolate (bicubic, mirrored border), which softens
    a patch a little, whence only a share of the patches gets them; so it is with colour.

    Attributes:
        flips: flip along each axis, with probability one half each.
        turns: turn by 90° to either side, with probability one quarter each.
        moved_share: of patches that are shifted and scaled.
        shift: largest shift along each axis, as a share of the side.
        scale: largest change of size, as a share of it.
        coloured_share: of patches whose hue and saturation are changed.
        hue: largest change of hue in radians, up to π.
        saturation: largest change of saturation, as a share of it, up to 1.
    """

    flips: bool = True
    turns: bool = True
    moved_share: float = 0.5
    shift: float = 0.0625
    scale: float = 0.1
    coloured_share: float = 0.5
    hue: float = 0.1
    saturation: float = 0.1

    def __post_init__(self) -> None:
        for name, value, most in (
            ("moved_share", self.moved_share, 1.0),
            ("shift", self.shift, 1.0),
            ("scale", self.scale, 0.9),
            ("coloured_share", self.coloured_share, 1.0),
            ("hue", self.hue, math.pi),
            ("saturation", self.saturation, 1.0),
        ):
            if not 0 <= value <= most:
                raise InputError(f"augmentation: {name} must be between 0 and {most:.3g}, got {value}")

    def __call__(self, hr: Tensor, *, generator: torch.Generator) -> Tensor:
        """Vary a batch of patches.

        Args:
            hr: ``(B, 3, N, N)`` in [0, 1].
            generator: on the CPU; always asked for the same number of draws, so that switching one change off leaves
                the others as they were.

        Returns:
            The same shape, in [0, 1].
        """
        check_image(hr, name="hr")
        if hr.shape[1] != 3 or hr.shape[-1] != hr.shape[-2]:
            raise InputError(f"augmentation takes square RGB patches (B, 3, N, N), got {tuple(hr.shape)}; cut them so")
        drawn = torch.rand(len(hr), 10, generator=generator, dtype=torch.float64)
        if self.flips:
            hr = _where(drawn[:, 0] < 0.5, geometry.hflip(hr), hr)
            hr = _where(drawn[:, 1] < 0.5, geometry.vflip(hr), hr)
        if self.turns:
            left, right = drawn[:, 2] < 0.25, drawn[:, 2] >= 0.75
            turned = hr.mT  # a transposition and a flip are a quarter turn
            hr = _where(left, geometry.vflip(turned), _where(right, geometry.hflip(turned), hr))
        signed = (2 * drawn - 1).to(hr)
        if bool((moved := drawn[:, 3] < self.moved_share).any()):
            hr = _where(moved, self._move(hr, signed[:, 4:6], signed[:, 6]), hr)
        if bool((coloured := drawn[:, 7] < self.coloured_share).any()):
            hr = _where(coloured, self._colour(hr, signed[:, 8], signed[:, 9]), hr)
        return hr

    def _move(self, hr: Tensor, shifts: Tensor, scales: Tensor) -> Tensor:
        side = hr.shape[-1]
        centre = torch.full_like(shifts, (side - 1) / 2)
        zooms = (1 + self.scale * scales)[:, None].expand(-1, 2)
        matrix = geometry.get_affine_matrix2d(shifts * self.shift * side, centre, zooms, torch.zeros_like(scales))
        warped = geometry.warp_affine(
            hr, matrix[:, :2], (side, side), mode="bicubic", padding_mode="reflection", align_corners=True
        )
        return warped.clamp(0, 1)

    def _colour(self, hr: Tensor, hues: Tensor, saturations: Tensor) -> Tensor:
        hr = kornia.enhance.adjust_saturation(hr, 1 + self.saturation * saturations)
        return kornia.enhance.adjust_hue(hr, self.hue * hues).clamp(0, 1)


def _where(chosen: Tensor, changed: Tensor, kept: Tensor) -> Tensor:
    """Chosen patches as changed, the others as they were; which they are is known on the CPU."""
    return torch.where(chosen.to(kept.device)[:, None, None, None], changed, kept)
