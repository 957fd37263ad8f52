"""Entries and bytes to a bundle, written once from front to back.

Implements section 12 of the specification. Content is gathered into segments; each is compressed, sealed and hashed on
a worker thread and written in order, so memory stays flat. Nothing is ever patched: the output may be a pipe.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Protocol, Self

from ocbundle import compression, limits, records, wire
from ocbundle.agefile import Random
from ocbundle.errors import LimitExceeded
from ocbundle.model import Capture, Entry, Extent, Kind, Manifest, Metadata, Root, Sensitivity, Skipped, Totals
from ocbundle.sealing import BundleKey

_REMEMBERED: Final = 1 << 16
"""How many files' digests are kept to store equal files once: about 16 MiB."""
_BATCH_TARGET: Final = limits.MAX_BATCH // 2
_JOURNAL_TARGET: Final = limits.MAX_JOURNAL // 2
_ROW_LENGTH: Final = 128
"""An upper bound for a row without path, target, extents and attributes."""
_EXTENT_LENGTH: Final = 20
_RESERVED_SECTIONS: Final = 64


class Output(Protocol):
    """What a bundle is written to: a file, a pipe, a buffer."""

    def write(self, data: bytes, /) -> int | None:
        """Write *data*, or as much of it as goes now, and tell how much that was."""


@dataclass(slots=True)
class _Segment:
    """A segment being gathered. Its number is given when it ends, since segments are numbered in file order."""

    parts: list[bytes] = field(default_factory=list)
    length: int = 0
    number: int | None = None
    waiting: list[_Row] = field(default_factory=list)
    """Entries whose last bytes are in this segment: to be journaled in it."""


