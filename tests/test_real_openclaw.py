"""A real OpenClaw installation, packed as root and unpacked elsewhere, comes back as it was.

Everything here is looked at with the operating system's and SQLite's own eyes: the library's reports are compared with
what is on disk, never believed. Needs root, npm and a minute or two.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import pytest

pytestmark = pytest.mark.ci

OWNER: Final = 1500

ROOTS: Final = {
    ".openclaw": "default",
    ".openclaw-work": "work",
    "research-ws": "default.workspace.research",
    "external-skill": "default.skill.ext",
}
"""Everything in the home that makes the gateway its user's, and what it is called in the bundle."""

ELSEWHERE: Final = {".cache", ".npm"}
"""What else OpenClaw and npm may make in the home."""

LEFT_OUT: Final = {
    ".openclaw/agents/*/agent/openclaw-agent.sqlite-shm": "database-part",
    ".openclaw/agents/*/agent/openclaw-agent.sqlite-wal": "database-part",
    ".openclaw/agents/*/agent/openclaw-agent.sqlite.generation-lock.sqlite*": "transient",
    ".openclaw/agents/*/agent/openclaw-agent.sqlite.generation-writer.sqlite*": "transient",
    ".openclaw/agents/*/agent/openclaw-agent.sqlite.memory-reindex-*": "transient",
    ".openclaw/agents/*/agent/openclaw-agent.sqlite.reindex-lock.sqlite*": "transient",
    ".openclaw/browser/openclaw/user-data/SingletonLock": "host-bound",
    ".openclaw/cache": "regenerable",
    ".openclaw/exec-approvals.sock": "socket",
    ".openclaw/extensions/demo/node_modules": "regenerable",
    ".openclaw/logs": "regenerable",
    ".openclaw/plugin-skills": "host-bound",
    ".openclaw/state/openclaw-quarantine.sqlite": "host-bound",
    ".openclaw/state/openclaw.sqlite-shm": "database-part",
    ".openclaw/state/openclaw.sqlite-wal": "database-part",
    ".openclaw/tmp": "transient",
}
"""All that may be missing, with all below it, and the reason that must be given for it."""

DATABASES: Final = (
    ".openclaw/agents/main/agent/openclaw-agent.sqlite",
    ".openclaw/agents/research/agent/openclaw-agent.sqlite",
    ".openclaw/state/openclaw.sqlite",
    ".openclaw-work/state/openclaw.sqlite",
)
"""What is taken through SQLite: the rows must be the same, the bytes needn't be."""

