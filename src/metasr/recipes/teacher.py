"""The teacher of MRDA and of KDSR: an SR network steered by a vector that is read off the HR image too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import l1_loss

from metasr.checks import check_state, check_whole_pair, require_one_kernel
from metasr.data.tasks import Pairs, require_drawn_as_one
from metasr.meta.cuda_graph import Engine, EngineKind
from metasr.meta.meta_gradient import surrogate_loss, with_leaves
from metasr.meta.precision import Arithmetic, Layout, Precision
from metasr.meta.rates import RATE_PREFIXES
from metasr.models.blind import BlindSR
from metasr.models.mln import MLN
from metasr.models.teacher import TeacherOracle, View
from metasr.recipes.base import Recipe, Schedule
from metasr.recipes.observer import Observer, Reset


class Teacher(Recipe):
    """Minimise E‖HR - body(LR, encoder(view(LR, HR)))‖₁ by encoder and body, with Adam.

    MRDA's view are the features of its meta-learned network, adapted to the batch at hand by five SGD steps; that
    network is no part of what is trained. Its public code never resets it (``mln_reset="never"``), which the paper does
    not tell; here each batch starts from the meta-learned weights. KDSR's view is the pair itself.

    Args:
        model: encoder (of what the view gives) and body.
        view: what the encoder looks at.
        mln: the network that the view adapts, its weights the parent's; none for a view that adapts none.
        mln_reset: see ``recipes.observer.Observer``.
        steps: optimiser steps of the stage.
        rate: learning rate (published: 1e-4).
        schedule: how it goes on (MRDA: halved every 125 of 500 epochs).
        engine: ``auto`` captures steps as CUDA graphs where that is possible, as does ``captured``, which warns where
            it is not; ``eager`` never does. It decides how fast, not what.
        precision: ``auto``, ``fp32``, ``tf32`` or ``bf16``, which encoder and body alone compute in; see
            ``meta.precision.Precision``.
        layout: of feature maps: ``auto``, ``channels_last`` or ``contiguous``.

    Raises:
        InputError: for a view and an MLN that do not fit, or an unknown way to reset.
    """

    def __init__(
        self,
        model: BlindSR,
        *,
        view: View,
        mln: MLN | None = None,
        mln_reset: Reset = "per_batch",
        steps: int,
        rate: float = 1e-4,
        schedule: Schedule = "cosine",
        engine: EngineKind = "auto",
        precision: Arithmetic = "tf32",
        layout: Layout = "auto",
    ) -> None:
        super().__init__(model, steps=steps, schedule=schedule)
        self.observer = Observer(view, mln=mln, reset=mln_reset)
        self.rate = rate
        self.engine = Engine(engine)
        self.precision = Precision(arithmetic=precision, layout=layout)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Encoder's and body's weights, at ``rate``."""
        return [{"params": list(self.model.parameters()), "lr": self.rate}]

    def require_sampler(self, sampler: Any) -> None:
        """Require batches of one degradation each where the MLN is adapted to them.

        Raises:
            InputError: naming the option.
        """
        if self.observer.mln is not None:
            require_drawn_as_one(sampler)

    def training_step(self, batch: Pairs, batch_idx: int) -> Tensor:
        """The gradient of one batch's L1 loss, handed on as a surrogate loss.

        Raises:
            InputError: if the MLN would have to be adapted to several degradations at once, or the sizes do not match.
        """
        if self.observer.mln is not None:
            require_one_kernel(batch.degradation)
        check_whole_pair(batch.lr, batch.hr, batch.degradation.scale)
        layout = self.precision.memory_format(batch.hr.device)
        loss, *outputs = self.engine.run(
            self._differentiate,
            [batch.lr.contiguous(memory_format=layout), batch.hr.contiguous(memory_format=layout)],
            parameters=[*self.parameters(), *self.buffers()],
        )
        trained = self._trained()
        self.observer.keep(outputs[len(trained) :])
        self.require_finite(loss, of=lambda: f"degradation {batch.degradation}")
        self.log("train/loss", loss, prog_bar=True)
        return surrogate_loss(trained, outputs[: len(trained)])

    def _trained(self) -> list[torch.nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def _differentiate(self, inputs: Sequence[Tensor], side_by_side: bool) -> list[Tensor]:
        """Loss, gradients and where the MLN has got; a pure function of tensors, with no copy from the host."""
        lr, hr = inputs
        with self.precision.region(lr.device):
            seen, adapted = self.observer.look(lr, hr)
            network = with_leaves(self.blind, self.precision.memory_format(lr.device))
            with self.precision.autocast(lr.device):
                output = network.body(lr, network.encoder(seen))
            loss = l1_loss(output.to(hr.dtype), hr)
            trained = [p for p in network.parameters() if p.requires_grad]
            gradients = torch.autograd.grad(loss, trained, materialize_grads=True)
        return [loss.detach(), *(g.contiguous() for g in gradients), *adapted]

    @property
    def blind(self) -> BlindSR:
        """Encoder and body, as what they are."""
        return self.model  # type: ignore[return-value]

    def oracle(self) -> TeacherOracle:
        """The whole teacher as one network, of the very weights."""
        observer = self.observer
        return TeacherOracle(observer.view, encoder=self.blind.encoder, body=self.blind.body, mln=observer.mln)

    def export(self) -> dict[str, Tensor]:
        """``encoder.*`` and ``body.*``, and the MLN as it came, ``mln.*``: all that a student needs."""
        return super().export() | {k: v.detach().cpu().clone() for k, v in self.observer.state().items()}

    def restore(self, state: dict[str, Tensor], *, origin: str) -> None:
        """Take back what ``export`` gave."""
        check_state(self.export(), state, origin=origin)
        self.model.load_state_dict({k: state[k] for k in self.model.state_dict()})
        self.observer.load(state)

    def load_parent(self, state: dict[str, Tensor], *, origin: str) -> str:
        """Start with an MLN that was learned before: every tensor of it must be there. Encoder and body are fresh.

        Without an MLN, all tensors of encoder and body are the parent's. What a teacher exported is taken whole.
        """
        own = self.observer.state()
        if not own:
            return super().load_parent(state, origin=origin)
        if state.keys() == self.export().keys():
            self.restore(state, origin=origin)
            return f"{len(state)} of {len(state)} encoder, body and MLN tensors from {origin}"
        mln_state = {f"mln.{k}": v for k, v in state.items() if not k.startswith(RATE_PREFIXES)}
        check_state(own, mln_state, origin=origin)
        self.observer.load(mln_state)
        left = len(state) - len(mln_state)
        return (
            f"{len(own)} of {len(own)} MLN tensors from {origin}, {len(self.model.state_dict())} encoder and body "
            "tensors fresh" + (f", {left} rate tensors not used" if left else "")
        )
