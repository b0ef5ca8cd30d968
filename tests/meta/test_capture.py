"""The engine: when it captures, when it does not, and what it does about a capture that goes wrong.

Without a GPU a recording that is played back by Python stands for the CUDA graph: like one, it works on the tensors it
was recorded with, and hands out the same results each time.
"""

import copy
import logging
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from metasr.data.tasks import Task
from metasr.errors import InputError
from metasr.meta.capture import TOLERANCE, Engine, Replay, capture_cuda, worst_difference
from metasr.meta.meta_gradient import differentiate, meta_gradient, on_streams, problem_of
from metasr.meta.precision import Precision
from metasr.meta.rates import MetaSGDRates, PerStepRates, Rates, make_rates
from metasr.models.plain_cnn import PlainCNN
from small_problems import SmoothCNN, real_task

Run = Callable[[], list[Tensor]]


class Recorder:
    """Stands for CUDA's capture, and counts; ``spoil`` changes what is played back."""

    def __init__(self, spoil: Callable[[list[Tensor]], None] = lambda outputs: None) -> None:
        self.captured = self.played = 0
        self.spoil = spoil

    def __call__(self, run: Run) -> Replay:
        self.captured += 1
        held = [t.clone() for t in run()]

        def replay() -> list[Tensor]:
            self.played += 1
            for into, value in zip(held, run(), strict=True):
                into.copy_(value)
            self.spoil(held)
            return held

        return replay


class Step:
    """x, y ↦ p·x + y and Σx: counts its calls, and remembers whether it was to work side by side."""

    def __init__(self, parameter: Tensor) -> None:
        self.parameter = parameter
        self.calls: list[bool] = []

    def __call__(self, inputs: Sequence[Tensor], side_by_side: bool) -> list[Tensor]:
        self.calls.append(side_by_side)
        x, y = inputs
        return [self.parameter * x + y, x.sum()]


def inputs(count: int = 3, *, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(count, 2, generator=generator) for _ in range(2)]


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, "metasr.meta.capture")
    return lambda: [f"{r.levelname} {r.getMessage()}" for r in caplog.records]


def test_every_step_after_the_first_is_replayed_on_its_own_numbers(said: Callable[[], list[str]]) -> None:
    recorder, parameter = Recorder(), torch.tensor(2.0)
    engine, step = Engine(capture=recorder), Step(parameter)
    for seed in range(4):
        given = inputs(seed=seed)
        got = engine.run(step, given, parameters=[parameter])
        want = Step(parameter)(given, False)
        assert all(torch.equal(g, w) for g, w in zip(got, want, strict=True))
        parameter.mul_(1.5)  # as an optimiser does, in place
    assert (recorder.captured, recorder.played) == (1, 4)
    assert step.calls[0] is False  # the eager result to compare with
    assert all(step.calls[1:])
    assert said() == ["INFO step captured as a CUDA graph (1 of 4); differs by 0e+00"]


def test_results_may_be_kept() -> None:
    engine, parameter = Engine(capture=Recorder()), torch.tensor(2.0)
    first = engine.run(Step(parameter), inputs(seed=0), parameters=[parameter])
    kept = [t.clone() for t in first]
    engine.run(Step(parameter), inputs(seed=1), parameters=[parameter])
    assert all(torch.equal(a, b) for a, b in zip(first, kept, strict=True))


def test_inputs_are_not_written_to() -> None:
    engine, parameter = Engine(capture=Recorder()), torch.tensor(2.0)
    given = inputs()
    before = [t.clone() for t in given]
    for _ in range(2):
        engine.run(Step(parameter), given, parameters=[parameter])
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))


def test_a_graph_for_each_signature_up_to_a_bound(said: Callable[[], list[str]]) -> None:
    recorder, parameter = Recorder(), torch.tensor(2.0)
    engine, step = Engine(graphs=3, capture=recorder), Step(parameter)

    def run(count: int, key: str = "a", dtype: torch.dtype = torch.float32) -> None:
        given = [t.to(dtype) for t in inputs(count)]
        got = engine.run(step, given, parameters=[parameter], key=key)
        assert torch.equal(got[0], 2 * given[0] + given[1])

    run(3), run(4), run(3, "b")
    assert recorder.captured == 3
    played = recorder.played
    run(4, "b"), run(5), run(3, dtype=torch.float64)  # beyond the bound: eagerly
    assert (recorder.captured, recorder.played) == (3, played)
    run(3), run(4), run(3, "b")
    assert (recorder.captured, recorder.played) == (3, played + 3)
    assert [line for line in said() if "eagerly" in line] == [
        "INFO steps run eagerly: steps of more than 3 kinds (shapes, weights of 0)"
    ]


