"""A walk hands on everything, in order, holding still, and says what it left out and why."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocbundle import databases, limits, paths, reading, tally
from ocbundle.errors import SourceFailure, SourceMissing
from ocbundle.model import Capture, Entry, Kind, Progress, Reason, Skipped
from ocbundle.scan import ScanResult, measure, scan
from ocbundle.sources import Leave, Metadata, Rules, Sensitivity, Source, Verdict

MIB = limits.MIB


class Recorded:
    """A sink that remembers all it was given."""

    def __init__(self, hook: Callable[[bytes], None] = lambda _path: None) -> None:
        self.order: list[tuple[str, bytes]] = []
        self.entries: dict[bytes, Entry] = {}
        self.files: dict[bytes, bytes] = {}
        self.metadata: dict[bytes, Metadata] = {}
        self.captures: dict[bytes, Capture] = {}
        self.sensitivities: dict[bytes, Sensitivity] = {}
        self.skipped: dict[bytes, Skipped] = {}
        self.skips: list[tuple[str, bytes]] = []
        self.abandoned = 0
        self.hook = hook

    def add(self, entry: Entry) -> None:
        self.order.append((entry.root, entry.path))
        self.entries[entry.path] = entry
        self.hook(entry.path)

    def add_file(
        self, metadata: Metadata, data: bytes, *, sensitivity: Sensitivity, capture: Capture = Capture.PLAIN
    ) -> None:
        self.order.append((metadata.root, metadata.path))
        self.files[metadata.path] = data
        self.metadata[metadata.path] = metadata
        self.captures[metadata.path] = capture
        self.sensitivities[metadata.path] = sensitivity
        self.hook(metadata.path)

    def open_file(self, *, sensitivity: Sensitivity) -> RecordedFile:
        return RecordedFile(self, sensitivity)

    def skip(self, skipped: Skipped) -> None:
        self.skips.append((skipped.root, skipped.path))
        self.skipped[skipped.path] = skipped

    def reasons(self) -> dict[bytes, str]:
        return {path: str(row.reason) for path, row in self.skipped.items()}


class RecordedFile:
    def __init__(self, record: Recorded, sensitivity: Sensitivity) -> None:
        self.record = record
        self.sensitivity = sensitivity
        self.data = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        self.data += data
        self.record.hook(b"<piece>")

    def hole(self, length: int) -> None:
        self.write(bytes(length))

    def sha256(self) -> bytes:
        return hashlib.sha256(self.data).digest()

    def finish(self, metadata: Metadata, *, capture: Capture = Capture.PLAIN) -> None:
        self.record.add_file(metadata, bytes(self.data), sensitivity=self.sensitivity, capture=capture)

    def abandon(self) -> None:
        self.record.abandoned += 1


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "home"
    directory.mkdir()
    return directory


@pytest.fixture
def scratch(tmp_path: Path) -> str:
    directory = tmp_path / "scratch"
    directory.mkdir(mode=0o700)
    return str(directory)


def source(path: Path, name: str = "r", rules: Rules | None = None) -> Source:
    return Source(path=os.fsencode(path), name=name, rules=rules)


def scanned(path: Path, scratch: str, rules: Rules | None = None) -> tuple[Recorded, ScanResult]:
    record = Recorded()
    return record, scan([source(path, rules=rules)], record, scratch=scratch)


def write(path: Path, content: bytes = b"content", *, age_s: float = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if age_s:
        os.utime(path, (time.time() - age_s,) * 2)


def is_ascending(order: list[tuple[str, bytes]]) -> bool:
    keys = [(root, paths.sort_key(path)) for root, path in order]
    return all(one < other for one, other in itertools.pairwise(keys))


# --- kinds and names -------------------------------------------------------------------------------------------------


def test_files_are_handed_on_with_their_content(home: Path, scratch: str) -> None:
    write(home / "a/b/c.txt", b"hello")
    write(home / "large", os.urandom(3 * MIB + 17))
    record, result = scanned(home, scratch)
    assert record.files == {b"a/b/c.txt": b"hello", b"large": (home / "large").read_bytes()}
    assert (result.entries, result.size) == (5, 5 + 3 * MIB + 17)


def test_a_walk_begins_with_the_root_itself(home: Path, scratch: str) -> None:
    home.chmod(0o751)
    record, _ = scanned(home, scratch)
    assert record.order == [("r", b"")]
    assert record.entries[b""].mode == 0o751


def test_metadata_is_that_of_the_file(home: Path, scratch: str) -> None:
    write(home / "f")
    (home / "f").chmod(0o4640)
    os.utime(home / "f", ns=(1, -1_500_000_007))
    record, _ = scanned(home, scratch)
    status = (home / "f").stat()
    assert record.metadata[b"f"] == Metadata(
        root="r", path=b"f", mode=0o4640, uid=status.st_uid, gid=status.st_gid, mtime_ns=-1_500_000_007
    )


def test_names_are_bytes(home: Path, scratch: str) -> None:
    names = [b"\xff\xfe", b"new\nline", "ä".encode(), "a\u0308".encode(), b"back\\slash", b"C:x", b" ", b"-rf"]
    for name in names:
        write(Path(os.fsdecode(os.path.join(os.fsencode(home), name))), name)
    record, _ = scanned(home, scratch)
    assert record.files == {name: name for name in names}


def test_order_is_that_of_paths_with_slashes_as_nul(home: Path, scratch: str) -> None:
    for name in ("a/x", "a-b", "a.b", "a!", "ab/y"):
        write(home / name)
    record, _ = scanned(home, scratch)
    assert [path for _, path in record.order] == [b"", b"a", b"a/x", b"a!", b"a-b", b"a.b", b"ab", b"ab/y"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([b"a", b"a!", b"a-", b"\xff", b"b", b"a\x01", b".x"]), min_size=1, max_size=4),
        max_size=12,
    )
)
def test_entries_always_ascend_and_follow_their_parents(tree: list[list[bytes]]) -> None:
    with tempfile.TemporaryDirectory() as base:
        root = os.path.join(os.fsencode(base), b"root")
        os.mkdir(root)
        for components in tree:
            with contextlib.suppress(FileExistsError, NotADirectoryError):
                os.makedirs(os.path.join(root, *components[:-1]), exist_ok=True)
                with open(os.path.join(root, *components), "xb"):
                    pass
        record = Recorded()
        scan([Source(path=root, name="r")], record, scratch=base)
    assert is_ascending(record.order)
    seen = {path for _, path in record.order}
    assert all(paths.parent(path) in seen for _, path in record.order)


def test_symlinks_are_taken_as_they_are_and_not_followed(home: Path, scratch: str) -> None:
    (home / "cycle").symlink_to("cycle")
    (home / "dangling").symlink_to("nowhere/\udcff")
    (home / "dir").mkdir()
    (home / "into").symlink_to("dir")
    record, result = scanned(home, scratch)
    links = {path: entry.target for path, entry in record.entries.items() if entry.kind is Kind.SYMLINK}
    assert links == {b"cycle": b"cycle", b"dangling": b"nowhere/\xff", b"into": b"dir"}
    assert result.warnings == ()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../elsewhere"])
def test_a_symlink_out_of_what_is_packed_is_told(home: Path, scratch: str, target: str) -> None:
    (home / "dir").mkdir()
    (home / "dir/out").symlink_to(target)
    _, result = scanned(home, scratch)
    assert result.warnings == (f"r/dir/out points to {target}, which isn't packed",)


@pytest.mark.rule("R-12.4")
def test_what_cannot_be_stored_is_listed(home: Path, scratch: str) -> None:
    os.mkfifo(home / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(home / "sock"))
        record, result = scanned(home, scratch)
    assert record.reasons() == {b"pipe": "fifo", b"sock": "socket"}
    assert result.losses == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_is_listed(home: Path, scratch: str) -> None:
    os.mknod(home / "null", 0o20666, os.makedev(1, 3))
    record, _ = scanned(home, scratch)
    assert record.reasons() == {b"null": "device"}


def test_a_file_that_turns_into_a_pipe_does_not_hang(home: Path, scratch: str) -> None:
    write(home / "a")
    write(home / "b")

    def swap(path: bytes) -> None:
        if path == b"a":
            (home / "b").unlink()
            os.mkfifo(home / "b")

    record = Recorded(swap)
    scan([source(home)], record, scratch=scratch)
    assert (record.reasons(), record.skipped[b"b"].detail) == ({b"b": "vanished"}, tally.TURNED)


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_turns_into_a_symlink_is_not_followed(home: Path, scratch: str, kind: str) -> None:
    write(home / "a")
    write(home / "z/secret" if kind == "directory" else home / "z")

    def swap(path: bytes) -> None:
        if path == b"a":
            (home / "z").rename(home.parent / "moved")
            (home / "z").symlink_to(home.parent / "moved")

    record = Recorded(swap)
    scan([source(home)], record, scratch=scratch)
    assert record.reasons() == {b"z": "vanished"}
    assert list(record.files) == [b"a"]


# --- hard links ------------------------------------------------------------------------------------------------------


def test_later_hard_links_refer_to_the_first(home: Path, scratch: str) -> None:
    write(home / "m/first", b"once")
    for name in ("m/second", "z"):
        os.link(home / "m/first", home / name)
    record, result = scanned(home, scratch)
    targets = {path: entry.target for path, entry in record.entries.items() if entry.kind is Kind.HARDLINK}
    assert targets == {b"m/second": b"m/first", b"z": b"m/first"}
    assert (record.files, result.size) == ({b"m/first": b"once"}, 4)


def test_hard_links_across_roots_are_ordinary_files(home: Path, scratch: str) -> None:
    write(home / "a/f", b"once")
    (home / "b").mkdir()
    os.link(home / "a/f", home / "b/g")
    record = Recorded()
    scan([source(home / "a", "a"), source(home / "b", "b")], record, scratch=scratch)
    assert record.files == {b"f": b"once", b"g": b"once"}


def test_a_link_whose_first_name_is_left_out_is_taken_whole(home: Path, scratch: str) -> None:
    write(home / "a", b"once")
    os.link(home / "a", home / "b")
    record, _ = scanned(home, scratch, lambda path, _kind: leave() if path == b"a" else Sensitivity.CONTENT)
    assert record.files == {b"b": b"once"}


# --- attributes ------------------------------------------------------------------------------------------------------


@pytest.fixture
def attributes(home: Path) -> None:
    try:
        os.setxattr(home, "user.test", b"dir")
    except OSError:
        pytest.skip("no user attributes on this file system")


@pytest.mark.usefixtures("attributes")
def test_user_attributes_are_taken_from_files_and_directories(home: Path, scratch: str) -> None:
    write(home / "f")
    os.setxattr(home / "f", "user.b", b"\0\xff")
    os.setxattr(home / "f", "user.a", b"")
    record, _ = scanned(home, scratch)
    assert record.metadata[b"f"].xattrs == ((b"user.a", b""), (b"user.b", b"\0\xff"))
    assert record.entries[b""].xattrs == ((b"user.test", b"dir"),)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sets these")
@pytest.mark.usefixtures("attributes")
def test_other_attributes_are_not_taken(home: Path, scratch: str) -> None:
    write(home / "f")
    os.setxattr(home / "f", "trusted.x", b"1")
    record, _ = scanned(home, scratch)
    assert record.metadata[b"f"].xattrs == ()


@pytest.mark.rule("R-12.12")
@pytest.mark.usefixtures("attributes")
def test_the_mode_beside_an_access_list_is_not_its_mask(home: Path, scratch: str) -> None:
    write(home / "f")
    (home / "f").chmod(0o640)
    # user::rw- user:1500:rwx group::r-- mask::rwx other::---, whose mode reads 0670
    entries = [(1, 6, 0xFFFFFFFF), (2, 7, 1500), (4, 4, 0xFFFFFFFF), (16, 7, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)]
    value = (2).to_bytes(4, "little")
    for tag, rights, who in entries:
        value += tag.to_bytes(2, "little") + rights.to_bytes(2, "little") + who.to_bytes(4, "little")
    os.setxattr(home / "f", "system.posix_acl_access", value)
    assert (home / "f").stat().st_mode & 0o777 == 0o670
    record, result = scanned(home, scratch)
    assert record.metadata[b"f"].mode == 0o640
    assert result.warnings == ()


# --- rules and sources -----------------------------------------------------------------------------------------------


def leave() -> Leave:
    return Leave(Reason.EXCLUDED, "--exclude")


def test_rules_see_every_path_and_its_kind(home: Path, scratch: str) -> None:
    write(home / "d/f")
    (home / "l").symlink_to("d")
    os.mkfifo(home / "p")
    seen: list[tuple[bytes, str]] = []

    def rules(path: bytes, kind: str) -> Verdict:
        seen.append((path, kind))
        return Sensitivity.CONTENT

    scanned(home, scratch, rules)
    assert seen == [(b"d", "directory"), (b"d/f", "file"), (b"l", "symlink"), (b"p", "fifo")]


def test_a_directory_left_out_is_one_row(home: Path, scratch: str) -> None:
    write(home / "d/e/f")
    record, result = scanned(home, scratch, lambda path, _kind: leave() if path == b"d" else Sensitivity.CONTENT)
    row = Skipped(root="r", path=b"d", kind="directory", reason=Reason.EXCLUDED, detail="--exclude")
    assert (record.skipped, result.skipped, dict(result.skipped_counts)) == ({b"d": row}, (row,), {"excluded": 1})


def test_rules_say_how_sensitive_a_file_is(home: Path, scratch: str) -> None:
    write(home / "s")
    write(home / "t", b"x" * (MIB + 1))
    record, _ = scanned(home, scratch, lambda _path, _kind: Sensitivity.SECRET)
    assert set(record.sensitivities.values()) == {Sensitivity.SECRET}


def test_a_file_left_out_is_not_opened(home: Path, scratch: str) -> None:
    write(home / "f", age_s=100)
    before = (home / "f").stat().st_atime_ns
    scanned(home, scratch, lambda _path, _kind: leave())
    assert (home / "f").stat().st_atime_ns == before


def test_a_single_file_is_a_root_by_itself(home: Path, scratch: str) -> None:
    write(home / "config.json", b"{}")
    record, _ = scanned(home / "config.json", scratch, lambda _path, _kind: Sensitivity.SECRET)
    assert (record.files, record.sensitivities) == ({b"": b"{}"}, {b"": Sensitivity.SECRET})


def test_a_source_that_is_a_symlink_is_resolved(home: Path, scratch: str) -> None:
    write(home / "real/f")
    (home / "link").symlink_to("real")
    record, _ = scanned(home / "link", scratch)
    assert list(record.files) == [b"f"]


def test_a_source_inside_another_is_taken_once(home: Path, scratch: str) -> None:
    write(home / "inner/f")
    record = Recorded()
    scan([source(home, "outer"), source(home / "inner", "inner")], record, scratch=scratch)
    assert record.order == [("outer", b""), ("inner", b""), ("inner", b"f")]
    assert record.skipped[b"inner"].detail == "it is packed as inner"


def test_the_same_source_given_twice_is_taken_once(home: Path, scratch: str) -> None:
    write(home / "f")
    (home.parent / "again").symlink_to(home)
    record = Recorded()
    scan([source(home, "one"), source(home.parent / "again", "two")], record, scratch=scratch)
    assert record.order == [("one", b""), ("one", b"f")]
    assert record.reasons() == {b"": "nested"}


@pytest.mark.rule("R-12.9")
def test_the_bundle_being_made_is_left_out_of_itself(home: Path, scratch: str) -> None:
    write(home / "out.ocbundle.part")
    write(home / "private/db")
    own = [(s.st_dev, s.st_ino) for s in ((home / "out.ocbundle.part").stat(), (home / "private").stat())]
    record = Recorded()
    result = scan([source(home)], record, scratch=scratch, own=own)
    assert (record.order, record.reasons()) == ([("r", b"")], {})
    assert result.warnings == ("the bundle lies inside r: later ones will hold this one, unless they replace it",)


@pytest.mark.rule("R-12.4", "R-12.9")
def test_the_file_that_the_bundle_replaces_is_left_out_with_a_row(home: Path, scratch: str) -> None:
    write(home / "out.ocbundle")
    status = (home / "out.ocbundle").stat()
    record = Recorded()
    scan([source(home)], record, scratch=scratch, replaced=[(status.st_dev, status.st_ino)])
    assert record.reasons() == {b"out.ocbundle": "self"}


def test_a_missing_source_is_told_before_anything_is_taken(home: Path, scratch: str) -> None:
    record = Recorded()
    with pytest.raises(SourceMissing) as caught:
        scan([source(home), source(home / "none", "n")], record, scratch=scratch)
    assert (record.order, caught.value.path) == ([], str(home / "none"))
    assert caught.value.hint is not None


def test_a_source_that_is_a_pipe_is_refused(home: Path, scratch: str) -> None:
    os.mkfifo(home / "p")
    with pytest.raises(SourceFailure):
        scanned(home / "p", scratch)


def test_the_sinks_own_exceptions_pass_through(home: Path, scratch: str) -> None:
    write(home / "f")

    def fail(_path: bytes) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        scan([source(home)], Recorded(fail), scratch=scratch)


def test_a_failing_sink_leaves_no_descriptor_open(home: Path, scratch: str) -> None:
    write(home / "a/b/c/f", b"x" * (MIB + 1))

    def fail(path: bytes) -> None:
        if path == b"<piece>":
            raise BrokenPipeError

    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(BrokenPipeError):
        scan([source(home)], Recorded(fail), scratch=scratch)
    assert len(os.listdir("/proc/self/fd")) == before


# --- what can't be read ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def reachable() -> Iterator[Path]:
    """A directory that another user can reach, whatever the umask and the test runner's own directories."""
    with tempfile.TemporaryDirectory() as base:
        Path(base).chmod(0o755)
        yield Path(base)


