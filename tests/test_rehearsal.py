"""What ``pack --dry-run`` tells: what would be taken and left, how much of each, and which secrets are inside."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import ocbundle
from ocbundle import cli, report, weighing
from ocbundle.model import Reason, Skipped


def write(path: Path, content: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    home = tmp_path / "alice"
    write(
        home / ".openclaw" / "openclaw.json",
        '{agents: {defaults: {workspace: "~/ws"}}, hooks: {token: "${HOOK_TOKEN}"}, gateway: {auth: {token: "t"}}}',
    )
    write(home / ".openclaw" / ".env", "A=1")
    write(home / ".openclaw" / "logs" / "a.log", "x" * 3000)
    write(home / ".openclaw" / "logs" / "deep" / "b.log", "x" * 72)
    write(home / ".openclaw" / "cache" / "c", "x" * 100)
    write(home / "ws" / "SOUL.md", "x" * 2048)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(home / ".openclaw", os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/run.sock")  # the whole path may be too long for a socket
        os.close(here)
        yield home


def rehearse(home: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str, str]:
    code = cli.run(["pack", "--dry-run", "-o", "b", *options], {"HOME": str(home)})
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_each_root_is_told_with_what_it_holds(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = rehearse(home, capsys)
    assert out.splitlines()[:3] == [
        "would pack 5 entries, 2.1 KiB",
        f"  default                 state        {home}/.openclaw  (3 entries, 108 B)",
        f"  default.workspace.main  workspace    {home}/ws  (2 entries, 2.0 KiB)",
    ]


def test_what_would_be_left_is_told_with_its_size_and_why_the_largest_first(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = rehearse(home, capsys)
    assert out.splitlines()[-4:] == [
        "left out: 2 regenerable, 1 socket (-v names each)",
        "     3.0 KiB  default/logs: regenerable (logs)",
        "       100 B  default/cache: regenerable (cache)",
        "              default/run.sock: socket",
    ]


def test_what_is_left_for_one_reason_is_added_up_unless_each_is_asked_for(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.tmp", "b.tmp"):
        write(home / ".openclaw" / name, "x" * 1024)
    _, out, _ = rehearse(home, capsys)
    _, each, _ = rehearse(home, capsys, "-v")
    assert "     2.0 KiB  2 paths: transient (a write that wasn't finished)" in out.splitlines()
    assert "     1.0 KiB  default/b.tmp: transient (a write that wasn't finished)" in each.splitlines()


def test_kinds_of_secret_and_what_is_needed_are_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, err = rehearse(home, capsys)
    assert "secrets in profile default: env file, gateway token" in out.splitlines()
    assert "ocbundle: warning: profile default needs HOOK_TOKEN, which isn't in the bundle" in err.splitlines()


def test_all_of_it_is_in_the_json_too(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = rehearse(home, capsys, "--json")
    summary = json.loads(out.splitlines()[-1])
    assert (summary["secrets"], summary["needs"], summary["left_out_bytes"]) == (
        {"default": ["env file", "gateway token"]},
        {"default": ["HOOK_TOKEN"]},
        3172,
    )
    assert [(root["entries"], root["bytes"], root["left_out"]) for root in summary["roots"]] == [
        (3, 108, 3),
        (2, 2048, 0),
    ]


def test_a_rehearsal_leaves_nothing_behind(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rehearse(home, capsys)
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("options", "code"),
    [(("--profile", "no-such"), 1), (("--state-dir", "/no/such"), 1), (("--exclude", "!"), 2)],
    ids=str,
)
def test_a_rehearsal_fails_where_the_real_run_does(
    home: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], code: int
) -> None:
    assert rehearse(home, capsys, *options)[0] == code


def test_a_real_run_tells_what_each_root_holds(home: Path, tmp_path: Path) -> None:
    _, recipient = ocbundle.generate_identity(now=datetime(2026, 1, 1, tzinfo=UTC))
    done = ocbundle.pack(tmp_path / "b", environ={"HOME": str(home)}, recipients=[recipient])
    assert {name: (each.entries, each.size) for name, each in done.root_totals.items()} == {
        "default": (3, 108),
        "default.workspace.main": (2, 2048),
    }


def test_a_link_is_not_followed_to_be_weighed(tmp_path: Path) -> None:
    write(tmp_path / "big", "x" * 5000)
    (tmp_path / "left" / "deep").mkdir(parents=True)
    (tmp_path / "left" / "link").symlink_to(tmp_path / "big")
    row = Skipped(root="r", path=b"left", kind="directory", reason=Reason.REGENERABLE)
    source = ocbundle.Source(path=os.fsencode(tmp_path), name="r")
    assert weighing.weigh([source], [row]) == {row: 0}


def test_weighing_ends_when_there_is_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / "left" / name, "x")
    monkeypatch.setattr(weighing, "_MOST", 2)
    rows = [
        Skipped(root="r", path=path, kind=kind, reason=Reason.EXCLUDED)
        for path, kind in ((b"left", "directory"), (b"left/a", "file"), (b"gone", "file"))
    ]
    source = ocbundle.Source(path=os.fsencode(tmp_path), name="r")
    assert weighing.weigh([source], rows) == {rows[1]: 1}


def test_what_can_not_be_listed_weighs_what_could_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: bytes) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    (tmp_path / "left").mkdir()
    monkeypatch.setattr(os, "scandir", refuse)
    row = Skipped(root="r", path=b"left", kind="directory", reason=Reason.EXCLUDED)
    assert weighing.weigh([ocbundle.Source(path=os.fsencode(tmp_path), name="r")], [row]) == {row: 0}


def test_what_is_packed_in_another_place_is_not_told_as_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b" / "f")
    done = ocbundle.pack(None, [tmp_path / "a", tmp_path / "a" / "b"], dry_run=True)
    assert [str(row.reason) for row in done.skipped] == ["nested"]
    assert list(report._left_lines(done, each=True)) == []
