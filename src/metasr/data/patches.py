"""Patches: the whole training set decoded once into one buffer, patches cut from it by a single gather."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from metasr.errors import DataError, require_at_least
from metasr.io.files import told_of_writing
from metasr.io.images import to_uint8
from metasr.text import pluralize


class Pixels(NamedTuple):
    """Decoded images, one after the other.

    Attributes:
        values: ``(all pixels, 3)`` uint8, row by row.
        sizes: height and width of each image.
    """

    values: Tensor
    sizes: tuple[tuple[int, int], ...]


class DiskPixels:
    """Decoded images in a file without a name on disk, for sets that memory does not hold; gone with the process.

    Args:
        folder: where the file goes; made if it is not there.

    Raises:
        OutputError: if the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.sizes: tuple[tuple[int, int], ...] = ()
        self._starts: list[int] = []
        with told_of_writing(folder / "decoded images"):
            folder.mkdir(parents=True, exist_ok=True)
            # Open as long as this lives.
            self._file = tempfile.TemporaryFile(dir=folder, prefix=".decoded-")  # noqa: SIM115

    def append(self, image: Tensor) -> None:
        """Write the next image, ``(3, H, W)`` uint8.

        Raises:
            OutputError: if the disk has not the room.
        """
        with told_of_writing("the file of decoded images"):
            self._starts.append(self._file.tell())
            self._file.write(image.permute(1, 2, 0).contiguous().numpy().tobytes())
            self._file.flush()
        self.sizes += ((image.shape[-2], image.shape[-1]),)

    def cut(self, which: Tensor, corner: Tensor, *, side: int) -> Tensor:
        """Read square patches.

        Args:
            which: image of each patch, ``(n,)``.
            corner: its upper left pixel, row and column, ``(n, 2)``.
            side: in pixels.

        Returns:
            ``(n * side * side, 3)`` uint8, patch by patch.
        """
        data = bytearray()
        for index, (top, left) in zip(which.tolist(), corner.tolist(), strict=True):
            width = self.sizes[index][1]
            for row in range(top, top + side):
                data += os.pread(self._file.fileno(), 3 * side, self._starts[index] + 3 * (row * width + left))
        return torch.frombuffer(data, dtype=torch.uint8).reshape(-1, 3)


def flatten(images: Iterable[Tensor]) -> Pixels:
    """Put images into one buffer; each is let go as soon as its pixels are there.

    Args:
        images: ``(3, H, W)`` each, uint8 or floating point in [0, 1]; a generator is read once.
    """
    parts: list[Tensor] = []
    sizes: list[tuple[int, int]] = []
    for image in images:
        sizes.append((image.shape[-2], image.shape[-1]))
        levels = image if image.dtype == torch.uint8 else to_uint8(image)
        parts.append(levels.permute(1, 2, 0).reshape(-1, 3))
    values = torch.empty(sum(h * w for h, w in sizes), 3, dtype=torch.uint8)
    end = len(values)
    while parts:
        part = parts.pop()
        values[end - len(part) : end] = part
        end -= len(part)
    return Pixels(values, tuple(sizes))


class Cuts(NamedTuple):
    """Which patches: drawn on the CPU, the same on every device.

    Attributes:
        which: image of each patch, ``(n,)``.
        corner: its upper left pixel, row and column, ``(n, 2)``.
        turns: whether it is transposed, its rows and its columns reversed, ``(n, 3)`` of 0 and 1.
    """

    which: Tensor
    corner: Tensor
    turns: Tensor


