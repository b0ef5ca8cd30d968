"""Inner learning rates: fixed by a schedule, learned per step and tensor, or learned per weight (Meta-SGD).

All answer one question: by what is tensor ``i``'s gradient multiplied at step ``j``? A number, a scalar tensor or a
tensor of the parameter's shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from metasr.errors import InputError, WeightsError

RatesKind = Literal["fixed", "per_step", "meta_sgd"]

RATE_PREFIXES = ("inner_rates", "meta_rates.")
"""What the names of learned rates begin with in a weights file, where they lie beside the network's tensors."""

LARGEST_RATE = 10.0
"""Learned rates above it are nobody's: training keeps its own below 0.1."""

PUBLISHED_SCHEDULES: dict[tuple[str, int], tuple[float, ...]] = {
    # (subsampling, scale) -> rate of each step, the last one for all further steps (MZSR's published code)
    ("direct", 2): (2e-2, 1e-2, 1e-2, 1e-2, 5e-3),
    ("bicubic", 2): (1e-2, 1e-2, 1e-2, 1e-3),
    ("direct", 4): (1e-2, 5e-3, 5e-3, 5e-3, 5e-3, 1e-3),
    ("multiscale", 0): (1e-2, 1e-2, 1e-2, 5e-3),
}


class FixedRates(nn.Module):
    """A schedule: one number per step, the last one for every step after."""

    def __init__(self, schedule: Sequence[float]) -> None:
        super().__init__()
        if not schedule or min(schedule) <= 0:
            raise InputError(f"a rate schedule needs at least one rate, all above 0, got {list(schedule)}")
        self.schedule = tuple(float(r) for r in schedule)

    def at(self, step: int) -> list[float | Tensor] | float:
        """Rate of a step (counted from 0), one number for all tensors."""
        return self.schedule[min(step, len(self.schedule) - 1)]

    def clamp_(self) -> None:
        """Nothing is learned, nothing is clamped."""


class PerStepRates(nn.Module):
    """One learned rate per (step, tensor), as MAML++ (Antoniou et al., 2019) proposes.

    After the trained steps the last row times ``tail`` is used: the trained steps bring the weights close to where they
    should be, and shorter strides then go on improving where the trained ones would overshoot.

    Args:
        steps: number of trained inner steps.
        tensors: number of parameter tensors.
        initial: where all rates start.
        bounds: rates are kept inside.
        tail: factor on the last row for further steps.
    """

    def __init__(
        self,
        steps: int,
        tensors: int,
        *,
        initial: float = 1e-2,
        bounds: tuple[float, float] = (1e-4, 1e-1),
        tail: float = 0.5,
    ) -> None:
        super().__init__()
        if steps < 1 or tensors < 1:
            raise InputError(f"learned rates need at least one step and one tensor, got {steps} and {tensors}")
        if not 0 < bounds[0] <= initial <= bounds[1]:
            raise InputError(f"rates must start inside their bounds {tuple(bounds)}, got {initial}")
        self.bounds = (float(bounds[0]), float(bounds[1]))
        self.tail = tail
        self.inner_rates = nn.Parameter(torch.full((steps, tensors), float(initial)))  # (steps, tensors)

    @classmethod
    def of(cls, values: Tensor, *, tail: float = 0.5) -> PerStepRates:
        """Rates with given values, ``(steps, tensors)``, in their precision and on their device."""
        rates = cls(*values.shape, initial=1.0, bounds=(1e-12, 1e12), tail=tail).to(values)
        with torch.no_grad():
            rates.inner_rates.copy_(values)
        return rates

    def at(self, step: int) -> list[float | Tensor]:
        """Rates of a step (counted from 0), one scalar tensor per parameter tensor."""
        steps = self.inner_rates.shape[0]
        row = self.inner_rates[step] if step < steps else self.inner_rates[-1] * self.tail
        return list(row.unbind())

    def clamp_(self) -> None:
        """Put the rates back inside their bounds, in place."""
        with torch.no_grad():
            self.inner_rates.clamp_(*self.bounds)