@dataclass(slots=True)
class _Row:
    """An entry whose extents may lie in segments that have no number yet."""

    entry: Entry
    extents: tuple[tuple[_Segment | None, int, int], ...]

    @property
    def length(self) -> int:
        entry = self.entry
        variable = len(entry.path) + len(entry.target or b"") + len(entry.root) + records.extra_length(entry.xattrs)
        return _ROW_LENGTH + variable + _EXTENT_LENGTH * len(self.extents)

    def resolve(self) -> Entry:
        """The entry with its extents; every segment it lies in has ended."""
        if not self.extents:
            return self.entry
        extents = []
        for segment, offset, length in self.extents:
            if segment is not None and segment.number is None:
                raise AssertionError("an entry was written before its content")
            extents.append(Extent(None if segment is None else segment.number, offset, length))
        size = sum(extent.length for extent in extents)
        return dataclasses.replace(self.entry, size=size, extents=tuple(extents))


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
        self._roots = {root.name: index for index, root in enumerate(roots)}
        self._preamble = wire.Preamble(bundle_id=bundle_id)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="ocbundle-seal")
        self._in_flight: deque[tuple[bytes, int, Future[tuple[bytes, bytes]]]] = deque()
        self._depth = workers + 2
        self._sections: list[wire.Section] = []
        self._counts = {wire.SEGM: 0, wire.ENTR: 0}
        self._streams: dict[Sensitivity, _Segment] = {}
        self._known: OrderedDict[tuple[Sensitivity, bytes], tuple[tuple[_Segment | None, int, int], ...]] = (
            OrderedDict()
        )
        self._rows: list[_Row] = []
        self._skipped: list[Skipped] = []
        self._batch_length = 0
        self._ready: list[_Row] = []
        self._ready_length = 0
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
        self._pool.shutdown(wait=True, cancel_futures=True)

    # --- entries ----------------------------------------------------------------------------------------------------

    def add(self, entry: Entry) -> None:
        """Take a directory, a symbolic link or a hard link. Entries come in ascending order (R-9.6)."""
        self._complete(_Row(entry, ()))

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
        extents = self._known.get((sensitivity, digest))
        if extents is None:
            extents = self._append_whole(data, sensitivity) if data else ()
            self._known[sensitivity, digest] = extents
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        self._complete(_Row(_file(metadata, digest, capture), extents))
        if sensitivity is Sensitivity.MIXED:
            self._end_segment(sensitivity)

    def open_file(self, *, sensitivity: Sensitivity) -> FileSink:
        """Begin a file whose content comes in pieces. Until it is finished or abandoned, nothing else may be added."""
        return FileSink(self, sensitivity)

    def skip(self, skipped: Skipped) -> None:
        """List something that was left out. Skipped rows come in ascending order too."""
        self._skipped.append(skipped)
        self._skips += 1
        self._batch_length += _ROW_LENGTH + len(skipped.path) + len((skipped.detail or "").encode())
        self._seal_full_batch()

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
        head = records.encode_manifest(dataclasses.replace(manifest, totals=totals))
        if len(head) > limits.MAX_HEAD:
            raise LimitExceeded("the manifest's head is too long", rule="R-7.5")
        self._submit(wire.MANI, 0, head)
        self._drain(0)
        self._write_keys()
        digest = self._write_end()
        return Written(digest=digest, length=self.offset, totals=totals)

    def _complete(self, row: _Row) -> None:
        entry = row.entry
        self._rows.append(row)
        self._entries += 1
        if self._entries > limits.MAX_ENTRIES:
            raise LimitExceeded(f"more than {limits.MAX_ENTRIES} entries", rule="R-9.18")
        self._size += sum(length for _, _, length in row.extents)
        if entry.kind is not Kind.HARDLINK:
            self.uids.add(entry.uid)
            self.gids.add(entry.gid)
        length = row.length
        self._batch_length += length
        last = next((segment for segment, _, _ in reversed(row.extents) if segment is not None), None)
        if last is not None and last.number is None:
            last.waiting.append(row)
        else:
            self._ready.append(row)
        self._ready_length += length
        if self._ready_length > _JOURNAL_TARGET:
            for sensitivity in list(self._streams) or [Sensitivity.CONTENT]:
                self._end_segment(sensitivity, even_if_empty=True)
        self._seal_full_batch()

    # --- segments ---------------------------------------------------------------------------------------------------

    def _append_whole(self, data: bytes, sensitivity: Sensitivity) -> tuple[tuple[_Segment | None, int, int], ...]:
        segment = self._stream(sensitivity)
        if segment.length and segment.length + len(data) > self._segment_target():
            self._end_segment(sensitivity)
            segment = self._stream(sensitivity)
        offset = segment.length
        segment.parts.append(data)
        segment.length += len(data)
        if segment.length >= self._segment_target():
            self._end_segment(sensitivity)
        return ((segment, offset, len(data)),)

    def _append_part(self, data: bytes, sensitivity: Sensitivity) -> list[tuple[_Segment | None, int, int]]:
        extents: list[tuple[_Segment | None, int, int]] = []
        view = memoryview(data)
        while view:
            segment = self._stream(sensitivity)
            piece = view[: max(1, self._segment_target() - segment.length)]
            extents.append((segment, segment.length, len(piece)))
            segment.parts.append(data if len(piece) == len(data) else bytes(piece))
            segment.length += len(piece)
            view = view[len(piece) :]
            if segment.length >= self._segment_target():
                self._end_segment(sensitivity)
        return extents

    def _stream(self, sensitivity: Sensitivity) -> _Segment:
        return self._streams.setdefault(sensitivity, _Segment())

    def _segment_target(self) -> int:
        return limits.segment_target(self._counts[wire.SEGM])

    def _end_segment(self, sensitivity: Sensitivity, *, even_if_empty: bool = False) -> None:
        segment = self._streams.pop(sensitivity, None)
        if segment is None:
            if not even_if_empty:
                return
            segment = _Segment()
        segment.number = self._counts[wire.SEGM]
        self._counts[wire.SEGM] += 1
        rows = self._ready + segment.waiting
        segment.waiting = []
        journaled, length = 0, 8
        while journaled < len(rows) and length + rows[journaled].length <= limits.MAX_JOURNAL:
            length += rows[journaled].length
            journaled += 1
        self._ready = rows[journaled:]
        self._ready_length = sum(row.length for row in self._ready)
        self._ready_length += sum(row.length for stream in self._streams.values() for row in stream.waiting)
        journal = records.encode_journal([row.resolve() for row in rows[:journaled]]) if journaled else b""
        self._submit(
            wire.SEGM,
            segment.number,
            segment.parts,
            journal=journal,
            padded=sensitivity is Sensitivity.SECRET,
        )
        segment.parts = []

    # --- batches ----------------------------------------------------------------------------------------------------

    def _seal_full_batch(self) -> None:
        if self._batch_length > _BATCH_TARGET:
            self._end_batch()

    def _end_batch(self) -> None:
        for sensitivity in list(self._streams):
            self._end_segment(sensitivity)
        if not self._rows and not self._skipped:
            return
        raw = records.encode_batch([row.resolve() for row in self._rows], self._skipped, roots=self._roots)
        if len(raw) > limits.MAX_BATCH:
            raise LimitExceeded("one entry is too long for a batch", rule="R-7.5")
        self._rows, self._skipped, self._batch_length = [], [], 0
        number = self._counts[wire.ENTR]
        self._counts[wire.ENTR] += 1
        self._submit(wire.ENTR, number, raw)

    # --- sections ---------------------------------------------------------------------------------------------------

    def _submit(
        self, kind: bytes, number: int, raw: bytes | list[bytes], *, journal: bytes = b"", padded: bool = False
    ) -> None:
        if sum(self._counts.values()) > limits.MAX_SECTIONS - _RESERVED_SECTIONS:
            raise LimitExceeded("more content than the sections of one bundle hold (about 600 GiB)", rule="R-4.14")
        place = compression.Place(bundle_id=self._preamble.bundle_id, type=kind, number=number)
        self._in_flight.append((kind, number, self._pool.submit(self._seal, place, raw, journal, padded)))
        self._drain(self._depth)

    def _seal(
        self,
        place: compression.Place,
        raw: bytes | list[bytes],
        journal: bytes,
        padded: bool,  # noqa: FBT001 - a job's
    ) -> tuple[bytes, bytes]:
        data = raw if isinstance(raw, bytes) else raw[0] if len(raw) == 1 else b"".join(raw)
        plaintext = compression.encode(place, data, level=self._level, journal=journal, padded=padded)
        body = self._key.seal(plaintext, self._random)
        return body, hashlib.sha256(body).digest()

    def _drain(self, depth: int) -> None:
        while len(self._in_flight) > depth:
            kind, number, future = self._in_flight.popleft()
            body, digest = future.result()
            self._write_section(kind, number, body, digest)

    def _write_keys(self) -> None:
        for number, (body, digest) in enumerate(self._keys):
            self._write_section(wire.KEYS, number, body, digest)

    def _write_section(self, kind: bytes, number: int, body: bytes, digest: bytes) -> None:
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

    def _write(self, data: bytes) -> None:
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
        self._extents: list[tuple[_Segment | None, int, int]] = []

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self._digest.update(data)
        self._extents += self._writer._append_part(data, self._sensitivity)  # noqa: SLF001 - the writer's other half

    def sha256(self) -> bytes:
        """Digest of what was written so far."""
        return self._digest.digest()

    def finish(self, metadata: Metadata, *, capture: Capture = Capture.PLAIN) -> None:
        """Complete the entry."""
        row = _Row(_file(metadata, self.sha256(), capture), _merge(self._extents))
        self._writer._complete(row)  # noqa: SLF001 - the writer's other half
        self._end()

    def abandon(self) -> None:
        """Forget the file. Its bytes stay in their segments, unnamed, and are never output."""
        self._end()

    def _end(self) -> None:
        if self._sensitivity is Sensitivity.MIXED:
            self._writer._end_segment(self._sensitivity)  # noqa: SLF001 - the writer's other half


def _merge(extents: list[tuple[_Segment | None, int, int]]) -> tuple[tuple[_Segment | None, int, int], ...]:
    merged: list[tuple[_Segment | None, int, int]] = []
    for segment, offset, length in extents:
        if merged and merged[-1][0] is segment and merged[-1][1] + merged[-1][2] == offset:
            merged[-1] = (segment, merged[-1][1], merged[-1][2] + length)
        else:
            merged.append((segment, offset, length))
    return tuple(merged)


def _file(metadata: Metadata, digest: bytes, capture: Capture) -> Entry:
    # The size follows with the extents, once their segments have numbers.
    return Entry(
        root=metadata.root,
        path=metadata.path,
        kind=Kind.FILE,
        mode=metadata.mode,
        uid=metadata.uid,
        gid=metadata.gid,
        mtime_ns=metadata.mtime_ns,
        sha256=digest,
        capture=capture,
        xattrs=metadata.xattrs,
    )
