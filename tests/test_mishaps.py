"""Mishaps: arguments that went wrong, rights and room that are missing, runs that end underway.

Each ends with one line that helps, the right number, nothing left behind and nothing overwritten. What is wrong with a
bundle's own bytes is elsewhere.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import support

import ocbundle
from ocbundle import agetext, cli
from ocbundle.cli import progress
from ocbundle.errors import InvalidRequest, TargetExists, TargetFailure
from ocbundle.model import ProgressCallback

HERE = f"import sys; sys.path.insert(0, {str(Path(ocbundle.__file__).parents[1])!r})\n"
PROGRAM = (sys.executable, "-c", f"{HERE}from ocbundle.cli import main; main()")
RECIPIENT = support.recipient()
OTHER_SECRET = bytes(range(1, 33))
SOMEBODY, NOBODY_KNOWN = 1500, 4242


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("ocbundle: error: ")]


Run = Callable[..., Result]


@pytest.fixture
def furnished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with two keys, a bundle and what it holds."""
    monkeypatch.chdir(tmp_path)
    furnish(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], furnished: Path) -> Run:
    """Runs one command line in a furnished directory."""

    def invoke(*arguments: str, env: Mapping[str, str] | None = None) -> Result:
        code = cli.run(arguments, {"HOME": str(furnished), **(env or {})})
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return invoke


def furnish(base: Path) -> None:
    (base / "data/sub").mkdir(parents=True)
    (base / "data/hello.txt").write_text("hello\n")
    (base / "data/sub/notes.txt").write_text("notes\n")
    (base / "key.txt").write_text(f"{agetext.encode_identity(support.SECRET)}\n")
    (base / "other.txt").write_text(f"{agetext.encode_identity(OTHER_SECRET)}\n")
    ocbundle.pack(base / "a.ocbundle", [base / "data"], recipients=[RECIPIENT])


