"""The command line: what it prints, what it refuses, and the number that it ends with."""

from __future__ import annotations

import errno
import getpass
import hashlib
import json
import os
import pty
import re
import select
import shutil
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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
import support

import ocbundle
from ocbundle import agefile, agetext, cli, limits, paths
from ocbundle.cli import demo, keys, pack, progress, sample
from ocbundle.cli.app import app
from ocbundle.cli.console import Console

PYTHON = (sys.executable, "-c")
HERE = f"import sys; sys.path.insert(0, {str(Path(ocbundle.__file__).parents[1])!r})\n"
PROGRAM = (*PYTHON, f"{HERE}from ocbundle.cli import main; main()")
COMMANDS = ("pack", "verify", "unpack", "salvage", "list", "inspect", "cat", "diff", "doctor", "keygen", "demo")
READERS = (("verify",), ("inspect",), ("list",), ("unpack", "--to", "out"), ("cat", "data/hello.txt"))
ODD = b"caf\xe9\x1b[2J"


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs one command line in an empty directory and an empty environment."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Result:
        code = cli.run([str(argument) for argument in arguments], {"HOME": str(tmp_path), **(env or {})})
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return invoke


@dataclass(frozen=True)
class Sample:
    directory: Path
    key: Path
    other_key: Path
    recipient: str
    bundle: Path
    digest: str


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A bundle of a small directory, sealed to one key."""
    base = tmp_path_factory.mktemp("packed")
    directory = base / "data"
    (directory / "sub").mkdir(parents=True)
    (directory / "hello.txt").write_text("hello\n")
    (directory / "zeros.bin").write_bytes(bytes(100))
    (directory / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (directory / "sub" / "run.sh").chmod(0o750)
    (directory / "link").symlink_to("hello.txt")
    os.mkfifo(directory / "pipe")
    with open(os.fsencode(directory) + b"/" + ODD, "wb") as file:
        file.write(b"odd")
    for path in (directory / "hello.txt", directory / "sub" / "run.sh"):
        os.utime(path, ns=(0, 1_764_020_534 * 10**9))
    assert cli.run(["keygen", "-o", str(base / "key.txt")], {}) == 0
    assert cli.run(["keygen", "-o", str(base / "other.txt")], {}) == 0
    recipient = (base / "key.txt").read_text().splitlines()[1].removeprefix("# public key: ")
    bundle = base / "a.ocbundle"
    assert cli.run(["pack", str(directory), "-r", recipient, "-o", str(bundle)], {}) == 0
    digest = ocbundle.verify(bundle).digest
    return Sample(directory, base / "key.txt", base / "other.txt", recipient, bundle, digest)


def program(*arguments: str | Path, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*PROGRAM, *arguments], input=stdin, capture_output=True, check=False, timeout=60, env={**os.environ, **env}
    )


# --- Help and usage ------------------------------------------------------------------------------------------------


def test_version_is_one_line(run: Run) -> None:
    assert run("--version").out == f"ocbundle {ocbundle.__version__}\n"


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_eighty_columns(run: Run, command: str) -> None:
    result = run(*command.split(), "-h")
    assert [line for line in result.out.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_no_help_text_is_cut_short(run: Run, command: str) -> None:
    assert "..." not in run(*command.split(), "--help").out.partition("\n")[2]


def test_every_command_is_in_the_help(run: Run) -> None:
    assert tuple(re.findall(r"^  (\w+)  ", run("--help").out.partition("Commands:")[2], re.MULTILINE)) == COMMANDS


def test_no_command_shows_the_help_and_is_a_usage_error(run: Run) -> None:
    result = run()
    assert (result.code, result.out, result.err.startswith("Usage: ocbundle")) == (2, "", True)


def test_a_usage_error_is_two_lines_without_full_stops(run: Run) -> None:
    assert run("verify") == Result(
        2, "", "ocbundle: error: missing argument 'FILE'\nocbundle: hint: see 'ocbundle verify --help'\n"
    )


def test_a_control_character_in_an_argument_is_escaped(run: Run) -> None:
    assert "\x1b" not in run("verify", "a\x1b[2J").err


def test_completion_is_offered() -> None:
    result = program(_OCBUNDLE_COMPLETE="bash_complete", COMP_WORDS="ocbundle ver", COMP_CWORD="1")
    assert result.stdout == b"plain,verify\n"


def commands() -> dict[str, click.Command]:
    found = {name: app.get_command(click.Context(app), name) for name in app.list_commands(click.Context(app))}
    return {name: command for name, command in found.items() if command is not None}


def test_every_option_has_a_help_text() -> None:
    silent = [
        (name, option.name)
        for name, command in commands().items()
        for option in command.params
        if option.param_type_name == "option" and not getattr(option, "help", None)
    ]
    assert silent == []


# --- keygen --------------------------------------------------------------------------------------------------------


def test_keygen_writes_what_age_keygen_understands(run: Run) -> None:
    recipient = run("keygen", "-o", "key.txt").out
    told = subprocess.run(["age-keygen", "-y", "key.txt"], capture_output=True, check=True, text=True).stdout
    assert told == recipient


def test_keygen_writes_a_private_file(run: Run, tmp_path: Path) -> None:
    run("keygen", "-o", "key.txt")
    assert stat.S_IMODE((tmp_path / "key.txt").stat().st_mode) == 0o600


def test_keygen_never_replaces_a_key(run: Run, tmp_path: Path) -> None:
    (tmp_path / "key.txt").write_text("precious")
    assert (run("keygen", "-o", "key.txt").code, (tmp_path / "key.txt").read_text()) == (1, "precious")


def test_keygen_without_a_file_prints_the_identity_and_says_the_public_key_aside(run: Run) -> None:
    result = run("keygen")
    assert result.err == result.out.splitlines()[1].replace("# ", "") + "\n"


# --- pack ----------------------------------------------------------------------------------------------------------


def test_pack_reports_entries_roots_recipients_omissions_and_digest(run: Run, packed: Sample) -> None:
    result = run("pack", packed.directory, "-r", packed.recipient, "-o", "b.ocbundle")
    lines = result.out.splitlines()
    assert lines[0].startswith("packed 7 entries, 119 B into b.ocbundle (")
    assert lines[1:4] == [
        f"  data  extra        {packed.directory}",
        "sealed to: X25519",
        "left out: 1 fifo (-v names each)",
    ]
    assert re.fullmatch("digest: [0-9a-f]{64}", lines[4])


def test_pack_names_each_omission_when_verbose(run: Run, packed: Sample) -> None:
    assert "  data/pipe: fifo\n" in run("pack", packed.directory, "-r", packed.recipient, "-o", "b", "-v").out


def test_pack_says_nothing_when_quiet(run: Run, packed: Sample) -> None:
    assert run("pack", packed.directory, "-r", packed.recipient, "-o", "b", "-q") == Result(0, "", "")


def test_pack_writes_a_private_file(run: Run, packed: Sample, tmp_path: Path) -> None:
    run("pack", packed.directory, "-r", packed.recipient, "-o", "b")
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o600


def test_pack_names_the_bundle_after_host_and_time(run: Run, packed: Sample, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    run("pack", packed.directory, "-r", packed.recipient, "-o", "out/")
    assert [bool(re.fullmatch(r"[\w-]+-\d{8}T\d{6}Z\.ocbundle", name)) for name in os.listdir("out")] == [True]


def test_pack_without_an_output_writes_here(run: Run, packed: Sample) -> None:
    run("pack", packed.directory, "-r", packed.recipient)
    assert [name.endswith(".ocbundle") for name in os.listdir()] == [True]


@pytest.mark.parametrize(
    ("host", "name"),
    [("alpha", "alpha"), ("alpha.example.org", "alpha"), ("", "gateway"), ("a b/../\x1b", "a-b"), ("…", "gateway")],
)
def test_a_bundles_name_is_harmless_whatever_the_host_is_called(host: str, name: str) -> None:
    moment = datetime(2026, 11, 24, 21, 42, 14, tzinfo=UTC)
    assert pack.file_name(host, moment) == f"{name}-20261124T214214Z.ocbundle"


def test_pack_never_replaces_a_file_unasked(run: Run, packed: Sample, tmp_path: Path) -> None:
    (tmp_path / "b").write_text("precious")
    result = run("pack", packed.directory, "-r", packed.recipient, "-o", "b")
    assert (result.code, (tmp_path / "b").read_text()) == (1, "precious")


def test_pack_replaces_a_file_when_forced(run: Run, packed: Sample, tmp_path: Path) -> None:
    (tmp_path / "b").write_text("precious")
    assert run("pack", packed.directory, "-r", packed.recipient, "-o", "b", "--force").code == 0
    assert (tmp_path / "b").read_bytes().startswith(b"\x89OCB")


def test_pack_into_a_directory_that_isnt_there_fails(run: Run, packed: Sample) -> None:
    assert run("pack", packed.directory, "-r", packed.recipient, "-o", "no/b").code == 1


def test_pack_of_a_directory_that_isnt_there_fails_and_leaves_nothing(run: Run, packed: Sample) -> None:
    result = run("pack", "nowhere", "-r", packed.recipient, "-o", "b")
    assert (result.code, os.listdir()) == (1, [])


def test_pack_without_openclaw_fails_with_a_hint(run: Run, packed: Sample) -> None:
    result = run("pack", "-r", packed.recipient)
    assert (result.code, result.err.count("ocbundle: error: "), result.err.count("ocbundle: hint: ")) == (1, 1, 1)


def test_pack_without_a_recipient_or_a_terminal_is_a_usage_error(run: Run, packed: Sample) -> None:
    result = run("pack", packed.directory, "-o", "b")
    assert (result.code, "OCBUNDLE_RECIPIENTS" in result.err) == (2, True)


def test_pack_refuses_a_false_recipient(run: Run, packed: Sample) -> None:
    assert run("pack", packed.directory, "-r", "age1nonsense", "-o", "b").code == 2


def test_pack_refuses_a_secret_key_as_recipient_and_doesnt_repeat_it(run: Run, packed: Sample) -> None:
    secret = packed.key.read_text().splitlines()[2]
    result = run("pack", packed.directory, "-r", secret, "-o", "b")
    assert (result.code, secret in result.err) == (2, False)


@pytest.mark.parametrize("option", ["--only-config", "--no-workspace", "--all", "--profile=work", "--state-dir=x"])
def test_options_that_choose_parts_of_openclaw_dont_go_with_directories(run: Run, packed: Sample, option: str) -> None:
    assert run("pack", packed.directory, "-r", packed.recipient, "-o", "b", option).code == 2


def test_a_dry_run_needs_no_recipient_and_writes_nothing(run: Run, packed: Sample) -> None:
    result = run("pack", packed.directory, "--dry-run")
    assert (result.code, result.out.startswith("would pack 7 entries"), os.listdir()) == (0, True, [])


def test_a_dry_run_finds_that_the_output_is_taken(run: Run, packed: Sample, tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    assert run("pack", packed.directory, "--dry-run", "-o", "b").code == 1


def test_exclude_leaves_out_what_matches(run: Run, packed: Sample) -> None:
    run("pack", packed.directory, "-r", packed.recipient, "-o", "b", "--exclude", "*.bin")
    assert "zeros.bin" not in run("list", "-i", packed.key, "b").out


def test_what_is_missing_from_the_bundle_makes_exit_code_3_and_is_named(run: Run, packed: Sample) -> None:
    os.makedirs("deep/" + "d/" * 256)
    result = run("pack", "deep", "-r", packed.recipient, "-o", "b")
    assert (result.code, "warning: not packed: deep/d/d/" in result.err) == (3, True)


def test_a_single_recipient_gets_a_hint(run: Run, packed: Sample) -> None:
    result = run("pack", packed.directory, "-r", packed.recipient, "-o", "b")
    assert result.err == "ocbundle: hint: one key alone opens this bundle: lose that key and the backup is gone\n"


def test_two_recipients_get_no_hint(run: Run, packed: Sample) -> None:
    assert run("pack", packed.directory, "-r", packed.recipient, "-i", packed.other_key, "-o", "b").err == ""


def test_a_recipients_file_may_hold_comments(run: Run, packed: Sample, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# mine\n\n{packed.recipient}\n")
    run("pack", packed.directory, "-R", "keys", "-o", "b")
    assert run("verify", "-i", packed.key, "b").code == 0


def test_an_identity_file_gives_its_public_key(run: Run, packed: Sample) -> None:
    run("pack", packed.directory, "-i", packed.key, "-o", "b")
    assert run("verify", "-i", packed.key, "b").code == 0


def test_recipients_may_come_from_the_environment(run: Run, packed: Sample) -> None:
    run("pack", packed.directory, "-o", "b", env={"OCBUNDLE_RECIPIENTS": f"{packed.recipient}, "})
    assert run("verify", "-i", packed.key, "b").code == 0


def test_a_recipients_file_may_come_from_the_environment(run: Run, packed: Sample, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(packed.recipient)
    run("pack", packed.directory, "-o", "b", env={"OCBUNDLE_RECIPIENTS_FILE": "keys"})
    assert run("verify", "-i", packed.key, "b").code == 0


def test_flags_win_over_the_environment(run: Run, packed: Sample) -> None:
    env = {"OCBUNDLE_RECIPIENTS": packed.recipient}
    run("pack", packed.directory, "-i", packed.other_key, "-o", "b", env=env)
    assert run("verify", "-i", packed.key, "b").code == 5


# --- Passphrases ---------------------------------------------------------------------------------------------------


def test_a_passphrase_from_a_file_seals_and_opens(run: Run, packed: Sample, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("correct horse\n")
    env = {"OCBUNDLE_PASSPHRASE_FILE": "secret"}
    assert run("pack", packed.directory, "-p", "-o", "b", env=env).code == 0
    assert (
        run("cat", "b", "data/hello.txt", env={"OCBUNDLE_PASSPHRASE_COMMAND": "echo 'correct horse'"}).out == "hello\n"
    )
    (tmp_path / "secret").write_text("wrong horse\n")
    assert run("list", "b", env=env).code == 5
    assert run("inspect", "b").out.splitlines()[2] == "sealed to: scrypt"


@pytest.mark.parametrize(
    ("env", "code"),
    [
        ({"OCBUNDLE_PASSPHRASE_FILE": "secret", "OCBUNDLE_PASSPHRASE_FD": "0"}, 2),
        ({"OCBUNDLE_PASSPHRASE_FILE": "empty"}, 2),
        ({"OCBUNDLE_PASSPHRASE_FILE": "nowhere"}, 1),
        ({"OCBUNDLE_PASSPHRASE_FILE": "latin1"}, 2),
        ({"OCBUNDLE_PASSPHRASE_FD": "987"}, 2),
        ({"OCBUNDLE_PASSPHRASE_FD": "x"}, 2),
        ({"OCBUNDLE_PASSPHRASE_COMMAND": "false"}, 1),
        ({"OCBUNDLE_PASSPHRASE_COMMAND": "no-such-program"}, 2),
        ({"OCBUNDLE_PASSPHRASE_COMMAND": "true"}, 2),
        ({"OCBUNDLE_PASSPHRASE_COMMAND": "echo 'unbalanced"}, 2),
    ],
)
def test_a_source_of_passphrases_that_gives_none_is_an_error(
    run: Run, packed: Sample, tmp_path: Path, env: dict[str, str], code: int
) -> None:
    (tmp_path / "secret").write_text("hunter2")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "latin1").write_bytes(b"hunter\xe9")
    result = run("pack", packed.directory, "-p", "-o", "b", env=env)
    assert (result.code, "hunter" in result.err) == (code, False)


def test_a_passphrase_from_a_descriptor_loses_one_newline_only(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("two\n\n")
    with open(tmp_path / "secret", "rb") as file:
        console = Console({"OCBUNDLE_PASSPHRASE_FD": str(os.dup(file.fileno()))})
    assert keys._configured(console) == "two\n"


@pytest.mark.parametrize(("arguments", "code"), [(("pack", ".", "-o", "b"), 2), (("list",), 5)])
def test_p_without_a_terminal_asks_for_another_source(
    run: Run, packed: Sample, arguments: tuple[str, ...], code: int
) -> None:
    result = run(*(arguments if code == 2 else place(arguments, packed.bundle)), "-p")
    assert (result.code, "OCBUNDLE_PASSPHRASE_FILE" in result.err) == (code, True)


def test_a_dry_run_asks_for_no_passphrase(run: Run, packed: Sample) -> None:
    assert run("pack", packed.directory, "-p", "--dry-run").code == 0


def test_an_identity_and_a_passphrase_of_the_environment_are_both_tried(
    run: Run, packed: Sample, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("wrong")
    env = {"OCBUNDLE_IDENTITY_FILE": str(packed.key), "OCBUNDLE_PASSPHRASE_FILE": "secret"}
    assert run("list", packed.bundle, env=env).code == 0


def test_standard_input_cant_be_the_bundle_and_the_key(run: Run) -> None:
    assert run("verify", "-", "-i", "-").code == 2


def test_secrets_dont_show_in_a_repr() -> None:
    assert "hunter2" not in repr(keys.Locks(passphrase="hunter2")) + repr(keys.Keys(passphrase="hunter2"))


def test_a_generated_passphrase_has_140_bits() -> None:
    assert re.fullmatch(r"([0-9a-hjkmnp-tv-z]{4}-){6}[0-9a-hjkmnp-tv-z]{4}", keys.generate())


# --- At a terminal -------------------------------------------------------------------------------------------------


def at_terminal(cwd: Path, command: tuple[str, ...], *answers: tuple[bytes, bytes]) -> tuple[int, bytes]:
    """Run *command* at a terminal of its own; to each text of *answers*, once it appears, its answer is typed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        os.execv(command[0], command)  # noqa: S606 - the child of a pseudo-terminal
    shown, waiting = b"", list(answers)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and select.select([terminal], [], [], 30)[0]:
        try:
            data = os.read(terminal, 4096)
        except OSError:
            break
        shown += data
        if waiting and waiting[0][0] in shown:
            os.write(terminal, waiting.pop(0)[1] + b"\n")
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown


def test_pack_asks_twice_and_refuses_two_different_passphrases(packed: Sample, tmp_path: Path) -> None:
    code, shown = at_terminal(
        tmp_path,
        (*PROGRAM, "pack", str(packed.directory), "-o", "b"),
        (b"Passphrase for the bundle", b"hunter2"),
        (b"again", b"hunter3"),
    )
    assert (code, b"the two passphrases differ" in shown, b"hunter" in shown) == (2, True, False)


def test_pack_generates_a_passphrase_that_list_then_asks_for(packed: Sample, tmp_path: Path) -> None:
    code, shown = at_terminal(
        tmp_path, (*PROGRAM, "pack", str(packed.directory), "-o", "b"), (b"Passphrase for the bundle", b"")
    )
    found = re.search(rb"write it down now: (\S+)", shown)
    assert (code, found is not None) == (0, True)
    assert found is not None
    code, shown = at_terminal(tmp_path, (*PROGRAM, "list", "b"), (b"Passphrase of the bundle", found[1]))
    assert (code, b"data/hello.txt" in shown) == (0, True)


def test_a_bundle_is_never_written_to_a_terminal(packed: Sample, tmp_path: Path) -> None:
    command = (*PROGRAM, "pack", str(packed.directory), "-r", packed.recipient, "-o", "-")
    code, shown = at_terminal(tmp_path, command)
    assert (code, b"OCB" in shown) == (2, False)


