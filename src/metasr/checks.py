"""Checks at the public border: shapes, ranges and finiteness, with messages that tell what to do."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from metasr.errors import InputError, WeightsError

LARGEST_SCALE = 100.0
MOST_PIXELS = 1e9
"""Of an enlarged image: 12 GB as float32, of which a few copies are at work."""


def check_image(image: Tensor, *, name: str = "image") -> None:
    """Require a non-empty, finite, floating-point image batch ``(B, C, H, W)``.

    Raises:
        InputError: naming what was expected and what came.
    """
    if not isinstance(image, Tensor):
        raise InputError(f"{name} must be a torch.Tensor of shape (B, C, H, W), got {type(image).__name__}")
    if image.ndim != 4:
        raise InputError(
            f"{name} must have shape (B, C, H, W), got {tuple(image.shape)}; add the missing axes with [None]"
        )
    if min(image.shape) == 0:
        raise InputError(f"{name} must not be empty, got shape {tuple(image.shape)}")
    if not image.is_floating_point():
        raise InputError(
            f"{name} must be floating point in [0, 1], got {image.dtype}; convert with image.float() / 255"
        )
    if not bool(torch.isfinite(image).all()):
        count = int((~torch.isfinite(image)).sum())
        raise InputError(f"{name} must be finite, got {count} NaN or infinite values; clean the file first")


def check_kernel(kernel: Tensor, *, normalise: bool = False) -> Tensor:
    """Require a blur kernel ``(kH, kW)`` or ``(B, kH, kW)``: odd sides, finite, sum 1.

    Args:
        kernel: the kernel.
        normalise: divide by the sum instead of requiring it to be 1 (within 1e-3).

    Returns:
        The kernel, normalised if that was asked for.

    Raises:
        InputError: naming what was expected, what came and what to do.
    """
    if kernel.ndim not in (2, 3) or min(kernel.shape) == 0:
        raise InputError(f"kernel must have shape (kH, kW) or (B, kH, kW), got {tuple(kernel.shape)}")
    height, width = kernel.shape[-2:]
    if height % 2 == 0 or width % 2 == 0:
        raise InputError(
            f"kernel must have odd sides, got {height}x{width}; pad it by one row or column so that it has a centre"
        )
    if not kernel.is_floating_point():
        raise InputError(f"kernel must be floating point, got {kernel.dtype}")
    if not bool(torch.isfinite(kernel).all()):
        raise InputError("kernel must be finite, got NaN or infinite values")
    total = kernel.sum((-2, -1))
    if normalise:
        if bool((total.abs() < 1e-12).any()):
            raise InputError("kernel sums to 0 and cannot be normalised")
        return kernel / total[..., None, None]
    worst = total.flatten()[(total - 1).abs().argmax()].item()
    if abs(worst - 1) > 1e-3:
        raise InputError(f"kernel must sum to 1, got {worst:.4g}; normalise it or pass normalise=True")
    return kernel


def check_scale(scale: float, *, name: str = "scale") -> None:
    """Require a positive scale factor of at most ``LARGEST_SCALE``."""
    if not (isinstance(scale, (int, float)) and math.isfinite(scale) and scale > 0):
        raise InputError(f"{name} must be a finite number above 0, got {scale!r}")
    if scale > LARGEST_SCALE:
        raise InputError(f"{name} must be at most {LARGEST_SCALE:g}, got {scale:g}; enlarge in several goes")


def check_output_size(height: int, width: int, scale: float) -> None:
    """Require that an image enlarged by a factor has a number of pixels that memory may hold.

    Args:
        height: of the image before.
        width: of the image before.
        scale: the factor.

    Raises:
        InputError: telling both numbers of pixels.
    """
    pixels = height * width * scale**2
    if pixels > MOST_PIXELS:
        raise InputError(
            f"{width}x{height} enlarged by {scale:g} would be {pixels:.3g} pixels, more than {MOST_PIXELS:.3g}; take a "
            "smaller scale, or cut the image into parts"
        )


def check_seed(seed: int) -> int:
    """Require a seed that torch takes, 0 to 2^63 - 1, and give it back.

    Raises:
        InputError: naming what came.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise InputError(f"seed must be a whole number from 0 to 2^63 - 1, got {seed!r}")
    return seed


