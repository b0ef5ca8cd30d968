"""PSNR on Y alone, where SSIM, which takes far longer, is not asked for."""

from __future__ import annotations

from torch import Tensor

from metasr.metrics.protocol import LumaProtocol
from metasr.metrics.psnr_ssim import psnr


def luma_psnr(sr: Tensor, hr: Tensor, *, scale: float, protocol: LumaProtocol | None = None) -> Tensor:
    """What ``metrics.protocol.LumaProtocol`` gives as ``psnr_y``, of each image of a batch.

    Args:
        sr: ``(B, 3, H, W)`` in [0, 1].
        hr: the truth, same shape.
        scale: decides the shaved border.
        protocol: how Y is taken; the published way by default.

    Returns:
        ``(B,)`` float64, in dB.
    """
    chosen = protocol or LumaProtocol()
    return psnr(chosen.luma(sr, scale=scale), chosen.luma(hr, scale=scale))