def as_somebody_else(function: Callable[[], None]) -> None:
    """Run *function* in a process that isn't root's."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(1500)
                os.setuid(1500)
            function()
            code = 0
        except BaseException as error:  # noqa: BLE001 - told by the exit status
            sys.stderr.write(f"{error!r}\n")
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def make_partly_unreadable(base: Path) -> None:
    home = base / "home"
    for name in ("closed/f", "file", "fine", "listed/f", "other/f"):
        write(home / name)
    for path in (home, *home.rglob("*")):
        path.chmod(0o755)
        if os.geteuid() == 0:
            os.chown(path, 1500, 1500)
    (home / "closed").chmod(0)
    (home / "file").chmod(0)
    (home / "listed").chmod(0o444)


UNREADABLE = {b"closed": "unreadable", b"file": "unreadable", b"listed/f": "unreadable"}


def test_what_may_not_be_read_is_a_loss_and_not_the_end() -> None:
    def walk() -> None:
        record = Recorded()
        result = scan([source(base / "home")], record, scratch=str(base))
        assert record.reasons() == UNREADABLE
        assert list(record.files) == [b"fine", b"other/f"]
        assert result.losses == 3
        assert {path for _, path in record.order}.isdisjoint(record.skipped)

    with reachable() as base:
        make_partly_unreadable(base)
        as_somebody_else(walk)


def test_a_dry_run_notices_what_may_not_be_read() -> None:
    def walk() -> None:
        result = measure([source(base / "home")], thorough=True)
        assert {row.path: str(row.reason) for row in result.skipped} == UNREADABLE

    with reachable() as base:
        make_partly_unreadable(base)
        as_somebody_else(walk)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
def test_files_of_another_user_are_read_where_they_may_be() -> None:
    def walk() -> None:
        record = Recorded()
        scan([source(base / "home")], record, scratch=str(base))
        assert record.files == {b"f": b"content"}

    with reachable() as base:
        write(base / "home/f")
        (base / "home").chmod(0o755)
        (base / "home/f").chmod(0o644)
        as_somebody_else(walk)


def test_a_source_below_an_unlistable_directory_is_read() -> None:
    def walk() -> None:
        record = Recorded()
        scan([source(base / "up/home")], record, scratch=str(base))
        assert record.files == {b"f": b"content"}

    with reachable() as base:
        write(base / "up/home/f")
        (base / "up/home").chmod(0o755)
        (base / "up/home/f").chmod(0o644)
        (base / "up").chmod(0o711)
        as_somebody_else(walk)
        (base / "up").chmod(0o755)


def test_nothing_readable_at_all_is_an_error() -> None:
    def walk() -> None:
        with pytest.raises(SourceFailure):
            scan([source(base / "home")], Recorded(), scratch=str(base))

    with reachable() as base:
        (base / "home").mkdir(mode=0)
        if os.geteuid() == 0:
            os.chown(base / "home", 1500, 1500)
        as_somebody_else(walk)


def test_a_file_that_vanishes_is_listed(home: Path, scratch: str) -> None:
    write(home / "a")
    write(home / "b")
    record = Recorded(lambda path: (home / "b").unlink() if path == b"a" else None)
    result = scan([source(home)], record, scratch=scratch)
    assert (record.reasons(), result.losses) == ({b"b": "vanished"}, 1)


def test_a_log_that_sqlite_removes_is_no_loss(home: Path, scratch: str) -> None:
    write(home / "a")
    write(home / "b.sqlite-wal")
    record = Recorded(lambda path: (home / "b.sqlite-wal").unlink() if path == b"a" else None)
    result = scan([source(home)], record, scratch=scratch)
    assert (record.reasons(), result.losses) == ({b"b.sqlite-wal": "database-part"}, 0)


def test_a_directory_that_vanishes_is_listed(home: Path, scratch: str) -> None:
    write(home / "a")
    (home / "b").mkdir()
    record = Recorded(lambda path: (home / "b").rmdir() if path == b"a" else None)
    scan([source(home)], record, scratch=scratch)
    assert record.reasons() == {b"b": "vanished"}


# --- limits ----------------------------------------------------------------------------------------------------------


def dig(home: Path, levels: int, name: bytes = b"d") -> None:
    fd = os.open(home, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


def bury(home: Path) -> None:
    """Remove a tree that is too deep for ``rmtree``: what is below goes to the top, level by level."""
    while True:
        fd = os.open(home, os.O_RDONLY)
        for _ in range(200):
            try:
                below = os.open(os.listdir(fd)[0], os.O_RDONLY, dir_fd=fd)
            except IndexError:
                os.close(fd)
                return
            os.close(fd)
            fd = below
        rest = os.listdir(fd)
        if rest:
            os.rename(rest[0], home.parent / "rest", src_dir_fd=fd)
        os.close(fd)
        home.rename(home.parent / f"buried-{time.monotonic_ns()}")
        if not rest:
            return
        (home.parent / "rest").rename(home)


def test_a_tree_that_is_5000_deep_is_taken_as_far_as_the_format_goes(home: Path, scratch: str) -> None:
    dig(home, 5000)
    record, result = scanned(home, scratch)
    bury(home)
    deepest = b"/".join([b"d"] * limits.MAX_PATH_DEPTH)
    assert record.reasons() == {deepest: "limit"}
    assert (result.entries, result.losses) == (limits.MAX_PATH_DEPTH, 1)


def test_a_tree_of_exactly_the_depth_is_taken_whole(home: Path, scratch: str) -> None:
    dig(home, limits.MAX_PATH_DEPTH)
    record, result = scanned(home, scratch)
    assert (result.entries, record.skipped) == (limits.MAX_PATH_DEPTH + 1, {})


@pytest.mark.rule("R-12.5")
def test_paths_beyond_the_limit_are_listed(home: Path, scratch: str) -> None:
    dig(home, 20, b"d" * 240)
    record, result = scanned(home, scratch)
    (path,) = record.skipped
    assert limits.MAX_PATH - 240 <= len(path) <= limits.MAX_PATH
    assert (record.reasons()[path], result.losses) == ("limit", 1)


# --- files that change -----------------------------------------------------------------------------------------------


class Changer:
    """Changes a file each time the walk has begun to read it, by a hook in the kernel's stead."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path, *changes: Callable[[], None]) -> None:
        self.changes = list(changes)
        target = path.stat().st_ino
        read = os.read

        def hooked(fd: int, length: int) -> bytes:
            data = read(fd, length)
            if self.changes and os.fstat(fd).st_ino == target:
                self.changes.pop(0)()
            return data

        monkeypatch.setattr(os, "read", hooked)


