"""``diff`` and ``doctor``, as a person and a program see them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from ocbundle import agefile, agetext
from ocbundle.cli import run

SECRET: Final = bytes(range(32))
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    state = tmp_path / "home/.openclaw"
    (state / "state").mkdir(parents=True)
    state.chmod(0o700)
    (state / "openclaw.json").write_text('{"gateway": {"mode": "remote", "remote": {"url": "wss://big.example"}}}')
    (state / "openclaw.json").chmod(0o600)
    (tmp_path / "key.txt").write_text(agetext.encode_identity(SECRET))
    (tmp_path / "key.txt").chmod(0o600)
    return tmp_path / "home"


@pytest.fixture
def program(home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def program(*arguments: str, environ: Mapping[str, str] | None = None) -> tuple[int, str, str]:
        code = run(arguments, {"HOME": str(home), "PATH": "/nowhere"} | dict(environ or {}))
        return code, *capfd.readouterr()

    return program


@pytest.fixture
def bundle(program: Run) -> str:
    recipient = agetext.encode_recipient(agefile.x25519_public(SECRET))
    assert program("pack", "-r", recipient, "-o", "gateway.ocbundle")[0] == 0
    return "gateway.ocbundle"


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# --- diff ------------------------------------------------------------------------------------------------------------


def test_diff_of_what_was_just_packed_finds_nothing(program: Run, bundle: str) -> None:
    code, out, _ = program("diff", "-i", "key.txt", bundle)
    assert (code, out) == (0, "no differences in 3 entries\n")


def test_diff_names_each_difference_and_ends_with_7(program: Run, bundle: str, home: Path) -> None:
    (home / ".openclaw/openclaw.json").chmod(0o640)
    (home / ".openclaw/state").rmdir()
    (home / ".openclaw/new\x1b").write_text("x")
    code, out, _ = program("diff", "-i", "key.txt", bundle)
    assert (code, out.splitlines()) == (
        7,
        [
            "+ default/new\\x1b",
            "~ default/openclaw.json  (mode)",
            "- default/state/",
            "3 differences: 1 added, 1 changed, 1 removed; 1 the same",
        ],
    )


def test_diff_speaks_json(program: Run, bundle: str, home: Path) -> None:
    (home / ".openclaw/openclaw.json").chmod(0o640)
    _, out, _ = program("diff", "-i", "key.txt", "--json", bundle)
    differences = [row for row in rows(out) if row.get("status") == "difference"]
    assert (differences, rows(out)[-1]["exit_code"]) == (
        [
            {
                "message_type": "status",
                "status": "difference",
                "path": "default/openclaw.json",
                "kind": "file",
                "change": "changed",
                "what": ["mode"],
            }
        ],
        7,
    )


def test_diff_with_a_directory_compares_what_was_unpacked_there(program: Run, bundle: str, tmp_path: Path) -> None:
    assert program("unpack", "-i", "key.txt", "--to", "restored", bundle)[0] == 0
    (tmp_path / "restored/default/openclaw.json").unlink()
    code, out, _ = program("diff", "-i", "key.txt", bundle, "restored")
    assert (code, out.splitlines()[0]) == (7, "- default/openclaw.json")


def test_diff_with_a_directory_that_is_not_there_fails(program: Run, bundle: str) -> None:
    code, _, err = program("diff", "-i", "key.txt", bundle, "gone")
    assert (code, err) == (1, "ocbundle: error: gone isn't a directory\n")


def test_diff_without_any_openclaw_fails(program: Run, bundle: str, home: Path) -> None:
    (home / ".openclaw").rename(home / "elsewhere")
    assert program("diff", "-i", "key.txt", bundle)[0] == 1


def test_diff_of_what_can_not_be_read_ends_with_3(
    program: Run, bundle: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.open

    def failing(path: str | bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == b"openclaw.json":  # root, who may run this, can read everything
            raise PermissionError(13, "Permission denied")
        return really(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", failing)
    code, _, err = program("diff", "-i", "key.txt", bundle, str(home / ".openclaw"))
    assert (code, "not compared: default/openclaw.json: unreadable" in err) == (3, True)


# --- doctor ----------------------------------------------------------------------------------------------------------


def test_doctor_names_each_finding_with_its_reason_and_its_command_and_ends_with_7(program: Run) -> None:
    code, out, _ = program("doctor")
    assert (code, out.splitlines()) == (
        7,
        [
            "warning: profile default is a client of wss://big.example",
            "  why: its sessions, credentials and channel logins are there; no gateway starts here in this mode",
            "  mend: openclaw config set gateway.mode local",
            "1 finding: 1 warning",
        ],
    )


def test_doctor_that_finds_nothing_says_so(program: Run, home: Path) -> None:
    (home / ".openclaw/openclaw.json").write_text("{}")
    code, out, _ = program("doctor")
    assert (code, out) == (0, "nothing is wrong\n")


def test_doctor_speaks_json(program: Run) -> None:
    _, out, _ = program("doctor", "--json")
    assert [(row["message_type"], row.get("severity"), row.get("findings")) for row in rows(out)] == [
        ("status", "warning", None),
        ("summary", None, 1),
    ]


def test_doctor_with_a_bundle_misses_its_profiles(program: Run, bundle: str, home: Path) -> None:
    (home / ".openclaw").rename(home / ".openclaw-work")
    _, out, _ = program("doctor", "-i", "key.txt", bundle)
    assert "error: profile default of the bundle isn't on this machine" in out.splitlines()


def test_doctor_leaves_nothing_behind(program: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    program("doctor")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_key_without_a_bundle_is_a_mistake(program: Run) -> None:
    assert program("doctor", "-i", "key.txt")[0] == 2
