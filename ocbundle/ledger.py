"""Which bytes of a bundle's segments belong to which file, as a full verification goes through the files.

Implements rule R-9.11 of the specification. It reads nothing, and holds 24 bytes for each extent.
"""

from __future__ import annotations

import itertools
from array import array
from collections import Counter, OrderedDict
from typing import Final

from ocbundle import limits
from ocbundle.errors import Malformed
from ocbundle.model import Entry

_RECENT: Final = 4096
"""Files that are remembered, so that equal ones are read once."""


class Ledger:
    """Which bytes of segments belong to which list of extents: the same list, or disjoint (R-9.11)."""

    def __init__(self) -> None:
        self._runs: dict[int, array[int]] = {}
        self._claimed: Counter[int] = Counter()
        """Bytes of each segment that files have claimed since its runs were last compared."""
        self._recent: OrderedDict[int, Entry] = OrderedDict()

    def seen(self, entry: Entry) -> bool:
        """Enter *entry*, and tell whether the same extents with the same digest were checked a while ago."""
        extents = entry.extents
        if not extents:
            return False
        first = extents[0]
        place = -1 if first.segment is None else first.segment * limits.MAX_SEGMENT + first.offset
        last = self._recent.get(place)
        if last is not None and last.extents == extents and last.sha256 == entry.sha256:
            return True
        if len(extents) > 1:
            _check_itself(entry)
        # 24 bytes an extent: a million files take 24 MB.
        identity = hash(extents) & 0xFFFFFFFFFFFFFFFF if len(extents) > 1 else 0
        for extent in extents:
            if extent.segment is not None:
                run = self._runs.setdefault(extent.segment, array("Q"))
                run.extend((extent.offset, extent.offset + extent.length, identity))
                self._claimed[extent.segment] += extent.length
                # A million files that overlap are found by the third, and not when all of them have been read.
                if self._claimed[extent.segment] > 2 * limits.MAX_SEGMENT:
                    self._compare(extent.segment)
        self._recent[place] = entry
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)
        return False

    def check_disjoint(self) -> None:
        """Compare the runs of each segment.

        Raises:
            Malformed: two files share some bytes, but not all.
        """
        for segment in self._runs:
            self._compare(segment)

    def _compare(self, segment: int) -> None:
        run = self._runs[segment]
        # Runs of equal lists are equal, and the set keeps one of them.
        distinct = sorted({(run[i], run[i + 1], run[i + 2]) for i in range(0, len(run), 3)})
        for (_, last_end, _), (start, _, _) in itertools.pairwise(distinct):
            if start < last_end:
                raise Malformed(f"two files overlap in segment {segment}", rule="R-9.11")
        self._runs[segment] = array("Q", itertools.chain.from_iterable(distinct))
        self._claimed[segment] = sum(end - start for start, end, _ in distinct)


def _check_itself(entry: Entry) -> None:
    runs = sorted(
        (extent.segment, extent.offset, extent.length) for extent in entry.extents if extent.segment is not None
    )
    for (segment, offset, length), (following, start, _) in itertools.pairwise(runs):
        if segment == following and start < offset + length:
            raise Malformed("a file names the same bytes twice", path=entry.name, rule="R-9.11")
