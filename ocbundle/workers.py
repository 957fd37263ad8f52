"""A pool of threads that does the work itself where no thread is to be had.

Sections are compressed, sealed and opened side by side. A limit on processes, as containers have, must only make that
slower. It knows nothing of what the work is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Workers:
    """At most *count* threads, started as they are needed."""

    def __init__(self, count: int, name: str) -> None:
        self._count, self._name = count, name
        self._pool: ThreadPoolExecutor | None = None
        self._is_closed = self._is_alone = False

    def submit(self, work: Callable[_P, _T], /, *args: _P.args, **options: _P.kwargs) -> Future[_T]:
        """Let a thread call *work*, once; without one, call it now, and give a future that is done."""
        from concurrent.futures import Future, ThreadPoolExecutor  # noqa: PLC0415 - a listing needs no thread

        if self._is_closed:
            raise RuntimeError("these workers are closed")
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._count, thread_name_prefix=self._name)
        done: Future[_T] = Future()
        claim = threading.Lock()

        def once() -> None:
            if not claim.acquire(blocking=False) or not done.set_running_or_notify_cancel():
                return
            try:
                done.set_result(work(*args, **options))
            except BaseException as error:
                done.set_exception(error)  # it is raised where the result is asked for
                if not isinstance(error, Exception):
                    raise

        if not self._is_alone:
            try:
                self._pool.submit(once)
            except RuntimeError:
                # The pool keeps what it was given, for the threads that it has: so it is claimed, and nothing is tried
                # again, since the pool would grow with each piece of work.
                self._is_alone = True
            else:
                return done
        once()
        return done

    def close(self) -> None:
        """Drop what isn't begun, and wait for the rest."""
        self._is_closed = True
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
