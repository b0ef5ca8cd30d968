"""Training a network on pairs whose degradation it is told."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import l1_loss

from metasr.data.tasks import Pairs
from metasr.recipes.base import Recipe


class ToldTraining(Recipe):
    """Minimise E‖HR - f_θ(LR, degradation)‖₁; a subclass says at which rates, and what its network may start from."""

    def training_step(self, batch: Pairs, batch_idx: int) -> Tensor:
        """The L1 loss of one batch."""
        loss = l1_loss(self.model(batch.lr, batch.degradation), batch.hr)
        self.require_finite(loss, of=lambda: f"degradation {batch.degradation}")
        self.log("train/loss", loss, prog_bar=True)
        return self.touching_all(loss)
