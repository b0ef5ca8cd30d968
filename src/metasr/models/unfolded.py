"""Deep unfolding: rounds of a data step in closed form and a small network that knows what images look like."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from metasr.degradation.data_step import Step, prepare
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.errors import InputError

ROUNDING = 1 / 255 / math.sqrt(12)  # standard deviation of what 8-bit rounding does
FIRST_MU = 1e-3  # of the first round at the start, without noise; each later round begins with twice its forerunner's
SCALE_OF_NOISE = 10.0  # noise of 0.1 (25 grey levels) is shown to the prior as 1

Prior = Callable[[nn.Module, Tensor, Tensor], Tensor]


class UnfoldedNet(nn.Module):
    """Solves a known blur instead of learning it (USRNet, Zhang et al., CVPR 2020, in few rounds).

    The first guess is the aligned bicubic enlargement. Each round is the data step of
    ``metasr.degradation.data_step``, then the prior network, which is told the noise level and how much of the image
    the data step left to the guess. One set of weights serves every kernel, scale and noise level. Departures from
    USRNet: few rounds, each with a prior of its own; ``mu`` is a power law of noise and scale with three learned
    numbers a round, instead of a network.

    Args:
        prior: a network of (image, condition): a ``metasr.models.plain_cnn.ConditionedCNN`` or a
            ``metasr.models.resunet.ResUNet``.
        rounds: of data step and prior, at least 1.
        shared: whether all rounds have the same prior; otherwise each has a copy of its own.
    """

    takes_degradation = True  # beside the LR image

    def __init__(self, prior: nn.Module, *, rounds: int = 3, shared: bool = False) -> None:
        super().__init__()
        if rounds < 1:
            raise InputError(f"an unfolded network needs at least 1 round, got {rounds}")
        self.rounds = rounds
        self.priors = nn.ModuleList([prior, *(copy.deepcopy(prior) for _ in range(0 if shared else rounds - 1))])
        start = math.log(FIRST_MU) + math.log(2.0) * torch.arange(rounds)
        self.log_mu = nn.Parameter(start.float())  # of each round, without noise, at scale 2
        self.noise_power = nn.Parameter(torch.ones(rounds))
        self.scale_power = nn.Parameter(torch.zeros(rounds))

    def forward(self, lr: Tensor, degradation: Degradation, *, run_prior: Prior | None = None) -> Tensor:
        """Super-resolve.

        Args:
            lr: ``(B, 3, h, w)`` in [0, 1].
            degradation: how it came about: one kernel for all, or one for each; noise likewise.
            run_prior: how a prior is run on (image, condition), instead of all at once: in tiles, say.

        Returns:
            ``(B, 3, ceil(scale · h), ceil(scale · w))``, not clipped.
        """
        noise = torch.as_tensor(degradation.noise_std, dtype=lr.dtype, device=lr.device).reshape(-1)  # (1 or B,)
        step = prepare(lr, degradation)
        image = _enlarged(lr / degradation.gain, degradation)
        return self.refine(image, step, noise, scale=degradation.scale, run_prior=run_prior)

    def refine(
        self, image: Tensor, step: Step, noise: Tensor, *, scale: float, run_prior: Prior | None = None
    ) -> Tensor:
        """All rounds from a first guess.

        Args:
            image: the guess, ``(B, 3, H, W)``.
            step: the data step of the LR image; one that tells its ``blind_share`` is asked for it.
            noise: levels on the [0, 1] scale, ``(1 or B,)``.
            scale: factor between LR and HR.
            run_prior: as in ``forward``.
        """
        for index in range(self.rounds):
            prior = self.priors[index % len(self.priors)]
            mu = self.mu(index, noise, scale)
            image = step(image, mu)
            share = step.blind_share(mu) if hasattr(step, "blind_share") else 1 - 1 / scale**2 + 0 * mu
            shown = torch.stack(torch.broadcast_tensors(noise * SCALE_OF_NOISE, share), 1)  # (1 or B, 2)
            condition = shown.expand(len(image), -1)
            image = prior(image, condition) if run_prior is None else run_prior(prior, image, condition)
        return image

    def mu(self, index: int, noise: Tensor, scale: float) -> Tensor:
        """Weight of the guess in a round, ``(1 or B,)``, for noise levels ``(1 or B,)`` on the [0, 1] scale."""
        louder = torch.log1p((noise / ROUNDING).square())  # 0 without noise
        log_scale = math.log(scale / 2)
        return torch.exp(self.log_mu[index] + self.noise_power[index] * louder + self.scale_power[index] * log_scale)


def _enlarged(lr: Tensor, degradation: Degradation) -> Tensor:
    """The aligned bicubic enlargement of a batch; each image by its own kernel's displacement."""
    if degradation.kernel is None or degradation.kernel.ndim == 2:
        return imresize(lr, degradation.scale, shift=degradation.shift)
    each = [degradation.of_one(index).shift for index in range(len(lr))]
    return torch.cat([imresize(one[None], degradation.scale, shift=by) for one, by in zip(lr, each, strict=True)])
