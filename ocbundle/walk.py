"""The walk over directories: what is there, in order, and why something is left out.

Names come in the order that section 9.4 of the specification demands of entries. The walk goes by directory descriptors
and never follows a symbolic link below a source, so a directory that is swapped for a link underway leads nowhere. It
reads no file's content, and it decides nothing about OpenClaw: rules come with each source.
"""

from __future__ import annotations

import abc
import errno
import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ocbundle import attributes, databases, limits, paths
from ocbundle.attributes import Attributes, Names
from ocbundle.errors import SourceFailure, SourceMissing
from ocbundle.model import Kind, ProgressCallback, Reason
from ocbundle.sources import Leave, Rules, Sensitivity, Source
from ocbundle.tally import EntrySink, ScanResult, Tally

# Windows has few of these, and can import this.
_CLOSED: Final[int] = getattr(os, "O_CLOEXEC", 0)
_OPEN: Final[int] = os.O_RDONLY | _CLOSED | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_DIRECTORY: Final[int] = getattr(os, "O_DIRECTORY", 0)
_NO_ATIME: Final[int] = getattr(os, "O_NOATIME", 0)
_SEARCH: Final[int] = getattr(os, "O_PATH", os.O_RDONLY) | _DIRECTORY | _CLOSED
"""A source's parent need not be readable: ``/home`` often isn't."""
_OF_A_LINK: Final = Attributes(mode=0o777)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A source, with its own symbolic links resolved."""

    source: Source
    path: bytes
    identity: tuple[int, int]
    kind: str


@dataclass(slots=True, kw_only=True)
class Directory:
    """A directory that is being walked."""

    fd: int
    path: bytes
    """Absolute; for what can't be reached by descriptor."""
    prefix: bytes
    names: Iterator[bytes]
    kinds: dict[bytes, str]
    """Of the names that aren't regular files."""
    databases: dict[bytes, bool]
    """Databases met so far, and whether they were taken through SQLite."""


