"""A meta-data set: a few images that stand for what is wanted at test time, and batches that bring them along."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from metasr.data.catalog import ImageSet, Split, image_set
from metasr.data.patches import PatchPool
from metasr.data.tasks import Pairs
from metasr.degradation.pipeline import Degradation, DegradationSampler
from metasr.errors import DataError, InputError, nearest, require_one_of
from metasr.io.images import to_uint8
from metasr.seeds import generator_from

Sampling = Literal["none", "choose", "weight"]

_SPREAD = (0.7548776662466927, 0.5698402909980532)  # powers of the root of x³ = x + 1: any first few points lie evenly


class WeightedBatch(NamedTuple):
    """Pairs to learn from, and pairs of the meta-data set to judge them by.

    Attributes:
        pairs: the batch's patches, or more than it takes: candidates.
        meta: patches of the meta-data set.
        batch_size: how many pairs make a batch.
    """

    pairs: Pairs
    meta: Pairs
    batch_size: int


def take(pairs: Pairs, index: Tensor) -> Pairs:
    """Some of the pairs, with their kernels and noise levels.

    Args:
        pairs: as a sampler drew them.
        index: ``(n,)`` whole numbers.
    """
    kernel = pairs.degradation.kernel
    if kernel is not None and kernel.ndim == 3 and len(kernel) > 1:
        kernel = kernel[index.to(kernel.device)]
    noise = pairs.degradation.noise_std
    if isinstance(noise, Tensor) and len(noise) > 1:
        noise = noise[index.to(noise.device)]
    where = index.to(pairs.hr.device)
    return Pairs(pairs.lr[where], pairs.hr[where], replace(pairs.degradation, kernel=kernel, noise_std=noise))


class MetaSet:
    """A few images, read once, with a fixed schedule of crops.

    Crop j of an image is the same whenever and wherever it is asked for, neither turned nor flipped: the first lies in
    the middle, each further one where there is most room left.

    Args:
        name: a data set of the catalog, or ``image_folder``.
        images: names of the images to take, with or without suffix; none for all.
        split: of the data set that they are taken from.
        root: see ``data.catalog.image_set``.
        download: fetch the data set if it is not there.
        crops: crops of each image.

    Raises:
        DataError: for no images, no root of an ``image_folder``, an unknown name, or a file that cannot be read.
        InputError: if ``crops`` is below 1.
    """

    def __init__(
        self,
        name: str = "samples",
        *,
        images: Sequence[str] | None = None,
        split: Split = "train",
        root: str | Path | None = None,
        download: bool = False,
        crops: int = 16,
    ) -> None:
        if crops < 1:
            raise InputError(f"a meta-data set needs at least 1 crop per image, got crops={crops}")
        if name == "image_folder" and root is None:
            raise DataError("a meta-data set from a folder needs to know which: give its root (meta_set.root=FOLDER)")
        found = image_set(name, split=split, root=root, download=download)
        self.images = found if images is None else _named(found, images)
        self.crops = crops
        self._pixels = [to_uint8(self.images.load(i)) for i in range(len(self.images))]
        self._cut: tuple[int, Tensor] | None = None  # for the patch size asked for last

    def __len__(self) -> int:
        return len(self.images)

    def __str__(self) -> str:
        return f"{len(self)} images of {self.images.name}: {', '.join(self.images.names)}"

    def require_room(self, patch_size: int) -> None:
        """Require that a patch fits into every image.

        Raises:
            DataError: naming those that are smaller.
        """
        small = [
            f"{name} ({p.shape[-2]}x{p.shape[-1]})"
            for name, p in zip(self.images.names, self._pixels, strict=True)
            if min(p.shape[-2:]) < patch_size
        ]
        if small:
            raise DataError(
                f"{len(small)} of {len(self)} images of the meta-data set are smaller than the {patch_size}x"
                f"{patch_size} patch: {', '.join(small[:5])}{', ...' if len(small) > 5 else ''}; leave them out or "
                "lower patch_size"
            )

    def patches(self, patch_size: int) -> Tensor:
        """All crops, image after image: ``(images x crops, 3, patch_size, patch_size)`` uint8.

        Raises:
            DataError: if an image is smaller than a patch.
        """
        if self._cut is None or self._cut[0] != patch_size:
            self.require_room(patch_size)
            cut = []
            for pixels in self._pixels:
                for j in range(self.crops):
                    top, left = (
                        int((0.5 + j * share) % 1 * (side - patch_size + 1))
                        for share, side in zip(_SPREAD, pixels.shape[-2:], strict=True)
                    )
                    cut.append(pixels[:, top : top + patch_size, left : left + patch_size])
            self._cut = (patch_size, torch.stack(cut))
        return self._cut[1]

    def contents(self) -> dict[str, str]:
        """The images' names by ``content_hash``."""
        return {content_hash(self.images.load(i)): name for i, name in enumerate(self.images.names)}

    def fingerprint(self) -> str:
        """Hash of the files' names and bytes and of the crops (SHA-256, hex)."""
        return hashlib.sha256(f"{self.images.fingerprint()}\0{self.crops}".encode()).hexdigest()


def _named(found: ImageSet, wanted: Sequence[str]) -> ImageSet:
    if not wanted:
        raise DataError(f"the meta-data set is empty: name at least one image of {', '.join(found.names)}")
    by_name = {key: path for path in found.paths for key in (path.name, path.stem)}
    for name in wanted:
        if name not in by_name:
            raise DataError(f"{found.name} ({found.split}) has no image {name!r}: {nearest(name, found.names)}")
    paths = tuple(by_name[name] for name in wanted)
    if len(set(paths)) != len(paths):
        raise DataError(f"the meta-data set names an image twice: {', '.join(wanted)}; name each once")
    return replace(found, paths=paths)


