"""Channel logins of this machine that stay when an older state takes the place of the one they are in.

Some channels change their keys with each message (WhatsApp, Signal, Matrix): going back to an old copy of such a login
means to link it again. So a login that was used after the bundle was packed is copied into the staged state, by
directory descriptors, without following a link. Nothing in the live state is changed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ocbundle import publish
from ocbundle.errors import NoSpace, TargetFailure
from ocbundle.model import Entry, Kind, Manifest, Role
from ocbundle.paths import display

_CREDENTIALS: Final = b"credentials"
_OTHERS: Final = frozenset({b"oauth.json"})
"""Credentials of model providers, not of channels."""
_CHANNEL_STATES: Final = (b"matrix",)
"""Channels that keep their keys in a directory of their own."""
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """One channel's login that stays: a file or a directory."""

    root: str
    path: bytes
    """Inside the state."""
    state: bytes
    """The live state directory."""

    @property
    def shown(self) -> str:
        """``root/path``, escaped for display."""
        return display(f"{self.root}/".encode() + self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What stays, and what doesn't."""

    logins: tuple[Login, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def without(self, entries: Iterable[Entry]) -> Iterable[Entry]:
        """*entries* of the bundle, but for those of the logins in whose place this machine's stay."""
        return filter(self._is_wanted, entries) if self.logins else entries

    def _is_wanted(self, entry: Entry) -> bool:
        return not any(
            entry.root == login.root and (entry.path == login.path or entry.path.startswith(login.path + b"/"))
            for login in self.logins
        )

    def copy(self, trees: Mapping[str, bytes]) -> None:
        """Copy them into the staged states.

        Raises:
            NoSpace: there isn't enough room.
            TargetFailure: one can't be read, or copied with its owner.
        """
        for login in self.logins:
            with _failures(login), contextlib.ExitStack() as stack:
                parent, name = os.path.split(login.path)
                source = _opened(stack, login.state)
                target = _opened(stack, trees[login.root], os.O_NOFOLLOW)
                if parent:
                    source = _opened(stack, parent, os.O_NOFOLLOW, dir_fd=source)
                    target = _entered(stack, parent, target, os.fstat(source))
                _copy(source, target, name)


def choose(
    manifest: Manifest, entries: Callable[[], Iterable[Entry]], destinations: Mapping[str, bytes], *, keep: bool
) -> Kept:
    """Which of this machine's logins are newer than the bundle's; none, unless they are to be kept.

    A login is as new as the newest of its files.

    Raises:
        TargetFailure: a login can't be looked at, or is on a file system of its own.
    """
    if not keep:
        return Kept(logins=(), notes=(), warnings=())
    states = {
        root.name: destinations[root.name]
        for root in manifest.roots
        if root.role is Role.STATE and root.name in destinations
    }
    live = {login: newest for root, state in states.items() for login, newest in _live(root, state)}
    packed: dict[tuple[str, bytes], int] = {}
    for entry in entries():
        if entry.root in states and entry.kind is Kind.FILE:
            key = entry.root, _login_of(entry.path)
            packed[key] = max(packed.get(key, entry.mtime_ns), entry.mtime_ns)
    logins, notes, warnings = [], [], []
    for login, newest in live.items():
        theirs = packed.get((login.root, login.path))
        if theirs is None or newest > theirs:
            logins.append(login)
            notes.append(f"{login.shown}: this machine's login, which is newer than the bundle's")
        elif newest < theirs:
            warnings.append(f"{login.shown} comes from the bundle: it is newer than this machine's")
    return Kept(logins=tuple(logins), notes=tuple(notes), warnings=tuple(warnings))


def _login_of(path: bytes) -> bytes:
    """The login that a file is a part of."""
    parts = path.split(b"/", 2)
    return b"/".join(parts[:2]) if parts[0] == _CREDENTIALS else parts[0]


def _live(root: str, state: bytes) -> Iterator[tuple[Login, int]]:
    """The logins in a live state, each with the time of its newest file."""
    with contextlib.ExitStack() as stack:
        try:
            top = _opened(stack, state)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise publish.failure(error, state, "look for this machine's logins") from error
        candidates = list(_CHANNEL_STATES)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            inside = _opened(stack, _CREDENTIALS, os.O_NOFOLLOW, dir_fd=top)
            names = sorted(map(os.fsencode, os.listdir(inside)))
            candidates += [_CREDENTIALS + b"/" + name for name in names if name not in _OTHERS]
        for path in candidates:
            login = Login(root=root, path=path, state=state)
            with _failures(login):
                newest = _newest(top, path)
            if newest is not None:
                yield login, newest


def _newest(directory: int, path: bytes) -> int | None:
    """The newest modification time among the files of *path*; ``None`` if there are none."""
    try:
        status = os.stat(path, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if status.st_dev != os.fstat(directory).st_dev:
        raise OSError(errno.EXDEV, "it is on a file system of its own")
    if stat.S_ISREG(status.st_mode):
        return status.st_mtime_ns
    times = []
    if stat.S_ISDIR(status.st_mode):
        for _, _, names, inner in os.fwalk(path, dir_fd=directory, onerror=_fail):
            found = (os.stat(name, dir_fd=inner, follow_symlinks=False) for name in names)
            times += [each.st_mtime_ns for each in found if stat.S_ISREG(each.st_mode)]
    return max(times, default=None)


def _copy(source: int, target: int, name: bytes) -> None:
    """Copy *name*, and all below it, from one directory to another: content, owner, mode and times."""
    status = os.stat(name, dir_fd=source, follow_symlinks=False)
    with contextlib.ExitStack() as stack:
        if stat.S_ISREG(status.st_mode):
            inner = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
            stack.callback(os.close, inner)
            copy = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=target)
            stack.callback(os.close, copy)
            while chunk := os.read(inner, _CHUNK):
                publish.write_all(copy, chunk)
        elif stat.S_ISDIR(status.st_mode):
            inner = _opened(stack, name, os.O_NOFOLLOW, dir_fd=source)
            copy = _made(stack, name, target)
            for each in sorted(map(os.fsencode, os.listdir(inner))):
                _copy(inner, copy, each)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            return
        else:
            return  # the socket of a process: no part of a login
        _dress(copy, status)


def _entered(stack: contextlib.ExitStack, name: bytes, parent: int, like: os.stat_result) -> int:
    """The staged directory *name*; made as the live one is, if the bundle has none."""
    try:
        return _opened(stack, name, os.O_NOFOLLOW, dir_fd=parent)
    except FileNotFoundError:
        made = _made(stack, name, parent)
        _dress(made, like)
        return made


def _opened(stack: contextlib.ExitStack, path: bytes, flags: int = 0, *, dir_fd: int | None = None) -> int:
    descriptor = os.open(path, _DIRECTORY | flags, dir_fd=dir_fd)
    stack.callback(os.close, descriptor)
    return descriptor


def _made(stack: contextlib.ExitStack, name: bytes, parent: int) -> int:
    os.mkdir(name, 0o700, dir_fd=parent)
    return _opened(stack, name, os.O_NOFOLLOW, dir_fd=parent)


def _dress(descriptor: int, status: os.stat_result) -> None:
    """Give a copy its owner, mode and times."""
    mine = os.fstat(descriptor)
    if (mine.st_uid, mine.st_gid) != (status.st_uid, status.st_gid):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & 0o777)
    os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))


@contextlib.contextmanager
def _failures(login: Login) -> Iterator[None]:
    """Turn what the system refuses into an error that names the login."""
    try:
        yield
    except OSError as error:
        kind = NoSpace if error.errno in {errno.ENOSPC, errno.EDQUOT} else TargetFailure
        raise kind(
            f"can't keep this machine's login: {error.strerror or error}",
            path=login.shown,
            hint="nothing has been put in place",
        ) from error


def _fail(error: OSError) -> None:
    raise error
