"""A damaged bundle, opened: which of its sections are whole, what they tell of, and what became of each file.

Implements steps 4 to 6 of section 13.4 of the specification, and rule R-13.7 as far as it judges. It writes nothing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from ocbundle import canonical, contents, heads, limits, paths, wire
from ocbundle.errors import ChecksumMismatch, DamagedBundle, LimitExceeded, Malformed
from ocbundle.ledger import check_itself
from ocbundle.model import Entry, Extent, Kind, Manifest
from ocbundle.outcomes import Condition, Found
from ocbundle.remains import Piece, Remains
from ocbundle.sealing import BundleKey
from ocbundle.survivors import Survivor, Survivors

_GAPS_TOLD: Final = 20
_REMADE: Final = 10_000
"""Directories that are made anew beyond one for each entry: a path of 500 bytes can ask for 254."""
_SHORT: Final = 64 * limits.KIB
"""To read a file of so many bytes again costs no more than to remember what came of it."""

Advance = Callable[[int, int], None]
"""``advance(bytes, entries)``, called as the work goes on."""
Gaps = tuple[tuple[int, int], ...]
"""Where bytes of a file are lost, as start and end."""
_Verdict = tuple[Condition, str]


class Wreck:
    """The sections that are whole, and the entries that they tell of."""

    def __init__(self, remains: Remains, key: BundleKey, survivors: Survivors, *, max_total: int) -> None:
        self.head: Manifest | None = None
        self.framing = remains.authenticate(key)
        """Why the framing isn't authentic; ``None`` if it is."""
        self.conditions: Counter[Condition] = Counter()
        """How many files and links are in which condition."""
        self.damaged_roots: set[int] = set()
        """Those that hold a damaged file."""
        self.remade = 0
        """Directories whose entries are lost."""
        self._remains = remains
        self._key = key
        self._survivors = survivors
        self._max_total = max_total
        self._segments: dict[int, tuple[Piece, int]] = {}
        """Where each whole one is, and its raw length."""
        self._unread = 0
        """Bytes of the segments, less those that were read for long files: none share some, but not all (R-9.11)."""
        self._batches: set[int] = set()
        self._recent = contents.Recent()

    # --- opening ----------------------------------------------------------------------------------------------------

    def explore(self, advance: Advance) -> None:
        """Open every section once.

        Raises:
            LimitExceeded: more entries than a bundle can have.
            UnsupportedVersion: a newer reader is needed.
        """
        pieces = self._remains.pieces
        for piece in pieces:
            if piece.type in {wire.ENTR, wire.MANI, None}:
                self._take(piece, with_journal=False)
                advance(piece.length, 0)
        with_journal = not self._is_told()
        for piece in pieces:
            if piece.type in {wire.SEGM, None}:
                self._take(piece, with_journal=with_journal)
                advance(piece.length, 0)
        self._unread = sum(length for _, length in self._segments.values())
        self._survivors.settle(self.head)

    def _take(self, piece: Piece, *, with_journal: bool) -> None:
        """Enter what *piece* holds. Of two copies, the first that is whole counts."""
        try:
            opened = self._remains.open(piece, self._key)
            if opened.type == wire.SEGM:
                first, _ = self._segments.setdefault(opened.number, (piece, len(opened.raw)))
                if with_journal and opened.journal and first is piece:
                    self._survivors.add_journal(opened.journal)
            elif opened.type == wire.ENTR:
                if opened.number not in self._batches:
                    self._survivors.add_batch(bytes(opened.raw))
                    self._batches.add(opened.number)
            elif self.head is None:
                self.head = heads.decode_manifest(bytes(opened.raw), bundle_id=self._remains.bundle_id or b"")
        except DamagedBundle as error:
            if error.rule == "R-9.18":
                raise

    def _is_told(self) -> bool:
        """Whether the batches tell of everything."""
        totals = None if self.head is None else self.head.totals
        return totals is not None and (len(self._batches), self._survivors.count) == (totals.batches, totals.entries)

    def found(self, kind: bytes) -> Found:
        """How many sections of a kind are whole."""
        whole = self._segments.keys() if kind == wire.SEGM else self._batches
        if self.head is not None:
            totals = self.head.totals
            return Found(whole=len(whole), total=totals.segments if kind == wire.SEGM else totals.batches)
        return Found(whole=len(whole), total=max(self._remains.counts[kind], max(whole, default=-1) + 1))

    # --- judging ----------------------------------------------------------------------------------------------------

    def judge(self, advance: Advance) -> None:
        """Find out what became of each entry, and make directories anew whose entries are lost.

        Raises:
            LimitExceeded: more bytes in all than the caller accepts.
        """
        index, size = -1, 0
        above: list[tuple[bytes, bool]] = []
        for survivor in self._survivors:
            entry = survivor.entry
            size += entry.size
            if size > self._max_total:
                raise LimitExceeded(f"more than {self._max_total} bytes in all", rule="R-9.18")
            if survivor.index != index:
                index = survivor.index
                above.clear()
            while above and not _is_in(entry.path, above[-1][0]):
                above.pop()
            condition, note = self._verdict(survivor, above)
            above.append((entry.path, entry.kind is Kind.DIRECTORY and condition is Condition.WHOLE))
            if condition is not Condition.WHOLE:
                self._survivors.mark(survivor, condition, note)
            if condition is Condition.DAMAGED:
                self.damaged_roots.add(index)
            if entry.kind is not Kind.DIRECTORY or condition is not Condition.WHOLE:
                self.conditions[condition] += 1
            advance(entry.size, 1)

    def _verdict(self, survivor: Survivor, above: list[tuple[bytes, bool]]) -> _Verdict:
        """What became of an entry; *above* are the paths over it, and whether each is a directory's."""
        entry = survivor.entry
        if above and not above[-1][1]:
            return Condition.LOST, "what should hold it is no directory"
        if not entry.path and entry.kind not in {Kind.DIRECTORY, Kind.FILE}:
            return Condition.LOST, "a root is neither a directory nor a file"
        missing = _missing(entry.path, above)
        if self.remade + len(missing) > self._survivors.count - self.remade + _REMADE:
            return Condition.LOST, "nothing tells of the directories over it, and too many have been made anew"
        self._remake(survivor, missing, above)
        if entry.kind is Kind.FILE:
            return self._verdict_on_file(entry)
        return self._verdict_on_link(survivor) if entry.kind is Kind.HARDLINK else (Condition.WHOLE, "")

    def _remake(self, survivor: Survivor, missing: list[bytes], above: list[tuple[bytes, bool]]) -> None:
        """Make the directories over an entry anew that nothing tells of, closed to others."""
        entry = survivor.entry
        for path in missing:
            directory = Entry(
                root=entry.root,
                path=path,
                kind=Kind.DIRECTORY,
                mode=0o700,
                uid=entry.uid,
                gid=entry.gid,
                mtime_ns=entry.mtime_ns,
            )
            self._survivors.remake(survivor.index, directory)
            self.remade += 1
            above.append((path, True))

    def _verdict_on_file(self, entry: Entry) -> _Verdict:
        try:
            check_itself(entry)
        except Malformed as error:
            return Condition.LOST, error.message
        _, gaps = self.mended(entry)
        if gaps:
            lost = sum(end - start for start, end in gaps)
            stored = sum(extent.length for extent in entry.extents if extent.segment is not None)
            if lost == stored:
                return Condition.LOST, f"all of its {lost:,} bytes are lost"
            return Condition.DAMAGED, f"{lost:,} of {entry.size:,} bytes are lost, {_told(gaps)}: zeros stand for them"
        if entry.sha256 is None:
            return Condition.UNCONFIRMED, "its digest is lost"
        if entry.size <= _SHORT:
            return self._verdict_on_content(entry)
        likeness = hashlib.sha256(canonical.pack([entry.sha256, entry.extents])).digest()
        verdict = self._survivors.verdict(likeness)
        if verdict is None:
            self._unread -= sum(extent.length for extent in entry.extents if extent.segment is not None)
            shared = Condition.LOST, "other files name its bytes, and not all of them"
            verdict = shared if self._unread < 0 else self._verdict_on_content(entry)
            self._survivors.keep_verdict(likeness, *verdict)
        return verdict

    def _verdict_on_content(self, entry: Entry) -> _Verdict:
        try:
            for _ in self.content(entry):
                pass
        except ChecksumMismatch:
            return Condition.DAMAGED, "it isn't what its digest says"
        return Condition.WHOLE, ""

    def _verdict_on_link(self, survivor: Survivor) -> _Verdict:
        target = survivor.entry.target or b""
        found = self._survivors.fate(survivor.index, target)
        if found is None:
            return Condition.LOST, f"nothing tells of the file that it is a hard link to, {paths.display(target)}"
        kind, condition = found
        if kind is not Kind.FILE or paths.sort_key(target) >= paths.sort_key(survivor.entry.path):
            return Condition.LOST, "it is a hard link to something that is no file before it"
        note = f"a hard link to {paths.display(target)}"
        return condition, note if condition is not Condition.WHOLE else ""

    # --- content ----------------------------------------------------------------------------------------------------

    def mended(self, entry: Entry) -> tuple[Entry, Gaps]:
        """*entry* with holes where its bytes are lost, and where that is; then it has no digest."""
        gaps: list[tuple[int, int]] = []
        extents: list[Extent] = []
        position = 0
        for extent in entry.extents:
            whole = extent.segment is None or (
                extent.segment in self._segments and extent.offset + extent.length <= self._segments[extent.segment][1]
            )
            extents.append(extent if whole else Extent(None, 0, extent.length))
            if not whole and gaps and gaps[-1][1] == position:
                gaps[-1] = (gaps[-1][0], position + extent.length)
            elif not whole:
                gaps.append((position, position + extent.length))
            position += extent.length
        if not gaps:
            return entry, ()
        return entry.replace(extents=tuple(extents), sha256=None), tuple(gaps)

    def content(self, entry: Entry) -> Iterator[bytes]:
        """The bytes of a file whose extents all lie in whole segments, in pieces of at most 1 MiB.

        Raises:
            ChecksumMismatch: they don't match its digest, if it has one (R-9.14); raised behind the last piece.
            DamagedBundle: the file changed since it was explored.
        """
        return contents.pieces(entry, self._segment)

    def _segment(self, number: int) -> memoryview:
        raw = self._recent.get(number)
        if raw is None:
            raw = self._remains.open(self._segments[number][0], self._key).raw
            self._recent.put(number, raw)
        return raw


def _is_in(path: bytes, top: bytes) -> bool:
    """Whether *path* is *top*, or is below it."""
    return not top or path == top or path.startswith(top + b"/")


def _missing(path: bytes, above: list[tuple[bytes, bool]]) -> list[bytes]:
    """The paths over *path* that aren't among those *above* it."""
    parts = path.split(b"/") if path else []
    over = [b"/".join(parts[:depth]) for depth in range(len(parts))]
    return [each for each in over if not (above and _is_in(above[-1][0], each))]


def _told(gaps: Gaps) -> str:
    shown = ", ".join(f"{start}-{end - 1}" for start, end in gaps[:_GAPS_TOLD])
    return f"{shown} and {len(gaps) - _GAPS_TOLD} more runs" if len(gaps) > _GAPS_TOLD else shown
