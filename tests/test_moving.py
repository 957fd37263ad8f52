"""A gateway moves to another home: one test for each thing that goes wrong when it is moved by hand.

The gateway here is made of files, with the tables of real databases. That the real program goes on with what comes out
is shown elsewhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import relocation_tables
import support
from trees import IS_ROOT, OTHER, users_directory

import ocbundle
from ocbundle import agetext, cli, publish, writer
from ocbundle.errors import (
    BundleError,
    EntryMissing,
    GatewayRunning,
    InstalledTooOld,
    NoSpace,
    TargetExists,
    TargetFailure,
)
from ocbundle.model import Entry, Host, Kind, Manifest, Profile, Role, Root
from ocbundle.openclaw import states
from ocbundle.outcomes import UnpackReport
from ocbundle.sealing import BundleKey
from ocbundle.sources import Sensitivity

RECIPIENT = support.recipient()
SECRET = "sk-made-up-and-secret"
needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root to mount or to give files away")


# --- a gateway --------------------------------------------------------------------------------------------------------


class Home:
    """A home with OpenClaw in it, and what a test wants to know of it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, content: str, mode: int = 0o600) -> Path:
        path = self.path / name
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(mode)
        return path

    def read(self, name: str) -> str:
        return (self.path / name).read_text()

    def json(self, name: str) -> Any:  # noqa: ANN401 - it is JSON
        return json.loads(self.read(name))

    def database(self, name: str, schema: str, version: int, **rows: dict[str, object]) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with connected(path) as connection:
            connection.executescript(f"PRAGMA synchronous=OFF; BEGIN; {schema} COMMIT;")
            for table, values in rows.items():
                put(connection, table, values)
            connection.execute(f"PRAGMA user_version = {version}")
        path.chmod(0o600)

    def rows(self, name: str, query: str) -> list[tuple[Any, ...]]:
        with connected(self.path / name) as connection:
            return connection.execute(query).fetchall()

    def jobs(self, state: str = ".openclaw") -> list[str]:
        """The jobs that a gateway in this home lists: those filed under its own key."""
        key = str(self.path / state / "cron/jobs.json")
        with connected(self.path / state / "state/openclaw.sqlite") as connection:
            rows = connection.execute("SELECT job_id FROM cron_jobs WHERE store_key = ?", (key,))
            return [job for (job,) in rows]

    def names(self) -> list[str]:
        return sorted(os.listdir(self.path))


@contextlib.contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # The tables' constraints use it, and SQLite has it only since 3.43.
        connection.create_function("octet_length", 1, lambda v: None if v is None else len(v.encode()))
        yield connection


def put(connection: sqlite3.Connection, table: str, values: dict[str, object]) -> None:
    """A row with these values, and something of the right type in every other column that must have one."""
    for _, name, kind, required, default, _ in connection.execute(f"PRAGMA table_info({table})"):
        if required and default is None:
            values.setdefault(name, {"INTEGER": 0, "INT": 0, "BLOB": b""}.get(kind, "x"))
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))  # noqa: S608


def sha(path: Path | str) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()


def build(path: Path) -> Home:
    """Profile ``default`` of the SQLite era with a workspace elsewhere, and profile ``work`` of the file era."""
    home = Home(path)
    state = path / ".openclaw"
    home.write(".openclaw/openclaw.json", f"""{{
  // by hand
  gateway: {{ mode: "local", port: 18789, auth: {{ token: "{SECRET}" }} }},
  agents: {{
    defaults: {{ workspace: "{state}/workspace" }},
    entries: {{
      main: {{ agentDir: "{state}/agents/main/agent" }},
      research: {{ workspace: "{path}/research-ws" }},
    }},
  }},
  channels: {{ whatsapp: {{ enabled: true }} }},
  meta: {{ lastTouchedVersion: "2026.9.6" }},
}}
""")  # fmt: skip
    home.write(".openclaw/.env", f"OPENAI_API_KEY={SECRET}\n")
    home.write(".openclaw/credentials/whatsapp/default/creds.json", '{"me": "made up"}')
    home.write(".openclaw/skills/mine/run.sh", "#!/bin/sh\n", 0o755)
    home.write(".openclaw/workspace/AGENTS.md", f"notes are in {path}/research-ws\n", 0o644)
    home.write("research-ws/SOUL.md", "be kind\n", 0o644)
    home.write("research-ws/.hidden/notes", "hidden\n", 0o400)
    workspace = state / "workspace"
    home.database(
        ".openclaw/state/openclaw.sqlite", relocation_tables.STATE, 18,
        cron_jobs={"store_key": str(state / "cron/jobs.json"), "job_id": "nightly", "job_json": "{}"},
        workspace_setup_state={"workspace_key": sha(workspace), "workspace_path": str(workspace), "version": 1},
        delivery_queue_entries={},
    )  # fmt: skip
    entry = {"sessionId": "s", "cwd": str(workspace)}
    home.database(
        ".openclaw/agents/main/agent/openclaw-agent.sqlite", relocation_tables.AGENT, 23,
        session_nodes={"entry_json": json.dumps(entry)},
    )  # fmt: skip
    sessions = path / ".openclaw-work/agents/main/sessions"
    home.write(".openclaw-work/openclaw.json", json.dumps({
        "gateway": {"mode": "local"},
        "agents": {"list": [{"id": "main", "workspace": str(path / ".openclaw-work/workspace")}]},
        "meta": {"lastTouchedVersion": "2026.5.7"},
    }))  # fmt: skip
    listed = {"agent:main:main": {"sessionId": "0f0e", "sessionFile": str(sessions / "0f0e.jsonl")}}
    home.write(".openclaw-work/agents/main/sessions/sessions.json", json.dumps(listed))
    home.write(".openclaw-work/agents/main/sessions/0f0e.jsonl", '{"type":"session"}\n{"role":"user"}\n', 0o644)
    home.write(".openclaw-work/cron/jobs.json", '{"jobs": [{"id": "weekly"}]}')
    home.write(".openclaw-work/workspace/AGENTS.md", "agents\n", 0o644)
    private = ("state", "credentials", "credentials/whatsapp", "credentials/whatsapp/default")
    for directory in (state, path / ".openclaw-work", *(state / name for name in private)):
        directory.chmod(0o700)
    return home


