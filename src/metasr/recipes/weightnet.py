"""Supervised training in which every pixel's loss has a weight, learned from what helps a meta-data set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from metasr.checks import check_state
from metasr.data.meta_set import Sampling, WeightedBatch, take
from metasr.data.tasks import Pairs
from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError, require_one_of
from metasr.meta.meta_gradient import enlarge, surrogate_loss
from metasr.models.weight_net import WEIGHT_NET_PREFIX, WeightNet
from metasr.recipes.base import Recipe, Schedule
from metasr.recipes.weightnet_rewards import (
    Direction,
    choose_layers,
    error_weights,
    meta_direction,
    patch_rewards,
    pixel_losses,
    pixel_rewards,
    require_finite_rewards,
    weight_objective,
    weighted_loss,
    weighted_step,
)
from metasr.seeds import generator_from

Reward = Literal["similarity", "meta_gradient", "error", "none"]
Level = Literal["pixel", "patch"]
MetaAt = Literal["current", "stepped"]


class _Chosen(NamedTuple):
    pairs: Pairs
    importance: Tensor | None  # (B,) of mean 1, with sampling=weight
    rewards: Tensor | None  # (B,) the patches' own


class WeightNetRecipe(Recipe):
    """Minimise 1/N Σ_p w_p |SR_p - HR_p|, and learn the weights w from a meta-data set.

    The weights are constants to the SR network, and the Weight-Net never sees the loss it weighs: it minimises
    -1/N Σ_p w_p r_p, where the reward r_p tells how far a step on pixel p's loss brings down the meta-data set's loss.
    Rewards are constants, standardised over the batch (mean 0, standard deviation 1; all 0 where all are equal): only
    their order and their spread in relation to each other count. Weights have mean 1 in every image. Only where they
    learn from the similarity of patches they have it over the batch, since otherwise every patch would weigh the same,
    whatever its reward.

    Args:
        model: the SR network; its input is the enlarged LR.
        steps: optimiser steps of the stage.
        rate: learning rate of the SR network.
        reward: ``similarity`` of gradients; ``meta_gradient``, the meta loss after a differentiable step on the
            weighted loss, by the Weight-Net's parameters; ``error``, weights in proportion to the pixels' own errors;
            ``none``, equal weights. The last two have no Weight-Net.
        level: of the similarity: ``pixel`` (inner product, for all pixels by one forward-mode pass) or ``patch``
            (cosine, by per-sample gradients).
        weight_net: gives the weights; none for the default one.
        weight_rate: its learning rate.
        meta_at: where the similarity's meta gradient is taken: at the ``current`` weights, or ``stepped``, after one
            step of ``inner_rate`` on the weighted loss.
        inner_rate: α of that step and of the meta-gradient's.
        layers: of the SR network whose gradients are compared (similarity and sampling); none for all.
        sampling: ``choose`` draws the batch from the candidates with probabilities in proportion to
            exp(cos/temperature), cos being that of a patch's gradient with the meta-data set's; ``weight`` learns from
            all candidates, each patch's loss weighted in the same proportion; ``none`` takes patches as they come.
        sampling_temperature: in units of the cosine; higher chooses more evenly.
        every: rewards are computed every so many steps; in between candidates are taken as they come, and the
            Weight-Net's gradient is 0: it coasts on Adam's momentum, on one device as on several
            (``touching_all``).
        seed: of the choice among candidates.
        schedule: of both learning rates.

    Raises:
        InputError: for an unknown choice, a number out of its range, or a layer that the network does not have.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        steps: int,
        rate: float = 4e-4,
        reward: Reward = "similarity",
        level: Level = "pixel",
        weight_net: WeightNet | None = None,
        weight_rate: float = 1e-3,
        meta_at: MetaAt = "current",
        inner_rate: float = 1e-2,
        layers: Sequence[str] | None = None,
        sampling: Sampling = "none",
        sampling_temperature: float = 0.1,
        every: int = 1,
        seed: int = 1,
        schedule: Schedule = "cosine",
    ) -> None:
        super().__init__(model, steps=steps, schedule=schedule)
        for name, value, known in (
            ("reward", reward, Reward), ("level", level, Level), ("meta_at", meta_at, MetaAt),
            ("sampling", sampling, Sampling),
        ):  # fmt: skip
            require_one_of(value, known, name=name)
        if every < 1 or not inner_rate > 0 or not sampling_temperature > 0:
            raise InputError(
                "every must be at least 1, inner_rate and sampling_temperature above 0, "
                f"got {every}, {inner_rate} and {sampling_temperature}"
            )
        choose_layers(model, layers)
        self.rate = rate
        self.reward = reward
        self.level = level
        self.weight_rate = weight_rate
        self.meta_at = meta_at
        self.inner_rate = inner_rate
        self.layers = layers
        self.sampling = sampling
        self.sampling_temperature = sampling_temperature
        self.every = every
        self.seed = seed
        learned = reward in ("similarity", "meta_gradient")
        self.weight_net = (weight_net or WeightNet()) if learned else None
        self.meta_pairs: Pairs | None = None  # what maps() tells rewards by

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The SR network's weights at ``rate``, the Weight-Net's at ``weight_rate``."""
        groups: list[dict[str, Any]] = [{"params": list(self.model.parameters()), "lr": self.rate}]
        if self.weight_net is not None:
            groups.append({"params": list(self.weight_net.parameters()), "lr": self.weight_rate})
        return groups

    def training_step(self, batch: WeightedBatch, batch_idx: int) -> Tensor:
        """The weighted loss of one batch, and where rewards are due the Weight-Net's objective.

        Raises:
            DivergenceError: if the loss or a reward is not finite (looked at every step on the CPU, every 50th on a
                GPU).
        """
        due = self.global_step % self.every == 0
        direction = self._direction(self.model, batch.meta) if due and self._compares() else None
        if self.weight_net is not None:
            self.meta_pairs = batch.meta
        chosen = self._choose(batch, direction)
        pairs = chosen.pairs
        source = _source(pairs)
        output = self.model(source)
        losses = pixel_losses(output, pairs.hr)  # (B, H, W)
        with torch.set_grad_enabled(due):
            by_patch = self.reward == "similarity" and self.level == "patch"
            weights = self._weights(source, output, pairs.hr, over="batch" if by_patch else "image")
        constant = weights.detach()
        if chosen.importance is not None:
            constant = constant * chosen.importance[:, None, None]
        loss = weighted_loss(losses, constant)
        self.require_finite(loss, of=lambda: f"degradation {pairs.degradation}")
        self._log(losses.detach(), weights.detach(), loss.detach())
        if self.weight_net is None or not due:
            return self.touching_all(loss)
        if self.reward == "meta_gradient":
            return self.touching_all(loss + self._meta_objective(source, pairs.hr, weights, batch.meta))
        assert direction is not None
        objective = self._similarity_objective(source, pairs.hr, weights, direction, batch.meta, chosen.rewards)
        return self.touching_all(loss + objective)

    def _compares(self) -> bool:
        """Whether gradients are compared at the present weights: for rewards, or to choose patches."""
        return self.sampling != "none" or self.reward == "similarity"

    def _direction(self, model: nn.Module, meta: Pairs) -> Direction:
        return meta_direction(model, _source(meta), meta.hr, layers=self.layers)

    def _choose(self, batch: WeightedBatch, direction: Direction | None) -> _Chosen:
        """The pairs to learn from at this step."""
        if self.sampling == "none" or direction is None:
            first = torch.arange(batch.batch_size)
            return _Chosen(
                batch.pairs if len(batch.pairs.hr) == batch.batch_size else take(batch.pairs, first), None, None
            )
        rewards = patch_rewards(self.model, _source(batch.pairs), batch.pairs.hr, direction)
        self._require_finite_rewards(rewards, direction.loss, batch.pairs.degradation)
        self.log("train/candidates_similarity", rewards.mean())
        share = torch.softmax(rewards / self.sampling_temperature, 0)  # (candidates,)
        if self.sampling == "weight":
            return _Chosen(batch.pairs, share * len(share), rewards)
        generator = generator_from("candidates", self.seed, self.global_step, self.global_rank)
        chance = torch.rand(len(rewards), generator=generator, dtype=torch.float64)
        gumbel = -(-chance.clamp_min(1e-300).log()).log()  # the largest of logits plus these are a draw by softmax,
        index = (
            (rewards.double().cpu() / self.sampling_temperature + gumbel).topk(batch.batch_size).indices
        )  # none twice
        here = index.to(rewards.device)
        self.log("train/chosen_similarity", rewards[here].mean())
        return _Chosen(take(batch.pairs, index), None, rewards[here])

    def _weights(self, source: Tensor, output: Tensor, hr: Tensor, *, over: Literal["image", "batch"]) -> Tensor:
        """Weights ``(B, H, W)`` of mean 1."""
        error = (output.detach() - hr).abs()
        if self.weight_net is not None:
            weights: Tensor = self.weight_net(source, output, error, over=over)
            return weights
        return error_weights(error.mean(1)) if self.reward == "error" else torch.ones_like(error[:, 0])

    def _meta_objective(self, source: Tensor, hr: Tensor, weights: Tensor, meta: Pairs) -> Tensor:
        """Stands for the meta loss after a step, in units of that step's rate, as far as the weights decide it."""
        assert self.weight_net is not None
        stepped = weighted_step(self.model, source, hr, weights, rate=self.inner_rate)
        value = pixel_losses(stepped(_source(meta)), meta.hr).mean() / self.inner_rate
        parameters = [p for p in self.weight_net.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(value, parameters)
        meta_loss = value.detach() * self.inner_rate
        if self.looks():
            flat = torch.cat([g.flatten() for g in gradients])
            require_finite_rewards(flat, meta_loss=meta_loss, of=f"at step {self.global_step} for {meta.degradation}")
        self.log("train/meta_loss", meta_loss)
        return surrogate_loss(parameters, gradients)

    def _similarity_objective(
        self, source: Tensor, hr: Tensor, weights: Tensor, direction: Direction, meta: Pairs, known: Tensor | None
    ) -> Tensor:
        """The rewards' objective; ``known`` are the patches' rewards where they were told when choosing."""
        if self.meta_at == "stepped":
            ahead = weighted_step(self.model, source, hr, weights.detach(), rate=self.inner_rate, differentiable=False)
            direction, known = self._direction(ahead, meta), None
        if self.level == "pixel":
            rewards = pixel_rewards(self.model, source, hr, direction)
        else:
            rewards = patch_rewards(self.model, source, hr, direction) if known is None else known
        self._require_finite_rewards(rewards, direction.loss, meta.degradation)
        self.log("train/meta_loss", direction.loss)
        self.log("train/reward_mean", rewards.mean())
        self.log("train/reward_std", rewards.std(unbiased=False))
        self.log("train/reward_positive", (rewards > 0).float().mean())
        return weight_objective(weights, rewards)

    def _require_finite_rewards(self, rewards: Tensor, meta_loss: Tensor, degradation: Degradation) -> None:
        if self.looks():
            require_finite_rewards(rewards, meta_loss=meta_loss, of=f"at step {self.global_step} for {degradation}")

    def _log(self, losses: Tensor, weights: Tensor, loss: Tensor) -> None:
        self.log("train/loss", loss, prog_bar=True)
        if self.reward == "none":
            return
        self.log("train/l1", losses.mean())
        self.log("train/weight_contrast", weights.std(unbiased=False))
        self.log("train/weight_entropy", relative_entropy(weights))

    def maps(self, lr: Tensor, hr: Tensor, degradation: Degradation) -> dict[str, Tensor]:
        """The image, and the maps of its losses, rewards and weights.

        Rewards are drawn where the recipe learns from them and ``meta_pairs`` is known: training leaves its last
        ones there, and ``data.meta_set.WeightedSampler.meta_pairs`` gives all. They are the pixels' own,
        whatever the level.
        """
        device = next(self.model.parameters()).device
        lr, hr = lr.to(device), hr.to(device)
        source = enlarge(lr, hr, degradation.scale)
        with torch.no_grad():
            output = self.model(source)
            maps_of_image = {"image": hr[0], "loss": pixel_losses(output, hr)[0]}
            weights = self._weights(source, output, hr, over="image")[0]
        if self.weight_net is not None and self.meta_pairs is not None:
            meta = Pairs(self.meta_pairs.lr.to(device), self.meta_pairs.hr.to(device), self.meta_pairs.degradation)
            maps_of_image["reward"] = pixel_rewards(self.model, source, hr, self._direction(self.model, meta))[0]
        return {k: v.detach().cpu() for k, v in (maps_of_image | {"weight": weights}).items()}

    def export(self) -> dict[str, Tensor]:
        """The SR network's tensors, and the Weight-Net's under ``weight_net.``."""
        return {**super().export(), **{k: v.clone() for k, v in self._own_weighting().items()}}

    def _own_weighting(self) -> dict[str, Tensor]:
        if self.weight_net is None:
            return {}
        return {f"{WEIGHT_NET_PREFIX}{k}": v.detach().cpu() for k, v in self.weight_net.state_dict().items()}

    def restore(self, state: dict[str, Tensor], *, origin: str) -> None:
        """Take back all that ``export`` gave, the Weight-Net's tensors among it."""
        check_state(self.export(), state, origin=origin)
        self.load_parent(state, origin=origin)

    def load_parent(self, state: dict[str, Tensor], *, origin: str) -> str:
        """The SR network's tensors, and the Weight-Net's too where the parent has those of such a one."""
        weight_net_state = {k: v for k, v in state.items() if k.startswith(WEIGHT_NET_PREFIX)}
        line = super().load_parent({k: v for k, v in state.items() if k not in weight_net_state}, origin=origin)
        own = self._own_weighting()
        if self.weight_net is None:
            return line + (f", {len(weight_net_state)} Weight-Net tensors not used" if weight_net_state else "")
        if not weight_net_state:
            return f"{line}; {len(own)} Weight-Net tensors start afresh"
        if {k: v.shape for k, v in weight_net_state.items()} != {k: v.shape for k, v in own.items()}:
            return f"{line}; {len(own)} Weight-Net tensors start afresh: the parent's are of another shape"
        self.weight_net.load_state_dict({k.removeprefix(WEIGHT_NET_PREFIX): v for k, v in weight_net_state.items()})
        return f"{line} and {len(own)} Weight-Net tensors from {origin}"


def relative_entropy(weights: Tensor) -> Tensor:
    """Mean entropy of weight maps as probabilities, over that of equal weights: 1 for those, 0 for a single pixel.

    Args:
        weights: ``(B, H, W)``, at least 0, at least 2 pixels each.
    """
    shares = weights.flatten(1)
    shares = shares / shares.sum(1, keepdim=True)
    return -torch.xlogy(shares, shares).sum(1).mean() / math.log(shares.shape[1])


def _source(pairs: Pairs) -> Tensor:
    return enlarge(pairs.lr, pairs.hr, pairs.degradation.scale)