Tree = Mapping[str, tuple[object, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """One installation, before and after."""

    home: Path
    restored: Path
    before: Tree
    """The home as it was before anything looked at it."""
    bundle: Path
    key: Path
    packed: list[dict[str, Any]]
    """What ``pack -v --json`` said, line by line."""

    @property
    def summary(self) -> dict[str, Any]:
        return self.packed[-1]


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Moved:
    base = tmp_path_factory.mktemp("moved")
    home = base / "alice"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    lab = cache / "ocbundle-ci/openclaw-2026.9.6"
    script = Path(__file__).parent / "openclaw/make_gateway.py"
    subprocess.run([sys.executable, script, lab, home], check=True)
    give_away(home)
    before = look(home)
    bundle, key, restored = base / "gateway.ocbundle", base / "key.txt", base / "restored"
    recipient = ocbundle(home, "keygen", "-o", key)[-1]["recipient"]
    packed = ocbundle(home, "pack", "-v", "-r", recipient, "-o", bundle)
    ocbundle(home, "unpack", "-i", key, "--to", restored, "--owner", "numeric", bundle)
    return Moved(home=home, restored=restored, before=before, bundle=bundle, key=key, packed=packed)


def ocbundle(home: Path, command: str, *arguments: str | Path) -> list[dict[str, Any]]:
    """Run the program as somebody whose home is *home*: what it says in JSON."""
    done = subprocess.run(
        [sys.executable, "-c", "from ocbundle.cli import main; main()", command, "--json", *arguments],
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def give_away(home: Path) -> None:
    """Let everything belong to a user, as it would."""
    for directory, names, files in os.walk(home):
        for name in (".", *names, *files):
            os.chown(os.path.join(directory, name), OWNER, OWNER, follow_symlinks=False)


def look(top: Path) -> Tree:
    """All there is to see of every path below *top*: type, mode, owner, time, and bytes or target."""
    seen: dict[str, tuple[object, ...]] = {}
    for directory, names, files in os.walk(top):
        for name in (*names, *files):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            content: object = None
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            what = (stat.filemode(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns)
            seen[os.path.relpath(path, top)] = (*what, content)
    return seen


def left_out(path: str) -> str | None:
    """The line of the list that leaves out *path*, or something above it."""
    parts = path.split("/")
    for pattern in LEFT_OUT:
        wanted = pattern.split("/")
        if len(parts) >= len(wanted) and all(map(fnmatchcase, parts, wanted)):
            return pattern
    return None


def expected(home: Tree) -> Tree:
    """What has to come out of a bundle of *home*, by its path there."""
    found = {}
    for path, what in home.items():
        top, slash, rest = path.partition("/")
        if top in ROOTS and left_out(path) is None:
            found[ROOTS[top] + slash + rest] = what
    return found


def restored_path(path: str) -> str:
    top, slash, rest = path.partition("/")
    return ROOTS[top] + slash + rest


def rows(database: Path, *, scratch: Path, log: bool = True) -> dict[str, list[str]]:
    """Every row of every table of *database*, read from a copy; without its *log* only what the file itself holds.

    A virtual table keeps its rows in ordinary ones, so none is missed.
    """
    copy = scratch / "copy.sqlite"
    for suffix in ("", "-wal"):
        Path(f"{copy}{suffix}").unlink(missing_ok=True)
        if Path(f"{database}{suffix}").exists() and (log or not suffix):
            shutil.copyfile(f"{database}{suffix}", f"{copy}{suffix}")
    with closing(sqlite3.connect(copy)) as connection:
        connection.text_factory = bytes
        schema = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2").fetchall()
        found = {"": [repr(row) for row in schema]}
        for pragma in ("user_version", "application_id", "encoding", "page_size", "auto_vacuum"):
            found[pragma] = [repr(row) for row in connection.execute(f"PRAGMA {pragma}")]
        for _, name, sql in (row for row in schema if row[0] == b"table"):
            if not sql.startswith(b"CREATE VIRTUAL"):
                table = name.decode()
                columns = "*" if b"WITHOUT ROWID" in sql.upper() else "rowid, *"
                found[table] = sorted(map(repr, connection.execute(f'SELECT {columns} FROM "{table}"')))  # noqa: S608
    return found


def test_the_home_holds_nothing_that_this_test_does_not_know(moved: Moved) -> None:
    assert {path for path in moved.before if "/" not in path} - ELSEWHERE == set(ROOTS)


def test_packing_as_root_leaves_the_home_exactly_as_it_was(moved: Moved) -> None:
    assert look(moved.home) == moved.before


def test_every_path_that_is_not_on_the_list_comes_back(moved: Moved) -> None:
    assert sorted(look(moved.restored)) == sorted(expected(moved.before))


def test_type_mode_owner_time_bytes_and_target_of_every_path_are_the_same(moved: Moved) -> None:
    databases = {restored_path(path) for path in DATABASES}
    after = look(moved.restored)
    different = [
        (path, what, after.get(path))
        for path, what in expected(moved.before).items()
        # Of a database only the bytes may be others.
        if (what[:-1] if path in databases else what) != after.get(path, ())[: -1 if path in databases else None]
    ]
    assert different == []


def test_files_that_were_one_are_one_again(moved: Moved) -> None:
    workspace = moved.restored / "default.workspace.research"
    assert (workspace / "linked.md").samefile(workspace / "SOUL.md")


@pytest.mark.parametrize("path", DATABASES)
def test_every_row_of_a_database_comes_back(moved: Moved, tmp_path: Path, path: str) -> None:
    before = rows(moved.home / path, scratch=tmp_path)
    after = rows(moved.restored / restored_path(path), scratch=tmp_path)
    assert {table for table in before.keys() | after.keys() if before.get(table) != after.get(table)} == set()


def test_rows_that_only_the_write_ahead_log_held_come_back(moved: Moved, tmp_path: Path) -> None:
    database = moved.home / ".openclaw/state/openclaw.sqlite"
    without = rows(database, scratch=tmp_path, log=False)
    before = rows(database, scratch=tmp_path)
    only_in_log = {(table, row) for table in before for row in before[table] if row not in without.get(table, ())}
    assert only_in_log, "OpenClaw left nothing in the log: this test tells nothing"
    after = rows(moved.restored / "default/state/openclaw.sqlite", scratch=tmp_path)
    assert {(table, row) for table, row in only_in_log if row not in after[table]} == set()


def test_a_restored_database_needs_no_log(moved: Moved) -> None:
    assert [path for path in look(moved.restored) if path.endswith(("-wal", "-shm", "-journal"))] == []


def test_the_sessions_and_the_cron_job_are_in_the_restored_databases(moved: Moved, tmp_path: Path) -> None:
    agent = rows(moved.restored / "default/agents/main/agent/openclaw-agent.sqlite", scratch=tmp_path)
    state = rows(moved.restored / "default/state/openclaw.sqlite", scratch=tmp_path)
    assert ("remember 222" in str(agent["transcript_events"]), "nightly" in str(state["cron_jobs"])) == (True, True)


def test_each_thing_left_out_is_reported_with_its_reason(moved: Moved) -> None:
    names = {root: top for top, root in ROOTS.items()}
    reported = set()
    for row in moved.packed:
        if row.get("status") == "skipped":
            root, _, rest = row["path"].partition("/")
            path = f"{names[root]}/{rest}"
            assert LEFT_OUT.get(left_out(path) or "") == row["reason"], path
            reported.add(path)
    missing = {path for path in moved.before if path.split("/")[0] in ROOTS and left_out(path) is not None}
    above = {path for path in missing if not any(path == row or path.startswith(f"{row}/") for row in reported)}
    assert above == set()


def test_nothing_is_lost(moved: Moved) -> None:
    assert (moved.summary["losses"], moved.summary["changed"]) == (0, [])


def test_the_bundle_is_sound_without_a_key(moved: Moved) -> None:
    verified = ocbundle(moved.home, "verify", moved.bundle)[-1]
    assert (verified["level"], verified["digest"]) == ("checksums", moved.summary["digest"])


def test_the_bundle_is_authentic_with_the_key(moved: Moved) -> None:
    expect = ("--expect", moved.summary["digest"])
    assert ocbundle(moved.home, "verify", "-i", moved.key, *expect, moved.bundle)[-1]["level"] == "full"


def test_no_secret_and_no_name_stands_in_the_bundle_in_clear(moved: Moved) -> None:
    data = moved.bundle.read_bytes()
    telling = (b"fake-gateway-token", b"sk-FAKE", b"openclaw", b"research", b"alice", b"nightly", b"whatsapp")
    assert [word for word in telling if word in data] == []
