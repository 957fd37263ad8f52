"""The verb ``salvage``: what can still be had of a bundle that nothing else would open.

Implements section 13.4 of the specification, and how its rule R-13.7 is kept: what isn't whole is laid out beside the
root that it belongs to, and listed. It never prints, prompts or reads the environment.
"""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ocbundle import limits, publish, restore, wire
from ocbundle.bundle import IdentityLike, Readable, known_identities, seekable
from ocbundle.errors import ChecksumMismatch, Malformed
from ocbundle.model import REPORT_ROWS, Entry, Extent, Kind, Progress, ProgressCallback
from ocbundle.outcomes import Casualty, Condition, SalvageReport
from ocbundle.places import Guard, Owner
from ocbundle.restore import Restored

if TYPE_CHECKING:
    from ocbundle.survivors import Survivor, Survivors
    from ocbundle.wreck import Wreck

LIST_NAME: Final = "salvage.txt"
DAMAGED: Final = ".damaged"
"""What the name of a root ends with where its damaged files are laid out."""

_ABOUT: Final = """\
What isn't whole of the bundle {bundle_id}.

damaged        a part of it is lost, and zeros stand for that; it lies in the directory that ends with .damaged
lost           nothing but its name is left
not confirmed  every byte is authentic, but the digest of the whole file is lost

"""
Path = str | bytes | os.PathLike[str]


def salvage(
    source: Readable,
    to: Path,
    *,
    identities: Iterable[IdentityLike] = (),
    passphrase: str | None = None,
    owner: str = "self",
    dry_run: bool = False,
    max_work_factor: int = limits.SCRYPT_READ_WORK_FACTOR,
    max_total: int = limits.DEFAULT_MAX_TOTAL,
    progress: ProgressCallback | None = None,
    clock: Callable[[], float] = time.time,
) -> SalvageReport:
    """Lay out what a damaged bundle still holds, as it was packed, in a new directory.

    Each root goes to ``to/<root>``; a file of which a part is lost to ``to/<root>.damaged``, with zeros for that part.
    A list beside them names every file that isn't whole. Nothing appears before all of it is there.

    Args:
        source: A path, or a binary file object, a pipe too.
        to: A directory that doesn't exist, or is empty.
        identities: Paths of identity files, or :class:`Identity` values.
        passphrase: What the bundle is sealed to.
        owner: ``self`` (whoever runs this), a user's name, or ``numeric``.
        dry_run: Find out what can be had, and write nothing.
        max_work_factor: Of the passphrase, at the most.
        max_total: Logical bytes, at the most.
        progress: Called with :class:`Progress` as the work goes on.
        clock: Gives seconds since the epoch.

    Raises:
        DamagedBundle: nothing can be had: it was no bundle, no copy of its keys is whole, or no name is left.
        KeyFailure: the identities or the passphrase don't open it.
        UnsupportedVersion: a newer ocbundle wrote it.
        TargetExists: something is at *to*.
        NoSpace, TargetFailure, OSError: as :func:`unpack`.
    """
    from ocbundle.remains import Remains  # noqa: PLC0415 - nothing else waits for what only damage needs
    from ocbundle.survivors import Survivors  # noqa: PLC0415
    from ocbundle.wreck import Wreck  # noqa: PLC0415

    destination = os.path.abspath(os.fsencode(to))
    _demand_nothing(destination)
    belongs = Owner.named(owner)
    known = known_identities(identities)
    with seekable(source, os.fsdecode(_existing(destination))) as file:
        remains = Remains(file)
        key = remains.unlock(known, passphrase, max_work_factor=max_work_factor)
        with Survivors() as survivors:
            wreck = Wreck(remains, key, survivors, max_total=max_total)
            wreck.explore(_Meter(progress, "scan", remains.length, None))
            if not survivors.count:
                raise ChecksumMismatch(
                    "the keys open, but nothing that tells the name of a file is left",
                    rule="R-4.12",
                    hint="the content may be: the specification's section 18 takes it out with age and zstd",
                )
            size = None if wreck.head is None else wreck.head.totals.size
            wreck.judge(_Meter(progress, "verify", size, survivors.count))
            layout = _Layout(wreck, survivors, remains.bundle_id or b"", now_ns=int(clock() * 1e9))
            done = restore.restore_tree(
                destination,
                layout.entries,
                layout.content,
                resolve=layout.resolve,
                owner=belongs,
                select=layout.is_wanted,
                progress=None if dry_run else progress,
                dry_run=dry_run,
            )
            return layout.report(destination, done, dry_run=dry_run)


def _demand_nothing(destination: bytes) -> None:
    with Guard(destination, "look at the destination"):
        try:
            is_empty = not os.listdir(destination)
        except FileNotFoundError:
            is_empty = not os.path.lexists(destination)
        except NotADirectoryError:
            is_empty = False
        if not is_empty:
            error = publish.failure(FileExistsError(errno.EEXIST, ""), destination, "salvage")
            error.hint = "name a directory that doesn't exist yet: nothing is mixed with what is salvaged"
            raise error


def _existing(path: bytes) -> bytes:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