def test_a_binary_file_is_never_written_to_a_terminal(packed: Sample, tmp_path: Path) -> None:
    code, shown = at_terminal(tmp_path, (*PROGRAM, "cat", "-i", str(packed.key), str(packed.bundle), "data/zeros.bin"))
    assert (code, b"\0" in shown) == (2, False)


def test_a_text_file_is_written_to_a_terminal(packed: Sample, tmp_path: Path) -> None:
    command = (*PROGRAM, "cat", "-i", str(packed.key), str(packed.bundle), "data/hello.txt")
    assert at_terminal(tmp_path, command) == (0, b"hello\r\n")


SLOW_VERB = f"""{HERE}
import time
from ocbundle.cli.console import Console
from ocbundle.cli.progress import following
from ocbundle.model import Progress
console = Console({{}})
with following(console) as update:
    for stage in ("scan", "pack"):
        for size in range(0, 1001, 250):
            update(Progress(stage=stage, size=size, total_size=1000, entries=1, total_entries=4))
            time.sleep(0.12)
"""


def test_a_slow_verb_shows_a_bar_at_a_terminal(tmp_path: Path) -> None:
    code, shown = at_terminal(tmp_path, (*PYTHON, SLOW_VERB))
    assert (code, b"packing" in shown, b"75%" in shown) == (0, True, True)


