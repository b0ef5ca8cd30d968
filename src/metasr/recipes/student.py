"""The student of MRDA and of KDSR: it learns to read the teacher's vector off the LR image alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from metasr.checks import check_state, check_whole_pair, require_one_kernel
from metasr.data.tasks import Pairs, require_drawn_as_one
from metasr.errors import InputError
from metasr.meta.cuda_graph import Engine, EngineKind
from metasr.meta.meta_gradient import surrogate_loss, with_leaves
from metasr.meta.precision import Arithmetic, Layout, Precision
from metasr.models.blind import BlindSR
from metasr.models.mln import MLN
from metasr.models.teacher import View
from metasr.recipes.base import Schedule, schedule_factor
from metasr.recipes.distillation import Distill, abs_loss, check_distill, distillation_loss, kl_loss
from metasr.recipes.memory import Rehearsing
from metasr.recipes.observer import Observer, Reset


class Student(Rehearsing):
    """Draw encoder(LR) to the teacher's vector, first alone, then together with the SR loss.

        phase A:  KL + 0.1 ‖S - T‖₁ by the encoder; the body stays the teacher's
        phase B:  ‖HR - body(LR, S)‖₁ + KL + 0.1 ‖S - T‖₁ by encoder and body

    S is the student's vector, T the teacher's, KL that of their softmax at temperature 0.15; norms are means. MRDA has
    both phases and all terms, KDSR no distance (``distill="kl"``), and for isotropic kernels no phase A.

    The teacher's vectors, for which a network is adapted, are most of MRDA's work, and a batch of one degradation tells
    the encoder little of how they differ. So LR images and vectors of earlier steps can be learned from again
    (``rehearsed``, not published).

    Where we depart from the public code: the teacher runs without gradients, which pile up there unused; and see
    ``mln_reset``.

    Args:
        model: the student: encoder of the LR image, and the body, which starts from the teacher's weights.
        teacher: the teacher's encoder, frozen; its weights are the parent's.
        view: what that encoder looks at.
        mln: the network that the view adapts; none for a view that adapts none.
        mln_reset: see ``recipes.observer.Observer``.
        steps: optimiser steps of the stage, both phases together.
        encoder_steps: those of phase A.
        rate: learning rate of phase B (published: 1e-4).
        encoder_rate: of phase A (published: 1e-4; KDSR 2e-4); none for the same.
        schedule: how the rate goes on in phase B, counted from its beginning.
        encoder_schedule: how it does in phase A.
        distill: ``kl+abs``, ``kl``, ``abs`` or ``none``: what the vector is drawn to the teacher's by. With ``none``
            there is no teacher, and no phase A.
        temperature: τ of the divergence; to be left as it is where there is none.
        abs_weight: of the distance, likewise.
        rehearsed: how many remembered LR images and vectors the encoder learns from in each step beside its own; 0
            (published) for none. See ``recipes.memory.Rehearsing``.
        train_encoder: false leaves the encoder as it was initialised, a control: the body learns to do with a vector of
            random features. Then there is nothing to distil either.
        engine: ``auto`` captures steps as CUDA graphs where that is possible, as does ``captured``, which warns where
            it is not; ``eager`` never does. It decides how fast, not what.
        precision: ``auto``, ``fp32``, ``tf32`` or ``bf16``, in which the student computes; see
            ``meta.precision.Precision``.
        layout: of feature maps: ``auto``, ``channels_last`` or ``contiguous``.

    Raises:
        InputError: for an unknown choice, a number out of its range, or a view and an MLN that do not fit.
    """

    def __init__(
        self,
        model: BlindSR,
        *,
        teacher: nn.Module,
        view: View,
        mln: MLN | None = None,
        mln_reset: Reset = "per_batch",
        steps: int,
        encoder_steps: int = 0,
        rate: float = 1e-4,
        encoder_rate: float | None = None,
        schedule: Schedule = "cosine",
        encoder_schedule: Schedule = "cosine",
        distill: Distill = "kl+abs",
        temperature: float = 0.15,
        abs_weight: float = 0.1,
        rehearsed: int = 0,
        train_encoder: bool = True,
        engine: EngineKind = "auto",
        precision: Arithmetic = "tf32",
        layout: Layout = "auto",
    ) -> None:
        super().__init__(model, steps=steps, schedule=schedule, rehearsed=rehearsed)
        check_distill(distill)
        if not 0 <= encoder_steps <= steps:
            raise InputError(f"encoder_steps must be at least 0 and at most steps, {steps}, got {encoder_steps}")
        if distill == "none" and encoder_steps:
            raise InputError(
                f"distill='none' leaves nothing to learn in phase A, got encoder_steps={encoder_steps}; set it to 0"
            )
        if not temperature > 0 or abs_weight < 0:
            raise InputError(
                f"temperature must be above 0 and abs_weight at least 0, got {temperature} and {abs_weight}"
            )
        for name, value, usual, part in (
            ("temperature", temperature, 0.15, "kl"),
            ("abs_weight", abs_weight, 0.1, "abs"),
        ):
            if part not in distill and value != usual:
                raise InputError(f"distill={distill!r} has no part for {name}={value} to act on; leave {name} out")
        if distill == "none" and rehearsed:
            raise InputError(f"distill='none' leaves nothing to rehearse, got rehearsed={rehearsed}; set it to 0")
        if not train_encoder:
            if distill != "none":
                raise InputError(
                    f"train_encoder=false leaves nothing to distil into, got {distill!r}; set distill='none'"
                )
            model.encoder.requires_grad_(False)
        self.train_encoder = train_encoder
        self.teacher = teacher.requires_grad_(False)
        self.observer = Observer(view, mln=mln, reset=mln_reset)
        self.encoder_steps = encoder_steps
        self.rate = rate
        self.encoder_rate = rate if encoder_rate is None else encoder_rate
        self.encoder_schedule = encoder_schedule
        self.distill = distill
        self.temperature = temperature
        self.abs_weight = abs_weight
        self.engine = Engine(engine)
        self.precision = Precision(arithmetic=precision, layout=layout)

    def require_sampler(self, sampler: Any) -> None:
        """See ``recipes.teacher.Teacher.require_sampler``; without distillation nothing is adapted."""
        if self.observer.mln is not None and self.distill != "none":
            require_drawn_as_one(sampler)

    @property
    def encoder_alone(self) -> bool:
        """Whether the present step is one of phase A."""
        return self.global_step < self.encoder_steps

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The student's weights, at ``rate``; ``rate_factor`` brings in phase A's."""
        return [{"params": list(self.model.parameters()), "lr": self.rate}]

    def rate_factor(self, step: int) -> float:
        """Each phase's schedule is its own, counted from its beginning."""
        if step < self.encoder_steps:
            factor = schedule_factor(self.encoder_schedule, step, self.encoder_steps)
            return factor * self.encoder_rate / self.rate
        return schedule_factor(self.schedule, step - self.encoder_steps, self.steps - self.encoder_steps)

    def training_step(self, batch: Pairs, batch_idx: int) -> Tensor:
        """The gradient of one batch's loss, handed on as a surrogate loss.

        Raises:
            InputError: if the MLN would have to be adapted to several degradations at once, or the sizes do not match.
        """
        if self.observer.mln is not None and self.distill != "none":
            require_one_kernel(batch.degradation)
        check_whole_pair(batch.lr, batch.hr, batch.degradation.scale)
        layout = self.precision.memory_format(batch.hr.device)
        alone = self.encoder_alone

        def differentiate(inputs: Sequence[Tensor], side_by_side: bool) -> list[Tensor]:
            return self._differentiate(inputs, alone=alone)

        loss, kl, distance, pixels, target, *outputs = self.engine.run(
            differentiate,
            [batch.lr.contiguous(memory_format=layout), batch.hr.contiguous(memory_format=layout), *self.remembered()],
            parameters=[*self.parameters(), *self.buffers()],
            key=alone,
        )
        self.remember([batch.lr, target])
        trained = _trained(self.blind, alone=alone)
        self.observer.keep(outputs[len(trained) :])
        self.require_finite(loss, of=lambda: f"degradation {batch.degradation}")
        self.log("train/loss", loss, prog_bar=True)
        for name, value, there in (
            ("kl", kl, self.distill != "none"), ("abs", distance, self.distill != "none"), ("l1", pixels, not alone),
        ):  # fmt: skip
            if there:
                self.log(f"train/{name}", value)
        return self.touching_all(surrogate_loss(trained, outputs[: len(trained)]))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """In phase A Adam does not see the body at all: its moments begin with phase B."""
        if self.encoder_alone:
            for parameter in self.blind.body.parameters():
                parameter.grad = None

    def _differentiate(self, inputs: Sequence[Tensor], *, alone: bool) -> list[Tensor]:
        """Losses, gradients and where the MLN has got; a pure function of tensors, with no copy from the host."""
        lr, hr, *again = inputs  # again: remembered LR images and their vectors, or nothing
        with self.precision.region(lr.device):
            target, adapted = self._teach(lr, hr)
            network = with_leaves(self.blind, self.precision.memory_format(lr.device))
            with self.precision.autocast(lr.device):
                vector = network.vector(torch.cat([lr, *again[:1]]))
                output = None if alone else network.body(lr, vector[: len(lr)])
            vector = vector.to(hr.dtype)
            pixels = hr.new_zeros(()) if output is None else l1_loss(output.to(hr.dtype), hr)
            loss, kl, distance = pixels, hr.new_zeros(()), hr.new_zeros(())
            if target is None:
                target = vector.detach()
            else:
                targets = torch.cat([target, *again[1:]])
                loss = loss + distillation_loss(
                    vector, targets, kind=self.distill, temperature=self.temperature, abs_weight=self.abs_weight
                )
                kl = kl_loss(vector.detach(), targets, temperature=self.temperature)
                distance = abs_loss(vector.detach(), targets)
            gradients = torch.autograd.grad(loss, _trained(network, alone=alone), materialize_grads=True)
        return [loss.detach(), kl, distance, pixels.detach(), target, *(g.contiguous() for g in gradients), *adapted]

    def _teach(self, lr: Tensor, hr: Tensor) -> tuple[Tensor | None, list[Tensor]]:
        """The teacher's vector, and what its observer keeps; none where nobody asks for it."""
        if self.distill == "none":
            return None, [] if self.observer.drift is None else list(self.observer.drift.parameters())
        seen, adapted = self.observer.look(lr, hr)
        with torch.no_grad():
            return self.teacher(seen), adapted

    @property
    def blind(self) -> BlindSR:
        """Encoder and body, as what they are."""
        return self.model  # type: ignore[return-value]

    def load_parent(self, state: dict[str, Tensor], *, origin: str) -> str:
        """The teacher's encoder and MLN to learn from, its body to start from; the student's own encoder is fresh.

        Every tensor of the teacher must find its place.
        """
        teacher, body = self.teacher.state_dict(), self.blind.body.state_dict()
        mln = self.observer.state()
        own = {f"encoder.{k}": v for k, v in teacher.items()} | {f"body.{k}": v for k, v in body.items()} | mln
        check_state(own, state, origin=origin)
        self.teacher.load_state_dict({k: state[f"encoder.{k}"] for k in teacher})
        self.blind.body.load_state_dict({k: state[f"body.{k}"] for k in body})
        self.observer.load(state)
        return (
            f"{len(body)} body tensors from {origin}, {len(self.blind.encoder.state_dict())} encoder tensors fresh; "
            f"its {len(teacher)} encoder{f' and {len(mln)} MLN' if mln else ''} tensors teach, frozen"
        )

    def restore(self, state: dict[str, Tensor], *, origin: str) -> None:
        """Take back what ``export`` gave: the student alone."""
        super().load_parent(state, origin=origin)


def _trained(network: BlindSR, *, alone: bool) -> list[nn.Parameter]:
    part = network.encoder if alone else network
    return [p for p in part.parameters() if p.requires_grad]
