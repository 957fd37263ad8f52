"""Files of staged trees: found by name and changed in place, by directory descriptors and without following a link.

Owner and mode of a changed file stay, and its times too: to whoever asks, it's the file that was packed. Nothing
outside of the tree is touched. A failure leaves half a change behind: the caller throws the tree away.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from ocbundle.errors import NoSpace, TargetFailure
from ocbundle.paths import display

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One regular file of a staged tree. *directory_fd* is open while the file is being looked at."""

    root: str
    path: bytes
    """Inside the root; ``b""`` if the root is this file."""
    directory_fd: int
    name: bytes
    staged: bytes
    """Its absolute path, for libraries that open by path."""

    @property
    def shown(self) -> str:
        """``root/path``, escaped for display."""
        return display(f"{self.root}/".encode() + self.path) if self.path else display(self.root)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One staged root: a directory, or a single file."""

    root: str
    path: bytes
    """Absolute, where it's staged."""

    def find(self, pattern: bytes) -> Iterator[Place]:
        """Its regular files that *pattern* fits, in byte order; a ``*`` of the pattern stops at slashes.

        The empty pattern is the root itself, should it be a file.
        """
        with self._opened() as (directory_fd, name):
            if name is not None:
                if not pattern and _is_file(directory_fd, name):
                    yield Place(root=self.root, path=b"", directory_fd=directory_fd, name=name, staged=self.path)
            elif pattern:
                yield from self._below(directory_fd, b"", pattern.split(b"/"))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[int, bytes | None]]:
        """The root's descriptor; for a root that is a file, its parent's, and the name in it."""
        try:
            descriptor = os.open(self.path, _DIRECTORY)
            name = None
        except NotADirectoryError:
            parent, name = os.path.split(self.path)
            descriptor = os.open(parent, _DIRECTORY)
        try:
            yield descriptor, name
        finally:
            os.close(descriptor)

    def _below(self, directory_fd: int, above: bytes, pattern: list[bytes]) -> Iterator[Place]:
        first, rest = pattern[0], pattern[1:]
        names = sorted(map(os.fsencode, os.listdir(directory_fd))) if b"*" in first else [first]
        for name in fnmatch.filter(names, first) if b"*" in first else names:
            path = above + name
            if not rest:
                if _is_file(directory_fd, name):
                    staged = os.path.join(self.path, path)
                    yield Place(root=self.root, path=path, directory_fd=directory_fd, name=name, staged=staged)
                continue
            try:
                descriptor = os.open(name, _DIRECTORY, dir_fd=directory_fd)
            except OSError as error:
                if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                    continue
                raise
            try:
                yield from self._below(descriptor, path + b"/", rest)
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def failures(place: Place) -> Iterator[None]:
    """Turn what the system refuses into an error that names the file."""
    try:
        yield
    except OSError as error:
        kind = NoSpace if error.errno in {errno.ENOSPC, errno.EDQUOT} else TargetFailure
        raise kind(
            f"can't rewrite paths in a staged file: {error.strerror or error}",
            path=place.shown,
            hint="nothing has been put in place",
        ) from error


@contextlib.contextmanager
def writable(place: Place) -> Iterator[None]:
    """Let its owner write the file within the block, whatever its mode says; the mode comes back."""
    mode = stat.S_IMODE(os.stat(place.name, dir_fd=place.directory_fd, follow_symlinks=False).st_mode)
    needed = mode | stat.S_IRUSR | stat.S_IWUSR
    if needed != mode:
        _set_mode(place, needed)
    try:
        yield
    finally:
        if needed != mode:
            _set_mode(place, mode)


def read(place: Place, limit: int) -> bytes | None:
    """The content of the file, or ``None`` if it's longer than *limit* bytes."""
    with failures(place), writable(place), _descriptor(place, os.O_RDONLY) as descriptor:
        if os.fstat(descriptor).st_size > limit:
            return None
        return _read(descriptor, limit)


def edit(place: Place, limit: int, rewrite: Callable[[bytes], bytes]) -> bool:
    """Put ``rewrite(content)`` in the place of the content; ``False`` if that is longer than *limit* bytes."""
    with failures(place), writable(place), _descriptor(place, os.O_RDWR) as descriptor:
        status = os.fstat(descriptor)
        if status.st_size > limit:
            return False
        old = _read(descriptor, limit)
        new = rewrite(old)
        if new != old:
            _write(descriptor, new, 0)
            os.ftruncate(descriptor, len(new))
            _finish(descriptor, status)
        return True


def edit_first_line(place: Place, limit: int, rewrite: Callable[[bytes], bytes]) -> None:
    """The same for the first line alone, without its end; a line of more than *limit* bytes stays as it is."""
    with failures(place), writable(place), _descriptor(place, os.O_RDWR) as descriptor:
        status = os.fstat(descriptor)
        start = os.pread(descriptor, limit, 0)
        length = start.find(b"\n")
        if length < 0:
            length = len(start) if len(start) == status.st_size else 0
        new = rewrite(start[:length])
        if new != start[:length]:
            _shift(descriptor, length, len(new) - length, status.st_size)
            _write(descriptor, new, 0)
            _finish(descriptor, status)


def rename(place: Place, name: bytes) -> bool:
    """Give the file another name in its directory; ``False`` if that is taken."""
    with failures(place):
        try:
            os.stat(name, dir_fd=place.directory_fd, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(place.name, name, src_dir_fd=place.directory_fd, dst_dir_fd=place.directory_fd)
            return True
        return False


def _is_file(directory_fd: int, name: bytes) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=directory_fd, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _set_mode(place: Place, mode: int) -> None:
    # A descriptor would need the right that is about to be given. The tree is private while it's staged.
    os.chmod(place.name, mode, dir_fd=place.directory_fd)


@contextlib.contextmanager
def _descriptor(place: Place, flags: int) -> Iterator[int]:
    descriptor = os.open(place.name, flags | _FILE, dir_fd=place.directory_fd)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def _read(descriptor: int, limit: int) -> bytes:
    chunks = []
    while limit >= 0 and (chunk := os.read(descriptor, min(limit + 1, _CHUNK))):
        chunks.append(chunk)
        limit -= len(chunk)
    return b"".join(chunks)


def _write(descriptor: int, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        offset += written
        rest = rest[written:]


def _shift(descriptor: int, start: int, by: int, end: int) -> None:
    """Move the bytes from *start* to *end* by *by*, from the side on which nothing is overwritten unread."""
    chunks = range(start, end, _CHUNK)
    for offset in reversed(chunks) if by > 0 else chunks:
        _write(descriptor, os.pread(descriptor, min(_CHUNK, end - offset), offset), offset + by)
    os.ftruncate(descriptor, end + by)


def _finish(descriptor: int, status: os.stat_result) -> None:
    os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.fsync(descriptor)
