"""Blur kernels: Gaussians of any shape, and seeded samplers.

Coordinates: x is the column, y the row, angles are radians. Widths are *variances* unless a name says
``standard deviation``: the covariance is Σ = R(θ) diag(λ1, λ2) R(θ)ᵀ with R the rotation by θ, and the kernel is
exp(-½ pᵀ Σ⁻¹ p), normalised to sum 1 (MZSR, section 4.1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metasr.errors import InputError, require_at_least

TEST_SIZE = 21  # side of the named test kernels
DEFAULT_VARIANCE = (1.0, 5.0)  # of the sampler, where no range is given


def gaussian(variance1: Tensor, variance2: Tensor, theta: Tensor, size: int) -> Tensor:
    """Anisotropic Gaussian kernels, one per row of the parameters.

    Args:
        variance1: eigenvalue λ1 of the covariance along the direction ``theta``, ``(...)``, above 0, in pixels².
        variance2: eigenvalue λ2 across it, ``(...)``.
        theta: angle from the x axis (columns) to the first eigenvector, ``(...)``, radians.
        size: odd side of the kernel.

    Returns:
        ``(..., size, size)``, sum 1, in the parameters' dtype.

    Raises:
        InputError: for an even size or a variance that is not above 0.
    """
    if size < 1 or size % 2 == 0:
        raise InputError(f"kernel size must be odd and at least 1, got {size}")
    if bool((variance1 <= 0).any()) or bool((variance2 <= 0).any()):
        raise InputError("variances must be above 0; for no blur at all use kernels.delta")
    axis = torch.arange(size, dtype=variance1.dtype, device=variance1.device) - size // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    cos, sin = torch.cos(theta)[..., None, None], torch.sin(theta)[..., None, None]
    along, across = cos * x + sin * y, -sin * x + cos * y  # (..., size, size)
    exponent = along.square() / variance1[..., None, None] + across.square() / variance2[..., None, None]
    kernel = torch.exp(-0.5 * exponent)
    return kernel / kernel.sum((-2, -1), keepdim=True)


def isotropic(variance: float, *, size: int = TEST_SIZE) -> Tensor:
    """Gaussian kernel with Σ = variance · I, ``(size, size)`` float64."""
    return anisotropic(variance, variance, 0.0, size=size)


def anisotropic(variance1: float, variance2: float, theta: float, *, size: int = TEST_SIZE) -> Tensor:
    """Gaussian kernel with eigenvalues ``variance1`` (along ``theta``) and ``variance2``, ``(size, size)`` float64."""
    first, second, angle = torch.tensor([variance1, variance2, theta], dtype=torch.float64)
    return gaussian(first, second, angle, size)


def delta(*, size: int = 1) -> Tensor:
    """Kernel that leaves the image as it is, ``(size, size)`` float64."""
    if size < 1 or size % 2 == 0:
        raise InputError(f"kernel size must be odd and at least 1, got {size}")
    kernel = torch.zeros(size, size, dtype=torch.float64)
    kernel[size // 2, size // 2] = 1.0
    return kernel


def disc(
    radius: float, *, size: int = TEST_SIZE, centre: float | tuple[float, float] | None = None, subpixels: int = 16
) -> Tensor:
    """Out-of-focus kernel: even weight within a circle.

    Args:
        radius: in pixels, above 0.
        size: odd side of the kernel.
        centre: of the circle, row and column or one number for both, as positions in the array; its middle by default.
        subpixels: a tap weighs as many of its ``subpixels`` x ``subpixels`` points as lie within the circle; 1 looks at
            its middle alone.

    Returns:
        ``(size, size)`` float64, sum 1.

    Raises:
        InputError: for an even size, a radius that is not above 0, or a circle that does not fit into the array.
    """
    if size < 1 or size % 2 == 0:
        raise InputError(f"kernel size must be odd and at least 1, got {size}")
    if not 0 < radius < math.inf:
        raise InputError(f"the disc's radius must be finite and above 0, got {radius}; for no blur use kernels.delta")
    require_at_least(1, subpixels=subpixels)
    middle = (size // 2, size // 2) if centre is None else centre
    row, column = middle if isinstance(middle, tuple) else (middle, middle)
    if any(c - radius < -0.5 or c + radius > size - 0.5 for c in (row, column)):
        raise InputError(f"a disc of radius {radius:g} at ({row:g}, {column:g}) does not fit into {size}x{size} taps")
    points = (torch.arange(size * subpixels, dtype=torch.float64) + 0.5) / subpixels - 0.5
    inside = (points[:, None] - row).square() + (points - column).square() <= radius**2
    kernel = inside.double().reshape(size, subpixels, size, subpixels).sum((1, 3))
    if kernel.sum() == 0:
        raise InputError(f"a disc of radius {radius:g} at ({row:g}, {column:g}) holds no tap; take more subpixels")
    return kernel / kernel.sum()


@dataclass(frozen=True, kw_only=True)
class GaussianSampler:
    """Random Gaussian kernels, their widths drawn by one of two laws; θ ~ U(theta) in both.

    By ``variance``: λ1 ~ U(variance), λ2 ~ U(variance's lower end, λ1), eigenvalues of the covariance (MZSR, equation
    3). By ``std``: two standard deviations ~ U(std), independent of each other (the line of DASR, MRDA and KDSR, whose
    texts call them eigenvalues; their programs square them).

    Attributes:
        size: odd side of the kernels.
        variance: range of the larger eigenvalue in pixels²; MZSR takes (1, 2.5 · scale). (1, 5) where neither range is
            given.
        std: range of the standard deviations in pixels, instead; MRDA takes (0.2, 4) at scale 4.
        theta: range of the angle, radians; half a turn reaches every kernel. MRDA's public program draws from 0 to 1
            *degree* instead (an angle divided by 180 twice over), so that its training kernels lie flat or upright:
            ``theta=(0, 0.017453)`` does the same.
        isotropic: one variance for both axes.
        delta_share: probability of no blur at all (plain subsampling) instead of a Gaussian.
    """

    size: int = 15
    variance: tuple[float, float] | None = None
    std: tuple[float, float] | None = None
    theta: tuple[float, float] = (0.0, math.pi)
    isotropic: bool = False
    delta_share: float = 0.0

    def __post_init__(self) -> None:
        if self.variance is not None and self.std is not None:
            raise InputError(
                f"widths are drawn by variance or by std, got variance={tuple(self.variance)} and "
                f"std={tuple(self.std)}; leave one of them out"
            )
        for name, given in (("variance", self.variance), ("std", self.std)):
            if given is not None and not 0 < given[0] <= given[1] < math.inf:
                raise InputError(
                    f"{name} must be a range (low, high) with 0 < low <= high, got ({given[0]}, {given[1]})"
                )
        if not all(math.isfinite(angle) for angle in self.theta):
            raise InputError(f"theta must be two finite angles in radians, got ({self.theta[0]}, {self.theta[1]})")
        if not 0 <= self.delta_share <= 1:
            raise InputError(f"delta_share must be a probability, got {self.delta_share}")
        delta(size=self.size)

    def sample(self, count: int, *, generator: torch.Generator) -> Tensor:
        """Draw kernels; always the same number of draws from the generator, whatever the options.

        Returns:
            ``(count, size, size)`` float32 on the CPU, each of sum 1.
        """
        uniform = torch.rand(count, 4, generator=generator, dtype=torch.float64)
        first, second = self._variances(uniform[:, 0], uniform[:, 1])
        theta = self.theta[0] + (self.theta[1] - self.theta[0]) * uniform[:, 2]
        kernels = gaussian(first, second, theta, self.size)
        plain = uniform[:, 3] < self.delta_share
        kernels = torch.where(plain[:, None, None], delta(size=self.size), kernels)
        return kernels.float()

    def up_to(self, variance: float) -> GaussianSampler:
        """The same law with another largest variance, in pixels².

        Raises:
            InputError: if widths are drawn by std.
        """
        if self.std is not None:
            raise InputError("these kernels are drawn by std, which has no largest variance; draw them by variance")
        return replace(self, variance=((self.variance or DEFAULT_VARIANCE)[0], variance))

    def _variances(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """The eigenvalues that two uniform draws in [0, 1) stand for."""
        if self.std is not None:
            low, high = self.std
            std1 = low + (high - low) * first
            std2 = std1 if self.isotropic else low + (high - low) * second
            return std1.square(), std2.square()
        low, high = self.variance or DEFAULT_VARIANCE
        variance1 = low + (high - low) * first
        return variance1, variance1 if self.isotropic else low + (variance1 - low) * second
