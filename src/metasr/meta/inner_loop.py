"""The inner loop: a few gradient steps on a clone of a network, by learn2learn.

Training and test-time adaptation call this one function. In training the steps are part of the graph, so that the
query loss at the adapted parameters can be differentiated down to the original ones (MAML, Finn et al., 2017); at test
time they are not, and nothing of the original is touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from metasr.errors import DivergenceError, InputError, require_one_of
from metasr.meta.learn2learn import clone_module, update_module
from metasr.meta.rates import Rates, mean_rate

Order = Literal["second", "first", "none"]
LossFunction = Callable[[nn.Module], Tensor]
GradFunction = Callable[[nn.Module, list[nn.Parameter]], tuple[float | None, Sequence[Tensor]]]


@dataclass
class Trace:
    """What happened: losses before each step, the rates' mean, and seconds spent on the steps so far.

    Where a kernel is estimated and the true one is known, ``kernel_psnr`` holds the estimate's PSNR in dB before each
    step; nothing is decided by it.
    """

    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    kernel_psnr: list[float] = field(default_factory=list)


def inner_loop(
    model: nn.Module,
    support_loss: LossFunction | None = None,
    *,
    steps: int,
    rates: Rates,
    order: Order,
    after_step: Callable[[int, nn.Module], None] | None = None,
    trace: Trace | None = None,
    label: str = "",
    gradients: GradFunction | None = None,
) -> nn.Module:
    """Adapt a clone of ``model`` by ``steps`` of gradient descent on a support loss.

    φ_0 = θ, φ_{j+1} = φ_j - α_j ∇ℓ(φ_j), with α_j a number, one per tensor, or one per weight.

    Args:
        model: the network θ; it is never changed. No BatchNorm running statistics (a clone shares buffers), and not
            compiled (a clone would run the original's weights).
        support_loss: takes the clone, gives a scalar. Either this or ``gradients``. Parameters that have no part in it
            stay as they are.
        steps: number of steps, 0 or more.
        rates: learning rates, asked for each step.
        order: ``second`` differentiates through the steps, ``first`` treats the inner gradients as constants (but still
            reaches θ and learned rates), ``none`` cuts the graph after every step: for test time, with constant memory.
        after_step: called with (steps taken, clone) after each step and, with 0, before the first.
        trace: filled with losses, mean rates and seconds; costs a synchronisation per step.
        label: what is being adapted to, for error messages (a degradation's name, say).
        gradients: takes the clone and its parameters, gives loss and gradients: for test time (``order="none"``), where
            they may be computed in another way, tile by tile for instance. A loss of none is neither checked nor
            traced: who calls looks at it later, and nothing has to be waited for at every step.

    Returns:
        The adapted clone.

    Raises:
        DivergenceError: if the support loss is not finite; the message tells step, rate and label. (Checked where there
            is a ``trace`` or ``order`` is ``none``: in training the outer loss is checked instead, once per step.)
        InputError: for a negative number of steps, BatchNorm with running statistics, or both or none of the two ways
            to gradients.
    """
    require_one_of(order, Order, name="order")
    if steps < 0:
        raise InputError(f"the number of inner steps must be at least 0, got {steps}")
    if steps > 0 and (support_loss is None) == (gradients is None):
        raise InputError("inner_loop needs either a support_loss or a function for the gradients")
    if gradients is not None and order != "none":
        raise InputError("own gradients cannot be differentiated through: use order='none'")
    _refuse_shared_statistics(model)
    with torch.inference_mode(False), torch.enable_grad():  # whatever the caller has switched off
        learner: nn.Module = clone_module(model)
        if order == "none":
            detach(learner)
        if after_step is not None:
            after_step(0, learner)
        start = time.perf_counter()
        for step in range(steps):
            parameters = [p for p in learner.parameters() if p.requires_grad]
            row = rates.at(step)
            value: float | None = None
            if gradients is not None:
                value, grads = gradients(learner, parameters)
            elif support_loss is not None:
                loss = support_loss(learner)
                grads = torch.autograd.grad(loss, parameters, create_graph=order == "second", materialize_grads=True)
                if trace is not None or order == "none":
                    value = float(loss.detach())
            per_tensor = row if isinstance(row, list) else [row] * len(parameters)
            if len(per_tensor) != len(parameters):
                raise InputError(
                    f"the inner rates are for {len(per_tensor)} tensors, but the network adapts {len(parameters)}; "
                    "use the rates that were learned with these weights"
                )
            if value is not None:
                _require_finite(value, step, per_tensor, label)
            if trace is not None and value is not None:
                trace.losses.append(value)
                trace.rates.append(mean_rate(per_tensor))
            if order == "none":
                with torch.no_grad():
                    updates = [-(r * g) for r, g in zip(per_tensor, grads, strict=True)]
            else:
                updates = [-(r * g) for r, g in zip(per_tensor, grads, strict=True)]
            update_module(learner, updates=_spread(learner, parameters, updates))
            if order == "none":
                detach(learner)
            if trace is not None:
                trace.seconds.append(time.perf_counter() - start)
            if after_step is not None:
                before = time.perf_counter()
                after_step(step + 1, learner)
                start += time.perf_counter() - before  # what is done with the clone is no part of the step
    return learner


def _spread(learner: nn.Module, parameters: list[nn.Parameter], updates: list[Tensor]) -> list[Tensor | None]:
    """Updates for all parameters, none for the frozen ones: update_module walks over all."""
    if len(parameters) == len(list(learner.parameters())):
        return list(updates)
    update_of = {id(p): u for p, u in zip(parameters, updates, strict=True)}
    return [update_of.get(id(p)) for p in learner.parameters()]


def detach(module: nn.Module, *, layout: torch.memory_format = torch.preserve_format) -> None:
    """Make a clone's parameters leaves of their own, so that no history is kept; shared ones stay shared.

    Args:
        module: a clone; changed in place.
        layout: memory format of the four-dimensional ones.
    """
    leaves: dict[int, Tensor] = {}
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                if id(parameter) not in leaves:
                    leaf = parameter.detach()
                    if leaf.dim() == 4 and layout != torch.preserve_format:
                        leaf = leaf.contiguous(memory_format=layout)
                    leaves[id(parameter)] = leaf.requires_grad_(parameter.requires_grad)
                part._parameters[name] = leaves[id(parameter)]  # type: ignore[assignment]


def _require_finite(value: float, step: int, per_tensor: Sequence[float | Tensor], label: str) -> None:
    if value != value or value in (float("inf"), float("-inf")):
        of = f" for {label}" if label else ""
        raise DivergenceError(
            f"inner loss became {value} at step {step + 1}{of} with mean rate {mean_rate(per_tensor):.2e}; "
            "lower the inner rate, or check the image for NaN"
        )


def _refuse_shared_statistics(model: nn.Module) -> None:
    for name, part in model.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.track_running_stats:
            raise InputError(
                f"layer {name!r} keeps running statistics, which clones would share; use GroupNorm, or "
                "BatchNorm with track_running_stats=False"
            )
