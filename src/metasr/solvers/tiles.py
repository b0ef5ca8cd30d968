"""Working through an image in overlapping tiles: the same numbers, in bounded memory.

A convolutional network of receptive radius r gives, on a tile that reaches r pixels beyond the part that is kept, the
very values it gives on the whole image: only where a tile ends inside the image does its zero padding reach fewer than
r pixels inwards. So there are no seams to blend, and gradients summed over tiles are the whole image's gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from metasr.errors import InputError, require_at_least
from metasr.solvers.plain_steps import BackwardPrecision, backward_type, ids_of, l1_gradients, layers_of, suits
from metasr.solvers.progress import tell


@dataclass(frozen=True)
class Tile:
    """A part of an image: ``outer`` is read, ``core`` is kept; slices of rows and columns in the whole image."""

    core: tuple[slice, slice]
    outer: tuple[slice, slice]

    @property
    def inner(self) -> tuple[slice, slice]:
        """The core, as slices within the outer part."""
        rows, columns = (slice(c.start - o.start, c.stop - o.start) for c, o in zip(self.core, self.outer, strict=True))
        return rows, columns


def check_tiling(tile: int | None, *, adapt_pixels: int | None = None) -> None:
    """Require numbers of pixels that an image can be worked through by; none is the whole image.

    Raises:
        InputError: naming the one that is below 1.
    """
    require_at_least(1, tile=tile, adapt_pixels=adapt_pixels)


def split(height: int, width: int, *, tile: int | None, overlap: int) -> list[Tile]:
    """Cut an image into tiles of nearly equal size.

    Args:
        height: of the image, in pixels.
        width: of the image.
        tile: largest side of a core; none for one tile.
        overlap: how far the outer part reaches beyond the core, cut at the image's border.

    Returns:
        The tiles, row by row; their cores cover every pixel once.
    """
    require_at_least(1, tile=tile)

    def parts(n: int) -> Iterator[tuple[slice, slice]]:
        count = 1 if tile is None else -(-n // tile)
        edges = [round(i * n / count) for i in range(count + 1)]
        for a, b in pairwise(edges):
            yield slice(a, b), slice(max(0, a - overlap), min(n, b + overlap))

    return [Tile((r, c), (ro, co)) for r, ro in parts(height) for c, co in parts(width)]


def overlap_of(network: nn.Module, default: int = 32) -> int:
    """How far tiles must overlap for a network: its ``receptive_radius``, or a default where it does not tell."""
    return int(getattr(network, "receptive_radius", default))


def apply_tiled(network: Callable[[Tensor], Tensor], image: Tensor, *, tile: int | None, overlap: int) -> Tensor:
    """Run a size-keeping network over an image, tile by tile, without gradients.

    Args:
        network: ``(B, C, H, W)`` to ``(B, C', H, W)``.
        image: ``(B, C, H, W)``.
        tile: largest side of a tile's kept part; none for the whole image at once.
        overlap: at least the network's receptive radius for results without seams.

    Returns:
        ``(B, C', H, W)``.

    Raises:
        InputError: if the network does not keep the size.
    """
    tiles = split(*image.shape[-2:], tile=tile, overlap=overlap)
    result: Tensor | None
    with torch.no_grad():
        if len(tiles) == 1:
            result = _keeping_size(network, image)
            tell(1, 1, "tiles")
            return result
        result = None
        for done, part in enumerate(tiles, 1):
            piece = _keeping_size(network, image[..., part.outer[0], part.outer[1]])
            if result is None:
                result = piece.new_empty(*piece.shape[:-2], *image.shape[-2:])
            result[..., part.core[0], part.core[1]] = piece[..., part.inner[0], part.inner[1]]
            tell(done, len(tiles), "tiles")
    assert result is not None
    return result


def check_trained(trained: float | None, scale: float) -> None:
    """Require that a network was made for a scale, where it tells which.

    Raises:
        InputError: if it is for another.
    """
    if trained is not None and trained != scale:
        raise InputError(
            f"these weights enlarge by {trained:g}, but scale {scale:g} was asked for; set scale={trained:g}, or take "
            f"weights that were trained for x{scale:g}"
        )


def apply_scaling(
    network: Callable[[Tensor], Tensor],
    lr: Tensor,
    *,
    scale: float,
    tile: int | None,
    overlap: int,
    trained: float | None = None,
    multiple: int = 1,
) -> Tensor:
    """Run a network that enlarges by a whole scale itself, tile by tile, without gradients.

    Args:
        network: ``(1, 3, h, w)`` to ``(1, 3, scale * h, scale * w)``.
        lr: ``(1, 3, H, W)``.
        scale: a whole number.
        tile: largest side of a tile's kept part, in LR pixels.
        overlap: at least the network's receptive radius in LR pixels.
        trained: the scale that the network was made for, where it is known.
        multiple: the network looks at pixels in groups of so many along each side, which tiles do not cut.

    Raises:
        InputError: if the network is for another scale.
    """
    check_trained(trained, scale)
    if scale != int(scale):
        raise InputError(f"a network that enlarges the image itself needs a whole scale, got {scale:g}")
    step = int(scale)
    height, width = lr.shape[-2:]
    padded = nn.functional.pad(lr, (0, -width % multiple, 0, -height % multiple), mode="replicate")

    def same_size(cells: Tensor) -> Tensor:
        image = _fast_layout(nn.functional.pixel_shuffle(cells, multiple)) if multiple > 1 else cells
        sr = network(image)
        want = (image.shape[-2] * step, image.shape[-1] * step)
        if tuple(sr.shape[-2:]) != want:
            raise InputError(
                f"the network gave {tuple(sr.shape[-2:])} for an input of {tuple(image.shape[-2:])} at scale {step}, "
                f"expected {want}; set solver.enlarge_first=true if it takes the enlarged image"
            )
        return nn.functional.pixel_unshuffle(sr, step * multiple)  # (1, 3 s², h, w): the tiles are cut at LR size

    cells = nn.functional.pixel_unshuffle(padded, multiple)
    side, beyond = None if tile is None else max(1, tile // multiple), -(-overlap // multiple)
    sr = nn.functional.pixel_shuffle(apply_tiled(same_size, cells, tile=side, overlap=beyond), step * multiple)
    return sr[..., : step * height, : step * width]


def _keeping_size(network: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    output = network(_fast_layout(image))
    if output.shape[-2:] != image.shape[-2:]:
        raise InputError(
            f"the network gave {tuple(output.shape[-2:])} for an input of {tuple(image.shape[-2:])}, expected the same "
            "size; set solver.enlarge_first=false if it enlarges the image itself"
        )
    return output


def tiled_l1(
    network: nn.Module,
    parameters: list[nn.Parameter],
    source: Tensor,
    target: Tensor,
    tiles: list[Tile],
    *,
    backward: BackwardPrecision = "float32",
) -> tuple[Tensor, list[Tensor]]:
    """Mean absolute error over the tiles' cores, and its gradient, one tile in memory at a time.

    Args:
        network: the network to differentiate.
        parameters: what to differentiate by.
        source: its input, ``(1, C, H, W)``.
        target: what it should give, ``(1, C, H, W)``.
        tiles: where to compare; all tiles of ``split`` for the whole image.
        backward: type of a plain network's backward pass (``solvers.plain_steps.backward_type``); any other
            network is differentiated in its own.

    Returns:
        The loss, a scalar without history on the images' device (where nobody has waited for it), and one gradient per
        parameter, 0 for those that have no part in the output.
    """
    count = sum(area(t.core) for t in tiles) * target.shape[1]
    one_tile = _tile_gradients(network, parameters, source, backward, count)
    total, sums = target.new_zeros(()), [torch.zeros_like(p, requires_grad=False) for p in parameters]
    for part in tiles:
        loss, gradients = one_tile(
            source[..., part.outer[0], part.outer[1]], target[..., part.core[0], part.core[1]], part.inner
        )
        total += loss
        for into, gradient in zip(sums, gradients, strict=True):
            into += gradient
    return total, sums


def _tile_gradients(
    network: nn.Module, parameters: list[nn.Parameter], source: Tensor, backward: BackwardPrecision, count: int
) -> Callable[[Tensor, Tensor, tuple[slice, slice]], tuple[Tensor, Sequence[Tensor]]]:
    """The sum of absolute errors of a tile and its gradients: written out for a plain network, else by autograd."""
    layers = layers_of(network)
    if layers is not None and suits(layers, source) and {id(p) for p in parameters} <= ids_of(layers):
        dtype = backward_type(backward, layers, source)

        def written_out(piece: Tensor, target: Tensor, core: tuple[slice, slice]) -> tuple[Tensor, list[Tensor]]:
            error, gradients = l1_gradients(layers, piece, target, core, backward=dtype)
            return error / count, [gradients[id(p)] / count for p in parameters]

        return written_out

    def by_autograd(piece: Tensor, target: Tensor, core: tuple[slice, slice]) -> tuple[Tensor, Sequence[Tensor]]:
        output = network(_fast_layout(piece))[..., core[0], core[1]]
        loss = (output - target).abs().sum() / count
        return loss.detach(), torch.autograd.grad(loss, parameters, materialize_grads=True)

    return by_autograd


def spread(height: int, width: int, *, pixels: int, overlap: int, cell: int = 128) -> list[Tile]:
    """Square cells spread evenly over an image, along both axes, of at most ``pixels`` in all (but at least one).

    Args:
        height: of the image, in pixels.
        width: of the image.
        pixels: how many pixels the cells' cores may have together.
        overlap: how far a cell's outer part reaches beyond its core.
        cell: side of a core (the image's side, where that is shorter).

    Returns:
        Tiles whose cores do not overlap, on a regular grid of about the image's proportions.
    """
    tall, wide = min(cell, height), min(cell, width)
    count = max(1, pixels // (tall * wide))
    rows = min(max(1, round(math.sqrt(count * height / width))), count, height // tall)
    columns = min(max(1, count // rows), width // wide)

    def places(n: int, side: int, parts: int) -> Iterator[tuple[slice, slice]]:
        for i in range(parts):
            start = round((i + 0.5) * n / parts - side / 2)
            yield slice(start, start + side), slice(max(0, start - overlap), min(n, start + side + overlap))

    across = list(places(width, wide, columns))
    return [Tile((r, c), (ro, co)) for r, ro in places(height, tall, rows) for c, co in across]


def hold_out(tiles: Sequence[Tile], size: tuple[int, int], *, overlap: int) -> tuple[list[Tile], list[Tile]]:
    """Take an eighth of what some tiles cover out of them: a band across the middle, however the image is cut.

    Of cells that are spread over a larger image it is every eighth, if there are so many.

    Args:
        tiles: of an image.
        size: its height and width.
        overlap: how far outer parts reach beyond cores.

    Returns:
        What is left, and what is held out; the latter is empty for an image of fewer than 48 rows.
    """
    if len(tiles) >= 8 and sum(area(t.core) for t in tiles) < size[0] * size[1]:
        return [t for i, t in enumerate(tiles) if i % 8 != 3], [t for i, t in enumerate(tiles) if i % 8 == 3]
    height = size[0]
    if height < 48:
        return list(tiles), []
    first, last = height * 7 // 16, height * 9 // 16
    left: list[Tile] = []
    held: list[Tile] = []
    for tile in tiles:
        rows = tile.core[0]
        for start, stop, into in ((0, first, left), (first, last, held), (last, height, left)):
            core = slice(max(rows.start, start), min(rows.stop, stop))
            if core.start < core.stop:
                outer = slice(max(0, core.start - overlap), min(height, core.stop + overlap))
                into.append(Tile((core, tile.core[1]), (outer, tile.outer[1])))
    return left, held


def tiled_error(
    network: Callable[[Tensor], Tensor] | None, source: Tensor, target: Tensor, tiles: Sequence[Tile]
) -> float:
    """Mean absolute error over the tiles' cores, without gradients.

    Args:
        network: what is measured; none for the source itself.
        source: its input, ``(1, C, H, W)``.
        target: what it should give, ``(1, C, H, W)``.
        tiles: where to compare.
    """
    total = 0.0
    with torch.no_grad():
        for part in tiles:
            piece = source[..., part.outer[0], part.outer[1]]
            output = piece if network is None else network(_fast_layout(piece))
            difference = output[..., part.inner[0], part.inner[1]] - target[..., part.core[0], part.core[1]]
            total += float(difference.abs().sum())
    return total / (sum(area(t.core) for t in tiles) * target.shape[1])


def _fast_layout(image: Tensor) -> Tensor:
    """Channels last on the CPU, where its convolutions run up to 1.5 times faster for it."""
    return image.contiguous(memory_format=torch.channels_last) if image.device.type == "cpu" else image


def area(core: tuple[slice, slice]) -> int:
    """The pixels of a tile's core."""
    return (core[0].stop - core[0].start) * (core[1].stop - core[1].start)
