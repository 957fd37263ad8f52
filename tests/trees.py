"""Trees in memory to restore and to place, and somebody who isn't root to do it."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from ocbundle import restore
from ocbundle.model import Entry, Extent, Kind, Progress
from ocbundle.places import Owner, Select

IS_ROOT = os.geteuid() == 0
OTHER = 1500
MTIME = 1_600_000_000_123_456_789
NOW = 1_795_559_829
ASIDE = ".openclaw.%s.20261124T223709Z.replaced"


class Tree:
    """A bundle in memory: entries, and the content of files by path."""

    def __init__(self, root: str = "default") -> None:
        self.root = root
        self.rows: list[Entry] = []
        self.content: dict[bytes, list[bytes]] = {}

    def add(self, path: bytes, kind: Kind, **fields: object) -> Tree:
        values: dict[str, object] = {"mode": 0o700, "mtime_ns": MTIME, **fields}
        self.rows.append(Entry(root=self.root, path=path, kind=kind, **values))  # type: ignore[arg-type]
        return self

    def directory(self, path: bytes = b"", mode: int = 0o700, **fields: object) -> Tree:
        return self.add(path, Kind.DIRECTORY, mode=mode, **fields)

    def file(self, path: bytes, data: bytes = b"data", mode: int = 0o600, **fields: object) -> Tree:
        self.content[path] = [data] if data else []
        extents = (Extent(0, 0, len(data)),) if data else ()
        return self.add(path, Kind.FILE, mode=mode, **{"size": len(data), "extents": extents, **fields})

    def symlink(self, path: bytes, target: bytes) -> Tree:
        return self.add(path, Kind.SYMLINK, target=target)

    def hardlink(self, path: bytes, target: bytes) -> Tree:
        return self.add(path, Kind.HARDLINK, target=target)

    def forged(self, path: bytes, like: bytes) -> Tree:
        """The entry *like* under a path that the model would have refused."""
        entry = self.resolve_path(like)
        self.rows.remove(entry)
        self.rows.append(entry._replace(path=path))  # which checks nothing
        return self

    def entries(self) -> Iterator[Entry]:
        return iter(self.rows)

    def read(self, entry: Entry) -> Iterator[bytes]:
        return iter(self.content[entry.path])

    def resolve_path(self, path: bytes) -> Entry:
        return next(row for row in self.rows if row.path == path)

    def resolve(self, entry: Entry) -> Entry:
        return self.resolve_path(entry.target or b"")

    def restore(
        self,
        destination: str | Path,
        *,
        owner: Owner | None = None,
        select: Select | None = None,
        progress: Callable[[Progress], None] | None = None,
        before_publish: Callable[[], None] | None = None,
    ) -> restore.Restored:
        return restore.restore_tree(
            str(destination),
            self.entries,
            self.read,
            resolve=self.resolve,
            owner=owner or Owner.self(),
            select=select,
            progress=progress,
            before_publish=before_publish,
        )


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def as_user(work: Callable[[], None]) -> None:
    """Run *work* as somebody who isn't root, in a process of its own: what it does to that stays there."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if IS_ROOT:
                os.setgroups([])
                os.setresgid(OTHER, OTHER, OTHER)
                os.setresuid(OTHER, OTHER, OTHER)
            work()
        except BaseException:  # noqa: BLE001 - it goes to the parent, as text
            os.write(writing, traceback.format_exc().encode()[-4000:])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        problem = pipe.read().decode()
    os.waitpid(child, 0)
    assert not problem, problem


@contextlib.contextmanager
def users_directory() -> Iterator[Path]:
    """A directory of somebody who isn't root; pytest's own can't be reached by others."""
    where = Path(tempfile.mkdtemp())
    if IS_ROOT:
        os.chown(where, OTHER, OTHER)
    yield where
    subprocess.run(["chmod", "-R", "u+rwx", where], check=True)
    shutil.rmtree(where)


def gateway() -> Tree:
    tree = Tree().directory(mode=0o755).file(b"a.json", b'{"a": 1}', mode=0o644).directory(b"dir", mode=0o750)
    return tree.file(b"dir/b", b"", mode=0o400).symlink(b"dir/link", b"../a.json").hardlink(b"hard", b"a.json")


def workspace(root: str = "ws") -> Tree:
    return Tree(root).directory(mode=0o750).file(b"notes.md", b"be kind", mode=0o640)


def old_state(where: Path) -> Path:
    """What is there before: it shares one name with :func:`gateway`."""
    where.mkdir()
    where.chmod(0o711)
    (where / "a.json").write_text("old")
    (where / "old").mkdir()
    (where / "old" / "f").write_text("older")
    os.symlink("a.json", where / "link")
    return where


def looks(where: Path, *ignored: str) -> dict[str, tuple[str, int, bytes]]:
    """Everything below *where*: kind and mode, and what it holds."""
    found: dict[str, tuple[str, int, bytes]] = {}
    for path in sorted(where.rglob("*")):
        status = path.lstat()
        shown = str(path.relative_to(where))
        if any(shown == each or shown.startswith(each + "/") for each in ignored):
            continue
        held = b""
        if stat.S_ISREG(status.st_mode):
            held = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            held = os.fsencode(os.readlink(path))
        found[shown] = (stat.filemode(status.st_mode)[0], stat.S_IMODE(status.st_mode), held)
    return found


@contextlib.contextmanager
def mounted(where: Path, options: str = "size=8m") -> Iterator[Path]:
    where.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", where], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", where], check=True)
