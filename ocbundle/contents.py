"""The bytes of files, out of the segments that their extents name.

Implements rules R-9.10, as far as segments show it, and R-9.14 of the specification. It opens nothing.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

from ocbundle import limits
from ocbundle.errors import ChecksumMismatch, Malformed
from ocbundle.model import Entry, Extent
from ocbundle.reading import zeros

PIECE: Final = limits.MIB
"""Content comes in pieces of so many bytes at most."""
_KEPT: Final = limits.MAX_SEGMENT
_STEP: Final = 2047
"""Bytes that hashlib hashes without letting another thread run."""
_STEPWISE: Final = 32 * _STEP


class Recent:
    """Segments that were opened last, by number: secrets and content lie side by side, each in segments of their own.

    When room is made for another, at most 16 MiB of them stay, or the one that was used last if that is longer.
    """

    def __init__(self) -> None:
        self._raws: OrderedDict[int, memoryview] = OrderedDict()
        self._length = 0

    def __contains__(self, number: int) -> bool:
        """Whether it is kept."""
        return number in self._raws

    def get(self, number: int) -> memoryview | None:
        """Its bytes; without them, there is room for it now."""
        raw = self._raws.get(number)
        if raw is not None:
            self._raws.move_to_end(number)
            return raw
        while self._length > _KEPT and len(self._raws) > 1:
            self._length -= len(self._raws.popitem(last=False)[1])
        return None

    def put(self, number: int, raw: memoryview) -> None:
        """Keep one that wasn't there."""
        self._raws[number] = raw
        self._length += len(raw)

    def clear(self) -> None:
        """Keep none."""
        self._raws.clear()
        self._length = 0


def pieces(entry: Entry, segment: Callable[[int], memoryview]) -> Iterator[bytes]:
    """The bytes of a file, whose segments *segment* gives by number.

    Raises:
        Malformed: an extent ends behind its segment (R-9.10).
        ChecksumMismatch: they don't match the digest, if there is one (R-9.14); raised behind the last piece.
    """
    digest = hashlib.sha256()
    for extent in entry.extents:
        for piece in (
            zeros(extent.length) if extent.segment is None else _stored(entry, extent, segment(extent.segment))
        ):
            digest.update(piece)
            yield piece
    compare(entry, digest.digest())


def _stored(entry: Entry, extent: Extent, raw: memoryview) -> Iterator[bytes]:
    view = cut(entry, extent, raw)
    for start in range(0, len(view), PIECE):
        yield bytes(view[start : start + PIECE])


def cut(entry: Entry, extent: Extent, raw: memoryview) -> memoryview:
    """The bytes of *extent* of *entry*, out of those of its segment.

    Raises:
        Malformed: the extent ends behind them (R-9.10).
    """
    end = extent.offset + extent.length
    if end > len(raw):
        raise Malformed("an extent ends behind its segment", path=entry.name, rule="R-9.10")
    return raw[extent.offset : end]


def digest_of(data: bytes) -> bytes:
    """The SHA-256 of *data*, in steps for which the interpreter's lock isn't given away if they are few.

    To get the lock back from a busy thread takes longer than to hash some kilobytes.
    """
    if len(data) > _STEPWISE:
        return hashlib.sha256(data).digest()
    digest = hashlib.sha256(data[:_STEP])
    for start in range(_STEP, len(data), _STEP):
        digest.update(data[start : start + _STEP])
    return digest.digest()


def compare(entry: Entry, digest: bytes) -> None:
    """Hold the digest of what was read to that of *entry*; an entry from a journal has none.

    Raises:
        ChecksumMismatch: they differ (R-9.14).
    """
    if digest != entry.sha256 and entry.sha256 is not None:
        raise ChecksumMismatch("a file isn't what its digest says", path=entry.name, rule="R-9.14")
