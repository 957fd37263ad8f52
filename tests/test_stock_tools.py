"""A bundle comes apart with ``age``, ``zstd`` and a few lines of code, without this library (section 18).

Only the packing is ours here. What is written down for the day when this software is gone must be right.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgpack
import pytest

import ocbundle

SPECIFICATION = Path(__file__).parents[1] / "spec" / "ocbundle-v1.md"
FILES = {
    b"openclaw.json": b'{"gateway": {"mode": "local"}}\n',
    b"agents/main/notes.txt": b"the quick brown fox\n" * 4000,
    b"credentials/key": bytes(range(256)) * 9000,
    b"empty": b"",
    b"\xff\x1b": b"a name that isn't text",
}
NAMES = {*FILES, b"", b"agents", b"agents/main", b"credentials", b"link"}


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    missing = [tool for tool in ("age", "zstd", "openssl", "od") if shutil.which(tool) is None]
    if missing:
        pytest.fail(f"these tests need {', '.join(missing)} on the PATH: this machine lacks what the format promises")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a bundle, ``b.ocbundle``, and the identity that opens it, ``me.txt``."""
    folder = tmp_path_factory.mktemp("stock")
    text, recipient = ocbundle.generate_identity(now=datetime(2026, 1, 1, tzinfo=UTC))
    (folder / "me.txt").write_text(text)
    source = os.fsencode(folder / "state")
    for name, data in FILES.items():
        path = os.path.join(source, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
    os.symlink(b"openclaw.json", os.path.join(source, b"link"))
    ocbundle.pack(folder / "b.ocbundle", [folder / "state"], recipients=[recipient])
    return folder


def _run(*command: str | Path, data: bytes = b"") -> bytes:
    return subprocess.run(command, input=data, check=True, capture_output=True).stdout


def _sections(data: bytes) -> dict[str, bytes]:
    """The bodies by type and number, found from the end."""
    index_offset, index_length = struct.unpack("<QQ", data[-104:-88])
    sections, offset = {}, 64
    for position in range(index_offset, index_offset + index_length, 64):
        magic, kind, number, _, length, digest, _ = struct.unpack("<4s4sIIQ32s8s", data[position : position + 64])
        body = data[offset + 64 : offset + 64 + length]
        assert (magic, hashlib.sha256(body).digest()) == (b"OCBS", digest)
        sections[f"{kind.decode()}.{number}"] = body
        offset += 64 + length
    assert offset == index_offset
    return sections


@pytest.fixture(scope="module")
def opened(folder: Path) -> dict[str, bytes]:
    """The content of every section but KEYS."""
    sections = _sections((folder / "b.ocbundle").read_bytes())
    key = folder / "bundle.key"
    key.write_bytes(_run("age", "-d", "-i", folder / "me.txt", data=sections["KEYS.0"]))
    return {
        name: _run("zstd", "-dcq", data=_run("age", "-d", "-i", key, data=body))
        for name, body in sections.items()
        if not name.startswith("KEYS")
    }


def _rows(opened: dict[str, bytes]) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for number in range(sum(name.startswith("ENTR") for name in opened)):
        rows += msgpack.unpackb(opened[f"ENTR.{number}"])["entries"]
    return rows


def test_every_file_comes_out_with_age_and_zstd(opened: dict[str, bytes]) -> None:
    found = {}
    for _, path, kind, *_, size, digest, extents, _, _ in _rows(opened):
        if kind == 1:
            data = b"".join(opened[f"SEGM.{segment}"][at : at + length] for segment, at, length in extents)
            assert (len(data), hashlib.sha256(data).digest()) == (size, digest)
            found[path] = data
    assert found == FILES


def test_the_manifest_is_plain_messagepack(opened: dict[str, bytes]) -> None:
    head = msgpack.unpackb(opened["MANI.0"])
    assert [root["name"] for root in head["roots"]] == ["state"]
    assert head["totals"]["entries"] == len(_rows(opened))
    assert {row[1] for row in _rows(opened)} == NAMES


def test_an_age_identity_file_is_what_wraps_the_bundle_key(folder: Path, opened: dict[str, bytes]) -> None:
    assert opened
    bundle_id = (folder / "b.ocbundle").read_bytes()[20:36].hex()
    lines = (folder / "bundle.key").read_text().splitlines()
    assert f"# bundle: {bundle_id}" in lines
    assert [line[:16] for line in lines if not line.startswith("#")] == ["AGE-SECRET-KEY-1"]


# --- the chapter, as it is printed ----------------------------------------------------------------------------------


def _programs(language: str) -> list[str]:
    text = SPECIFICATION.read_text(encoding="utf-8")
    chapter = text[text.index("\n## 18 ") : text.index("\n## 19 ")]
    return re.findall(rf"^```{language}\n(.*?)^```", chapter, re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(folder: Path, tmp_path: Path) -> Path:
    shutil.copy(folder / "me.txt", tmp_path)
    return tmp_path


def _shell(place: Path, bundle: Path, *programs: str) -> str:
    script = "set -e\n" + "\n".join(programs).replace("/path/to/gateway.ocbundle", str(bundle))
    done = subprocess.run(["sh", "-c", script], cwd=place, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _put_together(place: Path) -> dict[bytes, bytes]:
    (place / "files.py").write_text(_programs("python")[0])
    output = _run("env", "-C", place, sys.executable, "files.py")
    assert b"damaged" not in output
    assert output.count(b"symbolic link:") == 1
    root = os.path.join(os.fsencode(place), b"out", b"state")
    found = {}
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, root)] = file.read()
    return found


def test_the_recovery_chapter_works_as_it_is_printed(folder: Path, place: Path) -> None:
    take_out, unseal, *_ = _programs("sh")
    assert "damaged" not in _shell(place, folder / "b.ocbundle", take_out, unseal)
    assert _put_together(place) == FILES


def test_the_recovery_chapter_tells_an_authentic_framing_from_a_changed_one(folder: Path, place: Path) -> None:
    take_out, unseal, authenticate, *_ = _programs("sh")
    assert "is authentic" in _shell(place, folder / "b.ocbundle", take_out, unseal, authenticate)
    changed = bytearray((folder / "b.ocbundle").read_bytes())
    changed[16] ^= 1  # a compat bit
    (place / "changed.ocbundle").write_bytes(changed)
    assert "was CHANGED" in _shell(place, place / "changed.ocbundle", take_out, unseal, authenticate)


def test_the_recovery_chapter_finds_the_sections_of_a_bundle_without_an_end(folder: Path, place: Path) -> None:
    take_out, unseal, _, scan, *_ = _programs("sh")
    helpers = take_out[: take_out.index("\nsize=")]
    data = (folder / "b.ocbundle").read_bytes()
    (place / "cut.ocbundle").write_bytes(data[:-300])
    _shell(place, place / "cut.ocbundle", helpers, scan, unseal)
    assert _put_together(place) == FILES


def test_the_recovery_chapter_reads_a_journal(folder: Path, place: Path) -> None:
    take_out, unseal, _, _, journal = _programs("sh")
    _shell(place, folder / "b.ocbundle", take_out, unseal, journal)
    rows = msgpack.unpackb((place / "journal.0").read_bytes())
    assert {row[0] for row in rows} == {"state"}
    assert {row[1] for row in rows} <= NAMES
