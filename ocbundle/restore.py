"""Entries and bytes into directories: staged first, by directory descriptors, published when the caller says so.

Implements the restoring half of section 13 of the specification. Never resolves a string path below the place it was
given, never follows a symbolic link, never merges into what is there, never shows half a tree.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from ocbundle import limits, paths, publish
from ocbundle.errors import EntryMissing, InvalidRequest, Malformed, NoSpace, TargetFailure
from ocbundle.model import Entry, Kind, Progress, ProgressCallback

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

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_NO_ID: Final = (1 << 32) - 1  # to chown, this number means: leave it
_NO_HARD_LINKS: Final = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}


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

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: str | bytes) -> Iterator[Place]:
        """Open the directory *path*, and close it at the end of the ``with`` block.

        Raises:
            TargetFailure: it isn't there, isn't a directory, or can't be read.
        """
        where = os.fsencode(path)
        try:
            fd = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise publish.failure(error, where, "open the directory") from error
        try:
            yield cls(path=where, fd=fd)
        finally:
            os.close(fd)

    def holds(self, name: bytes) -> bool:
        """Whether anything has that name here, be it a dangling link."""
        with _Guard(self.path, "look into the directory"):
            try:
                os.stat(name, dir_fd=self.fd, follow_symlinks=False)
            except FileNotFoundError:
                return False
        return True

    def free_space(self) -> tuple[int, int]:
        """The device, and the bytes that are free on it."""
        with _Guard(self.path, "measure the free space"):
            return os.fstat(self.fd).st_dev, publish.free_space(self.fd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was restored."""

    roots: tuple[bytes, ...]
    """Where each root now is."""
    entries: int
    size: int
    """Logical bytes written."""
    warnings: tuple[str, ...]


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


def restore_tree(
    destination: str | bytes,
    entries: Entries,
    content: Content,
    *,
    resolve: Resolve,
    owner: Owner,
    select: Select | None = None,
    progress: ProgressCallback | None = None,
    before_publish: Callable[[], None] | None = None,
    dry_run: bool = False,
) -> Restored:
    """Restore each root at ``destination/<root>``, all of them or none.

    *destination* is created (0700), or is a directory that has none of the roots yet. *before_publish* is called when
    everything is staged; nothing appears if it raises. With *dry_run* nothing is written.

    Raises:
        EntryMissing: nothing is wanted.
        TargetExists: one of the roots is there already.
        NoSpace: there isn't enough room; found before anything is written, where it can be.
        TargetFailure: *destination* can't be written to, or can't hold the entries.
        Malformed: an entry's parent isn't a directory before it.
    """
    where = os.fsencode(destination)
    needs = survey(entries, owner=owner, select=select)
    if not needs:
        raise EntryMissing("there is nothing of that name in the bundle")
    # A dangling link counts as there, and fails to open.
    whole = not os.path.lexists(where)
    directory, name = os.path.split(where.rstrip(b"/")) if whole else (where, b"")
    with Place.open(directory or b".") as place:
        for root in needs:
            if not whole and place.holds(root.encode()):
                raise publish.failure(FileExistsError(errno.EEXIST, ""), os.path.join(where, root.encode()), "restore")
        places = dict.fromkeys(needs, place)
        check_space(needs, places)
        where_to = tuple(os.path.join(where, root.encode()) for root in needs)
        if dry_run:
            if not os.access(place.path, os.W_OK | os.X_OK):
                raise publish.failure(PermissionError(errno.EACCES, ""), place.path, "write to the directory")
            sizes = [(need.entries, need.size) for need in needs.values()]
            entries_in_all, size = (sum(column) for column in zip(*sizes, strict=True))
            return Restored(roots=where_to, entries=entries_in_all, size=size, warnings=())
        with Staging(places, owner=owner) as staging:
            staging.fill(entries, content, resolve=resolve, select=select, progress=progress, needs=needs)
            staging.finish()
            if before_publish is not None:
                before_publish()
            if whole:
                staging.publish_whole(name)
            else:
                staging.publish({root: root.encode() for root in needs})
        return Restored(
            roots=where_to,
            entries=staging.entries,
            size=staging.size,
            warnings=staging.warnings(),
        )


