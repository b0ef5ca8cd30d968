"""The gradient of a meta-batch's loss by the network's weights and the inner rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from metasr.checks import check_pair, check_whole_pair
from metasr.data.tasks import Task
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.errors import InputError, require_one_of
from metasr.meta.cuda_graph import Engine
from metasr.meta.inner_loop import Order, detach, inner_loop
from metasr.meta.learn2learn import clone_module
from metasr.meta.precision import Precision
from metasr.meta.rates import Rates

PixelLoss = Callable[[Tensor, Tensor], Tensor]
Found = tuple[list[Tensor], Tensor, list[Tensor]]
ModuleKind = TypeVar("ModuleKind", bound=nn.Module)

DEFAULT = Precision()
EAGER = Engine("eager")


class Problem(NamedTuple):
    """A task's tensors as the network sees them: ``*_in`` are the LR patches, enlarged where that is its input.

    ``told`` is the degradation of both, for a network that takes it beside the patches.
    """

    support_in: Tensor
    support_hr: Tensor
    query_in: Tensor
    query_hr: Tensor
    told: Degradation | None = None


def enlarge(lr: Tensor, like: Tensor, scale: float) -> Tensor:
    """LR patches brought bicubically to the size of their HR patches: the network's input, ``(B, 3, H, W)``.

    Raises:
        InputError: if the sizes do not match the scale.
    """
    check_pair(lr, like, scale)
    return imresize(lr, scale, size=(like.shape[-2], like.shape[-1]))


def network_input(lr: Tensor, hr: Tensor, scale: float, *, enlarge_first: bool) -> Tensor:
    """What a network is given of LR patches: the patches enlarged to the HR's size, or as they are.

    Args:
        lr: ``(B, 3, h, w)``.
        hr: ``(B, 3, H, W)``.
        scale: factor between them.
        enlarge_first: the network keeps the size; otherwise it enlarges by the scale itself.

    Raises:
        InputError: if the sizes do not match the scale, or HR patches that a network is to make of LR ones are no
            multiple of it.
    """
    if enlarge_first:
        return enlarge(lr, hr, scale)
    check_whole_pair(lr, hr, scale)
    return lr


def takes_degradation(network: nn.Module) -> bool:
    """Whether a network is told the degradation beside the LR image: its class says ``takes_degradation = True``."""
    return bool(getattr(network, "takes_degradation", False))


def meta_parameters(model: nn.Module, rates: Rates) -> list[nn.Parameter]:
    """What meta-training learns, in the order of ``MetaGradient.gradients``: the network's, then the rates'."""
    return [*(p for p in model.parameters() if p.requires_grad), *rates.parameters()]


def require_training_order(order: str) -> None:
    """Require an order of meta-training: ``none`` cuts the graph, and nothing would be learned."""
    require_one_of(order, ("second", "first"), name="order")


@dataclass
class MetaGradient:
    """A meta-batch's gradient and losses.

    Attributes:
        gradients: one per parameter of ``meta_parameters``.
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
    before: float = 0.0,
    loss: PixelLoss = nn.functional.l1_loss,
    precision: Precision = DEFAULT,
    engine: Engine | None = None,
    enlarge_first: bool = True,
) -> MetaGradient:
    """Differentiate the query losses after the inner steps by weights and rates (MZSR, algorithm 1; MAML++).

    Run eagerly, one task's graph is in memory at a time; captured, those of all tasks. A network that takes the
    degradation is told each task's, and always run eagerly: what is made of a kernel waits for the device.

    Args:
        model: the network θ.
        rates: inner learning rates.
        tasks: the meta-batch.
        steps: inner steps per task; with 0 the gradient is the plain one of the query loss.
        order: ``second`` or ``first``.
        step_weights: weight of the query loss after each step, ``steps`` of them (one for 0 steps); steps of weight 0
            are skipped.
        before: weight of the query loss before any step, beside those.
        loss: of (output, target), for support and query.
        precision: arithmetic and layout.
        engine: captures the step where it can; none to run it eagerly. The same one for all steps of a training.
        enlarge_first: the network's input is the enlarged LR; otherwise the LR, which it enlarges itself, as one that
            takes the degradation always does.

    Returns:
        Gradient and losses, averaged over the tasks.

    Raises:
        InputError: if ``order`` is another, there are no tasks, or there is not one weight per step with one of them
            above 0.
    """
    require_training_order(order)
    if not tasks or len(step_weights) != max(1, steps) or not any(step_weights):
        raise InputError(
            "a meta-gradient needs at least one task and one weight per inner step, not all 0, "
            f"got {len(tasks)} tasks and weights {list(step_weights)} for {steps} steps"
        )
    parameters = meta_parameters(model, rates)
    after = [before, *step_weights] if steps else list(step_weights)  # 0, 1, ..., steps steps
    counted = tuple(step for step, weight in enumerate(after) if weight != 0)
    told = [task.degradation if takes_degradation(model) else None for task in tasks]
    enlarge_first = enlarge_first and told[0] is None
    problems = [problem_of(task, precision, enlarge_first=enlarge_first) for task in tasks]
    weights = torch.tensor(after, dtype=parameters[0].dtype, device=parameters[0].device)

    def step(inputs: Sequence[Tensor], side_by_side: bool) -> list[Tensor]:
        problems = []
        for index, known in enumerate(told):
            support_in, support_hr, query_in, query_hr = inputs[4 * index : 4 * index + 4]
            problems.append(Problem(support_in, support_hr, query_in, query_hr, known))
        return differentiate(
            model, rates, problems, inputs[-1], counted=counted, steps=steps, order=order, loss=loss,
            precision=precision, side_by_side=side_by_side,
        )  # fmt: skip

    outputs = (EAGER if engine is None or told[0] is not None else engine).run(
        step,
        [*(tensor for problem in problems for tensor in problem[:4]), weights],
        parameters=[*model.parameters(), *model.buffers(), *rates.parameters()],
        key=(steps, order, counted, loss, precision),
    )
    gradients, (total, *by_step) = outputs[: len(parameters)], outputs[len(parameters) :]
    query = [torch.full((), float("nan"), device=total.device) for _ in range(steps + 1)]
    for number, value in zip(counted, by_step, strict=True):
        query[number] = value
    return MetaGradient(gradients, total, query)


