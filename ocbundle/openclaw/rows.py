"""Paths inside OpenClaw's SQLite databases, rewritten in a staged copy.

All changes of a database are one transaction; damage that wasn't there before undoes it. Virtual tables aren't
touched, triggers run as they would for OpenClaw, but confined: see :mod:`ocbundle.openclaw.connection`. What can't be
changed is told in a warning and left as it was, whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import unicodedata
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

from ocbundle.errors import NoSpace, TargetFailure
from ocbundle.openclaw import documents
from ocbundle.openclaw.columns import CLEARED, COLUMNS, KNOWN_SCHEMAS, SKIPPED_TABLES, How
from ocbundle.openclaw.connection import opened
from ocbundle.openclaw.documents import Edited, NotEdited
from ocbundle.openclaw.moves import Moves
from ocbundle.openclaw.staged import Place, failures, writable

_MAX_MOVES: Final = 16
"""With more prefixes than these, rows aren't looked for by SQLite but one by one, which is faster then."""
_MAX_DAMAGE: Final = 100
_MAX_APPROVALS: Final = 1 << 20
"""Characters of a document of approvals: a parsed one takes twenty times as much memory."""


_REFUSALS: Final = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
}
_LONGEST_PATH: Final = 500
"""SQLite takes 512 bytes, the names of its side files included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was done in one database. *rewritten* and *cleared* count rows, by ``table.column`` and by table."""

    rewritten: tuple[tuple[str, int], ...] = ()
    cleared: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def rewrite(place: Place, moves: Moves, workspaces: Collection[bytes]) -> Outcome:
    """Rewrite the database *place* in its staged tree.

    Args:
        place: the database; its write-ahead log is part of it already.
        moves: what has moved.
        workspaces: paths of workspaces on the old machine, to recognise keys that are hashes of them.

    Raises:
        NoSpace: the file system is full.
        TargetFailure: the system refuses, or the file isn't the one that was found.
    """
    with failures(place), writable(place):
        try:
            with opened(place) as connection:
                return _Database(connection, place, moves, workspaces).rewrite()
        except sqlite3.Error as error:
            if _code(error) == sqlite3.SQLITE_FULL:
                raise NoSpace("no room to rewrite paths in a staged database", path=place.shown) from error
            if _is_refusal(error, place):
                raise TargetFailure(
                    f"can't rewrite paths in a staged database: {error}",
                    path=place.shown,
                    hint="nothing has been put in place",
                ) from error
            return Outcome(warnings=(f"{place.shown} can't be changed ({error}): its paths are those of before",))