def program(*arguments: str, stdin: bytes = b"", around: str = "", **env: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program itself; *around* is what a shell does around it, such as ``>/dev/full``."""
    command = ["bash", "-c", f'exec "$@" {around}', "bash", *PROGRAM, *arguments] if around else [*PROGRAM, *arguments]
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **env}
    return subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=60, env=environ)


@contextlib.contextmanager
def reachable() -> Iterator[Path]:
    """A directory that belongs to somebody else than root, furnished."""
    with tempfile.TemporaryDirectory() as base:
        Path(base).chmod(0o755)
        furnish(Path(base))
        if os.geteuid() == 0:
            for path in (Path(base), *Path(base).rglob("*")):
                os.chown(path, SOMEBODY, SOMEBODY)
        yield Path(base)


def as_somebody(base: Path, *arguments: str, uid: int = SOMEBODY, **env: str) -> Result:
    """Run one command line in *base* as a user who isn't root."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if child == 0:
            code = 99
            try:
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setgid(uid)
                    os.setuid(uid)
                os.chdir(base)
                sys.stdout, sys.stderr = out, err
                code = cli.run(arguments, env)
            finally:
                out.flush()
                err.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        for stream in (out, err):
            stream.seek(0)
        return Result(os.waitstatus_to_exitcode(status), out.read(), err.read())


def names(directory: str | Path = ".") -> list[str]:
    return sorted(os.listdir(directory))


FURNITURE = ["a.ocbundle", "data", "key.txt", "other.txt"]


# --- Arguments that went wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("pack", ""),
        ("pack", "data", "-r", ""),
        ("pack", "data", "-R", ""),
        ("pack", "data", "-i", ""),
        ("pack", "data", "-r", RECIPIENT, "-o", ""),
        ("pack", "-r", RECIPIENT, "--state-dir", ""),
        ("pack", "-r", RECIPIENT, "--profile", ""),
        ("verify", ""),
        ("verify", "a.ocbundle", "-i", ""),
        ("verify", "a.ocbundle", "--expect", ""),
        ("unpack", "a.ocbundle", "-i", "key.txt", "--to", ""),
        ("unpack", "a.ocbundle", "-i", "key.txt", "--to", "out", "--profile", ""),
        ("keygen", "-o", ""),
    ],
    ids=" ".join,
)
def test_an_unset_variable_of_a_script_is_a_usage_error(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert (result.code, len(result.errors), names()) == (2, 1, FURNITURE)


def test_an_empty_path_is_no_source_in_the_library_either() -> None:
    with pytest.raises(InvalidRequest):
        ocbundle.pack(None, [""], dry_run=True)


@pytest.mark.parametrize("option", [(), ("--force",), ("--force", "--dry-run")], ids=str)
def test_a_bundle_never_replaces_the_file_it_should_hold(run: Run, option: tuple[str, ...]) -> None:
    result = run("pack", "data/hello.txt", "-r", RECIPIENT, "-o", "data/hello.txt", *option)
    assert (result.code in {1, 2}, Path("data/hello.txt").read_text()) == (True, "hello\n")


def test_a_source_that_a_link_leads_to_is_not_replaced_either(run: Run) -> None:
    os.symlink("data/hello.txt", "link")
    result = run("pack", "link", "-r", RECIPIENT, "-o", "data/hello.txt", "--force")
    assert (result.code, Path("data/hello.txt").read_text()) == (2, "hello\n")


def test_a_pipe_is_no_output_and_stays(run: Run) -> None:
    os.mkfifo("pipe")
    result = run("pack", "data", "-r", RECIPIENT, "--force", "-o", "pipe")
    assert (result.code, stat.S_ISFIFO(os.stat("pipe").st_mode), "-o -" in result.err) == (2, True, True)


def test_an_identity_file_is_no_recipients_file_and_isnt_repeated(run: Run) -> None:
    result = run("pack", "data", "-R", "key.txt", "-o", "b")
    assert (result.code, "AGE-SECRET" in result.err, names()) == (2, False, FURNITURE)


def test_a_recipient_is_no_identity(run: Run) -> None:
    Path("public.txt").write_text(RECIPIENT)
    assert run("verify", "a.ocbundle", "-i", "public.txt").code == 2


def test_a_key_given_three_times_is_one_key(run: Run) -> None:
    result = run("pack", "data", "-i", "key.txt", "-i", "key.txt", "-r", RECIPIENT, "-o", "b")
    assert ("sealed to: X25519\n" in result.out, "one key alone" in result.err) == (True, True)


def test_a_root_that_isnt_there_is_named_without_a_slash(run: Run) -> None:
    assert run("cat", "-i", "key.txt", "a.ocbundle", "none").errors == ["ocbundle: error: the bundle holds no none"]


def test_patterns_take_back_what_earlier_ones_left_out(run: Run) -> None:
    for name in ("a.log", "sub/a.log", "sub/b.log"):
        Path("data", name).touch()
    run("pack", "data", "-r", RECIPIENT, "-o", "b", "--exclude", "*.log", "--exclude", "!/sub/a.log")
    assert re.findall(r"^data/(.*\.log)$", run("list", "-i", "key.txt", "b").out, re.MULTILINE) == ["sub/a.log"]


def test_the_output_is_tried_before_anybody_is_asked_for_a_passphrase(run: Run) -> None:
    assert run("pack", "data", "-o", "a.ocbundle").errors[0].endswith("something has that name already")


def test_openclaw_is_looked_for_before_anybody_is_asked_for_a_passphrase(run: Run) -> None:
    assert run("pack", "-o", "b").errors == ["ocbundle: error: no OpenClaw state found"]


def test_whose_passphrase_is_needed_is_told(run: Run) -> None:
    assert "the passphrase of the bundle is needed" in run("list", "a.ocbundle", "-p").err


# --- Where the bundle goes ------------------------------------------------------------------------------------------


def listed(run: Run, bundle: str, *options: str) -> list[str]:
    return run("list", "-i", "key.txt", bundle, *options).out.splitlines()


def test_a_bundle_inside_what_is_packed_leaves_no_trace_in_itself(run: Run) -> None:
    result = run("pack", "data", "-r", RECIPIENT, "-o", "data/b")
    assert (result.code, "left out" in result.out) == (0, False)
    assert listed(run, "data/b", "--skipped") == []
    assert "data/b" not in listed(run, "data/b")


@pytest.mark.parametrize("option", [(), ("--dry-run",)], ids=str)
def test_a_bundle_inside_what_is_packed_is_warned_of(run: Run, option: tuple[str, ...]) -> None:
    result = run("pack", "data", "-r", RECIPIENT, "-o", "data/b", *option)
    assert "ocbundle: warning: the bundle lies inside data: " in result.err


def test_the_bundle_that_is_replaced_is_the_one_thing_left_out(run: Run) -> None:
    Path("data/b").write_text("yesterday's")
    run("pack", "data", "-r", RECIPIENT, "-o", "data/b", "--force")
    assert listed(run, "data/b", "--skipped") == ["data/b: self"]


def test_what_a_replaced_link_points_to_is_packed(run: Run) -> None:
    os.symlink("data/hello.txt", "link")
    run("pack", "data", "-r", RECIPIENT, "-o", "link", "--force")
    assert (Path("link").is_symlink(), "data/hello.txt" in listed(run, "link")) == (False, True)


def test_a_file_whose_other_name_is_replaced_is_packed(run: Run) -> None:
    os.link("data/hello.txt", "b")
    run("pack", "data", "-r", RECIPIENT, "-o", "b", "--force")
    assert "data/hello.txt" in listed(run, "b")


@pytest.mark.usefixtures("furnished")
def test_the_second_of_two_runs_that_want_one_name_wins_and_the_first_replaces_nothing() -> None:
    inner: list[ocbundle.PackReport] = []

    def overtake(_: ocbundle.Progress) -> None:
        if not inner:
            inner.append(ocbundle.pack("b", ["data/sub"], recipients=[RECIPIENT]))

    with pytest.raises(TargetExists):
        ocbundle.pack("b", ["data"], recipients=[RECIPIENT], progress=overtake)
    assert (ocbundle.verify("b").digest, names()) == (inner[0].digest, sorted([*FURNITURE, "b"]))


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_umask_opens_and_closes_nothing(run: Run, umask: int) -> None:
    before = os.umask(umask)
    try:
        run("pack", "data", "-r", RECIPIENT, "-o", "b")
        run("unpack", "a.ocbundle", "-i", "key.txt", "--to", "out")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(os.stat(path).st_mode) for path in ("b", "out", "out/data/hello.txt")]
    assert modes == [0o600, 0o700, stat.S_IMODE(os.stat("data/hello.txt").st_mode)]


