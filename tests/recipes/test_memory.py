"""What is remembered of earlier steps."""

import pytest
import torch
from torch import Tensor, nn

from metasr.errors import InputError
from metasr.recipes.memory import Memory, Rehearsing


def rows(start: int, count: int = 4) -> list[Tensor]:
    values = torch.arange(start, start + count)
    return [values.float()[:, None], values.double()]  # 12 bytes each


def test_the_latest_are_kept_and_stay_together() -> None:
    memory = Memory(room=7 * 12)
    for start in (0, 4, 8):
        memory.keep(rows(start))
        one, other = memory.draw(60, step=0)
        assert torch.equal(one[:, 0].double(), other)
    assert set(other.tolist()) == {5, 6, 7, 8, 9, 10, 11}


def test_more_at_once_than_there_is_room_for() -> None:
    memory = Memory(room=3 * 12)
    memory.keep(rows(0, 8))
    assert set(memory.draw(60, step=0)[1].tolist()) == {5, 6, 7}


def test_a_row_larger_than_the_room_is_kept_alone() -> None:
    memory = Memory(room=1)
    memory.keep(rows(0))
    assert memory.draw(5, step=0)[1].tolist() == [3] * 5


def test_draws_depend_on_the_step_alone() -> None:
    memory = Memory()
    memory.keep(rows(0, 50))
    first = memory.draw(20, step=1)[1]
    assert torch.equal(memory.draw(20, step=1)[1], first)
    assert not torch.equal(memory.draw(20, step=2)[1], first)


def test_nothing_is_drawn_of_nothing() -> None:
    assert Memory().draw(3, step=0) == []


def test_what_is_kept_has_no_history() -> None:
    memory = Memory()
    memory.keep([torch.ones(2, 3, requires_grad=True) * 2])
    assert not memory.draw(1, step=0)[0].requires_grad


@pytest.mark.parametrize("steps", [1, 2, 3])  # room for ten: less than full, full, and gone round
def test_a_resume_point_goes_on_alike(steps: int) -> None:
    one, other = (Rehearsing(nn.Linear(1, 1), steps=9, schedule="constant", rehearsed=5) for _ in range(2))
    for recipe in (one, other):
        recipe.memory.room = 10 * 12
    for i in range(steps):
        one.remember(rows(5 * i, 5))
    checkpoint: dict[str, object] = {}
    one.on_save_checkpoint(checkpoint)
    other.on_load_checkpoint(checkpoint)
    for recipe in (one, other):
        recipe.remember(rows(100, 3))
    for a, b in zip(one.memory.draw(40, step=3), other.memory.draw(40, step=3), strict=True):
        assert torch.equal(a, b)


def test_nothing_is_remembered_where_nothing_is_rehearsed() -> None:
    recipe, checkpoint = Rehearsing(nn.Linear(1, 1), steps=9, schedule="constant", rehearsed=0), {}
    recipe.remember(rows(0))
    assert recipe.remembered() == []
    recipe.on_save_checkpoint(checkpoint)
    assert checkpoint["memory"] == {"count": 0, "rows": []}
    recipe.on_load_checkpoint(checkpoint)
    recipe.on_load_checkpoint({})


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(InputError, match="rehearsed must be at least 0, got -1"):
        Rehearsing(nn.Linear(1, 1), steps=9, schedule="constant", rehearsed=-1)
