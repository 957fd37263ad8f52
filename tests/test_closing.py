"""Secrets that were open to others are closed when a gateway is put in its place."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from support import identity, recipient

import ocbundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    state = tmp_path / "old/.openclaw"
    for directory in ("state", "credentials/whatsapp", "workspace"):
        (state / directory).mkdir(parents=True)
    for name in ("openclaw.json", ".env", "credentials/whatsapp/creds.json", "workspace/notes.md"):
        (state / name).write_text("{}")
    for path in [state, *state.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    target = tmp_path / "b.ocbundle"
    ocbundle.pack(target, recipients=[recipient()], environ={"HOME": str(tmp_path / "old")})
    return target


def modes(home: Path) -> dict[str, int]:
    state = home / ".openclaw"
    return {str(path.relative_to(home)): stat.S_IMODE(path.stat().st_mode) for path in [state, *state.rglob("*")]}


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_state_and_secrets_are_closed_to_others(bundle: Path, tmp_path: Path, umask: int) -> None:
    (tmp_path / "new").mkdir()
    before = os.umask(umask)
    try:
        done = ocbundle.unpack(bundle, identities=identity(), home=tmp_path / "new")
    finally:
        os.umask(before)
    assert modes(tmp_path / "new") == {
        ".openclaw": 0o700,
        ".openclaw/.env": 0o600,
        ".openclaw/credentials": 0o700,
        ".openclaw/credentials/whatsapp": 0o700,
        ".openclaw/credentials/whatsapp/creds.json": 0o600,
        ".openclaw/openclaw.json": 0o600,
        ".openclaw/state": 0o755,
        ".openclaw/workspace": 0o755,
        ".openclaw/workspace/notes.md": 0o644,
    }
    assert "closed modes of default that let others read secrets, such as that of ." in done.notes


def test_a_faithful_restore_leaves_modes_as_they_were(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    ocbundle.unpack(bundle, identities=identity(), home=tmp_path / "new", relocated=False)
    assert modes(tmp_path / "new")[".openclaw/.env"] == 0o644
