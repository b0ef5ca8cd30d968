"""The engine: when it does not capture, and what it does about a capture that goes wrong."""

import weakref
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from meta.recording import Recorder, Run, Step, inputs
from metasr.errors import InputError
from metasr.meta.cuda_graph import TOLERANCE, Engine, Replay


def test_eager_never_captures(said: Callable[[], list[str]]) -> None:
    recorder, parameter = Recorder(), torch.tensor(2.0)
    step = Step(parameter)
    Engine("eager", capture=recorder).run(step, inputs(), parameters=[parameter])
    assert (recorder.captured, step.calls, said()) == (0, [False], [])


@pytest.mark.parametrize(("kind", "level"), [("auto", "INFO"), ("captured", "WARNING")])
def test_on_a_cpu_it_runs_eagerly_and_says_so_once(kind: str, level: str, said: Callable[[], list[str]]) -> None:
    engine, parameter = Engine(kind), torch.tensor(2.0)  # type: ignore[arg-type]
    step = Step(parameter)
    for seed in range(3):
        engine.run(step, inputs(seed=seed), parameters=[parameter])
    assert step.calls == [False] * 3
    assert said() == [f"{level} steps run eagerly: tensors are on cpu: there are no CUDA graphs"]


def test_a_failing_capture_is_told_once_and_not_tried_again(said: Callable[[], list[str]]) -> None:
    tried = []

    def capture(run: Run) -> Replay:
        tried.append(1)
        raise RuntimeError("operation not permitted when stream is capturing\nmore lines")

    engine, parameter = Engine(capture=capture), torch.tensor(2.0)
    step = Step(parameter)
    for seed in range(3):
        given = inputs(seed=seed)
        assert torch.equal(engine.run(step, given, parameters=[parameter])[0], 2 * given[0] + given[1])
    assert (len(tried), step.calls) == (1, [False] * 3)
    assert said() == [
        "WARNING steps run eagerly from here on: capturing failed: RuntimeError: operation not permitted when stream "
        "is capturing"
    ]


def test_what_was_being_captured_is_let_go_before_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure's traceback holds its frames, and what lies in them."""
    held: list[weakref.ref[Tensor]] = []
    seen: list[bool] = []

    def capture(run: Run) -> Replay:
        outputs = run()
        held.append(weakref.ref(outputs[0]))
        raise RuntimeError(f"no room for {len(outputs)}")

    class Watched(Step):
        def __call__(self, inputs: Sequence[Tensor], side_by_side: bool) -> list[Tensor]:
            if side_by_side:
                held.append(weakref.ref(inputs[0]))
            return super().__call__(inputs, side_by_side)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: seen.append(all(t() is None for t in held)))
    parameter = torch.tensor(2.0)
    Engine(capture=capture).run(Watched(parameter), inputs(), parameters=[parameter])
    assert len(held) == 2
    assert seen == [True]


def test_steps_too_large_to_capture_leave_smaller_ones_captured(said: Callable[[], list[str]]) -> None:
    recorder, parameter = Recorder(), torch.tensor(2.0)
    tried: list[int] = []

    def capture(run: Run) -> Replay:
        tried.append(len(run()[0]))
        if tried[-1] > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return recorder(run)

    engine, step = Engine(graphs=3, capture=capture), Step(parameter)
    for count in (3, 5, 4, 5, 3, 4, 5, 2, 2):
        given = inputs(count)
        assert torch.equal(engine.run(step, given, parameters=[parameter])[0], 2 * given[0] + given[1])
    assert tried == [3, 5, 4]  # the one of 5 counts among the three, and is not tried again
    assert recorder.played == 4
    assert [line for line in said() if "eagerly" in line] == [
        "WARNING steps of this kind run eagerly from here on: capturing failed: OutOfMemoryError: CUDA out of memory. "
        "Tried to allocate 2 GiB",
        "INFO steps run eagerly: steps of more than 3 kinds (shapes, weights of 0)",
    ]


def test_steps_too_large_are_tried_again_where_the_parameters_have_moved() -> None:
    tried: list[int] = []

    def capture(run: Run) -> Replay:
        tried.append(1)
        raise torch.OutOfMemoryError("full")

    engine = Engine(capture=capture)
    places = [torch.tensor(2.0), torch.tensor(3.0)]
    for parameter in (places[0], places[0], places[1]):
        engine.run(Step(parameter), inputs(), parameters=[parameter])
    assert len(tried) == 2


def test_errors_of_the_step_itself_are_the_callers() -> None:
    def step(given: Sequence[Tensor], side_by_side: bool) -> list[Tensor]:
        raise InputError("the step's own")

    with pytest.raises(InputError, match="the step's own"):
        Engine(capture=Recorder()).run(step, inputs(), parameters=[])


def off_by(share: float) -> Callable[[list[Tensor]], None]:
    def spoil(outputs: list[Tensor]) -> None:
        outputs[0].mul_(1 + share)

    return spoil


def test_a_capture_that_gives_other_results_is_dropped(said: Callable[[], list[str]]) -> None:
    recorder, parameter = Recorder(spoil=off_by(2 * TOLERANCE)), torch.tensor(2.0)
    engine, step = Engine(capture=recorder), Step(parameter)
    for seed in range(3):
        given = inputs(seed=seed)
        assert torch.equal(engine.run(step, given, parameters=[parameter])[0], 2 * given[0] + given[1])
    assert (recorder.captured, recorder.played) == (1, 1)
    (line,) = said()
    assert line.startswith(
        "WARNING steps run eagerly from here on: the captured step differs from the eager one by 1.0e-01"
    )
    assert line.endswith("(at most 5e-02)")


def test_rounding_is_no_difference() -> None:
    recorder, parameter = Recorder(spoil=off_by(0.5 * TOLERANCE)), torch.tensor(2.0)
    engine = Engine(capture=recorder)
    engine.run(Step(parameter), inputs(), parameters=[parameter])
    engine.run(Step(parameter), inputs(), parameters=[parameter])
    assert recorder.played == 2


def test_numbers_recorded_as_constants_are_noticed(said: Callable[[], list[str]]) -> None:
    """A graph that does not read its inputs repeats what it was recorded with; the first step already tells."""

    def capture(run: Run) -> Replay:
        held = [t.clone() for t in run()]
        return lambda: held

    engine, parameter = Engine(capture=capture), torch.tensor(2.0)
    got = engine.run(Step(parameter), inputs(), parameters=[parameter])
    assert torch.equal(got[0], 2 * inputs()[0] + inputs()[1])
    assert "differs from the eager one" in said()[0]


def test_results_that_are_not_finite_prove_nothing() -> None:
    recorder, parameter = Recorder(), torch.tensor(float("nan"))
    engine = Engine(capture=recorder)
    assert engine.run(Step(parameter), inputs(), parameters=[parameter])[0].isnan().all()
    assert recorder.captured == 0
    parameter.fill_(2.0)
    engine.run(Step(parameter), inputs(), parameters=[parameter])
    assert recorder.captured == 1
