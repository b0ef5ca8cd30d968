"""Tasks: what one inner loop learns from and is judged by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from metasr.checks import require_one_kernel
from metasr.data.pairs import PairedPool
from metasr.data.patches import PatchPool
from metasr.degradation.kernel_samplers import mistaken
from metasr.degradation.pipeline import Degradation, DegradationSampler
from metasr.degradation.resize import imresize
from metasr.degradation.told import told
from metasr.errors import InputError


class Task(NamedTuple):
    """Support and query pairs under one degradation.

    Attributes:
        support_lr: ``(S, 3, h, w)`` in [0, 1].
        support_hr: ``(S, 3, H, W)``.
        query_lr: ``(Q, 3, h, w)``.
        query_hr: ``(Q, 3, H, W)``.
        degradation: what both were degraded by.
    """

    support_lr: Tensor
    support_hr: Tensor
    query_lr: Tensor
    query_hr: Tensor
    degradation: Degradation


class Pairs(NamedTuple):
    """LR and HR patches: ``lr`` (B, 3, h, w), ``hr`` (B, 3, H, W)."""

    lr: Tensor
    hr: Tensor
    degradation: Degradation


class Augmentation(Protocol):
    """Random variants of HR patches, for instance ``data.augment.Augment``."""

    def __call__(self, hr: Tensor, *, generator: torch.Generator) -> Tensor:
        """``(B, 3, H, W)`` in [0, 1] to the same."""
        ...


@dataclass(frozen=True, kw_only=True)
class PairSampler:
    """Draws batches of LR-HR pairs.

    Attributes:
        batch_size: pairs in a batch.
        degradations: where each batch's degradation comes from; one kernel per pair.
        augment: how the HR patches are varied, instead of by turns and flips.
        noise_error: how far off the told noise levels are, since those of a photo are estimates: the standard deviation
            of their natural logarithm, and of what is added besides, in grey levels (never taken below 0).
        kernel_error: how far off the told kernels are, for a network that is to be told estimates: the standard
            deviations of ``size`` and ``shape`` (see ``degradation.kernel_samplers.mistaken``).
    """

    batch_size: int
    degradations: DegradationSampler
    augment: Augmentation | None = None
    noise_error: tuple[float, float] = (0.0, 0.0)
    kernel_error: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        for name in ("noise_error", "kernel_error"):
            if min(getattr(self, name)) < 0:
                raise InputError(f"{name} must be two standard deviations, at least 0, got {getattr(self, name)}")

    def draw(self, pool: PatchPool | PairedPool, *, generator: torch.Generator) -> Pairs:
        """Draw one batch; the same generator state gives the same batch on every device.

        Of ready pairs both patches are taken as they are, whatever the sampler's degradations.

        Raises:
            InputError: if ready pairs are of another scale, or are to be varied.
        """
        degradation = self.degradations.sample(self.batch_size, generator=generator)
        if isinstance(pool, PairedPool):
            if degradation.scale != pool.scale or self.augment is not None:
                varied = " and an augmentation of HR images" if self.augment is not None else ""
                raise InputError(
                    f"the training images are ready pairs of scale {pool.scale}, got scale {degradation.scale:g}"
                    f"{varied}; take scale={pool.scale} and no augment"
                )
            lr, hr = pool.pairs(self.batch_size, generator=generator)
            return Pairs(lr, hr, Degradation(scale=pool.scale, quantise=None))
        hr = pool.draw(self.batch_size, generator=generator, augment=self.augment is None)
        if self.augment is not None:
            hr = self.augment(hr, generator=generator)
        lr = degradation(hr, generator=generator)
        if any(self.noise_error):
            degradation = replace(degradation, noise_std=self._told(degradation.noise_std, generator))
        if any(self.kernel_error) and degradation.kernel is not None:
            size, shape = self.kernel_error
            kernels = mistaken(degradation.kernel, size=size, shape=shape, generator=generator)
            degradation = replace(degradation, kernel=kernels, name="")
        return Pairs(lr, hr, degradation)

    def _told(self, noise_std: float | Tensor, generator: torch.Generator) -> Tensor:
        """The noise level that is told of each image."""
        factor, added = torch.randn(2, self.batch_size, generator=generator, dtype=torch.float64)
        relative, levels = self.noise_error
        return (noise_std * (relative * factor).exp() + levels / 255 * added).clamp_min(0)


def require_drawn_as_one(sampler: object) -> None:
    """Require a sampler's batches to be of one degradation each, by drawing one.

    Raises:
        InputError: if a batch has several.
    """
    if isinstance(sampler, PairSampler):
        generator = torch.Generator().manual_seed(0)
        require_one_kernel(sampler.degradations.sample(sampler.batch_size, generator=generator))


@dataclass(frozen=True, kw_only=True)
class TaskSampler:
    """Draws meta-batches: several tasks, each with its own kernel, all of its patches degraded by it.

    Attributes:
        meta_batch: tasks in a meta-batch (MZSR: 5).
        support: support patches per task (MZSR: 8).
        query: query patches per task (MZSR: 8).
        degradations: where each task's degradation comes from. A task has one, whatever ``per`` says there.
        shared_patches: all tasks of a meta-batch have the same HR patches, as in the public code of MRDA; otherwise
            each has its own.
        internal: the support pairs are made of the query's own patches, as ``solvers.unfolded.UnfoldedSolver`` makes
            them of a test image: the HR patch shrunk bicubically to LR size, and that degraded once more. Otherwise, as
            in MZSR, they are other patches under the same degradation.
        tell: give LR patches with what their degradation tells behind their colours (``metasr.degradation.told``).
    """

    meta_batch: int
    support: int
    query: int
    degradations: DegradationSampler
    shared_patches: bool = False
    internal: bool = False
    tell: bool = False

    def __post_init__(self) -> None:
        if self.internal and (self.shared_patches or self.support != self.query):
            raise InputError(
                "internal tasks learn from the query's own patches: they need support and query of one number and "
                f"shared_patches=false, got {self.support}, {self.query} and {self.shared_patches}"
            )
        if min(self.meta_batch, self.support, self.query) < 1:
            raise InputError(
                "meta_batch, support and query must each be at least 1, "
                f"got {self.meta_batch}, {self.support} and {self.query}"
            )

    def draw(self, pool: PatchPool, *, generator: torch.Generator) -> list[Task]:
        """Draw one meta-batch; the same generator state gives the same tasks on every device."""
        tasks: list[Task] = []
        for _ in range(self.meta_batch):
            drawn = self.degradations.sample(1, generator=generator)
            if self.internal:
                task = _internal(drawn, pool.draw(self.query, generator=generator), generator)
            else:
                if self.shared_patches and tasks:
                    hr = torch.cat([tasks[0].support_hr, tasks[0].query_hr])
                else:
                    hr = pool.draw(self.support + self.query, generator=generator)
                lr = drawn(hr, generator=generator)
                s = self.support
                task = Task(lr[:s], hr[:s], lr[s:], hr[s:], drawn)
            if self.tell:
                task = task._replace(support_lr=told(task.support_lr, drawn), query_lr=told(task.query_lr, drawn))
            tasks.append(task)
        return tasks


def _internal(drawn: Degradation, hr: Tensor, generator: torch.Generator) -> Task:
    """The task of HR patches by themselves: from their copies at LR size, degraded, to these; then from LR to HR."""
    father = imresize(hr, 1 / drawn.scale).clamp(0, 1)
    if drawn.scale == int(drawn.scale):  # of which the son has a whole number of pixels
        height, width = (n - n % int(drawn.scale) for n in father.shape[-2:])
        father = father[..., :height, :width]
    son = drawn.for_son(noise_std=drawn.noise_level)(father, generator=generator)
    return Task(son, father, drawn(hr, generator=generator), hr, drawn)
