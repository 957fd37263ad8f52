"""Everything that a key can prove of a bundle: each entry, each file against its digest, each section.

Implements the level ``full`` of section 11 of the specification. Nothing is written. In the course of a batch each
segment is opened once, and those of files with long holes another time.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from ocbundle import limits, paths, wire
from ocbundle.container import Advance
from ocbundle.contents import compare, cut
from ocbundle.errors import Malformed
from ocbundle.ledger import Ledger
from ocbundle.memory import Piece, SizedMemory
from ocbundle.model import Entry, Extent
from ocbundle.reader import Reader

_WAITING: Final = 4
"""Segments that are being opened, or are opened and wait for this thread."""
_ROOM: Final = limits.FIRST_SEGMENT + 64 * limits.KIB
"""Bytes that a segment may have to wait for this thread; those of the first 8 GiB of a bundle have fewer."""
_LONG: Final = 2 * _ROOM
"""Of segments with more bytes, sealed or opened, there is one in memory at a time."""
_LONG_HOLES: Final = limits.MIB
_SHORT: Final = 64 * limits.KIB
"""Longest file that is hashed on this thread."""


def check(reader: Reader, advance: Advance | None = None) -> None:
    """Read every byte of the bundle to nowhere; *advance* is told of it.

    Raises:
        DamagedBundle: any rule of the specification is broken.
    """
    _Verification(reader, advance or (lambda _size, _entries: None)).run()


class _Whole:
    """A file with several extents, which is hashed as the segments pass that they lie in."""

    __slots__ = ("_digest", "_missing", "entry")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self._digest = hashlib.sha256()
        self._missing = len(entry.extents)

    def add(self, extent: Extent, raw: memoryview) -> bool:
        """Hash the next extent, a hole or out of its segment's bytes; whether it was the last, and all is right."""
        self._digest.update(bytes(extent.length) if extent.segment is None else cut(self.entry, extent, raw))
        self._missing -= 1
        if self._missing:
            return False
        compare(self.entry, self._digest.digest())
        return True