# --- Rights and users -----------------------------------------------------------------------------------------------


def test_what_this_user_may_not_read_is_named_and_makes_exit_code_3() -> None:
    with reachable() as base:
        (base / "data/sub").chmod(0)
        (base / "data/hello.txt").chmod(0)
        result = as_somebody(base, "pack", "data", "-r", RECIPIENT, "-o", "b")
        assert result.err.splitlines()[:2] == [
            "ocbundle: warning: not packed: data/hello.txt: unreadable (Permission denied)",
            "ocbundle: warning: not packed: data/sub: unreadable (Permission denied)",
        ]
        assert (result.code, (base / "b").exists()) == (3, True)


def test_nothing_readable_at_all_makes_no_bundle() -> None:
    with reachable() as base:
        (base / "data").chmod(0)
        result = as_somebody(base, "pack", "data", "-r", RECIPIENT, "-o", "b")
        assert (result.code, result.errors, names(base)) == (
            1,
            [f"ocbundle: error: {base}/data can't be read: permission denied"],
            FURNITURE,
        )


@pytest.mark.parametrize(
    "arguments",
    [
        ("pack", "data", "-r", RECIPIENT, "-o", "closed/b"),
        ("pack", "data", "-r", RECIPIENT, "-o", "closed/b", "--dry-run"),
        ("unpack", "a.ocbundle", "-i", "key.txt", "--to", "closed/new"),
        ("unpack", "a.ocbundle", "-i", "key.txt", "--to", "closed/new", "--dry-run"),
        ("unpack", "a.ocbundle", "-i", "key.txt", "--to", "closed"),
        ("keygen", "-o", "closed/key.txt"),
    ],
    ids=" ".join,
)
def test_a_place_that_may_not_be_written_to_is_one_error_and_a_hint(arguments: tuple[str, ...]) -> None:
    with reachable() as base:
        (base / "closed").mkdir(mode=0o555)
        result = as_somebody(base, *arguments)
        assert (result.code, result.err.count("\n"), "permission denied" in result.err) == (1, 2, True)
        assert (names(base / "closed"), names(base)) == ([], sorted([*FURNITURE, "closed"]))


