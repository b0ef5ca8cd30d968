"""A watched, bounded, interruptible loop."""

import os
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest
import torch

from metasr.errors import InputError
from metasr.solvers import step_budget as module
from metasr.solvers.base import Solution
from metasr.solvers.step_budget import TimeLimit, was_cut_short, was_interrupted
from running import environment


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_all_steps_without_a_reason_to_stop(capsys: pytest.CaptureFixture[str]) -> None:
    with TimeLimit(3, label="x") as limit:
        assert [limit.tick(0.5), limit.tick(torch.tensor(0.5)), limit.tick()] == [True, True, False]
        assert limit.progress == 1
    assert (limit.steps, limit.stopped) == (3, "")
    assert capsys.readouterr() == ("", "")  # there is no terminal


def test_the_first_interrupt_ends_the_loop_and_the_second_one_is_python_s(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with TimeLimit(10) as limit:
        assert limit.tick()
        interrupt()
        assert not limit.tick()
        assert limit.stopped == "interrupted after 2 of 10 steps"
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    assert signal.getsignal(signal.SIGINT) is before
    assert "Ctrl-C once more leaves at once" in capsys.readouterr().err
    assert was_interrupted(Solution(torch.zeros(1), stopped=limit.stopped, cut_short=limit.cut_short))


def test_interrupts_are_python_s_again_after_the_context_even_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), TimeLimit(2):
        raise ZeroDivisionError
    with pytest.raises(KeyboardInterrupt):
        interrupt()


def test_in_another_thread_nothing_is_caught() -> None:
    found: list[Any] = []

    def work() -> None:
        with TimeLimit(2) as limit:
            found.append(signal.getsignal(signal.SIGINT))
            found.append(limit.tick())

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before, True]


def test_the_budget_ends_before_the_step_that_would_overrun_it() -> None:
    clock = Clock()
    with TimeLimit(100, budget_seconds=10, clock=clock) as limit:
        done = 0
        more = True
        while more:
            clock.now += 3
            done += 1
            more = limit.tick()
    assert (done, limit.seconds) == (3, 9)  # a fourth would end at 12
    assert limit.stopped == "budget_seconds=10 spent after 3 of 100 steps"
    assert was_cut_short(Solution(torch.zeros(1), stopped=limit.stopped, cut_short=limit.cut_short))
    assert not was_interrupted(Solution(torch.zeros(1), stopped=limit.stopped, cut_short=limit.cut_short))


def test_time_for_the_output_is_kept_back() -> None:
    clock = Clock()
    with TimeLimit(100, budget_seconds=10, output_steps=5, clock=clock) as limit:
        shares = []
        while True:
            clock.now += 1
            more = limit.tick()
            shares.append(limit.progress)
            if not more:
                break
    assert limit.steps == 5  # and five more for the output
    assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_progress_is_the_larger_share_of_steps_and_time() -> None:
    clock = Clock()
    with TimeLimit(4, budget_seconds=100, clock=clock) as limit:
        assert limit.progress == 0
        clock.now += 10
        limit.tick()
        assert limit.progress == 0.25
        clock.now += 40
        limit.tick()
        limit.tick()
        assert limit.progress == 0.75


def test_a_step_is_always_taken_and_the_last_one_needs_no_time() -> None:
    clock = Clock()
    with TimeLimit(2, budget_seconds=1, clock=clock) as limit:
        clock.now += 5
        assert not limit.tick()
    assert limit.stopped.startswith("budget_seconds=1 spent after 1 of 2")
    with TimeLimit(1, budget_seconds=1, clock=clock) as limit:
        clock.now += 5
        assert not limit.tick()
    assert limit.stopped == ""


def test_what_comes_before_the_first_step_takes_from_the_budget_and_is_no_step() -> None:
    clock = Clock()
    with TimeLimit(100, budget_seconds=10, clock=clock) as limit:
        clock.now += 6
        assert limit.prepare("warm-up")
        clock.now += 1
        assert limit.tick()  # steps take 1 second, not 7
        clock.now += 1
        assert limit.tick()
        clock.now += 1.5
        assert not limit.tick()
    assert limit.stopped == "budget_seconds=10 spent after 3 of 100 steps"
    with TimeLimit(100, budget_seconds=10, clock=clock) as limit:
        clock.now += 11
        assert not limit.prepare("warm-up")
    assert limit.stopped == "budget_seconds=10 spent after 0 of 100 steps"


def test_ctrl_c_before_the_first_step() -> None:
    with TimeLimit(5) as limit:
        signal.raise_signal(signal.SIGINT)
        assert not limit.prepare("warm-up")
    assert limit.stopped == "interrupted after 0 of 5 steps"


def test_reasons_of_the_solver_s_own_end_it_and_the_first_stays() -> None:
    with TimeLimit(5) as limit:
        limit.stop("")
        assert limit.tick()
        limit.stop("settled")
        limit.stop("later")
        assert not limit.tick()
    assert limit.stopped == "settled"
    assert not was_cut_short(Solution(torch.zeros(1), stopped="settled"))


@pytest.mark.parametrize("budget", [0, -1.0, float("nan")])
def test_a_budget_must_be_some_time(budget: float) -> None:
    with pytest.raises(InputError, match="budget_seconds must be above 0, or none for no limit, got"):
        TimeLimit(1, budget_seconds=budget)


def test_the_bar_shows_steps_loss_and_time_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "is_terminal", lambda: True)
    monkeypatch.setattr(module, "tqdm", lambda **options: tqdm(**options, mininterval=0))
    from tqdm import tqdm

    with TimeLimit(3, label="zssr") as limit:
        for _ in range(3):
            limit.tick(0.25)
    shown = capsys.readouterr().err
    for part in ("zssr:", "2/3", "loss 0.2500", "step/s"):
        assert part in shown


def test_ctrl_c_from_outside_leaves_what_there_is(tmp_path: Any) -> None:
    program = (
        "import time\n"
        "from metasr.solvers.step_budget import TimeLimit\n"
        "with TimeLimit(10**6) as limit:\n"
        "    print('begun', flush=True)\n"
        "    while limit.tick(1.0):\n"
        "        time.sleep(0.01)\n"
        "print('made:', limit.stopped)\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", program], env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert running.stdout is not None
    assert running.stdout.readline() == "begun\n"
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    assert out.startswith("made: interrupted after ")