@dataclass(slots=True)
class _Meter:
    """Adds up what was done, and tells a progress callback of it."""

    progress: ProgressCallback | None
    stage: str
    total_size: int | None
    total_entries: int | None
    size: int = 0
    entries: int = 0

    def __call__(self, size: int, entries: int) -> None:
        self.size += size
        self.entries += entries
        if self.progress is not None:
            self.progress(
                Progress(
                    stage=self.stage,
                    size=self.size,
                    total_size=self.total_size,
                    entries=self.entries,
                    total_entries=self.total_entries,
                )
            )


class _Layout:
    """Where everything goes: whole files to their roots, damaged ones beside them, and the list."""

    def __init__(self, wreck: Wreck, survivors: Survivors, bundle_id: bytes, *, now_ns: int) -> None:
        from ocbundle.survivors import Names  # noqa: PLC0415 - as above

        self._wreck = wreck
        self._survivors = survivors
        self._bundle_id = bundle_id.hex()
        names = dict(enumerate(survivors.names))
        taken = Names(survivors.names)
        self._beside = {index: taken.unique(names[index], DAMAGED) for index in sorted(wreck.damaged_roots)}
        self._beside_names = frozenset(self._beside.values())
        self._indices = {name: index for index, name in [*names.items(), *self._beside.items()]}
        self._list: Entry | None = None
        if set(wreck.conditions) - {Condition.WHOLE}:
            self._list = self._list_entry(taken.unique(LIST_NAME), now_ns)

    def entries(self) -> Iterator[Entry]:
        """Everything that is laid out, one root after the other."""
        for survivor in self._survivors:
            if survivor.condition in {Condition.WHOLE, Condition.UNCONFIRMED}:
                yield survivor.entry
        for survivor in self._survivors if self._beside else ():
            is_directory = survivor.entry.kind is Kind.DIRECTORY and survivor.condition is Condition.WHOLE
            if survivor.index in self._beside and (is_directory or survivor.condition is Condition.DAMAGED):
                yield self._aside(survivor)
        if self._list is not None:
            yield self._list

    def is_wanted(self, entry: Entry) -> bool:
        """Whether an entry is wanted by itself: a directory beside a root only comes along with what is in it."""
        return entry.kind is not Kind.DIRECTORY or entry.root not in self._beside_names

    def _aside(self, survivor: Survivor) -> Entry:
        """The entry beside the root, without the digest that it doesn't keep."""
        entry, _ = self._wreck.mended(survivor.entry)
        return entry.replace(root=self._beside[survivor.index], sha256=None)

    def resolve(self, link: Entry) -> Entry:
        """The file that a hard link is one to, where the link itself is."""
        found = self._survivors.find(self._indices[link.root], link.target or b"")
        if found is None:  # pragma: no cover - such a link was found to be lost
            raise Malformed("a hard link points to something that is no file", path=link.name, rule="R-9.12")
        return self._aside(found) if link.root in self._beside_names else found.entry

    def content(self, entry: Entry) -> Iterator[bytes]:
        """The bytes of a file; zeros where they are lost."""
        return self._list_lines() if entry is self._list else self._wreck.content(entry)

    # --- the list ---------------------------------------------------------------------------------------------------

    def _casualties(self) -> Iterator[Casualty]:
        for survivor in self._survivors.casualties():
            entry = survivor.entry
            yield Casualty(
                root=entry.root,
                path=entry.path,
                condition=survivor.condition,
                size=entry.size,
                note=survivor.note,
            )

    def _list_lines(self) -> Iterator[bytes]:
        yield _ABOUT.format(bundle_id=self._bundle_id).encode()
        for casualty in self._casualties():
            yield f"{casualty.condition:<14} {casualty.name}: {casualty.note}\n".encode()

    def _list_entry(self, name: str, now_ns: int) -> Entry:
        length = sum(map(len, self._list_lines()))
        return Entry(
            root=name,
            path=b"",
            kind=Kind.FILE,
            mode=0o600,
            uid=os.geteuid(),
            gid=os.getegid(),
            mtime_ns=now_ns,
            size=length,
            extents=(Extent(0, 0, length),),
        )

    # --- the report -------------------------------------------------------------------------------------------------

    def report(self, destination: bytes, done: Restored, *, dry_run: bool) -> SalvageReport:
        """What was done."""
        wreck, listed = self._wreck, self._list
        totals = None if wreck.head is None else wreck.head.totals
        told = self._survivors.count - wreck.remade
        return SalvageReport(
            path=os.fsdecode(destination),
            bundle_id=self._bundle_id,
            manifest=wreck.head,
            roots=tuple(map(os.fsdecode, done.roots)),
            entries=done.entries - (listed is not None),
            size=done.size - (listed.size if listed else 0),
            conditions=dict(wreck.conditions),
            casualties=tuple(itertools.islice(self._casualties(), REPORT_ROWS)),
            list_path=None if listed is None or dry_run else os.path.join(os.fsdecode(destination), listed.root),
            journaled=self._survivors.journaled(),
            remade=wreck.remade,
            unnamed=None if totals is None else max(0, totals.entries - told),
            segments=wreck.found(wire.SEGM),
            batches=wreck.found(wire.ENTR),
            framing=wreck.framing,
            warnings=done.warnings,
            dry_run=dry_run,
        )
