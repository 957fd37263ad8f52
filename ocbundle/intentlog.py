"""The intent log: a small file that says what a run renames, there before the first rename and gone after the last.

A run that was killed between leaves it. Then :func:`unfinished` finds it, and :func:`resume` or :func:`undo` bring
everything to one state. Both can be killed, and called again. A log that isn't this user's own is never followed: it
could send a privileged run anywhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from ocbundle import publish
from ocbundle.errors import TargetFailure
from ocbundle.intents import Intent, PlacedRoot
from ocbundle.paths import display
from ocbundle.places import Guard, Owner
from ocbundle.settling import check, settle
from ocbundle.sites import check_links, reach, resolve
from ocbundle.stages import empty

_NAME: Final = b"unpack.%s.intent"
_LOG: Final = re.compile(rb"unpack\.[0-9a-f]{16}\.intent")
_STAGE: Final = re.compile(rb"\.openclaw\.[0-9a-f]{16}\.staging")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """An unpack that was killed while it renamed."""

    path: bytes
    """Of its log."""
    bundle_id: str
    created: int
    """When it began to rename: seconds since the epoch, UTC."""
    roots: tuple[PlacedRoot, ...]
    """What :func:`resume` makes of it."""


class Log:
    """The log of one run. A context manager, inside of which :meth:`carry_out` does the renaming.

    *directory* is created if it's missing, for *owner*; what was created is removed again if nothing is in it.
    """

    def __init__(self, directory: str | bytes, *, owner: Owner) -> None:
        self.directory, self._link_owners = resolve(os.path.abspath(os.fsencode(directory)), ())
        """Without a link on the way."""
        self._owner = owner
        self._made: list[bytes] = []
        self.is_settled = True
        """Whether everything is new, or everything as it was."""
        self.warnings: tuple[str, ...] = ()
        """What runs left that were killed before their log was in force: each a line."""

    def __enter__(self) -> Self:
        """Create the directory.

        Raises:
            TargetFailure: it can't be, or an unpack has to be finished first.
        """
        try:
            with Guard(self.directory, "create the directory of the log"):
                self._make()
            check_finished(self.directory)
            left = publish.leftovers(self.directory)
            self.warnings = tuple(f"left behind by a run that was killed: {display(path)}" for path in left)
        except BaseException:
            self._remove_made()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove what was created and isn't needed."""
        self._remove_made()

    def carry_out(self, intent: Intent) -> tuple[str, ...]:
        """Do what *intent* says, or nothing of it; return what couldn't be kept.

        Raises:
            TargetFailure: it can't be done. If it can't even be taken back, the log stays, and the error says so.
        """
        path = os.path.join(self.directory, _NAME % secrets.token_hex(8).encode())
        check(intent)
        # It stays open, and locked, until the log is gone: nobody else takes this run for a killed one.
        with publish.Output(path) as log:
            log.write(intent.encode())
            try:
                log.commit()
                warnings = settle(intent, new=True)
                _forget(path)
            except BaseException as error:
                self._take_back(intent, path, error)
                raise
            return warnings

    def _take_back(self, intent: Intent, path: bytes, error: BaseException) -> None:
        try:
            settle(intent, new=False)
            _forget(path)
        except BaseException:  # noqa: BLE001 - the first error tells why
            self.is_settled = False
            publish.add_hint(error, f"finish or undo what {display(path)} tells of: it couldn't be taken back")

    def _make(self) -> None:
        missing = []
        path = self.directory
        while not os.path.lexists(path):
            missing.append(path)
            path = os.path.dirname(path)
        check_links(path, self._link_owners)
        for path in reversed(missing):
            above = reach(os.path.dirname(path))
            try:
                name = os.path.basename(path)
                os.mkdir(name, 0o700, dir_fd=above)
                self._made.append(path)
                fd = publish.open_directory(above, name)
                try:
                    if self._owner.uid is not None and self._owner.gid is not None:
                        os.fchown(fd, self._owner.uid, self._owner.gid)
                    os.fchmod(fd, 0o700)
                finally:
                    os.close(fd)
                publish.sync_directory(above)
            finally:
                os.close(above)

    def _remove_made(self) -> None:
        for path in reversed(self._made):
            with contextlib.suppress(OSError):
                os.rmdir(path)


