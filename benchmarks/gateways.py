"""A home with several OpenClaw profiles in it, made up and seeded: the data set that ocbundle is for.

The layout is OpenClaw's own, of both its eras: profiles that keep sessions in SQLite, with a write-ahead log that was
never merged, and one that keeps them in JSONL files; channel logins of hundreds of tiny files; workspaces, one of them
elsewhere; media. What OpenClaw makes again by itself is left out of the data, so that all tools hold the same, but that
others take databases as files with their logs, and ocbundle takes them through SQLite. The same seed gives the same
bytes, but for the salts that SQLite puts into its logs.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import datasets

PROFILES: Final = ("", "-work", "-family", "-lab", "-old")
FILE_ERA: Final = "-old"
"""The profile of the era in which sessions were files."""
AGENTS: Final = ("main", "research", "ops")
ONE: Final = ".openclaw/workspace/memory/2026-0001.md"
ENTRY: Final = "default/workspace/memory/2026-0001.md"
"""The same file's name in a bundle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Maker:
    home: Path
    rng: random.Random
    sentences: list[str]
    scale: float

    def write(self, path: str, data: str | bytes, mode: int = 0o600) -> None:
        full = self.home / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_bytes(data.encode() if isinstance(data, str) else data)
        full.chmod(mode)

    def text(self, sentences: int) -> str:
        return " ".join(self.rng.choices(self.sentences, k=sentences))

    def count(self, full: int) -> int:
        return max(2, round(full * self.scale))

    def key(self) -> str:
        return self.rng.randbytes(32).hex()


def gateway(home: Path, *, scale: float = 1.0, seed: int = 3) -> None:
    """Make the home: about 200 MB in 8,600 files at full *scale*."""
    rng = random.Random(seed)
    maker = _Maker(
        home=home,
        rng=rng,
        sentences=[datasets.sentence(rng) for _ in range(max(200, round(20_000 * scale)))],
        scale=scale,
    )
    for profile in PROFILES:
        state = f".openclaw{profile}"
        _configuration(maker, state)
        _credentials(maker, state)
        _workspace(maker, f"{state}/workspace")
        for agent in AGENTS:
            if profile == FILE_ERA:
                _session_files(maker, f"{state}/agents/{agent}")
            else:
                _agent_database(maker, f"{state}/agents/{agent}/agent/openclaw-agent.sqlite")
                _cold_sessions(maker, f"{state}/agents/{agent}/sessions/cold")
        if profile != FILE_ERA:
            _state_database(maker, f"{state}/state/openclaw.sqlite")
        for number in range(maker.count(30)):
            maker.write(f"{state}/media/inbound/{number:04d}.jpg", rng.randbytes(rng.randrange(20_000, 600_000)))
    _workspace(maker, "research")


def _configuration(maker: _Maker, state: str) -> None:
    config: dict[str, Any] = {
        "gateway": {"mode": "local", "port": 18789, "auth": {"token": maker.key()}},
        "agents": {
            "defaults": {"workspace": str(maker.home / state / "workspace")},
            "entries": {agent: {} for agent in AGENTS},
        },
        "channels": {"whatsapp": {"enabled": True}, "telegram": {"enabled": True}},
        "meta": {"lastTouchedVersion": "2026.9.6"},
    }
    if state == ".openclaw":
        config["agents"]["entries"]["research"] = {"workspace": str(maker.home / "research")}
    if state.endswith(FILE_ERA):
        config["agents"] = {"list": [{"id": agent} for agent in AGENTS]}
        config["meta"] = {"lastTouchedVersion": "2026.5.7"}
        jobs = [{"id": maker.key()[:8], "schedule": "0 3 * * *", "message": maker.text(2)} for _ in range(20)]
        maker.write(f"{state}/cron/jobs.json", json.dumps({"version": 1, "jobs": jobs}))
        maker.write(f"{state}/identity/device.json", json.dumps({"privateKey": maker.key()}))
    for name in ("openclaw.json", "openclaw.json.bak", "openclaw.json.bak.1"):
        maker.write(f"{state}/{name}", json.dumps(config, indent=2))
    maker.write(f"{state}/.env", f"ANTHROPIC_API_KEY=made-up-{maker.key()}\nTELEGRAM_BOT_TOKEN={maker.key()}\n")
    maker.write(f"{state}/secrets.json", json.dumps({"providers": {"openai": {"apiKey": maker.key()}}}))
    maker.write(f"{state}/skills/notes/SKILL.md", f"---\nname: notes\n---\n{maker.text(40)}\n", 0o644)