def pack(home: Home, **options: Any) -> ocbundle.PackReport:  # noqa: ANN401 - whatever pack takes
    return ocbundle.pack(
        home.path.parent / "gateway.ocbundle", recipients=[RECIPIENT], environ={"HOME": str(home.path)}, **options
    )


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A bundle, and the home that it was taken from, which is gone."""

    bundle: Path
    old: Path
    packed: ocbundle.PackReport
    modes: dict[str, int]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return gone(build(tmp_path_factory.mktemp("old") / "alice"))


def gone(home: Home, **options: Any) -> Packed:  # noqa: ANN401 - whatever pack takes
    report = pack(home, **options)
    found = modes(home.path)
    shutil.rmtree(home.path)
    return Packed(bundle=home.path.parent / "gateway.ocbundle", old=home.path, packed=report, modes=found)


def modes(top: Path) -> dict[str, int]:
    return {str(path.relative_to(top)): stat.S_IMODE(path.lstat().st_mode) for path in sorted(top.rglob("*"))}


@pytest.fixture
def bob(tmp_path: Path) -> Home:
    (tmp_path / "bob").mkdir()
    return Home(tmp_path / "bob")


def unpack(packed: Packed, home: Home, **options: Any) -> UnpackReport:  # noqa: ANN401 - whatever unpack takes
    return ocbundle.unpack(packed.bundle, identities=support.identity(), home=home.path, **options)


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """What has been unpacked into an empty home, for tests that only look at it."""

    home: Home
    report: UnpackReport


@pytest.fixture(scope="module")
def arrived(packed: Packed, tmp_path_factory: pytest.TempPathFactory) -> Arrived:
    home = Home(tmp_path_factory.mktemp("new") / "bob")
    home.path.mkdir()
    return Arrived(home=home, report=unpack(packed, home))


# --- 1: a profile is missed ------------------------------------------------------------------------------------------


def test_every_profile_arrives_where_openclaw_looks_for_it(arrived: Arrived) -> None:
    home = arrived.home.path
    found, _, left = states.find({"HOME": str(home)}, os.fsencode(home), state_dir=None, names=states.Names())
    assert ([state.profile for state in found], left) == (["default", "work"], [])


def test_what_to_do_next_names_each_profile(arrived: Arrived) -> None:
    commands = [step for step in arrived.report.next_steps if step.startswith("$") and step.endswith("status")]
    assert commands == ["$ openclaw status", "$ openclaw --profile work status"]


# --- 2: only the configuration or only the workspace is copied -------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        ".openclaw/.env",
        ".openclaw/credentials/whatsapp/default/creds.json",
        ".openclaw/agents/main/agent/openclaw-agent.sqlite",
        ".openclaw/skills/mine/run.sh",
        ".openclaw-work/agents/main/sessions/0f0e.jsonl",
        ".openclaw-work/cron/jobs.json",
        "research-ws/SOUL.md",
    ],
)
def test_what_belongs_to_the_configuration_arrives_with_it(arrived: Arrived, name: str) -> None:
    assert (arrived.home.path / name).is_file()


def test_what_was_left_out_is_told_with_what_is_needed(tmp_path: Path, bob: Home) -> None:
    home = build(tmp_path / "alice")
    home.write(".openclaw/extensions/demo/openclaw.plugin.json", "{}")
    home.write(".openclaw/extensions/demo/node_modules/x.js", "1")
    steps = unpack(gone(home), bob).next_steps
    assert any("plugins demo" in step for step in steps)


# --- 3: rights and owners --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_modes_arrive_whatever_the_umask(packed: Packed, bob: Home, umask: int) -> None:
    before = os.umask(umask)
    try:
        unpack(packed, bob)
    finally:
        os.umask(before)
    arrived = modes(bob.path)
    assert {path: oct(mode) for path, mode in arrived.items() if mode != packed.modes.get(path)} == {}


def test_a_directory_that_is_made_above_is_private(packed: Packed, bob: Home) -> None:
    elsewhere = bob.path / "data/gateways/research"
    unpack(packed, bob, maps={packed.old / "research-ws": elsewhere})
    assert [stat.S_IMODE(above.stat().st_mode) for above in (elsewhere.parent, elsewhere.parent.parent)] == [0o700] * 2


def test_a_secret_that_was_open_to_others_is_no_more(tmp_path: Path, bob: Home) -> None:
    home = build(tmp_path / "alice")
    opened = (".openclaw", ".openclaw/.env", ".openclaw/openclaw.json", ".openclaw/credentials/whatsapp/default")
    for name in opened:
        (home.path / name).chmod(0o777)
    unpack(gone(home), bob)
    assert {name for name in opened if (bob.path / name).stat().st_mode & 0o077} == set()


@needs_root
def test_root_gives_the_files_to_the_user_of_the_home(packed: Packed) -> None:
    with users_directory() as where:
        unpack(packed, Home(where))
        owners = {(path.lstat().st_uid, path.lstat().st_gid) for path in where.rglob("*")}
    assert owners == {(OTHER, OTHER)}


# --- 4: the machine was only a client --------------------------------------------------------------------------------


def test_packing_a_client_warns_and_says_where_the_state_is(tmp_path: Path) -> None:
    home = Home(tmp_path / "alice")
    home.write(".openclaw/openclaw.json", '{gateway: {mode: "remote", remote: {url: "wss://gw.example"}}}')
    assert any("wss://gw.example" in warning for warning in pack(home).warnings)


def test_a_client_s_bundle_asks_for_no_gateway(tmp_path: Path, bob: Home) -> None:
    home = Home(tmp_path / "alice")
    home.write(".openclaw/openclaw.json", '{gateway: {mode: "remote", remote: {url: "wss://gw.example"}}}')
    assert not any("old gateway" in step for step in unpack(gone(home), bob).next_steps)


# --- 5: secrets in clear ---------------------------------------------------------------------------------------------


def test_no_secret_and_no_name_stands_in_the_bundle_in_clear(packed: Packed) -> None:
    data = packed.bundle.read_bytes()
    telling = (SECRET, "openclaw", "alice", "nightly", "whatsapp", "be kind")
    assert [word for word in telling if word.encode() in data] == []


def test_the_bundle_is_its_owner_s_alone(packed: Packed) -> None:
    assert stat.S_IMODE(packed.bundle.stat().st_mode) == 0o600


def test_what_may_have_to_be_changed_is_named_by_kind_and_never_by_value(arrived: Arrived) -> None:
    assert any("leaked" in step and "gateway token" in step for step in arrived.report.next_steps)
    assert SECRET not in repr(arrived.report)


# --- 6: hidden files, torn databases ---------------------------------------------------------------------------------


def test_hidden_files_arrive(arrived: Arrived) -> None:
    assert arrived.home.read("research-ws/.hidden/notes") == "hidden\n"


def test_rows_that_only_the_write_ahead_log_holds_arrive(tmp_path: Path, bob: Home) -> None:
    home = build(tmp_path / "alice")
    with connected(home.path / ".openclaw/state/openclaw.sqlite") as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA wal_autocheckpoint=0")
        put(database, "cron_jobs", {"store_key": str(home.path / ".openclaw/cron/jobs.json"), "job_id": "new"})
        packed = gone(home)
    unpack(packed, bob)
    assert bob.jobs() == ["new", "nightly"]


# --- 7: the old home in files and rows -------------------------------------------------------------------------------


def test_a_job_is_filed_where_the_gateway_looks_for_it(arrived: Arrived) -> None:
    assert arrived.home.jobs() == ["nightly"]


def test_without_relocation_the_job_is_where_no_gateway_looks(packed: Packed, bob: Home) -> None:
    unpack(packed, bob, relocated=False)
    assert bob.jobs() == []


def test_the_configuration_names_the_new_home_and_keeps_its_comments(packed: Packed, arrived: Arrived) -> None:
    config = arrived.home.read(".openclaw/openclaw.json")
    assert (str(packed.old) in config, f'"{arrived.home.path}/research-ws"' in config, "// by hand" in config) == (
        False, True, True,
    )  # fmt: skip


def test_without_relocation_everything_is_as_it_was(packed: Packed, bob: Home) -> None:
    report = unpack(packed, bob, relocated=False)
    assert (f"{packed.old}/research-ws" in bob.read(".openclaw/openclaw.json"), report.changes) == (True, ())


def test_a_workspace_is_known_by_its_new_path(arrived: Arrived) -> None:
    known = arrived.home.rows(
        ".openclaw/state/openclaw.sqlite", "SELECT workspace_key, workspace_path FROM workspace_setup_state"
    )
    there = arrived.home.path / ".openclaw/workspace"
    assert known == [(sha(there), str(there))]


def test_a_session_of_the_sqlite_era_works_in_the_new_home(arrived: Arrived) -> None:
    ((entry,),) = arrived.home.rows(
        ".openclaw/agents/main/agent/openclaw-agent.sqlite", "SELECT entry_json FROM session_nodes"
    )
    assert json.loads(entry)["cwd"] == str(arrived.home.path / ".openclaw/workspace")


def test_a_session_of_the_file_era_finds_its_transcript(arrived: Arrived) -> None:
    (session,) = arrived.home.json(".openclaw-work/agents/main/sessions/sessions.json").values()
    assert Path(session["sessionFile"]) == arrived.home.path / ".openclaw-work/agents/main/sessions/0f0e.jsonl"
    assert Path(session["sessionFile"]).is_file()


def test_what_an_agent_wrote_stays_as_it_is(packed: Packed, arrived: Arrived) -> None:
    assert arrived.home.read(".openclaw/workspace/AGENTS.md") == f"notes are in {packed.old}/research-ws\n"


def test_a_message_that_was_waiting_is_not_sent_again(arrived: Arrived) -> None:
    assert arrived.home.rows(".openclaw/state/openclaw.sqlite", "SELECT count(*) FROM delivery_queue_entries") == [(0,)]
    assert ("delivery_queue_entries", 1) in {
        (change.where.rpartition(":")[2], change.count) for change in arrived.report.changes if change.cleared
    }


def test_a_link_into_the_old_home_leads_into_the_new_one(tmp_path: Path, bob: Home) -> None:
    home = build(tmp_path / "alice")
    home.write("my-skills/ext/SKILL.md", "# ext\n", 0o644)
    (home.path / ".openclaw/skills/ext").symlink_to(home.path / "my-skills/ext")
    unpack(gone(home), bob)
    assert (bob.path / ".openclaw/skills/ext").readlink() == bob.path / "my-skills/ext"
    assert bob.read(".openclaw/skills/ext/SKILL.md") == "# ext\n"


def test_nothing_that_a_gateway_reads_names_the_old_home(packed: Packed, arrived: Arrived) -> None:
    naming = [
        str(path.relative_to(arrived.home.path))
        for path in arrived.home.path.rglob("*")
        if path.is_file() and os.fsencode(packed.old) in path.read_bytes()
    ]
    assert naming == [".openclaw/workspace/AGENTS.md"]


# --- other places ----------------------------------------------------------------------------------------------------


def test_a_workspace_can_go_elsewhere_and_the_configuration_says_so(packed: Packed, tmp_path: Path, bob: Home) -> None:
    unpack(packed, bob, maps={packed.old / "research-ws": tmp_path / "data/ws"})
    assert (tmp_path / "data/ws/SOUL.md").is_file()
    assert f'"{tmp_path}/data/ws"' in bob.read(".openclaw/openclaw.json")
    assert bob.names() == [".openclaw", ".openclaw-work"]


def test_one_profile_alone_arrives_under_another_name(packed: Packed, bob: Home) -> None:
    report = unpack(packed, bob, renames={"work": "lab"})
    (session,) = bob.json(".openclaw-lab/agents/main/sessions/sessions.json").values()
    assert bob.names() == [".openclaw-lab"]
    assert session["sessionFile"] == str(bob.path / ".openclaw-lab/agents/main/sessions/0f0e.jsonl")
    assert "$ openclaw --profile lab status" in report.next_steps


def test_a_job_of_a_renamed_profile_is_filed_under_its_new_name(packed: Packed, bob: Home) -> None:
    unpack(packed, bob, renames={"default": "spare"})
    assert bob.jobs(".openclaw-spare") == ["nightly"]


def test_a_profile_that_is_not_in_the_bundle_is_refused_and_those_that_are_get_named(packed: Packed, bob: Home) -> None:
    with pytest.raises(EntryMissing) as caught:
        unpack(packed, bob, profiles=["wrok"])
    assert caught.value.hint == "it holds default, work"
    assert bob.names() == []


# --- something is there already --------------------------------------------------------------------------------------


@pytest.fixture
def onboarded(bob: Home) -> Home:
    bob.write(".openclaw/openclaw.json", '{"fresh": true}')
    bob.write(".openclaw/workspace/BOOTSTRAP.md", "hello")
    (bob.path / ".openclaw").chmod(0o700)
    return bob


def test_a_fresh_onboarding_is_in_the_way_and_the_message_says_what_to_do(packed: Packed, onboarded: Home) -> None:
    before = modes(onboarded.path)
    with pytest.raises(TargetExists) as caught:
        unpack(packed, onboarded)
    assert str(onboarded.path / ".openclaw") in caught.value.message
    assert re.search("--replace.*onboarding", caught.value.hint or "")
    assert modes(onboarded.path) == before


def test_a_fresh_onboarding_is_set_aside_when_told(packed: Packed, onboarded: Home) -> None:
    (aside,) = unpack(packed, onboarded, replace=True).set_aside
    assert json.loads((Path(aside.path) / "openclaw.json").read_text()) == {"fresh": True}
    assert aside.size == len('{"fresh": true}') + len("hello")
    assert onboarded.jobs() == ["nightly"]
    assert not (onboarded.path / ".openclaw/workspace/BOOTSTRAP.md").exists()


def test_what_was_set_aside_is_no_profile_and_stays_its_user_s_alone(packed: Packed, onboarded: Home) -> None:
    (aside,) = unpack(packed, onboarded, replace=True).set_aside
    environ = {"HOME": str(onboarded.path)}
    found, _, _ = states.find(environ, os.fsencode(onboarded.path), state_dir=None, names=states.Names())
    assert [state.profile for state in found] == ["default", "work"]
    assert stat.S_IMODE(Path(aside.path).stat().st_mode) == 0o700


def test_a_second_unpack_replaces_nothing(packed: Packed, bob: Home) -> None:
    unpack(packed, bob)
    bob.write(".openclaw/newer", "newer")
    with pytest.raises(TargetExists):
        unpack(packed, bob)
    assert bob.read(".openclaw/newer") == "newer"


# --- programs that are in the way ------------------------------------------------------------------------------------


@pytest.fixture
def running(onboarded: Home) -> Iterator[int]:
    with subprocess.Popen(["sleep", "600"]) as process:
        began = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19])
        lock = {"pid": process.pid, "startTime": began}
        onboarded.write(f".openclaw/tmp/openclaw-{os.getuid()}/gateway.state.lock", json.dumps(lock))
        yield process.pid
        process.kill()


@pytest.mark.parametrize("dry_run", [False, True])
def test_the_state_of_a_running_gateway_is_not_replaced(
    packed: Packed, onboarded: Home, running: int, *, dry_run: bool
) -> None:
    with pytest.raises(GatewayRunning) as caught:
        unpack(packed, onboarded, replace=True, dry_run=dry_run)
    assert str(running) in caught.value.message
    assert f"kill -TERM {running}" in (caught.value.hint or "")
    assert onboarded.json(".openclaw/openclaw.json") == {"fresh": True}


def installed(where: Path, version: str, state: int) -> dict[str, str]:
    """An OpenClaw as npm lays it out: the environment that finds it."""
    package = {"name": "openclaw", "version": version, "openclaw": {"schemaVersions": {"state": state, "agent": 23}}}
    home = Home(where)
    home.write("lib/node_modules/openclaw/package.json", json.dumps(package))
    home.write("lib/node_modules/openclaw/openclaw.mjs", "#!/usr/bin/env node\n", 0o755)
    (where / "bin").mkdir()
    (where / "bin/openclaw").symlink_to("../lib/node_modules/openclaw/openclaw.mjs")
    return {"PATH": str(where / "bin")}


@pytest.mark.parametrize(("version", "schema"), [("2026.6.10", 1), ("2026.9.6", 17)])
def test_an_older_openclaw_is_not_given_a_state_that_it_cant_read(
    packed: Packed, bob: Home, tmp_path: Path, version: str, schema: int
) -> None:
    with pytest.raises(InstalledTooOld) as caught:
        unpack(packed, bob, environ=installed(tmp_path / "usr", version, schema))
    assert "npm install -g openclaw@2026.9.6" in (caught.value.hint or "")
    assert bob.names() == []


def test_a_newer_openclaw_is_to_migrate_what_is_older(packed: Packed, bob: Home, tmp_path: Path) -> None:
    steps = unpack(packed, bob, environ=installed(tmp_path / "usr", "2026.9.6", 18)).next_steps
    assert [step for step in steps if " doctor" in step] == [
        "$ openclaw doctor",
        "$ openclaw --profile work doctor --fix",
    ]


def test_without_openclaw_it_is_to_be_installed_first(packed: Packed, bob: Home) -> None:
    assert unpack(packed, bob, environ={"PATH": ""}).next_steps[0].startswith("install OpenClaw")


# --- it goes wrong ---------------------------------------------------------------------------------------------------


@needs_root
def test_a_home_without_room_is_refused_before_anything_is_written(packed: Packed, tmp_path: Path) -> None:
    home = Home(tmp_path / "small")
    home.path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", home.path], check=True)
    try:
        with pytest.raises(NoSpace) as caught:
            unpack(packed, home, progress=lambda _: pytest.fail("something was staged"))
        assert str(home.path) in str(caught.value)
        assert home.names() == []
    finally:
        subprocess.run(["umount", home.path], check=True)


def killed(packed: Packed, home: Home, after: int) -> None:
    """Unpack in a process that is killed when *after* things have been exchanged or renamed into place."""
    child = os.fork()
    if child == 0:
        count = 0

        def counting(work: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever it takes
                nonlocal count
                done = work(*arguments, **options)
                count += 1
                if count == after:
                    os.kill(os.getpid(), signal.SIGKILL)
                return done

            return counted

        with contextlib.suppress(BaseException):
            publish.exchange = counting(publish.exchange)
            unpack(packed, home, replace=True)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)


@pytest.fixture
def half_placed(packed: Packed, onboarded: Home) -> Home:
    onboarded.write(".openclaw-work/openclaw.json", '{"fresh": "work"}')
    killed(packed, onboarded, after=1)
    states_there = [json.loads(configured(onboarded, name)) == {"fresh": what} for name, what in FRESH]
    assert sorted(states_there) == [False, True], "it wasn't killed half way"
    return onboarded


FRESH = ((".openclaw", True), (".openclaw-work", "work"))


def configured(home: Home, state: str) -> str:
    """The configuration, if it's JSON; what was unpacked has comments."""
    content = home.read(f"{state}/openclaw.json")
    return "{}" if "//" in content else content