def unfinished(log_directory: str | bytes) -> tuple[Unfinished, ...]:
    """The unpacks that were killed while they renamed; those under way don't count.

    Raises:
        TargetFailure: somebody else's is there, or a log can't be read.
    """
    directory, _ = resolve(os.path.abspath(os.fsencode(log_directory)), ())
    with Guard(directory, "look for unfinished work"):
        try:
            names = sorted(name for name in os.listdir(directory) if _LOG.fullmatch(name))
        except FileNotFoundError:
            return ()
    found = []
    for name in names:
        path = os.path.join(directory, name)
        with _open(path) as intent:
            if intent is not None:
                found.append(
                    Unfinished(path=path, bundle_id=intent.bundle_id, created=intent.created, roots=intent.roots)
                )
    return tuple(found)


def check_finished(log_directory: str | bytes) -> None:
    """Refuse to go on from a state that nobody chose.

    Raises:
        TargetFailure: an unpack has to be finished or undone first.
    """
    for found in unfinished(log_directory):
        raise TargetFailure(
            "an earlier unpack was killed while it put things in place",
            path=display(found.path),
            hint="finish it with: ocbundle unpack --resume, or take it back with: ocbundle unpack --undo",
        )


def resume(found: Unfinished) -> tuple[str, ...]:
    """Finish it: everything is as that unpack would have left it. Return what couldn't be kept.

    Raises:
        TargetFailure: something that it needs is gone, or has been changed.
    """
    return _heal(found, new=True)


def undo(found: Unfinished) -> tuple[str, ...]:
    """Take it back: everything is as it was before that unpack. Return what couldn't be kept.

    Raises:
        TargetFailure: something that it needs is gone, or has been changed.
    """
    return _heal(found, new=False)


def _heal(found: Unfinished, *, new: bool) -> tuple[str, ...]:
    with _open(found.path) as intent:
        if intent is None:  # another run has done it meanwhile, or is about to
            return ()
        warnings = settle(intent, new=new)
        # Before the staging is emptied: half of a tree must never be put in place.
        _forget(found.path)
        for stage in intent.stages:
            with Guard(stage, "remove the staging directory"):
                _remove_stage(stage, intent.inodes.get(stage))
        return warnings


def _forget(path: bytes) -> None:
    with Guard(path, "remove the log"):
        directory = reach(os.path.dirname(path))
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.basename(path), dir_fd=directory)
            publish.sync_directory(directory)
        finally:
            os.close(directory)


@contextlib.contextmanager
def _open(path: bytes) -> Iterator[Intent | None]:
    """What the log at *path* says, locked; ``None`` if it's gone, or in use."""
    with contextlib.ExitStack() as stack:
        with Guard(path, "read the log"):
            intent = _read(path, stack)
        yield intent


def _read(path: bytes, stack: contextlib.ExitStack) -> Intent | None:
    directory = reach(os.path.dirname(path))
    stack.callback(os.close, directory)
    name = os.path.basename(path)
    try:
        owner = os.stat(name, dir_fd=directory, follow_symlinks=False).st_uid
        _check_owner(path, owner)
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except FileNotFoundError:
        return None
    stack.callback(os.close, fd)
    _check_owner(path, os.fstat(fd).st_uid)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError:  # a file system without locks
        pass
    if not os.fstat(fd).st_nlink:
        return None
    with open(fd, "rb", closefd=False) as file:
        return Intent.decode(file.read())


def _check_owner(path: bytes, owner: int) -> None:
    if owner != os.geteuid():
        raise TargetFailure(
            "an unpack that another user began isn't finished",
            path=display(path),
            hint=f"run this as user {owner}, or remove the file if it is none of yours",
        )


def _remove_stage(path: bytes, inode: int | None) -> None:
    if not _STAGE.fullmatch(os.path.basename(path)):
        return
    with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as stack:
        above = reach(os.path.dirname(path))
        stack.callback(os.close, above)
        fd = publish.open_directory(above, os.path.basename(path))
        stack.callback(os.close, fd)
        if os.fstat(fd).st_ino == inode:
            empty(fd)
            os.rmdir(os.path.basename(path), dir_fd=above)
