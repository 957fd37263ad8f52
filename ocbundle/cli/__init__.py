"""The command line: a thin layer over the library.

It reads the environment, asks for passphrases, prints and exits, so that the library never does.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Mapping, Sequence

from ocbundle.cli import signals

__all__ = ["main", "run"]


def main() -> None:
    """The ``ocbundle`` program."""
    signals.end_at_once()
    # Many small values live at a time, and next to none in a cycle: to look for some so often was a tenth of a listing.
    gc.set_threshold(500_000)
    if sys.stdout is None:  # closed: a bundle or a report would be lost in silence
        sys.exit("ocbundle: error: standard output is closed")
    sys.stdin = sys.stdin or open(os.devnull, encoding="ascii")  # noqa: SIM115 - for the whole run
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the whole run
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal in another encoding still shows something
    code = run(sys.argv[1:], os.environ)
    gc.freeze()  # or Python looks for cycles among all that is about to go
    sys.exit(code)


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command line to its exit code. Nothing but a code comes out, whatever happens inside."""
    from ocbundle.cli import app  # noqa: PLC0415 - an interrupt is already met when all of it is imported

    return app.run(arguments, environ)