def test_a_verb_shows_no_bar_in_a_log() -> None:
    result = subprocess.run([*PYTHON, SLOW_VERB], capture_output=True, check=True)
    assert (result.stdout, result.stderr) == (b"", b"")


def test_a_long_run_tells_a_log_now_and_then_how_far_it_is(
    run: Run, packed: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY", 0)
    assert re.search(r"^ocbundle: verifying: \d+ %, ", run("verify", packed.bundle, "-i", packed.key).err, re.MULTILINE)


def test_a_long_run_tells_a_program_how_far_it_is(run: Run, packed: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "JSON_EVERY", 0)
    first = run("verify", "--json", packed.bundle, "-i", packed.key).objects[0]
    assert (first["status"], first["stage"], first["bytes_total"]) == ("progress", "verify", 119)


def test_a_quiet_run_shows_no_progress(run: Run, packed: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY", 0)
    assert run("verify", "-q", packed.bundle, "-i", packed.key) == Result(0, "", "")


# --- verify --------------------------------------------------------------------------------------------------------


def test_verify_without_a_key_claims_checksums(run: Run, packed: Sample) -> None:
    result = run("verify", packed.bundle)
    assert (result.code, result.out.splitlines()[-1][:18]) == (0, "checksums verified")


def test_verify_with_a_key_claims_everything(run: Run, packed: Sample) -> None:
    result = run("verify", "-i", packed.key, packed.bundle)
    assert (result.code, result.out.splitlines()[-1][:14]) == (0, "fully verified")


def test_verify_takes_its_key_from_the_environment(run: Run, packed: Sample) -> None:
    assert "fully verified" in run("verify", packed.bundle, env={"OCBUNDLE_IDENTITY_FILE": str(packed.key)}).out


def test_verify_accepts_the_expected_digest(run: Run, packed: Sample) -> None:
    result = run("verify", "--expect", packed.digest, packed.bundle)
    assert (result.code, result.out.splitlines()[-1][:30]) == (0, "checksums and digest verified:")


def test_verify_refuses_another_digest(run: Run, packed: Sample) -> None:
    assert run("verify", "--expect", "0" * 64, packed.bundle).code == 4


def test_verify_refuses_a_digest_that_isnt_one(run: Run, packed: Sample) -> None:
    assert run("verify", "--expect", "abc", packed.bundle).code == 2


def test_verify_ends_with_the_same_claim_in_json(run: Run, packed: Sample) -> None:
    summary = run("verify", "--json", packed.bundle).objects[-1]
    assert (summary["message_type"], summary["level"], summary["claim"][:18]) == (
        "summary",
        "checksums",
        "checksums verified",
    )


# --- Bad input, for every command that reads -----------------------------------------------------------------------


def flipped(data: bytes) -> bytes:
    return data[:300] + bytes([data[300] ^ 1]) + data[301:]


def newer(data: bytes) -> bytes:
    head = data[:8] + bytes([9, 9]) + data[10:56]
    return head + hashlib.sha256(head).digest()[:8] + data[64:]


BAD: dict[str, tuple[Callable[[bytes], bytes], int]] = {
    "a text file": (lambda _: b"hello, world\n" * 100, 4),
    "a png": (lambda _: b"\x89PNG\r\n\x1a\n" + bytes(1000), 4),
    "an empty file": (lambda _: b"", 4),
    "cut short": (lambda data: data[:-1], 4),
    "cut to its magic": (lambda data: data[:8], 4),
    "flipped": (flipped, 4),
    "a newer version": (newer, 6),
}


def place(arguments: tuple[str, ...], bundle: str | Path) -> tuple[str, ...]:
    """The arguments of a reading command, with the bundle where it belongs."""
    return (arguments[0], str(bundle), *arguments[1:])


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("command", READERS, ids=lambda command: command[0])
def test_a_bad_file_ends_with_its_own_code_and_one_error(
    run: Run, packed: Sample, tmp_path: Path, command: tuple[str, ...], what: str
) -> None:
    spoil, code = BAD[what]
    (tmp_path / "bad").write_bytes(spoil(packed.bundle.read_bytes()))
    result = run(*place(command, "bad"), "-i", packed.key)
    assert (result.code, result.err.count("ocbundle: error: "), (tmp_path / "out").exists()) == (code, 1, False)


@pytest.mark.parametrize("command", READERS, ids=lambda command: command[0])
def test_another_key_ends_with_5(run: Run, packed: Sample, command: tuple[str, ...]) -> None:
    assert run(*place(command, packed.bundle), "-i", packed.other_key).code == 5


@pytest.mark.parametrize("command", [("list",), ("unpack", "--to", "out"), ("cat", "data/hello.txt")])
def test_no_key_where_one_is_needed_ends_with_5(run: Run, packed: Sample, command: tuple[str, ...]) -> None:
    result = run(*place(command, packed.bundle))
    assert (result.code, "ocbundle: hint: open it with -i FILE or -p\n" in result.err) == (5, True)


@pytest.mark.parametrize("command", READERS, ids=lambda command: command[0])
def test_a_file_that_isnt_there_ends_with_1(run: Run, packed: Sample, command: tuple[str, ...]) -> None:
    assert run(*place(command, "nowhere"), "-i", packed.key).code == 1


@pytest.mark.parametrize("command", READERS, ids=lambda command: command[0])
def test_a_directory_in_place_of_a_bundle_ends_with_1(
    run: Run, packed: Sample, tmp_path: Path, command: tuple[str, ...]
) -> None:
    assert run(*place(command, tmp_path), "-i", packed.key).code == 1


def test_an_identity_file_that_isnt_one_is_a_usage_error(run: Run, packed: Sample, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hello\n")
    assert run("verify", packed.bundle, "-i", "key").code == 2


# --- unpack --------------------------------------------------------------------------------------------------------


def test_unpack_without_a_place_never_replaces_what_was_packed(run: Run, packed: Sample) -> None:
    result = run("unpack", packed.bundle, "-i", packed.key, "--map", f"{packed.directory}={packed.directory}")
    assert result.code == 1
    assert "something is there already" in result.err
    assert "--replace" in result.err


def test_unpack_without_a_place_asks_before_it_goes_outside_of_the_home(run: Run, packed: Sample) -> None:
    result = run("unpack", packed.bundle, "-i", packed.key)
    assert result.code == 2
    assert f"only you can send a root there: data to {packed.directory}" in result.err
    assert f"--map {packed.directory}={packed.directory}" in result.err


def test_unpack_puts_everything_back_and_says_where(run: Run, packed: Sample, tmp_path: Path) -> None:
    result = run("unpack", packed.bundle, "-i", packed.key, "--to", "out")
    assert (result.code, f"  {tmp_path}/out/data\n" in result.out) == (0, True)
    assert (tmp_path / "out/data/hello.txt").read_text() == "hello\n"
    assert stat.S_IMODE((tmp_path / "out/data/sub/run.sh").stat().st_mode) == 0o750


def test_unpack_takes_only_the_paths_asked_for(run: Run, packed: Sample, tmp_path: Path) -> None:
    run("unpack", packed.bundle, "data/sub", "-i", packed.key, "--to", "out")
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*"))
    assert found == ["data", "data/sub", "data/sub/run.sh"]


def test_unpack_takes_a_path_that_isnt_utf8(run: Run, packed: Sample, tmp_path: Path) -> None:
    run("unpack", packed.bundle, os.fsdecode(b"data/" + ODD), "-i", packed.key, "--to", "out")
    assert os.listdir(os.fsencode(tmp_path) + b"/out/data") == [ODD]


def test_unpack_of_a_path_that_isnt_in_the_bundle_fails(run: Run, packed: Sample) -> None:
    assert run("unpack", packed.bundle, "data/nothing", "-i", packed.key, "--to", "out").code == 1


def test_unpack_of_an_unknown_owner_is_a_usage_error(run: Run, packed: Sample) -> None:
    command = ("unpack", packed.bundle, "-i", packed.key, "--to", "out", "--owner", "nobody-of-that-name")
    assert run(*command).code == 2


def test_unpack_replaces_nothing(run: Run, packed: Sample, tmp_path: Path) -> None:
    (tmp_path / "out/data").mkdir(parents=True)
    result = run("unpack", packed.bundle, "-i", packed.key, "--to", "out")
    assert (result.code, os.listdir("out/data")) == (1, [])


def test_a_dry_run_of_unpack_puts_nothing_anywhere(run: Run, packed: Sample) -> None:
    result = run("unpack", packed.bundle, "-i", packed.key, "--to", "out", "--dry-run")
    assert (result.code, result.out.startswith("would unpack 7 entries"), os.listdir()) == (0, True, [])


def test_unpack_without_a_key_leaves_nothing(run: Run, packed: Sample) -> None:
    run("unpack", packed.bundle, "--to", "out")
    assert os.listdir() == []


# --- list, inspect, cat --------------------------------------------------------------------------------------------


def test_list_names_every_entry_in_order(run: Run, packed: Sample) -> None:
    assert run("list", packed.bundle, "-i", packed.key).out.splitlines() == [
        "data",
        "data/caf\\xe9\\x1b[2J",
        "data/hello.txt",
        "data/link",
        "data/sub",
        "data/sub/run.sh",
        "data/zeros.bin",
    ]


def test_a_long_list_looks_like_ls(run: Run, packed: Sample) -> None:
    rows = run("list", "-l", packed.bundle, "-i", packed.key).out.splitlines()
    assert re.fullmatch(r"-rwxr-x--- \S+ \S+ +10 2025-11-24 21:42:14 data/sub/run.sh", rows[5])
    assert rows[3].endswith(" data/link -> hello.txt")


def test_a_list_in_json_gives_bytes_where_a_path_isnt_utf8(run: Run, packed: Sample) -> None:
    rows = run("list", "--json", packed.bundle, "-i", packed.key).objects
    assert (rows[1]["path"], rows[1]["path_b64"]) == ("data/caf\\xe9\\x1b[2J", "ZGF0YS9jYWbpG1sySg==")


def test_a_list_in_json_ends_with_a_summary(run: Run, packed: Sample) -> None:
    rows = run("list", "--json", packed.bundle, "-i", packed.key).objects
    assert rows[-1] == {"message_type": "summary", "command": "list", "digest": packed.digest, "rows": 7}


def test_list_shows_what_was_left_out(run: Run, packed: Sample) -> None:
    assert run("list", "--skipped", packed.bundle, "-i", packed.key).out == "data/pipe: fifo\n"


def test_inspect_without_a_key_tells_sizes_recipients_and_digest_only(run: Run, packed: Sample) -> None:
    result = run("inspect", packed.bundle)
    assert result.out.splitlines()[2:] == ["sealed to: X25519", f"digest: {packed.digest}"]


def test_inspect_with_a_key_tells_where_it_comes_from(run: Run, packed: Sample) -> None:
    lines = run("inspect", packed.bundle, "-i", packed.key).out.splitlines()
    assert lines[4].startswith("packed 20")
    assert lines[-1] == "left out: 1 fifo"


def test_inspect_speaks_json(run: Run, packed: Sample) -> None:
    summary = run("inspect", "--json", packed.bundle, "-i", packed.key).objects[-1]
    assert (summary["recipients"], summary["left_out"], summary["roots"][0]["name"]) == (
        ["X25519"],
        {"fifo": 1},
        "data",
    )


def test_cat_writes_the_bytes(packed: Sample) -> None:
    assert program("cat", "-i", packed.key, packed.bundle, "data/zeros.bin").stdout == bytes(100)


@pytest.mark.parametrize("path", ["data/nothing", "nothing", "data", "data/sub", ""])
def test_cat_of_what_isnt_a_file_fails(run: Run, packed: Sample, path: str) -> None:
    result = run("cat", "-i", packed.key, packed.bundle, path)
    assert (result.code, result.out) == (1, "")


# --- JSON, streams and signals -------------------------------------------------------------------------------------


def test_an_error_in_json_carries_its_code_and_its_hint(run: Run, packed: Sample) -> None:
    error = run("verify", "--json", "-i", packed.other_key, packed.bundle).objects[-1]
    assert (error["message_type"], error["error"], error["exit_code"]) == ("error", "NoKeyFits", 5)


def test_a_usage_error_before_the_flag_is_json_too(run: Run) -> None:
    assert run("verify", "--no-such-option", "--json").objects[0]["exit_code"] == 2


def test_pack_in_json_says_everything_on_standard_output(run: Run, packed: Sample) -> None:
    result = run("pack", packed.directory, "-r", packed.recipient, "-o", "b", "--json", "-v")
    kinds = [(line["message_type"], line.get("status")) for line in result.objects]
    assert (kinds, result.err) == ([("status", "skipped"), ("status", "hint"), ("summary", None)], "")


def test_a_bundle_goes_through_pipes_and_the_report_to_standard_error(packed: Sample, tmp_path: Path) -> None:
    made = program("pack", packed.directory, "-r", packed.recipient, "-o", "-")
    assert b"digest: " in made.stderr
    read = program("unpack", "-", "-i", packed.key, "--to", tmp_path / "out", stdin=made.stdout)
    assert (read.returncode, (tmp_path / "out/data/hello.txt").read_text()) == (0, "hello\n")


def test_json_goes_to_standard_error_where_standard_output_is_the_bundle(packed: Sample) -> None:
    made = program("pack", packed.directory, "-r", packed.recipient, "-o", "-", "--json")
    assert json.loads(made.stderr.splitlines()[-1])["message_type"] == "summary"


def test_a_closed_standard_output_is_noticed_before_any_work(packed: Sample, tmp_path: Path) -> None:
    command = [*PROGRAM, "pack", str(packed.directory), "-r", packed.recipient, "-o", str(tmp_path / "b")]
    result = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *command], stderr=subprocess.PIPE, check=False)
    assert (result.returncode, result.stderr) == (1, b"ocbundle: error: standard output is closed\n")


def test_a_reader_that_goes_away_ends_a_list_quietly(packed: Sample) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [*PROGRAM, "list", "-i", str(packed.key), str(packed.bundle)]
    result = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert (result.returncode, result.stderr) == (1, b"")


@pytest.fixture
def heeded() -> Iterator[None]:
    """Signals that this process heeds: a background job of a shell ignores SIGINT, and so would its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_with_130_and_leaves_nothing(packed: Sample, tmp_path: Path, number: signal.Signals) -> None:
    env = {**os.environ, "OCBUNDLE_PASSPHRASE_COMMAND": "sh -c 'echo ready >&2; exec sleep 20 >/dev/null 2>&1'"}
    with subprocess.Popen(
        [*PROGRAM, "pack", packed.directory, "-p", "-o", tmp_path / "b"], stderr=subprocess.PIPE, env=env
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"ready\n"
        process.send_signal(number)
        told = process.stderr.read()
    assert (process.returncode, told.strip(), os.listdir(tmp_path)) == (130, b"ocbundle: error: interrupted", [])


SIGNALLING = f"""{HERE}
import os, signal
number, event, what = int(sys.argv.pop(1)), sys.argv.pop(1), sys.argv.pop(1)
sent = []

def send(found, arguments):
    if found == event and what in ('', *map(str, arguments)) and not sent:
        sent.append(found)
        os.kill(os.getpid(), number)

sys.addaudithook(send)
from ocbundle.cli import main
main()
"""
"""The program, and a signal that comes in the moment of an event that Python's audit hooks tell of."""


def signalled(number: signal.Signals, event: str, what: str, *arguments: object, **environ: str) -> tuple[int, bytes]:
    command = [*PYTHON, SIGNALLING, str(int(number)), event, what, *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, check=False)
    return done.returncode, done.stderr.strip()


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["click", "ocbundle.cli.console", "ocbundle.model", "pyrage.pyrage"])
def test_an_interrupt_while_the_program_is_imported_ends_it_without_a_word(
    packed: Sample, module: str, number: signal.Signals
) -> None:
    arguments = ("list", "-i", packed.key, packed.bundle)
    assert signalled(number, "import", module, *arguments) == (130, b"")


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("event", ["tempfile.mkdtemp", "os.symlink", "shutil.rmtree", "os.rmdir"])
def test_an_interrupted_demo_leaves_nothing(tmp_path: Path, event: str) -> None:
    ends = signalled(signal.SIGTERM, event, "", "demo", TMPDIR=str(tmp_path))
    assert (ends, os.listdir(tmp_path)) == ((130, b"ocbundle: error: interrupted"), [])


