"""Bundles and places made to lead an unpack astray: nothing outside of the destination is ever touched.

Each bundle is sealed with a valid key, by somebody who knows a recipient, and unpacked by the public verbs: by root and
by somebody else, to where nothing is and to where something is. Canaries beside the destinations are compared after.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import shutil
import signal
import sqlite3
import stat
import subprocess
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from forging import DEFAULT, HOME, KEY, STATE, Forgery, directory, hardlink, head_of_root, hot_journal, symlink
from support import SECRET
from trees import IS_ROOT, OTHER, as_user

import ocbundle
from ocbundle import agetext, cli
from ocbundle.errors import (
    DamagedBundle,
    GatewayRunning,
    InvalidRequest,
    TargetExists,
    TargetFailure,
)
from ocbundle.model import Profile, Role, Root
from ocbundle.outcomes import UnpackReport
from ocbundle.records import Row

PLACES = ["to a new directory", "to an existing directory", "into a new home", "into a home with a gateway"]
needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root")


@dataclass(frozen=True, kw_only=True)
class World:
    """A directory with a destination of each kind in it, and canaries beside them."""

    base: Path
    as_root: bool

    @property
    def canary(self) -> Path:
        return self.base / "canary"

    @property
    def home(self) -> Path:
        return self.base / "home"

    @property
    def state(self) -> Path:
        return self.home / ".openclaw"

    def make(self) -> None:
        (self.canary / "dir").mkdir(parents=True)
        (self.canary / "secret").write_text("secret")
        (self.canary / "dir" / "inner").write_text("inner")
        (self.canary / "link").symlink_to("secret")
        self.home.mkdir()
        (self.base / "out").mkdir()
        (self.base / "out" / "other").write_text("other")

    def prepare(self, place: str) -> None:
        """Put what is there at one of :data:`PLACES` there."""
        if not place.endswith("gateway"):
            return
        self.state.mkdir(mode=0o700)
        (self.state / "openclaw.json").write_text("{}")
        (self.state / "out").symlink_to(self.canary)
        (self.state / "file").symlink_to(self.canary / "secret")

    def run(self, work: Callable[[], None]) -> None:
        if self.as_root:
            work()
        else:
            as_user(work)

    def unpack(self, bundle: bytes, place: str, **options: object) -> UnpackReport:
        """Unpack to one of :data:`PLACES`."""
        path = self.base / "bundle"
        path.write_bytes(bundle)
        if place.startswith("to"):
            to = self.base / ("out" if "existing" in place else "new")
            return ocbundle.unpack(path, to, identities=KEY, **options)  # type: ignore[arg-type]
        options = {"replace": place.endswith("gateway"), **options}
        return ocbundle.unpack(path, home=self.home, identities=KEY, **options)  # type: ignore[arg-type]

    def there(self, place: str) -> Path:
        """Where the root ``default`` is, afterwards."""
        if place.startswith("to"):
            return self.base / ("out" if "existing" in place else "new") / "default"
        return self.state


def looks(where: Path) -> dict[str, tuple[object, ...]]:
    """Everything below *where*, and what can be told of it; times of directories that staging is made in aside."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(where.rglob("*")):
        status = path.lstat()
        held = b""
        if stat.S_ISREG(status.st_mode):
            held = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            held = os.fsencode(os.readlink(path))
        time_ns = 0 if path.name in {"home", "out", "."} else status.st_mtime_ns
        found[str(path.relative_to(where))] = (status.st_mode, status.st_uid, status.st_nlink, time_ns, held)
    found.pop("bundle", None)
    return found


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    """Import what unpacking imports late: a test's other user may not be able to read it."""
    with tempfile.TemporaryDirectory() as base:
        world = World(base=Path(base), as_root=True)
        world.make()
        database = Path(base) / "x.sqlite"
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("CREATE TABLE cron_jobs (store_key TEXT)")
            connection.commit()
        forgery = Forgery(profiles=[DEFAULT])
        config = forgery.file(b"openclaw.json", b"{}")
        stored = forgery.file(b"state/openclaw.sqlite", database.read_bytes())
        bundle = forgery.add(directory(), config, directory(b"state"), stored).bundle()
        for place in (PLACES[0], *PLACES[2:]):
            world.unpack(bundle, place)


