"""The data step: the image closest to a guess among those that explain an LR image, for a known degradation.

With H the degradation's linear part it is

    x = argmin ‖H x - y‖² + mu ‖x - x0‖² = x0 + Hᵀ (H Hᵀ + mu)⁻¹ (y - H x0).

At a whole scale H is a correlation followed by keeping every s-th pixel (a resize's own filter is one more
correlation), so that on a periodic image H Hᵀ is a circulant of the LR grid: a few Fourier transforms solve it exactly
(Zhao et al., 2016; used by USRNet, Zhang et al., CVPR 2020). Everything else is solved by conjugate gradients.

Borders: the guess is mirrored as the degradation mirrors it, so the residual y - H x0 is right up to the border; it is
the residual that is mirrored in turn, not the image, so that nothing jumps there and nothing rings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from metasr.checks import check_image
from metasr.degradation.direct_kernel import direct_kernel
from metasr.degradation.pipeline import Degradation, Downsample
from metasr.degradation.resize import output_size, pad_symmetric
from metasr.errors import InputError

BORDER = (8, 16)  # LR pixels that an image is mirrored by, at least and at most

Step = Callable[[Tensor, Tensor | float], Tensor]


def data_step(image: Tensor, lr: Tensor, degradation: Degradation, mu: Tensor | float) -> Tensor:
    """The image closest to ``image`` among those that explain ``lr``; see the module's text.

    Differentiable twice in ``image``, ``lr`` and ``mu``, and by the closed form in the kernel too.

    Args:
        image: the guess x0, ``(B, C, H, W)``, of the size that enlarging ``lr`` gives.
        lr: ``(B, C, h, w)``.
        degradation: its noise and rounding are left out; one kernel, or one for each image.
        mu: weight of the guess, above 0; a number, or ``(B,)``. The noise's variance over that of the guess's error is
            its statistical meaning.

    Returns:
        ``(B, C, H, W)``, not clipped.

    Raises:
        InputError: if sizes do not fit, ``mu`` is not above 0, or a kernel is larger than the mirrored image.
    """
    return prepare(lr, degradation)(image, mu)


def prepare(lr: Tensor, degradation: Degradation) -> Step:
    """The data step for one LR image (or batch), as a function of guess and ``mu``: what they share is done once."""
    check_image(lr, name="lr")
    if is_closed(degradation):
        return FourierStep(lr, degradation)
    return lambda image, mu: conjugate_step(image, lr, degradation, mu)


def is_closed(degradation: Degradation) -> bool:
    """Whether the closed form holds: a whole scale, all pixels seen, mirrored or periodic borders."""
    whole = degradation.scale == int(degradation.scale)
    return whole and degradation.mask is None and degradation.padding in ("symmetric", "circular")


class FourierStep:
    """The closed form for one LR image or batch.

    Args:
        lr: ``(B, C, h, w)``.
        degradation: for which ``is_closed`` holds.
        border: LR pixels that everything is mirrored by, none for what the kernel needs; 0 for periodic images.

    Attributes:
        power: eigenvalues of H Hᵀ, ``(1 or B, 1, h', w'/2 + 1)``, real and at least 0.
    """

    def __init__(self, lr: Tensor, degradation: Degradation, *, border: int | None = None) -> None:
        if not is_closed(degradation):
            raise InputError(f"the closed form needs a whole scale and no mask, got {degradation}; use conjugate_step")
        self.lr, self.scale = lr, int(degradation.scale)
        reach = 0 if degradation.kernel is None else max(degradation.kernel.shape[-2:]) // 2
        if degradation.padding == "circular":
            border = 0
        elif border is None:
            border = min(max(math.ceil(reach / self.scale) + 2, BORDER[0]), BORDER[1])
        self.border = border
        height, width = (n + 2 * border for n in lr.shape[-2:])
        self.size = (height * self.scale, width * self.scale)
        self.otf = transfer(degradation, self.size, like=lr)
        correlation = torch.fft.irfft2((self.otf * self.otf.conj()).real, s=self.size)
        kept = correlation[..., :: self.scale, :: self.scale]
        self.power = torch.fft.rfft2(kept).real.clamp_min(0)

    def __call__(self, image: Tensor, mu: Tensor | float) -> Tensor:
        """Take the step from a guess; see ``data_step``."""
        s, b = self.scale, self.border
        want = (self.lr.shape[-2] * s, self.lr.shape[-1] * s)
        _check_guess(image, self.lr, want)
        weight = _weight(mu, self.lr)
        guess = pad_symmetric(image, (s * b, s * b, s * b, s * b)) if b else image
        seen = torch.fft.irfft2(torch.fft.rfft2(guess) * self.otf, s=self.size)[..., ::s, ::s]  # H x0
        residual = self.lr - (seen[..., b:-b, b:-b] if b else seen)
        if b:
            residual = pad_symmetric(residual, (b, b, b, b))
        z = torch.fft.irfft2(
            torch.fft.rfft2(residual) / (self.power + weight), s=(self.size[0] // s, self.size[1] // s)
        )
        filled = z.new_zeros(*z.shape[:-2], *self.size)
        filled[..., ::s, ::s] = z
        change = torch.fft.irfft2(torch.fft.rfft2(filled) * self.otf.conj(), s=self.size)  # Hᵀ z
        return image + (change[..., s * b : -s * b, s * b : -s * b] if b else change)

    def blind_share(self, mu: Tensor | float) -> Tensor:
        """The share of the image that the step leaves to the guess: the mean eigenvalue of mu (HᵀH + mu)⁻¹.

        Returns:
            ``(1 or B,)``, between 1 - 1/s² (nothing but aliasing is lost) and 1 (the LR image tells nothing).
        """
        known = self.power / (self.power + _weight(mu, self.lr))  # half of the spectrum stands for all of it
        return 1 - known.mean((-3, -2, -1)) / self.scale**2


def transfer(degradation: Degradation, size: tuple[int, int], *, like: Tensor) -> Tensor:
    """What a degradation multiplies the spectrum of a periodic HR image by before it keeps every s-th pixel.

    Args:
        degradation: at a whole scale.
        size: of the HR image.
        like: its dtype and device are taken.

    Returns:
        ``(1 or B, 1, H, W/2 + 1)`` complex.
    """
    scale = int(degradation.scale)
    otf = torch.full((1, 1, size[0], size[1] // 2 + 1), degradation.gain, dtype=like.dtype, device=like.device) + 0j
    filters = [] if degradation.kernel is None else [degradation.kernel.to(like)]
    if scale > 1 and degradation.downsample != "direct":
        filters.append(resize_filter(scale, degradation.downsample).to(like))
    for taps in filters:
        height, width = taps.shape[-2:]
        if height > size[0] or width > size[1]:
            raise InputError(
                f"a filter of {height}x{width} is larger than the image with its mirrored border, {size[0]}x{size[1]}; "
                "take a larger image or a smaller kernel"
            )
        batch = taps.reshape(-1, 1, height, width)
        placed = torch.nn.functional.pad(batch, (0, size[1] - width, 0, size[0] - height))
        placed = placed.roll((-(height // 2), -(width // 2)), (-2, -1))  # the middle tap at pixel 0
        otf = otf * torch.fft.rfft2(placed).conj()  # a correlation, so the conjugate
    return otf


@lru_cache(maxsize=16)
def resize_filter(scale: int, downsample: Downsample) -> Tensor:
    """The filter of bicubic or area resizing, as taps before direct subsampling."""
    taps = direct_kernel(Degradation(scale=scale, downsample=downsample), size=6 * scale + 1)
    assert taps is not None
    return taps


def conjugate_step(
    image: Tensor,
    lr: Tensor,
    degradation: Degradation,
    mu: Tensor | float,
    *,
    iterations: int = 100,
    tolerance: float = 1e-6,
) -> Tensor:
    """The data step by conjugate gradients: any scale, mask, gain and border.

    Args:
        image: the guess, ``(B, C, ceil(scale · h), ceil(scale · w))``.
        lr: ``(B, C, h, w)``.
        degradation: as in ``data_step``.
        mu: as in ``data_step``.
        iterations: at most.
        tolerance: at which share of its first size the residual is small enough.
    """
    _check_guess(image, lr, output_size((lr.shape[-2], lr.shape[-1]), degradation.scale))
    weight = _weight(mu, lr)
    linear = replace(degradation, noise_std=0.0, quantise=None, mask=None).linear

    def degrade(x: Tensor) -> Tensor:
        y = linear(x)[..., : lr.shape[-2], : lr.shape[-1]]
        return y if degradation.mask is None else y * degradation.mask.to(y)

    answer: Any = torch.func.vjp(degrade, image)
    seen, adjoint = answer
    residual = (lr if degradation.mask is None else lr * degradation.mask.to(lr)) - seen
    z, direction = torch.zeros_like(residual), residual
    energy = residual.square().sum((1, 2, 3), keepdim=True)
    first = energy.detach().clamp_min(torch.finfo(lr.dtype).tiny)
    for _ in range(iterations):
        if bool((energy.detach() <= tolerance**2 * first).all()):
            break
        applied = degrade(adjoint(direction)[0]) + weight * direction
        rate = energy / (direction * applied).sum((1, 2, 3), keepdim=True).clamp_min(torch.finfo(lr.dtype).tiny)
        z, residual = z + rate * direction, residual - rate * applied
        after = residual.square().sum((1, 2, 3), keepdim=True)
        direction = residual + after / energy.clamp_min(torch.finfo(lr.dtype).tiny) * direction
        energy = after
    return image + adjoint(z)[0]


def _weight(mu: Tensor | float, lr: Tensor) -> Tensor:
    """``mu`` as ``(1 or B, 1, 1, 1)``, checked where that costs no wait for a device."""
    weight = torch.as_tensor(mu, dtype=lr.dtype, device=lr.device)
    if weight.ndim > 1 or (weight.ndim == 1 and len(weight) not in (1, len(lr))):
        raise InputError(f"mu must be a number, or one for each of {len(lr)} images, got shape {tuple(weight.shape)}")
    if weight.device.type == "cpu" and not bool(((weight > 0) & weight.isfinite()).all()):
        raise InputError(f"mu must be finite and above 0, got {weight.tolist()}")
    return weight.reshape(-1, 1, 1, 1)


def _check_guess(image: Tensor, lr: Tensor, want: tuple[int, int]) -> None:
    if image.shape[:2] != lr.shape[:2] or tuple(image.shape[-2:]) != want:
        raise InputError(
            f"the guess must be of shape {(*lr.shape[:2], *want)} for an LR image of {tuple(lr.shape)}, "
            f"got {tuple(image.shape)}"
        )
