"""Luma as the field measures it."""

from __future__ import annotations

import torch
from torch import Tensor

from metasr.errors import InputError


def luma_bt601(rgb: Tensor) -> Tensor:
    """Y of BT.601 in studio range: 65.481 R + 128.553 G + 24.966 B + 16.

    Args:
        rgb: ``(..., 3, H, W)`` in [0, 1].

    Returns:
        ``(..., 1, H, W)`` in [16, 235], not rounded.
    """
    if rgb.ndim < 3 or rgb.shape[-3] != 3:
        raise InputError(f"rgb must have shape (..., 3, H, W), got {tuple(rgb.shape)}")
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=rgb.dtype, device=rgb.device)
    return (rgb * weights[:, None, None]).sum(-3, keepdim=True) + 16
