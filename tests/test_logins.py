"""Going back to an older state, and keeping this machine's newer channel logins."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from trees import mounted

import ocbundle
from ocbundle import cli
from ocbundle.errors import InvalidRequest, TargetFailure
from ocbundle.model import Host, Manifest, Role, Root
from ocbundle.openclaw import logins

THEN_S, LATER_S = 1_700_000_000, 1_800_000_000
CREDENTIALS = ".openclaw/credentials"
Anywhere = str | bytes | os.PathLike[str]
WHATSAPP = f"{CREDENTIALS}/whatsapp/default"


def write(path: Path, content: str = "", when_s: int = THEN_S) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (when_s, when_s))
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of a gateway that was packed, and has gone on since."""
    home = tmp_path / "alice"
    write(home / ".openclaw" / "openclaw.json", '{meta: {lastTouchedVersion: "1"}}')
    write(home / WHATSAPP / "creds.json", "old")
    write(home / WHATSAPP / "pre-key-1.json", "old")
    write(home / CREDENTIALS / "oauth.json", "old")
    text, recipient = ocbundle.generate_identity(now=datetime(2026, 1, 1, tzinfo=UTC))
    write(tmp_path / "key.txt", text)
    state = ocbundle.Source(path=os.fsencode(home / ".openclaw"), name="default", role=Role.STATE, profile="default")
    ocbundle.pack(tmp_path / "a.ocbundle", [state], recipients=[recipient], environ={"HOME": str(home)})
    write(home / ".openclaw" / "openclaw.json", '{meta: {lastTouchedVersion: "2"}}', LATER_S)
    return home


def go_on(home: Path) -> None:
    """What a channel does with its login as time goes by."""
    write(home / WHATSAPP / "creds.json", "new", LATER_S)
    write(home / WHATSAPP / "pre-key-2.json", "new", LATER_S)
    (home / WHATSAPP / "pre-key-1.json").unlink()


def go_back(
    home: Path,
    *,
    replace: bool = True,
    keep_logins: bool = True,
    dry_run: bool = False,
    maps: dict[Anywhere, Anywhere] | None = None,
) -> ocbundle.UnpackReport:
    return ocbundle.unpack(
        home.parent / "a.ocbundle",
        identities=[home.parent / "key.txt"],
        home=home,
        environ={"HOME": str(home)},
        replace=replace,
        keep_logins=keep_logins,
        dry_run=dry_run,
        maps=maps,
    )


