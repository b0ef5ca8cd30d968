"""The inner loop: what it computes, what it leaves alone, what it refuses."""

import re
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metasr.errors import DivergenceError, InputError
from metasr.meta.inner_loop import Trace, inner_loop
from metasr.meta.rates import FixedRates, MetaSGDRates, PerStepRates, Rates
from small_problems import SmoothCNN, bits

RATE = FixedRates((0.1,))
ORDERS = ("second", "first", "none")


def problem(*, seed: int = 0) -> tuple[SmoothCNN, Any]:
    torch.manual_seed(seed)
    source, target = torch.rand(2, 3, 7, 9), torch.rand(2, 3, 7, 9)
    return SmoothCNN(), lambda net: (net(source) - target).square().mean()


def gradient_descent(model: nn.Module, loss: Any, rates: Rates, steps: int) -> dict[str, Tensor]:
    """Plain gradient descent on a copy, in place: what every order must arrive at."""
    copy = SmoothCNN()
    copy.load_state_dict(model.state_dict())
    for step in range(steps):
        grads = torch.autograd.grad(loss(copy), list(copy.parameters()))
        row = rates.at(step)
        with torch.no_grad():
            for i, (p, g) in enumerate(zip(copy.parameters(), grads, strict=True)):
                p -= (row[i] if isinstance(row, list) else row) * g
    return {k: v.detach() for k, v in copy.named_parameters()}


def rates_list(model: nn.Module) -> list[Rates]:
    torch.manual_seed(1)
    return [
        FixedRates((0.2, 0.05)),
        PerStepRates.of(0.2 * torch.rand(2, 6)),
        MetaSGDRates([0.2 * torch.rand_like(p) for p in model.parameters()], initial=0.07),
    ]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", range(3), ids=["fixed", "per_step", "meta_sgd"])
def test_is_gradient_descent(order: str, kind: int) -> None:
    model, loss = problem()
    rates = rates_list(model)[kind]
    adapted = inner_loop(model, loss, steps=4, rates=rates, order=order)
    want = gradient_descent(model, loss, rates, 4)
    moved = max(float((want[k] - p.detach()).abs().max()) for k, p in model.named_parameters())
    assert moved > 0.01
    for name, parameter in adapted.named_parameters():
        torch.testing.assert_close(parameter.detach(), want[name], rtol=1e-5, atol=1e-7)


def test_all_orders_arrive_at_the_same_bits() -> None:
    model, loss = problem()
    second, first, none = (bits(inner_loop(model, loss, steps=5, rates=RATE, order=o)) for o in ORDERS)
    assert second == first == none != bits(model)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("steps", [0, 3])
def test_original_is_untouched_bit_for_bit(order: str, steps: int) -> None:
    model, loss = problem()
    before, identities = bits(model), [id(p) for p in model.parameters()]
    adapted = inner_loop(model, loss, steps=steps, rates=RATE, order=order)
    with torch.no_grad():
        for p in adapted.parameters():
            p.zero_()  # not even what is done to the clone afterwards reaches it
    assert bits(model) == before
    assert [id(p) for p in model.parameters()] == identities
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("order", ORDERS)
def test_no_steps_give_an_equal_clone(order: str) -> None:
    model, _ = problem()
    trace = Trace()
    adapted = inner_loop(model, steps=0, rates=RATE, order=order, trace=trace)
    assert adapted is not model
    assert bits(adapted) == bits(model)
    assert trace == Trace()


@pytest.mark.parametrize("order", ORDERS)
def test_after_step_sees_every_state_from_the_first(order: str) -> None:
    model, loss = problem()
    seen: list[tuple[int, dict[str, bytes]]] = []
    inner_loop(model, loss, steps=3, rates=RATE, order=order, after_step=lambda n, net: seen.append((n, bits(net))))
    assert [n for n, _ in seen] == [0, 1, 2, 3]
    assert seen[0][1] == bits(model)
    for steps, state in seen:
        assert state == bits(inner_loop(model, loss, steps=steps, rates=RATE, order=order))


