"""A bundle beside the directories it was packed from, or unpacked to: what was added, removed and changed since.

The live side is walked as packing walks it (section 12 of the specification): the same rules leave the same things
out, and databases are compared as SQLite hands them over, with the rows of their logs. Both sides ascend in the order
of section 9.4, so they are joined as they come, in flat memory. Nothing is written but private copies of databases.
"""

from __future__ import annotations

import enum
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ocbundle import databases, scan
from ocbundle.model import REPORT_ROWS, Capture, Entry, Extent, Kind, ProgressCallback, Reason, Skipped
from ocbundle.paths import display, sort_key
from ocbundle.reading import zeros
from ocbundle.sources import Metadata, Sensitivity, Source

_NOT_THERE: Final = frozenset({Reason.VANISHED, Reason.SOCKET, Reason.FIFO, Reason.DEVICE})
"""Why a walk leaves out what can't be what the bundle holds."""
_HEADER: Final = 100
_COUNTERS: Final = ((24, 28), (40, 44), (92, 100))
"""Of a database's header (SQLite's file format, section 1.3): counters that differ from one copy to the next."""


class Change(enum.StrEnum):
    """What happened to a path since it was packed."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class Aspect(enum.StrEnum):
    """What of a path has changed."""

    TYPE = "type"
    CONTENT = "content"
    DATABASE = "database"
    """The pages of a database, whatever of its rows that is."""
    TARGET = "target"
    MODE = "mode"
    OWNER = "owner"
    MTIME = "mtime"
    ATTRIBUTES = "attributes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One path that isn't as it was. A directory that was added or removed stands for all below it."""

    root: str
    path: bytes
    kind: Kind
    change: Change
    what: tuple[Aspect, ...] = ()
    """For a change: of what."""

    @property
    def name(self) -> str:
        """``root/path``, escaped for display."""
        return display(f"{self.root}/".encode() + self.path) if self.path else display(self.root)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How a comparison went."""

    same: int
    counts: Mapping[Change, int]
    uncompared: int
    """Entries of the bundle whose counterparts can't be read, or are left out by the rules of today."""
    unreadable: tuple[str, ...]
    """What couldn't be read, or changed each time it was read, with the reason; at most the first 10,000."""

    @property
    def differences(self) -> int:
        """How many differences there are."""
        return sum(self.counts.values())


def compare(
    entries: Iterator[Entry],
    sources: Sequence[Source],
    found: Callable[[Difference], None],
    *,
    content: Callable[[Entry], Iterator[bytes]],
    scratch: str,
    skipped: Iterable[Skipped] = (),
    progress: ProgressCallback | None = None,
) -> Comparison:
    """Compare *entries* of a bundle with what *sources* hold now, and hand each difference to *found*.

    Args:
        entries: As the bundle has them: ascending, root by root.
        sources: What stands for each root now, with the root's name, in the bundle's order; those of no root last. A
            root without one, or whose directory isn't there, was removed.
        found: Called with each difference, in order.
        content: The bytes of a file of the bundle; asked for databases only.
        scratch: A private directory, with room for the largest database.
        skipped: What was left out of the bundle: that it is there is no difference.
        progress: As :func:`ocbundle.scan.scan` calls it.

    Raises:
        SourceFailure: nothing of *sources* can be read.
        NoSpace: *scratch* is full.
    """
    there = [source for source in sources if os.path.lexists(source.path)]
    left_out = {(row.root, row.path) for row in skipped}
    join = _Join(entries, content, [source.name for source in there], left_out, found)
    result = scan.scan(there, join, scratch=scratch, progress=progress)
    join.finish()
    losses = [f"{row.name}: {row.reason}" + (f" ({row.detail})" if row.detail else "") for row in join.lost]
    losses += [f"{name}: it changed each time it was read" for name in result.changed]
    return Comparison(same=join.same, counts=dict(join.counts), uncompared=join.uncompared, unreadable=tuple(losses))


