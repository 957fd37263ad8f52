"""Commands to disturb, each with what it begins from, what it may end in, and how to look at it.

Everything lies on a file system in memory, where there is one: a sync then costs nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from trees import IS_ROOT, OTHER, mounted

import ocbundle
from faults.children import Run, import_everything
from ocbundle import publish
from ocbundle.model import Capture, Entry, Extent, Kind

Look = dict[str, object]
"""What is there, by path: kind, mode, owner, time, and what it holds."""

MTIME_NS: Final = 1_764_000_000_123_456_789
_DATABASE: Final = ".openclaw/state/openclaw.sqlite"
_BUNDLE: Final = "b.ocbundle"
LOG: Final = ".local/state/ocbundle"
_MOMENT: Final = re.compile(r"\.\d{8}T\d{6}Z(-\d+)?\.")
_CONFIG: Final = """{
  // by hand
  agents: { defaults: { workspace: "%(home)s/.openclaw/workspace" }, entries: { r: { workspace: "%(home)s/notes" } } },
  gateway: { auth: { token: "made-up" } },
}
"""


class Lab:
    """A gateway in ``alice``'s home, a bundle of it, and a place for ``bob``."""

    def __init__(self, top: Path, *, extra: int = 0) -> None:
        self.top = top
        self.alice = top / "alice"
        self.bob = top / "bob"
        self.out = top / "out"
        self.key = top / "key.txt"
        self.bundle = top / "gateway.ocbundle"
        import_everything()
        text, self.recipient = ocbundle.generate_identity(now=datetime.now(UTC))
        self.key.write_text(text)
        build_gateway(self.alice, extra=extra)
        ocbundle.pack(self.bundle, recipients=[self.recipient], environ={"HOME": str(self.alice)})

    @contextlib.contextmanager
    def volume(self) -> Iterator[None]:
        """With something mounted where bob's gateway is."""
        with mounted(self.bob / ".openclaw", "size=64m"):
            yield


@contextlib.contextmanager
def lab(*, extra: int = 0) -> Iterator[Lab]:
    """A laboratory, gone afterwards. *extra* is how many bytes the gateway has beside the few that it always has."""
    memory = "/dev/shm"  # noqa: S108 - a directory of our own inside
    where = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else None))
    where.chmod(0o755)
    try:
        yield Lab(where, extra=extra)
    finally:
        shutil.rmtree(where)


