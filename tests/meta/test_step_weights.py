"""Weights of the query losses after each inner step."""

import pytest

from metasr.errors import InputError
from metasr.meta.step_weights import StepWeights


def published(iteration: int) -> list[float]:
    """MZSR's five weights, as its text tells them: a constant fall per iteration down to a floor."""
    early = 1 / 5
    for _ in range(min(iteration, 4000)):
        early = max(early - (1 / 5) / (10_000 / 3), 0.03 / 5)
    return [early] * 4 + [1 - 4 * early]


@pytest.mark.parametrize("iteration", [0, 1, 1000, 3000, 3233, 3234, 3500, 99_999])
def test_annealed_is_the_published_schedule(iteration: int) -> None:
    assert StepWeights().at(iteration, 5) == pytest.approx(published(iteration), abs=1e-9)


def test_annealed_ends() -> None:
    assert StepWeights().at(0, 5) == pytest.approx([0.2] * 5)
    for late in (round(10_000 / 3), 10**6):
        assert StepWeights().at(late, 5) == pytest.approx([0.006] * 4 + [0.976])


@pytest.mark.parametrize("kind", ["annealed", "uniform", "final"])
@pytest.mark.parametrize("steps", [1, 2, 5, 8])
@pytest.mark.parametrize("iteration", [0, 700, 50_000])
def test_sum_is_one_and_none_is_negative(kind: str, steps: int, iteration: int) -> None:
    weights = StepWeights(kind=kind).at(iteration, steps)
    assert len(weights) == steps
    assert sum(weights) == pytest.approx(1.0)
    assert min(weights) >= 0


def test_uniform_and_final_do_not_change() -> None:
    for iteration in (0, 12_345):
        assert StepWeights(kind="uniform").at(iteration, 4) == pytest.approx([0.25] * 4)
        assert StepWeights(kind="final").at(iteration, 4) == [0.0, 0.0, 0.0, 1.0]


def test_anneal_steps_and_floor() -> None:
    assert StepWeights(anneal_steps=10, floor=0.5).at(2, 2) == pytest.approx([0.4, 0.6])
    assert StepWeights(anneal_steps=10, floor=0.5).at(9, 2) == pytest.approx([0.25, 0.75])
    assert StepWeights(anneal_steps=10, floor=0.0).at(10, 2) == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize("kind", ["annealed", "uniform", "final"])
def test_first_comes_on_top(kind: str) -> None:
    plain, more = StepWeights(kind=kind).at(100, 3), StepWeights(kind=kind, first=0.3).at(100, 3)
    assert [m - p for m, p in zip(more, plain, strict=True)] == pytest.approx([0.3, 0.0, 0.0])


@pytest.mark.parametrize("kind", ["annealed", "uniform", "final"])
@pytest.mark.parametrize("iteration", [0, 96, 97, 98, 5000])
def test_weights_at_their_floor_can_be_skipped(kind: str, iteration: int) -> None:
    plain, skipping = (
        StepWeights(kind=kind, anneal_steps=100, first=0.2, skip_floor=skip).at(iteration, 4) for skip in (False, True)
    )
    resting = kind == "annealed" and iteration > 97
    assert skipping == (pytest.approx([0.2, 0.0, 0.0, 1.0]) if resting else plain)


def test_a_floor_of_one_is_where_uniform_weights_are_not() -> None:
    assert StepWeights(kind="uniform", floor=1.0, skip_floor=True).at(9, 2) == [0.5, 0.5]


@pytest.mark.parametrize(
    "options",
    [{"kind": "last"}, {"anneal_steps": 0}, {"floor": -0.1}, {"floor": 1.1}, {"first": -1e-9}, {"before": -1.0}],
)
def test_impossible_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match="step weights"):
        StepWeights(**options)


def test_without_a_step_there_is_one_loss() -> None:
    assert StepWeights(first=0.5).at(7, 0) == [1.0]
    with pytest.raises(InputError, match="the number of inner steps must be at least 0, got -1"):
        StepWeights().at(0, -1)
