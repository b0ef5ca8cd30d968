"""Structural similarity as a loss: differentiable, with the border that training programs give it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def window(size: int = _WINDOW, sigma: float = _SIGMA) -> Tensor:
    """One side of the separable Gaussian window, ``(size,)`` float64, sum 1."""
    taps = torch.arange(size, dtype=torch.float64) - size // 2
    row = torch.exp(-0.5 * (taps / sigma) ** 2)
    return row / row.sum()


class SSIM:
    """Mean SSIM to a fixed reference; data range 1, zeros beyond the border, all channels alike.

    Unlike the measure in ``metrics.psnr_ssim`` it counts the border too, where window and image are
    zero-padded. What depends on the reference alone is computed once.

    Args:
        reference: ``(1, C, H, W)`` in [0, 1].
    """

    def __init__(self, reference: Tensor) -> None:
        self.reference = reference.transpose(0, 1)  # (C, 1, H, W): channels are alike
        row = window().to(reference)
        self.row, self.column = row.view(1, 1, 1, -1), row.view(1, 1, -1, 1)
        self.mean = self._smooth(self.reference)
        self.variance = self._smooth(self.reference.square()) - self.mean.square()

    def __call__(self, image: Tensor) -> Tensor:
        """A scalar; differentiable in the image, which has the reference's shape."""
        x = image.transpose(0, 1)  # (C, 1, H, W)
        mean, square, product = self._smooth(torch.cat((x, x * x, x * self.reference))).chunk(3)
        luminance = (2 * mean * self.mean + _C1) / (mean.square() + self.mean.square() + _C1)
        covariance, variance = product - mean * self.mean, square - mean.square()
        return (luminance * (2 * covariance + _C2) / (variance + self.variance + _C2)).mean()

    def _smooth(self, maps: Tensor) -> Tensor:
        half = _WINDOW // 2
        return F.conv2d(F.conv2d(maps, self.row, padding=(0, half)), self.column, padding=(half, 0))