def problem_of(task: Task, precision: Precision, *, enlarge_first: bool = True) -> Problem:
    """A task as the network sees it.

    Raises:
        InputError: if LR and HR sizes do not match the scale.
    """
    scale = task.degradation.scale
    tensors = (
        network_input(task.support_lr, task.support_hr, scale, enlarge_first=enlarge_first),
        task.support_hr,
        network_input(task.query_lr, task.query_hr, scale, enlarge_first=enlarge_first),
        task.query_hr,
    )
    layout = precision.memory_format(task.support_lr.device)
    support_in, support_hr, query_in, query_hr = (t.contiguous(memory_format=layout) for t in tensors)
    return Problem(support_in, support_hr, query_in, query_hr)


def differentiate(
    model: nn.Module,
    rates: Rates,
    problems: Sequence[Problem],
    weights: Tensor,
    *,
    counted: Sequence[int],
    steps: int,
    order: Order,
    loss: PixelLoss,
    precision: Precision,
    side_by_side: bool = False,
) -> list[Tensor]:
    """The numbers of ``meta_gradient``: a pure function of tensors, with no copy from the host.

    Args:
        model: the network θ.
        rates: inner learning rates.
        problems: the tasks.
        weights: ``(steps + 1,)``, weight of the query loss after 0, 1, ..., ``steps`` steps.
        counted: after how many steps the query loss is computed.
        steps: inner steps.
        order: ``second`` or ``first``.
        loss: of (output, target).
        precision: arithmetic and layout.
        side_by_side: work on each task on a CUDA stream of its own.

    Returns:
        The gradients by ``meta_parameters``, the loss, and the mean query loss of each counted step.
    """

    def of(problem: Problem) -> Found:
        return _of_one_task(
            model, rates, problem, weights, counted=counted, steps=steps, order=order, loss=loss, precision=precision
        )

    parameters = meta_parameters(model, rates)
    with precision.region(weights.device):
        results = on_streams(of, problems) if side_by_side and weights.is_cuda else map(of, problems)
        sums = [torch.zeros_like(p) for p in parameters]
        total = torch.zeros((), device=weights.device)
        query: list[list[Tensor]] = []
        for gradients, outer, values in results:
            for into, gradient in zip(sums, gradients, strict=True):
                into += gradient / len(problems)
            total = total + outer / len(problems)
            query.append(values)
    return [*sums, total, *(torch.stack(column).mean() for column in zip(*query, strict=True))]


def _of_one_task(
    model: nn.Module,
    rates: Rates,
    problem: Problem,
    weights: Tensor,
    *,
    counted: Sequence[int],
    steps: int,
    order: Order,
    loss: PixelLoss,
    precision: Precision,
) -> Found:
    """Gradients, weighted query loss and query losses of one task."""
    layout = precision.memory_format(weights.device)
    network, own_rates = with_leaves(model, layout), with_leaves(rates, layout)
    parameters = meta_parameters(network, own_rates)
    terms: list[Tensor] = []
    values: list[Tensor] = []

    def loss_of(net: nn.Module, source: Tensor, target: Tensor) -> Tensor:
        with precision.autocast(source.device):
            output = net(source) if problem.told is None else net(source, problem.told)
        return loss(output.to(target.dtype), target)

    def after_step(step: int, net: nn.Module) -> None:
        if step in counted:
            value = loss_of(net, problem.query_in, problem.query_hr)
            values.append(value.detach())
            terms.append(weights[step] * value)

    inner_loop(
        network,
        lambda net: loss_of(net, problem.support_in, problem.support_hr),
        steps=steps,
        rates=own_rates,
        order=order,
        after_step=after_step,
    )
    outer = torch.stack(terms).sum()
    gradients = torch.autograd.grad(outer, parameters, allow_unused=True)
    there = [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, parameters, strict=True)]
    return there, outer.detach(), values


def with_leaves(module: ModuleKind, layout: torch.memory_format) -> ModuleKind:
    """A clone whose parameters are leaves of their own: made here, a captured graph can hold their history."""
    clone: ModuleKind = clone_module(module)
    detach(clone, layout=layout)
    return clone


def on_streams(of: Callable[[Problem], Found], problems: Sequence[Problem]) -> list[Found]:
    """Each problem on a CUDA stream of its own; they begin after what was launched before, and are waited for."""
    here = torch.cuda.current_stream()
    streams = [torch.cuda.Stream() for _ in problems]
    results = []
    for problem, stream in zip(problems, streams, strict=True):
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            results.append(of(problem))
    for stream in streams:
        here.wait_stream(stream)
    return results


def surrogate_loss(parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """A scalar whose gradient by the parameters is exactly the given one: Σ ⟨p, g⟩.

    With it a gradient that was computed elsewhere (task by task, or in a captured graph) goes through a trainer's own
    backward pass, and so through its precision, clipping and averaging over devices.
    """
    return torch.stack([(p * g.detach()).sum() for p, g in zip(parameters, gradients, strict=True)]).sum()