class PatchPool(nn.Module):
    """All images of a training set, 8-bit, in one flat buffer that lives on the training device, or on disk.

    A batch of patches, with random turns and flips, costs one index computation and one gather, so that training is
    never starved. 400 photographs of 481×321 take 185 MB. Only the pixels move with the module: what is drawn is
    decided on the CPU in float64, which not every device has. Where the pixels are kept changes nothing that is drawn.

    Args:
        images: ``(3, H, W)`` each, uint8 or floating point in [0, 1], read once; or what ``flatten`` made of them,
            which is not copied; or images on disk.
        names: of the images, for error messages.
        patch_size: side of the patches.
        skip_small: leave images smaller than a patch out instead of refusing them; they are never drawn from.

    Raises:
        DataError: if there are no images, or some are smaller than a patch (all of them, where they are left out).
    """

    def __init__(
        self,
        images: Iterable[Tensor] | Pixels | DiskPixels,
        *,
        patch_size: int,
        names: Sequence[str] = (),
        skip_small: bool = False,
    ) -> None:
        super().__init__()
        require_at_least(1, patch_size=patch_size)
        self.disk = images if isinstance(images, DiskPixels) else None
        if isinstance(images, DiskPixels):
            values, sizes = torch.empty(0, 3, dtype=torch.uint8), images.sizes
        else:
            values, sizes = images if isinstance(images, Pixels) else flatten(images)
        if not sizes:
            raise DataError("no training images came; give a folder with at least one")
        labels = list(names) or [f"image {i}" for i in range(len(sizes))]
        small = {name: size for name, size in zip(labels, sizes, strict=True) if min(size) < patch_size}
        if small and not (skip_small and len(small) < len(sizes)):
            raise DataError(told_small(small, count=len(sizes), patch_size=patch_size))
        self.patch_size = patch_size
        self.register_buffer("pixels", values, persistent=False)  # (all pixels, 3) uint8
        self.sizes = torch.tensor(sizes)  # (n, 2)
        counts = self.sizes.prod(1)
        self.offsets = counts.cumsum(0) - counts
        self.limit(self.sizes - patch_size + 1)

    pixels: Tensor

    def limit(self, places: Tensor) -> None:
        """Cut patches at the first so many rows and columns of each image alone, ``(n, 2)``; at none where below 1.

        Raises:
            DataError: if no image has a place left.
        """
        earlier = getattr(self, "places", places)
        self.places = torch.minimum(earlier, places).clamp_min(0)
        # An image is drawn in proportion to the patches that it holds, so that all patches are equally likely.
        weights = self.places.prod(1).double()
        if not bool((weights > 0).any()):
            raise DataError(f"no training image holds a patch of {self.patch_size}x{self.patch_size}; lower patch_size")
        self.cumulative = (weights / weights.sum()).cumsum(0)

    def of_side(self, side: int) -> PatchPool:
        """The same pixels in patches of another side."""
        if side == self.patch_size:
            return self
        sizes = tuple((height, width) for height, width in self.sizes.tolist())
        return PatchPool(self.disk or Pixels(self.pixels, sizes), patch_size=side, skip_small=True)

    def draw(self, count: int, *, generator: torch.Generator, augment: bool = True) -> Tensor:
        """Cut random patches.

        Args:
            count: how many.
            generator: on the CPU, so that a seed means the same patches on every device.
            augment: turn and flip each patch at random (8 variants).

        Returns:
            ``(count, 3, patch_size, patch_size)`` float32 in [0, 1], on the pool's device.
        """
        return self.gather(self.choose(count, generator=generator, augment=augment))

    def choose(self, count: int, *, generator: torch.Generator, augment: bool = True) -> Cuts:
        """Draw which patches to cut, all positions of all images being equally likely."""
        u = torch.rand(count, 6, generator=generator, dtype=torch.float64)
        place = u[:, 0].clamp_min(1e-300)  # at 0 a first image without any patch would be taken
        which = torch.searchsorted(self.cumulative, place).clamp_max(len(self.sizes) - 1)  # (count,)
        room = self.places[which]  # (count, 2)
        corner = torch.minimum((u[:, 1:3] * room).long(), room - 1)
        return Cuts(which, corner, (u[:, 3:] < 0.5).long() if augment else torch.zeros(count, 3, dtype=torch.long))

    def gather(self, cuts: Cuts) -> Tensor:
        """Cut given patches: ``(n, 3, patch_size, patch_size)`` float32 in [0, 1], on the pool's device."""
        device, side = self.pixels.device, self.patch_size
        if self.disk is None:
            pixels, width = self.pixels, self.sizes[cuts.which, 1]
            first = self.offsets[cuts.which] + cuts.corner[:, 0] * width + cuts.corner[:, 1]  # the upper left pixel
        else:
            pixels = self.disk.cut(cuts.which, cuts.corner, side=side).to(device)
            first = torch.arange(len(cuts.which)) * side**2
            width = torch.full_like(first, side)
        drawn = torch.cat([first[:, None], width[:, None], cuts.turns], 1).to(device)  # (n, 5)
        axis = torch.arange(side, device=device)
        rows, columns = axis[None, :, None], axis[None, None, :]
        transpose, flip_rows, flip_columns = (drawn[:, i, None, None].bool() for i in (2, 3, 4))
        rows, columns = torch.where(transpose, columns, rows), torch.where(transpose, rows, columns)
        rows = torch.where(flip_rows, side - 1 - rows, rows)
        columns = torch.where(flip_columns, side - 1 - columns, columns)
        index = drawn[:, 0, None, None] + rows * drawn[:, 1, None, None] + columns  # (n, side, side)
        return pixels[index].permute(0, 3, 1, 2).float().div_(255).contiguous()


def told_small(small: dict[str, tuple[int, int]], *, count: int, patch_size: int) -> str:
    """The message for images (name: height and width) that are smaller than a patch."""
    listed = [f"{name} ({height}x{width})" for name, (height, width) in small.items()]
    return (
        f"{len(small)} of {pluralize(count, 'training image')} are smaller than the {patch_size}x{patch_size} patch: "
        f"{', '.join(listed[:20])}{', ...' if len(listed) > 20 else ''}; leave them out (data.too_small=skip) or lower "
        "patch_size"
    )
