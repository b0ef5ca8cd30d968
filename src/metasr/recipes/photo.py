"""Training a network for photographs on pairs whose noise and compression it is told."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from metasr.checks import check_state
from metasr.models.photo import PhotoNet
from metasr.recipes.base import Schedule
from metasr.recipes.told import ToldTraining
from metasr.text import pluralize


class PhotoTraining(ToldTraining):
    """Minimise E‖HR - f_θ(LR, degradation)‖₁ with Adam, over sampled blurs, noise levels and compressions.

    Args:
        model: the network.
        steps: optimiser steps of the stage.
        rate: learning rate.
        schedule: how it goes on.
    """

    def __init__(self, model: PhotoNet, *, steps: int, rate: float = 1e-3, schedule: Schedule = "cosine") -> None:
        super().__init__(model, steps=steps, schedule=schedule)
        self.rate = rate

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The network's weights, at ``rate``."""
        return [{"params": list(self.model.parameters()), "lr": self.rate}]

    def load_parent(self, state: dict[str, Tensor], *, origin: str) -> str:
        """Start from the tensors of such a network, be it of other scales: each new scale's layer starts afresh.

        Returns:
            One line that counts what came from where.

        Raises:
            WeightsError: naming the tensors that are missing, of another shape, or left over.
        """
        own = self.model.state_dict()
        known = {name: tensor for name, tensor in state.items() if name in own or not name.startswith("tails.")}
        fresh = {name: tensor for name, tensor in own.items() if name.startswith("tails.") and name not in known}
        check_state(own, fresh | known, origin=origin)
        self.model.load_state_dict(fresh | known)
        return f"{len(known)} of {pluralize(len(own), 'network tensor')} from {origin}"
