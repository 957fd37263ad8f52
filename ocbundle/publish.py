"""The one way anything reaches its final name: a temporary beside it, synced, renamed.

Implements the writing half of section 12 of the specification. Never writes to a final name, never replaces anything
without being told, never deletes what another run left behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Self

from ocbundle.errors import BundleError, NoSpace, TargetExists, TargetFailure
from ocbundle.paths import display

STAGING: Final = b".openclaw.%s.staging"
"""The name of a staging directory; no profile's directory can be called so."""

_LEFTOVER: Final = re.compile(rb"\.(?P<base>.+)\.[0-9a-f]{16}\.(?P<what>partial|staging|scratch)", re.DOTALL)
_LONGEST_BASE: Final = 200  # with what stands around it, a temporary's name stays under 255 bytes
_NO_LINKS: Final = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_NO_FLAGS: Final = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
_RENAME_NOREPLACE: Final = 1
_RENAME_EXCHANGE: Final = 2
_LIBC: Final = ctypes.CDLL(None, use_errno=True)

_HINTS: Final = {
    errno.ENOENT: "create the directory first",
    errno.EACCES: "choose a place that this user may write to",
    errno.EPERM: "choose a place that this user may write to",
    errno.EROFS: "the file system is mounted read-only: choose another",
    errno.ENOTDIR: "a part of the path is a file, not a directory",
    errno.EISDIR: "name a file, not a directory",
    errno.EFBIG: "the file system takes no file this large: choose another",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


class Output:
    """A file that appears under its final name whole, mode 0600, or not at all.

    Leaving the ``with`` block without :meth:`commit` removes what was written.
    """

    def __init__(self, target: str | bytes | os.PathLike[str], *, replace: bool = False) -> None:
        self.path = os.fsencode(target)
        self.written = 0
        self._replace = replace
        self._directory, self._name = os.path.split(self.path)
        self._temporary = b".%s.%s.partial" % (self._name[:_LONGEST_BASE], secrets.token_hex(8).encode())
        self._exit = contextlib.ExitStack()
        self._fd = self._dir_fd = -1
        self._is_published = False

    def __enter__(self) -> Self:
        """Create the temporary.

        Raises:
            TargetExists: something has that name, and replacing wasn't asked for.
            TargetFailure: the directory can't be written to, or the name is a directory's or a device's.
        """
        with contextlib.ExitStack() as undo:
            try:
                self._dir_fd = os.open(self._directory or b".", os.O_RDONLY | os.O_DIRECTORY)
                undo.callback(os.close, self._dir_fd)
                self._check_target()
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                self._fd = os.open(self._temporary, flags, 0o600, dir_fd=self._dir_fd)
                undo.callback(self._remove)
                undo.callback(os.close, self._fd)
                os.fchmod(self._fd, 0o600)
            except OSError as error:
                raise self._failure(error, "create the file") from error
            lock(self._fd)
            self._exit = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove the temporary, unless it was published."""
        try:
            self._exit.close()
        except OSError as problem:
            left = os.path.join(self._directory, self._temporary)
            if error is None:
                raise failure(problem, left, "remove the temporary file") from problem
            name_leftover(error, left)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append all of *data*; return its length."""
        try:
            length = write_all(self._fd, data)
        except OSError as error:
            raise self._failure(error, "write the file") from error
        self.written += length
        return length

    def fileno(self) -> int:
        """The descriptor of the temporary."""
        return self._fd

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode, by which a scan can tell that it has met its own output."""
        status = os.fstat(self._fd)
        return status.st_dev, status.st_ino

    def commit(self) -> None:
        """Make the bytes durable, then let them appear under the final name.

        Raises:
            TargetExists: something took the name meanwhile.
            NoSpace: a delayed allocation failed.
        """
        identity = self.identity
        try:
            os.fsync(self._fd)
            if self._replace:
                # Again, because minutes may have passed: a device must not be replaced by a file.
                self._check_target()
                os.replace(self._temporary, self._name, src_dir_fd=self._dir_fd, dst_dir_fd=self._dir_fd)
            else:
                rename_noreplace(self._dir_fd, self._temporary, self._dir_fd, self._name)
            self._is_published = True
            sync_directory(self._dir_fd)
        except OSError as error:
            if self._is_published and self._replace:
                # What it replaced is gone: nothing is taken back. The file is whole, and that is told.
                raise self._failure(error, "make the new name durable, though the file is there") from error
            if not self._replace:
                self._withdraw(identity)
            raise self._failure(error, "publish the file") from error

    def _failure(self, error: OSError, doing: str) -> TargetFailure:
        found = failure(error, self.path, doing)
        if isinstance(found, TargetExists):
            found.hint = "choose another name, or use --force"
        return found

    def _check_target(self) -> None:
        if self._name in {b"", b".", b".."}:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        try:
            mode = os.stat(self._name, dir_fd=self._dir_fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not self._replace:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        # Replacing /dev/null by a file would break the machine. A link is replaced itself, never what it points to.
        if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
            raise TargetFailure(
                "only a file can be replaced, and this is none", path=display(self.path), hint="choose another name"
            )

    def _withdraw(self, identity: tuple[int, int]) -> None:
        """Take back what was published when the directory couldn't be synced."""
        with contextlib.suppress(OSError):
            status = os.stat(self._name, dir_fd=self._dir_fd, follow_symlinks=False)
            if (status.st_dev, status.st_ino) == identity:
                os.unlink(self._name, dir_fd=self._dir_fd)

    def _remove(self) -> None:
        if self._is_published:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary, dir_fd=self._dir_fd)


