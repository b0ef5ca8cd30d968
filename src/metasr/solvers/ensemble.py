"""What can be added after a network: geometric self-ensemble and back-projection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from metasr.degradation.kernels import delta
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


def symmetries_of(
    degradation: Degradation, *, size: tuple[int, int] | None = None, own_centre: bool = False
) -> tuple[Symmetry, ...]:
    """Turns and flips that commute with a degradation: those under which its kernel and sampling grid stay the same.

    Averaging over the others would average images that were degraded in another way than the network expects. Bicubic
    sampling allows all eight as far as the kernel does; direct sampling keeps the upper left pixel of each block, so
    only the transposition (three quarter turns, then a flip) is left. So it is where an LR side times the scale is not
    whole: the SR grid then begins with the LR image at the upper left and ends beyond it.

    Args:
        degradation: what made the LR image.
        size: of the LR image, ``(H, W)``; without it whole SR sides are taken for granted.
        own_centre: turn the kernel about its centre of mass instead of its middle tap, for solvers that put back what
            an off-centre kernel displaces, turn by turn (see ``turned``).
    """
    whole = size is None or all(abs(n * degradation.scale - round(n * degradation.scale)) < 1e-9 for n in size)
    anchored = degradation.downsample == "direct" or not whole
    allowed: tuple[Symmetry, ...] = ((0, False), (3, True)) if anchored else SYMMETRIES
    kernel = degradation.kernel
    if kernel is None:
        return allowed
    shape = _centred(kernel, degradation.off_centre) if own_centre else kernel
    tolerance = 1e-6 * float(shape.abs().max())
    return tuple(
        s
        for s in allowed
        if transform(shape, s).shape == shape.shape and bool((transform(shape, s) - shape).abs().max() <= tolerance)
    )


def _centred(kernel: Tensor, off_centre: tuple[float, float]) -> Tensor:
    """A kernel in an array whose middle is its centre of mass, as near as half a tap; a square one where it can be."""
    down, right = (round(2 * off) for off in off_centre)
    if not (down or right):
        return kernel
    # one more row above moves the array's middle up by half a tap
    shape = F.pad(kernel, (max(0, -right), max(0, right), max(0, -down), max(0, down)))
    side = max(shape.shape[-2:])
    tall, wide = ((side - n) // 2 for n in shape.shape[-2:])
    return F.pad(shape, (wide, wide, tall, tall))


def turned(offset: tuple[float, float], symmetry: Symmetry) -> tuple[float, float]:
    """A displacement (down, right), as it is seen after ``transform``."""
    down, right = offset
    for _ in range(symmetry[0] % 4):  # a quarter turn, counter-clockwise: right becomes up
        down, right = -right, down
    return (down, -right) if symmetry[1] else (down, right)


def turned_problem(lr: Tensor, degradation: Degradation, symmetry: Symmetry) -> tuple[Tensor, Degradation]:
    """An LR image turned, and the degradation that it then comes from.

    The kernel is turned along. Direct subsampling keeps the upper left pixel of each block, and after a turn another
    one: the kernel is moved by as much.

    Args:
        lr: ``(B, C, h, w)``.
        degradation: at a scale that is whole, or else not ``direct``.
        symmetry: what to turn by.
    """
    image = transform(lr, symmetry)
    kernel = degradation.kernel
    step = int(degradation.scale) - 1 if degradation.downsample == "direct" else 0
    if step:
        kernel = delta() if kernel is None else kernel
        kernel = F.pad(kernel, (0, step, 0, step))  # now its middle is the block's middle, which turns keep in place
        kernel = F.pad(transform(kernel, symmetry), (step, 0, step, 0))  # and now the kept pixel again
    elif kernel is not None:
        kernel = transform(kernel, symmetry)
    mask = None if degradation.mask is None else transform(degradation.mask, symmetry)
    return image, replace(degradation, kernel=kernel, mask=mask, name="")


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
