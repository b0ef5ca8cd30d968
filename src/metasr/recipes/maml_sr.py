"""MAML-SR: meta-training without pretraining, the inner step deeply supervised (Pattern Recognition Letters, 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from metasr.data.tasks import Pairs
from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError, require_at_least, require_one_of
from metasr.meta.inner_loop import inner_loop
from metasr.meta.meta_gradient import enlarge
from metasr.meta.rates import FixedRates
from metasr.models.maml_sr_net import MAMLSRNet
from metasr.recipes.base import Recipe, Schedule

TrainingOrder = Literal["second", "first", "notebook"]
InnerLoss = Literal["deep", "image"]


class MAMLSRRecipe(Recipe):
    """Learn weights whose final image is good after a gradient step on their intermediate ones.

        φ = θ - α ∇_θ L_deep(θ),   L_deep = Σ_i λ_i ‖I_i - HR‖₁,   minimise over θ:  ‖f_φ(LR) - HR‖₁ + w L_deep(φ)

    The norms are means over pixels and channels; both losses are of the same batch.

    With ``order="notebook"`` there is no inner loop: Adam steps on L_deep and on the final loss of each batch in turn,
    as the public code does where the paper's abstract has a second-order gradient. Layers that have no part in one of
    the two losses get a gradient of 0 in its step (``touching_all``).

    Departure from the paper, on by default: w > 0. With w = 0, as published, the layers that only the intermediate
    images need learn through the second-order term alone (with ``order="first"`` not at all), and those images drift
    away from the truth, to which the adaptation to a test image then draws the final one.

    With ``inner_loss="image"`` the inner step is instead the one that ``solvers.maml_sr.solver`` takes on a test image
    with ``learn_from="image"``: each LR patch is degraded once more, and the network learns to undo that; the LR patch
    is the target, no HR is looked at.

    Args:
        model: the network. Without intermediate images (``deep_supervision=False``) the inner step is on the final
            loss itself, and w has no part.
        steps: optimiser steps of the stage; in the notebook's order each batch takes two.
        rate: learning rate (published: 1e-3).
        inner_steps: gradient steps on L_deep, all on one batch (published: 1).
        inner_rate: α; not published.
        order: ``second`` differentiates through the inner steps, ``first`` treats their gradients as constants,
            ``notebook`` see above.
        inner_loss: ``deep`` (published) or ``image``.
        deep_weights: λ of the intermediate images, coarse to fine.
        outer_deep_weight: w; 0 is the published objective.
        unadapted_weight: weight of the final loss at θ itself, before any inner step; 0 as published. Above 0 the
            network stays of use without adaptation, which large inner steps otherwise take from it.
        split: the inner step is on the first half of the batch, the final loss on the rest, instead of both on all of
            it (published).
        schedule: of the learning rate (published: constant).

    Raises:
        InputError: for an unknown order, no inner step, an inner rate that is not above 0, an odd number of steps or a
            split or an unadapted loss in the notebook's order, or weights that are negative, all 0 or not three.
    """

    def __init__(
        self,
        model: MAMLSRNet,
        *,
        steps: int,
        rate: float = 1e-3,
        inner_steps: int = 1,
        inner_rate: float = 1e-2,
        order: TrainingOrder = "second",
        inner_loss: InnerLoss = "deep",
        deep_weights: Sequence[float] = (1.0, 1.0, 1.0),
        outer_deep_weight: float = 0.1,
        unadapted_weight: float = 0.0,
        split: bool = False,
        schedule: Schedule = "cosine",
    ) -> None:
        super().__init__(model, steps=steps, schedule=schedule)
        require_one_of(order, TrainingOrder, name="order")
        require_one_of(inner_loss, InnerLoss, name="inner_loss")
        if inner_steps < 1:
            raise InputError(f"inner_steps must be at least 1, got {inner_steps}; for plain training use Pretrain")
        if not inner_rate > 0:
            raise InputError(f"inner_rate must be above 0, got {inner_rate}; set stages.maml_sr.recipe.inner_rate")
        if order == "notebook" and steps % 2:
            raise InputError(
                "order='notebook' takes two optimiser steps on each batch, so their number must be even, got "
                f"{steps}; set stages.maml_sr.steps"
            )
        if order == "notebook" and inner_loss == "image":
            raise InputError(
                "order='notebook' has no inner step, got inner_loss='image'; set inner_loss=deep or order=second"
            )
        if order == "notebook" and split:
            raise InputError(
                "order='notebook' takes both of its steps on the whole batch, got split=true; set split=false or "
                "another order"
            )
        if len(deep_weights) != 3 or min(deep_weights) < 0 or not any(deep_weights):
            raise InputError(
                f"deep_weights must be three numbers of at least 0, not all 0, got {list(deep_weights)}; to do without "
                "intermediate images set model.deep_supervision=false"
            )
        if order == "notebook" and unadapted_weight:
            raise InputError(
                f"order='notebook' has no inner step, so all its losses are unadapted; got unadapted_weight="
                f"{unadapted_weight}; set it to 0 or another order"
            )
        require_at_least(0, outer_deep_weight=outer_deep_weight, unadapted_weight=unadapted_weight)
        self.rate = rate
        self.inner_steps = inner_steps
        self.rates = FixedRates((inner_rate,))
        self.order = order
        self.inner_of = inner_loss
        self.deep_weights = tuple(float(w) for w in deep_weights)
        self.outer_deep_weight = outer_deep_weight
        self.unadapted_weight = unadapted_weight
        self.split = split

    @property
    def steps_per_batch(self) -> int:
        """How many optimiser steps see the same batch."""
        return 2 if self.order == "notebook" else 1

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The network's weights, at ``rate``."""
        return [{"params": list(self.model.parameters()), "lr": self.rate}]

    def inner_loss(self, network: MAMLSRNet, source: Tensor, target: Tensor) -> Tensor:
        """What the inner step brings down: L_deep, or the final loss where there are no intermediate images.

        Args:
            network: the network or a clone.
            source: the enlarged LR, ``(B, 3, H, W)``.
            target: the HR, same shape.
        """
        deep = network.deep(source)
        return self._deep_loss(deep, target) if deep else l1_loss(network(source), target)

    def training_step(self, batch: Pairs, batch_idx: int) -> Tensor:
        """The loss of one batch, or of one half of its pair of steps."""
        source, target = enlarge(batch.lr, batch.hr, batch.degradation.scale), batch.hr
        if self.order == "notebook":
            loss = self._notebook_loss(source, target)
        else:
            loss = self._meta_loss(source, target, sons=_of_sons(batch) if self.inner_of == "image" else None)
        self.require_finite(loss, of=lambda: f"degradation {batch.degradation}")
        self.log("train/loss", loss, prog_bar=True)
        return self.touching_all(loss)

    def maps(self, lr: Tensor, hr: Tensor, degradation: Degradation) -> dict[str, Tensor]:
        """Input, output, and how strongly the coarse levels respond, with attention also before and after it."""
        source = enlarge(lr, hr, degradation.scale)
        with torch.no_grad():
            output = self.network(source)
            responses = self.network.activation_maps(source)
        pictures = {"input": source[0].clamp(0, 1), "output": output[0].clamp(0, 1)}
        return pictures | {f"activation {name}": response[0, 0] for name, response in responses.items()}

    @property
    def network(self) -> MAMLSRNet:
        """The network, as what it is."""
        return self.model  # type: ignore[return-value]

    def _meta_loss(self, source: Tensor, target: Tensor, *, sons: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """The outer loss at the adapted weights, its graph reaching down to the original ones."""
        if self.split and len(source) < 2:
            raise InputError("split=true needs at least two pairs in a batch, got 1; raise batch_size")
        half = len(source) // 2 if self.split else len(source)

        def support_loss(clone: nn.Module) -> Tensor:
            if sons is not None:
                return l1_loss(clone(sons[0][:half]), sons[1][:half])
            return self.inner_loss(cast(MAMLSRNet, clone), source[:half], target[:half])

        assert self.order != "notebook"
        adapted = cast(
            MAMLSRNet,
            inner_loop(self.model, support_loss, steps=self.inner_steps, rates=self.rates, order=self.order),
        )
        if self.split:
            source, target = source[half:], target[half:]
        final, deep = adapted.forward_all(source, heads=None if self.outer_deep_weight else ())
        loss = l1_loss(final, target)
        self.log("train/final", loss.detach())
        if deep:
            coarse = self._deep_loss(deep, target)
            self.log("train/deep", coarse.detach())
            loss = loss + self.outer_deep_weight * coarse
        if self.unadapted_weight:
            loss = loss + self.unadapted_weight * l1_loss(self.network(source), target)
        return loss

    def _notebook_loss(self, source: Tensor, target: Tensor) -> Tensor:
        """L_deep at even steps, the final loss at odd ones, of the same batch."""
        if self.global_step % 2 == 0:
            return self.inner_loss(self.network, source, target)
        return l1_loss(self.network(source), target)

    def _deep_loss(self, deep: Sequence[Tensor], target: Tensor) -> Tensor:
        return torch.stack([w * l1_loss(i, target) for w, i in zip(self.deep_weights, deep, strict=True)]).sum()


def _of_sons(batch: Pairs) -> tuple[Tensor, Tensor]:
    """The LR patches degraded once more and enlarged again, and the LR patches, both ``(B, 3, h, w)``."""
    son = batch.degradation.for_son(noise_std=0.0).linear(batch.lr)
    return enlarge(son, batch.lr, batch.degradation.scale), batch.lr
