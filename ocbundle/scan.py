"""Directories to entries and bytes: what feeds a writer.

Implements what section 12 of the specification asks of a writer's source: entries in ascending order, content that held
still while it was read, databases through SQLite, and a row with a reason for whatever is left out. It never writes to
a source, and one bad file never ends it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Sequence
from typing import Final, Protocol

from ocbundle import databases, limits, reading
from ocbundle.model import Capture, Kind, ProgressCallback, Reason
from ocbundle.reading import Piece, Unreadable
from ocbundle.sources import Metadata, Sensitivity, Source
from ocbundle.tally import TURNED, EntrySink, Nowhere, ScanResult, mtime_ns
from ocbundle.walk import Directory, Walk, open_at

__all__ = ["FileSink", "ScanResult", "Sink", "measure", "scan"]

_SMALL: Final = limits.FIRST_SEGMENT
"""A file up to this fits any segment, and is read whole."""
_SMALL_TRIES: Final = 3
_LARGE_TRIES: Final = 2
_HEAD: Final = len(databases.MAGIC)


class FileSink(Protocol):
    """One file's content on its way into a bundle."""

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes; their memory is used for others afterwards."""

    def hole(self, length: int) -> None:
        """Take the next *length* bytes, all of them zeros that the file system doesn't store."""

    def sha256(self) -> bytes:
        """Digest of what was written so far."""

    def finish(self, metadata: Metadata, *, capture: Capture = Capture.PLAIN) -> None:
        """Complete the entry; its size is what was written."""

    def abandon(self) -> None:
        """Forget the file."""


class Sink(EntrySink, Protocol):
    """Where entries and bytes go: a writer, or a test's record of them."""

    def add_file(
        self, metadata: Metadata, data: bytes, *, sensitivity: Sensitivity, capture: Capture = Capture.PLAIN
    ) -> None:
        """Take a file whose content is at hand."""

    def open_file(self, *, sensitivity: Sensitivity) -> FileSink:
        """Begin a file whose content comes in pieces."""


def scan(
    sources: Sequence[Source],
    sink: Sink,
    *,
    scratch: str,
    own: Collection[tuple[int, int]] = (),
    replaced: Collection[tuple[int, int]] = (),
    progress: ProgressCallback | None = None,
    totals: ScanResult | None = None,
) -> ScanResult:
    """Walk *sources* in order and hand all that they hold to *sink*.

    Args:
        sources: What to pack. A source inside another is taken once, as itself.
        sink: What takes it. Its exceptions, and those of rules, pass through.
        scratch: A private directory, with room for the largest database.
        own: Device and inode of the writer's temporary files and directories: they're passed over.
        replaced: Device and inode of the file that the bundle will replace: it gets a row.
        progress: Called at most 20 times a second, and once at the end.
        totals: What :func:`measure` found, for the totals of the progress.

    Raises:
        SourceMissing: a source isn't there; nothing has been handed on yet.
        SourceFailure: no source can be read, or one is neither a directory nor a file.
        NoSpace: *scratch* is full.
    """
    return _Scan(sources, sink, scratch=scratch, own=own, replaced=replaced, progress=progress, totals=totals).run()


def measure(
    sources: Sequence[Source],
    *,
    own: Collection[tuple[int, int]] = (),
    replaced: Collection[tuple[int, int]] = (),
    progress: ProgressCallback | None = None,
    thorough: bool = False,
) -> ScanResult:
    """Walk *sources* as :func:`scan` would, without reading content.

    *thorough* opens each file, to learn now whether it can be read.

    Raises:
        SourceMissing: a source isn't there.
        SourceFailure: no source can be read, or one is neither a directory nor a file.
    """
    return _Measure(sources, own=own, replaced=replaced, progress=progress, thorough=thorough).run()


