"""Looking at files of an OpenClaw installation: a few careful reads, for discovery.

Never writes, never opens a database through SQLite, and never waits: a FIFO that stands where a file should is refused,
not read.
"""

from __future__ import annotations

import os
import stat
from typing import Final

_SQLITE_MAGIC: Final = b"SQLite format 3\0"


def read(path: bytes, limit: int) -> bytes:
    """The content of the regular file *path*.

    Raises:
        OSError: it can't be read, is no regular file, or holds more than *limit* bytes.
    """
    # O_NONBLOCK, for opening a FIFO would wait for its writer; it means nothing to a regular file.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"not a regular file: {os.fsdecode(path)!r}")
        chunks = []
        while limit >= 0 and (chunk := os.read(descriptor, limit + 1)):
            chunks.append(chunk)
            limit -= len(chunk)
    finally:
        os.close(descriptor)
    if limit < 0:
        raise OSError(f"larger than its limit: {os.fsdecode(path)!r}")
    return b"".join(chunks)


def names(directory: bytes) -> tuple[bytes, ...]:
    """The names in *directory*, in byte order; none if it can't be listed."""
    try:
        return tuple(sorted(os.listdir(directory)))
    except OSError:
        return ()


def directories(directory: bytes) -> tuple[bytes, ...]:
    """The names of the directories in *directory*, those behind symbolic links too."""
    return tuple(name for name in names(directory) if os.path.isdir(os.path.join(directory, name)))


def inside(path: bytes, directory: bytes) -> bytes | None:
    """*path* as seen from *directory* (``b""`` for itself), or ``None`` when it isn't inside. Purely by name."""
    if path == directory:
        return b""
    prefix = directory.rstrip(b"/") + b"/"
    return path[len(prefix) :] if path.startswith(prefix) else None


def real(path: bytes) -> bytes:
    """*path* without symbolic links; as it is, if it can't be a path, or somebody changes its links just now."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return path


def absolute(path: bytes) -> bytes:
    """*path*, absolute and without ``.``, ``..`` or doubled slashes; symbolic links aren't looked at."""
    # POSIX lets a leading "//" mean something else, and normpath keeps it; no system that runs OpenClaw does.
    normal = os.path.abspath(path)
    return normal[1:] if normal.startswith(b"//") else normal


def schema_version(path: bytes) -> int | None:
    """``PRAGMA user_version`` of the SQLite database *path*, from its header; ``None`` if it isn't one.

    A WAL beside it may hold a newer one: opening the database to learn that would write to the source.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        header = os.read(descriptor, 64)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    if len(header) < 64 or not header.startswith(_SQLITE_MAGIC):
        return None
    return int.from_bytes(header[60:64], "big")