def build_gateway(home: Path, *, extra: int = 0) -> None:
    """A small one: two profiles, a workspace elsewhere, a database with rows in its log, links, and odd modes."""
    files = {
        ".openclaw/openclaw.json": _CONFIG % {"home": home},
        ".openclaw/.env": "TOKEN=made-up\n",
        ".openclaw/agents/main/sessions/s.jsonl": f'{{"type": "session", "cwd": "{home}/notes"}}\n{{"say": "hello"}}\n',
        ".openclaw/workspace/SOUL.md": "be kind\n",
        ".openclaw-work/openclaw.json": "{}\n",
        "notes/SOUL.md": "remember\n",
    }
    for path, text in files.items():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text(text)
        (home / path).chmod(0o600)
    (home / ".openclaw/workspace/link").symlink_to("SOUL.md")
    os.link(home / "notes/SOUL.md", home / "notes/same.md")
    block = 1 << 17
    for number in range(-(-extra // block)):
        (home / "notes" / f"{number}.bin").write_bytes(os.urandom(block))
    _build_database(home / ".openclaw/state/openclaw.sqlite", home)
    for directory, _, names in os.walk(home, topdown=False):
        for name in names:
            os.utime(os.path.join(directory, name), ns=(MTIME_NS, MTIME_NS), follow_symlinks=False)
        os.chmod(directory, 0o700)
        os.utime(directory, ns=(MTIME_NS, MTIME_NS))
    (home / ".openclaw-work").chmod(0o500)


def _build_database(path: Path, home: Path) -> None:
    path.parent.mkdir()
    making = path.with_suffix(".making")
    with contextlib.closing(sqlite3.connect(making)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA user_version=18")
        connection.execute("CREATE TABLE cron_jobs (store_key TEXT, job_id TEXT, PRIMARY KEY (store_key, job_id))")
        connection.execute("INSERT INTO cron_jobs VALUES (?, 'nightly')", [f"{home}/.openclaw/cron/jobs.json"])
        connection.commit()
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{making}{suffix}", f"{path}{suffix}")
    making.unlink()


def look(where: Path, *ignored: bytes, timeless: Collection[str] = ()) -> Look:
    """Everything below *where*, but for what is at or below *ignored*.

    The times of *timeless* tell nothing.
    """
    found: Look = {}
    for directory, directories, files in os.walk(os.fsencode(where)):
        directories[:] = [name for name in directories if os.path.join(directory, name) not in ignored]
        for name in [*directories, *files]:
            path = os.path.join(directory, name)
            if path in ignored:
                continue
            status = os.lstat(path)
            held = b""
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    held = hashlib.blake2b(file.read()).digest()
            elif stat.S_ISLNK(status.st_mode):
                held = os.readlink(path)
            shown = _MOMENT.sub(".WHEN.", os.fsdecode(os.path.relpath(path, os.fsencode(where))))
            time_ns = 0 if shown in timeless or shown.endswith(".replaced") else status.st_mtime_ns
            found[shown] = (status.st_mode, status.st_uid, status.st_gid, time_ns, held)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundled:
    """A bundle's mode, the entries in it, and the names of what it left out."""

    mode: int
    rows: Mapping[str, Entry]
    left: frozenset[str]


@dataclass(slots=True, kw_only=True)
class Scene:
    """One command, and the small world that it is run in."""

    name: str
    lab: Lab
    run: Run
    prepare: Callable[[], None]
    """Makes the world as it is before."""
    where: Path
    """What is looked at."""
    timeless: Collection[str] = ()
    """What in it has the time of the run itself."""
    apart: bool = False
    """Whether a kill may leave some of the roots new, and the others old."""
    places: tuple[Path, ...]
    """Directories in which a killed run may leave something."""
    again: tuple[str, ...]
    """A command line that must name what was left."""
    moves: bool = False
    """Whether things are put in place under a log, in bob's home."""
    before: Look = field(default_factory=dict)
    after: Look = field(default_factory=dict)

    def learn(self) -> None:
        """See what it is before, and after an undisturbed run."""
        self.prepare()
        self.before = self.look()
        ended = self.run.plainly()
        assert ended.code == 0, ended.said
        self.after = self.look()
        assert self.before != self.after

    def look(self, *ignored: bytes) -> Look:
        """What is there now; of the log's directories, only what is in them."""
        found = look(self.where, *ignored, timeless=self.timeless)
        for path in (LOG, ".local/state", ".local"):
            found.pop(path, None)
        return {path: self._bundle(path) if path.endswith(".ocbundle") else seen for path, seen in found.items()}

    def state(self, *ignored: bytes) -> str:
        """``old``, ``new``, ``less`` (new, but for what the bundle says it lacks), or what is wrong."""
        found = self.look(*ignored)
        if found in (self.before, self.after):
            return "old" if found == self.before else "new"
        wrong = [path for path in found.keys() | self.after.keys() if found.get(path) != self.after.get(path)]
        if self.apart and all(
            _part(found, top) in (_part(self.before, top), _part(self.after, top)) for top in map(_top, found)
        ):
            return "mixed"
        bundle = found.get(_BUNDLE)
        if wrong == [_BUNDLE] and isinstance(bundle, Bundled) and self._is_less(bundle):
            return "less"
        if wrong == [_DATABASE]:
            return "less"  # with the paths of before
        unlike = [path for path in found.keys() | self.before.keys() if found.get(path) != self.before.get(path)]
        return f"neither old ({sorted(unlike)[:4]} differ) nor new ({sorted(wrong)[:4]} differ)"

    def _is_less(self, bundle: Bundled) -> bool:
        """Whether each row is as it should be, or is of what the bundle says it lacks, or took as it could."""
        wanted = self.after[_BUNDLE]
        assert isinstance(wanted, Bundled)
        lacking = {name for name in wanted.rows if name not in bundle.rows}
        roots = {entry.root for entry in bundle.rows.values()}
        rootless = {name for name in lacking if wanted.rows[name].root not in roots}
        left = {name for name in lacking if any(name == gone or name.startswith(gone + "/") for gone in bundle.left)}
        if lacking != rootless | left:
            return False
        for name, row in bundle.rows.items():
            known = wanted.rows.get(name)
            # Without the file that it was a link to, a link is a file; a database that SQLite can't read is bytes.
            was_link = known is not None and known.kind is Kind.HARDLINK and lacking
            if row != known and not was_link and not (row.capture is Capture.SQLITE_RAW or name.endswith("-wal")):
                return False
        return True

    def _bundle(self, path: str) -> Bundled:
        """What a bundle holds: two of the same files never are the same bytes."""
        with ocbundle.Bundle.open(self.where / path, identities=[self.lab.key]) as bundle:
            bundle.check()
            rows = {entry.name: _without_place(entry) for entry in bundle.entries()}
            left = frozenset(row.name for row in bundle.skipped())
        return Bundled(mode=stat.S_IMODE(os.stat(self.where / path).st_mode), rows=rows, left=left)

    def left(self) -> list[bytes]:
        """Temporaries and staging directories that are there now, and in nobody's use."""
        return [path for place in self.places for path in publish.leftovers(os.fsencode(place))]

    def unfinished(self) -> list[Path]:
        """The logs of runs that were killed while they renamed."""
        return sorted((self.lab.bob / LOG).glob("unpack.*.intent"))

    def heal(self, how: str) -> Run:
        """The command that brings everything to one state."""
        return Run(arguments=("unpack", how, "--home", str(self.lab.bob)), environ=self.run.environ)


def _without_place(entry: Entry) -> Entry:
    """*entry* wherever in the bundle its content is."""
    extents = (Extent(0, 0, entry.size),) if entry.kind is Kind.FILE and entry.size else ()
    return entry.replace(extents=extents)


def _top(path: str) -> str:
    return path.partition("/")[0]


def _part(seen: Look, top: str) -> Look:
    """What is at and below *top*. That is made writable to be renamed, and a kill can leave it so."""
    part = {path: row for path, row in seen.items() if _top(path) == top}
    row = part.get(top)
    if isinstance(row, tuple):
        part[top] = (row[0] | stat.S_IRWXU, *row[1:])
    return part


def empty(directory: Path) -> None:
    """Make *directory*, or remove what is in it."""
    directory.mkdir(exist_ok=True)
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink() and not path.is_mount():
            shutil.rmtree(path)
        elif path.is_mount():
            empty(path)
        else:
            path.unlink()


def pack_scene(lab: Lab, *, force: bool) -> Scene:
    """``pack`` to a new name, or over an older bundle."""
    target = lab.out / _BUNDLE
    arguments = ("pack", "-r", lab.recipient, "-o", str(target), *(("--force",) if force else ()))
    environ = {"HOME": str(lab.alice), "PATH": ""}

    older = lab.top / "older.ocbundle"
    if force and not older.exists():
        source = ocbundle.Source(name="older", path=os.fsencode(lab.alice / "notes"))
        ocbundle.pack(older, [source], recipients=[lab.recipient])

    def prepare() -> None:
        empty(lab.out)
        if force:
            shutil.copy(older, target)

    again = ("pack", "-r", lab.recipient, "-o", str(lab.out / "again.ocbundle"))
    return Scene(
        name="pack --force" if force else "pack",
        lab=lab,
        run=Run(arguments=arguments, environ=environ),
        prepare=prepare,
        where=lab.out,
        places=(lab.out,),
        again=again,
    )


def lay_out_scene(lab: Lab, *, existing: bool) -> Scene:
    """``unpack --to`` a new directory, or into one that is there."""
    to = lab.out / "there" if existing else lab.out / "new"
    opened = ("unpack", "-i", str(lab.key), str(lab.bundle))

    def prepare() -> None:
        empty(lab.out)
        (lab.out / "there").mkdir()
        os.utime(lab.out / "there", ns=(MTIME_NS, MTIME_NS))

    return Scene(
        name=f"unpack --to {'an existing' if existing else 'a new'} directory",
        lab=lab,
        run=Run(arguments=(*opened, "--to", str(to)), environ={"HOME": str(lab.bob), "PATH": ""}),
        prepare=prepare,
        where=to if existing else lab.out,
        timeless=("new",),
        places=(lab.out, to),
        apart=existing,
        again=(*opened, "--to", str(to / "again" if existing else lab.out / "again")),
    )


def place_scene(lab: Lab, *, replace: bool, volume: bool = False) -> Scene:
    """``unpack`` into bob's home: an empty one, or one with a gateway; perhaps what is there is a mount point."""
    opened = ("unpack", "-i", str(lab.key), str(lab.bundle), "--home", str(lab.bob))
    state = lab.bob / ".openclaw"

    def prepare() -> None:
        empty(lab.bob)
        if replace:
            state.mkdir(exist_ok=True)
            os.chown(state, os.getuid(), os.getgid())
            state.chmod(0o711)
            (state / "openclaw.json").write_text("{}")
            (state / "own").mkdir(mode=0o500)
            (lab.bob / ".openclaw-work").mkdir(mode=0o500)
            (lab.bob / "notes").write_text("a file")
            made = (lab.bob / "notes", lab.bob / ".openclaw-work", state / "own", state / "openclaw.json", state)
            for path in made:
                os.utime(path, ns=(MTIME_NS, MTIME_NS))
        if IS_ROOT:
            os.chown(lab.bob, OTHER, OTHER)

    return Scene(
        name=f"unpack {'--replace' if replace else 'into an empty home'}{', a volume' if volume else ''}",
        lab=lab,
        run=Run(arguments=(*opened, *(("--replace",) if replace else ())), environ={"HOME": str(lab.bob), "PATH": ""}),
        prepare=prepare,
        where=lab.bob,
        timeless=(_DATABASE, *((".openclaw",) if volume else ())),
        places=(lab.bob, lab.bob / LOG, *((state,) if volume else ())),
        again=(*opened, "--replace"),
        moves=True,
    )


def all_scenes() -> dict[str, Callable[[Lab], Scene]]:
    """Every scene that this user can play, by a short name."""
    found: dict[str, Callable[[Lab], Scene]] = {
        "pack": partial(pack_scene, force=False),
        "pack-force": partial(pack_scene, force=True),
        "to-new": partial(lay_out_scene, existing=False),
        "to-existing": partial(lay_out_scene, existing=True),
        "home": partial(place_scene, replace=False),
        "home-replace": partial(place_scene, replace=True),
    }
    if IS_ROOT:
        found["home-volume"] = partial(place_scene, replace=True, volume=True)
    return found