@pytest.mark.parametrize("arguments", [("verify", "a.ocbundle"), ("verify", "copy", "-i", "key.txt")], ids=" ".join)
def test_a_file_that_may_not_be_read_is_named(arguments: tuple[str, ...]) -> None:
    with reachable() as base:
        (base / "copy").write_bytes((base / "a.ocbundle").read_bytes())
        (base / "a.ocbundle").chmod(0)
        (base / "key.txt").chmod(0)
        assert as_somebody(base, *arguments).errors == [f"ocbundle: error: {arguments[-1]}: permission denied"]


def test_a_database_is_taken_whole_from_where_nothing_may_be_written() -> None:
    with reachable() as base:
        (base / "source").mkdir()
        with closing(sqlite3.connect(base / "source/live.db")) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE TABLE t (a)")
            connection.execute("INSERT INTO t VALUES (7)")
            connection.commit()
            for path in (base / "source").iterdir():
                path.chmod(0o444)
            (base / "source").chmod(0o555)
            before = names(base / "source")
            assert as_somebody(base, "pack", "source", "-r", RECIPIENT, "-o", "b").code == 0
            assert names(base / "source") == before
        (base / "out.db").write_bytes(read(base / "b", "source", "live.db"))
        with closing(sqlite3.connect(base / "out.db")) as connection:
            assert connection.execute("SELECT a FROM t").fetchall() == [(7,)]