def failure(error: OSError, path: bytes, doing: str) -> TargetFailure:
    """The typed error for an :class:`OSError` met when *doing* something to *path*."""
    shown = display(path)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        what = "no space left" if error.errno == errno.ENOSPC else "the disk quota is used up"
        where = display(mount_point(path))
        hint = "free some space there, or choose a place on another file system"
        return NoSpace(f"{what} on the file system mounted at {where}", path=shown, hint=hint)
    if error.errno == errno.EEXIST:
        return TargetExists("something has that name already", path=shown, hint="choose another name")
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    return TargetFailure(f"can't {doing}: {reason}", path=shown, hint=_HINTS.get(error.errno or 0))


def name_leftover(error: BaseException, left: bytes) -> None:
    """Say in *error*, which is on its way to the caller, that *left* couldn't be removed."""
    add_hint(error, f"remove {display(left)}, which this run had to leave behind")


def add_hint(error: BaseException, text: str) -> None:
    """Say in *error*, which is on its way to the caller, what to do besides."""
    if isinstance(error, BundleError):
        error.hint = f"{error.hint}; {text}" if error.hint else text
    else:
        error.add_note(text)


def leftovers(directory: str | bytes, base: str | bytes | None = None) -> list[bytes]:
    """Paths of the temporaries and staging directories in *directory* that killed runs left, sorted.

    With *base*, only the temporaries of the output of that name. Those of runs under way are locked, and not listed;
    nor are those that this user can't open.
    """
    where = os.fsencode(directory)
    wanted = None if base is None else os.fsencode(base)[:_LONGEST_BASE]
    with contextlib.suppress(OSError), os.scandir(where) as children:
        matches = ((child.name, _LEFTOVER.fullmatch(child.name)) for child in children)
        names = sorted(name for name, match in matches if match and _is_wanted(match, wanted))
        return [path for path in (os.path.join(where, name) for name in names) if _is_stale(path)]
    return []


@contextlib.contextmanager
def private_directory(parent: str | bytes) -> Iterator[bytes]:
    """A new directory below *parent*, 0700, for plaintext that must not outlive the ``with`` block.

    Raises:
        TargetFailure: *parent* can't be written to, or the directory can't be removed.
    """
    path = os.path.join(os.fsencode(parent), b".ocbundle.%s.scratch" % secrets.token_hex(8).encode())
    fd = -1
    try:
        os.mkdir(path, 0o700)
        os.chmod(path, 0o700)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        found = failure(error, path, "create a private directory")
        _remove_private(fd, path, found)
        raise found from error
    try:
        lock(fd)
        yield path
    except BaseException as error:
        _remove_private(fd, path, error)
        raise
    _remove_private(fd, path, None)


def _remove_private(fd: int, path: bytes, error: BaseException | None) -> None:
    """Remove a private directory; if that fails, say so in *error*, or raise another."""
    try:
        try:
            if fd >= 0:
                os.close(fd)
        finally:
            shutil.rmtree(path)
    except OSError as problem:
        if not os.path.lexists(path):
            return
        if error is None:
            found = failure(problem, path, "remove a private directory")
            name_leftover(found, path)
            raise found from problem
        name_leftover(error, path)


def _is_wanted(match: re.Match[bytes], base: bytes | None) -> bool:
    if match["what"] != b"partial":
        return base is None and match["base"] in {b"openclaw", b"ocbundle"}
    return base in {None, match["base"]}


def _is_stale(path: bytes) -> bool:
    try:
        # O_NONBLOCK: opening a FIFO that somebody planted would wait for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # A file system without locks: better to name one too many than to be silent about plaintext.
        return True
    finally:
        os.close(fd)
    return True


def lock(fd: int) -> None:
    """Mark the temporary behind *fd* as in use, for as long as *fd* is open."""
    # Without locks (some network file systems) a temporary in use is listed as a leftover: no reason to fail.
    with contextlib.suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_EX)


