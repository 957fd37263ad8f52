"""The entries that a damaged bundle still tells of, sorted, whatever their number and order.

Implements step 5 of section 13.4 of the specification: batches first, journals for what no batch tells. Entries
are kept in a database without a name, in memory while they are few; it is gone when it is closed. It never looks at
content.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from ocbundle import limits, paths, records
from ocbundle.errors import LimitExceeded, TargetFailure
from ocbundle.model import Entry, Kind, Manifest
from ocbundle.outcomes import Condition

_SCHEMA: Final = """
PRAGMA journal_mode = OFF;
PRAGMA cache_size = -8192;
CREATE TABLE entries (
    root INTEGER, key BLOB, kind INTEGER, row BLOB, origin INTEGER, condition INTEGER DEFAULT 0, note TEXT DEFAULT '',
    PRIMARY KEY (root, key)
) WITHOUT ROWID;
CREATE TABLE verdicts (likeness BLOB PRIMARY KEY, condition INTEGER, note TEXT) WITHOUT ROWID;
CREATE TABLE journals (root TEXT, key BLOB, kind INTEGER, row BLOB, PRIMARY KEY (root, key)) WITHOUT ROWID;
BEGIN;
"""
_INSERT: Final = "INSERT OR IGNORE INTO entries (root, key, kind, row, origin) VALUES (?, ?, ?, ?, ?)"
_BATCH: Final = 0
_JOURNAL: Final = 1
_REMADE: Final = 2
_CONDITIONS: Final = tuple(Condition)
_PAGE: Final = 50
_TRIES: Final = 1000
"""Rows of a journal's root that are compared with those of batches, and rows of batches that one is compared with."""
_LONGEST: Final = 4096
"""Bytes of a row that is compared."""
_COMPARED: Final = 2 * limits.MIB
"""Bytes of rows that are compared in all: to decode them takes a second at the most."""
_NUMBER: Final = len("~") + 6
"""Bytes for what tells equal names apart: there are fewer than a million."""
_PLACEHOLDERS: Final = tuple(map(str, range(limits.MAX_ROOTS)))
"""What stands for a root's name in a batch, until it is known: its index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survivor:
    """An entry, where its root stands, and what became of it."""

    index: int
    """Of the root."""
    entry: Entry
    is_remade: bool
    condition: Condition
    note: str


class Survivors:
    """The entries. A context manager: leaving it lets go of them."""

    def __init__(self) -> None:
        with _kept():
            self._db = sqlite3.connect("", isolation_level=None)
            self._db.executescript(_SCHEMA)
        self.names: list[str] = []
        """Of the roots, by index, once it is settled."""
        self.count = 0
        """How many there are."""
        self._comparable = _COMPARED
        """Bytes of rows that may still be compared."""

    def __enter__(self) -> Self:
        """Nothing more to do."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of them."""
        self._db.close()

    def add_batch(self, raw: bytes) -> None:
        """Take the entries of a batch.

        Raises:
            DamagedBundle: it breaks a rule of sections 8 and 9 that one row can break.
            LimitExceeded: too many entries.
        """
        entries = records.decode_batch(raw, roots=_PLACEHOLDERS).entries
        with _kept():
            added = self._db.executemany(
                _INSERT,
                ((int(entry.root), *_columns(entry, _BATCH), _BATCH) for entry in entries),
            )
        self._add(added.rowcount)

    def add_journal(self, raw: bytes) -> None:
        """Take the entries of a journal, for what no batch tells.

        Raises:
            DamagedBundle: it breaks a rule of section 8, or one of section 9 that one row can break.
            LimitExceeded: too many entries.
        """
        entries = records.decode_journal(raw)
        with _kept():
            self._db.executemany(
                "INSERT OR IGNORE INTO journals (root, key, kind, row) VALUES (?, ?, ?, ?)",
                ((entry.root, *_columns(entry, _JOURNAL)) for entry in entries),
            )

    def settle(self, head: Manifest | None) -> None:
        """Give each root its name, and let journals fill what the batches leave open; nothing is added afterwards.

        Raises:
            LimitExceeded: too many entries.
        """
        known: dict[int, str] = {} if head is None else dict(enumerate(root.name for root in head.roots))
        indices = {name: index for index, name in known.items()}
        with _kept():
            named = [str(name) for (name,) in self._db.execute("SELECT DISTINCT root FROM journals ORDER BY root")]
            used = {int(index) for (index,) in self._db.execute("SELECT DISTINCT root FROM entries")}
        free = itertools.count(max(used | known.keys(), default=-1) + 1)
        for name in named:
            index = indices.get(name)
            if index is None and head is None and self._comparable > 0:
                index = self._twin(name, taken=known.keys())
            index = next(free) if index is None else index
            known[index] = name
            with _kept():
                added = self._db.execute(
                    "INSERT OR IGNORE INTO entries (root, key, kind, row, origin)"
                    " SELECT ?, key, kind, row, ? FROM journals WHERE root = ?",
                    (index, _JOURNAL, name),
                )
            self._add(added.rowcount)
        names = Names(known.values())
        for index in sorted(used - known.keys()):
            known[index] = names.unique(f"root-{index}")
        self.names = [known.get(index, "") for index in range(max(known, default=-1) + 1)]
        with _kept():
            self._db.execute("DELETE FROM journals")

    def _twin(self, name: str, taken: Container[int]) -> int | None:
        """The index of the root that journals call *name*, told by a row that batches have for one root only.

        Where no more may be compared, there is none: what journals tell of the root then lies beside what batches do.
        """
        with _kept():
            self._db.execute("CREATE INDEX IF NOT EXISTS by_key ON entries (key, origin, LENGTH(row))")
            rows = self._db.execute(
                "SELECT key, row FROM journals WHERE root = ? AND LENGTH(row) < ? LIMIT ?", (name, _LONGEST, _TRIES)
            ).fetchall()
        for key, row in rows:
            with _kept():
                found = self._db.execute(
                    "SELECT root, row FROM entries WHERE key = ? AND origin = ? AND LENGTH(row) < ? LIMIT ?",
                    (key, _BATCH, 2 * _LONGEST, _TRIES),
                ).fetchall()
            if not found:
                continue
            self._comparable -= len(row) + sum(len(twin) for _, twin in found)
            if self._comparable < 0:
                return None
            wanted = _decode(row, _JOURNAL, name)
            twins = [
                int(index)
                for index, twin in found
                if index not in taken and _decode(twin, _BATCH, name).replace(sha256=None) == wanted
            ]
            if len(twins) == 1:
                return twins[0]
        return None

    # --- looking and marking ----------------------------------------------------------------------------------------

    def journaled(self) -> int:
        """How many entries only a journal told of."""
        with _kept():
            found = self._db.execute("SELECT COUNT(*) FROM entries WHERE origin = ?", (_JOURNAL,))
            return int(found.fetchone()[0])

    def __iter__(self) -> Iterator[Survivor]:
        """All of them, ascending by root and path; what stands before the one at hand may be changed meanwhile."""
        return self._pages("")

    def casualties(self) -> Iterator[Survivor]:
        """Those that aren't whole, in the same order."""
        return self._pages("AND condition > 0")

    def _pages(self, wanted: str) -> Iterator[Survivor]:
        query = (
            "SELECT root, key, row, origin, condition, note FROM entries"  # noqa: S608 - nothing of a bundle's
            f" WHERE (root, key) > (?, ?) {wanted} ORDER BY root, key LIMIT ?"
        )
        after: tuple[int, bytes] = (-1, b"")
        while True:
            with _kept():
                page = self._db.execute(query, (*after, _PAGE)).fetchall()
            for root, _, row, origin, condition, note in page:
                yield self._survivor(root, row, origin, condition, note)
            if not page:
                return
            after = (page[-1][0], page[-1][1])

    def find(self, index: int, path: bytes) -> Survivor | None:
        """The entry at *path* of root number *index*."""
        with _kept():
            found = self._db.execute(
                "SELECT row, origin, condition, note FROM entries WHERE root = ? AND key = ?",
                (index, paths.sort_key(path)),
            ).fetchone()
        return None if found is None else self._survivor(index, *found)

    def fate(self, index: int, path: bytes) -> tuple[Kind, Condition] | None:
        """What is at *path* of root number *index*, and what became of it; its row isn't read, since it may be long."""
        with _kept():
            found = self._db.execute(
                "SELECT kind, condition FROM entries WHERE root = ? AND key = ?", (index, paths.sort_key(path))
            ).fetchone()
        return None if found is None else (Kind(found[0]), _CONDITIONS[found[1]])

    def _survivor(self, index: int, row: bytes, origin: int, condition: int, note: str) -> Survivor:
        return Survivor(
            index=index,
            entry=_decode(row, origin, self.names[index]),
            is_remade=origin == _REMADE,
            condition=_CONDITIONS[condition],
            note=note,
        )

    def mark(self, survivor: Survivor, condition: Condition, note: str) -> None:
        """Say what became of an entry."""
        with _kept():
            self._db.execute(
                "UPDATE entries SET condition = ?, note = ? WHERE root = ? AND key = ?",
                (_CONDITIONS.index(condition), note, survivor.index, paths.sort_key(survivor.entry.path)),
            )

    def verdict(self, likeness: bytes) -> tuple[Condition, str] | None:
        """What became of files that are alike: they have the same digest and extents."""
        with _kept():
            found = self._db.execute("SELECT condition, note FROM verdicts WHERE likeness = ?", (likeness,)).fetchone()
        return None if found is None else (_CONDITIONS[found[0]], found[1])

    def keep_verdict(self, likeness: bytes, condition: Condition, note: str) -> None:
        """Say what became of files that are alike."""
        with _kept():
            self._db.execute(
                "INSERT INTO verdicts (likeness, condition, note) VALUES (?, ?, ?)",
                (likeness, _CONDITIONS.index(condition), note),
            )

    def remake(self, index: int, directory: Entry) -> None:
        """Add a directory whose entry is lost.

        Raises:
            LimitExceeded: too many entries.
        """
        with _kept():
            added = self._db.execute(_INSERT, (index, *_columns(directory, _REMADE), _REMADE))
        self._add(added.rowcount)

    def _add(self, number: int) -> None:
        self.count += number
        if self.count > limits.MAX_ENTRIES:
            raise LimitExceeded(f"more than {limits.MAX_ENTRIES} entries", rule="R-9.18")