@pytest.fixture(params=[pytest.param("root", marks=pytest.mark.ci), "somebody"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "root" and not IS_ROOT:
        pytest.skip("needs root")
    base = Path(tempfile.mkdtemp())
    world = World(base=base, as_root=request.param == "root")
    if not world.as_root and IS_ROOT:
        os.chown(base, OTHER, OTHER)
    world.run(world.make)
    yield world
    subprocess.run(["chmod", "-R", "u+rwx", base], check=True)
    shutil.rmtree(base)


# --- what the format can't say --------------------------------------------------------------------------------------


def raw(path: bytes, **changes: Any) -> Callable[[Forgery], Sequence[Row]]:  # noqa: ANN401
    """A root, and a file with a path or fields that may be anything."""
    return lambda forgery: [directory(), forgery.file(path, **changes)]


def rows(*wrong: Row) -> Callable[[Forgery], Sequence[Row]]:
    return lambda forgery: [directory(), forgery.file(b"a"), *wrong]


def through(link: Row, path: bytes) -> Callable[[Forgery], Sequence[Row]]:
    return lambda forgery: [directory(), link, forgery.file(path)]


UNSAYABLE: dict[str, Callable[[Forgery], Sequence[Row]]] = {
    "a path that leads up": raw(b"../canary/secret"),
    "a path that leads up from inside": raw(b"a/../../canary/secret"),
    "an absolute path": raw(b"/tmp/secret"),
    "an empty component": raw(b"a//b"),
    "a component that is a dot": raw(b"./a"),
    "a slash at the end": raw(b"a/"),
    "NUL in a path": raw(b"a\0b"),
    "the root again": lambda forgery: [directory(), forgery.file(b"")],
    "a path twice": rows(directory(b"b"), directory(b"b")),
    "a file that was a link before": through(symlink(b"a", b"../canary/secret"), b"a"),
    "a file through a link": through(symlink(b"b", b"../../canary"), b"b/secret"),
    "a file through an absolute link": through(symlink(b"b", b"/"), b"b/tmp/secret"),
    "a file below a file": rows(directory(b"a/b")),
    "a file below a hard link": rows(hardlink(b"b", b"a"), directory(b"b/c")),
    "a file below nothing": raw(b"b/c"),
    "a link that is the root": lambda _: [symlink(b"", b"/")],
    "a hard link out of the tree": rows(hardlink(b"b", b"../../canary/secret")),
    "a hard link to an absolute path": rows(hardlink(b"b", b"/etc/passwd")),
    "a hard link to a link": rows(symlink(b"b", b"/etc/passwd"), hardlink(b"c", b"b")),
    "a hard link to a directory": rows(directory(b"b"), hardlink(b"c", b"b")),
    "a hard link to itself": rows(hardlink(b"b", b"b")),
    "a hard link to what comes later": rows(hardlink(b"b", b"c"), directory(b"c")),
    "a hard link to nothing": rows(hardlink(b"b", b"aa")),
    "a device": rows([0, b"b", 4, 0o600, 0, 0, 1, None, None, None, None, None]),
    "a mode with the bits of a device": raw(b"b", mode=0o020600),
    "a link without a target": rows(symlink(b"b", b"")),
    "NUL in a link's target": rows(symlink(b"b", b"a\0b")),
    "a negative size": raw(b"a", size=-1),
    "a size that its extents don't have": raw(b"a", size=1 << 40),
    "an extent beyond its segment": raw(b"a", size=1000, extents=[[0, 0, 1000]]),
    "an extent of a segment that isn't there": raw(b"a", extents=[[1, 0, 4]]),
    "a time beyond all times": raw(b"a", mtime_ns=1 << 63),
    "a negative owner": raw(b"a", uid=-1),
    "an attribute of the system": raw(b"a", extra={"xattrs": [[b"security.capability", b"x"]]}),
    "an attribute that is an access list": raw(b"a", extra={"xattrs": [[b"system.posix_acl_access", b"x"]]}),
    "an attribute of trust": raw(b"a", extra={"xattrs": [[b"trusted.overlay.opaque", b"y"]]}),
    "a root that isn't there": rows(directory(b"", root=1)),
    "another content than its digest": raw(b"a", sha256=bytes(32)),
}  # fmt: skip


@pytest.mark.parametrize(
    "place", [PLACES[0], PLACES[3], *(pytest.param(place, marks=pytest.mark.ci) for place in PLACES[1:3])]
)
@pytest.mark.parametrize("attack", UNSAYABLE)
def test_what_the_format_can_not_say_is_refused_and_changes_nothing(world: World, attack: str, place: str) -> None:
    def work() -> None:
        forgery = Forgery()
        bundle = forgery.add(*UNSAYABLE[attack](forgery)).bundle()
        world.prepare(place)
        before = looks(world.base)
        with pytest.raises(DamagedBundle):
            world.unpack(bundle, place)
        assert looks(world.base) == before

    world.run(work)


@pytest.mark.parametrize("name", ["", ".", "..", "../canary", "a/b", "/canary", "a\0b", "a\x1b[2Jb", "a\nb", "x" * 256])
def test_a_root_whose_name_is_no_plain_component_is_refused(world: World, name: str) -> None:
    def work() -> None:
        head = head_of_root(name)
        before = looks(world.base)
        for place in PLACES[:3]:
            with pytest.raises(DamagedBundle):
                world.unpack(Forgery(head=head).batch([directory()]).bundle(), place)
        assert looks(world.base) == before

    world.run(work)


# --- what the format can say, and what becomes of it ----------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("target", [b"../../../canary", b"/etc/passwd", b"..", b"/"])
def test_a_link_that_points_out_is_a_link_and_nobody_follows_it(world: World, target: bytes, place: str) -> None:
    def work() -> None:
        world.prepare(place)
        before = looks(world.canary)
        forgery = Forgery()
        done = world.unpack(forgery.add(directory(), symlink(b"link", target)).bundle(), place)
        assert os.readlink(os.fsencode(world.there(place) / "link")) == target
        assert any("points out of its tree" in warning for warning in done.warnings)
        assert looks(world.canary) == before

    world.run(work)


def closed(place: str) -> int:
    """What is left of a state directory's own mode: in a home, nobody else is let in."""
    return 0o777 if place.startswith("to") else 0o700


ODD_NAMES = [
    b"C:x", b"a\\b", b"\n", b"\x1b[2J", b"-rf", b"~", b"$(id)", b"\xff\xfe", b" ", b"...", "\u202egpj.exe".encode(),
    "e\u0301".encode(), "\u00e9".encode(), b"con", b"a" * 255,
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_odd_names_arrive_as_they_are(world: World, place: str) -> None:
    def work() -> None:
        world.prepare(place)
        forgery = Forgery()
        world.unpack(forgery.add(directory(), *(forgery.file(name) for name in sorted(ODD_NAMES))).bundle(), place)
        assert sorted(os.listdir(os.fsencode(world.there(place)))) == sorted(ODD_NAMES)

    world.run(work)


@pytest.mark.parametrize("place", PLACES)
def test_rights_and_owners_that_were_not_asked_for_are_left_out(world: World, place: str) -> None:
    def work() -> None:
        world.prepare(place)
        forgery = Forgery()
        program = forgery.file(b"run", mode=0o6755, uid=0, gid=0)
        done = world.unpack(forgery.add(directory(mode=0o3777, uid=4242), program).bundle(), place)
        found = [path.stat() for path in (world.there(place), world.there(place) / "run")]
        assert [(stat.S_IMODE(each.st_mode), each.st_uid) for each in found] == [
            (0o777 & closed(place), os.geteuid()),
            (0o755, os.geteuid()),
        ]
        assert any("setuid, setgid or sticky" in warning for warning in done.warnings)

    world.run(work)


@pytest.mark.parametrize("world", ["somebody"], indirect=True)  # root may
def test_a_user_is_given_nobody_elses_files(world: World) -> None:
    def work() -> None:
        before = looks(world.base)
        with pytest.raises(TargetFailure, match="only root"):
            world.unpack(Forgery().add(directory(uid=4242)).bundle(), PLACES[0], owner="numeric")
        assert looks(world.base) == before

    world.run(work)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mode", [0, 0o555, 0o111, 0o222])
def test_directories_that_lock_everybody_out_arrive_full(world: World, mode: int, place: str) -> None:
    def work() -> None:
        world.prepare(place)
        forgery = Forgery()
        inside = [directory(b"a", mode=mode), directory(b"a/b", mode=mode), forgery.file(b"a/b/c")]
        world.unpack(forgery.add(directory(mode=mode), *inside).bundle(), place)
        modes = {"": mode & closed(place), "a": mode, "a/b": mode}
        for path, expected in modes.items():
            assert stat.S_IMODE((world.there(place) / path).stat().st_mode) == expected
            (world.there(place) / path).chmod(0o700)
        assert (world.there(place) / "a/b/c").read_text() == "data"

    world.run(work)


# --- places where somebody else has been ----------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("place", PLACES[:2])
def test_root_follows_no_link_of_a_user_to_where_that_user_may_not_write(place: str) -> None:
    with tempfile.TemporaryDirectory() as base:
        world = World(base=Path(base), as_root=True)
        world.make()
        theirs = Path(base, "theirs")
        theirs.symlink_to(world.canary)
        os.lchown(theirs, OTHER, OTHER)
        path = Path(base, "bundle")
        path.write_bytes(Forgery().add(directory()).bundle())
        before = looks(Path(base))
        with pytest.raises(TargetFailure, match=f"a link that user {OTHER} made leads there"):
            ocbundle.unpack(path, theirs / "new" if "new" in place else theirs, identities=KEY)
        assert looks(Path(base)) == before


@pytest.mark.parametrize("kind", ["link", "directory", "file"])
@pytest.mark.parametrize("place", PLACES)
def test_what_has_the_name_of_the_staging_directory_is_neither_filled_nor_emptied(
    world: World, place: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda _: "guessed")

    def work() -> None:
        world.prepare(place)
        parent = world.base / "out" if place == PLACES[1] else world.there(place).parent
        planted = (world.base if place == PLACES[0] else parent) / ".openclaw.guessed.staging"
        if kind == "link":
            planted.symlink_to(world.canary)
        elif kind == "directory":
            planted.mkdir()
            (planted / "default").symlink_to(world.canary)
        else:
            planted.touch()
        before = looks(world.base)
        with pytest.raises(TargetFailure):
            world.unpack(Forgery().add(directory(), directory(b"dir")).bundle(), place)
        assert looks(world.base) == before

    world.run(work)


@pytest.mark.parametrize("replace", [False, True], ids=["not to be replaced", "to be replaced"])
def test_links_planted_in_a_home_lead_nowhere(world: World, replace: bool) -> None:  # noqa: FBT001
    def work() -> None:
        world.prepare(PLACES[3])
        before = looks(world.canary)
        forgery = Forgery()
        inside = [forgery.file(b"file"), directory(b"out"), forgery.file(b"out/secret")]
        bundle = forgery.add(directory(), *inside).bundle()
        expected = contextlib.nullcontext() if replace else pytest.raises(TargetExists)
        with expected:
            world.unpack(bundle, PLACES[3], replace=replace)
        assert looks(world.canary) == before
        assert (world.state / "file").is_symlink() is not replace

    world.run(work)


@contextlib.contextmanager
def swapping(here: Path, there: Path, *, by: int) -> Iterator[None]:
    """Somebody who makes *here* a link to *there*, and a directory again, as fast as can be."""
    child = os.fork()
    if child == 0:
        if IS_ROOT:
            os.setresgid(by, by, by)
            os.setresuid(by, by, by)
        link, real = here.with_name("link"), here.with_name("real")
        while True:
            with contextlib.suppress(OSError):
                link.symlink_to(there)
            with contextlib.suppress(OSError):
                here.rename(real)
            with contextlib.suppress(OSError):
                link.rename(here)
            with contextlib.suppress(OSError):
                here.unlink()
            with contextlib.suppress(OSError):
                real.rename(here)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.ci
@pytest.mark.parametrize("where", ["to", "home"])
def test_whoever_swaps_a_directory_above_redirects_nothing(where: str) -> None:
    base = Path(tempfile.mkdtemp())
    base.chmod(0o755)
    world = World(base=base, as_root=True)
    world.make()
    racing = world.home / "racing"
    racing.mkdir()
    if IS_ROOT:
        for path in (world.home, racing):
            os.chown(path, OTHER, OTHER)
        world.canary.chmod(0o755)
    before = looks(world.canary)
    forgery = Forgery(roots=[dataclasses.replace(STATE, source=HOME + b"/racing/ws", role=Role.WORKSPACE)])
    path = base / "bundle"
    path.write_bytes(forgery.add(directory(), *(directory(b"%02d" % n) for n in range(20))).bundle())
    outcomes = {"done": 0, "refused": 0}
    ends = time.monotonic() + 2
    with swapping(racing, world.canary, by=OTHER):
        while time.monotonic() < ends:
            try:
                if where == "to":
                    ocbundle.unpack(path, racing / f"new{sum(outcomes.values())}", identities=KEY)
                else:
                    ocbundle.unpack(path, home=world.home, identities=KEY, replace=True, maps={HOME: world.home})
                outcomes["done"] += 1
            except TargetFailure:
                outcomes["refused"] += 1
    try:
        if IS_ROOT:  # otherwise the link is one's own, and may be followed
            assert looks(world.canary) == before
        assert sum(outcomes.values()) > 3
    finally:
        shutil.rmtree(base)


# --- manifests that say where to go ---------------------------------------------------------------------------------


def placed_at(source: bytes, role: Role = Role.WORKSPACE, *, home: bytes = HOME) -> bytes:
    forgery = Forgery(roots=[Root(name="r", role=role, source=source)], home=home)
    return forgery.add(directory(), forgery.file(b"authorized_keys")).bundle()


@pytest.mark.parametrize("place", PLACES[2:])
@pytest.mark.parametrize(
    ("source", "home"),
    [
        pytest.param(b"CANARY", HOME, id="a place outside"),
        pytest.param(HOME + b"/../canary", HOME, id="a way out of the home"),
        pytest.param(b"canary", HOME, id="a relative path"),
        pytest.param(HOME + b"/x\0/../../canary", HOME, id="NUL"),
        pytest.param(HOME, HOME, id="the home itself"),
        pytest.param(b"/", b"/", id="everything"),
        pytest.param(b"/etc/.ssh", b"/etc", id="a hidden directory of a false home"),
        pytest.param(HOME + b"/.ssh", HOME, id="the keys of SSH"),
        pytest.param(HOME + b"/.bashrc", HOME, id="what a shell runs"),
        pytest.param(HOME + b"/.config/systemd/user", HOME, id="what systemd runs"),
    ],
)
def test_a_manifest_sends_nothing_where_the_user_did_not(world: World, source: bytes, home: bytes, place: str) -> None:
    def work() -> None:
        world.prepare(place)
        before = looks(world.base)
        with pytest.raises(InvalidRequest):
            world.unpack(placed_at(source.replace(b"CANARY", bytes(world.canary)), home=home), place, replace=True)
        assert looks(world.base) == before

    world.run(work)


def test_what_the_user_names_is_obeyed(world: World) -> None:
    def work() -> None:
        to = world.home / ".ssh"
        world.unpack(placed_at(HOME + b"/.ssh"), PLACES[2], maps={HOME + b"/.ssh": to})
        assert os.listdir(to) == ["authorized_keys"]

    world.run(work)


def test_leave_to_replace_a_gateway_is_none_to_replace_documents(world: World) -> None:
    def work() -> None:
        (world.home / "Documents").mkdir()
        (world.home / "Documents" / "thesis.tex").write_text("thesis")
        before = looks(world.base)
        with pytest.raises(TargetExists, match="doesn't look like"):
            world.unpack(placed_at(HOME + b"/Documents"), PLACES[3])
        assert looks(world.base) == before

    world.run(work)


@pytest.mark.parametrize("source", [HOME + b"/.openclaw", HOME + b"/.openclaw/agents"])
def test_a_running_gateway_is_seen_whatever_the_manifest_calls_its_state(world: World, source: bytes) -> None:
    def work() -> None:
        world.prepare(PLACES[3])
        began = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        lock = world.state / f"tmp/openclaw-{os.getuid()}/gateway.state.lock"
        lock.parent.mkdir(parents=True)
        lock.write_text(json.dumps({"pid": os.getpid(), "startTime": began}))
        before = looks(world.base)
        with pytest.raises(GatewayRunning):
            world.unpack(placed_at(source), PLACES[3])
        assert looks(world.base) == before

    world.run(work)


def test_a_journal_in_a_bundle_deletes_nothing(world: World) -> None:
    def work() -> None:
        database = world.base / "x.sqlite"
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("CREATE TABLE cron_jobs (store_key TEXT)")
            connection.commit()
        before = looks(world.canary)
        forgery = Forgery()
        journal = hot_journal(database, bytes(world.canary / "secret"))
        stored = forgery.file(b"state/openclaw.sqlite", database.read_bytes())
        beside = forgery.file(b"state/openclaw.sqlite-journal", journal)
        done = world.unpack(forgery.add(directory(), directory(b"state"), stored, beside).bundle(), PLACES[2])
        assert looks(world.canary) == before
        assert any("a journal beside it" in warning for warning in done.warnings)

    world.run(work)


# --- names on a terminal --------------------------------------------------------------------------------------------

EVIL = "x\x1b]0;owned\x07\x1b[2J\r\n\u202e\u2028\x9b31m\u200b\x7f"
COMMANDS = [
    ["verify"], ["list"], ["list", "-l"], ["list", "--skipped"], ["inspect"], ["cat", "default/none"],
    ["cat", f"default/{EVIL}"], ["cat", f"default/{EVIL}none"], ["unpack", "--to", "new"],
    ["unpack", "--home", "home", "--dry-run"], ["unpack", "--home", "home"], ["diff"],
    ["unpack", "--home", "home", "--profile", "none"],
]  # fmt: skip


def evil_bundle() -> bytes:
    """A bundle whose every text tries to talk to a terminal."""
    profile = Profile(
        name=EVIL, state="default", agents=(EVIL,), channels=("whatsapp", EVIL), plugins=(EVIL,), secrets=(EVIL,),
        needs=(EVIL,), mode=EVIL, era=EVIL, version=EVIL, config=HOME + b"/.openclaw/" + EVIL.encode(),
        schemas={EVIL: 1},
    )  # fmt: skip
    root = Root(name="default", role=Role.STATE, source=HOME + b"/.openclaw", profile=EVIL)
    other = Root(name="r\u202e\u2028", role=Role.WORKSPACE, source=HOME + b"/w" + EVIL.encode(), profile=EVIL)
    forgery = Forgery(roots=[root, other], profiles=[profile], text=EVIL)
    forgery.add(directory(), forgery.file(EVIL.encode()), symlink(EVIL.encode() + b"l", b"/" + EVIL.encode()))
    forgery.add(directory(root=1), forgery.file(b"\xff" + EVIL.encode(), root=1))
    skipped = [0, b"s" + EVIL.encode(), EVIL, EVIL, EVIL]
    return forgery.bundle(skipped=[skipped])


@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["words", "JSON"])
@pytest.mark.parametrize("command", COMMANDS, ids=[" ".join(each).replace(EVIL, "evil") for each in COMMANDS])
def test_nothing_in_a_bundle_reaches_a_terminal_but_as_text(
    command: list[str],
    flags: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    (tmp_path / "evil.ocbundle").write_bytes(evil_bundle())
    (tmp_path / "key.txt").write_text(agetext.encode_identity(SECRET) + "\n")
    verb, *rest = command
    cli.run([verb, "evil.ocbundle", "-i", "key.txt", *flags, *rest], {"HOME": str(tmp_path)})
    shown = "".join(capsys.readouterr())
    bad = {c for c in shown if c != "\n" and unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}
    assert (bad, bool(shown)) == (set(), True)
    if flags and verb != "cat":
        assert all(json.loads(line) for line in shown.splitlines())
