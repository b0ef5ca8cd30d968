"""What lies under transparency, which nobody sees and every filter smears into what is seen."""

from __future__ import annotations

import torch
from torch import Tensor

from metasr.errors import InputError


def fill_transparent(rgb: Tensor, alpha: Tensor) -> Tensor:
    """Give wholly transparent pixels the colour of the nearest pixel that is not.

    An image editor leaves anything there, mostly black. Enlarged, or filtered in any way, that bleeds into the edges of
    what is seen; with the neighbours' colours in its place, edges are as if colours had been multiplied by their
    opacity before enlarging. Pixels of any opacity keep their colour.

    Args:
        rgb: ``(3, H, W)``, not multiplied by opacity.
        alpha: opacity ``(1, H, W)`` in [0, 1].

    Returns:
        ``(3, H, W)``; ``rgb`` itself where all or nothing is transparent.

    Raises:
        InputError: if the shapes do not fit.
    """
    if rgb.ndim != 3 or tuple(alpha.shape) != (1, *rgb.shape[1:]):
        raise InputError(f"alpha must be (1, H, W) for rgb of {tuple(rgb.shape)}, got {tuple(alpha.shape)}")
    clear = alpha[0] <= 0
    if not bool(clear.any()) or bool(clear.all()):
        return rgb
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(clear.cpu().numpy(), return_distances=False, return_indices=True)
    rows, columns = torch.from_numpy(nearest).long().to(rgb.device)  # (H, W) each
    return rgb[:, rows, columns]
