"""Brings the moves of an intent to their end, or back to their beginning, from wherever they are.

Nothing is remembered of what was done: each step follows from where the trees are found. So it can be killed at any
point, and be called again. What was there before is never in a staging directory, which is emptied in the end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Self

from ocbundle import publish
from ocbundle.errors import TargetFailure
from ocbundle.intents import Dress, Identity, Intent, Move, Spot
from ocbundle.paths import display
from ocbundle.places import Guard
from ocbundle.sites import reach

_IMMOVABLE: Final = {errno.EBUSY, errno.EXDEV}


class Immovable(TargetFailure):
    """What is at *spot* can't be renamed: it is mounted, or belongs to a lower layer."""

    def __init__(self, spot: Spot) -> None:
        super().__init__(
            "it can't be moved: something is mounted there, or it is a part of a container's image",
            path=display(spot.path),
            hint="move it away by hand, or mount a volume there",
        )
        self.spot = spot


def settle(intent: Intent, *, new: bool) -> tuple[str, ...]:
    """Let everything be *new*, or as it was before, and make that durable; return what couldn't be kept.

    Raises:
        TargetExists: something else has taken a name.
        TargetFailure: a tree or a directory isn't where it was left, or can't be moved.
    """
    with _Settling(intent, new=new) as settling:
        settling.check()
        settling.undress()
        for move in intent.moves if new else reversed(intent.moves):
            settling.move(move)
        settling.dress()
        settling.sync()
        return settling.warnings()


def check(intent: Intent) -> None:
    """Make sure, before anything is begun, that everything is where it was left.

    Raises:
        TargetFailure: it isn't.
    """
    with _Settling(intent, new=True) as settling:
        settling.check()


def dress_of(status: os.stat_result) -> Dress:
    """A directory's owner, mode and time."""
    return Dress(mode=stat.S_IMODE(status.st_mode), uid=status.st_uid, gid=status.st_gid, mtime_ns=status.st_mtime_ns)


def identity_of(status: os.stat_result) -> Identity:
    """By what a file or directory is known."""
    is_shut = stat.S_ISDIR(status.st_mode) and not status.st_mode & stat.S_IWUSR and status.st_uid == os.geteuid()
    return Identity(inode=status.st_ino, mode=stat.S_IMODE(status.st_mode) if is_shut else None)


