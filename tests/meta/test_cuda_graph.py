"""The engine: what it captures and plays back, and how CUDA graphs are made."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from meta.recording import Recorder, Step, inputs
from metasr.data.tasks import Task
from metasr.errors import InputError
from metasr.meta.cuda_graph import Engine, capture_cuda, worst_difference
from metasr.meta.meta_gradient import meta_gradient, on_streams
from metasr.meta.precision import Precision
from metasr.meta.rates import PerStepRates
from small_problems import SmoothCNN, real_task


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


def test_differences_are_relative_to_each_tensor_and_a_thousandth_of_all() -> None:
    want = [torch.tensor([3.0, 4.0]), torch.tensor([0.0, 1e-9])]
    assert worst_difference(want, want) == 0
    assert worst_difference([want[0] * 1.5, want[1]], want) == pytest.approx(0.5, rel=2e-3)
    assert worst_difference([want[0], want[1] + 5e-3], want) == pytest.approx(2**0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"kind": "graph"}, "engine must be one of auto, eager, captured, got 'graph'"), ({"graphs": 0}, "at least one")],
)
def test_impossible_engines_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Engine(**options)  # type: ignore[arg-type]


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
