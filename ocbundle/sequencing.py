"""What the rows of a manifest say of one another: order, parents, links, totals.

Implements section 9.5 of the specification, with rules R-9.2, R-9.6, R-9.8, R-9.12 and R-9.18.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ocbundle import limits, paths
from ocbundle.errors import LimitExceeded, Malformed
from ocbundle.model import Entry, Kind, Skipped, Totals


class Sequencer:
    """Holds entries, in the order they stand in, to the rules that no single row can break.

    Order and parents (R-9.6, R-9.8) show with a stack, since entries ascend as a walk does; so a million of them take
    no memory. Only the targets of hard links are remembered.
    """

    def __init__(self, roots: Sequence[str], *, max_total: int = limits.DEFAULT_MAX_TOTAL) -> None:
        self._roots = roots
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

    def enter(self, entries: Iterable[Entry]) -> None:
        """Take the next entries.

        Raises:
            Malformed: one is out of order, or its parent isn't a directory before it.
            LimitExceeded: too many entries, or too many bytes in all.
        """
        directories = self._directories
        index, last = self._last
        name = self._roots[index] if index >= 0 else None
        for entry in entries:
            path = entry.path
            key = paths.sort_key(path)
            if entry.root == name:
                if key <= last:
                    raise Malformed("entries aren't ascending", path=entry.name, rule="R-9.6")
                parent = paths.parent(path)
                while directories and directories[-1] != parent:
                    directories.pop()
                if not directories:
                    raise Malformed("an entry's parent isn't a directory before it", path=entry.name, rule="R-9.8")
            else:
                index = self._begin_root(entry, index)
                name = entry.root
            last = key
            if entry.kind is Kind.DIRECTORY:
                directories.append(path)
            elif entry.kind is Kind.HARDLINK:
                self._link(entry, key)
            self.entries += 1
            self.size += entry.size
            if self.entries > limits.MAX_ENTRIES or self.size > self._max_total:
                self._check_limits(self.entries, 0, self.size)
        self._last = index, last

    def _begin_root(self, entry: Entry, last: int) -> int:
        index = self._index[entry.root]
        if index < last:
            raise Malformed("entries aren't ascending", path=entry.name, rule="R-9.6")
        if entry.path:
            raise Malformed("a root doesn't begin with itself", path=entry.name, rule="R-9.8")
        if entry.kind not in {Kind.DIRECTORY, Kind.FILE}:
            raise Malformed("a root is neither a directory nor a file", path=entry.name, rule="R-9.8")
        self._directories.clear()
        return index

    def _link(self, entry: Entry, key: bytes) -> None:
        target = entry.target or b""
        if paths.sort_key(target) >= key:
            raise Malformed("a hard link's target doesn't stand before it", path=entry.name, rule="R-9.12")
        self.link_targets.add((entry.root, target))

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