@pytest.mark.parametrize("change", ["moved", "frozen"])
def test_parameters_that_are_no_longer_there_make_new_graphs(change: str) -> None:
    recorder = Recorder()
    engine = Engine(graphs=1, capture=recorder)
    for factor in (2.0, 3.0):
        parameter = torch.tensor(factor, requires_grad=factor == 2.0 and change == "frozen")
        step = Step(parameter.detach())
        assert torch.equal(engine.run(step, inputs(), parameters=[parameter])[1], inputs()[0].sum())
    assert recorder.captured == 2


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


def test_differences_are_relative_to_each_tensor_and_a_thousandth_of_all() -> None:
    want = [torch.tensor([3.0, 4.0]), torch.tensor([0.0, 1e-9])]
    assert worst_difference(want, want) == 0
    assert worst_difference([want[0] * 1.5, want[1]], want) == pytest.approx(0.5, rel=2e-3)
    assert worst_difference([want[0], want[1] + 5e-3], want) == pytest.approx(2**0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"kind": "graph"}, "engine must be 'auto', 'eager' or 'captured', got 'graph'"), ({"graphs": 0}, "at least one")],
)
def test_impossible_engines_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Engine(**options)  # type: ignore[arg-type]


# --- the meta-step ---


def train(engine: Engine | None, *, rates: Rates, model: torch.nn.Module, weights: list[list[float]]) -> list[Tensor]:
    """A few meta-steps of gradient descent in place; all that meta_gradient gave."""
    found = []
    for i, step_weights in enumerate(weights):
        tasks = [real_task(seed=2 * i), real_task(seed=2 * i + 1)]
        got = meta_gradient(
            model, rates, tasks, steps=len(step_weights), order="second", step_weights=step_weights, engine=engine
        )
        found += [*got.gradients, got.loss, *got.query]
        with torch.no_grad():
            for p, g in zip([*model.parameters(), *rates.parameters()], got.gradients, strict=True):
                p -= 1e-2 * g
    return found


@pytest.mark.parametrize("kind", ["per_step", "meta_sgd"])
def test_meta_steps_played_back_train_as_eager_ones(kind: str) -> None:
    """Weights and rates move, data and step weights change, one weight becomes 0: all without a stale number."""
    torch.manual_seed(0)
    model = PlainCNN(channels=4, layers=3)
    rates: Rates = PerStepRates(2, 6) if kind == "per_step" else MetaSGDRates(list(model.parameters()))
    weights = [[0.5, 0.5], [0.4, 0.6], [0.3, 0.7], [0.0, 1.0], [0.2, 0.8]]
    recorder = Recorder()
    got = train(Engine(capture=recorder), model=copy.deepcopy(model), rates=copy.deepcopy(rates), weights=weights)
    want = train(None, model=model, rates=rates, weights=weights)
    assert all(torch.equal(g.nan_to_num(7.0), w.nan_to_num(7.0)) for g, w in zip(got, want, strict=True))
    assert (recorder.captured, recorder.played) == (2, 5)


def test_a_meta_steps_signature_is_all_that_changes_its_graph() -> None:
    recorder = Recorder()
    engine = Engine(graphs=10, capture=recorder)
    model, rates = SmoothCNN(), PerStepRates(2, 6)
    one, other, larger = real_task(seed=0), real_task(seed=1), real_task(seed=0, side=18, scale=3)

    def run(tasks: list[Task], *, weights: Sequence[float] = (0.5, 0.5), order: str = "second", **more: object) -> int:
        meta_gradient(
            model,
            rates,
            tasks,
            steps=2,
            order=order,
            step_weights=weights,
            engine=engine,
            **more,  # type: ignore[arg-type]
        )
        return recorder.captured

    same = [run([one]), run([other]), run([one], weights=(0.1, 0.9))]
    others = [
        run([larger]),
        run([one, other]),
        run([one], weights=(0.0, 1.0)),
        run([one], order="first"),
        run([one], precision=Precision(arithmetic="bf16")),
        run([one], loss=torch.nn.functional.mse_loss),
    ]
    assert same == [1, 1, 1]
    assert [b - a for a, b in pairwise([1, *others])] == [1] * 6


