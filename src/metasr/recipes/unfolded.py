"""Training an unfolded network on pairs whose degradation it is told."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from metasr.checks import check_state
from metasr.models.unfolded import UnfoldedNet
from metasr.recipes.base import Schedule
from metasr.recipes.told import ToldTraining
from metasr.text import pluralize


class UnfoldedTraining(ToldTraining):
    """Minimise E‖HR - f_θ(LR, degradation)‖₁ with Adam, over sampled kernels, scales and noise levels.

    Args:
        model: the network.
        steps: optimiser steps of the stage.
        rate: learning rate of the networks.
        mu_rate: learning rate of the numbers that ``mu`` is made of.
        schedule: how the rates go on.
    """

    def __init__(
        self,
        model: UnfoldedNet,
        *,
        steps: int,
        rate: float = 1e-3,
        mu_rate: float = 1e-2,
        schedule: Schedule = "cosine",
    ) -> None:
        super().__init__(model, steps=steps, schedule=schedule)
        self.rate = rate
        self.mu_rate = mu_rate

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The priors' weights at ``rate``, the rest at ``mu_rate``."""
        named = list(self.model.named_parameters())
        return [
            {"params": [p for name, p in named if name.startswith("priors.")], "lr": self.rate},
            {"params": [p for name, p in named if not name.startswith("priors.")], "lr": self.mu_rate},
        ]

    def load_parent(self, state: dict[str, Tensor], *, origin: str) -> str:
        """Start from an unfolded network's tensors, or from a plain network's: these go to every prior.

        Returns:
            One line that counts what came from where.

        Raises:
            WeightsError: naming the tensors that are missing, of another shape, or left over.
        """
        if any(name.startswith("priors.") for name in state):
            return super().load_parent(state, origin=origin)
        assert isinstance(self.model, UnfoldedNet)
        for prior in self.model.priors:
            fresh = {name: t for name, t in prior.state_dict().items() if name.startswith("told.")}
            check_state(prior.state_dict(), fresh | state, origin=origin)
            prior.load_state_dict(fresh | state)
        return f"{len(state)} tensors from {origin} for each of {pluralize(len(self.model.priors), 'prior')}"