class _Join:
    """Takes the live side as a writer would, and meets it with the bundle's, which it draws as it goes."""

    def __init__(
        self,
        entries: Iterator[Entry],
        content: Callable[[Entry], Iterator[bytes]],
        live: Sequence[str],
        skipped: set[tuple[str, bytes]],
        found: Callable[[Difference], None],
    ) -> None:
        self.same = self.uncompared = 0
        self.counts: Counter[Change] = Counter()
        self.lost: list[Skipped] = []
        self._entries = entries
        self._content = content
        self._next = next(entries, None)
        self._pages = b""
        """Digest of the live file at hand, should it be a database."""
        self._live = live
        self._skipped = skipped
        self._found = found
        self._root = ""
        self._above: tuple[str, bytes] | None = None
        """The last path that was added, removed or made into something else with all below it."""
        self._owners: tuple[tuple[int, int], tuple[int, int]] | None = None
        """User and group of the current root, in the bundle and live."""

    # --- What the walk finds ---

    def add(self, entry: Entry) -> None:
        """A directory or a link."""
        self._meet(entry)

    def add_file(
        self,
        metadata: Metadata,
        data: bytes,
        *,
        sensitivity: Sensitivity,  # noqa: ARG002 - a sink's signature
        capture: Capture = Capture.PLAIN,
    ) -> None:
        """A file at hand."""
        file = _Digest(self)
        file.write(data)
        file.finish(metadata, capture=capture)

    def open_file(self, *, sensitivity: Sensitivity) -> scan.FileSink:  # noqa: ARG002 - a sink's signature
        """A file in pieces."""
        return _Digest(self)

    def skip(self, skipped: Skipped) -> None:
        """Something that the rules leave out, or that can't be read: it isn't missing."""
        if skipped.is_loss and skipped.reason is not Reason.VANISHED and len(self.lost) < REPORT_ROWS:
            self.lost.append(skipped)
        if skipped.reason in _NOT_THERE:
            return
        self._remove_before(skipped.root, skipped.path)
        while (entry := self._next) is not None and entry.root == skipped.root and _within(entry.path, skipped.path):
            self.uncompared += 1
            self._next = next(self._entries, None)

    def meet_file(self, metadata: Metadata, size: int, sha256: bytes, pages: bytes, capture: Capture) -> None:
        """Compare a file of the live side."""
        self._pages = pages
        self._meet(
            Entry(
                root=metadata.root,
                path=metadata.path,
                kind=Kind.FILE,
                mode=metadata.mode,
                uid=metadata.uid,
                gid=metadata.gid,
                mtime_ns=metadata.mtime_ns,
                size=size,
                sha256=sha256,
                extents=(Extent(None, 0, size),) if size else (),
                capture=capture,
                xattrs=metadata.xattrs,
                acl=metadata.acl,
            )
        )

    def finish(self) -> None:
        """After the live side's last: what is left of the bundle was removed."""
        while self._next is not None:
            self._remove(self._next)

    # --- The join ---

    def _meet(self, live: Entry) -> None:
        self._remove_before(live.root, live.path)
        packed = self._next
        if packed is None or (packed.root, packed.path) != (live.root, live.path):
            if (live.root, live.path) in self._skipped:
                self._above = live.root, live.path
            else:
                self._tell(live, Change.ADDED)
            return
        self._next = next(self._entries, None)
        if not live.path:
            self._owners = (packed.uid, packed.gid), (live.uid, live.gid)
        what = tuple(self._aspects(packed, live))
        if what:
            self._tell(live, Change.CHANGED, what)
            if Aspect.TYPE in what:
                self._above = packed.root, packed.path
        else:
            self.same += 1

    def _remove_before(self, root: str, path: bytes) -> None:
        """Tell of the bundle's entries that stand before this one: nothing on the live side met them."""
        while (entry := self._next) is not None:
            if entry.root == root and sort_key(entry.path) >= sort_key(path):
                return
            # A root that is still to come on the live side can't be passed over.
            if entry.root != root and not self._is_before(entry.root, root):
                return
            self._remove(entry)

    def _is_before(self, one: str, other: str) -> bool:
        """Whether the walk has passed root *one*, or never comes to it, when it is at *other*."""
        return one not in self._live or self._live.index(one) < self._live.index(other)

    def _remove(self, entry: Entry) -> None:
        self._tell(entry, Change.REMOVED)
        self._next = next(self._entries, None)

    def _tell(self, entry: Entry, change: Change, what: tuple[Aspect, ...] = ()) -> None:
        if change is not Change.CHANGED:
            if self._above is not None and entry.root == self._above[0] and _within(entry.path, self._above[1]):
                return
            self._above = (entry.root, entry.path) if entry.kind is Kind.DIRECTORY else None
        self.counts[change] += 1
        self._found(Difference(root=entry.root, path=entry.path, kind=entry.kind, change=change, what=what))

    # --- What differs ---

    def _aspects(self, packed: Entry, live: Entry) -> Iterator[Aspect]:
        if packed.kind is not live.kind:
            yield Aspect.TYPE
            return
        if packed.target != live.target:
            yield Aspect.TARGET
        if packed.kind is Kind.HARDLINK:
            return
        database = Capture.SQLITE in {packed.capture, live.capture}
        if packed.sha256 != live.sha256 and not (database and self._has_same_pages(packed, live)):
            yield Aspect.DATABASE if database else Aspect.CONTENT
        if packed.mode != live.mode and packed.kind is not Kind.SYMLINK:
            yield Aspect.MODE
        if self._differ_in_owner(packed, live):
            yield Aspect.OWNER
        # A directory's time tells of its names, which are compared, and a database's of its last checkpoint.
        if packed.kind is Kind.FILE and not database and packed.mtime_ns != live.mtime_ns:
            yield Aspect.MTIME
        if packed.xattrs != live.xattrs or _lists(packed) != _lists(live):
            yield Aspect.ATTRIBUTES

    def _has_same_pages(self, packed: Entry, live: Entry) -> bool:
        """Whether two copies of a database are the same but for what copying it counts."""
        if packed.size != live.size:
            return False
        digest = _Pages()
        for piece in self._content(packed):
            digest.update(piece)
        return digest.digest() == self._pages

    def _differ_in_owner(self, packed: Entry, live: Entry) -> bool:
        """Whether the owner is another, as seen from the root: on another machine users have other numbers."""
        before, now = (packed.uid, packed.gid), (live.uid, live.gid)
        if self._owners is None:
            return before != now
        return any(
            (one == root_one) != (other == root_other) or one not in {root_one, other}
            for one, other, root_one, root_other in zip(before, now, *self._owners, strict=True)
        )


