"""How rates fall."""

import math
from itertools import pairwise

import numpy as np
import pytest

from metasr.errors import InputError
from metasr.solvers.zssr import rate_rules
from metasr.solvers.zssr.rate_rules import CosineRule, SlopeRule, make_rule, slope_and_deviation


@pytest.mark.parametrize("count", [3, 5, 8])
def test_slope_and_its_deviation_against_numpy(count: int) -> None:
    errors = np.random.default_rng(count).normal(size=count) - 0.2 * np.arange(count)
    slope, deviation = slope_and_deviation(errors.tolist())
    assert slope == pytest.approx(np.polyfit(np.arange(count), errors, 1)[0])
    design = np.stack([np.arange(count), np.ones(count)], 1)
    residual = errors - design @ np.linalg.lstsq(design, errors, rcond=None)[0]
    covariance = residual @ residual / (count - 2) * np.linalg.inv(design.T @ design)
    assert deviation == pytest.approx(math.sqrt(covariance[0, 0]))


def test_of_two_errors_nothing_is_known() -> None:
    assert slope_and_deviation([1.0, 0.5]) == (0.0, math.inf)


def test_cosine_rises_and_falls_to_zero() -> None:
    rule = CosineRule(0.01, rise=0.1)
    rates = [rule.rate(i / 100) for i in range(101)]
    assert 0 < rates[0] < 0.001
    assert max(rates) == pytest.approx(0.01, rel=0.03)
    assert rates.index(max(rates)) == 10
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[50] == pytest.approx(0.005)
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert rule.rate(-1.0) == rates[0]
    assert rule.rate(2.0) == rates[100]
    assert rule.watches == 0


def watched(rule: SlopeRule, errors: list[float]) -> list[tuple[float, str]]:
    return [(rule.current, why) for i, e in enumerate(errors) for why in [rule.watch(50 * (i + 1), e)]]


def test_the_rate_stays_while_the_error_falls() -> None:
    rule = SlopeRule(1e-3)
    seen = watched(rule, [1.0 - 0.01 * i for i in range(40)])
    assert {rate for rate, _ in seen} == {1e-3}
    assert rule.rate(0.9) == 1e-3


def test_the_rate_is_divided_by_ten_where_the_error_settles_and_learning_ends_below_the_threshold() -> None:
    rule = SlopeRule(1e-3)
    noise = np.random.default_rng(0).normal(size=200).tolist()
    seen = watched(rule, [1 + 0.1 * n for n in noise])
    rates = [rate for rate, _ in seen]
    assert rates[:4] == [1e-3] * 4  # five errors are wanted
    reached = sorted(set(rates), reverse=True)
    assert reached[:3] == pytest.approx([1e-3, 1e-4, 1e-5])
    first_end = next(i for i, (_, why) in enumerate(seen) if why)
    assert seen[first_end][1] == "the rate fell below 9e-06"
    assert seen[first_end][0] < 9e-6
    changes = [i for i in range(1, first_end + 1) if rates[i] < rates[i - 1]]
    assert all(b - a >= 5 for a, b in pairwise(changes))  # each from errors of its own


@pytest.mark.parametrize(
    ("slope", "steps"),
    [(-1.0, [250, 350, 450, 550, 650]), (0.0, [250, 500, 750, 1000])],  # falling; settled, so divided each time
)
def test_how_often_the_slope_is_looked_at(slope: float, steps: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    rule, step = SlopeRule(1.0), 0

    def look(errors: list[float]) -> tuple[float, float]:
        assert len(errors) == 5
        looked.append(step)
        return slope, 0.5

    monkeypatch.setattr(rate_rules, "slope_and_deviation", look)
    while step < steps[-1]:
        step += rule.watches
        rule.watch(step, 1.0)
    assert looked == steps
    assert rule.current == pytest.approx(1.0 if slope else 10.0 ** -len(steps))


def test_rules_by_name() -> None:
    assert isinstance(make_rule("cosine", rate=1.0), CosineRule)
    assert isinstance(make_rule("published", rate=1.0), SlopeRule)
    with pytest.raises(InputError, match="schedule must be one of cosine, published, got 'step'"):
        make_rule("step", rate=1.0)  # type: ignore[arg-type]