def overwrite(path: Path, content: bytes) -> Callable[[], None]:
    def change() -> None:
        with path.open("r+b") as file:
            file.write(content)

    return change


def append(path: Path, content: bytes) -> Callable[[], None]:
    def change() -> None:
        with path.open("ab") as file:
            file.write(content)

    return change


def test_a_small_file_that_changes_once_is_read_again(
    home: Path, scratch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home / "f", b"old!")
    Changer(monkeypatch, home / "f", overwrite(home / "f", b"new!"))
    record, result = scanned(home, scratch)
    assert (record.files, record.captures, result.losses) == ({b"f": b"new!"}, {b"f": Capture.PLAIN}, 0)


@pytest.mark.rule("R-12.6")
def test_a_small_file_that_never_holds_still_is_stored_and_told(
    home: Path, scratch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home / "f", b"0")
    Changer(monkeypatch, home / "f", *(overwrite(home / "f", b"%d" % n) for n in range(1, 9)))
    record, result = scanned(home, scratch)
    assert record.captures == {b"f": Capture.CHANGED}
    assert (result.changed, result.losses) == (("r/f",), 1)


def test_a_small_file_that_grows_is_stored_as_it_began(
    home: Path, scratch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home / "log", b"line 1\n")
    Changer(monkeypatch, home / "log", append(home / "log", b"line 2\n"))
    record, result = scanned(home, scratch)
    assert (record.files, record.captures) == ({b"log": b"line 1\n"}, {b"log": Capture.GREW})
    assert (result.grew, result.losses) == (("r/log",), 0)


