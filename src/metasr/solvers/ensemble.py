"""What can be added after a network: geometric self-ensemble and back-projection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize

Symmetry = tuple[int, bool]  # quarter turns, then a horizontal flip

SYMMETRIES: tuple[Symmetry, ...] = tuple((turns, flip) for flip in (False, True) for turns in range(4))


def transform(image: Tensor, symmetry: Symmetry) -> Tensor:
    """Turn by quarter turns, then flip horizontally if asked to; ``(..., H, W)``."""
    turned = image.rot90(symmetry[0], (-2, -1))
    return turned.flip(-1) if symmetry[1] else turned


def undo(image: Tensor, symmetry: Symmetry) -> Tensor:
    """The inverse of ``transform``."""
    turned = image.flip(-1) if symmetry[1] else image
    return turned.rot90(-symmetry[0], (-2, -1))


def symmetries_of(degradation: Degradation, *, size: tuple[int, int] | None = None) -> tuple[Symmetry, ...]:
    """Turns and flips that commute with a degradation: those under which its kernel and sampling grid stay the same.

    Averaging over the others would average images that were degraded in another way than the network expects. Bicubic
    sampling allows all eight as far as the kernel does; direct sampling keeps the upper left pixel of each block, so
    only the transposition (three quarter turns, then a flip) is left. So it is where an LR side times the scale is not
    whole: the SR grid then begins with the LR image at the upper left and ends beyond it.

    Args:
        degradation: what made the LR image.
        size: of the LR image, ``(H, W)``; without it whole SR sides are taken for granted.
    """
    whole = size is None or all(abs(n * degradation.scale - round(n * degradation.scale)) < 1e-9 for n in size)
    anchored = degradation.downsample == "direct" or not whole
    allowed: tuple[Symmetry, ...] = ((0, False), (3, True)) if anchored else SYMMETRIES
    kernel = degradation.kernel
    if kernel is None:
        return allowed
    tolerance = 1e-6 * float(kernel.abs().max())
    return tuple(
        s
        for s in allowed
        if transform(kernel, s).shape == kernel.shape and bool((transform(kernel, s) - kernel).abs().max() <= tolerance)
    )


def self_ensemble(
    solve: Callable[[Tensor], Tensor], image: Tensor, symmetries: tuple[Symmetry, ...], *, median: bool = False
) -> Tensor:
    """Apply a function to turned and flipped copies of an image and average the results, turned back.

    Args:
        solve: ``(1, C, H, W)`` to ``(1, C, H', W')``.
        image: ``(1, C, H, W)``.
        symmetries: the copies to use (see ``symmetries_of``).
        median: take the median instead of the mean (of an even number of copies: the mean of the middle two).
    """
    results = torch.stack([undo(solve(transform(image, s)), s) for s in symmetries])  # (n, 1, C, H', W')
    if not median:
        return results.mean(0)
    ordered = results.sort(0).values
    n = len(ordered)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2


def back_project(sr: Tensor, lr: Tensor, degradation: Degradation, *, rounds: int) -> Tensor:
    """Pull an SR image towards agreement with its LR: SR += bicubic↑(LR - degrade(SR)), some rounds (Irani and Peleg).

    The correction is put back where the LR pixels came from: for direct subsampling that is (s - 1)/2 pixels to the
    upper left of where plain bicubic enlargement would put it.

    Args:
        sr: ``(1, 3, H, W)``.
        lr: ``(1, 3, h, w)``.
        degradation: noise and rounding are left out.
        rounds: number of rounds, 0 for none.
    """
    model = replace(degradation, noise_std=0.0, quantise=None, mask=None)
    for _ in range(rounds):
        again = model.linear(sr)[..., : lr.shape[-2], : lr.shape[-1]]  # SR sides are rounded up at real scales
        residual = lr - again
        correction = imresize(residual, degradation.scale, size=(sr.shape[-2], sr.shape[-1]), shift=degradation.shift)
        sr = sr + correction
    return sr
