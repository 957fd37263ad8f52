"""Trees on their way to a place: private directories beside it, filled by descriptor, then renamed.

Implements section 10 of the specification. Never resolves a string path below the place it was
given, never follows a symbolic link, never shows half a tree.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from ocbundle import attributes, paths, publish
from ocbundle.attributes import Names
from ocbundle.descent import Descent, Frame, basename, close, leads_out, make_directories, open_made
from ocbundle.errors import Malformed, TargetFailure
from ocbundle.model import Entry, Kind, Progress, ProgressCallback
from ocbundle.places import Content, Entries, Guard, Need, Owner, Place, Resolve, Select
from ocbundle.stages import Stage

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_KINDS: Final = frozenset(Kind)
_NO_HARD_LINKS: Final = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}


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
        self._stages: dict[str, Stage] = {}
        self._entries: Entries = tuple
        self._select: Select | None = None
        self._progress: ProgressCallback | None = None
        self._total_size: int | None = None
        self._total_entries: int | None = None
        self._tally = _Tally()
        self._names = Names()
        self._is_kept = False

    def __enter__(self) -> Self:
        """Create the directories.

        Raises:
            TargetFailure: a place can't be written to.
        """
        by_fd: dict[int, Stage] = {}
        try:
            for root, place in self._places.items():
                paths.check_root_name(root)
                if place.fd not in by_fd:
                    left = publish.leftovers(place.path)
                    self._tally.leftovers += [path for path in left if path.endswith(b".staging")]
                    by_fd[place.fd] = Stage(place)
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

    def keep(self) -> None:
        """Leave everything where it is at the end: a log tells what becomes of it."""
        self._is_kept = True

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
        with Descent(close) as descent:
            for entry, stage, wanted in self._walk(descent, _KINDS):
                if entry.kind is Kind.DIRECTORY:
                    descent.frames.append(Frame(entry, -1))
                if not wanted:
                    continue
                self.entries += 1
                # Also for a symbolic link, whose turn comes later: its parent may hold nothing else that is wanted.
                parent = make_directories(descent, stage)
                name = basename(entry)
                if entry.kind is Kind.FILE:
                    self._file(stage, parent, name, entry, content)
                elif entry.kind is Kind.HARDLINK and not self._hard_link(stage, descent, parent, name, entry):
                    self._file(stage, parent, name, resolve(entry), content)
        self._advance(0)

    def finish(self) -> None:
        """Make the symbolic links, give directories their owner, mode and times, and sync.

        Deepest first: nothing can be created in a directory that is read-only already.
        """
        with Descent(self._leave_directory) as descent:
            for entry, stage, wanted in self._walk(descent, {Kind.DIRECTORY, Kind.SYMLINK}):
                parent = descent.frames[-1].fd if descent.frames else stage.fd
                if entry.kind is Kind.DIRECTORY:
                    descent.frames.append(Frame(entry, open_made(stage, parent, entry)))
                elif entry.kind is Kind.SYMLINK and wanted:
                    self._symlink(stage, parent, basename(entry), entry)
        for stage in set(self._stages.values()):
            with Guard(stage.path, "sync the file system"):
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
        with Guard(stage.path, "find the staging directory again"):
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
                with Guard(move.target, "publish"):
                    tried.append((move, os.stat(move.name, dir_fd=move.fd, follow_symlinks=False)))
                    publish.rename_noreplace(move.fd, move.name, move.place.fd, move.new_name)
            for place in {move.place.fd: move.place for move in moves}.values():
                with Guard(place.path, "sync the directory"):
                    publish.sync_directory(place.fd)
        except BaseException as error:
            for move, status in reversed(tried):
                _take_back(move, status, error)
            raise

    def _walk(self, descent: Descent, kinds: Collection[Kind]) -> Iterator[tuple[Entry, Stage, bool]]:
        """The entries of *kinds*, with the stage that each belongs to, and whether it is wanted."""
        select = self._select
        for entry in self._entries():
            stage = self._stages.get(entry.root)
            if stage is not None and entry.kind in kinds:
                descent.leave_for(entry)
                yield entry, stage, select is None or select(entry)

    def _file(self, stage: Stage, parent: int, name: bytes, entry: Entry, content: Content) -> None:
        if entry.kind is not Kind.FILE:
            raise Malformed("a hard link to something else than a file", path=entry.name, rule="R-9.12")
        written = 0
        has_holes = None in [extent.segment for extent in entry.extents]
        pieces = content(entry)
        # What goes wrong with the content is no error of this place, and a Guard for each call takes too long here.
        try:
            fd = os.open(name, _CREATE, 0o600, dir_fd=parent)
        except OSError as error:
            raise Guard(stage.path, entry=entry).failure(error) from error
        try:
            for piece in pieces:
                written += len(piece)
                if written > entry.size:
                    break
                try:
                    if has_holes and piece == bytes(len(piece)):
                        os.lseek(fd, len(piece), os.SEEK_CUR)
                    else:
                        publish.write_all(fd, piece)
                except OSError as error:
                    raise Guard(stage.path, entry=entry).failure(error) from error
                self._advance(len(piece))
            if written != entry.size:
                raise Malformed("a file's content isn't as long as its entry says", path=entry.name, rule="R-9.10")
            try:
                if has_holes:
                    os.ftruncate(fd, entry.size)
                self._dress(fd, entry)
            except OSError as error:
                raise Guard(stage.path, entry=entry).failure(error) from error
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
        # After the owner: a change of owner clears setuid and setgid.
        by_number = self._owner.by_number
        mode = entry.mode if by_number else entry.mode & 0o777
        self._tally.special += mode != entry.mode
        if entry.xattrs or entry.acl or entry.default_acl:
            unset = attributes.set_all(fd, entry, mode, names=None if by_number else self._names)
            self._tally.xattrs += unset.xattrs
            self._tally.lists += unset.lists
            self._tally.grants += unset.grants
        else:
            os.fchmod(fd, mode)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))

    def _leave_directory(self, frame: Frame) -> None:
        if frame.fd >= 0:
            try:
                with Guard(self._stages[frame.entry.root].path, entry=frame.entry):
                    self._dress(frame.fd, frame.entry)
            finally:
                os.close(frame.fd)

    def _symlink(self, stage: Stage, parent: int, name: bytes, entry: Entry) -> None:
        target = entry.target or b""
        if leads_out(entry.path, target):
            self._tally.links_out += 1
            self._tally.link_out = self._tally.link_out or f"{entry.name} -> {paths.display(target)}"
        with Guard(stage.path, entry=entry):
            os.symlink(target, name, dir_fd=parent)
            ids = self._owner.ids(entry)
            if ids is not None:
                os.chown(name, *ids, dir_fd=parent, follow_symlinks=False)
            os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _hard_link(self, stage: Stage, descent: Descent, parent: int, name: bytes, entry: Entry) -> bool:
        """Whether the link could be made. No symbolic link is there yet, so a link can't be one to it."""
        paths.check(entry.target or b"")
        *above, last = (entry.target or b"").split(b"/")
        with Guard(stage.path, entry=entry), contextlib.ExitStack() as opened:
            try:
                fd = descent.frames[0].fd
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
        # Also after an interrupt in the midst of one, the others are removed.
        with contextlib.ExitStack() as stack:
            for stage in set(self._stages.values()):
                stack.callback(self._remove_one, stage, error)

    def _remove_one(self, stage: Stage, error: BaseException | None) -> None:
        try:
            stage.close() if self._is_kept else stage.remove()
        except OSError:
            if error is None:
                self._tally.leftovers.append(stage.path)
            else:
                publish.name_leftover(error, stage.path)


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
    lists: int = 0
    grants: int = 0
    copies: int = 0
    links_out: int = 0
    link_out: str = ""
    leftovers: list[bytes] = field(default_factory=list)

    def warnings(self) -> tuple[str, ...]:
        special = _counted(self.special, "entry", "entries")
        copies = _counted(self.copies, "hard link became a copy", "hard links became copies")
        lists = _counted(self.lists, "access control list", "access control lists")
        grants = _counted(self.grants, "entry of an access control list", "entries of access control lists")
        links = _counted(self.links_out, "symbolic link points out of its", "symbolic links point out of their")
        lines = [
            (self.special, f"setuid, setgid or sticky bits left out of {special}"),
            (self.xattrs, f"{_counted(self.xattrs, 'extended attribute', 'extended attributes')} couldn't be set"),
            (self.lists, f"{lists} couldn't be set: modes are narrowed to fit"),
            (self.grants, f"{grants} left out: no user or group has that name here"),
            (self.copies, f"{copies}: the file system has none"),
            (self.links_out, f"{links} tree, such as {self.link_out}"),
        ]
        left = tuple(f"left behind by a run that was killed: {paths.display(path)}" for path in self.leftovers)
        return tuple(line for count, line in lines if count) + left


def _take_back(move: _Move, status: os.stat_result, error: BaseException) -> None:
    """Undo *move* if it was done: what has the new name may be somebody else's."""
    try:
        if os.path.samestat(status, os.stat(move.new_name, dir_fd=move.place.fd, follow_symlinks=False)):
            publish.rename_noreplace(move.place.fd, move.new_name, move.fd, move.name)
    except FileNotFoundError:
        pass
    except OSError:
        publish.name_leftover(error, move.target)


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
