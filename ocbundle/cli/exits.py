"""The exit codes of the command line.

A script can tell from the number alone what to do next; the words are for people.
"""

from __future__ import annotations

from typing import Final

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