class Staging:
    """Private directories (0700), one in each place, that hold the roots until they are published.

    The order is :meth:`fill`, then whatever the caller changes in the staged files (directories are still 0700 and this
    user's, symbolic links aren't there yet), then :meth:`finish`, then publishing. Leaving the ``with`` block removes
    what wasn't published.
    """

    def __init__(self, places: Mapping[str, Place], *, owner: Owner) -> None:
        self.entries = 0
        self.size = 0
        self._places = places
        self._owner = owner
        self._stages: dict[str, _Stage] = {}
        self._entries: Entries = tuple
        self._select: Select | None = None
        self._progress: ProgressCallback | None = None
        self._total_size: int | None = None
        self._total_entries: int | None = None
        self._tally = _Tally()

    def __enter__(self) -> Self:
        """Create the directories.

        Raises:
            TargetFailure: a place can't be written to.
        """
        by_fd: dict[int, _Stage] = {}
        try:
            for root, place in self._places.items():
                paths.check_root_name(root)
                if place.fd not in by_fd:
                    left = publish.leftovers(place.path)
                    self._tally.leftovers += [path for path in left if path.endswith(b".staging")]
                    by_fd[place.fd] = _Stage(place)
                self._stages[root] = by_fd[place.fd]
                self._stages[root].create()
        except BaseException as error:
            self._remove(error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove what wasn't published; what can't be removed is named in the error, or in a warning."""
        self._remove(error)

    def path(self, root: str) -> bytes:
        """Where *root* is staged."""
        stage = self._stages[root]
        return os.path.join(stage.place.path, stage.name, root.encode())

    def directory(self, root: str) -> int:
        """The descriptor of the directory in which *root* is staged under its own name."""
        return self._stages[root].fd

    def warnings(self) -> tuple[str, ...]:
        """What couldn't be kept, each in a line."""
        return self._tally.warnings()

    def fill(
        self,
        entries: Entries,
        content: Content,
        *,
        resolve: Resolve,
        select: Select | None = None,
        progress: ProgressCallback | None = None,
        needs: Mapping[str, Need] | None = None,
    ) -> None:
        """Stage directories, files and hard links; entries of a root that has no place are passed over.

        *needs* gives *progress* its totals. A hard link whose target isn't wanted, or whose file system has no hard
        links, gets the content itself.

        Raises:
            Malformed: a parent isn't a directory before its child, or *content* has another length than promised.
            NoSpace: the file system is full.
            TargetFailure: an entry can't be created, for instance because the file system folds two names into one.
        """
        self._entries, self._select = entries, select
        self._progress = progress
        if needs is not None:
            self._total_size = sum(need.size for need in needs.values())
            self._total_entries = sum(need.entries for need in needs.values())
        with _Walk(_close) as walk:
            for entry, stage, wanted in self._walk(walk):
                if entry.kind is Kind.DIRECTORY:
                    walk.frames.append(_Frame(entry, -1))
                if not wanted:
                    continue
                self.entries += 1
                # Also for a symbolic link, whose turn comes later: its parent may hold nothing else that is wanted.
                parent = _make_directories(walk, stage)
                name = _basename(entry)
                if entry.kind is Kind.FILE:
                    self._file(stage, parent, name, entry, content)
                elif entry.kind is Kind.HARDLINK and not self._hard_link(stage, walk, parent, name, entry):
                    self._file(stage, parent, name, resolve(entry), content)
        self._advance(0)

    def finish(self) -> None:
        """Make the symbolic links, give directories their owner, mode and times, and sync.

        Deepest first: nothing can be created in a directory that is read-only already.
        """
        with _Walk(self._leave_directory) as walk:
            for entry, stage, wanted in self._walk(walk):
                parent = walk.frames[-1].fd if walk.frames else stage.fd
                if entry.kind is Kind.DIRECTORY:
                    walk.frames.append(_Frame(entry, _open_made(stage, parent, entry)))
                elif entry.kind is Kind.SYMLINK and wanted:
                    self._symlink(stage, parent, _basename(entry), entry)
        for stage in set(self._stages.values()):
            with _Guard(stage.path, "sync the file system"):
                publish.sync_tree(stage.fd)

    def publish(self, names: Mapping[str, bytes]) -> None:
        """Rename each staged root to its name in its place, all of them or none.

        Raises:
            TargetExists: something has that name.
        """
        self._publish(
            [
                _Move(stage.fd, root.encode(), stage.place, name)
                for root, name in names.items()
                for stage in [self._stages[root]]
            ]
        )

    def publish_whole(self, name: bytes) -> None:
        """Rename the one staging directory itself to *name*, in its place.

        Raises:
            TargetExists: something has that name.
        """
        (stage,) = set(self._stages.values())
        with _Guard(stage.path, "find the staging directory again"):
            status = os.stat(stage.name, dir_fd=stage.place.fd, follow_symlinks=False)
            is_ours = os.path.samestat(status, os.fstat(stage.fd))
            if self._owner.uid is not None and self._owner.gid is not None:
                os.fchown(stage.fd, self._owner.uid, self._owner.gid)
        if not is_ours:
            raise TargetFailure("another process replaced the staging directory", path=paths.display(stage.path))
        # Before the rename: an interrupt right after it must not empty what is published.
        stage.is_published = True
        try:
            self._publish([_Move(stage.place.fd, stage.name, stage.place, name)])
        except BaseException:
            stage.is_published = False
            raise

    def _publish(self, moves: list[_Move]) -> None:
        tried: list[tuple[_Move, os.stat_result]] = []
        try:
            for move in moves:
                with _Guard(move.target, "publish"):
                    tried.append((move, os.stat(move.name, dir_fd=move.fd, follow_symlinks=False)))
                    publish.rename_noreplace(move.fd, move.name, move.place.fd, move.new_name)
            for place in {move.place.fd: move.place for move in moves}.values():
                with _Guard(place.path, "sync the directory"):
                    publish.sync_directory(place.fd)
        except BaseException as error:
            for move, status in reversed(tried):
                _take_back(move, status, error)
            raise

    def _walk(self, walk: _Walk) -> Iterator[tuple[Entry, _Stage, bool]]:
        select = self._select
        for entry in self._entries():
            stage = self._stages.get(entry.root)
            if stage is not None:
                walk.leave_for(entry)
                yield entry, stage, select is None or select(entry)

    def _file(self, stage: _Stage, parent: int, name: bytes, entry: Entry, content: Content) -> None:
        if entry.kind is not Kind.FILE:
            raise Malformed("a hard link to something else than a file", path=entry.name, rule="R-9.12")
        guard = _Guard(stage.path, entry=entry)
        with guard:
            fd = os.open(name, _CREATE, 0o600, dir_fd=parent)
        try:
            written = 0
            has_holes = any(extent.segment is None for extent in entry.extents)
            for chunk in content(entry):
                written += len(chunk)
                if written > entry.size:
                    break
                with guard:
                    if has_holes and chunk.count(0) == len(chunk):
                        os.lseek(fd, len(chunk), os.SEEK_CUR)
                    else:
                        publish.write_all(fd, chunk)
                self._advance(len(chunk))
            if written != entry.size:
                raise Malformed("a file's content isn't as long as its entry says", path=entry.name, rule="R-9.10")
            with guard:
                if has_holes:
                    os.ftruncate(fd, entry.size)
                self._dress(fd, entry)
        finally:
            os.close(fd)

    def _advance(self, length: int) -> None:
        self.size += length
        if self._progress is not None:
            self._progress(
                Progress(
                    stage="unpack",
                    size=self.size,
                    total_size=self._total_size,
                    entries=self.entries,
                    total_entries=self._total_entries,
                )
            )

    def _dress(self, fd: int, entry: Entry) -> None:
        """Give *fd* the owner, attributes, mode and times of *entry*."""
        ids = self._owner.ids(entry)
        if ids is not None:
            os.fchown(fd, *ids)
        for name, value in entry.xattrs:
            if not name.startswith(b"user."):
                raise Malformed("an extended attribute outside of user.*", path=entry.name)
            try:
                os.setxattr(fd, name, value)
            except OSError:  # no such attributes here, or no room for this one: the content matters more
                self._tally.xattrs += 1
        # After the owner: a change of owner clears setuid and setgid.
        if self._owner.by_number:
            os.fchmod(fd, entry.mode)
        else:
            self._tally.special += entry.mode > 0o777
            os.fchmod(fd, entry.mode & 0o777)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))

    def _leave_directory(self, frame: _Frame) -> None:
        if frame.fd >= 0:
            try:
                with _Guard(self._stages[frame.entry.root].path, entry=frame.entry):
                    self._dress(frame.fd, frame.entry)
            finally:
                os.close(frame.fd)

    def _symlink(self, stage: _Stage, parent: int, name: bytes, entry: Entry) -> None:
        target = entry.target or b""
        if _leads_out(entry.path, target):
            self._tally.links_out += 1
            self._tally.link_out = self._tally.link_out or f"{entry.name} -> {paths.display(target)}"
        with _Guard(stage.path, entry=entry):
            os.symlink(target, name, dir_fd=parent)
            ids = self._owner.ids(entry)
            if ids is not None:
                os.chown(name, *ids, dir_fd=parent, follow_symlinks=False)
            os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _hard_link(self, stage: _Stage, walk: _Walk, parent: int, name: bytes, entry: Entry) -> bool:
        """Whether the link could be made. No symbolic link is there yet, so a link can't be one to it."""
        paths.check(entry.target or b"")
        *above, last = (entry.target or b"").split(b"/")
        with _Guard(stage.path, entry=entry), contextlib.ExitStack() as opened:
            try:
                fd = walk.frames[0].fd
                for component in above:
                    fd = os.open(component, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                    opened.callback(os.close, fd)
                os.link(last, name, src_dir_fd=fd, dst_dir_fd=parent, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                return False
            except OSError as error:
                if error.errno not in _NO_HARD_LINKS:
                    raise
                self._tally.copies += 1
                return False
        return True

    def _remove(self, error: BaseException | None) -> None:
        for stage in set(self._stages.values()):
            try:
                stage.remove()
            except OSError:
                if error is None:
                    self._tally.leftovers.append(stage.path)
                else:
                    publish.name_leftover(error, stage.path)


class _Stage:
    """One staging directory."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.name = publish.STAGING % secrets.token_hex(8).encode()
        self.path = os.path.join(place.path, self.name)
        self.fd = -1
        self.is_published = False

    def create(self) -> None:
        if self.fd >= 0:
            return
        with _Guard(self.path, "create the staging directory"):
            os.mkdir(self.name, 0o700, dir_fd=self.place.fd)
            with contextlib.ExitStack() as undo:
                fd = publish.open_directory(self.place.fd, self.name)
                undo.callback(os.close, fd)
                # Whoever may rename in the place could have put another directory there: not to be filled, nor emptied.
                if os.fstat(fd).st_uid != os.geteuid() or os.listdir(fd):
                    raise TargetFailure(
                        "the new staging directory isn't this user's, or isn't empty",
                        path=paths.display(self.path),
                        hint="choose a place on a file system that keeps owners, where only you may write",
                    )
                self.fd = fd
                undo.pop_all()
        publish.lock(self.fd)
        # What is created inside would inherit these lists, and a setgid bit, and be open to more people than its mode
        # says.
        for attribute in ("system.posix_acl_default", "system.posix_acl_access"):
            with contextlib.suppress(OSError):
                os.removexattr(self.fd, attribute)
        with _Guard(self.path, "close the staging directory to others"):
            os.fchmod(self.fd, 0o700)

    def remove(self) -> None:
        """Remove it with all that is left in it, by its descriptor: its name may be another directory's by now."""
        fd, self.fd = self.fd, -1
        if fd < 0:
            with contextlib.suppress(OSError):
                os.rmdir(self.name, dir_fd=self.place.fd)
            return
        try:
            if not self.is_published:
                _empty(fd)
                os.rmdir(self.name, dir_fd=self.place.fd)
        finally:
            os.close(fd)


@dataclass(frozen=True, slots=True)
class _Move:
    fd: int
    name: bytes
    place: Place
    new_name: bytes

    @property
    def target(self) -> bytes:
        return os.path.join(self.place.path, self.new_name)


@dataclass(slots=True)
class _Tally:
    """What couldn't be kept, counted: a line for each of a million files would help nobody."""

    special: int = 0
    xattrs: int = 0
    copies: int = 0
    links_out: int = 0
    link_out: str = ""
    leftovers: list[bytes] = field(default_factory=list)

    def warnings(self) -> tuple[str, ...]:
        lines = [
            (self.special, f"setuid, setgid or sticky bits left out of {self.special} entries"),
            (self.xattrs, f"{self.xattrs} extended attributes couldn't be set"),
            (self.copies, f"{self.copies} hard links became copies: the file system has none"),
            (self.links_out, f"{self.links_out} symbolic links point out of their tree, such as {self.link_out}"),
        ]
        left = tuple(f"left behind by a run that was killed: {paths.display(path)}" for path in self.leftovers)
        return tuple(line for count, line in lines if count) + left


class _Guard:
    """Turns an OSError inside its block into a typed error about *path*, or about *entry* restored below it."""

    __slots__ = ("_doing", "_entry", "_path")

    def __init__(self, path: bytes, doing: str = "restore", entry: Entry | None = None) -> None:
        self._path = path
        self._doing = doing
        self._entry = entry

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not isinstance(error, OSError):
            return
        if self._entry is None:
            raise publish.failure(error, self._path, self._doing) from error
        # Staging began empty and paths are unique: a name is taken only where two names are one.
        if isinstance(error, FileExistsError):
            raise TargetFailure(
                "this file system can't tell its name from another one's",
                path=self._entry.name,
                hint="choose a place on a file system that keeps case and Unicode form apart",
            ) from error
        found = publish.failure(error, self._path, self._doing)
        found.path = self._entry.name
        raise found from error


@dataclass(slots=True)
class _Frame:
    """A directory on the way down to where a walk is; its *fd* is -1 until it's made, or when it isn't restored."""

    entry: Entry
    fd: int


class _Walk:
    """The directories from a root down to where a walk is. It trusts no order: a parent is there, or it's an error."""

    def __init__(self, leave: Callable[[_Frame], None]) -> None:
        self.frames: list[_Frame] = []
        self._leave = leave

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            while error is None and self.frames:
                self._leave(self.frames.pop())
        finally:
            for frame in self.frames:
                _close(frame)

    def leave_for(self, entry: Entry) -> None:
        """Leave the directories that don't hold *entry*, so that its parent is on top; over a root there is none.

        Raises:
            Malformed: the parent isn't a directory of the same root that stood before it (R-9.8).
                A file can't be written through a symbolic link, because a link is never a parent.
        """
        paths.check(entry.path)
        frames = self.frames
        if frames and (not entry.path or frames[0].entry.root != entry.root):
            self._leave_above(0)
        above = paths.parent(entry.path)
        while frames and frames[-1].entry.path != above:
            self._leave_above(len(frames) - 1)
        if entry.path and not frames:
            raise Malformed("its parent isn't a directory before it", path=entry.name, rule="R-9.8")
        if not entry.path and entry.kind not in {Kind.DIRECTORY, Kind.FILE}:
            raise Malformed("a root is neither a directory nor a file", path=entry.name, rule="R-9.8")

    def _leave_above(self, depth: int) -> None:
        while len(self.frames) > depth:
            self._leave(self.frames.pop())


def _close(frame: _Frame) -> None:
    if frame.fd >= 0:
        os.close(frame.fd)


def _make_directories(walk: _Walk, stage: _Stage) -> int:
    """Make the directories on the way that aren't there yet; return the descriptor of the last."""
    frames = walk.frames
    if frames and frames[-1].fd >= 0:
        return frames[-1].fd
    fd = stage.fd
    for frame in frames:
        if frame.fd < 0:
            with _Guard(stage.path, entry=frame.entry):
                name = _basename(frame.entry)
                os.mkdir(name, 0o700, dir_fd=fd)
                frame.fd = publish.open_directory(fd, name)
        fd = frame.fd
    return fd


def _open_made(stage: _Stage, parent: int, entry: Entry) -> int:
    """The descriptor of the directory *entry*, -1 if nothing in it was wanted."""
    if parent < 0:
        return -1
    with _Guard(stage.path, entry=entry):
        try:
            return publish.open_directory(parent, _basename(entry))
        except FileNotFoundError:
            return -1


def _basename(entry: Entry) -> bytes:
    return entry.path.rpartition(b"/")[2] or entry.root.encode()


def _leads_out(path: bytes, target: bytes) -> bool:
    """Whether a symbolic link at *path* names something outside of its root, going by the names alone."""
    if target.startswith(b"/"):
        return True
    depth = path.count(b"/")
    for component in target.split(b"/"):
        if component == b"..":
            depth -= 1
        elif component not in {b"", b"."}:
            depth += 1
        if depth < 0:
            return True
    return False


def _empty(fd: int) -> None:
    """Remove all that is in the directory *fd*."""
    with os.scandir(fd) as children:
        found = [(os.fsencode(child.name), child.is_dir(follow_symlinks=False)) for child in children]
    for name, is_directory in found:
        if not is_directory:
            os.unlink(name, dir_fd=fd)
            continue
        inner = publish.open_directory(fd, name)
        try:
            os.fchmod(inner, 0o700)
            _empty(inner)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=fd)


def _take_back(move: _Move, status: os.stat_result, error: BaseException) -> None:
    """Undo *move* if it was done: what has the new name may be somebody else's."""
    try:
        if os.path.samestat(status, os.stat(move.new_name, dir_fd=move.place.fd, follow_symlinks=False)):
            publish.rename_noreplace(move.place.fd, move.new_name, move.fd, move.name)
    except FileNotFoundError:
        pass
    except OSError:
        publish.name_leftover(error, move.target)
