"""A gateway that is made up, for ``ocbundle demo``: everything that a copy tends to lose is in it.

Two profiles, a workspace elsewhere, hidden files, a channel login of many small files, a database whose newest rows
are only in its write-ahead log, a name that isn't UTF-8, links, and modes and times that must come back.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from contextlib import closing
from typing import Final

DATABASE: Final = b".openclaw/state/openclaw.sqlite"
JOBS: Final = tuple((f"job-{number}", f"0 {number} * * *") for number in range(24))
"""Rows that are nowhere but in the write-ahead log."""

ROOTS: Final = {
    "default": b".openclaw",
    "work": b".openclaw-work",
    "default.workspace.research": b"research",
}
"""What each root of the bundle is called, and where it is in the home."""

LEFT_OUT: Final = (
    b".openclaw/exec-approvals.sock",
    b".openclaw/tmp",
    b".openclaw/cache",
    DATABASE + b"-wal",
)
"""What belongs to this machine or comes by itself, and so isn't packed."""

CONFIG: Final = """{
  // written by hand
  gateway: { mode: "local", port: 18789, auth: { token: "made-up-token" } },
  agents: {
    defaults: { workspace: "%(home)s/.openclaw/workspace" },
    entries: { main: {}, research: { workspace: "%(home)s/research" } },
  },
  channels: { whatsapp: { enabled: true } },
  meta: { lastTouchedVersion: "2026.9.6" },
}
"""
WORK_CONFIG: Final = '{"gateway": {"mode": "local", "port": 41984}, "agents": {"list": [{"id": "main"}]}}\n'

FILES: Final[tuple[tuple[bytes, int, bytes], ...]] = (
    (b".openclaw/.env", 0o600, b"ANTHROPIC_API_KEY=made-up\nTELEGRAM_BOT_TOKEN=made-up\n"),
    (b".openclaw/credentials/whatsapp/default/creds.json", 0o600, b'{"me": {"id": "made-up"}}\n'),
    *(
        (b".openclaw/credentials/whatsapp/default/pre-key-%d.json" % number, 0o600, b'{"made": "up %d"}\n' % number)
        for number in range(20)
    ),
    (b".openclaw/media/inbound/photo.bin", 0o600, bytes(range(256)) * 4096),
    (b".openclaw/skills/my-skill/SKILL.md", 0o644, b"# My skill\n"),
    (b".openclaw/skills/my-skill/run.sh", 0o755, b"#!/bin/sh\necho hello\n"),
    (b".openclaw/workspace/AGENTS.md", 0o644, b"# Agents\n"),
    (b".openclaw/workspace/.git/HEAD", 0o644, b"ref: refs/heads/main\n"),
    (b".openclaw/workspace/memory/2026-11-21.md", 0o644, b"Remember the milk.\n"),
    (b".openclaw/tmp/gateway.lock", 0o600, b'{"pid": 4242}\n'),
    (b".openclaw/cache/control-ui-assets/app.js", 0o644, b"// rebuilt when it's missing\n"),
    (b".openclaw-work/cron/jobs.json", 0o600, b'{"version": 1, "jobs": [{"id": "nightly"}]}\n'),
    (b".openclaw-work/agents/main/sessions/sessions.json", 0o600, b"{}\n"),
    (b".openclaw-work/agents/main/sessions/0f0e.jsonl", 0o644, b'{"role": "user", "content": "hello"}\n' * 500),
    (b"research/SOUL.md", 0o644, b"# Soul\n"),
    (b"research/.hidden/notes.txt", 0o600, b"Hidden, and not forgotten.\n"),
    (b"research/caf\xe9.txt", 0o644, b"A name that isn't UTF-8.\n"),
    (b"research/empty", 0o644, b""),
)
PRIVATE: Final = (b".openclaw", b".openclaw/state", b".openclaw/credentials", b".openclaw/media", b".openclaw-work")
MTIME_NS: Final = 1_764_000_000_123_456_789


def build(home: bytes) -> None:
    """Make the sample gateway in the new directory *home*."""
    os.makedirs(home)
    configs = (
        (b".openclaw/openclaw.json", 0o600, (CONFIG % {"home": os.fsdecode(home)}).encode("utf-8", "surrogateescape")),
        (b".openclaw-work/openclaw.json", 0o600, WORK_CONFIG.encode()),
    )
    for path, mode, content in (*configs, *FILES):
        full = os.path.join(home, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(content)
        os.chmod(full, mode)
    _build_database(os.path.join(home, DATABASE))
    os.mknod(os.path.join(home, b".openclaw/exec-approvals.sock"), stat.S_IFSOCK | 0o600)
    os.symlink(b"memory/2026-11-21.md", os.path.join(home, b".openclaw/workspace/latest.md"))
    os.link(os.path.join(home, b"research/SOUL.md"), os.path.join(home, b"research/SOUL-again.md"))
    _settle(home)


def read_jobs(database: bytes) -> list[tuple[str, str]]:
    """The rows of a database like the sample's, in order."""
    with closing(sqlite3.connect(os.fsdecode(database))) as connection:
        return connection.execute("SELECT id, schedule FROM cron_jobs ORDER BY rowid").fetchall()


def _build_database(path: bytes) -> None:
    """A database as a killed gateway leaves it: the table is in the file, its rows are only in the log beside it."""
    os.makedirs(os.path.dirname(path))
    making = path + b".making"
    with closing(sqlite3.connect(os.fsdecode(making))) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE cron_jobs (id TEXT PRIMARY KEY, schedule TEXT)")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.executemany("INSERT INTO cron_jobs VALUES (?, ?)", JOBS)
        connection.commit()
        # Closing would merge the log into the file, so both are copied before.
        for suffix in (b"", b"-wal"):
            shutil.copyfile(making + suffix, path + suffix)
            os.chmod(path + suffix, 0o600)
    os.unlink(making)


def _settle(home: bytes) -> None:
    """Give everything modes and times that no copy would have by chance."""
    for number, (directory, _, names) in enumerate(os.walk(home, topdown=False)):
        for name in names:
            os.utime(os.path.join(directory, name), ns=(MTIME_NS, MTIME_NS + number), follow_symlinks=False)
        os.chmod(directory, 0o700 if os.path.relpath(directory, home) in PRIVATE else 0o755)
        os.utime(directory, ns=(MTIME_NS, MTIME_NS - number))
