"""The degradation: y = JPEG(quantise(m · ((x * k)↓s + n))), as one frozen object."""

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
from metasr.degradation.jpeg import Jpegs, JpegSampler, compress
from metasr.degradation.kernel_samplers import KernelSampler
from metasr.degradation.kernels import GaussianSampler
from metasr.degradation.noise import Quantise, add_gaussian_noise, quantise_8bit
from metasr.degradation.resize import imresize
from metasr.errors import InputError, require_one_of
from metasr.io.jpeg import Jpeg

Downsample = Literal["direct", "bicubic", "area"]
Per = Literal["kernel", "image", "batch"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Degradation:
    """How a low-resolution image comes from a high-resolution one; callable on a batch.

    Attributes:
        scale: factor above 0 between HR and LR; at least 1 for ``direct``, whole for ``area``.
        kernel: ``(kH, kW)`` or ``(B, kH, kW)``; none for no blur.
        downsample: ``direct`` samples at 0, s, 2s, ...: pixels at a whole scale, else the cubic interpolation between
            them (enlarged bicubically, the image then sits (s - 1)/2 HR pixels down and right of where it was);
            ``bicubic`` is MATLAB's imresize; ``area`` is the mean over s × s blocks (over what there is of them at the
            lower and right border).
        padding: border of the blur.
        noise_std: standard deviation on the [0, 1] scale; a number, or ``(B,)`` one for each image.
        mask: ``(1 or B, 1, h, w)`` at LR size, 1 where the image is seen.
        gain: brightness factor in (0, 1].
        quantise: 8-bit rounding at the end; without it the result is only clipped to [0, 1].
        jpeg: compression after that, which rounds in any case: one for all images, or one or none for each.
        name: short name of all but the compression, if it has one; ``degradation.names.parse`` reads it back. A copy
            with another kernel (``dataclasses.replace``) does not keep it, since it would tell of the old one.
    """

    scale: float
    kernel: Tensor | None = None
    downsample: Downsample = "bicubic"
    padding: Padding = "symmetric"
    noise_std: float | Tensor = 0.0
    mask: Tensor | None = None
    gain: float = 1.0
    quantise: Quantise | None = "round"
    jpeg: Jpegs | None = None
    name: str = ""
    _named: tuple[str, Tensor | None] = ("", None)  # the name of what this is a copy of, and the kernel that it told of

    def __post_init__(self) -> None:
        if self.name and self._named[0] == self.name and not _same_kernel(self._named[1], self.kernel):
            object.__setattr__(self, "name", "")
        object.__setattr__(self, "_named", (self.name, self.kernel))
        check_scale(self.scale)
        if self.kernel is not None:
            check_kernel(self.kernel)
        require_one_of(self.downsample, ("direct", "bicubic", "area"), name="downsample")
        require_one_of(self.padding, Padding, name="padding")
        if self.quantise is not None and self.quantise not in get_args(Quantise):
            raise InputError(f"quantise must be 'round', 'truncate' or none, got {self.quantise!r}")
        if self.downsample == "direct" and self.scale < 1:
            raise InputError(f"direct subsampling keeps every s-th pixel: scale must be at least 1, got {self.scale}")
        if self.downsample == "area" and self.scale != int(self.scale):
            raise InputError(f"area subsampling averages s x s blocks: scale must be whole, got {self.scale}")
        _check_noise(self.noise_std)
        if not 0 < self.gain <= 1:
            raise InputError(f"gain must be in (0, 1], got {self.gain}")

    def __str__(self) -> str:
        return self._uncompressed() + _told_jpeg(self.jpeg)

    def _uncompressed(self) -> str:
        if self.name:
            return self.name
        noise = f"_n{_told(self.noise_std)}" if self.noisy else ""
        if self.kernel is None:
            return self.downsample + noise
        size = "x".join(str(n) for n in self.kernel.shape[-2:])
        digest = hashlib.sha256(self.kernel.detach().double().cpu().numpy().tobytes()).hexdigest()[:6]
        return f"kernel_{size}_{digest}_{self.downsample[0]}{noise}"

    @property
    def noise_level(self) -> float:
        """The one noise level of all images.

        Raises:
            InputError: if the images have different ones.
        """
        if not isinstance(self.noise_std, Tensor):
            return self.noise_std
        if bool((self.noise_std != self.noise_std[0]).any()):
            raise InputError(f"one noise level is wanted, got {self.noise_std.tolist()}; take the images one by one")
        return float(self.noise_std[0])

    @property
    def noisy(self) -> bool:
        """Whether there is noise, in any of the images."""
        return bool((self.noise_std > 0).any()) if isinstance(self.noise_std, Tensor) else self.noise_std > 0

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
        if self.noisy:
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
        lr = quantise_8bit(lr, self.quantise) if self.quantise else lr.clamp(0, 1)
        return lr if self.jpeg is None else compress(lr, self.jpeg)

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
        down, right = self.off_centre
        return base - down, base - right

    @property
    def off_centre(self) -> tuple[float, float]:
        """How far (down, right) the kernel's centre of mass lies from its middle tap, in HR pixels."""
        if self.kernel is None:
            return 0.0, 0.0
        mean = self.kernel.detach().double().cpu().reshape(-1, *self.kernel.shape[-2:]).mean(0)
        offsets = []
        for axis, n in enumerate(mean.shape):
            position = torch.arange(n, dtype=torch.float64) - n // 2
            offset = float((mean.sum(1 - axis) * position).sum() / mean.sum())
            offsets.append(offset if abs(offset) > 1e-3 else 0.0)
        return offsets[0], offsets[1]

    def centred(self) -> Degradation:
        """The same degradation with its kernel moved by whole pixels, its centre of mass nearest to its middle tap."""
        moves = [round(off) for off in self.off_centre]
        if self.kernel is None or not any(moves):
            return self
        down, right = (2 * move for move in moves)  # two more rows at the end move the middle by one
        kernel = F.pad(self.kernel, (max(0, -right), max(0, right), max(0, -down), max(0, down)))
        return replace(self, kernel=kernel, name="")

    def of_one(self, index: int) -> Degradation:
        """The degradation of one image of a batch."""
        kernel = (
            self.kernel[index % len(self.kernel)] if self.kernel is not None and self.kernel.ndim == 3 else self.kernel
        )
        noise = float(self.noise_std[index]) if isinstance(self.noise_std, Tensor) else self.noise_std
        mask = self.mask if self.mask is None or len(self.mask) == 1 else self.mask[index : index + 1]
        jpeg = self.jpeg
        if jpeg is not None and not isinstance(jpeg, Jpeg):
            jpeg = jpeg[index % len(jpeg)]
        return replace(self, kernel=kernel, noise_std=noise, mask=mask, jpeg=jpeg)

    def for_son(self, *, noise_std: float = 0.0) -> Degradation:
        """The same degradation as applied to the LR itself, to make its "son": clipped only, other noise, no mask.

        Where the LR was compressed, its son is too, by the very same tables, and so has 256 levels.
        """
        same = not isinstance(self.noise_std, Tensor) and noise_std == self.noise_std
        name = self.name if same else ""
        return replace(self, quantise=None, noise_std=noise_std, mask=None, gain=1.0, name=name)


@dataclass(frozen=True, kw_only=True)
class DegradationSampler:
    """Random degradations, for one batch at a time, from an explicit generator.

    Attributes:
        kernels: where blur kernels come from; none for no blur.
        scales: scale factors to draw from, one per draw.
        variance_per_scale: the largest variance of the kernels, as a multiple of the drawn scale, instead of the
            sampler's own (MZSR: 2.5).
        downsample: as in ``Degradation``; of several, one is drawn for each batch.
        noise_std: range of the noise's standard deviation on the [0, 1] scale.
        clean_share: probability of a batch without any noise; with ``per="image"``, of each image.
        quantise: as in ``Degradation``.
        jpeg: where each image's compression comes from, with ``per="batch"`` that of all; none for no compression.
        padding: as in ``Degradation``.
        per: what a draw holds for. ``kernel``: every image of the batch has a kernel of its own, the noise level is the
            same for all; ``image``: every image has a noise level of its own too (DASR); ``batch``: one kernel and one
            noise level for all (MRDA and KDSR, where one set of weights is adapted to a batch). The scale is always the
            batch's.
    """

    kernels: KernelSampler | None = None
    scales: Sequence[float] = (2.0,)
    variance_per_scale: float | None = None
    downsample: Downsample | Sequence[Downsample] = "bicubic"
    noise_std: tuple[float, float] = (0.0, 0.0)
    clean_share: float = 0.0
    quantise: Quantise | None = None
    jpeg: JpegSampler | None = None
    padding: Padding = "symmetric"
    per: Per = "kernel"

    def __post_init__(self) -> None:
        if not self.scales:
            raise InputError("scales must name at least one scale factor")
        require_one_of(self.per, Per, name="per")
        low, high = self.noise_std
        if not 0 <= low <= high < math.inf:
            raise InputError(f"noise_std must be a range (low, high) with 0 <= low <= high, got ({low}, {high})")
        if not 0 <= self.clean_share <= 1:
            raise InputError(f"clean_share must be a probability, got {self.clean_share}")
        drawn_by_std = isinstance(self.kernels, GaussianSampler) and self.kernels.std is not None
        if self.variance_per_scale is not None and drawn_by_std:
            raise InputError(
                "variance_per_scale widens kernels drawn by variance, but these are drawn by std; leave one of them out"
            )

    def sample(self, count: int, *, generator: torch.Generator) -> Degradation:
        """Draw a degradation for ``count`` images.

        Its kernel is ``(count, k, k)``, with ``per="batch"`` ``(1, k, k)``, and none where the sampler has none. Its
        noise level is a number, with ``per="image"`` ``(count,)``.
        """
        pick, level = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        scale = float(self.scales[min(int(pick * len(self.scales)), len(self.scales) - 1)])
        low, high = self.noise_std
        kernels = self.kernels
        if kernels is not None and self.variance_per_scale is not None:
            kernels = kernels.up_to(self.variance_per_scale * scale)
        each = 1 if self.per == "batch" else count
        kernel = None if kernels is None else kernels.sample(each, generator=generator)
        noise: float | Tensor = low + (high - low) * level
        if self.per == "image":
            noise = low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)  # (count,)
        grid: Downsample
        if isinstance(self.downsample, str):
            grid = self.downsample
        else:
            turn = float(torch.rand(1, generator=generator, dtype=torch.float64))
            grid = self.downsample[min(int(turn * len(self.downsample)), len(self.downsample) - 1)]
        if self.clean_share:
            clean = torch.rand(count if self.per == "image" else 1, generator=generator, dtype=torch.float64)
            quiet = clean < self.clean_share
            noise = torch.where(quiet, 0.0, noise) if self.per == "image" else 0.0 if bool(quiet) else noise
        return Degradation(
            scale=scale,
            kernel=kernel,
            downsample=grid,
            padding=self.padding,
            noise_std=noise,
            quantise=self.quantise,
            jpeg=None if self.jpeg is None else self.jpeg.sample(each, generator=generator),
        )


