"""A command line in a process of its own, with faults from the kernel's side: strace lets the N-th system call fail.

The process is forked from one that has everything imported. It waits until strace is attached, so that calls are
counted from the first one that matters.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import pkgutil
import posix
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import ocbundle
from ocbundle.cli import app

_LATER: Final = ("sqlite3", "pathspec", "pyjson5", "urllib.parse", "tempfile", "concurrent.futures.thread", "difflib")
_PATIENCE_S: Final = 60
_CALL: Final = re.compile(r"^(?P<thread>\d+) +(?P<name>\w+)\((?P<first>[^,)]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended."""

    code: int | None
    """Its exit code; ``None`` if it was killed."""
    said: str
    """Both of its outputs."""
    hits: tuple[str, ...]
    """The calls that were made to fail, as strace shows them."""
    hung: bool = False
    """Whether it had to be killed because it didn't come to an end."""

    @property
    def was_silenced(self) -> bool:
        """Whether it was only hindered from telling how it went."""
        calls = [match for hit in self.hits if (match := _CALL.match(hit))]
        return bool(calls) and all(match["name"] == "write" and match["first"] in {"1", "2"} for match in calls)

    def failed_in(self, *names: str) -> bool:
        """Whether one of these system calls was made to fail."""
        # What another thread's call came between is shown in two lines, the second of which is "<... close resumed>".
        call = re.compile(rf"\d+ +(<\.\.\. )?({'|'.join(names)})\b")
        return any(call.match(hit) for hit in self.hits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A command line to run, again and again."""

    arguments: Sequence[str]
    environ: Mapping[str, str]

    def plainly(self, before: Callable[[], None] | None = None, kill_after_s: float | None = None) -> Ended:
        """Run it, after *before* has changed the process; perhaps kill it."""
        with tempfile.TemporaryFile() as said:
            child = self._fork(said, before)
            if kill_after_s is not None:
                time.sleep(kill_after_s)
                os.kill(child, signal.SIGKILL)
            return _ended(child, said)

    def traced(self, calls: str, inject: str = "") -> tuple[Ended, list[str]]:
        """Run it under strace, and return also the lines about *calls*."""
        reading, writing = os.pipe()
        with tempfile.TemporaryFile() as said, tempfile.NamedTemporaryFile() as log:
            child = self._fork(said, lambda: _wait(reading, writing))
            os.close(reading)
            command = ["strace", "-f", "-p", str(child), "-o", log.name, "-e", f"trace={calls}", "-e", "signal=none"]
            command += ["-e", f"inject={inject}"] if inject else []
            with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
                assert tracer.stderr is not None
                first = tracer.stderr.readline()
                assert b"attached" in first, first
                os.close(writing)
                ended = _ended(child, said)
                tracer.stderr.read()
            lines = Path(log.name).read_text(errors="replace").splitlines()
        hits = tuple(line for line in lines if "(INJECTED)" in line)
        return dataclasses.replace(ended, hits=hits), lines

    def counts(self) -> dict[str, int]:
        """How often each system call is made, by the thread that makes it most often."""
        by_thread: dict[tuple[str, str], int] = {}
        for line in self.traced("all")[1]:
            match = _CALL.match(line)
            if match is not None:
                key = match["name"], match["thread"]
                by_thread[key] = by_thread.get(key, 0) + 1
        found: dict[str, int] = {}
        for (name, _), count in by_thread.items():
            found[name] = max(count, found.get(name, 0))
        return found

    def _fork(self, said: IO[bytes], before: Callable[[], None] | None) -> int:
        _await_threads()
        child = os.fork()
        if child == 0:
            code = 255
            try:
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
                sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - as long as the process lives
                sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
                if before is not None:
                    before()
                code = app.run(self.arguments, self.environ)
            finally:
                posix._exit(code)  # not os._exit, where a run that measures coverage would write its data under faults
        return child


def _await_threads() -> None:
    """Wait until the threads are gone that looked into a bundle.

    One that has been joined may still be ending, with a lock of OpenSSL's in its hands, and a fork would never get it.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while len(os.listdir("/proc/self/task")) > 1:
        assert time.monotonic() < deadline, "another thread lives on"
        time.sleep(0.0002)


def _wait(reading: int, writing: int) -> None:
    # What fails first may be one of these.
    try:
        os.close(writing)
    except OSError:
        os.close(writing)
    with contextlib.suppress(OSError):
        os.read(reading, 1)


def _ended(child: int, said: IO[bytes]) -> Ended:
    deadline = time.monotonic() + _PATIENCE_S
    hung = False
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            hung = True
            break
        time.sleep(0.002)
    code = None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    said.seek(0)
    return Ended(code=code, said=said.read().decode(errors="replace"), hits=(), hung=hung)


def import_everything() -> None:
    """Import what commands import only when they need it: reading modules is no part of what is tested here."""
    for module in pkgutil.walk_packages(ocbundle.__path__, "ocbundle."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in _LATER:
        importlib.import_module(name)