def test_an_unpack_that_was_killed_half_way_can_be_finished(half_placed: Home) -> None:
    ocbundle.recover(half_placed.path)
    assert half_placed.jobs() == ["nightly"]
    assert half_placed.json(".openclaw-work/openclaw.json")["meta"] == {"lastTouchedVersion": "2026.5.7"}
    assert half_placed.read("research-ws/SOUL.md") == "be kind\n"


def test_an_unpack_that_was_killed_half_way_can_be_taken_back(half_placed: Home) -> None:
    ocbundle.recover(half_placed.path, undo=True)
    assert [half_placed.json(f"{state}/openclaw.json") for state, _ in FRESH] == [{"fresh": True}, {"fresh": "work"}]
    assert not (half_placed.path / "research-ws").exists()


def test_after_an_unpack_that_was_killed_half_way_another_one_is_refused(packed: Packed, half_placed: Home) -> None:
    with pytest.raises(TargetFailure) as caught:
        unpack(packed, half_placed, replace=True)
    assert "--resume" in (caught.value.hint or "")


def test_a_rehearsal_writes_nothing(packed: Packed, bob: Home) -> None:
    report = unpack(packed, bob, dry_run=True)
    assert (report.dry_run, len(report.roots), bob.names()) == (True, 3, [])


# --- the program -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Said:
    code: int
    out: str
    err: str


