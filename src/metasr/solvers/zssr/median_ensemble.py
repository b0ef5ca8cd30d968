"""ZSSR's output: the median over turned and flipped copies of the image, put back where they belong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from metasr.degradation.pipeline import Degradation
from metasr.solvers.ensemble import Symmetry, symmetries_of, transform, undo
from metasr.solvers.progress import part

ROWS = 64  # of the output whose median is taken at a time


def symmetries_with_moves(degradation: Degradation, *, size: tuple[int, int]) -> dict[Symmetry, tuple[int, int]]:
    """Turns and flips that can be undone after a solver, and how many pixels (up, left) what they gave must be moved.

    Where LR pixels lie in the middle of their blocks, these are the ones that commute with the degradation. Direct
    subsampling keeps the first pixel of each block: in a flipped LR image it comes from what was the block's last one,
    so a solver that knows of direct subsampling puts the flipped image s - 1 pixels too far along. At a whole scale
    moving it back is exact, and all symmetries of the kernel can be used. (Not so in ``symmetries_of``, which moves
    nothing.) At other scales what commutes is left.

    Args:
        degradation: what made the LR image.
        size: of the LR image, ``(H, W)``.
    """
    if degradation.downsample != "direct" or degradation.scale != int(degradation.scale):
        return dict.fromkeys(symmetries_of(degradation, size=size), (0, 0))
    centred = symmetries_of(replace(degradation, downsample="bicubic"), size=size)  # those of the kernel
    step = int(degradation.scale) - 1
    return {s: (step * _reversed(s, -2), step * _reversed(s, -1)) for s in centred}


def median_ensemble(solve: Callable[[Tensor], Tensor], lr: Tensor, moves: dict[Symmetry, tuple[int, int]]) -> Tensor:
    """Solve turned and flipped copies of an image, undo that, and take the median of each value.

    Of an even number of copies it is the mean of the middle two. Where a copy that is moved does not reach, the
    untouched one stands in for it.

    Args:
        solve: ``(1, 3, h, w)`` to ``(1, 3, H, W)``.
        lr: ``(1, 3, h, w)``.
        moves: of ``symmetries_with_moves``.
    """
    moved_copies = [(symmetry, move) for symmetry, move in moves.items() if symmetry != (0, False)]
    count = 1 + len(moved_copies)
    with part(0, 1 / count):
        plain = solve(lr)
    copies = [plain]
    for i, (symmetry, (up, left)) in enumerate(moved_copies, 1):
        with part(i / count, (i + 1) / count):
            copy = undo(solve(transform(lr, symmetry)), symmetry)
        if up or left:
            height, width = copy.shape[-2:]
            moved = plain.clone()
            moved[..., : height - up, : width - left] = copy[..., up:, left:]
            copy = moved
        copies.append(copy)
    n = len(copies)
    if n == 1:
        return plain
    result = torch.empty_like(plain)
    for first in range(0, plain.shape[-2], ROWS):  # sorting all rows at once would take more memory than the copies
        ordered = torch.stack([c[..., first : first + ROWS, :] for c in copies]).sort(0).values  # (n, 1, 3, rows, W)
        result[..., first : first + ROWS, :] = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return result


def _reversed(symmetry: Symmetry, axis: int) -> int:
    """1 where a symmetry makes the image's last row (axis -2) or column (axis -1) a first one, else 0."""
    ramp = torch.arange(2.0)
    first = transform(ramp[:, None].expand(2, 2) if axis == -2 else ramp[None].expand(2, 2), symmetry)[0, 0]
    return int(first.item())
