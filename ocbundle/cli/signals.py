"""What a signal does to the program: first it ends it at once, and once there is something to take back, it unwinds.

Nothing here is done to a program that only calls ``run``: its signals are its own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from ocbundle.cli import exits

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_at_once() -> None:
    """Let a signal end the program without a word, as long as it only imports.

    An exception in the midst of an import is a traceback at best; some extension modules take it for their own fault.
    """
    for number in ENDING:
        # A shell's background job ignores SIGINT, and nohup SIGHUP: they mean it.
        if signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}:
            signal.signal(number, _end)


def unwind() -> None:
    """Let a signal raise ``KeyboardInterrupt`` from here on, so that temporaries are removed."""
    for number in ENDING:
        if signal.getsignal(number) is _end:
            signal.signal(number, signal.default_int_handler)


@contextmanager
def held_back() -> Iterator[None]:
    """Let a signal wait while the block runs: what takes something back is never left halfway."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(exits.INTERRUPTED)