def test_an_error_nobody_foresaw_is_one_line_that_repeats_nothing(
    run: Run, packed: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("hunter2")

    monkeypatch.setattr(ocbundle, "verify", fail)
    result = run("verify", packed.bundle)
    assert (result.code, "hunter2" in result.err, "Traceback" in result.err) == (1, False, False)
    assert result.err.startswith("ocbundle: error: internal error: RuntimeError at test_cli.py:")


def test_a_traceback_is_shown_when_asked_for(run: Run, packed: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(ocbundle, "verify", fail)
    assert "Traceback" in run("verify", packed.bundle, env={"OCBUNDLE_DEBUG": "1"}).err


# --- demo ----------------------------------------------------------------------------------------------------------


def test_the_demo_finds_everything_equal_and_leaves_nothing(tmp_path: Path) -> None:
    for name in ("tmp", "home"):
        (tmp_path / name).mkdir()
    started = time.monotonic()
    result = program("demo", TMPDIR=str(tmp_path / "tmp"), HOME=str(tmp_path / "home"))
    assert result.stdout.decode().splitlines()[-1] == "removed it all"
    assert (result.returncode, sorted(path.name for path in tmp_path.rglob("*"))) == (0, ["home", "tmp"])
    assert time.monotonic() - started < 15


def test_the_demo_speaks_json(run: Run) -> None:
    summary = run("demo", "--json").objects[-1]
    assert (summary["message_type"], summary["command"], summary["differences"]) == ("summary", "demo", 0)


def _lose_a_row(database: bytes) -> None:
    status = os.stat(database)
    with closing(sqlite3.connect(os.fsdecode(database))) as connection:
        connection.execute("DELETE FROM cron_jobs WHERE id = 'job-7'")
        connection.commit()
    os.utime(database, ns=(status.st_mtime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    ("path", "spoil"),
    [
        (b"default/.env", lambda path: os.chmod(path, 0o644)),
        (b"default.workspace.research/empty", os.utime),
        (b"default.workspace.research/caf\xe9.txt", os.unlink),
        (b"work/extra", lambda path: open(path, "wb").close()),
        (b"default/media/inbound/photo.bin", lambda path: os.truncate(path, 100)),
        (b"default/state/openclaw.sqlite", _lose_a_row),
        (b"work/cron", os.utime),
        (b"default.workspace.research/SOUL-again.md", lambda path: os.rename(path, path + b"~")),
    ],
    ids=["mode", "time", "missing", "extra", "content", "rows", "directory", "link"],
)
def test_the_demos_comparison_sees_every_kind_of_difference(
    run: Run, packed: Sample, tmp_path: Path, path: bytes, spoil: Callable[[bytes], None]
) -> None:
    home, restored = os.fsencode(tmp_path / "home"), os.fsencode(tmp_path / "restored")
    sample.build(home)
    run("pack", "-r", packed.recipient, "-o", "b", env={"HOME": os.fsdecode(home)})
    run("unpack", "b", "-i", packed.key, "--to", "restored")
    assert demo.compare(home, restored)[1] == []
    spoil(os.path.join(restored, path))
    root = path.partition(b"/")[0]
    shown = paths.display(sample.ROOTS[root.decode()] + path.removeprefix(root))
    assert [line for line in demo.compare(home, restored)[1] if line.startswith(f"{shown}: ")] != []


def test_the_demo_tells_of_each_difference_and_fails(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "compare", lambda _home, _restored: (2, ["a: was not there became b", "c"]))
    result = run("demo")
    assert (result.code, result.err.splitlines()) == (
        1,
        [
            "ocbundle: warning: a: was not there became b",
            "ocbundle: warning: c",
            "ocbundle: error: 2 differences between what was packed and unpacked",
        ],
    )


def test_the_demo_fails_where_damage_goes_unnoticed(
    packed: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ocbundle, "verify", lambda _path: None)
    with pytest.raises(ocbundle.BundleError, match="unnoticed"):
        demo._damage(str(shutil.copy(packed.bundle, tmp_path)))


def test_the_demo_without_room_for_its_directory_fails_in_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    assert run("demo") == Result(1, "", "ocbundle: error: no space left on device\n")


def test_the_demos_comparison_misses_a_whole_root_and_looks_into_no_pipe(tmp_path: Path) -> None:
    home, restored = os.fsencode(tmp_path / "home"), os.fsencode(tmp_path / "restored")
    sample.build(home)
    os.mkfifo(home + b"/research/pipe")
    entries, differences = demo.compare(home, restored)
    assert (len(differences), [line for line in differences if "research/pipe: p" in line] != []) == (entries, True)


# --- The program's edges -------------------------------------------------------------------------------------------


def test_the_package_runs_as_a_module() -> None:
    parent = str(Path(ocbundle.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "ocbundle", "--version"],
        capture_output=True, check=True, text=True, env={**os.environ, "PYTHONPATH": parent},
    )  # fmt: skip
    assert done.stdout == f"ocbundle {ocbundle.__version__}\n"


def test_a_stream_that_is_no_terminal_and_no_file_is_left_as_it_is() -> None:
    program = f"{HERE}import io, sys; sys.stderr = io.StringIO()\nfrom ocbundle.cli import main; main()"
    done = subprocess.run([*PYTHON, program, "--version"], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"ocbundle {ocbundle.__version__}\n".encode())


def to_nobody(*command: str | Path) -> tuple[int, bytes]:
    """Run *command* with a standard output that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writer)
    return done.returncode, done.stderr


def test_a_reader_that_has_gone_ends_the_program_without_a_word(packed: Sample) -> None:
    assert to_nobody(*PROGRAM, "--version") == (1, b"")
    assert to_nobody(*PROGRAM, "list", "-i", packed.key, packed.bundle) == (1, b"")


def test_a_reader_that_has_gone_is_found_where_click_leaves_the_last_words_to_us() -> None:
    older = (
        "from ocbundle.cli import app; app.app.main = lambda **_: print('the last words')\nsys.exit(app.run([], {}))"
    )
    assert to_nobody(*PYTHON, HERE + older) == (1, b"")


def test_memory_that_runs_out_is_one_line(run: Run, packed: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ocbundle, "verify", fail)
    assert run("verify", packed.bundle) == Result(1, "", "ocbundle: error: out of memory\n")


@pytest.mark.parametrize("ignored", [(), ("SIGHUP",)], ids=["none", "nohup"])
def test_a_signal_during_the_imports_ends_the_program_without_a_word(ignored: tuple[str, ...]) -> None:
    program = (
        "import os, signal, sys, time; from ocbundle.cli import signals\n"
        "for name in sys.argv[1:]: signal.signal(getattr(signal, name), signal.SIG_IGN)\n"
        "signals.end_at_once()\n"
        "os.kill(os.getpid(), signal.SIGHUP)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "time.sleep(60)"
    )
    done = subprocess.run([*PYTHON, HERE + program, *ignored], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_json_that_is_quiet_names_no_omission(run: Run, packed: Sample) -> None:
    result = run("pack", packed.directory, "-r", packed.recipient, "-o", "b", "-v", "--json", "-q")
    assert [item for item in result.objects if item["message_type"] == "status"] == []


def test_a_long_listing_of_what_was_left_out_is_a_usage_error(run: Run, packed: Sample) -> None:
    assert run("list", "-l", "--skipped", "-i", packed.key, packed.bundle).code == 2


def test_what_discovery_leaves_is_told_as_a_hint(run: Run, packed: Sample, tmp_path: Path) -> None:
    for name in (".openclaw", ".clawdbot"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "openclaw.json").write_text("{}")
    assert f"hint: not taken: {tmp_path}/.clawdbot: " in run("pack", "-r", packed.recipient, "-o", "b").err


def test_the_key_of_a_plugin_tells_no_recipient_to_pack_to(
    run: Run, packed: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "age-plugin-fake").write_text("#!/bin/sh\n")
    (tmp_path / "age-plugin-fake").chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    Path("plugin.txt").write_text(agetext._bech32_encode("age-plugin-fake-", b"").upper())
    result = run("pack", packed.directory, "-i", "plugin.txt", "-o", "b")
    assert (result.code, "hint: give it with -r" in result.err) == (2, True)


def test_an_unpack_that_is_finished_tells_what_could_not_be_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    done = ocbundle.RecoverReport(undone=False, roots=(), warnings=("the owner of a stays",))
    monkeypatch.setattr(ocbundle, "recover", lambda _home, **_: done)
    assert "ocbundle: warning: the owner of a stays\n" in run("unpack", "--resume").err


# --- Without a terminal to ask at, and with one ----------------------------------------------------------------------


def test_a_terminal_that_belongs_to_another_session_is_never_asked(packed: Sample, tmp_path: Path) -> None:
    outer, inner = pty.openpty()
    try:
        done = subprocess.run(
            [*PROGRAM, "pack", str(packed.directory), "-o", "b"],
            cwd=tmp_path, stdin=inner, capture_output=True, check=False, timeout=60, start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(outer)
        os.close(inner)
    assert (done.returncode, b"nobody is there to type a passphrase" in done.stderr) == (2, True)


def test_a_key_that_is_shown_at_a_terminal_is_followed_by_nothing(tmp_path: Path) -> None:
    code, shown = at_terminal(tmp_path, (*PROGRAM, "keygen"))
    assert (code, shown.count(b"age1")) == (0, 1)


def test_a_bundle_can_not_be_typed(tmp_path: Path) -> None:
    code, shown = at_terminal(tmp_path, (*PROGRAM, "verify", "-"))
    assert (code, b"a bundle can't be typed" in shown) == (2, True)


def test_at_a_terminal_a_damaged_bundle_is_told_of_before_anything_is_asked(packed: Sample, tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(packed.bundle.read_bytes()[:-1])
    code, shown = at_terminal(tmp_path, (*PROGRAM, "verify", "b"))
    assert (code, b"Passphrase" in shown) == (4, False)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Answers to be typed: there is a terminal, and stretching a passphrase takes no time."""
    answers: list[str] = []
    monkeypatch.setattr(Console, "can_ask", lambda _: True)
    monkeypatch.setattr(Console, "show", lambda _, text: answers.append(text))
    monkeypatch.setattr(getpass, "getpass", lambda _: _typed(answers))
    monkeypatch.setattr(limits, "SCRYPT_WORK_FACTOR", 2)
    return answers


def _typed(answers: list[str]) -> str:
    if not answers:
        raise EOFError
    return answers.pop(0)


def test_a_passphrase_that_is_typed_twice_opens_the_bundle(run: Run, packed: Sample, asked: list[str]) -> None:
    asked += ["hunter2", "hunter2", "hunter2"]
    assert run("pack", packed.directory, "-o", "b").code == 0
    assert (run("list", "b").code, asked) == (0, [])


def test_who_types_nothing_gets_no_further(run: Run, packed: Sample, asked: list[str]) -> None:
    asked += ["hunter2", "hunter2"]
    run("pack", packed.directory, "-o", "b")
    result = run("list", "b")
    assert (result.code, result.err.splitlines()[0], asked) == (5, "ocbundle: error: no passphrase was typed", [""])


def test_the_passphrase_of_an_identity_file_is_asked_for(run: Run, packed: Sample, asked: list[str]) -> None:
    locked = agefile.seal_passphrase(packed.key.read_bytes(), "hunter2", support.seeded(), work_factor=2)
    Path("locked.txt").write_bytes(locked)
    asked += ["hunter2"]
    assert (run("list", "-i", "locked.txt", packed.bundle).code, asked) == (0, [])
    Path("word").write_text("hunter2\n")
    assert run("list", "-i", "locked.txt", packed.bundle, env={"OCBUNDLE_PASSPHRASE_FILE": "word"}).code == 0
