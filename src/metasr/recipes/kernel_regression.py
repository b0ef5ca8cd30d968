"""Training the network that tells a blur kernel and the noise from an LR image."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from metasr.data.observations import Observations
from metasr.errors import InputError, require_at_least
from metasr.models.kernel_regressor import KernelRegressor, gaussians_of
from metasr.recipes.base import Schedule
from metasr.recipes.memory import Rehearsing

_LEVEL = 1 / 255


class Seen(NamedTuple):
    """What the network is shown of some images, and what it is to tell.

    Attributes:
        observed: ``(B, OBSERVED)`` (see ``models.kernel_regressor.KernelRegressor.observe``).
        kernel: ``(B, k, k)``.
        noise_std: ``(B,)`` on the [0, 1] scale.
    """

    observed: Tensor
    kernel: Tensor
    noise_std: Tensor


def kernel_loss(log_covariance: Tensor, kernel: Tensor) -> Tensor:
    """Σ |k̂ - k| of each image, ``(B,)`` in [0, 2]: twice the mass that lies in the wrong place.

    Unlike a distance of variances it does not care which of two very narrow kernels it is, and needs no case of its own
    for no blur at all.

    Args:
        log_covariance: ``(B, 3)`` of the Gaussian k̂ (see ``models.kernel_regressor.Blur``).
        kernel: ``(B, size, size)``, any kernel of sum 1.
    """
    gaussians = gaussians_of(log_covariance, size=kernel.shape[-1])
    return (gaussians - kernel).abs().sum((-2, -1))


def noise_loss(noise_std: Tensor, true: Tensor) -> Tensor:
    """Mean of |log(σ̂ + 1) - log(σ + 1)|, σ on the 0-255 scale: relative above a grey level, absolute below.

    Args:
        noise_std: ``(B,)`` on the [0, 1] scale.
        true: ``(B,)``, the same.
    """
    return ((noise_std + _LEVEL).log() - (true + _LEVEL).log()).abs().mean()


class KernelRegression(Rehearsing):
    """Minimise the distance of kernels plus shares of the distances of noise levels and of doubts, with Adam.

    Doubt is the distance that a kernel is expected to have; what it is off by does not change the kernel's own loss.

    To blur an image and take its statistics is most of a step's work, and the small network on top needs to see each of
    them often. So the latest are remembered, and some looked at again in every step (``recipes.memory.Rehearsing``).

    Args:
        model: a ``models.kernel_regressor.KernelRegressor``.
        steps: optimiser steps of the stage.
        rate: learning rate.
        noise_weight: share of the noise levels' loss.
        doubt_weight: share of the doubts' loss.
        rehearsed: how many remembered observations each step looks at again beside its own; 0 for none.
        schedule: how the rate goes on.

    Raises:
        InputError: for a network of another kind, or a negative share or number.
    """

    model: KernelRegressor

    def __init__(
        self,
        model: KernelRegressor,
        *,
        steps: int,
        rate: float = 2e-3,
        noise_weight: float = 0.2,
        doubt_weight: float = 0.2,
        rehearsed: int = 0,
        schedule: Schedule = "cosine",
    ) -> None:
        super().__init__(model, steps=steps, schedule=schedule, rehearsed=rehearsed)
        if not isinstance(model, KernelRegressor):
            raise InputError(
                f"kernel regression trains a KernelRegressor, got {type(model).__name__}; choose model=kernel_regressor"
            )
        require_at_least(0, noise_weight=noise_weight, doubt_weight=doubt_weight)
        self.rate = rate
        self.noise_weight = noise_weight
        self.doubt_weight = doubt_weight

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The network's weights, at ``rate``."""
        return [{"params": list(self.model.parameters()), "lr": self.rate}]

    def training_step(self, batch: Observations, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        made_by = batch.degradation
        direct = made_by.downsample == "direct"
        observed = self.model.observe(batch.lr, scale=made_by.scale, direct=direct, jpeg=made_by.jpeg)
        seen = self._with_remembered(Seen(observed, batch.kernel.to(observed), batch.noise_std.to(observed)))
        estimated = self.model.tell(seen.observed)
        each = kernel_loss(estimated.log_covariance, seen.kernel)
        kernels = each.mean()
        noise = noise_loss(estimated.noise_std, seen.noise_std)
        doubt = (estimated.doubt - each.detach()).abs().mean()
        loss = kernels + self.noise_weight * noise + self.doubt_weight * doubt
        self.require_finite(loss, of=lambda: f"{made_by.downsample} subsampling at scale {made_by.scale:g}")
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/kernel", kernels)
        self.log("train/noise", noise)
        self.log("train/doubt", doubt)
        return self.touching_all(loss)

    def _with_remembered(self, new: Seen) -> Seen:
        """A step's observations and some of those remembered, among which its own are from now on."""
        self.remember(new)
        again = self.remembered()
        return Seen(*(torch.cat(both) for both in zip(new, again, strict=True))) if again else new
