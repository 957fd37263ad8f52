"""Paths inside OpenClaw's databases: rewritten where a gateway needs them, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import relocation_tables

from ocbundle.errors import NoSpace, TargetFailure
from ocbundle.model import Host, Manifest, Profile, Role, Root, Workspace
from ocbundle.openclaw import connection, rows
from ocbundle.openclaw.columns import COLUMNS, How
from ocbundle.openclaw.moves import Moves
from ocbundle.openclaw.relocation import Relocated, relocate
from ocbundle.openclaw.staged import Place, Tree
from ocbundle.outcomes import Change

OLD, NEW = "/home/alice/.openclaw", "/home/bob/.openclaw"


def sha(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()


@contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.create_function("octet_length", 1, lambda v: None if v is None else len(v.encode()))
        yield connection


def put(connection: sqlite3.Connection, table: str, **values: object) -> None:
    """A row with these values, and something of the right type in every other column that must have one."""
    for _, name, kind, required, default, _ in connection.execute(f"PRAGMA table_info({table})"):
        if required and default is None:
            values.setdefault(name, {"INTEGER": 0, "INT": 0, "BLOB": b""}.get(kind, "x"))
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))  # noqa: S608


class Gateway:
    """A staged state directory with empty databases of the SQLite era."""

    def __init__(self, top: Path, state: str = relocation_tables.STATE, version: int = 18) -> None:
        self.tree = top / "staged"
        self.state = self.tree / "state" / "openclaw.sqlite"
        self.agent = self.tree / "agents" / "main" / "agent" / "openclaw-agent.sqlite"
        self._make(self.state, state, version)
        self._make(self.agent, relocation_tables.AGENT, 23)

    @staticmethod
    def _make(path: Path, schema: str, version: int) -> None:
        path.parent.mkdir(parents=True)
        with connected(path) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=OFF")
            connection.executescript(f"BEGIN; {schema} COMMIT;")
            connection.execute(f"PRAGMA user_version = {version}")
        path.chmod(0o600)

    def relocate(self, new: str = "/home/bob", old: str = "/home/alice") -> Relocated:
        manifest = Manifest(
            bundle_id=bytes(16),
            created=0,
            generator="",
            source=Host(home=os.fsencode(old)),
            roots=(Root(name="default", role=Role.STATE, source=os.fsencode(f"{old}/.openclaw"), profile="default"),),
            profiles=(
                Profile(
                    name="default",
                    state="default",
                    workspaces=(Workspace(agent="main", root="default", path=b"workspace"),),
                ),
            ),
        )
        destinations = {"default": f"{new}/.openclaw".encode()}
        moves = Moves.plan(manifest, destinations, home=new.encode())
        return relocate({"default": bytes(self.tree)}, manifest, moves)


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


def test_cron_jobs_their_scratch_and_their_runs_move_together(gateway: Gateway) -> None:
    with connected(gateway.state) as database:
        for job in ("nightly", "hourly"):
            put(database, "cron_jobs", store_key=f"{OLD}/cron/jobs.json", job_id=job, job_json="{}")
        put(database, "cron_job_scratch", store_key=f"{OLD}/cron/jobs.json", job_id="nightly", revision=1)
        put(
            database,
            "cron_run_receipts",
            receipt_id="r",
            store_key=f"{OLD}/cron/jobs.json",
            status="ok",
            finished_at_ms=1,
        )

    report = gateway.relocate()

    assert [change for change in report.changes if "cron" in change.where] == [
        Change(where="default/state/openclaw.sqlite:cron_jobs.store_key", count=2),
        Change(where="default/state/openclaw.sqlite:cron_job_scratch.store_key", count=1),
        Change(where="default/state/openclaw.sqlite:cron_run_receipts.store_key", count=1),
    ]
    with connected(gateway.state) as database:
        jobs = database.execute("SELECT DISTINCT store_key FROM cron_jobs").fetchall()
    assert jobs == [(f"{NEW}/cron/jobs.json",)]


def test_the_directory_a_job_runs_in_moves_and_its_message_stays(gateway: Gateway) -> None:
    job = {"payload": {"cwd": "/home/alice/app", "message": "look into /home/alice/app"}}
    with connected(gateway.state) as database:
        put(database, "cron_jobs", job_id="j", job_json=json.dumps(job))

    report = gateway.relocate()

    with connected(gateway.state) as database:
        (found,) = database.execute("SELECT job_json FROM cron_jobs").fetchone()
    assert json.loads(found)["payload"] == {"cwd": "/home/bob/app", "message": "look into /home/alice/app"}
    assert report.notes == (
        "default/state/openclaw.sqlite: cron_jobs.job_json holds an old path inside payload.message: left as it is",
    )


CHECKED: dict[str, dict[str, object]] = {
    "worktrees": {"owner_kind": "manual"},
    "projects": {"source": "cloned"},
    "claw_installs": {"status": "complete"},
    "cron_run_receipts": {"status": "ok", "finished_at_ms": 1},
    "cron_job_scratch": {"revision": 1},
}
"""What the constraints of these tables ask for."""


def path_columns() -> Iterator[tuple[str, str]]:
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(relocation_tables.STATE)
        for table, column, how in COLUMNS:
            there = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            if how in {How.PATH, How.REAL} and column in there:
                yield table, column


@pytest.mark.parametrize(("table", "column"), [*path_columns()])
def test_a_column_that_holds_a_path_moves(gateway: Gateway, table: str, column: str) -> None:
    with connected(gateway.state) as database:
        put(database, table, **{column: f"{OLD}/x"}, **CHECKED.get(table, {}))

    gateway.relocate()

    with connected(gateway.state) as database:
        assert database.execute(f"SELECT {column} FROM {table}").fetchall() == [(f"{NEW}/x",)]  # noqa: S608


def workspace(database: sqlite3.Connection, path: str, canonical: str | None = None) -> None:
    canonical = canonical or path
    put(database, "workspace_setup_state", workspace_key=sha(canonical), workspace_path=canonical, version=1)
    put(database, "workspace_generated_bootstrap_hashes", workspace_key=sha(canonical), filename="A.md", sha256="0")
    for alias in dict.fromkeys((path, canonical)):
        put(
            database,
            "workspace_path_aliases",
            alias_key=sha(alias),
            alias_path=alias,
            workspace_key=sha(canonical),
            workspace_path=canonical,
        )


def workspaces(gateway: Gateway) -> tuple[list[str], list[str], list[str], list[str]]:
    with connected(gateway.state) as database:
        setups = database.execute("SELECT workspace_key, workspace_path FROM workspace_setup_state").fetchall()
        hashes = database.execute("SELECT workspace_key FROM workspace_generated_bootstrap_hashes").fetchall()
        aliases = database.execute("SELECT * FROM workspace_path_aliases ORDER BY alias_path").fetchall()
    assert all(key == sha(path) for key, path in setups if path)
    assert all(row[0] == sha(row[1]) and row[2] == sha(row[3]) for row in aliases)
    return [s[1] for s in setups], [h[0] for h in hashes], [a[1] for a in aliases], [a[3] for a in aliases]


def test_a_workspace_moves_with_the_hashes_of_its_path(gateway: Gateway) -> None:
    with connected(gateway.state) as database:
        workspace(database, f"{OLD}/workspace")
        workspace(database, "/srv/elsewhere")

    gateway.relocate()

    there = f"{NEW}/workspace"
    assert workspaces(gateway) == (
        [there, "/srv/elsewhere"],
        [sha("/srv/elsewhere"), sha(there)],
        [there, "/srv/elsewhere"],
        [there, "/srv/elsewhere"],
    )


def test_a_workspace_known_only_by_its_hash_moves_too(gateway: Gateway) -> None:
    with connected(gateway.state) as database:
        put(database, "workspace_setup_state", workspace_key=sha(f"{OLD}/workspace"), attested_at_ms=1)

    gateway.relocate()

    with connected(gateway.state) as database:
        found = database.execute("SELECT workspace_key, workspace_path FROM workspace_setup_state").fetchall()
    assert found == [(sha(f"{NEW}/workspace"), None)]


def test_a_workspace_behind_a_linked_home_is_found_by_its_other_name(gateway: Gateway) -> None:
    with connected(gateway.state) as database:
        workspace(database, f"{OLD}/workspace", canonical="/data/alice/.openclaw/workspace")

    gateway.relocate()

    there = f"{NEW}/workspace"
    assert workspaces(gateway) == ([there], [sha(there)], [there], [there])


def test_a_workspace_in_a_home_that_is_a_link_is_keyed_by_where_it_really_is(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "home").symlink_to("data")
    with connected(gateway.state) as database:
        workspace(database, f"{OLD}/workspace")

    gateway.relocate(new=f"{tmp_path}/home")

    there = f"{tmp_path}/data/.openclaw/workspace"
    assert workspaces(gateway) == ([there], [sha(there)], [there], [there])


def test_the_plugin_index_and_a_named_cron_store_move_inside_their_json(gateway: Gateway) -> None:
    with connected(gateway.state) as database:
        index = '{"index":{"workspaceDir":"/home/alice/ws","plugins":[{"rootDir":"/opt/openclaw/x"}]}}'
        put(database, "config_machine_state", state_key="plugins.installedIndex", value_json=index)
        put(database, "config_machine_state", state_key="cron.store", value_json='"/home/alice/jobs.json"')

    gateway.relocate()

    with connected(gateway.state) as database:
        values = [row[0] for row in database.execute("SELECT value_json FROM config_machine_state ORDER BY state_key")]
    assert values == ['"/home/bob/jobs.json"', index.replace("alice", "bob")]


def session(database: sqlite3.Connection, entry: dict[str, object], *events: dict[str, object]) -> None:
    put(
        database,
        "session_nodes",
        session_key="agent:main:main",
        current_session_id="s",
        entry_json=json.dumps(entry),
        entry_valid=1,
    )
    put(database, "session_windows", session_id="s", session_key="agent:main:main")
    for seq, event in enumerate(events):
        text = json.dumps(event, separators=(",", ":"))
        put(database, "transcript_events", session_id="s", seq=seq, event_json=text, event_utf8_bytes=len(text))


def test_a_transcripts_first_event_moves_and_what_was_said_stays(gateway: Gateway) -> None:
    with connected(gateway.agent) as database:
        session(database, {}, {"type": "session", "cwd": f"{OLD}/ws"}, {"type": "session", "cwd": f"{OLD}/ws"})

    gateway.relocate(new="/home/robert")

    with connected(gateway.agent) as database:
        rows = database.execute("SELECT event_json, event_utf8_bytes FROM transcript_events ORDER BY seq").fetchall()
    assert [json.loads(text)["cwd"] for text, _ in rows] == ["/home/robert/.openclaw/ws", f"{OLD}/ws"]
    assert all(len(text) == count for text, count in rows)


def test_of_a_session_all_moves_but_the_record_of_its_last_turn(gateway: Gateway) -> None:
    history = {"systemPromptReport": {"workspaceDir": f"{OLD}/ws"}, "skillsSnapshot": {"prompt": f"{OLD}/skills"}}
    with connected(gateway.agent) as database:
        session(database, {"sessionFile": f"{OLD}/s.jsonl", "spawnedCwd": f"{OLD}/ws", **history})

    gateway.relocate()

    with connected(gateway.agent) as database:
        (entry,) = database.execute("SELECT entry_json FROM session_nodes").fetchone()
    assert json.loads(entry) == {"sessionFile": f"{NEW}/s.jsonl", "spawnedCwd": f"{NEW}/ws", **history}


def test_openclaw_is_asked_to_check_a_changed_session_again(gateway: Gateway) -> None:
    with connected(gateway.agent) as database:
        session(database, {"sessionFile": f"{OLD}/s.jsonl"})

    gateway.relocate()

    with connected(gateway.agent) as database:
        assert database.execute("SELECT session_key FROM session_canonical_validation_pending").fetchall() == [
            ("agent:main:main",)
        ]


def test_moved_worktrees_get_a_note_on_what_git_needs(gateway: Gateway) -> None:
    with connected(gateway.state) as database:
        put(database, "worktrees", path=f"{OLD}/worktrees/a/b", repo_root="/home/alice/app", owner_kind="manual")

    assert "git worktree repair" in gateway.relocate().notes[0]


def test_a_workspace_that_is_there_already_is_left_and_told(gateway: Gateway) -> None:
    with connected(gateway.state) as database:
        for path in (f"{OLD}/workspace", f"{NEW}/workspace"):
            put(database, "workspace_setup_state", workspace_key=sha(path), workspace_path=path, version=1)

    report = gateway.relocate()

    assert report.warnings == (
        "default/state/openclaw.sqlite: workspace_setup_state already has a row for a new path: left as it is",
    )


def test_text_in_utf_16_is_left_and_told(gateway: Gateway) -> None:
    gateway.state.unlink()
    with connected(gateway.state) as database:
        database.execute("PRAGMA encoding = 'UTF-16'")
        database.executescript(relocation_tables.STATE)
        put(database, "session_groups", cwd=f"{OLD}/x")

    report = gateway.relocate()

    assert (report.changes, len(report.warnings)) == ((), 1)


def test_history_stays(gateway: Gateway) -> None:
    with connected(gateway.state) as database:
        put(database, "backup_runs", archive_path=f"{OLD}/backup.tar.gz", manifest_json=f'["{OLD}"]')
        put(database, "diagnostic_events", payload_json=f'{{"configPath":"{OLD}/openclaw.json"}}')

    assert gateway.relocate() == Relocated()


def test_of_exec_approvals_the_paths_move_and_the_sockets_token_goes(gateway: Gateway) -> None:
    raw = {
        "version": 1,
        "socket": {"path": f"{OLD}/exec-approvals.sock", "token": "fake"},
        "agents": {"main": {"allowlist": [{"pattern": "/home/alice/bin/*"}]}},
    }
    with connected(gateway.state) as database:
        put(
            database,
            "exec_approvals_config",
            config_key="current",
            raw_json=json.dumps(raw),
            socket_path=f"{OLD}/exec-approvals.sock",
            has_socket_token=1,
        )

    gateway.relocate()

    with connected(gateway.state) as database:
        found = database.execute("SELECT raw_json, socket_path, has_socket_token FROM exec_approvals_config").fetchone()
    assert json.loads(found[0]) == {
        "version": 1,
        "socket": {"path": f"{NEW}/exec-approvals.sock"},
        "agents": {"main": {"allowlist": [{"pattern": "/home/bob/bin/*"}]}},
    }
    assert found[1:] == (f"{NEW}/exec-approvals.sock", 0)


def test_leases_and_messages_waiting_to_be_sent_go_even_where_nothing_moves(gateway: Gateway) -> None:
    with connected(gateway.state) as database:
        put(database, "state_leases")
        put(database, "agent_database_leases", lease_id="l")
        put(database, "delivery_queue_entries", id="1")
        put(database, "delivery_queue_entries", id="2")
        put(database, "plugin_blob_entries", entry_key="kept")
        put(database, "plugin_blob_entries", entry_key="passing", expires_at=1)

    report = gateway.relocate(new="/home/alice")

    where = "default/state/openclaw.sqlite:"
    assert report.changes == (
        Change(where=f"{where}state_leases", count=1, cleared=True),
        Change(where=f"{where}agent_database_leases", count=1, cleared=True),
        Change(where=f"{where}delivery_queue_entries", count=2, cleared=True),
        Change(where=f"{where}plugin_blob_entries", count=1, cleared=True),
    )


def test_a_prefix_that_only_looks_like_one_stays(gateway: Gateway) -> None:
    with connected(gateway.state) as database:
        put(database, "session_groups", name="a", cwd="/home/alice2/x")
        put(database, "session_groups", name="b", cwd="/home/alice.old")

    assert gateway.relocate() == Relocated()


def test_relocating_again_changes_nothing(gateway: Gateway) -> None:
    with connected(gateway.state) as database:
        put(database, "cron_jobs", store_key=f"{OLD}/cron/jobs.json", job_json="{}")
        workspace(database, f"{OLD}/workspace")
    gateway.relocate()

    assert gateway.relocate() == Relocated()


def test_a_database_is_left_closed_in_wal_mode_with_its_owner_and_mode(gateway: Gateway) -> None:
    with connected(gateway.state) as database:
        put(database, "session_groups", cwd=f"{OLD}/x")
    if os.geteuid() == 0:
        os.chown(gateway.state, 1500, 1500)
    before = gateway.state.stat()

    gateway.relocate()

    after = gateway.state.stat()
    assert [path.name for path in gateway.state.parent.iterdir()] == ["openclaw.sqlite"]
    assert gateway.state.read_bytes()[18:20] == b"\x02\x02"  # version 2 of the format: WAL
    assert (after.st_uid, after.st_gid, after.st_mode, after.st_ino) == (
        before.st_uid,
        before.st_gid,
        before.st_mode,
        before.st_ino,
    )


def test_a_read_only_database_is_changed_and_stays_read_only(gateway: Gateway) -> None:
    with connected(gateway.state) as database:
        put(database, "session_groups", cwd=f"{OLD}/x")
    gateway.state.chmod(0o400)

    report = gateway.relocate()

    assert (len(report.changes), gateway.state.stat().st_mode & 0o777) == (1, 0o400)


def test_a_newer_schema_gets_a_warning_and_what_is_known_of_it_moves(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, version=19)
    with connected(gateway.state) as database:
        database.execute("CREATE TABLE later (home_dir TEXT, note TEXT)")
        database.execute("INSERT INTO later VALUES (?, 'see /home/alice'), (?, NULL)", (OLD, f"{OLD}/x"))
        put(database, "session_groups", cwd=f"{OLD}/x")

    report = gateway.relocate()

    where = "default/state/openclaw.sqlite"
    assert report.changes == (Change(where=f"{where}:session_groups.cwd", count=1),)
    assert report.warnings == (
        f"{where}: its schema is 19, newer than the 18 known here: it may name more old paths",
        f"{where}: later.home_dir: 2 old paths left as they are",
    )


def test_what_was_said_is_not_searched_for_paths(gateway: Gateway) -> None:
    with connected(gateway.agent) as database:
        database.execute("CREATE TABLE memory_index_chunks (text TEXT)")
        database.execute("INSERT INTO memory_index_chunks VALUES (?)", (OLD,))

    assert gateway.relocate() == Relocated()


def test_a_row_whose_new_key_is_taken_is_left_and_told(gateway: Gateway) -> None:
    with connected(gateway.state) as database:
        put(database, "config_health_entries", config_path=f"{OLD}/openclaw.json", updated_at_ms=1)
        put(database, "config_health_entries", config_path=f"{NEW}/openclaw.json", updated_at_ms=2)

    report = gateway.relocate()

    where = "default/state/openclaw.sqlite: config_health_entries.config_path"
    assert report.warnings == (f"{where} already has a row for the new path: the old one is left as it is",)


def test_json_that_is_broken_is_left_and_told(gateway: Gateway) -> None:
    with connected(gateway.state) as database:
        put(database, "config_machine_state", state_key="a", value_json=f'{{"torn": "{OLD}')

    report = gateway.relocate()

    assert (report.changes, len(report.warnings)) == ((), 1)


def test_tables_of_the_hybrid_era_move(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, relocation_tables.HYBRID_STATE, version=1)
    with connected(gateway.state) as database:
        put(database, "agent_databases", agent_id="main", path=f"{OLD}/agents/main/agent/openclaw-agent.sqlite")
        put(
            database,
            "workspace_setup_state",
            workspace_key=sha(f"{OLD}/workspace"),
            workspace_path=f"{OLD}/workspace",
        )
        put(
            database,
            "installed_plugin_index",
            install_records_json='{"x":{"installPath":"/home/alice/x"}}',
            plugins_json="[]",
            diagnostics_json="[]",
        )

    gateway.relocate()

    with connected(gateway.state) as database:
        assert database.execute("SELECT path FROM agent_databases").fetchall() == [
            (f"{NEW}/agents/main/agent/openclaw-agent.sqlite",)
        ]
        assert database.execute("SELECT workspace_key FROM workspace_setup_state").fetchall() == [
            (sha(f"{NEW}/workspace"),)
        ]
        assert database.execute("SELECT install_records_json FROM installed_plugin_index").fetchall() == [
            ('{"x":{"installPath":"/home/bob/x"}}',)
        ]


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0FAKE", b"no database at all" * 100])
def test_a_file_that_is_no_database_stays_as_it_is(gateway: Gateway, content: bytes) -> None:
    gateway.state.write_bytes(content)

    report = gateway.relocate()

    assert (gateway.state.read_bytes(), len(report.warnings)) == (content, 1 if content else 0)


def test_damage_that_was_there_before_does_not_keep_the_jobs_from_moving(gateway: Gateway) -> None:
    with connected(gateway.state) as database:
        put(database, "cron_jobs", store_key=f"{OLD}/cron/jobs.json", job_json="{}")
        put(database, "workspace_generated_bootstrap_hashes", workspace_key="of no workspace")

    assert gateway.relocate().changes == (Change(where="default/state/openclaw.sqlite:cron_jobs.store_key", count=1),)


def test_a_change_that_would_break_a_reference_is_undone_and_told(gateway: Gateway) -> None:
    with connected(gateway.state) as database:
        database.execute("CREATE TABLE later (cwd TEXT REFERENCES acp_sessions(session_key))")
        database.execute(
            "CREATE TRIGGER breaks AFTER UPDATE ON session_groups BEGIN INSERT INTO later VALUES ('none'); END"
        )
        put(database, "session_groups", cwd=f"{OLD}/x")

    report = gateway.relocate()

    with connected(gateway.state) as database:
        kept = database.execute("SELECT cwd FROM session_groups").fetchall()
    assert (report.changes, kept) == ((), [(f"{OLD}/x",)])


def test_virtual_tables_that_this_sqlite_lacks_are_no_obstacle(gateway: Gateway) -> None:
    with connected(gateway.agent) as database:
        session(database, {}, {"type": "session", "cwd": f"{OLD}/ws"})
        database.execute("PRAGMA writable_schema = ON")
        database.execute(
            "INSERT INTO sqlite_schema VALUES ('table', 'vectors', 'vectors', 0,"
            " 'CREATE VIRTUAL TABLE vectors USING vec0(embedding float[4])')"
        )

    assert gateway.relocate().changes == (
        Change(where="default/agents/main/agent/openclaw-agent.sqlite:transcript_events.event_json", count=1),
    )


def test_a_database_that_is_a_link_is_not_followed(gateway: Gateway, tmp_path: Path) -> None:
    outside = tmp_path / "outside.sqlite"
    gateway.state.rename(outside)
    gateway.state.symlink_to(outside)
    with connected(outside) as database:
        put(database, "session_groups", cwd=f"{OLD}/x")
    before = outside.read_bytes()

    report = gateway.relocate()

    assert (report, outside.read_bytes()) == (Relocated(), before)


# --- What the system refuses, and rows that are no trouble -----------------------------------------------------------

SIMPLE = "CREATE TABLE session_groups (name, cwd);"


def test_a_full_disk_ends_the_relocation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = Gateway(tmp_path, SIMPLE)
    with connected(gateway.state) as database:
        database.executemany("INSERT INTO session_groups VALUES (?, ?)", [(n, f"{OLD}/x") for n in range(200)])

    @contextmanager
    def full(place: Place) -> Iterator[sqlite3.Connection]:
        with opened(place) as database:
            database.execute("PRAGMA max_page_count=1")  # SQLite goes no lower than what there is
            yield database

    opened = connection.opened
    monkeypatch.setattr(rows, "opened", full)
    with pytest.raises(NoSpace) as caught:
        gateway.relocate(new="/" + "long/" * 100)
    assert caught.value.path == "default/state/openclaw.sqlite"


def test_a_database_that_can_not_be_written_ends_the_relocation(gateway: Gateway) -> None:
    with connected(gateway.state) as database:
        put(database, "session_groups", cwd=f"{OLD}/x")

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
    try:
        with pytest.raises(TargetFailure, match="can't rewrite paths in a staged database"):
            gateway.relocate()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_reference_that_sqlite_can_not_check_is_no_obstacle(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, SIMPLE)
    with connected(gateway.state) as database:
        database.execute("CREATE TABLE later (a REFERENCES session_groups(name))")  # which has no index
        database.execute("INSERT INTO session_groups VALUES ('a', ?)", (f"{OLD}/x",))

    where = "default/state/openclaw.sqlite:session_groups.cwd"
    assert gateway.relocate().changes == (Change(where=where, count=1),)


def test_rows_are_found_by_many_prefixes_too(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_MAX_MOVES", 0)
    with connected(gateway.state) as database:
        put(database, "session_groups", name="a", cwd=f"{OLD}/x")
        put(database, "session_groups", name="b", cwd="/elsewhere")

    where = "default/state/openclaw.sqlite:session_groups.cwd"
    assert gateway.relocate().changes == (Change(where=where, count=1),)


def test_bytes_in_a_column_for_text_stay(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, SIMPLE)
    with connected(gateway.state) as database:
        database.execute("INSERT INTO session_groups VALUES ('a', ?)", (f"{OLD}/x".encode(),))

    assert gateway.relocate() == Relocated()


@pytest.mark.parametrize("raw", [[], {}, {"socket": {"path": "/elsewhere"}}])
def test_exec_approvals_without_a_sockets_token_stay(gateway: Gateway, raw: object) -> None:
    with connected(gateway.state) as database:
        put(database, "exec_approvals_config", raw_json=json.dumps(raw))

    assert gateway.relocate() == Relocated()


@pytest.mark.parametrize("raw", [None, 5, json.dumps({"socket": {"token": "t"}}).ljust((1 << 20) + 1)])
def test_exec_approvals_that_are_no_document_of_a_sensible_size_stay(tmp_path: Path, raw: object) -> None:
    gateway = Gateway(tmp_path, "CREATE TABLE exec_approvals_config (raw_json, has_socket_token);")
    with connected(gateway.state) as database:
        put(database, "exec_approvals_config", raw_json=raw)

    assert gateway.relocate() == Relocated()


def test_a_transcript_from_elsewhere_stays(gateway: Gateway) -> None:
    with connected(gateway.agent) as database:
        session(database, {}, {"type": "session", "cwd": "/elsewhere"})

    assert gateway.relocate() == Relocated()


def test_a_transcript_moves_where_its_length_is_not_kept(gateway: Gateway) -> None:
    with connected(gateway.agent) as database:
        database.executescript(
            "DROP TABLE transcript_events; CREATE TABLE transcript_events (session_id, seq INTEGER, event_json TEXT)"
        )
        put(database, "session_windows", session_id="s", session_key="k")
        event = json.dumps({"type": "session", "cwd": f"{OLD}/ws"})
        database.execute("INSERT INTO transcript_events VALUES ('s', 1, ?)", (event,))

    where = "default/agents/main/agent/openclaw-agent.sqlite:transcript_events.event_json"
    assert Change(where=where, count=1) in gateway.relocate().changes


def test_an_old_home_whose_name_is_not_utf_8_is_looked_for_as_bytes(gateway: Gateway) -> None:
    with connected(gateway.state) as database:
        put(database, "session_groups", name="a", cwd="/home/alice/x")

    assert gateway.relocate(old=os.fsdecode(b"/home/caf\xe9")) == Relocated()


# --- Connections -----------------------------------------------------------------------------------------------------


@pytest.fixture
def one_place(tmp_path: Path) -> Iterator[Place]:
    with connected(tmp_path / "a.sqlite") as database:
        database.execute("CREATE TABLE t (a)")
    (tmp_path / "b.sqlite").write_bytes((tmp_path / "a.sqlite").read_bytes())
    yield from Tree(root="r", path=bytes(tmp_path)).find(b"a.sqlite")


def test_a_database_that_was_replaced_is_refused(one_place: Place, tmp_path: Path) -> None:
    other = replace(one_place, staged=bytes(tmp_path / "b.sqlite"))
    with pytest.raises(TargetFailure, match="was replaced"), connection.opened(other):
        pass


def test_a_database_that_is_left_with_a_log_is_refused(one_place: Place, tmp_path: Path) -> None:
    with pytest.raises(TargetFailure, match="wasn't closed cleanly"), connection.opened(one_place):
        (tmp_path / "a.sqlite-wal").touch()


@pytest.mark.parametrize("version", [(3, 40, 0), (3, 43, 0)], ids=str)
def test_an_older_sqlite_gets_the_function_that_openclaws_constraints_call(
    one_place: Place, monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...]
) -> None:
    is_old = sqlite3.sqlite_version_info < (3, 43)
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    with connection.opened(one_place) as database:
        (is_trusted,) = database.execute("PRAGMA trusted_schema").fetchone()
        lengths = None
        if version < (3, 43) or not is_old:
            lengths = database.execute(
                "SELECT octet_length(NULL), octet_length('\u00e9'), octet_length(x'00')"
            ).fetchone()
    assert (bool(is_trusted), lengths) == ((True, (None, 2, 1)) if version < (3, 43) else (False, lengths))