class _Linked(Walk):
    """A walk that knows the hard links within a root."""

    _links: dict[tuple[int, int], tuple[bytes, int]]
    """By device and inode: the first path, and how many more there may be."""

    def enter_root(self) -> None:
        self._links = {}

    def is_done(self, path: bytes, status: os.stat_result) -> bool:
        """Deal with what is no file to read: not a regular one, the bundle itself, another link to an earlier one."""
        identity = status.st_dev, status.st_ino
        if not stat.S_ISREG(status.st_mode):
            self.skip(path, "file", Reason.VANISHED, TURNED)
        elif identity in self.own:
            self.note_own()
        elif identity in self.replaced:
            self.skip(path, "file", Reason.SELF)
        elif status.st_nlink > 1 and identity in self._links:
            first, others = self._links[identity]
            self.add(path, Kind.HARDLINK, target=first)
            # Forgotten after the last one, so that a tree of nothing but links takes flat memory.
            if others > 1:
                self._links[identity] = first, others - 1
            else:
                del self._links[identity]
        else:
            return False
        return True

    def remember(self, path: bytes, status: os.stat_result) -> None:
        """Remember a file that was taken, if it has other links."""
        if status.st_nlink > 1:
            self._links[status.st_dev, status.st_ino] = path, status.st_nlink - 1


class _Measure(_Linked):
    """A walk that only adds up."""

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        own: Collection[tuple[int, int]],
        replaced: Collection[tuple[int, int]],
        progress: ProgressCallback | None,
        thorough: bool,
    ) -> None:
        super().__init__(sources, Nowhere(), own=own, replaced=replaced, progress=progress)
        self._thorough = thorough

    def file(self, directory: Directory, name: bytes, path: bytes, sensitivity: Sensitivity) -> None:  # noqa: ARG002
        try:
            status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
            if self.is_done(path, status):
                return
            # The small ones make no difference to the room that copies of databases need.
            if self._thorough or status.st_size > _SMALL:
                self._look(directory, name, status)
        except OSError as error:
            self.fail(path, "file", error)
            return
        self.remember(path, status)
        self.count(status.st_size)

    def _look(self, directory: Directory, name: bytes, status: os.stat_result) -> None:
        fd = open_at(name, directory.fd)
        try:
            head = os.pread(fd, _HEAD, 0)
        finally:
            os.close(fd)
        if databases.is_database(head):
            directory.databases[name] = True
            room = status.st_size
            for part in (databases.WAL, databases.JOURNAL):
                try:
                    room += os.stat(name + part, dir_fd=directory.fd, follow_symlinks=False).st_size
                except OSError:
                    continue
            self.largest_database = max(self.largest_database, room)