class _Settling:
    """The directories of an intent, opened as they are needed."""

    def __init__(self, intent: Intent, *, new: bool) -> None:
        self._intent = intent
        self._new = new
        self._fds: dict[bytes, int] = {}
        self._others: list[bytes] = []
        """Directories whose dress isn't this user's to change."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for fd in self._fds.values():
            os.close(fd)

    def warnings(self) -> tuple[str, ...]:
        return tuple(
            f"{display(path)} keeps its owner and mode: it belongs to somebody else"
            for path in dict.fromkeys(self._others)
        )

    def check(self) -> None:
        """Nothing is begun that can't be brought to its end."""
        for move in self._intent.moves:
            winner, loser = (move.new, move.old) if self._new else (move.old, move.new)
            with Guard(move.final.path, "look at what is there"):
                is_lost = winner is not None and self._locate(winner, (move.final, move.aside, move.stage)) is None
                # To be taken back, a tree needs its staging directory, which somebody may have tidied away.
                is_out = not self._new and self._locate(loser, (move.final, move.aside)) is not None
                if is_lost or (is_out and not self._can_open(move.stage)):
                    raise TargetFailure(
                        "what belongs there isn't where it was left",
                        path=display(move.final.path),
                        hint="undo it instead" if self._new else "finish it instead",
                    )

    def move(self, move: Move) -> None:
        try:
            self._move(move)
            for identity in (move.new, move.old):
                self._close_again(move, identity)
        except OSError as error:
            if error.errno in _IMMOVABLE:
                raise Immovable(move.final) from error
            raise publish.failure(error, move.final.path, "publish") from error

    def _move(self, move: Move) -> None:
        stage, final, aside = move.stage, move.final, move.aside
        winner, loser, resting = (move.new, move.old, aside) if self._new else (move.old, move.new, stage)
        at_loser = self._locate(loser, (resting, final, stage if self._new else aside))
        at_winner = self._locate(winner, (final, aside, stage))
        if at_winner is not None and at_winner != final:
            if at_loser == final and stage is not None and aside is not None:
                at_loser = self._exchange(stage, final, aside, at_winner)
            else:
                self._rename(at_winner, final)
        if at_loser is not None and resting is not None and at_loser != resting:
            self._rename(at_loser, resting)

    def _exchange(self, stage: Spot, final: Spot, aside: Spot, at_winner: Spot) -> Spot:
        """Put the winner in place of the loser; return where the loser is now."""
        if at_winner == stage:
            self._rename(stage, aside)
        if publish.exchange(self._fd(aside), aside.name, self._fd(final), final.name):
            return aside
        if self._new:
            self._rename(aside, stage)
            self._rename(final, aside)
            self._rename(stage, final)
            return aside
        self._rename(final, stage)
        self._rename(aside, final)
        return stage

    def _rename(self, source: Spot, target: Spot) -> None:
        publish.rename_noreplace(self._fd(source), source.name, self._fd(target), target.name)

    def _locate(self, identity: Identity | None, spots: tuple[Spot | None, ...]) -> Spot | None:
        """The first of *spots* that has it."""
        if identity is None:
            return None
        found = [spot for spot in spots if spot is not None and self._holds(spot, identity)]
        for spot in found[1:]:
            # Where a file can only be renamed by a link, it has both names if it was killed before the second step.
            os.unlink(spot.name, dir_fd=self._fd(spot))
        return found[0] if found else None

    def _holds(self, spot: Spot, identity: Identity) -> bool:
        with contextlib.suppress(FileNotFoundError):
            fd = self._fd(spot)
            status = os.stat(spot.name, dir_fd=fd, follow_symlinks=False)
            return status.st_ino == identity.inode and status.st_dev == os.fstat(fd).st_dev
        return False

    def _close_again(self, move: Move, identity: Identity | None) -> None:
        spot = None if identity is None else self._locate(identity, (move.final, move.aside, move.stage))
        if spot is None or identity is None or identity.mode is None:
            return
        fd = publish.open_directory(self._fd(spot), spot.name)
        try:
            os.fchmod(fd, identity.mode)
        finally:
            os.close(fd)

    def _can_open(self, spot: Spot | None) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return spot is not None and self._fd(spot) >= 0
        return False

    def _fd(self, spot: Spot) -> int:
        return self._open(spot.directory)

    def _open(self, path: bytes) -> int:
        """The descriptor of a directory that is known.

        Raises:
            FileNotFoundError: it isn't there: not yet, or no more.
        """
        if path not in self._fds:
            with contextlib.ExitStack() as undo:
                fd = reach(path)
                undo.callback(os.close, fd)
                if os.fstat(fd).st_ino != self._intent.inodes[path]:
                    raise TargetFailure(
                        "another directory has taken its place",
                        path=display(path),
                        hint="put back the one that was there",
                    )
                self._fds[path] = fd
                undo.pop_all()
        return self._fds[path]

    # --- directories that stay ----------------------------------------------------------------------------------------

    def undress(self) -> None:
        """Close the directories that stay to others while what is in them is exchanged."""
        for row in self._intent.staying:
            with self._own(row.path) as fd:
                os.fchmod(fd, 0o700)

    def dress(self) -> None:
        """Give them the owner, mode and time that they shall have."""
        for row in reversed(self._intent.staying):
            dress = row.new if self._new else row.old
            with self._own(row.path) as fd:
                status = os.fstat(fd)
                if (status.st_uid, status.st_gid) != (dress.uid, dress.gid):
                    os.fchown(fd, dress.uid, dress.gid)
                os.fchmod(fd, dress.mode)
                os.utime(fd, ns=(dress.mtime_ns, dress.mtime_ns))

    @contextlib.contextmanager
    def _own(self, path: bytes) -> Iterator[int]:
        with Guard(path, "change the directory"):
            try:
                yield self._open(path)
            except PermissionError:
                self._others.append(path)

    def sync(self) -> None:
        """Make all names durable."""
        for path, fd in self._fds.items():
            with Guard(path, "sync the directory"):
                publish.sync_directory(fd)