def content_hash(image: Tensor) -> str:
    """SHA-256 of an image's size and 8-bit pixels, however its file is called and compressed.

    Args:
        image: ``(3, H, W)`` in [0, 1].
    """
    pixels = to_uint8(image).contiguous()
    return hashlib.sha256(repr(tuple(pixels.shape)).encode() + pixels.numpy().tobytes()).hexdigest()


def require_disjoint(meta: MetaSet, test: ImageSet) -> None:
    """Require that no image of a meta-data set is a test image, told by their decoded pixels.

    A part of a test image, or one stored anew with losses, is not recognised.

    Raises:
        DataError: naming the images that are in both.
    """
    require_unseen(meta.contents(), test)


def require_unseen(meta: Mapping[str, str], test: ImageSet) -> None:
    """``require_disjoint`` for images of which only names by ``content_hash`` are left, as in a card.

    Raises:
        DataError: naming the images that are in both.
    """
    shared = []
    for i, name in enumerate(test.names if meta else ()):
        digest = content_hash(test.load(i))
        if digest in meta:
            shared.append(f"{meta[digest]} is {name}")
    if shared:
        raise DataError(
            f"{len(shared)} of {len(meta)} images of the meta-data set are test images of {test.name} "
            f"({', '.join(shared[:3])}{', ...' if len(shared) > 3 else ''}): what is learned from them cannot be "
            "tested on them; take other images for the meta-data set, or another test set"
        )


@dataclass(frozen=True, kw_only=True)
class WeightedSampler:
    """Draws pairs, and pairs of a meta-data set under a degradation of the same kind.

    Sides that the scale does not divide are dealt with as everywhere in training: an LR patch has
    ``ceil(side / scale)`` pixels.

    Attributes:
        batch_size: pairs in a batch.
        meta_batch: pairs of the meta-data set in a batch; where it has fewer crops, all of them.
        patch_size: side of the HR patches, those of the pool.
        degradations: where the degradations come from; one kernel per pair.
        meta_set: the meta-data set.
        sampling: what the recipe does with the pairs; with ``choose`` and ``weight`` it is given candidates.
        candidates: pairs that are drawn for the recipe to choose from, or to weight; not drawn if it does neither.

    Raises:
        InputError: if a number is below 1, or there are not more candidates than pairs to choose.
        DataError: if an image of the meta-data set is smaller than a patch.
    """

    batch_size: int
    meta_batch: int
    patch_size: int
    degradations: DegradationSampler
    meta_set: MetaSet
    sampling: Sampling = "none"
    candidates: int = 1

    def __post_init__(self) -> None:
        if min(self.batch_size, self.meta_batch, self.patch_size) < 1:
            raise InputError(
                "batch_size, meta_batch and patch_size must each be at least 1, "
                f"got {self.batch_size}, {self.meta_batch} and {self.patch_size}"
            )
        require_one_of(self.sampling, Sampling, name="sampling")
        if self.sampling != "none" and self.candidates <= self.batch_size:
            raise InputError(
                f"sampling={self.sampling} needs more candidates than the {self.batch_size} pairs of a batch, got "
                f"{self.candidates}; raise candidates"
            )
        self.meta_set.require_room(self.patch_size)

    def draw(self, pool: PatchPool, *, generator: torch.Generator) -> WeightedBatch:
        """Draw one batch; the same generator state gives the same batch on every device.

        Raises:
            InputError: if the pool's patches are of another size.
        """
        if pool.patch_size != self.patch_size:
            raise InputError(
                f"the pool cuts patches of {pool.patch_size}, the meta-data set those of {self.patch_size}; give both "
                "the same patch_size"
            )
        count = self.batch_size if self.sampling == "none" else self.candidates
        degradation = self.degradations.sample(count, generator=generator)
        hr = pool.draw(count, generator=generator)
        lr = degradation(hr, generator=generator)
        meta = self._meta(generator, limit=self.meta_batch).to(hr.device)
        wanted = self._like(degradation, len(meta), generator)
        return WeightedBatch(
            Pairs(lr, hr, degradation), Pairs(wanted(meta, generator=generator), meta, wanted), self.batch_size
        )

    def meta_pairs(self) -> Pairs:
        """All crops of the meta-data set, degraded once and for all: what a reward is drawn by."""
        generator = generator_from("meta-data set")
        meta = self._meta(generator, limit=None)
        degradation = self.degradations.sample(len(meta), generator=generator)
        return Pairs(degradation(meta, generator=generator), meta, degradation)

    def fingerprint(self) -> str:
        """The meta-data set's: what a batch depends on beside the configuration and the pool."""
        return self.meta_set.fingerprint()

    def _meta(self, generator: torch.Generator, *, limit: int | None) -> Tensor:
        every = self.meta_set.patches(self.patch_size)
        if limit is not None:
            every = every[torch.randperm(len(every), generator=generator)[:limit]]
        return every.float().div_(255)

    def _like(self, degradation: Degradation, count: int, generator: torch.Generator) -> Degradation:
        """A degradation with kernels and noise of its own at the scale of another."""
        return replace(self.degradations, scales=(degradation.scale,)).sample(count, generator=generator)
