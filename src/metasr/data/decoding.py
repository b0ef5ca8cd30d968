"""A training set's images decoded: what cannot be read named all at once, memory bounded, kept for the next stage."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from metasr.data.catalog import ImageSet
from metasr.data.patches import DiskPixels, Pixels, told_small
from metasr.errors import DataError
from metasr.io.images import to_uint8
from metasr.paths import outputs_folder
from metasr.text import pluralize

log = logging.getLogger(__name__)

WhenUnfit = Literal["error", "skip"]

_kept: dict[Hashable, Decoded] = {}  # the set decoded last, for the next stage


@dataclass(frozen=True)
class Decoded:
    """The images of a set that could be read.

    Attributes:
        pixels: theirs, in memory or on disk.
        lr: their LR images', where the set has such.
        readable: their places in the set.
        unreadable: what is the matter with each of the others, by name.
    """

    pixels: Pixels | DiskPixels
    lr: Pixels | DiskPixels | None
    readable: tuple[int, ...]
    unreadable: dict[str, str]


def decode(
    images: ImageSet,
    *,
    patch_size: int,
    unreadable: WhenUnfit = "error",
    too_small: WhenUnfit = "error",
    memory: int = 4 << 30,
    folder: Path | None = None,
) -> Decoded:
    """Decode all images to 8 bits, or give what was decoded last if it is of the same files.

    Every image is decoded once before any work starts, one by one, so that all that cannot be read are known. What
    memory does not hold goes to a file on disk.

    Args:
        images: the set.
        patch_size: side below which an image is too small.
        unreadable: refuse the set, or leave out what cannot be read.
        too_small: refuse the set where an image is too small; the message names these and the unreadable ones.
        memory: bytes of pixels that are held in memory at most.
        folder: of the file on disk; by default that of the outputs.

    Raises:
        DataError: naming all images that are unfit and not to be skipped.
    """
    key = None
    if isinstance(images, ImageSet) and (state := images.file_states()) is not None:
        key = (state, images.crop, len(images.lr), memory)
    decoded = _kept.get(key) if key is not None else None
    if decoded is None:
        _kept.clear()  # before the next set comes into memory
        decoded = _decode(images, memory=memory, folder=folder or outputs_folder())
        if key is not None:
            _kept[key] = decoded
    faults = []
    if decoded.unreadable and (unreadable == "error" or not decoded.readable):
        lines = list(decoded.unreadable.values())
        faults.append(
            f"{len(lines)} of {pluralize(len(images), 'training image')} cannot be read; mend them, or leave them out "
            f"(data.unreadable=skip): {'; '.join(lines[:20])}{'; ...' if len(lines) > 20 else ''}"
        )
    sizes = zip(decoded.readable, decoded.pixels.sizes, strict=True)
    small = {images.names[i]: size for i, size in sizes if min(size) < patch_size}
    if small and (too_small == "error" or len(small) == len(decoded.readable)):
        faults.append(told_small(small, count=len(images), patch_size=patch_size))
    if faults:
        raise DataError(". ".join(faults))
    return decoded


def _decode(images: ImageSet, *, memory: int, folder: Path) -> Decoded:
    """Decode what can be, into memory where the headers say that it fits, else to disk."""
    counts = [0, 0]  # pixels of HR and of LR images
    bad: dict[str, str] = {}
    for i, name in enumerate(images.names):
        try:
            for which, (height, width) in enumerate(images.sizes(i)):
                counts[which] += height * width
        except DataError as error:
            bad[name] = str(error)
    total = 3 * sum(counts)
    held: list[_InMemory | DiskPixels]
    if total <= memory:
        held = [_InMemory(count) for count in counts]
    else:
        log.info(
            "%s: %.1f GB of pixels, more than the %.1f GB of memory (data.memory_gb): decoded to a file in %s",
            images.name, total / 1e9, memory / 1e9, folder,
        )  # fmt: skip
        held = [DiskPixels(folder) for _ in counts]
    readable = []
    for i, name in enumerate(images.names):
        if name in bad:
            continue
        try:
            pictures = [to_uint8(images.load(i)), *([to_uint8(images.load_lr(i))] if images.lr else [])]
        except DataError as error:
            bad[name] = str(error)
            continue
        for place, picture in zip(held, pictures, strict=False):  # two places, one picture where there is no LR
            place.append(picture)
        readable.append(i)
    hr, lr = (place if isinstance(place, DiskPixels) else place.pixels() for place in held)
    return Decoded(hr, lr if images.lr else None, tuple(readable), bad)


class _InMemory:
    """One buffer of the size that the headers ask for, so that no pixel is held twice."""

    def __init__(self, count: int) -> None:
        self.values = torch.empty(count, 3, dtype=torch.uint8)
        self.sizes: list[tuple[int, int]] = []
        self.end = 0

    def append(self, image: Tensor) -> None:
        part = image.permute(1, 2, 0).reshape(-1, 3)
        self.values[self.end : self.end + len(part)] = part
        self.end += len(part)
        self.sizes.append((image.shape[-2], image.shape[-1]))

    def pixels(self) -> Pixels:
        return Pixels(self.values[: self.end], tuple(self.sizes))
