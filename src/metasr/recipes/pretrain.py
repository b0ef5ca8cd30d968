"""Large-scale training on pairs: bicubic pretraining (MZSR, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from metasr.data.tasks import Pairs
from metasr.degradation.pipeline import Degradation
from metasr.meta.cuda_graph import Engine, EngineKind
from metasr.meta.meta_gradient import EAGER, network_input, surrogate_loss, takes_degradation, with_leaves
from metasr.meta.precision import Arithmetic, Layout, Precision
from metasr.recipes.base import Recipe, Schedule


class Pretrain(Recipe):
    """Minimise E‖HR - f_θ(bicubic↑ LR)‖₁ with Adam, or of a network that enlarges itself E‖HR - f_θ(LR)‖₁.

    A network that takes the degradation is told each batch's, and run eagerly.

    Args:
        model: the network.
        steps: optimiser steps of the stage.
        rate: learning rate (MZSR: 4e-4).
        schedule: how it goes on (MZSR's code: ``staircase``, halved every 100,000 steps down to 1e-4).
        engine: ``auto`` captures steps as CUDA graphs where that is possible, as does ``captured``, which warns where
            it is not; ``eager`` never does. It decides how fast, not what.
        precision: ``auto``, ``fp32``, ``tf32`` or ``bf16``; see ``meta.precision.Precision``.
        layout: of feature maps: ``auto``, ``channels_last`` or ``contiguous``.
        enlarge_first: the network's input is the enlarged LR; otherwise the LR, which it enlarges itself.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        steps: int,
        rate: float = 4e-4,
        schedule: Schedule = "cosine",
        engine: EngineKind = "auto",
        precision: Arithmetic = "tf32",
        layout: Layout = "auto",
        enlarge_first: bool = True,
    ) -> None:
        super().__init__(model, steps=steps, schedule=schedule)
        self.enlarge_first = enlarge_first
        self.rate = rate
        self.engine = Engine(engine)
        self.precision = Precision(arithmetic=precision, layout=layout)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The network's weights, at ``rate``."""
        return [{"params": list(self.model.parameters()), "lr": self.rate}]

    def training_step(self, batch: Pairs, batch_idx: int) -> Tensor:
        """The gradient of one batch's L1 loss, handed on as a surrogate loss."""
        layout = self.precision.memory_format(batch.hr.device)
        told = batch.degradation if takes_degradation(self.model) else None
        enlarge_first = self.enlarge_first and told is None
        source = network_input(batch.lr, batch.hr, batch.degradation.scale, enlarge_first=enlarge_first)
        loss, *gradients = (self.engine if told is None else EAGER).run(
            partial(self._differentiate, told=told),
            [source.contiguous(memory_format=layout), batch.hr.contiguous(memory_format=layout)],
            parameters=[*self.model.parameters(), *self.model.buffers()],
        )
        self.require_finite(loss, of=lambda: f"degradation {batch.degradation}")
        self.log("train/loss", loss, prog_bar=True)
        return surrogate_loss([p for p in self.model.parameters() if p.requires_grad], gradients)

    def _differentiate(self, inputs: Sequence[Tensor], side_by_side: bool, *, told: Degradation | None) -> list[Tensor]:
        """Loss and gradients; a pure function of tensors, with no copy from the host."""
        source, target = inputs
        with self.precision.region(source.device):
            network = with_leaves(self.model, self.precision.memory_format(source.device))
            with self.precision.autocast(source.device):
                output = network(source) if told is None else network(source, told)
            loss = nn.functional.l1_loss(output.to(target.dtype), target)
            trained = [p for p in network.parameters() if p.requires_grad]  # of which some may not make the output
            gradients = torch.autograd.grad(loss, trained, materialize_grads=True)
        return [loss.detach(), *(g.contiguous() for g in gradients)]
