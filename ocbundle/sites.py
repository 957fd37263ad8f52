"""What a path leads to: the links on the way and who made them, what is mounted there.

A path is resolved once. From then on it has no links, and :func:`reach` follows none: whoever swaps a directory for a
link meanwhile is refused.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Collection, Iterator
from typing import Final

from ocbundle.errors import TargetFailure
from ocbundle.paths import display
from ocbundle.places import Guard, Place

_MAX_LINKS: Final = 40
_MOUNTS: Final = "/proc/self/mountinfo"
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")
_STEP: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW


def resolve(path: bytes, stops: Collection[bytes]) -> tuple[bytes, set[int]]:
    """*path* without links, and who owns those.

    Below one of *stops* nothing is followed: what is there now will make room.
    """
    todo = path.split(b"/")[::-1]
    done = b""
    owners: set[int] = set()
    followed = 0
    while todo:
        name = todo.pop()
        here = done + b"/" + name
        if name in {b"", b"."}:
            continue
        if name == b"..":
            done = os.path.dirname(done).rstrip(b"/")
            continue
        target = None if any(is_in(done, stop) for stop in stops) else _link(here, owners)
        if target is None:
            done = here
            continue
        followed += 1
        if followed > _MAX_LINKS:
            raise TargetFailure("its links lead in a circle", path=display(path))
        done = b"" if target.startswith(b"/") else done
        todo += target.split(b"/")[::-1]
    return done or b"/", owners


def _link(path: bytes, owners: set[int]) -> bytes | None:
    """What the link at *path* says, if there is one."""
    with Guard(path, "look at the destination"):
        try:
            status = os.lstat(path)
            if not stat.S_ISLNK(status.st_mode):
                return None
            owners.add(status.st_uid)
            return os.readlink(path)
        except (FileNotFoundError, NotADirectoryError):
            return None


def check_links(directory: bytes, link_owners: Collection[int]) -> None:
    """Refuse a link by which somebody sends a privileged run to a *directory* where they couldn't write themselves."""
    with Guard(directory, "look at the destination"):
        allowed = {0, os.geteuid(), os.stat(directory).st_uid}
    for owner in link_owners:
        if owner not in allowed:
            raise TargetFailure(
                f"a link that user {owner} made leads there, where that user may not write",
                path=display(directory),
                hint="name the place itself",
            )


def mounts() -> set[bytes]:
    """Where file systems are mounted; nothing where the system doesn't tell."""
    try:
        with open(_MOUNTS, "rb") as file:
            rows = [line.split(b" ") for line in file]
    except OSError:
        return set()
    return {_ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), row[4]) for row in rows if len(row) > 4}


def is_mounted(path: bytes) -> bool:
    """Whether *path* is on another file system than the directory that holds it."""
    with Guard(path, "look at the destination"):
        return os.lstat(path).st_dev != os.lstat(os.path.dirname(path)).st_dev


def ancestors(path: bytes) -> Iterator[bytes]:
    """The directories above *path*, the root of the file system aside."""
    while (path := os.path.dirname(path)) != b"/":
        yield path


def is_in(path: bytes, top: bytes) -> bool:
    """Whether *path* is *top*, or is below it."""
    return path == top or path.startswith(top + b"/")


def reach(path: bytes) -> int:
    """A descriptor of the directory at the absolute *path*, in which no component is a link.

    Raises:
        OSError: there is none, or a link is on the way.
    """
    fd = os.open(b"/", _STEP)
    try:
        for name in path.split(b"/"):
            if name:
                above, fd = fd, os.open(name, _STEP, dir_fd=fd)
                os.close(above)
        return os.open(b".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def opened(path: bytes) -> Iterator[Place]:
    """The directory at the absolute *path*, in which no component is a link; closed at the end of the ``with`` block.

    Raises:
        TargetFailure: it isn't there, isn't a directory, can't be read, or a link is on the way.
    """
    with Guard(path, "open the directory"):
        fd = reach(path)
    try:
        yield Place(path=path, fd=fd)
    finally:
        os.close(fd)
