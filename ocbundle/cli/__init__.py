"""The command line: a thin layer over the library.

It reads the environment, asks for passphrases, prints and exits, so that the library never does.
"""

from __future__ import annotations

import io
import os
import signal
import sys

from ocbundle.cli.app import run

__all__ = ["main", "run"]


def main() -> None:
    """The ``ocbundle`` program."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP, and means it
            signal.signal(number, signal.default_int_handler)  # unwinds, so that temporaries are removed
    if sys.stdout is None:  # closed: a bundle or a report would be lost in silence
        sys.exit("ocbundle: error: standard output is closed")
    sys.stdin = sys.stdin or open(os.devnull, encoding="ascii")  # noqa: SIM115 - for the whole run
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the whole run
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal in another encoding still shows something
    sys.exit(run(sys.argv[1:], os.environ))
