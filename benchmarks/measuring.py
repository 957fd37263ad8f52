"""One command, measured: wall seconds, CPU seconds of all its processes, and peak memory."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_METER: Final = Path(__file__).with_name("meter.py")


class BenchmarkError(Exception):
    """The benchmark can't go on; its text is for whoever started it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What one command took, or the medians of several runs of it."""

    wall_s: float
    cpu_s: float
    """User and system time of the whole tree of processes."""
    peak_mib: float
    """The largest resident set of any one process of the tree."""


def measure(command: str, variables: Mapping[str, str]) -> Figure:
    """Run *command* in bash.

    Raises:
        BenchmarkError: it failed. A benchmark of failures would be a fast one.
    """
    with subprocess.Popen(
        [sys.executable, "-I", "-S", _METER, command],
        env=environment(variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as meter:
        try:
            figures, said = meter.communicate()
        except BaseException:
            # Nothing may go on writing into what is about to be removed; the pipes end when the last process does.
            os.killpg(meter.pid, signal.SIGKILL)
            meter.communicate()
            raise
    wall_s, cpu_s, peak_kib, code = json.loads(figures)
    if code:
        raise BenchmarkError(f"ended with {code}: {command}\n{said.decode(errors='replace')[-2000:]}")
    return Figure(wall_s=wall_s, cpu_s=cpu_s, peak_mib=peak_kib / 1024)


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Where commands run: with *variables*, and nothing of the user's that a tool could heed."""
    return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **variables}


def median(figures: Iterable[Figure]) -> Figure:
    """The median of each figure by itself."""
    taken = list(figures)
    return Figure(
        wall_s=statistics.median(figure.wall_s for figure in taken),
        cpu_s=statistics.median(figure.cpu_s for figure in taken),
        peak_mib=statistics.median(figure.peak_mib for figure in taken),
    )
