"""What all recipes share: optimiser schedule, finiteness, export and import of weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from metasr.checks import check_state
from metasr.degradation.pipeline import Degradation
from metasr.errors import DivergenceError, InputError
from metasr.meta.rates import RATE_PREFIXES


@dataclass(frozen=True, kw_only=True)
class Staircase:
    """A learning rate that falls all at once, time and again.

    Attributes:
        every: steps between two falls.
        factor: what is left of it each time.
    """

    every: int
    factor: float = 0.5

    def __post_init__(self) -> None:
        if self.every < 1 or not 0 < self.factor <= 1:
            raise InputError(f"a staircase needs every >= 1 and a factor in (0, 1], got {self.every} and {self.factor}")


Schedule = Literal["constant", "cosine", "staircase"] | Staircase


def schedule_factor(schedule: Schedule, step: int, steps: int, *, every: int = 100_000, floor: float = 0.25) -> float:
    """What a learning rate is multiplied by at a step.

    Args:
        schedule: ``constant``; ``cosine`` from 1 to 0 over ``steps``; ``staircase`` halves ``every`` steps, down to
            ``floor``; or a ``Staircase`` of its own.
        step: from 0.
        steps: of the whole stage.
        every: width of a stair.
        floor: lowest factor of the staircase.
    """
    if isinstance(schedule, Staircase):
        return float(schedule.factor ** (step // schedule.every))
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(step, steps) / max(1, steps)))
    if schedule == "staircase":
        return float(max(0.5 ** (step // every), floor))
    raise InputError(f"schedule must be 'constant', 'cosine' or 'staircase', got {schedule!r}")


def require_finite_weights(module: nn.Module, *, step: int) -> None:
    """Require that every parameter is finite; waits for the device once.

    Args:
        module: whose parameters are looked at.
        step: for the message.

    Raises:
        DivergenceError: naming the step, the first such parameters and what to do.
    """
    named = list(module.named_parameters())
    finite = [bool(f) for f in torch.stack([p.detach().isfinite().all() for _, p in named]).tolist()] if named else []
    bad = [name for (name, _), good in zip(named, finite, strict=True) if not good]
    if bad:
        raise DivergenceError(
            f"{type(module).__name__}: {len(bad)} of {len(named)} parameters ({', '.join(bad[:3])}"
            f"{', ...' if len(bad) > 3 else ''}) were not finite after step {step}; they are not saved, and the last "
            "good resume point, if there is one, is kept: lower the learning rate or the inner rate, then run again"
        )


class Recipe(pl.LightningModule):
    """One training stage. A subclass gives ``training_step`` and says what it optimises.

    Args:
        model: the network to train.
        steps: optimiser steps of the stage, for the schedule.
        schedule: how the learning rates go on.
    """

    unit = "step"  # what the progress bar counts

    def __init__(self, model: nn.Module, *, steps: int, schedule: Schedule = "cosine") -> None:
        super().__init__()
        self.model = model
        self.steps = steps
        self.schedule = schedule

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameter groups for Adam, each with its learning rate."""
        raise NotImplementedError

    def require_rates(self) -> None:
        """Require every learning rate (``rate``, ``<what>_rate``, ``<what>_lr``) to be a finite number above 0.

        Raises:
            InputError: naming the rate.
        """
        for name, value in vars(self).items():
            if (
                name.rpartition("_")[2] in ("rate", "lr")
                and isinstance(value, int | float)
                and not 0 < value < math.inf
            ):
                raise InputError(f"{type(self).__name__}: {name} must be a finite number above 0, got {value}")

    def require_sampler(self, sampler: Any) -> None:
        """Check, before anything is trained, what draws the batches; most recipes take any.

        Args:
            sampler: such as ``data.tasks.PairSampler``.
        """

    def configure_optimizers(self) -> Any:
        """Adam over the groups, with the schedule stepped at every optimiser step."""
        self.require_rates()
        optimizer = torch.optim.Adam(self.parameter_groups())
        factor = torch.optim.lr_scheduler.LambdaLR(optimizer, self.rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": factor, "interval": "step"}}

    def rate_factor(self, step: int) -> float:
        """What all learning rates are multiplied by at a step."""
        return schedule_factor(self.schedule, step, self.steps)

    def touching_all(self, loss: Tensor) -> Tensor:
        """The same loss, with every trained parameter in its graph: those that had no part in it get a gradient of 0.

        DDP requires it of every step. It holds on one device as well, so that training is the same on one and on
        several: a parameter without a part in a step coasts on Adam's momentum, and its moments decay.

        Args:
            loss: the step's loss, a scalar.
        """
        trained = [p for group in self.parameter_groups() for p in group["params"] if p.requires_grad]
        return loss + torch.cat([p.flatten()[:0] for p in trained]).sum()  # of no numbers: 0, even where one is NaN

    def looks(self) -> bool:
        """Whether finiteness is looked at in this step: on a GPU that waits for the device."""
        return self.device.type == "cpu" or self.global_step % 50 == 0

    def require_finite(self, loss: Tensor, *, of: Callable[[], str]) -> None:
        """Stop training when a loss is no longer finite (looked at every step on the CPU, every 50th on a GPU).

        Args:
            loss: the step's loss.
            of: tells what it is the loss of; asked only when it is needed, since naming a kernel hashes it.

        Raises:
            DivergenceError: telling step, learning rate and what it was the loss of.
        """
        if self.looks() and not bool(torch.isfinite(loss)):
            rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
            raise DivergenceError(
                f"{type(self).__name__}: loss became {loss.item()} at step {self.global_step} for {of()} with "
                f"learning rate {rate:.2e}; lower the learning rate or the inner rate, then resume from the last good "
                "checkpoint"
            )

    def export(self) -> dict[str, Tensor]:
        """The tensors that the next stage, or a solver, takes from this one."""
        return {k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()}

    def restore(self, state: dict[str, Tensor], *, origin: str) -> None:
        """Take back what ``export`` gave, all of it, to look at what was learned; strict, as loading always is.

        Raises:
            WeightsError: naming the tensors that are missing, of another shape, or left over.
        """
        self.load_parent(state, origin=origin)

    def maps(self, lr: Tensor, hr: Tensor, degradation: Degradation) -> dict[str, Tensor]:
        """What the recipe's networks look at in one image, to be drawn beside it; nothing by default.

        Args:
            lr: ``(1, 3, h, w)`` in [0, 1].
            hr: ``(1, 3, H, W)``.
            degradation: what ``lr`` came about by.

        Returns:
            By caption, in the order to draw them: pictures ``(3, H, W)`` in [0, 1], or maps ``(H, W)`` of any range.
        """
        return {}

    def load_parent(self, state: dict[str, Tensor], *, origin: str) -> str:
        """Start from an earlier stage's tensors: every tensor of the network must be there, with its shape.

        Returns:
            One line that counts what came from where.

        Raises:
            WeightsError: naming the tensors that are missing, of another shape, or left over.
        """
        own = self.model.state_dict()
        extra = sorted(k for k in state if k not in own and not k.startswith(RATE_PREFIXES))
        check_state(own, {k: v for k, v in state.items() if k in own or k in extra}, origin=origin)
        self.model.load_state_dict({k: state[k] for k in own})
        left = len(state) - len(own)
        return f"{len(own)} of {len(own)} network tensors from {origin}" + (
            f", {left} rate tensors not used" if left else ""
        )