def _credentials(maker: _Maker, state: str) -> None:
    login = f"{state}/credentials/whatsapp/default"
    maker.write(f"{login}/creds.json", json.dumps({"noiseKey": maker.key(), "me": {"id": "15550000000:1@s"}}))
    for number in range(maker.count(800)):
        pair = {"public": maker.key(), "private": maker.key(), "keyId": number}
        maker.write(f"{login}/pre-key-{number}.json", json.dumps(pair))
    for number in range(maker.count(150)):
        session = {"_sessions": {maker.key(): {"chain": [maker.key() for _ in range(20)]}}}
        maker.write(f"{login}/session-1555{number:07d}.0.json", json.dumps(session))


def _workspace(maker: _Maker, workspace: str) -> None:
    for name in ("AGENTS", "SOUL", "USER", "IDENTITY", "MEMORY"):
        maker.write(f"{workspace}/{name}.md", f"# {name}\n\n{maker.text(50)}\n", 0o644)
    for number in range(maker.count(300)):
        note = f"# Day {number}\n\n{maker.text(maker.rng.randrange(3, 80))}\n"
        maker.write(f"{workspace}/memory/2026-{number:04d}.md", note, 0o644)
    maker.write(f"{workspace}/.git/HEAD", "ref: refs/heads/main\n", 0o644)
    for _ in range(maker.count(200)):
        name = maker.key()
        maker.write(f"{workspace}/.git/objects/{name[:2]}/{name[2:40]}", maker.rng.randbytes(700), 0o444)


def _turns(maker: _Maker, count: int) -> list[str]:
    return [
        json.dumps({"id": f"{maker.rng.getrandbits(64):016x}", "role": role, "content": maker.text(6)})
        for _ in range(count)
        for role in ("user", "assistant")
    ]


def _session_files(maker: _Maker, agent: str) -> None:
    index = {}
    for number in range(maker.count(120)):
        name = f"{maker.rng.getrandbits(128):032x}"
        index[f"agent:{number}"] = {"sessionId": name, "updatedAt": number}
        maker.write(f"{agent}/sessions/{name}.jsonl", "\n".join(_turns(maker, 50)) + "\n", 0o644)
    maker.write(f"{agent}/sessions/sessions.json", json.dumps(index))
    maker.write(f"{agent}/agent/auth-profiles.json", json.dumps({"anthropic:default": {"key": maker.key()}}))


def _cold_sessions(maker: _Maker, cold: str) -> None:
    for _ in range(maker.count(20)):
        maker.write(f"{cold}/{maker.key()}.jsonl.zst", maker.rng.randbytes(30_000))


def _agent_database(maker: _Maker, path: str) -> None:
    with closing(_open(maker, path, version=23)) as database:
        database.execute("CREATE TABLE transcript_events (id INTEGER PRIMARY KEY, session TEXT, event_json TEXT)")
        database.execute("CREATE TABLE memory_index_chunks (id INTEGER PRIMARY KEY, text TEXT, embedding BLOB)")
        events = [(f"session-{number % 40}", turn) for number, turn in enumerate(_turns(maker, maker.count(5000)))]
        chunks = [(maker.text(4), maker.rng.randbytes(1536)) for _ in range(maker.count(2000))]
        newest = len(events) // 10
        insert = "INSERT INTO transcript_events (session, event_json) VALUES (?, ?)"
        with database:
            database.executemany(insert, events[newest:])
            database.executemany("INSERT INTO memory_index_chunks (text, embedding) VALUES (?, ?)", chunks)
        _leave_in_log(database, insert, events[:newest], maker.home / path)


def _state_database(maker: _Maker, path: str) -> None:
    with closing(_open(maker, path, version=18)) as database:
        database.execute("CREATE TABLE diagnostic_events (id INTEGER PRIMARY KEY, at INTEGER, body TEXT)")
        insert = "INSERT INTO diagnostic_events (at, body) VALUES (?, ?)"
        rows = [(number, maker.text(5)) for number in range(maker.count(5000))]
        with database:
            database.executemany(insert, rows)
        _leave_in_log(database, insert, rows[:20], maker.home / path)


def _open(maker: _Maker, path: str, *, version: int) -> sqlite3.Connection:
    full = maker.home / path
    full.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(full.with_suffix(".making"))
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = OFF")
    database.execute(f"PRAGMA user_version = {version}")
    return database


def _leave_in_log(database: sqlite3.Connection, insert: str, rows: Sequence[tuple[object, ...]], path: Path) -> None:
    """Insert *rows* so that they are only in the log, as a gateway that was killed leaves them, and name both files."""
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.execute("PRAGMA wal_autocheckpoint = 0")
    with database:
        database.executemany(insert, rows)
    making = path.with_suffix(".making")
    for suffix in ("", "-wal"):  # copied, since closing would merge the log and remove it
        copy = path.with_name(path.name + suffix)
        shutil.copyfile(f"{making}{suffix}", copy)
        copy.chmod(0o600)
    database.close()
    making.unlink()
