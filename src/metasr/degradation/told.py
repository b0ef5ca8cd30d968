"""What a network is told of an image beside its pixels: noise and compression, told by its file or estimated."""

from __future__ import annotations

import torch
from torch import Tensor

from metasr.degradation.jpeg import told_numbers
from metasr.degradation.pipeline import Degradation

CONDITIONS = 4
"""How many numbers are told of each image."""
_SCALE_OF_NOISE = 10.0  # noise of 0.1 (25 grey levels) is told as 1


def conditions(degradation: Degradation, *, count: int) -> Tensor:
    """What is told of each of some images, ``(count, CONDITIONS)``.

    The noise's standard deviation over 0.1, and the numbers of ``metasr.degradation.jpeg.told_numbers``.
    """
    noise = torch.as_tensor(degradation.noise_std, dtype=torch.float32).reshape(-1).expand(count) * _SCALE_OF_NOISE
    return torch.cat([noise[:, None], told_numbers(degradation.jpeg, count).to(noise.device)], 1)


def with_maps(lr: Tensor, numbers: Tensor) -> Tensor:
    """Images ``(B, C, h, w)`` with numbers about each, ``(B, n)``, as even maps behind their channels."""
    return torch.cat([lr, numbers[:, :, None, None].expand(-1, -1, *lr.shape[-2:])], 1)


def told(lr: Tensor, degradation: Degradation) -> Tensor:
    """Images with what is told of each as even maps behind their colours: ``(B, 3 + CONDITIONS, h, w)``."""
    return with_maps(lr, conditions(degradation, count=len(lr)).to(lr))
