"""Blurred and noisy images with the kernel and the noise that made them: what a kernel estimator learns from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from metasr.data.patches import PatchPool
from metasr.degradation.jpeg import JpegSampler, compress
from metasr.degradation.kernels import GaussianSampler
from metasr.degradation.noise import add_gaussian_noise, quantise_8bit
from metasr.degradation.pipeline import Degradation, DegradationSampler, Downsample
from metasr.errors import InputError


class Observations(NamedTuple):
    """LR patches and what is to be told of them.

    Attributes:
        lr: ``(B, 3, h, w)`` in [0, 1], rounded to 8 bits, compressed or not.
        kernel: ``(B, k, k)``, one each.
        noise_std: ``(B,)`` on the [0, 1] scale.
        degradation: scale and sampling grid of all of them, and how each was compressed; its own noise is 0.
    """

    lr: Tensor
    kernel: Tensor
    noise_std: Tensor
    degradation: Degradation


@dataclass(frozen=True, kw_only=True)
class ObservationSampler:
    """Draws batches of observations; every image has a kernel and a noise level of its own.

    Attributes:
        batch_size: images in a batch.
        degradations: where each batch's scale and kernels come from.
        downsamples: the grids; one of them, all equally likely, is drawn for each batch.
        kernels_per_patch: how many images are made of each HR patch, which takes longer to cut than to blur.
        isotropic_share: probability that a batch's kernels are all isotropic.
        lr_size: side of the LR patches; HR patches are ``lr_size * scale``.
        hr_size: the other way round: range of the side of HR patches, drawn for each batch and rounded down to a
            multiple of the scale; ``lr_size`` does not count then. How sure one may be of a blur follows from how much
            of an image there is to see.
        noise_std: range of the noise's standard deviation on the [0, 1] scale.
        clean_share: probability of no noise at all.
        jpeg: where each image's compression comes from; none for no compression.
    """

    batch_size: int
    degradations: DegradationSampler
    downsamples: Sequence[Downsample] = ("direct", "bicubic")
    kernels_per_patch: int = 1
    isotropic_share: float = 0.5
    lr_size: int = 64
    hr_size: tuple[int, int] | None = None
    noise_std: tuple[float, float] = (0.0, 0.1)
    clean_share: float = 0.5
    jpeg: JpegSampler | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.lr_size < 1:
            raise InputError(f"batch_size and lr_size must be at least 1, got {self.batch_size} and {self.lr_size}")
        if self.kernels_per_patch < 1 or self.batch_size % self.kernels_per_patch:
            raise InputError(
                f"kernels_per_patch must divide the batch of {self.batch_size}, got {self.kernels_per_patch}"
            )
        if not isinstance(self.degradations.kernels, GaussianSampler):
            raise InputError("degradations must have Gaussian kernels: they are what is to be told")
        if self.hr_size is not None:
            least = math.ceil(max(self.degradations.scales))
            if len(self.hr_size) != 2 or not least <= self.hr_size[0] <= self.hr_size[1]:
                raise InputError(
                    f"hr_size must be a range (low, high) with {least} <= low <= high, the first an LR pixel at the "
                    f"largest scale, got {tuple(self.hr_size)}"
                )
        if not self.downsamples:
            raise InputError("downsamples must name at least one of direct, bicubic and area")
        low, high = self.noise_std
        if not 0 <= low <= high:
            raise InputError(f"noise_std must be a range (low, high) with 0 <= low <= high, got ({low}, {high})")
        for name in ("isotropic_share", "clean_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be a probability, got {getattr(self, name)}")

    def draw(self, pool: PatchPool, *, generator: torch.Generator) -> Observations:
        """Draw one batch; the same generator state gives the same batch on every device."""
        count, sampler = self.batch_size, self.degradations
        grid, shape = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        assert isinstance(sampler.kernels, GaussianSampler)
        degradation = replace(
            sampler,
            kernels=replace(sampler.kernels, isotropic=shape < self.isotropic_share),
            downsample=self.downsamples[min(int(grid * len(self.downsamples)), len(self.downsamples) - 1)],
        ).sample(count, generator=generator)
        levels = torch.rand(count, 2, generator=generator, dtype=torch.float64)
        low, high = self.noise_std
        noise_std = torch.where(levels[:, 0] < self.clean_share, 0.0, low + (high - low) * levels[:, 1]).float()
        side = self._side(degradation.scale, pool.patch_size, generator=generator)
        if side > pool.patch_size:
            raise InputError(
                f"patches of {pool.patch_size} are too small for {side / degradation.scale:g} LR pixels at scale "
                f"{degradation.scale:g}: set patch_size={side} or larger"
            )
        cut = pool.of_side(side).draw(count // self.kernels_per_patch, generator=generator)
        hr = cut.repeat_interleave(self.kernels_per_patch, 0)  # (B, 3, side, side)
        lr = quantise_8bit(add_gaussian_noise(degradation.linear(hr), noise_std, generator=generator))
        if self.jpeg is not None:
            degradation = replace(degradation, jpeg=self.jpeg.sample(count, generator=generator))
            lr = compress(lr, degradation.jpeg or ())
        assert degradation.kernel is not None
        return Observations(lr, degradation.kernel, noise_std.to(lr), degradation)

    def _side(self, scale: float, pool_size: int, *, generator: torch.Generator) -> int:
        """The side of a batch's HR patches, out of patches of a size."""
        if self.hr_size is None:
            return round(self.lr_size * scale)
        low, high = self.hr_size
        if high > pool_size:
            raise InputError(f"patches of {pool_size} are too small for hr_size up to {high}: set patch_size={high}")
        side = int(torch.randint(low, high + 1, (), generator=generator))
        return round(side // scale * scale)
