"""Connections to staged databases: whoever made the bundle wrote their schema, with triggers and constraints that run.

A schema can't open another file, nor load code, nor change itself; and what it does is bounded in steps and in memory
by what a database of its size can need. Nothing is opened through a symbolic link, or beside a log or a journal of
which SQLite would decide what to do.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import sys
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote_from_bytes

from ocbundle.errors import TargetFailure
from ocbundle.openclaw.staged import Place

_SIDE_FILES: Final = (b"-wal", b"-shm", b"-journal")
_MIN_VALUE: Final = 1 << 20
_MAX_VALUE: Final = 32 << 20
"""Longest text or blob, in bytes, and twice the file's size at most: a trigger can ask for a thousand of them."""
_STEPS: Final = 20_000_000
"""Instructions of SQLite's that any database may take, half a second: a join in a trigger may take years."""
_STEPS_PER_BYTE: Final = 80
"""And for each byte of the file: a row of twenty empty columns takes thirty bytes, and each is searched."""
_STEPS_AT_ONCE: Final = 50
_MEMORY: Final = 128 << 20
"""How much the process may grow, and by an eighth of the file's size: sorting for a trigger may take all there is."""
_RSS_UNIT: Final = 1 if sys.platform == "darwin" else 1024
_ALLOWED: Final = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_INSERT,
        sqlite3.SQLITE_UPDATE,
        sqlite3.SQLITE_DELETE,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_TRANSACTION,
        sqlite3.SQLITE_PRAGMA,
    }
)
"""What a statement may do, those of triggers and virtual tables too. A schema that wants more isn't OpenClaw's."""


@contextlib.contextmanager
def opened(place: Place) -> Iterator[sqlite3.Connection]:
    """The database *place*, to be changed by transactions.

    Raises:
        TargetFailure: the file isn't the one that was found, or isn't closed cleanly at the end.
        sqlite3.Error: it can't be opened, or shouldn't be, or asks for more than a database of its size can need.
    """
    if _side_files(place):
        # A journal can name any file as its super-journal, and SQLite deletes that once it has rolled back.
        raise sqlite3.OperationalError("it has a log or a journal beside it, which packing leaves out")
    uri = f"file://{quote_from_bytes(os.path.abspath(place.staged))}?mode=rw"
    with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        # SQLite opens by path: make sure that nobody has put another file, or a link, there.
        by_path = os.stat(place.staged, follow_symlinks=False)
        if not os.path.samestat(by_path, os.stat(place.name, dir_fd=place.directory_fd, follow_symlinks=False)):
            raise TargetFailure("a staged database was replaced", path=place.shown)
        _confine(connection)
        size = by_path.st_size
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, min(_MAX_VALUE, max(_MIN_VALUE, 2 * size)))
        budget = _Budget(_STEPS + size * _STEPS_PER_BYTE, _MEMORY + size // 8)
        connection.set_progress_handler(budget.is_spent, _STEPS_AT_ONCE)
        try:
            yield connection
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_INTERRUPT:
                raise
            if not budget.is_spent():
                raise KeyboardInterrupt from error  # SQLite swallows what a signal raises while it asks
            raise sqlite3.OperationalError("it asks for more than a database of its size can need") from error
    if _side_files(place):
        raise TargetFailure("a staged database wasn't closed cleanly", path=place.shown)


class _Budget:
    """What one database may still cost. The peak of the whole process is looked at, for SQLite doesn't tell its own."""

    def __init__(self, steps: int, memory: int) -> None:
        self._steps = steps
        self._most = _peak() + memory

    def is_spent(self) -> bool:
        self._steps -= _STEPS_AT_ONCE
        return self._steps < 0 or _peak() > self._most


def _peak() -> int:
    """The most memory, in bytes, that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT


def _side_files(place: Place) -> bool:
    return any(os.path.lexists(place.staged + side) for side in _SIDE_FILES)


def _confine(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA temp_store=MEMORY")  # never in a temporary directory that others share
    connection.execute("PRAGMA cell_size_check=ON")
    if sqlite3.sqlite_version_info < (3, 43):
        # OpenClaw's constraints call it, and would not be trusted to call a function of ours.
        connection.create_function("octet_length", 1, _octet_length, deterministic=True)
    else:
        connection.execute("PRAGMA trusted_schema=OFF")
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.set_authorizer(_authorize)


def _authorize(action: int, *_: str | None) -> int:
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def _octet_length(value: object) -> int | None:
    if value is None:
        return None
    return len(value) if isinstance(value, bytes) else len(str(value).encode("utf-8", "surrogatepass"))
