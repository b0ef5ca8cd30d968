"""Meta-transfer learning over blur kernels (MZSR, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn

from metasr.data.tasks import Task
from metasr.meta.cuda_graph import Engine, EngineKind
from metasr.meta.meta_gradient import meta_gradient, meta_parameters, require_training_order, surrogate_loss
from metasr.meta.precision import Arithmetic, Layout, Precision
from metasr.meta.rates import RatesKind, make_rates, rates_from_state
from metasr.meta.step_weights import StepWeights
from metasr.recipes.base import Recipe, Schedule


class MetaTransfer(Recipe):
    """Train initial weights (and inner rates) from which a few gradient steps on a task bring its query loss down.

    With ``order="first"``, ``rates="fixed"``, the final step's loss alone and a network that enlarges itself it is the
    meta-training of MRDA's network (FOMAML). Its public code degrades the same patches by each of a meta-batch's
    degradations; here each task has patches of its own, if its sampler has no ``shared_patches``.

    Departure from the paper, on by default: inner rates are learned, one per (step, tensor), instead of 1e-2
    throughout.
    ``rates="fixed"`` is the published form.

    Args:
        model: the network.
        steps: optimiser steps (meta-iterations) of the stage.
        rate: learning rate of the weights (MZSR: 1e-4).
        inner_steps: gradient steps per task (MZSR: 5); with 0, and fixed rates, this is plain training on the queries.
        inner_rate: the fixed inner rate, or where the learned ones start.
        rates: ``fixed``, ``per_step`` or ``meta_sgd``.
        rates_lr: learning rate of the inner rates; none for ten times less than where they start.
        order: ``second`` (MAML) or ``first``.
        step_weights: how the query losses after each inner step are weighted.
        schedule: of both learning rates.
        engine: ``auto`` captures meta-steps as CUDA graphs where that is possible, as does ``captured``, which warns
            where it is not; ``eager`` never does. It decides how fast, not what.
        precision: ``auto``, ``fp32``, ``tf32`` or ``bf16``; see ``meta.precision.Precision``.
        layout: of feature maps: ``auto``, ``channels_last`` or ``contiguous``.
        enlarge_first: the network's input is the enlarged LR; otherwise the LR, which it enlarges itself.
    """

    unit = "meta-step"

    def __init__(
        self,
        model: nn.Module,
        *,
        steps: int,
        rate: float = 1e-4,
        inner_steps: int = 5,
        inner_rate: float = 1e-2,
        rates: RatesKind = "per_step",
        rates_lr: float | None = None,
        order: Literal["second", "first"] = "second",
        step_weights: StepWeights | None = None,
        schedule: Schedule = "cosine",
        engine: EngineKind = "auto",
        precision: Arithmetic = "tf32",
        layout: Layout = "auto",
        enlarge_first: bool = True,
    ) -> None:
        super().__init__(model, steps=steps, schedule=schedule)
        self.enlarge_first = enlarge_first
        require_training_order(order)
        self.rate = rate
        self.inner_steps = inner_steps
        self.order = order
        self.step_weights = step_weights or StepWeights()
        self.rates = make_rates(rates, model, steps=inner_steps, initial=inner_rate)
        self.rates_lr = inner_rate / 10 if rates_lr is None else rates_lr
        self.engine = Engine(engine)
        self.precision = Precision(arithmetic=precision, layout=layout)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The network's weights at ``rate``, the inner rates at ``rates_lr``."""
        groups = [{"params": list(self.model.parameters()), "lr": self.rate}]
        if list(self.rates.parameters()):
            groups.append({"params": list(self.rates.parameters()), "lr": self.rates_lr})
        return groups

    def training_step(self, batch: Sequence[Task], batch_idx: int) -> Tensor:
        """The meta-gradient of one meta-batch, handed on as a surrogate loss."""
        weights = self.step_weights.at(self.global_step, self.inner_steps)
        meta = meta_gradient(
            self.model,
            self.rates,
            batch,
            steps=self.inner_steps,
            order=self.order,
            step_weights=weights,
            before=self.step_weights.before,
            precision=self.precision,
            engine=self.engine,
            enlarge_first=self.enlarge_first,
        )
        self.require_finite(meta.loss, of=lambda: f"tasks {', '.join(str(t.degradation) for t in batch)}")
        self.log("train/loss", meta.loss, prog_bar=True)
        for step, (weight, value) in enumerate(zip([self.step_weights.before, *weights], meta.query, strict=False)):
            if weight:
                self.log(f"train/query_after_{step}", value)
        return surrogate_loss(meta_parameters(self.model, self.rates), meta.gradients)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then put learned rates back inside their bounds: before any checkpoint sees them."""
        super().optimizer_step(*args, **kwargs)
        self.rates.clamp_()

    def export(self) -> dict[str, Tensor]:
        """The network's tensors and the learned rates."""
        learned = {k: v.detach().cpu().clone() for k, v in self.rates.state_dict().items()}
        return {**super().export(), **learned}

    def load_parent(self, state: dict[str, Tensor], *, origin: str) -> str:
        """The network's tensors, and the inner rates too where the parent has learned the same kind of them."""
        line = super().load_parent(state, origin=origin)
        parent_rates = rates_from_state(state)
        own = self.rates.state_dict()
        if parent_rates is None or not own:
            return line + (f"; {len(own)} rate tensors start afresh" if own else "")
        values = parent_rates.state_dict()
        if {k: v.shape for k, v in values.items()} != {k: v.shape for k, v in own.items()}:
            return line + f"; {len(own)} rate tensors start afresh: the parent's are of another kind"
        self.rates.load_state_dict(values)
        return (
            f"{line.removesuffix(f', {len(values)} rate tensors not used')} and {len(own)} rate tensors from {origin}"
        )