@pytest.mark.parametrize("order", ORDERS)
def test_trace_tells_losses_rates_and_seconds(order: str) -> None:
    model, loss = problem()
    trace = Trace()
    rates = PerStepRates.of(torch.tensor([[0.1] * 6, [0.02, 0.04, 0.06, 0.08, 0.10, 0.12]]))
    before_step: list[float] = []
    inner_loop(
        model,
        loss,
        steps=3,
        rates=rates,
        order=order,
        trace=trace,
        after_step=lambda _, net: before_step.append(loss(net).item()),
    )
    assert trace.losses == pytest.approx(before_step[:3])
    assert trace.rates == pytest.approx([0.1, 0.07, 0.035])
    assert len(trace.seconds) == 3
    assert 0 < trace.seconds[0] <= trace.seconds[1] <= trace.seconds[2]


def test_own_gradients_are_used() -> None:
    model, _ = problem()
    calls: list[float] = []

    def gradients(net: nn.Module, parameters: list[nn.Parameter]) -> tuple[float, list[Tensor]]:
        calls.append(float(len(calls)))
        return calls[-1], [torch.ones_like(p) for p in parameters]

    trace = Trace()
    adapted = inner_loop(model, gradients=gradients, steps=2, rates=FixedRates((0.5, 0.25)), order="none", trace=trace)
    assert trace.losses == calls == [0.0, 1.0]
    for p, q in zip(model.parameters(), adapted.parameters(), strict=True):
        torch.testing.assert_close(q.detach(), p.detach() - 0.75)


# --- the graph ---


def test_second_order_reaches_original_and_rates_and_none_reaches_neither() -> None:
    model, loss = problem()
    rates = PerStepRates(2, 6)
    inputs = [*model.parameters(), *rates.parameters()]
    for order in ("second", "first"):
        grads = torch.autograd.grad(loss(inner_loop(model, loss, steps=2, rates=rates, order=order)), inputs)
        assert all(bool(g.abs().sum() > 0) for g in grads)
    for steps in (0, 2):
        adapted = inner_loop(model, loss, steps=steps, rates=rates, order="none")
        assert all(p.is_leaf and p.requires_grad for p in adapted.parameters())
        assert all(g is None for g in torch.autograd.grad(loss(adapted), inputs, allow_unused=True))


class _Held:
    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


@pytest.mark.parametrize("order", ORDERS)
def test_graph_kept_from_step_to_step(order: str) -> None:
    """Tensors that autograd still holds on to: none at test time, more with every step of the second order."""
    model, loss = problem()
    held: weakref.WeakSet[_Held] = weakref.WeakSet()

    def pack(tensor: Tensor) -> _Held:
        keep = _Held(tensor)
        held.add(keep)
        return keep

    counts: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda keep: keep.tensor):
        adapted = inner_loop(
            model, loss, steps=4, rates=RATE, order=order, after_step=lambda *_: counts.append(len(held))
        )
    if order == "none":
        assert counts == [0] * 5
    elif order == "second":
        assert counts == sorted(set(counts))
        assert counts[1] > 10
    else:
        assert counts[0] == 0
        assert counts[-1] < 4 * 6 * 2  # what the rates need of each update, but no activations
    del adapted


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("order", ORDERS)
def test_adapts_whatever_the_caller_has_switched_off(around: Any, order: str) -> None:
    model, loss = problem()
    want = bits(inner_loop(model, loss, steps=3, rates=RATE, order=order))
    with around():
        adapted = inner_loop(model, loss, steps=3, rates=RATE, order=order)
    assert bits(adapted) == want
    if order != "none":
        grads = torch.autograd.grad(loss(adapted), list(model.parameters()))
        assert all(bool(g.abs().sum() > 0) for g in grads)


def test_model_made_in_inference_mode_can_be_adapted() -> None:
    with torch.inference_mode():
        model, _ = problem()
        before = bits(model)
    source, target = torch.rand(1, 3, 5, 6), torch.rand(1, 3, 5, 6)
    with torch.inference_mode():
        adapted = inner_loop(model, lambda net: (net(source) - target).abs().mean(), steps=2, rates=RATE, order="none")
    assert bits(model) == before != bits(adapted)


# --- unusual networks ---


@pytest.mark.parametrize("order", ORDERS)
def test_frozen_parameters_stay_frozen(order: str) -> None:
    model, loss = problem()
    model.convs[1].requires_grad_(False)
    rates = PerStepRates(2, 4, initial=0.05)
    adapted = inner_loop(model, loss, steps=2, rates=rates, order=order)
    for (name, p), q in zip(model.named_parameters(), adapted.parameters(), strict=True):
        frozen = name.startswith("convs.1.")
        assert torch.equal(p, q) == frozen, name
        assert q.requires_grad != frozen, name


