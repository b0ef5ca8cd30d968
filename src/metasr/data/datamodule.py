"""Training data for Lightning: step numbers go through the loader, patches are made on the training device."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from metasr.data.catalog import ImageSet
from metasr.data.patches import PatchPool, Pixels, flatten
from metasr.io.images import to_uint8
from metasr.seeds import generator_from

_decoded: dict[Hashable, Pixels] = {}  # the set decoded last, for the next stage


class Sampler(Protocol):
    """Draws one training batch from a pool of patches."""

    def draw(self, pool: PatchPool, *, generator: torch.Generator) -> Any:
        """The batch that a generator's state means."""
        ...


class _Steps(Dataset[int]):
    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return index


class PatchData(pl.LightningDataModule):
    """Batches for a recipe, drawn anew at every step.

    The batch of a step depends on (seed, stage, step, rank) alone: a run resumed in the middle draws what an
    uninterrupted one would have drawn, and each device of several draws its own. Where a recipe takes several optimiser
    steps on each batch (its ``steps_per_batch``), that many steps draw the same.

    Args:
        images: the training images, decoded once when training starts, to 8 bits; the next stage finds them
            decoded.
        sampler: makes a batch (pairs, or tasks) from the pool of patches.
        patch_size: side of the HR patches.
        steps: optimiser steps in the whole stage, which is one epoch.
        seed: the run's seed.
        stage: the stage's name.
    """

    def __init__(
        self, images: ImageSet, *, sampler: Sampler, patch_size: int, steps: int, seed: int, stage: str
    ) -> None:
        super().__init__()
        self.images = images
        self.sampler = sampler
        self.patch_size = patch_size
        self.steps = steps
        self.seed = seed
        self.stage = stage
        self.pool: PatchPool | None = None

    def setup(self, stage: str) -> None:
        """Decode the whole training set once."""
        if self.pool is None:
            self.pool = PatchPool(_decode(self.images), patch_size=self.patch_size, names=self.images.names)

    def train_dataloader(self) -> DataLoader[int]:
        """Step numbers; Lightning counts and shows them, the patches come in :meth:`on_after_batch_transfer`."""
        return DataLoader(_Steps(self.steps), batch_size=None)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Draw the batch of the trainer's current step on its device."""
        assert self.pool is not None
        assert self.trainer is not None
        self.pool.to(self.trainer.strategy.root_device)
        step = self.trainer.global_step // getattr(self.trainer.lightning_module, "steps_per_batch", 1)
        generator = generator_from(self.seed, self.stage, step, self.trainer.global_rank)
        return self.sampler.draw(self.pool, generator=generator)


def _decode(images: ImageSet) -> Pixels:
    """Decode all images one by one to uint8, or give what was decoded last if it is of the same files."""
    key = None
    if isinstance(images, ImageSet) and (state := images.file_states()) is not None:
        key = (state, images.crop)
        if key in _decoded:
            return _decoded[key]
    _decoded.clear()  # before the next set comes into memory
    pixels = flatten(to_uint8(images.load(i)) for i in range(len(images)))
    if key is not None:
        _decoded[key] = pixels
    return pixels
