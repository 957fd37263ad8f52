"""Everything that a key can prove of a bundle: each entry, each file against its digest, each section.

Implements the level ``full`` of section 11 of the specification. Nothing is written, and nothing is read twice but
content that files of distant batches share.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final, NamedTuple

from ocbundle import paths
from ocbundle.errors import Malformed
from ocbundle.ledger import Ledger
from ocbundle.model import Entry
from ocbundle.reader import Advance, Reader, compare, cut

_WAITING: Final = 512
"""Segments that may wait for a thread: enough for a batch of small files, and little memory for any number of them."""


def check(reader: Reader, advance: Advance | None = None) -> None:
    """Read every byte of the bundle to nowhere; *advance* is told of it.

    Raises:
        DamagedBundle: any rule of the specification is broken.
    """
    _Verification(reader, advance or (lambda _size, _entries: None)).run()


class _Job(NamedTuple):
    """A segment being looked into, and what is done when it has been."""

    future: Future[None]
    size: int
    entries: int


class _Verification:
    """One run. Rows pass on this thread, while others open the segments of the batch before and hash what is in them.

    A worker takes a whole segment, since handing the interpreter's lock to and fro for each small file takes longer
    than to hash it.
    """

    def __init__(self, reader: Reader, advance: Advance) -> None:
        self._reader = reader
        self._advance = advance
        self._ledger = Ledger()
        self._jobs: deque[_Job] = deque()

    def run(self) -> None:
        reader = self._reader
        reader.journaled = {}
        check_left_out = _left_out(reader)
        for batch in reader.batches():
            self._drain()
            for entry in batch.entries:
                check_left_out(entry)
            self._begin(batch.entries)
        self._drain()
        self._ledger.check_disjoint()
        reader.link_targets()
        for number in reader.unopened():
            self._inspect(number, ())
        self._drain()
        reader.check_rest()

    def _begin(self, entries: Sequence[Entry]) -> None:
        """Begin to check the content of a batch: by segment what lies in one, then file by file what is longer."""
        self._reader.journaled = {entry.path: entry for entry in entries}
        inside = defaultdict[int, list[Entry]](list)
        longer: list[Entry] = []
        unread = self._ledger.unread(entries)
        for entry in unread:
            if len(entry.extents) == 1 and (number := entry.extents[0].segment) is not None:
                inside[number].append(entry)
            else:
                longer.append(entry)
        self._advance(_size(entries) - _size(unread), len(entries) - len(unread))
        shared = {extent.segment for entry in longer for extent in entry.extents}
        for number in sorted(inside.keys() - shared):
            self._inspect(number, inside.pop(number))
        for entry in sorted([*longer, *(entry for found in inside.values() for entry in found)], key=_place):
            for piece in self._reader.content(entry):
                self._advance(len(piece), 0)
            self._advance(0, 1)

    def _inspect(self, number: int, entries: Sequence[Entry]) -> None:
        """Let a thread check *entries*, each with one extent, against the segment in which all of them lie."""
        job = self._reader.inspect(number, _looker(entries))
        self._jobs.append(_Job(job, _size(entries), len(entries)))
        self._drain(_WAITING)

    def _drain(self, waiting: int = 0) -> None:
        while len(self._jobs) > waiting:
            job = self._jobs.popleft()
            job.future.result()
            self._advance(job.size, job.entries)


def _size(entries: Sequence[Entry]) -> int:
    return sum([entry.size for entry in entries])


def _place(entry: Entry) -> tuple[int, int]:
    """Where the content of *entry* begins, so that segments are opened one after the other."""
    return next(((extent.segment, extent.offset) for extent in entry.extents if extent.segment is not None), (-1, 0))


def _looker(entries: Sequence[Entry]) -> Callable[[bytes], None]:
    """A check of *entries*, each with one extent, against the bytes of the segment in which all of them lie."""

    def look(raw: bytes) -> None:
        for entry in entries:
            compare(entry, hashlib.sha256(cut(entry, entry.extents[0], raw)).digest())

    return look


def _left_out(reader: Reader) -> Callable[[Entry], None]:
    """A check, for entries as they ascend, that none of them is also listed as left out (R-9.17)."""
    if not reader.manifest.totals.skipped:
        return lambda _: None
    order = {root.name: index for index, root in enumerate(reader.manifest.roots)}
    rows = reader.skipped_rows()
    key, last = (-1, b""), (len(order), b"")

    def check_entry(entry: Entry) -> None:
        nonlocal key
        own = (order[entry.root], paths.sort_key(entry.path))
        while key < own:
            row = next(rows, None)
            key = last if row is None else (order[row.root], paths.sort_key(row.path))
        if key == own:
            raise Malformed("an entry is also listed as left out", path=entry.name, rule="R-9.17")

    return check_entry
