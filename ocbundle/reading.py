"""One open file, piece by piece: its bytes, its holes, and whether it held still meanwhile.

Implements what R-12.6 of the specification asks of content. It reads by descriptor and never writes.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from ocbundle import limits
from ocbundle.model import Capture

Piece = memoryview | int
"""A run of a file's bytes, there until the next is asked for; or the length of a hole, of zeros that aren't stored."""

_PIECE: Final = limits.MIB
_HOLE_PIECE: Final = 64 * limits.MIB
"""A hole is handed on in pieces too, for the sake of the progress."""
_LEAST_HOLE: Final = 4 * limits.KIB
_MOST_HOLES: Final = 1 << 14
"""Of one file: the row that lists them must fit a journal."""
_BLOCK: Final = 512
"""What ``st_blocks`` counts, on every system."""
_ZEROS: Final = bytes(_PIECE)
_RECENT_NS: Final = 1_000_000_000
"""A file system's clock may tick as slowly as this: a younger change time doesn't prove that nothing came after it."""


class Unreadable(Exception):
    """Reading failed. Not an OSError, so that a sink's own are never taken for the source's."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error


def status_of(fd: int) -> os.stat_result:
    """What the system says of the file."""
    try:
        return os.fstat(fd)
    except OSError as error:
        raise Unreadable(error) from error


def read(fd: int, length: int) -> bytes:
    """Up to *length* bytes from where the descriptor stands."""
    try:
        data = os.read(fd, length)
        # A regular file gives all it has at once; network file systems have been seen not to.
        while len(data) < length and (more := os.read(fd, length - len(data))):
            data += more
    except OSError as error:
        raise Unreadable(error) from error
    return data


def read_at(fd: int, length: int, offset: int) -> bytes:
    """Up to *length* bytes at *offset*."""
    try:
        data = os.pread(fd, length, offset)
        while len(data) < length and (more := os.pread(fd, length - len(data), offset + len(data))):
            data += more
    except OSError as error:
        raise Unreadable(error) from error
    return data


def _read_into(memory: memoryview, fd: int, offset: int) -> int:
    try:
        return os.preadv(fd, [memory], offset)
    except OSError as error:
        raise Unreadable(error) from error


def pieces(fd: int, status: os.stat_result) -> Iterator[Piece]:
    """As much of the content as *status* told of, or less if the file was cut meanwhile."""
    offset = 0
    memory = memoryview(bytearray(min(_PIECE, status.st_size)))
    for start, end in itertools.chain(_holes(fd, status), [(status.st_size, status.st_size)]):
        while offset < start:
            length = _read_into(memory[: start - offset], fd, offset)
            if not length:
                return
            yield memory[:length]
            offset += length
        while offset < end:
            length = min(_HOLE_PIECE, end - offset)
            yield length
            offset += length


def has_holes(fd: int, status: os.stat_result) -> bool:
    """Whether :func:`pieces` would find any. The descriptor stands at the beginning afterwards."""
    if not _may_have_holes(status):
        return False
    try:
        return next(_holes(fd, status), None) is not None
    finally:
        os.lseek(fd, 0, os.SEEK_SET)


def chunks(file: BinaryIO) -> Iterator[Piece]:
    """All that *file* has, without holes."""
    memory = memoryview(bytearray(_PIECE))
    while length := os.readv(file.fileno(), [memory]):
        yield memory[:length]


def zeros(length: int) -> Iterator[bytes]:
    """The bytes of a hole."""
    for start in range(0, length, _PIECE):
        yield _ZEROS[: length - start]


def digest(fd: int, status: os.stat_result) -> bytes:
    """The SHA-256 of what :func:`pieces` gives."""
    found = hashlib.sha256()
    for piece in pieces(fd, status):
        for data in zeros(piece) if isinstance(piece, int) else (piece,):
            found.update(data)
    return found.digest()


def judge(fd: int, before: os.stat_result, *, got: int, again: Callable[[], bool]) -> Capture:
    """How a file was captured, of which *got* bytes were there where ``before.st_size`` had been told.

    *again* reads the told bytes once more, and says whether they are the same.
    """
    between = status_of(fd)
    if got == before.st_size and _is_same(before, between) and time.time_ns() - between.st_ctime_ns >= _RECENT_NS:
        return Capture.PLAIN
    if got < before.st_size or not again():
        return Capture.CHANGED
    after = status_of(fd)
    if after.st_size > before.st_size:
        return Capture.GREW
    return Capture.PLAIN if _is_same(between, after) else Capture.CHANGED


def _is_same(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether two looks at one open file saw the same."""
    return (
        one.st_ctime_ns == other.st_ctime_ns and one.st_mtime_ns == other.st_mtime_ns and one.st_size == other.st_size
    )


def _may_have_holes(status: os.stat_result) -> bool:
    return status.st_blocks * _BLOCK < status.st_size


def _holes(fd: int, status: os.stat_result) -> Iterator[tuple[int, int]]:
    """Where the holes are that are worth an extent, as start and end; a smaller one is read as the zeros it is."""
    size = status.st_size
    if not _may_have_holes(status):
        return
    least = max(_LEAST_HOLE, size // _MOST_HOLES)
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_HOLE)
            end = _next_data(fd, start, size)
        except OSError:  # a file system that can't tell, or a file that was cut
            return
        if end <= start:  # filled or cut just now
            return
        if end - start >= least:
            yield start, end


def _next_data(fd: int, start: int, size: int) -> int:
    if start >= size:
        return start
    try:
        return min(os.lseek(fd, start, os.SEEK_DATA), size)
    except OSError:
        # There is none behind it: the hole ends with the file, which may have been cut just now.
        return min(os.lseek(fd, 0, os.SEEK_END), size)
