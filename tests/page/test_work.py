"""Work in a thread: its reports, its end, its failure."""

import threading

import pytest

from metasr.errors import Cancelled, DataError
from metasr.page.work import Work
from metasr.solvers.progress import Listener, Progress


def test_reports_come_in_order_and_then_the_result() -> None:
    def task(listener: Listener) -> str:
        for done in range(1, 6):
            listener(Progress(done, 5, "steps", share=done / 5))
        return "made"

    work = Work(task)
    reports = [report for some in work for report in some]
    assert [report.done for report in reports] == [1, 2, 3, 4, 5]
    assert (work.result, work.succeeded, work.error, work.share) == ("made", True, None, 1.0)
    assert work.last is reports[-1]


def test_it_works_while_nobody_looks() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def task(listener: Listener) -> int:
        begun.set()
        go_on.wait(10)
        return 7

    work = Work(task)
    assert begun.wait(10)
    assert not work.succeeded
    go_on.set()
    assert [some for some in work if some] == []
    assert work.result == 7


def test_it_is_ended_at_its_next_report() -> None:
    told, go_on = threading.Event(), threading.Event()

    def task(listener: Listener) -> None:
        listener(Progress(1, 1000, "steps"))
        told.set()
        go_on.wait(10)
        for done in range(2, 1000):
            listener(Progress(done, 1000, "steps"))

    work = Work(task)
    assert told.wait(10)
    work.cancel()
    go_on.set()
    with pytest.raises(Cancelled):
        list(work)
    assert isinstance(work.error, Cancelled)
    assert not work.succeeded
    assert work.last is not None
    assert work.last.done == 1


def test_its_error_is_raised_where_it_is_waited_for() -> None:
    def task(listener: Listener) -> None:
        raise DataError("broken")

    work = Work(task)
    with pytest.raises(DataError, match="broken"):
        list(work)
    assert not work.succeeded
