"""Progress told from the solvers' loops, and ended by who listens."""

import threading

import pytest
import torch
from torch import Tensor

import metasr
from metasr.degradation.pipeline import Degradation
from metasr.errors import Cancelled
from metasr.models.plain_cnn import PlainCNN
from metasr.solvers.base import Solver
from metasr.solvers.ddsr.solver import DDSRSolver
from metasr.solvers.mzsr.solver import MZSRSolver
from metasr.solvers.network import NetworkSolver
from metasr.solvers.progress import Progress, is_heard, listening, part, tell
from metasr.solvers.unfolded import UnfoldedSolver
from metasr.solvers.zssr.solver import ZSSRSolver
from solvers.solver_list import unfolded

LR = torch.rand(1, 3, 24, 31, generator=torch.Generator().manual_seed(0))
PLAIN = Degradation(scale=2.0, downsample="bicubic")


def _ddsr(**options: object) -> DDSRSolver:
    return DDSRSolver(mode="better", steps=4, width=4, skip=2, levels=2, hidden=8, warmup_steps=3, **options)


SOLVERS: dict[str, Solver] = {
    "network": NetworkSolver(PlainCNN(8, 3), tile=20),
    "network_ensemble": NetworkSolver(PlainCNN(8, 3), tile=40, ensemble=True),
    "adapt": MZSRSolver(PlainCNN(8, 3), steps=3, tile=20),
    "adapt_ensemble": MZSRSolver(PlainCNN(8, 3), steps=2, ensemble=True),
    "zssr": ZSSRSolver(channels=8, layers=3, max_steps=5, crop=16, back_projection=0),
    "zssr_gradual": ZSSRSolver(channels=8, layers=3, max_steps=6, crop=16, gradual=(1.5,)),
    "unfolded_adapted": UnfoldedSolver(unfolded(), steps=2, least_gain=None),
    "unfolded_in_vain": UnfoldedSolver(unfolded(strided=True), steps=2, tile=20, least_gain=0.5),
    "ddsr": _ddsr(),
    "ddsr_windows": _ddsr(kernel_size=3, max_pixels=2704),
}


def _listen(solver: Solver) -> list[Progress]:
    reports: list[Progress] = []
    with listening(reports.append):
        solver.solve(LR, scale=2.0, degradation=PLAIN)
    return reports


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_tells_a_share_that_rises_to_one_and_answers_as_without_a_listener(name: str) -> None:
    solver = SOLVERS[name]
    reports: list[Progress] = []
    with listening(reports.append):
        heard = solver.solve(LR, scale=2.0, degradation=PLAIN, seed=3).sr
    shares = [report.share for report in reports]
    assert shares == sorted(shares)
    assert shares[0] < 0.9
    assert shares[-1] == pytest.approx(1)
    assert len(set(shares)) >= 3
    assert all(0 <= report.done <= report.total for report in reports)
    assert torch.equal(heard, solver.solve(LR, scale=2.0, degradation=PLAIN, seed=3).sr)


def test_updates_come_with_their_losses_then_the_tiles() -> None:
    reports = _listen(SOLVERS["adapt"])
    updates = [r for r in reports if r.what == "updates"]
    assert [(r.done, r.total) for r in updates] == [(1, 3), (2, 3), (3, 3)]
    solution = SOLVERS["adapt"].solve(LR, scale=2.0, degradation=PLAIN)
    assert [r.loss for r in updates] == solution.trace.losses
    assert [r.what for r in reports][3:] == ["tiles"] * (3 * 4)  # 48x62 in parts of at most 20
    assert [r.done for r in reports][3:] == list(range(1, 13))


def test_ddsr_shows_its_image_by_now() -> None:
    images = [r.image for r in _listen(SOLVERS["ddsr"]) if r.what == "steps" and r.done]
    assert len(images) == 4
    for image in images:
        assert isinstance(image, Tensor)
        assert image.shape == (1, 3, 48, 62)
        assert 0 <= float(image.min()) <= float(image.max()) <= 1


@pytest.mark.parametrize("name", SOLVERS)
def test_cancelled_ends_the_work_at_the_next_report(name: str) -> None:
    heard = 0

    def stop_at_the_second(report: Progress) -> None:
        nonlocal heard
        heard += 1
        if heard == 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"), listening(stop_at_the_second):
        SOLVERS[name].solve(LR, scale=2.0, degradation=PLAIN)
    assert heard == 2
    assert not is_heard()


def test_parts_of_parts_are_shares_of_the_whole() -> None:
    shares = []
    with listening(lambda report: shares.append(report.share)):
        tell(0, 4, "tiles")
        with part(0.5, 1.0), part(0.0, 0.5):
            tell(1, 2, "tiles")
            tell(3, 2, "tiles")  # more than all is all
        tell(1, 4, "tiles", share=0.9)
        tell(0, 0, "tiles")
    assert shares == [0, 0.625, 0.75, 0.9, 1]


def test_nobody_listens_outside_or_in_another_thread() -> None:
    found = []
    with listening(lambda report: None):
        assert is_heard()
        thread = threading.Thread(target=lambda: found.append(is_heard()))
        thread.start()
        thread.join()
        with listening(None):
            assert is_heard()
    assert found == [False]
    assert not is_heard()
    tell(1, 2, "tiles")


def test_the_public_name() -> None:
    assert metasr.Progress is Progress
    assert metasr.Cancelled is Cancelled