Program = Callable[..., Said]


@pytest.fixture
def program(packed: Packed, bob: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Program:
    """``ocbundle unpack`` by somebody whose home is Bob's; ``FILE`` stands for the key and the bundle."""
    key = tmp_path / "key.txt"
    key.write_text(agetext.encode_identity(support.SECRET))

    def run(*arguments: str | Path) -> Said:
        words = [str(word) for word in arguments]
        if "FILE" in words:
            words = ["-i", str(key), *[str(packed.bundle) if word == "FILE" else word for word in words]]
        code = cli.run(["unpack", *words], {"HOME": str(bob.path), "PATH": ""})
        said = capsys.readouterr()
        return Said(code=code, out=said.out, err=said.err)

    return run


def test_the_program_unpacks_into_its_user_s_home(program: Program, bob: Home) -> None:
    assert (program("FILE").code, bob.jobs()) == (0, ["nightly"])


def test_the_program_unpacks_into_another_home(program: Program, bob: Home, tmp_path: Path) -> None:
    (tmp_path / "carol").mkdir()
    assert program("--home", tmp_path / "carol", "FILE").code == 0
    assert (Home(tmp_path / "carol").jobs(), bob.names()) == (["nightly"], [])


def test_the_program_maps(program: Program, packed: Packed, tmp_path: Path) -> None:
    assert program("--map", f"{packed.old}/research-ws={tmp_path}/ws", "FILE").code == 0
    assert (tmp_path / "ws/SOUL.md").is_file()


def test_the_program_renames_a_profile(program: Program, bob: Home) -> None:
    assert (program("--profile", "work=lab", "FILE").code, bob.names()) == (0, [".openclaw-lab"])


def test_the_program_leaves_paths_alone_when_told(program: Program, packed: Packed, bob: Home) -> None:
    assert program("--no-relocate", "FILE").code == 0
    assert str(packed.old) in bob.read(".openclaw/openclaw.json")


def test_the_program_tells_what_it_rewrote_and_what_to_do_next(program: Program) -> None:
    said = program("FILE").out
    assert re.search(r"^ +1  default/state/openclaw.sqlite:cron_jobs.store_key$", said, re.MULTILINE)
    assert re.search(r"^what to do next:\n  install OpenClaw", said, re.MULTILINE)


def test_the_program_tells_the_same_to_a_program(program: Program) -> None:
    summary = json.loads(program("--json", "FILE").out.splitlines()[-1])
    change = {"where": "default/state/openclaw.sqlite:cron_jobs.store_key", "count": 1, "cleared": False}
    assert change in summary["changes"]
    assert "$ openclaw --profile work status" in summary["next_steps"]


def test_the_program_tells_how_to_remove_what_it_set_aside(program: Program, onboarded: Home) -> None:
    command = re.search(r"rm -rf (\S*\.replaced)", program("--replace", "FILE").out)
    assert command is not None
    subprocess.run(["sh", "-c", command[0]], check=True)
    assert onboarded.names() == [".openclaw", ".openclaw-work", "research-ws"]


def test_the_program_finishes_what_was_killed(program: Program, half_placed: Home) -> None:
    said = program("--resume")
    assert (said.code, half_placed.jobs()) == (0, ["nightly"])
    assert "everything is in place" in said.out


def test_the_program_takes_back_what_was_killed(program: Program, half_placed: Home) -> None:
    said = program("--undo")
    assert (said.code, half_placed.json(".openclaw/openclaw.json")) == (0, {"fresh": True})
    assert "everything is as it was before" in said.out


def test_the_program_finishes_nothing_where_nothing_was_killed(program: Program) -> None:
    assert "nothing to do" in program("--resume").out


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--resume", "--undo"),
        ("--resume", "FILE"),
        ("--map", "/home/alice", "FILE"),
        ("--map", "=/home/alice", "FILE"),
        ("--no-relocate", "--to", "look", "FILE"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(program: Program, bob: Home, arguments: tuple[str, ...]) -> None:
    assert (program(*arguments).code, bob.names()) == (2, [])


# --- bad sources -----------------------------------------------------------------------------------------------------


def test_a_configuration_that_is_broken_arrives_as_it_is_and_is_told_of(tmp_path: Path, bob: Home) -> None:
    home = build(tmp_path / "alice")
    broken = home.read(".openclaw/openclaw.json") + "}"
    home.write(".openclaw/openclaw.json", broken)
    packed = gone(home)
    report = unpack(packed, bob)
    assert any("openclaw.json" in warning for warning in packed.packed.warnings)
    assert any("default/openclaw.json" in warning and "old path" in warning for warning in report.warnings)
    assert bob.read(".openclaw/openclaw.json") == broken


def test_a_workspace_that_is_not_there_is_told_of_and_the_rest_arrives(tmp_path: Path, bob: Home) -> None:
    home = build(tmp_path / "alice")
    shutil.rmtree(home.path / "research-ws")
    packed = gone(home)
    unpack(packed, bob)
    assert any("research-ws" in warning for warning in packed.packed.warnings)
    assert bob.jobs() == ["nightly"]


def test_configurations_that_include_one_another_for_ever_come_to_an_end(tmp_path: Path, bob: Home) -> None:
    home = build(tmp_path / "alice")
    home.write(".openclaw-work/openclaw.json", '{"$include": "./a.json5"}')
    home.write(".openclaw-work/a.json5", f'{{"$include": ["./openclaw.json", "./a.json5"], x: "{home.path}/notes"}}')
    unpack(gone(home), bob)
    assert f'"{bob.path}/notes"' in bob.read(".openclaw-work/a.json5")


def test_links_that_lead_to_one_another_arrive_as_links(tmp_path: Path, bob: Home) -> None:
    home = build(tmp_path / "alice")
    (home.path / "research-ws/loop").symlink_to(home.path / "research-ws/loop2")
    (home.path / "research-ws/loop2").symlink_to("loop")
    (home.path / "research-ws/up").symlink_to("..")
    (home.path / ".openclaw/skills/loop").symlink_to("loop")
    unpack(gone(home), bob)
    links = [bob.path / "research-ws" / name for name in ("loop", "loop2", "up")]
    assert [os.readlink(link) for link in links] == [str(bob.path / "research-ws/loop2"), "loop", ".."]
    assert os.readlink(bob.path / ".openclaw/skills/loop") == "loop"


def test_a_database_that_is_damaged_arrives_as_it_is_and_is_told_of(tmp_path: Path, bob: Home) -> None:
    home = build(tmp_path / "alice")
    damaged = (home.path / ".openclaw/state/openclaw.sqlite").read_bytes()
    damaged = damaged[:4096] + b"\xff" * 4096 + damaged[8192:]
    (home.path / ".openclaw/state/openclaw.sqlite").write_bytes(damaged)
    packed = gone(home)
    report = unpack(packed, bob)
    assert any("default/state/openclaw.sqlite" in warning for warning in packed.packed.warnings)
    assert any("default/state/openclaw.sqlite" in warning for warning in report.warnings)
    assert (bob.path / ".openclaw/state/openclaw.sqlite").read_bytes() == damaged


def test_a_bundle_that_was_cut_or_changed_leaves_the_old_state(packed: Packed, onboarded: Home) -> None:
    data = packed.bundle.read_bytes()
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1
    for bad in (data[: len(data) // 2], bytes(changed)):
        with pytest.raises(BundleError):
            ocbundle.unpack(io.BytesIO(bad), identities=support.identity(), home=onboarded.path, replace=True)
    assert onboarded.json(".openclaw/openclaw.json") == {"fresh": True}
    assert onboarded.names() == [".openclaw"]


# --- from a Mac ------------------------------------------------------------------------------------------------------


CAFE = "caf\u00e9-ws"
DECOMPOSED = unicodedata.normalize("NFD", CAFE)


@pytest.fixture
def from_a_mac(tmp_path: Path) -> Path:
    """A bundle as a Mac would write it: names on disk are decomposed, the configuration's are as they were typed."""
    roots = (
        Root(name="default", role=Role.STATE, source=b"/Users/a/.openclaw", profile="default"),
        Root(
            name="default.workspace.main", role=Role.WORKSPACE, source=f"/Users/a/{DECOMPOSED}".encode(),
            profile="default",
        ),
    )  # fmt: skip
    config = {"agents": {"entries": {"main": {"workspace": f"/Users/a/{CAFE}"}}}, "logging": {"file": "/Users/ab/log"}}

    def fill(to: writer.Writer) -> None:
        to.add(support.directory())
        to.add_file(
            support.metadata(b"openclaw.json", uid=501, gid=20),
            json.dumps(config, ensure_ascii=False).encode(),
            sensitivity=Sensitivity.SECRET,
        )
        to.add(support.directory(root="default.workspace.main"))
        name = unicodedata.normalize("NFD", "r\u00e9sum\u00e9.md").encode()
        to.add_file(support.metadata(name, root="default.workspace.main"), b"text", sensitivity=Sensitivity.CONTENT)
        target = f"/Users/a/{DECOMPOSED}/".encode() + name
        to.add(Entry(root="default.workspace.main", path=b"same", kind=Kind.SYMLINK, target=target))

    rng = support.seeded()
    bundle_id, key = rng(16), BundleKey.generate(rng)
    keys = [support.keys_body(key, bundle_id, rng)]
    path = tmp_path / "mac.ocbundle"
    with (
        path.open("wb") as output,
        writer.Writer(
            output, bundle_id=bundle_id, key=key, keys=keys, roots=roots, random=rng, level=3, workers=1
        ) as making,
    ):
        fill(making)
        making.finish(
            Manifest(
                bundle_id=bundle_id,
                created=int(time.time()),
                generator="test",
                source=Host(host="mac", os="Darwin", user="a", home=b"/Users/a", uid=501, gid=20),
                roots=roots,
                profiles=(Profile(name="default", state="default", config=b"/Users/a/.openclaw/openclaw.json"),),
            )
        )  # fmt: skip
    return path


def test_a_gateway_of_a_mac_arrives_in_a_linux_home(from_a_mac: Path, bob: Home) -> None:
    ocbundle.unpack(from_a_mac, identities=support.identity(), home=bob.path)
    workspace = bob.path / DECOMPOSED
    link = Path(os.readlink(workspace / "same"))
    assert (link.parent, link.read_text()) == (workspace, "text")


def test_a_path_that_was_typed_composed_names_the_directory_as_it_is(from_a_mac: Path, bob: Home) -> None:
    ocbundle.unpack(from_a_mac, identities=support.identity(), home=bob.path)
    config = bob.json(".openclaw/openclaw.json")
    assert config["agents"]["entries"]["main"]["workspace"] == str(bob.path / DECOMPOSED)


def test_a_neighbour_whose_name_begins_alike_stays(from_a_mac: Path, bob: Home) -> None:
    ocbundle.unpack(from_a_mac, identities=support.identity(), home=bob.path)
    assert bob.json(".openclaw/openclaw.json")["logging"]["file"] == "/Users/ab/log"
