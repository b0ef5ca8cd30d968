"""The degradation: y = m · ((x * k)↓s + n), as one frozen object."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from metasr.checks import check_image, check_kernel, check_scale
from metasr.degradation.blur import Padding, blur
from metasr.degradation.kernels import GaussianSampler
from metasr.degradation.noise import Quantise, add_gaussian_noise, quantise_8bit
from metasr.degradation.resize import imresize
from metasr.errors import InputError

Downsample = Literal["direct", "bicubic", "area"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Degradation:
    """How a low-resolution image comes from a high-resolution one; callable on a batch.

    Attributes:
        scale: factor above 0 between HR and LR; at least 1 for ``direct``, whole for ``area``.
        kernel: ``(kH, kW)`` or ``(B, kH, kW)``; none for no blur.
        downsample: ``direct`` samples at 0, s, 2s, ...: pixels at a whole scale, else the cubic interpolation between
            them (the image then sits (s - 1)/2 HR pixels up and left of where bicubic resizing would put it);
            ``bicubic`` is MATLAB's imresize; ``area`` is the mean over s × s blocks (over what there is of them at the
            lower and right border).
        padding: border of the blur.
        noise_std: standard deviation on the [0, 1] scale.
        mask: ``(1 or B, 1, h, w)`` at LR size, 1 where the image is seen.
        gain: brightness factor in (0, 1].
        quantise: 8-bit rounding at the end; without it the result is only clipped to [0, 1].
        name: short name, if it has one; :func:`metasr.degradation.names.parse` reads it back.
    """

    scale: float
    kernel: Tensor | None = None
    downsample: Downsample = "bicubic"
    padding: Padding = "symmetric"
    noise_std: float = 0.0
    mask: Tensor | None = None
    gain: float = 1.0
    quantise: Quantise | None = "round"
    name: str = ""

    def __post_init__(self) -> None:
        check_scale(self.scale)
        if self.kernel is not None:
            check_kernel(self.kernel)
        if self.downsample not in ("direct", "bicubic", "area"):
            raise InputError(f"downsample must be 'direct', 'bicubic' or 'area', got {self.downsample!r}")
        if self.padding not in get_args(Padding):
            raise InputError(f"padding must be one of {', '.join(get_args(Padding))}, got {self.padding!r}")
        if self.quantise is not None and self.quantise not in get_args(Quantise):
            raise InputError(f"quantise must be 'round', 'truncate' or none, got {self.quantise!r}")
        if self.downsample == "direct" and self.scale < 1:
            raise InputError(f"direct subsampling keeps every s-th pixel: scale must be at least 1, got {self.scale}")
        if self.downsample == "area" and self.scale != int(self.scale):
            raise InputError(f"area subsampling averages s x s blocks: scale must be whole, got {self.scale}")
        if not 0 <= self.noise_std < math.inf:
            raise InputError(f"noise_std must be finite and at least 0, got {self.noise_std}")
        if not 0 < self.gain <= 1:
            raise InputError(f"gain must be in (0, 1], got {self.gain}")

    def __str__(self) -> str:
        if self.name:
            return self.name
        noise = f"_n{self.noise_std * 255:.12g}" if self.noise_std else ""
        if self.kernel is None:
            return self.downsample + noise
        size = "x".join(str(n) for n in self.kernel.shape[-2:])
        digest = hashlib.sha256(self.kernel.detach().double().cpu().numpy().tobytes()).hexdigest()[:6]
        return f"kernel_{size}_{digest}_{self.downsample[0]}{noise}"

    def __call__(self, hr: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Degrade a batch.

        Args:
            hr: ``(B, C, H, W)`` in [0, 1].
            generator: required where there is noise.

        Returns:
            ``(B, C, ceil(H / scale), ceil(W / scale))`` in [0, 1].

        Raises:
            InputError: for a malformed image, an image smaller than the kernel, or noise without a generator.
        """
        check_image(hr, name="hr")
        lr = self.linear(hr)
        if self.noise_std > 0:
            if generator is None:
                raise InputError(
                    f"degradation {self} has noise: pass a torch.Generator, so that the draw is repeatable"
                )
            lr = add_gaussian_noise(lr, self.noise_std, generator=generator)
        if self.mask is not None:
            if self.mask.shape[-2:] != lr.shape[-2:]:
                raise InputError(
                    f"mask must have the LR size {tuple(lr.shape[-2:])}, got {tuple(self.mask.shape[-2:])}"
                )
            lr = lr * self.mask.to(lr)
        return quantise_8bit(lr, self.quantise) if self.quantise else lr.clamp(0, 1)

    def linear(self, hr: Tensor) -> Tensor:
        """The noiseless, unmasked, unclipped part: gain · (x * k)↓s. Differentiable, linear in ``hr``."""
        blurred = blur(hr, self.kernel, padding=self.padding) if self.kernel is not None else hr
        if self.scale == 1:
            lr = blurred
        elif self.downsample == "direct" and self.scale == int(self.scale):
            step = int(self.scale)
            lr = blurred[..., ::step, ::step]
        elif self.downsample == "direct":
            lr = imresize(blurred, 1 / self.scale, shift=0.5 / self.scale - 0.5, antialias=False)
        elif self.downsample == "bicubic":
            lr = imresize(blurred, 1 / self.scale)
        else:
            lr = F.avg_pool2d(blurred, int(self.scale), ceil_mode=True)
        return lr * self.gain if self.gain != 1 else lr

    @property
    def shift(self) -> tuple[float, float]:
        """How far (up, left) of bicubic alignment the LR grid lies, in HR pixels.

        (s - 1)/2 for direct subsampling, less the distance of the kernel's centre of mass from its middle: an
        off-centre kernel displaces the image too. Enlarging by ``imresize(lr, scale, shift=degradation.shift)`` undoes
        it.
        """
        base = (self.scale - 1) / 2 if self.downsample == "direct" else 0.0
        if self.kernel is None:
            return base, base
        mean = self.kernel.detach().double().cpu().reshape(-1, *self.kernel.shape[-2:]).mean(0)
        offsets = []
        for axis, n in enumerate(mean.shape):
            position = torch.arange(n, dtype=torch.float64) - n // 2
            offset = float((mean.sum(1 - axis) * position).sum() / mean.sum())
            offsets.append(base - (offset if abs(offset) > 1e-3 else 0.0))
        return offsets[0], offsets[1]

    def for_son(self, *, noise_std: float = 0.0) -> Degradation:
        """The same degradation as applied to the LR itself, to make its "son": clipped only, other noise, no mask."""
        name = self.name if noise_std == self.noise_std else ""
        return replace(self, quantise=None, noise_std=noise_std, mask=None, gain=1.0, name=name)


