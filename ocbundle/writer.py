"""Entries and bytes to a bundle, written once from front to back.

Implements section 12 of the specification. Content is gathered into segments; each is compressed, sealed and hashed on
a worker thread and written in order, so memory stays flat. Nothing is ever patched: the output may be a pipe.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

from ocbundle import compression, heads, limits, records, wire
from ocbundle.agefile import Random
from ocbundle.errors import LimitExceeded
from ocbundle.memory import Memory
from ocbundle.model import Capture, Entry, Manifest, Root, Skipped, Totals
from ocbundle.reading import zeros
from ocbundle.sealing import BundleKey
from ocbundle.segments import Extents, Segment, Waiting
from ocbundle.sources import Metadata, Sensitivity
from ocbundle.workers import Workers

_REMEMBERED: Final = 1 << 16
"""How many files' digests are kept to store equal files once: about 16 MiB."""
_BATCH_TARGET: Final = limits.MAX_BATCH // 2
_BATCH_ROWS: Final = limits.MAX_ROWS // 2
_JOURNAL_TARGET: Final = limits.MAX_JOURNAL // 2
_JOURNAL_HEAD: Final = 8
"""More than a journal takes beside its rows."""
_SKIPPED_LENGTH: Final = 64
"""More than a skipped row takes beside its path and detail."""
_RESERVED_SECTIONS: Final = 64
_AHEAD: Final = 16
"""How many sections of the first size may wait, so that threads have work while a database is copied."""


class Output(Protocol):
    """What a bundle is written to: a file, a pipe, a buffer."""

    def write(self, data: bytes, /) -> int | None:
        """Write *data*, or as much of it as goes now, and tell how much that was."""


_Where = tuple[Extents, Segment | None]
"""A file's extents, and the segment that the last of them is in; an empty file is in none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What :meth:`Writer.finish` wrote."""

    digest: bytes
    """The root digest."""
    length: int
    """Of the bundle, in bytes."""
    totals: Totals