class _Digest:
    """A file of the live side, on its way to its digests."""

    def __init__(self, join: _Join) -> None:
        self._join = join
        self._digest = hashlib.sha256()
        self._pages = _Pages()
        self._size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        self._digest.update(data)
        self._pages.update(data)
        self._size += len(data)

    def hole(self, length: int) -> None:
        """Take zeros."""
        for data in zeros(length):
            self.write(data)

    def sha256(self) -> bytes:
        """Digest of what was written so far."""
        return self._digest.digest()

    def finish(self, metadata: Metadata, *, capture: Capture = Capture.PLAIN) -> None:
        """Compare it."""
        self._join.meet_file(metadata, self._size, self.sha256(), self._pages.digest(), capture)

    def abandon(self) -> None:
        """It is read again."""


class _Pages:
    """Digest of a database without its counters; of any other file nothing."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._head = b""
        self._wanted = True

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        if not self._wanted:
            return
        if len(self._head) < _HEADER:  # a part of a file in a segment may be shorter
            self._head += data
            if len(self._head) < _HEADER:
                return
            self._wanted = databases.is_database(self._head)
            data = self._head
            for start, end in _COUNTERS:
                data = data[:start] + bytes(end - start) + data[end:]
        self._digest.update(data)

    def digest(self) -> bytes:
        """Of what came so far."""
        return self._digest.digest()


def _lists(entry: Entry) -> list[frozenset[tuple[int, str | int | None, int]]]:
    """Its access control lists, by names where there are any: on another machine users have other numbers."""
    lists = (entry.acl, entry.default_acl)
    return [frozenset((grant.tag, grant.name or grant.id, grant.rights) for grant in grants) for grants in lists]


def _within(path: bytes, directory: bytes) -> bool:
    return not directory or path == directory or path.startswith(directory + b"/")