@dataclass(frozen=True, kw_only=True)
class DegradationSampler:
    """Random degradations, one batch of kernels at a time, from an explicit generator.

    Attributes:
        kernels: where blur kernels come from; none for no blur.
        scales: scale factors to draw from, one per draw.
        variance_per_scale: the largest variance of the kernels, as a multiple of the drawn scale, instead of the
            sampler's own (MZSR: 2.5).
        downsample: as in :class:`Degradation`.
        noise_std: range of the noise's standard deviation on the [0, 1] scale, one per draw.
        quantise: as in :class:`Degradation`.
    """

    kernels: GaussianSampler | None = None
    scales: Sequence[float] = (2.0,)
    variance_per_scale: float | None = None
    downsample: Downsample = "bicubic"
    noise_std: tuple[float, float] = (0.0, 0.0)
    quantise: Quantise | None = None

    def __post_init__(self) -> None:
        if not self.scales:
            raise InputError("scales must name at least one scale factor")

    def sample(self, count: int, *, generator: torch.Generator) -> Degradation:
        """Draw a degradation with ``count`` kernels, ``(count, k, k)`` (none where the sampler has none)."""
        pick, level = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        scale = float(self.scales[min(int(pick * len(self.scales)), len(self.scales) - 1)])
        low, high = self.noise_std
        kernels = self.kernels
        if kernels is not None and self.variance_per_scale is not None:
            kernels = replace(kernels, variance=(kernels.variance[0], self.variance_per_scale * scale))
        return Degradation(
            scale=scale,
            kernel=None if kernels is None else kernels.sample(count, generator=generator),
            downsample=self.downsample,
            noise_std=low + (high - low) * level,
            quantise=self.quantise,
        )
