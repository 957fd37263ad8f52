"""Traps in the libraries that ocbundle stands on, each shown closed: here, or by the test that the table names."""

from __future__ import annotations

import ast
import contextlib
import functools
import itertools
import os
import sqlite3
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from forging import hot_journal

import ocbundle
from ocbundle import databases
from ocbundle.model import Host, Manifest, Role, Root
from ocbundle.openclaw import connection, documents, rows
from ocbundle.openclaw.documents import Edited, NotEdited
from ocbundle.openclaw.moves import Moves
from ocbundle.openclaw.relocation import Relocated, relocate

TESTS = Path(__file__).parent
PACKAGE = Path(ocbundle.__file__).parent
OLD, NEW = "/home/alice/.openclaw", "/home/bob/.openclaw"

CLOSED_BY = {
    "pyrage's header parser is quadratic and unbounded": (
        "test_agefile.py::test_64_kilobytes_of_tiny_stanzas_are_refused_at_once",
        "test_agefile.py::test_a_stanza_of_260_kilobytes_is_refused_at_once",
        "test_agefile.py::test_a_header_may_reach_its_bounds_and_no_more",
    ),
    "pyrage's scrypt limit drifts with a benchmark of its own": (
        "test_sealing.py::test_work_factor_24_is_refused_at_once",
        "test_agefile.py::test_a_work_factor_above_the_limit_is_refused_without_deriving",
    ),
    "pyrage chooses the work factor that it writes": (
        "test_sealing.py::test_a_passphrase_is_written_with_work_factor_18",
    ),
    "pyrage opens armor where a binary file should be": (
        "test_agefile.py::test_armor_is_refused",
        "test_sealing.py::test_armored_keys_are_refused",
    ),
    "pyrage refuses SSH keys under a passphrase": ("test_sealing.py::test_an_ssh_key_of_every_form_opens_a_bundle",),
    "zstandard reads a truncated frame as a short one": (
        "test_compression.py::test_a_plaintext_cut_at_any_length_is_refused",
    ),
    "zstandard trusts the size that a frame declares": (
        "test_compression.py::test_a_frame_that_claims_a_tebibyte_takes_no_memory",
        "test_compression.py::test_a_frame_that_holds_128_mebibytes_and_declares_next_to_nothing_takes_no_memory",
    ),
    "zstandard misreads a leading skippable frame, and a declared size of 0": (
        "test_compression.py::test_a_plaintext_that_breaks_a_rule_is_refused",
    ),
    "zstandard writes windows beyond 8 MiB at high levels": (
        "test_compression.py::test_a_full_segment_at_the_highest_levels_keeps_within_the_window",
    ),
    "msgpack keeps the last of equal keys, and takes extensions and any depth": (
        "test_records.py::test_any_other_encoding_is_refused",
        "test_records.py::test_depth_8_is_accepted",
    ),
    "a read-only connection of SQLite's creates files beside its source": (
        "test_databases.py::test_a_stopped_gateways_directory_stays_as_it_is",
        "test_databases.py::test_the_copy_is_private",
    ),
    "a database without its log is another database": (
        "test_databases.py::test_rows_that_are_only_in_the_log_of_a_stopped_gateway_are_taken",
    ),
    "a stepped backup never ends while somebody writes": (
        "test_databases.py::test_a_database_that_is_written_all_the_time_is_taken_consistent",
    ),
}


@pytest.mark.parametrize("test", sorted({test for tests in CLOSED_BY.values() for test in tests}))
def test_a_test_that_closes_a_trap_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


NEVER_CALLED = {
    "decrypt_file": "creates its target 0644, and truncates it before the key is checked",
    "encrypt_file": "the same",
    "decrypt_io": "hands out plaintext before its end is authenticated",
    "encrypt_io": "swallows the caller's exceptions",
    "get_frame_parameters": "reports the length of a leading skippable frame",
    "extractall": "can be led out of its directory",
}