class Launched(torch.utils._python_dispatch.TorchDispatchMode):
    """Notes every operation by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func._overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


FROM_OR_TO_THE_HOST = {"_local_scalar_dense", "lift_fresh", "is_nonzero", "equal", "nonzero"}


@pytest.mark.parametrize("kind", ["per_step", "meta_sgd", "fixed"])
def test_nothing_in_a_meta_step_waits_for_the_host_or_copies_from_it(kind: str) -> None:
    """What a CUDA graph cannot hold: ``item()``, ``torch.tensor(...)``, sizes that depend on values."""
    model = PlainCNN(channels=4, layers=3)
    rates = make_rates(kind, model, steps=2, initial=1e-2)  # type: ignore[arg-type]
    problems = [problem_of(real_task(seed=0), Precision())]
    weights = torch.tensor([0.5, 0.5])
    with Launched() as launched:
        differentiate(
            model, rates, problems, weights, counted=(0, 1), steps=2, order="second", loss=torch.nn.functional.l1_loss,
            precision=Precision(),
        )  # fmt: skip
    assert "convolution_backward" in launched.names
    assert launched.names & FROM_OR_TO_THE_HOST == set()
    with Launched() as other:
        torch.tensor([1.0]).sum().item()
    assert other.names >= {"_local_scalar_dense", "lift_fresh"}, "these are their names"


class Cuda:
    """Stands for ``torch.cuda``'s streams and graphs, and notes what is done with them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.notes: list[str] = []
        self.made = 0
        self.current = FakeStream(self, "main")
        for name in ("Stream", "current_stream", "stream", "CUDAGraph", "graph"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))

    def Stream(self) -> "FakeStream":
        self.made += 1
        return FakeStream(self, f"s{self.made}")

    def current_stream(self) -> "FakeStream":
        return self.current

    @contextmanager
    def stream(self, stream: "FakeStream") -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before

    def CUDAGraph(self) -> SimpleNamespace:
        return SimpleNamespace(replay=lambda: self.notes.append("replay"))

    @contextmanager
    def graph(self, graph: object) -> Iterator[None]:
        self.notes.append("begin")
        yield
        self.notes.append("end")

    def note(self, what: str) -> None:
        self.notes.append(f"{what} on {self.current.name}")


class FakeStream:
    def __init__(self, cuda: Cuda, name: str) -> None:
        self.cuda, self.name = cuda, name

    def wait_stream(self, other: "FakeStream") -> None:
        self.cuda.notes.append(f"{self.name} waits for {other.name}")


def test_cuda_capture_warms_up_on_a_side_stream_and_hands_out_what_was_captured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = Cuda(monkeypatch)
    results: list[list[Tensor]] = []

    def run() -> list[Tensor]:
        cuda.note("run")
        results.append([torch.zeros(2)])
        return results[-1]

    replay = capture_cuda(run)
    assert cuda.notes == [
        "s1 waits for main", "run on s1", "run on s1", "main waits for s1", "begin", "run on main", "end",
    ]  # fmt: skip
    assert replay() is replay() is results[-1]
    assert cuda.notes[-2:] == ["replay", "replay"]


def test_tasks_fork_from_the_present_stream_and_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda(monkeypatch)
    found = on_streams(lambda problem: cuda.note(str(problem)) or problem, ["a", "b"])  # type: ignore[arg-type, func-returns-value, return-value]
    assert found == ["a", "b"]
    assert cuda.notes == [
        "s1 waits for main", "a on s1", "s2 waits for main", "b on s2", "main waits for s1", "main waits for s2",
    ]  # fmt: skip


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("arithmetic", ["fp32", "tf32", "bf16"])
def test_cuda_graphs_train_as_eager_steps(arithmetic: str, said: Callable[[], list[str]]) -> None:
    torch.manual_seed(0)
    model, rates = SmoothCNN().cuda(), PerStepRates(3, 6).cuda()
    precision = Precision(arithmetic=arithmetic)  # type: ignore[arg-type]

    def run(engine: Engine | None) -> list[list[Tensor]]:
        net, alpha = copy.deepcopy(model), copy.deepcopy(rates)
        steps = []
        for i, weights in enumerate([[0.3, 0.3, 0.4], [0.2, 0.2, 0.6], [0.0, 0.0, 1.0], [0.1, 0.1, 0.8]]):
            tasks = [
                Task(*(t.cuda() for t in real_task(seed=5 * i + j)[:4]), real_task(seed=0).degradation)
                for j in range(3)
            ]
            got = meta_gradient(
                net, alpha, tasks, steps=3, order="second", step_weights=weights, precision=precision, engine=engine
            )
            steps.append([*got.gradients, got.loss])
            with torch.no_grad():
                for p, g in zip([*net.parameters(), *alpha.parameters()], got.gradients, strict=True):
                    p -= 1e-2 * g
        return steps

    engine = Engine("captured", capture=capture_cuda)
    for got, want in zip(run(engine), run(None), strict=True):
        assert worst_difference(got, want) < 1e-3
    assert [line.split()[:2] for line in said()] == [["INFO", "step"]] * 2
