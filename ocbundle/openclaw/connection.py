"""Connections to staged databases: whoever made the bundle wrote their schema, with triggers and constraints that run.

A schema can't open another file, nor load code, nor change itself; and no statement runs for ever. Nothing is opened
through a symbolic link, or beside a log or a journal of which SQLite would decide what to do.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote_from_bytes

from ocbundle.errors import TargetFailure
from ocbundle.openclaw.staged import Place

_SIDE_FILES: Final = (b"-wal", b"-shm", b"-journal")
_MAX_VALUE: Final = 64 << 20
"""Longest text or blob, in bytes: a trigger can ask for a thousand of them."""
_PATIENCE_S: Final = 900.0
"""How long one database may take: checking 100 GB takes less, and a join in a trigger may take years."""
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
        sqlite3.Error: it can't be opened, or shouldn't be.
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
        timer = threading.Timer(_PATIENCE_S, connection.interrupt)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError as error:
            raise TargetFailure(
                "the system gives no thread to watch over a database",
                path=place.shown,
                hint="raise the limit of processes (ulimit -u)",
            ) from error
        try:
            yield connection
        finally:
            timer.cancel()
            timer.join()
    if _side_files(place):
        raise TargetFailure("a staged database wasn't closed cleanly", path=place.shown)


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
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
    connection.set_authorizer(_authorize)


def _authorize(action: int, *_: str | None) -> int:
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def _octet_length(value: object) -> int | None:
    if value is None:
        return None
    return len(value) if isinstance(value, bytes) else len(str(value).encode("utf-8", "surrogatepass"))
