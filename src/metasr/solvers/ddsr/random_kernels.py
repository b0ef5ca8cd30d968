"""Random kernel learning: kernels drawn from a prior, and how much each of them is to teach (DDSR, 2024).

A kernel generator is drawn towards random Gaussian kernels, each weighted by how well it would explain the LR image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from metasr.degradation.published_ddsr import gaussian_kernel, kernel_size, width_range
from metasr.errors import InputError, require_one_of
from metasr.metrics.registration import conventions

Centre = Literal["published", "middle", "correct"]
Widths = Literal["wide", "data", "both"]

_CONVENTIONS: dict[str, str] = {"published": "ddsr", "middle": "direct", "correct": "centre"}


def centre_of(centre: Centre, *, scale: int, size: int) -> float:
    """Row and column, counted from 0, at which the random kernels sit.

    The blur is a correlation and subsampling keeps rows and columns 0, s, 2s, ..., so with a kernel centred at c the LR
    pixel i looks at HR position s·i + c - (K-1)/2:

    =============  =====================  ==================  =======================================================
    ``published``  c = (K - s)/2          s·i - (s - 1)/2     the public program's data: s - 1 HR pixels off
                                                              bicubic alignment
    ``middle``     c = (K - 1)/2          s·i                 direct subsampling after a centred kernel (``g2.0d``)
    ``correct``    c = (K - 1)/2          s·i + (s - 1)/2     LR and HR pixels cover the same area: bicubic resizing,
                   + (s - 1)/2                                cameras
    =============  =====================  ==================  =======================================================

    Raises:
        InputError: for an unknown name.
    """
    return (size - 1) / 2 + (scale - 1) / 2 - shift_of(centre, scale=scale)


def shift_of(centre: Centre, *, scale: float) -> float:
    """How far below and to the right of bicubic alignment such LR images lie, in HR pixels, as ``Degradation.shift``.

    ``imresize(lr, scale, shift=shift_of(...))`` puts them in their place: s - 1, (s - 1)/2 and 0.

    Raises:
        InputError: for an unknown name.
    """
    require_one_of(centre, Centre, name="centre")
    return conventions(scale)[_CONVENTIONS[centre]]


def variance_range(widths: Widths, *, scale: int) -> tuple[float, float]:
    """The range of the random kernels' eigenvalues in HR pixels².

    ``data`` is the one that the published test kernels are drawn from, 0.175 s to min(2.5 s, 10); ``wide`` is what
    the public program learns from, the same moved up by 3 + (s - 4) and 10 + (s - 4). ``both`` goes from the lower end
    of the one to the upper end of the other.

    Raises:
        InputError: for an unknown name.
    """
    low, high = width_range(scale)
    if widths == "data":
        return low, high
    if widths == "wide":
        return low + scale - 1, high + scale + 6
    if widths == "both":
        return low, high + scale + 6
    raise InputError(f"widths must be one of {', '.join(get_args(Widths))}, got {widths!r}")


@dataclass(frozen=True, kw_only=True)
class RandomKernels:
    """Draws Gaussian kernels: λ1, λ2 ~ U(variance) and θ ~ U(0, π).

    With ``centre="published"`` and the published size they are those of
    ``degradation.published_ddsr.gaussian_kernel``: drawn at (K - 1)/2 + (s - 1)/2, where the lower and right
    border cut them, and moved from there. Otherwise each is drawn where it belongs, cut by the border alone.

    Attributes:
        scale: whole factor.
        size: odd side K.
        variance: range of the eigenvalues of Σ, in pixels².
        centre: see ``centre_of``.
    """

    scale: int
    size: int
    variance: tuple[float, float]
    centre: Centre = "published"

    def __post_init__(self) -> None:
        if self.size < 1 or self.size % 2 == 0:
            raise InputError(f"kernel size must be odd and at least 1, got {self.size}")
        low, high = self.variance
        if not 0 < low <= high:
            raise InputError(f"variance must be a range (low, high) with 0 < low <= high, got ({low}, {high})")
        centre_of(self.centre, scale=self.scale, size=self.size)

    @classmethod
    def published(cls, scale: int, *, widths: Widths = "wide") -> RandomKernels:
        """The public program's, for a scale."""
        return cls(scale=scale, size=kernel_size(scale), variance=variance_range(widths, scale=scale))

    def sample(self, count: int, *, generator: torch.Generator) -> Tensor:
        """Draw kernels.

        Returns:
            ``(count, size, size)`` float32 on the CPU, each of sum 1.
        """
        uniform = torch.rand(count, 3, generator=generator, dtype=torch.float64).numpy()
        low, high = self.variance
        kernels = [
            self._kernel(low + (high - low) * first, low + (high - low) * second, np.pi * turn)
            for first, second, turn in uniform
        ]
        return torch.from_numpy(np.stack(kernels)).float()

    def _kernel(self, variance1: float, variance2: float, theta: float) -> np.ndarray:
        if self.centre == "published" and self.size == kernel_size(self.scale):
            return gaussian_kernel(self.scale, variance1, variance2, theta)
        centre = centre_of(self.centre, scale=self.scale, size=self.size)
        kernel = _gaussian(variance1, variance2, theta, self.size, centre)
        return kernel / kernel.sum()


def _gaussian(variance1: float, variance2: float, theta: float, size: int, centre: float) -> np.ndarray:
    axis = np.arange(size) - centre
    x, y = axis[None, :], axis[:, None]
    along, across = np.cos(theta) * x + np.sin(theta) * y, np.cos(theta) * y - np.sin(theta) * x
    return np.exp(-0.5 * (along**2 / variance1 + across**2 / variance2))


def teaching_weights(errors: Tensor) -> Tensor:
    """How much each random kernel counts, from how badly it explains the LR image.

    w = -(1 - p)² log(p + 1e-3) with p = (e - min e) / (1e-5 + Σ (e - min e)): 6.908 for the best, 0.78 at p = 1/4,
    nothing at p = 1.

    Args:
        errors: ``(n,)``, mean squared errors; whatever history they have is dropped.

    Returns:
        ``(n,)``, without history.
    """
    excess = errors.detach() - errors.detach().min()
    share = excess / (1e-5 + excess.sum())
    return -((1 - share) ** 2) * torch.log(share + 1e-3)
