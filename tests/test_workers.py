"""Work that is done side by side, or one after the other where the system gives no threads."""

from __future__ import annotations

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