def write_all(fd: int, data: bytes | bytearray | memoryview) -> int:
    """Write all of *data* to *fd*, however few bytes the kernel takes at a time; return its length."""
    with memoryview(data).cast("B") as view:
        length = len(view)
        done = os.write(fd, view)
        while done < length:
            done += os.write(fd, view[done:])
    return length


def rename_noreplace(src_fd: int, src: bytes, dst_fd: int, dst: bytes) -> None:
    """Rename ``src_fd/src`` to ``dst_fd/dst``, which must not exist.

    Raises:
        FileExistsError: it does.
    """
    with _movable(src_fd, src, dst_fd):
        if _renameat2(src_fd, src, dst_fd, dst, _RENAME_NOREPLACE):
            return
        if not stat.S_ISDIR(os.stat(src, dir_fd=src_fd, follow_symlinks=False).st_mode):
            try:
                os.link(src, dst, src_dir_fd=src_fd, dst_dir_fd=dst_fd, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
            else:
                os.unlink(src, dir_fd=src_fd)
                return
        # Last resort, where the file system offers nothing better: a check, then a rename that could still race.
        with contextlib.suppress(FileNotFoundError):
            os.stat(dst, dir_fd=dst_fd, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        os.rename(src, dst, src_dir_fd=src_fd, dst_dir_fd=dst_fd)


def exchange(a_fd: int, a: bytes, b_fd: int, b: bytes) -> bool:
    """Swap the names ``a_fd/a`` and ``b_fd/b``, which both exist, in one step.

    ``False``, and nothing done, where the kernel or the file system can't.
    """
    with _movable(a_fd, a, b_fd), _movable(b_fd, b, a_fd):
        return _renameat2(a_fd, a, b_fd, b, _RENAME_EXCHANGE)


def _renameat2(src_fd: int, src: bytes, dst_fd: int, dst: bytes, flags: int) -> bool:
    """Whether it was done; ``False`` where the system or the file system doesn't know the flags."""
    call = getattr(_LIBC, "renameat2", None)
    if call is None:
        return False
    if call(src_fd, ctypes.c_char_p(src), dst_fd, ctypes.c_char_p(dst), ctypes.c_uint(flags)) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_FLAGS:
        return False
    raise OSError(code, os.strerror(code))


@contextlib.contextmanager
def _movable(src_fd: int, name: bytes, dst_fd: int) -> Iterator[None]:
    """Let a read-only directory change its parent: that writes to its ``..``, so its owner needs the right to."""
    status = os.stat(name, dir_fd=src_fd, follow_symlinks=False)
    stays = os.path.samestat(os.fstat(src_fd), os.fstat(dst_fd))
    if stays or not stat.S_ISDIR(status.st_mode) or status.st_mode & stat.S_IWUSR or status.st_uid != os.geteuid():
        yield
        return
    with contextlib.ExitStack() as stack:
        fd = open_directory(src_fd, name)
        stack.callback(os.close, fd)
        stack.callback(os.fchmod, fd, stat.S_IMODE(status.st_mode))
        os.fchmod(fd, 0o700)
        yield


def open_directory(dir_fd: int, name: bytes) -> int:
    """A descriptor of the directory ``dir_fd/name``, which is never a symbolic link.

    One that its owner may not enter (mode 0000, or made under a strange umask) is made 0700 first.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        return os.open(name, flags, dir_fd=dir_fd)
    except PermissionError:
        handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=dir_fd)
        try:
            os.chmod(f"/proc/self/fd/{handle}", 0o700)
        finally:
            os.close(handle)
        return os.open(name, flags, dir_fd=dir_fd)


def sync_directory(fd: int) -> None:
    """Make the names in the directory *fd* durable."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that syncs no directories
            raise


def sync_tree(fd: int) -> None:
    """Make everything on the file system of *fd* durable, in one call for any number of files."""
    call = getattr(_LIBC, "syncfs", None)
    if call is None:
        os.sync()
    elif call(fd) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def free_space(path: str | bytes | int) -> int:
    """Bytes that can still be written to the file system of *path* (or of a descriptor), without root's reserve."""
    status = os.statvfs(path)
    if status.f_blocks == 0:  # a file system that doesn't say
        return sys.maxsize
    return status.f_frsize * status.f_bavail


def used_space(path: str | bytes | int) -> int:
    """Bytes that the file system of *path* (or of a descriptor) holds altogether."""
    status = os.statvfs(path)
    if status.f_blocks == 0:  # a file system that doesn't say
        return sys.maxsize
    return status.f_frsize * (status.f_blocks - status.f_bfree)


def mount_point(path: bytes) -> bytes:
    """Where the file system that holds *path* is mounted: for messages only."""
    place = os.path.realpath(path)
    while not os.path.ismount(place):
        place = os.path.dirname(place)
    return place