def test_a_file_that_shrinks_is_read_again(home: Path, scratch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home / "f", b"long content")
    Changer(monkeypatch, home / "f", lambda: os.truncate(home / "f", 4))
    record, _ = scanned(home, scratch)
    assert (record.files, record.captures) == ({b"f": b"long"}, {b"f": Capture.PLAIN})


def test_a_file_that_is_replaced_is_taken_as_the_new_one(
    home: Path, scratch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home / "f", b"old")
    write(home.parent / "new", b"new one")

    def replace() -> None:
        overwrite(home / "f", b"xxx")()
        (home.parent / "new").rename(home / "f")

    Changer(monkeypatch, home / "f", replace)
    record, result = scanned(home, scratch)
    assert (record.files, result.losses) == ({b"f": b"new one"}, 0)


def test_touching_a_file_does_no_harm(home: Path, scratch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home / "f", b"same")
    Changer(monkeypatch, home / "f", *[lambda: os.utime(home / "f")] * 9)
    record, result = scanned(home, scratch)
    assert (record.captures, result.losses) == ({b"f": Capture.PLAIN}, 0)


def test_a_young_file_is_read_twice(home: Path, scratch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A coarse clock gives two writes one time: only reading again tells that the second one came."""
    write(home / "f", b"old!")
    status = (home / "f").stat()

    Changer(monkeypatch, home / "f", overwrite(home / "f", b"new!"))
    monkeypatch.setattr("ocbundle.reading._is_same", lambda _one, _other: True)
    record, _ = scanned(home, scratch)
    assert time.time_ns() - status.st_ctime_ns < 1_000_000_000
    assert record.files == {b"f": b"new!"}


def large(seed: int) -> bytes:
    return bytes([seed]) * (2 * MIB + 5)


def test_a_large_file_that_changes_once_is_read_again(home: Path, scratch: str) -> None:
    write(home / "f", large(1))
    changes = [overwrite(home / "f", large(2))]

    def change(path: bytes) -> None:
        if path == b"<piece>" and changes:
            changes.pop()()

    record = Recorded(change)
    result = scan([source(home)], record, scratch=scratch)
    assert (record.files[b"f"] == large(2), record.captures, record.abandoned) == (True, {b"f": Capture.PLAIN}, 1)
    assert result.losses == 0


def test_a_large_file_that_never_holds_still_is_stored_and_told(home: Path, scratch: str) -> None:
    write(home / "f", large(0))
    counter = iter(range(1, 200))
    record = Recorded(lambda path: overwrite(home / "f", large(next(counter)))() if path == b"<piece>" else None)
    result = scan([source(home)], record, scratch=scratch)
    assert (record.captures, record.abandoned, result.losses) == ({b"f": Capture.CHANGED}, 1, 1)
    assert len(record.files[b"f"]) == result.size == 2 * MIB + 5


def test_a_large_file_that_grows_is_stored_as_it_began(home: Path, scratch: str) -> None:
    write(home / "log", large(7))
    record = Recorded(lambda path: append(home / "log", b"more")() if path == b"<piece>" else None)
    result = scan([source(home)], record, scratch=scratch)
    assert (record.files[b"log"] == large(7), record.captures) == (True, {b"log": Capture.GREW})
    assert (result.size, result.losses) == (2 * MIB + 5, 0)


def test_a_large_file_that_is_truncated_is_read_again(home: Path, scratch: str) -> None:
    write(home / "f", large(7))
    record = Recorded(lambda path: os.truncate(home / "f", 2 * MIB) if path == b"<piece>" else None)
    scan([source(home)], record, scratch=scratch)
    assert (record.files[b"f"] == large(7)[: 2 * MIB], record.captures) == (True, {b"f": Capture.PLAIN})


# --- databases -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def log_of(path: Path, rows: int = 1) -> Iterator[None]:
    """A database in use, whose rows are only in its log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=wal")
        connection.execute("CREATE TABLE t (a)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * rows)
        yield


def rows_of(content: bytes, tmp_path: Path) -> int:
    (tmp_path / "restored").write_bytes(content)
    with contextlib.closing(sqlite3.connect(tmp_path / "restored")) as connection:
        (count,) = connection.execute("SELECT count(*) FROM t").fetchone()
    assert isinstance(count, int)
    return count


@pytest.mark.rule("R-12.7")
@pytest.mark.parametrize("rows", [3, 2000])
def test_a_database_is_taken_with_its_log(home: Path, scratch: str, tmp_path: Path, rows: int) -> None:
    with log_of(home / "state/x.sqlite", rows):
        record, result = scanned(home, scratch)
    assert list(record.files) == [b"state/x.sqlite"]
    assert record.captures == {b"state/x.sqlite": Capture.SQLITE}
    assert rows_of(record.files[b"state/x.sqlite"], tmp_path) == rows
    assert record.reasons() == {b"state/x.sqlite-shm": "database-part", b"state/x.sqlite-wal": "database-part"}
    assert (result.size, result.losses) == (len(record.files[b"state/x.sqlite"]), 0)


def test_a_database_has_the_times_of_its_own_file(home: Path, scratch: str) -> None:
    with log_of(home / "x.sqlite"):
        os.utime(home / "x.sqlite", ns=(5, 5))
        record, _ = scanned(home, scratch)
    assert record.metadata[b"x.sqlite"].mtime_ns == 5


@pytest.mark.parametrize(
    ("ruled", "expected"),
    [(Sensitivity.CONTENT, Sensitivity.MIXED), (Sensitivity.SECRET, Sensitivity.SECRET)],
)
def test_a_database_is_mixed_unless_it_is_secret(
    home: Path, scratch: str, ruled: Sensitivity, expected: Sensitivity
) -> None:
    with log_of(home / "x.sqlite"):
        record, _ = scanned(home, scratch, lambda _path, _kind: ruled)
    assert record.sensitivities == {b"x.sqlite": expected}


@pytest.mark.parametrize("padding", [b"", b"\0" * MIB])
def test_a_false_database_is_taken_as_it_is(home: Path, scratch: str, padding: bytes) -> None:
    content = databases.MAGIC + b"FAKE" + padding
    write(home / "x.sqlite", content)
    record, result = scanned(home, scratch)
    assert (record.files, record.captures) == ({b"x.sqlite": content}, {b"x.sqlite": Capture.SQLITE_RAW})
    (warning,) = result.warnings
    assert warning.startswith("r/x.sqlite is a database taken as it is: SQLite can't read it: ")
    assert result.losses == 0


def test_the_log_of_a_database_taken_raw_is_taken_too(home: Path, scratch: str) -> None:
    write(home / "x.sqlite", databases.MAGIC + b"FAKE")
    for part in ("-journal", "-shm", "-wal"):
        write(home / f"x.sqlite{part}")

    def rules(path: bytes, _kind: str) -> Verdict:
        return Leave(Reason.DATABASE_PART) if path.endswith(databases.PARTS) else Sensitivity.CONTENT

    record, _ = scanned(home, scratch, rules)
    assert list(record.files) == [b"x.sqlite", b"x.sqlite-journal", b"x.sqlite-wal"]
    assert set(record.sensitivities.values()) == {Sensitivity.MIXED}


def test_a_log_without_its_database_is_an_ordinary_file(home: Path, scratch: str) -> None:
    write(home / "y.sqlite-wal")
    record, _ = scanned(home, scratch)
    assert list(record.files) == [b"y.sqlite-wal"]


@pytest.mark.rule("R-12.10")
def test_no_private_copy_stays_behind(home: Path, scratch: str) -> None:
    with log_of(home / "x.sqlite"):
        scanned(home, scratch)
    assert os.listdir(scratch) == []


# --- measuring and telling -------------------------------------------------------------------------------------------


def test_measuring_agrees_with_scanning(home: Path, scratch: str) -> None:
    write(home / "a/f", b"12345")
    write(home / "big", b"x" * (MIB + 1))
    os.link(home / "a/f", home / "a/g")
    os.mkfifo(home / "p")
    (home / "l").symlink_to("a")
    _, result = scanned(home, scratch)
    assert measure([source(home)]) == result


def test_measuring_tells_the_room_that_the_largest_database_needs(home: Path) -> None:
    with log_of(home / "x.sqlite", 20):
        pass
    with contextlib.closing(sqlite3.connect(home / "x.sqlite")) as connection:
        connection.execute("INSERT INTO t VALUES (zeroblob(2000000))")
        connection.commit()
        room = sum((home / name).stat().st_size for name in ("x.sqlite", "x.sqlite-wal"))
        assert measure([source(home)], thorough=True).largest_database == room


def test_progress_ends_with_everything_done(home: Path, scratch: str) -> None:
    for n in range(30):
        write(home / f"f{n}", b"12345")
    totals = measure([source(home)])
    told: list[Progress] = []
    scan([source(home)], Recorded(), scratch=scratch, totals=totals, progress=told.append)
    assert told[-1] == Progress(stage="pack", size=150, total_size=150, entries=31, total_entries=31)
    assert len(told) < 10


def test_warnings_are_bounded(home: Path, scratch: str) -> None:
    for n in range(tally.MAX_WARNINGS + 5):
        (home / f"l{n}").symlink_to("/elsewhere")
    _, result = scanned(home, scratch)
    assert (len(result.warnings), result.warnings[-1]) == (tally.MAX_WARNINGS + 1, "and 5 more warnings")


def test_hostile_names_are_escaped_in_what_is_told(home: Path, scratch: str) -> None:
    (home / "\x1b[2J").symlink_to("/\x07")
    _, result = scanned(home, scratch)
    assert result.warnings == ("r/\\x1b[2J points to /\\x07, which isn't packed",)


# --- what the system refuses in the midst of it -----------------------------------------------------------------------


class Refusing:
    """A system whose call fails for one file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, call: str, path: Path, code: int = errno.EIO) -> None:
        real, target = getattr(os, call), path.stat().st_ino

        def refuse(fd: int, *arguments: object) -> object:
            if os.fstat(fd).st_ino == target:
                raise OSError(code, os.strerror(code))
            return real(fd, *arguments)

        monkeypatch.setattr(os, call, refuse)


@pytest.mark.parametrize(
    ("size", "calls"),
    [(10, ("read", "pread")), (3 * MIB, ("read", "pread")), (3 * MIB, ("preadv",))],
    ids=["small", "large", "large, in the midst of it"],
)
def test_a_file_that_a_failing_disk_does_not_give_is_listed(
    home: Path, scratch: str, monkeypatch: pytest.MonkeyPatch, size: int, calls: tuple[str, ...]
) -> None:
    write(home / "bad", b"x" * size)
    write(home / "good")
    for call in calls:
        Refusing(monkeypatch, call, home / "bad")
    record, result = scanned(home, scratch)
    assert (list(record.files), record.reasons(), result.losses) == ([b"good"], {b"bad": "unreadable"}, 1)


@pytest.mark.parametrize("size", [10, 3 * MIB], ids=["small", "large"])
def test_a_file_that_comes_in_parts_is_whole(
    home: Path, scratch: str, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    content = os.urandom(size)
    write(home / "f", content)
    read, pread, preadv = os.read, os.pread, os.preadv
    monkeypatch.setattr(os, "read", lambda fd, length: read(fd, length // 2 + 1))
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: pread(fd, length // 2 + 1, offset))
    monkeypatch.setattr(
        os, "preadv", lambda fd, memories, offset: preadv(fd, [memories[0][: len(memories[0]) // 2 + 1]], offset)
    )
    record, _ = scanned(home, scratch)
    assert record.files == {b"f": content}


@pytest.mark.parametrize(
    "call", [reading.status_of, lambda fd: reading.read(fd, 1), lambda fd: reading.read_at(fd, 1, 0)]
)
def test_a_descriptor_that_is_no_more_is_unreadable(call: Callable[[int], object]) -> None:
    with pytest.raises(reading.Unreadable) as caught:
        call(-1)
    assert caught.value.error.errno == errno.EBADF


@pytest.mark.parametrize("longer", [False, True], ids=["filled", "longer"])
def test_a_hole_that_is_filled_meanwhile_is_none(tmp_path: Path, *, longer: bool) -> None:
    (tmp_path / "f").touch()
    os.truncate(tmp_path / "f", 8 * MIB)
    with (tmp_path / "f").open("r+b") as file:
        before = os.fstat(file.fileno())
        file.write(b"x" * 8 * MIB)
        if longer:
            os.truncate(file.fileno(), 20 * MIB)
        file.flush()
        assert reading.has_holes(file.fileno(), before) is False


def test_a_directory_above_that_is_gone_loses_its_root_alone(
    home: Path, tmp_path: Path, scratch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "other/f")
    opened = os.open

    def refuse(path: object, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == os.fsencode(home.parent):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return opened(path, flags, mode, dir_fd=dir_fd)  # type: ignore[arg-type]

    record = Recorded()
    monkeypatch.setattr(os, "open", refuse)
    scan([source(home, "a"), source(tmp_path / "other", "b", None)], record, scratch=scratch)
    assert record.skips == [("a", b""), ("b", b"")]


def test_beyond_the_most_entries_of_a_bundle_all_is_listed(
    home: Path, scratch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        write(home / name)
    monkeypatch.setattr(limits, "MAX_ENTRIES", 2)
    record, _ = scanned(home, scratch)
    assert (list(record.files), record.reasons()) == ([b"a"], {b"b": "limit", b"c": "limit"})


def test_a_directory_that_can_not_be_listed_is_told(home: Path, scratch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home / "bad/f")
    write(home / "good")
    Refusing(monkeypatch, "scandir", home / "bad")
    record, _ = scanned(home, scratch)
    assert (list(record.files), record.reasons()) == ([b"good"], {b"bad": "unreadable"})


def test_a_link_that_can_not_be_read_is_told(home: Path, scratch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (home / "link").symlink_to("f")
    monkeypatch.setattr(os, "readlink", refuse)
    record, _ = scanned(home, scratch)
    assert record.reasons() == {b"link": "unreadable"}


def test_a_link_whose_target_is_too_long_is_told(home: Path, scratch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "link").symlink_to("four")
    monkeypatch.setattr(limits, "MAX_SYMLINK", 3)
    record, _ = scanned(home, scratch)
    assert record.reasons() == {b"link": "limit"}


def test_a_source_that_is_a_circle_of_links_is_an_error(home: Path, scratch: str) -> None:
    (home / "circle").symlink_to("circle")
    with pytest.raises(SourceFailure, match="can't be read: too many levels"):
        scanned(home / "circle", scratch)


def test_without_sources_nothing_is_walked(scratch: str) -> None:
    assert scan([], Recorded(), scratch=scratch).entries == 0


def test_a_name_that_vanishes_while_it_is_listed_is_told(
    home: Path, scratch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that doesn't tell kinds with the names has to look at each of them."""

    class Vanished:
        name = "gone"

        def is_file(self, **_: bool) -> bool:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(os, "scandir", lambda _: contextlib.nullcontext([Vanished()]))
    record, result = scanned(home, scratch)
    assert (record.reasons(), result.losses) == ({b"gone": "vanished"}, 1)


def test_a_file_beside_a_database_is_no_part_of_it(home: Path, scratch: str) -> None:
    with contextlib.closing(sqlite3.connect(home / "a.sqlite")) as connection:
        connection.execute("CREATE TABLE t (a)")
    write(home / "b.txt")
    record, _ = scanned(home, scratch)
    assert list(record.files) == [b"a.sqlite", b"b.txt"]


def test_of_what_was_left_and_of_what_moved_the_first_are_named(
    home: Path, scratch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "REPORT_ROWS", 1)
    for name in ("changing", "changing too", "growing", "growing too"):
        write(home / name, b"0")
    for name in ("pipe", "pipe too"):
        os.mkfifo(home / name)
    capture = {b"c": Capture.CHANGED, b"g": Capture.GREW}
    monkeypatch.setattr(
        reading, "judge", lambda fd, *_, **__: capture[os.readlink(b"/proc/self/fd/%d" % fd).rpartition(b"/")[2][:1]]
    )
    record, result = scanned(home, scratch)
    assert (len(result.skipped), result.changed, result.grew) == (1, ("r/changing",), ("r/growing",))
    assert (len(record.skipped), result.losses) == (2, 2)