@dataclass(slots=True)
class _Look:
    """What is to be looked into: a segment, and what lies in it."""

    number: int
    short: list[Entry] = field(default_factory=list)
    """Files with this one extent, for this thread."""
    long: list[Entry] = field(default_factory=list)
    """Such files for the thread that opens the segment."""
    parts: list[tuple[_Whole, Extent]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Logical bytes."""
        return _size(self.short) + _size(self.long) + sum([extent.length for _, extent in self.parts])


class _Looks(dict[int, _Look]):
    """What is to be looked into, by number of the segment."""

    def __missing__(self, number: int) -> _Look:
        look = self[number] = _Look(number)
        return look


class _Seen(NamedTuple):
    """What has come of a look."""

    ended: int
    """Files with several extents, of which this segment holds the last."""
    raw: memoryview | None
    """The segment, unless all that lies in it has been looked into."""


class _Job(NamedTuple):
    """A look that is under way."""

    look: _Look
    seen: Future[_Seen]


class _Verification:
    """One run. Rows pass on this thread, while others open the segments of the batch before.

    Files of some kilobytes are hashed on this thread, and long ones by who has opened their segment: two threads that
    hand the interpreter's lock to and fro for each small file take longer than one that keeps it. A segment that is
    too long to wait for this thread is looked into whole by who has opened it.
    """

    def __init__(self, reader: Reader, advance: Advance) -> None:
        self._reader = reader
        self._advance = advance
        self._ledger = Ledger()
        self._memory = SizedMemory(_ROOM, _LONG, wire.HEADER_LENGTH + limits.MAX_SEGM_BODY)
        self._looks: deque[_Look] = deque()
        self._jobs: deque[_Job] = deque()

    def run(self) -> None:
        reader = self._reader
        reader.journaled = {}
        check_left_out = _left_out(reader)
        for batch in reader.batches():
            self._drain()
            check_left_out(batch.entries)
            self._begin(batch.entries)
        self._drain()
        self._ledger.check_disjoint()
        reader.link_targets()
        self._looks.extend(_Look(number) for number in reader.unopened())
        self._drain()
        reader.check_rest()

    def _begin(self, entries: Sequence[Entry]) -> None:
        """Begin to check the content of a batch, segment by segment; and check files with long holes by themselves."""
        self._reader.journaled = {entry.path: entry for entry in entries}
        looks = _Looks()
        others: list[Entry] = []
        unread = self._ledger.unread(entries)
        for entry in unread:
            extents = entry.extents
            if len(extents) == 1 and (number := extents[0].segment) is not None:
                look = looks[number]
                (look.short if entry.size <= _SHORT else look.long).append(entry)
            elif numbers := _numbers(extents):
                whole = _Whole(entry)
                for number, extent in zip(numbers, extents, strict=True):
                    looks[number].parts.append((whole, extent))
            else:
                others.append(entry)
        self._advance(_size(entries) - _size(unread), len(entries) - len(unread))
        self._looks.extend(look for _, look in sorted(looks.items()))
        self._fill()
        if others:
            self._drain()
            self._read(others)

    def _read(self, entries: Sequence[Entry]) -> None:
        """Read files from their first byte to their last, each for itself."""
        self._memory.forget()  # there is room for one segment more then
        for entry in entries:
            for piece in self._reader.content(entry):
                self._advance(len(piece), 0)
            self._advance(0, 1)
        self._reader.forget_segments()

    def _fill(self) -> None:
        """Let threads look into as many segments as may wait."""
        while self._looks and len(self._jobs) < _WAITING:
            look = self._looks.popleft()
            earlier = [job.seen for job in self._jobs]
            see, take = partial(self._see, look, earlier), partial(self._take, earlier)
            self._jobs.append(_Job(look, self._reader.inspect(look.number, see, take, self._memory.give)))

    def _take(self, earlier: Sequence[Future[_Seen]], length: int) -> Piece:
        if length > _LONG:
            _await(earlier)
        return self._memory.take(length)

    def _see(self, look: _Look, earlier: Sequence[Future[_Seen]], raw: memoryview) -> _Seen:
        """Look into a segment, on the thread that has opened it."""
        _compare(look.long, raw)
        ended = 0
        if look.parts:
            _await(earlier)  # each part is hashed behind the one before it
            ended = sum([whole.add(extent, raw) for whole, extent in look.parts])
        if look.short and len(raw) <= _ROOM:
            return _Seen(ended, raw)
        _compare(look.short, raw)
        self._memory.give(raw)
        return _Seen(ended, None)

    def _drain(self) -> None:
        """Finish all looks."""
        self._fill()
        while self._jobs:
            look, job = self._jobs.popleft()
            ended, raw = job.result()
            self._fill()
            if raw is not None:
                _compare(look.short, raw)
                self._memory.give(raw)
            self._advance(look.size, len(look.short) + len(look.long) + ended)


def _await(seen: Sequence[Future[_Seen]]) -> None:
    """Wait for looks to end, and raise what went wrong there: then this one needn't take any memory."""
    for look in seen:
        look.result()


def _size(entries: Sequence[Entry]) -> int:
    return sum([entry.size for entry in entries])


def _numbers(extents: Sequence[Extent]) -> list[int]:
    """The segment with which each extent is looked at: its own, or of a hole, that before it or the first.

    Empty, if nothing is stored of the file, or if its holes are too long to be hashed between other files.
    """
    stored = [extent.segment for extent in extents if extent.segment is not None]
    if not stored or sum([extent.length for extent in extents if extent.segment is None]) > _LONG_HOLES:
        return []
    numbers, number = [], stored[0]
    for extent in extents:
        number = number if extent.segment is None else extent.segment
        numbers.append(number)
    return numbers


def _compare(entries: Sequence[Entry], raw: memoryview) -> None:
    """Hold *entries*, each with one extent, to the bytes of the segment in which all of them lie."""
    for entry in entries:
        ((_, offset, length),) = entry.extents
        piece = raw[offset : offset + length]
        if len(piece) < length or hashlib.sha256(piece).digest() != entry.sha256:
            compare(entry, hashlib.sha256(cut(entry, entry.extents[0], raw)).digest())


def _left_out(reader: Reader) -> Callable[[Sequence[Entry]], None]:
    """A check, for entries as they ascend, that none of them is also listed as left out (R-9.17)."""
    if not reader.manifest.totals.skipped:
        return lambda _: None
    order = {root.name: index for index, root in enumerate(reader.manifest.roots)}
    rows = reader.skipped_rows()
    key, last = (-1, b""), (len(order), b"")

    def check_entries(entries: Sequence[Entry]) -> None:
        nonlocal key
        for entry in entries:
            own = (order[entry.root], paths.sort_key(entry.path))
            while key < own:
                row = next(rows, None)
                key = last if row is None else (order[row.root], paths.sort_key(row.path))
            if key == own:
                raise Malformed("an entry is also listed as left out", path=entry.name, rule="R-9.17")

    return check_entries