@pytest.mark.parametrize("order", ORDERS)
def test_shared_parameters_stay_shared(order: str) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 4, bias=False)
    model, x = nn.Sequential(layer, nn.Tanh(), layer), torch.rand(5, 4)
    adapted = inner_loop(model, lambda net: net(x).square().mean(), steps=3, rates=RATE, order=order)
    assert adapted[0].weight is adapted[2].weight
    weight = layer.weight.detach().clone()
    for _ in range(3):
        weight.requires_grad_()
        (g,) = torch.autograd.grad((torch.tanh(x @ weight.T) @ weight.T).square().mean(), weight)
        weight = (weight - 0.1 * g).detach()
    torch.testing.assert_close(adapted[0].weight.detach(), weight)


@pytest.mark.parametrize("order", ORDERS)
def test_parameters_without_a_part_in_the_loss_stay_and_are_still_reached(order: str) -> None:
    torch.manual_seed(0)
    model, x = nn.ModuleDict({"body": nn.Linear(4, 4), "head": nn.Linear(4, 2)}), torch.rand(5, 4)
    adapted = inner_loop(model, lambda net: net["body"](x).square().mean(), steps=2, rates=RATE, order=order)
    for (name, p), q in zip(model.named_parameters(), adapted.parameters(), strict=True):
        assert torch.equal(p, q) == name.startswith("head."), name
    if order != "none":
        outer = adapted["head"](adapted["body"](x)).square().mean()
        assert all(bool(g.any()) for g in torch.autograd.grad(outer, list(model.parameters())))


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm])
def test_running_statistics_are_refused(norm: type[nn.Module]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(norm(3)))
    with pytest.raises(InputError, match=r"layer '1\.0' keeps running statistics.*GroupNorm"):
        inner_loop(model, steps=0, rates=RATE, order="none")


@pytest.mark.parametrize("norm", [nn.GroupNorm(1, 3), nn.BatchNorm2d(3, track_running_stats=False)])
def test_other_norms_are_welcome(norm: nn.Module) -> None:
    model, x = nn.Sequential(nn.Conv2d(3, 3, 1), norm), torch.rand(2, 3, 5, 4)
    before = bits(model)
    adapted = inner_loop(model, lambda net: (net(x) - x).abs().mean(), steps=2, rates=RATE, order="second")
    assert bits(model) == before
    assert not torch.equal(adapted[1].weight, model[1].weight)


# --- errors ---


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_divergence_names_step_rate_and_label(value: float) -> None:
    model, loss = problem()
    calls = iter([1.0, 1.0, value])
    with pytest.raises(
        DivergenceError,
        match=rf"inner loss became {re.escape(str(value))} at step 3 for g2\.0d with mean rate 5\.00e-02",
    ):
        inner_loop(
            model,
            lambda net: loss(net) * next(calls),
            steps=5,
            rates=FixedRates((0.1, 0.1, 0.05)),
            order="none",
            label="g2.0d",
        )


def test_divergence_by_a_rate_that_is_too_high() -> None:
    model, loss = problem()
    with pytest.raises(DivergenceError, match=r"with mean rate 1\.00e\+30; lower the inner rate"):
        inner_loop(model, loss, steps=5, rates=FixedRates((1e30,)), order="none")


def test_divergence_is_seen_in_training_where_a_trace_is_kept() -> None:
    model, loss = problem()
    with pytest.raises(DivergenceError, match="at step 1 with"):
        inner_loop(model, lambda net: loss(net) * float("nan"), steps=1, rates=RATE, order="second", trace=Trace())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": -1}, "at least 0, got -1"),
        ({"support_loss": None}, "either a support_loss or a function for the gradients"),
        ({"gradients": lambda *_: (0.0, [])}, "either a support_loss or a function for the gradients"),
        (
            {"support_loss": None, "gradients": lambda *_: (0.0, []), "order": "second"},
            "cannot be differentiated through: use order='none'",
        ),
        ({"rates": PerStepRates(1, 5)}, "for 5 tensors, but the network adapts 6"),
    ],
)
def test_impossible_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    model, loss = problem()
    with pytest.raises(InputError, match=message):
        inner_loop(model, **{"support_loss": loss, "steps": 1, "rates": RATE, "order": "none"} | options)
