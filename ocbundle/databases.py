"""SQLite databases, taken while they may be in use (section 12 of the specification, "Databases").

A database is its file, its write-ahead log and, after a crash, its rollback journal. :func:`capture` makes one private
file of them that holds every committed row, and checks it. The source directory is left as it is: no side files, no
checkpoint, no changed times. Nothing is ever vacuumed: row ids, and the full-text tables that refer to them, stay.

How it is taken depends on who holds it, which SQLite's own locks tell:

==========================================  =========================================================================
a live connection in WAL mode               one step of the backup interface, over a read-only connection. Stepped
                                            backups start again at each write, and may never end.
nobody, or a rollback-journal database      file, log and journal are copied under a shared lock; SQLite then recovers
                                            the copy. A read-only connection would create side files in the source.
a connection that locks everyone else out   not at all: the caller takes the bytes as they are
==========================================  =========================================================================

A process that itself has the database open should not call this: by POSIX, closing any descriptor of a file drops the
locks that the process holds on it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from ocbundle import limits
from ocbundle.errors import NoSpace

if TYPE_CHECKING:
    import sqlite3

MAGIC: Final = b"SQLite format 3\0"
WAL: Final = b"-wal"
SHM: Final = b"-shm"
JOURNAL: Final = b"-journal"
PARTS: Final = (WAL, SHM, JOURNAL)
"""What follows a database's name in the names of its side files."""

# The locking protocol of SQLite (os_unix.c, "The following locks are used"; wal.c, "WAL-index locks").
_PENDING: Final = (0x40000000, 1)
_SHARED: Final = (0x40000002, 510)
_DEAD_MAN: Final = (128, 1)
"""Byte of the -shm file that each live connection in WAL mode holds a read lock on."""

_PATIENCE_S: Final = 5.0
_TRIES: Final = 3
_SETTLE_NS: Final = 20_000_000
"""Two writes within a tick of the kernel's clock (at most 10 ms) can't be told apart by their times."""
_JOURNAL_MAGIC: Final = bytes.fromhex("d9d505f920a163d7")
"""Begins a rollback journal; one that also ends with it names a super-journal (pager.c, readSuperJournal)."""
_OPEN: Final = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """What :func:`capture` made of a database."""

    file: BinaryIO | None
    """A self-contained copy, at its start; ``None`` if SQLite can't read it, and its bytes should be taken raw."""
    detail: str | None = None
    """Why there is no copy, or why it couldn't be checked."""


class _Refused(Exception):
    """The database can't be taken through SQLite, for the reason in the message."""


def is_database(head: bytes) -> bool:
    """Whether a file that begins with *head* (16 bytes are enough) claims to be a database."""
    return head.startswith(MAGIC)


@contextlib.contextmanager
def capture(
    directory_fd: int, name: bytes, directory_path: bytes, scratch: str | bytes, *, patience_s: float = _PATIENCE_S
) -> Iterator[Captured]:
    """Take the database *name* of the directory *directory_fd*, which is also at *directory_path*.

    The copy is plaintext: it lies, 0600, in a directory of its own below *scratch*, and is gone when the block ends.
    *patience_s* is how long to wait for a lock.

    Raises:
        NoSpace: *scratch* is full.
    """
    import tempfile  # noqa: PLC0415 - importing ocbundle stays light

    private = tempfile.mkdtemp(prefix="database-", dir=os.fsdecode(scratch))
    try:
        target = os.path.join(private, "database")
        try:
            _take(directory_fd, name, directory_path, target, patience_s)
            detail = _check(target)
        except _Refused as refused:
            taken, detail = False, str(refused)
        else:
            taken = True
        # Outside the handler, so that the caller's own exceptions come through without a false context.
        with open(target, "rb") if taken else contextlib.nullcontext() as file:
            yield Captured(file=file, detail=detail)
    finally:
        shutil.rmtree(private)