class Writer:
    """Writes one bundle. A context manager: leaving it stops the threads; only :meth:`finish` completes the bundle."""

    def __init__(
        self,
        output: Output,
        *,
        bundle_id: bytes,
        key: BundleKey,
        keys: Sequence[bytes],
        roots: Sequence[Root],
        random: Random,
        level: int = 3,
        workers: int = 2,
    ) -> None:
        self._output = output
        self._key = key
        self._random = random
        self._level = level
        self._root_names = [root.name for root in roots]
        self._roots = {name: number for number, name in enumerate(self._root_names)}
        self._preamble = wire.Preamble(bundle_id=bundle_id)
        self._pool = Workers(workers, "ocbundle-seal")
        self._contents, self._bodies = Memory(), Memory()
        self._in_flight: deque[tuple[bytes, int, Future[tuple[memoryview, bytes]]]] = deque()
        self._least_depth = workers
        self._sections: list[wire.Section] = []
        self._counts = {wire.SEGM: 0, wire.ENTR: 0}
        self._target = limits.segment_limit(0)
        self._streams: dict[Sensitivity, Segment] = {}
        self._known: OrderedDict[tuple[Sensitivity, bytes], _Where] = OrderedDict()
        self._rows: list[records.Row] = []
        self._skipped: list[Skipped] = []
        self._batch_length = 0
        self._ready: list[Waiting] = []
        self._journal_length = 0
        self._entries = self._skips = self._size = 0
        self.offset = 0
        """Bytes written so far."""
        self.uids: set[int] = set()
        self.gids: set[int] = set()
        """Owners of the entries so far, for the manifest's tables of names."""
        self._write(self._preamble.encode())
        self._keys = [(body, hashlib.sha256(body).digest()) for body in keys]
        self._write_keys()

    def __enter__(self) -> Self:
        """Nothing more to do: the beginning is written."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the threads."""
        self._pool.close()

    # --- entries ----------------------------------------------------------------------------------------------------

    def add(self, entry: Entry) -> None:
        """Take a directory, a symbolic link or a hard link. Entries come in ascending order (R-9.6)."""
        self._complete(records.entry_row(entry, self._roots[entry.root]), None)

    def add_file(
        self,
        metadata: Metadata,
        data: bytes,
        *,
        sensitivity: Sensitivity,
        capture: Capture = Capture.PLAIN,
    ) -> None:
        """Take a file whose content is at hand and fits a segment.

        Equal content is stored once for each sensitivity.
        """
        digest = hashlib.sha256(data).digest()
        key = sensitivity, digest
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._append_whole(data, sensitivity) if data else ([], None)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        self._complete_file(metadata, len(data), digest, known, capture)
        if sensitivity is Sensitivity.MIXED:
            self._end_segment(sensitivity)

    def open_file(self, *, sensitivity: Sensitivity) -> FileSink:
        """Begin a file whose content comes in pieces. Until it is finished or abandoned, nothing else may be added."""
        return FileSink(self, sensitivity)

    def skip(self, skipped: Skipped) -> None:
        """List something that was left out. Skipped rows come in ascending order too."""
        self._skipped.append(skipped)
        self._skips += 1
        self._batch_length += _SKIPPED_LENGTH + len(skipped.path) + len((skipped.detail or "").encode())
        self._end_full_batch()

    def finish(self, manifest: Manifest) -> Written:
        """Write all that is left, with *manifest* as the head; its totals are filled in."""
        self._end_batch()
        totals = Totals(
            entries=self._entries,
            skipped=self._skips,
            size=self._size,
            segments=self._counts[wire.SEGM],
            batches=self._counts[wire.ENTR],
        )
        head = heads.encode_manifest(dataclasses.replace(manifest, totals=totals))
        if len(head) > limits.MAX_HEAD:
            raise LimitExceeded("the manifest's head is too long", rule="R-7.5")
        self._submit(wire.MANI, 0, head)
        while self._in_flight:
            self._write_next()
        self._write_keys()
        digest = self._write_end()
        return Written(digest=digest, length=self.offset, totals=totals)

    def _complete_file(self, metadata: Metadata, size: int, digest: bytes, where: _Where, capture: Capture) -> None:
        extents, last = where
        root = self._roots[metadata.root]
        row = records.file_row(metadata, root, size=size, sha256=digest, extents=extents, capture=capture)
        self._size += size
        self._complete(row, last)

    def _complete(self, row: records.Row, last: Segment | None) -> None:
        """Take a row; *last* is the segment that its last bytes are in."""
        length = records.row_length(row)
        if self._batch_length + length > limits.MAX_BATCH:
            self._end_batch()
        self._rows.append(row)
        self._entries += 1
        if self._entries > limits.MAX_ENTRIES:
            raise LimitExceeded(f"more than {limits.MAX_ENTRIES} entries", rule="R-9.18")
        if row[4] is not None:
            self.uids.add(row[4])
            self.gids.add(row[5])
        self._batch_length += length
        length += len(self._root_names[row[0]])
        # A row that no journal can hold would keep all others out.
        if length <= limits.MAX_JOURNAL - _JOURNAL_HEAD:
            waiting = last.waiting if last is not None and last.is_open else self._ready
            waiting.append((row, length))
            self._journal_length += length
        if self._journal_length > _JOURNAL_TARGET:
            for sensitivity in list(self._streams) or [Sensitivity.CONTENT]:
                self._end_segment(sensitivity, even_if_empty=True)
        self._end_full_batch()

    # --- segments ---------------------------------------------------------------------------------------------------

    def _append_whole(self, data: bytes, sensitivity: Sensitivity) -> _Where:
        segment = self._streams.get(sensitivity)
        extents: Extents = []
        if segment is None or segment.length + len(data) > self._target:
            self._end_segment(sensitivity)
            segment = self._stream(sensitivity)
        if len(data) > self._target:
            return extents, self._append_part(data, sensitivity, extents)
        segment.append(data, extents)
        if segment.length >= self._target:
            self._end_segment(sensitivity)
        return extents, segment

    def _append_part(self, data: bytes | memoryview, sensitivity: Sensitivity, extents: Extents) -> Segment:
        """Append *data*, which isn't empty, to as many segments as it takes; the last one is returned."""
        rest = memoryview(data)
        while True:
            segment = self._stream(sensitivity)
            room = self._target - segment.length
            segment.append(rest[:room], extents)
            rest = rest[room:]
            if segment.length >= self._target:
                self._end_segment(sensitivity)
            if not rest:
                return segment

    def _stream(self, sensitivity: Sensitivity) -> Segment:
        segment = self._streams.get(sensitivity)
        if segment is None:
            segment = self._streams[sensitivity] = Segment(self._contents.take(self._target))
        return segment

    def _end_segment(self, sensitivity: Sensitivity, *, even_if_empty: bool = False) -> None:
        segment = self._streams.pop(sensitivity, None)
        if segment is None:
            if not even_if_empty:
                return
            segment = Segment(bytearray())
        number = self._counts[wire.SEGM]
        self._counts[wire.SEGM] += 1
        self._target = limits.segment_limit(number + 1)
        segment.end(number)
        padded = sensitivity is Sensitivity.SECRET
        journal = self._journal(self._ready + segment.waiting)
        self._submit(wire.SEGM, number, segment.content, journal=journal, padded=padded)
        segment.forget()

    def _journal(self, waiting: list[Waiting]) -> bytes:
        """The journal of as many rows of *waiting* as go into one; the others wait for the next segment."""
        taken, room = 0, limits.MAX_JOURNAL - _JOURNAL_HEAD
        for _, length in waiting:
            room -= length
            if room < 0:
                break
            self._journal_length -= length
            taken += 1
        self._ready = waiting[taken:]
        return records.encode_journal([row for row, _ in waiting[:taken]], roots=self._root_names) if taken else b""

    # --- batches ----------------------------------------------------------------------------------------------------

    def _end_full_batch(self) -> None:
        if self._batch_length > _BATCH_TARGET or max(len(self._rows), len(self._skipped)) >= _BATCH_ROWS:
            self._end_batch()

    def _end_batch(self) -> None:
        for sensitivity in list(self._streams):
            self._end_segment(sensitivity)
        if not self._rows and not self._skipped:
            return
        raw = records.encode_batch(self._rows, self._skipped, roots=self._roots)
        if len(raw) > limits.MAX_BATCH:
            raise LimitExceeded("one entry is too long for a batch", rule="R-7.5")
        self._rows, self._skipped, self._batch_length = [], [], 0
        number = self._counts[wire.ENTR]
        self._counts[wire.ENTR] += 1
        self._submit(wire.ENTR, number, raw)

    # --- sections ---------------------------------------------------------------------------------------------------

    def _submit(
        self,
        kind: bytes,
        number: int,
        raw: bytes | memoryview,
        *,
        journal: bytes = b"",
        padded: bool = False,
    ) -> None:
        if sum(self._counts.values()) > limits.MAX_SECTIONS - _RESERVED_SECTIONS:
            raise LimitExceeded("more content than the sections of one bundle hold (about 600 GiB)", rule="R-4.14")
        place = compression.Place(bundle_id=self._preamble.bundle_id, type=kind, number=number)
        self._in_flight.append((kind, number, self._pool.submit(self._seal, place, raw, journal, padded)))
        depth = max(self._least_depth, _AHEAD * limits.FIRST_SEGMENT // self._target)
        while self._in_flight and (len(self._in_flight) > depth or self._in_flight[0][-1].done()):
            self._write_next()

    def _seal(
        self,
        place: compression.Place,
        raw: bytes | memoryview,
        journal: bytes,
        padded: bool,  # noqa: FBT001 - a job's
    ) -> tuple[memoryview, bytes]:
        plaintext = compression.encode(place, raw, level=self._level, journal=journal, padded=padded)
        self._contents.give(raw)
        body = self._key.seal_into(self._bodies.take, plaintext, self._random)
        return body, hashlib.sha256(body).digest()

    def _write_next(self) -> None:
        kind, number, future = self._in_flight.popleft()
        body, digest = future.result()
        self._write_section(kind, number, body, digest)
        self._bodies.give(body)

    def _write_keys(self) -> None:
        for number, (body, digest) in enumerate(self._keys):
            self._write_section(wire.KEYS, number, body, digest)

    def _write_section(self, kind: bytes, number: int, body: bytes | memoryview, digest: bytes) -> None:
        if len(body) > wire.BODY_LIMITS[kind]:
            raise LimitExceeded(f"a {kind.decode()} section of {len(body)} bytes", rule="R-4.11")
        section = wire.Section(type=kind, number=number, body_length=len(body), sha256=digest, offset=self.offset)
        self._sections.append(section)
        self._write(section.encode())
        self._write(body)

    def _write_end(self) -> bytes:
        index_offset = self.offset
        index = b"".join(section.encode() for section in self._sections)
        digest = wire.root_digest(self._preamble.bundle_id, self._sections)
        footer = wire.Footer(
            bundle_id=self._preamble.bundle_id,
            index_offset=index_offset,
            index_length=len(index),
            total_length=index_offset + len(index) + wire.FOOTER_LENGTH,
            root_digest=digest,
        )
        mac = wire.frame_mac(self._key.text, self._preamble, self._sections, footer)
        self._write(index)
        self._write(dataclasses.replace(footer, frame_mac=mac).encode())
        return digest

    def _write(self, data: bytes | memoryview) -> None:
        # A raw file or a pipe may take less than it is given; a writer without this loop once published an empty file.
        view = memoryview(data)
        while view:
            written = self._output.write(view)  # type: ignore[arg-type]  # every binary file takes any buffer
            if written is None:
                raise BlockingIOError("the output doesn't take data now")
            view = view[written:]
        self.offset += len(data)


class FileSink:
    """One file's content on its way into segments."""

    def __init__(self, writer: Writer, sensitivity: Sensitivity) -> None:
        self._writer = writer
        self._sensitivity = sensitivity
        self._digest = hashlib.sha256()
        self._extents: Extents = []
        self._size = 0
        self._last: Segment | None = None

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        if data:
            self._digest.update(data)
            self._size += len(data)
            self._last = self._writer._append_part(data, self._sensitivity, self._extents)  # noqa: SLF001 - its half

    def hole(self, length: int) -> None:
        """Take the next *length* bytes, all of them zeros; they aren't stored."""
        for data in zeros(length):
            self._digest.update(data)
        self._size += length
        if self._extents and self._extents[-1][0] is None:
            self._extents[-1][2] += length
        elif length:
            self._extents.append([None, 0, length])

    def sha256(self) -> bytes:
        """Digest of what was written so far."""
        return self._digest.digest()

    def finish(self, metadata: Metadata, *, capture: Capture = Capture.PLAIN) -> None:
        """Complete the entry."""
        self._writer._complete_file(  # noqa: SLF001 - the writer's other half
            metadata, self._size, self.sha256(), (self._extents, self._last), capture
        )
        self._end()

    def abandon(self) -> None:
        """Forget the file. Its bytes stay in their segments, unnamed, and are never output."""
        self._end()

    def _end(self) -> None:
        if self._sensitivity is Sensitivity.MIXED:
            self._writer._end_segment(self._sensitivity)  # noqa: SLF001 - the writer's other half
