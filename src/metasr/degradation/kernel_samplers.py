"""Random kernels of many kinds: what a method that is to solve any known blur is trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from metasr.degradation.kernels import DEFAULT_VARIANCE, GaussianSampler, disc, gaussian
from metasr.errors import InputError

_TINY = 1e-3  # variance in pixels² below which a kernel is a single tap


@runtime_checkable
class KernelSampler(Protocol):
    """Draws blur kernels from an explicit generator."""

    def sample(self, count: int, *, generator: torch.Generator) -> Tensor:
        """``(count, k, k)`` float32 on the CPU, each of sum 1."""
        ...

    def up_to(self, variance: float) -> KernelSampler:
        """The same law with another largest variance, in pixels²."""
        ...


@dataclass(frozen=True, kw_only=True)
class MixedKernelSampler:
    """Gaussians, and shares of motion and out-of-focus kernels, some of them off the middle.

    Attributes:
        gaussian: the first kind, and what says size and largest variance of all.
        motion_share: probability of a curved stroke of a moving camera, up to four standard deviations long.
        disc_share: probability of an out-of-focus disc, of radius up to two standard deviations.
        off_centre_share: probability that a kernel is moved.
        off_centre: by how many pixels at most along each axis, whole ones.
    """

    gaussian: GaussianSampler
    motion_share: float = 0.15
    disc_share: float = 0.1
    off_centre_share: float = 0.2
    off_centre: int = 2

    def __post_init__(self) -> None:
        shares = (self.motion_share, self.disc_share, self.off_centre_share)
        if not all(0 <= share <= 1 for share in shares) or self.motion_share + self.disc_share > 1:
            raise InputError(f"shares of kernels must be probabilities, of kinds at most 1 in all, got {shares}")
        if not 0 <= self.off_centre <= self.gaussian.size // 2:
            raise InputError(f"off_centre must be between 0 and half the kernel's side, got {self.off_centre}")

    def up_to(self, variance: float) -> MixedKernelSampler:
        """The same law with another largest variance, in pixels²."""
        return replace(self, gaussian=self.gaussian.up_to(variance))

    def sample(self, count: int, *, generator: torch.Generator) -> Tensor:
        """Draw kernels, ``(count, size, size)`` float32 on the CPU; always the same number of draws."""
        kernels = self.gaussian.sample(count, generator=generator)
        uniform = torch.rand(count, 8, generator=generator, dtype=torch.float64)
        deviation = math.sqrt((self.gaussian.variance or DEFAULT_VARIANCE)[1])
        for index, draw in enumerate(uniform.tolist()):
            kind, size, turn, bend, moved, down, right, _ = draw
            if kind < self.motion_share:
                kernels[index] = stroke(
                    size * 4 * deviation, theta=turn * math.pi, bend=2 * bend - 1, size=self.gaussian.size
                ).float()
            elif kind < self.motion_share + self.disc_share:
                kernels[index] = disc(max(0.5, size * 2 * deviation), size=self.gaussian.size).float()
            if moved < self.off_centre_share:
                by = [int(u * (2 * self.off_centre + 1)) - self.off_centre for u in (down, right)]
                kernels[index] = moved_by(kernels[index], (by[0], by[1]))
        return kernels


def mistaken(kernels: Tensor, *, size: float, shape: float, generator: torch.Generator) -> Tensor:
    """What an estimator that knows Gaussians alone might take kernels for: Gaussians of about their covariance.

    Args:
        kernels: ``(B, k, k)`` of sum 1, k odd, on the CPU. A single tap is left as it is: no blur is seen as none.
        size: standard deviation of the error of log variance, the same along both axes.
        shape: that of the two numbers by which log Σ differs from a multiple of I (see
            ``metasr.models.kernel_regressor.Blur``): how elongated the kernel is, and in which direction.
        generator: always drawn from three times for each kernel.

    Returns:
        ``(B, k, k)`` float32 of sum 1, their centre of mass where the kernels' is, to the nearest pixel.
    """
    errors = torch.randn(len(kernels), 3, generator=generator, dtype=torch.float64)
    side, exact = kernels.shape[-1], kernels.double()
    axis = torch.arange(side, dtype=torch.float64) - side // 2
    x, y = (exact * axis).sum((-2, -1)), (exact * axis[:, None]).sum((-2, -1))
    xx = (exact * axis.square()).sum((-2, -1)) - x.square()
    yy = (exact * axis.square()[:, None]).sum((-2, -1)) - y.square()
    xy = (exact * axis * axis[:, None]).sum((-2, -1)) - x * y
    told = kernels.clone().float()
    for index, (p, q, r) in enumerate((errors * errors.new_tensor([size, shape, shape])).tolist()):
        covariance = torch.stack([xx[index], xy[index], xy[index], yy[index]]).reshape(2, 2)
        values, vectors = torch.linalg.eigh(covariance)  # ascending
        if float(values[0]) <= _TINY:
            continue
        log = vectors @ values.log().diag() @ vectors.T + covariance.new_tensor([[p + q, r], [r, p - q]])
        values, vectors = torch.linalg.eigh(log)
        theta = torch.atan2(vectors[1, 1], vectors[0, 1])  # the larger eigenvalue is the second
        kernel = gaussian(values[1].exp(), values[0].exp(), theta, side).float()
        told[index] = moved_by(kernel, (round(float(y[index])), round(float(x[index]))))
    return told


def stroke(length: float, *, theta: float, bend: float = 0.0, size: int = 21, width: float = 0.4) -> Tensor:
    """Kernel of a camera that moves along an arc while the shutter is open.

    Args:
        length: of the arc's chord in pixels, at least 0.
        theta: direction of the chord, radians from the columns' axis.
        bend: how far the arc leaves its chord, as a share of half its length, with its sign.
        size: odd side.
        width: standard deviation of the line in pixels.

    Returns:
        ``(size, size)`` float64, sum 1; its centre of mass is its middle, but for what the array cuts off.
    """
    time = torch.linspace(-0.5, 0.5, 65, dtype=torch.float64)
    along, across = length * time, length * bend * (time.square() - time.square().mean())
    x = along * math.cos(theta) - across * math.sin(theta)
    y = along * math.sin(theta) + across * math.cos(theta)
    axis = torch.arange(size, dtype=torch.float64) - size // 2
    distance = (axis[:, None, None] - y).square() + (axis[None, :, None] - x).square()  # (size, size, 65)
    taps = torch.exp(-0.5 * distance / width**2).sum(-1)
    return taps / taps.sum()


def moved_by(kernel: Tensor, by: tuple[int, int]) -> Tensor:
    """A kernel moved by whole pixels (down, right) within its array; what leaves it is lost, and the rest sums to 1."""
    padded = torch.nn.functional.pad(kernel, (abs(by[1]),) * 2 + (abs(by[0]),) * 2)
    rows, columns = (abs(n) - n for n in by)
    cut = padded[..., rows : rows + kernel.shape[-2], columns : columns + kernel.shape[-1]]
    return cut / cut.sum((-2, -1), keepdim=True)
