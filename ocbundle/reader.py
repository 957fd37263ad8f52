"""A bundle to entries and bytes.

Implements section 13 of the specification. Nothing is decompressed before it is authenticated, and no segment is handed
out before all of it is.
"""

from __future__ import annotations

import bisect
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar

from ocbundle import compression, contents, heads, limits, memory, paths, records, sequencing, wire
from ocbundle.container import Container
from ocbundle.errors import DamagedBundle, EntryMissing, Malformed
from ocbundle.model import Entry, Kind, Manifest, Skipped
from ocbundle.sealing import BundleKey
from ocbundle.workers import Workers

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ocbundle.memory import Give, Take

_T = TypeVar("_T")
_AHEAD: Final = 2
_LONG: Final = 4 * limits.MIB
"""Segments that may be longer, sealed or opened, are opened when their bytes are asked for, and not ahead."""
_KEPT_ROWS: Final = 4 * limits.MIB
"""Bytes of the first batches that are kept, since unpacking goes over the entries several times. Decoded, they take ten
times as much."""


class Reader:
    """An opened bundle. A context manager: leaving it stops the threads that read ahead.

    Beyond the first batches, entries are read anew each time, so that a million of them take no memory.
    """

    def __init__(
        self,
        container: Container,
        key: BundleKey,
        *,
        max_total: int = limits.DEFAULT_MAX_TOTAL,
        workers: int = 2,
    ) -> None:
        """Authenticate the framing with *key*, then read the manifest's head.

        Raises:
            AuthenticationFailed: the framing isn't what the holder of the key wrote.
            DamagedBundle, UnsupportedVersion: a rule of sections 6 to 9 is broken.
        """
        frame = container.frame
        frame.authenticate(key.text)
        self.container = container
        self._key = key
        self._max_total = max_total
        self._segments = frame.of_type(wire.SEGM)
        self._batches = frame.of_type(wire.ENTR)
        self._link_targets: set[tuple[str, bytes]] | None = None
        """What hard links point to; known when all entries have passed once."""
        self._kept: dict[int, records.Batch] = {}
        self._room = _KEPT_ROWS
        self._recent = contents.Recent()
        self._ahead: dict[int, Future[memoryview]] = {}
        self._opened = bytearray(len(self._segments))
        self.journaled: Mapping[bytes, Entry] | None = None
        """If set, the rows of journals are held to their rules too, as only a full verification must (R-7.8).
        These entries, by path, have been already."""
        self._one_journal = threading.Lock()
        """Decoded, a journal takes fifty times as much memory; and threads that decode don't do it faster."""
        self._is_flawed = False
        """Whether a journal is being checked, or has failed."""
        self._pool = Workers(workers, "ocbundle-open")
        raw, _ = self._open(frame.of_type(wire.MANI)[0])
        self.manifest: Manifest = heads.decode_manifest(raw, bundle_id=frame.preamble.bundle_id)
        totals = self.manifest.totals
        if (totals.segments, totals.batches) != (len(self._segments), len(self._batches)):
            raise Malformed("the manifest counts other sections than there are", rule="R-9.2")
        self._roots = [root.name for root in self.manifest.roots]

    def __enter__(self) -> Self:
        """Nothing more to do."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reading ahead."""
        self.close()

    def close(self) -> None:
        """Stop reading ahead, and let go of what is cached."""
        self._pool.close()
        self.forget_segments()
        self._kept.clear()

    def forget_segments(self) -> None:
        """Let go of those that are cached."""
        self._ahead.clear()
        self._recent.clear()

    # --- entries ----------------------------------------------------------------------------------------------------

    def entries(self) -> Iterator[Entry]:
        """Every entry, ascending; held to the rules of section 9 while they pass for the first time."""
        # What the key has authenticated is the same each time.
        return self._again() if self._link_targets is not None else self._first()

    def skipped(self) -> Iterator[Skipped]:
        """Every row of what was left out, ascending."""
        self._demand_order()
        return self.skipped_rows()

    def skipped_rows(self) -> Iterator[Skipped]:
        """The same, but for the rules that rows keep among one another: their first passing may be under way."""
        for section in self._batches:
            yield from self._batch(section).skipped

    def batches(self) -> Iterator[records.Batch]:
        """Every batch, in file order; each has passed the rules of section 9 when it is handed out."""
        totals = self.manifest.totals
        sequencer = sequencing.Sequencer(self._roots, max_total=self._max_total)
        sequencer.announce(totals)
        for section in self._batches:
            batch = self._batch(section)
            before = bisect.bisect(self._segments, section.offset, key=lambda segment: segment.offset)
            sequencer.enter(batch.entries)
            for entry in batch.entries:
                for segment, _, _ in entry.extents:
                    if segment is not None and segment >= before:
                        raise Malformed(
                            "an extent names a segment that isn't before it", path=entry.name, rule="R-9.10"
                        )
            for skipped in batch.skipped:
                sequencer.skip(skipped)
            yield batch
            if sequencer.is_beyond(totals):
                break  # a head that lies isn't counted after to the end
        sequencer.finish(totals)
        self._link_targets = sequencer.link_targets

    def _first(self) -> Iterator[Entry]:
        for batch in self.batches():
            yield from batch.entries

    def _again(self) -> Iterator[Entry]:
        for section in self._batches:
            yield from self._batch(section).entries

    def _demand_order(self) -> set[tuple[str, bytes]]:
        """Let all entries pass once; what hard links point to, by root and path."""
        if self._link_targets is None:
            for _ in self.batches():
                pass
        return self._link_targets or set()

    def _batch(self, section: wire.Section) -> records.Batch:
        batch = self._kept.get(section.number)
        if batch is None:
            raw, _ = self._open(section)
            batch = records.decode_batch(raw, roots=self._roots)
            if len(raw) <= self._room:
                self._room -= len(raw)
                self._kept[section.number] = batch
        return batch

    def link_targets(self) -> dict[tuple[str, bytes], Entry]:
        """The files that hard links point to, by root and path.

        Raises:
            Malformed: a hard link points to something that is no file of its root (R-9.12).
        """
        targets = self._demand_order()
        if not targets:
            return {}
        found = {
            (entry.root, entry.path): entry
            for entry in self.entries()
            if entry.kind is Kind.FILE and (entry.root, entry.path) in targets
        }
        for root, path in sorted(targets - found.keys()):
            shown = paths.display(f"{root}/".encode() + path)
            raise Malformed("a hard link points to something that is no file", path=shown, rule="R-9.12")
        return found

    def entry(self, root: str, path: bytes) -> Entry:
        """The entry at *path* of *root*.

        Raises:
            EntryMissing: there is none.
        """
        for entry in self.entries():
            if entry.path == path and entry.root == root:
                return entry
        shown = paths.display(f"{root}/".encode() + path if path else root)
        raise EntryMissing(f"the bundle holds no {shown}", path=shown, hint="ocbundle list shows what it holds")

    # --- content ----------------------------------------------------------------------------------------------------

    def content(self, entry: Entry) -> Iterator[bytes]:
        """The bytes of a file, in pieces of at most 1 MiB; each is authenticated, and all of them match its digest.

        Raises:
            ChecksumMismatch: they don't (R-9.14); raised behind the last piece, or before the only one.
            DamagedBundle: a segment breaks a rule of sections 6 and 7.
        """
        extents = entry.extents
        if len(extents) == 1 and extents[0].segment is not None and entry.size <= contents.PIECE:
            # Most files, so without the detour of a generator.
            piece = bytes(contents.cut(entry, extents[0], self._segment(extents[0].segment)))
            contents.compare(entry, contents.digest_of(piece))
            return iter((piece,))
        return contents.pieces(entry, self._segment)

    def _segment(self, number: int) -> memoryview:
        raw = self._recent.get(number)
        if raw is not None:
            return raw
        future = self._ahead.pop(number, None)
        raw = self._open_segment(number) if future is None else future.result()
        # Content is read nearly in file order, so the next segments are opened while this one is used.
        # One file alone opens nothing more than it needs.
        if future is not None or (number and self._opened[number - 1]):
            self._read_ahead(number)
        self._opened[number] = 1
        self._recent.put(number, raw)
        return raw

    def _read_ahead(self, number: int) -> None:
        for following in range(number + 1, min(number + 1 + _AHEAD, len(self._segments))):
            is_known = following in self._ahead or following in self._recent or self._opened[following]
            longest = max(self._segments[following].body_length, limits.segment_limit(following))
            if not is_known and longest <= _LONG:
                self._ahead[following] = self._pool.submit(self._open_segment, following)
        for stale in [ahead for ahead in self._ahead if not number < ahead <= number + 4 * _AHEAD]:
            self._ahead.pop(stale).cancel()

    def _open_segment(self, number: int, take: Take = memory.fresh, give: Give = memory.drop) -> memoryview:
        """The bytes of a segment, in memory of *take*, as all that comes before them is, which is given back."""
        section = self._segments[number]
        with self._locating(section):
            body = self.container.body(section, take)
            plaintext = self._key.open(body, take)
            give(body)
            del body
            raw, journal = compression.decode_into(take, self._place(section), plaintext)
            give(plaintext)
        self._check_journal(journal)
        return raw

    def _check_journal(self, journal: bytes) -> None:
        if journal and self.journaled is not None:
            with self._one_journal:
                if self._is_flawed:
                    return  # by another, whose error is enough
                self._is_flawed = True
                records.check_journal(journal, self.journaled)
                self._is_flawed = False

    def inspect(self, number: int, look: Callable[[memoryview], _T], take: Take, give: Give) -> Future[_T]:
        """Let a thread open a segment, for the first or another time, and call *look* with its bytes.

        They are in memory of *take*, as all that comes before them is, which is given back with *give*.
        """
        self._opened[number] = 1
        return self._pool.submit(lambda: look(self._open_segment(number, take, give)))

    def unopened(self) -> list[int]:
        """The segments that no content was asked of."""
        return [number for number, opened in enumerate(self._opened) if not opened]

    def _open(self, section: wire.Section) -> tuple[bytes, bytes]:
        with self._locating(section):
            # No name for the body: it is as long as its plaintext, and is let go of before that is decoded.
            plaintext = self._key.open(self.container.body(section), memory.fresh)
            return compression.decode(self._place(section), plaintext)

    def _place(self, section: wire.Section) -> compression.Place:
        return compression.Place(
            bundle_id=self.container.frame.preamble.bundle_id, type=section.type, number=section.number
        )

    @staticmethod
    @contextlib.contextmanager
    def _locating(section: wire.Section) -> Iterator[None]:
        """Say of damage in which section it is."""
        try:
            yield
        except DamagedBundle as error:
            error.offset = section.body_offset if error.offset is None else error.offset
            raise

    def check_rest(self) -> None:
        """Hold the sections that reading content doesn't touch to their digests."""
        for section in self.container.frame.sections:
            unread = section.type == wire.SEGM and not self._opened[section.number]
            if unread or section.type not in {wire.SEGM, wire.ENTR, wire.MANI}:
                self.container.body(section)
