"""Patches: the whole training set decoded once into one buffer, patches cut from it by a single gather."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from metasr.errors import DataError, require_at_least
from metasr.io.images import to_uint8


class Pixels(NamedTuple):
    """Decoded images, one after the other.

    Attributes:
        values: ``(all pixels, 3)`` uint8, row by row.
        sizes: height and width of each image.
    """

    values: Tensor
    sizes: tuple[tuple[int, int], ...]


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


class PatchPool(nn.Module):
    """All images of a training set, 8-bit, in one flat buffer that lives on the training device.

    A batch of patches, with random turns and flips, costs one index computation and one gather, so that training is
    never starved. 400 photographs of 481×321 take 185 MB. Only the pixels move with the module: what is drawn is
    decided on the CPU in float64, which not every device has.

    Args:
        images: ``(3, H, W)`` each, uint8 or floating point in [0, 1], read once; or what :func:`flatten` made of them,
            which is not copied.
        names: of the images, for error messages.
        patch_size: side of the patches.

    Raises:
        DataError: if there are no images, or some are smaller than a patch.
    """

    def __init__(self, images: Iterable[Tensor] | Pixels, *, patch_size: int, names: Sequence[str] = ()) -> None:
        super().__init__()
        require_at_least(1, patch_size=patch_size)
        values, sizes = images if isinstance(images, Pixels) else flatten(images)
        if not sizes:
            raise DataError("no training images came; give a folder with at least one")
        labels = list(names) or [f"image {i}" for i in range(len(sizes))]
        small = [
            f"{name} ({height}x{width})"
            for name, (height, width) in zip(labels, sizes, strict=True)
            if min(height, width) < patch_size
        ]
        if small:
            raise DataError(
                f"{len(small)} of {len(sizes)} training images are smaller than the {patch_size}x{patch_size} patch: "
                f"{', '.join(small[:5])}{', ...' if len(small) > 5 else ''}; leave them out or lower patch_size"
            )
        self.patch_size = patch_size
        self.register_buffer("pixels", values, persistent=False)  # (all pixels, 3) uint8
        self.sizes = torch.tensor(sizes)  # (n, 2)
        counts = self.sizes.prod(1)
        self.offsets = counts.cumsum(0) - counts
        # An image is drawn in proportion to the patches that it holds, so that all patches are equally likely.
        weights = (self.sizes - patch_size + 1).prod(1).double()
        self.cumulative = (weights / weights.sum()).cumsum(0)

    pixels: Tensor

    def draw(self, count: int, *, generator: torch.Generator, augment: bool = True) -> Tensor:
        """Cut random patches.

        Args:
            count: how many.
            generator: on the CPU, so that a seed means the same patches on every device.
            augment: turn and flip each patch at random (8 variants).

        Returns:
            ``(count, 3, patch_size, patch_size)`` float32 in [0, 1], on the pool's device.
        """
        device, side = self.pixels.device, self.patch_size
        u = torch.rand(count, 6, generator=generator, dtype=torch.float64)
        which = torch.searchsorted(self.cumulative, u[:, 0].contiguous()).clamp_max(len(self.sizes) - 1)  # (count,)
        room = self.sizes[which] - side + 1  # (count, 2)
        corner = torch.minimum((u[:, 1:3] * room).long(), room - 1)
        width = self.sizes[which, 1]
        first = self.offsets[which] + corner[:, 0] * width + corner[:, 1]  # index of the upper left pixel
        drawn = torch.cat([first[:, None], width[:, None], (u[:, 3:] < 0.5).long()], 1).to(device)  # (count, 5)
        axis = torch.arange(side, device=device)
        rows, columns = axis[None, :, None], axis[None, None, :]
        if augment:
            transpose, flip_rows, flip_columns = (drawn[:, i, None, None].bool() for i in (2, 3, 4))
            rows, columns = torch.where(transpose, columns, rows), torch.where(transpose, rows, columns)
            rows = torch.where(flip_rows, side - 1 - rows, rows)
            columns = torch.where(flip_columns, side - 1 - columns, columns)
        index = drawn[:, 0, None, None] + rows * drawn[:, 1, None, None] + columns  # (count, side, side)
        return self.pixels[index].permute(0, 3, 1, 2).float().div_(255).contiguous()