@functools.cache
def called(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


@pytest.mark.parametrize("function", NEVER_CALLED)
def test_a_function_that_can_not_be_trusted_is_never_called(function: str) -> None:
    assert [path.name for path in PACKAGE.rglob("*.py") if function in called(path)] == []


def test_a_streaming_reader_of_zstd_is_called_where_frames_are_walked_to_their_end_and_nowhere_else() -> None:
    assert [path.name for path in PACKAGE.rglob("*.py") if "stream_reader" in called(path)] == ["compression.py"]


@pytest.mark.parametrize("module", ["restore", "staging", "stages", "descent", "settling", "sites", "plans", "placing"])
def test_what_writes_restored_files_never_asks_for_the_real_path_of_a_string(module: str) -> None:
    assert "realpath" not in called(PACKAGE / f"{module}.py")


# --- SQLite: a journal that names a file to be deleted --------------------------------------------------------------


def make_database(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("CREATE TABLE cron_jobs (store_key TEXT, job_json TEXT)")
        database.execute("INSERT INTO cron_jobs VALUES (?, '{}')", (f"{OLD}/cron/jobs.json",))


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "authorized_keys"
    path.write_text("ssh-ed25519 AAAA")
    return path


def test_sqlite_deletes_the_file_that_a_journal_names(tmp_path: Path, victim: Path) -> None:
    path = tmp_path / "x.sqlite"
    make_database(path)
    path.with_name("x.sqlite-journal").write_bytes(hot_journal(path, bytes(victim)))
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("SELECT * FROM cron_jobs").fetchall()
    assert not victim.exists(), "SQLite has changed: the care of the tests below may be too much"


def captured(directory: Path) -> bytes | None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with databases.capture(descriptor, b"x.sqlite", bytes(directory), str(directory.parent)) as copy:
            return None if copy.file is None else copy.file.read()
    finally:
        os.close(descriptor)


def changed_since_the_journal(directory: Path, super_journal: Path) -> tuple[bytes, bytes]:
    """The database before and after a change that the journal beside it would take back."""
    directory.mkdir()
    path = directory / "x.sqlite"
    make_database(path)
    before = path.read_bytes()
    path.with_name("x.sqlite-journal").write_bytes(hot_journal(path, bytes(super_journal)))
    after = before[:40] + bytes([before[40] ^ 1]) + before[41:]  # the schema's cookie
    path.write_bytes(after)
    return before, after


def test_packing_a_database_deletes_no_file_that_its_journal_names(tmp_path: Path, victim: Path) -> None:
    before, _ = changed_since_the_journal(tmp_path / "home", victim)
    assert (captured(tmp_path / "home"), victim.exists()) == (before, True)


def test_a_transaction_whose_super_journal_is_gone_was_committed(tmp_path: Path, victim: Path) -> None:
    victim.unlink()
    _, after = changed_since_the_journal(tmp_path / "home", victim)
    assert captured(tmp_path / "home") == after


@pytest.mark.parametrize("length", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_super_journals_name_of_a_false_length_is_no_obstacle(tmp_path: Path, victim: Path, length: int) -> None:
    changed_since_the_journal(tmp_path / "home", victim)
    journal = tmp_path / "home" / "x.sqlite-journal"
    data = journal.read_bytes()
    journal.write_bytes(data[:-16] + struct.pack(">I", length) + data[-12:])
    assert captured(tmp_path / "home") is not None


# --- SQLite: staged databases that somebody else has made -----------------------------------------------------------


class Staged:
    """A staged state directory with one database."""

    def __init__(self, top: Path) -> None:
        self.path = top / "staged" / "state" / "openclaw.sqlite"
        self.path.parent.mkdir(parents=True)
        make_database(self.path)

    def execute(self, *statements: str) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as database:
            for statement in statements:
                found = database.execute(statement).fetchall()
        return found

    def relocate(self) -> Relocated:
        root = Root(name="default", role=Role.STATE, source=OLD.encode(), profile="default")
        manifest = Manifest(
            bundle_id=bytes(16), created=0, generator="", source=Host(home=b"/home/alice"), roots=(root,)
        )
        moves = Moves.plan(manifest, {"default": NEW.encode()}, home=b"/home/bob")
        return relocate({"default": bytes(self.path.parents[1])}, manifest, moves)

    def keys(self) -> list[tuple[object, ...]]:
        return self.execute("SELECT store_key FROM cron_jobs")


@pytest.fixture
def staged(tmp_path: Path) -> Staged:
    return Staged(tmp_path)


def test_a_staged_database_with_a_journal_is_left_alone_and_told(staged: Staged, victim: Path) -> None:
    journal = staged.path.with_name("openclaw.sqlite-journal")
    journal.write_bytes(hot_journal(staged.path, bytes(victim)))
    before = staged.path.read_bytes()
    report = staged.relocate()
    assert (victim.exists(), journal.exists(), staged.path.read_bytes()) == (True, True, before)
    assert "has a log or a journal beside it" in report.warnings[0]


@pytest.mark.parametrize("side", ["-wal", "-shm", "-journal"])
def test_a_link_beside_a_staged_database_is_not_followed(staged: Staged, victim: Path, side: str) -> None:
    staged.path.with_name(staged.path.name + side).symlink_to(victim)
    assert "has a log or a journal beside it" in staged.relocate().warnings[0]
    assert victim.read_text() == "ssh-ed25519 AAAA"


TRIGGERS = {
    "code is loaded": "SELECT load_extension('/tmp/evil.so');",
    "endless recursion": "INSERT INTO t WITH RECURSIVE c AS (SELECT 1 UNION ALL SELECT * FROM c) SELECT 1 FROM c;",
    "a blob beyond all bounds": "INSERT INTO t VALUES (zeroblob(900000000));",
    "a tokenizer's address": "SELECT fts3_tokenizer('simple', x'4141414141414141');",
}


@pytest.mark.parametrize("body", TRIGGERS.values(), ids=TRIGGERS)
def test_a_trigger_that_is_none_of_openclaws_changes_nothing_and_is_told(staged: Staged, body: str) -> None:
    staged.execute("CREATE TABLE t (x)", f"CREATE TRIGGER evil AFTER UPDATE ON cron_jobs BEGIN {body} END")
    report = staged.relocate()
    assert "can't be changed" in report.warnings[0]
    assert staged.keys() == [(f"{OLD}/cron/jobs.json",)]


THOUSAND = (
    "CREATE TABLE t (x)",
    "INSERT INTO t WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c LIMIT 1000) SELECT x FROM c",
)
GREEDY = {
    "a join that takes years": "INSERT INTO t SELECT count(*) FROM t, t AS u, t AS v, t AS w, t AS y;",
    "a sort that takes all memory": "INSERT INTO t SELECT DISTINCT hex(zeroblob(10000)) || t.x || '.' || u.x"
    " FROM t, t AS u ORDER BY 1 LIMIT 1;",
}


@pytest.mark.parametrize("body", GREEDY.values(), ids=GREEDY)
def test_a_trigger_that_asks_for_more_than_its_database_needs_is_ended_and_told(staged: Staged, body: str) -> None:
    staged.execute(*THOUSAND, f"CREATE TRIGGER greedy AFTER UPDATE ON cron_jobs BEGIN {body} END")
    before = staged.path.read_bytes()
    report = staged.relocate()
    assert "can't be changed (it asks for more than a database of its size can need)" in report.warnings[0]
    assert staged.path.read_bytes() == before


def test_a_value_longer_than_its_database_is_refused(staged: Staged) -> None:
    staged.execute(
        "CREATE TABLE t (x)",
        "CREATE TRIGGER evil AFTER UPDATE ON cron_jobs BEGIN INSERT INTO t VALUES (zeroblob(2000000)); END",
    )
    assert "can't be changed (string or blob too big)" in staged.relocate().warnings[0]
    assert staged.keys() == [(f"{OLD}/cron/jobs.json",)]


def test_a_check_that_asks_for_too_much_is_not_taken_for_damage(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(database: rows._Database) -> tuple[str, ...]:
        monkeypatch.setattr(connection, "_peak", lambda: 1 << 60)
        return checked(database)

    monkeypatch.setattr(connection, "_STEPS_AT_ONCE", 1)
    checked = rows._Database._damage
    monkeypatch.setattr(rows._Database, "_damage", check)
    staged.execute(*THOUSAND)
    assert "it asks for more than" in staged.relocate().warnings[0]
    assert staged.keys() == [(f"{OLD}/cron/jobs.json",)]


def test_an_interrupt_while_a_database_is_changed_ends_the_run(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    staged.execute(
        *THOUSAND, f"CREATE TRIGGER slow AFTER UPDATE ON cron_jobs BEGIN {GREEDY['a join that takes years']} END"
    )
    calls = itertools.count()

    def pressed() -> int:
        if next(calls) == 1000:
            raise KeyboardInterrupt
        return 0

    monkeypatch.setattr(connection, "_peak", pressed)
    with pytest.raises(KeyboardInterrupt):
        staged.relocate()
    assert staged.keys() == [(f"{OLD}/cron/jobs.json",)]


@pytest.mark.ci
def test_a_hundred_thousand_rows_are_within_the_budget(staged: Staged) -> None:
    staged.execute(
        "CREATE TABLE session_groups (name, cwd, a, b, c, d, e, f, g, h)",
        "INSERT INTO session_groups(cwd) WITH RECURSIVE c(x) AS"
        " (VALUES ('/home/alice/x') UNION ALL SELECT x FROM c LIMIT 100000) SELECT x FROM c",
    )
    report = staged.relocate()
    assert report.warnings == ()
    assert [change.count for change in report.changes if "session_groups" in change.where] == [100_000]


def test_a_trigger_that_keeps_a_full_text_index_runs_as_for_openclaw(staged: Staged) -> None:
    staged.execute(
        "CREATE VIRTUAL TABLE found USING fts5(job)",
        "CREATE TRIGGER index_it AFTER UPDATE ON cron_jobs BEGIN"
        " INSERT INTO found(rowid, job) VALUES (new.rowid, new.store_key); END",
    )
    assert staged.relocate().warnings == ()
    assert staged.execute("SELECT job FROM found WHERE found MATCH 'bob'") == [(f"{NEW}/cron/jobs.json",)]


@pytest.mark.parametrize(
    "statement",
    [
        "ATTACH DATABASE '{}' AS other",
        "VACUUM INTO '{}'",
        "CREATE TABLE other (x)",
        "CREATE TEMP TABLE other (x)",
        "CREATE TEMP TRIGGER other AFTER UPDATE ON cron_jobs BEGIN SELECT 1; END",
        "DROP TABLE cron_jobs",
        "SELECT load_extension('{}')",
    ],
)
def test_a_connection_to_a_staged_database_reaches_nothing_else(staged: Staged, tmp_path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(staged.path, isolation_level=None)) as database:
        connection._confine(database)
        with pytest.raises(sqlite3.Error):
            database.execute(statement.format(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_a_table_that_is_a_view_in_disguise_is_left(staged: Staged) -> None:
    staged.execute("ALTER TABLE cron_jobs RENAME TO hidden", "CREATE VIEW cron_jobs AS SELECT * FROM hidden")
    staged.relocate()
    assert staged.keys() == [(f"{OLD}/cron/jobs.json",)]


def test_a_schema_that_is_broken_is_left_and_told(staged: Staged) -> None:
    staged.execute("PRAGMA writable_schema = ON", "UPDATE sqlite_schema SET sql = 'CREATE TABLE cron_jobs (((('")
    before = staged.path.read_bytes()
    assert "can't be changed" in staged.relocate().warnings[0]
    assert staged.path.read_bytes() == before


# --- JSON and JSON5 -------------------------------------------------------------------------------------------------

MOVES = Moves.plan(
    Manifest(bundle_id=bytes(16), created=0, generator="", source=Host(home=b"/home/alice"), roots=()),
    {},
    home=b"/home/bob",
)
DEEP = 100_000
Rewrite = Callable[[bytes, Moves], Edited]


@pytest.mark.parametrize("rewrite", [documents.config, documents.plain])
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[" * DEEP + "]" * DEEP, id="arrays"),
        pytest.param('{"a":' * DEEP + "1" + "}" * DEEP, id="objects"),
        pytest.param("[" * DEEP, id="never closed"),
        pytest.param('["/home/alice/x",' + "[" * 990 + "]" * 990 + "]", id="as deep as Python goes"),
        pytest.param("/*" * DEEP, id="a comment without end"),
        pytest.param('"' + "\\" * DEEP, id="a string without end"),
        pytest.param("1" * DEEP, id="a number without end"),
        pytest.param("[1e999999, -1e999999]", id="numbers beyond all numbers"),
        pytest.param('["/home/alice/x",' + "[]," * (1 << 22) + "0]", id="more values than memory has room for"),
    ],
)
def test_a_document_made_to_exhaust_its_reader_is_left_as_it_is(rewrite: Rewrite, text: str) -> None:
    start = time.process_time()
    data = text.encode()
    with contextlib.suppress(NotEdited):
        assert rewrite(data, MOVES).data == data
    assert time.process_time() - start < 1
