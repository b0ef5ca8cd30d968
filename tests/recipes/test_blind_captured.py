"""Steps of teacher and student, recorded once and played back: what changes from step to step is seen."""

from collections.abc import Callable

import pytest
from torch import Tensor

from metasr.meta.cuda_graph import Engine
from metasr.recipes.base import Recipe
from metasr.recipes.student import Student
from metasr.recipes.teacher import Teacher
from recipes.blind_parts import adapting, blind, mln, pairs, same, teacher_net
from recipes.fitting import fit

pytestmark = pytest.mark.filterwarnings("ignore:You are trying to `self.log")


def teacher(reset: str) -> Recipe:
    return Teacher(teacher_net(), view=adapting(), mln=mln(), mln_reset=reset, steps=4, rate=1e-3)


def student(reset: str) -> Recipe:
    return Student(
        blind(), teacher=teacher_net(seed=2).encoder, view=adapting(), mln=mln(), mln_reset=reset, steps=4,
        encoder_steps=2, rate=1e-3, rehearsed=2,
    )  # fmt: skip


@pytest.mark.parametrize("reset", ["per_batch", "never"])
@pytest.mark.parametrize("make", [teacher, student])
def test_steps_played_back_are_eager_ones(make: Callable[[str], Recipe], reset: str) -> None:
    count: list[int] = []

    def played(run: Callable[[], list[Tensor]]) -> Callable[[], list[Tensor]]:
        held = [t.clone() for t in run()]

        def replay() -> list[Tensor]:
            count.append(1)
            for into, value in zip(held, run(), strict=True):
                into.copy_(value)
            return held

        return replay

    ends = []
    for engine in (Engine("eager"), Engine(capture=played)):
        recipe = make(reset)
        recipe.engine = engine
        fit(recipe, [pairs(seed=s, variance=1.0 + s) for s in range(4)], steps=4)
        ends.append({k: v.clone() for k, v in recipe.state_dict().items()})
    assert len(count) == 4
    assert same(*ends)
    assert any("drift" in k for k in ends[0]) == (reset == "never")


def test_nothing_is_copied_from_the_device_while_a_step_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking a tensor for its value would be: a captured step could not do it."""
    recipes = [teacher("never"), student("per_batch")]
    batch = pairs()
    monkeypatch.setattr(Tensor, "item", lambda _: pytest.fail("a value was asked for"))
    monkeypatch.setattr(Tensor, "__float__", lambda _: pytest.fail("a value was asked for"))
    monkeypatch.setattr(Tensor, "__bool__", lambda _: pytest.fail("a value was asked for"))
    for recipe in recipes:
        inputs = [batch.lr, batch.hr]
        if isinstance(recipe, Student):
            assert len(recipe._differentiate(inputs, alone=True)) > 4
        else:
            assert len(recipe._differentiate(inputs, False)) > 4