class _Scan(_Linked):
    """A walk that reads."""

    stage = "pack"

    def __init__(
        self,
        sources: Sequence[Source],
        sink: Sink,
        *,
        scratch: str,
        own: Collection[tuple[int, int]],
        replaced: Collection[tuple[int, int]],
        progress: ProgressCallback | None,
        totals: ScanResult | None,
    ) -> None:
        super().__init__(sources, sink, own=own, replaced=replaced, progress=progress, totals=totals)
        self._files = sink
        self._scratch = scratch

    def file(self, directory: Directory, name: bytes, path: bytes, sensitivity: Sensitivity) -> None:
        attempt = 0
        raw = False
        while True:
            # By name each time: what is replaced as a whole is found whole the second time.
            try:
                fd = open_at(name, directory.fd)
            except OSError as error:
                self.fail(path, "file", error)
                return
            try:
                status = reading.status_of(fd)
                first = attempt == 0 and not raw
                if first and self.is_done(path, status):
                    return
                small = status.st_size <= _SMALL and not reading.has_holes(fd, status)
                data = reading.read(fd, status.st_size) if small else reading.read_at(fd, _HEAD, 0)
                if first and databases.is_database(data):
                    if sensitivity is Sensitivity.CONTENT:
                        sensitivity = Sensitivity.MIXED
                    if self._database(directory, name, path, fd, status, sensitivity=sensitivity):
                        return
                    raw = True
                    continue
                attempt += 1
                if small:
                    done = self._small(path, fd, status, data, sensitivity, raw=raw, last=attempt == _SMALL_TRIES)
                else:
                    done = self._large(path, fd, status, sensitivity, raw=raw, last=attempt == _LARGE_TRIES)
                if done:
                    return
            except Unreadable as unreadable:
                self.fail(path, "file", unreadable.error)
                return
            finally:
                os.close(fd)

    def _small(
        self,
        path: bytes,
        fd: int,
        before: os.stat_result,
        data: bytes,
        sensitivity: Sensitivity,
        *,
        raw: bool,
        last: bool,
    ) -> bool:
        """Hand on a file that was read whole, if it held still; ``False``: try again."""
        capture = reading.judge(fd, before, got=len(data), again=lambda: reading.read_at(fd, before.st_size, 0) == data)
        if capture is Capture.CHANGED and not last:
            return False
        capture = _mark_raw(capture) if raw else capture
        self._files.add_file(self._metadata(path, fd, before), data, sensitivity=sensitivity, capture=capture)
        self._finish(path, before, capture, len(data))
        return True

    def _large(
        self, path: bytes, fd: int, before: os.stat_result, sensitivity: Sensitivity, *, raw: bool, last: bool
    ) -> bool:
        """Hand on a file piece by piece; ``False`` if it didn't hold still: try again."""
        size = before.st_size
        sink = self._files.open_file(sensitivity=sensitivity)
        try:
            got = self._copy(reading.pieces(fd, before), sink)
            got += len(reading.read_at(fd, 1, size))
            capture = reading.judge(fd, before, got=got, again=lambda: reading.digest(fd, before) == sink.sha256())
            metadata = self._metadata(path, fd, before)
        except Unreadable:
            sink.abandon()
            raise
        if capture is Capture.CHANGED and not last:
            sink.abandon()
            return False
        capture = _mark_raw(capture) if raw else capture
        sink.finish(metadata, capture=capture)
        self._finish(path, before, capture, min(got, size))
        return True

    def _database(
        self,
        directory: Directory,
        name: bytes,
        path: bytes,
        fd: int,
        status: os.stat_result,
        *,
        sensitivity: Sensitivity,
    ) -> bool:
        """Take a database through SQLite; ``False`` if its bytes must be taken as they are, and its log's too."""
        with databases.capture(directory.fd, name, directory.path, self._scratch) as captured:
            directory.databases[name] = captured.file is not None
            if captured.detail is not None:
                how = "is a database taken as it is" if captured.file is None else "was taken through SQLite"
                self.warn(f"{self.name_of(path)} {how}: {captured.detail}")
            if captured.file is None:
                return False
            # The times are those of the database's own file: its log has none in the bundle.
            metadata = self._metadata(path, fd, status)
            size = os.fstat(captured.file.fileno()).st_size
            if size <= _SMALL:
                self._files.add_file(metadata, captured.file.read(), sensitivity=sensitivity, capture=Capture.SQLITE)
            else:
                sink = self._files.open_file(sensitivity=sensitivity)
                self._copy(reading.chunks(captured.file), sink)
                sink.finish(metadata, capture=Capture.SQLITE)
        self._finish(path, status, Capture.SQLITE, size)
        return True

    def _copy(self, pieces: Iterator[Piece], sink: FileSink) -> int:
        length = 0
        for piece in pieces:
            if isinstance(piece, int):
                sink.hole(piece)
                length += piece
            else:
                sink.write(piece)
                length += len(piece)
            self.tick(length)
        return length

    def _metadata(self, path: bytes, fd: int, status: os.stat_result) -> Metadata:
        found = self.attributes(fd, path, status)
        return Metadata(
            root=self.root,
            path=path,
            mode=found.mode,
            uid=status.st_uid,
            gid=status.st_gid,
            mtime_ns=mtime_ns(status),
            xattrs=found.xattrs,
            acl=found.acl,
        )

    def _finish(self, path: bytes, status: os.stat_result, capture: Capture, size: int) -> None:
        self.remember(path, status)
        if capture is Capture.CHANGED:
            self.note_changed(path)
        elif capture is Capture.GREW:
            self.note_grew(path)
        self.count(size)


def _mark_raw(capture: Capture) -> Capture:
    # A database is written in its middle, too: the beginning of one that grew may be torn.
    return Capture.SQLITE_RAW if capture is Capture.PLAIN else Capture.CHANGED