def _take(directory_fd: int, name: bytes, directory_path: bytes, target: str, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    for _ in range(_TRIES):
        # This descriptor closes last: closing it would drop the locks of our own connection.
        with _opened(directory_fd, name) as database_fd:
            # A reader's lock: the last connection to close can't remove the log, and no journal can be rolled back.
            _share(database_fd, deadline)
            with _live(directory_fd, name) as live:
                source = os.path.join(directory_path, name)
                if live and _is_same(source, database_fd) and _back_up(source, target, deadline):
                    return
            if _copy_parts(directory_fd, name, target):
                _recover(target)
                return
    raise _Refused("it changed each time it was copied")


@contextlib.contextmanager
def _descriptor(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _opened(directory_fd: int, name: bytes) -> contextlib.AbstractContextManager[int]:
    try:
        return _descriptor(os.open(name, _OPEN, dir_fd=directory_fd))
    except OSError as error:
        raise _Refused(f"it can't be opened: {error.strerror}") from error


# --- Locks ---------------------------------------------------------------------------------------------------------


def _lock(descriptor: int, command: str, kind: str, span: tuple[int, int]) -> bool:
    """Ask for, or about, a lock that belongs to the descriptor (``F_OFD_…``); ``False`` if another's is in the way.

    Locks of that sort see, and are seen by, SQLite's, even those of this same process. Where there are none (another
    system, a network file system), nobody is ever in the way: comparing times before and after remains.
    """
    import fcntl  # noqa: PLC0415 - doesn't exist on Windows, where bundles can be read

    number: int | None = getattr(fcntl, command, None)
    if number is None:
        return True
    request = struct.pack("hhqqi0q", getattr(fcntl, kind), os.SEEK_SET, *span, 0)
    try:
        answer = fcntl.fcntl(descriptor, number, request)
    except OSError as error:
        return error.errno not in {errno.EAGAIN, errno.EACCES}
    return command != "F_OFD_GETLK" or struct.unpack_from("h", answer) == (fcntl.F_UNLCK,)


def _share(database_fd: int, deadline: float) -> None:
    """Take the shared lock of a reader, through the pending lock, so that a waiting writer isn't starved."""
    while True:
        if _lock(database_fd, "F_OFD_SETLK", "F_RDLCK", _PENDING):
            shared = _lock(database_fd, "F_OFD_SETLK", "F_RDLCK", _SHARED)
            _lock(database_fd, "F_OFD_SETLK", "F_UNLCK", _PENDING)
            if shared:
                return
        if time.monotonic() >= deadline:
            raise _Refused("another process keeps it locked")
        time.sleep(0.05)


@contextlib.contextmanager
def _live(directory_fd: int, name: bytes) -> Iterator[bool]:
    """Whether a connection in WAL mode is alive; within the block, its -shm file stays valid even if it dies."""
    try:
        descriptor = os.open(name + SHM, _OPEN, dir_fd=directory_fd)
    except OSError:
        yield False
        return
    with _descriptor(descriptor):
        # Held by nobody, the file is a leftover; then it mustn't be locked, for a newcomer would trust its content.
        live = not _lock(descriptor, "F_OFD_GETLK", "F_WRLCK", _DEAD_MAN)
        if live:
            live = _lock(descriptor, "F_OFD_SETLK", "F_RDLCK", _DEAD_MAN)
        yield live


def _is_same(source: bytes, database_fd: int) -> bool:
    """Whether the path that SQLite will open is the file that was opened by descriptor."""
    try:
        return os.path.samestat(os.stat(source, follow_symlinks=False), os.fstat(database_fd))
    except OSError:
        return False


# --- Copying -------------------------------------------------------------------------------------------------------


def _back_up(source: bytes, target: str, deadline: float) -> bool:
    """Copy a live database in one step; ``False`` if SQLite can't open it where it is."""
    import sqlite3  # noqa: PLC0415 - importing ocbundle stays light

    class Late(Exception):
        pass

    def watch(status: int, _remaining: int, _total: int) -> None:
        # Python's backup repeats a step that found a lock, for ever.
        if status != sqlite3.SQLITE_DONE and time.monotonic() > deadline:
            raise Late

    _create(target)
    try:
        with (
            contextlib.closing(_connect(source, "mode=ro")) as connection,
            contextlib.closing(_connect(os.fsencode(target), "mode=rw")) as copy,
        ):
            copy.execute("PRAGMA journal_mode=OFF")
            copy.execute("PRAGMA synchronous=OFF")
            connection.backup(copy, pages=-1, progress=watch, sleep=0.05)
    except Late as error:
        raise _Refused("another process keeps it locked") from error
    except sqlite3.Error as error:
        if _code(error) == sqlite3.SQLITE_CANTOPEN:  # a path over SQLite's 512 bytes, or no right to the -shm file
            _clear(target)
            return False
        raise _failure(error, target) from error
    return True


def _copy_parts(directory_fd: int, name: bytes, target: str) -> bool:
    """Copy file, log and journal; ``False`` if one of them changed meanwhile."""
    before = _stamps(directory_fd, name)
    newest = max(times[-1] for times in before if times is not None)
    if abs(time.time_ns() - newest) < _SETTLE_NS:
        time.sleep(_SETTLE_NS / 1e9)
        before = _stamps(directory_fd, name)
    _clear(target)
    try:
        for part in (b"", WAL, JOURNAL):
            _copy(directory_fd, name + part, target + part.decode(), required=not part)
    except OSError as error:
        if error.errno in _FULL:
            raise _no_space(target) from error
        raise _Refused(f"it can't be read: {error.strerror}") from error
    return _stamps(directory_fd, name) == before


def _copy(directory_fd: int, name: bytes, target: str, *, required: bool) -> None:
    try:
        descriptor = os.open(name, _OPEN, dir_fd=directory_fd)
    except FileNotFoundError:
        if required:
            raise
        return
    with _descriptor(descriptor):
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _Refused("one of its parts is no regular file")
        _create(target)
        with open(target, "wb", buffering=0) as copy:
            while chunk := os.read(descriptor, limits.MIB):
                rest = memoryview(chunk)
                while rest:
                    rest = rest[copy.write(rest) :]


def _stamps(directory_fd: int, name: bytes) -> list[tuple[int, ...] | None]:
    stamps: list[tuple[int, ...] | None] = []
    for part in (b"", WAL, JOURNAL):
        try:
            status = os.stat(name + part, dir_fd=directory_fd, follow_symlinks=False)
        except FileNotFoundError:
            stamps.append(None)
        else:
            stamps.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    if stamps[0] is None:
        raise _Refused("it was removed")
    return stamps


def _create(target: str) -> None:
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _clear(target: str) -> None:
    for part in (b"", *PARTS):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(target + part.decode())


# --- SQLite on the private copy --------------------------------------------------------------------------------------


def _recover(target: str) -> None:
    """Let SQLite roll back the copied journal, or bring the copied log into the file."""
    import sqlite3  # noqa: PLC0415

    parts = [target + part.decode() for part in (WAL, JOURNAL)]
    if not any(_size(part) for part in parts):
        # The file is complete in itself, and stays the same byte for byte.
        for part in parts:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)
        return
    _forget_super_journal(parts[1])
    try:
        with contextlib.closing(_connect(os.fsencode(target), "mode=rw")) as connection:
            # A transaction recovers, and closing the last connection checkpoints; neither reads the schema, which may
            # be too new for this SQLite. The file stays in WAL mode.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise _failure(error, target) from error
    if _size(parts[0]):
        if shutil.disk_usage(os.path.dirname(target)).free < limits.MIB:
            raise _no_space(target)
        raise _Refused("its write-ahead log can't be merged")


def _forget_super_journal(journal: str) -> None:
    """Decide as SQLite would what the super-journal means that the copied *journal* names, and take the name out.

    After it has rolled a journal back, SQLite deletes the super-journal. Whoever wrote the journal chose that path: it
    may be any file that this user can delete.
    """
    with contextlib.suppress(FileNotFoundError), open(journal, "r+b", buffering=0) as file:
        length = os.fstat(file.fileno()).st_size
        end = os.pread(file.fileno(), 16, length - 16) if length >= 16 else b""
        if end[8:] != _JOURNAL_MAGIC:
            return
        named = struct.unpack_from(">I", end)[0]
        name = os.pread(file.fileno(), min(named, length), max(0, length - 16 - named)).partition(b"\0")[0]
        if os.path.exists(name):
            # The transaction over several databases wasn't committed: without the name, it is rolled back all the same.
            os.pwrite(file.fileno(), bytes(len(_JOURNAL_MAGIC)), length - len(_JOURNAL_MAGIC))
        else:
            os.unlink(journal)


def _size(path: str) -> int:
    """Bytes in a file, none if it isn't there. A log that only can't be looked at must not count as none."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise _Refused(f"its copy can't be read: {error.strerror}") from error


def _check(target: str) -> str | None:
    """Check the copy; why it couldn't be checked, or ``None``.

    ``quick_check`` and not ``integrity_check``: on 25 MB with two indices and a full-text table it takes 20 ms instead
    of 100. What it leaves out is whether indices agree with their tables; such a database is still copied whole.
    """
    import sqlite3  # noqa: PLC0415

    try:
        with contextlib.closing(_connect(os.fsencode(target), "mode=ro&immutable=1")) as connection:
            # Constraints may call functions that this SQLite lacks (octet_length before 3.43), and a row that breaks
            # one isn't damage.
            connection.execute("PRAGMA ignore_check_constraints=ON")
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        unsound = _code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
        # SQLite says "malformed schema" of one that a newer SQLite made, too; its pages are copied all the same.
        if unsound and not str(error).startswith("malformed database schema"):
            raise _failure(error, target) from error
        return f"it couldn't be checked: {error}"
    if verdict != "ok":
        first = str(verdict).splitlines()[-1]
        raise _Refused(f"it is damaged: {first}")
    return None


def _connect(path: bytes, options: str) -> sqlite3.Connection:
    import sqlite3  # noqa: PLC0415
    from urllib.parse import quote_from_bytes  # noqa: PLC0415

    # The empty authority keeps a path that begins with two slashes from being read as a host.
    uri = f"file://{quote_from_bytes(os.path.abspath(path))}?{options}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_PATIENCE_S)


def _code(error: sqlite3.Error) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def _failure(error: sqlite3.Error, target: str) -> Exception:
    import sqlite3  # noqa: PLC0415

    code = _code(error)
    if code == sqlite3.SQLITE_FULL:
        return _no_space(target)
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return _Refused("another process keeps it locked")
    return _Refused(f"SQLite can't read it: {error}")


def _no_space(target: str) -> NoSpace:
    return NoSpace(
        "no room for the private copy of a database",
        path=os.path.dirname(target),
        hint="the copy needs as much room as the database itself, beside the bundle",
    )
