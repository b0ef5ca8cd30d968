"""Ready pairs: LR images that somebody else made, each beside its HR image by name, and patches of both."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from metasr.data.catalog import ImageSet
from metasr.data.patches import Cuts, DiskPixels, PatchPool, Pixels
from metasr.errors import DataError, InputError
from metasr.io.listing import list_images
from metasr.text import pluralize

_SCALED = re.compile(r"(.+?)[_-]?x\d+(?:\.\d+)?", re.IGNORECASE)  # 0001x2


def with_lr(images: ImageSet, folder: str | Path) -> ImageSet:
    """A set with the LR image of each of its images, matched by name: ``0001.png`` and ``0001.png`` or ``0001x2.png``.

    Args:
        images: the HR images.
        folder: of the LR images; it may hold others.

    Raises:
        DataError: naming the images that have none.
    """
    small: dict[str, Path] = {}
    for path in list_images(folder):
        scaled = _SCALED.fullmatch(path.stem)
        small.setdefault(scaled[1] if scaled else path.stem, path)
        small[path.stem] = path
    alone = [path.name for path in images.paths if path.stem not in small]
    if alone:
        raise DataError(
            f"{pluralize(len(alone), 'image')} of {images.name} have no LR image of their name in {folder}: "
            f"{', '.join(alone[:20])}{', ...' if len(alone) > 20 else ''}; name them alike, or take them out"
        )
    return replace(images, lr=tuple(small[path.stem] for path in images.paths))


class PairedPool(nn.Module):
    """LR and HR patches of the same places.

    Args:
        hr: the HR images' pool; its patch size is a multiple of the scale.
        lr: the LR images, in the same order.
        names: of the images, for error messages.

    Raises:
        DataError: if a pair does not fit together, or holds no patch.
        InputError: if the patch size is no multiple of the scale.
    """

    def __init__(self, hr: PatchPool, lr: Pixels | DiskPixels, *, names: Sequence[str]) -> None:
        super().__init__()
        large = [(height, width) for height, width in hr.sizes.tolist()]
        self.scale = max(1, round(large[0][0] / lr.sizes[0][0]))
        if hr.patch_size % self.scale:
            raise InputError(f"patch_size must be a multiple of the pairs' scale {self.scale}, got {hr.patch_size}")
        unfit = [
            f"{name} ({h}x{w} beside {height}x{width})"
            for name, (height, width), (h, w) in zip(names, large, lr.sizes, strict=True)
            if not all(n - self.scale < self.scale * m < n + self.scale for n, m in ((height, h), (width, w)))
        ]
        if unfit:
            raise DataError(
                f"{pluralize(len(unfit), 'LR image')} are not {self.scale} times smaller than their HR images: "
                f"{', '.join(unfit[:20])}{', ...' if len(unfit) > 20 else ''}; take out those of another scale"
            )
        self.hr = hr
        self.lr = PatchPool(lr, patch_size=hr.patch_size // self.scale, names=names, skip_small=True)
        self.lr.limit((self.hr.sizes - hr.patch_size).div(self.scale, rounding_mode="floor") + 1)

    def pairs(self, count: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Cut random patches, LR ``(count, 3, h, w)`` and HR ``(count, 3, H, W)``, turned and flipped alike."""
        low = self.lr.choose(count, generator=generator)
        high = Cuts(low.which, low.corner * self.scale, low.turns)
        return self.lr.gather(low), self.hr.gather(high)

    def draw(self, count: int, *, generator: torch.Generator, augment: bool = True) -> Tensor:
        """Refused: these pairs are as they are.

        Raises:
            InputError: always.
        """
        raise InputError(
            "the training images come as ready LR/HR pairs (data.lr_root), which only stages that learn from pairs can "
            "use, not those that make LR images or tasks of their own; leave data.lr_root out"
        )
