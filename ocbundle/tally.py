"""What a walk has met so far: entries handed on, what was left out and why, and what to tell.

The sums are bounded: however many files there are, a report of them takes flat memory.
"""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from ocbundle import databases, paths
from ocbundle.attributes import Attributes
from ocbundle.model import REPORT_ROWS, Entry, Kind, Progress, ProgressCallback, Reason, Skipped, Totals

MAX_WARNINGS: Final = 1000
TURNED: Final = "it turned into something else"

_NONE: Final = Attributes(mode=0)
_TICK_S: Final = 0.05
_MTIME_BOUND: Final = 1 << 63
_OTHER_KIND: Final = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EINVAL})
"""What the kernel says of a name that isn't the kind of thing any more that its directory said it was."""


class EntrySink(Protocol):
    """Where the walk puts what has no content."""

    def add(self, entry: Entry) -> None:
        """Take a directory, a symbolic link or a hard link."""

    def skip(self, skipped: Skipped) -> None:
        """List something that was left out."""


class Nowhere:
    """A sink for a walk that only looks."""

    def add(self, entry: Entry) -> None:
        """Forget it."""

    def skip(self, skipped: Skipped) -> None:
        """Forget it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanResult:
    """What a walk found, and what became of it."""

    entries: int
    size: int
    """Logical bytes of files; a hard link adds none."""
    largest_database: int
    """Room that the private copy of the largest database needs, in bytes. Only :func:`ocbundle.scan.measure` tells."""
    skipped: tuple[Skipped, ...]
    """At most :data:`ocbundle.model.REPORT_ROWS`; the counts are of all."""
    skipped_counts: Mapping[str, int]
    changed: tuple[str, ...]
    """Files that changed each time they were read, as ``root/path``; at most as many."""
    grew: tuple[str, ...]
    """Files stored as the beginning that was there when reading began: nothing to worry about; at most as many."""
    losses: int
    """How much is missing or torn."""
    warnings: tuple[str, ...]
    roots: Mapping[str, Totals] = field(default_factory=dict)
    """The same of each source, by name."""


class Tally:
    """The running sum of a walk, and its voice towards the sink and the caller."""

    stage = "scan"

    def __init__(
        self, sink: EntrySink, *, progress: ProgressCallback | None = None, totals: ScanResult | None = None
    ) -> None:
        self.root = ""
        """Name of the root being walked."""
        self.roots: dict[str, Totals] = {}
        self.entries = self.size = self.losses = 0
        self.largest_database = 0
        self.lost_lists = 0
        """Access control lists that couldn't be stored."""
        self._sink = sink
        self._progress = progress
        self._totals = totals
        self._next_tick = 0.0
        self._skipped: list[Skipped] = []
        self._counts: Counter[str] = Counter()
        self._changed: list[str] = []
        self._grew: list[str] = []
        self._warnings: list[str] = []
        self._warning_count = 0

    def result(self) -> ScanResult:
        """The sum, after the last root."""
        if self._progress is not None:
            self._report(self._progress)
        warnings = list(self._warnings)
        if self._warning_count > MAX_WARNINGS:
            warnings.append(f"and {self._warning_count - MAX_WARNINGS} more warnings")
        if self.lost_lists:
            warnings.append(f"{self.lost_lists} access control lists can't be stored; modes are narrowed to fit")
        return ScanResult(
            entries=self.entries,
            size=self.size,
            largest_database=self.largest_database,
            skipped=tuple(self._skipped),
            skipped_counts=dict(self._counts),
            changed=tuple(self._changed),
            grew=tuple(self._grew),
            losses=self.losses,
            warnings=tuple(warnings),
            roots=dict(self.roots),
        )

    def add(
        self,
        path: bytes,
        kind: Kind,
        status: os.stat_result | None = None,
        *,
        attributes: Attributes = _NONE,
        target: bytes | None = None,
    ) -> None:
        """Hand on an entry without content."""
        self._sink.add(
            Entry(
                root=self.root,
                path=path,
                kind=kind,
                mode=attributes.mode,
                uid=status.st_uid if status else 0,
                gid=status.st_gid if status else 0,
                mtime_ns=mtime_ns(status) if status else 0,
                target=target,
                xattrs=attributes.xattrs,
                acl=attributes.acl,
                default_acl=attributes.default_acl,
            )
        )
        self.count(0)

    def close_root(self) -> None:
        """Note what the root that was walked last holds."""
        others = self.roots.values()
        self.roots[self.root] = Totals(
            entries=self.entries - sum(each.entries for each in others),
            skipped=self._counts.total() - sum(each.skipped for each in others),
            size=self.size - sum(each.size for each in others),
        )

    def count(self, size: int) -> None:
        """Count an entry of *size* bytes."""
        self.entries += 1
        self.size += size
        if self._progress is not None:
            self.tick()

    def skip(self, path: bytes, kind: str, reason: Reason, detail: str | None = None) -> None:
        """Record that something is left out."""
        row = Skipped(root=self.root, path=path, kind=kind, reason=reason, detail=detail)
        self._counts[reason.value] += 1
        self.losses += row.is_loss
        if len(self._skipped) < REPORT_ROWS:
            self._skipped.append(row)
        self._sink.skip(row)
        self.tick()

    def fail(self, path: bytes, kind: str, error: OSError) -> None:
        """Record that something can't be opened or read."""
        gone = error.errno in {errno.ENOENT, errno.ESTALE}
        if gone and path.endswith(databases.PARTS):
            self.skip(path, kind, Reason.DATABASE_PART, "SQLite removed it")
        elif gone or error.errno in _OTHER_KIND:
            self.skip(path, kind, Reason.VANISHED, None if gone else TURNED)
        else:
            self.skip(path, kind, Reason.UNREADABLE, error.strerror)

    def note_changed(self, path: bytes) -> None:
        """Record that a file may be torn."""
        self.losses += 1
        if len(self._changed) < REPORT_ROWS:
            self._changed.append(self.name_of(path))

    def note_grew(self, path: bytes) -> None:
        """Record that a file was growing."""
        if len(self._grew) < REPORT_ROWS:
            self._grew.append(self.name_of(path))

    def note_own(self) -> None:
        """Record that the bundle being made lies in the root being walked."""
        self.warn(f"the bundle lies inside {self.name_of(b'')}: later ones will hold this one, unless they replace it")

    def warn(self, text: str) -> None:
        """Record something to tell; the first thousand are kept."""
        self._warning_count += 1
        if self._warning_count <= MAX_WARNINGS:
            self._warnings.append(text)

    def name_of(self, path: bytes) -> str:
        """``root/path``, escaped for display."""
        return paths.display(f"{self.root}/".encode() + path if path else self.root)

    def tick(self, under_way: int = 0) -> None:
        """Tell how far the walk is, if the last time is long enough ago; *under_way*: bytes of the current file."""
        if self._progress is not None and time.monotonic() >= self._next_tick:
            self._report(self._progress, under_way)

    def _report(self, progress: ProgressCallback, under_way: int = 0) -> None:
        self._next_tick = time.monotonic() + _TICK_S
        progress(
            Progress(
                stage=self.stage,
                size=self.size + under_way,
                total_size=self._totals.size if self._totals else None,
                entries=self.entries,
                total_entries=self._totals.entries if self._totals else None,
            )
        )


def mtime_ns(status: os.stat_result) -> int:
    """The modification time, within what the format holds."""
    told = status.st_mtime_ns
    return told if -_MTIME_BOUND <= told < _MTIME_BOUND else max(-_MTIME_BOUND, min(told, _MTIME_BOUND - 1))
