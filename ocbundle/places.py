"""Directories that roots are restored into, who will own what is restored there, and whether it has room.

Nothing here writes.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from ocbundle import limits, paths, publish
from ocbundle.errors import BundleError, InvalidRequest, NoSpace, TargetFailure
from ocbundle.model import Entry, Kind

Entries = Callable[[], Iterable[Entry]]
"""Gives all entries in their order, anew each time it is called."""
Content = Callable[[Entry], Iterable[bytes]]
"""Gives the verified bytes of a file's entry; raises where they aren't what the manifest says."""
Resolve = Callable[[Entry], Entry]
"""Gives the entry of the file that a hard link's entry names."""
Select = Callable[[Entry], bool]
"""Whether an entry is wanted; the directories above it come along."""

PER_ENTRY: Final = 4 * limits.KIB
"""Bytes that an entry takes beside its content, at a guess: an inode, a name, the rest of its last block."""

_NO_ID: Final = (1 << 32) - 1  # to chown, this number means: leave it


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """To whom the restored files belong."""

    uid: int | None = None
    gid: int | None = None
    by_number: bool = False

    @classmethod
    def self(cls) -> Owner:
        """Whoever runs this: nothing is changed."""
        return cls()

    @classmethod
    def user(cls, name: str) -> Owner:
        """The user *name* and its primary group.

        Raises:
            InvalidRequest: there is no such user, or it is another one and this isn't root.
        """
        try:
            record = pwd.getpwnam(name)
        except (KeyError, ValueError) as error:
            raise InvalidRequest(f"there is no user {paths.display(name)} here") from error
        if os.geteuid() not in {0, record.pw_uid}:
            raise InvalidRequest("only root can give files to another user", hint=f"run this as root, or as {name}")
        return cls(uid=record.pw_uid, gid=record.pw_gid)

    @classmethod
    def numeric(cls) -> Owner:
        """The numbers in the bundle; with them come the setuid, setgid and sticky bits."""
        return cls(by_number=True)

    @classmethod
    def named(cls, name: str) -> Owner:
        """``self``, ``numeric``, or a user's name.

        Raises:
            InvalidRequest: as :meth:`user`.
        """
        if name == "numeric":
            return cls.numeric()
        return cls.self() if name == "self" else cls.user(name)

    def ids(self, entry: Entry) -> tuple[int, int] | None:
        """The uid and gid that *entry* gets; ``None`` leaves them as they are."""
        if not self.by_number:
            return None if self.uid is None or self.gid is None else (self.uid, self.gid)
        if max(entry.uid, entry.gid) >= _NO_ID:
            raise TargetFailure(f"this system has no owner {entry.uid}:{entry.gid}", path=entry.name)
        return entry.uid, entry.gid

    def check(self, entry: Entry) -> None:
        """Refuse, before anything is written, an owner that this user can't give.

        Raises:
            TargetFailure: this isn't root, and *entry* belongs to somebody else.
        """
        if not self.by_number or entry.kind is Kind.HARDLINK:
            return
        ids = self.ids(entry)
        if ids is None or os.geteuid() == 0:
            return
        if ids[0] != os.geteuid() or ids[1] not in {os.getegid(), *os.getgroups()}:
            raise TargetFailure(
                f"only root can restore what belongs to {ids[0]}:{ids[1]}",
                path=entry.name,
                hint="run this as root, or leave the numeric owner out",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a root, or the wanted part of one, takes."""

    entries: int
    size: int
    """Logical bytes."""
    disk_size: int
    """The same without holes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A directory that roots are restored into, opened once: whatever happens to its path, *fd* stays the same."""

    path: bytes
    fd: int

    def holds(self, name: bytes) -> bool:
        """Whether anything has that name here, be it a dangling link."""
        with Guard(self.path, "look into the directory"):
            try:
                os.stat(name, dir_fd=self.fd, follow_symlinks=False)
            except FileNotFoundError:
                return False
        return True

    def free_space(self) -> tuple[int, int]:
        """The device, and the bytes that are free on it."""
        with Guard(self.path, "measure the free space"):
            return os.fstat(self.fd).st_dev, publish.free_space(self.fd)


class Guard:
    """Turns an OSError inside its block into a typed error about *path*, or about *entry* restored below it."""

    __slots__ = ("_doing", "_entry", "_path")

    def __init__(self, path: bytes, doing: str = "restore", entry: Entry | None = None) -> None:
        self._path = path
        self._doing = doing
        self._entry = entry

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let everything else than an OSError through."""
        if isinstance(error, OSError):
            raise self.failure(error) from error

    def failure(self, error: OSError) -> BundleError:
        """What to raise for *error*, where a ``with`` block would cost too much."""
        # Staging began empty and paths are unique: a name is taken only where two names are one.
        if self._entry is not None and isinstance(error, FileExistsError):
            return TargetFailure(
                "this file system can't tell its name from another one's",
                path=self._entry.name,
                hint="choose a place on a file system that keeps case and Unicode form apart",
            )
        found = publish.failure(error, self._path, self._doing)
        if self._entry is not None:
            found.path = self._entry.name
        return found


def survey(entries: Entries, *, owner: Owner, select: Select | None = None) -> dict[str, Need]:
    """What each root takes, by name, as far as it is wanted; nothing is written.

    Raises:
        TargetFailure: *owner* can't be given.
    """
    tallies: dict[str, list[int]] = {}
    for entry in entries():
        if select is None or select(entry):
            owner.check(entry)
            tally = tallies.setdefault(entry.root, [0, 0, 0])
            tally[0] += 1
            tally[1] += entry.size
            tally[2] += sum(extent.length for extent in entry.extents if extent.segment is not None)
    for root in tallies:
        paths.check_root_name(root)
    return {root: Need(entries=tally[0], size=tally[1], disk_size=tally[2]) for root, tally in tallies.items()}


def check_space(needs: Mapping[str, Need], places: Mapping[str, Place]) -> None:
    """Compare what the roots take with what is free, on each file system concerned.

    Raises:
        NoSpace: it isn't enough.
    """
    found = {root: places[root].free_space() for root in needs if root in places}
    wanted_on = dict.fromkeys((device for device, _ in found.values()), 0)
    for root, (device, _) in found.items():
        wanted_on[device] += needs[root].disk_size + PER_ENTRY * needs[root].entries
    for root, (device, free) in found.items():
        if wanted_on[device] > free:
            mount = paths.display(publish.mount_point(places[root].path))
            sizes = f"{wanted_on[device] / limits.MIB:,.1f} MiB needed, {free / limits.MIB:,.1f} MiB free"
            raise NoSpace(
                f"{sizes} on the file system mounted at {mount}",
                path=paths.display(places[root].path),
                hint="free some space there, or choose a place on another file system",
            )