def read(bundle: Path, root: str, path: str) -> bytes:
    with ocbundle.Bundle.open(bundle, identities=support.identity()) as opened:
        return opened.read(root, path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user without a name")
def test_a_user_without_a_name_or_a_home_packs_and_unpacks() -> None:
    with reachable() as base:
        base.chmod(0o777)
        (base / "key.txt").chmod(0o644)
        assert as_somebody(base, "pack", "data", "-r", RECIPIENT, "-o", "b", uid=NOBODY_KNOWN).code == 0
        result = as_somebody(base, "unpack", "b", "-i", "key.txt", "--to", "out", uid=NOBODY_KNOWN)
        assert (result.code, (base / "out/data/hello.txt").stat().st_uid) == (0, NOBODY_KNOWN)


def test_without_a_home_openclaw_isnt_found_and_that_is_told() -> None:
    with reachable() as base:
        result = as_somebody(base, "pack", "-r", RECIPIENT, uid=NOBODY_KNOWN)
        assert (result.code, result.errors) == (1, ["ocbundle: error: the environment names no home directory"])


# --- Room -----------------------------------------------------------------------------------------------------------


def test_no_room_for_what_comes_through_a_pipe_names_the_place(furnished: Path) -> None:
    (furnished / "big").write_bytes(os.urandom(300_000))
    ocbundle.pack("b", ["big"], recipients=[RECIPIENT])
    (furnished / "spool").mkdir()
    limited = 'ulimit -f 100; exec "$@" <b'
    result = subprocess.run(
        ["bash", "-c", limited, "bash", "sh", "-c", 'cat | "$@"', "sh", *PROGRAM, "verify", "-"],
        capture_output=True,
        check=False,
        env={**os.environ, "TMPDIR": str(furnished / "spool")},
    )
    assert (result.returncode, result.stderr.splitlines()[0], names("spool")) == (
        1,
        f"ocbundle: error: {furnished}/spool: can't copy the bundle into the directory: file too large".encode(),
        [],
    )


def test_a_copy_of_a_pipe_that_can_be_made_nowhere_is_a_failure_of_the_target(furnished: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(write_end)
    with open(read_end, "rb") as pipe, pytest.raises(TargetFailure) as caught:
        ocbundle.verify(pipe, spool=furnished / "nowhere")
    assert caught.value.path == str(furnished / "nowhere")


def test_a_dry_run_tries_the_place_for_private_copies_too(furnished: Path) -> None:
    with pytest.raises(TargetFailure):
        ocbundle.pack(None, ["data"], dry_run=True, scratch=furnished / "nowhere")


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "a.ocbundle"),
        ("verify", "a.ocbundle", "--json"),
        ("list", "a.ocbundle", "-i", "key.txt"),
        ("list", "a.ocbundle", "-i", "key.txt", "--json"),
        ("cat", "a.ocbundle", "data/hello.txt", "-i", "key.txt"),
        ("inspect", "a.ocbundle", "--json"),
        ("pack", "data", "-r", RECIPIENT, "-o", "-"),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("furnished")
def test_a_full_standard_output_is_one_error(arguments: tuple[str, ...]) -> None:
    result = program(*arguments, around=">/dev/full")
    assert (
        result.returncode,
        re.fullmatch(rb"ocbundle: error: .*no space left on device\n", result.stderr) is None,
    ) == (
        1,
        False,
    )


@pytest.mark.usefixtures("furnished")
def test_a_full_standard_error_undoes_nothing() -> None:
    result = program("pack", "data", "-r", RECIPIENT, "-o", "b", around="2>/dev/full")
    assert (result.returncode, b"digest: " in result.stdout, ocbundle.verify("b").level) == (
        0,
        True,
        ocbundle.Level.CHECKSUMS,
    )


# --- Runs that end underway -----------------------------------------------------------------------------------------


def interrupt(_: ocbundle.Progress) -> None:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("furnished")
def test_an_interrupted_pack_leaves_nothing() -> None:
    with pytest.raises(KeyboardInterrupt):
        ocbundle.pack("b", ["data"], recipients=[RECIPIENT], progress=interrupt)
    assert names() == FURNITURE


@pytest.mark.usefixtures("furnished")
def test_an_interrupted_pack_replaces_nothing() -> None:
    Path("b").write_text("precious")
    with pytest.raises(KeyboardInterrupt):
        ocbundle.pack("b", ["data"], recipients=[RECIPIENT], overwrite=True, progress=interrupt)
    assert (Path("b").read_text(), names()) == ("precious", sorted([*FURNITURE, "b"]))


@pytest.mark.usefixtures("furnished")
def test_an_interrupted_unpack_leaves_nothing() -> None:
    with pytest.raises(KeyboardInterrupt):
        ocbundle.unpack("a.ocbundle", "out", identities=support.identity(), progress=interrupt)
    assert names() == FURNITURE


def killed(verb: Callable[[ProgressCallback], object]) -> None:
    """Run *verb* in a process that is killed at its first sign of progress."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            verb(lambda _: os.kill(os.getpid(), signal.SIGKILL))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_what_a_killed_pack_left_is_named_by_the_next(run: Run) -> None:
    killed(lambda progress: ocbundle.pack("b", ["data"], recipients=[RECIPIENT], progress=progress))
    left = [name for name in names() if name.startswith(".")]
    told = run("pack", "data", "-r", RECIPIENT, "-o", "b").err
    assert (len(left), [name for name in left if f"/{name} was left behind" not in told]) == (2, [])


def test_what_a_killed_pack_to_a_stream_left_is_named_by_the_next(furnished: Path) -> None:
    (furnished / "tmp").mkdir()
    killed(
        lambda progress: ocbundle.pack(
            io.BytesIO(), ["data"], recipients=[RECIPIENT], scratch=furnished / "tmp", progress=progress
        )
    )
    done = ocbundle.pack(io.BytesIO(), ["data"], recipients=[RECIPIENT], scratch=furnished / "tmp")
    assert [names("tmp")[0] in text for text in done.warnings] == [True]


# --- Streams, JSON and terminals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("verify", "-i", "key.txt", "-"), b"fully verified"),
        (("list", "-i", "key.txt", "-"), b"data/hello.txt"),
        (("inspect", "-"), b"sealed to: X25519"),
        (("cat", "-i", "key.txt", "-", "data/hello.txt"), b"hello"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
@pytest.mark.usefixtures("furnished")
def test_a_bundle_is_read_from_a_pipe(arguments: tuple[str, ...], shown: bytes) -> None:
    result = program(*arguments, stdin=Path("a.ocbundle").read_bytes())
    assert (result.returncode, shown in result.stdout) == (0, True)


JSON_LINES: dict[tuple[str, ...], int] = {
    ("pack", "data", "-r", RECIPIENT, "-o", "b"): 0,
    ("pack", "data", "-r", RECIPIENT, "-o", "b", "--dry-run", "-v"): 0,
    ("pack", "data", "-r", RECIPIENT, "-o", "a.ocbundle"): 1,
    ("verify", "a.ocbundle"): 0,
    ("verify", "a.ocbundle", "-i", "other.txt"): 5,
    ("unpack", "a.ocbundle", "-i", "key.txt", "--to", "out"): 0,
    ("unpack", "a.ocbundle", "-i", "key.txt", "--to", "out", "--dry-run"): 0,
    ("unpack", "a.ocbundle", "--to", "out"): 5,
    ("list", "a.ocbundle", "-i", "key.txt", "-l"): 0,
    ("list", "a.ocbundle", "-i", "key.txt", "--skipped"): 0,
    ("inspect", "a.ocbundle", "-i", "key.txt"): 0,
    ("cat", "a.ocbundle", "none", "-i", "key.txt"): 1,
    ("keygen", "-o", "new.txt"): 0,
    ("keygen", "-o", "key.txt"): 1,
    ("verify",): 2,
    ("none",): 2,
}


@pytest.mark.parametrize("arguments", JSON_LINES, ids=" ".join)
def test_every_word_is_json_when_asked_for(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments, "--json")
    objects: list[dict[str, Any]] = [json.loads(line) for line in (result.out + result.err).splitlines()]
    kinds = [each["message_type"] for each in objects]
    code = JSON_LINES[arguments]
    assert (result.code, set(kinds) <= {"status", "warning", "error", "summary"}, kinds[-1]) == (
        code,
        True,
        "error" if code else "summary",
    )


@pytest.mark.usefixtures("furnished")
def test_names_are_shown_where_the_terminal_knows_only_ascii() -> None:
    Path("data/日本").touch()
    ocbundle.pack("b", ["data"], recipients=[RECIPIENT])
    result = program("list", "-i", "key.txt", "b", LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert (result.returncode, rb"data/\u65e5\u672c" in result.stdout) == (0, True)


SLOW = f"""{HERE}
import os, time
from ocbundle.cli.console import Console
from ocbundle.cli.progress import following
from ocbundle.model import Progress
with following(Console(os.environ)) as update:
    for size in range(0, 1001, 100):
        update(Progress(stage="pack", size=size, total_size=1000, entries=1, total_entries=4))
        time.sleep(0.08)
"""


@pytest.mark.parametrize(
    ("env", "pattern"), [({"NO_COLOR": "1"}, rb"\x1b\[[0-9;]*m"), ({"TERM": "dumb"}, rb"\x1b|packing")], ids=str
)
def test_a_terminal_is_spared_what_it_doesnt_want(env: dict[str, str], pattern: bytes) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, "-c", SLOW]
        os.execve(command[0], command, {**os.environ, "TERM": "xterm", **env})  # noqa: S606 - a terminal's child
    shown = b""
    with contextlib.suppress(OSError):  # its end
        while data := os.read(terminal, 4096):
            shown += data
    os.close(terminal)
    assert (os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), re.findall(pattern, shown)) == (0, [])


def test_no_bar_is_shown_for_work_that_is_done_at_once_after_a_long_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "BAR_AFTER", 0.2)
    bar = progress._Bar()
    time.sleep(0.25)
    bar.update(ocbundle.Progress(stage="pack", size=0, total_size=1, entries=0, total_entries=1))
    assert bar._bar is None


# --- What discovery left --------------------------------------------------------------------------------------------


def test_the_library_tells_what_discovery_knowingly_left(tmp_path: Path) -> None:
    for name in (".openclaw", ".clawdbot"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "openclaw.json").write_text("{}")
    done = ocbundle.pack(None, environ={"HOME": str(tmp_path)}, dry_run=True)
    assert [text for text in done.warnings if text.startswith(f"not taken: {tmp_path}/.clawdbot: ")] != []