def content(directory: Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


def test_a_newer_login_stays_and_all_else_is_as_it_was_packed(home: Path) -> None:
    go_on(home)
    go_back(home)
    assert content(home / ".openclaw") == {
        "openclaw.json": '{meta: {lastTouchedVersion: "1"}}',
        "credentials/oauth.json": "old",
        "credentials/whatsapp/default/creds.json": "new",
        "credentials/whatsapp/default/pre-key-2.json": "new",
    }


def test_without_being_asked_the_bundles_login_comes_back(home: Path) -> None:
    go_on(home)
    go_back(home, keep_logins=False)
    assert content(home / WHATSAPP) == {"creds.json": "old", "pre-key-1.json": "old"}


def test_a_login_that_stays_is_told(home: Path) -> None:
    go_on(home)
    told = "default/credentials/whatsapp: this machine's login, which is newer than the bundle's"
    assert told in go_back(home).notes


def test_a_rehearsal_tells_what_would_stay_and_changes_nothing(home: Path) -> None:
    go_on(home)
    before = content(home)
    done = go_back(home, dry_run=True)
    assert any("this machine's login" in note for note in done.notes)
    assert content(home) == before


def test_a_login_that_came_later_stays(home: Path) -> None:
    write(home / CREDENTIALS / "telegram-pairing.json", "new", LATER_S)
    write(home / ".openclaw" / "matrix" / "keys.db", "new", LATER_S)
    go_back(home)
    assert (home / CREDENTIALS / "telegram-pairing.json").read_text() == "new"
    assert (home / ".openclaw" / "matrix" / "keys.db").read_text() == "new"


def test_an_older_login_gives_way_to_the_bundles_and_that_is_told(home: Path) -> None:
    for name in ("creds.json", "pre-key-1.json"):
        write(home / WHATSAPP / name, "older", THEN_S - 1000)
    done = go_back(home)
    assert (content(home / WHATSAPP)["creds.json"], done.warnings) == (
        "old",
        ("default/credentials/whatsapp comes from the bundle: it is newer than this machine's",),
    )


def test_a_login_stays_where_the_bundle_has_no_credentials_at_all(tmp_path: Path) -> None:
    write(tmp_path / "bob" / ".openclaw" / "openclaw.json", "{}")
    write(tmp_path / "bob" / CREDENTIALS / "whatsapp" / "creds.json", "new", LATER_S)
    (tmp_path / "bob" / CREDENTIALS).chmod(0o750)
    text, recipient = ocbundle.generate_identity(now=datetime(2026, 1, 1, tzinfo=UTC))
    write(tmp_path / "key.txt", text)
    bare = write(tmp_path / "bare" / "openclaw.json", "{}").parent
    state = ocbundle.Source(path=os.fsencode(bare), name="default", role=Role.STATE, profile="default")
    ocbundle.pack(tmp_path / "a.ocbundle", [state], recipients=[recipient], overwrite=True)
    go_back(tmp_path / "bob", maps={str(bare): str(tmp_path / "bob" / ".openclaw")})
    kept = tmp_path / "bob" / CREDENTIALS
    assert (content(kept), stat.S_IMODE(kept.stat().st_mode)) == ({"whatsapp/creds.json": "new"}, 0o750)


def test_modes_times_and_owners_of_a_login_stay(home: Path) -> None:
    go_on(home)
    secret = home / WHATSAPP / "creds.json"
    secret.chmod(0o640)
    (home / WHATSAPP).chmod(0o710)
    if os.geteuid() == 0:
        os.chown(secret, 1500, 1500)
    before = secret.stat()
    old = os.umask(0o077)
    try:
        go_back(home)
    finally:
        os.umask(old)
    after = secret.stat()
    assert (
        after.st_mode,
        after.st_mtime_ns,
        after.st_uid,
        after.st_gid,
        stat.S_IMODE(secret.parent.stat().st_mode),
    ) == (
        before.st_mode,
        before.st_mtime_ns,
        before.st_uid,
        before.st_gid,
        0o710,
    )


def test_a_link_inside_of_a_login_is_copied_and_not_followed(home: Path, tmp_path: Path) -> None:
    go_on(home)
    secret = write(tmp_path / "elsewhere", "not a login")
    (home / WHATSAPP / "link").symlink_to(secret)
    go_back(home)
    assert os.readlink(home / WHATSAPP / "link") == str(secret)


def test_a_login_that_is_only_a_link_is_the_bundles(home: Path, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "default" / "creds.json", "new", LATER_S)
    (home / CREDENTIALS / "whatsapp").rename(tmp_path / "old")
    (home / CREDENTIALS / "whatsapp").symlink_to(tmp_path / "elsewhere")
    go_back(home)
    assert content(home / WHATSAPP)["creds.json"] == "old"


def test_the_state_that_was_replaced_still_has_the_login(home: Path) -> None:
    go_on(home)
    (aside,) = go_back(home).set_aside
    assert content(Path(aside.path))["credentials/whatsapp/default/creds.json"] == "new"


def test_where_nothing_is_replaced_there_is_no_login_to_keep(home: Path) -> None:
    with pytest.raises(InvalidRequest, match="only where something is replaced"):
        go_back(home, replace=False)


def test_on_a_fresh_machine_the_bundles_logins_are_taken(home: Path) -> None:
    fresh = home.with_name("bob")
    fresh.mkdir()
    go_back(fresh)
    assert content(fresh / WHATSAPP)["creds.json"] == "old"


def test_the_command_line_keeps_logins_when_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    go_on(home)
    bundle, key = str(home.parent / "a.ocbundle"), str(home.parent / "key.txt")
    code = cli.run(["unpack", bundle, "-i", key, "--replace", "--keep-logins"], {"HOME": str(home)})
    said = "default/credentials/whatsapp: this machine's login, which is newer than the bundle's"
    assert (code, content(home / WHATSAPP)["creds.json"], said in capsys.readouterr().out) == (0, "new", True)


# --- What the system refuses ------------------------------------------------------------------------------------------


def fails(error: OSError) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_a_process_that_still_listens_is_no_part_of_a_login(home: Path) -> None:
    go_on(home)
    os.mkfifo(home / WHATSAPP / "pipe")
    go_back(home)
    assert not (home / WHATSAPP / "pipe").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_login_on_a_file_system_of_its_own_can_not_be_kept(home: Path) -> None:
    with (
        mounted(home / CREDENTIALS / "whatsapp"),
        pytest.raises(TargetFailure, match="on a file system of its own") as caught,
    ):
        go_back(home)
    assert caught.value.path == "default/credentials/whatsapp"


def test_a_login_that_can_not_be_looked_at_is_not_replaced(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on(home)
    before = content(home)
    monkeypatch.setattr(os, "fwalk", lambda *_, onerror, **__: onerror(OSError(errno.EIO, "input/output error")))
    with pytest.raises(TargetFailure, match="can't keep this machine's login"):
        go_back(home)
    monkeypatch.undo()
    assert content(home) == before


def test_a_state_that_can_not_be_opened_is_an_error_with_its_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = (Root(name="default", role=Role.STATE, source=b"/x", profile="default"),)
    manifest = Manifest(bundle_id=bytes(16), created=0, generator="", source=Host(), roots=roots)
    monkeypatch.setattr(os, "open", fails(OSError(errno.EIO, "input/output error")))
    with pytest.raises(TargetFailure, match="look for this machine's logins") as caught:
        logins.choose(manifest, lambda: (), {"default": os.fsencode(home / ".openclaw")}, keep=True)
    assert caught.value.path == str(home / ".openclaw")
