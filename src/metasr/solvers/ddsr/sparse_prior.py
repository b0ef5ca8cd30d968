"""A prior on images: most neighbouring pixels differ little, a few differ much."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

EXPONENT = 0.67
WEIGHT = 0.2
FLOOR = 1e-8


def sparse_prior(image: Tensor, *, exponent: float = EXPONENT, floor: float = FLOOR) -> Tensor:
    """Hyper-Laplacian energy Σ (|x - neighbour| + floor)^exponent, over all pixels and channels and four neighbours.

    The neighbours are the one above, the one above to the left, the one to the left, and the one below to the left;
    the image is reflected at its border (the edge pixel not repeated).

    Args:
        image: ``(B, C, H, W)``, at least 2×2.
        exponent: below 1, so that one large difference costs less than several small ones.
        floor: keeps the derivative finite at 0.

    Returns:
        A scalar.
    """
    height, width = image.shape[-2:]
    padded = F.pad(image, (1, 0, 1, 1), mode="reflect")  # a column on the left, a row above and below
    total = image.new_zeros(())
    for row, column in ((0, 1), (0, 0), (1, 0), (2, 0)):
        difference = image - padded[..., row : row + height, column : column + width]
        total = total + (difference.abs() + floor).pow(exponent).sum()
    return total


def published_prior(image: Tensor, *, low_values: int, weight: float) -> Tensor:
    """The prior as DDSR's public program weights it: ``weight`` · 0.2 · energy / number of *LR* values.

    Divided by LR values although it sums over HR pixels in four directions, it is 4 s² times a mean over pixels.

    Args:
        image: ``(1, C, H, W)`` at HR size.
        low_values: C · h · w of the LR image.
        weight: 1e-3 in the public program.
    """
    return weight * WEIGHT * sparse_prior(image) / low_values
