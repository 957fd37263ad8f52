"""A bundle beside what it was packed from: which differences are told, and which aren't any."""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

import ocbundle
from ocbundle import Source, agefile, agetext, difference, keyholders
from ocbundle.difference import Aspect, Change, Comparison, Difference
from ocbundle.errors import SourceMissing
from ocbundle.model import Reason
from ocbundle.openclaw import counterpart, discover
from ocbundle.sources import Leave, Rules, Sensitivity

KEY: Final = keyholders.parse_identities(agetext.encode_identity(bytes(range(32))).encode(), "key.txt")
RECIPIENT: Final = agetext.encode_recipient(agefile.x25519_public(bytes(range(32))))
DAY_S: Final = 86_400

Change_ = tuple[str, str, tuple[str, ...]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A gateway with one external workspace, a database, links, and something that can be made again."""
    top = tmp_path / "home"
    state = top / ".openclaw"
    write(state / "openclaw.json", json.dumps({"agents": {"defaults": {"workspace": f"{top}/ws"}}}))
    write(state / ".env", "TOKEN=FAKE\n")
    write(state / "credentials/whatsapp/default/creds.json", "{}")
    write(state / "logs/gateway.log", "log\n")
    write(state / "workspace-old/notes.md", "notes\n")
    write(state / "big.bin", "x" * (3 << 20))
    (state / "link").symlink_to("openclaw.json")
    (state / "also.bin").hardlink_to(state / "big.bin")
    write(top / "ws/AGENTS.md", "agents\n")
    with database(state / "state/openclaw.sqlite") as connection:
        connection.execute("CREATE TABLE t (x)")
    return top


def write(path: Path, text: str, mode: int = 0o600) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def database(path: Path) -> closing[sqlite3.Connection]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    return closing(connection)


class Packed:
    """A bundle of a home, and the comparison with what is there."""

    def __init__(
        self, home: Path, scratch: Path, *, workspaces: bool = True, only_config: bool = False, everything: bool = False
    ) -> None:
        self.environ = {"HOME": str(home)}
        self.scratch = scratch
        found = discover(self.environ, workspaces=workspaces, only_config=only_config, everything=everything)
        self.data = io.BytesIO()
        ocbundle.pack(
            self.data, found.sources, profiles=found.profiles, recipients=[RECIPIENT], environ=self.environ,
            scratch=scratch, random=os.urandom,
        )  # fmt: skip
        self.bundle = ocbundle.Bundle.open(self.data, identities=KEY)

    def live(self) -> tuple[Source, ...]:
        return counterpart.live(self.bundle.manifest, self.bundle.entries(), self.bundle.skipped(), self.environ)

    def below(self, directory: Path) -> tuple[Source, ...]:
        return counterpart.below(self.bundle.manifest, self.bundle.entries(), os.fsencode(directory))

    def compare(self, sources: Iterable[Source]) -> tuple[list[Difference], Comparison]:
        found: list[Difference] = []
        done = difference.compare(
            self.bundle.entries(), list(sources), found.append,
            content=self.bundle.reader.content, scratch=str(self.scratch), skipped=self.bundle.skipped(),
        )  # fmt: skip
        return found, done

    def changes(self, sources: Iterable[Source] | None = None) -> list[Change_]:
        found, _ = self.compare(self.live() if sources is None else sources)
        return [(str(one.change), one.name, tuple(map(str, one.what))) for one in found]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    directory = tmp_path / "scratch"
    directory.mkdir(mode=0o700)
    return directory


@pytest.fixture
def packed(home: Path, scratch: Path) -> Iterator[Packed]:
    made = Packed(home, scratch)
    yield made
    made.bundle.close()


# --- no difference --------------------------------------------------------------------------------------------------


def test_what_was_just_packed_does_not_differ(packed: Packed) -> None:
    assert packed.changes() == []


def test_everything_that_is_the_same_is_counted(packed: Packed) -> None:
    _, done = packed.compare(packed.live())
    assert done.same == packed.bundle.manifest.totals.entries


def test_what_was_unpacked_does_not_differ(packed: Packed, tmp_path: Path) -> None:
    ocbundle.unpack(packed.data, tmp_path / "to", identities=KEY)
    assert packed.changes(packed.below(tmp_path / "to")) == []


def test_comparing_leaves_the_live_side_as_it_was(packed: Packed, home: Path) -> None:
    before = sorted((path, path.lstat().st_mtime_ns) for path in home.rglob("*"))
    packed.changes()
    assert sorted((path, path.lstat().st_mtime_ns) for path in home.rglob("*")) == before


def test_what_the_rules_leave_out_is_not_added(packed: Packed, home: Path) -> None:
    write(home / ".openclaw/tmp/openclaw-0/gateway.state.lock", "{}")
    write(home / ".openclaw/logs/other.log", "log\n")
    assert packed.changes() == []


def test_what_was_left_out_by_hand_is_not_added(home: Path, scratch: Path) -> None:
    made = Packed(home, scratch)
    with made.bundle:
        left_out = io.BytesIO()
        sources = discover(made.environ).sources
        ocbundle.pack(left_out, sources, recipients=[RECIPIENT], exclude=["credentials/"], scratch=scratch)
        made.bundle.close()
        made.bundle = ocbundle.Bundle.open(left_out, identities=KEY)
        assert made.changes(sources) == []


@pytest.mark.parametrize(("everything", "only_config"), [(True, False), (False, True)])
def test_it_is_compared_as_it_was_packed(home: Path, scratch: Path, *, everything: bool, only_config: bool) -> None:
    made = Packed(home, scratch, everything=everything, only_config=only_config)
    with made.bundle:
        assert made.changes() == []


def test_it_is_compared_without_workspaces_if_it_was_packed_without(home: Path, scratch: Path) -> None:
    made = Packed(home, scratch, workspaces=False)
    with made.bundle:
        assert made.changes() == []


def test_a_tree_that_was_given_to_another_user_does_not_differ(packed: Packed, home: Path) -> None:
    if os.getuid():
        pytest.skip("only root can give files away")
    for path in (home / ".openclaw", *(home / ".openclaw").rglob("*")):
        os.chown(path, 54321, 54321, follow_symlinks=False)
    assert packed.changes() == []


# --- one difference -------------------------------------------------------------------------------------------------


def rewrite(path: Path, text: str) -> None:
    """Other bytes with the same times."""
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def relink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def turn_into_a_directory(path: Path) -> None:
    path.unlink()
    write(path / "inside", "x")


def turn_into_a_file(path: Path) -> None:
    shutil.rmtree(path)
    path.touch()


@pytest.mark.parametrize(
    ("path", "act", "expected"),
    [
        (".openclaw/.env", lambda p: rewrite(p, "TOKEN=OTHER\n"), ("changed", "default/.env", ("content",))),
        (".openclaw/big.bin", lambda p: rewrite(p, "y" * (3 << 20)), ("changed", "default/also.bin", ("content",))),
        (".openclaw/.env", lambda p: p.chmod(0o644), ("changed", "default/.env", ("mode",))),
        (".openclaw/state", lambda p: p.chmod(0o755), ("changed", "default/state", ("mode",))),
        (".openclaw/.env", lambda p: os.utime(p, (DAY_S, DAY_S)), ("changed", "default/.env", ("mtime",))),
        (".openclaw/link", lambda p: relink(p, ".env"), ("changed", "default/link", ("target",))),
        (".openclaw/link", turn_into_a_directory, ("changed", "default/link", ("type",))),
        (".openclaw/credentials", turn_into_a_file, ("changed", "default/credentials", ("type",))),
        (".openclaw/.env", Path.unlink, ("removed", "default/.env", ())),
        (".openclaw/credentials", shutil.rmtree, ("removed", "default/credentials", ())),
        (".openclaw/workspace-old/notes.md", Path.unlink, ("removed", "default/workspace-old/notes.md", ())),
        ("ws/AGENTS.md", Path.unlink, ("removed", "default.workspace.main/AGENTS.md", ())),
        ("ws", shutil.rmtree, ("removed", "default.workspace.main", ())),
        (".openclaw/new", lambda p: write(p, "new"), ("added", "default/new", ())),
        (".openclaw/zzz/new", lambda p: write(p, "new"), ("added", "default/zzz", ())),
        ("ws/.hidden", lambda p: write(p, "new"), ("added", "default.workspace.main/.hidden", ())),
    ],
)
def test_one_change_is_told_once(
    packed: Packed, home: Path, path: str, act: Callable[[Path], None], expected: Change_
) -> None:
    act(home / path)
    assert packed.changes() == [expected]


def test_an_owner_of_one_file_is_told(packed: Packed, home: Path) -> None:
    if os.getuid():
        pytest.skip("only root can give files away")
    os.chown(home / ".openclaw/.env", 54321, -1)
    assert packed.changes() == [("changed", "default/.env", ("owner",))]


def test_an_attribute_is_told(packed: Packed, home: Path) -> None:
    try:
        os.setxattr(home / ".openclaw/.env", "user.note", b"x")
    except OSError:
        pytest.skip("a file system without attributes")
    assert packed.changes() == [("changed", "default/.env", ("attributes",))]


def test_a_row_that_only_the_log_of_a_database_holds_is_a_difference(packed: Packed, home: Path) -> None:
    with database(home / ".openclaw/state/openclaw.sqlite") as connection:
        connection.execute("INSERT INTO t VALUES (1)")
        assert packed.changes() == [("changed", "default/state/openclaw.sqlite", ("database",))]


def test_a_database_that_is_only_open_does_not_differ(packed: Packed, home: Path) -> None:
    with database(home / ".openclaw/state/openclaw.sqlite") as connection:
        connection.execute("SELECT * FROM t").fetchall()
        assert packed.changes() == []


def test_a_file_in_place_of_a_socket_is_not_looked_into(packed: Packed, home: Path) -> None:
    (home / ".openclaw/.env").unlink()
    os.mkfifo(home / ".openclaw/.env")
    assert packed.changes() == [("removed", "default/.env", ())]


def test_differences_come_in_the_order_of_the_bundle(packed: Packed, home: Path) -> None:
    write(home / ".openclaw/a", "new")
    (home / ".openclaw/.env").unlink()
    (home / "ws/AGENTS.md").chmod(0o644)
    write(home / ".openclaw/zzz", "new")
    names = [name for _, name, _ in packed.changes()]
    assert names == ["default/.env", "default/a", "default/zzz", "default.workspace.main/AGENTS.md"]


def test_counts_are_of_all_differences(packed: Packed, home: Path) -> None:
    write(home / ".openclaw/a", "new")
    (home / ".openclaw/.env").unlink()
    _, done = packed.compare(packed.live())
    assert (done.differences, dict(done.counts)) == (2, {Change.ADDED: 1, Change.REMOVED: 1})


def test_an_aspect_comes_beside_another(packed: Packed, home: Path) -> None:
    rewrite(home / ".openclaw/.env", "TOKEN=OTHER\n")
    (home / ".openclaw/.env").chmod(0o644)
    found, _ = packed.compare(packed.live())
    assert found[0].what == (Aspect.CONTENT, Aspect.MODE)


# --- what can't be compared -----------------------------------------------------------------------------------------


def leaving(path: bytes, reason: Reason) -> Rules:
    return lambda seen, _kind: Leave(reason) if seen == path else Sensitivity.CONTENT


def test_what_the_rules_of_today_leave_out_is_counted_and_not_called_removed(packed: Packed) -> None:
    rules = leaving(b"credentials", Reason.EXCLUDED)
    (state, workspace) = packed.live()
    sources = [Source(path=state.path, name=state.name, rules=rules), workspace]
    found, done = packed.compare(sources)
    assert ([one for one in found if one.path.startswith(b"credentials")], done.uncompared) == ([], 4)


def test_what_can_not_be_read_is_told_and_not_called_removed(packed: Packed) -> None:
    rules = leaving(b".env", Reason.UNREADABLE)
    (state, workspace) = packed.live()
    _, done = packed.compare([Source(path=state.path, name=state.name, rules=rules), workspace])
    assert (done.unreadable, done.counts.get(Change.REMOVED)) == (("default/.env: unreadable",), None)


# --- what stands for a root -----------------------------------------------------------------------------------------


def test_a_profile_that_is_gone_is_removed(home: Path, scratch: Path) -> None:
    write(home / ".openclaw-work/openclaw.json", "{}")
    made = Packed(home, scratch)
    with made.bundle:
        shutil.rmtree(home / ".openclaw-work")
        assert made.changes() == [("removed", "work", ())]


def test_a_profile_that_was_not_packed_is_not_compared(packed: Packed, home: Path) -> None:
    write(home / ".openclaw-work/openclaw.json", "{}")
    assert packed.changes() == []


def test_a_workspace_that_came_later_is_added(packed: Packed, home: Path) -> None:
    write(home / "other/AGENTS.md", "agents\n")
    agents = [{"id": "main", "workspace": f"{home}/ws"}, {"id": "b", "workspace": f"{home}/other"}]
    rewrite(home / ".openclaw/openclaw.json", json.dumps({"agents": {"list": agents}}))
    assert packed.changes() == [
        ("changed", "default/openclaw.json", ("content",)),
        ("added", "default.workspace.b", ()),
    ]


def test_without_any_openclaw_there_is_nothing_to_compare_with(packed: Packed, home: Path) -> None:
    shutil.rmtree(home / ".openclaw")
    with pytest.raises(SourceMissing):
        packed.live()


def test_a_directory_that_was_packed_by_hand_is_compared_where_it_stands(tmp_path: Path, scratch: Path) -> None:
    write(tmp_path / "data/file", "x")
    data = io.BytesIO()
    ocbundle.pack(data, [tmp_path / "data"], recipients=[RECIPIENT], scratch=scratch)
    (tmp_path / "data/file").chmod(0o640)
    with ocbundle.Bundle.open(data, identities=KEY) as bundle:
        found: list[Difference] = []
        sources = counterpart.live(bundle.manifest, bundle.entries(), bundle.skipped(), {})
        difference.compare(bundle.entries(), sources, found.append, content=bundle.reader.content, scratch=str(scratch))
    assert [one.name for one in found] == ["data/file"]


def test_the_only_root_may_be_the_directory_itself(tmp_path: Path, scratch: Path) -> None:
    write(tmp_path / "data/file", "x")
    data = io.BytesIO()
    ocbundle.pack(data, [tmp_path / "data"], recipients=[RECIPIENT], scratch=scratch)
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    with ocbundle.Bundle.open(data, identities=KEY) as bundle:
        found: list[Difference] = []
        sources = counterpart.below(bundle.manifest, bundle.entries(), os.fsencode(tmp_path / "copy"))
        difference.compare(bundle.entries(), sources, found.append, content=bundle.reader.content, scratch=str(scratch))
    assert found == []


# --- sizes, parts and owners ----------------------------------------------------------------------------------------


def test_a_database_that_has_grown_is_another(packed: Packed, home: Path) -> None:
    with database(home / ".openclaw/state/openclaw.sqlite") as connection:
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    assert packed.changes() == [("changed", "default/state/openclaw.sqlite", ("database",))]


def test_a_long_database_is_compared_to_its_end_but_for_its_counters(home: Path, scratch: Path) -> None:
    path = home / ".openclaw/state/openclaw.sqlite"
    with database(path) as connection:
        connection.execute("INSERT INTO t VALUES (randomblob(3 << 20))")
    packed = Packed(home, scratch)
    assert packed.changes() == []
    with database(path) as connection:
        connection.execute("CREATE TABLE u (x)")
        connection.execute("DROP TABLE u")
    assert packed.changes() == [("changed", "default/state/openclaw.sqlite", ("database",))]
    packed.bundle.close()


def test_a_sparse_file_is_compared_as_the_zeros_it_is(home: Path, scratch: Path) -> None:
    write(home / ".openclaw/sparse", "")
    os.truncate(home / ".openclaw/sparse", 5 << 20)
    packed = Packed(home, scratch)
    assert packed.changes() == []
    (home / ".openclaw/sparse").write_bytes(bytes(5 << 20))
    assert [what for _, name, what in packed.changes() if name == "default/sparse"] == [("mtime",)]
    packed.bundle.close()


def test_without_the_root_that_they_are_seen_from_owners_are_compared_by_number(packed: Packed, home: Path) -> None:
    if os.getuid():
        pytest.skip("only root can give files away")
    os.chown(home / ".openclaw/.env", 1500, 1500)
    found: list[Difference] = []
    difference.compare(
        (entry for entry in packed.bundle.entries() if entry.path), packed.live(), found.append,
        content=packed.bundle.reader.content, scratch=str(packed.scratch),
    )  # fmt: skip
    assert [(one.name, one.what) for one in found if one.change is Change.CHANGED] == [
        ("default/.env", (Aspect.OWNER,))
    ]
