"""The row of the scoreboard about a source that changes (S16): a process that writes without pause while it is packed.

Every state of every file can be recognised: by a number that only grows, by checksums, by the sum of all accounts.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import sqlite3
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import ocbundle
from faults.scenes import Lab
from ocbundle.model import Capture

PAGE: Final = 4096
PAGES: Final = {"small.pages": 8, "large.pages": 640}
"""How many pages each file has that is rewritten in place; the large one is more than one segment."""
WHOLE: Final = {"small.whole": 3_200, "large.whole": 1_500_000}
"""How long each file is that is replaced by renaming."""
GROWING: Final = ("events.jsonl", "more.jsonl")
DATABASES: Final = {"wal.sqlite": "WAL", "delete.sqlite": "DELETE"}
ACCOUNTS: Final = 20
BALANCE: Final = 1000
HEAD: Final = struct.Struct("<QQ")
"""A number, and the checksum of number and content."""
LARGE_EVERY: Final = 50
PACE_S: Final = 0.001
"""Between two writes."""


@dataclass(slots=True)
class Caught:
    """What bundles held of files that were being written."""

    packs: int = 0
    writes: int = 0
    seconds: float = 0.0
    files: int = 0
    states: int = 0
    """Files that are as they were at one moment."""
    listed: int = 0
    """Files of which the bundle says that they aren't, or may not be."""
    databases: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """In one line."""
        return (
            f"{self.packs} packs under {self.writes / self.seconds:.0f} writes/s: {self.files} files, {self.states} "
            f"states that existed, {self.listed} listed as changed; {self.databases} databases sound; "
            f"{len(self.problems)} problems"
        )


def pack_while_written(lab: Lab, *, packs: int) -> Caught:
    """Pack a directory some times while another process writes to all that is in it."""
    source = lab.top / "written"
    caught = Caught()
    with _writing(source) as count:
        began, before = time.monotonic(), count()
        for number in range(packs):
            target, out = lab.top / f"{number}.ocbundle", lab.top / f"unpacked-{number}"
            report = ocbundle.pack(target, [str(source)], recipients=[lab.recipient], live=True)
            ocbundle.unpack(target, out, identities=[lab.key])
            with ocbundle.Bundle.open(target, identities=[lab.key]) as bundle:
                captures = {entry.path.decode(): entry.capture for entry in bundle.entries()}
            listed = {name.partition("/")[2] for name in report.changed}
            for path, capture in captures.items():
                if (path in listed) != (capture is Capture.CHANGED):
                    caught.problems.append(f"{path}: listed otherwise in the report than in the bundle")
            _check(out / source.name, captures, caught)
            caught.packs += 1
        caught.writes, caught.seconds = count() - before, time.monotonic() - began
    return caught


def _check(where: Path, captures: dict[str, Capture], caught: Caught) -> None:
    for names, is_state in ((PAGES, are_pages), (WHOLE, is_whole), (GROWING, are_lines)):
        for name in names:
            caught.files += 1
            if captures.get(name) is Capture.CHANGED:
                caught.listed += 1
            elif name in captures and is_state((where / name).read_bytes()):
                caught.states += 1
            else:
                caught.problems.append(f"{name} ({captures.get(name)}) never was like this")
    for name in DATABASES:
        wrong = _wrong_in_database(where / name) if captures.get(name) is Capture.SQLITE else str(captures.get(name))
        if wrong:
            caught.problems.append(f"{name}: {wrong}")
        else:
            caught.databases += 1


