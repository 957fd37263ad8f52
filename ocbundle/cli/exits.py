"""The exit codes of the command line, in one table.

A script can tell from the number alone what to do next; the words are for people. Nothing here prints.
"""

from __future__ import annotations

from typing import Final

import click

from ocbundle import errors

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
LOSSES: Final = 3
"""Done, but something that was asked for is missing from the bundle, or torn."""
DAMAGED: Final = 4
KEY: Final = 5
UNSUPPORTED: Final = 6
FINDINGS: Final = 7
"""Done, and something was found: a difference, or a trouble."""
INTERRUPTED: Final = 130
"""128 and SIGINT, as a shell says it."""

TABLE: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (errors.DamagedBundle, DAMAGED),
    (errors.KeyFailure, KEY),
    (errors.UnsupportedVersion, UNSUPPORTED),
    (errors.InvalidRequest, USAGE),
    (errors.BundleError, FAILED),
    (click.UsageError, USAGE),
    (click.Abort, INTERRUPTED),
    (KeyboardInterrupt, INTERRUPTED),
    (BaseException, FAILED),
)
"""The first line that fits an error gives its code."""


def code(error: BaseException) -> int:
    """The exit code that *error* ends the program with."""
    return next(number for kind, number in TABLE if isinstance(error, kind))
