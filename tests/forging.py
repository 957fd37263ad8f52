"""Bundles as an attacker makes them who knows a recipient: sealed with a valid key, and wrong inside."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import BUNDLE_ID, Part, assembled, identity, keys_body, seeded

from ocbundle import compression, heads, wire
from ocbundle.agefile import Random
from ocbundle.canonical import pack
from ocbundle.model import Host, Manifest, Profile, Role, Root, Totals
from ocbundle.records import Row
from ocbundle.sealing import BundleKey

KEY = identity()
HOME = b"/home/alice"
STATE = Root(name="default", role=Role.STATE, source=HOME + b"/.openclaw", profile="default")
DEFAULT = Profile(name="default", state="default", version="2026.9.6", era="C")


def directory(path: bytes = b"", *, root: int = 0, mode: int = 0o700, uid: int = 1000) -> Row:
    return [root, path, 0, mode, uid, uid, 1, None, None, None, None, None]


def symlink(path: bytes, target: bytes, *, root: int = 0) -> Row:
    return [root, path, 2, 0o777, 1000, 1000, 1, None, None, None, target, None]


def hardlink(path: bytes, target: bytes, *, root: int = 0) -> Row:
    return [root, path, 3, None, None, None, None, None, None, None, target, None]


def binding(kind: bytes, number: int, raw_length: int, journal: bytes = b"") -> bytes:
    """The first frame of a section's plaintext."""
    bound = struct.pack("<16s16s4sIQ", b"ocbundle/v1/bind", BUNDLE_ID, kind, number, raw_length) + journal
    return struct.pack("<II", 0x184D2A50, len(bound)) + bound


@dataclass(kw_only=True)
class Forgery:
    """A bundle in the making; each ``add`` puts a section behind those that are there."""

    roots: Sequence[Root] = (STATE,)
    profiles: Sequence[Profile] = ()
    home: bytes = HOME
    text: str = "old"
    """What stands for each name of the source."""
    keys: bytes | None = None
    """The body of KEYS; by default it is sealed to :data:`KEY`."""
    rng: Random = field(default_factory=seeded)
    parts: list[Part] = field(default_factory=list)
    content: bytes = b""
    """Of the segment to be."""
    rows: list[Row] = field(default_factory=list)
    head: bytes | None = None
    """What stands for the manifest's head, if it isn't made from the rest."""
    totals: Totals | None = None

    def __post_init__(self) -> None:
        self.key = BundleKey.generate(self.rng)
        self._counts: Counter[bytes] = Counter()

    def file(self, path: bytes, data: bytes = b"data", *, root: int = 0, **changes: Any) -> Row:  # noqa: ANN401
        """The row of a file, whose bytes go to the segment."""
        extents = [[0, len(self.content), len(data)]] if data else []
        self.content += data
        fields = {
            "mode": 0o600, "uid": 1000, "gid": 1000, "mtime_ns": 1, "size": len(data),
            "sha256": hashlib.sha256(data).digest(), "extents": extents, "target": None, "extra": None,
        }  # fmt: skip
        return [root, path, 1, *(changes.get(name, value) for name, value in fields.items())]

    def add(self, *rows: Row) -> Forgery:
        """Add entries, in this order."""
        self.rows += rows
        return self

    def number(self, kind: bytes) -> int:
        """How many sections of *kind* there are."""
        return self._counts[kind]

    def sealed(self, kind: bytes, plaintext: bytes) -> Forgery:
        """A section with this plaintext, bound or not."""
        return self.body(kind, self.key.seal(plaintext, self.rng))

    def body(self, kind: bytes, body: bytes) -> Forgery:
        """A section with this body."""
        self.parts.append(Part(type=kind, number=self.number(kind), body=body))
        self._counts[kind] += 1
        return self

    def section(self, kind: bytes, raw: bytes, *, journal: bytes = b"") -> Forgery:
        """A section that holds *raw*."""
        place = compression.Place(bundle_id=BUNDLE_ID, type=kind, number=self.number(kind))
        return self.sealed(kind, compression.encode(place, raw, level=1, journal=journal))

    def batch(self, rows: Iterable[Row], skipped: Iterable[Row] = ()) -> Forgery:
        """An ENTR section."""
        return self.section(wire.ENTR, pack({"entries": list(rows), "skipped": list(skipped)}))

    def bundle(self, skipped: Sequence[Row] = ()) -> bytes:
        """All of it, with every checksum and the frame MAC as they must be."""
        if self.content:
            self.section(wire.SEGM, self.content)
        if self.rows:
            self.batch(self.rows, skipped)
        if self.number(wire.MANI) == 0:
            self.section(wire.MANI, self._head(len(skipped)) if self.head is None else self.head)
        body = keys_body(self.key, BUNDLE_ID, self.rng) if self.keys is None else self.keys
        keys = Part(type=wire.KEYS, number=0, body=body)
        return assembled([keys, *self.parts, keys], preamble=wire.Preamble(bundle_id=BUNDLE_ID), key=self.key)

    def _head(self, skipped: int) -> bytes:
        totals = self.totals or Totals(
            entries=len(self.rows),
            skipped=skipped,
            size=sum(row[7] for row in self.rows if isinstance(row[7], int)),
            segments=self.number(wire.SEGM),
            batches=self.number(wire.ENTR),
        )
        return heads.encode_manifest(
            Manifest(
                bundle_id=BUNDLE_ID,
                created=1_764_020_534,
                generator=self.text,
                source=Host(host=self.text, os=self.text, user=self.text, uid=1000, gid=1000, home=self.home),
                roots=tuple(self.roots),
                profiles=tuple(self.profiles),
                totals=totals,
            )
        )


def head_of_root(name: str) -> bytes:
    """A head whose one root has a name that the model would refuse."""
    sound = Manifest(
        bundle_id=BUNDLE_ID,
        created=0,
        generator="",
        source=Host(),
        roots=(STATE,),
        totals=Totals(entries=1, skipped=0, size=0, segments=0, batches=1),
    )
    value = heads._head(sound)
    value["roots"] = [{"name": name, "profile": None, "role": "extra", "source": HOME}]
    return pack(value)


def hot_journal(database: Path, super_journal: bytes, page_size: int = 4096) -> bytes:
    """A journal of one page, to be rolled back unless *super_journal* is missing (SQLite's file format, section 3)."""
    page = database.read_bytes()[:page_size]
    pages = database.stat().st_size // page_size
    header = bytes.fromhex("d9d505f920a163d7") + struct.pack(">5I", 1, 7, pages, 512, page_size)
    checksum = 7 + sum(page[position] for position in range(page_size - 200, 0, -200))
    record = struct.pack(">I", 1) + page + struct.pack(">I", checksum)
    named = struct.pack(">I", 0x40000000 // page_size + 1) + super_journal
    named += struct.pack(">2I", len(super_journal), sum(super_journal)) + header[:8]
    return header.ljust(512, b"\0") + record + named