class Walk(Tally, abc.ABC):
    """A walk over some sources; a subclass says what becomes of a regular file.

    What happens to each path is recorded by the methods of :class:`~ocbundle.tally.Tally`.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        sink: EntrySink,
        *,
        own: Collection[tuple[int, int]],
        replaced: Collection[tuple[int, int]],
        progress: ProgressCallback | None,
        totals: ScanResult | None = None,
    ) -> None:
        self.trees = [_resolve(source) for source in sources]
        self._roots: dict[tuple[int, int], str] = {}
        for tree in self.trees:
            self._roots.setdefault(tree.identity, tree.source.name)
        _demand_readable(self.trees)
        super().__init__(sink, progress=progress, totals=totals)
        self._rules: Rules | None = None
        self._names = Names()
        self.own = frozenset(own)
        self.replaced = frozenset(replaced)

    @abc.abstractmethod
    def file(self, directory: Directory, name: bytes, path: bytes, sensitivity: Sensitivity) -> None:
        """Take the regular file *name* of *directory*, which is *path* in its root."""

    def enter_root(self) -> None:
        """Forget what was remembered of another root."""

    def run(self) -> ScanResult:
        """Walk every source, in the order given."""
        for tree in self.trees:
            self._walk(tree)
            self.close_root()
        return self.result()

    # --- what is there ----------------------------------------------------------------------------------------------

    def _walk(self, tree: Tree) -> None:
        self.root = tree.source.name
        self._rules = tree.source.rules
        self.enter_root()
        if self._roots[tree.identity] != self.root:
            self.skip(b"", tree.kind, Reason.NESTED, f"the same as {self._roots[tree.identity]}")
            return
        parent, name = os.path.split(tree.path)
        name = name or b"."  # of the directory that has no name
        try:
            fd = os.open(parent, _SEARCH)
        except OSError as error:
            self.fail(b"", tree.kind, error)
            return
        above = Directory(fd=fd, path=parent, prefix=b"", names=iter(()), kinds={name: tree.kind}, databases={})
        stack = [above]
        try:
            below = self._visit(above, name, b"")
            while below is not None or len(stack) > 1:
                if below is not None:
                    stack.append(below)
                directory = stack[-1]
                following = next(directory.names, None)
                if following is None:
                    below = None
                    os.close(stack.pop().fd)
                else:
                    below = self._visit(directory, following, directory.prefix + following)
        finally:
            for directory in stack:
                os.close(directory.fd)

    def _visit(self, directory: Directory, name: bytes, path: bytes) -> Directory | None:
        """Deal with one name; a directory to walk next, if it is one."""
        kind = directory.kinds.get(name, "file")
        if self.entries >= limits.MAX_ENTRIES:
            self.skip(path, kind, Reason.LIMIT, "a bundle holds no more entries")
            return None
        sensitivity = Sensitivity.CONTENT
        whole = _database_of(name, directory.databases) if directory.databases else None
        if whole or (whole is not None and name.endswith(databases.SHM)):
            self.skip(path, kind, Reason.DATABASE_PART)
            return None
        if self._rules is not None and (path or kind == "file"):
            verdict = self._rules(path, kind)
            if not isinstance(verdict, Leave):
                sensitivity = verdict
            elif whole is None or verdict.reason is not Reason.DATABASE_PART:
                self.skip(path, kind, verdict.reason, verdict.detail)
                return None
        if kind == "file":
            # Beside a database that is taken raw, the log and the journal are as much a part of it.
            mixed = whole is not None and sensitivity is Sensitivity.CONTENT
            self.file(directory, name, path, Sensitivity.MIXED if mixed else sensitivity)
        elif kind == "directory":
            return self._enter(directory, name, path)
        elif kind == "symlink":
            self._symlink(directory, name, path)
        else:
            self.skip(path, kind, Reason(kind))
        return None

    def _enter(self, parent: Directory, name: bytes, path: bytes) -> Directory | None:
        try:
            fd = open_at(name, parent.fd, _DIRECTORY)
        except OSError as error:
            self.fail(path, "directory", error)
            return None
        entered = False
        try:
            status = os.fstat(fd)
            if self._is_elsewhere(path, status):
                return None
            names, kinds = _list(fd)
            if not _expressible(path, names):
                # A row for the name itself couldn't be expressed either.
                self.skip(path, "directory", Reason.LIMIT, "it holds a path that is too deep or too long")
                return None
            found = self.attributes(fd, path, status)
            entered = True
        except OSError as error:
            self.fail(path, "directory", error)
            return None
        finally:
            if not entered:
                os.close(fd)
        directory = Directory(
            fd=fd,
            path=os.path.join(parent.path, name),
            prefix=path + b"/" if path else b"",
            names=iter(names),
            kinds=kinds,
            databases={},
        )
        try:
            self.add(path, Kind.DIRECTORY, status, attributes=found)
        except BaseException:
            os.close(fd)
            raise
        return directory

    def _is_elsewhere(self, path: bytes, status: os.stat_result) -> bool:
        """Whether a directory is one of the writer's temporaries, or a source of its own."""
        identity = status.st_dev, status.st_ino
        if identity in self.own:
            pass  # not the user's, and gone when the bundle is there: nothing is left out
        elif path and identity in self._roots:
            self.skip(path, "directory", Reason.NESTED, f"it is packed as {self._roots[identity]}")
        else:
            return False
        return True

    def _symlink(self, directory: Directory, name: bytes, path: bytes) -> None:
        try:
            status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
            target = os.readlink(name, dir_fd=directory.fd)
        except OSError as error:
            self.fail(path, "symlink", error)
            return
        if len(target) > limits.MAX_SYMLINK:
            self.skip(path, "symlink", Reason.LIMIT, "its target is too long")
            return
        self.add(path, Kind.SYMLINK, status, attributes=_OF_A_LINK, target=target)
        where = os.path.normpath(os.path.join(directory.path, target))
        if not any(where == tree.path or where.startswith(tree.path.rstrip(b"/") + b"/") for tree in self.trees):
            self.warn(f"{self.name_of(path)} points to {paths.display(target)}, which isn't packed")

    def attributes(self, fd: int, path: bytes, status: os.stat_result) -> Attributes:
        """What to store of an open file or directory beside its times and owner."""
        found = attributes.read(fd, status, self._names)
        self.lost_lists += found.lost_lists
        if found.has_lost_xattrs:
            self.warn(f"{self.name_of(path)} has extended attributes of more than 64 KiB, which aren't stored")
        return found