class MetaSGDRates(nn.Module):
    """One learned rate per weight, the same at every step (Meta-SGD, Li et al., 2017).

    Args:
        parameters: the parameters the rates belong to, for their shapes.
        initial: where all rates start.
    """

    def __init__(self, parameters: Sequence[Tensor], *, initial: float = 1e-2) -> None:
        super().__init__()
        self.meta_rates = nn.ParameterList([nn.Parameter(torch.full_like(p, initial)) for p in parameters])

    def at(self, step: int) -> list[float | Tensor]:
        """Rates of any step, one tensor per parameter tensor, of its shape."""
        return list(self.meta_rates)

    def clamp_(self) -> None:
        """Meta-SGD lets rates be negative: nothing is clamped."""


Rates = FixedRates | PerStepRates | MetaSGDRates


def make_rates(
    kind: RatesKind, model: nn.Module, *, steps: int, initial: float, schedule: Sequence[float] | None = None
) -> Rates:
    """Rates of a kind for a model's parameters.

    Args:
        kind: ``fixed``, ``per_step`` or ``meta_sgd``.
        model: the network to adapt.
        steps: number of inner steps trained.
        initial: the fixed rate, or where learned ones start.
        schedule: for ``fixed``, a rate per step instead of ``initial``.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if kind == "fixed":
        return FixedRates(schedule or (initial,))
    if kind == "per_step":
        return PerStepRates(steps, len(parameters), initial=initial)
    if kind == "meta_sgd":
        return MetaSGDRates(parameters, initial=initial)
    raise InputError(f"rates must be 'fixed', 'per_step' or 'meta_sgd', got {kind!r}")


def mean_rate(row: Sequence[float | Tensor] | float) -> float:
    """Mean over the tensors of a step's rates; a tensor's rates of its own count as their mean. 0 for no tensors."""
    per_tensor = row if isinstance(row, Sequence) else [row]
    return sum(float(r.detach().mean()) if isinstance(r, Tensor) else r for r in per_tensor) / max(1, len(per_tensor))


def rates_from_state(state: dict[str, Tensor]) -> Rates | None:
    """The learned rates in a weights file's tensors (``inner_rates`` or ``meta_rates.*``), or none.

    Raises:
        WeightsError: for rates of another shape, or of a size that no training gives.
    """
    if "inner_rates" in state:
        values = state["inner_rates"]
        if values.ndim != 2 or min(values.shape) < 1 or not values.is_floating_point():
            raise WeightsError(
                f"inner_rates must be numbers (steps, tensors), got {values.dtype} of shape {tuple(values.shape)}; "
                "take the weights as training wrote them, or rates=published"
            )
        _require_sane(values, "inner_rates", lowest=0.0)
        return PerStepRates.of(values)
    per_weight = [k for k in state if k.startswith("meta_rates.")]
    if per_weight:
        wanted = [f"meta_rates.{i}" for i in range(len(per_weight))]
        if {*per_weight} != {*wanted}:
            raise WeightsError(
                f"meta_rates must be numbered from 0 to {len(per_weight) - 1}, got {', '.join(sorted(per_weight)[:3])}"
                "; take the weights as training wrote them, or rates=published"
            )
        for name in wanted:
            _require_sane(state[name], name, lowest=-LARGEST_RATE)
        rates = MetaSGDRates([state[k] for k in wanted])
        rates.load_state_dict({k: state[k] for k in wanted})
        return rates
    return None


def _require_sane(values: Tensor, name: str, *, lowest: float) -> None:
    low, high = (float(v) for v in values.detach().double().aminmax()) if values.numel() else (0.0, 0.0)
    if not lowest <= low <= high <= LARGEST_RATE:
        raise WeightsError(
            f"{name} must lie between {lowest:g} and {LARGEST_RATE:g}, got {low:g} to {high:g}: no training gives such "
            "rates; take other weights, or rates=published"
        )


def published_schedule(downsample: str, scale: float) -> tuple[float, ...]:
    """MZSR's published test-time rates for a subsampling and scale; its multi-scale schedule where it has no own."""
    key = ("bicubic" if downsample != "direct" else "direct", int(scale) if scale == int(scale) else 0)
    return PUBLISHED_SCHEDULES.get(key, PUBLISHED_SCHEDULES["multiscale", 0])
