"""What all recipes share."""

import math
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metasr.checks import check_state
from metasr.errors import DivergenceError, InputError, WeightsError
from metasr.models.plain_cnn import PlainCNN
from metasr.recipes.base import Recipe, Staircase, require_finite_weights, schedule_factor
from recipes.fitting import fit


class Toy(Recipe):
    """One weight; its loss is the batch."""

    unit = "toy step"

    def __init__(self, *, steps: int = 4, schedule: Any = "constant") -> None:
        super().__init__(nn.Linear(1, 1, bias=False), steps=steps, schedule=schedule)
        self.rates_seen: list[float] = []

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.model.parameters()), "lr": 0.5}]

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.rates_seen.append(self.optimizers().param_groups[0]["lr"])
        loss = (self.model.weight * batch).sum()
        self.require_finite(loss, of=lambda: "tasks g2.0d, gani_d")
        return loss


def test_constant() -> None:
    assert [schedule_factor("constant", step, 10) for step in (0, 5, 10, 99)] == [1.0] * 4


def test_cosine_falls_from_one_to_zero() -> None:
    want = {0: 1.0, 25: (1 + math.sqrt(0.5)) / 2, 50: 0.5, 75: (1 - math.sqrt(0.5)) / 2, 100: 0.0, 170: 0.0}
    for step, factor in want.items():
        assert schedule_factor("cosine", step, 100) == pytest.approx(factor, abs=1e-12)
    assert schedule_factor("cosine", 0, 0) == 1.0


def test_staircase_is_the_published_decay() -> None:
    """4e-4 halved every 100,000 steps, not below 1e-4."""
    steps = [0, 99_999, 100_000, 199_999, 200_000, 300_000, 1_000_000]
    rates = [4e-4 * schedule_factor("staircase", step, 10) for step in steps]
    assert rates == pytest.approx([4e-4, 4e-4, 2e-4, 2e-4, 1e-4, 1e-4, 1e-4])
    assert schedule_factor("staircase", 25, 10, every=10, floor=0.01) == 0.25


def test_a_staircase_of_its_own() -> None:
    stairs = Staircase(every=3, factor=0.1)
    got = [schedule_factor(stairs, step, 10) for step in (0, 2, 3, 5, 6)]
    assert got == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert schedule_factor(Staircase(every=2), 4, 10) == 0.25
    for impossible in ({"every": 0}, {"every": 2, "factor": 0.0}, {"every": 2, "factor": 1.5}):
        with pytest.raises(InputError, match=r"a staircase needs every >= 1 and a factor in \(0, 1\], got"):
            Staircase(**impossible)


def test_unknown_schedule_is_refused() -> None:
    with pytest.raises(InputError, match="'constant', 'cosine' or 'staircase', got 'linear'"):
        schedule_factor("linear", 0, 1)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_optimiser_follows_the_schedule_step_by_step(schedule: str) -> None:
    toy = Toy(schedule=schedule)
    fit(toy, [torch.ones(1)], steps=4)
    assert toy.rates_seen == pytest.approx([0.5 * schedule_factor(schedule, step, 4) for step in range(4)])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_training_stops_at_a_loss_that_is_not_finite(value: float) -> None:
    toy = Toy(schedule="cosine")
    with torch.no_grad():
        toy.model.weight.fill_(10.0)
    good = torch.ones(1)
    with pytest.raises(
        DivergenceError,
        match=rf"Toy: loss became {value} at step 2 for tasks g2\.0d, gani_d with learning rate 2\.50e-01",
    ):
        fit(toy, [good, good, good * value, good], steps=4)
    assert toy.model.weight.isfinite().all()


def test_a_loss_with_a_graph_is_told_without_a_warning() -> None:
    toy = Toy()
    toy.optimizers = lambda: SimpleNamespace(param_groups=[{"lr": 0.5}])  # type: ignore[method-assign]
    loss = (toy.model.weight * float("nan")).sum()
    torch.set_warn_always(True)  # torch says it once in a process, and another test may have been first
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(DivergenceError, match="loss became nan at step 0 for here"):
                toy.require_finite(loss, of=lambda: "here")
    finally:
        torch.set_warn_always(False)


