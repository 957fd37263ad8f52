"""The way down from a root to an entry: directories made and found again by descriptor, never by path.

Implements the rules of section 10 of the specification on what may stand above an entry.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ocbundle import paths, publish
from ocbundle.errors import Malformed
from ocbundle.model import Entry, Kind
from ocbundle.places import Guard
from ocbundle.stages import Stage


@dataclass(slots=True)
class Frame:
    """A directory on the way down to where a walk is; its *fd* is -1 until it's made, or when it isn't restored."""

    entry: Entry
    fd: int


class Descent:
    """The directories from a root down to where a walk is. It trusts no order: a parent is there, or it's an error."""

    def __init__(self, leave: Callable[[Frame], None]) -> None:
        self.frames: list[Frame] = []
        self._leave = leave

    def __enter__(self) -> Self:
        """Begin above the first root."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave what is still open; after an error, only close it."""
        try:
            while error is None and self.frames:
                self._leave(self.frames.pop())
        finally:
            for frame in self.frames:
                close(frame)

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


def close(frame: Frame) -> None:
    """Let go of a directory."""
    if frame.fd >= 0:
        os.close(frame.fd)


def make_directories(descent: Descent, stage: Stage) -> int:
    """Make the directories on the way that aren't there yet; return the descriptor of the last."""
    frames = descent.frames
    if frames and frames[-1].fd >= 0:
        return frames[-1].fd
    fd = stage.fd
    for frame in frames:
        if frame.fd < 0:
            with Guard(stage.path, entry=frame.entry):
                name = basename(frame.entry)
                os.mkdir(name, 0o700, dir_fd=fd)
                frame.fd = publish.open_directory(fd, name)
        fd = frame.fd
    return fd


def open_made(stage: Stage, parent: int, entry: Entry) -> int:
    """The descriptor of the directory *entry*, -1 if nothing in it was wanted."""
    if parent < 0:
        return -1
    with Guard(stage.path, entry=entry):
        try:
            return publish.open_directory(parent, basename(entry))
        except FileNotFoundError:
            return -1


def basename(entry: Entry) -> bytes:
    """Its own name; a root's is the root's."""
    return entry.path.rpartition(b"/")[2] or entry.root.encode()


def leads_out(path: bytes, target: bytes) -> bool:
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
