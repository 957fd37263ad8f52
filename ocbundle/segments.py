"""A segment that is being gathered.

Implements steps 3 and 4 of section 12 of the specification, as far as they concern one segment. It neither compresses
nor writes anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ocbundle.records import Row

Extents = list[list[Any]]
"""Segment, offset and length of each extent of a file; the segment is -1 until it has a number, and none of a hole."""

Waiting = tuple[Row, int]
"""An entry that is to be journaled, and how many bytes its row may take there."""


@dataclass(slots=True)
class Segment:
    """A segment being gathered. Its number is given when it ends, since segments are numbered in file order."""

    memory: bytearray
    length: int = 0
    is_open: bool = True
    extents: Extents = field(default_factory=list)
    """Extents in it, to be given its number."""
    waiting: list[Waiting] = field(default_factory=list)
    """Entries whose last bytes are in it, to be journaled in it."""

    def append(self, data: bytes | memoryview, extents: Extents) -> None:
        """Put *data* at the end, and its extent at the end of *extents*, the file's."""
        start, length = self.length, len(data)
        self.length = end = start + length
        if end > len(self.memory):
            self.memory = self.memory[:start] + bytes(length)
        # A slice of the bytearray itself would copy the data twice.
        memoryview(self.memory)[start:end] = data
        if extents and self.extents and extents[-1] is self.extents[-1]:
            extents[-1][2] += length
        else:
            extent = [-1, start, length]
            extents.append(extent)
            self.extents.append(extent)

    @property
    def content(self) -> memoryview:
        """All that is in it."""
        return memoryview(self.memory)[: self.length]

    def end(self, number: int) -> None:
        """Give its extents their number; no more goes in."""
        self.is_open = False
        for extent in self.extents:
            extent[0] = number

    def forget(self) -> None:
        """Keep nothing but that it ended: later files may share its extents, and so keep it."""
        self.memory, self.extents, self.waiting = bytearray(), [], []