def _same_kernel(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None or one is other:
        return one is other
    return one.shape == other.shape and torch.allclose(one.detach().cpu().double(), other.detach().cpu().double())


def _check_noise(std: float | Tensor) -> None:
    """Require noise levels that exist, one number or one per image."""
    if isinstance(std, Tensor):
        if std.ndim != 1 or not bool(((std >= 0) & (std < math.inf)).all()):
            raise InputError(f"noise_std must be a number or (B,), finite and at least 0, got {std.tolist()}")
    elif not 0 <= std < math.inf:
        raise InputError(f"noise_std must be finite and at least 0, got {std}")


def _told(std: float | Tensor) -> str:
    """Noise levels on the 0-255 scale, a range of them where the images have different ones."""
    low, high = (float(std.min()), float(std.max())) if isinstance(std, Tensor) else (std, std)
    return f"{low * 255:.12g}" if low == high else f"{low * 255:.4g}to{high * 255:.4g}"


def _told_jpeg(jpeg: Jpegs | None) -> str:
    """What a name tells of compression: nothing, one quality, or a range of them."""
    if jpeg is None or isinstance(jpeg, Jpeg):
        return f"_{jpeg}" if jpeg else ""
    known = [one.quality for one in jpeg if one is not None]
    if len(jpeg) == 1 and jpeg[0] is not None:
        return f"_{jpeg[0]}"
    return f"_q{min(known)}to{max(known)}" if known else ""
