"""How an image was compressed before it was saved without loss: told by the 8×8 grid that it lies on.

The cosine coefficients of a decompressed JPEG lie at whole multiples of its quantisation steps, as near as rounding to
8 bits lets them (Neelamani et al., JPEG compression history estimation for color images, IEEE TIP 2006). Only an image
that was neither resized nor changed since shows that.
"""

from __future__ import annotations

import numpy as np

from metasr.io.jpeg import MCU, Jpeg, of_quality, standard_tables

_LOOK = 384  # side in pixels of the image's middle that is looked at
_FEWEST = 24  # blocks
_SPREAD = 0.6  # standard deviation of a coefficient about its multiple: rounding of three colours, then of Y
_OUTLIERS = 0.02  # share of coefficients that lie anywhere: blocks that were clipped somewhere, say
_SMALLEST = 2.0  # coefficients below this are near every step's multiple 0, and show nothing
_CLEAR = 0.15  # mean log-likelihood ratio per coefficient that is taken for evidence

_COSINES = np.cos(np.pi / 16 * np.outer(np.arange(8), 2 * np.arange(8) + 1)) / 2
_COSINES[0] /= np.sqrt(2)


def traces_of(levels: np.ndarray) -> Jpeg | None:
    """The compression that an image shows traces of.

    Args:
        levels: ``(H, W, 3)`` uint8.

    Returns:
        One of the 100 standard qualities, on the grid where it was found; its colour 4:4:4 if that shows the same
        steps, else 4:2:0. None where there is no clear trace, as above quality 95 or so.
    """
    height, width = levels.shape[:2]
    top, left = (MCU * (max(0, n - _LOOK) // (2 * MCU)) for n in (height, width))  # of the same grid as the image
    part = levels[top : top + _LOOK, left : left + _LOOK]
    if min(part.shape[:2]) < 24:
        return None
    colours = _ycc(part)
    clipped = ((part == 0) | (part == 255)).any(-1)
    for corner in ((0, 0), _likeliest_corner(colours[0])):
        blocks = _coefficients(colours[0], clipped, corner)
        quality, evidence = _best_quality(blocks)
        if evidence > _CLEAR:
            grid = (corner[0], corner[1])
            subsampled = _is_subsampled(colours, clipped, grid, quality)
            if subsampled:
                grid = _chroma_corner(colours[1], grid)
            return of_quality(quality, subsampling="4:2:0" if subsampled else "4:4:4", corner=grid)
    return None


def _ycc(levels: np.ndarray) -> np.ndarray:
    """Y, Cb and Cr of JFIF, less their middle: ``(3, H, W)``."""
    r, g, b = np.moveaxis(levels.astype(np.float32), -1, 0)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return np.stack([y - 128, (b - y) / 1.772, (r - y) / 1.402])


def _coefficients(channel: np.ndarray, clipped: np.ndarray | None, corner: tuple[int, int]) -> np.ndarray:
    """``(blocks, 64)`` cosine coefficients of the blocks that hold no clipped pixel."""
    blocks = _cut(channel, corner)
    if clipped is not None:
        blocks = blocks[~_cut(clipped, corner).any((1, 2))]
    return (_COSINES @ blocks @ _COSINES.T).reshape(-1, 64)


def _cut(channel: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
    """Whole blocks ``(n, 8, 8)`` of a grid."""
    rows, columns = corner
    cut = channel[rows:, columns:]
    down, across = (n // 8 for n in cut.shape)
    cut = cut[: 8 * down, : 8 * across].reshape(down, 8, across, 8)
    return cut.swapaxes(1, 2).reshape(-1, 8, 8)


def _best_quality(blocks: np.ndarray) -> tuple[int, float]:
    """The quality whose luma steps explain the coefficients best, and by how much: mean log-likelihood ratio."""
    return max(((q, _evidence(blocks, standard_tables(q)[0])) for q in range(98, 0, -1)), key=lambda pair: pair[1])


def _evidence(blocks: np.ndarray, table: tuple[int, ...]) -> float:
    """How much likelier the coefficients are at multiples of some steps than anywhere, per coefficient."""
    if len(blocks) < _FEWEST:
        return 0.0
    steps = np.array(table, np.float32)
    shown = np.abs(blocks) >= _SMALLEST
    off = blocks - np.round(blocks / steps) * steps
    at_multiples = steps * np.exp(-0.5 * (off / _SPREAD) ** 2) / (_SPREAD * np.sqrt(2 * np.pi))
    ratios = np.log((1 - _OUTLIERS) * at_multiples + _OUTLIERS)
    count = int(shown.sum())
    return float(ratios[shown].sum() / count) if count >= 4 * _FEWEST else 0.0


def _likeliest_corner(luma: np.ndarray) -> tuple[int, int]:
    """The grid on which most coefficients have been rounded to 0."""

    def zeros(corner: tuple[int, int]) -> float:
        return float((np.abs(_coefficients(luma, None, corner)) < _SPREAD).mean())

    return max(((row, column) for row in range(8) for column in range(8)), key=zeros)


def _is_subsampled(colours: np.ndarray, clipped: np.ndarray, corner: tuple[int, int], quality: int) -> bool:
    """Whether colour does not lie on the multiples of its own steps at full size; not so where there is no colour."""
    blocks = np.concatenate([_coefficients(channel, clipped, corner) for channel in colours[1:]])
    if not bool((np.abs(blocks) >= _SMALLEST).any()):
        return False
    return _evidence(blocks, standard_tables(quality)[1]) <= 0


def _chroma_corner(colour: np.ndarray, corner: tuple[int, int]) -> tuple[int, int]:
    """Of the four grids of 16×16 units on a grid of blocks, the one at whose borders colour jumps most."""

    def jump(place: tuple[int, int]) -> float:
        rows = np.abs(np.diff(colour, axis=0))[place[0] + MCU - 1 :: MCU].mean()
        return float(rows + np.abs(np.diff(colour, axis=1))[:, place[1] + MCU - 1 :: MCU].mean())

    return max(((corner[0] + 8 * down, corner[1] + 8 * right) for down in (0, 1) for right in (0, 1)), key=jump)
