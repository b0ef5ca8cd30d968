"""The gradient of a meta-batch's loss by the network's weights and the inner rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metasr.checks import check_pair
from metasr.data.tasks import Task
from metasr.degradation.resize import imresize
from metasr.errors import InputError
from metasr.meta.inner_loop import Order, inner_loop
from metasr.meta.rates import Rates

PixelLoss = Callable[[Tensor, Tensor], Tensor]


def enlarge(lr: Tensor, like: Tensor, scale: float) -> Tensor:
    """LR patches brought bicubically to the size of their HR patches: the network's input, ``(B, 3, H, W)``.

    Raises:
        InputError: if the sizes do not match the scale.
    """
    check_pair(lr, like, scale)
    return imresize(lr, scale, size=(like.shape[-2], like.shape[-1]))


def meta_parameters(model: nn.Module, rates: Rates) -> list[nn.Parameter]:
    """What meta-training learns, in the order of :attr:`MetaGradient.gradients`: the network's, then the rates'."""
    return [*(p for p in model.parameters() if p.requires_grad), *rates.parameters()]


def require_training_order(order: str) -> None:
    """Require an order of meta-training: ``none`` cuts the graph, and nothing would be learned."""
    if order not in ("second", "first"):
        raise InputError(f"order must be 'second' or 'first' to train, got {order!r}")


@dataclass
class MetaGradient:
    """A meta-batch's gradient and losses.

    Attributes:
        gradients: one per parameter of :func:`meta_parameters`.
        loss: the weighted query loss, mean over tasks.
        query: mean query loss after 0, 1, ..., ``steps`` steps, where it was computed (nan elsewhere).
    """

    gradients: list[Tensor]
    loss: Tensor
    query: list[Tensor]


def meta_gradient(
    model: nn.Module,
    rates: Rates,
    tasks: Sequence[Task],
    *,
    steps: int,
    order: Order,
    step_weights: Sequence[float],
    loss: PixelLoss = nn.functional.l1_loss,
) -> MetaGradient:
    """Differentiate the query losses after the inner steps by weights and rates (MZSR, algorithm 1; MAML++).

    One task's graph is in memory at a time.

    Args:
        model: the network θ, whose input is the enlarged LR.
        rates: inner learning rates.
        tasks: the meta-batch.
        steps: inner steps per task.
        order: ``second`` or ``first``.
        step_weights: weight of the query loss after each step, ``steps`` of them; steps of weight 0 are skipped.
        loss: of (output, target), for support and query.

    Returns:
        Gradient and losses, averaged over the tasks.

    Raises:
        InputError: if ``order`` is another, there are no tasks, or there is not one weight per step with one of them
            above 0.
    """
    require_training_order(order)
    if not tasks or len(step_weights) != steps or not any(step_weights):
        raise InputError(
            "a meta-gradient needs at least one task and one weight per inner step, not all 0, "
            f"got {len(tasks)} tasks and weights {list(step_weights)} for {steps} steps"
        )
    parameters = meta_parameters(model, rates)
    sums = [torch.zeros_like(p) for p in parameters]
    query: list[list[Tensor]] = [[] for _ in range(steps + 1)]
    total = torch.zeros((), device=parameters[0].device)
    for task in tasks:
        scale = task.degradation.scale
        support_in = enlarge(task.support_lr, task.support_hr, scale)
        query_in = enlarge(task.query_lr, task.query_hr, scale)
        terms: list[Tensor] = []

        def support_loss(net: nn.Module, source: Tensor = support_in, target: Tensor = task.support_hr) -> Tensor:
            return loss(net(source), target)

        def after_step(
            step: int,
            net: nn.Module,
            source: Tensor = query_in,
            target: Tensor = task.query_hr,
            into: list[Tensor] = terms,
        ) -> None:
            if step == 0 or step_weights[step - 1] == 0:
                return
            value = loss(net(source), target)
            query[step].append(value.detach())
            into.append(step_weights[step - 1] * value)

        inner_loop(model, support_loss, steps=steps, rates=rates, order=order, after_step=after_step)
        outer = torch.stack(terms).sum()
        gradients = torch.autograd.grad(outer, parameters, allow_unused=True)
        for into, gradient in zip(sums, gradients, strict=True):
            if gradient is not None:
                into += gradient / len(tasks)
        total = total + outer.detach() / len(tasks)
    missing = torch.full((), float("nan"), device=total.device)
    return MetaGradient(sums, total, [torch.stack(q).mean() if q else missing for q in query])


def surrogate_loss(parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """A scalar whose gradient by the parameters is exactly the given one: Σ ⟨p, g⟩.

    With it a gradient that was computed elsewhere (task by task, or in a captured graph) goes through a trainer's own
    backward pass, and so through its precision, clipping and averaging over devices.
    """
    return torch.stack([(p * g.detach()).sum() for p, g in zip(parameters, gradients, strict=True)]).sum()