def check_pair(lr: Tensor, hr: Tensor, scale: float) -> None:
    """Require that ``lr`` has the size that degrading ``hr`` by ``scale`` gives: ``ceil(size / scale)``."""
    want = tuple(math.ceil(n / scale - 1e-9) for n in hr.shape[-2:])
    got = tuple(lr.shape[-2:])
    if got != want:
        raise InputError(
            f"LR and HR sizes do not match scale {scale:g}: HR is {hr.shape[-2]}x{hr.shape[-1]}, so LR must be "
            f"{want[0]}x{want[1]}, got {got[0]}x{got[1]}; check the pair or the scale"
        )


def check_whole_pair(lr: Tensor, hr: Tensor, scale: float) -> None:
    """Require that ``hr`` is exactly ``scale`` times as large as ``lr``, as what a network makes of ``lr`` is."""
    got = tuple(hr.shape[-2:])
    want = tuple(round(n * scale) for n in lr.shape[-2:])
    if scale != int(scale) or got != want:
        raise InputError(
            f"HR must be {scale:g} times as large as LR, {want[0]}x{want[1]} for LR of {lr.shape[-2]}x{lr.shape[-1]}, "
            f"got {got[0]}x{got[1]}; take a patch_size that is a multiple of a whole scale"
        )


class HasKernel(Protocol):
    """What ``require_one_kernel`` looks at: a ``degradation.pipeline.Degradation``."""

    @property
    def kernel(self) -> Tensor | None:
        """``(kH, kW)`` or ``(B, kH, kW)``."""
        ...

    @property
    def noise_std(self) -> float | Tensor:
        """A number, or ``(B,)``."""
        ...


def require_one_kernel(degradation: HasKernel) -> None:
    """Require one blur kernel and one noise level for the whole batch, where one set of weights is adapted to it.

    Raises:
        InputError: if its images have different ones.
    """
    kinds = ("kernels", degradation.kernel, 3), ("noise levels", degradation.noise_std, 1)
    for what, values, ndim in kinds:
        if isinstance(values, Tensor) and values.ndim == ndim and bool((values != values[:1]).any()):
            raise InputError(
                f"the batch has {len(values.unique(dim=0))} different {what}, but one set of weights is adapted to all "
                "of it and needs one degradation; draw it with per='batch' (sampler.degradations.per=batch)"
            )


def check_state(own: dict[str, Tensor], given: dict[str, Tensor], *, origin: str) -> None:
    """Require two state dicts to have the same names and shapes, and whole numbers in the same places.

    Raises:
        WeightsError: with the first few differences.
    """
    missing = sorted(set(own) - set(given))
    extra = sorted(set(given) - set(own))
    shapes = [
        f"{k}: expected {tuple(own[k].shape)}, got {tuple(given[k].shape)}"
        for k in own
        if k in given and own[k].shape != given[k].shape
    ]
    kinds = [
        f"{k}: expected {own[k].dtype}, got {given[k].dtype}".replace("torch.", "")
        for k in own
        if k in given and own[k].is_floating_point() != given[k].is_floating_point()
    ]
    if not (missing or extra or shapes or kinds):
        return
    parts = []
    for label, names in (
        ("missing", missing), ("unknown", extra), ("of another shape", shapes), ("of another kind", kinds),
    ):  # fmt: skip
        if names:
            parts.append(f"{len(names)} {label} ({'; '.join(names[:3])}{'; ...' if len(names) > 3 else ''})")
    raise WeightsError(
        f"{origin} holds the weights of another network: {', '.join(parts)}; "
        "choose the file made for this model, or the model it was made for (model=...)"
    )
