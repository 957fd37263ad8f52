"""Databases are taken whole, checked, and without a trace in the directory they live in."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import shutil
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from trees import IS_ROOT, mounted

from ocbundle import databases, limits
from ocbundle.databases import Captured
from ocbundle.errors import NoSpace


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "home"
    directory.mkdir()
    return directory


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    directory = tmp_path / "scratch"
    directory.mkdir(mode=0o700)
    return directory


@contextlib.contextmanager
def capturing(path: Path | bytes, scratch: Path, patience_s: float = 5.0) -> Iterator[Captured]:
    directory, name = os.path.split(os.fsencode(path))
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with databases.capture(descriptor, name, directory, str(scratch), patience_s=patience_s) as captured:
            yield captured
    finally:
        os.close(descriptor)


def taken(path: Path | bytes, scratch: Path, tmp_path: Path) -> Path:
    """The copy, kept after the block's end."""
    kept = tmp_path / "kept.sqlite"
    with capturing(path, scratch) as captured:
        assert captured.file is not None, captured.detail
        assert captured.detail is None
        kept.write_bytes(captured.file.read())
    return kept


def refusal(path: Path, scratch: Path, patience_s: float = 5.0) -> str:
    with capturing(path, scratch, patience_s) as captured:
        assert captured.file is None
        assert captured.detail is not None
        return captured.detail


@contextlib.contextmanager
def connected(path: Path | str) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def values(path: Path) -> list[int]:
    """The rows of a copy that stands alone, by a connection that would use side files if there were any."""
    with connected(path) as connection:
        return [value for (value,) in connection.execute("SELECT a FROM t ORDER BY a")]


def make(path: Path, *, mode: str, rows: int = 3) -> None:
    with connected(path) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")
        connection.execute("CREATE TABLE t (a INTEGER, b TEXT)")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO t VALUES (?, 'text')", ((n,) for n in range(rows)))
        connection.execute("COMMIT")


def make_wal_leftover(directory: Path, *, shm: bool) -> Path:
    """A database whose last row is only in its log, and nobody there: what a stopped gateway leaves."""
    made = directory.parent / "made.sqlite"
    path = directory / "x.sqlite"
    make(made, mode="wal")
    with connected(made) as connection:
        connection.execute("INSERT INTO t VALUES (99, 'only in the log')")
        for part in ("", "-wal", "-shm") if shm else ("", "-wal"):
            shutil.copy(f"{made}{part}", f"{path}{part}")
    return path


def snapshot(directory: Path) -> dict[str, tuple[bytes, int, int]]:
    state = {"": (b"", directory.stat().st_mtime_ns, directory.stat().st_mode)}
    for name in os.listdir(directory):
        status = os.stat(directory / name)
        # The index in shared memory belongs to the live connections; readers leave their marks in it.
        content = b"" if name.endswith("-shm") else (directory / name).read_bytes()
        state[name] = (content, 0 if name.endswith("-shm") else status.st_mtime_ns, status.st_mode)
    return state


WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    connection.execute(statement).fetchall()
print("ready", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def another_process(path: Path, *statements: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WRITER, str(path), *statements]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        assert process.stdin is not None
        process.stdin.close()


def crash(path: Path, *statements: str) -> None:
    """Leave *path* as a process that was killed in the middle of its work leaves it."""
    with another_process(path, *statements) as process:
        process.kill()


def test_a_log_whose_copy_cannot_be_looked_at_does_not_count_as_none(
    home: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.stat

    def stat(path: object, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
        if str(path).startswith(str(scratch)) and str(path).endswith("-wal"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)  # type: ignore[arg-type]

    with connected(home / "db") as connection:
        connection.execute("CREATE TABLE t (a)")
    monkeypatch.setattr(os, "stat", stat)
    assert "can't be read" in refusal(home / "db", scratch)


def test_a_database_is_known_by_its_first_bytes() -> None:
    assert databases.is_database(b"SQLite format 3\0\x10\0")
    assert not databases.is_database(b"SQLite format 3")


@pytest.mark.parametrize("shm", [False, True])
def test_rows_that_are_only_in_the_log_of_a_stopped_gateway_are_taken(
    home: Path, scratch: Path, tmp_path: Path, *, shm: bool
) -> None:
    path = make_wal_leftover(home, shm=shm)
    assert values(taken(path, scratch, tmp_path)) == [0, 1, 2, 99]


@pytest.mark.rule("R-12.8")
@pytest.mark.parametrize("shm", [False, True])
def test_a_stopped_gateways_directory_stays_as_it_is(home: Path, scratch: Path, *, shm: bool) -> None:
    path = make_wal_leftover(home, shm=shm)
    before = snapshot(home)
    with capturing(path, scratch):
        pass
    assert snapshot(home) == before


def test_a_copy_stays_in_wal_mode(home: Path, scratch: Path, tmp_path: Path) -> None:
    path = make_wal_leftover(home, shm=False)
    assert taken(path, scratch, tmp_path).read_bytes()[18:20] == b"\x02\x02"


def test_a_database_without_a_log_is_copied_byte_for_byte(home: Path, scratch: Path, tmp_path: Path) -> None:
    path = home / "x.sqlite"
    make(path, mode="wal")
    assert taken(path, scratch, tmp_path).read_bytes() == path.read_bytes()


def test_a_live_gateways_last_rows_are_taken(home: Path, scratch: Path, tmp_path: Path) -> None:
    path = home / "x.sqlite"
    make(path, mode="wal")
    with another_process(path, "INSERT INTO t VALUES (99, '')", "BEGIN", "INSERT INTO t VALUES (100, '')"):
        assert values(taken(path, scratch, tmp_path)) == [0, 1, 2, 99]


def test_a_live_databases_copy_stays_in_wal_mode(home: Path, scratch: Path, tmp_path: Path) -> None:
    path = home / "x.sqlite"
    make(path, mode="wal")
    with another_process(path, "INSERT INTO t VALUES (99, '')"):
        assert taken(path, scratch, tmp_path).read_bytes()[18:20] == b"\x02\x02"


def test_a_live_gateways_directory_stays_as_it_is(home: Path, scratch: Path) -> None:
    path = home / "x.sqlite"
    make(path, mode="wal")
    with another_process(path, "INSERT INTO t VALUES (99, '')"):
        before = snapshot(home)
        with capturing(path, scratch):
            pass
        assert snapshot(home) == before


def test_a_database_that_is_written_all_the_time_is_taken_consistent(home: Path, scratch: Path, tmp_path: Path) -> None:
    path = home / "x.sqlite"
    with connected(path) as connection:
        connection.execute("PRAGMA journal_mode=wal")
        connection.execute("CREATE TABLE t (a INTEGER)")
        connection.execute("CREATE TABLE u (a INTEGER)")
    stop = threading.Event()

    def write() -> None:
        with connected(path) as connection:
            number = 0
            while not stop.is_set():
                number += 1
                connection.execute("BEGIN")
                connection.execute("INSERT INTO t VALUES (?)", (number,))
                connection.execute("INSERT INTO u VALUES (?)", (number,))
                connection.execute("COMMIT")

    # The writer forks off into a process of its own: locks don't stand between the threads of one.
    child = os.fork()
    if child == 0:
        threading.Timer(20, stop.set).start()
        write()
        os._exit(0)
    try:
        time.sleep(0.2)
        for _ in range(5):
            copy = taken(path, scratch, tmp_path)
            with connected(copy) as connection:
                (pair,) = connection.execute("SELECT (SELECT max(a) FROM t), (SELECT max(a) FROM u)").fetchall()
            assert pair[0] == pair[1]
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_a_hot_journal_is_rolled_back_in_the_copy(home: Path, scratch: Path, tmp_path: Path) -> None:
    path = home / "x.sqlite"
    make(path, mode="delete", rows=2000)
    before = values(path)
    crash(path, "PRAGMA cache_size=1", "PRAGMA cache_spill=1", "BEGIN", "UPDATE t SET a = a + 5000, b = 'other'")
    assert (home / "x.sqlite-journal").stat().st_size > 0
    assert values(taken(path, scratch, tmp_path)) == before


def test_a_hot_journal_stays_where_it_is(home: Path, scratch: Path) -> None:
    path = home / "x.sqlite"
    make(path, mode="delete", rows=2000)
    crash(path, "PRAGMA cache_size=1", "PRAGMA cache_spill=1", "BEGIN", "UPDATE t SET a = a + 5000, b = 'other'")
    before = snapshot(home)
    with capturing(path, scratch):
        pass
    assert snapshot(home) == before


def test_a_rollback_database_with_a_writer_in_a_transaction_is_taken(home: Path, scratch: Path, tmp_path: Path) -> None:
    path = home / "x.sqlite"
    make(path, mode="delete")
    with another_process(path, "BEGIN IMMEDIATE", "INSERT INTO t VALUES (99, '')"):
        assert values(taken(path, scratch, tmp_path)) == [0, 1, 2]


@pytest.mark.parametrize("statements", [("BEGIN EXCLUSIVE",), ("PRAGMA locking_mode=EXCLUSIVE", "BEGIN IMMEDIATE")])
def test_a_database_that_is_locked_exclusively_is_left_to_the_caller(
    home: Path, scratch: Path, statements: tuple[str, ...]
) -> None:
    path = home / "x.sqlite"
    make(path, mode="delete")
    with another_process(path, *statements, "UPDATE t SET a = a + 1", "COMMIT", "BEGIN EXCLUSIVE"):
        assert refusal(path, scratch, patience_s=0.1) == "another process keeps it locked"


def test_a_database_in_exclusive_wal_mode_is_left_to_the_caller(home: Path, scratch: Path) -> None:
    path = home / "x.sqlite"
    make(path, mode="wal")
    with another_process(path, "PRAGMA locking_mode=EXCLUSIVE", "INSERT INTO t VALUES (99, '')"):
        assert refusal(path, scratch, patience_s=0.1) == "another process keeps it locked"


def test_a_writer_waits_no_longer_than_the_copy_takes(home: Path, scratch: Path) -> None:
    path = home / "x.sqlite"
    make(path, mode="delete")
    with capturing(path, scratch) as captured, connected(path) as connection:
        assert captured.file is not None
        connection.execute("INSERT INTO t VALUES (99, '')")
    assert values(path) == [0, 1, 2, 99]


def test_a_false_database_is_left_to_the_caller(home: Path, scratch: Path) -> None:
    path = home / "x.sqlite"
    path.write_bytes(b"SQLite format 3\0FAKE")
    assert "file is not a database" in refusal(path, scratch)


def test_a_damaged_database_is_left_to_the_caller(home: Path, scratch: Path) -> None:
    path = home / "x.sqlite"
    make(path, mode="delete", rows=5000)
    content = bytearray(path.read_bytes())
    content[8192:12288] = b"\xff" * 4096
    path.write_bytes(content)
    assert refusal(path, scratch).startswith("it is damaged: ")


def test_a_truncated_database_is_left_to_the_caller(home: Path, scratch: Path) -> None:
    path = home / "x.sqlite"
    make(path, mode="delete", rows=5000)
    os.truncate(path, path.stat().st_size // 2)
    assert "malformed" in refusal(path, scratch)


def test_constraints_with_octet_length_can_be_checked(home: Path, scratch: Path, tmp_path: Path) -> None:
    path = home / "x.sqlite"
    with connected(path) as connection:
        connection.create_function("octet_length", 1, lambda value: len(str(value).encode()), deterministic=True)
        connection.execute("CREATE TABLE t (a INTEGER, b TEXT CHECK (octet_length(b) = 2))")
        connection.execute("INSERT INTO t VALUES (7, 'ä')")
    taken(path, scratch, tmp_path)


def test_a_database_with_unknown_functions_is_taken_unchecked(home: Path, scratch: Path) -> None:
    path = home / "x.sqlite"
    with connected(path) as connection:
        connection.create_function("vec_length", 1, lambda _value: 2, deterministic=True)
        connection.execute("CREATE TABLE t (a INTEGER, b TEXT AS (vec_length(a)) NOT NULL)")
        connection.execute("INSERT INTO t VALUES (7)")
    with capturing(path, scratch) as captured:
        assert captured.file is not None
        assert captured.detail == "it couldn't be checked: unknown function: vec_length()"


def test_a_schema_from_a_newer_sqlite_is_taken_unchecked_with_its_log(home: Path, scratch: Path) -> None:
    made = home.parent / "made.sqlite"
    path = home / "x.sqlite"
    make(made, mode="wal")
    with connected(made) as connection:
        connection.execute("PRAGMA writable_schema=1")
        connection.execute("UPDATE sqlite_schema SET sql = sql || ' SHINY'")
        for part in ("", "-wal"):
            shutil.copy(f"{made}{part}", f"{path}{part}")
    with capturing(path, scratch) as captured:
        assert captured.file is not None
        assert captured.detail is not None
        assert captured.detail.startswith("it couldn't be checked: malformed database schema")
        assert b"SHINY" in captured.file.read()


@pytest.mark.parametrize("name", [b"a?b#c%20d.sqlite", b"\xff\xfe.sqlite", b"with space\n.sqlite"])
def test_any_name_can_be_taken_live(home: Path, scratch: Path, tmp_path: Path, name: bytes) -> None:
    directory = os.path.join(os.fsencode(home), b"dir?mode=rw#%41\xff")
    os.mkdir(directory)
    path = os.path.join(directory, name)
    make(Path(os.fsdecode(path)), mode="wal")
    with another_process(Path(os.fsdecode(path)), "INSERT INTO t VALUES (99, '')"):
        assert values(taken(path, scratch, tmp_path)) == [0, 1, 2, 99]


def test_a_live_database_whose_path_is_too_long_for_sqlite_is_taken(home: Path, scratch: Path, tmp_path: Path) -> None:
    make(home / "x.sqlite", mode="wal")
    with another_process(home / "x.sqlite", "INSERT INTO t VALUES (99, '')"):
        deep = home.parent / "/".join(["d" * 200] * 3)
        deep.parent.mkdir(parents=True)
        home.rename(deep)
        assert values(taken(deep / "x.sqlite", scratch, tmp_path)) == [0, 1, 2, 99]


def test_a_path_that_leads_elsewhere_than_the_descriptor_is_not_opened(
    home: Path, scratch: Path, tmp_path: Path
) -> None:
    make(home / "x.sqlite", mode="wal")
    other = tmp_path / "other"
    other.mkdir()
    make(other / "x.sqlite", mode="wal", rows=1)
    descriptor = os.open(home, os.O_RDONLY)
    try:
        with (
            another_process(home / "x.sqlite", "INSERT INTO t VALUES (99, '')"),
            databases.capture(descriptor, b"x.sqlite", os.fsencode(other), str(scratch)) as captured,
        ):
            assert captured.file is not None
            kept = tmp_path / "kept.sqlite"
            kept.write_bytes(captured.file.read())
    finally:
        os.close(descriptor)
    assert values(kept) == [0, 1, 2, 99]


def test_the_copy_is_private(home: Path, scratch: Path) -> None:
    path = make_wal_leftover(home, shm=False)
    old = os.umask(0)
    try:
        with capturing(path, scratch):
            (directory,) = scratch.iterdir()
            modes = [directory.stat().st_mode & 0o777, *(child.stat().st_mode & 0o777 for child in directory.iterdir())]
    finally:
        os.umask(old)
    assert modes == [0o700, 0o600]


def test_the_copy_is_gone_afterwards(home: Path, scratch: Path) -> None:
    path = make_wal_leftover(home, shm=False)
    with contextlib.suppress(ZeroDivisionError), capturing(path, scratch):
        raise ZeroDivisionError
    assert list(scratch.iterdir()) == []


def test_row_ids_stay_as_they_are(home: Path, scratch: Path, tmp_path: Path) -> None:
    path = home / "x.sqlite"
    make(path, mode="wal", rows=10)
    with another_process(path, "DELETE FROM t WHERE a < 5"):
        copy = taken(path, scratch, tmp_path)
    with connected(copy) as connection:
        assert connection.execute("SELECT min(rowid) FROM t").fetchone() == (6,)


def test_importing_the_library_leaves_sqlite_alone() -> None:
    program = "import sys, ocbundle.databases, ocbundle.scan; sys.exit('sqlite3' in sys.modules)"
    # A run that measures coverage keeps its data in a database of SQLite.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    subprocess.run([sys.executable, "-c", program], check=True, env=environ)


# --- files that change or go, and systems that refuse ----------------------------------------------------------------


def test_a_database_that_changes_each_time_is_left_to_the_caller(
    home: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(home / "x.sqlite", mode="delete")
    read, inode = os.read, (home / "x.sqlite").stat().st_ino

    def hooked(fd: int, length: int) -> bytes:
        if os.fstat(fd).st_ino == inode:
            os.utime(home / "x.sqlite")
        return read(fd, length)

    monkeypatch.setattr(os, "read", hooked)
    assert refusal(home / "x.sqlite", scratch) == "it changed each time it was copied"


def test_a_database_that_is_not_there_is_left_to_the_caller(home: Path, scratch: Path) -> None:
    assert refusal(home / "gone", scratch) == "it can't be opened: No such file or directory"


def test_where_the_system_has_no_such_locks_file_and_log_are_copied(
    home: Path, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(home / "x.sqlite", mode="wal")
    for name in ("F_OFD_GETLK", "F_OFD_SETLK"):
        monkeypatch.delattr(fcntl, name)
    with another_process(home / "x.sqlite", "INSERT INTO t VALUES (99, '')"):
        assert values(taken(home / "x.sqlite", scratch, tmp_path)) == [0, 1, 2, 99]


def test_a_database_that_somebody_keeps_from_readers_is_left_to_the_caller(home: Path, scratch: Path) -> None:
    make(home / "x.sqlite", mode="delete")
    with (home / "x.sqlite").open("r+b") as file:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, 0x40000002, 510, 0))
        assert refusal(home / "x.sqlite", scratch, patience_s=0) == "another process keeps it locked"


def test_a_path_that_leads_nowhere_is_not_opened(home: Path, scratch: Path) -> None:
    make(home / "x.sqlite", mode="wal")
    descriptor = os.open(home, os.O_RDONLY)
    try:
        with (
            another_process(home / "x.sqlite", "INSERT INTO t VALUES (99, '')"),
            databases.capture(descriptor, b"x.sqlite", b"/no/such", str(scratch)) as captured,
        ):
            assert captured.file is not None
    finally:
        os.close(descriptor)


class Failing(sqlite3.Connection):
    """A live database of which SQLite can't make a copy."""

    code: int

    def backup(self, *_: object, progress: Callable[[int, int, int], None], **__: object) -> None:  # type: ignore[override]
        if not self.code:
            progress(sqlite3.SQLITE_LOCKED, 1, 1)
        error = sqlite3.OperationalError("it failed")
        error.sqlite_errorcode = self.code
        raise error


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (0, "another process keeps it locked"),
        (sqlite3.SQLITE_BUSY, "another process keeps it locked"),
        (sqlite3.SQLITE_IOERR, "SQLite can't read it: it failed"),
        (sqlite3.SQLITE_FULL, None),
    ],
)
def test_a_copy_that_sqlite_can_not_make_is_told_or_ends_it_all(
    home: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, code: int, told: str | None
) -> None:
    make(home / "x.sqlite", mode="wal")
    monkeypatch.setattr(Failing, "code", code, raising=False)
    connect = sqlite3.connect
    with another_process(home / "x.sqlite", "INSERT INTO t VALUES (99, '')"):
        monkeypatch.setattr(sqlite3, "connect", lambda where, **options: connect(where, factory=Failing, **options))
        if told is None:
            with pytest.raises(NoSpace):
                refusal(home / "x.sqlite", scratch)
        else:
            assert refusal(home / "x.sqlite", scratch, patience_s=-1 if code == 0 else 5) == told


def test_a_copy_for_which_there_is_no_room_ends_it_all(home: Path, scratch: Path) -> None:
    make(home / "x.sqlite", mode="delete")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
    try:
        with pytest.raises(NoSpace) as caught:
            refusal(home / "x.sqlite", scratch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value.path).startswith(str(scratch))


def test_a_database_that_a_failing_disk_does_not_give_is_left_to_the_caller(
    home: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    make(home / "x.sqlite", mode="delete")
    monkeypatch.setattr(os, "read", refuse)
    assert refusal(home / "x.sqlite", scratch) == "it can't be read: Input/output error"


@pytest.mark.parametrize(
    ("step", "told"),
    [("_share", "it was removed"), ("_clear", "it can't be read: No such file or directory")],
)
def test_a_database_that_is_removed_in_the_midst_of_it_is_left_to_the_caller(
    home: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, step: str, told: str
) -> None:
    make(home / "x.sqlite", mode="delete")
    monkeypatch.setattr(databases, step, lambda *_: (home / "x.sqlite").unlink(missing_ok=True))
    assert refusal(home / "x.sqlite", scratch) == told


def test_a_log_that_is_a_pipe_is_refused_at_once(home: Path, scratch: Path) -> None:
    make(home / "x.sqlite", mode="delete")
    os.mkfifo(home / "x.sqlite-wal")
    assert refusal(home / "x.sqlite", scratch) == "one of its parts is no regular file"


@pytest.mark.skipif(not IS_ROOT, reason="mounts a file system")
@pytest.mark.parametrize("free", [None, limits.MIB], ids=["full", "another reason"])
def test_a_log_that_can_not_be_merged_is_not_left_out(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int | None
) -> None:
    make(home / "x.sqlite", mode="wal")
    crash(home / "x.sqlite", "PRAGMA wal_autocheckpoint=0", "INSERT INTO t VALUES (99, randomblob(3 << 20))")
    with mounted(tmp_path / "small", "size=4m") as small:
        if free is None:
            with pytest.raises(NoSpace):
                refusal(home / "x.sqlite", small)
        else:
            monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(free, 0, free))
            assert refusal(home / "x.sqlite", small) == "its write-ahead log can't be merged"
