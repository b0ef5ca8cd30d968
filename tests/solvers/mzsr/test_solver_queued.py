"""Adaptation on a device that only queues its work: nothing is waited for, and a size that comes again is captured."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metasr.degradation.names import parse
from metasr.meta.cuda_graph import Engine
from metasr.meta.rates import FixedRates, PerStepRates, Rates
from metasr.models.plain_cnn import PlainCNN
from metasr.solvers.mzsr import solver as adapt
from metasr.solvers.mzsr.solver import MZSRSolver
from small_problems import picture
from solvers.solver_list import tiny

RATE = FixedRates((0.05,))


class Other(PlainCNN):
    """The same network, of which the solver knows nothing."""


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: the solver waits for nothing but outputs."""
    monkeypatch.setattr(adapt, "_works_ahead", lambda _: True)


@pytest.mark.usefixtures("queued")
def test_losses_that_nobody_waited_for_are_told_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    lr, degradation = picture(24, 29), parse("gani_d", scale=2)
    rates = PerStepRates.of(torch.tensor([[0.08] * 6, [0.04] * 6]))
    updates = (0, 2, 5)
    got = MZSRSolver(tiny(), rates=rates).snapshots(lr, scale=2, updates=updates, degradation=degradation)
    monkeypatch.undo()
    want = MZSRSolver(tiny(), rates=rates).snapshots(lr, scale=2, updates=updates, degradation=degradation)
    for steps, solution in want.items():
        assert torch.equal(got[steps].sr, solution.sr)
        assert got[steps].trace.losses == pytest.approx(solution.trace.losses, rel=1e-6)
        assert got[steps].trace.rates == pytest.approx(solution.trace.rates)
        seconds = got[steps].trace.seconds
        assert len(seconds) == steps
        assert sorted(seconds) == seconds
        assert all(0 < s <= got[steps].seconds for s in seconds)


class Recorder:
    """Stands for the capture of CUDA graphs: a replay runs the function again."""

    def __init__(self) -> None:
        self.captured = self.replayed = 0

    def __call__(self, run: Any) -> Any:
        self.captured += 1

        def replay() -> list[Tensor]:
            self.replayed += 1
            return run()

        return replay


def captured(recorder: Recorder, net: nn.Module | None = None, **options: Any) -> MZSRSolver:
    solver = MZSRSolver(net or tiny(), **{"steps": 3, **options})
    solver._engine = Engine(capture=recorder)
    return solver


@pytest.mark.usefixtures("queued")
@pytest.mark.parametrize("rates", [None, PerStepRates(2, 6, initial=0.03)], ids=["published", "learned"])
def test_a_size_that_comes_again_is_captured(rates: Rates | None) -> None:
    degradation, recorder = parse("g2.0d", scale=2), Recorder()
    solver = captured(recorder, rates=rates, back_projection=1)
    for turn in range(4):
        lr = picture(24, 29, seed=turn)
        got = solver.solve(lr, scale=2, degradation=degradation)
        alone = MZSRSolver(tiny(), steps=3, rates=rates, back_projection=1)
        want = alone.solve(lr, scale=2, degradation=degradation)
        torch.testing.assert_close(got.sr, want.sr, rtol=0, atol=1e-5)
        assert got.trace.losses == pytest.approx(want.trace.losses, rel=1e-5)
        assert got.trace.rates == pytest.approx(want.trace.rates)
        assert len(got.trace.seconds) == got.updates == 3
        assert (recorder.captured, recorder.replayed) == (min(turn, 1), turn)
    solver.solve(picture(29, 24), scale=2, degradation=degradation)
    assert (recorder.captured, recorder.replayed) == (1, 3)


@pytest.mark.usefixtures("queued")
def test_the_second_image_of_a_size_pays_for_the_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the docstring says; the clock here goes on by captures alone."""
    recorder = Recorder()
    monkeypatch.setattr(adapt, "clock", lambda _: float(recorder.captured))
    solver = captured(recorder, rates=RATE)
    assert [solver.solve(picture(12, 11, seed=i), scale=2).seconds for i in range(4)] == [0, 1, 0, 0]


@pytest.mark.usefixtures("queued")
def test_other_settings_are_another_graph() -> None:
    recorder, lr = Recorder(), picture(12, 11)
    solver = captured(recorder, rates=RATE)
    for steps, rates in ((3, RATE), (2, RATE), (2, FixedRates((0.01,)))):
        solver.steps, solver.rates = steps, rates
        for _ in range(3):
            got = solver.solve(lr, scale=2)
        want = MZSRSolver(tiny(), rates=rates, steps=steps).solve(lr, scale=2)
        torch.testing.assert_close(got.sr, want.sr, rtol=0, atol=1e-5)
    assert recorder.captured == 3


@pytest.mark.usefixtures("queued")
@pytest.mark.parametrize(
    ("net", "options"), [(Other(channels=4, layers=3), {}), (None, {"ensemble": True}), (None, {"steps": 0})]
)
def test_what_a_graph_cannot_hold_is_not_captured(net: nn.Module | None, options: dict[str, Any]) -> None:
    recorder = Recorder()
    solver = captured(recorder, net, rates=RATE, **options)
    for _ in range(3):
        solver.solve(picture(12, 11), scale=2)
        solver.snapshots(picture(12, 11), scale=2, updates=(1, 3))
    assert recorder.captured == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gpu_gives_what_the_cpu_gives(precision: str) -> None:
    lr, degradation = picture(48, 52), parse("g2.0d", scale=2)
    options: dict[str, Any] = {"rates": RATE, "steps": 4, "backward_precision": precision}
    want = MZSRSolver(tiny(channels=32), **options).solve(lr, scale=2, degradation=degradation)
    solver = MZSRSolver(tiny(channels=32).cuda(), **options)
    for _ in range(4):  # eagerly, captured, replayed
        got = solver.solve(lr.cuda(), scale=2, degradation=degradation)
        torch.testing.assert_close(got.sr.cpu(), want.sr, rtol=0, atol=5e-3)
        assert got.trace.losses == pytest.approx(want.trace.losses, rel=1e-2)
    assert len(solver._engine._replays) == 1