# --- single steps ----------------------------------------------------------------------------------------------------


def open_at(name: bytes, directory_fd: int, flags: int = 0) -> int:
    """Open *name* for reading: never through a link, never waiting for a pipe's other end, leaving its access time."""
    try:
        return os.open(name, _OPEN | _NO_ATIME | flags, dir_fd=directory_fd)
    except OSError as error:
        if error.errno != errno.EPERM or not _NO_ATIME:  # only an owner may leave the access time alone
            raise
    return os.open(name, _OPEN | flags, dir_fd=directory_fd)


def _resolve(source: Source) -> Tree:
    path = os.path.realpath(source.path)
    shown = paths.display(source.path)
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceMissing(
            f"{shown} isn't there", path=shown, hint="check the path, and that this is the machine that holds it"
        ) from error
    except OSError as error:
        raise _unreadable(shown, error) from error
    kind = _kind(status.st_mode)
    if kind not in {"directory", "file"}:
        raise SourceFailure(f"{shown} is neither a directory nor a file", path=shown)
    return Tree(source=source, path=path, identity=(status.st_dev, status.st_ino), kind=kind)


def _demand_readable(trees: Sequence[Tree]) -> None:
    """Refuse to make a bundle of nothing: of several sources, one that can't be read is just recorded."""
    error: OSError | None = None
    for tree in trees:
        try:
            os.close(os.open(tree.path, _OPEN))
        except OSError as caught:
            error = caught
        else:
            return
    if error is not None:
        shown = paths.display(trees[0].path)
        raise _unreadable(shown, error) from error


def _unreadable(shown: str, error: OSError) -> SourceFailure:
    reason = (error.strerror or str(error)).lower()
    hint = "run as the user that the gateway runs as"
    return SourceFailure(f"{shown} can't be read: {reason}", path=shown, hint=hint)


def _list(fd: int) -> tuple[list[bytes], dict[bytes, str]]:
    """The names in a directory, in byte order, and the kinds of those that aren't regular files."""
    names: list[bytes] = []
    kinds: dict[bytes, str] = {}
    with os.scandir(fd) as children:
        for child in children:
            name = os.fsencode(child.name)
            names.append(name)
            try:
                if child.is_file(follow_symlinks=False):
                    continue
                if child.is_dir(follow_symlinks=False):
                    kinds[name] = "directory"
                elif child.is_symlink():
                    kinds[name] = "symlink"
                else:
                    kinds[name] = _kind(child.stat(follow_symlinks=False).st_mode)
            except OSError:  # opening it will say why
                continue
    names.sort()
    return names, kinds


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFREG: "file",
        stat.S_IFDIR: "directory",
        stat.S_IFLNK: "symlink",
        stat.S_IFSOCK: "socket",
        stat.S_IFIFO: "fifo",
    }
    return kinds.get(stat.S_IFMT(mode), "device")


def _expressible(path: bytes, names: list[bytes]) -> bool:
    if not names:
        return True
    depth = path.count(b"/") + 2 if path else 1
    longest = max(map(len, names))
    return (
        depth <= limits.MAX_PATH_DEPTH
        and longest <= limits.MAX_COMPONENT
        and len(path) + 1 + longest <= limits.MAX_PATH
    )


def _database_of(name: bytes, known: Mapping[bytes, bool]) -> bool | None:
    """Whether the database that *name* is a part of was taken through SQLite; ``None`` if it is no part of one."""
    for part in databases.PARTS:
        if name.endswith(part):
            return known.get(name[: -len(part)])
    return None
