"""Work that is done side by side, or one after the other where the system gives no threads."""

from __future__ import annotations

import itertools
import threading

import pytest

from ocbundle.workers import Workers


@pytest.fixture
def threadless(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)


def test_work_is_done_by_another_thread() -> None:
    workers = Workers(1, "test")
    assert workers.submit(threading.get_ident).result() != threading.get_ident()
    workers.close()


@pytest.mark.usefixtures("threadless")
def test_without_threads_the_work_is_done_all_the_same() -> None:
    workers = Workers(2, "test")
    assert [workers.submit(pow, number, 2).result() for number in range(4)] == [0, 1, 4, 9]
    workers.close()


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that gives one thread, and no other."""
    start, given = threading.Thread.start, itertools.count()

    def give(thread: threading.Thread) -> None:
        if next(given):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", give)


@pytest.mark.usefixtures("one_thread")
def test_where_a_second_thread_cannot_be_had_each_work_is_done_once() -> None:
    workers, begin, done = Workers(2, "test"), threading.Event(), list[int]()
    first = workers.submit(begin.wait)
    futures = [workers.submit(done.append, number) for number in range(5)]
    begin.set()
    assert first.result()
    workers.close()
    assert all(future.done() for future in futures)
    assert done == [0, 1, 2, 3, 4]


def test_work_that_was_cancelled_is_not_begun() -> None:
    workers, begin, done = Workers(1, "test"), threading.Event(), list[int]()
    workers.submit(begin.wait)
    assert workers.submit(done.append, 1).cancel()
    last = workers.submit(done.append, 2)
    begin.set()
    last.result()
    workers.close()
    assert done == [2]


def _interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("threadless")
def test_without_threads_an_interrupt_is_raised_at_once() -> None:
    workers = Workers(2, "test")
    with pytest.raises(KeyboardInterrupt):
        workers.submit(_interrupt)
    workers.close()


def test_an_interrupt_of_another_thread_is_raised_where_the_result_is_asked_for() -> None:
    workers = Workers(1, "test")
    future = workers.submit(_interrupt)
    with pytest.raises(KeyboardInterrupt):
        future.result()
    workers.close()


@pytest.mark.usefixtures("threadless")
def test_without_threads_an_error_is_raised_where_the_result_is_asked_for() -> None:
    workers = Workers(2, "test")
    future = workers.submit(divmod, 1, 0)
    with pytest.raises(ZeroDivisionError):
        future.result()
    workers.close()


def test_closed_workers_take_nothing_more() -> None:
    workers = Workers(1, "test")
    workers.close()
    with pytest.raises(RuntimeError):
        workers.submit(int)