def test_a_loss_that_touches_all_has_gradients_of_zero_for_the_rest() -> None:
    class Two(Toy):
        def parameter_groups(self) -> list[dict[str, Any]]:
            return [{"params": list(self.model.parameters())}, {"params": [other, frozen]}]

    other = nn.Parameter(torch.full((2, 3), float("nan"), dtype=torch.float64))
    frozen = nn.Parameter(torch.ones(2), requires_grad=False)
    toy = Two()
    loss = toy.model.weight.square().sum()
    touching = toy.touching_all(loss)
    assert touching.item() == loss.item()
    got = torch.autograd.grad(touching, [toy.model.weight, other])
    assert torch.equal(got[0], 2 * toy.model.weight)
    assert torch.equal(got[1], torch.zeros(2, 3, dtype=torch.float64))


def test_export_is_a_copy() -> None:
    toy = Toy()
    exported = toy.export()
    assert list(exported) == ["weight"]
    with torch.no_grad():
        toy.model.weight.add_(1.0)
    assert torch.equal(exported["weight"] + 1, toy.model.weight)
    assert not exported["weight"].requires_grad


class Plain(Recipe):
    """A recipe of the suite's network, never trained here."""

    def __init__(self, layers: int = 3) -> None:
        super().__init__(PlainCNN(channels=4, layers=layers), steps=1)


def test_parent_is_loaded_and_counted() -> None:
    torch.manual_seed(0)
    parent, child = Plain(), Plain()
    assert not torch.equal(parent.model.conv1.weight, child.model.conv1.weight)
    assert child.load_parent(parent.export(), origin="01_pretrain") == "6 of 6 network tensors from 01_pretrain"
    assert all(torch.equal(v, parent.export()[k]) for k, v in child.export().items())


def test_rates_of_a_parent_are_counted_as_not_used() -> None:
    state = Plain().export() | {"inner_rates": torch.ones(2, 6)}
    assert Plain().load_parent(state, origin="here") == "6 of 6 network tensors from here, 1 rate tensors not used"


def test_a_parent_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    child = Plain()
    before = child.export()
    whole = Plain().export()
    wider = PlainCNN(channels=5, layers=3).state_dict()
    deeper = PlainCNN(channels=4, layers=4).state_dict()
    cases = [
        ({k: v for k, v in whole.items() if k != "conv2.bias"}, r"1 missing \(conv2\.bias\);"),
        (whole | {"head": torch.ones(1), "inner_rates": torch.ones(1, 6)}, r"1 unknown \(head\);"),
        ({}, r"6 missing \(conv1\.bias; conv1\.weight; conv2\.bias; \.\.\.\);"),
        (wider, r"5 of another shape \(conv1\.weight: expected \(4, 3, 3, 3\), got \(5, 3, 3, 3\); "),
        (
            deeper,
            r"2 unknown \(conv4\.bias; conv4\.weight\), 2 of another shape \(conv3\.weight: expected \(3, 4, 3, 3\)",
        ),
    ]
    for state, message in cases:
        with pytest.raises(WeightsError, match="^some file holds the weights of another network: " + message) as caught:
            child.load_parent(state, origin="some file")
        assert "choose the file made for this model" in str(caught.value)
    assert all(torch.equal(v, before[k]) for k, v in child.export().items())


def test_check_state_accepts_equal_names_and_shapes() -> None:
    state = Plain().export()
    assert check_state(state, {k: v + 1 for k, v in state.items()}, origin="x") is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_named(value: float) -> None:
    plain = Plain()
    require_finite_weights(plain, step=7)
    with torch.no_grad():
        plain.model.conv1.weight[0, 0, 0, 0] = value
    with pytest.raises(
        DivergenceError,
        match=r"Plain: 1 of 6 parameters \(model\.conv1\.weight\) were not finite after step 7; .*resume point"
        r".* is kept: lower the learning rate or the inner rate",
    ):
        require_finite_weights(plain, step=7)


def test_large_weights_and_no_weights_are_finite() -> None:
    large = nn.Linear(1000, 1)
    with torch.no_grad():
        large.weight.fill_(1e38)  # whose sum and norm are not
    require_finite_weights(large, step=0)
    require_finite_weights(nn.ReLU(), step=0)


@pytest.mark.parametrize("value", [-1, 0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["rate", "rates_lr", "weight_rate"])
def test_learning_rates_are_above_zero(name: str, value: float) -> None:
    toy = Toy()
    toy.require_rates()
    setattr(toy, name, value)
    with pytest.raises(InputError, match=rf"^Toy: {name} must be a finite number above 0, got {value}$"):
        toy.configure_optimizers()
    setattr(toy, name, None)  # one that is chosen later
    toy.require_rates()
