"""OpenClaw's databases, read from private copies of them: what a state database says of where things are.

A copy holds the rows of the database's log too, and is gone when the reading ends. Nothing else is written.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ocbundle import databases
from ocbundle.errors import NoSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A state database, as far as a check needs it."""

    path: bytes
    problem: str | None = None
    """Why nothing could be read of it."""
    version: int = 0
    """``PRAGMA user_version``, with what the log says."""
    tables: int = 0
    jobs: Mapping[str, int] = field(default_factory=dict)
    """How many cron jobs are filed under each key: the path of a file that may never have been."""
    agents: Mapping[str, str] = field(default_factory=dict)
    """Each agent's database: its path, inside the state directory or absolute."""
    job_tables: tuple[str, ...] = ()
    """Tables with that key."""


class Unreadable(Exception):
    """A database can't be read, for the reason in the message."""


@contextlib.contextmanager
def opened(path: bytes, scratch: str) -> Iterator[sqlite3.Connection]:
    """A connection to a private copy of the database *path*, made below *scratch*.

    Raises:
        Unreadable: there is no copy, or the block met what SQLite can't read.
    """
    directory, name = os.path.split(path)
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Unreadable(error.strerror) from error
    try:
        with databases.capture(descriptor, name, directory, scratch) as captured:
            if captured.file is None:
                raise Unreadable(captured.detail or "it can't be read")
            uri = f"file://{captured.file.name}?mode=ro&immutable=1"
            with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
                yield connection
    except NoSpace as error:
        raise Unreadable(f"there is no room for a private copy in {scratch}") from error
    except sqlite3.Error as error:
        raise Unreadable(f"SQLite can't read it: {error}") from error
    finally:
        os.close(descriptor)


def read(path: bytes, scratch: str) -> Store | None:
    """Read the state database *path*; ``None`` if it isn't there. *scratch* is a private directory."""
    if not os.path.lexists(path):
        return None
    try:
        with opened(path, scratch) as connection:
            return _look(path, connection)
    except Unreadable as unreadable:
        return Store(path=path, problem=str(unreadable))


def columns(connection: sqlite3.Connection, table: str) -> set[str]:
    """The names of a table's columns; none if it isn't there."""
    return {row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))}


def _look(path: bytes, connection: sqlite3.Connection) -> Store:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    keyed = [
        name
        for name in ("cron_jobs", "cron_job_scratch", "cron_run_receipts", "cron_run_logs")
        if "store_key" in columns(connection, name)
    ]
    jobs: dict[str, int] = {}
    if "cron_jobs" in keyed:
        jobs = dict(connection.execute("SELECT store_key, count(*) FROM cron_jobs GROUP BY 1 ORDER BY 1"))
    agents: dict[str, str] = {}
    if {"agent_id", "path"} <= columns(connection, "agent_databases"):
        agents = dict(connection.execute("SELECT agent_id, path FROM agent_databases ORDER BY 1"))
    return Store(path=path, version=version, tables=tables, jobs=jobs, agents=agents, job_tables=tuple(keyed))
