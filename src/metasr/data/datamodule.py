"""Training data for Lightning: step numbers go through the loader, patches are made on the training device."""

from __future__ import annotations

import logging
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from metasr.data.catalog import ImageSet
from metasr.data.decoding import Decoded, WhenUnfit, decode
from metasr.data.pairs import PairedPool
from metasr.data.patches import PatchPool
from metasr.errors import require_one_of
from metasr.seeds import generator_from
from metasr.text import pluralize

log = logging.getLogger(__name__)


class Sampler(Protocol):
    """Draws one training batch from a pool of patches."""

    def draw(self, pool: Any, *, generator: torch.Generator) -> Any:
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
            decoded. Where the set has LR images too, batches are of these pairs.
        sampler: makes a batch (pairs, or tasks) from the pool of patches.
        patch_size: side of the HR patches.
        steps: optimiser steps in the whole stage, which is one epoch.
        seed: the run's seed.
        stage: the stage's name.
        unreadable: whether images that cannot be read are an error, or left out.
        too_small: whether images smaller than a patch are an error, or left out.
        memory_gb: gigabytes of pixels held in memory; a larger set lies in a file on disk.
    """

    def __init__(
        self,
        images: ImageSet,
        *,
        sampler: Sampler,
        patch_size: int,
        steps: int,
        seed: int,
        stage: str,
        unreadable: WhenUnfit = "error",
        too_small: WhenUnfit = "error",
        memory_gb: float = 4.0,
    ) -> None:
        super().__init__()
        require_one_of(unreadable, WhenUnfit, name="data.unreadable")
        require_one_of(too_small, WhenUnfit, name="data.too_small")
        self._given = images
        self.sampler = sampler
        self.patch_size = patch_size
        self.steps = steps
        self.seed = seed
        self.stage = stage
        self.unreadable = unreadable
        self.too_small = too_small
        self.memory_gb = memory_gb
        self.pool: PatchPool | PairedPool | None = None

    @property
    def images(self) -> ImageSet:
        """The training images, without those that cannot be read and are to be left out."""
        if self.unreadable == "error":
            return self._given
        return self._given.only(self._decode(self._given).readable)

    @property
    def left_out(self) -> dict[str, list[str]]:
        """Names of the images that are left out, by reason; for the stage's card."""
        if "skip" not in (self.unreadable, self.too_small):
            return {}
        decoded = self._decode(self._given)
        names = self._given.names
        sizes = zip(decoded.readable, decoded.pixels.sizes, strict=True)
        small = [names[i] for i, size in sizes if min(size) < self.patch_size]
        reasons = {"unreadable": list(decoded.unreadable), "too_small": small}
        return {reason: left for reason, left in reasons.items() if left}

    def setup(self, stage: str) -> None:
        """Decode the whole training set once; say what is left out."""
        if self.pool is not None:
            return
        for reason, left in self.left_out.items():
            shown = ", ".join(left[:10]) + (", ..." if len(left) > 10 else "")
            log.warning("%s left out (%s): %s", pluralize(len(left), "training image"), reason, shown)
        decoded = self._decode(self._given)
        given = self._given.only(decoded.readable)
        skip = self.too_small == "skip"
        self.pool = PatchPool(decoded.pixels, patch_size=self.patch_size, names=given.names, skip_small=skip)
        if decoded.lr is not None:
            self.pool = PairedPool(self.pool, decoded.lr, names=given.names)

    def _decode(self, images: ImageSet) -> Decoded:
        return decode(
            images,
            patch_size=self.patch_size,
            unreadable=self.unreadable,
            too_small=self.too_small,
            memory=int(self.memory_gb * 1e9),
        )

    def train_dataloader(self) -> DataLoader[int]:
        """Step numbers; Lightning counts and shows them, the patches come in ``on_after_batch_transfer``."""
        return DataLoader(_Steps(self.steps), batch_size=None)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Draw the batch of the trainer's current step on its device."""
        assert self.pool is not None
        assert self.trainer is not None
        self.pool.to(self.trainer.strategy.root_device)
        step = self.trainer.global_step // getattr(self.trainer.lightning_module, "steps_per_batch", 1)
        generator = generator_from(self.seed, self.stage, step, self.trainer.global_rank)
        return self.sampler.draw(self.pool, generator=generator)
