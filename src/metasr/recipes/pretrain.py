"""Large-scale training on pairs: bicubic pretraining (MZSR, section 4.1)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from metasr.data.tasks import Pairs
from metasr.meta.meta_gradient import enlarge
from metasr.recipes.base import Recipe, Schedule


class Pretrain(Recipe):
    """Minimise E‖HR - f_θ(bicubic↑ LR)‖₁ with Adam.

    Args:
        model: the network; its input is the enlarged LR.
        steps: optimiser steps of the stage.
        rate: learning rate (MZSR: 4e-4).
        schedule: how it goes on (MZSR's code: ``staircase``, halved every 100,000 steps down to 1e-4).
    """

    def __init__(self, model: nn.Module, *, steps: int, rate: float = 4e-4, schedule: Schedule = "cosine") -> None:
        super().__init__(model, steps=steps, schedule=schedule)
        self.rate = rate

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The network's weights, at ``rate``."""
        return [{"params": list(self.model.parameters()), "lr": self.rate}]

    def training_step(self, batch: Pairs, batch_idx: int) -> Tensor:
        """L1 loss of one batch."""
        output = self.model(enlarge(batch.lr, batch.hr, batch.degradation.scale))
        loss = nn.functional.l1_loss(output, batch.hr)
        self.require_finite(loss, of=lambda: f"degradation {batch.degradation}")
        self.log("train/loss", loss, prog_bar=True)
        return loss