class Names:
    """Names that are taken."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._numbers: dict[str, int] = {}
        """The next number, by what stands before it: thousands of names may begin alike."""

    def unique(self, name: str, ending: str = "") -> str:
        """*name* with *ending*; if that is taken, with a number behind it. It is taken from then on.

        *name* is cut where all of it would be longer than a root's name may be.
        """
        found = _cut(name, len(ending)) + ending
        if found in self._taken:
            stem = _cut(name, len(ending) + _NUMBER) + ending
            numbers = itertools.count(self._numbers.get(stem, 2))
            number = next(number for number in numbers if f"{stem}~{number}" not in self._taken)
            self._numbers[stem] = number + 1
            found = f"{stem}~{number}"
        self._taken.add(found)
        return found


def _cut(name: str, room: int) -> str:
    """*name*, as far as it leaves so much room for what is to stand behind it."""
    while len(name.encode()) + room > limits.MAX_ROOT_NAME:
        name = name[:-1]
    return name


@contextlib.contextmanager
def _kept() -> Iterator[None]:
    """Turn what the database can't do into an error that tells where its room is."""
    try:
        yield
    except sqlite3.Error as error:
        raise TargetFailure(
            f"the list of entries can't be kept: {error}", hint="make room in the directory that TMPDIR names"
        ) from error


def _columns(entry: Entry, origin: int) -> tuple[bytes, int, bytes]:
    """The key, kind and row of an entry."""
    row = records.entry_row(entry, 0)
    if origin == _JOURNAL:
        encoded = records.encode_journal([row], roots=[entry.root])
    else:
        encoded = records.encode_batch([row], (), roots={})
    return paths.sort_key(entry.path), int(entry.kind), encoded


def _decode(row: bytes, origin: int, root: str) -> Entry:
    if origin == _JOURNAL:
        return records.decode_journal(row)[0]
    return records.decode_batch(row, roots=(root,)).entries[0]
