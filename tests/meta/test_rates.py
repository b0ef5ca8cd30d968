"""Inner learning rates."""

from typing import Any

import pytest
import torch
from torch import nn

from metasr.errors import InputError
from metasr.meta.rates import (
    FixedRates,
    MetaSGDRates,
    PerStepRates,
    make_rates,
    mean_rate,
    published_schedule,
    rates_from_state,
)
from metasr.models.plain_cnn import PlainCNN


def numbers(row: Any) -> list[float]:
    return [torch.as_tensor(r).item() for r in row]


def test_fixed_schedule_goes_on_with_its_last_rate() -> None:
    rates = FixedRates((0.3, 0.2, 0.1))
    assert [rates.at(step) for step in range(6)] == [0.3, 0.2, 0.1, 0.1, 0.1, 0.1]
    assert list(rates.parameters()) == []
    rates.clamp_()
    assert rates.schedule == (0.3, 0.2, 0.1)


@pytest.mark.parametrize("schedule", [(), (0.1, 0.0), (-0.1,)])
def test_impossible_schedules_are_refused(schedule: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="at least one rate, all above 0"):
        FixedRates(schedule)


def test_learned_rates_are_the_rows_and_then_half_the_last_row() -> None:
    values = torch.tensor([[0.01, 0.02, 0.03], [0.04, 0.05, 0.06]])
    rates = PerStepRates.of(values)
    assert numbers(rates.at(0)) == pytest.approx([0.01, 0.02, 0.03])
    assert numbers(rates.at(1)) == pytest.approx([0.04, 0.05, 0.06])
    for step in (2, 3, 50):
        assert numbers(rates.at(step)) == pytest.approx([0.02, 0.025, 0.03])
    assert numbers(PerStepRates.of(values, tail=0.1).at(2)) == pytest.approx([0.004, 0.005, 0.006])


def test_learned_rates_can_be_differentiated_one_by_one() -> None:
    rates = PerStepRates(3, 4, initial=0.05)
    assert torch.equal(rates.inner_rates, torch.full((3, 4), 0.05))
    (gradient,) = torch.autograd.grad(rates.at(1)[2] * 7 + rates.at(5)[0], rates.inner_rates)
    want = torch.zeros(3, 4)
    want[1, 2], want[2, 0] = 7.0, 0.5
    assert torch.equal(gradient, want)


def test_clamp_puts_rates_back_inside() -> None:
    rates = PerStepRates(1, 4, initial=0.02, bounds=(0.01, 0.05))
    with torch.no_grad():
        rates.inner_rates.copy_(torch.tensor([[-1.0, 0.02, 0.06, 0.01]]))
    rates.clamp_()
    assert numbers(rates.at(0)) == pytest.approx([0.01, 0.02, 0.05, 0.01])
    assert PerStepRates(1, 1).bounds == (1e-4, 1e-1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_of_keeps_values_exactly(dtype: torch.dtype) -> None:
    values = torch.rand(2, 3, dtype=dtype) + 1e-6
    rates = PerStepRates.of(values)
    assert rates.inner_rates.dtype == dtype
    assert torch.equal(rates.inner_rates, values)
    rates.clamp_()
    assert torch.equal(rates.inner_rates, values)
    assert rates.inner_rates.data_ptr() != values.data_ptr()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0, "tensors": 2}, "at least one step and one tensor, got 0 and 2"),
        ({"steps": 2, "tensors": 0}, "at least one step and one tensor, got 2 and 0"),
        ({"steps": 1, "tensors": 1, "initial": 0.2}, "must start inside their bounds .0.0001, 0.1., got 0.2"),
        ({"steps": 1, "tensors": 1, "bounds": (0.0, 1.0)}, "must start inside their bounds"),
    ],
)
def test_impossible_learned_rates_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PerStepRates(**options)


def test_meta_sgd_has_one_rate_per_weight_at_every_step() -> None:
    shapes = [(2, 3, 1, 1), (2,)]
    rates = MetaSGDRates([torch.zeros(s) for s in shapes], initial=0.03)
    for step in (0, 9):
        assert [tuple(r.shape) for r in rates.at(step)] == shapes
        assert all(bool((r == 0.03).all()) for r in rates.at(step))
    with torch.no_grad():
        rates.meta_rates[1].fill_(-1.0)
    rates.clamp_()
    assert numbers(rates.at(0)[1]) == [-1.0, -1.0]


def test_the_mean_of_a_row_counts_every_tensor_once() -> None:
    assert mean_rate(0.3) == 0.3
    assert mean_rate([0.1, torch.tensor([0.2, 0.4, 0.6], dtype=torch.float64, requires_grad=True)]) == pytest.approx(
        0.25, rel=1e-12
    )
    assert mean_rate([]) == 0


def test_make_rates_by_kind() -> None:
    model = PlainCNN(channels=4, layers=3)
    model.conv2.requires_grad_(False)
    fixed = make_rates("fixed", model, steps=3, initial=0.02)
    assert isinstance(fixed, FixedRates)
    assert fixed.at(7) == 0.02
    scheduled = make_rates("fixed", model, steps=3, initial=0.02, schedule=(0.5, 0.4))
    assert [scheduled.at(0), scheduled.at(1)] == [0.5, 0.4]
    learned = make_rates("per_step", model, steps=3, initial=0.02)
    assert isinstance(learned, PerStepRates)
    assert torch.equal(learned.inner_rates, torch.full((3, 4), 0.02))
    per_weight = make_rates("meta_sgd", model, steps=3, initial=0.02)
    assert [r.shape for r in per_weight.parameters()] == [p.shape for p in model.parameters() if p.requires_grad]
    with pytest.raises(InputError, match="must be 'fixed', 'per_step' or 'meta_sgd', got 'per_tensor'"):
        make_rates("per_tensor", model, steps=3, initial=0.02)


@pytest.mark.parametrize("kind", ["per_step", "meta_sgd"])
def test_learned_rates_survive_the_way_through_a_file(kind: str) -> None:
    model = nn.ModuleList(nn.Conv2d(3, n, 1) for n in range(1, 7))  # 12 tensors: their names must not sort as text
    rates = make_rates(kind, model, steps=2, initial=0.02)
    with torch.no_grad():
        for r in rates.parameters():
            r.uniform_(0.01, 0.1)
    state = {**model.state_dict(), **rates.state_dict()}
    again = rates_from_state(dict(reversed(state.items())))
    assert type(again) is type(rates)
    for step in (0, 1, 2):
        for a, b in zip(rates.at(step), again.at(step), strict=True):
            assert torch.equal(a, b)


def test_no_rates_in_a_plain_state() -> None:
    assert rates_from_state(PlainCNN(channels=4, layers=2).state_dict()) is None


@pytest.mark.parametrize(
    ("downsample", "scale", "ten"),
    [
        ("direct", 2, [2e-2, 1e-2, 1e-2, 1e-2] + [5e-3] * 6),
        ("direct", 4, [1e-2] + [5e-3] * 4 + [1e-3] * 5),
        ("bicubic", 2, [1e-2] * 3 + [1e-3] * 7),
        ("area", 2, [1e-2] * 3 + [1e-3] * 7),
        ("direct", 3, [1e-2] * 3 + [5e-3] * 7),
        ("bicubic", 4, [1e-2] * 3 + [5e-3] * 7),
        ("bicubic", 2.2, [1e-2] * 3 + [5e-3] * 7),
    ],
)
def test_published_schedules(downsample: str, scale: float, ten: list[float]) -> None:
    rates = FixedRates(published_schedule(downsample, scale))
    assert [rates.at(step) for step in range(10)] == ten