@dataclass(slots=True)
class _Database:
    """One open database, and what is found out about it."""

    connection: sqlite3.Connection
    place: Place
    moves: Moves
    workspaces: Collection[bytes]
    rewritten: dict[str, int] = field(default_factory=dict)
    cleared: dict[str, int] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    warnings: dict[str, None] = field(default_factory=dict)
    tables: dict[str, dict[str, str]] = field(default_factory=dict)
    """Ordinary tables, with the declared type of each column."""

    def rewrite(self) -> Outcome:
        if self.connection.execute("PRAGMA encoding").fetchone()[0] != "UTF-8":
            raise sqlite3.NotSupportedError("its text isn't UTF-8")
        self._read_schema()
        self.connection.execute("BEGIN IMMEDIATE")
        self._apply()
        if not self.rewritten and not self.cleared:
            self.connection.execute("ROLLBACK")
            return self._outcome()
        damage = self._damage()
        if damage:
            self.connection.execute("ROLLBACK")
            if self._damage() != damage:
                raise sqlite3.IntegrityError(f"it would be damaged by it: {damage[0]}")
            # It came like this: another table's trouble is no reason to lose the jobs of this one.
            self.connection.execute("BEGIN IMMEDIATE")
            self._apply()
        self.connection.execute("COMMIT")
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return self._outcome()

    def _apply(self) -> None:
        for found in (self.rewritten, self.cleared, self.notes, self.warnings):
            found.clear()
        self._clear()
        if not self.moves.changed():
            return
        for table, column, how in COLUMNS:
            convert = self._converter(how)
            if convert is not None and column in self.tables.get(table, ()):
                self._column(table, column, convert)
        if "worktrees.path" in self.rewritten or "worktrees.repo_root" in self.rewritten:
            told = "git worktrees have moved: in each repository, 'git worktree repair PATH...' mends their links"
            self.notes[told] = None
        self._transcripts()
        self._workspaces()
        self._look_for_others()

    def _outcome(self) -> Outcome:
        return Outcome(
            rewritten=tuple(self.rewritten.items()),
            cleared=tuple(self.cleared.items()),
            notes=tuple(self.notes),
            warnings=tuple(self.warnings),
        )

    def _read_schema(self) -> None:
        found = self.connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'").fetchall()
        virtual = tuple(f"{name}_" for name, sql in found if sql and sql.upper().startswith("CREATE VIRTUAL"))
        for name, sql in found:
            if not sql or sql.upper().startswith("CREATE VIRTUAL") or name.startswith(virtual or "\0"):
                continue
            columns = self.connection.execute("SELECT name, type FROM pragma_table_xinfo(?) WHERE hidden = 0", (name,))
            self.tables[name] = dict(columns.fetchall())

    def _damage(self) -> tuple[str, ...]:
        try:
            verdicts = [str(row[0]) for row in self.connection.execute(f"PRAGMA quick_check({_MAX_DAMAGE})")]
            loose = self.connection.execute("PRAGMA foreign_key_check").fetchmany(_MAX_DAMAGE)
        except sqlite3.Error as error:
            if _code(error) == sqlite3.SQLITE_INTERRUPT:
                raise
            return (str(error),)
        return tuple(v for v in verdicts if v != "ok") + tuple(f"a row of {row[0]} refers to none" for row in loose)

    # --- Columns by the table -----------------------------------------------------------------------------------------

    def _converter(self, how: How) -> Callable[[bytes], Edited] | None:
        moves = self.moves
        return {
            How.PATH: lambda value: Edited(data=moves.path(value)),
            How.REAL: lambda value: Edited(data=moves.real(value)),
            How.JSON: lambda value: documents.plain(value, moves),
            How.ENTRY: lambda value: documents.plain(value, moves, documents.but_history),
        }.get(how)

    def _column(self, table: str, column: str, convert: Callable[[bytes], Edited]) -> None:
        where = f"{table}.{column}"
        for rowid, value in self._rows(table, column):
            try:
                edited = convert(value)
            except NotEdited as error:
                self.warnings[f"a row of {where} names an old path, but {error}: left as it is"] = None
                continue
            if edited.left:
                self.notes[f"{where} holds an old path inside {', '.join(edited.left)}: left as it is"] = None
            if edited.data == value:
                continue
            statement = f"UPDATE {table} SET {column} = CAST(? AS TEXT) WHERE rowid = ?"  # noqa: S608
            if self._update(statement, edited.data, rowid):
                self._count(where)
            else:
                self.warnings[f"{where} already has a row for the new path: the old one is left as it is"] = None

    def _rows(self, table: str, column: str) -> Iterator[tuple[int, bytes]]:
        """The rows of a column in which an old prefix occurs."""
        table, column = _name(table), _name(column)
        prefixes = [move.old for move in self.moves.changed()]
        escaped = [json.dumps(old.decode(), ensure_ascii=False)[1:-1].encode() for old in prefixes if _is_text(old)]
        wanted = sorted({*prefixes, *escaped})
        condition, parameters = "1", []
        if len(wanted) <= _MAX_MOVES and not self.moves.folded:
            condition = " OR ".join(f"instr(CAST({column} AS BLOB), ?)" for _ in wanted)
            parameters = wanted
        found = self.connection.execute(f"SELECT rowid FROM {table} WHERE {condition}", parameters).fetchall()  # noqa: S608
        for (rowid,) in found:
            value = self.connection.execute(
                f"SELECT CAST({column} AS BLOB) FROM {table} WHERE rowid = ? AND typeof({column}) = 'text'",  # noqa: S608
                (rowid,),
            ).fetchone()
            if value is not None:
                yield rowid, bytes(value[0])

    def _update(self, statement: str, *parameters: object) -> bool:
        """Run *statement*; ``False`` if a constraint forbids it."""
        try:
            self.connection.execute(statement, parameters)
        except sqlite3.IntegrityError:
            return False
        return True

    def _count(self, where: str, rows: int = 1) -> None:
        if rows:
            self.rewritten[where] = self.rewritten.get(where, 0) + rows

    # --- What needs more than that ------------------------------------------------------------------------------------

    def _clear(self) -> None:
        for table, condition in CLEARED:
            if table in self.tables:
                gone = self.connection.execute(f"DELETE FROM {table} WHERE {condition}").rowcount  # noqa: S608
                if gone:
                    self.cleared[table] = gone
        if {"raw_json", "has_socket_token"} <= self.tables.get("exec_approvals_config", {}).keys():
            self._clear_socket_token()

    def _clear_socket_token(self) -> None:
        """The socket's token is of a process that is gone. A document that can't be read denies everything anyway."""
        found = self.connection.execute(
            "SELECT rowid, raw_json FROM exec_approvals_config"
            " WHERE typeof(raw_json) = 'text' AND length(raw_json) <= ?",
            (_MAX_APPROVALS,),
        ).fetchall()
        for rowid, raw in found:
            with contextlib.suppress(ValueError, RecursionError):
                approvals = json.loads(raw)
                if isinstance(approvals, dict) and isinstance(approvals.get("socket"), dict):
                    if approvals["socket"].pop("token", None) is None:
                        continue
                    self.connection.execute(
                        "UPDATE exec_approvals_config SET raw_json = ?, has_socket_token = 0 WHERE rowid = ?",
                        (json.dumps(approvals, indent=2, ensure_ascii=False) + "\n", rowid),
                    )
                    self.cleared["exec_approvals_config"] = self.cleared.get("exec_approvals_config", 0) + 1

    def _transcripts(self) -> None:
        columns = self.tables.get("transcript_events", {})
        if "event_json" not in columns or "session_windows" not in self.tables:
            return
        rows = self.connection.execute(
            "SELECT first.rowid, CAST(first.event_json AS BLOB) FROM session_windows AS window"
            " JOIN transcript_events AS first ON first.session_id = window.session_id AND first.seq ="
            " (SELECT min(seq) FROM transcript_events WHERE session_id = window.session_id)"
            " WHERE first.event_json IS NOT NULL"
        ).fetchall()
        for rowid, event in rows:
            edited = documents.transcript_header(bytes(event), self.moves)
            if not edited.count:
                continue
            self.connection.execute(
                "UPDATE transcript_events SET event_json = CAST(? AS TEXT) WHERE rowid = ?", (edited.data, rowid)
            )
            if "event_utf8_bytes" in columns:
                self.connection.execute(
                    "UPDATE transcript_events SET event_utf8_bytes = ?"
                    " WHERE rowid = ? AND event_utf8_bytes IS NOT NULL",
                    (len(edited.data), rowid),
                )
            self._count("transcript_events.event_json")

    def _workspaces(self) -> None:
        """Workspaces are found by the SHA-256 of their path, without symbolic links and composed (NFC)."""
        aliases = self._all("workspace_path_aliases", "alias_key", "alias_path", "workspace_key", "workspace_path")
        setups = self._all("workspace_setup_state", "workspace_key", "workspace_path")
        linked = {path: alias for _, (_, alias, _, path) in aliases if alias != path and self.moves.knows(alias)}
        by_key = {_key(path): path for path in self.workspaces}
        for rowid, (key, path) in setups:
            old = path or by_key.get(key)
            if old is None or _key(old) != key or (new := self._place_of(old, linked)) == old:
                continue
            moved = self._update(
                "UPDATE workspace_setup_state SET workspace_key = CAST(?1 AS TEXT),"
                " workspace_path = iif(workspace_path IS NULL, NULL, CAST(?2 AS TEXT)) WHERE rowid = ?3",
                _key(new),
                new,
                rowid,
            )
            if not moved:
                self.warnings["workspace_setup_state already has a row for a new path: left as it is"] = None
                continue
            self._count("workspace_setup_state.workspace_path")
            if "workspace_generated_bootstrap_hashes" in self.tables:
                hashes = self.connection.execute(
                    "UPDATE OR REPLACE workspace_generated_bootstrap_hashes SET workspace_key = CAST(? AS TEXT)"
                    " WHERE workspace_key = CAST(? AS TEXT)",
                    (_key(new), key),
                )
                self._count("workspace_generated_bootstrap_hashes.workspace_key", hashes.rowcount)
        for rowid, (_, alias, _, path) in aliases:
            new = self._place_of(path, linked)
            new_alias = new if alias == path else _composed(self.moves.path(alias))
            if (new, new_alias) == (path, alias):
                continue
            # Two names may have become one; OpenClaw adds what it misses.
            self.connection.execute(
                "UPDATE OR REPLACE workspace_path_aliases"
                " SET alias_key = CAST(? AS TEXT), alias_path = CAST(? AS TEXT),"
                " workspace_key = CAST(? AS TEXT), workspace_path = CAST(? AS TEXT) WHERE rowid = ?",
                (_key(new_alias), new_alias, _key(new), new, rowid),
            )
            self._count("workspace_path_aliases.alias_path")

    def _all(self, table: str, *columns: str) -> list[tuple[int, tuple[bytes, ...]]]:
        """All rows of a table, by rowid; NULL comes as ``b""``, and a table without these columns has no rows."""
        if not set(columns) <= self.tables.get(table, {}).keys():
            return []
        wanted = ", ".join(f"CAST(coalesce({column}, '') AS BLOB)" for column in columns)
        found = self.connection.execute(f"SELECT rowid, {wanted} FROM {table}").fetchall()  # noqa: S608
        return [(row[0], tuple(bytes(value) for value in row[1:])) for row in found]

    def _place_of(self, path: bytes, linked: dict[bytes, bytes]) -> bytes:
        if not self.moves.knows(path) and path in linked:
            path = linked[path]  # the old home was reached through a link, and only that name of it is known
        return _composed(self.moves.real(path))

    def _look_for_others(self) -> None:
        """Count old paths in columns that the table doesn't know, above all in schemas newer than it."""
        version = self.connection.execute("PRAGMA user_version").fetchone()[0]
        newest = KNOWN_SCHEMAS.get(self.place.name)
        if newest is not None and version > newest:
            self.warnings[
                f"its schema is {version}, newer than the {newest} known here: it may name more old paths"
            ] = None
        known = {(table, column) for table, column, _ in COLUMNS}
        for table, columns in self.tables.items():
            if table.startswith(SKIPPED_TABLES):
                continue
            for column, kind in columns.items():
                if kind.upper() in {"TEXT", ""} and (table, column) not in known:
                    count = sum(self.moves.path(value) != value for _, value in self._rows(table, column))
                    if count:
                        told = f"{table}.{column}: {count} old {'path' if count == 1 else 'paths'} left as they are"
                        self.warnings[told] = None


def _name(identifier: str) -> str:
    """*identifier*, which the database chose, as SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def _key(path: bytes) -> bytes:
    return hashlib.sha256(path).hexdigest().encode()


def _composed(path: bytes) -> bytes:
    return unicodedata.normalize("NFC", path.decode()).encode() if _is_text(path) else path


def _is_text(path: bytes) -> bool:
    try:
        path.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_refusal(error: sqlite3.Error, place: Place) -> bool:
    """Whether the system is in the way, and not the database."""
    code = _code(error)
    # A path that is too long for SQLite can't be opened either, and never will be.
    can_be_opened = len(place.staged) <= _LONGEST_PATH
    return code in _REFUSALS or (code == sqlite3.SQLITE_CANTOPEN and can_be_opened)


def _code(error: sqlite3.Error) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