# --- the writer ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _writing(where: Path) -> Iterator[Callable[[], int]]:
    """Another process that writes to *where*. What it gives tells how many writes there have been."""
    where.mkdir()
    shared = mmap.mmap(-1, 8)

    def count() -> int:
        number: int = struct.unpack("<Q", shared[:])[0]
        return number

    child = os.fork()
    if child == 0:
        try:
            _write(where, shared)
        finally:
            os._exit(1)
    try:
        while count() < 10 * LARGE_EVERY:
            assert os.waitpid(child, os.WNOHANG) == (0, 0), "the writer has ended"
            time.sleep(0.01)
        yield count
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "the writer has ended"
    finally:
        with contextlib.suppress(ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        shared.close()


def _write(where: Path, shared: mmap.mmap) -> None:
    """Write for ever. Each write is one system call, or one transaction: between any two there is a state."""
    pages = {name: os.open(where / name, os.O_RDWR | os.O_CREAT, 0o600) for name in PAGES}
    lines = {name: os.open(where / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) for name in GROWING}
    for name, many in PAGES.items():
        for number in range(many):
            os.pwrite(pages[name], record(number, PAGE), number * PAGE)
    databases = [_make_database(where / name, journal) for name, journal in DATABASES.items()]
    number = max(PAGES.values())
    numbers = dict(PAGES)
    while True:
        for name, fd in pages.items():
            os.pwrite(fd, record(numbers[name], PAGE), numbers[name] % PAGES[name] * PAGE)
            numbers[name] += 1
        for fd in lines.values():
            text = b"%d " % number
            os.write(fd, text + b"%d\n" % zlib.crc32(text))
        for connection in databases:
            _transfer(connection, number)
        for name, length in WHOLE.items():
            if name.startswith("small") or number % LARGE_EVERY == 0:
                (where / ".new").write_bytes(record(number, length))
                (where / ".new").rename(where / name)
        number += 1
        done = struct.unpack("<Q", shared[:])[0] + len(PAGES) + len(GROWING) + len(DATABASES) + 1
        shared[:] = struct.pack("<Q", done)
        time.sleep(PACE_S)


def record(number: int, length: int) -> bytes:
    """*length* bytes that tell their number, and whether they belong together."""
    body = struct.pack("<Q", number) * (length // 8 - 2)
    return HEAD.pack(number, zlib.crc32(body, number & 0xFFFFFFFF)) + body


def _number(data: bytes) -> int | None:
    """The number of a record; ``None`` if it isn't one."""
    if len(data) < HEAD.size:
        return None
    number: int = HEAD.unpack_from(data)[0]
    return number if data == record(number, len(data)) else None


def is_whole(data: bytes) -> bool:
    return len(data) > HEAD.size and _number(data) is not None


def are_pages(data: bytes) -> bool:
    """Whether the pages are those that were the newest at one moment; they are written in turn."""
    numbers = [_number(data[at : at + PAGE]) for at in range(0, len(data), PAGE)]
    if None in numbers or len(data) % PAGE:
        return False
    known = [number for number in numbers if number is not None]
    in_place = all(number % len(known) == at for at, number in enumerate(known))
    return in_place and len(known) in PAGES.values() and max(known) - min(known) == len(known) - 1


def are_lines(data: bytes) -> bool:
    """Whether these are whole lines, one after the other."""
    numbers = []
    for line in data.splitlines(keepends=True):
        text, space, check = line.partition(b" ")
        if not line.endswith(b"\n") or int(check) != zlib.crc32(text + space):
            return False
        numbers.append(int(text))
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _make_database(path: Path, journal: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=30)
    connection.execute(f"PRAGMA journal_mode={journal}")
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER)")
    connection.execute("CREATE TABLE transfer (number INTEGER PRIMARY KEY, amount INTEGER)")
    connection.execute("CREATE INDEX amounts ON transfer (amount)")
    connection.executemany("INSERT INTO account VALUES (?, ?)", [(at, BALANCE) for at in range(ACCOUNTS)])
    return connection


def _transfer(connection: sqlite3.Connection, number: int) -> None:
    amount = number % 7
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE account SET balance = balance - ? WHERE id = ?", (amount, number % ACCOUNTS))
    connection.execute("UPDATE account SET balance = balance + ? WHERE id = ?", (amount, (number * 7 + 1) % ACCOUNTS))
    connection.execute("INSERT INTO transfer VALUES (?, ?)", (number, amount))
    connection.execute("COMMIT")


def _wrong_in_database(path: Path) -> str:
    """What is wrong with a database of accounts, if anything is."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        (total,) = connection.execute("SELECT sum(balance) FROM account").fetchone()
        first, last, many = connection.execute("SELECT min(number), max(number), count(*) FROM transfer").fetchone()
    if verdict != "ok":
        return str(verdict)
    if total != ACCOUNTS * BALANCE:
        return f"{total} in all, not {ACCOUNTS * BALANCE}"
    return "" if not many or last - first == many - 1 else "a transaction is missing"
