"""Which bytes of a bundle's segments belong to which file, as a full verification goes through the files.

Implements rule R-9.11 of the specification. It reads nothing, and holds 24 bytes for each extent.
"""

from __future__ import annotations

import itertools
import operator
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence

from ocbundle import limits
from ocbundle.errors import Malformed
from ocbundle.model import Entry, Extent, Kind


class Ledger:
    """Which bytes of segments belong to which list of extents: the same list, or disjoint (R-9.11)."""

    def __init__(self) -> None:
        self._runs: defaultdict[int, array[int]] = defaultdict(lambda: array("Q"))
        self._claimed: Counter[int] = Counter()
        """Bytes of each segment that files have claimed since its runs were last compared."""
        self._recent: set[tuple[bytes | None, tuple[Extent, ...]]] = set()
        """Digest and extents of what the last batch had entered, so that equal files are read once."""

    def unread(self, entries: Sequence[Entry]) -> list[Entry]:
        """Enter a batch: the files among *entries*, but for those that equal one of this or the last batch.

        Raises:
            Malformed: a file names some bytes twice, or two files share some bytes, but not all. What isn't found here
                is by :meth:`check_disjoint`.
        """
        before, recent = self._recent, set[tuple[bytes | None, tuple[Extent, ...]]]()
        runs = defaultdict[int, list[int]](list)
        found = []
        for entry in entries:
            extents = entry.extents
            what = entry.sha256, extents
            if entry.kind is not Kind.FILE or what in recent or what in before:
                continue
            recent.add(what)
            found.append(entry)
            # 24 bytes an extent: a million files take 24 MB.
            identity = 0
            if len(extents) > 1:
                check_itself(entry)
                identity = hash(extents) & 0xFFFFFFFFFFFFFFFF
            for segment, offset, length in extents:
                if segment is not None:
                    runs[segment] += (offset, offset + length, identity)
        self._recent = recent
        for segment, run in runs.items():
            self._runs[segment].extend(run)
            self._claimed[segment] += sum(run[1::3]) - sum(run[0::3])
            # A million files that overlap are found by the first batches, and not when all of them have been read.
            if self._claimed[segment] > 2 * limits.MAX_SEGMENT:
                self._compare(segment)
        return found

    def check_disjoint(self) -> None:
        """Compare the runs of each segment.

        Raises:
            Malformed: two files share some bytes, but not all.
        """
        for segment in self._runs:
            self._compare(segment)

    def _compare(self, segment: int) -> None:
        run = self._runs[segment]
        starts, ends = run[0::3], run[1::3]
        if not all(map(operator.le, ends, starts[1:])):  # else they ascend, as a writer leaves them
            # Runs of equal lists are equal, and the set keeps one of them.
            distinct = sorted(set(zip(starts, ends, run[2::3], strict=True)))
            for (_, last_end, _), (start, _, _) in itertools.pairwise(distinct):
                if start < last_end:
                    raise Malformed(f"two files overlap in segment {segment}", rule="R-9.11")
            run = self._runs[segment] = array("Q", itertools.chain.from_iterable(distinct))
        self._claimed[segment] = sum(run[1::3]) - sum(run[0::3])


def check_itself(entry: Entry) -> None:
    """Look at the extents of a file alone.

    Raises:
        Malformed: they name some bytes twice.
    """
    runs = sorted(
        (extent.segment, extent.offset, extent.length) for extent in entry.extents if extent.segment is not None
    )
    for (segment, offset, length), (following, start, _) in itertools.pairwise(runs):
        if segment == following and start < offset + length:
            raise Malformed("a file names the same bytes twice", path=entry.name, rule="R-9.11")
