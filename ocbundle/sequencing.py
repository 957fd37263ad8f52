"""What the rows of a manifest say of one another: order, parents, links, totals.

Implements section 9.5 of the specification, with rules R-9.2, R-9.6, R-9.8, R-9.12 and R-9.18.
"""

from __future__ import annotations

from collections.abc import Sequence

from ocbundle import limits, paths
from ocbundle.errors import LimitExceeded, Malformed
from ocbundle.model import Entry, Kind, Skipped, Totals


class Sequencer:
    """Holds entries, in the order they stand in, to the rules that no single row can break.

    Order and parents (R-9.6, R-9.8) show with a stack, since entries ascend as a walk does; so a million of them take
    no memory. Only the targets of hard links are remembered.
    """

    def __init__(self, roots: Sequence[str], *, max_total: int = limits.DEFAULT_MAX_TOTAL) -> None:
        self._index = {name: index for index, name in enumerate(roots)}
        self._max_total = max_total
        self._last: tuple[int, bytes] = (-1, b"")
        self._last_skipped: tuple[int, bytes] = (-1, b"")
        self._directories: list[bytes] = []
        self.link_targets: set[tuple[str, bytes]] = set()
        """What hard links point to: each must turn out to be a file (R-9.12)."""
        self.entries = 0
        self.skipped = 0
        self.size = 0

    def announce(self, totals: Totals) -> None:
        """Refuse what the head says there will be, before any of it is read.

        Raises:
            LimitExceeded: too many entries, or too many bytes in all.
        """
        self._check_limits(totals.entries, totals.skipped, totals.size)

    def _check_limits(self, entries: int, skipped: int, size: int) -> None:
        if entries > limits.MAX_ENTRIES:
            raise LimitExceeded(f"more than {limits.MAX_ENTRIES} entries", rule="R-9.18")
        if skipped > limits.MAX_ENTRIES:
            raise LimitExceeded(f"more than {limits.MAX_ENTRIES} skipped rows", rule="R-9.18")
        if size > self._max_total:
            raise LimitExceeded(f"more than {self._max_total} bytes in all", rule="R-9.18")

    def entry(self, entry: Entry) -> None:
        """Take the next entry.

        Raises:
            Malformed: it is out of order, or its parent isn't a directory before it.
            LimitExceeded: too many entries, or too many bytes in all.
        """
        index = self._index[entry.root]
        key = (index, paths.sort_key(entry.path))
        if key <= self._last:
            raise Malformed("entries aren't ascending", path=entry.name, rule="R-9.6")
        if index != self._last[0]:
            self._directories.clear()
            self._begin_root(entry)
        else:
            self._descend(entry)
        self._last = key
        if entry.kind is Kind.DIRECTORY:
            self._directories.append(entry.path)
        elif entry.kind is Kind.HARDLINK:
            if paths.sort_key(entry.target or b"") >= key[1]:
                raise Malformed("a hard link's target doesn't stand before it", path=entry.name, rule="R-9.12")
            self.link_targets.add((entry.root, entry.target or b""))
        self.entries += 1
        self.size += entry.size
        if self.entries > limits.MAX_ENTRIES or self.size > self._max_total:
            self._check_limits(self.entries, 0, self.size)

    @staticmethod
    def _begin_root(entry: Entry) -> None:
        if entry.path:
            raise Malformed("a root doesn't begin with itself", path=entry.name, rule="R-9.8")
        if entry.kind not in {Kind.DIRECTORY, Kind.FILE}:
            raise Malformed("a root is neither a directory nor a file", path=entry.name, rule="R-9.8")

    def _descend(self, entry: Entry) -> None:
        parent = paths.parent(entry.path)
        while self._directories and self._directories[-1] != parent:
            self._directories.pop()
        if not self._directories:
            raise Malformed("an entry's parent isn't a directory before it", path=entry.name, rule="R-9.8")

    def skip(self, skipped: Skipped) -> None:
        """Take the next skipped row.

        Raises:
            Malformed: it is out of order.
        """
        key = (self._index[skipped.root], paths.sort_key(skipped.path))
        if key <= self._last_skipped:
            raise Malformed("skipped rows aren't ascending", path=skipped.name, rule="R-9.6")
        self._last_skipped = key
        self.skipped += 1
        self._check_limits(0, self.skipped, 0)

    def is_beyond(self, totals: Totals) -> bool:
        """Whether more has been counted than the manifest says there is."""
        return self.entries > totals.entries or self.skipped > totals.skipped or self.size > totals.size

    def finish(self, totals: Totals) -> None:
        """Hold what was counted to the totals of the manifest.

        Raises:
            Malformed: they differ.
        """
        if (self.entries, self.skipped, self.size) != (totals.entries, totals.skipped, totals.size):
            raise Malformed("the manifest's totals aren't those of its entries", rule="R-9.2")
